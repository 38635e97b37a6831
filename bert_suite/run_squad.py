r"""Answers questions with spans of a text: SQuAD 1.1 and 2.0.

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  export SQUAD_DIR=/path/to/squad
  python run_squad.py --do_train=true --train_file=$SQUAD_DIR/train-v1.1.json \
    --do_predict=true --do_eval=true --predict_file=$SQUAD_DIR/dev-v1.1.json \
    --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --output_dir=/tmp/squad_output

For SQuAD 2.0, where a text may not hold the answer, also pass
--version_2_with_negative=true and --null_score_diff_threshold=best.

Source: Devlin et al., arXiv 1810.04805, sections 4.2 and 4.3.
"""

import os
import random

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoint_fit, checkpoints, cli, files, input_pipeline, model_inputs,
    modeling, progress, run_settings, serving, squad_metrics, training)
from . import optimization  # programs find it here
from . import tokenization  # noqa: F401  # programs find it here
from .squad import (
    data as squad_data, reader as squad_files, results as squad_results)
# Programs written against this script find all of its parts here, private names
# and the modules `optimization` and `tokenization` included.
from .squad.answers import (  # noqa: F401
    RawResult, best_positions as _get_best_indexes, get_final_text,
    softmax as _compute_softmax, write_predictions)
from .squad.data import (  # noqa: F401
    FeatureWriter, InputFeatures, SquadExample,
    check_is_max_context as _check_is_max_context, convert_examples_to_features,
    improve_answer_span as _improve_answer_span, read_squad_examples)
from .squad.results import evaluate, read_best_texts  # noqa: F401

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("output_dir",)
# Scoring answers needs no model.
_MODEL_FLAGS = ("vocab_file", "bert_config_file")

# What a run may change when it goes on; run.json keeps it to look up.
_TRAINING_FLAGS = ("learning_rate", "warmup_proportion", "train_batch_size",
                   "num_train_epochs", "max_seq_length", "doc_stride",
                   "max_query_length", "version_2_with_negative",
                   "train_file", "vocab_file", "tf_random_seed")
# Of these, what prediction had better share.
_SHARED_FLAGS = ("max_seq_length", "version_2_with_negative")

# Flags whose values a program that asks an exported model must know, and their
# defaults.
SERVING_SETTINGS = {"doc_stride": 128, "max_query_length": 64,
                    "version_2_with_negative": False}

# The seed of the order in which the reference trains.
_SHUFFLE_SEED = 12345

# Logits at padding, with --remove_padding. Finite, or gradients would be NaN.
_PADDING_LOGIT = -1e30


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  define = cli.define_flag
  define("path", "train_file", None,
         "SQuAD file to train on, such as train-v1.1.json.")
  define("path", "predict_file", None,
         "SQuAD file to answer, such as dev-v1.1.json or test-v1.1.json.")
  define("integer", "max_seq_length", 384,
         "Word pieces per window; longer contexts are read through several.",
         lower_bound=1)
  define("integer", "doc_stride", SERVING_SETTINGS["doc_stride"],
         "Word pieces from one window of a context to the next.",
         lower_bound=1)
  define("integer", "max_query_length", SERVING_SETTINGS["max_query_length"],
         "Word pieces of a question; longer ones are cut.", lower_bound=1)
  define("bool", "do_train", False, "Train on --train_file.")
  define("bool", "do_predict", False, "Answer the questions of --predict_file.")
  define("bool", "do_eval", False,
         "Score predictions.json in --output_dir by the answers of "
         "--predict_file, with --do_predict after writing it.")
  define("integer", "n_best_size", 20,
         "Answers per question in nbest_predictions.json.", lower_bound=1)
  define("integer", "max_answer_length", 30,
         "Word pieces that an answer may have.", lower_bound=1)
  define("bool", "version_2_with_negative",
         SERVING_SETTINGS["version_2_with_negative"],
         "Questions may have no answer, as in SQuAD 2.0.")
  define("string", "null_score_diff_threshold", "0.0",
         "With --version_2_with_negative: answer with nothing where its score "
         "exceeds that of the best answer by more. A number, or \"best\" for "
         "the one with the highest F1 on --predict_file.")
  define("bool", "verbose_logging", False,
         "Log why a predicted answer was not found in the text.")
  run_settings.define_fine_tuning_flags()


