"""Fine-tunes a BERT module of TensorFlow Hub on classifying sentences.

The code is bert_suite/run_classifier_with_tfhub.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import run_classifier_with_tfhub
else:
  from bert_suite import run_classifier_with_tfhub

if __name__ == "__main__":
  __doc__ = run_classifier_with_tfhub.__doc__  # for --help
  run_classifier_with_tfhub.run()
else:
  sys.modules[__name__] = run_classifier_with_tfhub
