"""Which checkpoint a run starts from, and whether it can be read."""

import collections
import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from google.protobuf import text_format
import tensorflow.compat.v1 as tf

from . import (
    checkpoint_files, files, json_files, run_record, training_lock,
    training_state)
# What runs use from `run_record`: run.json lies beside its checkpoints.
from .run_record import (  # noqa: F401
    FILE_NAME, check_fields, check_record, describe_vocab, hash_vocab,
    make_record, read_record, read_training, warn_of_ignored_settings,
    warn_of_other_settings, write_record)

# For every path that a user passes as a checkpoint.
resolve = checkpoint_files.resolve


class Start(collections.namedtuple(
    "Start", ["checkpoint", "step", "init_checkpoint"])):
  """Where a run begins.

  Attributes:
    checkpoint: str. Latest checkpoint in output_dir, or None.
    step: int. Its global step; 0 without one.
    init_checkpoint: str. The checkpoint to start the weights from, or None;
      always None if output_dir has a checkpoint.
  """


def find_start(output_dir, init_checkpoint, record, is_training,
               brought_by=None, head=()):
  """Finds out where a run begins and logs it.

  Args:
    output_dir: str. Its latest checkpoint comes first, if it is of the same
      run.
    init_checkpoint: str. Checkpoint to start from otherwise, or None.
    record: dict, from `make_record`.
    is_training: bool. The run trains, so `init_checkpoint` may be of another
      task.
    brought_by: str. Where the weights come from instead of `init_checkpoint`;
      None if there is nothing else.
    head: names of variables that only training on the task creates.

  Returns:
    Start.

  Raises:
    ValueError: a checkpoint cannot be read, or is of another run.
  """
  checkpoint = find_checkpoint(output_dir)
  read_record(output_dir)  # a damaged one stops the run here, not later
  if checkpoint:
    check_readable(checkpoint, "copy it again, or remove its files to resume "
                   "from an earlier one")
    check_record(output_dir, record, checkpoint,
                 cure_of_misfit="another --output_dir")
    step = read_step(checkpoint)
    tf.logging.info(
        "Weights are those of %s, step %d%s", checkpoint, step,
        ", found in --output_dir; --init_checkpoint is not read"
        if init_checkpoint else "")
    return Start(checkpoint, step, None)
  if not init_checkpoint:
    if not is_training:
      raise ValueError("%s holds no checkpoint: pass --do_train%s" % (
          output_dir, "" if brought_by else
          ", or --init_checkpoint with a trained model"))
    if head and not brought_by:
      tf.logging.warning(
          "Weights start from random values: without --init_checkpoint, a "
          "pre-trained model to start from, expect far worse results")
    else:
      tf.logging.info("Weights start from %s", brought_by or "random values")
    return Start(None, 0, None)
  init_checkpoint = resolve(init_checkpoint)
  shapes = check_readable(init_checkpoint)
  if not is_training:
    missing = [name for name in head if name not in shapes]
    if missing:
      raise ValueError(
          "%s: has no %s, so it was not trained on this task; pass --do_train, "
          "or --init_checkpoint with a trained model" % (
              init_checkpoint, ", ".join(missing)))
    check_record(os.path.dirname(init_checkpoint), record, init_checkpoint,
                 "--do_train to start from its weights",
                 "another --init_checkpoint")
  else:
    _warn_of_another_encoder(init_checkpoint, record)
  tf.logging.info("Weights start from %s", init_checkpoint)
  return Start(None, 0, init_checkpoint)


def _warn_of_another_encoder(init_checkpoint, record):
  """Warns if a checkpoint is of another model, or for other text."""
  there = read_record(os.path.dirname(init_checkpoint)) or {}
  differences = run_record.find_differences(
      {name: value for name, value in there.items() if name != "task"}, record)
  if differences:
    tf.logging.warning(
        "%s was trained differently: %s", init_checkpoint,
        "; ".join(differences))


