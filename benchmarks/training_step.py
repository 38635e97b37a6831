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

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS

# (layers, hidden size, batch size, length) that the recorded figure is for.
RECORDED_SHAPE = (12, 768, 32, 128)
RECORDED = (
    "Recorded, not measured in this run: google-research/bert on TensorFlow "
    "1.15, always padded,\nthe same shape, on a two-core AMD EPYC without "
    "AVX-512: 19.9 s (median 22.1 s)")


def measure(name, counts, padded_step, packed_step):
  """Takes the steps of one data set and prints them as a table.

  Args:
    name: str. The data set.
    counts: dict from length to number of sequences.
    padded_step: function, as `steps.make_training` returns it.
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

  counted = []
  for turn, title, batch in steps.turns(counts):
    share = batch["input_mask"].mean()
    padded = padded_step(batch)
    packed = packed_step(batch)
    print_row(title, share, padded, packed,
              "%.2f" % (padded / packed))
    if turn > 0:
      counted.append([share, padded, packed])

  share, padded, packed = np.median(counted, axis=0)
  print_row("median", share, padded, packed, "%.2f" % (padded / packed))
  print_row("min", *np.min(counted, axis=0))
  print_row("max", *np.max(counted, axis=0))
  return "%s: %.0f%% real tokens, padded %.3g s, packed %.3g s, ratio %.2f" % (
      name, 100 * share, padded, packed, padded / packed)


def main(_):
  """Finds the lengths, builds both trainings, measures and sums up."""
  found = steps.find_lengths()
  steps.print_environment()
  padded_step, packed_step = [
      steps.make_training(steps.make_config(), remove_padding)
      for remove_padding in (False, True)]
  summary = [measure(name, counts, padded_step, packed_step)
             for name, counts in found.items()]
  print("\n" + "\n".join(summary))
  if RECORDED_SHAPE == (FLAGS.layers, FLAGS.hidden, FLAGS.batch_size,
                        FLAGS.max_seq_length):
    print(RECORDED)


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  steps.define_flags()
  app.run(main)
