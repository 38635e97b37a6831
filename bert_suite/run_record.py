"""run.json: which run the checkpoints of a folder belong to.

A training run is its task, labels, vocabulary and model. They are written to
`run.json` beside the checkpoints when training starts. A later run in the
folder, which resumes, evaluates or predicts, must have the same ones:
checkpoints of another task can have exactly the same shapes.
"""

import hashlib
import json
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import config as bert_config, files, json_files, problem_types

FILE_NAME = "run.json"

# Flags of files and folders, whose names run.json holds in full.
_PATHS = ("data_dir", "dev_file", "init_checkpoint", "input_file",
          "masked_lm_dir", "predict_file", "teacher_dir", "train_file",
          "vocab_file")

# Settings of BertConfig that only matter during or before training.
_TRAINING_ONLY = ("hidden_dropout_prob", "attention_probs_dropout_prob",
                  "initializer_range")
# Those that decide the shapes of the weights, or how many there are.
_SHAPES = ("vocab_size", "hidden_size", "num_hidden_layers",
           "intermediate_size", "max_position_embeddings", "type_vocab_size")
# Values of config settings that a run.json may lack.
_CONFIG_DEFAULTS = {"layer_norm_eps": 1e-12}


def make_record(task, config=None, labels=None, vocab=None, **flags):
  """Makes the record of a run.

  Args:
    task: str. Name of the task; None if any will do.
    config: BertConfig, or None if the model is not made from one.
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
  """Returns the dict that run.json holds for a vocabulary."""
  return {"size": len(vocab), "sha256": hash_vocab(vocab)}


def hash_vocab(vocab):
  """Returns the SHA-256, in hex, of a vocabulary's tokens and ids."""
  lines = ["%d\t%s" % (index, token) for index, token in sorted(
      (index, token) for token, index in vocab.items())]
  return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def write_record(output_dir, record, start_step, **training):
  """Writes run.json atomically.

  Args:
    output_dir: str.
    record: dict, from `make_record`.
    start_step: int. Step that training resumes from, 0 for a new one.
    **training: settings that may change from one start to the next, such as
      the learning rate. A change is logged.
  """
  training = with_absolute_paths(training)
  before = read_training(output_dir)
  if start_step:
    for name in sorted(set(before) & set(training)):
      if before[name] != training[name]:
        tf.logging.warning("%s was %s so far and is %s from step %d on",
                           name, before[name], training[name], start_step)
  files.write_json(
      os.path.join(output_dir, FILE_NAME), dict(record, training=training))


def with_absolute_paths(settings):
  """Returns settings with paths that mean the same from another folder."""
  def make_absolute(name, value):
    # A comma may be part of a name.
    is_list = name == "input_file" and not tf.gfile.Exists(value)
    return ",".join(path if "://" in path else os.path.abspath(path)
                    for path in (value.split(",") if is_list else [value]))

  return {name: make_absolute(name, value) if name in _PATHS and value else
          value for name, value in settings.items()}


def warn_of_other_settings(start, output_dir, settings):
  """Warns of settings that differ from those a model was trained with.

  Args:
    start: checkpoints.Start. Where the model comes from.
    output_dir: str.
    settings: dict from the name of a flag to its value.
  """
  folder = (output_dir if start.checkpoint else
            os.path.dirname(start.init_checkpoint or ""))
  training = read_training(folder)
  for name, value in sorted(with_absolute_paths(settings).items()):
    if name in training and training[name] != value:
      tf.logging.warning("--%s is %s here, but the model was trained with %s",
                         name, value, training[name])


def read_training(folder):
  """Returns the settings in a folder's run.json, an empty dict without one.

  Raises:
    ValueError: see `read_record`.
  """
  return (read_record(folder) or {}).get("training", {})


def warn_of_ignored_settings(output_dir, settings, how_to_train_more):
  """Warns of settings that are ignored because the training is finished.

  Args:
    output_dir: str.
    settings: dict from the name of a flag to its value.
    how_to_train_more: str. How to train the model in the folder further.
  """
  training = read_training(output_dir)
  ignored = [
      "--%s=%s (trained with %s)" % (name, value, training[name])
      for name, value in sorted(with_absolute_paths(settings).items())
      # `check_record` compares the content of vocabularies.
      if name in training and name != "vocab_file" and value is not None and
      value != training[name]]
  if ignored:
    tf.logging.warning(
        "The training in %s is finished, so these settings are ignored: %s. "
        "Give another --output_dir to train with them, or %s to train the same "
        "model further", output_dir, ", ".join(ignored), how_to_train_more)


def read_record(output_dir):
  """Returns the content of a folder's run.json, or None if there is none.

  Raises:
    ValueError: `write_record` did not write it.
  """
  path = os.path.join(output_dir, FILE_NAME)
  if not tf.gfile.Exists(path):
    return None
  try:
    record = json_files.read(path)
    check_fields(record)
  except (ValueError, tf.errors.OpError) as error:
    raise ValueError(
        "%s: cannot be read (%s); copy it again, or remove it: then only the "
        "shapes of the checkpoint are compared, and export_model.py and "
        "Predictor need the task, labels and so on as arguments" % (
            path, getattr(error, "message", error))) from None
  return record


