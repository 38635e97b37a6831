"""Guesses words for [MASK], and scores how likely a text is.

The code is bert_suite/fill_mask.py; both names are one module.
"""

if __package__:
  from .bert_suite import fill_mask, open_door
else:
  from bert_suite import fill_mask, open_door

open_door(__name__, fill_mask)
