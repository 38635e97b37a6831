"""AdamW and its schedule, by its name in google-research/bert.

The code is bert_suite/optimization.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import optimization
else:
  from bert_suite import optimization

sys.modules[__name__] = optimization
