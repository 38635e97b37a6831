"""Tests of environment: what is set before TensorFlow is imported."""

import ast
import glob
import os
import subprocess
import sys

import pytest

from helpers import TOP

SET = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}


def values_with(**given):
  """Returns what the variables are in a process that imports the module."""
  kept = {name: value for name, value in os.environ.items() if name not in SET}
  output = subprocess.check_output(
      [sys.executable, "-c", "import os, environment\n"
       "print([os.environ[name] for name in %r])" % sorted(SET)],
      cwd=TOP, env=dict(kept, **given))
  return dict(zip(sorted(SET), ast.literal_eval(output.decode("ascii"))))


def test_values_are_set():
  assert values_with() == SET


@pytest.mark.parametrize("name", sorted(SET))
def test_what_the_user_set_stays(name):
  assert values_with(**{name: "0"}) == dict(SET, **{name: "0"})


def scripts():
  paths = []
  for path in sorted(glob.glob(os.path.join(TOP, "*.py"))):
    with open(path) as reader:
      if "estimators.run(" in reader.read():
        paths.append(path)
  return [os.path.basename(path) for path in paths]


def test_there_are_scripts():
  assert {"run_classifier.py", "run_pretraining.py"} <= set(scripts())


@pytest.mark.parametrize("name", scripts())
def test_every_script_imports_it_before_tensorflow(name):
  with open(os.path.join(TOP, name)) as reader:
    tree = ast.parse(reader.read())
  imported = []
  for node in tree.body:
    if isinstance(node, ast.Import):
      imported += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      imported.append(node.module)
  standard = [i for i, module in enumerate(imported) if module == "environment"]
  assert standard
  before = set(imported[:standard[0]])
  assert not before - {"collections", "contextlib", "hashlib", "io",
                       "itertools", "json", "math", "os", "queue", "random",
                       "re", "sys", "threading", "time"}
