"""Answers texts over HTTP with a trained model.

The code is bert_suite/serve.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, serve
else:
  from bert_suite import open_door, serve

open_door(__name__, serve)
