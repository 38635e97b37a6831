"""Metrics: NumPy over the predictions of a whole set.

A metric that is not a mean over examples, such as a rank correlation or an F1
of entities, cannot be computed from the metrics of batches. So an evaluation
keeps what metrics need from each batch, and computes them once at the end.
"""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf


def mean(values, weights=None):
  """Returns the mean of some values, 0 if their weights add up to 0.

  Args:
    values: array [N]; bool counts as 0 and 1.
    weights: float array [N]; None for equal weights.

  Returns:
    float.
  """
  values = np.asarray(values, np.float64)
  weights = np.ones_like(values) if weights is None else np.asarray(
      weights, np.float64)
  total = np.sum(weights)
  return float(np.sum(values * weights) / total) if total else 0.0


def accuracy(labels, predictions, weights=None):
  """Returns the fraction of correct predictions.

  Args:
    labels: int array [N].
    predictions: int array [N].
    weights: float array [N]; None for equal weights.

  Returns:
    float.
  """
  return mean(labels == predictions, weights)


def f1(labels, predictions, weights=None, positive=1):
  """Returns the F1 of one label, 0 if it neither occurs nor is predicted.

  Args:
    labels: int array [N].
    predictions: int array [N].
    weights: float array [N]; None for equal weights.
    positive: int. The label.

  Returns:
    float.
  """
  are, said = labels == positive, predictions == positive
  # F1 = 2 TP / (2 TP + FN + FP); `counts` adds up to the denominator.
  counts = are.astype(np.float64) + said
  return mean(are & said, counts if weights is None else counts * weights)


def count_labels(labels, predictions):
  """Counts, for each of several labels, what `precision_recall_f1` needs.

  Args:
    labels: bool array [N, L].
    predictions: bool array [N, L].

  Returns:
    Three int arrays [L]: how often each label was predicted correctly, how
    often it was predicted, and how often it occurs.
  """
  return (np.sum(labels & predictions, axis=0), np.sum(predictions, axis=0),
          np.sum(labels, axis=0))


def count_classes(labels, predictions, num_labels):
  """Like `count_labels`, for examples with one label each.

  Args:
    labels: int array [N].
    predictions: int array [N].
    num_labels: int. L.

  Returns:
    Three int arrays [L], see `count_labels`.
  """
  return [np.bincount(found, minlength=num_labels) for found in (
      labels[labels == predictions], predictions, labels)]


def count_confusion(labels, predictions, num_labels):
  """Counts how often each label was predicted as which.

  Args:
    labels: int array [N].
    predictions: int array [N].
    num_labels: int. L.

  Returns:
    int array [L, L], a row for each correct label.
  """
  counts = np.zeros([num_labels, num_labels], np.int64)
  np.add.at(counts, (labels, predictions), 1)
  return counts


def precision_recall_f1(hits, said, are):
  """Returns precision, recall and F1 of labels, each 0 where it is undefined.

  Args:
    hits: int array [L]. How often each label was predicted correctly.
    said: int array [L]. How often it was predicted.
    are: int array [L]. How often it occurs, its support.

  Returns:
    Three float64 arrays [L].
  """
  def divide(x, y):
    return np.divide(x, y, out=np.zeros(len(x)), where=y > 0)

  return divide(hits, said), divide(hits, are), divide(2 * hits, said + are)


def matthews_correlation(labels, predictions):
  """Returns the Matthews correlation, 0 if either array is constant.

  For more than two labels it is Gorodkin's generalization (Computational
  Biology and Chemistry 28, 2004).

  Args:
    labels: int array [N].
    predictions: int array [N].

  Returns:
    float from -1 to 1.
  """
  num_labels = int(max(np.max(labels), np.max(predictions))) + 1
  hits, said, are = [counts.astype(np.float64) for counts in count_classes(
      labels, predictions, num_labels)]
  total = are.sum()
  spread = (total ** 2 - said @ said) * (total ** 2 - are @ are)
  if not spread:
    return 0.0
  return float((hits.sum() * total - are @ said) / np.sqrt(spread))


def pearson(x, y):
  """Returns Pearson's correlation, nan if either array is constant.

  Args:
    x: array [N].
    y: array [N].

  Returns:
    float from -1 to 1.
  """
  x, y = [np.asarray(values, np.float64) for values in (x, y)]
  if np.all(x == x[:1]) or np.all(y == y[:1]):
    return float("nan")  # their mean may be slightly off
  x, y = x - np.mean(x), y - np.mean(y)
  lengths = np.linalg.norm(x), np.linalg.norm(y)
  return float(np.clip((x / lengths[0]) @ (y / lengths[1]), -1.0, 1.0))


def spearman(x, y):
  """Returns Spearman's correlation: Pearson's of ranks, with ties averaged.

  Args:
    x: array [N].
    y: array [N].

  Returns:
    float from -1 to 1, or nan.
  """
  def rank(values):
    _, order, counts = np.unique(
        values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2.0)[order]

  return pearson(rank(x), rank(y))


def whole_set(function, tensors, names):
  """Makes an Estimator's metrics from a NumPy function.

  The arrays of all batches stay in memory, so the tensors should be small:
  predicted labels rather than log probabilities of a vocabulary.

  Args:
    function: function of arrays [N, ...] of the N examples of the whole set,
      named as in `tensors`; returns a dict from name to number.
    tensors: dict from name to Tensor [B, ...], for one batch.
    names: list of str. Which of the function's metrics to report.

  Returns:
    dict from name to a pair like that of `tf.metrics`: the float32 value, 0
    before the first batch, and the op that adds a batch. Initializing the local
    variables starts a new set.
  """
  keys = sorted(tensors)
  batches = []
  # In the session, so that a new session starts a new set.
  count = tf.Variable(
      0, trainable=False, dtype=tf.int64, name="num_batches",
      collections=[
          tf.GraphKeys.LOCAL_VARIABLES, tf.GraphKeys.METRIC_VARIABLES])

  def add(num_batches, *arrays):
    del batches[num_batches:]
    # Copies, because TensorFlow may reuse their memory.
    batches.append([np.array(array) for array in arrays])
    return np.int64(len(batches))

  def compute(num_batches):
    if not num_batches:
      return [np.float32(0)] * len(names)
    columns = zip(*batches[:num_batches])
    with np.errstate(over="ignore", invalid="ignore"):  # shows as inf or nan
      found = function(**dict(zip(keys, map(np.concatenate, columns))))
      return [np.float32(found[name]) for name in names]

  update = tf.assign(count, tf.numpy_function(
      add, [count] + [tensors[key] for key in keys], tf.int64))
  values = tf.numpy_function(compute, [count], [tf.float32] * len(names))
  for value in values:
    value.set_shape([])
  return {name: (value, update) for name, value in zip(names, values)}
