"""The BERT encoder: embeddings, Transformer layers, pooler.

Method: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers
for Language Understanding" (arXiv 1810.04805); the layers are those of Vaswani
et al., "Attention Is All You Need" (arXiv 1706.03762), section 3.

Sizes, as the comments at the ends of lines name them:
  B  batch            S  sequence length, padding included
  F  "from" length    T  "to" length (equal to F in self-attention)
  N  attention heads  H  size of one head
  W  hidden size      R  real tokens in the batch, padding left out
  V  vocabulary
"""

import collections
import copy
import functools
import math
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import files, kernels, padding, recomputation, xla
# Programs import all these names from this module.
from .config import (  # noqa: F401
    BertConfig, Options, check_config, get_layer_norm_eps, make_options)
from .layers import (  # noqa: F401
    ACTIVATIONS, assert_rank, check_seq_length, create_initializer, dense,
    dense_layer_2d, dense_layer_3d, dense_layer_3d_proj, dropout,
    embedding_lookup, embedding_postprocessor, finish_layer, gelu,
    get_activation, get_shape_list, layer_norm, layer_norm_and_dropout,
    make_packed_layer, make_padded_layer, reshape_from_matrix,
    reshape_to_matrix)


class BertModel:
  """The encoder, from token ids to one vector per token and per sequence.

  ```python
  config = modeling.BertConfig(vocab_size=32000, hidden_size=512,
                               num_hidden_layers=8, num_attention_heads=8,
                               intermediate_size=1024)
  model = modeling.BertModel(config=config, is_training=True,
                             input_ids=input_ids, input_mask=input_mask,
                             token_type_ids=token_type_ids)
  logits = tf.matmul(model.get_pooled_output(), label_embeddings)
  ```
  """

  def __init__(self, config, is_training, input_ids, input_mask=None,
               token_type_ids=None, use_one_hot_embeddings=False, scope=None,
               output_positions=None, options=None, remove_padding=False):
    """Builds the graph.

    Args:
      config: BertConfig; copied, so later changes do not affect the model.
      is_training: bool. Applies dropout when True.
      input_ids: int32 [B, S]. Ids of the word pieces.
      input_mask: int32 [B, S]. 1 for real tokens, 0 for padding; all ones if
        None.
      token_type_ids: int32 [B, S]. Segments; all zeros if None.
      use_one_hot_embeddings: bool. Same as in `options`; either will do.
      scope: str. Variable scope; "bert" if None.
      output_positions: int32 [B, P]. Positions of real tokens that
        `get_positions_output` returns. With `remove_padding` the last layer is
        then computed only for these and, for the pooled output, for the first
        token; pass a tensor [B, 0] if the pooled output is all you need. The
        sequence output, if fetched, is computed separately, with its own
        dropout.
      options: Options; None for the defaults.
      remove_padding: bool. Same as in `options`; either will do.

    Raises:
      ValueError: the config is invalid, a tensor has the wrong rank, S exceeds
        `max_position_embeddings`, or execution is eager.
    """
    if tf.executing_eagerly():
      raise ValueError(
          "BertModel builds a TensorFlow 1.x graph: call "
          "tf.disable_v2_behavior() at the start of the program, or build it "
          "inside `with tf.Graph().as_default():`")
    options = make_options(options, use_one_hot_embeddings, remove_padding)
    config = copy.deepcopy(config)
    check_config(config)
    if not is_training:
      config.hidden_dropout_prob = 0.0
      config.attention_probs_dropout_prob = 0.0
    input_ids, input_mask, token_type_ids, packing = _complete_inputs(
        config, is_training, input_ids, input_mask, token_type_ids, options)

    with tf.variable_scope(scope, default_name="bert"), \
        kernels.gradients_by_hand(packing or options.compiled), \
        xla.compiling(options.compiled), \
        kernels.computing_in(options.compute_dtype):
      embeddings, self.embedding_table = _embed(
          config, input_ids, token_type_ids, options, packing)
      positions = None
      if output_positions is not None:
        positions = tf.concat(  # [B, 1 + P]
            [tf.zeros([get_shape_list(input_ids)[0], 1], tf.int32),
             tf.cast(output_positions, tf.int32)], axis=1)
      layers, at_positions = _encode(
          config, embeddings, input_mask, packing, positions,
          options.recompute_grad and is_training)
      # Of these, a session computes only what is fetched.
      self.embedding_output = (
          packing.unpack(embeddings) if packing else embeddings)  # [B, S, W]
      self.all_encoder_layers = layers
      self.sequence_output = layers[-1]
      if at_positions is None:
        first_token_output = self.sequence_output[:, 0]
        self.positions_output = None
      else:
        first_token_output = at_positions[:, 0]
        self.positions_output = at_positions[:, 1:]  # [B, P, W]

      with tf.variable_scope("pooler"):
        self.pooled_output = xla.call(
            functools.partial(_pool, config, bool(packing)),
            first_token_output, input_mask)  # [B, W]

  def get_pooled_output(self):
    """Returns float32 [B, W]: the first token through a dense tanh layer."""
    return self.pooled_output

  def get_sequence_output(self):
    """Returns float32 [B, S, W]: the last encoder layer."""
    return self.sequence_output

  def get_positions_output(self):
    """Returns float32 [B, P, W]: the last layer at `output_positions`."""
    return self.positions_output

  def get_all_encoder_layers(self):
    """Returns a list of float32 [B, S, W], one per encoder layer."""
    return self.all_encoder_layers

  def get_embedding_output(self):
    """Returns float32 [B, S, W]: the input of the first encoder layer.

    That is the sum of word, token type and position embeddings after layer
    norm and dropout. With `remove_padding` it is a copy laid out with padding,
    and no gradient reaches it from the outputs.
    """
    return self.embedding_output

  def get_embedding_table(self):
    """Returns the word embedding variable, float32 [V, W]."""
    return self.embedding_table


