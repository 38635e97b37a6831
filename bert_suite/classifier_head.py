"""The head of classifiers: logits of one vector per example, loss, figures.

`problem_types` says what the logits mean.
"""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import accumulation, modeling, problem_types, training, xla


def classification_head(pooled_output, is_training, labels, num_labels,
                        problem=None, label_weights=None, label_smoothing=0.0,
                        soft_targets=(), soft_loss=None):
  """Logits of one vector per example; with a softmax over labels by default.

  Args:
    pooled_output: float32 [B, W].
    is_training: bool. Applies dropout, and the last four arguments to the loss.
    labels: int32 [B], or as the problem defines them.
    num_labels: int. L.
    problem: one of the classes of `problem_types`; None for one label of L.
    label_weights: list of float [L]. See `training_loss` of the problem.
    label_smoothing: float. See there, too.
    soft_targets: Tensors [B, ...], further inputs of the training loss.
    soft_loss: function (logits, labels, *soft_targets) that returns that loss,
      a scalar; None for the problem's.

  Returns:
    loss: float32 scalar; except in training, the mean of the next.
    per_example_loss: float32 [B].
    logits: float32 [B, L].
    predictions: float32 [B, L], probabilities; or as the problem defines them.
  """
  problem = problem or problem_types.SingleLabel(num_labels)

  def head(pooled_output, labels, *soft_targets):
    output_weights = tf.get_variable(
        "output_weights", [problem.num_outputs, pooled_output.shape[-1]],
        initializer=modeling.create_initializer(0.02))
    output_bias = tf.get_variable(
        "output_bias", [problem.num_outputs],
        initializer=tf.zeros_initializer())
    with tf.variable_scope("loss"):
      if is_training:
        pooled_output = modeling.dropout(pooled_output, 0.1)
      logits = tf.nn.bias_add(
          tf.matmul(pooled_output, output_weights, transpose_b=True),
          output_bias)  # [B, L]
      per_example_loss = problem.losses(logits, labels)  # [B]
      if is_training and soft_loss:
        loss = soft_loss(logits, labels, *soft_targets)
      elif is_training:
        loss = problem.training_loss(
            logits, labels, label_weights, label_smoothing)
      else:
        loss = tf.reduce_mean(per_example_loss)
      return loss, per_example_loss, logits, problem.predict(logits)

  loss, *others = xla.call(head, pooled_output, labels, *soft_targets)
  if (is_training and label_weights is not None and
      problem.name == problem_types.SINGLE_LABEL):
    loss = accumulation.share(loss, lambda: tf.reduce_sum(
        tf.gather(tf.constant(label_weights), labels)))
  return (loss, *others)


def make_head(encode, num_labels, use_tpu, loss_batch_size=None, problem=None,
              label_weights=None, label_smoothing=0.0, soft_names=(),
              soft_loss=None):
  """Makes the `head_fn` of a classifier on an encoder.

  Args:
    encode: function, as `make_encoder` makes it.
    num_labels: int.
    use_tpu: bool.
    loss_batch_size: int. See `make_head_fn`; off on TPUs.
    problem: See `classification_head`, as for the next two.
    label_weights: list of float.
    label_smoothing: float.
    soft_names: names of features that are further inputs of the training loss.
    soft_loss: function. See `classification_head`.
  """
  def build_model(is_training, input_ids, input_mask, segment_ids, labels,
                  *soft_targets):
    return classification_head(
        encode(is_training, input_ids, input_mask, segment_ids), is_training,
        labels, num_labels, problem, label_weights, label_smoothing,
        soft_targets, soft_loss)

  return make_head_fn(
      build_model, None if use_tpu else loss_batch_size, problem, soft_names)


def make_head_fn(build_model, loss_batch_size=None, problem=None,
                 soft_names=()):
  """Makes the `head_fn` of a classifier for `training.make_model_fn`.

  Args:
    build_model: function (is_training, input_ids, input_mask, segment_ids,
      labels) that returns what `classification_head` returns.
    loss_batch_size: int. An evaluation's `loss` is the mean of the mean losses
      of batches, so it depends on their size; if they are larger than this, it
      is reported as for batches of this size. None, needed on TPUs, leaves it.
    problem: See `classification_head`.
    soft_names: names of features that `build_model` takes after the labels, in
      training.
  """
  def head_fn(features, is_training):
    labels = features["label_ids"]
    loss, per_example_loss, logits, predictions = build_model(
        is_training, features["input_ids"], features["input_mask"],
        features["segment_ids"], labels,
        *[features[name] for name in soft_names if is_training])
    kind = problem or problem_types.SingleLabel(logits.shape[-1])
    if "is_real_example" in features:
      is_real_example = tf.cast(features["is_real_example"], tf.float32)
    else:
      is_real_example = tf.ones_like(per_example_loss)
    if loss_batch_size and not is_training:
      # The Estimator takes the mean over all values that it is given; it
      # insists on a scalar, but only if it knows the shape.
      batch = tf.range(tf.shape(per_example_loss)[0]) // loss_batch_size
      loss = tf.placeholder_with_default(
          tf.math.segment_mean(per_example_loss, batch), shape=None)
    tensors = dict(per_example_loss=per_example_loss, label_ids=labels,
                   logits=logits, is_real_example=is_real_example)

    def compute_metrics(**arrays):
      return problem_types.compute_figures(kind, arrays)

    def tpu_metrics(per_example_loss, label_ids, logits, is_real_example):
      figures = kind.evaluate_in_graph(logits, label_ids, is_real_example)
      figures["eval_loss"] = tf.metrics.mean(per_example_loss, is_real_example)
      return figures

    return training.Head(loss, {kind.output: predictions},
                         (compute_metrics, tensors, kind.figures), tpu_metrics)

  return head_fn
