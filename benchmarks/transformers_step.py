"""Times a training step beside PyTorch and Hugging Face transformers.

  python benchmarks/transformers_step.py \
    --torch_python=/tmp/torch_env/bin/python

Both train the same model with random weights on the same batches: the lengths
and the token ids are equal, dropout is on, gradients are clipped to a norm of
1, AdamW updates the weights. torch is in an environment of its own, see
transformers_peer.py, and takes its steps there while this process waits, and
the other way round, with all cores each. A turn is three steps on one batch,
whose order goes round from turn to turn:

  HF padded   transformers, the batch padded to --max_seq_length
  HF longest  transformers, the batch cut to the longest of its sequences
  ours        --remove_padding=true, as it is by default

The first --warmup turns of a data set are not counted. Other heads and shapes:

  --head=squad --data_sets=SQuAD --max_seq_length=384 --batch_size=8
  --full_length                       no padding anywhere
  --layers=4 --hidden=512             BERT-Small; BERT-Tiny: 2 and 128
  --head=pretraining --full_length    masked words and next sentences; with
    --batch_size=64 --max_seq_length=64 and BERT-Tiny what is recorded

Prints the environment of both; for each data set a table of the turns with the
ratios of HF's steps to ours, and the speed of tf.matmul, the best of several;
what waiting cost; and, last, for each data set, where seconds and ratios are
medians over the turns, and GFLOP those of the real tokens, see arithmetic.py:

  MRPC: ours <seconds> s (<n> steps/s), HF padded <seconds> s, ratio <r> (<min>
    to <max>), HF longest <seconds> s, ratio <r> (<min> to <max>)
  MRPC: <n> GFLOP in <seconds> s, <e>% of the fastest matrix product, <n>
    GFLOP/s
"""

from absl import app, flags
import numpy as np

import steps  # isort: skip  # before TensorFlow
import tensorflow.compat.v1 as tf

import arithmetic
from bert_suite import serving
import transformers_peer

FLAGS = flags.FLAGS

SIDES = ("HF padded", "HF longest", "ours")
ROW = "%8s %12s %13s %13s %10s %8s %8s"

# What is recorded for (head, layers, hidden size, batch size, length) and data
# set. "bert" is google-research/bert on TensorFlow 1.15, which always pads.
RECORDED = {
    ("classifier", 12, 768, 32, 128): {
        "MRPC": "bert 19.9 s (median 22.1), HF padded 16.3 s, HF longest 10 s",
        "SST-2": "bert 19.9 s (median 22.1), HF padded 17.5 s, HF longest "
                 "5.2 s",
        steps.FULL_LENGTH: "bert 19.9 s (median 22.1)"},
    ("pretraining", 2, 128, 64, 64): {
        steps.FULL_LENGTH: "bert 2 steps/s"},
}


def define_flags():
  """Defines the flags of this script."""
  steps.define_flags()
  transformers_peer.define_flags()


def cut(batch):
  """Cuts a batch to the longest of its sequences; returns a new one."""
  longest = batch["input_mask"].sum(axis=1).max()
  return {name: value[:, :longest] if name in serving.SEQUENCE_INPUTS else value
          for name, value in batch.items()}


def take_turn(number, batch, train_step, peer):
  """Takes the three steps of a turn.

  Args:
    number: int. Says which goes first.
    batch: dict of `steps.make_batch`.
    train_step: function of `steps.make_training`.
    peer: transformers_peer.Peer.

  Returns:
    list of seconds, in the order of SIDES.
  """
  def ask(some_batch):
    return peer.ask(**{name: value.tolist()
                       for name, value in some_batch.items()})["seconds"]

  ways = [lambda: ask(batch), lambda: ask(cut(batch)),
          lambda: train_step(batch)]
  seconds = [None] * len(SIDES)
  for place in range(len(SIDES)):
    side = (number + place) % len(SIDES)
    seconds[side] = ways[side]()
  return seconds


def print_row(title, share, seconds, ratios=("", "")):
  """Prints a row of the table."""
  print(ROW % ((title, "%.1f%%" % (100 * share)) +
               tuple("%.4g" % each for each in seconds) + tuple(ratios)),
        flush=True)