def find_checkpoint(output_dir):
  """Returns the latest checkpoint in a folder whose files exist, or None.

  The folder may have been moved or copied, so only the last part of the paths
  in its list of checkpoints is used. One whose files were removed or damaged is
  skipped with a warning.

  Raises:
    ValueError: the list names checkpoints, but none is complete and undamaged.
  """
  state, is_listed = _read_list(output_dir)
  if not state:
    return None
  found, passed_over = _find_listed(output_dir, state)
  for path, damage in passed_over:
    tf.logging.warning("%s is passed over, since %s; using %s",
                       path, damage, found)
  if not is_listed:
    tf.logging.warning(
        "%s is missing or damaged; using the newest checkpoint there, %s",
        os.path.join(output_dir, "checkpoint"), found)
  return found


def _find_listed(output_dir, state):
  """Finds the latest intact checkpoint of a folder's list.

  Args:
    output_dir: str.
    state: CheckpointState proto, from `_read_list`.

  Returns:
    str, and a list of (path, what is wrong with it) for the later ones.

  Raises:
    ValueError: see `find_checkpoint`.
  """
  latest = _in_folder(output_dir, state.model_checkpoint_path)
  listed = [path for path in _list_checkpoints(output_dir, state)
            if path != latest] + [latest]

  def candidates():
    yield from reversed(listed)
    # If the list was edited or copied from elsewhere, none of it may exist.
    for path in reversed(_find_unlisted(output_dir)):
      if path not in listed:
        yield path

  passed_over = []
  for path in candidates():
    damage = _find_damage(path)
    if not damage:
      return path, passed_over
    passed_over.append((path, damage))
  if any(_has_files(path) for path, _ in passed_over):
    raise ValueError(
        "%s holds no complete checkpoint: %s; copy one again, or remove them "
        "all and %s to start from scratch" % (
            output_dir, "; ".join(damage for _, damage in passed_over),
            os.path.join(output_dir, "checkpoint")))
  list_file = os.path.join(output_dir, "checkpoint")
  there = state.model_checkpoint_path
  if exists(there):
    raise ValueError(
        "%s names %s, which is in another folder; copy its files here, or "
        "remove %s and pass --init_checkpoint=%s" % (
            list_file, there, list_file, there))
  raise ValueError(
      "%s names the checkpoint %s, which has no files; remove %s to start from "
      "scratch" % (list_file, latest, list_file))


def _find_damage(checkpoint):
  """Returns what is wrong with a checkpoint's files, "" if they are intact."""
  if not _has_files(checkpoint):
    return "%s has no files" % checkpoint
  missing = checkpoint_files.find_missing(checkpoint)
  if missing and checkpoint_files.names_of(checkpoint):
    return "%s lacks %s" % (checkpoint, ", ".join(missing))
  try:
    damage = training_state.find_damage(resolve(checkpoint))
    if not damage:
      check_readable(checkpoint)
    return damage
  except ValueError as error:
    return str(error)


def _has_files(checkpoint):
  return exists(checkpoint) or bool(checkpoint_files.names_of(checkpoint))


def _read_list(folder):
  """Reads a folder's list of checkpoints.

  A full disk or an incomplete copy may leave a list missing or damaged. Then
  the names of the checkpoints in the folder become the list, so that no
  training overwrites them.

  Args:
    folder: str.

  Returns:
    state: CheckpointState proto, or None if there are no checkpoints.
    is_listed: bool. Whether the list could be read.
  """
  path = os.path.join(folder, "checkpoint")
  try:
    if tf.gfile.Exists(path):
      json_files.read_small(path)
    state = tf.train.get_checkpoint_state(folder)
  except ValueError:  # it is empty, far too large, or not UTF-8
    state = None
  if state:
    return state, True
  names = list(map(os.path.basename, _find_unlisted(folder)))
  names = [name for name in names if checkpoint_files.is_complete(
      os.path.join(folder, name))] or names
  if not names:
    return None, False
  # With an absolute folder, names are not changed.
  return tf.train.generate_checkpoint_state_proto("/", names[-1], names), False


def _find_unlisted(folder):
  """Returns checkpoints that a training saved to a folder, listed or not.

  A run has no list until its first checkpoint is complete.
  """
  paths = [os.path.join(folder, name)
           for name in checkpoint_files.prefixes_in(folder)
           if re.match(r"model\.ckpt-\d+$", name)]
  return [path for path in paths if not training_state.is_unfinished(path)]


def _in_folder(folder, path):
  return os.path.join(folder, os.path.basename(path))


