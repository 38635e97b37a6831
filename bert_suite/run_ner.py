r"""Finds named entities by predicting a tag for every word.

  export BERT_DIR=/path/to/cased_L-12_H-768_A-12
  export NER_DIR=/path/to/conll2003
  python run_ner.py --do_train=true --train_file=$NER_DIR/eng.train \
    --do_eval=true --dev_file=$NER_DIR/eng.testa \
    --do_predict=true --test_file=$NER_DIR/eng.testb \
    --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --output_dir=/tmp/ner_output

Files have a word and its tag per row and a blank line after each sentence
(CoNLL columns), or, if their names end with .jsonl, a sentence per line:
{"tokens": ["Rome", "fell"], "tags": ["B-LOC", "O"]}, or
{"text": "Rome fell", "spans": [{"start": 0, "end": 4, "label": "LOC"}]}.

Source: Devlin et al., arXiv 1810.04805, section 5.3.
"""

import collections
import dataclasses
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoint_fit, checkpoints, cli, label_weights, model_inputs, modeling,
    problem_types, run_settings, runner, script_options, several_runs, tasks,
    training)
from .ner import (
    data as ner_data, head as ner_head, reader as ner_reader,
    results as ner_results, scores as ner_scores, served as ner_served,
    tags as ner_tags)
from .script_options import option

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("vocab_file", "bert_config_file", "output_dir")

_SPLIT_FLAGS = {
    "train": "train_file", "eval": "dev_file", "predict": "test_file"}
_DEFAULT_SCHEME = "IOB2"


@dataclasses.dataclass
class Settings(run_settings.FineTuningSettings):
  """Settings of this script; each field is a flag."""

  train_file: str = option("path", None, "File to train on: CoNLL columns, or "
                           ".jsonl; may be gzip.")
  dev_file: str = option("path", None, "File to evaluate on.")
  test_file: str = option("path", None, "File to predict; scored too if it has "
                          "tags.")
  word_column: int = option(
      "integer", 1, "Number of the column with the words.", lower_bound=1)
  tag_column: int = option(
      "integer", None, "Number of the column with the tags.", lower_bound=1,
      default_text="the last")
  tag_scheme: str = option(
      "string", None, "How the model writes entities: IOB1, IOB2 or IOBES. "
      "Files may have any of them.",
      default_text="that of the training, else " + _DEFAULT_SCHEME)
  context: str = option(
      "string", "sentence", "What is read at once: each sentence alone, or, "
      "with document, as many sentences of a document as fit.")
  max_seq_length: int = option(
      "integer", 128, "Word pieces that are read at once; longer sentences are "
      "read through several windows.", lower_bound=3)
  window_stride: int = option(
      "integer", None, "Word pieces from one window to the next.",
      lower_bound=1, default_text="half of --max_seq_length")
  class_weights: str = option(
      "string", None, "Weights of tags in the loss of training: balanced, so "
      "that rare ones count as much as others, or tag:weight with commas.")
  valid_tags_only: bool = option(
      "bool", False, "Predict the likeliest sequence of tags that the scheme "
      "allows, instead of each word's likeliest tag.")
  do_train: bool = option("bool", False, "Train on --train_file.")
  do_eval: bool = option("bool", False, "Evaluate on --dev_file.")
  do_predict: bool = option("bool", False, "Predict --test_file.")
  eval_batch_size: int = option(
      "integer", None, "Batch size for evaluation.", flag_default=8,
      lower_bound=1, default_text=run_settings.BATCH_SIZE_DEFAULT)


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


# What `label_weights` reads of a word.
_Word = collections.namedtuple("_Word", "label")


