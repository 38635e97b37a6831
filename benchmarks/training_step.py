"""Times a training step with and without computing the padding.

  python benchmarks/training_step.py

The step is that of run_classifier.py (forward, backward, clipping, AdamW, all
dropout on) at BERT-Base's shape, batch 32, length 128. The tokens are random,
the lengths of the sequences real: drawn, with a fixed seed, from the counts in
lengths.json. With SQuAD's lengths and the head of run_squad.py:

  python benchmarks/training_step.py --head=squad --data_sets=SQuAD \
    --max_seq_length=384 --batch_size=8

One process builds the same training twice, padded (--remove_padding=false) and
packed (--remove_padding=true), and takes a padded and a packed step by turns,
both on the same batch, every turn on a new one. So the ratio holds even where
the speed of the machine drifts. The first --warmup turns of each data set are
not counted.

Prints the environment; for each data set and turn the share of real tokens, the
seconds of both steps and their ratio; medians and extremes below; and, last, a
line per data set, whose ratio is that of the medians:

  MRPC: <share>% real tokens, padded <seconds> s, packed <seconds> s, ratio <r>

At the default shape there follows what google-research/bert was recorded to
take on TensorFlow 1.15, for the order of magnitude.
"""

import os
import platform
import sys
import time

from absl import app
from absl import flags
import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

# pylint: disable=wrong-import-position
import environment  # pylint: disable=unused-import  # before TensorFlow
import tensorflow.compat.v1 as tf

import lengths
import modeling
import optimization
import run_classifier
import run_squad

FLAGS = flags.FLAGS

SIZE_PER_HEAD = 64  # as in every published model
VOCAB_SIZE = 30522  # of the uncased models

# (layers, hidden size, batch size, length) that the recorded figure is for.
RECORDED_SHAPE = (12, 768, 32, 128)
RECORDED = (
    "Recorded, not measured in this run: google-research/bert on TensorFlow "
    "1.15, always padded,\nthe same shape, on a two-core AMD EPYC without "
    "AVX-512: 19.9 s (median 22.1 s)")


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_integer("layers", 12, "Transformer layers.", lower_bound=1)
  flags.DEFINE_integer(
      "hidden", 768, "Hidden size, a multiple of %d." % SIZE_PER_HEAD)
  flags.register_validator(
      "hidden", lambda size: size > 0 and size % SIZE_PER_HEAD == 0,
      "must be a multiple of %d, the size of a head" % SIZE_PER_HEAD)
  flags.DEFINE_integer("batch_size", 32, "Sequences per step.", lower_bound=1)
  flags.DEFINE_integer(
      "max_seq_length", 128, "Length that sequences are cut or padded to.",
      lower_bound=3, upper_bound=lengths.LONGEST)
  flags.DEFINE_integer("steps", 3, "Turns to count per data set.",
                       lower_bound=1)
  flags.DEFINE_integer("warmup", 1, "Turns before those, not counted.",
                       lower_bound=0)
  flags.DEFINE_enum("head", "classifier", ["classifier", "squad"],
                    "Whose head is on the encoder.")
  flags.DEFINE_integer("seed", 1, "Seed of batches, weights and dropout.")
  flags.DEFINE_list("data_sets", ["MRPC", "SST-2"], "Data sets to measure.")
  flags.DEFINE_string("lengths_file", lengths.DEFAULT_FILE,
                      "JSON file with the number of sequences of each length.")
  flags.DEFINE_string("data_dir", None, "Folder with MRPC/train.tsv and "
                      "SST-2/train.tsv; if given, lengths are counted there "
                      "and --lengths_file is not read.")
  flags.DEFINE_string("vocab_file", None,
                      "Uncased vocabulary, needed with --data_dir.")


def find_lengths():
  """Returns the lengths that the flags name, as `lengths.read` does."""
  if FLAGS.data_dir and not FLAGS.vocab_file:
    sys.exit("--data_dir needs --vocab_file")
  found = (lengths.count(FLAGS.data_dir, FLAGS.vocab_file) if FLAGS.data_dir
           else lengths.read(FLAGS.lengths_file))
  for name in FLAGS.data_sets:
    if name not in found:
      sys.exit("--data_sets: no lengths of %r, expected any of %s" % (
          name, ", ".join(sorted(found))))
  return found


def make_config():
  """Makes a BertConfig of the published models' proportions."""
  return modeling.BertConfig(
      vocab_size=VOCAB_SIZE,
      hidden_size=FLAGS.hidden,
      num_hidden_layers=FLAGS.layers,
      num_attention_heads=FLAGS.hidden // SIZE_PER_HEAD,
      intermediate_size=4 * FLAGS.hidden,
      max_position_embeddings=lengths.LONGEST,
      type_vocab_size=2)


