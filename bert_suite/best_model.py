"""history.tsv, the evaluations of a training, and best/, the best checkpoint.

Each evaluation is a row of output_dir/history.tsv, written before its
checkpoint is copied to output_dir/best/. The file decides which is best: if a
run is killed between the two, the next one copies again.
"""

import collections
import math
import os
import zlib

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    checkpoint_files, checkpoints, files, json_files, progress, training_state)

FILE_NAME = "history.tsv"
FOLDER = "best"

# One evaluation: its step, its epoch (float; None without epochs), a dict from
# the name of a figure to its value, and the data, see `describe_data`.
Row = collections.namedtuple("Row", "step epoch figures data", defaults=[None])


def describe_data(data):
  """Returns a str that identifies the data of an evaluation.

  Args:
    data: tasks.Data.
  """
  paths = [data.files] if isinstance(data.files, str) else data.files
  checksums = list(map(training_state.checksum_of, paths))
  return "%d-%08x" % (
      data.num_examples, zlib.crc32(repr(checksums).encode()) & 0xFFFFFFFF)


def is_lower_better(metric):
  """Returns whether a lower figure is better."""
  name = metric[len("eval_"):] if metric.startswith("eval_") else metric
  return name in ("loss", "perplexity", "mse") or name.endswith("_loss")


def find_best(rows, metric):
  """Returns the best Row, the earliest of equals; None if none has a number.

  Args:
    rows: list of Row, or of other objects with a dict `figures`.
    metric: str. A name in their figures.
  """
  sign = -1 if is_lower_better(metric) else 1
  rows = [row for row in rows
          if not math.isnan(row.figures.get(metric, math.nan))]
  return max(rows, key=lambda row: sign * row.figures[metric], default=None)


def format_table(rows, metric):
  """Returns the lines of history.tsv, each a list of str, the header first."""
  best = find_best(rows, metric)
  names = sorted({name for row in rows for name in row.figures})
  lines = [["step", "epoch"] + names + ["data", "best " + metric]]
  for row in rows:
    lines.append(
        [str(row.step), "" if row.epoch is None else "%g" % row.epoch] +
        [repr(row.figures[name]) if name in row.figures else ""
         for name in names] + [row.data or "", "*" if row is best else ""])
  return lines


def write_history(output_dir, rows, metric):
  """Writes history.tsv, whole or not at all."""
  files.write_text(os.path.join(output_dir, FILE_NAME), "".join(
      "\t".join(line) + "\n" for line in format_table(rows, metric)))


def read_history(output_dir):
  """Reads history.tsv.

  Returns:
    (list of Row, str): the evaluations and the metric they are compared by; an
    empty list and None if there is no file.

  Raises:
    ValueError: it is not what `write_history` writes.
  """
  path = os.path.join(output_dir, FILE_NAME)
  if not tf.gfile.Exists(path):
    return [], None
  rows = []
  try:
    text = json_files.read_small(path).decode("utf-8")
  except ValueError as error:
    raise ValueError("%s: cannot be read (%s); remove it, and the evaluations "
                     "so far are forgotten" % (path, error)) from None
  lines = [line.split("\t") for line in text.split("\n")]
  if lines[-1] == [""]:
    lines.pop()
  else:
    lines[-1] = []  # cut off
  for number, line in enumerate(lines or [[]], 1):
    try:
      if number == 1:
        header = line
        if header[:2] != ["step", "epoch"] or header[-1][:5] != "best ":
          raise ValueError()
        continue
      if len(line) != len(header):
        raise ValueError()
      cells = dict(zip(header[2:-1], line[2:-1]))
      data = cells.pop("data", None) or None  # older versions wrote none
      rows.append(Row(
          int(line[0]), float(line[1]) if line[1] else None,
          {name: float(text) for name, text in cells.items() if text}, data))
    except (ValueError, IndexError):
      raise ValueError(
          "%s, row %d: not what a training writes; remove the file, and the "
          "evaluations so far are forgotten" % (path, number)) from None
  return rows, header[-1][len("best "):]


