"""Folders whose names TensorFlow would take for patterns: nothing is lost."""

import os
import sys
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import checkpoints, cli, files, progress, training
from helpers import (
    PAIRS, captured_log, check_mrpc_results, read_probabilities, run_command,
    run_main, save_checkpoint, write_config, write_lines, write_mrpc,
    write_vocab)
import predictor
import run_classifier
import run_pretraining
import run_squad
from training_test import checkpoint_steps, make_toy, toy_input_fn, train_toy

NAMES = ["run[lr=3e-4]", "a*", "b?", "c, d", "e\\f"]


@pytest.mark.parametrize("name", NAMES)
def test_a_training_resumes_and_keeps_what_it_should(tmp_path, name):
  folder = tmp_path / name
  neighbours = [tmp_path / "aa", tmp_path / "bb", tmp_path / "runl"]
  for neighbour in neighbours:
    neighbour.mkdir()
    (neighbour / "model.ckpt-1.index").write_bytes(b"of another training")
  train_toy(folder, 3, save_checkpoints_steps=1, keep_checkpoint_max=2)
  assert checkpoint_steps(folder) == [2, 3]
  w = make_toy(folder).get_variable_value("w")
  losses, _ = train_toy(
      folder, 5, save_checkpoints_steps=1, keep_checkpoint_max=2)
  assert len(losses) == 2
  assert checkpoint_steps(folder) == [4, 5]
  estimator = make_toy(folder)
  # Two steps do not lead far, random weights would.
  np.testing.assert_allclose(estimator.get_variable_value("w"), w, atol=0.05)
  checkpoint = str(folder / "model.ckpt-4")
  assert training.evaluate(
      estimator, toy_input_fn(), None, [], checkpoint)["global_step"] == 4
  assert estimator.evaluate(toy_input_fn())["global_step"] == 5
  for neighbour in neighbours:
    assert (neighbour / "model.ckpt-1.index").exists()
  assert sorted(os.listdir(str(tmp_path))) == sorted(
      [name, "aa", "bb", "runl"])


def test_a_copy_is_trained_on_and_the_first_folder_stays(tmp_path):
  """The list of checkpoints may hold the paths of another folder."""
  first, copy = tmp_path / "first", tmp_path / "copy"
  train_toy(first, 3, save_checkpoints_steps=1, keep_checkpoint_max=2)
  copy.mkdir()
  for path in first.iterdir():
    content = path.read_bytes()
    if path.name == "checkpoint":
      content = content.replace(b'"model', b'"%s/model' % str(first).encode())
    (copy / path.name).write_bytes(content)
  before = sorted(os.listdir(str(first)))
  train_toy(first, 4, save_checkpoints_steps=1, keep_checkpoint_max=9)
  losses, _ = train_toy(
      copy, 6, save_checkpoints_steps=1, keep_checkpoint_max=2)
  assert len(losses) == 3  # from step 3, its own
  assert checkpoint_steps(copy) == [5, 6]
  assert set(before) <= set(os.listdir(str(first)))
  assert tf.train.latest_checkpoint(str(copy)) == str(copy / "model.ckpt-6")


@pytest.mark.parametrize("has_own", [True, False])
def test_a_named_checkpoint_is_evaluated_as_of_its_step(tmp_path, has_own):
  train_toy(tmp_path / "first", 3)
  output_dir = tmp_path / "out"
  if has_own:
    train_toy(output_dir, 2)
  estimator = make_toy(
      output_dir, init_checkpoint=str(tmp_path / "first" / "model.ckpt-3"))
  assert estimator.evaluate(toy_input_fn())["global_step"] == (
      2 if has_own else 3)


def test_a_checkpoint_without_a_step_is_evaluated_as_of_step_0(tmp_path):
  for index, more in enumerate(({}, {"global_step": 7.0})):
    given = save_checkpoint(tmp_path / ("%d.ckpt" % index), dict(
        {"w": [5.0, 5.0], "b": -3.0}, **more))
    results = make_toy(tmp_path / "out", init_checkpoint=given).evaluate(
        toy_input_fn())
    assert results["global_step"] == 0


def test_figures_of_another_step_are_refused(tmp_path):
  train_toy(tmp_path, 3, save_checkpoints_steps=1)
  start = checkpoints.Start(None, 0, None)
  path = str(tmp_path / "model.ckpt-3")
  assert training.checkpoint_to_use(str(tmp_path), start, 3) == path
  assert training.checkpoint_to_use(str(tmp_path), start, 0) == path
  with pytest.raises(cli.UserError, match=(
      "the training ended at step 4, but the latest checkpoint is .*/model"
      r"\.ckpt-3, step 3; is another program writing there\?$")):
    training.checkpoint_to_use(str(tmp_path), start, 4)
  with pytest.raises(cli.UserError, match=(
      "the training ended at step 4, but there is no checkpoint; ")):
    training.checkpoint_to_use(str(tmp_path / "none"), start, 4)

  class Other:
    def evaluate(self, **unused_arguments):
      return {"global_step": 0, "loss": 1.0}

  with pytest.raises(cli.UserError, match=(
      r"/model\.ckpt-3 holds step 3, but step 0 was evaluated")):
    training.evaluate(Other(), None, None, [], path)


