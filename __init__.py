"""The suite as a package: `from bert import modeling, tokenization`.

This file makes the folder a package if it is named bert, or installed by pip.
With the folder on `sys.path` instead, `import modeling` is the same module.
"""

import importlib

_MODULES = (
    "convert_checkpoint", "convert_triviaqa", "create_pretraining_data",
    "export_model", "extract_features", "fill_mask", "learn_vocab", "modeling",
    "optimization", "predictor", "run_classifier",
    "run_classifier_with_tfhub", "run_ner", "run_pretraining", "run_squad",
    "serve", "squad_metrics", "tokenization")


def __getattr__(name):
  """Imports a module on first access, such as `bert.modeling`."""
  if name in _MODULES:
    return importlib.import_module("." + name, __name__)
  raise AttributeError("module %r has no attribute %r" % (__name__, name))
