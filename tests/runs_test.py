"""Tests of runs/: their mistakes, and the rows that they print."""

import os
import shutil
import subprocess
import sys

import pytest

import demo_test

# Stands in for both environments' interpreters: prints what the benchmark does.
FAKE_PYTHON = """#!/usr/bin/env bash
case $1 in
  benchmarks/glue_dev.py) cat << 'END'
MRPC, ours, seed 1: eval_accuracy 0.7000, eval_f1 0.8000
MRPC   eval_accuracy        ours  0.7000 +- 0.0100 (0.6900 to 0.7100)
MRPC   eval_accuracy        HF    0.7100 +- 0.0200 (0.6900 to 0.7300)
MRPC   eval_f1              ours  0.8000 +- 0.0100 (0.7900 to 0.8100)
MRPC   eval_f1              HF    0.8100 +- 0.0100 (0.8000 to 0.8200)
SST-2  eval_accuracy        ours  0.9000 +- 0.0010 (0.8990 to 0.9010)
SST-2  eval_accuracy        HF    0.8900 +- 0.0030 (0.8870 to 0.8930)
END
  ;;
esac
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """The scripts with environments that only look like some, and a data set."""
  copy = tmp_path_factory.mktemp("the project")
  for name in ("setup_env.sh", "requirements.txt"):
    shutil.copy(os.path.join(demo_test.TOP, name), str(copy))
  shutil.copytree(os.path.join(demo_test.TOP, "runs"), str(copy / "runs"))
  demo_test.write_environment(copy, FAKE_PYTHON)
  for task in ("MRPC", "SST-2"):
    (copy / "glue" / task).mkdir(parents=True)
    (copy / "glue" / task / "train.tsv").write_text("")
  return copy


def run(folder, script, *arguments):
  return demo_test.run(
      str(folder / "runs" / script), arguments, PYTHON=sys.executable,
      VENV="venv", TORCH_PYTHON="python", SEEDS="1,2", OUT=str(folder / "out"))


def test_a_run_prints_rows_for_the_table(folder):
  status, output = run(folder, "cpu.sh", str(folder / "glue"))
  assert status == 0, output
  rows = [line.split(" | ") for line in output.splitlines()
          if line.startswith("| ")]
  assert [row[-4:] for row in rows] == [
      ["1,2", "MRPC accuracy", "0.7000 +- 0.0100", "0.7100 +- 0.0200 |"],
      ["1,2", "MRPC F1", "0.8000 +- 0.0100", "0.8100 +- 0.0100 |"],
      ["1,2", "SST-2 accuracy", "0.9000 +- 0.0010", "0.8900 +- 0.0030 |"]]


@pytest.mark.parametrize("script, arguments, message", [
    ("cpu.sh", [], "cpu.sh: expected one argument, found 0; see --help"),
    ("gpu.sh", ["a", "b"], "gpu.sh: expected one argument, found 2; see"),
    ("cpu.sh", ["/nowhere"], "cpu.sh: no /nowhere/MRPC/train.tsv"),
    ("gpu.sh", ["/nowhere/"], "gpu.sh: no /nowhere/train-v1.1.json")])
def test_mistakes_are_one_line(folder, script, arguments, message):
  status, output = run(folder, script, *arguments)
  assert status == 1
  assert output.startswith(message)
  assert len(output.splitlines()) == 1


def test_help_names_the_variables(folder):
  for script in ("cpu.sh", "gpu.sh"):
    status, output = run(folder, script, "--help")
    assert status == 0
    assert "OUT " in output and "SEEDS " in output
    assert subprocess.call(["bash", "-n", str(folder / "runs" / script)]) == 0
