"""A classifier's results for people: its predictions, and a report on them."""

import collections
import contextlib
import itertools
import json
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import files, metrics, problem_types, task_names

_NUM_MISTAKES = 10
_LONGEST_TEXT, _LONGEST_LABEL = 60, 16
_LARGEST_MATRIX = 20  # labels; if there are more, shows the most confused


def _one_line(text):
  """Returns a text without the characters that end a column or a row."""
  return " ".join(str(text).split())


def _shorten(text, length):
  return text if len(text) <= length else text[:length - 3] + "..."


def show_name(label):
  """Returns the name of a label, one of `labels`, cut for narrow columns."""
  return _shorten(_one_line(label), _LONGEST_LABEL)


def show_label(label):
  """Returns a label of an example as tables show it.

  Several are joined with commas, or become a JSON list if one has a comma.
  """
  if isinstance(label, (list, tuple)):
    return json.dumps(label, ensure_ascii=False) if any(
        "," in one for one in label) else ",".join(label)
  return "%g" % label if isinstance(label, float) else str(label)


def predict_label(values, labels, problem):
  """Returns the predicted label, str; a list for several; float in regression.

  Args:
    values: float array [L], probabilities, or [1], the number.
    labels: list of str; None for regression.
    problem: one of the classes of `problem_types`.
  """
  if problem.name == problem_types.REGRESSION:
    return float(values[0])
  if problem.name == problem_types.MULTI_LABEL:
    return [label for label, is_said in zip(labels, problem.decide(values))
            if is_said]
  return labels[int(np.argmax(values))]


class PredictionFile:
  """A table of predictions: id, texts, label, prediction, probabilities.

  Tabs, line breaks and runs of spaces in texts are written as one space. The
  file appears once it is complete.
  """

  def __init__(self, path, examples, labels, problem, has_labels):
    """Makes the writer, a context manager.

    Args:
      path: str.
      examples: iterable of InputExample, in the order of the predictions.
      labels: list of str; None for regression.
      problem: one of the classes of `problem_types`.
      has_labels: bool. Examples have their true label.
    """
    self._path, self._labels, self._problem = path, labels, problem
    self._has_labels, self._stack = has_labels, contextlib.ExitStack()
    self._examples, ahead = itertools.tee(iter(examples))
    self._has_pairs = next(ahead).text_b is not None
    del ahead  # or everything read would be kept in memory

  def __enter__(self):
    temporary = self._stack.enter_context(files.atomic_path(self._path))
    self._writer = self._stack.enter_context(tf.gfile.GFile(temporary, "w"))
    header = ["id", "text_a"] + ["text_b"] * self._has_pairs + [
        "label"] * self._has_labels + ["prediction"]
    self._write(header + list(self._labels or ()))
    self._stack.push(self._read_to_the_end)
    return self

  def _read_to_the_end(self, error, *_):
    """Reads on, so that the examples can report that their files changed."""
    if error is None:
      collections.deque(self._examples, maxlen=0)

  def __exit__(self, *error):
    return self._stack.__exit__(*error)

  def _write(self, columns):
    self._writer.write("\t".join(map(_one_line, columns)) + "\n")

  def add(self, values):
    """Writes the next example's row.

    Args:
      values: float array [L], probabilities, or [1], the number.
    """
    example = next(self._examples)
    texts = [example.text_a] + [example.text_b or ""] * self._has_pairs
    label = [] if not self._has_labels else [
        "" if example.label is None else show_label(example.label)]
    predicted = show_label(predict_label(values, self._labels, self._problem))
    self._write([example.guid] + texts + label + [predicted] + (
        ["%.6g" % value for value in values] if self._labels else []))


def write_predictions(path, examples, values, labels, problem):
  """Writes the table of a whole set whose true labels are known.

  Args:
    path: str.
    examples: iterable of InputExample.
    values: float array [N, L], or [N, 1] for regression.
    labels: list of str; None for regression.
    problem: one of the classes of `problem_types`.
  """
  with PredictionFile(path, examples, labels, problem, True) as writer:
    for row in values:
      writer.add(row)


def make_report(examples, logits, label_ids, labels, problem):
  """Makes the text of eval_report.txt.

  Args:
    examples: iterable of InputExample.
    logits: float array [N, L].
    label_ids: array [N, ...], labels as in the records.
    labels: list of str; None for regression.
    problem: one of the classes of `problem_types`.

  Returns:
    str, lines.
  """
  if problem.name == problem_types.REGRESSION:
    errors = np.abs(logits[:, 0] - label_ids)
    lines = ["%s = %.4f" % (name[len("eval_"):], value) for name, value in
             sorted(problem.evaluate(logits, label_ids).items())]
    return "\n".join(lines + _mistakes(
        examples, errors, logits, labels, problem, "The largest errors")) + "\n"
  probabilities = problem.predict_array(logits)
  if problem.name == problem_types.MULTI_LABEL:
    right, said = label_ids > 0.5, problem.decide(probabilities)
    tuned = problem.thresholds
    gaps = np.where(right == said, 0.0, np.abs(probabilities - (
        problem_types.THRESHOLD if tuned is None else tuned)))
    wrong = np.max(gaps, axis=1)
    worst = np.argmax(gaps, axis=1)

    def show_how(i):
      return " (%s: %.3f)" % (
          show_name(labels[worst[i]]), probabilities[i, worst[i]])

    lines = _table(labels, *metrics.count_labels(right, said))
    if tuned is not None:
      lines += ["", "Tuned thresholds, the least probabilities to predict:"]
      lines += ["%-16s %9.4f" % (show_name(label), value)
                for label, value in zip(labels, tuned)]
  else:
    said = np.argmax(logits, axis=1)
    highest = np.max(probabilities, axis=1)
    wrong = np.where(said == label_ids, 0.0, highest)

    def show_how(i):
      return " with %.3f" % highest[i]

    lines = _table(labels, *metrics.count_classes(
        label_ids, said, len(labels)))
    if len(labels) == 2:
      lines.append("eval_f1 is the F1 of %s." % show_name(labels[1]))
    if len(labels) > _LARGEST_MATRIX:
      lines += _show_confused(label_ids, said, labels)
    else:
      lines += show_confusion(metrics.count_confusion(
          label_ids, said, len(labels)), labels)
  return "\n".join(lines + _mistakes(
      examples, wrong, probabilities, labels, problem,
      "The most confident mistakes", show_how)) + "\n"


