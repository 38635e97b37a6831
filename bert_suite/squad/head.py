"""SQuAD: the head that scores every position as a start and an end."""

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import modeling, training, xla

# Logits at padding, with --remove_padding. Finite, or gradients would be NaN.
PADDING_LOGIT = -1e30


def create_model(bert_config, is_training, input_ids, input_mask, segment_ids,
                 use_one_hot_embeddings, options=None):
  """Builds the encoder and a dense layer that scores every position.

  Args:
    bert_config: BertConfig.
    is_training: bool. Applies dropout.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    use_one_hot_embeddings: bool. See BertModel.
    options: modeling.Options. With `remove_padding` the logits at padding are
      -1e30, so that softmax and n-best lists ignore it.

  Returns:
    start_logits: float32 [B, S].
    end_logits: float32 [B, S].
  """
  options = modeling.make_options(options, use_one_hot_embeddings)
  model = modeling.BertModel(
      config=bert_config, is_training=is_training, input_ids=input_ids,
      input_mask=input_mask, token_type_ids=segment_ids, options=options)

  def head(sequence_output, input_mask):
    batch_size, seq_length, width = modeling.get_shape_list(
        sequence_output, expected_rank=3)
    output_weights = tf.get_variable(
        "cls/squad/output_weights", [2, width],
        initializer=modeling.create_initializer(0.02))
    output_bias = tf.get_variable(
        "cls/squad/output_bias", [2], initializer=tf.zeros_initializer())
    logits = tf.matmul(tf.reshape(sequence_output, [-1, width]), output_weights,
                       transpose_b=True)
    logits = tf.nn.bias_add(logits, output_bias)  # [B * S, 2]
    logits = tf.reshape(logits, [batch_size, seq_length, 2])
    if options.remove_padding:
      is_real = tf.equal(input_mask, 1)  # [B, S]
      logits = tf.where(tf.stack([is_real, is_real], axis=-1), logits,
                        PADDING_LOGIT * tf.ones_like(logits))
    return tuple(tf.unstack(logits, axis=-1))  # [B, S] each

  with xla.compiling(options.compiled):
    return xla.call(head, model.get_sequence_output(), input_mask)


def position_loss(logits, positions):
  """Returns the mean negative log-probability of positions, a float32 scalar.

  Args:
    logits: float32 [B, S].
    positions: int32 [B].
  """
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=positions, logits=logits))


def make_head(bert_config, options, features, is_training):
  """Builds encoder and head.

  Args:
    bert_config: BertConfig.
    options: modeling.Options.
    features: dict from name to Tensor [B, ...].
    is_training: bool. Applies dropout.

  Returns:
    training.Head.
  """
  start_logits, end_logits = create_model(
      bert_config, is_training, features["input_ids"], features["input_mask"],
      features["segment_ids"], use_one_hot_embeddings=False, options=options)
  loss = None
  if "start_positions" in features:
    loss = (position_loss(start_logits, features["start_positions"]) +
            position_loss(end_logits, features["end_positions"])) / 2.0
  return training.Head(
      loss=loss,
      predictions={
          # A tensor cannot be input and output of an exported model.
          "unique_ids": tf.identity(features["unique_ids"]),
          "start_logits": start_logits,
          "end_logits": end_logits},
      metrics=None)
