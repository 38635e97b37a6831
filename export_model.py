"""Exports a trained model: a SavedModel to serve, a Hub module to train on.

The code is bert_suite/export_model.py; both names are one module.
"""

if __package__:
  from .bert_suite import export_model, open_door
else:
  from bert_suite import export_model, open_door

open_door(__name__, export_model)
