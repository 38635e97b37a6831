r"""Pre-trains BERT on masked words and next sentences.

  python run_pretraining.py --input_file=/tmp/sample.tfrecord \
    --do_train=true --do_eval=true \
    --bert_config_file=sample_data/sample_config.json \
    --max_seq_length=128 --max_predictions_per_seq=20 --num_train_steps=200 \
    --num_warmup_steps=20 --learning_rate=1e-3 \
    --output_dir=/tmp/sample_pretraining

Reads what `create_pretraining_data.py` writes. With --init_checkpoint it starts
from that model, without it from random weights.

Source: Devlin et al., arXiv 1810.04805, section 3.1.
"""

import dataclasses
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, files, input_pipeline, modeling, record_files,
    run_settings, runner, script_options, serving, tasks, training)
from . import optimization  # noqa: F401  # programs find it here
from .pretraining import record_origins, served
# Programs written against this script find the heads here.
from .pretraining.heads import (  # noqa: F401
    MASKED_LM_FIGURES, NEXT_SENTENCE_FIGURES, compute_metrics, gather_indexes,
    get_masked_lm_output, get_next_sentence_output, make_head, masked_lm_head,
    tpu_metrics, vocab_cross_entropy)
from .script_options import option

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("input_file", "bert_config_file", "output_dir")

# Records checked before the training starts.
_RECORDS_TO_CHECK = 1000

# A name in the reference that programs use.
_decode_record = input_pipeline.decode_batch