def measure(name, counts, config, train_step, peer):
  """Takes the turns of one data set and prints them as a table.

  Args:
    name: str. The data set.
    counts: dict from length to number of sequences.
    config: BertConfig.
    train_step: function of `steps.make_training`.
    peer: transformers_peer.Peer.

  Returns:
    Lines that sum it up, str, and the seconds of all steps, counted or not,
    float [turns, SIDES].
  """
  print("\n%s\n" % name + ROW % (
      ("turn", "real tokens") + tuple(side + ", s" for side in SIDES) +
      ("padded/", "longest/")))
  taken, shares, operations, tokens = [], [], [], []
  for turn, title, batch in steps.turns(counts):
    seconds = take_turn(turn, batch, train_step, peer)
    padded, longest, ours = seconds
    print_row(title, batch["input_mask"].mean(), seconds,
              ["%.2f" % (padded / ours), "%.2f" % (longest / ours)])
    taken.append(seconds)
    shares.append(batch["input_mask"].mean())
    tokens.append(batch["input_mask"].sum())
    operations.append(arithmetic.count_step(config, FLAGS.head, batch))
  taken = np.array(taken)
  counted = taken[FLAGS.warmup:]
  share = np.median(shares[FLAGS.warmup:])
  ratios = counted[:, :2] / counted[:, 2:]
  print_row("median", share, np.median(counted, axis=0),
            ["%.2f" % ratio for ratio in np.median(ratios, axis=0)])
  fastest = print_products(config, int(np.median(tokens[FLAGS.warmup:])))
  return "%s\n%s" % (
      sum_up(name, counted, ratios),
      sum_up_arithmetic(name, np.array(operations[FLAGS.warmup:]),
                        counted[:, 2], fastest)), taken


def print_products(config, num_tokens):
  """Measures and prints matrix products; returns the best, operations/s."""
  shapes = arithmetic.product_shapes(config, num_tokens)
  speeds = arithmetic.measure_products(shapes)
  print("tf.matmul, GFLOP/s: " + ", ".join(
      "[%d,%d]x[%d,%d] %.0f" % (rows, inner, inner, columns, speed / 1e9)
      for (rows, inner, columns), speed in zip(shapes, speeds)))
  return max(speeds)


def sum_up(name, counted, ratios):
  """Returns the line of the ratios."""
  padded, longest, ours = np.median(counted, axis=0)
  told = ["%s %.3g s, ratio %.2f (%.2f to %.2f)" % (
      side, seconds, np.median(column), column.min(), column.max())
          for side, seconds, column in zip(SIDES, (padded, longest), ratios.T)]
  return "%s: ours %.3g s (%.3g steps/s), %s" % (
      name, ours, 1 / ours, ", ".join(told))


def sum_up_arithmetic(name, operations, seconds, fastest):
  """Returns the line of the arithmetic efficiency."""
  return ("%s: %.4g GFLOP in %.3g s, %.0f%% of the fastest matrix product, "
          "%.0f GFLOP/s" % (
              name, np.median(operations) / 1e9, np.median(seconds),
              100 * np.median(operations / seconds) / fastest, fastest / 1e9))


def print_recorded(names):
  """Prints what is recorded for data sets at this shape, if anything is."""
  recorded = RECORDED.get((FLAGS.head, FLAGS.layers, FLAGS.hidden,
                           FLAGS.batch_size, FLAGS.max_seq_length), {})
  for name in names:
    if name in recorded:
      print("%s, recorded on a two-core AMD EPYC without AVX-512, not measured "
            "in this run: %s" % (name, recorded[name]))


def main(_):
  """Starts the peer, builds the training, measures and sums up."""
  found = steps.find_lengths()
  steps.print_environment()
  config = steps.make_config()
  peer = transformers_peer.Peer(
      task="train", head=FLAGS.head, config=config.to_dict(), seed=FLAGS.seed)
  print("Peer: " + peer.description, flush=True)
  train_step = steps.make_training(config, remove_padding=True)
  results = [measure(name, counts, config, train_step, peer)
             for name, counts in found.items()]
  peer.close()
  padded, longest, ours = sum(taken.sum(axis=0) for _, taken in results)
  print()
  peer.print_waiting(ours, padded + longest)
  print("\n" + "\n".join(summary for summary, _ in results))
  print_recorded(found)


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
