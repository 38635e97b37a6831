"""Writes the vectors that BERT gives the word pieces of texts.

The code is bert_suite/extract_features.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import extract_features
else:
  from bert_suite import extract_features

if __name__ == "__main__":
  __doc__ = extract_features.__doc__  # for --help
  extract_features.run()
else:
  sys.modules[__name__] = extract_features
