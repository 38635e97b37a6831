"""Which tasks can be served, and finding the parts of a trained model.

The run.json of a training, in its output directory or beside a checkpoint,
records most of them; the rest, or all without that file, are arguments.
"""

import collections
import dataclasses
import difflib
import inspect
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    checkpoint_files, checkpoints, cli, devices, features, model_inputs,
    modeling, run_classifier, run_ner, run_pretraining, run_squad, serving,
    tokenization)


class TrainedModel(collections.namedtuple(
    "TrainedModel", "task checkpoint config vocab_file settings")):
  """A model that can be served.

  Attributes:
    task: serving.ServingTask.
    checkpoint: str. Prefix of its checkpoint.
    config: BertConfig.
    vocab_file: str.
    settings: dict, as `serving.make_settings` makes it.
  """


# From the name of a task to its class; a program's own tasks are added here.
TASKS = {task.name: task for task in (
    run_classifier.ClassificationTask, features.FeaturesTask,
    run_ner.TaggingTask, run_pretraining.PreTrainingTask,
    run_squad.QuestionAnsweringTask)}


def find_task(name, source=None):
  """Returns the class of a task; raises ValueError for an unknown one.

  Args:
    name: str.
    source: str. Where the run.json that names it is; None if the user does.
  """
  if name not in TASKS:
    raise ValueError("%stask %s: expected one of %s" % (
        source + ": " if source else "", name, ", ".join(sorted(TASKS))))
  return TASKS[name]


def find(model_dir=None, task=None, init_checkpoint=None, bert_config_file=None,
         vocab_file=None, do_lower_case=None, max_seq_length=None,
         remove_padding=True, strip_accents=None, compute_dtype="float32",
         **options):
  """Finds the parts of a trained model.

  Args:
    model_dir: str. A training output directory, or None.
    task: str. One of TASKS; None for the one that was trained.
    init_checkpoint: str. None for the latest of `model_dir`; without
      `model_dir`, the run.json beside it is used.
    bert_config_file: str. None for what was used in training, also for the
      next three.
    vocab_file: str.
    do_lower_case: bool.
    max_seq_length: int.
    remove_padding: bool. See `modeling.Options`.
    strip_accents: bool. See FullTokenizer; None for what was used in training.
    compute_dtype: str. One of `devices.COMPUTE_DTYPES`.
    **options: "labels", list of str, or str with commas, of classifiers and
      ner, and "problem_type", one of problem_types.KINDS, of classifiers;
      "tag_scheme", str, and "valid_tags_only", bool, of ner;
      "layers", str with commas or list of int, and "pooling", str, of the task
      features. None for what is not given.

  Returns:
    TrainedModel.

  Raises:
    ValueError: a part is missing, is unknown or has a wrong type, or parts do
      not fit together.
  """
  _check_types(
      {"model_dir": model_dir, "init_checkpoint": init_checkpoint,
       "bert_config_file": bert_config_file, "vocab_file": vocab_file},
      {"do_lower_case": do_lower_case, "remove_padding": remove_padding,
       "strip_accents": strip_accents}, max_seq_length)
  devices.check_dtype(compute_dtype)
  check_names(options, argument_names())
  options["labels"] = _split_labels(options.get("labels"))
  model_dir, init_checkpoint, bert_config_file, vocab_file = [
      cli.expand_home(path and os.fspath(path)) for path in (
          model_dir, init_checkpoint, bert_config_file, vocab_file)]
  init_checkpoint, record = _find_checkpoint(model_dir, init_checkpoint)
  training = record.get("training", {})
  task_class = find_task(task or _task_of(record, model_dir),
                         None if task else model_dir or init_checkpoint)
  vocab_file = vocab_file or _find_vocab(training, init_checkpoint)
  config = _find_config(bert_config_file, record, init_checkpoint)
  if init_checkpoint:
    _check_encoder(init_checkpoint)
  missing = [name for name, value in (
      ("init_checkpoint", init_checkpoint), ("bert_config_file", config),
      ("vocab_file", vocab_file)) if not value]
  if missing:
    raise ValueError("also pass %s%s" % (
        ", ".join(missing),
        ", which %s does not record" % (model_dir or init_checkpoint)
        if record or model_dir else ""))
  _check_vocab(vocab_file, record, config)
  _check_options(task_class.name, options, do_lower_case, strip_accents, record,
                 model_dir or init_checkpoint)
  if strip_accents is None:
    strip_accents = record.get("strip_accents")
  if do_lower_case is None:
    do_lower_case = record.get("do_lower_case")
  if do_lower_case is None:
    do_lower_case = tokenization.decide_casing(
        None, vocab_file, init_checkpoint,
        getattr(config, "do_lower_case", None))
  length = max_seq_length or training.get("max_seq_length") or min(
      task_class.max_seq_length, config.max_position_embeddings)
  try:
    modeling.check_seq_length(length, config.max_position_embeddings)
  except ValueError as error:
    raise ValueError("%s: %s" % (model_dir or init_checkpoint, error)) from None
  for name in ("labels", "problem_type", "tag_scheme"):
    options[name] = options.get(name) or record.get(name)
  served = task_class.serve(
      config, options, training, init_checkpoint, dataclasses.replace(
          serving.OPTIONS, remove_padding=remove_padding,
          compute_dtype=compute_dtype))
  return TrainedModel(
      served, init_checkpoint, config, vocab_file, serving.make_settings(
          served, length, do_lower_case, strip_accents, config.type_vocab_size,
          compute_dtype))


