"""Which checkpoint a run starts from, and whether it is the right one.

A training run is its task, labels, vocabulary and model. They are written to
`run.json` beside the checkpoints when training starts. A later run in the
folder, which resumes, evaluates or predicts, must have the same ones:
checkpoints of another task can have the very same shapes.
"""

import collections
import hashlib
import json
import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from google.protobuf import text_format
import tensorflow.compat.v1 as tf

from . import checkpoint_files, files, modeling, training_lock

# Every path that a user gives as a checkpoint goes through it.
resolve = checkpoint_files.resolve

FILE_NAME = "run.json"

# Flags of files and folders, whose names run.json holds in full.
_PATHS = ("data_dir", "input_file", "train_file", "vocab_file")

# Settings of BertConfig that only matter while training or before it.
_TRAINING_ONLY = ("hidden_dropout_prob", "attention_probs_dropout_prob",
                  "initializer_range")
# Settings of a config that mean this where a run.json does not have them.
_CONFIG_DEFAULTS = {"layer_norm_eps": 1e-12}


class Start(collections.namedtuple(
    "Start", ["checkpoint", "step", "init_checkpoint"])):
  """Where a run begins.

  Attributes:
    checkpoint: str. Latest checkpoint in output_dir, or None.
    step: int. Its global step; 0 without one.
    init_checkpoint: str. The checkpoint to start the weights from, or None;
      always None where output_dir has a checkpoint.
  """


def make_record(task, config=None, labels=None, vocab=None, **flags):
  """Makes the record of a run.

  Args:
    task: str. Name of the task; None where any will do.
    config: BertConfig, or None where the model is not made from one.
    labels: list of str, or None for a task without labels.
    vocab: dict from token to id, or None.
    **flags: further values that checkpoint and run must share.

  Returns:
    dict, as run.json holds it.
  """
  record = {} if task is None else {"task": task}
  if config is not None:
    record["config"] = dict(config.to_dict())
  if labels is not None:
    record["labels"] = list(labels)
  if vocab is not None:
    record["vocabulary"] = describe_vocab(vocab)
  record.update({name: value for name, value in flags.items()
                 if value is not None})
  return record


def describe_vocab(vocab):
  """Returns what run.json holds of a vocabulary, a dict."""
  return {"size": len(vocab), "sha256": hash_vocab(vocab)}


def hash_vocab(vocab):
  """Returns the SHA-256, in hex, of a vocabulary's tokens and ids."""
  lines = ["%d\t%s" % (index, token) for index, token in sorted(
      (index, token) for token, index in vocab.items())]
  return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def write_record(output_dir, record, start_step, **training):
  """Writes run.json, whole or not at all.

  Args:
    output_dir: str.
    record: dict, from `make_record`.
    start_step: int. Step that training resumes from, 0 for a new one.
    **training: settings that may change from one start to the next, such as
      the learning rate. A change is logged.
  """
  training = _with_absolute_paths(training)
  before = read_training(output_dir)
  if start_step:
    for name in sorted(set(before) & set(training)):
      if before[name] != training[name]:
        tf.logging.warning("%s was %s so far and is %s from step %d on",
                           name, before[name], training[name], start_step)
  files.write_json(
      os.path.join(output_dir, FILE_NAME), dict(record, training=training))


def _with_absolute_paths(settings):
  """Returns settings with paths that mean the same from another folder."""
  def make_absolute(name, value):
    # A comma may be part of a name.
    is_list = name == "input_file" and not tf.gfile.Exists(value)
    return ",".join(path if "://" in path else os.path.abspath(path)
                    for path in (value.split(",") if is_list else [value]))

  return {name: make_absolute(name, value) if name in _PATHS and value else
          value for name, value in settings.items()}


def warn_of_other_settings(start, output_dir, settings):
  """Warns of settings that are not those a model was trained with.

  Args:
    start: Start. Where the model is from.
    output_dir: str.
    settings: dict from the name of a flag to its value.
  """
  folder = (output_dir if start.checkpoint else
            os.path.dirname(start.init_checkpoint or ""))
  training = read_training(folder)
  for name, value in sorted(_with_absolute_paths(settings).items()):
    if name in training and training[name] != value:
      tf.logging.warning(
          "--%s is %s here, but the model was trained with %s", name, value,
          training[name])


def read_training(folder):
  """Returns the settings that a folder's run.json holds, an empty dict without.

  Raises:
    ValueError: see `read_record`.
  """
  return (read_record(folder) or {}).get("training", {})


