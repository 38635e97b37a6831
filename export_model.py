"""Exports a trained model: a SavedModel to serve, a Hub module to train on.

The code is bert_suite/export_model.py; both names are one module.
"""

import sys

if __package__:
  from .bert_suite import export_model
else:
  from bert_suite import export_model

if __name__ == "__main__":
  __doc__ = export_model.__doc__  # for --help
  export_model.run()
else:
  sys.modules[__name__] = export_model
