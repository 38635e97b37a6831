"""Makes the records that BERT is pre-trained on, from plain text.

The code is bert_suite/create_pretraining_data.py; both names are one module.
"""

if __package__:
  from .bert_suite import create_pretraining_data, open_door
else:
  from bert_suite import create_pretraining_data, open_door

open_door(__name__, create_pretraining_data)
