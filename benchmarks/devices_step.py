"""Times a training step of two devices against that of one, on the same batch.

  python benchmarks/devices_step.py --steps=10                 # two GPUs
  python benchmarks/devices_step.py --devices=/cpu:0,/cpu:1 --threads=1

The steps are those of training_step.py, packed: one device takes the batch, or
all of --devices take a share of it, add up their gradients and make one update,
as with --num_gpus. One process builds both trainings and takes a step of each
by turns, on the same batch, every turn on a new one. The devices of a CPU share
its cores, and one of them has them all anyway: with --threads=1, an operation
uses one core at a time, as if each device had one.

Prints the environment and, per data set, every step, and last a line each:

  MRPC: 1 device <seconds> s, 2 devices <seconds> s, ratio <r>

Above 1, two are the faster; at best it is 2.
"""

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS


def measure(name, counts, one_step, shared_step):
  """Takes the steps of one data set and prints them.

  Args:
    name: str. The data set.
    counts: dict from length to number of sequences.
    one_step: function, as `steps.make_training` returns it.
    shared_step: the same.

  Returns:
    str. The line that sums them up.
  """
  number = len(FLAGS.devices)
  print("\n%s, seconds of 1 device and of %d" % (name, number))
  seconds = []
  for _, title, batch in steps.turns(counts):
    seconds.append([one_step(batch), shared_step(batch)])
    print("%8s %10.3f %10.3f" % (title, *seconds[-1]), flush=True)
  one, shared = np.median(seconds[FLAGS.warmup:], axis=0)
  return "%s: 1 device %.3g s, %d devices %.3g s, ratio %.2f" % (
      name, one, number, shared, one / shared)


def main(_):
  """Finds the lengths, builds both trainings, measures and sums up."""
  found = steps.find_lengths()
  steps.print_environment()
  print("Devices: %s; threads of an operation: %s" % (
      ", ".join(FLAGS.devices), FLAGS.threads or "as many as cores"))
  one_step, shared_step = [
      steps.make_training(
          steps.make_config(), True, FLAGS.use_xla, placed=placed,
          threads=FLAGS.threads)
      for placed in (None, steps.placement.Placement(tuple(FLAGS.devices)))]
  summary = [measure(name, counts, one_step, shared_step)
             for name, counts in found.items()]
  print("\n" + "\n".join(summary))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  steps.define_flags()
  flags.DEFINE_list("devices", ["/gpu:0", "/gpu:1"], "Names of the devices.")
  flags.DEFINE_integer("threads", 0, "Threads of an operation on a CPU; 0 for "
                       "as many as there are cores.", lower_bound=0)
  flags.DEFINE_bool("use_xla", False, "Compile, as --use_xla of the scripts.")
  app.run(main)
