"""The loss of a training that is killed twice beside one that is not.

  python benchmarks/resume_curve.py \
    --data_dir=glue/MRPC --vocab_file=vocab.txt \
    --bert_config_file=bert_config.json --init_checkpoint=bert_model.ckpt \
    --output_dir=/tmp/resume_curve

Fine-tunes on MRPC with run_classifier.py, once to the end and once with kill -9
at a third and at two thirds of the steps and the same command again each time,
with a checkpoint every 50 steps. Both have the same seed. Up to the first kill
the two see the same batches; after it the killed run continues with the data
after its last checkpoint, but in another order and with other dropout.

Prints where the killed run resumed, a table of the mean loss of every --window
steps of both, and dev accuracy, F1 and loss of both.
"""

import collections
import os
import re
import subprocess
import sys

from absl import app, flags

FLAGS = flags.FLAGS

RUN_CLASSIFIER = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
    "run_classifier.py")

PASSED_ON = ("data_dir", "vocab_file", "bert_config_file", "init_checkpoint",
             "learning_rate", "num_train_epochs", "tf_random_seed")
STEP = re.compile(r"Training: (\d+) of (\d+) steps, loss ([\d.]+),")
FOUND = re.compile(r"Weights are those of \S+, step (\d+)")


def define_flags():
  """Defines the flags of this script."""
  for name, help_text in (
      ("data_dir", "Folder with MRPC's train.tsv and dev.tsv."),
      ("vocab_file", "Vocabulary of the checkpoint."),
      ("bert_config_file", "Shape of the model."),
      ("init_checkpoint", "Pre-trained checkpoint."),
      ("output_dir", "Folder for both runs; must not have them yet.")):
    flags.DEFINE_string(name, None, help_text, required=True)
  flags.DEFINE_float("learning_rate", 3e-4, "Peak learning rate.")
  flags.DEFINE_float("num_train_epochs", 3.0, "Times to go through the data.")
  flags.DEFINE_integer("tf_random_seed", 1, "Seed of both runs.")
  flags.DEFINE_integer("window", 25, "Steps per row of the table.",
                       lower_bound=1)


def train(output_dir, losses, kill_at=None):
  """Runs the script.

  Args:
    output_dir: str.
    losses: dict from step to loss, which is filled.
    kill_at: float. Share of the steps at which to kill it, or None.

  Returns:
    The step that it went on from, 0 if it began anew.
  """
  arguments = ["--%s=%s" % (name, FLAGS[name].value) for name in PASSED_ON]
  process = subprocess.Popen(
      [sys.executable, RUN_CLASSIFIER, "--task_name=MRPC", "--do_train=true",
       "--do_eval=true", "--log_steps=1", "--save_checkpoints_steps=50",
       "--output_dir=" + output_dir] + arguments,
      stderr=subprocess.PIPE, universal_newlines=True)
  start, lines = 0, []
  for line in process.stderr:
    lines.append(line)
    found, step = FOUND.search(line), STEP.search(line)
    if found:
      start = int(found.group(1))
    if step:
      number, total = int(step.group(1)), int(step.group(2))
      losses[number] = float(step.group(3))
      if kill_at and number >= kill_at * total:
        process.kill()
        process.wait()
        return start
  if process.wait() or kill_at:
    sys.exit("run_classifier.py ended with status %s:\n%s" % (
        process.returncode, "".join(lines[-20:])))
  return start


def read_results(output_dir):
  """Returns eval_results.txt as a dict."""
  with open(os.path.join(output_dir, "eval_results.txt")) as reader:
    return dict(line.rstrip("\n").split(" = ") for line in reader)


def main(_):
  """Trains both and prints the table."""
  folders = [os.path.join(FLAGS.output_dir, name) for name in (
      "whole", "killed")]
  for folder in folders:
    if os.path.exists(folder):
      sys.exit("%s: is there already; give another --output_dir" % folder)
  whole, killed = collections.OrderedDict(), collections.OrderedDict()
  train(folders[0], whole)
  for kill_at in (1 / 3.0, 2 / 3.0, None):
    start = train(folders[1], killed, kill_at)
    print("killed run: began at step %d%s" % (
        start, ", killed at step %d" % max(killed) if kill_at else
        ", to the end at step %d" % max(killed)))
  if sorted(whole) != sorted(killed):
    sys.exit("the two runs logged other steps: %d and %d" % (
        len(whole), len(killed)))

  print("\n%12s %10s %10s %12s" % ("steps", "whole", "killed", "difference"))
  for first in range(1, len(whole) + 1, FLAGS.window):
    steps = range(first, min(first + FLAGS.window, len(whole) + 1))
    means = [sum(losses[step] for step in steps) / len(steps)
             for losses in (whole, killed)]
    print("%5d - %4d %10.4f %10.4f %12.4f" % (
        steps[0], steps[-1], means[0], means[1], means[1] - means[0]))
  print("\n%12s %10s %10s" % ("dev set", "whole", "killed"))
  results = [read_results(folder) for folder in folders]
  for name in ("eval_accuracy", "eval_f1", "eval_loss"):
    print("%13s %9.4f %10.4f" % (
        name, float(results[0][name]), float(results[1][name])))


if __name__ == "__main__":
  define_flags()
  app.run(main)
