"""Distillation: a small model, the student, learns a large one's soft targets.

The answers of the large model, the teacher, are computed once, kept beside the
checkpoints, and written into the records that the student trains on.

Sources: Hinton et al., arXiv 1503.02531 (soft targets, temperature); Turc et
al., arXiv 1908.08962 (a pre-trained student, unlabelled texts).
"""

import collections
import contextlib
import dataclasses
import hashlib
import itertools
import json
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    augmentation, checkpoints, cli, files, problem_types, processors, progress,
    run_record, script_options, text_lines, tokenization, training_state)
from .script_options import option

# Features of records: the teacher's answer, and 1 if there is a label too.
OUTPUTS, HAS_LABEL = "teacher_outputs", "has_label"

_TEXTS_AT_ONCE = 1024


@dataclasses.dataclass
class DistillationSettings(script_options.Settings):
  """The teacher that a classifier learns from instead of labels."""

  teacher_dir: str = option(
      "path", None, "Output directory of a training on the same labels, whose "
      "model is the teacher: train on its answers to the training texts.")
  temperature: float = option(
      "float", 1.0, "Temperature of the teacher's and the student's logits, "
      "with --teacher_dir.", above=0)
  label_share: float = option(
      "float", 0.0, "Share of the loss on the labels, beside that against the "
      "teacher, with --teacher_dir.", lower_bound=0, upper_bound=1)
  transfer_file: str = option(
      "paths", None, "Further texts for the teacher, without labels: one per "
      "line, pairs written `text a ||| text b`.")
  augment: int = option(
      "integer", 0, "Further texts: N variants of each training text, in which "
      "a masked LM has replaced words, with --teacher_dir.", lower_bound=0)
  masked_lm_dir: str = option(
      "path", None, "Folder of the model with that masked LM.",
      default_text="that of --init_checkpoint")
  cache_dir: str = None  # for the teacher's answers; None for output_dir


NAMES = tuple(script_options.names_of(DistillationSettings))


class Teacher(collections.namedtuple("Teacher", "folder model order")):
  """A teacher that fits a task.

  Attributes:
    folder: str.
    model: trained_models.TrainedModel.
    order: list of int. The teacher's index of each of the task's labels; None
      for regression.
  """


def find_teacher(settings, problem, labels):
  """Finds a teacher.

  Args:
    settings: DistillationSettings.
    problem: one of the classes of `problem_types`, the student's.
    labels: list of str, or None.

  Returns:
    Teacher.

  Raises:
    ValueError: there is none, or it has other labels than the student.
  """
  from . import trained_models  # here, since it imports the scripts

  folder = settings.teacher_dir
  if tf.gfile.IsDirectory(folder) and not (
      checkpoints.find_checkpoint(folder) or checkpoints.find_prefix(folder)):
    raise ValueError("--teacher_dir=%s: holds no checkpoint; give the "
                     "output_dir of a training" % folder)
  try:
    model = trained_models.find(folder)
  except ValueError as error:
    raise ValueError("--teacher_dir: %s" % error) from None
  there = model.task.settings
  found = model.task.name
  if found == "classifier":
    found = there.get("problem_type", problem_types.SINGLE_LABEL)
  if found != problem.name:
    raise ValueError("--teacher_dir=%s: has a model for %s, expected one for "
                     "%s" % (folder, found, problem.name))
  theirs = there.get("labels")
  if labels and sorted(theirs) != sorted(labels):
    raise ValueError(
        "--teacher_dir=%s: has a model for the labels %s, expected %s" % (
            folder, ", ".join(theirs), ", ".join(labels)))
  return Teacher(folder, model, labels and [theirs.index(label)
                                            for label in labels])


