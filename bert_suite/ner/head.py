"""Tags: the head that scores every tag at every position."""

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import accumulation, modeling, training, xla


def create_model(bert_config, is_training, input_ids, input_mask, segment_ids,
                 num_labels, options=None):
  """Builds the encoder and a dense layer that scores tags.

  Args:
    bert_config: BertConfig.
    is_training: bool. Applies dropout.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    num_labels: int. L.
    options: modeling.Options.

  Returns:
    logits: float32 [B, S, L].
  """
  options = modeling.make_options(options, False)
  model = modeling.BertModel(
      config=bert_config, is_training=is_training, input_ids=input_ids,
      input_mask=input_mask, token_type_ids=segment_ids, options=options)

  def head(sequence_output):
    batch_size, seq_length, width = modeling.get_shape_list(
        sequence_output, expected_rank=3)
    output_weights = tf.get_variable(
        "cls/ner/output_weights", [num_labels, width],
        initializer=modeling.create_initializer(0.02))
    output_bias = tf.get_variable(
        "cls/ner/output_bias", [num_labels],
        initializer=tf.zeros_initializer())
    if is_training:
      sequence_output = modeling.dropout(sequence_output, 0.1)
    logits = tf.nn.bias_add(
        tf.matmul(tf.reshape(sequence_output, [-1, width]), output_weights,
                  transpose_b=True), output_bias)  # [B * S, L]
    return tf.reshape(logits, [batch_size, seq_length, num_labels])

  with xla.compiling(options.compiled):
    return xla.call(head, model.get_sequence_output())


def tag_loss(logits, label_ids, weights):
  """Returns the weighted mean cross-entropy of words, a float32 scalar.

  Args:
    logits: float32 [B, S, L].
    label_ids: int32 [B, S].
    weights: float32 [B, S]; 0 except at the first pieces of words.
  """
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=label_ids, logits=logits)  # [B, S]
  return tf.reduce_sum(weights * losses) / tf.reduce_sum(weights)


def make_head(bert_config, options, features, is_training, num_labels,
              label_weights=None, in_graph=False):
  """Builds encoder and head, without the function of its metrics.

  Args:
    bert_config: BertConfig.
    options: modeling.Options.
    features: dict from name to Tensor [B, ...].
    is_training: bool. Applies dropout, and the next argument to the loss.
    num_labels: int. L.
    label_weights: list of float [L]. Weights of words by their tags; None for
      equal ones.
    in_graph: bool. Evaluates where shapes must be known.

  Returns:
    training.Head. Its metrics are None and a dict of the tensors that they are
    computed from: "logits", float32 [W, L], and "label_ids", int32 [W], of the
    W words of the batch, in order; with `in_graph`, both of all positions, and
    "label_mask".
  """
  logits = create_model(
      bert_config, is_training, features["input_ids"], features["input_mask"],
      features["segment_ids"], num_labels, options)
  label_ids, label_mask = features["label_ids"], features["label_mask"]

  def find_weights():
    weights = tf.cast(label_mask, tf.float32)  # [B, S]
    if is_training and label_weights is not None:
      weights *= tf.gather(tf.constant(label_weights, tf.float32), label_ids)
    return weights

  loss = accumulation.share(
      tag_loss(logits, label_ids, find_weights()),
      lambda: tf.reduce_sum(find_weights()))
  tensors = {"logits": logits, "label_ids": label_ids}
  if in_graph:
    tensors["label_mask"] = label_mask
  else:
    tensors = {name: tf.boolean_mask(value, tf.equal(label_mask, 1))
               for name, value in tensors.items()}
  return training.Head(
      loss, {"logits": logits, "label_mask": tf.identity(label_mask)},
      (None, tensors, []), tpu_metrics)


def tpu_metrics(logits, label_ids, label_mask):
  """Returns a dict from name to `tf.metrics` pair, without those of entities.

  Args:
    logits: float32 [B, S, L].
    label_ids: int32 [B, S].
    label_mask: int32 [B, S].
  """
  losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=label_ids, logits=logits)
  return {
      "eval_accuracy": tf.metrics.accuracy(
          label_ids, tf.argmax(logits, axis=-1, output_type=tf.int32),
          label_mask),
      "eval_loss": tf.metrics.mean(losses, label_mask)}
