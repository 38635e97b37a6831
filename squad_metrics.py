"""Scores answers to SQuAD 1.1 and 2.0 as the official scorers do.

The code is bert_suite/squad_metrics.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import squad_metrics
else:
  from bert_suite import squad_metrics

if __name__ == "__main__":
  __doc__ = squad_metrics.__doc__  # for --help
  squad_metrics.run()
else:
  sys.modules[__name__] = squad_metrics
