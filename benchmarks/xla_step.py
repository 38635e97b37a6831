"""Times a training step with and without XLA.

  python benchmarks/xla_step.py --steps=20 --warmup=20

The steps are those of training_step.py, packed, or with --noremove_padding
padded. One process builds the training twice, as the scripts do without and
with --use_xla, and takes a step of each by turns, on the same batch, every turn
on a new one. What XLA compiles, it compiles when it meets a new shape, so the
first turns, --warmup, are not counted among the medians, but their seconds are.

Prints the environment and, per data set, every step, and last a line each:

  MRPC: without <seconds> s, XLA <seconds> s, ratio <r>, compiling <seconds> s

Above 1, XLA is the faster; compiling is what all steps with XLA took beyond
their median, those not counted included.
"""

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS


def measure(name, counts, plain_step, xla_step):
  """Takes the steps of one data set and prints them.

  Args:
    name: str. The data set.
    counts: dict from length to number of sequences.
    plain_step: function, as `steps.make_training` returns it.
    xla_step: the same.

  Returns:
    str. The line that sums them up.
  """
  print("\n%s, seconds without and with XLA" % name)
  seconds = []
  for _, title, batch in steps.turns(counts):
    seconds.append([plain_step(batch), xla_step(batch)])
    print("%8s %10.3f %10.3f" % (title, *seconds[-1]), flush=True)
  plain, with_xla = np.median(seconds[FLAGS.warmup:], axis=0)
  compiling = sum(both[1] - with_xla for both in seconds)
  return "%s: without %.3g s, XLA %.3g s, ratio %.2f, compiling %.1f s" % (
      name, plain, with_xla, plain / with_xla, compiling)


def main(_):
  """Finds the lengths, builds both trainings, measures and sums up."""
  found = steps.find_lengths()
  steps.print_environment()
  plain_step, xla_step = [
      steps.make_training(steps.make_config(), FLAGS.remove_padding, use_xla)
      for use_xla in (False, True)]
  summary = [measure(name, counts, plain_step, xla_step)
             for name, counts in found.items()]
  print("\n" + "\n".join(summary))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  steps.define_flags()
  flags.DEFINE_bool("remove_padding", True, "Packed, or with false padded.")
  app.run(main)
