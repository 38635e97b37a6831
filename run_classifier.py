"""Fine-tunes BERT on classifying sentences or pairs of sentences.

The code is bert_suite/run_classifier.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import run_classifier
else:
  from bert_suite import run_classifier

if __name__ == "__main__":
  __doc__ = run_classifier.__doc__  # for --help
  run_classifier.run()
else:
  sys.modules[__name__] = run_classifier
