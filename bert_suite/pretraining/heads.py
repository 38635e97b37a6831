"""Pre-training: the heads for masked words and next sentences, and metrics."""

import functools

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from .. import accumulation, kernels, metrics, modeling, padding, training, xla

# Added to the sum of weights: a batch may be without predictions.
_NO_ZERO = 1e-5

# The evaluation figures of each head.
MASKED_LM_FIGURES = ("masked_lm_accuracy", "masked_lm_loss", "perplexity")
NEXT_SENTENCE_FIGURES = ("next_sentence_accuracy", "next_sentence_loss")


def get_masked_lm_output(bert_config, input_tensor, output_weights, positions,
                         label_ids, label_weights):
  """Predicts the masked word pieces.

  Args:
    bert_config: BertConfig.
    input_tensor: float32 [B, S, W]. The encoder's sequence output.
    output_weights: float32 [V, W]. The word embedding table, which is also the
      output layer's weights.
    positions: int32 [B, P]. Positions of the masked pieces.
    label_ids: int32 [B, P]. The pieces that were there.
    label_weights: float32 [B, P]. 1 for predictions, 0 for padding.

  Returns:
    loss: float32 scalar, the weighted mean.
    per_example_loss: float32 [B * P].
    log_probs: float32 [B * P, V].
  """
  return masked_lm_head(
      bert_config, gather_indexes(input_tensor, positions), output_weights,
      tf.reshape(label_ids, [-1]),
      tf.reshape(tf.cast(label_weights, tf.float32), [-1]))


def masked_lm_head(bert_config, vectors, output_weights, label_ids,
                   label_weights):
  """Predicts word pieces from the vectors at their positions.

  Args:
    bert_config: BertConfig.
    vectors: float32 [M, W].
    output_weights: float32 [V, W]. The word embedding table.
    label_ids: int32 [M].
    label_weights: float32 [M].

  Returns:
    loss: float32 scalar, the weighted mean.
    per_example_loss: float32 [M].
    log_probs: float32 [M, V]. Computed only where it is used.
  """
  with tf.variable_scope("cls/predictions"):
    with tf.variable_scope("transform"):
      vectors = modeling.dense(
          vectors, bert_config.hidden_size,
          modeling.get_activation(bert_config.hidden_act),
          modeling.create_initializer(bert_config.initializer_range))
      vectors = modeling.layer_norm(  # [M, W]
          vectors, epsilon=modeling.get_layer_norm_eps(bert_config))
    output_bias = tf.get_variable("output_bias", [bert_config.vocab_size],
                                  initializer=tf.zeros_initializer())
    logits = tf.matmul(vectors, output_weights, transpose_b=True)
    logits = tf.nn.bias_add(logits, output_bias)  # [M, V]
    per_example_loss = vocab_cross_entropy(logits, label_ids)  # [M]

  loss = tf.reduce_sum(label_weights * per_example_loss) / (
      tf.reduce_sum(label_weights) + _NO_ZERO)
  return loss, per_example_loss, tf.nn.log_softmax(logits)


@kernels.custom_gradient
def vocab_cross_entropy(logits, label_ids):
  """Computes the same as tf.nn.sparse_softmax_cross_entropy_with_logits.

  Over a whole vocabulary its kernel takes more than twice as long.

  Args:
    logits: float32 [M, V].
    label_ids: int32 [M].

  Returns:
    float32 [M].
  """
  probs = tf.nn.softmax(logits)  # [M, V]
  rows = tf.range(tf.shape(label_ids)[0])
  labels = tf.stack([rows, label_ids], axis=1)  # [M, 2]
  # The largest probability is at least 1 / V, so its logarithm is exact.
  log_sum = (tf.reduce_max(logits, axis=-1) -
             tf.log(tf.reduce_max(probs, axis=-1)))  # [M]

  def gradient(upstream):  # [M]
    return tf.tensor_scatter_nd_sub(
        probs * upstream[:, tf.newaxis], labels, upstream), None

  return log_sum - tf.gather_nd(logits, labels), gradient


def get_next_sentence_output(bert_config, input_tensor, labels):
  """Predicts whether the second segment follows the first in the text.

  Args:
    bert_config: BertConfig.
    input_tensor: float32 [B, W]. The encoder's pooled output.
    labels: int32 [B] or [B, 1]. 0 if it follows, 1 if it is from elsewhere.

  Returns:
    loss: float32 scalar, the mean.
    per_example_loss: float32 [B].
    log_probs: float32 [B, 2].
  """
  with tf.variable_scope("cls/seq_relationship"):
    output_weights = tf.get_variable(
        "output_weights", [2, bert_config.hidden_size],
        initializer=modeling.create_initializer(bert_config.initializer_range))
    output_bias = tf.get_variable(
        "output_bias", [2], initializer=tf.zeros_initializer())
    logits = tf.matmul(input_tensor, output_weights, transpose_b=True)
    logits = tf.nn.bias_add(logits, output_bias)  # [B, 2]
    per_example_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=tf.reshape(labels, [-1]), logits=logits)  # [B]
  return (tf.reduce_mean(per_example_loss), per_example_loss,
          tf.nn.log_softmax(logits))