def _complete_inputs(config, is_training, input_ids, input_mask,
                     token_type_ids, options):
  """Checks the inputs of a BertModel and fills in those left out.

  Args:
    config: BertConfig.
    is_training: bool.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S], or None.
    token_type_ids: int32 [B, S], or None.
    options: Options.

  Returns:
    input_ids, input_mask and token_type_ids, int32 [B, S] each, and the Packing
    of their real tokens, or None if padding is computed too.
  """
  batch_size, seq_length = get_shape_list(input_ids, expected_rank=2)
  with tf.control_dependencies(
      check_seq_length(seq_length, config.max_position_embeddings)):
    input_ids = tf.identity(input_ids)
    if input_mask is not None:  # without padding, positions come from it
      input_mask = tf.identity(input_mask)
  packing = None
  if input_mask is None:
    input_mask = tf.ones([batch_size, seq_length], tf.int32)
  elif options.remove_padding:
    few_shapes = options.few_shapes or options.compiled
    packing = padding.Packing(
        input_mask, batch_size, seq_length, few_shapes,
        padding.count_groups(batch_size, is_training, few_shapes),
        options.compiled)
  if token_type_ids is None:
    token_type_ids = tf.zeros([batch_size, seq_length], tf.int32)
  return input_ids, input_mask, token_type_ids, packing


def _pool(config, is_packed, first_token_output, input_mask):
  """Applies a dense tanh layer to `[B, W]`; zeros where a token is padding."""
  pooled_output = dense(
      first_token_output, config.hidden_size, tf.tanh,
      create_initializer(config.initializer_range))
  if is_packed:
    pooled_output *= tf.cast(
        tf.equal(tf.cast(input_mask[:, :1], tf.int32), 1), tf.float32)
  return pooled_output


