"""Measures the memory of a training step, and the time that less of it takes.

  python benchmarks/memory.py

The steps are those of training_step.py: with the padding, without it
("packed"), and so with --recompute_grad ("recomputed"). Each side and data set
is a process of its own, which asks TensorFlow's allocator how much was in use
at most: weights, the optimizer's averages, gradients, activations. On a CPU it
is made to use the allocator that GPUs have. --warmup steps on the shortest
sequences come first, which make what every step keeps; the seconds are those of
the fastest of --steps.

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
SHORTEST = 3  # [CLS], a word piece, [SEP]


def define_flags():
  """Defines the flags of this script."""
  steps.define_flags()
  flags.DEFINE_enum("compute_dtype", "float32", ["float32", "bfloat16"],
                    "As --compute_dtype of the scripts.")
  flags.DEFINE_integer(
      "gradient_accumulation_steps", 1, "Parts that a batch is computed in.",
      lower_bound=1)
  flags.DEFINE_enum("side", None, list(SIDES), "Measure this side alone, in "
                    "this process, and print JSON; the script gives this to "
                    "the processes it starts.")


def ask_allocator(question):
  """Calls a function of tf.config.experimental for the device that computes."""
  name = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
  return getattr(tf.config.experimental, question)(name)


def measure(side):
  """Takes the steps of one side and one data set in this process.

  Args:
    side: str. Of SIDES.

  Returns:
    dict: "variables", their size, the optimizer's included, and "peak", what
    was in use at most, both in MB, and "seconds" of the fastest step; "peak" is
    None where memory ran out.
  """
  (_, counts), = steps.find_lengths().items()
  train_step = steps.make_training(
      steps.make_config(), compute_dtype=FLAGS.compute_dtype,
      gradient_accumulation_steps=FLAGS.gradient_accumulation_steps,
      **SIDES[side])
  random = np.random.RandomState(FLAGS.seed)
  found = {"variables": train_step.variables_mb, "peak": None, "seconds": None}
  try:
    for _ in range(FLAGS.warmup):
      train_step(steps.make_batch(random, {SHORTEST: 1}))
    ask_allocator("reset_memory_stats")
    found["seconds"] = min(train_step(steps.make_batch(random, counts))
                           for _ in range(FLAGS.steps))
    found["peak"] = ask_allocator("get_memory_info")["peak"] / 2.0 ** 20
  except tf.errors.ResourceExhaustedError:
    pass
  return found


def measure_apart(side, arguments, limit_mb=None):
  """Returns the same, measured in a process of its own.

  Args:
    side: str. Of SIDES.
    arguments: list of str, of this script.
    limit_mb: int. The most memory of a CPU that TensorFlow may use, in MB.
  """
  settings = dict(os.environ, TF_CPU_ALLOCATOR_USE_BFC="true")
  if limit_mb:
    settings["TF_CPU_BFC_MEM_LIMIT_IN_MB"] = str(limit_mb)
  output = subprocess.check_output(
      [sys.executable, os.path.abspath(__file__)] + arguments +
      ["--side=" + side], env=settings)
  return json.loads(output.decode("ascii").strip().split("\n")[-1])


def main(_):
  """Measures all sides and sums up."""
  if FLAGS.side:
    print("\n" + json.dumps(measure(FLAGS.side)))
    return
  names = list(steps.find_lengths())
  steps.print_environment()
  row = "%12s %10s %14s %10s %10s %8s"
  print(row % ("data set", "side", "variables, MB", "peak, MB", "steps, MB",
               "seconds"))
  summary = []
  for name in names:
    needed, seconds = {}, {}
    for side in SIDES:
      found = measure_apart(side, sys.argv[1:] + (
          [] if FLAGS.full_length else ["--data_sets=" + name]))
      needed[side] = found["peak"] - found["variables"]
      seconds[side] = found["seconds"]
      print(row % (name, side, "%.0f" % found["variables"],
                   "%.0f" % found["peak"], "%.0f" % needed[side],
                   "%.2f" % seconds[side]), flush=True)
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
