"""Dense layers in 8-bit integers, for answers on a CPU.

A kernel's columns are rounded to -127..127, each with a scale of its own, once;
what comes in is rounded to 0..255 with the scale of its batch, each time. The
sums are exact, so all that is lost is the rounding.

oneDNN computes them in TensorFlow's QuantizedMatMulWithBiasAndDequantize, the one
operation of stock releases that takes uint8 and int8 and gives float32. It knows
one scale for the whole kernel, and where the input's range does not begin at zero
it makes up for that wrongly (seen with 2.15 and 2.20): hence the columns' scales
stay outside, and the range is moved to zero here.
"""

import functools

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

_LARGEST = 127.0
_KERNELS = "kernels_as_int8"  # collection


def quantize(kernel):
  """Rounds a kernel to integers.

  Args:
    kernel: float32 [in, out].

  Returns:
    int8 [in, out], and the scales, float32 [out], that bring it back.
  """
  largest = tf.reduce_max(tf.abs(kernel), axis=0)
  scales = tf.where(largest > 0, largest / _LARGEST, tf.ones_like(largest))
  return tf.cast(tf.round(kernel / scales), tf.int8), scales


def dense(x, kernel, bias):
  """Returns `x @ kernel + bias`, computed in integers.

  The integers are local variables beside the kernel, so they are made of it when
  local variables are initialized, after a checkpoint has been restored.

  Args:
    x: float32 [rows, in].
    kernel: float32 variable [in, out], of the current variable scope.
    bias: float32 variable [out].

  Returns:
    float32 [rows, out].
  """
  integers, scales = quantize(kernel)
  tf.add_to_collection(_KERNELS, kernel)
  return multiply(
      x, _keep("kernel_int8", integers), _keep("kernel_scales", scales),
      _keep("kernel_sums", sum_columns(integers)), bias)


def variables_to_save():
  """Returns the graph's variables without kernels that have become integers."""
  kernels = {kernel.name for kernel in tf.get_collection(_KERNELS)}
  return [variable for variable in tf.global_variables()
          if variable.name not in kernels] + tf.local_variables()


def sum_columns(integers):
  """Returns the sums of int8 [in, out] over `in`, float32 [out]."""
  return tf.reduce_sum(tf.cast(integers, tf.float32), axis=0)


def multiply(x, integers, scales, sums, bias):
  """Rounds what comes in and multiplies it.

  Args:
    x: float32 [rows, in].
    integers: int8 [in, out].
    scales: float32 [out].
    sums: float32 [out], from `sum_columns`.
    bias: float32 [out].

  Returns:
    float32 [rows, out].
  """
  least = tf.minimum(tf.reduce_min(x), 0.0)
  span = tf.maximum(tf.reduce_max(x) - least, 1e-30)
  rounded = tf.raw_ops.QuantizeV2(
      input=x - least, min_range=0.0, max_range=span, T=tf.quint8,
      mode="MIN_FIRST")
  product = tf.raw_ops.QuantizedMatMulWithBiasAndDequantize(
      a=rounded.output, b=tf.bitcast(integers, tf.qint8),
      bias=bias / scales + least * sums, min_a=0.0, max_a=span,
      min_b=-_LARGEST, max_b=_LARGEST, min_freezed_output=0.0,
      max_freezed_output=0.0, Toutput=tf.float32)  # [rows, out]
  return product * scales


@functools.lru_cache(maxsize=None)
def find_fault():
  """Returns why TensorFlow does not compute in integers here, or ""."""
  random = np.random.RandomState(0)
  x, kernel = random.randn(8, 64), random.randn(64, 16)
  with tf.Graph().as_default(), tf.Session() as session:
    integers, scales = quantize(tf.constant(kernel, tf.float32))
    product = multiply(tf.constant(x, tf.float32), integers, scales,
                       sum_columns(integers), tf.ones([16]))
    try:
      error = np.abs(session.run(product) - x @ kernel - 1).max()
    except tf.errors.OpError:
      return "this TensorFlow has no int8 products for this CPU"
  return "" if error < 1 else "its int8 products are wrong on this CPU"


def _keep(name, value):
  """Returns a local variable of the current scope that starts as `value`."""
  return tf.get_variable(
      name, value.shape, value.dtype, trainable=False,
      initializer=lambda *unused, **unused_more: value,
      collections=[tf.GraphKeys.LOCAL_VARIABLES])
