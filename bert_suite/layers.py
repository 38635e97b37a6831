"""The pieces of the encoder: activations, dropout, layer norm, embeddings.

`modeling.py` has all of these under the same names, and explains the sizes.
"""

import numbers

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import int8, kernels, xla

gelu = kernels.gelu

# "gelu_new" is Hugging Face's name for the tanh form, which is the reference's
# "gelu"; what Hugging Face calls "gelu" is "gelu_erf" here.
ACTIVATIONS = {"": None, "linear": None, "relu": tf.nn.relu, "gelu": gelu,
               "gelu_new": gelu, "gelu_erf": kernels.gelu_erf, "tanh": tf.tanh}


def get_activation(activation_string):
  """Returns the activation of a name.

  Args:
    activation_string: one of ACTIVATIONS, in upper or lower case, or None
      (linear); anything that is not a string is returned as it is.

  Returns:
    A function of one Tensor, or None for linear.

  Raises:
    ValueError: the name is unknown.
  """
  if not isinstance(activation_string, str):
    return activation_string
  if activation_string.lower() not in ACTIVATIONS:
    raise ValueError(
        "Unknown activation %r; expected one of %s" %
        (activation_string, ", ".join(sorted(filter(None, ACTIVATIONS)))))
  return ACTIVATIONS[activation_string.lower()]


def dropout(input_tensor, dropout_prob, packed=False):
  """Zeroes each value with probability `dropout_prob` and scales the others.

  Args:
    input_tensor: float Tensor of any shape.
    dropout_prob: float or None. Probability of *dropping* a value.
    packed: bool. Draws bits rather than numbers, which is cheaper; so does a
      training that derives random numbers from its seed and step. TPUs, where
      tokens are never packed, have no such generator.

  Returns:
    A Tensor of the same shape; the input itself for 0 and None.
  """
  if not dropout_prob:
    return input_tensor
  if packed or xla.has_keys():
    return kernels.dropout(input_tensor, dropout_prob)
  return tf.nn.dropout(input_tensor, rate=dropout_prob)


def layer_norm(input_tensor, name=None, epsilon=kernels.LAYER_NORM_EPSILON):
  """Normalizes the last dimension (Ba et al., arXiv 1607.06450, section 3).

  Args:
    input_tensor: float Tensor [..., W].
    name: str. Variable scope; "LayerNorm" if None.
    epsilon: float. Added to the variance.

  Returns:
    A Tensor of the same shape.
  """
  with tf.variable_scope(name, default_name="LayerNorm"):
    width = input_tensor.shape[-1:]
    beta = tf.get_variable("beta", width, initializer=tf.zeros_initializer())
    gamma = tf.get_variable("gamma", width, initializer=tf.ones_initializer())
    return kernels.normalize(input_tensor, gamma, beta, epsilon)


def layer_norm_and_dropout(input_tensor, dropout_prob, name=None, packed=False,
                           epsilon=kernels.LAYER_NORM_EPSILON):
  """Applies `layer_norm`, then `dropout`."""
  return dropout(layer_norm(input_tensor, name, epsilon), dropout_prob, packed)


def create_initializer(initializer_range=0.02):
  """Returns a normal initializer truncated at two standard deviations."""
  return tf.truncated_normal_initializer(stddev=initializer_range)


def dense(input_tensor, size, activation=None, initializer=None, name="dense"):
  """A fully connected layer.

  Args:
    input_tensor: float Tensor [rows, in].
    size: int. Width of the output.
    activation: function of a Tensor, or None.
    initializer: initializer of the kernel.
    name: str. Variable scope of `kernel` [in, size] and `bias` [size].

  Returns:
    float Tensor [rows, size].
  """
  with tf.variable_scope(name):
    kernel = tf.get_variable(
        "kernel", [get_shape_list(input_tensor, 2)[1], size],
        initializer=initializer)
    bias = tf.get_variable("bias", [size], initializer=tf.zeros_initializer())
    if kernels.has_integers():
      output = int8.dense(input_tensor, kernel, bias)
    else:
      output = tf.nn.bias_add(kernels.matmul(input_tensor, kernel), bias)
    return activation(output) if activation else output


