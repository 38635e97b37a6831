"""Training steps to time: flags, model shape, batches, the step itself.

What training_step.py and the benchmarks beside it share. The steps are those of
the scripts (forward, backward, clipping, AdamW, all dropout on), built by their
own `model_fn`: of run_classifier.py, with --head=squad of run_squad.py, with
--head=pretraining of run_pretraining.py, next sentences included.
"""

import functools
import os
import platform
import sys
import time
from unittest import mock

from absl import flags
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import tensorflow.compat.v1 as tf

from bert_suite import (
    placement, serving, tf_estimator, training as trainings, xla)
import lengths
import modeling
import optimization
import random_models
import run_classifier
import run_pretraining
import run_squad

FLAGS = flags.FLAGS

VOCAB_SIZE = 30522  # of the uncased models
MASKED_SHARE = 0.15  # of the word pieces, as create_pretraining_data.py does it
FULL_LENGTH = "full length"  # what --full_length calls its data set


def define_flags():
  """Defines the flags of the shape and of the batches."""
  random_models.define_flags()
  flags.DEFINE_integer("batch_size", 32, "Sequences per step.", lower_bound=1)
  flags.DEFINE_integer(
      "max_seq_length", 128, "Length that sequences are cut or padded to.",
      lower_bound=3, upper_bound=lengths.LONGEST)
  flags.DEFINE_integer("steps", 3, "Turns to count per data set.",
                       lower_bound=1)
  flags.DEFINE_integer("warmup", 1, "Turns before those, not counted.",
                       lower_bound=0)
  flags.DEFINE_enum("head", "classifier", sorted(HEADS),
                    "Whose head is on the encoder.")
  flags.DEFINE_integer("max_predictions", 10, "Masked word pieces per "
                       "sequence, with --head=pretraining.", lower_bound=1)
  flags.DEFINE_integer("seed", 1, "Seed of batches, weights and dropout.")
  flags.DEFINE_list("data_sets", ["MRPC", "SST-2"], "Data sets to measure.")
  flags.DEFINE_bool("full_length", False, "Instead of --data_sets: sequences "
                    "that are all --max_seq_length long, no padding at all.")
  flags.DEFINE_bool("even_lengths", False, "Lengths at even quantiles of a "
                    "data set, not drawn from it.")
  flags.DEFINE_string("lengths_file", lengths.DEFAULT_FILE,
                      "JSON file with the number of sequences of each length.")
  flags.DEFINE_string("data_dir", None, "Folder with MRPC/train.tsv and "
                      "SST-2/train.tsv; if given, lengths are counted there "
                      "and --lengths_file is not read.")
  flags.DEFINE_string("vocab_file", None,
                      "Uncased vocabulary, needed with --data_dir.")


def find_lengths():
  """Finds the lengths that the flags name.

  Returns:
    dict from data set, in the order of the flags, to a dict from length to
    number of sequences.
  """
  if FLAGS.full_length:
    return {FULL_LENGTH: {FLAGS.max_seq_length: 1}}
  if FLAGS.data_dir and not FLAGS.vocab_file:
    sys.exit("--data_dir needs --vocab_file")
  found = (lengths.count(FLAGS.data_dir, FLAGS.vocab_file) if FLAGS.data_dir
           else lengths.read(FLAGS.lengths_file))
  for name in FLAGS.data_sets:
    if name not in found:
      sys.exit("--data_sets: no lengths of %r, expected any of %s" % (
          name, ", ".join(sorted(found))))
  return {name: found[name] for name in FLAGS.data_sets}


def make_config():
  """Makes the BertConfig that the flags name."""
  return random_models.make_config(FLAGS.layers, FLAGS.hidden, VOCAB_SIZE)


def mask_tokens(random, batch, num_predictions):
  """Chooses the word pieces that pre-training predicts.

  Args:
    random: np.random.RandomState.
    batch: dict of `lengths.make_batch`.
    num_predictions: int. P, the most of a sequence.

  Returns:
    dict of arrays [B, P]: "masked_lm_positions" and "masked_lm_ids", int32, and
    "masked_lm_weights", float32. Zeros where a sequence has fewer.
  """
  shape = [len(batch["input_ids"]), num_predictions]
  positions = np.zeros(shape, np.int32)
  weights = np.zeros(shape, np.float32)
  for row, length in enumerate(batch["input_mask"].sum(axis=1)):
    number = min(num_predictions, max(1, int(round(length * MASKED_SHARE))))
    positions[row, :number] = np.sort(
        random.choice(length, number, replace=False))
    weights[row, :number] = 1.0
  ids = np.take_along_axis(batch["input_ids"], positions, axis=1)
  return {"masked_lm_positions": positions,
          "masked_lm_ids": (ids * weights).astype(np.int32),
          "masked_lm_weights": weights}


def make_batch(random, counts):
  """Makes a batch as the flags have it; see `lengths.make_batch`."""
  batch = lengths.make_batch(random, counts, FLAGS.batch_size,
                             FLAGS.max_seq_length, VOCAB_SIZE,
                             FLAGS.even_lengths)
  if FLAGS.head == "pretraining":
    batch.update(mask_tokens(random, batch, FLAGS.max_predictions))
  return batch


def turns(counts):
  """Makes the batches of a data set, the --warmup ones first.

  Args:
    counts: dict from length to number of sequences.

  Yields:
    turn: int. From 1 on; 0 and less in the turns that do not count.
    title: int or str. The turn as a table has it.
    batch: dict of `make_batch`.
  """
  random = np.random.RandomState(FLAGS.seed)
  for turn in range(1 - FLAGS.warmup, FLAGS.steps + 1):
    yield turn, turn if turn > 0 else "warm-up", make_batch(random, counts)