def argument_names():
  """Returns the set of the names of the arguments of `find`."""
  return (set(inspect.signature(find).parameters) - {"options"}).union(
      tasks_of_options())


def tasks_of_options():
  """Returns a dict from an option of `find` to the names of its tasks."""
  found = {}
  for task in TASKS.values():
    for option in task.options:
      found.setdefault(option, []).append(task.name)
  return found


def check_names(given, known):
  """Raises ValueError for a name, in an iterable of str, that is not known."""
  for name in sorted(set(given) - set(known)):
    near = difflib.get_close_matches(name, sorted(known), n=1)
    raise ValueError("%s: there is no such argument; %s" % (
        name, "did you mean %s?" % near[0] if near else
        "the arguments are %s" % ", ".join(sorted(known))))


def check_path(name, path):
  """Raises ValueError for what cannot be a path."""
  if not isinstance(path, (str, os.PathLike)) or not str(path):
    raise ValueError("%s=%s: expected the path of a file or folder, a str" % (
        name, tokenization.shorten(path)))


def _check_types(paths, switches, max_seq_length):
  """Raises ValueError for an argument of `find` that has a wrong type."""
  for name, path in sorted(paths.items()):
    if path is not None:
      check_path(name, path)
  for name, value in sorted(switches.items()):
    if value not in (None, True, False):
      raise ValueError("%s=%s: expected True or False" % (
          name, tokenization.shorten(value)))
  if max_seq_length is not None:
    model_inputs.check_count("max_seq_length", max_seq_length, least=3)


def _split_labels(labels):
  """Returns labels as a list of str; None for none.

  Args:
    labels: str with commas, or list or tuple of str, or None.

  Raises:
    ValueError: they are something else.
  """
  if labels is None:
    return None
  if isinstance(labels, str):
    labels = [label.strip() for label in labels.split(",")]
  if not isinstance(labels, (list, tuple)) or not labels or not all(
      isinstance(label, str) and label for label in labels):
    raise ValueError(
        "labels=%s: expected the labels in the order of training, a list of "
        "str, or one str with commas" % tokenization.shorten(labels))
  return list(labels)


def _find_checkpoint(model_dir, init_checkpoint):
  """Returns the prefix of a checkpoint, or None, and what its run.json holds.

  Raises:
    ValueError: there is no such folder or checkpoint, or the two belong to
      different trainings.
  """
  if init_checkpoint:
    init_checkpoint = checkpoints.resolve(init_checkpoint)
  if not model_dir:
    return init_checkpoint, init_checkpoint and checkpoints.read_record(
        os.path.dirname(init_checkpoint)) or {}
  if not tf.gfile.IsDirectory(model_dir):
    if tf.gfile.Exists(model_dir + ".index"):
      raise ValueError("%s: found a checkpoint, expected a folder; give it as "
                       "init_checkpoint" % model_dir)
    raise ValueError("%s: there is no such folder; give the output_dir of a "
                     "training" % model_dir)
  record = checkpoints.read_record(model_dir) or {}
  if init_checkpoint:
    checkpoints.check_record(os.path.dirname(init_checkpoint), record,
                             init_checkpoint, "leave model_dir out")
  checkpoint = init_checkpoint or checkpoints.find_checkpoint(model_dir)
  if not checkpoint and record:  # converted, not trained here
    checkpoint = checkpoints.find_prefix(model_dir)
  if not checkpoint:
    raise _no_checkpoint(model_dir)
  return checkpoint, record


