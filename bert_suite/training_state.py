"""What a training resumes from beside the weights, and checksums of those.

Beside each checkpoint lies a file `.state.json`: the step, the seed, how many
examples were used, and size and CRC-32 of each of its files. Step and seed give
the random numbers of dropout, seed and count the order of the data.
"""

import collections
import functools
import numbers
import os
import random
import zlib

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import checkpoint_files, files, json_files

_ENDING = ".state.json"
_CHUNK_BYTES = 2 ** 24


class State(collections.namedtuple(
    "State", "step position batch_size seed is_ordered",
    defaults=[0, 0, 0, True])):
  """Where a training is.

  Attributes:
    step: int. Steps that are done.
    position: int. Examples that they used.
    batch_size: int. Examples of each step from here on.
    seed: int. Of dropout and, if `is_ordered`, of the order of the data.
    is_ordered: bool. The data come in the order of `record_order`; else, as in
      older versions, from a shuffle buffer.
  """

  def at(self, step):
    """Returns the State at a later step."""
    return self._replace(step=step, position=self.position + (
        step - self.step) * self.batch_size)


def find_state(checkpoint, step, batch_size, seed):
  """Finds out where a training resumes.

  Args:
    checkpoint: str. None for a new training.
    step: int. That of the checkpoint, 0 without one.
    batch_size: int. Examples of each step from here on.
    seed: int. --tf_random_seed, of a new training; None draws one.

  Returns:
    State.
  """
  if seed is None:
    seed = random.SystemRandom().randrange(2 ** 31)
  if not checkpoint:
    return State(step, 0, batch_size, seed)
  saved = _read(checkpoint)
  if not saved:
    tf.logging.warning(
        "%s was saved by an older version, without the order of its data: the "
        "examples of its %d steps are skipped by reading them, and the few "
        "that waited to be shuffled are left out", checkpoint, step)
    return State(step, step * batch_size, batch_size, seed, False)
  return State(step, saved["position"], batch_size, saved["seed"],
               saved["is_ordered"])


def _read(checkpoint):
  """Returns what a checkpoint's state file holds, a dict; None without one."""
  path = checkpoint + _ENDING
  if not tf.gfile.Exists(path):
    return None
  expected = {"step": int, "position": int, "seed": int, "is_ordered": bool,
              "files": dict}
  try:
    saved = json_files.read(path)
  except ValueError:
    saved = None
  if not isinstance(saved, dict) or any(
      type(saved.get(name)) is not kind for name, kind in expected.items()
  ) or not all(isinstance(one, list) and list(map(type, one)) == [int, int]
               for one in saved["files"].values()):
    raise ValueError("%s: is damaged; restore it, or remove it to resume "
                     "without it" % path)
  return saved


def names_of(checkpoint):
  """Returns the names of a checkpoint's files, its state file, if any, last."""
  state = [os.path.basename(checkpoint) + _ENDING]
  return checkpoint_files.names_of(checkpoint) + (
      state if tf.gfile.Exists(checkpoint + _ENDING) else [])


def is_unfinished(checkpoint):
  """Returns whether a run ended while it saved a checkpoint."""
  try:
    saved = _read(checkpoint)
  except ValueError:
    return False  # damaged, as using it will say
  return bool(saved) and not saved["files"]


def find_damage(checkpoint):
  """Returns how a checkpoint's files differ from when it was saved, or "".

  Args:
    checkpoint: str. Prefix of the checkpoint. Without a state file, and in
      remote folders but for sizes, nothing is known.

  Raises:
    ValueError: the state file is damaged.
  """
  saved = _read(checkpoint)
  if saved and not saved["files"]:
    return "saving it did not end"
  for name, (size, checksum) in sorted(saved["files"].items() if saved else ()):
    path = os.path.join(os.path.dirname(checkpoint), os.path.basename(name))
    if not tf.gfile.Exists(path):
      return "%s is missing" % path
    time, found = files.find_change(path)
    if found != size:
      return "%s has %d bytes, expected %d" % (path, found, size)
    if "://" not in path and _checksum(path, time) != checksum:
      return "%s is not as it was saved (its checksum differs)" % path
  return ""


def checksum_of(path):
  """Returns the CRC-32 of a file, int."""
  return _checksum(path, files.find_change(path)[0])


def checksum_of_weights(checkpoint):
  """Returns an int that is another one for other weights of the same step.

  Args:
    checkpoint: str. Prefix of the checkpoint.
  """
  index = checkpoint + ".index"  # has a checksum of each variable
  return checksum_of(index if tf.gfile.Exists(index) else checkpoint)


@functools.lru_cache(maxsize=64)
def _checksum(path, unused_time):
  """Returns the CRC-32 of a file, once for each time of its last change."""
  checksum = 0
  with tf.gfile.GFile(path, "rb") as reader:
    for chunk in iter(lambda: reader.read(_CHUNK_BYTES), b""):
      checksum = zlib.crc32(chunk, checksum)
  return checksum & 0xFFFFFFFF


class Saver(tf.train.Saver):
  """Saves checkpoints with their state; both are on disk before the list is.

  TensorFlow lists a checkpoint as the latest once its files have their names,
  but after a power cut they may be there without their content.
  """

  def __init__(self, state, max_to_keep):
    """Makes the saver.

    Args:
      state: State. Where the training resumes.
      max_to_keep: int. Checkpoints to keep.
    """
    super().__init__(sharded=True, max_to_keep=max_to_keep, defer_build=True,
                     save_relative_paths=True)
    self._state = state

  def save(self, sess, save_path, global_step=None, **kwargs):
    if isinstance(global_step, numbers.Integral):
      path = "%s-%d%s" % (save_path, global_step, _ENDING)
      if not tf.gfile.Exists(path):  # of one, it is right until files change
        self._write_state(path, {})
    try:
      return super().save(sess, save_path, global_step, **kwargs)
    except tf.errors.OutOfRangeError as error:
      # What TensorFlow makes of a limit on the size of files, and what a
      # session takes for the end of the data.
      raise tf.errors.ResourceExhaustedError(
          error.node_def, error.op, error.message) from None

  def _write_state(self, path, found):
    """Writes a state file; `found` is empty until the checkpoint is whole."""
    step = int(path[:-len(_ENDING)].rsplit("-", 1)[1])
    state = self._state.at(step)
    files.write_json(path, {
        "step": step, "position": state.position, "seed": state.seed,
        "is_ordered": state.is_ordered, "files": found})

  # TensorFlow calls this when the files are written, before it lists them.
  def _RecordLastCheckpoint(self, latest_save_path):
    folder, found = os.path.dirname(latest_save_path), {}
    for name in checkpoint_files.names_of(latest_save_path):
      path = os.path.join(folder, name)
      if not name.endswith(".meta"):  # written later, and never read
        files.sync(path)
        time, size = files.find_change(path)
        found[name] = [size, _checksum(path, time)]
    self._write_state(latest_save_path + _ENDING, found)
    super()._RecordLastCheckpoint(latest_save_path)

  def _MaybeDeleteOldCheckpoints(self, meta_graph_suffix="meta"):
    old = [path for path, _ in self._checkpoints_to_be_deleted]
    super()._MaybeDeleteOldCheckpoints(meta_graph_suffix)
    for path in old:
      if tf.gfile.Exists(path + _ENDING) and not tf.gfile.Exists(
          path + ".index"):
        tf.gfile.Remove(path + _ENDING)
