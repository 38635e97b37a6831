"""Answers questions with spans of a text, as in SQuAD 1.1 and 2.0.

The code is bert_suite/run_squad.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, run_squad
else:
  from bert_suite import open_door, run_squad

open_door(__name__, run_squad)
