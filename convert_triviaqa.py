"""Converts TriviaQA to SQuAD's JSON, for run_squad.py to train on first.

The code is bert_suite/convert_triviaqa.py; both names are one module.
"""

if __package__:
  from .bert_suite import convert_triviaqa, open_door
else:
  from bert_suite import convert_triviaqa, open_door

open_door(__name__, convert_triviaqa)