def create_model(bert_config, is_training, input_ids, input_mask, segment_ids,
                 use_one_hot_embeddings, options=None):
  """Builds the encoder and a dense layer that scores every position.

  Args:
    bert_config: BertConfig.
    is_training: bool. Applies dropout.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    use_one_hot_embeddings: bool. See BertModel.
    options: modeling.Options. With `remove_padding` the logits at padding are
      -1e30, so that neither a softmax nor an n-best list has it.

  Returns:
    start_logits: float32 [B, S].
    end_logits: float32 [B, S].
  """
  options = modeling.make_options(options, use_one_hot_embeddings)
  model = modeling.BertModel(
      config=bert_config, is_training=is_training, input_ids=input_ids,
      input_mask=input_mask, token_type_ids=segment_ids, options=options)
  sequence_output = model.get_sequence_output()  # [B, S, W]
  batch_size, seq_length, width = modeling.get_shape_list(
      sequence_output, expected_rank=3)
  output_weights = tf.get_variable(
      "cls/squad/output_weights", [2, width],
      initializer=modeling.create_initializer(0.02))
  output_bias = tf.get_variable(
      "cls/squad/output_bias", [2], initializer=tf.zeros_initializer())
  logits = tf.matmul(
      tf.reshape(sequence_output, [-1, width]), output_weights,
      transpose_b=True)
  logits = tf.nn.bias_add(logits, output_bias)  # [B * S, 2]
  logits = tf.reshape(logits, [batch_size, seq_length, 2])
  if options.remove_padding:
    is_real = tf.equal(input_mask, 1)  # [B, S]
    logits = tf.where(
        tf.stack([is_real, is_real], axis=-1), logits,
        _PADDING_LOGIT * tf.ones_like(logits))
  start_logits, end_logits = tf.unstack(logits, axis=-1)  # [B, S] each
  return start_logits, end_logits


def position_loss(logits, positions):
  """Returns the mean negative log-probability of positions, a float32 scalar.

  Args:
    logits: float32 [B, S].
    positions: int32 [B].
  """
  return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(
      labels=positions, logits=logits))


def model_fn_builder(bert_config, init_checkpoint, learning_rate,
                     num_train_steps, num_warmup_steps, use_tpu,
                     use_one_hot_embeddings, options=None, **others):
  """`make_model_fn` with the reference's arguments.

  Args:
    bert_config: BertConfig.
    init_checkpoint: str, or None.
    learning_rate: float. See `optimization.Settings`, as for the three that
      follow.
    num_train_steps: int.
    num_warmup_steps: int.
    use_tpu: bool.
    use_one_hot_embeddings: bool. See `modeling.make_options`, as for the next.
    options: modeling.Options.
    **others: further arguments of `make_model_fn`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  return make_model_fn(
      bert_config, init_checkpoint,
      optimization.Settings(
          learning_rate, num_train_steps, num_warmup_steps, use_tpu),
      modeling.make_options(options, use_one_hot_embeddings), **others)


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
    start_logits, end_logits = create_model(
        bert_config, is_training, features["input_ids"],
        features["input_mask"], features["segment_ids"],
        use_one_hot_embeddings=False, options=options)
    loss = None
    if "start_positions" in features:
      loss = (position_loss(start_logits, features["start_positions"]) +
              position_loss(end_logits, features["end_positions"])) / 2.0
    return training.Head(
        loss=loss,
        predictions={
            # A tensor cannot be input and output of an exported model.
            "unique_ids": tf.identity(features["unique_ids"]),
            "start_logits": start_logits,
            "end_logits": end_logits},
        metrics=None)

  return training.make_model_fn(
      head_fn, init_checkpoint, settings, checkpoint_fit.SQUAD_HEAD, init_head)


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
    is_training: bool. See `input_pipeline.make_input_fn`, as for the next two.
    drop_remainder: bool.
    num_skipped: int.

  Returns:
    A function of `params` that returns a `tf.data.Dataset` of batches.
  """
  sequence = tf.FixedLenFeature([seq_length], tf.int64)
  name_to_features = {
      "unique_ids": tf.FixedLenFeature([], tf.int64),
      "input_ids": sequence,
      "input_mask": sequence,
      "segment_ids": sequence,
  }
  if is_training:
    name_to_features["start_positions"] = tf.FixedLenFeature([], tf.int64)
    name_to_features["end_positions"] = tf.FixedLenFeature([], tf.int64)
  return input_pipeline.make_input_fn(
      input_file, name_to_features, is_training, drop_remainder,
      num_skipped=num_skipped)


