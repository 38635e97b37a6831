"""Functions of the encoder whose gradients are written by hand.

Left to itself, TensorFlow differentiates every operation of a formula and
passes over the same activations a dozen times. Here each gradient is one
formula with few passes and few values kept for it. Only standard operations
are used, so the functions run wherever the rest does.

Sizes are named as in `modeling.py`.
"""

import contextlib
import functools
import math
import threading

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import xla

# 2 * sqrt(2 / pi) and that times 0.044715: the polynomial inside the GELU.
_GELU_LINEAR = 2.0 * math.sqrt(2.0 / math.pi)
_GELU_CUBIC = 0.044715 * _GELU_LINEAR

LAYER_NORM_EPSILON = 1e-12
_RANDOM_BITS = 16


_local = threading.local()


@contextlib.contextmanager
def gradients_by_hand(by_hand=True):
  """Builds with the gradients of this module, not those TensorFlow derives.

  A graph only names its gradient functions, and only the process that built it
  knows them. So they are used in this context only: any other graph can be
  saved and trained by programs without this module, as a Hub module is.
  """
  before = has_gradients_by_hand()
  _local.by_hand = by_hand
  try:
    yield
  finally:
    _local.by_hand = before


def has_gradients_by_hand():
  """Returns whether `gradients_by_hand` is on."""
  return getattr(_local, "by_hand", False)


# Differs in each copy of this module that a program may have imported.
_GRADIENT_TYPE = "GradientByHand%x" % id(_local)


@contextlib.contextmanager
def computing_in(dtype):
  """Builds with the products of `matmul` in a data type.

  Args:
    dtype: str or tf.DType. float32, bfloat16 or float16; or int8, which applies
      to dense layers only, see `int8`, and leaves the rest in float32.
  """
  before = getattr(_local, "dtype", tf.float32)
  _local.dtype = (
      tf.float32 if getattr(_local, "exact", False) else tf.as_dtype(dtype))
  try:
    yield
  finally:
    _local.dtype = before


@contextlib.contextmanager
def computing_exactly():
  """Builds in float32, whatever `computing_in` says inside."""
  _local.exact = True
  try:
    yield
  finally:
    _local.exact = False


def compute_dtype():
  """Returns the tf.DType of `computing_in`; float32 outside, and with int8."""
  return tf.float32 if has_integers() else getattr(_local, "dtype", tf.float32)


def has_integers():
  """Returns whether dense layers are computed in int8."""
  return getattr(_local, "dtype", tf.float32) == tf.int8


def matmul(a, b, dtype=None, **transposed):
  """Multiplies matrices in the data type of `computing_in`.

  Operands and result are rounded to it, and so are those of the gradients;
  everything around the product stays float32 (Micikevicius et al., "Mixed
  Precision Training", arXiv 1710.03740).

  Args:
    a: float32 Tensor.
    b: float32 Tensor.
    dtype: tf.DType. Overrides that of `computing_in`.
    **transposed: `transpose_a` and `transpose_b` of `tf.matmul`.

  Returns:
    float32 Tensor.
  """
  dtype = dtype or compute_dtype()
  if dtype == tf.float32:
    return tf.matmul(a, b, **transposed)
  product = tf.matmul(tf.cast(a, dtype), tf.cast(b, dtype), **transposed)
  return tf.cast(product, tf.float32)


def custom_gradient(function):
  """`tf.custom_gradient` that does not keep the graph alive.

  TensorFlow's keeps every graph that uses it until the process ends: tens of
  megabytes for each training and each evaluation.

  Args:
    function: function of Tensors that returns a Tensor or a list of them, and a
      function that takes the gradients of the loss with respect to those and
      returns those with respect to its arguments; None for no gradient.

  Returns:
    A function of the same Tensors that returns the Tensor or the list.
  """
  @functools.wraps(function)
  def call(*tensors):
    tensors = [tf.convert_to_tensor(tensor) for tensor in tensors]
    output, gradient = function(*tensors)
    if tf.executing_eagerly():
      return output
    if xla.is_inside():
      # A value kept for the gradient would be one more output of the program.
      # Computing it again from the inputs is cheaper than writing it to memory.
      def gradient(*upstream):
        return function(*tensors)[1](*upstream)
    outputs = tf.nest.flatten(output)
    graph = tf.get_default_graph()
    with graph.gradient_override_map({"IdentityN": _GRADIENT_TYPE}):
      same = tf.identity_n(outputs + tensors)[:len(outputs)]
    if not hasattr(graph, _GRADIENT_TYPE):
      setattr(graph, _GRADIENT_TYPE, {})  # kept by the graph alone
    getattr(graph, _GRADIENT_TYPE)[same[0].op.name] = len(outputs), gradient
    return tf.nest.pack_sequence_as(output, same)

  return call


