r"""Answers questions with spans of a text, as in SQuAD 1.1 and 2.0.

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  export SQUAD_DIR=/path/to/squad
  python run_squad.py --do_train=true --train_file=$SQUAD_DIR/train-v1.1.json \
    --do_predict=true --do_eval=true --predict_file=$SQUAD_DIR/dev-v1.1.json \
    --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --output_dir=/tmp/squad_output

For SQuAD 2.0, where a text may not contain the answer, also pass
--version_2_with_negative=true and --null_score_diff_threshold=best.

Source: Devlin et al., arXiv 1810.04805, sections 4.2 and 4.3.
"""

import dataclasses
import os
import random

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import numpy as np
import tensorflow.compat.v1 as tf

from . import (  # noqa: F401  # programs find them
    checkpoint_fit, cli, files, input_pipeline, model_inputs, modeling,
    optimization, progress, run_settings, runner, script_options, serving,
    several_runs, squad_metrics, tasks, tokenization, training)
from .script_options import option
from .squad import (
    data as squad_data, reader as squad_files, results as squad_results,
    served as squad_served)
# Programs written against this script find all of its parts here, including
# private names and the modules `optimization` and `tokenization`.
from .squad.answers import (  # noqa: F401
    RawResult, best_positions as _get_best_indexes, get_final_text,
    softmax as _compute_softmax, write_predictions)
from .squad.data import (  # noqa: F401
    FeatureWriter, InputFeatures, SquadExample,
    check_is_max_context as _check_is_max_context, convert_examples_to_features,
    improve_answer_span as _improve_answer_span, read_squad_examples)
from .squad.head import create_model, make_head, position_loss  # noqa: F401
from .squad.results import evaluate, read_best_texts  # noqa: F401

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("output_dir",)

# Settings that a program must know to use an exported model; their defaults.
SERVING_SETTINGS = {"doc_stride": 128, "max_query_length": 64,
                    "version_2_with_negative": False}

# The seed of the order in which the reference trains.
_SHUFFLE_SEED = 12345


