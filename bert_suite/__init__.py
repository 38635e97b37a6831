"""The code behind the commands and modules on the top level.

It may be imported by two names, `bert_suite` with the top level on `sys.path`
and `bert.bert_suite` with the top level as a package. If a process does both,
the second name gets the modules of the first.
"""

import sys

__version__ = "1.0"  # as in pyproject.toml

for _name, _module in list(sys.modules.items()):
  if (_name.split(".")[-1] == "bert_suite" and _name != __name__ and
      getattr(_module, "__file__", None) == __file__):
    sys.modules[__name__] = _module


def open_door(name, module):
  """Replaces the top-level file of a module's name with the module, or runs it.

  Args:
    name: str. The file's `__name__`: "__main__" if it is run as a command.
    module: module of this package.
  """
  if name != "__main__":
    sys.modules[name] = module
  elif hasattr(module, "run"):
    sys.modules[name].__doc__ = module.__doc__  # for --help
    module.run()
