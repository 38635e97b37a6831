"""Killed at any moment, a run resumes from its last checkpoint."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import best_model, cli, input_pipeline, trained_models
import helpers
import predictor
import run_classifier

# Runs a script in which `die` is called at some moment, as kill -9 would.
KILLED = """
import os, signal, sys
sys.path.insert(0, %(top)r)
import %(script)s as script
from bert_suite import (
    best_model, checkpoints, cli, files, hooks, input_pipeline, training)
import tensorflow.compat.v1 as tf

def die(*unused_args, **unused_kwargs):
  sys.stderr.write("dies here\\n")
  sys.stderr.flush()
  os.kill(os.getpid(), signal.SIGKILL)

def at_call(number, function):
  calls = []
  def counted(*args, **kwargs):
    calls.append(1)
    if len(calls) == number:
      die()
    return function(*args, **kwargs)
  return counted

%(patch)s
cli.run(script.main, script.define_flags, script.REQUIRED_FLAGS)
"""

# Where it dies: what to do to make it, and the step to go on from. Training
# has 6 steps and saves a checkpoint at every second one.
MOMENTS = {
    "while writing features": (
        "input_pipeline.make_example = "
        "at_call(5, input_pipeline.make_example)", None),
    "before features get their name": (
        "tf.gfile.Rename = at_call(1, tf.gfile.Rename)", None),
    "between checkpoints": (
        "hooks.StopHook.after_run = at_call(3, hooks.StopHook.after_run)", 2),
    # The Saver writes the data of a checkpoint under a temporary name first.
    "while writing the data of a checkpoint": ("""
save = tf.train.Saver.save
def save_in_part(self, session, path, global_step=None, **kwargs):
  if global_step is not None and int(session.run(global_step)
                                     if tf.is_tensor(global_step)
                                     else global_step) == 4:
    os.makedirs(path + "-4_temp")
    with open(path + "-4_temp/part-00000-of-00001.data-00000-of-00001",
              "wb") as writer:
      writer.write(b"some")
    die()
  return save(self, session, path, global_step=global_step, **kwargs)
tf.train.Saver.save = save_in_part
""", 2),
    # Data and index are there, but the file "checkpoint" names the one before.
    "before a checkpoint is named the latest": ("""
from tensorflow.python.training import saver
management = saver.checkpoint_management
management.update_checkpoint_state_internal = at_call(
    3, management.update_checkpoint_state_internal)
""", 2),
    "while writing results": ("""
write = files.write_text
def write_in_part(path, text):
  if "eval_results" in path:
    with open(files._temporary_name(path), "w") as writer:
      writer.write(text[:10])
    die()
  write(path, text)
files.write_text = write_in_part
""", 6),
}


@pytest.fixture(scope="module")
def task(tmp_path_factory):
  """MRPC's files and the arguments of a run of 6 steps."""
  folder = tmp_path_factory.mktemp("mrpc")
  values = dict(
      task_name="MRPC", data_dir=helpers.write_mrpc(folder / "data"),
      vocab_file=helpers.write_vocab(folder),
      bert_config_file=helpers.write_config(folder), max_seq_length=16,
      train_batch_size=4, eval_batch_size=4, learning_rate=1e-2,
      num_train_epochs=2, save_checkpoints_steps=2, do_train=True, do_eval=True,
      tf_random_seed=3)
  return ["--%s=%s" % item for item in sorted(values.items())]


@pytest.fixture(scope="module")
def finished(task, tmp_path_factory):
  """The folder of a run without interruption, to be copied."""
  output_dir = str(tmp_path_factory.mktemp("out"))
  helpers.run_main(run_classifier, task + ["--output_dir=" + output_dir])
  return output_dir


@pytest.fixture(scope="module")
def trained(finished):
  """The weights that a run without interruption ends with."""
  return helpers.read_weights(os.path.join(finished, "model.ckpt-6"))


def check_weights(checkpoint, expected):
  """Checks that the weights of a checkpoint are equal to the bit."""
  found = helpers.read_weights(str(checkpoint))
  assert sorted(found) == sorted(expected)
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, name)