@dataclasses.dataclass
class Settings(run_settings.FineTuningSettings):
  """Settings of this script; each field is a flag."""

  train_file: str = option(
      "path", None, "SQuAD file to train on, such as train-v1.1.json.")
  predict_file: str = option("path", None, "SQuAD file to answer, such as "
                             "dev-v1.1.json or test-v1.1.json.")
  max_seq_length: int = option(
      "integer", 384, "Word pieces per window; longer contexts are read "
      "through several.", lower_bound=1)
  doc_stride: int = option(
      "integer", SERVING_SETTINGS["doc_stride"], "Word pieces from one window "
      "of a context to the next.", lower_bound=1)
  max_query_length: int = option(
      "integer", SERVING_SETTINGS["max_query_length"],
      "Word pieces of a question; longer ones are cut.", lower_bound=1)
  do_train: bool = option("bool", False, "Train on --train_file.")
  do_predict: bool = option(
      "bool", False, "Answer the questions of --predict_file.")
  do_eval: bool = option(
      "bool", False, "Score predictions.json in --output_dir against the "
      "answers in --predict_file; with --do_predict, after writing it.")
  n_best_size: int = option("integer", 20, "Answers per question in "
                            "nbest_predictions.json.", lower_bound=1)
  max_answer_length: int = option(
      "integer", 30, "Word pieces that an answer may have.", lower_bound=1)
  version_2_with_negative: bool = option(
      "bool", SERVING_SETTINGS["version_2_with_negative"],
      "Questions may have no answer, as in SQuAD 2.0.")
  null_score_diff_threshold: str = option(
      "string", None,
      "With --version_2_with_negative: answer with nothing if its score "
      'exceeds that of the best answer by more than this. A number, or "best" '
      "for the one with the highest F1 on --predict_file.", flag_default="0.0")
  verbose_logging: bool = option(
      "bool", False, "Log why a predicted answer was not found in the text.")

  @property
  def threshold(self):
    """The threshold that predictions use, a str."""
    return self.null_score_diff_threshold or "0.0"

  @property
  def needs_model(self):
    """Whether there is more to do than score answers, bool."""
    return self.do_train or self.do_predict


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def make_model_fn(bert_config, init_checkpoint, settings, options=None,
                  init_head="auto"):
  """Makes the `model_fn` of question answering.

  Args:
    bert_config: BertConfig.
    init_checkpoint: str, or None. See `training.make_model_fn`.
    settings: optimization.Settings.
    options: modeling.Options.
    init_head: str. See `checkpoint_fit.find_new_head`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  def head_fn(features, is_training):
    return make_head(bert_config, options, features, is_training)

  return training.make_model_fn(
      head_fn, init_checkpoint, settings, checkpoint_fit.SQUAD_HEAD, init_head)


model_fn_builder = training.make_builder(make_model_fn)


def serving_task(bert_config, options=serving.OPTIONS, **settings):
  """Makes the ServingTask of question answering.

  Args:
    bert_config: BertConfig.
    options: modeling.Options.
    **settings: values of flags that a program needs to ask questions.

  Returns:
    ServingTask with "start_logits" and "end_logits", float32 [B, S].
  """
  def build(inputs):
    inputs, cut = serving.round_up_request(
        inputs, bert_config.max_position_embeddings)
    start_logits, end_logits = create_model(
        bert_config, False, use_one_hot_embeddings=False, options=options,
        **inputs)
    return {serving.SIGNATURE: {
        "start_logits": cut(start_logits, "input_ids"),
        "end_logits": cut(end_logits, "input_ids")}}

  return serving.ServingTask("squad", build, settings=settings)


def input_fn_builder(input_file, seq_length, is_training, drop_remainder,
                     num_skipped=0):
  """Makes an `input_fn` that reads what `FeatureWriter` wrote.

  Args:
    input_file: str. TFRecord file.
    seq_length: int. S.
    is_training: bool. See `input_pipeline.make_input_fn`, also for the next
      two.
    drop_remainder: bool.
    num_skipped: int.

  Returns:
    A function of `params` that returns a `tf.data.Dataset` of batches.
  """
  return input_pipeline.make_input_fn(
      input_file, feature_spec(seq_length, is_training), is_training,
      drop_remainder, num_skipped=num_skipped)


def feature_spec(seq_length, is_training):
  """Returns a dict from the name of a feature to its `FixedLenFeature`."""
  return tasks.feature_spec(seq_length, "unique_ids", *(
      ["start_positions", "end_positions"] if is_training else []))


def validate_flags_or_throw(bert_config):
  """Calls `check_settings` with the flags; a function of the reference."""
  check_settings(script_options.from_flags(Settings, FLAGS), bert_config)


def check_settings(settings, bert_config):
  """Raises ValueError if settings contradict each other or the model.

  Combinations that are valid but probably unintended get a warning.

  Args:
    settings: Settings.
    bert_config: BertConfig; None if there is no model to run.
  """
  if settings.export_dir and not settings.needs_model:
    raise ValueError("--export_dir: also pass --do_train or --do_predict; "
                     "export_model.py exports what was trained before")
  if not (settings.needs_model or settings.do_eval):
    raise ValueError(
        "nothing to do; give --do_train, --do_predict or --do_eval")
  for step, file_flag in (("do_train", "train_file"),
                          ("do_predict", "predict_file"),
                          ("do_eval", "predict_file"),
                          ("eval_steps", "predict_file"),
                          ("eval_each_epoch", "predict_file")):
    if getattr(settings, step) and not getattr(settings, file_flag):
      raise ValueError("--%s needs --%s" % (step, file_flag))
  if bert_config is not None:
    modeling.check_seq_length(
        settings.max_seq_length, bert_config.max_position_embeddings)
    squad_data.check_lengths(
        settings.max_seq_length, settings.doc_stride, settings.max_query_length)
    squad_data.warn_of_long_stride(
        settings.max_seq_length, settings.doc_stride, settings.max_query_length)
  threshold = squad_metrics.parse_threshold(settings.threshold)
  if not settings.version_2_with_negative:
    if threshold == squad_metrics.BEST:
      raise ValueError("--null_score_diff_threshold=best needs "
                       "--version_2_with_negative")
    if settings.null_score_diff_threshold is not None:
      tf.logging.warning("--null_score_diff_threshold has no effect without "
                         "--version_2_with_negative")


def read_train_examples(settings):
  """Reads --train_file, in the order of training.

  Returns:
    list of SquadExample.

  Raises:
    ValueError: it has no examples to learn from; see also
      `read_squad_examples`.
  """
  examples = squad_data.read_squad_examples(
      settings.train_file, is_training=True,
      version_2_with_negative=settings.version_2_with_negative)
  if not examples:
    raise ValueError("%s: found no question to train on: no context has the "
                     "answer at answer_start, which counts characters from 0" %
                     settings.train_file)
  random.Random(_SHUFFLE_SEED).shuffle(examples)
  return examples


def read_answered_dataset(settings):
  """Reads the questions of --predict_file for scoring.

  Returns:
    squad_files.Questions.

  Raises:
    ValueError: it has no answers to score by, or, in SQuAD 1.1, a question
      without one.
  """
  dataset, _ = squad_files.read_dataset(settings.predict_file)
  if not any(question.item.get("answers") or question.item.get("is_impossible")
             for question in squad_files.iterate_questions(
                 dataset, settings.predict_file)):
    raise ValueError("%s: has no answers, which --do_eval, --eval_steps, "
                     "--eval_each_epoch and --null_score_diff_threshold=best "
                     "need; leave them out" % settings.predict_file)
  questions = squad_files.read_questions(dataset, settings.predict_file)
  if not (settings.version_2_with_negative or
          squad_metrics.is_version_2(questions)):
    squad_metrics.check_answers(questions, settings.predict_file)
  return questions


def predict(estimator, input_fn, num_windows, seq_length, checkpoint=None):
  """Computes the logits of windows.

  Args:
    estimator: the estimator.
    input_fn: function of `params`.
    num_windows: int. Windows that it reads.
    seq_length: int. S.
    checkpoint: str. None for the latest.

  Returns:
    list of RawResult with float32 [S], which are rows of two arrays.
  """
  tf.logging.info("***** Running predictions *****")
  logits = np.empty([2, num_windows, seq_length], np.float32)
  unique_ids = []
  if num_windows:
    results = estimator.predict(
        input_fn=input_fn, yield_single_examples=False,
        checkpoint_path=checkpoint and files.literal(checkpoint))
    with progress.Progress("Predicting", num_windows, "windows") as shown:
      for batch in results:
        first, count = len(unique_ids), len(batch["unique_ids"])
        logits[0, first:first + count] = batch["start_logits"]
        logits[1, first:first + count] = batch["end_logits"]
        unique_ids.extend(batch["unique_ids"].tolist())
        shown.advance(count)
  if len(unique_ids) != num_windows:
    raise RuntimeError(
        "predicted %d of %d windows" % (len(unique_ids), num_windows))
  return [RawResult(*row) for row in zip(unique_ids, logits[0], logits[1])]


class QuestionAnsweringTask(tasks.Task):
  """Answering questions with spans of a text."""

  name = "squad"
  splits = ("train", "predict")
  head_names = checkpoint_fit.SQUAD_HEAD
  training_flags = tasks.Task.training_flags + (
      "doc_stride", "max_query_length", "version_2_with_negative", "train_file")
  shared_flags = ("max_seq_length", "version_2_with_negative")
  read_flags = ("train_file", "predict_file", "vocab_file", "bert_config_file")
  max_seq_length = 384
  searches = True
  eval_split = "predict"
  best_metric = "f1"
  cuts = ("questions", "max_query_length")
  # What `check_pair` calls its examples.
  pair = "a question with its context"

  def __init__(self, settings, config, tokenizer):
    super().__init__(settings, config, tokenizer)
    self._dataset = None  # the questions of --predict_file, with answers
    self._to_answer = []  # the questions to answer, list of SquadExample
    self._windows = []  # their windows, list of InputFeatures
    self._threshold = None  # the one that the predictions were made with
    self._answered = None  # the checkpoint that they were made with

  def result_files(self):
    paths = squad_results.result_paths("") + [squad_results.scores_path("")]
    return [self.record_file(split) for split in self.splits] + [
        os.path.basename(path) for path in paths]

  def record_file(self, split):
    return {"train": "train", "predict": "eval"}[split] + ".tf_record"

  def check(self):
    super().check()
    if self.config is not None:
      model_inputs.check_pair(self.pair, self.config.type_vocab_size)

  def read_all(self):
    examples = super().read_all()
    self.read_answers()
    return examples

  def read(self, split):
    if split == "train":
      return read_train_examples(self.settings)
    self._to_answer = squad_data.read_squad_examples(
        self.settings.predict_file, is_training=False,
        version_2_with_negative=self.settings.version_2_with_negative)
    return self._to_answer

  def read_answers(self):
    """Reads the answers that predictions are scored by, if they are scored."""
    settings = self.settings
    if settings.do_eval or self.eval_every or (
        settings.do_predict and settings.threshold == squad_metrics.BEST):
      self._dataset = read_answered_dataset(settings)
      self.figure_names = squad_metrics.figure_names(
          self._dataset, settings.version_2_with_negative)
      self.check_evaluations()

  def write(self, split, examples):
    is_training = split == "train"
    path = self.path(self.record_file(split))

    def keep(feature):
      writer.process_feature(feature)
      if not is_training:
        # `write_predictions` does not need these, which use most of the memory.
        feature.input_ids = feature.input_mask = feature.segment_ids = None
        self._windows.append(feature)

    tf.logging.info(
        "Writing the windows of %d questions to %s", len(examples), path)
    with squad_data.FeatureWriter(path, is_training) as writer:
      squad_data.convert_examples_to_features(
          examples, self.tokenizer, self.settings.max_seq_length,
          self.settings.doc_stride, self.settings.max_query_length, is_training,
          output_fn=keep)
    if is_training and not writer.num_features:
      raise ValueError("%s: has only contexts without words" %
                       self.settings.train_file)
    return tasks.Data(path, writer.num_features, writer.num_features)

  def feature_spec(self, split):
    return feature_spec(self.settings.max_seq_length, split == "train")

  def head(self, features, is_training):
    options = run_settings.model_options(self.settings)
    return make_head(self.config, options, features, is_training)

  def can_sort(self):
    return False  # most windows have full length, and `predict` takes batches

  def predict(self, estimator, data, checkpoint):
    if self._answered and self._answered == checkpoint:
      return  # the last evaluation did
    settings, basic = self.settings, self.tokenizer.basic_tokenizer
    results = predict(
        estimator, self.input_fn("predict", data), data.num_records,
        settings.max_seq_length, checkpoint)
    with cli.user_errors():
      self._threshold = squad_results.write_predictions(
          settings.output_dir, self._to_answer, self._windows, results,
          settings.n_best_size, settings.max_answer_length, basic.do_lower_case,
          version_2_with_negative=settings.version_2_with_negative,
          null_score_diff_threshold=settings.threshold,
          verbose_logging=settings.verbose_logging, dataset=self._dataset,
          strip_accents=basic.strip_accents)
    self._answered = checkpoint

  def evaluate(self, estimator, data, checkpoint):
    """Also writes the predictions of the checkpoint."""
    self.predict(estimator, data, checkpoint)
    return self._score()

  def finish(self):
    """Scores the predictions in --output_dir, if they are evaluated."""
    return self._score() if self.settings.do_eval or self.eval_every else None

  def _score(self):
    settings = self.settings
    with cli.user_errors():
      given = (None if settings.do_predict else
               settings.null_score_diff_threshold)
      return evaluate(
          self._dataset, settings.predict_file, settings.output_dir,
          settings.version_2_with_negative, given, self._threshold)

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    model_inputs.check_pair(cls.pair, config.type_vocab_size)
    return serving_task(config, model_options, **{
        name: trained_with.get(name, default)
        for name, default in SERVING_SETTINGS.items()})

  @classmethod
  def answer(cls, model, pairs):
    """Returns a list of dict; see `squad.served.answer`."""
    return squad_served.answer(model, pairs)


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings, on_log=None):
  """Trains, answers the questions of a file, scores them and exports.

  Args:
    settings: Settings.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure to its value; None without an evaluation.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  if settings.needs_model:  # scoring answers does not need these
    cli.check_given(settings, ("vocab_file", "bert_config_file"))
  runner.start(settings, computes=settings.needs_model)
  config = tokenizer = None
  with cli.user_errors():
    if settings.needs_model:
      config = modeling.BertConfig.from_json_file(settings.bert_config_file)
    check_settings(settings, config)
    if settings.needs_model:
      tokenizer = run_settings.make_tokenizer(settings, config)

  def make_task(settings):
    return QuestionAnsweringTask(settings, config, tokenizer)

  if settings.needs_model or several_runs.is_asked(settings):
    return several_runs.run(make_task, settings, on_log)
  task = make_task(settings)
  with cli.user_errors():
    task.check()
    task.read_answers()
  return task.finish()


def main(_):
  """Trains, answers the questions of a file, scores them and exports."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
