"""Thresholds of labels: the probability from which each is predicted.

Tuned ones are in thresholds.json beside the checkpoint that they were tuned
for, or in the output_dir of an evaluation of a checkpoint elsewhere.
"""

import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import checkpoints, files, json_files, problem_types, training_state

FILE_NAME = "thresholds.json"

_DIGITS = 5  # of probabilities in comparisons


def tune(are, probabilities):
  """Finds the threshold of each label that has the highest F1.

  Tries the default and the midpoints between neighbors among 0, the
  probabilities and 1, so every way to divide the examples, except between
  probabilities that differ only by rounding in the model, as those of equal
  texts may. Of equals, takes the one nearest to the default.

  Args:
    are: bool array [N, L]. The labels of each example.
    probabilities: float array [N, L].

  Returns:
    float64 array [L].
  """
  return np.array([_tune_one(*columns) for columns in zip(
      are.T, np.round(np.float64(probabilities), _DIGITS).T)])


def _tune_one(are, probabilities):
  """Returns the threshold of a label; see `tune`, without the axis L."""
  order = np.argsort(probabilities)
  probabilities = probabilities[order]
  hits_from = np.append(np.cumsum(are[order][::-1])[::-1], 0)
  ends = np.concatenate([[0.0], np.unique(probabilities), [1.0]])
  tried = np.append((ends[1:] + ends[:-1]) / 2.0, problem_types.THRESHOLD)
  first = np.searchsorted(probabilities, tried)  # the first that is predicted
  f1 = 2.0 * hits_from[first] / np.maximum(
      len(are) - first + np.sum(are), 1)
  best = tried[f1 == np.max(f1)]
  return best[np.argmin(np.abs(best - problem_types.THRESHOLD))]


def write(folder, checkpoint, labels, thresholds):
  """Writes thresholds.json.

  Args:
    folder: str.
    checkpoint: str. Prefix of the checkpoint that they were tuned for.
    labels: list of str.
    thresholds: float array [L].
  """
  files.write_json(os.path.join(folder, FILE_NAME), {
      "step": checkpoints.read_step(checkpoint),
      "checksum": training_state.checksum_of_weights(checkpoint),
      "thresholds": dict(zip(labels, map(float, thresholds)))})


def read(folders, checkpoint, labels):
  """Reads the thresholds that were tuned for a checkpoint.

  Args:
    folders: list of str. Where they may be; the first that has them is used.
    checkpoint: str. Its prefix.
    labels: list of str.

  Returns:
    float64 array [L]; None if there are none, or only those of another
    checkpoint, which a warning names.

  Raises:
    ValueError: a file is not what `write` writes, or has other labels.
  """
  others = []
  for folder in folders:
    path = os.path.join(folder, FILE_NAME)
    if not tf.gfile.Exists(path):
      continue
    try:
      found = json_files.read(path)
      values, step = found["thresholds"], int(found["step"])
      checksum = found["checksum"]
      if set(values) != set(labels):
        raise ValueError("found the labels %s, expected %s" % (
            ", ".join(sorted(values)), ", ".join(sorted(labels))))
      thresholds = np.array([float(values[label]) for label in labels])
      if not np.all((thresholds >= 0) & (thresholds <= 1)):
        raise ValueError("found thresholds that are not from 0 to 1")
    except (ValueError, KeyError, TypeError, OverflowError) as error:
      raise ValueError(
          "%s: cannot be read (%s); write it again with --do_eval and "
          "--tune_thresholds, or remove it to predict with %g" % (
              path, error, problem_types.THRESHOLD)) from None
    if checksum == training_state.checksum_of_weights(checkpoint):
      return thresholds
    others.append("%s is of another checkpoint, of step %d" % (path, step))
  if others:
    tf.logging.warning(
        "%s, so it is not used for %s; to tune thresholds, evaluate with "
        "--tune_thresholds", ", ".join(others), checkpoint)
  return None