def warn_of_ignored_settings(output_dir, settings, how_to_train_more):
  """Warns of settings that come too late: the training in a folder is finished.

  Args:
    output_dir: str.
    settings: dict from the name of a flag to its value.
    how_to_train_more: str. What to do to train the model in the folder further.
  """
  training = read_training(output_dir)
  ignored = [
      "--%s=%s (trained with %s)" % (name, value, training[name])
      for name, value in sorted(_with_absolute_paths(settings).items())
      # Of a vocabulary `check_record` compares the content.
      if name in training and name != "vocab_file" and value is not None and
      value != training[name]]
  if ignored:
    tf.logging.warning(
        "The training in %s is finished, so these settings are ignored: %s. "
        "Give another --output_dir to train with them, or %s to train the same "
        "model further", output_dir, ", ".join(ignored), how_to_train_more)


def read_record(output_dir):
  """Returns what run.json of a folder holds, or None if there is none.

  Raises:
    ValueError: it is not what `write_record` writes.
  """
  path = os.path.join(output_dir, FILE_NAME)
  if not tf.gfile.Exists(path):
    return None
  try:
    with tf.gfile.GFile(path) as reader:
      record = json.loads(reader.read())
    check_fields(record)
  except (ValueError, RecursionError, tf.errors.OpError) as error:
    raise ValueError(
        "%s: cannot be read (%s); copy it again, or remove it: then only the "
        "shapes of the checkpoint are compared, and export_model.py and "
        "Predictor need the task, labels and so on as arguments" % (
            path, getattr(error, "message", error))) from None
  return record


def _is_text(value):
  return isinstance(value, str)


def _is_count(value):
  return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_object(value):
  return isinstance(value, dict)


def _is_bool(value):
  return isinstance(value, bool)


# What `write_record` and the scripts write: the keys that lead to a value, the
# test of it and its name. Only the first is in every record.
_FIELDS = [
    ("task", _is_text, "a name"),
    ("labels", lambda value: isinstance(value, list) and value and
     all(map(_is_text, value)), "a list of texts"),
    ("config", _is_object, "an object"),
    ("vocabulary", _is_object, "an object"),
    ("vocabulary size", _is_count, "a whole number above 0"),
    ("vocabulary sha256", _is_text, "a hash"),
    ("do_lower_case", _is_bool, "true or false"),
    ("strip_accents", _is_bool, "true or false"),
    ("use_next_sentence", _is_bool, "true or false"),
    ("training", _is_object, "an object"),
    ("training vocab_file", lambda value: value is None or _is_text(value),
     "a path"),
    ("training max_seq_length", _is_count, "a whole number above 0"),
    ("training doc_stride", _is_count, "a whole number above 0"),
    ("training max_query_length", _is_count, "a whole number above 0"),
    ("training version_2_with_negative", _is_bool, "true or false"),
]
_NEEDED = ("task", "vocabulary size", "vocabulary sha256")


def check_fields(record):
  """Raises ValueError, naming the first value that `write_record` never writes.

  Args:
    record: what the JSON of a run.json holds.
  """
  if not isinstance(record, dict):
    raise ValueError("found no JSON object")
  for name, is_right, expected in _FIELDS:
    within = record
    for key in name.split(" ")[:-1]:
      within = within.get(key)
    key = name.split(" ")[-1]
    if within is None or key not in within and name not in _NEEDED:
      continue
    if not is_right(within.get(key)):
      found = json.dumps(within[key])[:40] if key in within else "nothing"
      raise ValueError("%s: found %s, expected %s" % (
          name.replace(" ", "."), found, expected))
  if "config" in record:
    modeling.check_config(modeling.BertConfig.from_dict(record["config"]))


def check_record(output_dir, record, checkpoint,
                 cure="another --output_dir (--init_checkpoint=%s starts from "
                 "its weights)"):
  """Raises ValueError if a checkpoint in a folder belongs to another run.

  Args:
    output_dir: str. Folder with or without a run.json.
    record: dict, from `make_record`. This run.
    checkpoint: str. The checkpoint in the folder.
    cure: str. What to give if not the flags of that run; %s is the checkpoint.
  """
  there = read_record(output_dir)
  differences = _differences(there, record) if there is not None else []
  if differences:
    raise ValueError(
        "%s holds %s of another run: %s. Give the flags of that run, or %s" % (
            output_dir or ".", os.path.basename(checkpoint),
            "; ".join(differences), cure.replace("%s", checkpoint)))


