"""Scores answers to SQuAD 1.1 and 2.0 as the official scorers do.

The code is bert_suite/squad_metrics.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, squad_metrics
else:
  from bert_suite import open_door, squad_metrics

open_door(__name__, squad_metrics)
