"""Runs the suite's scripts for benchmarks, each in a process of its own."""

import os
import subprocess
import sys

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


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
