"""Fine-tunes a BERT module of TensorFlow Hub to classify sentences.

The code is bert_suite/run_classifier_with_tfhub.py; both names are one module.
"""

if __package__:
  from .bert_suite import open_door, run_classifier_with_tfhub
else:
  from bert_suite import open_door, run_classifier_with_tfhub

open_door(__name__, run_classifier_with_tfhub)