class Distiller:
  """What a run needs to learn from a teacher."""

  def __init__(self, settings):
    """Takes the settings of a script, with those of DistillationSettings."""
    self._settings = settings
    self._folder = settings.cache_dir or settings.output_dir
    self._teacher = self._problem = self._masked_lm = None
    self._augmented = self._outputs = None

  def check(self, problem, labels):
    """Checks settings, and finds the teacher.

    Args:
      problem: See `find_teacher`, as for the next.
      labels: list of str, or None.

    Raises:
      ValueError: settings contradict each other, or a model is missing.
    """
    settings, self._problem = self._settings, problem
    for name in ("class_weights", "label_smoothing"):
      if getattr(settings, name, None):
        raise ValueError("--%s: changes how labels are learnt; leave it out "
                         "with --teacher_dir" % name)
    if settings.masked_lm_dir and not settings.augment:
      raise ValueError("--masked_lm_dir: also pass --augment, the number of "
                       "texts to make from each")
    self._teacher = find_teacher(settings, problem, labels)
    if settings.augment:
      self._masked_lm = augmentation.find_model(settings)

  def extend(self, examples, type_vocab_size=None):
    """Returns training examples, followed by further ones without labels.

    Args:
      examples: list or Stream of InputExample.
      type_vocab_size: int. Segments that the student knows; None if unknown.

    Returns:
      Stream of InputExample.

    Raises:
      ValueError: a file of texts cannot be read.
    """
    copies, paths = self._settings.augment, []
    if self._settings.transfer_file:
      paths = files.find_files(self._settings.transfer_file, "--transfer_file")
      for path in filter(files.is_device, paths):
        raise ValueError("--transfer_file=%s: can be read only once, but is "
                         "needed several times; write it to a file" % path)

    def transfer():
      for path in paths:
        for one in text_lines.check_pairs(
            text_lines.stream_examples(path), type_vocab_size):
          if one.text_a:
            yield one.text_a, one.text_b

    num_transferred = sum(1 for _ in transfer())
    if paths:
      tf.logging.info("%d texts of --transfer_file are without labels",
                      num_transferred)

    def iterate():
      yield from examples
      made = _read_texts(self._augment(examples)) if copies else ()
      count = 0
      for index, texts in enumerate(itertools.chain(made, transfer())):
        yield processors.InputExample("unlabelled-%d" % index, *texts)
        count += 1
      if count != len(examples) * copies + num_transferred:
        raise ValueError("the texts without labels have changed since the run "
                         "began; start it again")

    return processors.Stream(
        iterate, len(examples) * (1 + copies) + num_transferred)

  def _augment(self, examples):
    """Returns the path of the texts of --augment, which it writes once."""
    if self._augmented is None:
      path = os.path.join(self._folder, "augmented-%s.jsonl" % _hash(
          [self._settings.augment] + _describe(self._masked_lm), examples))
      total = len(examples) * self._settings.augment
      if not _has_texts(path, total):
        self._write_augmented(path, examples, total)
      self._augmented = path
    return self._augmented

  def _write_augmented(self, path, examples, total):
    """Writes the texts of --augment."""
    tf.gfile.MakeDirs(self._folder)
    with files.atomic_path(path) as temporary, augmentation.load_model(
        self._settings) as model, tf.gfile.GFile(temporary, "w") as writer:
      for texts in augmentation.count_progress(augmentation.augment(
          examples, model, self._settings.augment), total):
        writer.write(json.dumps(texts) + "\n")
    tf.logging.info("Wrote %d texts with other words to %s", total, path)

  def ask(self, examples):
    """Computes the teacher's answers to examples, or reads them.

    Args:
      examples: Stream of InputExample, from `extend`.
    """
    model = self._teacher.model
    path = os.path.join(self._folder, "teacher-%s.npy" % _hash(
        [self._teacher.order] + _describe(model), examples))
    shape = (len(examples), self._problem.num_outputs)
    self._outputs = _read_outputs(path, shape)
    if self._outputs is not None:
      tf.logging.info("Using the teacher's answers in %s", path)
      return
    tf.gfile.MakeDirs(self._folder)
    self._outputs = self._compute(examples).reshape(shape)
    with files.atomic_path(path) as temporary:
      with tf.gfile.GFile(temporary, "wb") as writer:
        np.save(writer, self._outputs)
    tf.logging.info("Wrote the answers of the teacher, %s, for %d texts to %s",
                    model.checkpoint, len(examples), path)

  def _compute(self, examples):
    """Returns the teacher's logits, float32 [N, L]."""
    from . import predictor  # here, since it imports the scripts

    pairs, found = (
        (one.text_a, one.text_b) if one.text_b else one.text_a
        for one in examples), []
    with predictor.Predictor(self._teacher.folder) as model, progress.Progress(
        "Asking the teacher", len(examples)) as shown:
      while True:
        some = list(itertools.islice(pairs, _TEXTS_AT_ONCE))
        if not some:
          break
        found.append(self._problem.logits_of(model.predict(some)))
        shown.advance(len(some))
    outputs = np.float32(np.concatenate(found))
    return (outputs if self._teacher.order is None else
            outputs[:, self._teacher.order])

  def placeholder(self, labels):
    """Returns the label to store for an example without one."""
    if self._problem.label_shape:
      return []
    return labels[0] if labels else 0.0

  def features(self, index, has_label):
    """Returns the features of a record besides those of its text and label.

    Args:
      index: int. The example's.
      has_label: bool.
    """
    return {OUTPUTS: self._outputs[index].tolist(),
            HAS_LABEL: [float(has_label)]}

  def feature_spec(self):
    """Returns a dict from the names of `features` to their `FixedLenFeature`.
    """
    return {OUTPUTS: tf.FixedLenFeature(
        [self._problem.num_outputs], tf.float32),
            HAS_LABEL: tf.FixedLenFeature([], tf.float32)}

  def loss(self, logits, labels, outputs, has_label):
    """Returns the loss of a batch, a float32 scalar.

    Args:
      logits: float32 [B, L].
      labels: See `problem_types`.
      outputs: float32 [B, L]. Logits of the teacher.
      has_label: float32 [B], 0 or 1.
    """
    losses = self._problem.soft_losses(
        logits, outputs, self._settings.temperature)  # [B]
    share = self._settings.label_share
    if share:
      share *= has_label
      losses = (1.0 - share) * losses + share * self._problem.losses(
          logits, labels)
    return tf.reduce_mean(losses)