@tf.RegisterGradient(_GRADIENT_TYPE)
def _call_gradient(op, *upstream):
  """Returns the gradients of the IdentityN that `custom_gradient` adds."""
  num_outputs, gradient = getattr(op.graph, _GRADIENT_TYPE)[op.name]
  return [None] * num_outputs + tf.nest.flatten(
      gradient(*upstream[:num_outputs]))


def with_gradient(function):
  """`custom_gradient` in `gradients_by_hand`, else the function alone."""
  by_hand = custom_gradient(function)

  @functools.wraps(function)
  def call(*tensors):
    if getattr(_local, "by_hand", False):
      return by_hand(*tensors)
    return function(*tensors)[0]

  return call


@with_gradient
def gelu(x):
  """Gaussian Error Linear Unit, in its tanh form.

  Source: Hendrycks and Gimpel, arXiv 1606.08415, section 2. As 1 + tanh(z / 2)
  is 2 * sigmoid(z), `0.5 * x * (1 + tanh(z / 2))` is `x * sigmoid(z)`.

  Args:
    x: float Tensor of any shape.

  Returns:
    `x` with the activation applied.
  """
  square = tf.square(x)
  gate = tf.sigmoid(x * (_GELU_CUBIC * square + _GELU_LINEAR))

  def gradient(upstream):
    # x * dz/dx, then d(x * gate)/dx. Only the last step needs `upstream`, so
    # that one matrix is all that is kept from the forward pass.
    slope = x * (3.0 * _GELU_CUBIC * square + _GELU_LINEAR)
    return upstream * (gate + tf.raw_ops.SigmoidGrad(y=gate, dy=slope))

  return x * gate, gradient


@with_gradient
def gelu_erf(x):
  """Gaussian Error Linear Unit in its exact form, x * P(X <= x).

  Source: Hendrycks and Gimpel, arXiv 1606.08415, section 2; X is a standard
  normal variable.

  Args:
    x: float Tensor of any shape.

  Returns:
    `x` with the activation applied.
  """
  share = 0.5 * (1.0 + tf.math.erf(x * math.sqrt(0.5)))  # P(X <= x)

  def gradient(upstream):
    density = math.sqrt(0.5 / math.pi) * tf.exp(-0.5 * tf.square(x))
    return upstream * (share + x * density)

  return x * share, gradient


def normalize(x, gamma, beta, epsilon=LAYER_NORM_EPSILON):
  """Layer norm of the last dimension (Ba et al., arXiv 1607.06450, section 3).

  Args:
    x: float Tensor [..., W].
    gamma: float Tensor [W], the scale.
    beta: float Tensor [W], the shift.
    epsilon: float. Added to the variance.

  Returns:
    A Tensor of the shape of `x`.
  """
  @with_gradient
  def scale_and_shift(x, gamma, beta):
    centered = x - tf.reduce_mean(x, axis=-1, keepdims=True)
    scale = tf.rsqrt(
        tf.reduce_mean(tf.square(centered), axis=-1, keepdims=True) +
        epsilon)  # [..., 1]
    normalized = centered * scale

    def gradient(upstream):
      width = tf.cast(tf.shape(x)[-1], x.dtype)
      rows = tf.reshape(upstream, [-1, tf.shape(x)[-1]])
      products = rows * tf.reshape(normalized, tf.shape(rows))
      # Sums over rows and weighted sums within rows are products with a vector.
      ones = tf.ones([1, tf.shape(rows)[0]], x.dtype)
      weights = tf.expand_dims(gamma / width, 1)  # [W, 1]
      mean_shape = tf.shape(scale)
      mean = tf.reshape(tf.matmul(rows, weights), mean_shape)
      projection = tf.reshape(tf.matmul(products, weights), mean_shape)
      to_x = scale * (upstream * gamma - normalized * projection - mean)
      return (to_x, tf.squeeze(tf.matmul(ones, products), 0),
              tf.squeeze(tf.matmul(ones, rows), 0))

    return normalized * gamma + beta, gradient

  return scale_and_shift(x, gamma, beta)