def run_and_kill(script, arguments, patch):
  """Runs a script until it kills itself; returns what it logged."""
  process = subprocess.run(
      [sys.executable, "-c", KILLED % dict(
          top=helpers.TOP, script=script, patch=patch)] + arguments,
      capture_output=True)
  stderr = process.stderr.decode("utf-8")
  assert process.returncode == -signal.SIGKILL, stderr[-3000:]
  assert "dies here" in stderr
  return stderr


@pytest.mark.slow
@pytest.mark.parametrize("moment", sorted(MOMENTS))
def test_a_killed_run_resumes_from_the_last_checkpoint(
    task, trained, tmp_path, moment):
  """And ends with the weights of one that was not killed."""
  patch, step = MOMENTS[moment]
  output_dir = tmp_path / "out"
  arguments = task + ["--output_dir=%s" % output_dir]
  run_and_kill("run_classifier", arguments, patch)
  assert not (output_dir / "eval_results.txt").exists()
  if step is None:
    assert not (output_dir / "train.tf_record").exists()
  latest = tf.train.latest_checkpoint(str(output_dir))
  if step:
    assert latest == str(output_dir / ("model.ckpt-%d" % step))
  else:
    assert latest is None

  with helpers.captured_log() as lines:
    helpers.run_main(run_classifier, arguments)
  if step:
    assert "Weights are those of %s, step %d" % (latest, step) in lines
  if step == 6:
    assert any(line.startswith("There is nothing left to train: ")
               for line in lines)
  elif step:
    assert "  Resuming at step %d" % step in lines
  assert tf.train.latest_checkpoint(str(output_dir)) == str(
      output_dir / "model.ckpt-6")
  assert helpers.read_eval_results(str(output_dir))[0][-2:] == [
      "global_step", "loss"]
  assert helpers.count_records(
      str(output_dir / "train.tf_record")) == 12
  assert not [name for name in os.listdir(str(output_dir))
              if name.endswith(".tmp")]
  check_weights(output_dir / "model.ckpt-6", trained)


@pytest.mark.slow
def test_a_killed_run_of_accumulated_batches_resumes_alike(
    task, trained, tmp_path):
  """13 batches of 2 make 6 steps of two of them and one of one."""
  arguments = task + [
      "--train_batch_size=2", "--gradient_accumulation_steps=2",
      "--num_train_epochs=2.2"]
  with helpers.captured_log() as lines:
    helpers.run_main(
        run_classifier, arguments + ["--output_dir=%s" % (tmp_path / "whole")])
  assert "  Batch of a step = 4: 2 parts, each of 2 examples" in lines
  assert "  Num steps = 7" in lines
  expected = helpers.read_weights(str(tmp_path / "whole" / "model.ckpt-7"))
  assert sorted(expected) == sorted(trained)
  arguments.append("--output_dir=%s" % (tmp_path / "out"))
  run_and_kill("run_classifier", arguments,
               MOMENTS["between checkpoints"][0])
  helpers.run_main(run_classifier, arguments)
  check_weights(tmp_path / "out" / "model.ckpt-7", expected)


@pytest.mark.slow
@pytest.mark.parametrize("patch", ["""
from bert_suite import training_state
training_state.Saver._RecordLastCheckpoint = die
""", """
from bert_suite import training_state
def truncate(self, path):
  open(path + ".index", "wb").close()
  die()
training_state.Saver._RecordLastCheckpoint = truncate
"""])
@pytest.mark.slow
def test_a_run_that_was_killed_in_its_first_save_starts_again(
    task, trained, tmp_path, patch):
  """Of the checkpoint there is no telling whether it is whole."""
  arguments = task + ["--output_dir=%s" % tmp_path]
  run_and_kill("run_classifier", arguments, patch)
  assert (tmp_path / "model.ckpt-0.index").exists()
  helpers.run_main(run_classifier, arguments)
  check_weights(tmp_path / "model.ckpt-6", trained)


@pytest.fixture(scope="module")
def whole(task, tmp_path_factory):
  """A folder of a run that evaluated while training and used the best."""
  output_dir = tmp_path_factory.mktemp("best")
  helpers.run_main(run_classifier, task + [
      "--eval_steps=2", "--use_best", "--best_metric=eval_loss",
      "--output_dir=%s" % output_dir])
  return output_dir


