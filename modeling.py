"""The encoder, BertConfig and BertModel, by its name in google-research/bert.

The code is bert_suite/modeling.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import modeling
else:
  from bert_suite import modeling

sys.modules[__name__] = modeling
