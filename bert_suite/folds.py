"""All folds together: each example predicted by the model trained without it.
"""

import io
import os
import zipfile
import zlib

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import faults, files, problem_types, progress

RESULTS = "fold_results.tsv"
PREDICTIONS = "fold_predictions.tsv"

_ARRAYS = "fold.npz"  # in a fold's folder
_FOLD_PREDICTIONS = "dev_predictions.tsv"


def keep(folder, arrays):
  """Keeps the evaluation of a fold.

  Args:
    folder: str. The fold's folder.
    arrays: dict, see `problem_types.compute_figures`.
  """
  content = io.BytesIO()
  np.savez(content, **arrays)
  with files.atomic_path(os.path.join(folder, _ARRAYS)) as temporary:
    with tf.gfile.GFile(temporary, "wb") as writer:
      writer.write(content.getvalue())


def compute_figures(folders, problem):
  """Computes the figures of all examples of some folds.

  Args:
    folders: list of str. Those that were given to `keep`.
    problem: one of the classes of `problem_types`.

  Returns:
    dict from name to float; "examples" is their number. Figures of tuned
    thresholds are left out, as each fold has its own.

  Raises:
    ValueError: an evaluation is missing or cannot be read.
  """
  found = []
  for folder in folders:
    path = os.path.join(folder, _ARRAYS)
    try:
      with tf.gfile.GFile(path, "rb") as reader:
        with np.load(io.BytesIO(reader.read()), allow_pickle=False) as arrays:
          found.append(dict(arrays))
      problem_types.compute_figures(problem, found[-1])
    except (OSError, EOFError, ValueError, LookupError, TypeError, zlib.error,
            AttributeError, RuntimeError, MemoryError,
            zipfile.BadZipFile, tf.errors.OpError) as error:
      raise ValueError("%s: cannot be read (%s)" % (
          path, faults.message_of(error))) from None
  arrays = {name: np.concatenate([one[name] for one in found])
            for name in found[0]}
  figures = problem_types.compute_figures(problem, arrays)
  return dict(
      {name: figures[name] for name in problem.figures
       if not name.endswith(problem_types.TUNED)},
      examples=int(np.sum(arrays["is_real_example"] > 0)))


def report(output_dir, groups, problem):
  """Writes and logs the figures of all folds, and writes their predictions.

  Args:
    output_dir: str. It holds the folders of the folds.
    groups: dict from the name of a group, such as a seed, to the names of its
      folds.
    problem: one of the classes of `problem_types`.
  """
  try:
    rows = [(group, compute_figures(
        [os.path.join(output_dir, name) for name in names], problem))
            for group, names in groups.items()]
  except ValueError as error:
    tf.logging.warning(
        "No metrics over all folds: %s; to get them, run the command again "
        "with another --output_dir", error)
    return
  names = sorted(rows[0][1])

  def table(show):
    return [["runs"] + names] + [
        [group] + [show(figures[name]) for name in names]
        for group, figures in rows]

  progress.log_table("All folds together", table(
      lambda value: "%.4f" % value if isinstance(value, float) else str(value)))
  files.write_text(os.path.join(output_dir, RESULTS), "".join(
      "\t".join(line) + "\n" for line in table(repr)))
  path = os.path.join(output_dir, PREDICTIONS)
  with files.atomic_path(path) as temporary:
    with tf.gfile.GFile(temporary, "w") as writer:
      _join(writer, output_dir, [
          name for names in groups.values() for name in names])
  tf.logging.info("%s has the predictions of all folds", path)


def _join(writer, output_dir, names):
  """Writes the folds' tables as one, each row with its fold's name."""
  for number, name in enumerate(names):
    with tf.gfile.GFile(os.path.join(
        output_dir, name, _FOLD_PREDICTIONS)) as reader:
      header = reader.readline()
      if not number:
        writer.write("run\t" + header)
      for line in reader:
        writer.write("%s\t%s" % (name, line))
