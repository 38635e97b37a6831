"""Tests of demo.sh and test.sh, in an environment that only looks like one."""

import os
import re
import shutil
import subprocess
import sys

import pytest

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Stands in for the environment's interpreter: writes the results of a
# classifier that takes the first pair of the dev set for the other label.
FAKE_PYTHON = r"""#!/usr/bin/env bash
[ "$1" = run_classifier.py ] || exit 0
for argument in "$@"; do
  case $argument in
    --output_dir=*) out=${argument#*=} ;;
    --data_dir=*) data=${argument#*=} ;;
  esac
done
mkdir "$out"
printf '%s = 0.99\n' eval_accuracy eval_f1 eval_loss global_step \
  > "$out/eval_results.txt"
tail -n +2 "$data/test.tsv" | awk '
    { print (($1 == 1) == (NR == 1) ? "0.875\t0.125" : "0.25\t0.75") }' \
  > "$out/test_results.tsv"
"""


def run(script, arguments=(), **environment):
  process = subprocess.run(
      ["bash", script] + list(arguments), stdout=subprocess.PIPE,
      stderr=subprocess.STDOUT, env=dict(os.environ, **environment))
  return process.returncode, process.stdout.decode("utf-8")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A copy of what the demo needs, in a folder with a space in its name."""
  copy = tmp_path_factory.mktemp("the project")
  for name in ("demo.sh", "test.sh", "setup_env.sh", "requirements.txt"):
    shutil.copy(os.path.join(TOP, name), str(copy))
  shutil.copytree(os.path.join(TOP, "sample_data"), str(copy / "sample_data"))
  return copy


@pytest.mark.parametrize("script, arguments", [
    ("demo.sh", ["--help"]), ("demo.sh", ["-h"]),
    ("test.sh", ["-k", "padding", "--help"]), ("test.sh", ["-h"])])
def test_help_installs_nothing(folder, script, arguments):
  before = sorted(os.listdir(str(folder)))
  status, output = run(str(folder / script), arguments)
  assert status == 0
  for part in ("./" + script, "PYTHON  interpreter", "VENV    folder"):
    assert part in output
  assert sorted(os.listdir(str(folder))) == before


def write_environment(folder, python):
  """Writes an environment `venv` whose interpreter is a script."""
  version = "%d.%d" % sys.version_info[:2]
  (folder / "venv" / "bin").mkdir(parents=True)
  (folder / "venv" / "bin" / "python").write_text(python)
  (folder / "venv" / "bin" / "python").chmod(0o755)
  checksum = subprocess.check_output(
      ["cksum"], stdin=open(str(folder / "requirements.txt"))).decode("utf-8")
  (folder / "venv" / ".setup_env").write_text(
      "python %s requirements %s\n" % (version, checksum.strip()))


@pytest.fixture(scope="module")
def demo(folder):
  """Returns what the demo prints after its table's rows."""
  write_environment(folder, FAKE_PYTHON)
  (folder / "venv" / "bin" / "activate").write_text(
      "echo active in $PWD\n")
  status, output = run(str(folder / "demo.sh"), PYTHON=sys.executable,
                       VENV="venv")
  assert status == 0, output
  return output


def test_demo_marks_wrong_predictions_beside_the_right_label(demo):
  rows = [line.split(None, 4) for line in demo.splitlines()
          if re.match(r"(WRONG)? +[01] \(0", line)]
  assert [row[:4] for row in rows[:1]] == [["WRONG", "1", "(0.750)", "0"]]
  assert [row[:3] for row in rows[1:]] == [
      ["0", "(0.875)", "0"], ["1", "(0.750)", "1"], ["1", "(0.750)", "1"]]
  assert rows[0][4].startswith("According to the diary, Anna woke")
  assert "\n1 of 120 predictions are wrong.\n" in demo


def test_demo_ends_with_commands_that_can_be_pasted(folder, demo):
  lines = re.findall(r"^  .*", demo.split("Try next")[1], re.MULTILINE)
  output = subprocess.check_output(
      ["bash", "-euc", 'python() { printf "%s\\n" "$@" END; }\n' +
       "\n".join(lines)]).decode("utf-8")
  activated, rest = output.split("\n", 1)
  own, mrpc, end = rest.split("END\n")
  assert activated == "active in %s" % folder
  option, code, path, first, second = own.splitlines()
  assert option == "-c"
  compile(code, "pasted", "exec")
  assert re.match(r"demo_output/[^/]+/classifier$", path)
  assert os.path.exists(str(folder / path / "test_results.tsv"))
  assert first and second
  assert mrpc.startswith("run_classifier.py\n--task_name=MRPC\n")
  assert end == ""