def _no_checkpoint(model_dir):
  """Returns the ValueError for a folder without a training's checkpoint."""
  found = checkpoints.find_prefix(model_dir)
  kind = checkpoint_files.describe_folder(model_dir)
  if kind:
    return ValueError(kind)
  if not found:
    return ValueError("%s holds neither a checkpoint nor an exported model; "
                      "give the output_dir of a training" % model_dir)
  return ValueError(
      "%s is not the output_dir of a training: it has no list of checkpoints, "
      "but the checkpoint of a model; give %s as init_checkpoint (a "
      "Predictor's path), and bert_config_file, vocab_file and task (features "
      "or masked_lm, if it was only pre-trained)" % (model_dir, found))


def _check_encoder(checkpoint):
  """Raises ValueError for a checkpoint that cannot be read or exported."""
  if any(name.startswith("module/bert/")
         for name in checkpoints.check_readable(checkpoint)):
    raise ValueError(
        "%s: was trained on a Hub module by run_classifier_with_tfhub.py and "
        "cannot be exported or loaded; train with run_classifier.py, from the "
        "checkpoint that the module was made of" % checkpoint)


def _find_vocab(training, checkpoint):
  """Returns a training's vocabulary, or the one beside a checkpoint.

  The latter is for models that were not trained here, or were copied.

  Args:
    training: dict. Settings of the training.
    checkpoint: str. Its prefix, or None.

  Returns:
    str, or None if there is neither.
  """
  recorded = training.get("vocab_file")
  beside = os.path.join(os.path.dirname(checkpoint or ""), "vocab.txt")
  if checkpoint and tf.gfile.Exists(beside) and not (
      recorded and tf.gfile.Exists(recorded)):
    return beside
  return recorded


def _task_of(record, model_dir):
  """Returns the task that a run.json records; raises ValueError if none."""
  # By name first: a classifier is recorded under the name of its data, and
  # others may have labels too.
  if record.get("task") in TASKS:
    return record["task"]
  for task in TASKS.values():
    if task.is_recorded(record):
      return task.name
  if record.get("task"):
    return record["task"]
  reason = ("%s has no run.json that says it" % model_dir if model_dir else
            "a checkpoint without a run.json beside it does not say it")
  raise ValueError(
      "also pass task, one of %s: %s" % (", ".join(sorted(TASKS)), reason))


def _find_config(bert_config_file, record, init_checkpoint):
  """Returns the BertConfig of a file, or else of a run.json, or None.

  Raises:
    ValueError: the file is wrong, or not the training's.
  """
  if bert_config_file:
    config = modeling.BertConfig.from_json_file(bert_config_file)
    if record:
      checkpoints.check_record(
          os.path.dirname(init_checkpoint), checkpoints.make_record(
              None, config), init_checkpoint, "leave bert_config_file out")
    return config
  return (modeling.BertConfig.from_dict(record["config"])
          if record.get("config") else None)


def _check_options(task, options, do_lower_case, strip_accents, record, source):
  """Raises ValueError for options that the task or the training lacks."""
  for name, value in sorted(options.items()):
    tasks_of_it = tasks_of_options()[name]
    if value is not None and task not in tasks_of_it:
      raise ValueError("%s: the task %s has none; leave it out, or give task=%s"
                       % (name, task, " or ".join(tasks_of_it)))
  labels = options.get("labels") or []
  twice = [label for i, label in enumerate(labels) if label in labels[:i]]
  if twice:
    raise ValueError("labels: found %s twice; give each label once, in the "
                     "order of training" % tokenization.shorten(twice[0]))
  # Accent stripping follows the case if a record does not say.
  known = dict({"strip_accents": record.get("do_lower_case")}, **record)
  for name, value in (("labels", labels or None),
                      ("problem_type", options.get("problem_type")),
                      ("tag_scheme", options.get("tag_scheme")),
                      ("do_lower_case", do_lower_case),
                      ("strip_accents", strip_accents)):
    there = known.get(name)
    if None not in (value, there) and value != there:
      raise ValueError("%s: found %s, but %s was trained with %s; leave it out"
                       % (name, _show(value), source, _show(there)))


def _show(value):
  return ",".join(value) if isinstance(value, list) else str(value).lower()


def _check_vocab(vocab_file, record, config):
  if not tf.gfile.Exists(vocab_file):
    raise ValueError("%s: the vocabulary does not exist; pass its path as "
                     "vocab_file" % vocab_file)
  vocab = tokenization.load_vocab(vocab_file)
  model_inputs.check_vocab(vocab, vocab_file, config.vocab_size)
  there = record.get("vocabulary", {}).get("sha256")
  if there and there != checkpoints.hash_vocab(vocab):
    raise ValueError("%s: is not the vocabulary that the model was trained "
                     "with (hash %.12s); give that one as vocab_file" % (
                         vocab_file, there))
