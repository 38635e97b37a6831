"""A trained model's answers in a program, `predictor.Predictor`.

The code is bert_suite/predictor.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import predictor
else:
  from bert_suite import predictor

sys.modules[__name__] = predictor