def validate_flags_or_throw(bert_config):
  """Raises ValueError if flags do not go together, or with the model.

  What goes together but hardly as it was meant is warned of.

  Args:
    bert_config: BertConfig; None where there is no model to run.
  """
  if not (FLAGS.do_train or FLAGS.do_predict or FLAGS.do_eval):
    raise ValueError(
        "nothing to do; give --do_train, --do_predict or --do_eval")
  if FLAGS.export_dir and not (FLAGS.do_train or FLAGS.do_predict):
    raise ValueError("--export_dir: give also --do_train or --do_predict; "
                     "export_model.py exports what was trained before")
  for step, file_flag in (("do_train", "train_file"),
                          ("do_predict", "predict_file"),
                          ("do_eval", "predict_file")):
    if FLAGS[step].value and not FLAGS[file_flag].value:
      raise ValueError("--%s needs --%s" % (step, file_flag))
  if bert_config is not None:
    modeling.check_seq_length(
        FLAGS.max_seq_length, bert_config.max_position_embeddings)
    squad_data.check_lengths(
        FLAGS.max_seq_length, FLAGS.doc_stride, FLAGS.max_query_length)
    squad_data.warn_of_long_stride(
        FLAGS.max_seq_length, FLAGS.doc_stride, FLAGS.max_query_length)
  threshold = squad_metrics.parse_threshold(FLAGS.null_score_diff_threshold)
  if not FLAGS.version_2_with_negative:
    if threshold == squad_metrics.BEST:
      raise ValueError("--null_score_diff_threshold=best needs "
                       "--version_2_with_negative")
    if cli.given(FLAGS, "null_score_diff_threshold") is not None:
      tf.logging.warning("--null_score_diff_threshold has no effect without "
                         "--version_2_with_negative")


def check_files(flag_values):
  """Raises ValueError if a result would replace a file that is read."""
  training.check_results(
      flag_values.output_dir,
      run_settings.files_read(flag_values, (
          "train_file", "predict_file", "vocab_file", "bert_config_file")),
      [os.path.join(flag_values.output_dir, name)
       for name in ("train.tf_record", "eval.tf_record")] +
      squad_results.result_paths(flag_values.output_dir) +
      [squad_results.scores_path(flag_values.output_dir)])


def needs_model(flag_values):
  """Returns whether the flags ask for more than scoring answers.

  Raises:
    ValueError: they do, and do not name a model.
  """
  if not (flag_values.do_train or flag_values.do_predict):
    if flag_values.export_dir:
      raise ValueError("--export_dir: give also --do_train or --do_predict; "
                       "export_model.py exports what was trained before")
    return False
  missing = [name for name in _MODEL_FLAGS if flag_values[name].value is None]
  if missing:
    raise ValueError("give also --" + ", --".join(missing))
  return True


def read_train_examples(flag_values):
  """Reads --train_file, in the order of training.

  Returns:
    list of SquadExample.

  Raises:
    ValueError: there is none to learn from, see also `read_squad_examples`.
  """
  examples = squad_data.read_squad_examples(
      flag_values.train_file, is_training=True,
      version_2_with_negative=flag_values.version_2_with_negative)
  if not examples:
    raise ValueError(
        "%s: found no question that can be trained on: of none the context has "
        "the answer at answer_start, which counts characters from 0" %
        flag_values.train_file)
  random.Random(_SHUFFLE_SEED).shuffle(examples)
  return examples


def read_answered_dataset(flag_values):
  """Reads the questions of --predict_file for scoring.

  Returns:
    squad_files.Questions.

  Raises:
    ValueError: it has no answers to score by, or in SQuAD 1.1 a question
      without.
  """
  dataset, _ = squad_files.read_dataset(flag_values.predict_file)
  if not any(question.item.get("answers") or question.item.get("is_impossible")
             for question in squad_files.iterate_questions(
                 dataset, flag_values.predict_file)):
    raise ValueError(
        "%s: has no answers, which --do_eval and "
        "--null_score_diff_threshold=best score by; leave them out" %
        flag_values.predict_file)
  questions = squad_files.read_questions(dataset, flag_values.predict_file)
  if not (flag_values.version_2_with_negative or
          squad_metrics.is_version_2(questions)):
    squad_metrics.check_answers(questions, flag_values.predict_file)
  return questions


