"""Weights of labels in the training loss: what --class_weights asks for."""

import collections
import math

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import problem_types

BALANCED = "balanced"


def check(class_weights, label_smoothing, labels, problem):
  """Raises ValueError if --class_weights or --label_smoothing make no sense.

  Args:
    class_weights: str, or None.
    label_smoothing: float.
    labels: list of str; None for regression.
    problem: one of the classes of `problem_types`.
  """
  if problem.name == problem_types.REGRESSION:
    for flag, value in (("--class_weights", class_weights),
                        ("--label_smoothing", label_smoothing)):
      if value:
        raise ValueError("%s: labels that are numbers have no classes; leave "
                         "it out" % flag)
  elif class_weights and class_weights != BALANCED:
    _parse(class_weights, labels)


def _weight_of(part):
  """Returns the number after the last colon, nan if there is none."""
  _, colon, number = part.rpartition(":")
  try:
    return float(number if colon else "nan")
  except ValueError:
    return math.nan


def _parse(text, labels):
  """Returns the weights, list of float, in a list of label:weight."""
  weights, parts = {}, []
  for piece in text.split(","):
    if parts and math.isnan(_weight_of(parts[-1])):
      parts[-1] += "," + piece  # a label may have commas, as it may have colons
    else:
      parts.append(piece)
  for part in parts:
    label, colon, number = part.rpartition(":")
    if not colon:
      raise ValueError("--class_weights=%s: found %r, expected label:weight" % (
          text, part))
    label, weight = label.strip(), _weight_of(part)
    if label not in labels:
      raise ValueError(
          "--class_weights=%s: found the label %r, expected one of %s" % (
              text, label, ", ".join(labels)))
    if not 0 < weight < math.inf:
      raise ValueError(
          "--class_weights=%s: found the weight %r of %s, expected a number "
          "above 0" % (text, number, label))
    if label in weights:
      raise ValueError("--class_weights=%s: found %s twice; give each label "
                       "one weight" % (text, label))
    weights[label] = weight
  missing = [label for label in labels if label not in weights]
  if missing:
    raise ValueError("--class_weights=%s: found no weight of %s; pass one for "
                     "each label; 1 changes nothing" % (
                         text, ", ".join(missing)))
  return [weights[label] for label in labels]


def find(class_weights, labels, problem, examples):
  """Returns the weights of labels in the training loss, and logs them.

  Args:
    class_weights: str, or None. See `balanced` for "balanced".
    labels: list of str.
    problem: one of the classes of `problem_types`.
    examples: iterable of InputExample, the training set.

  Returns:
    list of float, one for each label; None without --class_weights.
  """
  if not class_weights:
    return None
  if class_weights == BALANCED:
    weights = balanced(labels, problem, (one.label for one in examples))
  else:
    weights = _parse(class_weights, labels)
  tf.logging.info("Weights of labels: %s", ", ".join(
      "%s %.4g" % pair for pair in zip(labels, weights)))
  return weights


def balanced(labels, problem, found):
  """Returns weights that make up for how often each label occurs.

  With N examples and one of L labels each, a label that occurs n times has the
  weight N / (L * n), as in scikit-learn's "balanced". If examples have several
  labels it is (N - n) / n, so that having it counts as much as not having it.

  Args:
    labels: list of str.
    problem: one of the classes of `problem_types`.
    found: iterable of labels, as InputExample has them.

  Returns:
    list of float. A label that never occurs has 1.
  """
  is_single = problem.name == problem_types.SINGLE_LABEL
  counts, total = collections.Counter(), 0
  for label in found:
    counts.update([label] if is_single else set(label))
    total += 1
  return [
      (total / (len(labels) * counts[label]) if is_single else
       (total - counts[label]) / counts[label] or 1.0)
      if counts[label] else 1.0 for label in labels]
