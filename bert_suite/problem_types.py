"""What a label is: one of several, any of several, or a number.

Each kind defines how a label is written to a record, and what the head computes
from its logits: losses, predictions and figures.
"""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import metrics

SINGLE_LABEL = "single_label_classification"
MULTI_LABEL = "multi_label_classification"
REGRESSION = "regression"

THRESHOLD = 0.5  # probability from which one of several labels is predicted
TUNED = "_tuned"  # ends the names of figures with thresholds that were tuned


class SingleLabel:
  """One of L labels: a softmax over them.

  The methods take logits [N, L] and labels, int [N]. Those whose name ends in
  `_array` compute in NumPy what the ones without compute in the graph.

  Attributes:
    name: str. The problem_type of a DataProcessor.
    best_metric: str. The figure that models are compared by.
    num_outputs: int. L.
    label_shape: list of int. The shape of a label in a record.
    label_dtype: tf.DType.
    output: str. Name of the predictions.
    figures: list of str. Names of the figures of an evaluation.
  """

  name = SINGLE_LABEL
  best_metric = "eval_accuracy"
  output = "probabilities"
  label_dtype = tf.int64

  def __init__(self, num_labels, metric_names=()):
    """Takes L, and the names of figures besides accuracy, F1 and loss."""
    self.num_outputs = num_labels
    self.label_shape = []
    self.figures = ["eval_accuracy", "eval_loss"] + (
        ["eval_f1"] if num_labels == 2 else []) + [
            "eval_" + name for name in metric_names]

  def encode(self, label, labels):
    """Returns the list that a record holds for a label.

    Args:
      label: str, or None for an example without one.
      labels: list of str.

    Raises:
      KeyError: the label is not one of them.
    """
    if label is None:
      return [0]
    if label not in labels:
      raise KeyError(label)
    return [labels.index(label)]

  def losses(self, logits, labels):
    """Returns the cross-entropy of each example, float32 [N]."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits)

  def training_loss(self, logits, labels, weights=None, smoothing=0.0):
    """Returns the loss of a batch, a float32 scalar.

    Args:
      logits: float32 [B, L].
      labels: int32 [B].
      weights: list of float [L]. The loss is the mean over examples, each
        weighted by its label's; None for equal weights.
      smoothing: float. This share of each label's probability is spread evenly
        over all labels (Szegedy et al., arXiv 1512.00567, section 7).
    """
    losses = self.losses(logits, labels)
    if smoothing:
      uniform = -tf.reduce_mean(tf.nn.log_softmax(logits), axis=-1)
      losses = (1.0 - smoothing) * losses + smoothing * uniform
    if weights is None:
      return tf.reduce_mean(losses)
    weights = tf.gather(tf.constant(weights, tf.float32), labels)  # [B]
    return tf.reduce_sum(weights * losses) / tf.reduce_sum(weights)

  def soft_losses(self, logits, targets, temperature):
    """Returns the distillation loss of each example, float32 [N].

    Args:
      logits: float32 [N, L].
      targets: float32 [N, L]. Logits of the teacher.
      temperature: float. Both are divided by it, and the losses multiplied by
        its square, so that gradients keep their scale (Hinton et al., arXiv
        1503.02531, section 2).
    """
    return temperature ** 2 * tf.nn.softmax_cross_entropy_with_logits_v2(
        labels=tf.nn.softmax(targets / temperature),
        logits=logits / temperature)

  def logits_of(self, predictions):
    """Returns logits that give predictions; see `predict`.

    Args:
      predictions: float32 array [N, L].
    """
    return np.log(np.maximum(predictions, 1e-30))

  def predict(self, logits):
    """Returns the probabilities, float32 [N, L]."""
    return tf.nn.softmax(logits)

  def predict_array(self, logits):
    """Returns the probabilities, float32 array [N, L]."""
    exps = np.exp(logits - np.max(logits, axis=-1, keepdims=True))
    return exps / np.sum(exps, axis=-1, keepdims=True)

  def predictions_of(self, logits):
    """Returns the same in a dict, by the name of the predictions."""
    return {self.output: self.predict_array(logits)}

  def losses_array(self, logits, labels):
    """Returns the cross-entropy of each example, float32 array [N]."""
    shifted = logits - np.max(logits, axis=-1, keepdims=True)
    return (np.log(np.sum(np.exp(shifted), axis=-1)) -
            shifted[np.arange(len(labels)), labels])

  def constant_logits(self, labels):
    """Returns the logits [L] of the best constant prediction for all labels."""
    counts = np.bincount(labels, minlength=self.num_outputs)
    return np.log(np.maximum(counts, 1e-6) / len(labels))

  def evaluate(self, logits, labels):
    """Returns a dict from name to float, all but the loss."""
    predictions = np.argmax(logits, axis=-1)
    return {
        "eval_accuracy": metrics.accuracy(labels, predictions),
        "eval_f1": metrics.f1(labels, predictions),
        "eval_matthews_correlation": metrics.matthews_correlation(
            labels, predictions)}

  def evaluate_in_graph(self, logits, labels, weights):
    """Returns a dict from name to a pair of `tf.metrics`, all but the loss."""
    predictions = tf.argmax(logits, axis=-1, output_type=tf.int32)
    hits = tf.cast(labels * predictions, tf.float32)
    return {
        "eval_accuracy": tf.metrics.accuracy(labels, predictions, weights),
        # See `metrics.f1`; labels are 0 or 1 where it is used.
        "eval_f1": tf.metrics.mean(
            hits, tf.cast(labels + predictions, tf.float32) * weights)}


class MultiLabel(SingleLabel):
  """Any of L labels: a sigmoid for each; labels are float32 [N, L], 0 or 1.

  Attributes:
    thresholds: float64 array [L], see `use_thresholds`; None for THRESHOLD.
  """

  name = MULTI_LABEL
  best_metric = "eval_f1_macro"
  label_dtype = tf.float32

  def __init__(self, num_labels, metric_names=()):
    super().__init__(num_labels, metric_names)
    self.label_shape = [num_labels]
    self.use_thresholds(None)

  def use_thresholds(self, thresholds):
    """Predicts with tuned thresholds, and adds figures with them."""
    self.thresholds = thresholds
    names = ["eval_accuracy", "eval_f1_macro", "eval_f1_micro"]
    self.figures = names + ["eval_loss"] + [
        name + TUNED for name in names if thresholds is not None]

  def decide(self, probabilities):
    """Returns which labels are predicted, bool array like the argument.

    Args:
      probabilities: float array [..., L].
    """
    return probabilities >= (
        np.float64(THRESHOLD) if self.thresholds is None else self.thresholds)

  def encode(self, label, labels):
    """Returns 0.0 or 1.0 for each label; see `SingleLabel.encode`."""
    label = label or ()
    unknown = [one for one in label if one not in labels]
    if unknown:
      raise KeyError(unknown[0])
    return [float(one in label) for one in labels]

  def losses(self, logits, labels):
    return tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(
        labels=labels, logits=logits), axis=-1)

  def training_loss(self, logits, labels, weights=None, smoothing=0.0):
    """Returns the loss of a batch, a float32 scalar.

    Args:
      logits: float32 [B, L].
      labels: float32 [B, L].
      weights: list of float [L]. Factors of the loss where an example has the
        label; None for 1.
      smoothing: float. See `SingleLabel.training_loss`; here over two values.
    """
    if smoothing:
      labels = (1.0 - smoothing) * labels + 0.5 * smoothing
    if weights is None:
      return tf.reduce_mean(self.losses(logits, labels))
    return tf.reduce_mean(tf.nn.weighted_cross_entropy_with_logits(
        labels, logits, tf.constant(weights, tf.float32)))

  def soft_losses(self, logits, targets, temperature):
    return temperature ** 2 * self.losses(
        logits / temperature, tf.sigmoid(targets / temperature))

  def logits_of(self, predictions):
    within = np.clip(predictions, 1e-7, 1.0 - 1e-7)
    return np.log(within) - np.log1p(-within)

  def predict(self, logits):
    return tf.sigmoid(logits)

  def predict_array(self, logits):
    return 1.0 / (1.0 + np.exp(-logits))

  def losses_array(self, logits, labels):
    return np.mean(np.maximum(logits, 0.0) - logits * labels + np.log1p(
        np.exp(-np.abs(logits))), axis=-1)

  def constant_logits(self, labels):
    rates = np.clip(np.mean(labels, axis=0), 1e-6, 1.0 - 1e-6)
    return np.log(rates / (1.0 - rates))

  def evaluate(self, logits, labels):
    figures = self._compare(labels > 0.5, logits >= 0.0)  # at THRESHOLD
    if self.thresholds is not None:
      tuned = self._compare(
          labels > 0.5, self.decide(self.predict_array(logits)))
      figures.update((name + TUNED, value) for name, value in tuned.items())
    return figures

  def _compare(self, labels, predictions):
    """Returns the figures of predictions; both are bool array [N, L]."""
    counts = metrics.count_labels(labels, predictions)
    f1 = metrics.precision_recall_f1(*counts)[2]
    hits, said, are = [np.sum(count, keepdims=True) for count in counts]
    return {"eval_accuracy": metrics.mean(
        np.all(labels == predictions, axis=1)),
            "eval_f1_macro": metrics.mean(f1),
            "eval_f1_micro": float(
                metrics.precision_recall_f1(hits, said, are)[2][0])}

  def evaluate_in_graph(self, logits, labels, weights):
    right = tf.equal(logits >= 0.0, labels > 0.5)
    return {"eval_accuracy": tf.metrics.mean(
        tf.cast(tf.reduce_all(right, axis=-1), tf.float32), weights)}


class Regression(SingleLabel):
  """A number; logits are [N, 1], labels float32 [N]."""

  name = REGRESSION
  best_metric = "eval_spearman"
  output = "score"
  label_dtype = tf.float32

  def __init__(self, num_labels=0, metric_names=()):
    super().__init__(num_labels, metric_names)
    self.num_outputs = 1
    self.figures = ["eval_loss", "eval_mse", "eval_pearson", "eval_spearman"]

  def encode(self, label, labels):
    """Returns the number; see `SingleLabel.encode`."""
    return [0.0 if label is None else float(label)]

  def losses(self, logits, labels):
    """Returns the squared error of each example, float32 [N]."""
    return tf.square(logits[:, 0] - labels)

  def training_loss(self, logits, labels, weights=None, smoothing=0.0):
    """Returns the mean squared error, a float32 scalar."""
    return tf.reduce_mean(self.losses(logits, labels))

  def soft_losses(self, logits, targets, temperature):
    """Returns the squared differences; numbers have no temperature."""
    return self.losses(logits, targets[:, 0])

  def logits_of(self, predictions):
    return np.reshape(predictions, [-1, 1])

  def predict(self, logits):
    """Returns the numbers, float32 [N]."""
    return logits[:, 0]

  def predict_array(self, logits):
    """Returns the numbers, float32 array [N]."""
    return logits[..., 0]

  def losses_array(self, logits, labels):
    return np.square(logits[:, 0] - labels)

  def constant_logits(self, labels):
    return np.mean(labels, keepdims=True)

  def evaluate(self, logits, labels):
    scores, labels = np.float64(logits[:, 0]), np.float64(labels)
    return {"eval_mse": metrics.mean(np.square(scores - labels)),
            "eval_pearson": metrics.pearson(labels, scores),
            "eval_spearman": metrics.spearman(labels, scores)}

  def evaluate_in_graph(self, logits, labels, weights):
    return {"eval_mse": tf.metrics.mean(self.losses(logits, labels), weights)}


KINDS = {SINGLE_LABEL: SingleLabel, MULTI_LABEL: MultiLabel,
         REGRESSION: Regression}


def compute_figures(problem, arrays):
  """Computes the figures of an evaluation.

  Args:
    problem: SingleLabel, MultiLabel or Regression.
    arrays: dict of "logits" [N, L], "label_ids" [N, ...], "per_example_loss"
      [N] and "is_real_example" [N], 0 for what only fills up a batch.

  Returns:
    dict from name to float.
  """
  real = arrays["is_real_example"] > 0
  figures = problem.evaluate(arrays["logits"][real], arrays["label_ids"][real])
  figures["eval_loss"] = metrics.mean(arrays["per_example_loss"][real])
  return figures


def constant_figures(problem, labels):
  """Computes the figures of a constant prediction for every example.

  It is the most frequent label, each label that most examples have, or the mean
  of the numbers.

  Args:
    problem: SingleLabel, MultiLabel or Regression.
    labels: array [N, ...].

  Returns:
    dict from name to float; 0 for correlations, which are undefined here.
  """
  logits = np.tile(problem.constant_logits(labels), [len(labels), 1])
  figures = compute_figures(problem, {
      "logits": logits, "label_ids": labels,
      "per_example_loss": problem.losses_array(logits, labels),
      "is_real_example": np.ones(len(labels))})
  return {name: 0.0 if np.isnan(value) else value
          for name, value in figures.items()}