def dense_layer_2d(input_tensor, output_size, initializer, activation,
                   name=None):
  """A `dense` layer of [B, F, W], as the PyPI release calls it.

  Args:
    input_tensor: float Tensor [B, F, W].
    output_size: int.
    initializer: initializer of the kernel.
    activation: function of a Tensor, or None.
    name: str. Variable scope; "dense" if None.

  Returns:
    float Tensor [B, F, output_size].
  """
  output = dense(reshape_to_matrix(input_tensor), output_size, activation,
                 initializer, name or "dense")
  return reshape_from_matrix(output, get_shape_list(input_tensor))


def dense_layer_3d(input_tensor, num_attention_heads, size_per_head,
                   initializer, activation, name=None):
  """`dense_layer_2d` into heads: [B, F, W] to [B, F, N, H]."""
  output = dense_layer_2d(input_tensor, num_attention_heads * size_per_head,
                          initializer, activation, name)
  shape = get_shape_list(input_tensor, expected_rank=3)
  return tf.reshape(output, shape[:2] + [num_attention_heads, size_per_head])


def dense_layer_3d_proj(input_tensor, hidden_size, num_attention_heads,
                        head_size, initializer, activation, name=None):
  """`dense_layer_2d` of all heads: [B, F, N, H] to [B, F, hidden_size]."""
  shape = get_shape_list(input_tensor, expected_rank=4)
  merged = tf.reshape(
      input_tensor, shape[:2] + [num_attention_heads * head_size])
  return dense_layer_2d(merged, hidden_size, initializer, activation, name)


def embedding_lookup(
    input_ids, vocab_size, embedding_size=128, initializer_range=0.02,
    word_embedding_name="word_embeddings", use_one_hot_embeddings=False):
  """Looks ids up in a table.

  Args:
    input_ids: int32 [B, S], or [R] for packed tokens, or [B, S, inputs] for
      several ids per position.
    vocab_size: int. Rows of the table.
    embedding_size: int. Width of the table.
    initializer_range: float. Standard deviation of the initial table.
    word_embedding_name: str. Name of the table's variable.
    use_one_hot_embeddings: bool. Uses a matrix product instead of a gather.

  Returns:
    float32 [B, S, embedding_size] (or [R, embedding_size], or [B, S, inputs *
    embedding_size]) and the table, float32 [V, embedding_size].
  """
  table = tf.get_variable(
      word_embedding_name, [vocab_size, embedding_size],
      initializer=create_initializer(initializer_range))
  if use_one_hot_embeddings:
    flat_ids = tf.reshape(input_ids, [-1])
    output = tf.matmul(tf.one_hot(flat_ids, vocab_size), table)
  else:
    output = tf.gather(table, input_ids)
  shape = get_shape_list(input_ids)
  inputs = shape.pop() if len(shape) == 3 else 1
  return tf.reshape(output, shape + [inputs * embedding_size]), table


