"""The head of classifiers: a softmax over the labels, its loss and metrics."""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import metrics, modeling, training, xla


def classification_head(pooled_output, is_training, labels, num_labels):
  """A softmax over the labels on one vector per example.

  Args:
    pooled_output: float32 [B, W].
    is_training: bool. Applies dropout.
    labels: int32 [B].
    num_labels: int. L.

  Returns:
    As `create_model`.
  """
  def head(pooled_output, labels):
    output_weights = tf.get_variable(
        "output_weights", [num_labels, pooled_output.shape[-1]],
        initializer=modeling.create_initializer(0.02))
    output_bias = tf.get_variable(
        "output_bias", [num_labels], initializer=tf.zeros_initializer())
    with tf.variable_scope("loss"):
      if is_training:
        pooled_output = modeling.dropout(pooled_output, 0.1)
      logits = tf.nn.bias_add(
          tf.matmul(pooled_output, output_weights, transpose_b=True),
          output_bias)  # [B, L]
      per_example_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
          labels=labels, logits=logits)  # [B]
      return (tf.reduce_mean(per_example_loss), per_example_loss, logits,
              tf.nn.softmax(logits))

  return xla.call(head, pooled_output, labels)


def predictions_of(logits):
  """Returns what the head predicts, by name, of logits, float32 array [L]."""
  exps = np.exp(logits - np.max(logits))
  return {"probabilities": exps / np.sum(exps)}


def losses_of(logits, label_ids):
  """Returns the losses that the head computes, float32 array [N].

  Args:
    logits: float32 array [N, L].
    label_ids: int32 array [N].
  """
  shifted = logits - np.max(logits, axis=-1, keepdims=True)
  return (np.log(np.sum(np.exp(shifted), axis=-1)) -
          shifted[np.arange(len(label_ids)), label_ids])


def compute_metrics(per_example_loss, label_ids, logits, is_real_example):
  """Computes accuracy, mean loss, and F1 of the second label.

  Args:
    per_example_loss: float32 array [N].
    label_ids: int32 array [N].
    logits: float32 array [N, L].
    is_real_example: float32 array [N]. 0 leaves an example out.

  Returns:
    dict from name to float.
  """
  weights, predictions = is_real_example, np.argmax(logits, axis=-1)
  return {"eval_accuracy": metrics.accuracy(label_ids, predictions, weights),
          "eval_loss": metrics.mean(per_example_loss, weights),
          "eval_f1": metrics.f1(label_ids, predictions, weights)}


def tpu_metrics(per_example_loss, label_ids, logits, is_real_example):
  """Returns the same of the Tensors of a batch, as pairs of `tf.metrics`."""
  predictions = tf.argmax(logits, axis=-1, output_type=tf.int32)
  hits = tf.cast(label_ids * predictions, tf.float32)
  return {
      "eval_accuracy": tf.metrics.accuracy(
          label_ids, predictions, is_real_example),
      "eval_loss": tf.metrics.mean(per_example_loss, is_real_example),
      # See `metrics.f1`; both labels are 0 or 1 where it is asked for.
      "eval_f1": tf.metrics.mean(
          hits, tf.cast(label_ids + predictions, tf.float32) * is_real_example),
  }


def make_head(encode, num_labels, use_tpu, loss_batch_size=None):
  """Makes the `head_fn` of a classifier on an encoder.

  Args:
    encode: function, as `make_encoder` makes it.
    num_labels: int.
    use_tpu: bool.
    loss_batch_size: int. See `make_head_fn`; off on TPUs.
  """
  def build_model(is_training, input_ids, input_mask, segment_ids, labels):
    return classification_head(
        encode(is_training, input_ids, input_mask, segment_ids), is_training,
        labels, num_labels)

  return make_head_fn(build_model, None if use_tpu else loss_batch_size)


def make_head_fn(build_model, loss_batch_size=None):
  """Makes the `head_fn` of a classifier for `training.make_model_fn`.

  Args:
    build_model: function (is_training, input_ids, input_mask, segment_ids,
      labels) that returns what `create_model` returns.
    loss_batch_size: int. An evaluation's `loss` is the mean of the mean losses
      of batches, so it depends on their size; this reports that of batches of
      this size where they are larger. None leaves it as it is; so must TPUs.
  """
  def head_fn(features, is_training):
    labels = features["label_ids"]
    loss, per_example_loss, logits, probabilities = build_model(
        is_training, features["input_ids"], features["input_mask"],
        features["segment_ids"], labels)
    if "is_real_example" in features:
      is_real_example = tf.cast(features["is_real_example"], tf.float32)
    else:
      is_real_example = tf.ones_like(per_example_loss)
    if loss_batch_size and not is_training:
      # The Estimator takes the mean over all values that it is given; it asks
      # for a scalar, but not where it does not know the shape.
      batch = tf.range(tf.shape(per_example_loss)[0]) // loss_batch_size
      loss = tf.placeholder_with_default(
          tf.math.segment_mean(per_example_loss, batch), shape=None)
    names = ["eval_accuracy", "eval_loss"] + (
        ["eval_f1"] if logits.shape[-1] == 2 else [])
    tensors = dict(
        per_example_loss=per_example_loss, label_ids=labels, logits=logits,
        is_real_example=is_real_example)
    return training.Head(loss, {"probabilities": probabilities},
                         (compute_metrics, tensors, names), tpu_metrics)

  return head_fn