def make_distiller(settings):
  """Returns the Distiller of a run, or None if it has no teacher.

  Args:
    settings: Settings of a script, with or without those of
      DistillationSettings.

  Raises:
    UserError: a setting of a teacher is given, but no teacher.
  """
  if not isinstance(settings, DistillationSettings):
    return None
  if settings.teacher_dir:
    return Distiller(settings) if settings.do_train else None
  for name in NAMES:
    if getattr(settings, name) != getattr(DistillationSettings, name):
      raise cli.UserError("--%s: also pass --teacher_dir" % name)
  return None


def _hash(values, examples):
  """Returns 16 characters that identify values and texts."""
  found = hashlib.sha256(json.dumps(values, sort_keys=True).encode("utf-8"))
  for one in examples:
    found.update(json.dumps([one.text_a, one.text_b or None]).encode("utf-8"))
  return found.hexdigest()[:16]


def _describe(model):
  """Returns a list of all that the answers of a TrainedModel depend on."""
  return [training_state.checksum_of_weights(model.checkpoint), model.settings,
          run_record.hash_vocab(tokenization.load_vocab(model.vocab_file))]


def _read_texts(path):
  """Yields the texts of a file that `Distiller` wrote, pairs."""
  with tf.gfile.GFile(path) as reader:
    for line in reader:
      text_a, text_b = json.loads(line)
      yield text_a, text_b


def _has_texts(path, total):
  """Returns whether a file that `Distiller` wrote is whole."""
  if not tf.gfile.Exists(path):
    return False
  with contextlib.suppress(ValueError, TypeError):
    if sum(1 for _ in _read_texts(path)) == total:
      return True
  tf.logging.warning("%s is damaged; making it again", path)
  return False


def _read_outputs(path, shape):
  """Returns the array of a file that `Distiller` wrote, None if unusable."""
  if not tf.gfile.Exists(path):
    return None
  try:
    with tf.gfile.GFile(path, "rb") as reader:
      outputs = np.load(reader, allow_pickle=False)
    if outputs.shape == shape and outputs.dtype == np.float32:
      return outputs
  except (ValueError, EOFError, OSError, tf.errors.OpError):
    pass
  tf.logging.warning("%s is damaged; making it again", path)
  return None
