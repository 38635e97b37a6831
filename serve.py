"""Serves a trained model over HTTP.

The code is bert_suite/serve.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, serve
else:
  from bert_suite import open_door, serve

open_door(__name__, serve)