def _list_checkpoints(folder, state):
  return [_in_folder(folder, path) for path in state.all_model_checkpoint_paths]


def repair_list(output_dir):
  """Makes TensorFlow find what `find_checkpoint` finds.

  Rewrites a folder's list of checkpoints if it names files that are gone, or
  another folder: a training would resume from there and delete its oldest
  checkpoints. The list of a running training is right, and left alone.

  Args:
    output_dir: str. A folder with or without checkpoints.
  """
  state, _ = _read_list(output_dir)
  if not state:
    return
  found, passed_over = _find_listed(output_dir, state)
  listed = _list_checkpoints(output_dir, state)
  kept = [path for path in listed if exists(path) and not _is_pattern(path)]
  if (not passed_over and exists(state.model_checkpoint_path) and
      list(state.all_model_checkpoint_paths) == kept):
    return
  latest = os.path.basename(found)
  names = list(map(os.path.basename, kept))
  names = names[:names.index(latest) + 1] if latest in names else [
      latest] * (not _is_pattern(latest))
  repaired = type(state)(
      model_checkpoint_path=latest, all_model_checkpoint_paths=names)
  try:
    with training_lock.TrainingLock(output_dir):
      files.write_text(
          os.path.join(output_dir, "checkpoint"),
          text_format.MessageToString(repaired))
  except (training_lock.Held, OSError, tf.errors.OpError):
    # A run that cannot write there cannot train either, and one that only reads
    # passes TensorFlow the path of the checkpoint.
    pass


def _is_pattern(path):
  """Returns whether a checkpoint's name may match others.

  TensorFlow uses the name as a pattern when it removes the oldest checkpoint.
  """
  return bool(set("*?[\\") & set(os.path.basename(path)))


def exists(checkpoint):
  """Returns whether there are files of a checkpoint.

  Unlike `tf.train.checkpoint_exists`, it takes the name literally, wildcards
  included.

  Args:
    checkpoint: str. Prefix of the checkpoint.
  """
  return tf.gfile.Exists(checkpoint + ".index") or (
      tf.gfile.Exists(checkpoint) and not tf.gfile.IsDirectory(checkpoint))


def open_checkpoint(checkpoint):
  """Returns TensorFlow's reader of a checkpoint, which may have any name."""
  return tf.train.load_checkpoint(files.literal(checkpoint))


def read_step(checkpoint):
  """Returns the global step of a checkpoint, 0 if it has none."""
  reader = open_checkpoint(checkpoint)
  if not reader.has_tensor("global_step"):
    return 0
  return int(reader.get_tensor("global_step"))


def has_step(checkpoint):
  """Returns whether a checkpoint has a global step as TensorFlow keeps it."""
  types = open_checkpoint(checkpoint).get_variable_to_dtype_map()
  return types.get("global_step") == tf.int64


def check_readable(checkpoint, cure="copy it again, or pass another"):
  """Returns a checkpoint's shapes; raises ValueError if it cannot be read.

  Args:
    checkpoint: str. See `checkpoint_files.resolve`.
    cure: str. What to do about a damaged one.

  Returns:
    dict from variable name to list of int.
  """
  checkpoint = resolve(checkpoint)
  try:
    reader = open_checkpoint(checkpoint)
    shapes = reader.get_variable_to_shape_map()
    if shapes:
      # The last name is at the end of the data, which a truncated file, the
      # usual damage, lacks. Reading everything would double the start-up time.
      reader.get_tensor(max(shapes))
  except (tf.errors.OpError, ValueError, IndexError, RuntimeError,
          MemoryError) as error:  # the last if a size is damaged
    raise ValueError(
        checkpoint_files.explain_damage(checkpoint) or
        "%s: not a checkpoint that can be read (%s); %s" % (
            checkpoint, getattr(error, "message", error), cure)) from None
  return shapes


def find_prefix(folder):
  """Returns a checkpoint in a folder, the latest if known, or None."""
  state, _ = _read_list(folder)
  if state:
    latest = _in_folder(folder, state.model_checkpoint_path)
    if exists(latest):
      return latest
  found = checkpoint_files.prefixes_in(folder)
  return os.path.join(folder, found[-1]) if found else None
