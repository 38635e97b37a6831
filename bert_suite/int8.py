"""Dense layers in 8-bit integers, for inference on a CPU.

A kernel's columns are rounded to -127..127 once, each with its own scale. The
rows of the input, one for each word piece, are rounded to 0..255, each with a
scale computed on the fly. The sums are exact, so rounding is the only loss. One
scale for all rows of a batch is a little faster, but on MRPC it changed the
logits three times as much: some pieces have values far beyond the others'.

oneDNN computes the sums, in QuantizedMatMulWithBiasAndDequantize, the only
operation of stock releases that takes uint8 and int8 and returns float32. It
takes one scale for the kernel and one for the input, and compensates wrongly
for an input range that does not begin at zero (seen with 2.15 and 2.20). Here
it is given ranges that make it a plain product of integers, and the scales are
applied outside.
"""

import functools

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

LARGEST = 127.0
TINY = 1e-30  # the scale of all zeros
_KERNELS = "kernels_as_int8"  # collection


def quantize(kernel):
  """Rounds a kernel to integers.

  Args:
    kernel: float32 [in, out].

  Returns:
    int8 [in, out]; the scales, float32 [out], to multiply it by to undo that;
    and the sums of the integers over `in`, float32 [out].
  """
  scales = tf.reduce_max(tf.abs(kernel), axis=0) / LARGEST + TINY
  integers = tf.round(kernel / scales)
  return tf.cast(integers, tf.int8), scales, tf.reduce_sum(integers, axis=0)


def dense(x, kernel, bias):
  """Returns `x @ kernel + bias`, computed in integers.

  The integers are local variables beside the kernel, so they are computed from
  it when local variables are initialized, after a checkpoint has been restored.

  Args:
    x: float32 [rows, in].
    kernel: float32 variable [in, out], of the current variable scope.
    bias: float32 variable [out].

  Returns:
    float32 [rows, out].
  """
  tf.add_to_collection(_KERNELS, kernel)
  kept = [tf.get_variable(
      "kernel_" + name, value.shape, value.dtype, trainable=False,
      initializer=lambda *unused, value=value, **unused_more: value,
      collections=[tf.GraphKeys.LOCAL_VARIABLES])
          for name, value in zip(("int8", "scales", "sums"), quantize(kernel))]
  return multiply(x, *kept, bias)


def variables_to_save():
  """Returns the graph's variables without kernels that have become integers."""
  kernels = {kernel.name for kernel in tf.get_collection(_KERNELS)}
  return [variable for variable in tf.global_variables()
          if variable.name not in kernels] + tf.local_variables()


def multiply(x, integers, scales, sums, bias):
  """Rounds the input and multiplies it with a kernel from `quantize`.

  Args:
    x: float32 [rows, in].
    integers: int8 [in, out].
    scales: float32 [out].
    sums: float32 [out].
    bias: float32 [out].

  Returns:
    float32 [rows, out].
  """
  num_in, num_out = integers.shape.as_list()
  largest = tf.reduce_max(x, axis=1, keepdims=True)  # [rows, 1]
  least = tf.reduce_min(x, axis=1, keepdims=True)  # [rows, 1]
  if num_in > num_out:
    # After a GELU, whose values go far up but hardly down: use the whole range.
    # The extra cost depends on the size of the output, here the smaller one.
    least = tf.minimum(least, 0.0)
    steps = (largest - least) / 255 + TINY
    product = _multiply_integers(
        x / steps - least / steps, integers, tf.zeros_like(sums))
    offset = tf.matmul(
        tf.concat([least, tf.ones_like(least)], axis=1),  # [rows, 2]
        tf.stack([sums * scales, bias]))  # [2, out]
  else:
    steps = tf.maximum(largest, -least) / LARGEST + TINY
    product = _multiply_integers(x / steps + 128, integers, -128 * sums)
    offset = bias
  return product * tf.matmul(steps, scales[tf.newaxis]) + offset


def _multiply_integers(x, integers, bias):
  """Returns float32 `round(x) @ integers + bias`, for `x` from 0 to 255."""
  rounded = tf.bitcast(tf.cast(x + 0.5, tf.uint8), tf.quint8)
  return tf.raw_ops.QuantizedMatMulWithBiasAndDequantize(
      a=rounded, b=tf.bitcast(integers, tf.qint8), bias=bias,
      min_a=0.0, max_a=255.0, min_b=-LARGEST, max_b=LARGEST,
      min_freezed_output=0.0, max_freezed_output=0.0, Toutput=tf.float32)


@functools.lru_cache(maxsize=None)
def find_fault():
  """Returns why TensorFlow does not compute in integers here, or ""."""
  random = np.random.RandomState(0)
  x, kernel = random.randn(8, 64), random.randn(64, 16)
  with tf.Graph().as_default(), tf.Session() as session:
    product = multiply(
        tf.constant(x, tf.float32), *quantize(tf.constant(kernel, tf.float32)),
        tf.zeros([16]))
    try:
      error = np.abs(session.run(product) - x @ kernel).max()
    except tf.errors.OpError:
      return "this TensorFlow has no int8 products for this CPU"
  return "" if error < 1 else "its int8 products are wrong on this CPU"
