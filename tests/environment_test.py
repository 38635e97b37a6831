"""Tests of environment: what is set and not shown as TensorFlow starts."""

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
      [sys.executable, "-c", "import os; from bert_suite import environment\n"
       "print([os.environ[name] for name in %r])" % sorted(SET)],
      cwd=TOP, env=dict(kept, **given))
  return dict(zip(sorted(SET), ast.literal_eval(output.decode("ascii"))))


def test_values_are_set():
  assert values_with() == SET


@pytest.mark.parametrize("name", sorted(SET))
def test_what_the_user_set_stays(name):
  assert values_with(**{name: "0"}) == dict(SET, **{name: "0"})


def imports(path):
  """Returns the names of the modules that a file imports, in their order."""
  with open(path) as reader:
    tree = ast.parse(reader.read())
  imported = []
  for node in tree.body:
    if isinstance(node, ast.Import):
      imported += [alias.name for alias in node.names]
    elif isinstance(node, ast.ImportFrom) and node.level:  # of ours
      imported += ["." + (node.module or alias.name) for alias in node.names]
    elif isinstance(node, ast.ImportFrom):
      imported.append(node.module)
  return imported


def test_every_module_imports_it_before_tensorflow():
  paths = glob.glob(os.path.join(TOP, "bert_suite", "**", "*.py"),
                    recursive=True)
  found = set()
  for path in paths:
    imported = imports(path)
    if "tensorflow.compat.v1" in imported:
      found.add(os.path.basename(path))
      assert ".environment" in imported or path.endswith("environment.py"), path
    if ".environment" in imported:
      before = imported[:imported.index(".environment")]
      assert not [name for name in before if name.split(".")[0] in (
          "", "absl", "google", "numpy", "tensorflow", "tqdm")]
  assert {"run_classifier.py", "modeling.py", "tokenization.py"} <= found


def run_python(code, **given):
  """Runs code in another process; returns its exit status and its stderr."""
  process = subprocess.run(
      [sys.executable, "-c", code], cwd=TOP, stderr=subprocess.PIPE,
      env=dict(os.environ, **given))
  return process.returncode, process.stderr.decode("ascii")


def test_the_start_of_tensorflow_and_of_a_session_show_nothing():
  assert run_python("""
import modeling
from bert_suite import environment  # isort: skip  # noqa: F401
import tensorflow as tf
environment.find_gpus()
with tf.Graph().as_default(), tf.compat.v1.Session() as session:
  session.run(tf.constant(1))
""", TF_CPP_MIN_LOG_LEVEL="2") == (0, "")


def test_the_session_of_a_served_model_shows_nothing():
  assert run_python("""
from bert_suite import serving
import tensorflow as tf
with tf.Graph().as_default(), serving._new_session() as session:
  session.run(tf.constant(1))
""", TF_CPP_MIN_LOG_LEVEL="2") == (0, "")


def test_the_start_of_a_script_shows_nothing(tmp_path):
  """Where TensorFlow has absl look for devices before `main`."""
  process = subprocess.run(
      [sys.executable, os.path.join(TOP, "run_classifier.py")] + [
          "--%s=%s" % (name, tmp_path) for name in (
              "data_dir", "task_name", "vocab_file", "bert_config_file",
              "output_dir")],
      stderr=subprocess.PIPE, env=dict(os.environ, TF_CPP_MIN_LOG_LEVEL="2"))
  lines = process.stderr.decode("utf-8").splitlines()
  assert [line for line in lines if not line.startswith(
      ("INFO:tensorflow:Running on ", "run_classifier.py: "))] == []
  assert len(lines) == 2


NOISE = [
    "WARNING: All log messages before absl::InitializeLog() is called are "
    "written to STDERR",
    "E0000 00:00:17.2 1 cuda_dnn.cc:8310] Unable to register cuDNN factory: A",
    "2025-01-01 00:00:00.0: E external/local_xla/xla/stream_executor/cuda/"
    "cuda_blas.cc:1515] Unable to register cuBLAS factory: Attempting",
    "W0000 00:00:17.2 1 computation_placer.cc:177] computation placer already "
    "registered. Please check linkage and avoid linking the same target",
    "I0000 00:00:17.2 1 port.cc:153] oneDNN custom operations are on.",
    "I0000 00:00:17.2 1 cpu_feature_guard.cc:227] This TensorFlow binary is "
    "optimized to use available CPU instructions",
    "To enable the following instructions: AVX2 FMA, in other operations, "
    "rebuild TensorFlow with the appropriate compiler flags.",
    "E0000 00:00:17.2 1 cuda_platform.cc:52] failed call to cuInit: INTERNAL",
]
NEWS = ["E0000 00:00:17.2 1 somewhere.cc:1] out of memory", "A user's line"]


@pytest.mark.parametrize("level, shown", [
    ("2", NEWS), ("3", NEWS), ("0", NOISE + NEWS)])
def test_noise_is_left_out_and_a_crash_loses_nothing(level, shown):
  status, stderr = run_python(r"""
import os; from bert_suite import environment
environment.find_gpus()
os.write(2, b"begin\n")
with environment.quiet_start():
  os.write(2, %r.encode("ascii"))
  os.abort()
""" % "\n".join(NOISE + NEWS), TF_CPP_MIN_LOG_LEVEL=level)
  assert status < 0
  assert stderr[stderr.index("begin\n"):].splitlines()[1:] == shown


def test_deprecations_of_tensorflow_are_left_out_and_the_users_shown():
  status, stderr = run_python("""
import warnings
import modeling
import tensorflow.compat.v1 as tf
from tensorflow.python.util import deprecation
tf.disable_v2_behavior()
tf.Graph().as_default().__enter__()
tf.get_logger().warning("From a.py: tf_function (from tensorflow.x) is "
                        "deprecated and will be removed in a future version.")
tf.get_logger().warning("From a.py: The name tf.old is deprecated. Please use")

@deprecation.deprecated(None, "Use ours.")
def old():
  pass

old()
tf.logging.warning("A deprecated table")
warnings.warn("a warning of the user's")
""", TF_CPP_MIN_LOG_LEVEL="2")
  assert status == 0
  assert "From a.py" not in stderr and "resource" not in stderr
  for text in ("(from __main__) is deprecated", "A deprecated table",
               "UserWarning: a warning of the user's"):
    assert stderr.count(text) == 1
