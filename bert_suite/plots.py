"""Plots of an evaluation, as PNG; matplotlib is only imported for them."""

import io
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import classification_report, files, metrics, problem_types

CONFUSION, RELIABILITY = "confusion_matrix.png", "reliability.png"
PRECISION_RECALL, SCATTER = "precision_recall.png", "scatter.png"
FILES = (CONFUSION, RELIABILITY, PRECISION_RECALL, SCATTER)

_MOST_CURVES = 10  # as many colors as matplotlib has
_MOST_COUNTS, _MOST_NAMES = 30, 100  # labels whose matrix shows these


def import_matplotlib():
  """Returns the class Figure; raises ValueError without matplotlib."""
  try:
    from matplotlib.figure import Figure
  except ImportError as error:
    raise ValueError(
        "--plots: matplotlib cannot be imported (%s); pip install matplotlib, "
        "or leave the flag out" % error) from None
  return Figure


def reliability_curve(right, probabilities, num_bins=10):
  """Computes how often predictions with a given probability are right.

  Args:
    right: bool array [N].
    probabilities: float array [N].
    num_bins: int. Number of equal bins from 0 to 1.

  Returns:
    Two float64 arrays: the mean probability of each bin that is not empty, and
    the fraction that is right.
  """
  inner = np.linspace(0.0, 1.0, num_bins + 1)[1:-1]
  bins = np.searchsorted(inner, probabilities)
  counts = np.bincount(bins, minlength=num_bins)
  sums = [np.bincount(bins, weights, num_bins)[counts > 0]
          for weights in (probabilities, right)]
  return sums[0] / counts[counts > 0], sums[1] / counts[counts > 0]


def precision_recall_curve(right, scores):
  """Computes precision and recall at each threshold that makes a difference.

  Args:
    right: bool array [N], at least one of them True.
    scores: float array [N].

  Returns:
    Two float64 arrays, precision and recall, from the highest threshold down.
  """
  order = np.argsort(-scores, kind="stable")
  scores, hits = scores[order], np.cumsum(right[order])
  last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)
  return hits[last] / (last + 1.0), hits[last] / float(hits[-1])


def average_precision(precision, recall):
  """Returns the mean precision, weighted by the increases of the recall."""
  return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def write(folder, logits, label_ids, labels, problem):
  """Writes the plots for a kind of labels.

  Args:
    folder: str.
    logits: float array [N, L].
    label_ids: array [N, ...]. Labels as in records.
    labels: list of str; None for regression.
    problem: one of the classes of `problem_types`.
  """
  if problem.name == problem_types.REGRESSION:
    figures = {SCATTER: _draw_scatter(label_ids, logits[:, 0])}
  else:
    figures = {}
    probabilities = np.float64(problem.predict_array(logits))
    if problem.name == problem_types.SINGLE_LABEL:
      said = np.argmax(logits, axis=1)
      figures[CONFUSION] = _draw_confusion(
          metrics.count_confusion(label_ids, said, len(labels)), labels)
      calibrated = [("", said == label_ids, np.max(probabilities, axis=1))]
      are = label_ids[:, np.newaxis] == np.arange(len(labels))
    else:
      tf.logging.info("There is no %s: an example may have several labels",
                      CONFUSION)
      are = label_ids > 0.5
      calibrated = None
    curves = _select(are, probabilities, labels, problem)
    figures[RELIABILITY] = _draw_reliability(calibrated or curves)
    figures[PRECISION_RECALL] = _draw_precision_recall(curves)
  for name, figure in figures.items():
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120, bbox_inches="tight")
    with files.atomic_path(os.path.join(folder, name)) as temporary:
      with tf.gfile.GFile(temporary, "wb") as writer:
        writer.write(picture.getvalue())
  tf.logging.info("Wrote %s to %s", ", ".join(figures), folder)


def _select(are, probabilities, labels, problem):
  """Returns the labels to draw, a list of (name, bool [N], float [N]).

  Args:
    are: bool array [N, L].
    probabilities: float array [N, L].
    labels: list of str.
    problem: one of the classes of `problem_types`.
  """
  counts = np.sum(are, axis=0)
  chosen = [i for i in np.argsort(-counts, kind="stable")[:_MOST_CURVES]
            if counts[i]]
  if problem.name == problem_types.SINGLE_LABEL and len(labels) == 2:
    chosen = [i for i in chosen if i == 1]  # the other is its mirror image
  elif len(chosen) < len(labels):
    tf.logging.info("Plots show the %d most frequent of %d labels", len(chosen),
                    len(labels))
  return [(_show(labels[i]), are[:, i], probabilities[:, i])
          for i in sorted(chosen)]


def _show(label):
  """Returns a label, shortened and escaped so that it is not a formula."""
  name = classification_report.show_name(label).replace("$", r"\$")
  return " " * name.startswith("_") + name  # or a legend leaves it out


def _make_axes(title, x, y, size=(6.0, 5.0)):
  figure = import_matplotlib()(figsize=size)
  axes = figure.add_subplot(111)
  axes.set(title=title, xlabel=x, ylabel=y)
  return figure, axes


def _draw_confusion(confusion, labels):
  """Returns a Figure; colors are shares of the row, numbers are counts."""
  size = min(max(4.0, 2.0 + 0.5 * len(labels)), 24.0)
  figure, axes = _make_axes("Confusion matrix", "predicted label", "true label",
                            (size + 1.0, size))
  shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
  figure.colorbar(axes.imshow(shares, cmap="Blues", vmin=0.0, vmax=1.0),
                  ax=axes, label="share of the row")
  if len(labels) <= _MOST_NAMES:
    names = [_show(label) for label in labels]
    axes.set_xticks(np.arange(len(labels)))
    axes.set_yticks(np.arange(len(labels)))
    axes.set_xticklabels(names, rotation=90)
    axes.set_yticklabels(names)
  if len(labels) <= _MOST_COUNTS:
    for (row, column), count in np.ndenumerate(confusion):
      axes.text(column, row, str(count), ha="center", va="center",
                color="white" if shares[row, column] > 0.5 else "black")
  return figure


def _draw_reliability(curves):
  figure, axes = _make_axes(
      "Reliability", "mean probability of a prediction", "accuracy")
  axes.plot([0, 1], [0, 1], "--", color="gray")
  for name, right, probabilities in curves:
    axes.plot(*reliability_curve(right, probabilities), marker="o", label=name)
  if len(curves) > 1:
    axes.legend()
  return figure


def _draw_precision_recall(curves):
  figure, axes = _make_axes("Precision and recall", "recall", "precision")
  for name, right, scores in curves:
    precision, recall = precision_recall_curve(right, scores)
    axes.step(
        np.append(0.0, recall), np.append(precision[0], precision),
        label="%s (average precision %.3f)" % (
            name, average_precision(precision, recall)))
  axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
  if curves:
    axes.legend()
  return figure


def _draw_scatter(right, predicted):
  figure, axes = _make_axes("Predictions", "true", "predicted")
  ends = [min(np.min(right), np.min(predicted)),
          max(np.max(right), np.max(predicted))]
  axes.plot(ends, ends, "--", color="gray")
  axes.scatter(right, predicted, s=8, alpha=0.5)
  return figure
