"""Everything about a task in one class: data, head, results, served answers.

A task is a subclass of `Task`. `runner.run` trains, evaluates, predicts and
exports it; `trained_models`, `predictor` and `export_model` find trained models
of it through `trained_models.TASKS`.
"""

import collections
import contextlib
import fractions
import itertools
import math
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, files, hooks, input_pipeline, placement, progress,
    run_settings, serving, training)


class Data(collections.namedtuple("Data", "files num_examples num_records")):
  """The features of a split, as they are read.

  Attributes:
    files: str or list of str. TFRecord files.
    num_examples: int. Examples that results are for.
    num_records: int. Including those that fill up the last batch.
  """


def feature_spec(seq_length, *numbers):
  """Makes the feature spec of a task that reads texts.

  Args:
    seq_length: int. S.
    *numbers: names of features that are one int each.

  Returns:
    dict from the name of a feature to its `FixedLenFeature`.
  """
  shapes = {name: [seq_length] for name in serving.SEQUENCE_INPUTS}
  shapes.update((name, []) for name in numbers)
  return {name: tf.FixedLenFeature(shape, tf.int64)
          for name, shape in shapes.items()}


class Task:
  """Base class of tasks, with defaults for what most of them share.

  A subclass defines `name`, `read`, `features`, `feature_spec` and `head`; to
  predict also `row`; to export and to answer from Python `serve` and `answer`.

  Attributes:
    name: str. Its name in trained_models.TASKS and in model.json.
    recorded_name: str. Its name in run.json, if different.
    splits: names of what it reads, each with a flag do_<split> and, except for
      "train", a flag <split>_batch_size.
    head_names: names of the variables of the head.
    training_flags: names of settings that a resumed run may change; run.json
      records them, and those that are fields of optimization.Settings.
    shared_flags: training_flags that predictions should share with training.
    read_flags: names of settings that name files, which no result may replace.
    how_to_train_more: str. Advice if all steps are done.
    eval_every: int or Fraction. Training steps from one evaluation to the next;
      0 evaluates only at the end.
    steps_per_epoch: Fraction, known once steps are counted; None if training is
      not counted in epochs.
    eval_split: str. The split that evaluations during training read.
    best_metric: str. The figure that says which evaluation is the best.
    figure_names: names that --best_metric may have; None if they are not known
      before an evaluation.
    model_files: names of files in --output_dir that describe a checkpoint, such
      as run.json; best/ has copies.
    options: names of arguments of `trained_models.find` that only it takes.
    max_seq_length: int. Default if neither a caller nor run.json has one.
    predictions_file: str. Name of the file that predictions are written to.
    never_split: tokens that a served model keeps whole in texts.
    reads_words: bool. A served model also takes texts as lists of their words.
    searches: bool. Predictor's arguments for finding answers apply to it.
    cuts: arguments of `model_inputs.CutCount` for what a served model reads.
    labels: list of str, or None.
    last_accumulation_steps: int. See `optimization.Settings`.
    trains_on: bool. More of the training follows the current evaluation.
  """

  name = None
  recorded_name = None
  splits = ("train", "eval", "predict")
  head_names = ()
  training_flags = ("warmup_proportion", "warmup_steps", "train_batch_size",
                    "num_train_epochs", "max_seq_length", "vocab_file",
                    "tf_random_seed")
  shared_flags = ("max_seq_length",)
  read_flags = ("vocab_file", "bert_config_file")
  how_to_train_more = "give a larger --num_train_epochs"
  eval_every = 0
  steps_per_epoch = None
  eval_split = "eval"
  best_metric = "loss"
  figure_names = None
  model_files = (checkpoints.FILE_NAME,)
  options = ()
  max_seq_length = 128
  predictions_file = "test_results.tsv"
  never_split = ()
  reads_words = False
  searches = False
  cuts = ("texts", "max_seq_length, [CLS] and [SEP] included,")
  labels = None
  last_accumulation_steps = 0
  trains_on = False

  def __init__(self, settings, config, tokenizer):
    """Makes the task of a run.

    Args:
      settings: object with the settings of a script as attributes, such as its
        parsed flags.
      config: BertConfig, or None if the model is not made from one.
      tokenizer: FullTokenizer, or None if records are read.
    """
    self.settings = settings
    self.config = config
    self.tokenizer = tokenizer
    self.eval_every = getattr(settings, "eval_steps", 0) or int(
        getattr(settings, "eval_each_epoch", False))
    self.brought_by = None  # what weights come from, if not a checkpoint

  # What a run reads.

  def asked(self):
    """Returns the splits to read; raises ValueError if there are none."""
    asked = [split for split in self.splits
             if getattr(self.settings, "do_" + split)]
    if asked and self.eval_every and self.eval_split not in asked:
      asked.append(self.eval_split)
    if not asked:
      flags = ["--do_" + split for split in self.splits]
      raise ValueError("nothing to do; give %s or %s" % (
          ", ".join(flags[:-1]), flags[-1]))
    return asked

  def check(self):
    """Raises ValueError if settings contradict each other.

    This includes results that would replace an input file.
    """
    training.check_results(
        self.settings.output_dir,
        run_settings.files_read(self.settings, self.read_flags),
        [self.path(name) for name in self.result_files()])
    self.check_evaluations()

  def check_evaluations(self):
    """Raises ValueError if settings of evaluations contradict each other."""
    settings = self.settings
    if getattr(settings, "eval_steps", 0) and getattr(
        settings, "eval_each_epoch", False):
      raise ValueError("--eval_steps and --eval_each_epoch: leave one out")
    if getattr(settings, "early_stopping_patience", None) and (
        settings.do_train and not self.eval_every):
      raise ValueError("--early_stopping_patience=%d counts evaluations; also "
                       "pass --eval_steps" % settings.early_stopping_patience)
    self.best_metric = getattr(
        settings, "best_metric", None) or self.best_metric
    if getattr(settings, "use_best", False) and (
        settings.do_train and not self.eval_every):
      raise ValueError("--use_best: finding the best checkpoint takes "
                       "evaluations during the training; also pass "
                       "--eval_steps")
    if self.figure_names and self.best_metric not in self.figure_names:
      raise ValueError("--best_metric=%s: expected one of %s" % (
          self.best_metric, ", ".join(self.figure_names)))

  def result_files(self):
    """Returns the names of the files that it writes to --output_dir."""
    return [self.record_file(split) for split in self.splits] + [
        "eval_results.txt", self.predictions_file]

  def path(self, name):
    """Returns the path of a file in --output_dir."""
    return os.path.join(self.settings.output_dir, name)

  def record_file(self, split):
    """Returns the name of the file with a split's features."""
    return split + ".tf_record"

  def read_all(self):
    """Reads the splits asked for; returns a dict from split to its examples."""
    return collections.OrderedDict(
        (split, self.read(split)) for split in self.asked())

  def read(self, split):
    """Reads a split; returns its examples, a list, or anything that can be
    iterated again and has a length.

    Raises:
      ValueError: they are missing or wrong.
    """
    raise NotImplementedError()

  def features(self, split, examples):
    """Yields each example as a dict from name to list of int or float."""
    raise NotImplementedError()

  def feature_spec(self, split):
    """Returns a dict from the name of a feature to its `FixedLenFeature`."""
    del split
    return feature_spec(self.settings.max_seq_length)

  def write(self, split, examples):
    """Writes the features of a split as a TFRecord file; returns its Data."""
    path = self.path(self.record_file(split))
    tf.logging.info("Writing %d examples to %s", len(examples), path)
    count = input_pipeline.write_examples(path, self.features(split, examples))
    return Data(path, count, count)

  def input_fn(self, split, data, num_skipped=0, order=None):
    """Makes the `input_fn` of a split.

    Args:
      split: str.
      data: Data.
      num_skipped: int. Examples that training has already used.
      order: State. See `input_pipeline.make_input_fn`.

    Returns:
      A function of `params` that returns a `tf.data.Dataset` of batches.
    """
    is_training = split == "train"
    return input_pipeline.make_input_fn(
        data.files, self.feature_spec(split), is_training,
        # TPUs need full batches, but no record may go unpredicted.
        drop_remainder=is_training or (
            self.settings.use_tpu and
            data.num_records % self.batch_size(split) == 0),
        num_skipped=num_skipped, order=order,
        by_length=split == "predict" and self.can_sort())

  # How it is trained.

  def record(self):
    """Returns what run.json identifies the run by; see `make_record`."""
    basic = self.tokenizer.basic_tokenizer
    return checkpoints.make_record(
        self.recorded_name or self.name, self.config, self.labels,
        self.tokenizer.vocab, do_lower_case=basic.do_lower_case,
        strip_accents=basic.strip_accents)

  def training_values(self):
    """Returns a dict of the values of settings; see `training_flags`."""
    return dict(run_settings.optimizer_values(self.settings),
                **cli.values_of(self.settings, self.training_flags))

  def count_train_steps(self, examples):
    """Returns the steps to train; 0 without --do_train.

    If fewer batches are left for the last step to accumulate, it takes those.
    """
    num_records = self.count_records(examples.get("train", ()))
    count = run_settings.count_train_batches(num_records, self.settings)
    each = run_settings.accumulation_steps(self.settings)
    if not self.settings.use_tpu:  # TPUs take full batches
      self.last_accumulation_steps = count % each
    if count:
      size = self.batch_size("train")
      if num_records < size:
        tf.logging.warning(
            "An update takes %d examples, but there are only %d to train on, "
            "so it uses some of them several times; make it smaller with "
            "--train_batch_size or --gradient_accumulation_steps", size,
            num_records)
      self.steps_per_epoch = fractions.Fraction(num_records, size)
      if getattr(self.settings, "eval_each_epoch", False):
        self.eval_every = self.steps_per_epoch
    return -(-count // each)

  def next_evaluation(self, step):
    """Returns the first step after another at which to evaluate."""
    return math.ceil((step // self.eval_every + 1) * self.eval_every)

  def count_records(self, examples):
    """Returns how many records `write` makes from examples to train on."""
    return len(examples)

  def batch_size(self, split):
    """Returns the batch size of a split."""
    return run_settings.batch_size_of(self.settings, split + "_batch_size")

  def head(self, features, is_training):
    """Builds encoder and head.

    Args:
      features: dict from name to Tensor [B, ...], as `feature_spec` has them.
      is_training: bool. Applies dropout.

    Returns:
      training.Head.
    """
    raise NotImplementedError()

  # What a run writes.

  def naming_errors(self, data):
    """Returns a context that explains errors in data, a dict of Data."""
    del data
    return contextlib.nullcontext()

  def eval_steps(self, data):
    """Returns the number of batches to evaluate on; None for all."""
    if not self.settings.use_tpu:
      return None
    return data.num_records // self.batch_size("eval")

  def evaluate(self, estimator, data, checkpoint):
    """Evaluates a checkpoint and writes eval_results.txt.

    Args:
      estimator: TPUEstimator.
      data: Data.
      checkpoint: str. None for the latest, see `training.evaluate`.

    Returns:
      dict from name to figure, int or float.
    """
    tf.logging.info("***** Running evaluation *****")
    tf.logging.info("  Batch size = %d", self.batch_size("eval"))
    num_devices = placement.count_devices(self.settings)
    # A TPU runs all steps in one call.
    shown = [] if self.settings.use_tpu else [
        hooks.EvalProgressHook(
            data.num_records, self.batch_size("eval") * num_devices)]
    results = self.figures(training.evaluate(
        estimator, self.input_fn("eval", data), self.eval_steps(data), shown,
        checkpoint, num_devices))
    training.write_results(
        self.path("eval_results.txt"), "Eval results", results)
    return {name: np.asarray(x).item() for name, x in results.items()}

  def write_report(self, name, text):
    """Writes a report and logs it, or only its path while training continues.

    Args:
      name: str. File in the output folder.
      text: str.
    """
    files.write_text(self.path(name), text)
    tf.logging.info("Wrote %s%s", self.path(name),
                    "" if self.trains_on else ":\n" + text)

  def figures(self, results):
    """Returns the figures of an evaluation, given those of the Estimator."""
    return results

  def constant_figures(self):
    """Returns the figures of a constant prediction for every example.

    Returns:
      dict from name to float; empty if they are not known.
    """
    return {}

  def answers(self, predictions):
    """Turns an iterable of predictions of records into one of examples."""
    return predictions

  def predict(self, estimator, data, checkpoint):
    """Writes `predictions_file`, a row per example.

    Args:
      estimator: TPUEstimator.
      data: Data. Records after its examples only fill up the last batch.
      checkpoint: str. None for the latest.
    """
    tf.logging.info("***** Running prediction *****")
    results = self.answers(input_pipeline.in_order(estimator.predict(
        input_fn=self.input_fn("predict", data),
        checkpoint_path=checkpoint and files.literal(checkpoint))))
    path, count = self.path(self.predictions_file), 0
    with files.atomic_path(path) as temporary:
      with tf.gfile.GFile(temporary, "w") as writer, progress.Progress(
          "Predicting", data.num_examples) as shown:
        for result in itertools.islice(results, data.num_examples):
          writer.write(self.row(result) + "\n")
          count += 1
          shown.advance()
      if count != data.num_examples:
        raise RuntimeError("%s: predicted %d of %d examples" % (
            data.files, count, data.num_examples))
    tf.logging.info("Wrote %d predictions to %s", count, path)

  def can_sort(self):
    """Returns whether to predict records of similar lengths together."""
    # Several devices divide each batch, another machine cannot call the reader
    # of this process, and a Hub module computes padding.
    if (placement.find(self.settings) or self.settings.master or
        self.config is None or
        "input_mask" not in self.feature_spec("predict")):
      return False
    options = run_settings.model_options(self.settings)
    return options.remove_padding and not options.compiled  # for every shape

  def row(self, prediction):
    """Returns an example's row of `predictions_file`, without the line break.

    Args:
      prediction: dict from the name of one of the head's predictions to array,
        or what `answers` turns them into.
    """
    raise NotImplementedError()

  def served_options(self):
    """Returns the values of `options` that --export_dir exports with."""
    return {"labels": self.labels}

  def finish(self):
    """Does what is left before the export; returns its figures, if any."""

  # What its trained model does.

  @classmethod
  def is_recorded(cls, record):
    """Returns whether a run.json, a dict, is of this task."""
    return record.get("task") == (cls.recorded_name or cls.name)

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    """Makes the ServingTask of a trained model.

    Args:
      config: BertConfig.
      options: dict. Values of `options`; those not given are None or left out.
      trained_with: dict from the name of a setting to its value in training.
      checkpoint: str. Prefix of the checkpoint.
      model_options: modeling.Options.

    Returns:
      serving.ServingTask.

    Raises:
      ValueError: options are wrong, or do not fit the model.
    """
    raise NotImplementedError("the task %s cannot be served" % cls.name)

  @classmethod
  def is_served(cls):
    """Returns whether its models can be served: it overrides `serve`."""
    return getattr(cls.serve, "__func__", None) is not Task.serve.__func__

  @classmethod
  def answer(cls, model, pairs):
    """Answers texts with a served model.

    Args:
      model: predictor.Predictor.
      pairs: list of (str, str or None).

    Returns:
      What `predictor.Predictor.predict` returns for the task.
    """
    raise NotImplementedError(
        "the task %s does not define how it answers" % cls.name)

  @classmethod
  def score(cls, model, pairs):
    """Scores how likely texts are; see `predictor.Predictor.score`."""
    del model, pairs
    raise NotImplementedError(
        "the task %s does not say how likely texts are; masked_lm does" %
        cls.name)
