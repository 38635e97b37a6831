"""Converts models of Hugging Face and the Model Garden, and back.

The code is bert_suite/convert_checkpoint.py; both names are one module.
"""

if __package__:
  from .bert_suite import convert_checkpoint, open_door
else:
  from bert_suite import convert_checkpoint, open_door

open_door(__name__, convert_checkpoint)
