"""The task of classifiers: texts, or pairs of texts, and their labels."""

import itertools
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoint_fit, checkpoints, classification_report, cli, distillation,
    files, folds, label_weights, long_texts, modeling, plots, problem_types,
    run_settings, serving, splits, task_names, tasks, thresholds, training)
from .classifier_head import classification_head, make_head
from .processors import (
    DataProcessor, InputExample, PaddingInputExample, Stream, checked_labels,
    feature_dicts, read_examples, tokenize_example)


def feature_spec(seq_length):
  """Returns a dict from the name of a feature to its `FixedLenFeature`."""
  return tasks.feature_spec(seq_length, "label_ids", "is_real_example")


def make_encoder(bert_config, options=None):
  """Makes the encoder of a classifier.

  Args:
    bert_config: BertConfig.
    options: modeling.Options.

  Returns:
    A function of `is_training`, bool, and of input_ids, input_mask and
    segment_ids, int32 [B, S], that returns float32 [B, W].
  """
  def encode(is_training, input_ids, input_mask, segment_ids):
    return modeling.BertModel(
        config=bert_config, is_training=is_training, input_ids=input_ids,
        input_mask=input_mask, token_type_ids=segment_ids,
        output_positions=tf.zeros_like(input_ids[:, :0]),
        options=options).get_pooled_output()

  return encode


def serving_task(bert_config, labels, options=serving.OPTIONS,
                 policy=long_texts.TRUNCATE, problem=None):
  """Makes the ServingTask of a classifier.

  Args:
    bert_config: BertConfig.
    labels: list of str. L labels.
    options: modeling.Options.
    policy: long_texts.LongTexts.
    problem: one of the classes of `problem_types`; None for one label.

  Returns:
    ServingTask with the output "probabilities", float32 [B, L], or "score",
    float32 [B]; with windows also "logits", float32 [B, L], to pool.
  """
  problem = problem or problem_types.SingleLabel(len(labels))
  num_labels = len(labels or ())

  def build(inputs):
    inputs, cut = serving.round_up_request(
        inputs, bert_config.max_position_embeddings)
    no_labels = tf.zeros(
        [tf.shape(inputs["input_ids"])[0]] + problem.label_shape,
        tf.int32 if problem.label_dtype.is_integer else tf.float32)
    _, _, logits, predictions = classification_head(
        make_encoder(bert_config, modeling.make_options(options, False))(
            False, **inputs), False, no_labels, num_labels, problem)
    outputs = {problem.output: cut(predictions)}
    if policy.has_windows:
      outputs["logits"] = cut(logits)
    return {serving.SIGNATURE: outputs}

  settings = {} if policy == long_texts.TRUNCATE else policy.values()
  if problem.name != problem_types.SINGLE_LABEL:
    settings["problem_type"] = problem.name
  if problem.name == problem_types.MULTI_LABEL:
    settings["thresholds"] = [problem_types.THRESHOLD] * num_labels if (
        problem.thresholds is None) else list(problem.thresholds)
  if labels:
    settings["labels"] = list(labels)
  return serving.ServingTask("classifier", build, settings=settings)


def read_again(examples):
  """Yields examples; raises a UserError if their files have changed."""
  with cli.user_errors():
    yield from examples