def write_features(examples, path, is_training, tokenizer, flag_values):
  """Writes the windows of examples as a TFRecord file.

  Args:
    examples: list of SquadExample.
    path: str. The file.
    is_training: bool. With the answers.
    tokenizer: FullTokenizer.
    flag_values: the parsed flags of `define_flags`.

  Returns:
    list of InputFeatures, empty when training, without what the file holds;
    and their number.
  """
  features = []

  def keep(feature):
    writer.process_feature(feature)
    if not is_training:
      # Most of a feature's memory, of no use to `write_predictions`.
      feature.input_ids = feature.input_mask = feature.segment_ids = None
      features.append(feature)

  tf.logging.info("Writing the windows of %d questions to %s", len(examples),
                  path)
  with squad_data.FeatureWriter(path, is_training) as writer:
    squad_data.convert_examples_to_features(
        examples, tokenizer, flag_values.max_seq_length, flag_values.doc_stride,
        flag_values.max_query_length, is_training, output_fn=keep)
  return features, writer.num_features


def predict(estimator, input_file, num_windows, seq_length, checkpoint=None):
  """Computes the logits of windows.

  Args:
    estimator: the estimator.
    input_file: str. TFRecord file.
    num_windows: int. Records in the file.
    seq_length: int. S.
    checkpoint: str. None for the latest.

  Returns:
    list of RawResult with float32 [S], rows of two arrays.
  """
  tf.logging.info("***** Running predictions *****")
  logits = np.empty([2, num_windows, seq_length], np.float32)
  unique_ids = []
  if num_windows:
    results = estimator.predict(
        input_fn=input_fn_builder(
            input_file, seq_length, is_training=False, drop_remainder=False),
        yield_single_examples=False,
        checkpoint_path=checkpoint and files.literal(checkpoint))
    with progress.Progress("Predicting", num_windows, "windows") as shown:
      for batch in results:
        first, count = len(unique_ids), len(batch["unique_ids"])
        logits[0, first:first + count] = batch["start_logits"]
        logits[1, first:first + count] = batch["end_logits"]
        unique_ids.extend(batch["unique_ids"].tolist())
        shown.advance(count)
  if len(unique_ids) != num_windows:
    raise RuntimeError("%s: predicted %d of %d windows" % (
        input_file, len(unique_ids), num_windows))
  return [RawResult(*row) for row in zip(unique_ids, logits[0], logits[1])]


def main(_):
  """Trains, answers the questions of a file, scores them and exports."""
  progress.start_logging(FLAGS.verbose)
  run_settings.check_tpu(FLAGS.use_tpu)
  run_settings.check_xla(FLAGS.use_xla, FLAGS.use_tpu)
  # Everything the user gave is read first: a mistake shows before training.
  train_examples, predict_examples, dataset = [], [], None
  bert_config = tokenizer = None
  with cli.user_errors():
    if needs_model(FLAGS):
      run_settings.log_device(FLAGS.use_tpu)
      bert_config = modeling.BertConfig.from_json_file(FLAGS.bert_config_file)
    validate_flags_or_throw(bert_config)
    check_files(FLAGS)
    if bert_config is not None:
      model_inputs.check_pair(
          "a question with its context", bert_config.type_vocab_size)
      tokenizer = run_settings.make_tokenizer(FLAGS, bert_config)
    if FLAGS.do_train:
      train_examples = read_train_examples(FLAGS)
    if FLAGS.do_predict:
      predict_examples = squad_data.read_squad_examples(
          FLAGS.predict_file, is_training=False,
          version_2_with_negative=FLAGS.version_2_with_negative)
    if FLAGS.do_eval or (FLAGS.do_predict and FLAGS.null_score_diff_threshold ==
                         squad_metrics.BEST):
      dataset = read_answered_dataset(FLAGS)
  with training.sole_training(FLAGS):
    threshold = None
    if bert_config is not None:
      threshold = train_and_predict(
          FLAGS, bert_config, tokenizer, train_examples, predict_examples,
          dataset)
    if FLAGS.do_eval:
      with cli.user_errors():
        evaluate(dataset, FLAGS.predict_file, FLAGS.output_dir,
                 FLAGS.version_2_with_negative,
                 None if FLAGS.do_predict else
                 cli.given(FLAGS, "null_score_diff_threshold"),
                 threshold)
    if FLAGS.export_dir:
      export(FLAGS, bert_config, tokenizer)


