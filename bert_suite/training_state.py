"""What a training resumes from besides the weights, and checksums of those.

Each checkpoint has a file `.state.json` with the step, the seed, how many
examples were used, and size and CRC-32 of each of its files. Step and seed
determine the random numbers of dropout, seed and count the order of the data.
"""

import collections
import functools
import numbers
import os
import random
import zlib

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import checkpoint_files, files, json_files, record_order

_ENDING = ".state.json"
_CHUNK_BYTES = 2 ** 24


class State(collections.namedtuple(
    "State", "step position batch_size seed is_ordered group_size "
    "num_train_steps last_batch_size",
    defaults=[0, 0, 0, True, record_order.LEAST_GROUP, 0, 0])):
  """Where a training is.

  Attributes:
    step: int. Steps that are done.
    position: int. Examples that they used.
    batch_size: int. Examples of each step from here on.
    seed: int. Of dropout and, if `is_ordered`, of the order of the data.
    is_ordered: bool. The data come in the order of `record_order`; else from
      TensorFlow's shuffle buffer, as in older versions.
    group_size: int. See `record_order.Order`.
    num_train_steps: int. Steps of the whole training.
    last_batch_size: int. Examples of the last step; 0 if as many as others.
  """

  def at(self, step):
    """Returns the State at a later step."""
    position = self.position + (step - self.step) * self.batch_size
    if self.last_batch_size and self.step < step == self.num_train_steps:
      position -= self.batch_size - self.last_batch_size
    return self._replace(step=step, position=position)


def find_state(checkpoint, new):
  """Finds where a training resumes.

  Args:
    checkpoint: str. None for a new training.
    new: State. As if the training began with this run, except for the step,
      which is the checkpoint's. A `seed` of None draws one; `is_ordered` says
      whether the data can be read in order.

  Returns:
    State.

  Raises:
    ValueError: the state file is damaged.
  """
  if new.seed is None:
    new = new._replace(seed=random.SystemRandom().randrange(2 ** 31))
  if not checkpoint:
    return new
  saved = _read(checkpoint)
  if not saved:
    saved = {"position": new.step * new.batch_size, "seed": new.seed,
             "is_ordered": False}
    before = new.is_ordered and (
        "%s has no %s, like those of older versions, which did not keep the "
        "order of the data" % (checkpoint, _ENDING))
  else:
    before = saved["is_ordered"] and not new.is_ordered and (
        "So far the data was read in an order that compressed files, TPUs and "
        "--master do not have; from here on the order is another, and this "
        "epoch may repeat or miss some examples")
  state = new._replace(
      position=saved["position"], seed=saved["seed"],
      is_ordered=saved["is_ordered"] and new.is_ordered,
      group_size=saved.get("group_size", new.group_size))
  if not state.is_ordered:
    skipped = ("the %d examples used so far are skipped by reading them, and "
               "the few that waited to be shuffled are left out" %
               state.position)
    if before:
      tf.logging.warning("%s: %s", before, skipped)
    else:
      tf.logging.info("%s", skipped.capitalize())
  elif state.group_size != new.group_size:
    tf.logging.warning(
        "--shuffle_buffer_size is not used: the order of the data stays as it "
        "is with %d, which this training began with", state.group_size)
  return state


def _read(checkpoint):
  """Returns the content of a checkpoint's state file, a dict; None without."""
  path = checkpoint + _ENDING
  if not tf.gfile.Exists(path):
    return None
  try:
    saved = json_files.read(path)
  except ValueError:
    saved = None
  if not _is_state(saved, checkpoint):
    raise ValueError("%s: is damaged; restore it, or remove it to resume "
                     "without it" % path)
  return saved


def _is_state(saved, checkpoint):
  """Returns whether a state file's content can be that of a checkpoint."""
  expected = {"step": int, "position": int, "seed": int, "is_ordered": bool,
              "files": dict}
  if not isinstance(saved, dict) or any(
      type(saved.get(name)) is not kind for name, kind in expected.items()):
    return False
  group_size = saved.get("group_size", 1)  # the first versions had none
  if type(group_size) is not int or not 0 < group_size < 2 ** 63:
    return False
  if not (0 <= saved["position"] < 2 ** 63 and abs(saved["seed"]) < 2 ** 63):
    return False
  if not checkpoint.endswith("-%d" % saved["step"]):
    return False
  return all(isinstance(one, list) and list(map(type, one)) == [int, int]
             for one in saved["files"].values())


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
    return False  # damaged, which using it will report
  return bool(saved) and not saved["files"]


