"""Text to word pieces, by its name in google-research/bert.

The code is bert_suite/tokenization.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, tokenization
else:
  from bert_suite import open_door, tokenization

open_door(__name__, tokenization)