def dropout(x, rate):
  """Multiplies by a `dropout_mask`.

  Args:
    x: float32 Tensor of any shape.
    rate: float above 0, below 1.

  Returns:
    A Tensor of the shape of `x`.
  """
  key = xla.next_key()

  @with_gradient
  def multiply(x):
    mask = dropout_mask(tf.shape(x), rate, key)
    return x * mask, lambda upstream: upstream * mask

  return multiply(x)


def dropout_mask(shape, rate, key=None):
  """Draws 0 with probability `rate`, else 1 / (1 - rate), for each value.

  Each value takes 16 random bits, so `rate` is rounded to a multiple of
  1 / 65,536, for the scale as well. The bits come from a counter-based
  generator (Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3"),
  whose key is a random number, the same each time with --tf_random_seed.

  Args:
    shape: list of int and int32 scalar Tensors, or int32 Tensor.
    rate: float above 0, below 1.
    key: int32 [2], from `xla.next_key`. None for a new one.

  Returns:
    float32 Tensor of that shape.
  """
  shape = tf.convert_to_tensor(shape)
  if key is None:
    key = xla.draw_key()
  if not hasattr(tf.raw_ops, "StatelessRandomUniformFullInt"):
    # TensorFlow 1.15 draws numbers only, not bits.
    keep = tf.greater_equal(tf.random.stateless_uniform(shape, key), rate)
    return tf.cast(keep, tf.float32) * (1.0 / (1.0 - rate))
  # Some values are kept whatever the rate, or the scale would be infinite.
  dropped = min(int(round(rate * 2 ** _RANDOM_BITS)), 2 ** _RANDOM_BITS - 1)
  scale = 1.0 / (1.0 - dropped / 2.0 ** _RANDOM_BITS)
  size = tf.reduce_prod(shape)
  words = tf.raw_ops.StatelessRandomUniformFullInt(
      shape=[(size + 3) // 4], seed=key, dtype=tf.int64)
  bits = tf.reshape(tf.bitcast(words, tf.int16), [-1])[:size]
  keep = tf.greater_equal(bits, dropped - 2 ** (_RANDOM_BITS - 1))
  return tf.reshape(tf.cast(keep, tf.float32) * scale, shape)


def attend(query, key, value, bias, dropout_rate):
  """Attention of one set of positions to another (arXiv 1706.03762, 3.2.1).

  Args:
    query: float32 [B, N, F, H], scaled already.
    key: float32 [B, N, T, H].
    value: float32 [B, N, T, H].
    bias: float32 [B, 1, 1, T], added to the scores.
    dropout_rate: float, or None. Dropout of the probabilities.

  Returns:
    float32 [B, N, F, H], the means of the values.
  """
  sizes = tf.shape(query)
  sizes = [sizes[0], sizes[1], sizes[2], tf.shape(key)[2]]
  random_key = xla.next_key() if dropout_rate else None
  # The gradient is built later, outside of `computing_in`.
  multiply = functools.partial(matmul, dtype=compute_dtype())

  @with_gradient
  def mean_values(query, key, value):
    probs = tf.nn.softmax(multiply(query, key, transpose_b=True) + bias)
    mask = dropout_mask(
        sizes, dropout_rate, random_key) if dropout_rate else None
    weights = probs if mask is None else probs * mask
    context = multiply(weights, value)

    def gradient(upstream):
      to_probs = multiply(upstream, value, transpose_b=True)
      if mask is not None:
        to_probs *= mask
      # The gradient of the softmax needs the sum of to_probs * probs over T.
      # It equals that of upstream * context over H (Dao et al., arXiv
      # 2205.14135, appendix B.2), which reads less if T is larger than H.
      total = tf.reduce_sum(upstream * context, axis=-1, keepdims=True)
      to_scores = (to_probs - total) * probs
      return (multiply(to_scores, key),
              multiply(to_scores, query, transpose_a=True),
              multiply(weights, upstream, transpose_a=True))

    return context, gradient

  return mean_values(query, key, value)