class TaggingTask(tasks.Task):
  """Predicting a tag for every word, as for named entities."""

  name = "ner"
  head_names = checkpoint_fit.NER_HEAD
  training_flags = tasks.Task.training_flags + (
      "train_file", "context", "window_stride", "class_weights",
      "valid_tags_only")
  shared_flags = ("max_seq_length", "context")
  read_flags = tuple(_SPLIT_FLAGS.values()) + tasks.Task.read_flags
  options = ("labels", "tag_scheme", "valid_tags_only")
  best_metric = "eval_f1"
  figure_names = ["eval_f1", "eval_precision", "eval_recall", "eval_accuracy",
                  "eval_loss", "loss"]
  predictions_file = ner_results.COLUMNS
  reads_words = True

  def __init__(self, settings, config, tokenizer):
    super().__init__(settings, config, tokenizer)
    self.scheme = None  # these three are known once data has been read
    self._decoder = self._label_weights = None
    self._sentences = {}  # from split to Sentences
    self._counts = None  # ner_scores.Counts of the last evaluation
    self._tags, self._figures = [], {}  # of the same, or of the prediction
    self._spans_file = None  # while predicting
    length = settings.max_seq_length
    self._stride = settings.window_stride or max(length // 2, 1)
    self._windows = ner_data.Windows(
        tokenizer, length, self._stride, settings.context)

  # What a run reads.

  def check(self):
    settings = self.settings
    super().check()
    model_inputs.check_choice("context", settings.context, ner_data.CONTEXTS)
    if settings.tag_scheme:
      model_inputs.check_choice(
          "tag_scheme", settings.tag_scheme, ner_tags.SCHEMES)
    largest = settings.max_seq_length - 2
    if (settings.window_stride or 0) > largest:
      raise ValueError(
          "--window_stride=%d: expected 1 to %d, the word pieces of a text in "
          "--max_seq_length=%d" % (
              settings.window_stride, largest, settings.max_seq_length))
    for split in self.asked():
      if not getattr(settings, _SPLIT_FLAGS[split]):
        raise ValueError("--%s needs --%s" % (
            "do_" + split if getattr(settings, "do_" + split) else "eval_steps",
            _SPLIT_FLAGS[split]))

  def result_files(self):
    return super().result_files() + [
        "eval_report.txt", "dev_predictions.conll", ner_results.SPANS,
        "test_report.txt", "test_results.txt"]

  def read_all(self):
    examples = super().read_all()
    self._find_labels(examples.get("train"))
    self._decoder = ner_tags.Decoder(
        self.labels, self.scheme, self.settings.valid_tags_only)
    problem = problem_types.SingleLabel(len(self.labels))
    label_weights.check(self.settings.class_weights, 0.0, self.labels, problem)
    if "train" in examples:
      self._label_weights = label_weights.find(
          self.settings.class_weights, self.labels, problem,
          (_Word(tag) for tags in self._right("train") for tag in tags))
    return examples

  def read(self, split):
    settings = self.settings
    found = ner_reader.read(
        getattr(settings, _SPLIT_FLAGS[split]), split != "predict",
        settings.word_column, settings.tag_column)
    if settings.context == "document":
      ner_data.check_documents(found)
    self._sentences[split] = found
    return found

  def _find_labels(self, train):
    """Finds the tags that the model predicts, and their scheme.

    Args:
      train: reader.Sentences to train on; None for the tags of a training.

    Raises:
      ValueError: there is no training that recorded them.
    """
    settings = self.settings
    folder = settings.output_dir
    if train is None and not checkpoints.find_checkpoint(folder):
      folder = os.path.dirname(settings.init_checkpoint or "")
    record = checkpoints.read_record(folder) or {}
    self.scheme = (settings.tag_scheme or record.get("tag_scheme") or
                   _DEFAULT_SCHEME)
    if train is not None:
      if not train.types():
        raise ValueError("%s: has no entity to learn, all tags are O" %
                         train.path)
      self.labels = ner_tags.all_tags(train.types(), self.scheme)
    else:
      self.labels = record.get("labels")
      if not self.labels or not all(map(ner_tags.is_tag, self.labels)):
        raise ValueError(
            "--%s: found no run.json of a training of this task, which has the "
            "tags; also pass --do_train, or name the --output_dir of a "
            "training" % (
                "init_checkpoint=" + settings.init_checkpoint
                if settings.init_checkpoint else "output_dir=" +
                settings.output_dir))
    known = ner_tags.types_of(self.labels)
    for sentences in self._sentences.values():
      unknown = sorted(sentences.types() - known)
      if unknown:
        tf.logging.warning(
            "%s: has entities of types that the model does not know: %s; they "
            "count as missed", sentences.path, ", ".join(unknown))

  def _right(self, split):
    """Yields the tags of each sentence in the scheme; O if it has none."""
    for one in self._sentences[split]:
      yield (ner_tags.convert(one.tags, self.scheme) if one.tags is not None
             else [ner_tags.OUTSIDE] * len(one.words))

  def count_records(self, examples):
    return self._windows.count(examples)

  def write(self, split, examples):
    self._windows.log(examples, examples.path)
    return super().write(split, examples)._replace(num_examples=len(examples))

  def features(self, split, examples):
    return ner_data.make_features(
        examples, self._right(split), self.labels, self._windows, split)

  def feature_spec(self, split):
    length = self.settings.max_seq_length
    return dict(super().feature_spec(split), **{
        name: tf.FixedLenFeature([length], tf.int64)
        for name in ("label_ids", "label_mask")})

  # How it is trained and evaluated.

  def record(self):
    return dict(super().record(), tag_scheme=self.scheme)

  def training_values(self):
    return dict(super().training_values(), window_stride=self._stride)

  def head(self, features, is_training):
    settings = self.settings
    head = ner_head.make_head(
        self.config, run_settings.model_options(settings), features,
        is_training, len(self.labels), self._label_weights,
        in_graph=bool(settings.use_tpu or settings.master))
    return head._replace(metrics=(
        self._score, head.metrics[1], self.figure_names[:-1]))

  def _score(self, logits, label_ids):
    """Returns the figures of the evaluation over all words of the set.

    Args:
      logits: float32 array [words, L].
      label_ids: int32 array [words].
    """
    self._tags = list(self._decode("eval", iter(logits)))
    self._counts = ner_scores.count(list(self._right("eval")), self._tags)
    self._figures = {"eval_" + name: value
                     for name, value in self._counts.figures().items()}
    problem = problem_types.SingleLabel(len(self.labels))
    self._figures["eval_loss"] = float(np.mean(
        problem.losses_array(logits, label_ids)))
    return self._figures

  def _decode(self, split, rows):
    """Yields the tags of each sentence.

    Args:
      split: str.
      rows: iterator over the logits of words, float array [L] each.
    """
    for one in self._sentences[split]:
      logits = [next(rows) for _ in one.words]
      yield self._decoder.decode(np.reshape(logits, [-1, len(self.labels)]))

  def figures(self, results):
    results.update(self._figures)  # those of the Estimator are float32
    return results

  def constant_figures(self):
    right = list(self._right("eval"))
    counts = ner_scores.count(
        right, [[ner_tags.OUTSIDE] * len(tags) for tags in right])
    return {"eval_" + name: value for name, value in counts.figures().items()}

  def evaluate(self, estimator, data, checkpoint):
    """Also writes eval_report.txt and dev_predictions.conll."""
    self._counts, self._figures = None, {}
    figures = super().evaluate(estimator, data, checkpoint)
    if self._counts is None:  # on a TPU, or another machine
      tf.logging.info("There is no eval_report.txt: entities are not counted "
                      "in this process")
      return figures
    ner_results.write_columns(self.path("dev_predictions.conll"),
                              self._sentences["eval"], self._tags)
    self._report("eval_report.txt")
    return figures

  def _report(self, name):
    self.write_report(name, ner_scores.make_report(self._counts))

  # What it predicts.

  def answers(self, predictions):
    words = (row for one in predictions
             for row in one["logits"][one["label_mask"] == 1])
    return self._decode("predict", words)

  def predict(self, estimator, data, checkpoint):
    """Also writes predictions.jsonl and, if tags are known, their scores."""
    sentences, self._tags = self._sentences["predict"], []
    path = self.path(ner_results.SPANS)
    with ner_results.SpansFile(path) as self._spans_file:
      super().predict(estimator, data, checkpoint)
    tf.logging.info("%s has them as spans of characters", path)
    if sentences.has_tags:
      self._counts = ner_scores.count(list(self._right("predict")), self._tags)
      self._report("test_report.txt")
      training.write_results(
          self.path("test_results.txt"), "Test results",
          {"test_" + name: value
           for name, value in self._counts.figures().items()})

  def row(self, prediction):
    index, sentences = len(self._tags), self._sentences["predict"]
    self._tags.append(prediction)
    self._spans_file.add(sentences[index], prediction)
    return ner_results.format_columns(sentences, index, prediction)

  # What its trained model does.

  def served_options(self):
    return {"labels": self.labels, "tag_scheme": self.scheme,
            "valid_tags_only": self.settings.valid_tags_only}

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    return ner_served.serving_task(
        cls.name, config, options, trained_with, checkpoint, model_options)

  @classmethod
  def answer(cls, model, pairs):
    """Returns a list of dict; see `ner.served.answer`."""
    return ner_served.answer(model, pairs)


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings, on_log=None):
  """Trains, evaluates, predicts and exports.

  Args:
    settings: Settings.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure of --dev_file to its value; None without an
    evaluation.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  runner.start(settings)
  with cli.user_errors():
    config = modeling.BertConfig.from_json_file(settings.bert_config_file)
    modeling.check_seq_length(
        settings.max_seq_length, config.max_position_embeddings)
    tokenizer = run_settings.make_tokenizer(settings, config)
  return several_runs.run(
      lambda settings: TaggingTask(settings, config, tokenizer), settings,
      on_log)


def main(_):
  """Trains, evaluates, predicts and exports."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
