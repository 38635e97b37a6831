"""Finds named entities by predicting a tag for every word.

The code is bert_suite/run_ner.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, run_ner
else:
  from bert_suite import open_door, run_ner

open_door(__name__, run_ner)
