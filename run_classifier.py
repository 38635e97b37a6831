"""Fine-tunes BERT on the classification of sentences or pairs of sentences.

The code is bert_suite/run_classifier.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, run_classifier
else:
  from bert_suite import open_door, run_classifier

open_door(__name__, run_classifier)
