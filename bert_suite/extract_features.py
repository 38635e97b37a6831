r"""Writes BERT's vectors of the word pieces of texts.

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  python extract_features.py --input_file=sample_text.txt \
    --output_file=/tmp/features.jsonl --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --layers=-1,-2,-3,-4

A line of the input is a text, or a pair, written `text a ||| text b`. Lines are
processed as a stream, in order, in memory that does not grow with their number.
--pooling=mean gives one vector per line instead.
"""

import contextlib
import dataclasses
import os
import threading

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, devices, feature_files, files, input_pipeline,
    model_inputs, modeling, progress, run_settings, script_options, serving,
    training)
from . import tokenization  # noqa: F401  # programs find it here
from .features import (  # noqa: F401  # programs find them here
    POOLINGS, check_choice, name_layers, parse_layers, pool, serving_task,
    stack_layers)
from .script_options import option
from .text_lines import InputExample, check_pairs, stream_examples  # noqa: F401

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("input_file", "output_file", "vocab_file", "bert_config_file",
                  "init_checkpoint")

# A name of the reference that programs use.
_truncate_seq_pair = model_inputs.truncate_pair

# Batches that are read before they are sorted by length. More of them mean less
# padding, and more results that wait for their turn to be written.
_BATCHES_PER_WINDOW = 8
# TPUs rebuild the graph for each window.
_BATCHES_PER_TPU_WINDOW = 512