def _embed(config, input_ids, token_type_ids, options, packing):
  """Embeds `[B, S]` ids; returns `[B, S, W]`, or `[R, W]`, and the table."""
  if packing:
    input_ids = packing.pack(input_ids)  # [R]
    token_type_ids = packing.pack(token_type_ids)  # [R]
  with tf.variable_scope("embeddings"):
    word_embeddings, table = embedding_lookup(
        input_ids, config.vocab_size, config.hidden_size,
        config.initializer_range,
        use_one_hot_embeddings=options.use_one_hot_embeddings)

    def postprocess(word_embeddings, token_type_ids, position_ids=None):
      return embedding_postprocessor(
          word_embeddings, use_token_type=True, token_type_ids=token_type_ids,
          token_type_vocab_size=config.type_vocab_size,
          initializer_range=config.initializer_range,
          max_position_embeddings=config.max_position_embeddings,
          dropout_prob=config.hidden_dropout_prob, position_ids=position_ids,
          layer_norm_eps=get_layer_norm_eps(config))

    return xla.call(postprocess, word_embeddings, token_type_ids, *(
        [packing.position_ids] if packing else [])), table


def _encode(config, embeddings, input_mask, packing, positions,
            recompute_grad):
  """Builds the Transformer layers on the embeddings.

  Args:
    config: BertConfig.
    embeddings: float32 [B, S, W], or [R, W] with `packing`.
    input_mask: int32 [B, S].
    packing: Packing, or None.
    positions: int32 [B, P], or None.
    recompute_grad: bool. See `Options`.

  Returns:
    list of float32 [B, S, W], one for each layer, and float32 [B, P, W], the
    last layer at `positions`, or None without them.
  """
  with tf.variable_scope("encoder"):
    layers = transformer_model(
        embeddings,
        attention_mask=(
            None if packing else
            tf.cast(input_mask, tf.float32)[:, tf.newaxis]),  # [B, 1, T]
        hidden_size=config.hidden_size,
        num_hidden_layers=config.num_hidden_layers,
        num_attention_heads=config.num_attention_heads,
        intermediate_size=config.intermediate_size,
        intermediate_act_fn=get_activation(config.hidden_act),
        hidden_dropout_prob=config.hidden_dropout_prob,
        attention_probs_dropout_prob=config.attention_probs_dropout_prob,
        initializer_range=config.initializer_range,
        do_return_all_layers=True, packing=packing,
        positions=positions if packing else None,
        layer_norm_eps=get_layer_norm_eps(config),
        recompute_grad=recompute_grad)
  if not packing:
    return layers, None if positions is None else tf.gather(
        layers[-1], positions, batch_dims=1)
  at_positions = None
  if positions is not None:
    layers, at_positions = layers
    at_positions = tf.reshape(
        at_positions, get_shape_list(positions) + [config.hidden_size])
  return [packing.unpack(x) for x in layers], at_positions


def get_assignment_map_from_checkpoint(tvars, init_checkpoint):
  """Pairs variables with those of the same name in a checkpoint.

  Args:
    tvars: list of variables.
    init_checkpoint: str. Prefix of a checkpoint, such as "bert_model.ckpt".

  Returns:
    assignment_map: OrderedDict from name to variable, for
      `tf.train.init_from_checkpoint`.
    initialized_variable_names: dict with a key for each name found, with and
      without ":0".
  """
  name_to_variable = collections.OrderedDict(
      (re.sub(r":\d+$", "", v.name), v) for v in tvars)
  assignment_map = collections.OrderedDict()
  initialized_variable_names = {}
  for name, _ in tf.train.list_variables(files.literal(init_checkpoint)):
    if name in name_to_variable:
      assignment_map[name] = name_to_variable[name]
      initialized_variable_names[name] = 1
      initialized_variable_names[name + ":0"] = 1
  return assignment_map, initialized_variable_names


def create_attention_mask_from_input_mask(from_tensor, to_mask):
  """Lets every "from" position see the unmasked "to" positions.

  Args:
    from_tensor: Tensor [B, F, ...]; only its shape is used.
    to_mask: int32 [B, T].

  Returns:
    float32 [B, F, T], 1 where attention is allowed.
  """
  from_shape = get_shape_list(from_tensor, expected_rank=[2, 3])
  batch_size, to_seq_length = get_shape_list(to_mask, expected_rank=2)
  to_mask = tf.cast(to_mask, tf.float32)[:, tf.newaxis]  # [B, 1, T]
  return to_mask * tf.ones([batch_size, from_shape[1], 1])  # [B, F, T]


