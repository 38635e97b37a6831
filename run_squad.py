"""Answers questions with spans of a text: SQuAD 1.1 and 2.0.

The code is bert_suite/run_squad.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import run_squad
else:
  from bert_suite import run_squad

if __name__ == "__main__":
  __doc__ = run_squad.__doc__  # for --help
  run_squad.run()
else:
  sys.modules[__name__] = run_squad
