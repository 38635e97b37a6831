"""Activations that are computed again for the gradient instead of being kept.

Source: Chen et al., "Training Deep Nets with Sublinear Memory Cost", arXiv
1604.06174.
"""

import collections
import contextlib

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import kernels, xla


def recomputed(function, *tensors, **others):
  """Calls a function, keeping only its inputs for the gradient.

  The gradient calls it again, with the same values of its variables and the
  same random numbers.

  Args:
    function: function of Tensors that returns a Tensor.
    *tensors: its arguments, float Tensors.
    **others: further arguments, which have no gradient.

  Returns:
    What the function returns.
  """
  variables = collections.OrderedDict()
  scope = tf.get_variable_scope()

  def record(getter, name, *args, **kwargs):
    variables[name] = getter(name, *args, **kwargs)
    return variables[name]

  def in_scope(getter):
    return tf.variable_scope(
        scope, custom_getter=getter, auxiliary_name_scope=False)

  settings = (kernels.has_gradients_by_hand(), kernels.compute_dtype(),
              xla.is_compiling())
  with xla.recording_keys() as keys, in_scope(record):
    output = function(*tensors, **others)

  @kernels.custom_gradient
  def call(*inputs):
    def gradient(upstream):
      with contextlib.ExitStack() as stack:
        # Nothing may be computed early: it would have to be kept in memory.
        stack.enter_context(tf.control_dependencies([upstream]))
        by_hand, dtype, compiling = settings
        stack.enter_context(kernels.gradients_by_hand(by_hand))
        stack.enter_context(kernels.computing_in(dtype))
        stack.enter_context(xla.compiling(compiling))
        stack.enter_context(xla.repeating([tf.identity(key) for key in keys]))
        again = [tf.identity(x) for x in inputs]
        values = dict(zip(variables, again[len(tensors):]))
        stack.enter_context(in_scope(
            lambda getter, name, *args, **kwargs: values[name]))
        result = function(*again[:len(tensors)], **others)
        return tf.gradients(result, again, upstream)

    return output, gradient

  return call(*tensors, *variables.values())
