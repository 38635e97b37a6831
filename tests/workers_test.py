"""Tests of workers: what becomes of tasks that end in every way."""

import os
import signal
import sys
import time

import pytest

from bert_suite.pretraining import workers
from helpers import captured_log


def square(report, number):
  report("begins")
  report(number)
  return number * number


def end_badly(report, how):
  if how == "mistake":
    raise ValueError("line 3 is wrong")
  if how == "no file":
    return open("/there/is/no/such/file")
  if how == "fault":
    return {}["no such key"]
  if how == "exit":
    os._exit(5)
  if how == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
  return how


def wait_for_files(report, mine, other):
  """Ends only when another task runs at the same time."""
  open(mine, "w").close()
  while not os.path.exists(other):
    time.sleep(0.01)
  return mine


def wait_and_clean_up(report, path):
  try:
    open(path, "w").close()
    report("waits")
    time.sleep(600)
  finally:
    os.remove(path)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.parametrize("num_processes", [1, 3])
def test_results_and_reports(method, num_processes):
  reports = {}
  outcomes = list(workers.run(
      square, [(number,) for number in range(5)], num_processes, method,
      lambda index, value: reports.setdefault(index, []).append(value)))
  assert sorted(outcomes) == [(i, i * i, None) for i in range(5)]
  assert reports == {i: ["begins", i] for i in range(5)}


def test_tasks_run_at_the_same_time(tmp_path):
  paths = [str(tmp_path / name) for name in "ab"]
  outcomes = list(workers.run(
      wait_for_files, [tuple(paths), tuple(reversed(paths))], 2, "fork"))
  assert sorted(outcome.result for outcome in outcomes) == paths


def test_a_task_that_fails_leaves_the_others_alone():
  tasks = ["mistake", "well", "kill", "exit", "no file", "well"]
  outcomes = sorted(workers.run(
      end_badly, [(task,) for task in tasks], 2, "fork"))
  assert [outcome.result for outcome in outcomes] == [
      None, "well", None, None, None, "well"]
  errors = [outcome.error for outcome in outcomes]
  assert errors[0] == "line 3 is wrong"
  assert errors[2].startswith("its worker was killed by SIGKILL, often for")
  assert errors[3] == "its worker ended without a result (status 5)"
  assert "/there/is/no/such/file" in errors[4]
  assert [isinstance(error, workers.Died) for error in errors] == [
      False, False, True, True, False, False]


def test_a_fault_of_the_program_has_its_stack_trace():
  with pytest.raises(RuntimeError, match="in end_badly\n(?s:.*)no such key"):
    list(workers.run(end_badly, [("fault",)], 1, "fork"))


def test_workers_clean_up_when_the_caller_stops(tmp_path):
  paths = [str(tmp_path / name) for name in "ab"]

  def stop(unused_index, unused_value):
    assert os.listdir(str(tmp_path))
    raise KeyboardInterrupt()

  with pytest.raises(KeyboardInterrupt):
    list(workers.run(wait_and_clean_up, [(path,) for path in paths], 2, "fork",
                     stop))
  assert not os.listdir(str(tmp_path))


def test_remote_files_are_not_for_forks():
  method = workers.start_method(["/data/a", "b"])
  assert method == ("fork" if sys.platform == "linux" else "spawn")
  assert workers.start_method(["/data/a", "gs://data/b"]) == "spawn"


def test_a_damaged_state_says_what_to_remove(tmp_path):
  state = tmp_path / ".a-of-00001.json"
  for text in ("{", "[]", '{"settings": {}}',
               '{"settings": {}, "shards": {"7": 1}}',
               '{"settings": {}, "shards": 1.5}'):
    state.write_text(text)
    with pytest.raises(ValueError, match="a-of-00001.json: cannot be read "):
      workers.make_shards(str(tmp_path / "a"), square, [(2,)], {}, 1, "fork")


def test_a_shard_whose_file_is_gone_is_made_again(tmp_path):
  made = []

  def make():
    del made[:]
    workers.make_shards(
        str(tmp_path / "a"), write_name, [(path,) for path in (
            workers.shard_paths(str(tmp_path / "a"), 3))], {"seed": 1}, 2,
        "fork", on_report=lambda index, path: made.append(index))

  make()
  assert sorted(made) == [0, 1, 2]
  make()
  assert made == []
  os.remove(str(tmp_path / "a-00001-of-00003"))
  make()
  assert made == [1]


def test_shards_with_the_same_error_are_named_together(tmp_path):
  tasks = [("mistake",), ("well",), ("kill",), ("mistake",)]
  with pytest.raises(ValueError) as error:
    workers.make_shards(str(tmp_path / "a"), end_badly, tasks, {}, 1, "fork")
  names = workers.shard_paths(str(tmp_path / "a"), 4)
  assert str(error.value).startswith(
      "3 of 4 shards could not be made: %s, %s: line 3 is wrong; %s: its "
      "worker was killed" % (names[0], names[3], names[2]))


def write_name(report, path):
  report(path)
  with open(path, "w") as writer:
    writer.write(path)
  return path


def test_shards_of_another_number_are_warned_of_by_name_not_by_pattern(
    tmp_path):
  for name in ("wiki[1]-00000-of-00003", "wiki1-00000-of-00003",
               "wiki[1]-notes"):
    (tmp_path / name).write_bytes(b"x")
  name = str(tmp_path / "wiki[1]")
  with captured_log() as lines:
    workers._warn_of_others(name, workers.shard_paths(name, 2))
    workers._warn_of_others(name, workers.shard_paths(name, 3))
  assert len(lines) == 1
  assert lines[0].startswith(name + "-00000-of-00003 and 0 others are there")