def _table(labels, hits, said, are):
  """Returns lines: a row per label, and their means."""
  rows = list(zip(labels, *metrics.precision_recall_f1(hits, said, are), are))
  figures = np.array([row[1:4] for row in rows])
  total = int(np.sum(are))
  weights = are / max(total, 1)
  rows += [("macro mean",) + tuple(np.mean(figures, axis=0)) + (total,),
           ("weighted mean",) + tuple(weights @ figures) + (total,)]
  return ["%-16s %9s %9s %9s %9s" % (
      "label", "precision", "recall", "F1", "support")] + [
          "%-16s %9.4f %9.4f %9.4f %9d" % (
              (show_name(row[0]),) + row[1:])
          for row in rows]


def show_confusion(confusion, labels):
  """Returns lines: a row per true label, a column per prediction.

  Args:
    confusion: int array [L, L], see `metrics.count_confusion`.
    labels: list of str.
  """
  width = max(6, len(str(confusion.max())) + 1)
  names = ["(%d) %s" % (i + 1, _one_line(label))
           for i, label in enumerate(labels)]
  lines = ["", "How often a label (row) was predicted as another (column):",
           " " * _LONGEST_LABEL + "".join(
               ("(%d)" % (i + 1)).rjust(width) for i in range(len(labels)))]
  return lines + [
      _shorten(name, _LONGEST_LABEL).ljust(_LONGEST_LABEL) + "".join(
          str(count).rjust(width) for count in row)
      for name, row in zip(names, confusion)]


def _show_confused(label_ids, said, labels):
  """Returns lines: the labels that are most often predicted as another."""
  wrong = said != label_ids
  found = collections.Counter(zip(
      label_ids[wrong].tolist(), said[wrong].tolist()))
  return ["", "The labels most often predicted as another:"] * bool(found) + [
      "%6d times %s as %s" % (count, show_name(labels[i]), show_name(labels[j]))
      for (i, j), count in found.most_common(_LARGEST_MATRIX)]


def _mistakes(examples, badness, values, labels, problem, title,
              show_how=lambda i: ""):
  """Returns lines: the examples of the greatest badness above 0.

  `show_how`, a function of an example's index, says how it was predicted.
  """
  worst = [i for i in np.argsort(-badness, kind="stable")[:_NUM_MISTAKES]
           if badness[i] > 0]
  chosen = set(worst)
  found = {i: example for i, example in enumerate(examples) if i in chosen}
  lines = ["", title + ":"] if worst else ["", "No mistakes."]
  for i in worst:
    example, predicted = found[i], predict_label(values[i], labels, problem)
    text = " | ".join(_shorten(_one_line(text), _LONGEST_TEXT) for text in (
        example.text_a, example.text_b) if text)
    lines.append("%s: %s, predicted %s%s: %s" % (
        example.guid, show_label(example.label) or "no label",
        show_label(predicted) or "no label", show_how(i), text))
  return lines


# The names of the files that GLUE's server takes, by task.
_SUBMISSIONS = {
    "cola": "CoLA", "sst-2": "SST-2", "mrpc": "MRPC", "sts-b": "STS-B",
    "qqp": "QQP", "mnli": "MNLI-m", "mnli-mm": "MNLI-mm", "qnli": "QNLI",
    "rte": "RTE", "wnli": "WNLI", "ax": "AX"}


def submission_name(task_name):
  """Returns the name of GLUE's file for a task; raises ValueError if none."""
  name = _SUBMISSIONS.get(task_names.key_of(task_name))
  if not name:
    raise ValueError("--glue_submission_dir: %s is no task of GLUE; leave it "
                     "out" % task_name)
  return name + ".tsv"


def write_submission(folder, task_name, predictions):
  """Writes the file that GLUE's server takes for a task.

  Args:
    folder: str.
    task_name: str. See `submission_name`.
    predictions: iterable of str, or of float for STS-B, in order.
  """
  rows = ["index\tprediction\n"]
  for index, value in enumerate(predictions):
    if isinstance(value, float):
      value = "%.3f" % min(max(value, 0.0), 5.0)
    rows.append("%d\t%s\n" % (index, value))
  tf.gfile.MakeDirs(folder)
  path = os.path.join(folder, submission_name(task_name))
  files.write_text(path, "".join(rows))
  tf.logging.info("Wrote the file for GLUE's server, %s", path)