@dataclasses.dataclass
class Settings(
    run_settings.OptimizationSettings, run_settings.EvaluationSettings):
  """Settings of this script; each field is a flag."""

  bert_config_file: str = option(
      "path", None, "JSON file with the shape of the model.")
  input_file: str = option("paths", None, "TFRecord files to learn from: paths "
                           "or patterns, separated by commas.")
  init_checkpoint: str = option(
      "path", None, "Checkpoint to start from; by default, random weights.")
  vocab_file: str = option(
      "path", None,
      "Vocabulary of the records, which run.json names for programs that "
      "use the model. Not needed for records that are still where "
      "create_pretraining_data.py wrote them.")
  max_seq_length: int = option(
      "integer", 128, "Length of the sequences in the records.", lower_bound=1)
  max_predictions_per_seq: int = option(
      "integer", 20, "Masked words per sequence in the records.", lower_bound=1)
  do_train: bool = option("bool", False, "Train.")
  do_eval: bool = option("bool", False, "Evaluate at the end.")
  eval_batch_size: int = option(
      "integer", 8, "Batch size for evaluation.", lower_bound=1)
  num_train_steps: int = option(
      "integer", 100000, "Steps to train.", lower_bound=1)
  num_warmup_steps: int = option("integer", 10000, "Steps in which the "
                                 "learning rate rises from 0.", lower_bound=0)
  max_eval_steps: int = option(
      "integer", 100, "Batches to evaluate on.", lower_bound=1)
  eval_input_file: str = option("paths", None, "Like --input_file, to evaluate "
                                "on; --input_file if not given.")
  use_next_sentence: bool = option(
      "bool", True, "Also learn to tell next sentences from random ones.")
  shuffle_buffer_size: int = option("integer", 10000, "Records in memory that "
                                    "shuffling chooses from.", lower_bound=1)
  skip_bad_records: bool = option(
      "bool", False, "Leave records out that are damaged or do not fit, and "
      "count them, instead of stopping.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def make_model_fn(bert_config, init_checkpoint, settings, options=None,
                  use_next_sentence=True):
  """Makes the `model_fn` of pre-training.

  Args:
    bert_config: BertConfig.
    init_checkpoint: str, or None. See `training.make_model_fn`.
    settings: optimization.Settings.
    options: modeling.Options. With `remove_padding`, predictions with weight 0
      are not computed either; `few_shapes` rounds their number up too.
    use_next_sentence: bool. Adds the head for next sentences.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  def head_fn(features, is_training):
    return make_head(
        bert_config, options, use_next_sentence, features, is_training)

  return training.make_model_fn(head_fn, init_checkpoint, settings)


model_fn_builder = training.make_builder(make_model_fn)


# Word pieces that an exported model suggests for each masked one.
_NUM_CANDIDATES = 10


def serving_task(bert_config, options=serving.OPTIONS):
  """Makes the ServingTask of filling in masked word pieces.

  Args:
    bert_config: BertConfig.
    options: modeling.Options.

  Returns:
    ServingTask with the further input "masked_lm_positions", int32 [B, P].
    Signatures: the default with "top_ids", int32, and "top_log_probs", float32,
    both [B, P, 10], the likeliest first; and "log_probs" with
    "masked_lm_log_probs", float32 [B, P, V].
  """
  def build(inputs):
    inputs, cut = serving.round_up_request(
        inputs, bert_config.max_position_embeddings)
    positions = inputs["masked_lm_positions"]
    model = modeling.BertModel(
        config=bert_config, is_training=False, input_ids=inputs["input_ids"],
        input_mask=inputs["input_mask"], token_type_ids=inputs["segment_ids"],
        output_positions=positions, options=options)
    vectors = modeling.reshape_to_matrix(model.get_positions_output())
    no_labels = tf.zeros([tf.size(positions)], tf.int32)
    _, _, log_probs = masked_lm_head(
        bert_config, vectors, model.get_embedding_table(), no_labels,
        tf.cast(no_labels, tf.float32))
    batch_size, num_predictions = modeling.get_shape_list(positions)
    log_probs = tf.reshape(
        log_probs, [batch_size, num_predictions, bert_config.vocab_size])
    top_log_probs, top_ids = tf.nn.top_k(
        log_probs, min(_NUM_CANDIDATES, bert_config.vocab_size))
    outputs = {
        serving.SIGNATURE: {"top_ids": top_ids, "top_log_probs": top_log_probs},
        served.LOG_PROBS_SIGNATURE: {"masked_lm_log_probs": log_probs}}
    return {signature: {name: cut(output, "masked_lm_positions")
                        for name, output in of_signature.items()}
            for signature, of_signature in outputs.items()}

  return serving.ServingTask(
      "masked_lm", build, extra_inputs=["masked_lm_positions"])


def record_features(max_seq_length, max_predictions_per_seq):
  """Returns a dict from the name of each feature to its `FixedLenFeature`."""
  sequence = tf.FixedLenFeature([max_seq_length], tf.int64)
  predictions = tf.FixedLenFeature([max_predictions_per_seq], tf.int64)
  return {
      "input_ids": sequence, "input_mask": sequence, "segment_ids": sequence,
      "masked_lm_positions": predictions, "masked_lm_ids": predictions,
      "masked_lm_weights": tf.FixedLenFeature(
          [max_predictions_per_seq], tf.float32),
      "next_sentence_labels": tf.FixedLenFeature([1], tf.int64)}


def record_limits(bert_config, max_seq_length):
  """Returns a dict from feature to the exclusive upper limit of its values."""
  vocab_size = bert_config.vocab_size
  return {"input_ids": vocab_size, "masked_lm_ids": vocab_size,
          "segment_ids": bert_config.type_vocab_size,
          "masked_lm_positions": max_seq_length, "next_sentence_labels": 2}


def input_fn_builder(input_files, max_seq_length, max_predictions_per_seq,
                     is_training, num_cpu_threads=4, shuffle_buffer_size=10000,
                     num_skipped=0, limits=None, file_seed=None,
                     order=None):
  """Makes an `input_fn` that reads what `create_pretraining_data.py` writes.

  Evaluation repeats the files, so that it can run for any number of steps.

  Args:
    input_files: list of str.
    max_seq_length: int. S.
    max_predictions_per_seq: int. P.
    is_training: bool. Shuffles files and records.
    num_cpu_threads: int. Files read at the same time while training.
    shuffle_buffer_size: int. See `input_pipeline.make_input_fn`, also for the
      next four.
    num_skipped: int.
    limits: dict, from `record_limits`.
    file_seed: int.
    order: State.

  Returns:
    A function of `params` that returns a `tf.data.Dataset` of batches.
  """
  return input_pipeline.make_input_fn(
      input_files, record_features(max_seq_length, max_predictions_per_seq),
      is_training, drop_remainder=True, shuffle_buffer_size=shuffle_buffer_size,
      num_skipped=num_skipped, num_parallel_files=num_cpu_threads,
      file_seed=file_seed, repeat=True, limits=limits, order=order)


def find_input_files(settings):
  """Finds the files of --input_file and --eval_input_file.

  Returns:
    Two lists of str, to train and to evaluate on.

  Raises:
    ValueError: there are no files, or none for --eval_steps to evaluate on.
  """
  if settings.eval_steps and not settings.eval_input_file:
    raise ValueError("--eval_steps=%d needs --eval_input_file, records to "
                     "evaluate on" % settings.eval_steps)
  train_files = files.find_files(settings.input_file, "--input_file")
  if not settings.eval_input_file:
    return train_files, train_files
  return train_files, files.find_files(
      settings.eval_input_file, "--eval_input_file")


def expected_records(settings, bert_config):
  """Returns what the flags and the model expect, a record_files.Expected."""
  return record_files.Expected(
      record_features(
          settings.max_seq_length, settings.max_predictions_per_seq),
      record_limits(bert_config, settings.max_seq_length),
      cure="give --max_seq_length and --max_predictions_per_seq as for "
      "create_pretraining_data.py, and the config of its vocabulary")


def check_files(input_files, settings, expected, purpose):
  """Checks the first records of files; returns the files to read.

  With --skip_bad_records, a file with bad records is replaced by a copy of its
  good ones, in a folder of the purpose ("train" or "eval").

  Raises:
    ValueError: records do not fit the flags or the model, or are damaged.
  """
  if settings.skip_bad_records:
    input_files = record_files.copy_good_records(
        input_files, os.path.join(
            settings.output_dir, "good_records", purpose), expected)
  record_files.check_records(input_files, expected, _RECORDS_TO_CHECK)
  return input_files


class PreTrainingTask(tasks.Task):
  """Pre-training on records; a served model fills in masked words."""

  name = "masked_lm"
  recorded_name = "pretraining"
  splits = ("train", "eval")
  training_flags = ("train_batch_size", "max_seq_length",
                    "max_predictions_per_seq", "input_file", "tf_random_seed")
  shared_flags = ()
  read_flags = ("bert_config_file", "vocab_file")
  how_to_train_more = "give a larger --num_train_steps"
  never_split = (served.MASK,)

  def __init__(self, settings, config):
    super().__init__(settings, config, None)
    self.figure_names = ("loss",) + MASKED_LM_FIGURES + (
        NEXT_SENTENCE_FIGURES * settings.use_next_sentence)
    self._files = {}  # from split to the files given, list of str
    self._checked = {}  # from split to the files to read, list of str
    self._vocab_file, self._vocabulary = None, {}
    self._expected = expected_records(settings, config)

  def check(self):
    settings = self.settings
    self.asked()  # before looking for its files
    self._files["train"], self._files["eval"] = find_input_files(settings)
    training.check_results(
        settings.output_dir,
        run_settings.files_read(settings, self.read_flags) +
        [("--eval_input_file", path) for path in self._files["eval"]] +
        [("--input_file", path) for path in self._files["train"]],
        [self.path("eval_results.txt")])
    self.check_evaluations()
    folders = [settings.output_dir]
    if settings.init_checkpoint:
      folders.append(os.path.dirname(settings.init_checkpoint))
    self._vocab_file, self._vocabulary = record_origins.find_vocabulary(
        self._files["train" if settings.do_train else "eval"],
        settings.vocab_file, folders, self.config.vocab_size)

  def read(self, split):
    return self._files[split]

  def write(self, split, examples):
    """Checks the first records; returns the files to read as Data."""
    if self.settings.do_train and not self.settings.eval_input_file:
      split = "train"  # the evaluation reads the same files
    if split not in self._checked:
      self._checked[split] = check_files(
          examples, self.settings, self._expected, split)
    count = self.settings.max_eval_steps * self.settings.eval_batch_size
    return tasks.Data(self._checked[split], count, count)

  def input_fn(self, split, data, num_skipped=0, order=None):
    settings = self.settings
    return input_fn_builder(
        data.files, settings.max_seq_length, settings.max_predictions_per_seq,
        split == "train", shuffle_buffer_size=settings.shuffle_buffer_size,
        num_skipped=num_skipped, limits=self._expected.limits,
        file_seed=settings.tf_random_seed, order=order)

  def record(self):
    return checkpoints.make_record(
        self.recorded_name, self.config,
        use_next_sentence=self.settings.use_next_sentence, **self._vocabulary)

  def training_values(self):
    return dict(super().training_values(), vocab_file=self._vocab_file)

  def count_train_steps(self, examples):
    return self.settings.num_train_steps if self.settings.do_train else 0

  def head(self, features, is_training):
    return make_head(self.config, run_settings.model_options(self.settings),
                     self.settings.use_next_sentence, features, is_training)

  def naming_errors(self, data):
    return record_files.naming_bad_records(
        [path for found in data.values() for path in found.files],
        self._expected)

  def eval_steps(self, data):
    return self.settings.max_eval_steps

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    return serving_task(config, model_options)

  @classmethod
  def answer(cls, model, pairs):
    """Returns the candidates for each [MASK] of each text."""
    return served.guess(model, model.make_inputs(pairs, kept=served.MASK))

  @classmethod
  def score(cls, model, pairs):
    inputs = model.make_inputs(pairs)
    for index, one in enumerate(inputs):
      if served.MASK in one.tokens:
        raise ValueError("texts[%d]: found a [MASK], expected a text whose "
                         "words are all known; predict guesses them" % index)
    return served.score(model, inputs)


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings, on_log=None):
  """Pre-trains and evaluates.

  Args:
    settings: Settings.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure to its value; None without --do_eval.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  runner.start(settings)
  with cli.user_errors():
    bert_config = modeling.BertConfig.from_json_file(settings.bert_config_file)
    modeling.check_seq_length(
        settings.max_seq_length, bert_config.max_position_embeddings)
  return runner.run(PreTrainingTask(settings, bert_config), on_log)


def main(_):
  """Pre-trains and evaluates."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
