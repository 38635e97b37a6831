"""Runs the suite's scripts for benchmarks, each in a process of its own."""

import os
import subprocess
import sys

from absl import flags

FLAGS = flags.FLAGS
TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Flags of `define_training_flags` that go to a script as they are.
PASSED_ON = ("vocab_file", "bert_config_file", "init_checkpoint",
             "do_lower_case", "max_seq_length", "train_batch_size",
             "learning_rate", "num_train_epochs")


def define_training_flags(learning_rate, num_train_epochs, max_seq_length=128,
                          train_batch_size=32):
  """Defines the flags of a benchmark that fine-tunes; takes their defaults."""
  for name, what in (
      ("vocab_file", "Vocabulary of the checkpoint."),
      ("bert_config_file", "Shape of the model."),
      ("init_checkpoint", "Pre-trained checkpoint."),
      ("output_dir", "Folder for the results.")):
    flags.DEFINE_string(name, None, what, required=True)
  flags.DEFINE_bool("do_lower_case", True, "False for cased vocabularies.")
  flags.DEFINE_integer("max_seq_length", max_seq_length,
                       "Word pieces per example.")
  flags.DEFINE_integer("train_batch_size", train_batch_size,
                       "Batch size for training.")
  flags.DEFINE_float("learning_rate", learning_rate, "Peak learning rate.")
  define = (flags.DEFINE_integer if isinstance(num_train_epochs, int) else
            flags.DEFINE_float)
  define("num_train_epochs", num_train_epochs, "Times to go through the data.")


def values_of(names):
  """Returns a dict from the names of flags to their values."""
  return {name: FLAGS[name].value for name in names}


def run(script, **values):
  """Runs a script; ends this one, with the last it said, where it fails.

  Args:
    script: str, such as "run_ner.py".
    **values: its flags.
  """
  done = subprocess.run(
      [sys.executable, os.path.join(TOP, script)] + [
          "--%s=%s" % item for item in values.items()],
      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
  if done.returncode:
    sys.exit("%s ended with status %d:\n%s" % (
        script, done.returncode, done.stdout.decode(errors="replace")[-2000:]))


def read_results(path):
  """Returns what eval_results.txt or the like has, dict from str to float."""
  with open(path) as reader:
    found = dict(line.rstrip("\n").split(" = ", 1) for line in reader)
  return {name: float(value) for name, value in found.items()}