def test_the_best_checkpoint_is_kept_and_used(task, whole, tmp_path):
  rows = [line.split("\t") for line in
          (whole / "history.tsv").read_text().rstrip("\n").split("\n")]
  assert [row[0] for row in rows] == ["step", "2", "4", "6"]
  losses = [float(row[rows[0].index("eval_loss")]) for row in rows[1:]]
  best = 2 * (1 + int(np.argmin(losses)))
  assert tf.train.latest_checkpoint(str(whole / "best")) == str(
      whole / "best" / ("model.ckpt-%d" % best))
  found = dict(zip(*helpers.read_eval_results(str(whole))))
  assert found["global_step"] == best
  assert found["eval_loss"] == pytest.approx(min(losses), rel=1e-5)
  # Later, from the folder, and from best/ as a checkpoint to start from.
  again = task + ["--do_train=false", "--use_best"]
  helpers.run_main(run_classifier, again + ["--output_dir=%s" % whole])
  assert dict(zip(*helpers.read_eval_results(str(whole)))) == found
  for more, message in (
      (["--do_train=false", "--best_metric=eval_f1"],
       "--best_metric=eval_f1: .* was chosen by eval_loss"),
      (["--best_metric=eval_loss", "--eval_steps=2", "--max_seq_length=8"],
       "history.tsv: holds evaluations on other data")):
    with pytest.raises(cli.UserError, match=message):
      helpers.run_main(run_classifier, task + [
          "--use_best", "--output_dir=%s" % whole] + more)
  assert best_model.best_row(str(whole)).step == best
  status, stderr = helpers.run_command(run_classifier, again + [
      "--init_checkpoint=%s/best/model.ckpt-%d" % (whole, best),
      "--output_dir=%s" % (tmp_path / "other")])
  assert status == 1
  assert "has no best, which a training with --eval_steps" in stderr


@pytest.mark.slow
@pytest.mark.parametrize("patch", [
    "best_model.copy_checkpoint = at_call(1, best_model.copy_checkpoint)",
    "best_model.write_history = at_call(2, best_model.write_history)",
    # The checkpoint of a step to be evaluated is there, but not listed.
    MOMENTS["before a checkpoint is named the latest"][0],
    "tf.gfile.Copy = at_call(2, tf.gfile.Copy)"])
def test_a_killed_run_ends_with_the_same_best(task, whole, tmp_path, patch):
  arguments = task + ["--eval_steps=2", "--use_best", "--best_metric=eval_loss",
                      "--output_dir=%s" % (tmp_path / "out")]
  run_and_kill("run_classifier", arguments, patch)
  helpers.run_main(run_classifier, arguments)
  for name in ("history.tsv", "eval_results.txt", "best/checkpoint"):
    assert (tmp_path / "out" / name).read_text() == (whole / name).read_text()
  check_weights(
      tf.train.latest_checkpoint(str(tmp_path / "out" / "best")),
      helpers.read_weights(tf.train.latest_checkpoint(str(whole / "best"))))


@pytest.mark.slow
def test_a_training_that_stopped_early_stays_so(task, tmp_path):
  """The learning rate is so low that nothing gets better."""
  def run(*more):
    with helpers.captured_log() as lines:
      helpers.run_main(run_classifier, task + [
          "--eval_steps=1", "--learning_rate=1e-30", "--use_best",
          "--best_metric=eval_accuracy", "--output_dir=%s" % tmp_path] + list(
              more))
    return "\n".join(lines)

  stop = "Stopping early at step 3: 2 evaluations in a row had no better "
  assert stop + "eval_accuracy than step 1" in run(
      "--early_stopping_patience=2")
  expected = (tmp_path / "history.tsv").read_text()
  assert expected.count("\n") == 4
  assert dict(zip(*helpers.read_eval_results(str(tmp_path))))[
      "global_step"] == 1
  lines = run("--early_stopping_patience=2")
  assert stop in lines
  assert "holds step 3 of 3; to train more, raise --early_stopping" in lines
  assert (tmp_path / "history.tsv").read_text() == expected
  run("--early_stopping_patience=9")
  assert tf.train.latest_checkpoint(str(tmp_path)).endswith("model.ckpt-6")


