r"""Fine-tunes BERT on the classification of sentences or pairs of sentences.

On the sample data, from random weights:

  python run_classifier.py --task_name=MRPC --data_dir=sample_data \
    --do_train=true --do_eval=true --do_predict=true \
    --vocab_file=sample_data/sample_vocab.txt \
    --bert_config_file=sample_data/sample_config.json \
    --max_seq_length=48 --learning_rate=3e-4 --num_train_epochs=15 \
    --output_dir=/tmp/sample_classifier

On MRPC, from a pre-trained model:

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  export GLUE_DIR=/path/to/glue
  python run_classifier.py --task_name=MRPC --data_dir=$GLUE_DIR/MRPC \
    --do_train=true --do_eval=true --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --learning_rate=2e-5 \
    --output_dir=/tmp/mrpc_output

Tasks: those of GLUE, XNLI, and with --task_name=table your own .csv, .tsv or
.jsonl, see --train_file. Any other task is a class, see `DataProcessor`, and a
line in `PROCESSORS`.
"""

import collections
import dataclasses

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import numpy as np
import tensorflow.compat.v1 as tf

from . import (  # noqa: F401  # programs find tokenization here
    checkpoint_fit, cli, distillation, input_pipeline, model_inputs, modeling,
    optimization, run_settings, runner, script_options, serving, several_runs,
    task_names, tokenization, training)
# Programs find the task, the head and the data of this script here.
from .classification import (  # noqa: F401
    ClassificationTask, feature_spec, make_encoder, serving_task)
from .classifier_head import (  # noqa: F401
    classification_head, make_head, make_head_fn)
from .glue import (  # noqa: F401
    ColaProcessor, GlueProcessor, MnliProcessor, MrpcProcessor, XnliProcessor)
from .processors import (  # noqa: F401
    DataProcessor, InputExample, InputFeatures, PaddingInputExample, Stream,
    checked_labels, convert_examples_to_features, convert_single_example,
    feature_dicts, file_based_convert_examples_to_features, read_examples,
    tokenize_example)
from .script_options import option
from .task_names import (  # noqa: F401
    PROCESSORS, find_processor, find_task, make_processor)

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("task_name", "vocab_file", "bert_config_file", "output_dir")

# A name in the reference that programs use.
_truncate_seq_pair = model_inputs.truncate_pair


@dataclasses.dataclass
class Settings(task_names.DataSettings, run_settings.FineTuningSettings,
               distillation.DistillationSettings):
  """Settings of this script; each field is a flag."""

  max_seq_length: int = option(
      "integer", 128, "Word pieces per example; longer ones are cut, shorter "
      "ones padded.", lower_bound=3)
  long_text: str = option(
      "string", "truncate", "What to do with longer texts: truncate cuts off "
      "the end, head_tail the middle, windows reads all, part by part.")
  window_stride: int = option(
      "integer", None, "Word pieces from one window to the next.",
      lower_bound=1, default_text="half of --max_seq_length")
  window_pooling: str = option(
      "string", "mean", "How to pool the logits of windows: mean or max.")
  class_weights: str = option(
      "string", None, "Weights of labels in the loss of training: balanced, so "
      "that rare ones count as much as others, or label:weight with commas.")
  label_smoothing: float = option(
      "float", 0.0, "Share of each label's probability that training spreads "
      "evenly over all labels.", lower_bound=0.0, upper_bound=0.9)
  tune_thresholds: bool = option(
      "bool", False, "With --multi_label, find the threshold of each label "
      "that has the highest F1 on the dev set, and predict with them.")
  plots: bool = option(
      "bool", False, "Draw the evaluation as PNG, with matplotlib: confusion "
      "matrix, reliability, precision and recall; numbers as a scatter plot.")
  glue_submission_dir: str = option(
      "path", None, "Folder for the file that GLUE's server takes, such as "
      "CoLA.tsv; with --do_predict.")
  do_train: bool = option("bool", False, "Train on the task's training set.")
  do_eval: bool = option("bool", False, "Evaluate on the dev set.")
  do_predict: bool = option("bool", False, "Predict the test set.")
  eval_batch_size: int = option(
      "integer", None, "Batch size for evaluation.", flag_default=8,
      lower_bound=1, default_text=run_settings.BATCH_SIZE_DEFAULT)


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def file_based_input_fn_builder(input_file, seq_length, is_training,
                                drop_remainder, num_skipped=0):
  """Makes an `input_fn` that reads a file of a classifier's features.

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
      input_file, feature_spec(seq_length), is_training, drop_remainder,
      num_skipped=num_skipped)


def input_fn_builder(features, seq_length, is_training, drop_remainder):
  """Makes an `input_fn` over a list of InputFeatures, for small data sets."""
  shape = [len(features), seq_length]
  arrays = {
      name: np.reshape([getattr(f, name) for f in features], shape).astype(
          np.int32) for name in serving.SEQUENCE_INPUTS}
  arrays["label_ids"] = np.array([f.label_id for f in features], np.int32)
  return input_pipeline.make_array_input_fn(arrays, is_training, drop_remainder)


def create_model(bert_config, is_training, input_ids, input_mask, segment_ids,
                 labels, num_labels, use_one_hot_embeddings, options=None):
  """Builds the encoder and a softmax over the labels on its pooled output.

  Args:
    bert_config: BertConfig.
    is_training: bool. Applies dropout.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    labels: int32 [B].
    num_labels: int. L.
    use_one_hot_embeddings: bool. See BertModel, also for the next.
    options: modeling.Options.

  Returns:
    loss: float32 scalar, the mean of the next.
    per_example_loss: float32 [B].
    logits: float32 [B, L].
    probabilities: float32 [B, L].
  """
  encode = make_encoder(
      bert_config, modeling.make_options(options, use_one_hot_embeddings))
  return classification_head(
      encode(is_training, input_ids, input_mask, segment_ids), is_training,
      labels, num_labels)


def model_fn_builder(bert_config, num_labels, init_checkpoint, learning_rate,
                     num_train_steps, num_warmup_steps, use_tpu,
                     use_one_hot_embeddings, options=None, **others):
  """`make_model_fn` with the reference's arguments.

  Args:
    bert_config: BertConfig.
    num_labels: int.
    init_checkpoint: str, or None.
    learning_rate: float. See `optimization.Settings`, also for the next three.
    num_train_steps: int.
    num_warmup_steps: int.
    use_tpu: bool.
    use_one_hot_embeddings: bool. See `modeling.make_options`, also for the
      next.
    options: modeling.Options.
    **others: further arguments of `make_model_fn`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  return make_model_fn(
      bert_config, num_labels, init_checkpoint, optimization.Settings(
          learning_rate, num_train_steps, num_warmup_steps, use_tpu),
      modeling.make_options(options, use_one_hot_embeddings), **others)