@dataclasses.dataclass
class Settings(run_settings.ModelSettings, run_settings.DeviceSettings):
  """Settings of this script; each field is a flag."""

  input_file: str = option("path", None, "Text to read, UTF-8, one example per "
                           "line; - for standard input.")
  output_file: str = option(
      "path", None, "File to write; - for standard output.")
  layers: str = option("string", "-1,-2,-3,-4", "Layers to write, with commas: "
                       "0 is the first, -1 the last.")
  max_seq_length: int = option("integer", 128, "Word pieces per example; "
                               "longer ones are cut.", lower_bound=3)
  batch_size: int = option(
      "integer", 32, "Examples of full length to compute at once, at most; of "
      "shorter ones more, with no more word pieces in total.", lower_bound=1)
  use_one_hot_embeddings: bool = option(
      "bool", False, "Look words up by a matrix product, which suits TPUs.")
  output_format: str = option("string", "jsonl", "Kind of file: %s." %
                              ", ".join(sorted(feature_files.WRITERS)))
  pooling: str = option(
      "string", "none", "none writes a vector per word piece; cls, mean and "
      "max write one per line: that of [CLS], or of all word pieces ([CLS] and "
      "[SEP] included). The vectors of several layers are put end to end.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


class InputFeatures:
  """A line as the model reads it."""

  def __init__(self, unique_id, tokens, input_ids, input_mask, input_type_ids):
    """Holds features: the tokens, and three lists of seq_length int."""
    self.unique_id = unique_id
    self.tokens = tokens
    self.input_ids = input_ids
    self.input_mask = input_mask
    self.input_type_ids = input_type_ids

  @property
  def segment_ids(self):
    """The segments under the name that the other scripts use."""
    return self.input_type_ids


def read_examples(input_file):
  """Reads all lines of a file; returns a list of InputExample."""
  return list(stream_examples(input_file))


def convert_examples_to_features(examples, seq_length, tokenizer):
  """Turns examples into a list of InputFeatures; the first five are logged.

  Args:
    examples: list of InputExample.
    seq_length: int. S, at least 3.
    tokenizer: FullTokenizer.
  """
  return list(_stream_features(examples, seq_length, tokenizer))


def _stream_features(examples, seq_length, tokenizer):
  cuts = model_inputs.CutCount("lines")
  for index, example in enumerate(examples):
    tokens_a = tokenizer.tokenize(example.text_a)
    tokens_b = tokenizer.tokenize(example.text_b) if example.text_b else None
    model_input = model_inputs.make_model_input(
        tokens_a, tokens_b, seq_length, tokenizer, cuts)
    if index < 5:
      model_inputs.log_example(str(example.unique_id), model_input, index=index)
    yield InputFeatures(
        example.unique_id, model_input.tokens, model_input.input_ids,
        model_input.input_mask, model_input.segment_ids)
  cuts.report()


def input_fn_builder(features, seq_length):
  """Makes an `input_fn` over a list of InputFeatures.

  Args:
    features: list of InputFeatures.
    seq_length: int. S.

  Returns:
    A function of `params` that returns a `tf.data.Dataset` of batches. If the
    number of features is a multiple of the batch size, that size is static, as
    TPUs require.
  """
  shape = [len(features), seq_length]
  arrays = {"unique_ids": np.array([f.unique_id for f in features], np.int32)}
  for name in ("input_ids", "input_mask", "input_type_ids"):
    arrays[name] = np.reshape(
        [getattr(f, name) for f in features], shape).astype(np.int32)

  def input_fn(params):
    is_multiple = len(features) % params["batch_size"] == 0
    return input_pipeline.make_array_input_fn(
        arrays, is_training=False, drop_remainder=is_multiple)(params)

  return input_fn


def model_fn_builder(bert_config, init_checkpoint, layer_indexes, use_tpu,
                     use_one_hot_embeddings, pooling="none", options=None):
  """Makes the `model_fn` that predicts the layers.

  Args:
    bert_config: BertConfig.
    init_checkpoint: str. Checkpoint of the model.
    layer_indexes: list of int. Layers to predict; 0 is the first, -1 the last.
    use_tpu: bool. Not used: the estimator decides.
    use_one_hot_embeddings: bool. See `modeling.make_options`.
    pooling: str. "none", or see `pool`.
    options: modeling.Options.

  Returns:
    A `model_fn` for `training.make_estimator`. It predicts "unique_id", int32
    [B], and "layer_output_0" and so on, float32 [B, S, W] in the order of
    `layer_indexes`; with pooling, "vector", float32 [B, L * W].
  """
  del use_tpu
  options = modeling.make_options(options, use_one_hot_embeddings)

  def head_fn(features, is_training):
    del is_training
    layers, _ = stack_layers(
        bert_config, layer_indexes, features["input_ids"],
        features["input_mask"], features["input_type_ids"], options)
    predictions = {"unique_id": features["unique_ids"]}
    if pooling == "none":
      predictions.update(name_layers(layers))
    else:
      predictions["vector"] = pool(layers, features["input_mask"], pooling)
    return training.Head(loss=None, predictions=predictions, metrics=None)

  return training.make_model_fn(head_fn, init_checkpoint, settings=None)


def make_session_runner(bert_config, init_checkpoint, layer_indexes, pooling,
                        batch_size, options=serving.OPTIONS):
  """Makes a function that computes windows of features in one session.

  Args:
    bert_config: BertConfig.
    init_checkpoint: str. Checkpoint of the model.
    layer_indexes: list of int. L layers.
    pooling: str. One of POOLINGS.
    batch_size: int. Sequences of full length at a time, at most; see
      `model_inputs.most_tokens`.
    options: modeling.Options; a long file has batches of every shape.

  Returns:
    A function of a list of InputFeatures that returns, in their order, a list
    of float32 [T, L, W], T being the number of tokens, or, with pooling, of
    float32 [L * W].

  Raises:
    ValueError: the checkpoint cannot be read or does not fit.
  """
  def build(inputs):
    ids = [inputs[name] for name in serving.SEQUENCE_INPUTS]
    layers, _ = stack_layers(bert_config, layer_indexes, *ids, options=options)
    if pooling != "none":
      return {"run": {"values": pool(layers, inputs["input_mask"], pooling)}}
    # Of real tokens only: half of what is copied out would be padding.
    real = tf.where(tf.equal(inputs["input_mask"], 1))  # [R, 2]
    return {"run": {"values": tf.gather_nd(layers, real)}}  # [R, L, W]

  served = serving.open_session(
      serving.ServingTask("features", build), init_checkpoint)

  def compute(features):
    results = [None] * len(features)
    seq_length = len(features[0].input_ids) if features else 0
    for batch in model_inputs.batches_of_tokens(
        [len(f.tokens) for f in features],
        model_inputs.most_tokens(batch_size, seq_length)):
      inputs = model_inputs.stack_inputs([features[i] for i in batch])
      values = serving.run(served, "run", inputs)["values"]
      if pooling == "none":
        ends = np.cumsum([len(features[i].tokens) for i in batch])
        values = np.split(values, ends[:-1])
      for i, result in zip(batch, values):
        results[i] = result
    return results

  return compute


def make_estimator_runner(model_fn, seq_length, batch_size, settings=None):
  """Makes a function like that of `make_session_runner`, with an estimator.

  Args:
    model_fn: function, from `model_fn_builder`.
    seq_length: int. S, to which sequences are padded.
    batch_size: int. Sequences at a time; the last batch is filled up.
    settings: Settings. See `training.make_estimator`.
  """
  estimator = training.make_estimator(
      model_fn, None, predict_batch_size=batch_size, settings=settings)

  def compute(features):
    filling = [features[-1]] * (-len(features) % batch_size)
    results = []
    for one, result in zip(features, estimator.predict(
        input_fn_builder(features + filling, seq_length),
        yield_single_examples=True)):
      if "vector" in result:
        results.append(result["vector"])
      else:
        layers = [result["layer_output_%d" % i] for i in range(len(result) - 1)]
        results.append(np.stack(layers, axis=1)[:len(one.tokens)])
    return results

  return compute


def extract(examples, seq_length, tokenizer, compute, window_size):
  """Computes the vectors of a stream of examples.

  Tokenizing, computing and using the results overlap in time. At most a few
  windows are in memory.

  Args:
    examples: iterable of InputExample.
    seq_length: int. S.
    tokenizer: FullTokenizer.
    compute: function, from `make_session_runner` or `make_estimator_runner`.
    window_size: int. Examples that `compute` gets at once.

  Yields:
    feature_files.LineFeatures, in the order of the examples.
  """
  def make_windows():
    window = []
    for one in _stream_features(examples, seq_length, tokenizer):
      window.append(one)
      if len(window) == window_size:
        yield window
        window = []
    if window:
      yield window

  def run_windows():
    for window in input_pipeline.in_background(make_windows(), 1, stop):
      yield [feature_files.LineFeatures(one.unique_id, one.tokens, values)
             for one, values in zip(window, compute(window))]

  stop = threading.Event()
  with contextlib.closing(input_pipeline.in_background(
      run_windows(), 1, stop, waits_for_end=True)) as windows:
    for lines in windows:
      yield from lines


def write_features(lines, path, output_format, layer_indexes, is_pooled=False,
                   width=None):
  """Writes a stream of LineFeatures; returns their number."""
  count = 0
  with feature_files.WRITERS[output_format](
      path, layer_indexes, is_pooled, width) as write:
    with progress.Progress("Extracting", unit="lines") as shown:
      for line in lines:
        write(line)
        shown.advance()
        count += 1
  return count


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings):
  """Reads, computes and writes.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(settings.verbose)
  run_settings.check_tpu(settings.use_tpu)
  devices.check(settings)
  run_settings.log_device(settings)
  with cli.user_errors():
    check_choice("output_format", settings.output_format,
                 sorted(feature_files.WRITERS))
    check_choice("pooling", settings.pooling, POOLINGS)
    bert_config = modeling.BertConfig.from_json_file(settings.bert_config_file)
    layer_indexes = parse_layers(settings.layers, bert_config.num_hidden_layers)
    modeling.check_seq_length(
        settings.max_seq_length, bert_config.max_position_embeddings)
    tokenizer = run_settings.make_tokenizer(settings, bert_config)
    checkpoints.check_readable(settings.init_checkpoint)
    checkpoints.check_record(
        os.path.dirname(settings.init_checkpoint), checkpoints.make_record(
            None, bert_config, vocab=tokenizer.vocab,
            do_lower_case=tokenizer.basic_tokenizer.do_lower_case,
            strip_accents=tokenizer.basic_tokenizer.strip_accents),
        settings.init_checkpoint, "another --init_checkpoint")
    feature_files.check_paths(settings.input_file, settings.output_file)
    read = run_settings.files_read(
        settings, ("input_file", "vocab_file", "bert_config_file"))
    files.check_outputs(read, [("--output_file", settings.output_file)])
    if settings.use_tpu:
      window_size = _BATCHES_PER_TPU_WINDOW * settings.batch_size
      model_fn = model_fn_builder(
          bert_config, settings.init_checkpoint, layer_indexes, True, False,
          settings.pooling, run_settings.model_options(settings))
      devices.wait_for_server(settings.master)
      compute = make_estimator_runner(
          model_fn, settings.max_seq_length, settings.batch_size, settings)
    else:
      window_size = _BATCHES_PER_WINDOW * settings.batch_size
      compute = make_session_runner(
          bert_config, settings.init_checkpoint, layer_indexes,
          settings.pooling, settings.batch_size,
          run_settings.serving_options(settings))
    # After an error, its threads must end here, before Python exits.
    with contextlib.closing(extract(
        check_pairs(
            stream_examples(settings.input_file), bert_config.type_vocab_size),
        settings.max_seq_length, tokenizer, compute, window_size)) as lines:
      count = write_features(
          lines, settings.output_file, settings.output_format, layer_indexes,
          settings.pooling != "none", bert_config.hidden_size)
  tf.logging.info("Wrote the features of %d lines to %s", count,
                  settings.output_file)


def main(_):
  """Reads, computes and writes."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