def embedding_postprocessor(
    input_tensor, use_token_type=False, token_type_ids=None,
    token_type_vocab_size=16, token_type_embedding_name="token_type_embeddings",
    use_position_embeddings=True, position_embedding_name="position_embeddings",
    initializer_range=0.02, max_position_embeddings=512, dropout_prob=0.1,
    position_ids=None, layer_norm_eps=kernels.LAYER_NORM_EPSILON):
  """Adds token type and position embeddings, then layer norm and dropout.

  Args:
    input_tensor: float32 [B, S, W], or [R, W] for packed tokens.
    use_token_type: bool. Adds embeddings for `token_type_ids`.
    token_type_ids: int32 [B, S] or [R].
    token_type_vocab_size: int. Number of token types.
    token_type_embedding_name: str. Name of the token type table.
    use_position_embeddings: bool. Adds position embeddings.
    position_embedding_name: str. Name of the position table.
    initializer_range: float. Standard deviation of the initial tables.
    max_position_embeddings: int. Rows of the position table.
    dropout_prob: float. Dropout of the result.
    position_ids: int [R]. Positions of packed tokens; None for [B, S, W], where
      they are 0 to S - 1.
    layer_norm_eps: float. See `layer_norm`.

  Returns:
    A Tensor with the shape of `input_tensor`.

  Raises:
    ValueError: `token_type_ids` are missing or the sequence is too long.
  """
  shape = get_shape_list(input_tensor, 3 if position_ids is None else 2)
  width = shape[-1]
  output = input_tensor

  if use_token_type:
    if token_type_ids is None:
      raise ValueError("`use_token_type` needs `token_type_ids`")
    table = tf.get_variable(
        token_type_embedding_name, [token_type_vocab_size, width],
        initializer=create_initializer(initializer_range))
    # The table is tiny: a matrix product is fast everywhere, and its gradient
    # is one dense table.
    one_hot = tf.one_hot(tf.reshape(token_type_ids, [-1]),
                         token_type_vocab_size)
    output += tf.reshape(tf.matmul(one_hot, table), shape)

  if use_position_embeddings:
    table = tf.get_variable(
        position_embedding_name, [max_position_embeddings, width],
        initializer=create_initializer(initializer_range))
    if position_ids is None:
      with tf.control_dependencies(
          check_seq_length(shape[1], max_position_embeddings)):
        output += tf.slice(table, [0, 0], [shape[1], -1])  # [S, W]
    else:
      # With two-column indices the gradient of gather_nd is one dense table.
      # That of tf.gather would be rows not yet summed, each of which would be
      # counted separately in the global norm for clipping.
      cells = tf.stack([tf.zeros_like(position_ids), position_ids], axis=1)
      output += tf.gather_nd(table[tf.newaxis], cells)  # [R, W]

  return layer_norm_and_dropout(
      output, dropout_prob, packed=position_ids is not None,
      epsilon=layer_norm_eps)


def check_seq_length(seq_length, max_position_embeddings):
  """Checks a sequence length against the rows of the position table.

  Args:
    seq_length: int, or int32 scalar Tensor if it is not known yet.
    max_position_embeddings: int.

  Returns:
    A list of assertion ops, empty if the length is known and was checked.

  Raises:
    ValueError: the sequence is too long.
  """
  message = ("The model reads at most %d positions (max_position_embeddings); "
             "give a smaller --max_seq_length" % max_position_embeddings)
  if isinstance(seq_length, numbers.Integral):
    if seq_length > max_position_embeddings:
      raise ValueError("%s, found %d" % (message, seq_length))
    return []
  return [tf.assert_less_equal(
      seq_length, max_position_embeddings, message=message)]


def get_shape_list(tensor, expected_rank=None, name=None):
  """Returns a Tensor's shape, static where possible.

  Args:
    tensor: Tensor.
    expected_rank: int or list of int, checked if given.
    name: str. Name for the error message.

  Returns:
    A list of int, with int32 scalar Tensors for dimensions not known yet.

  Raises:
    ValueError: the rank is not the expected one.
  """
  if expected_rank is not None:
    assert_rank(tensor, expected_rank, name)
  shape = tensor.shape.as_list()
  if None in shape:
    dynamic_shape = tf.shape(tensor)
    shape = [dynamic_shape[i] if size is None else size
             for i, size in enumerate(shape)]
  return shape


def reshape_to_matrix(input_tensor):
  """Reshapes [..., W] to [rows, W]; a matrix is returned as it is.

  Raises:
    ValueError: the rank is below 2.
  """
  rank = input_tensor.shape.ndims
  if rank < 2:
    raise ValueError("Expected a Tensor of rank 2 or more; %s has shape %s" %
                     (input_tensor.name, input_tensor.shape))
  if rank == 2:
    return input_tensor
  return tf.reshape(input_tensor, [-1, get_shape_list(input_tensor)[-1]])