def gather_indexes(sequence_tensor, positions):
  """Takes the vectors at some positions of each sequence.

  Args:
    sequence_tensor: float [B, S, W].
    positions: int32 [B, P].

  Returns:
    float [B * P, W].
  """
  batch_size, seq_length, width = modeling.get_shape_list(
      sequence_tensor, expected_rank=3)
  first_rows = tf.range(batch_size, dtype=tf.int32)[:, tf.newaxis] * seq_length
  rows = tf.reshape(first_rows + positions, [-1])  # [B * P]
  return tf.gather(tf.reshape(sequence_tensor, [-1, width]), rows)


def compute_metrics(masked_lm_example_loss, masked_lm_predictions,
                    masked_lm_ids, masked_lm_weights,
                    next_sentence_example_loss=None,
                    next_sentence_predictions=None, next_sentence_labels=None,
                    library=metrics):
  """Computes the metrics of the masked words and of the next sentences.

  Args:
    masked_lm_example_loss: float32 array [M].
    masked_lm_predictions: int32 array [M].
    masked_lm_ids: int32 array [M].
    masked_lm_weights: float32 array [M].
    next_sentence_example_loss: float32 array [N]; None leaves next sentences
      out.
    next_sentence_predictions: int32 array [N].
    next_sentence_labels: int32 array [N].
    library: module with `mean` and `accuracy`: `metrics`, or `tf.metrics` for
      Tensors instead of arrays.

  Returns:
    dict from name to float, or to a pair as `tf.metrics` returns. Perplexity is
    the exponential of the masked words' mean loss.
  """
  loss = library.mean(masked_lm_example_loss, masked_lm_weights)
  found = {
      "masked_lm_accuracy": library.accuracy(
          masked_lm_ids, masked_lm_predictions, masked_lm_weights),
      "masked_lm_loss": loss,
      "perplexity": tuple(map(tf.exp, loss)) if library is tf.metrics else
                    np.exp(loss)}
  if next_sentence_example_loss is not None:
    found["next_sentence_accuracy"] = library.accuracy(
        next_sentence_labels, next_sentence_predictions)
    found["next_sentence_loss"] = library.mean(next_sentence_example_loss)
  return found


def tpu_metrics(**tensors):
  """Returns the same for Tensors of a batch, as pairs of `tf.metrics`."""
  return compute_metrics(library=tf.metrics, **tensors)


def make_head(bert_config, options, use_next_sentence, features, is_training):
  """Builds encoder and heads.

  Args:
    bert_config: BertConfig.
    options: modeling.Options, or None. See `run_pretraining.make_model_fn`,
      also for the next.
    use_next_sentence: bool.
    features: dict from name to Tensor [B, ...].
    is_training: bool. Applies dropout.

  Returns:
    training.Head.
  """
  options = modeling.make_options(options)
  positions = features["masked_lm_positions"]  # [B, P]
  model = modeling.BertModel(
      config=bert_config, is_training=is_training,
      input_ids=features["input_ids"], input_mask=features["input_mask"],
      token_type_ids=features["segment_ids"], output_positions=positions,
      options=options)
  vectors = model.get_positions_output()  # [B, P, W]
  label_ids = features["masked_lm_ids"]  # [B, P]
  label_weights = features["masked_lm_weights"]  # [B, P]
  if options.remove_padding:
    is_real = label_weights > 0
    few_shapes = options.few_shapes or options.compiled
    if few_shapes:
      size = is_real.shape.num_elements()
      real, is_row = padding.find_cells(  # [M, 2], [M]
          is_real, padding.make_sizes(size, 8) if options.compiled and size else
          None)
    else:
      real = tf.where(is_real)  # [M, 2], row and prediction
    vectors = tf.gather_nd(vectors, real)  # [M, W]
    label_ids = tf.gather_nd(label_ids, real)  # [M]
    label_weights = tf.gather_nd(label_weights, real)  # [M]
    if few_shapes:
      label_weights *= is_row
  else:
    vectors = modeling.reshape_to_matrix(vectors)  # [B * P, W]
    label_ids = tf.reshape(label_ids, [-1])
    label_weights = tf.reshape(label_weights, [-1])

  def predict_words(*tensors):
    loss, example_loss, log_probs = masked_lm_head(bert_config, *tensors)
    # Only the predictions: log probabilities of a whole vocabulary are large.
    return loss, example_loss, tf.argmax(log_probs, -1, output_type=tf.int32)

  loss, example_loss, predictions = xla.call(
      predict_words, vectors,
      tf.convert_to_tensor(model.get_embedding_table()), label_ids,
      label_weights)
  loss = accumulation.share(
      loss, lambda: tf.reduce_sum(label_weights) + _NO_ZERO)
  tensors = dict(
      masked_lm_example_loss=example_loss, masked_lm_predictions=predictions,
      masked_lm_ids=label_ids, masked_lm_weights=label_weights)
  names = list(MASKED_LM_FIGURES)
  if use_next_sentence:
    labels = tf.reshape(features["next_sentence_labels"], [-1])  # [B]
    next_loss, next_example_loss, next_log_probs = xla.call(
        functools.partial(get_next_sentence_output, bert_config),
        model.get_pooled_output(), labels)
    loss += accumulation.share(next_loss, lambda: tf.size(labels))
    tensors.update(
        next_sentence_example_loss=next_example_loss,
        next_sentence_predictions=tf.argmax(
            next_log_probs, -1, output_type=tf.int32),
        next_sentence_labels=labels)
    names += NEXT_SENTENCE_FIGURES
  return training.Head(
      loss=loss, predictions=None, metrics=(compute_metrics, tensors, names),
      tpu_metrics=tpu_metrics)
