"""Measures the memory of a training step with and without the padding.

  python benchmarks/memory.py

The steps are those of training_step.py. Each side and data set is a process of
its own (Linux: it reads /proc). It initialises the variables, the optimizer's
included, looks at its resident memory, has the kernel forget the peak so far,
takes --warmup + --steps steps on different batches, and looks at the peak. The
difference is what the steps needed: activations, gradients, and what TensorFlow
keeps of freed memory.

Prints the environment, a table, and last, for each data set:

  MRPC: padded <MB> MB, packed <MB> MB, packed/padded <r>
"""

import json
import os
import subprocess
import sys

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS

SIDES = {"padded": False, "packed": True}
# https://www.kernel.org/doc/html/latest/filesystems/proc.html
STATUS = "/proc/self/status"
CLEAR_REFS = "/proc/self/clear_refs"
FORGET_PEAK = "5"


def define_flags():
  """Defines the flags of this script."""
  steps.define_flags()
  flags.DEFINE_enum("side", None, sorted(SIDES), "Measure this side alone, in "
                    "this process, and print JSON; the script gives this to "
                    "the processes it starts.")


def read_status(field):
  """Returns a field of this process's status, such as VmRSS, in MB."""
  with open(STATUS) as reader:
    for line in reader:
      if line.startswith(field + ":"):
        return int(line.split()[1]) / 1024.0
  raise ValueError("%s: has no %s" % (STATUS, field))


def forget_peak():
  """Makes the peak (VmHWM) start from here; returns whether that worked."""
  try:
    with open(CLEAR_REFS, "w") as writer:
      writer.write(FORGET_PEAK)
  except OSError:
    return False
  return True


def measure(side):
  """Takes the steps of one side and one data set in this process.

  Args:
    side: str. Of SIDES.

  Returns:
    dict: "variables", resident memory before the steps, "peak", both in MB, and
    whether that is the "peak_of_steps" or may be one before them.
  """
  (_, counts), = steps.find_lengths().items()
  train_step = steps.make_training(steps.make_config(), SIDES[side])
  random = np.random.RandomState(FLAGS.seed)
  batches = [steps.make_batch(random, counts)
             for _ in range(FLAGS.warmup + FLAGS.steps)]
  peak_of_steps = forget_peak()
  variables = read_status("VmRSS")
  for batch in batches:
    train_step(batch)
  return {"variables": variables, "peak": read_status("VmHWM"),
          "peak_of_steps": peak_of_steps}


def measure_apart(name, side):
  """Returns the same of a data set, measured in a process of its own."""
  arguments = [] if FLAGS.full_length else ["--data_sets=" + name]
  output = subprocess.check_output(
      [sys.executable, os.path.abspath(__file__)] + sys.argv[1:] +
      ["--side=" + side] + arguments)
  return json.loads(output.decode("ascii").strip().split("\n")[-1])


def main(_):
  """Measures both sides and sums up."""
  if FLAGS.side:
    print("\n" + json.dumps(measure(FLAGS.side)))
    return
  if not os.path.exists(STATUS):
    sys.exit("this benchmark reads %s, which only Linux has" % STATUS)
  names = list(steps.find_lengths())
  steps.print_environment()
  row = "%12s %8s %14s %10s %10s"
  print(row % ("data set", "side", "variables, MB", "peak, MB", "steps, MB"))
  summary = []
  for name in names:
    needed = {}
    for side in ("padded", "packed"):
      found = measure_apart(name, side)
      needed[side] = found["peak"] - found["variables"]
      print(row % (name, side, "%.0f" % found["variables"],
                   "%.0f" % found["peak"], "%.0f" % needed[side]) +
            ("" if found["peak_of_steps"] else "  (peak since the start)"),
            flush=True)
    summary.append("%s: padded %.0f MB, packed %.0f MB, packed/padded %.2f" % (
        name, needed["padded"], needed["packed"],
        needed["packed"] / needed["padded"]))
  print("\n" + "\n".join(summary))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