def reshape_from_matrix(output_tensor, orig_shape_list):
  """Undoes `reshape_to_matrix`; the width may have changed.

  Args:
    output_tensor: Tensor [rows, width].
    orig_shape_list: list, the shape before `reshape_to_matrix`.

  Returns:
    Tensor [*orig_shape_list[:-1], width].
  """
  if len(orig_shape_list) == 2:
    return output_tensor
  width = get_shape_list(output_tensor)[-1]
  return tf.reshape(output_tensor, list(orig_shape_list[:-1]) + [width])


def assert_rank(tensor, expected_rank, name=None):
  """Raises ValueError unless `tensor` has one of the expected ranks.

  Args:
    tensor: Tensor.
    expected_rank: int or list of int.
    name: str. Name for the message; the tensor's own if None.
  """
  ranks = ([expected_rank] if isinstance(expected_rank, int)
           else list(expected_rank))
  if tensor.shape.ndims not in ranks:
    raise ValueError(
        "Tensor %s in scope \"%s\" has rank %s (shape %s); expected rank %s" %
        (name or tensor.name, tf.get_variable_scope().name, tensor.shape.ndims,
         tensor.shape, " or ".join(str(r) for r in ranks)))


def make_packed_layer(packing, finish, attend):
  """Makes a layer: a function of [R, W] and of positions [B, P], or None."""
  def add_layer(hidden, positions=None):
    with tf.variable_scope("attention/self"):
      attention = attend(hidden, positions)
    if positions is not None:
      hidden = packing.take(hidden, positions)
    return xla.call(finish, attention, hidden)

  return add_layer


def make_padded_layer(attention_mask, sizes, finish, attend):
  """Makes a layer: a function of [B * S, W]. It is a single program.

  Args:
    attention_mask: float32 [B, F, S] or [B, 1, S], or None.
    sizes: list of B and S, int or int32 scalar Tensor.
    finish: function of the attention and of the input.
    attend: function, `modeling.attention_layer`.
  """
  def build(hidden, attention_mask=None):
    batch_size, seq_length = sizes
    if xla.is_inside() and attention_mask is not None:
      # A program may only use its own Tensors.
      batch_size, _, seq_length = get_shape_list(attention_mask)
    with tf.variable_scope("attention/self"):
      attention = attend(
          hidden, hidden, attention_mask, batch_size=batch_size,
          from_seq_length=seq_length, to_seq_length=seq_length)
    return finish(attention, hidden)

  def add_layer(hidden):
    return xla.call(build, hidden, *(
        [] if attention_mask is None else [attention_mask]))

  return add_layer


def finish_layer(attention, hidden, intermediate_size, activation,
                 dropout_prob, initializer, packed, layer_norm_eps):
  """What follows the self-attention of a layer, one token at a time.

  A residual connection goes around the self-attention, another one around the
  feed-forward matrices.

  Args:
    attention: float32 [rows, W]. The output of the self-attention.
    hidden: float32 [rows, W]. The input of the layer.
    intermediate_size: int. Width between the two feed-forward matrices.
    activation: function, applied between them.
    dropout_prob: float. Dropout of both sublayers' outputs.
    initializer: initializer of the kernels.
    packed: bool. The rows are packed tokens.
    layer_norm_eps: float. See `layer_norm`.

  Returns:
    float32 [rows, W].
  """
  width = get_shape_list(hidden)[-1]

  def add_and_normalize(output, residual):
    output = dropout(output, dropout_prob, packed)
    return layer_norm(output + residual, epsilon=layer_norm_eps)

  with tf.variable_scope("attention/output"):
    attention = dense(attention, width, None, initializer)
    attention = add_and_normalize(attention, hidden)
  with tf.variable_scope("intermediate"):
    intermediate = dense(attention, intermediate_size, activation, initializer)
  with tf.variable_scope("output"):
    return add_and_normalize(
        dense(intermediate, width, None, initializer), attention)