def classifier_loss(config, remove_padding, **inputs):
  """Returns the loss of run_classifier.py."""
  return run_classifier.create_model(
      config, is_training=True, num_labels=2, use_one_hot_embeddings=False,
      remove_padding=remove_padding, **inputs)[0]


def squad_loss(config, remove_padding, labels, **inputs):
  """Returns the loss of run_squad.py; answers begin and end at the labels."""
  return sum(run_squad.position_loss(logits, labels)
             for logits in run_squad.create_model(
                 config, is_training=True, use_one_hot_embeddings=False,
                 remove_padding=remove_padding, **inputs)) / 2.0


HEADS = {"classifier": classifier_loss, "squad": squad_loss}


def make_training(config, batch_size, seq_length, remove_padding, seed):
  """Builds the training in a graph and a session of its own.

  Args:
    config: BertConfig.
    batch_size: int. B.
    seq_length: int. S.
    remove_padding: bool. See BertModel.
    seed: int. Seed of weights and dropout.

  Returns:
    A function that takes one training step on a batch of `lengths.make_batch`
    and returns its seconds.
  """
  with tf.Graph().as_default():
    tf.set_random_seed(seed)
    # The shapes are known to the graph, as run_classifier.py's are.
    shape = [batch_size, seq_length]
    inputs = {
        "input_ids": tf.placeholder(tf.int32, shape),
        "input_mask": tf.placeholder(tf.int32, shape),
        "segment_ids": tf.placeholder(tf.int32, shape),
        "labels": tf.placeholder(tf.int32, [batch_size]),
    }
    loss = HEADS[FLAGS.head](config, remove_padding, **inputs)
    train_op = optimization.create_optimizer(
        loss, init_lr=2e-5, num_train_steps=1000, num_warmup_steps=100,
        use_tpu=False)
    # Estimator's settings: the graph optimizers run once.
    settings = tf.ConfigProto(allow_soft_placement=True)
    settings.graph_options.rewrite_options.meta_optimizer_iterations = 1
    session = tf.Session(config=settings)
    session.run(tf.global_variables_initializer())

  def train_step(batch):
    feed = {inputs[name]: value for name, value in batch.items()}
    start = time.perf_counter()
    session.run([train_op, loss], feed)
    return time.perf_counter() - start

  return train_step


def measure(name, counts, padded_step, packed_step):
  """Takes the steps of one data set and prints them as a table.

  Args:
    name: str. The data set.
    counts: dict from length to number of sequences.
    padded_step: function, as `make_training` returns it.
    packed_step: the same.

  Returns:
    str. The line that sums them up.
  """
  total = sum(counts.values())
  mean = sum(n * number for n, number in counts.items()) / float(total)
  print("\n%s: %d sequences of %.1f tokens on average" % (name, total, mean))
  row = "%8s %12s %10s %10s %7s"
  print(row % ("turn", "real tokens", "padded, s", "packed, s", "ratio"))

  def print_row(title, share, padded, packed, ratio=""):
    print(row % (title, "%.1f%%" % (100 * share), "%.3f" % padded,
                 "%.3f" % packed, ratio), flush=True)

  random = np.random.RandomState(FLAGS.seed)
  counted = []
  for turn in range(1 - FLAGS.warmup, FLAGS.steps + 1):
    batch = lengths.make_batch(random, counts, FLAGS.batch_size,
                               FLAGS.max_seq_length, VOCAB_SIZE)
    share = batch["input_mask"].mean()
    padded = padded_step(batch)
    packed = packed_step(batch)
    print_row(turn if turn > 0 else "warm-up", share, padded, packed,
              "%.2f" % (padded / packed))
    if turn > 0:
      counted.append([share, padded, packed])

  share, padded, packed = np.median(counted, axis=0)
  print_row("median", share, padded, packed, "%.2f" % (padded / packed))
  print_row("min", *np.min(counted, axis=0))
  print_row("max", *np.max(counted, axis=0))
  return "%s: %.0f%% real tokens, padded %.3g s, packed %.3g s, ratio %.2f" % (
      name, 100 * share, padded, packed, padded / packed)


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


def main(_):
  """Finds the lengths, builds both trainings, measures and sums up."""
  found = find_lengths()
  print_environment()
  padded_step, packed_step = [
      make_training(make_config(), FLAGS.batch_size, FLAGS.max_seq_length,
                    remove_padding, FLAGS.seed)
      for remove_padding in (False, True)]
  summary = [measure(name, found[name], padded_step, packed_step)
             for name in FLAGS.data_sets]
  print("\n" + "\n".join(summary))
  if RECORDED_SHAPE == (FLAGS.layers, FLAGS.hidden, FLAGS.batch_size,
                        FLAGS.max_seq_length):
    print(RECORDED)


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.WARN)
  define_flags()
  app.run(main)
