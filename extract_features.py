"""Writes the vectors that BERT gives the word pieces of texts.

The code is bert_suite/extract_features.py; both names are one module.
"""

if __package__:
  from .bert_suite import extract_features, open_door
else:
  from bert_suite import extract_features, open_door

open_door(__name__, extract_features)
