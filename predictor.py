"""A trained model's predictions in a program, `predictor.Predictor`.

The code is bert_suite/predictor.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, predictor
else:
  from bert_suite import open_door, predictor

open_door(__name__, predictor)
