"""Pre-trains BERT: masked words and next sentences.

The code is bert_suite/run_pretraining.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import run_pretraining
else:
  from bert_suite import run_pretraining

if __name__ == "__main__":
  __doc__ = run_pretraining.__doc__  # for --help
  run_pretraining.run()
else:
  sys.modules[__name__] = run_pretraining
