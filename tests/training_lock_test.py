"""One training at a time has a folder."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading

import pytest

from bert_suite import input_pipeline, training_lock
import export_fixtures
import helpers
import run_classifier
import run_pretraining

HOLDS = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from bert_suite import training_lock
with training_lock.TrainingLock(sys.argv[2]):
  print("has it", flush=True)
  time.sleep(60)
"""


@contextlib.contextmanager
def held(folder):
  """Gives a process that holds a folder within a `with` block."""
  process = subprocess.Popen(
      [sys.executable, "-c", HOLDS, helpers.TOP, folder],
      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
  assert process.stdout.readline() == b"has it\n"
  try:
    yield process
  finally:
    process.kill()
    process.wait()


@pytest.fixture
def holder(tmp_path):
  """A process that holds a folder, and the folder."""
  folder = str(tmp_path / "run[1]" / "out")
  with held(folder) as process:
    yield process, folder


def test_the_second_is_told_who_has_it(holder):
  process, folder = holder
  with pytest.raises(training_lock.Held) as error:
    with training_lock.TrainingLock(folder + "/../out"):
      pass
  assert re.match(
      r".*/out/\.\./out: another training is writing there, process %d on \S+ "
      r"since \d{4}-\d\d-\d\d \d\d:\d\d:\d\d; wait until it ends, stop it, or "
      "pass another --output_dir$" % process.pid, str(error.value))
  assert os.listdir(folder) == [training_lock.FILE_NAME]


@pytest.mark.slow
def test_no_script_trains_where_another_does_but_it_evaluates(tmp_path):
  out = export_fixtures.write_model(
      tmp_path, "classifier", record_task="mrpc", labels=["0", "1"])
  settings = dict(
      vocab_file=helpers.write_vocab(tmp_path), output_dir=out,
      bert_config_file=helpers.write_config(tmp_path),
      max_seq_length=export_fixtures.LENGTH)
  classifier = dict(settings, task_name="MRPC",
                    data_dir=helpers.write_mrpc(tmp_path / "data"))
  del settings["vocab_file"]
  records = str(tmp_path / "a.tf_record")
  input_pipeline.write_examples(records, [dict(
      dict.fromkeys(["input_ids", "input_mask", "segment_ids"],
                    [1] * export_fixtures.LENGTH),
      masked_lm_positions=[1], masked_lm_ids=[1], masked_lm_weights=[1.0],
      next_sentence_labels=[0])])
  pretraining = dict(settings, input_file=records, max_predictions_per_seq=1)

  def run(script, values, split):
    return helpers.run_command(script, ["--do_" + split] + [
        "--%s=%s" % item for item in values.items()])

  with held(out):
    before = sorted(os.listdir(out))
    for script, values in [(run_classifier, classifier),
                           (run_pretraining, pretraining)]:
      status, stderr = run(script, values, "train")
      assert status == 1
      assert re.match(r"\w+\.py: %s: another training is writing there, "
                      r"process .*; wait until it ends, .*\n$" % out, stderr)
    assert sorted(os.listdir(out)) == before
    assert run(run_classifier, classifier, "eval") == (0, "")
  assert "eval_accuracy" in helpers.read_eval_results(out)[0]


def test_a_killed_one_has_it_no_more(holder):
  process, folder = holder
  os.kill(process.pid, signal.SIGKILL)
  process.wait()
  assert os.listdir(folder) == [training_lock.FILE_NAME]
  with training_lock.TrainingLock(folder):
    pass
  assert os.listdir(folder) == []


def test_a_thread_may_take_it_again_and_another_may_not(tmp_path):
  folder = str(tmp_path)
  refused = []

  def take():
    try:
      with training_lock.TrainingLock(folder):
        pass
    except training_lock.Held as error:
      refused.append(str(error))

  with training_lock.TrainingLock(folder):
    take()
    assert not refused
    for _ in range(2):
      thread = threading.Thread(target=take)
      thread.start()
      thread.join()
  assert len(refused) == 2 and "process %d on" % os.getpid() in refused[0]
  take()
  assert len(refused) == 2


def test_folders_that_it_made_go_again_unless_something_is_in_them(tmp_path):
  folder = tmp_path / "a" / "b"
  with training_lock.TrainingLock(str(folder)):
    assert folder.exists()
  assert not (tmp_path / "a").exists() and tmp_path.exists()
  with training_lock.TrainingLock(str(folder)):
    (folder / "model").write_bytes(b"x")
  assert [path.name for path in folder.iterdir()] == ["model"]


def test_no_folder_no_lock(tmp_path):
  (tmp_path / "file").write_bytes(b"x")
  for folder in (None, "", "gs://bucket/out", str(tmp_path / "file" / "out")):
    with training_lock.TrainingLock(folder):
      pass
  assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_of_two_that_start_at_once_in_a_new_folder_one_has_it(tmp_path):
  def train(folder, outcomes, start, end):
    start.wait()
    try:
      with training_lock.TrainingLock(folder):
        outcomes.append("trained")
        end.wait()
    except training_lock.Held:
      outcomes.append("held")
      end.wait()

  for i in range(50):
    outcomes = []
    arguments = (str(tmp_path / str(i) / "out"), outcomes,
                 threading.Barrier(2), threading.Barrier(2))
    threads = [threading.Thread(target=train, args=arguments)
               for _ in range(2)]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
    assert sorted(outcomes) == ["held", "trained"]
