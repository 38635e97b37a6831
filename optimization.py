"""AdamW and its schedule, by its name in google-research/bert.

The code is bert_suite/optimization.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, optimization
else:
  from bert_suite import open_door, optimization

open_door(__name__, optimization)