# Each takes the BertConfig, the arguments that all `make_model_fn` share, and
# the inputs; it returns the `model_fn` and its features.


def _classifier(config, training, inputs):
  features = {name: inputs[name] for name in serving.SEQUENCE_INPUTS}
  features["label_ids"] = inputs["labels"]
  return run_classifier.make_model_fn(
      config, num_labels=2, **training), features


def _squad(config, training, inputs):
  features = {name: inputs[name] for name in serving.SEQUENCE_INPUTS}
  # Answers begin and end at the labels.
  features["start_positions"] = features["end_positions"] = inputs["labels"]
  features["unique_ids"] = inputs["labels"]
  return run_squad.make_model_fn(config, **training), features


def _pretraining(config, training, inputs):
  features = dict(inputs)
  features["next_sentence_labels"] = features.pop("labels")
  return run_pretraining.make_model_fn(config, **training), features


HEADS = {"classifier": _classifier, "squad": _squad,
         "pretraining": _pretraining}


def make_inputs():
  """Makes the placeholders of a batch, a dict from name to Tensor."""
  # The shapes are known to the graph, as those of the scripts are.
  batch, seq_length = FLAGS.batch_size, FLAGS.max_seq_length
  inputs = {name: tf.placeholder(tf.int32, [batch, seq_length], name)
            for name in serving.SEQUENCE_INPUTS}
  inputs["labels"] = tf.placeholder(tf.int32, [batch], "labels")
  if FLAGS.head == "pretraining":
    shape = [batch, FLAGS.max_predictions]
    for name, dtype in (("masked_lm_positions", tf.int32),
                        ("masked_lm_ids", tf.int32),
                        ("masked_lm_weights", tf.float32)):
      inputs[name] = tf.placeholder(dtype, shape, name)
  return inputs


def make_training(config, remove_padding, use_xla=False,
                  compute_dtype="float32", recompute_grad=False, placed=None,
                  threads=0, gradient_accumulation_steps=1):
  """Builds the training that the flags name in a graph and session of its own.

  Args:
    config: BertConfig.
    remove_padding: bool. See `modeling.Options`.
    use_xla: bool. As --use_xla of the scripts.
    compute_dtype: str. As --compute_dtype of the scripts.
    recompute_grad: bool. As --recompute_grad of the scripts.
    placed: placement.Placement, the devices that share out the batch; None for
      one.
    threads: int. Threads of an operation; 0 for as many as there are cores.
    gradient_accumulation_steps: int. Parts that a batch is computed in.

  Returns:
    A function that takes one training step on a batch of `make_batch` and
    returns its seconds. If given a tf.RunMetadata too, it traces the step. Its
    attribute `sizes` is the set of those that programs were compiled for,
    `variables_mb` the size of the variables, the optimizer's included.
  """
  with tf.Graph().as_default():
    tf.set_random_seed(FLAGS.seed)
    tf.train.get_or_create_global_step()
    inputs = make_inputs()
    training = dict(
        init_checkpoint=None,
        settings=optimization.Settings(
            learning_rate=2e-5, num_train_steps=1000, num_warmup_steps=100,
            compute_dtype=compute_dtype, compiled=use_xla,
            gradient_accumulation_steps=gradient_accumulation_steps),
        options=modeling.Options(
            remove_padding=remove_padding, compute_dtype=compute_dtype,
            compiled=use_xla, recompute_grad=recompute_grad))
    with mock.patch.object(trainings, "make_model_fn", functools.partial(
        trainings.make_model_fn, placed=placed)):
      model_fn, features = HEADS[FLAGS.head](config, training, inputs)
    spec = model_fn(features, None, tf_estimator.ModeKeys.TRAIN,
                    {"batch_size": FLAGS.batch_size})
    session_config = placement.session_config(
        placed or placement.Placement(("",)))
    session_config.intra_op_parallelism_threads = threads
    session = tf.Session(config=session_config)
    session.run([tf.global_variables_initializer(),
                 tf.local_variables_initializer()])
    compiled_sizes = tf.get_collection(xla.SIZES)
    variables_mb = sum(variable.shape.num_elements() * variable.dtype.size
                       for variable in tf.global_variables()) / 2.0 ** 20

  def train_step(batch, metadata=None):
    feed = {inputs[name]: value for name, value in batch.items()}
    options = None
    if metadata is not None:
      options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
    start = time.perf_counter()
    _, _, sizes = session.run(
        [spec.train_op, spec.loss, compiled_sizes], feed, options, metadata)
    seconds = time.perf_counter() - start
    train_step.sizes |= {tuple(size) for size in sizes}
    return seconds

  train_step.sizes = set()
  train_step.variables_mb = variables_mb
  return train_step


def print_environment():
  """Prints what the seconds depend on."""
  print("TensorFlow %s, Python %s, %d cores, GPU: %s" % (
      tf.__version__, platform.python_version(), os.cpu_count(),
      tf.test.gpu_device_name() or "none"))
  print("oneDNN: TF_ENABLE_ONEDNN_OPTS is %s" % os.environ.get(
      "TF_ENABLE_ONEDNN_OPTS", "not set, TensorFlow's default applies"))
  if hasattr(os, "getloadavg"):  # not on Windows
    print("Load average at the start: %.2f" % os.getloadavg()[0])
  print("%d layers, hidden size %d, batch %d, length %d, head of %s" % (
      FLAGS.layers, FLAGS.hidden, FLAGS.batch_size, FLAGS.max_seq_length,
      FLAGS.head))