def make_model_fn(bert_config, num_labels, init_checkpoint, settings,
                  options=None, loss_batch_size=None, init_head="auto"):
  """Makes the `model_fn` of a classifier.

  Args:
    bert_config: BertConfig.
    num_labels: int.
    init_checkpoint: str, or None. See `training.make_model_fn`.
    settings: optimization.Settings.
    options: modeling.Options.
    loss_batch_size: int. See `make_head_fn`; off on TPUs.
    init_head: str. See `checkpoint_fit.find_new_head`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  return training.make_model_fn(
      make_head(make_encoder(bert_config, options), num_labels,
                settings.use_tpu, loss_batch_size),
      init_checkpoint, settings, checkpoint_fit.CLASSIFIER_HEAD, init_head)


def check_predicts(settings):
  """Raises UserError if there are no predictions for GLUE's server."""
  if settings.glue_submission_dir and not settings.do_predict:
    raise cli.UserError("--glue_submission_dir: also pass --do_predict")


@script_options.runs(Settings)
def run_with(settings, processor=None, on_log=None):
  """Fine-tunes from, evaluates or predicts with a checkpoint.

  Args:
    settings: Settings.
    processor: DataProcessor that reads the data, or its class; None for that of
      `task_name`. With one, `data_dir` is optional, and `task_name` is the name
      of its class unless given.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure of the dev set to its value; None without
    --do_eval.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  required = task_names.folder_flags(settings.task_name) + REQUIRED_FLAGS
  if processor is not None:  # which may read its data from anywhere
    processor = make_processor(processor, settings)
    settings = dataclasses.replace(
        settings, data_dir=settings.data_dir or "",
        task_name=settings.task_name or type(processor).__name__)
    required = REQUIRED_FLAGS
  cli.check_given(settings, required)
  check_predicts(settings)
  # If there are several runs, they share one place.
  settings = dataclasses.replace(
      settings, cache_dir=settings.cache_dir or settings.output_dir)
  runner.start(settings)
  with cli.user_errors():
    config = modeling.BertConfig.from_json_file(settings.bert_config_file)
    modeling.check_seq_length(
        settings.max_seq_length, config.max_position_embeddings)
    tokenizer = run_settings.make_tokenizer(settings, config)
  return several_runs.run(lambda settings: ClassificationTask(
      settings, config, tokenizer,
      make_encoder(config, run_settings.model_options(settings)), processor,
      type_vocab_size=config.type_vocab_size), settings, on_log)


class Training(collections.namedtuple(
    "Training", "history results output_dir runs", defaults=[()])):
  """What `train_and_evaluate` returns.

  Attributes:
    history: list of dict, one for each logged step, in order: "step", "loss",
      "learning_rate", "global_norm", "examples_per_second"; that of the
      evaluated step also has the dev set's "eval_accuracy" and so on. Empty if
      all steps were done before.
    results: dict, as in eval_results.txt; None without an evaluation.
    output_dir: str. Folder with the model, which `predictor.Predictor` takes.
    runs: list of several_runs.Run, with num_seeds, search or k_folds. The other
      attributes are then those of the best run, and each dict of the history
      also has the run's name as "run".
  """


def train_and_evaluate(processor=None, **settings):
  """Trains and evaluates from Python, as the script does from flags.

  Args:
    processor: see `run_with`.
    **settings: the script's flags by name, with the same defaults and bounds,
      except that do_train and do_eval are True unless given.

  Returns:
    Training.

  Raises:
    UserError: with the line that the script would print.
  """
  settings = script_options.make(
      Settings, dict({"do_train": True, "do_eval": True}, **settings))
  history = []
  verbosity = tf.logging.get_verbosity()
  # Cached writers of an earlier call keep writing to its folder, even if it was
  # removed.
  tf.summary.FileWriterCache.clear()
  try:
    results = run_with(settings, processor, history.append)
  finally:
    tf.summary.FileWriterCache.clear()
    tf.logging.set_verbosity(verbosity)
  runs, output_dir = (), settings.output_dir
  if several_runs.is_asked(settings):
    runs, best = several_runs.read(output_dir)
    output_dir = best.output_dir
    history = [row for row in history if row["run"] == best.name]
  if results and history and history[-1]["step"] == results["global_step"]:
    history[-1].update({name: value for name, value in results.items()
                        if name.startswith("eval_")})
  return Training(history, results, output_dir, runs)


def main(_):
  """Fine-tunes from, evaluates or predicts with a checkpoint."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
