"""Shows where the time of a packed training step goes.

  python benchmarks/profile_step.py --layers=2 --hidden=128

TensorFlow traces --steps steps, each on a new batch, after --warmup steps that
it does not trace. Prints the environment, and for each data set the median
seconds of a traced step and, by kind of operation, its milliseconds per step,
its share of all of them and how many there are:

  matrix products   those of dense layers, attention and the vocabulary
  optimizer         norm, clipping, decay, AdamW
  table gradients   what makes the rows' gradients one for the whole table
  random bits       drawing dropout masks
  layout            gathering, joining and copying rows
  element-wise      all else: GELU, layer norm, dropout, softmax, sums

Operations run beside each other, and where two wait for the same cores both
count, so the milliseconds may add up to more than the step.
"""

import collections
import re

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS

# The first that fits counts: (kind, pattern of the operation's type, of its
# name).
KINDS = [
    ("table gradients", r"SegmentSum|Scatter", r""),
    ("optimizer", r"", r"AdamWeightDecay|clip_by_global_norm|gradient_norm"),
    ("matrix products", r"MatMul", r""),
    ("random bits", r"Random|Bitcast", r""),
    ("layout", r"Gather|Concat|Slice|Transpose|Reshape|Where|Pack", r""),
    ("element-wise", r"", r""),
]


def kind_of(op_type, name):
  """Returns the kind of an operation, str."""
  return next(kind for kind, type_pattern, name_pattern in KINDS
              if re.search(type_pattern, op_type) and
              re.search(name_pattern, name))


def add_up(metadata, microseconds, counts):
  """Adds the operations of a traced step to the sums of their kinds.

  Args:
    metadata: tf.RunMetadata of the step.
    microseconds: Counter from kind to the time of its operations, added to.
    counts: Counter from kind to their number, added to.
  """
  for device in metadata.step_stats.dev_stats:
    for node in device.node_stats:
      # "name = Type(input, ...)"
      match = re.search(r" = (\w+)\(", node.timeline_label)
      kind = kind_of(match.group(1) if match else "", node.node_name)
      microseconds[kind] += node.op_end_rel_micros - node.op_start_rel_micros
      counts[kind] += 1


def measure(name, counts, train_step):
  """Traces the steps of one data set and prints where their time goes."""
  seconds = []
  microseconds, numbers = collections.Counter(), collections.Counter()
  for turn, _, batch in steps.turns(counts):
    if turn <= 0:
      train_step(batch)
      continue
    metadata = tf.RunMetadata()
    seconds.append(train_step(batch, metadata))
    add_up(metadata, microseconds, numbers)
  print("\n%s: %.3g s a step" % (name, np.median(seconds)))
  print("%-16s %12s %5s %6s" % ("kind", "time", "share", "number"))
  total = sum(microseconds.values())
  for kind, spent in microseconds.most_common():
    print("%-16s %9.2f ms %4.0f%% %6d" % (
        kind, spent / 1000.0 / FLAGS.steps, 100.0 * spent / total,
        numbers[kind] // FLAGS.steps))


def main(_):
  """Builds the training, traces and prints."""
  found = steps.find_lengths()
  steps.print_environment()
  train_step = steps.make_training(steps.make_config(), remove_padding=True)
  for name, counts in found.items():
    measure(name, counts, train_step)


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  steps.define_flags()
  app.run(main)
