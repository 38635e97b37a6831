"""What the commands and modules on the top level are made of.

It may be imported by two names, `bert_suite` with the top level on `sys.path`
and `bert.bert_suite` with the top level as a package. In a process that does
both, the second name is given the modules of the first.
"""

import sys

for _name, _module in list(sys.modules.items()):
  if (_name.split(".")[-1] == "bert_suite" and _name != __name__ and
      getattr(_module, "__file__", None) == __file__):
    sys.modules[__name__] = _module
