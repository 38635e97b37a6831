"""Text to word pieces, by its name in google-research/bert.

The code is bert_suite/tokenization.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import tokenization
else:
  from bert_suite import tokenization

sys.modules[__name__] = tokenization