def test_patience_needs_evaluations(task, tmp_path):
  status, stderr = helpers.run_command(run_classifier, task + [
      "--early_stopping_patience=2", "--output_dir=%s" % tmp_path])
  assert status == 1
  assert "--early_stopping_patience=2 counts evaluations; also pass" in stderr


def test_a_damaged_latest_checkpoint_is_passed_over(
    task, finished, trained, tmp_path):
  output_dir = tmp_path / "out"
  arguments = task + ["--output_dir=%s" % output_dir]
  shutil.copytree(finished, str(output_dir))
  checkpoint = str(output_dir / "model.ckpt-6")
  data = output_dir / "model.ckpt-6.data-00000-of-00001"
  content = bytearray(data.read_bytes())
  content[len(content) // 2] ^= 1
  data.write_bytes(content)
  with helpers.captured_log() as lines:
    helpers.run_main(run_classifier, arguments)
  assert lines.count(
      "%s is passed over, since %s is not as it was saved (its checksum "
      "differs); using %s" % (
          checkpoint, data, output_dir / "model.ckpt-4")) == 1
  assert "  Resuming at step 4" in lines
  check_weights(checkpoint, trained)


@pytest.mark.slow
def test_a_truncated_latest_checkpoint_is_passed_over_without_training_too(
    task, finished, tmp_path):
  output_dir = tmp_path / "out"
  shutil.copytree(finished, str(output_dir))
  os.truncate(str(output_dir / "model.ckpt-6.data-00000-of-00001"), 5000)
  before = str(output_dir / "model.ckpt-4")
  with helpers.captured_log() as lines:
    # What predictor, export_model and extract_features find.
    assert trained_models.find(str(output_dir)).checkpoint == before
    helpers.run_main(run_classifier, task + [
        "--do_train=false", "--do_predict", "--output_dir=%s" % output_dir,
        "--export_dir=%s" % (tmp_path / "exported")])
  found = [line for line in lines if "is passed over, since" in line]
  assert found and all(line.startswith(str(output_dir / "model.ckpt-6"))
                       for line in found)
  assert dict(zip(*helpers.read_eval_results(str(output_dir))))[
      "global_step"] == 4
  with helpers.captured_log():
    expected = predictor.Predictor(before).predict(["the cat"])
    for other in (output_dir, tmp_path / "exported"):
      np.testing.assert_allclose(
          predictor.Predictor(str(other)).predict(["the cat"]), expected,
          atol=1e-6)


def test_a_folder_of_an_older_version_resumes_by_skipping(
    task, finished, tmp_path):
  output_dir = tmp_path / "out"
  shutil.copytree(finished, str(output_dir))
  for path in output_dir.iterdir():
    if path.name.startswith("model.ckpt-6") or ".state." in path.name:
      path.unlink()
  with helpers.captured_log() as lines:
    helpers.run_main(run_classifier, task + ["--output_dir=%s" % output_dir])
  assert [line for line in lines if line.startswith(
      "%s has no .state.json, like those of older versions, which did not keep "
      "the order of the data: the 16 examples used so far are skipped" %
      (output_dir / "model.ckpt-4"))]
  assert "  Resuming at step 4" in lines
  found = dict(zip(*helpers.read_eval_results(str(output_dir))))
  assert found["global_step"] == 6


def test_a_resumed_training_continues_in_the_data(tmp_path):
  """Each example is met once per epoch, whether or not the run was stopped."""
  path = str(tmp_path / "ids.tf_record")
  input_pipeline.write_examples(path, ({"id": [i]} for i in range(40)))
  features = {"id": tf.FixedLenFeature([], tf.int64)}

  def read(start_step, steps, seed):
    input_fn = input_pipeline.make_input_fn(
        path, features, is_training=True, shuffle_buffer_size=1,
        num_skipped=4 * start_step)
    return np.concatenate([batch["id"] for batch in helpers.read_batches(
        input_fn, 4, steps, seed=seed)]).tolist()

  assert read(0, 6, 1) + read(6, 4, 2) == list(range(40))


def test_a_resumed_training_of_many_files_misses_none(tmp_path):
  """The files keep their order, so that what was read is known."""
  paths = [str(tmp_path / ("%02d.tf_record" % i)) for i in range(20)]
  for number, path in enumerate(paths):
    input_pipeline.write_examples(
        path, ({"id": [number * 20 + i]} for i in range(20)))
  features = {"id": tf.FixedLenFeature([], tf.int64)}
  ids = []
  for start in range(0, 100, 25):  # an epoch in four parts
    input_fn = input_pipeline.make_input_fn(
        paths, features, is_training=True, shuffle_buffer_size=1,
        num_skipped=4 * start, num_parallel_files=4, file_seed=3)
    for batch in helpers.read_batches(input_fn, 4, 25, seed=start):
      ids += batch["id"].tolist()
  assert sorted(ids) == list(range(400))
  assert ids != list(range(400))


def test_a_refused_command_leaves_no_run_json(task, tmp_path):
  """Or the folder would be taken for one of the refused run."""
  output_dir = tmp_path / "out"
  arguments = task + ["--output_dir=%s" % output_dir]
  helpers.run_main(run_classifier, arguments)
  (output_dir / "run.json").unlink()  # as in a folder of the reference
  other = helpers.write_config(tmp_path, hidden_size=32)
  status, stderr = helpers.run_command(run_classifier, arguments + [
      "--bert_config_file=" + other, "--num_train_epochs=4"])
  assert status == 1
  assert "does not fit the model" in stderr
  assert not (output_dir / "run.json").exists()
  helpers.run_main(run_classifier, arguments + ["--num_train_epochs=4"])
  assert (output_dir / "run.json").exists()


def test_a_resumed_training_draws_other_numbers(tmp_path):
  """The seed of the Estimator depends on the step; the first one does not."""
  from training_test import make_toy
  seeds = [make_toy(tmp_path, tf_random_seed=7, start_step=step)
           .config.tf_random_seed for step in (0, 0, 100, 200)]
  assert seeds[0] == seeds[1] == 7
  assert len(set(seeds)) == 3


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_saves_and_the_command_says_so(task, tmp_path, name):
  """As a command: exit status 130 and a last line with what to do."""
  output_dir = tmp_path / "out"
  process = subprocess.run(
      [sys.executable, "-c", KILLED % dict(
          top=helpers.TOP, script="run_classifier", patch="""
# As in a shell: who runs the tests in the background ignores it.
signal.signal(signal.SIGINT, signal.default_int_handler)
def die(*unused_args, **unused_kwargs):
  os.kill(os.getpid(), signal.%s)
hooks.LogHook.before_run = at_call(3, hooks.LogHook.before_run)
""" % name)] + task + ["--output_dir=%s" % output_dir],
      capture_output=True)
  stderr = process.stderr.decode("utf-8")
  assert process.returncode == 130, stderr[-3000:]
  assert "Traceback" not in stderr
  assert stderr.rstrip("\n").split("\n")[-1].endswith(
      "stopped at step 3 of 6, which %s holds; the same command resumes from "
      "there" % (output_dir / "model.ckpt-3"))


def test_evaluating_reads_the_weights_once(task, tmp_path, monkeypatch):
  """From output_dir without --init_checkpoint, or with one not to be read."""
  output_dir = tmp_path / "out"
  arguments = task + ["--output_dir=%s" % output_dir]
  helpers.run_main(run_classifier, arguments)
  _, trained = helpers.read_eval_results(str(output_dir))
  restored = []
  restore = tf.train.Saver.restore
  monkeypatch.setattr(
      tf.train.Saver, "restore", lambda self, session, path:
      restored.append(path) or restore(self, session, path))
  monkeypatch.setattr(
      tf.train, "init_from_checkpoint", lambda *unused: pytest.fail("reads"))
  for more in ([], ["--init_checkpoint=/not/there.ckpt"]):
    helpers.run_main(run_classifier, arguments + ["--do_train=false"] + more)
    assert restored == [str(output_dir / "model.ckpt-6")]
    del restored[:]
    assert helpers.read_eval_results(str(output_dir))[1] == trained