def best_row(output_dir):
  """Returns the Row of a folder's best evaluation, or None.

  Raises:
    ValueError: see `read_history`.
  """
  rows, metric = read_history(output_dir)
  return find_best(rows, metric) if rows else None


def find_checkpoint(output_dir, metric=None):
  """Returns the best checkpoint of a folder.

  Args:
    output_dir: str.
    metric: str. The figure that it should be best by; None for any.

  Raises:
    ValueError: there is no checkpoint, or it was chosen by another figure.
  """
  found = checkpoints.find_checkpoint(os.path.join(output_dir, FOLDER))
  if not found:
    raise ValueError(
        "--use_best: %s has no %s, which a training with --eval_steps or "
        "--eval_each_epoch makes" % (output_dir, FOLDER))
  used = read_history(output_dir)[1]
  if metric and used and used != metric:
    raise ValueError("--best_metric=%s: %s was chosen by %s; leave the flag "
                     "out" % (metric, found, used))
  return found


def copy_checkpoint(checkpoint, output_dir, model_files):
  """Replaces what best/ holds by a checkpoint and its model's files.

  The list of checkpoints in best/ names the new one only once it is complete,
  and only then is the old one removed, so that best/ can be read at any moment.
  The state file, with the checksums that verify the copy, comes last.

  Args:
    checkpoint: str. Prefix.
    output_dir: str. Folder that holds `model_files` and best/.
    model_files: see `tasks.Task`.
  """
  folder = os.path.join(output_dir, FOLDER)
  tf.gfile.MakeDirs(folder)
  source, name = os.path.split(checkpoint)
  names = training_state.names_of(checkpoint)
  copies = [(os.path.join(source, one), one) for one in names]
  for one in model_files:
    if tf.gfile.Exists(os.path.join(output_dir, one)):
      copies.append((os.path.join(output_dir, one), one))
  if set(names) & set(files.list_folder(folder)):
    # From an earlier training, or damaged. Half of it must not look complete.
    _remove(os.path.join(folder, "checkpoint"))
    _remove_checkpoint(os.path.join(folder, name))
  for path, one in copies:
    with files.atomic_path(os.path.join(folder, one)) as temporary:
      tf.gfile.Copy(path, temporary, overwrite=True)
  files.write_text(os.path.join(folder, "checkpoint"), (
      'model_checkpoint_path: "%s"\nall_model_checkpoint_paths: "%s"\n' % (
          name, name)))
  for prefix in checkpoint_files.prefixes_in(folder):
    if prefix != name:
      _remove_checkpoint(os.path.join(folder, prefix))


def _remove(path):
  if tf.gfile.Exists(path):
    tf.gfile.Remove(path)


def _remove_checkpoint(prefix):
  """Removes a checkpoint's files, first the one without which it is none."""
  _remove(prefix + ".index")
  for name in training_state.names_of(prefix):
    _remove(os.path.join(os.path.dirname(prefix), name))


def _is_whole(checkpoint):
  """Returns whether a checkpoint is complete and not damaged."""
  try:
    return checkpoint_files.is_complete(
        checkpoint) and not training_state.find_damage(checkpoint)
  except ValueError:
    return False


