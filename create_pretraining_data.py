"""Makes the records that BERT is pre-trained on, of plain text.

The code is bert_suite/create_pretraining_data.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import create_pretraining_data
else:
  from bert_suite import create_pretraining_data

if __name__ == "__main__":
  __doc__ = create_pretraining_data.__doc__  # for --help
  create_pretraining_data.run()
else:
  sys.modules[__name__] = create_pretraining_data