def find_damage(checkpoint):
  """Returns how a checkpoint's files differ from when it was saved, or "".

  Args:
    checkpoint: str. Prefix of the checkpoint. Without a state file nothing is
      checked, and in remote folders only sizes are.

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
  for name in _names_to_check(checkpoint) if saved else ():
    if name not in saved["files"]:
      return "%s is not one of the files that were saved" % os.path.join(
          os.path.dirname(checkpoint), name)
  return ""


def _names_to_check(checkpoint):
  """Returns the names of the files that a state file has checksums of."""
  return [name for name in checkpoint_files.names_of(checkpoint)
          if not name.endswith(".meta")]  # written later, and never read


def checksum_of(path):
  """Returns the CRC-32 of a file, int."""
  return _checksum(path, files.find_change(path)[0])


def checksum_of_weights(checkpoint):
  """Returns an int that differs between different weights of the same step.

  Args:
    checkpoint: str. Prefix of the checkpoint.
  """
  index = checkpoint + ".index"  # has a checksum of each variable
  return checksum_of(index if tf.gfile.Exists(index) else checkpoint)


@functools.lru_cache(maxsize=64)
def _checksum(path, unused_time):
  """Returns the CRC-32 of a file, cached by the time of its last change."""
  checksum = 0
  with tf.gfile.GFile(path, "rb") as reader:
    for chunk in iter(lambda: reader.read(_CHUNK_BYTES), b""):
      checksum = zlib.crc32(chunk, checksum)
  return checksum & 0xFFFFFFFF


class Saver(tf.train.Saver):
  """Saves checkpoints with their state; both are on disk before the list is.

  TensorFlow lists a checkpoint as the latest once its files have their names,
  but after a power cut they may exist without their content.
  """

  def __init__(self, state, max_to_keep):
    """Makes the saver.

    Args:
      state: State. Where the training resumes.
      max_to_keep: int. Checkpoints to keep.
    """
    super().__init__(sharded=True, max_to_keep=max_to_keep, defer_build=True,
                     save_relative_paths=True)
    self._state, self._latest = state, None

  def save(self, sess, save_path, global_step=None, **kwargs):
    if isinstance(global_step, numbers.Integral):
      prefix = "%s-%d" % (save_path, global_step)
      if self._is_saved(prefix):
        # A training first saves what it resumes from; TensorFlow would rewrite
        # the same files, and lose the checkpoint if killed meanwhile.
        self._write_state(prefix)
        return prefix
      if not tf.gfile.Exists(prefix + _ENDING):  # valid until files change
        self._write_state(prefix, is_whole=False)
    try:
      return super().save(sess, save_path, global_step, **kwargs)
    except tf.errors.OutOfRangeError as error:
      # TensorFlow raises this when a file exceeds a size limit, and a session
      # would take it for the end of the data.
      raise tf.errors.ResourceExhaustedError(
          error.node_def, error.op, error.message) from None

  def _is_saved(self, prefix):
    """Returns whether a checkpoint is the latest that was saved, and whole."""
    if prefix != (self._latest or (self.last_checkpoints or [None])[-1]):
      return False
    try:
      return checkpoint_files.is_complete(prefix) and not find_damage(prefix)
    except ValueError:
      return False

  def _write_state(self, prefix, is_whole=True):
    """Writes a state file; it lists no files until the checkpoint is whole."""
    state = self._state.at(int(prefix.rsplit("-", 1)[1]))
    found = {}
    for name in _names_to_check(prefix) if is_whole else ():
      path = os.path.join(os.path.dirname(prefix), name)
      files.sync(path)
      time, size = files.find_change(path)
      found[name] = [size, _checksum(path, time)]
    files.write_json(prefix + _ENDING, {
        "step": state.step, "position": state.position, "seed": state.seed,
        "is_ordered": state.is_ordered, "group_size": state.group_size,
        "files": found})
    files.sync_folder(os.path.dirname(prefix))

  # TensorFlow calls this when the files are written, before it lists them.
  def _RecordLastCheckpoint(self, latest_save_path):
    self._write_state(latest_save_path)
    self._latest = latest_save_path  # TensorFlow may keep all without a list
    super()._RecordLastCheckpoint(latest_save_path)

  # And this once they are listed.
  def _MaybeDeleteOldCheckpoints(self, meta_graph_suffix="meta"):
    old = [path for path, _ in self._checkpoints_to_be_deleted]
    if old:
      folder = os.path.dirname(old[0])
      files.sync(os.path.join(folder, "checkpoint"))
      files.sync_folder(folder)
    super()._MaybeDeleteOldCheckpoints(meta_graph_suffix)
    for path in old:
      if tf.gfile.Exists(path + _ENDING) and not tf.gfile.Exists(
          path + ".index"):
        tf.gfile.Remove(path + _ENDING)
