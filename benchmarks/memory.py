"""Measures the memory of a training step, and the time that less of it takes.

  python benchmarks/memory.py

The steps are those of training_step.py: with the padding, without it
("packed"), and so with --recompute_grad ("recomputed"). Each side and data set
is a process of its own (Linux: it reads /proc). It initialises the variables,
the optimizer's included, looks at its resident memory, has the kernel forget
the peak so far, takes --warmup + --steps steps on different batches, and looks
at the peak. The difference is what the steps needed: activations, gradients,
and what TensorFlow keeps of freed memory. The seconds are those of the fastest
step.

Prints the environment, a table, and last, for each data set:

  MRPC: packed <MB> MB, of padded <r>, recomputed <MB> MB, of packed <r>, in
    <r> times the time
"""

import collections
import json
import os
import subprocess
import sys

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS

SIDES = collections.OrderedDict([
    ("padded", dict(remove_padding=False)),
    ("packed", dict(remove_padding=True)),
    ("recomputed", dict(remove_padding=True, recompute_grad=True))])
# https://www.kernel.org/doc/html/latest/filesystems/proc.html
STATUS = "/proc/self/status"
CLEAR_REFS = "/proc/self/clear_refs"
FORGET_PEAK = "5"


def define_flags():
  """Defines the flags of this script."""
  steps.define_flags()
  flags.DEFINE_enum("compute_dtype", "float32", ["float32", "bfloat16"],
                    "As --compute_dtype of the scripts.")
  flags.DEFINE_enum("side", None, list(SIDES), "Measure this side alone, in "
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
    dict: "variables", resident memory before the steps, "peak", both in MB,
    whether that is the "peak_of_steps" or may be one before them, and "seconds"
    of the fastest step.
  """
  (_, counts), = steps.find_lengths().items()
  train_step = steps.make_training(
      steps.make_config(), compute_dtype=FLAGS.compute_dtype, **SIDES[side])
  random = np.random.RandomState(FLAGS.seed)
  batches = [steps.make_batch(random, counts)
             for _ in range(FLAGS.warmup + FLAGS.steps)]
  peak_of_steps = forget_peak()
  variables = read_status("VmRSS")
  seconds = [train_step(batch) for batch in batches]
  return {"variables": variables, "peak": read_status("VmHWM"),
          "peak_of_steps": peak_of_steps,
          "seconds": min(seconds[FLAGS.warmup:])}


def measure_apart(name, side):
  """Returns the same of a data set, measured in a process of its own."""
  arguments = [] if FLAGS.full_length else ["--data_sets=" + name]
  output = subprocess.check_output(
      [sys.executable, os.path.abspath(__file__)] + sys.argv[1:] +
      ["--side=" + side] + arguments)
  return json.loads(output.decode("ascii").strip().split("\n")[-1])


def main(_):
  """Measures all sides and sums up."""
  if FLAGS.side:
    print("\n" + json.dumps(measure(FLAGS.side)))
    return
  if not os.path.exists(STATUS):
    sys.exit("this benchmark reads %s, which only Linux has" % STATUS)
  names = list(steps.find_lengths())
  steps.print_environment()
  row = "%12s %10s %14s %10s %10s %8s"
  print(row % ("data set", "side", "variables, MB", "peak, MB", "steps, MB",
               "seconds"))
  summary = []
  for name in names:
    needed, seconds = {}, {}
    for side in SIDES:
      found = measure_apart(name, side)
      needed[side] = found["peak"] - found["variables"]
      seconds[side] = found["seconds"]
      print(row % (name, side, "%.0f" % found["variables"],
                   "%.0f" % found["peak"], "%.0f" % needed[side],
                   "%.2f" % seconds[side]) +
            ("" if found["peak_of_steps"] else "  (peak since the start)"),
            flush=True)
    summary.append(
        "%s: packed %.0f MB, of padded %.2f, recomputed %.0f MB, of packed "
        "%.2f, in %.2f times the time" % (
            name, needed["packed"], needed["packed"] / needed["padded"],
            needed["recomputed"], needed["recomputed"] / needed["packed"],
            seconds["recomputed"] / seconds["packed"]))
  print("\n" + "\n".join(summary))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
