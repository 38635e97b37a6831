"""Learns a vocabulary from text, or gives a model's vocabulary more words.

The code is bert_suite/learn_vocab.py; both names are one module.
"""

if __package__:
  from .bert_suite import learn_vocab, open_door
else:
  from bert_suite import learn_vocab, open_door

open_door(__name__, learn_vocab)