def _differences(there, here):
  """Returns a list of str, one for each entry that is not the same."""
  there, here = _comparable(there), _comparable(here)
  return ["%s is %s there and %s here" % (name, _show(there[name]),
                                          _show(here[name]))
          for name in sorted(set(there) & set(here))
          if there[name] != here[name]]


def _comparable(record):
  """Returns a flat dict of the entries that runs must share."""
  flat = {}
  for name, value in record.items():
    if name == "vocabulary":
      flat["vocabulary"] = "%(size)s tokens, hash %(sha256).12s" % value
    elif name == "config":
      flat.update({"config's " + key: setting for key, setting in dict(
          _CONFIG_DEFAULTS, **value).items() if key not in _TRAINING_ONLY})
    elif name != "training":
      flat[name] = value
  # Accents follow the case unless a record says otherwise.
  if "do_lower_case" in flat and flat.get("strip_accents") in (
      None, flat["do_lower_case"]):
    flat["strip_accents"] = "auto"
  return flat


def _show(value):
  if isinstance(value, list):
    shown = ", ".join(map(str, value[:8]))
    return "[%s%s]" % (shown, ", ..." if len(value) > 8 else "")
  return value if isinstance(value, str) else str(value)


def find_start(output_dir, init_checkpoint, record, is_training,
               brought_by=None, head=()):
  """Finds out where a run begins and logs it.

  Args:
    output_dir: str. Its latest checkpoint wins, if it is of the same run.
    init_checkpoint: str. Checkpoint to start from otherwise, or None.
    record: dict, from `make_record`.
    is_training: bool. The run trains, so that `init_checkpoint` may be of
      another task.
    brought_by: str. What the weights come from instead of `init_checkpoint`;
      None for nothing.
    head: names of variables that only a training on the task makes.

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
    check_record(output_dir, record, checkpoint)
    step = read_step(checkpoint)
    tf.logging.info(
        "Weights are those of %s, step %d%s", checkpoint, step,
        ", found in --output_dir; --init_checkpoint is not read"
        if init_checkpoint else "")
    return Start(checkpoint, step, None)
  if not init_checkpoint:
    if not is_training:
      raise ValueError("%s holds no checkpoint: give --do_train%s" % (
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
          "%s: has no %s, so it was not trained on this task; give --do_train, "
          "or --init_checkpoint with a trained model" % (
              init_checkpoint, ", ".join(missing)))
    check_record(os.path.dirname(init_checkpoint), record, init_checkpoint,
                 "--do_train to start from its weights")
  else:
    _warn_of_another_encoder(init_checkpoint, record)
  tf.logging.info("Weights start from %s", init_checkpoint)
  return Start(None, 0, init_checkpoint)


def _warn_of_another_encoder(init_checkpoint, record):
  """Warns of a checkpoint that was trained with other text or another model."""
  there = read_record(os.path.dirname(init_checkpoint)) or {}
  differences = _differences(
      {name: value for name, value in there.items() if name != "task"}, record)
  if differences:
    tf.logging.warning(
        "%s was trained otherwise: %s", init_checkpoint, "; ".join(differences))


def find_checkpoint(output_dir):
  """Returns the latest checkpoint in a folder whose files exist, or None.

  The folder may have been moved or copied: of the paths that its list of
  checkpoints holds only the names of the files count. Where the files of the
  latest were removed, the one before it counts.

  Raises:
    ValueError: the list names checkpoints, and none is there, or the latest is
      not complete.
  """
  state, is_listed = _read_list(output_dir)
  if not state:
    return None
  latest = _in_folder(output_dir, state.model_checkpoint_path)
  found = _find_listed(output_dir, state)
  if found != latest:
    tf.logging.warning("%s has no files; using %s", latest, found)
  elif not is_listed:
    tf.logging.warning(
        "%s is missing or damaged; using the newest checkpoint there, %s",
        os.path.join(output_dir, "checkpoint"), latest)
  return found


def _find_listed(output_dir, state):
  """Returns the latest checkpoint of a folder's list whose files exist.

  Raises:
    ValueError: see `find_checkpoint`.
  """
  latest = _in_folder(output_dir, state.model_checkpoint_path)
  if exists(latest) or checkpoint_files.names_of(latest):
    try:
      resolve(latest)
    except ValueError as error:
      raise ValueError("%s, or remove its files to use an earlier checkpoint" %
                       error) from None
    return latest
  earlier = [path for path in _list_checkpoints(output_dir, state)
             if exists(path)]
  if earlier:
    return earlier[-1]
  list_file = os.path.join(output_dir, "checkpoint")
  there = state.model_checkpoint_path
  if exists(there):
    raise ValueError(
        "%s names %s, which is in another folder; copy its files here, or "
        "remove %s and pass --init_checkpoint=%s" % (
            list_file, there, list_file, there))
  raise ValueError(
      "%s names the checkpoint %s, of which there are no files; remove %s "
      "to start anew" % (list_file, latest, list_file))


def _read_list(folder):
  """Reads a folder's list of checkpoints.

  A list that is missing or damaged, as a full disk or an incomplete copy leaves
  it, must not have a training replace the checkpoints that are there: it is
  then made of their names.

  Args:
    folder: str.

  Returns:
    state: CheckpointState proto, or None if there are no checkpoints.
    is_listed: bool. Whether the list could be read.
  """
  try:
    state = tf.train.get_checkpoint_state(folder)
  except ValueError:  # it is empty, or not UTF-8
    state = None
  if state:
    return state, True
  names = [name for name in checkpoint_files.prefixes_in(folder)
           if re.match(r"model\.ckpt-\d+$", name)]
  names = [name for name in names if checkpoint_files.is_complete(
      os.path.join(folder, name))] or names
  if not names:
    return None, False
  # Names in an absolute folder are taken as they are.
  return tf.train.generate_checkpoint_state_proto("/", names[-1], names), False


def _in_folder(folder, path):
  return os.path.join(folder, os.path.basename(path))


def _list_checkpoints(folder, state):
  return [_in_folder(folder, path)
          for path in state.all_model_checkpoint_paths]


def repair_list(output_dir):
  """Has TensorFlow find what `find_checkpoint` finds.

  Rewrites a folder's list of checkpoints where it names files that are gone,
  or another folder: a training would resume from there, and delete the oldest
  ones there. While a training runs, the list is that training's and right.

  Args:
    output_dir: str. A folder with or without checkpoints.
  """
  state, _ = _read_list(output_dir)
  if not state or (exists(state.model_checkpoint_path) and
                   list(state.all_model_checkpoint_paths) ==
                   _list_checkpoints(output_dir, state)):
    return
  latest = os.path.basename(_find_listed(output_dir, state))
  names = [os.path.basename(path)
           for path in _list_checkpoints(output_dir, state) if exists(path)]
  names = names[:names.index(latest) + 1] if latest in names else [latest]
  repaired = type(state)(
      model_checkpoint_path=latest, all_model_checkpoint_paths=names)
  try:
    with training_lock.TrainingLock(output_dir):
      files.write_text(
          os.path.join(output_dir, "checkpoint"),
          text_format.MessageToString(repaired))
  except (training_lock.Held, OSError, tf.errors.OpError):
    # A run that cannot write there cannot train either, and one that only reads
    # passes the checkpoint's path.
    pass


def exists(checkpoint):
  """Returns whether there are files of a checkpoint.

  Unlike `tf.train.checkpoint_exists` it takes the name as it stands, also one
  with characters that are part of patterns.

  Args:
    checkpoint: str. Prefix of the checkpoint.
  """
  return tf.gfile.Exists(checkpoint + ".index") or (
      tf.gfile.Exists(checkpoint) and not tf.gfile.IsDirectory(checkpoint))


def open_checkpoint(checkpoint):
  """Returns TensorFlow's reader of a checkpoint, whatever its name."""
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


def check_readable(checkpoint, cure="copy it again, or give another"):
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
      # The last name lies at the end of the data: a file that was cut off,
      # the usual damage, lacks it. Reading all would double the start-up.
      reader.get_tensor(max(shapes))
  except (tf.errors.OpError, ValueError, IndexError, RuntimeError) as error:
    raise ValueError(
        checkpoint_files.explain_damage(checkpoint) or
        "%s: not a checkpoint that can be read (%s); %s" % (
            checkpoint, getattr(error, "message", error), cure)) from None
  return shapes


def find_prefix(folder):
  """Returns a checkpoint in a folder, the latest if that is known, or None."""
  state, _ = _read_list(folder)
  if state:
    latest = _in_folder(folder, state.model_checkpoint_path)
    if exists(latest):
      return latest
  found = checkpoint_files.prefixes_in(folder)
  return os.path.join(folder, found[-1]) if found else None