def train_and_predict(flag_values, bert_config, tokenizer, train_examples,
                      predict_examples, dataset):
  """Trains and predicts, as the flags say.

  Args:
    flag_values: the parsed flags of `define_flags`.
    bert_config: BertConfig.
    tokenizer: FullTokenizer.
    train_examples: list of SquadExample.
    predict_examples: list of SquadExample.
    dataset: squad_files.Questions, which the threshold "best" is found by; or
      None.

  Returns:
    float: the null_score_diff_threshold of the prediction; None without one.
  """
  output_dir = flag_values.output_dir
  do_lower_case = tokenizer.basic_tokenizer.do_lower_case
  strip_accents = tokenizer.basic_tokenizer.strip_accents
  with cli.user_errors():
    num_train_steps = run_settings.count_train_steps(
        len(train_examples), flag_values)
    record = checkpoints.make_record(
        "squad", bert_config, vocab=tokenizer.vocab,
        do_lower_case=do_lower_case, strip_accents=strip_accents)
    start = training.find_start(
        flag_values, record, num_train_steps, checkpoint_fit.SQUAD_HEAD,
        _SHARED_FLAGS, _TRAINING_FLAGS)
  estimator = training.make_estimator(
      make_model_fn(
          bert_config, flag_values.init_checkpoint,
          run_settings.optimizer_settings(flag_values, num_train_steps),
          run_settings.model_options(flag_values), flag_values.init_head),
      output_dir, train_batch_size=flag_values.train_batch_size,
      predict_batch_size=run_settings.batch_size_of(
          flag_values, "predict_batch_size"),
      start_step=start.step, **run_settings.hardware_values(flag_values))

  if flag_values.do_train:
    train_file = os.path.join(output_dir, "train.tf_record")
    if start.step < num_train_steps:
      _, num_windows = write_features(
          train_examples, train_file, True, tokenizer, flag_values)
      if not num_windows:
        raise cli.UserError("%s: has only contexts without words" %
                            flag_values.train_file)
    training.train(
        estimator,
        input_fn_builder(train_file, flag_values.max_seq_length,
                         is_training=True, drop_remainder=True,
                         num_skipped=start.step * flag_values.train_batch_size),
        num_train_steps, start.step,
        on_start=lambda: checkpoints.write_record(
            output_dir, record, start.step, num_train_steps=num_train_steps,
            **cli.values_of(flag_values, _TRAINING_FLAGS)))

  threshold = None
  if flag_values.do_predict:
    predict_file = os.path.join(output_dir, "eval.tf_record")
    features, num_windows = write_features(
        predict_examples, predict_file, False, tokenizer, flag_values)
    results = predict(
        estimator, predict_file, num_windows, flag_values.max_seq_length,
        training.checkpoint_to_use(output_dir, start, num_train_steps))
    with cli.user_errors():
      threshold = squad_results.write_predictions(
          output_dir, predict_examples, features, results,
          flag_values.n_best_size, flag_values.max_answer_length, do_lower_case,
          version_2_with_negative=flag_values.version_2_with_negative,
          null_score_diff_threshold=flag_values.null_score_diff_threshold,
          verbose_logging=flag_values.verbose_logging, dataset=dataset,
          strip_accents=strip_accents)
  return threshold


def export(flag_values, bert_config, tokenizer):
  """Exports what was trained, or else what was predicted with.

  Args:
    flag_values: the parsed flags of `define_flags`.
    bert_config: BertConfig.
    tokenizer: FullTokenizer.

  Raises:
    UserError: it cannot be exported.
  """
  with cli.user_errors():
    checkpoint = (checkpoints.find_checkpoint(flag_values.output_dir) or
                  flag_values.init_checkpoint)
  training.export(
      serving_task(bert_config, run_settings.serving_options(flag_values),
                   **cli.values_of(flag_values, SERVING_SETTINGS)),
      checkpoint, bert_config, tokenizer.basic_tokenizer, flag_values)


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)
