"""Compiling the graph with XLA: what --use_xla asks TensorFlow for.

TensorFlow looks for groups of operations that XLA can compile ("clusters") and
compiles each once for every shape that it meets. Random numbers, assertions and
reading the input stay outside.
"""

import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

# Without it TensorFlow forms no clusters on a CPU, even if a session asks.
_CPU_OPTION = "--tf_xla_cpu_global_jit"


def let_cpu_compile():
  """Lets sessions compile for the CPU, if called early enough.

  TensorFlow reads the environment variable once, when it first looks for
  devices, so whether there is a GPU is not known yet. With one this does no
  harm: hardly anything runs on the CPU. A variable that names a file of options
  is left unchanged.
  """
  options = os.environ.get("TF_XLA_FLAGS", "").split()
  if _CPU_OPTION not in options and (not options or options[0][0] == "-"):
    os.environ["TF_XLA_FLAGS"] = " ".join(options + [_CPU_OPTION])


def session_config(use_xla=True):
  """Makes an Estimator's ConfigProto, with XLA on if `use_xla`."""
  config = tf.ConfigProto(allow_soft_placement=True)
  options = config.graph_options
  # As in the one that an Estimator makes by default.
  options.rewrite_options.meta_optimizer_iterations = 1
  if use_xla:
    options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
  return config
