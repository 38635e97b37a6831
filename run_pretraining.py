"""Pre-trains BERT on masked words and next sentences.

The code is bert_suite/run_pretraining.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, run_pretraining
else:
  from bert_suite import open_door, run_pretraining

open_door(__name__, run_pretraining)
