"""The encoder, BertConfig and BertModel, by its name in google-research/bert.

The code is bert_suite/modeling.py; both names are one module.
"""

if __package__:
  from .bert_suite import modeling, open_door
else:
  from bert_suite import modeling, open_door

open_door(__name__, modeling)
