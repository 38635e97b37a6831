"""Times the packed training step with oneDNN's operations off and on.

  python benchmarks/onednn.py
  python benchmarks/onednn.py --max_cpu_isa=AVX2

TensorFlow on x86 Linux has a second set of kernels for its operations, which
call the library oneDNN. It chooses between the sets when it is imported: by
TF_ENABLE_ONEDNN_OPTS (0 or 1), and by the CPU where that is not set. So each
side is a process of its own. Every round starts one with 0 and one with 1, the
order changing from round to round. Both take the same steps: those of
training_step.py without the padding, in batches of the lengths of --data_sets.
As in real training nearly every batch has another number of tokens, so that the
time oneDNN takes to get ready for a new shape counts. Every process is asked
whether its operations are those that it was told to use.

--max_cpu_isa limits oneDNN, on both sides, to the instructions of a lesser CPU
(ONEDNN_MAX_CPU_ISA): AVX2 is one without AVX-512, AVX512_CORE one with AVX-512
that lacks VNNI. With the operations off, TensorFlow (2.15 and 2.21, as
ONEDNN_VERBOSE=1 shows) still multiplies matrices in blocks that oneDNN's gemm
computes, so the limit holds for those too. The other kernels are compiled
without AVX2, as TensorFlow's log says, and so the same everywhere. What the
limit does not change: clock, caches and memory are those of the CPU in use.

Prints the environment and what TensorFlow does if left alone; for each round
and data set the median seconds of both sides and the ratio off / on; and, last,
a line per data set. Its seconds are medians over all rounds, its ratio is the
median of the rounds' ratios, which hold even where the machine's speed drifts:

  MRPC: off <seconds> s, on <seconds> s, off/on <r> (rounds <least> to <most>)
"""

import json
import os
import platform
import re
import subprocess
import sys

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

import steps

FLAGS = flags.FLAGS

SWITCH = "TF_ENABLE_ONEDNN_OPTS"
SIDES = {"off": "0", "on": "1"}
IS_ON = "oneDNN custom operations are on"  # in TensorFlow's log, if they are

# Makes oneDNN say what it runs on.
PROBE = """
import tensorflow.compat.v1 as tf
tf.disable_v2_behavior()
tf.Session().run(tf.matmul(tf.ones([64, 64]), tf.ones([64, 64])))
"""


def define_flags():
  """Defines the flags of this script."""
  steps.define_flags()
  flags.DEFINE_integer("rounds", 4, "Processes per side; an even number gives "
                       "each side the first turn as often.", lower_bound=1)
  flags.DEFINE_enum("max_cpu_isa", None, ["AVX2", "AVX512_CORE"],
                    "Compare as on a CPU that has no more than this.")
  flags.DEFINE_bool("worker", False, "Take the steps of one side; the script "
                    "gives this to the processes it starts.")


def take_steps():
  """Takes the steps of one side in this process.

  Returns:
    dict from data set to the seconds of each counted step.
  """
  train_step = steps.make_training(steps.make_config(), remove_padding=True)
  seconds = {}
  for name, counts in steps.find_lengths().items():
    random = np.random.RandomState(FLAGS.seed)
    taken = [train_step(steps.make_batch(random, counts))
             for _ in range(FLAGS.warmup + FLAGS.steps)]
    seconds[name] = taken[FLAGS.warmup:]
  return seconds


def run_python(arguments, switch=None, **settings):
  """Runs Python with these arguments on the CPU, TensorFlow's log switched on.

  Args:
    arguments: list of str.
    switch: "0", "1", or None to leave the choice to TensorFlow.
    **settings: more environment variables.

  Returns:
    (stdout, stderr), str.
  """
  environment = dict(os.environ, TF_CPP_MIN_LOG_LEVEL="0",
                     CUDA_VISIBLE_DEVICES="-1", **settings)
  environment.pop(SWITCH, None)
  if switch is not None:
    environment[SWITCH] = switch
  if FLAGS.max_cpu_isa:
    environment["ONEDNN_MAX_CPU_ISA"] = FLAGS.max_cpu_isa
  process = subprocess.Popen(
      [sys.executable] + arguments, env=environment, stdout=subprocess.PIPE,
      stderr=subprocess.PIPE, universal_newlines=True)
  stdout, stderr = process.communicate()
  if process.returncode:
    sys.exit("%s\nthe process of one side failed; its messages are above" %
             stderr)
  return stdout, stderr


def measure_side(side):
  """Measures one side in a process of its own; returns as `take_steps` does."""
  stdout, stderr = run_python(
      [os.path.abspath(__file__), "--worker"] + sys.argv[1:], SIDES[side])
  if (IS_ON in stderr) != (side == "on"):
    sys.exit("TensorFlow %s does not do what %s=%s says: there is nothing to "
             "compare" % (tf.__version__, SWITCH, SIDES[side]))
  return json.loads(stdout.strip().split("\n")[-1])


def find_cpu(path="/proc/cpuinfo"):
  """Returns the CPU's name and whether it has AVX-512 VNNI, None if unknown."""
  try:
    with open(path) as reader:
      fields = dict(re.findall(r"^(.*?)\s*:\s*(.*)$", reader.read(), re.M))
  except OSError:
    fields = {}
  name = fields.get("model name") or platform.processor() or "unknown"
  if "flags" not in fields:
    return name, None
  return name, "avx512_vnni" in fields["flags"].split()


def print_cpu():
  """Prints what the choice depends on, and how TensorFlow makes it."""
  name, has_vnni = find_cpu()
  print("CPU: %s, AVX-512 VNNI: %s" % (
      name, {True: "yes", False: "no", None: "unknown"}[has_vnni]))
  stdout, stderr = run_python(["-c", PROBE], ONEDNN_VERBOSE="1")
  print("Left alone, TensorFlow has oneDNN's operations %s here" %
        ("on" if IS_ON in stderr else "off"))
  used = re.search(r",isa:(.*)", stdout)
  print("oneDNN uses: %s%s" % (
      used.group(1) if used else "unknown",
      ", held to %s on both sides" % FLAGS.max_cpu_isa
      if FLAGS.max_cpu_isa else ""))
  print("%d rounds of %d steps per side, after %d not counted\n" % (
      FLAGS.rounds, FLAGS.steps, FLAGS.warmup), flush=True)


def main(_):
  """Runs the rounds, prints each and what they amount to."""
  if FLAGS.worker:
    print("\n" + json.dumps(take_steps()))
    return
  names = list(steps.find_lengths())  # complains before minutes have passed
  os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
  steps.print_environment()
  print_cpu()

  row = "%8s %10s %10s %10s %7s"
  print(row % ("round", "data set", "off, s", "on, s", "off/on"))
  seconds = {(name, side): [] for name in names for side in SIDES}
  ratios = {name: [] for name in names}
  for number in range(FLAGS.rounds):
    order = ["off", "on"] if number % 2 == 0 else ["on", "off"]
    taken = {side: measure_side(side) for side in order}
    for name in names:
      off, on = [np.median(taken[side][name]) for side in ("off", "on")]
      ratios[name].append(off / on)
      print(row % (number + 1, name, "%.3f" % off, "%.3f" % on,
                   "%.2f" % (off / on)), flush=True)
      for side in SIDES:
        seconds[name, side] += taken[side][name]

  print()
  for name in names:
    off, on = [np.median(seconds[name, side]) for side in ("off", "on")]
    print("%s: off %.3g s, on %.3g s, off/on %.2f (rounds %.2f to %.2f)" % (
        name, off, on, np.median(ratios[name]), min(ratios[name]),
        max(ratios[name])))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