# The kinds of values, by their names in messages.
_KINDS = {
    "a name": lambda value: isinstance(value, str),
    "a hash": lambda value: isinstance(value, str),
    "a path": lambda value: value is None or isinstance(value, str),
    "a list of texts": lambda value: isinstance(value, list) and value and all(
        isinstance(text, str) for text in value),
    "a list of numbers": lambda value: isinstance(value, list) and all(
        isinstance(number, (int, float)) for number in value),
    "an object": lambda value: isinstance(value, dict),
    "a whole number above 0": lambda value: (
        isinstance(value, int) and not isinstance(value, bool) and value > 0),
    "true or false": lambda value: isinstance(value, bool),
    "truncate, head_tail or windows": lambda value: value in (
        "truncate", "head_tail", "windows"),
    "mean or max": lambda value: value in ("mean", "max"),
    "IOB1, IOB2 or IOBES": lambda value: value in ("IOB1", "IOB2", "IOBES"),
    "one of " + ", ".join(problem_types.KINDS): lambda value: value in (
        problem_types.KINDS)}
# What `write_record` and the scripts write: from the keys that lead to a value
# to its kind.
_FIELDS = {
    "task": "a name", "labels": "a list of texts", "config": "an object",
    "problem_type": "one of " + ", ".join(problem_types.KINDS),
    "thresholds": "a list of numbers",
    "vocabulary": "an object", "vocabulary size": "a whole number above 0",
    "vocabulary sha256": "a hash", "do_lower_case": "true or false",
    "tag_scheme": "IOB1, IOB2 or IOBES",
    "valid_tags_only": "true or false",
    "strip_accents": "true or false", "use_next_sentence": "true or false",
    "training": "an object", "training vocab_file": "a path",
    "training max_seq_length": "a whole number above 0",
    "training doc_stride": "a whole number above 0",
    "training max_query_length": "a whole number above 0",
    "training version_2_with_negative": "true or false",
    "training valid_tags_only": "true or false",
    "training long_text": "truncate, head_tail or windows",
    "training window_stride": "a whole number above 0",
    "training window_pooling": "mean or max",
}
# In every record, or in every one that has the keys that lead there.
_NEEDED = ("task", "vocabulary size", "vocabulary sha256")


def check_fields(record):
  """Raises ValueError for the first value that `write_record` never writes.

  Args:
    record: what the JSON of a run.json holds.
  """
  if not isinstance(record, dict):
    raise ValueError("found no JSON object")
  # A converted classifier fits any task, and names none.
  needed = _NEEDED["problem_type" in record:]
  for name, kind in _FIELDS.items():
    within = record
    for key in name.split(" ")[:-1]:
      within = within.get(key)
    key = name.split(" ")[-1]
    if within is None or key not in within and name not in needed:
      continue
    if not _KINDS[kind](within.get(key)):
      found = json.dumps(within[key])[:40] if key in within else "nothing"
      raise ValueError("%s: found %s, expected %s" % (
          name.replace(" ", "."), found, kind))
  if "config" in record:
    bert_config.check_config(bert_config.BertConfig.from_dict(record["config"]))


def check_record(output_dir, record, checkpoint,
                 cure="another --output_dir (--init_checkpoint=%s starts from "
                 "its weights)", cure_of_misfit=None):
  """Raises ValueError if a checkpoint in a folder belongs to another run.

  Args:
    output_dir: str. Folder with or without a run.json.
    record: dict, from `make_record`. This run.
    checkpoint: str. The checkpoint in the folder.
    cure: str. What to pass instead of that run's flags; %s is the checkpoint.
    cure_of_misfit: str. The same if its weights cannot fit; None for `cure`.
  """
  there = read_record(output_dir)
  differences = find_differences(there, record) if there is not None else []
  if differences:
    if cure_of_misfit and any(
        text.startswith("config's %s is " % name)
        for text in differences for name in _SHAPES):
      cure = cure_of_misfit
    raise ValueError(
        "%s holds %s of another run: %s. Give the flags of that run, or %s" % (
            output_dir or ".", os.path.basename(checkpoint),
            "; ".join(differences), cure.replace("%s", checkpoint)))


def find_differences(there, here):
  """Returns a list of str, one for each entry that differs."""
  there, here = _comparable(there), _comparable(here)
  names = [name for name in there if name in here and there[name] != here[name]]
  return ["%s is %s there and %s here" % (
      name, _show(there[name]), _show(here[name])) for name in sorted(names)]


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
  # Accent stripping follows the case unless a record says otherwise.
  if "do_lower_case" in flat and flat.get("strip_accents") in (
      None, flat["do_lower_case"]):
    flat["strip_accents"] = "auto"
  return flat


def _show(value):
  if isinstance(value, list):
    shown = ", ".join(map(str, value[:8]))
    return "[%s%s]" % (shown, ", ..." if len(value) > 8 else "")
  return value if isinstance(value, str) else str(value)