class Evaluations:
  """The evaluations of a running training, kept in its output_dir."""

  def __init__(self, output_dir, metric, start_step, model_files=(),
               steps_per_epoch=None, data=None):
    """Reads the evaluations up to the step that the training resumes from.

    Args:
      output_dir: str.
      metric: str. Name of the figure that says which is best.
      start_step: int.
      model_files: see `tasks.Task`.
      steps_per_epoch: number, or None if there are no epochs.
      data: str. Identifies the data that is evaluated on, see `describe_data`.

    Raises:
      ValueError: see `read_history`; or the earlier evaluations used other
        data, so that this run's figures cannot be compared with theirs.
    """
    self._folder, self._metric, self._data = output_dir, metric, data
    self._model_files, self._steps_per_epoch = model_files, steps_per_epoch
    self.rows = [row for row in read_history(output_dir)[0]
                 if row.step <= start_step]
    for row in self.rows:
      if row.data and row.data != data:
        raise ValueError(
            "%s: holds evaluations on other data, or on texts cut to another "
            "length (%s there, %s here); evaluate on the same, or remove the "
            "file, and the evaluations so far are forgotten" % (
                os.path.join(output_dir, FILE_NAME), row.data, data))

  def has(self, step):
    """Returns whether a step has been evaluated."""
    return any(row.step == step for row in self.rows)

  def add(self, step, figures):
    """Records an evaluation and keeps its checkpoint if it is the best.

    Args:
      step: int. Of a checkpoint in output_dir.
      figures: dict from name to int or float.

    Raises:
      ValueError: the metric is not among them.
    """
    if self._metric not in figures:
      raise ValueError("--best_metric=%s: found %s" % (
          self._metric, ", ".join(sorted(set(figures) - {"global_step"}))))
    epoch = self._steps_per_epoch and float(step / self._steps_per_epoch)
    self.rows = [row for row in self.rows if row.step < step] + [
        Row(step, epoch, {name: float(value) for name, value in figures.items()
                          if name != "global_step"}, self._data)]
    write_history(self._folder, self.rows, self._metric)
    if find_best(self.rows, self._metric) is self.rows[-1]:
      # Always: best/ may be from an earlier training, with the same names.
      self._copy(step)

  def _copy(self, step):
    copy_checkpoint(os.path.join(self._folder, "model.ckpt-%d" % step),
                    self._folder, self._model_files)

  def find_stop(self, patience):
    """Returns the step at which a training should stop early.

    Args:
      patience: int. Evaluations in a row that are no better than the best one
        before them; None never stops.

    Returns:
      int; None to train on.
    """
    for count, row in enumerate(self.rows, 1):
      best = find_best(self.rows[:count], self._metric)
      waited = count - (self.rows.index(best) + 1 if best else 0)
      if patience and waited >= patience:
        tf.logging.info(
            "Stopping early at step %d: %d evaluations in a row had no better "
            "%s than %s", row.step, waited, self._metric,
            "step %d" % best.step if best else "none at all")
        return row.step
    return None

  def keep_best(self):
    """Makes best/ hold the best checkpoint that still exists."""
    try:
      kept = checkpoints.find_checkpoint(os.path.join(self._folder, FOLDER))
    except ValueError as error:  # left by a kill while it was replaced
      tf.logging.warning("%s; it will be made again if possible", error)
      kept = None
    while find_best(self.rows, self._metric):
      best = find_best(self.rows, self._metric)
      path = os.path.join(self._folder, "model.ckpt-%d" % best.step)
      # The list is written last: without it, the copy is incomplete.
      has_name = kept and os.path.basename(kept) == os.path.basename(
          path) and tf.gfile.Exists(os.path.join(os.path.dirname(
              kept), "checkpoint"))
      is_there = _is_whole(path)
      if has_name or is_there:
        write_history(self._folder, self.rows, self._metric)
        # One of the same name may be from an earlier training.
        if is_there and not (has_name and training_state.checksum_of_weights(
            kept) == training_state.checksum_of_weights(path)):
          self._copy(best.step)
        return
      tf.logging.warning("%s: the best checkpoint so far, of step %d, is gone; "
                         "the best of the others is kept", self._folder,
                         best.step)
      self.rows.remove(best)

  def log(self):
    """Logs the table."""
    header, *lines = format_table(self.rows, self._metric)
    progress.log_table("Evaluations", [header[:-2] + header[-1:]] + [
        line[:2] + ["%.6g" % float(cell) if cell else "" for cell in line[2:-2]]
        + line[-1:] for line in lines])