def attention_layer(
    from_tensor, to_tensor, attention_mask=None, num_attention_heads=1,
    size_per_head=512, query_act=None, key_act=None, value_act=None,
    attention_probs_dropout_prob=0.0, initializer_range=0.02,
    do_return_2d_tensor=False, batch_size=None, from_seq_length=None,
    to_seq_length=None):
  """Multi-head attention (Vaswani et al., arXiv 1706.03762, section 3.2).

  Each "from" position compares its query with the keys of "to" positions and
  gets the mean of their values, weighted by softmax(query . key / sqrt(H)).
  With the same tensor for both it is self-attention.

  Args:
    from_tensor: float32 [B, F, from width], or [B * F, from width].
    to_tensor: float32 [B, T, to width], or [B * T, to width].
    attention_mask: int32 or float32 [B, F, T] (or [B, 1, T], the same for all
      of F): 1 where attention is allowed, 0 where not.
    num_attention_heads: int. N.
    size_per_head: int. H.
    query_act: activation of the query projection, or None.
    key_act: activation of the key projection, or None.
    value_act: activation of the value projection, or None.
    attention_probs_dropout_prob: float. Dropout of the probabilities.
    initializer_range: float. Standard deviation of the initial kernels.
    do_return_2d_tensor: bool. Returns [B * F, N * H] instead of [B, F, N * H].
    batch_size: int. B; needed with rank 2 tensors.
    from_seq_length: int. F; needed with rank 2 tensors.
    to_seq_length: int. T; needed with rank 2 tensors.

  Returns:
    float32 [B, F, N * H], or as `do_return_2d_tensor` says.

  Raises:
    ValueError: the ranks differ, or a length of rank 2 tensors is missing.
  """
  from_shape = get_shape_list(from_tensor, expected_rank=[2, 3])
  to_shape = get_shape_list(to_tensor, expected_rank=[2, 3])
  if len(from_shape) != len(to_shape):
    raise ValueError("from_tensor has rank %d and to_tensor rank %d; they must "
                     "be equal" % (len(from_shape), len(to_shape)))
  if len(from_shape) == 3:
    batch_size, from_seq_length = from_shape[:2]
    to_seq_length = to_shape[1]
  elif None in (batch_size, from_seq_length, to_seq_length):
    raise ValueError("Rank 2 tensors need batch_size, from_seq_length and "
                     "to_seq_length")
  width = num_attention_heads * size_per_head

  def project(tensor, seq_length, activation, name):
    """Projects and splits the heads: [B * S, in] to [B, N, S, H]."""
    x = dense(reshape_to_matrix(tensor), width, activation,
              create_initializer(initializer_range), name)
    x = tf.reshape(
        x, [batch_size, seq_length, num_attention_heads, size_per_head])
    return tf.transpose(x, [0, 2, 1, 3])

  query = project(from_tensor, from_seq_length, query_act, "query")
  key = project(to_tensor, to_seq_length, key_act, "key")
  value = project(to_tensor, to_seq_length, value_act, "value")

  # Scaling by 1 / sqrt(H) is cheapest here: F * H values, not F * T.
  query *= 1.0 / math.sqrt(float(size_per_head))
  scores = kernels.matmul(query, key, transpose_b=True)  # [B, N, F, T]
  if attention_mask is not None:
    # Far enough below any score that the softmax is exactly 0 there, yet
    # finite, so that a row without any allowed position does not become NaN.
    bias = (1.0 - tf.cast(attention_mask, tf.float32)) * -10000.0
    scores += tf.expand_dims(bias, axis=1)  # [B, 1, F or 1, T]
  probs = dropout(tf.nn.softmax(scores), attention_probs_dropout_prob)
  context = kernels.matmul(probs, value)  # [B, N, F, H]
  context = tf.transpose(context, [0, 2, 1, 3])  # [B, F, N, H]

  if do_return_2d_tensor:
    return tf.reshape(context, [-1, width])  # [B * F, N * H]
  return tf.reshape(context, [batch_size, from_seq_length, width])


