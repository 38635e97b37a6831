"""Makes the modules at the top level importable, and flags start anew."""

import os
import sys

from absl import flags
import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import usage


@pytest.fixture
def no_flags():
  """Lets a test define flags from nothing; afterwards all is as before."""
  known, was_parsed = flags.FLAGS, flags.FLAGS.is_parsed()
  before = {name: known[name] for name in usage.own_flags()}
  for name in before:
    delattr(known, name)
  yield
  for name in usage.own_flags():
    delattr(known, name)
  for name, flag in before.items():
    known[name] = flag
  if not was_parsed:
    known.unparse_flags()