@pytest.mark.slow
def test_a_whole_run_under_odd_names(tmp_path):
  odd = tmp_path / "run[lr=3e-4], *"
  odd.mkdir()
  output_dir = str(odd / "out?")
  arguments = ["--%s=%s" % item for item in sorted(dict(
      task_name="MRPC", data_dir=write_mrpc(odd / "data[1]"),
      vocab_file=write_vocab(odd), bert_config_file=write_config(odd),
      max_seq_length=16, train_batch_size=4, eval_batch_size=4,
      predict_batch_size=4, learning_rate=1e-2, num_train_epochs=1,
      do_eval=True, do_predict=True).items())]
  run_main(run_classifier, arguments + [
      "--do_train=true", "--output_dir=" + output_dir,
      "--export_dir=%s" % (odd / "export[2]")])
  check_mrpc_results(output_dir, 3)
  trained = read_probabilities(output_dir)
  # Again, from there and by name.
  other = str(odd / "by[name]")
  run_main(run_classifier, arguments + [
      "--output_dir=" + other,
      "--init_checkpoint=%s/model.ckpt-3" % output_dir])
  check_mrpc_results(other, 3)
  for place in (output_dir, str(odd / "export[2]")):
    with predictor.Predictor(place) as model:
      np.testing.assert_allclose(model.predict(PAIRS), trained, atol=1e-5)
  status, stderr = run_command(run_classifier, arguments + [
      "--output_dir=" + output_dir, "--do_train=true", "--num_train_epochs=2",
      "--bert_config_file=%s" % write_config(tmp_path, hidden_size=32)])
  assert status == 1
  assert "%s holds model.ckpt-3 of another run" % output_dir in stderr


def test_logs_and_messages_have_the_names_that_the_user_knows(tmp_path, capsys):
  folder = str(tmp_path / "run[1]")
  link = files.literal_folder(folder)
  logger = tf.get_logger()
  before = logger.filters[:], logger.propagate
  try:
    progress.quiet_logging()
    with captured_log() as lines:
      tf.logging.warning("Lost %s/model.ckpt, 100%%", link)
      tf.logging.warning("100% lost")
  finally:
    logger.filters[:], logger.propagate = before
  assert lines == ["Lost %s/model.ckpt, 100%%" % folder, "100% lost"]

  def main(unused_argv):
    raise cli.UserError("%s/a is damaged" % link)

  with mock.patch.object(sys, "argv", ["script.py"]):
    with pytest.raises(SystemExit):
      cli.run(main, lambda: None)
  assert capsys.readouterr().err == "script.py: %s/a is damaged\n" % folder


# No result replaces a file that is read.


def classifier_with(folder, output_dir):
  """Arguments of run_classifier.py with a vocabulary that it would replace."""
  vocab_file = write_vocab(folder)
  os.link(vocab_file, os.path.join(output_dir, "eval_results.txt"))
  return run_classifier, dict(
      task_name="MRPC", data_dir=write_mrpc(folder / "data"), do_eval=True,
      vocab_file=vocab_file, bert_config_file=write_config(folder)), (
          "eval_results.txt", "--vocab_file")


def classifier_data(folder, output_dir):
  data_dir = write_mrpc(folder / "data")
  os.symlink(os.path.join(data_dir, "dev.tsv"),
             os.path.join(output_dir, "test_results.tsv"))
  return run_classifier, dict(
      task_name="MRPC", data_dir=data_dir, do_eval=True,
      vocab_file=write_vocab(folder), bert_config_file=write_config(folder)), (
          "test_results.tsv", "--data_dir")


def squad_with(folder, output_dir):
  path = os.path.join(output_dir, "predictions.json")
  with open(path, "w") as writer:
    writer.write("{}")
  return run_squad, dict(do_eval=True, predict_file=path), (
      "predictions.json", "--predict_file")


def pretraining_with(folder, output_dir):
  config = write_config(folder)
  os.rename(config, os.path.join(output_dir, "run.json"))
  write_lines(folder / "a.tfrecord", [["x"]])
  return run_pretraining, dict(
      do_train=True, input_file=folder / "a.tfrecord",
      bert_config_file=os.path.join(output_dir, "run.json")), (
          "run.json", "--bert_config_file")


def pretraining_records(folder, output_dir):
  path = os.path.join(output_dir, "graph.pbtxt")
  write_lines(path, [["x"]])
  return run_pretraining, dict(
      do_train=True, input_file=path, bert_config_file=write_config(folder)), (
          "graph.pbtxt", "--input_file")


@pytest.mark.parametrize("make", [
    classifier_with, classifier_data, squad_with, pretraining_with,
    pretraining_records])
def test_no_result_replaces_what_is_read(tmp_path, make):
  output_dir = tmp_path / "out"
  output_dir.mkdir()
  script, arguments, (written, flag) = make(tmp_path, str(output_dir))
  before = {path.name: path.read_bytes() for path in output_dir.iterdir()}
  status, stderr = run_command(script, [
      "--%s=%s" % item for item in sorted(dict(
          arguments, output_dir=output_dir, max_seq_length=16).items())])
  assert status == 1
  assert stderr.startswith("%s.py: %s/%s (--output_dir) is the file " % (
      script.__name__.split(".")[-1], output_dir, written)), stderr
  assert stderr.endswith(" (%s), which it would replace; name another file to "
                         "write\n" % flag)
  assert before == {path.name: path.read_bytes()
                    for path in output_dir.iterdir()}


def test_a_training_does_not_replace_the_checkpoint_it_starts_from(tmp_path):
  given = save_checkpoint(tmp_path / "model.ckpt-100", {"w": 1.0})
  os.remove(str(tmp_path / "checkpoint"))
  # It counts as one of a training there, whose weights have to fit.
  for is_training in (True, False):
    start = checkpoints.find_start(str(tmp_path), given, {}, is_training)
    assert start == (given, 0, None)