def transformer_model(
    input_tensor, attention_mask=None, hidden_size=768, num_hidden_layers=12,
    num_attention_heads=12, intermediate_size=3072, intermediate_act_fn=gelu,
    hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
    initializer_range=0.02, do_return_all_layers=False, packing=None,
    positions=None, layer_norm_eps=kernels.LAYER_NORM_EPSILON,
    recompute_grad=False):
  """A stack of Transformer encoder layers (arXiv 1706.03762, section 3.1).

  Args:
    input_tensor: float32 [B, S, W], or [R, W] with `packing`.
    attention_mask: as in `attention_layer`.
    hidden_size: int. W.
    num_hidden_layers: int. Number of layers.
    num_attention_heads: int. N, which must divide W.
    intermediate_size: int. Width of the feed-forward layer.
    intermediate_act_fn: activation of the feed-forward layer.
    hidden_dropout_prob: float. Dropout of both sublayers' outputs.
    attention_probs_dropout_prob: float. Dropout of attention probabilities.
    initializer_range: float. Standard deviation of the initial kernels.
    do_return_all_layers: bool. Returns a list, one Tensor per layer.
    packing: Packing, if `input_tensor` is packed.
    positions: int32 [B, P], only with `packing`. Positions for which the last
      layer is computed separately, a second time.
    layer_norm_eps: float. See `layer_norm`.
    recompute_grad: bool. Computes each layer again for its gradient instead of
      keeping its activations.

  Returns:
    A Tensor shaped like `input_tensor`, or a list of them; with `positions` a
    pair of that and float32 [B * P, W].

  Raises:
    ValueError: N does not divide W, or the input is not W wide.
  """
  if hidden_size % num_attention_heads:
    raise ValueError("hidden_size %d is not a multiple of num_attention_heads "
                     "%d" % (hidden_size, num_attention_heads))
  input_shape = get_shape_list(input_tensor, 2 if packing else 3)
  if input_shape[-1] != hidden_size:
    raise ValueError("The input is %s wide and hidden_size is %d; the residual "
                     "connections need them equal" %
                     (input_shape[-1], hidden_size))
  finish = functools.partial(
      finish_layer, intermediate_size=intermediate_size,
      activation=intermediate_act_fn, dropout_prob=hidden_dropout_prob,
      initializer=create_initializer(initializer_range), packed=bool(packing),
      layer_norm_eps=layer_norm_eps)
  if packing:
    add_layer = make_packed_layer(
        packing, finish, padding.make_attention(
            packing, num_attention_heads, attention_probs_dropout_prob,
            create_initializer(initializer_range)))
  else:
    attend = functools.partial(
        attention_layer, num_attention_heads=num_attention_heads,
        size_per_head=hidden_size // num_attention_heads,
        attention_probs_dropout_prob=attention_probs_dropout_prob,
        initializer_range=initializer_range, do_return_2d_tensor=True)
    add_layer = make_padded_layer(
        attention_mask, input_shape[:2], finish, attend)
  if recompute_grad:
    add_layer = functools.partial(recomputation.recomputed, add_layer)

  # Between layers everything is a matrix, one row per token: reshaping back
  # and forth costs time on TPUs.
  hidden = reshape_to_matrix(input_tensor)  # [B * S, W] or [R, W]
  all_layers = []
  for layer_index in range(num_hidden_layers):
    before, scope = hidden, "layer_%d" % layer_index
    with tf.variable_scope(scope):
      hidden = add_layer(before)
    all_layers.append(hidden)
  if positions is not None and xla.is_compiling():
    # Compiling one more shape costs more than computing the unneeded rows.
    at_positions = packing.take(hidden, positions)
  elif positions is not None:
    with tf.variable_scope(scope, reuse=True):
      at_positions = add_layer(before, positions=positions)

  if not packing:
    all_layers = [reshape_from_matrix(x, input_shape) for x in all_layers]
  result = all_layers if do_return_all_layers else all_layers[-1]
  return result if positions is None else (result, at_positions)