class ClassificationTask(tasks.Task):
  """Classification of the texts, or pairs of texts, of a DataProcessor."""

  name = "classifier"
  head_names = checkpoint_fit.CLASSIFIER_HEAD
  training_flags = tasks.Task.training_flags + (
      "class_weights", "label_smoothing")
  shared_flags = tasks.Task.shared_flags + long_texts.SETTINGS
  options = ("labels", "problem_type") + long_texts.SETTINGS

  def __init__(self, settings, config, tokenizer, encode, processor=None,
               brought_by=None, type_vocab_size=None):
    """Makes the task of a run.

    Args:
      settings: object with the script's settings as attributes.
      config: BertConfig, or None if the model is not made from one.
      tokenizer: FullTokenizer.
      encode: function, as `make_encoder` makes it.
      processor: DataProcessor; None for that of --task_name.
      brought_by: str. Where weights come from, if not --init_checkpoint.
      type_vocab_size: int. Segments that the model knows; None if unknown.
    """
    super().__init__(settings, config, tokenizer)
    self.encode = encode
    self.processor = processor
    self.brought_by = brought_by
    self.type_vocab_size = type_vocab_size
    self.problem, self.label_weights = None, None  # known once data are read
    self._examples = {}  # from split to what `read` returned
    self.evaluated = None  # arrays of the last evaluation, by name
    self._figures = {}  # of the last evaluation
    self._table, self._predicted = None, []  # while predicting
    self.distiller = distillation.make_distiller(settings)
    self.recorded_name = settings.task_name.lower()
    self.policy = long_texts.LongTexts.of(cli.values_of(
        settings, long_texts.SETTINGS), settings.max_seq_length)

  def check(self):
    if self.processor is None:
      self.processor, self.recorded_name = task_names.processor_of(
          self.settings)
    described = (self.processor if isinstance(self.processor, DataProcessor)
                 else DataProcessor)
    self.training_flags += described.setting_names
    self.shared_flags += described.shared_flags
    self.labels_file = described.labels_file
    if self.distiller:
      self.training_flags += distillation.NAMES
      self.read_flags += ("teacher_dir", "transfer_file", "masked_lm_dir")
    self.model_files += (thresholds.FILE_NAME,) + (
        (self.labels_file,) if self.labels_file else ())
    # If a folder to read is --output_dir, its files are those of earlier runs.
    self.read_flags += tuple(
        name for name in described.read_flags if os.path.realpath(
            getattr(self.settings, name) or "") != os.path.realpath(
                self.settings.output_dir))
    super().check()
    if described.problem_type != problem_types.REGRESSION:
      self.labels = checked_labels(self.processor)
    self.problem = problem_types.KINDS[described.problem_type](
        len(self.labels or ()), described.metric_names)
    label_weights.check(
        self.settings.class_weights, self.settings.label_smoothing, self.labels,
        self.problem)
    if self.distiller:
      self.distiller.check(self.problem, self.labels)
    if self.settings.tune_thresholds:
      self._check_tuning()
    self.best_metric = described.best_metric or self.problem.best_metric + (
        problem_types.TUNED if self.settings.tune_thresholds else "")
    self.figure_names = self.problem.figures + ["loss"]
    self.check_evaluations()
    if self.settings.plots:
      plots.import_matplotlib()
      if "eval" not in self.asked():
        raise ValueError("--plots: also pass --do_eval")
    self.policy.check(self.settings.max_seq_length)
    self.policy.check_device(self.settings, self.asked())
    if self.settings.glue_submission_dir:
      self._check_submission(tasks.Task.read_flags + described.read_flags)

  def _check_submission(self, read_flags):
    """Raises an error if the file for GLUE's server cannot be written."""
    folder = self.settings.glue_submission_dir
    path = os.path.join(folder, classification_report.submission_name(
        self.settings.task_name))
    files.check_outputs(run_settings.files_read(self.settings, read_flags), [
        ("--glue_submission_dir", path)])
    training.check_output_dir(folder, "glue_submission_dir")

  def _check_tuning(self):
    """Raises ValueError if thresholds cannot be tuned; else starts from 0.5."""
    if self.problem.name != problem_types.MULTI_LABEL:
      raise ValueError("--tune_thresholds: labels have thresholds only with "
                       "--multi_label; leave the flag out")
    if "eval" not in self.asked():
      raise ValueError("--tune_thresholds: also pass --do_eval")
    if self.settings.use_tpu or self.settings.master:
      raise ValueError("--tune_thresholds: --use_tpu and --master compute the "
                       "evaluation elsewhere; leave the flag out")
    self.problem.use_thresholds(
        np.full([len(self.labels)], problem_types.THRESHOLD))

  def result_files(self):
    return super().result_files() + [
        thresholds.FILE_NAME, "predictions.tsv", "dev_predictions.tsv",
        "eval_report.txt", "fold.npz"] + [
            self.labels_file] * bool(self.labels_file) + list(plots.FILES)

  def read(self, split):
    def read(split):
      return read_examples(self.processor, split, self.settings.data_dir,
                           self.type_vocab_size)

    fold = getattr(self.settings, "fold", None)
    if fold and split != "predict":
      self._examples[split] = Stream(*splits.select(
          read("train"), fold, self.settings.split_seed, split == "eval"))
    else:
      self._examples[split] = read(split)
    if self.distiller and split == "train":
      self._examples[split] = self.distiller.extend(
          self._examples[split], self.type_vocab_size)
    return self._examples[split]

  def features(self, split, examples):
    learns = self.distiller and split == "train"
    features = feature_dicts(
        self._with_labels(examples) if learns else examples, self.labels,
        self.settings.max_seq_length, self.tokenizer, split != "predict",
        "examples of " + self.record_file(split), self.policy,
        getattr(self.config, "max_position_embeddings", None), self.problem)
    return self._with_teacher(features, examples) if learns else features

  def _with_labels(self, examples):
    """Returns a Stream of examples, with placeholders for missing labels."""
    def iterate():
      for one in examples:
        yield one if one.label is not None else InputExample(
            one.guid, one.text_a, one.text_b,
            self.distiller.placeholder(self.labels))

    return Stream(iterate, len(examples))

  def _with_teacher(self, features, examples):
    """Yields features with the teacher's answers."""
    self.distiller.ask(examples)
    has_label = [one.label is not None for one in examples]
    for index, record in enumerate(features):
      if self.policy.has_windows:
        index, = record[long_texts.INDEX]
      yield dict(record, **self.distiller.features(index, has_label[index]))

  def feature_spec(self, split):
    spec = feature_spec(self.settings.max_seq_length)
    spec["label_ids"] = tf.FixedLenFeature(
        self.problem.label_shape, self.problem.label_dtype)
    if self.policy.has_windows:
      spec[long_texts.INDEX] = tf.FixedLenFeature([], tf.int64)
    if self.distiller and split == "train":
      spec.update(self.distiller.feature_spec())
    return spec

  def training_values(self):
    return dict(super().training_values(), **self.policy.values())

  def count_records(self, examples):
    if not self.policy.has_windows:
      return super().count_records(examples)
    length = self.settings.max_seq_length
    return sum(len(self.policy.fit(*tokenize_example(
        example, self.tokenizer), length)) for example in examples)

  def write(self, split, examples):
    missing = 0
    if split == "train":
      self.label_weights = label_weights.find(
          self.settings.class_weights, self.labels, self.problem, examples)
    if self.settings.use_tpu and split != "train":
      # Full batches only: fill up the last one.
      missing = -len(examples) % self.batch_size(split)
    data = super().write(split, Stream(
        lambda: itertools.chain(examples, [PaddingInputExample()] * missing),
        len(examples) + missing))
    if split == "train" and self.labels_file and self.labels:
      files.write_text(self.path(self.labels_file), "".join(
          label + "\n" for label in self.labels))
    return data._replace(num_examples=len(examples))

  def head(self, features, is_training):
    head = make_head(
        self.encode, len(self.labels or ()), self.settings.use_tpu,
        self.settings.eval_batch_size or 8, self.problem, self.label_weights,
        self.settings.label_smoothing, *self.distiller and (
            (distillation.OUTPUTS, distillation.HAS_LABEL),
            self.distiller.loss) or ())(features, is_training)
    function, tensors, names = head.metrics

    def keep_and_compute(**arrays):
      self.evaluated = arrays
      if self.settings.tune_thresholds:
        real = arrays["is_real_example"] > 0
        self.problem.use_thresholds(thresholds.tune(
            arrays["label_ids"][real] > 0.5,
            self.problem.predict_array(arrays["logits"][real])))
      self._figures = function(**arrays)
      return self._figures

    head = head._replace(metrics=(keep_and_compute, tensors, names))
    if not self.policy.has_windows:
      return head
    return long_texts.pool_head(
        head, features[long_texts.INDEX], self.policy.window_pooling,
        self.problem.losses_array)

  def figures(self, results):
    # The Estimator's are float32; the loss is float32 in any case.
    results.update((name, self._figures[name]) for name in self.problem.figures
                   if name in self._figures and name != "eval_loss")
    if self.policy.has_windows:  # the Estimator's is a mean over windows
      results["loss"] = results["eval_loss"]
    return results

  def constant_figures(self):
    labels = np.reshape([
        self.problem.encode(example.label, self.labels)
        for example in self._examples["eval"]], [-1] + self.problem.label_shape)
    problem = self._untuned_problem()
    if self.settings.tune_thresholds:  # the best: all labels for every text
      problem.use_thresholds(np.zeros([len(self.labels)]))
    return problem_types.constant_figures(problem, labels)

  def _untuned_problem(self):
    """Returns a new object like `problem`, without tuned thresholds."""
    return problem_types.KINDS[self.problem.name](len(self.labels or ()))

  def answers(self, predictions):
    if not self.policy.has_windows:
      return predictions
    return long_texts.pool_predictions(
        predictions, self.policy.window_pooling, self.problem.predictions_of)

  def _weights(self, checkpoint):
    """Returns a checkpoint's prefix; None stands for --init_checkpoint."""
    return checkpoint or checkpoints.resolve(self.settings.init_checkpoint)

  def _read_thresholds(self, checkpoint):
    """Uses the thresholds that were tuned for a checkpoint, if any."""
    if self.problem.name == problem_types.MULTI_LABEL:
      weights = self._weights(checkpoint)
      folders = [os.path.dirname(weights)]
      if not checkpoint:  # it may have been evaluated in this folder
        folders.insert(0, self.settings.output_dir)
      with cli.user_errors():
        self.problem.use_thresholds(thresholds.read(
            folders, weights, self.labels))

  def evaluate(self, estimator, data, checkpoint):
    """Also writes dev_predictions.tsv, eval_report.txt, plots, thresholds."""
    self.evaluated = None
    if not self.settings.tune_thresholds:
      self._read_thresholds(checkpoint)
    figures = super().evaluate(estimator, data, checkpoint)
    if self.evaluated is None:  # on a TPU, or another machine
      tf.logging.info("No eval_report.txt or plots are written: metrics are "
                      "not computed in this process")
      return figures
    if self.settings.tune_thresholds:
      thresholds.write(
          os.path.dirname(checkpoint) if checkpoint else
          self.settings.output_dir, self._weights(checkpoint), self.labels,
          self.problem.thresholds)
    problem = self.problem
    if getattr(self.settings, "fold", None):
      folds.keep(self.settings.output_dir, self.evaluated)
      # Thresholds tuned on these very examples would flatter predictions.
      problem = self._untuned_problem()
    real = self.evaluated["is_real_example"] > 0
    logits, label_ids = [
        self.evaluated[name][real] for name in ("logits", "label_ids")]
    examples = self._examples["eval"]
    classification_report.write_predictions(
        self.path("dev_predictions.tsv"), read_again(examples),
        problem.predict_array(logits).reshape(len(logits), -1), self.labels,
        problem)
    report = classification_report.make_report(
        read_again(examples), logits, label_ids, self.labels, problem)
    self.write_report("eval_report.txt", report)
    if self.settings.plots:
      plots.write(self.settings.output_dir, logits, label_ids, self.labels,
                  self.problem)
    return figures

  def predict(self, estimator, data, checkpoint):
    """Also writes predictions.tsv, and the file for GLUE's server."""
    self._predicted = []
    self._read_thresholds(checkpoint)
    with classification_report.PredictionFile(
        self.path("predictions.tsv"), read_again(self._examples["predict"]),
        self.labels, self.problem,
        getattr(self.processor, "knows_test_labels", False)) as self._table:
      super().predict(estimator, data, checkpoint)
    tf.logging.info("%s has them with their texts", self.path(
        "predictions.tsv"))
    if self.settings.glue_submission_dir:
      classification_report.write_submission(
          self.settings.glue_submission_dir, self.settings.task_name,
          self._predicted)

  def row(self, prediction):
    values = np.atleast_1d(prediction[self.problem.output])
    self._table.add(values)
    if self.settings.glue_submission_dir:
      self._predicted.append(classification_report.predict_label(
          values, self.labels, self.problem))
    return "\t".join(map(str, values))

  def served_options(self):
    return dict(super().served_options(), problem_type=self.problem.name,
                thresholds=getattr(self.problem, "thresholds", None))

  def record(self):
    record = dict(super().record(), problem_type=self.problem.name)
    fold = getattr(self.settings, "fold", None)
    dev_share = getattr(self.settings, "dev_share", None)
    if dev_share or fold:
      # With another split, an evaluation would read training examples.
      record.update(
          dev_share=dev_share, split_seed=self.settings.split_seed,
          fold=fold and "%d of %d" % (fold.number + 1, fold.count))
    return record

  @classmethod
  def is_recorded(cls, record):
    return bool(record.get("labels") or record.get("problem_type"))

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    """Makes the ServingTask; if labels are missing, they are numbers."""
    labels = options.get("labels")
    kind = problem_types.KINDS[
        options.get("problem_type") or problem_types.SINGLE_LABEL]
    if kind is problem_types.Regression:
      labels = None
    elif not labels:
      shapes = checkpoints.check_readable(checkpoint)
      if "output_weights" not in shapes:
        raise ValueError("%s: has no output_weights, so it is not a "
                         "classifier" %
                         checkpoint)
      labels = [str(i) for i in range(shapes["output_weights"][0])]
    problem = kind(len(labels or ()))
    if kind is problem_types.MultiLabel:
      tuned = options.get("thresholds")
      problem.use_thresholds(thresholds.read(
          [os.path.dirname(checkpoint)], checkpoint, labels)
          if tuned is None else tuned)
    return serving_task(config, labels, model_options,
                        long_texts.choose(options, trained_with), problem)

  @classmethod
  def answer(cls, model, pairs):
    """Returns float32 [texts, labels], probabilities; or [texts], scores."""
    problem = problem_types.KINDS[model.settings.get(
        "problem_type", problem_types.SINGLE_LABEL)](len(model.labels or ()))
    results = long_texts.compute(model, pairs, problem.predictions_of)
    shape = [len(pairs)] + ([len(model.labels)] if model.labels else [])
    return np.reshape([one[problem.output] for one in results], shape).astype(
        np.float32)
