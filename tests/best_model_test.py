"""Tests of bert_suite/best_model.py."""

import math
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import best_model, checkpoints, files, tasks, training_state
import helpers


def rows(*values, name="eval_f1"):
  return [best_model.Row(10 * (i + 1), 0.5 * (i + 1), {name: value})
          for i, value in enumerate(values)]


@pytest.mark.parametrize("name, values, step", [
    ("eval_f1", (0.1, 0.3, 0.2), 20), ("eval_f1", (0.3, 0.3), 10),
    ("loss", (3.0, 1.0, 2.0), 20), ("eval_loss", (3.0, 1.0), 20),
    ("masked_lm_loss", (3.0, 1.0), 20), ("perplexity", (1.0, 1.0), 10),
    ("eval_f1", (math.nan, 0.1), 20), ("loss", (math.nan, 0.1, 0.2), 20)])
def test_best_is_the_first_of_the_best_numbers(name, values, step):
  assert best_model.find_best(rows(*values, name=name), name).step == step


def test_nan_is_never_best():
  assert best_model.find_best(rows(math.nan), "eval_f1") is None


def test_history_is_read_back_as_written(tmp_path):
  written = rows(0.1, 1 / 3, 0.2)
  best_model.write_history(str(tmp_path), written, "eval_f1")
  assert best_model.read_history(str(tmp_path)) == (written, "eval_f1")
  assert best_model.best_row(str(tmp_path)) == written[1]
  lines = (tmp_path / "history.tsv").read_text().splitlines()
  assert lines[0] == "step\tepoch\teval_f1\tdata\tbest eval_f1"
  assert [line[-1] == "*" for line in lines[1:]] == [False, True, False]


def test_no_history_has_no_best_row(tmp_path):
  assert best_model.best_row(str(tmp_path)) is None


@pytest.mark.parametrize("text", [
    "", "a\tb\n", "step\tepoch\tbest x\n1\n", "step\tepoch\tbest x\n1\t1"])
def test_another_history_is_refused(tmp_path, text):
  (tmp_path / "history.tsv").write_text(text)
  with pytest.raises(ValueError, match=r"history.tsv, row [12]: not what a"):
    best_model.read_history(str(tmp_path))


def test_a_history_that_is_not_text_is_named(tmp_path):
  (tmp_path / "history.tsv").write_bytes(b"step\tepoch\tbest \xff\n")
  with pytest.raises(ValueError, match="history.tsv: cannot be read"):
    best_model.best_row(str(tmp_path))


def test_best_holds_one_checkpoint_and_what_it_is(tmp_path):
  (tmp_path / "run.json").write_text("{}")
  (tmp_path / "labels.txt").write_text("a\nb\n")
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("x", initializer=np.float32(1))
    session.run(tf.global_variables_initializer())
    saver = training_state.Saver(training_state.State(0), 5)
    saver.build()
    for step in (1, 2):
      path = saver.save(session, str(tmp_path / "model.ckpt"), step)
      best_model.copy_checkpoint(
          path, str(tmp_path), ("run.json", "labels.txt", "others.txt"))
  best = tmp_path / "best"
  assert sorted(path.name.split(".data")[0] for path in best.iterdir()) == [
      "checkpoint", "labels.txt", "model.ckpt-2", "model.ckpt-2.index",
      "model.ckpt-2.meta", "model.ckpt-2.state.json", "run.json"]
  assert checkpoints.find_checkpoint(str(best)) == str(best / "model.ckpt-2")


@pytest.mark.parametrize("values, patience, step", [
    ([0.5, 0.7, 0.7, 0.6, 0.9], 2, 40),  # an equal one is no better
    ([0.5, 0.7, 0.6, 0.8, 0.9], 2, None),
    ([0.5, 0.4, 0.6, 0.4], 1, 20),
    ([math.nan, math.nan, 0.5], 2, 20),
    ([0.9, 0.5, 0.4, 0.3], None, None)])
def test_training_stops_after_evaluations_that_are_no_better(
    values, patience, step, tmp_path):
  history = rows(*values, name="eval_f1")
  best_model.write_history(str(tmp_path), history, "eval_f1")
  evaluations = best_model.Evaluations(str(tmp_path), "eval_f1", 99)
  assert evaluations.find_stop(patience) == step


def write_folder(folder, weights, **figures):
  """Writes a checkpoint of step 5, its evaluation, and another one in best/."""
  best_model.write_history(
      str(folder), [best_model.Row(5, 1.0, figures, "2-1a")], "eval_f1")
  (folder / "best").mkdir()
  (folder / "best" / "checkpoint").write_text(
      'model_checkpoint_path: "model.ckpt-5"\n')
  helpers.save_checkpoint(folder / "best" / "model.ckpt-5", {"x": [1.0]})
  return helpers.save_checkpoint(folder / "model.ckpt-5", {"x": [weights]})


def test_best_is_not_of_an_earlier_training(tmp_path):
  path = write_folder(tmp_path, 2.0, eval_f1=0.5)
  best_model.Evaluations(str(tmp_path), "eval_f1", 5, data="2-1a").keep_best()
  assert helpers.read_weights(best_model.find_checkpoint(str(tmp_path))) == (
      helpers.read_weights(path))


@pytest.mark.parametrize("number", range(1, 5))
def test_best_is_replaced_by_one_of_the_same_name_or_made_again(
    tmp_path, monkeypatch, number):
  """Where it is killed before the removal or copy of that number."""
  path = write_folder(tmp_path, 2.0, eval_f1=0.5)
  calls = []

  def counted(function):
    def call(*args, **kwargs):
      calls.append(function)
      if len(calls) == number:
        raise KeyboardInterrupt()
      return function(*args, **kwargs)
    return call

  evaluations = best_model.Evaluations(
      str(tmp_path), "eval_f1", 5, data="2-1a")
  with monkeypatch.context() as patch:
    for name in ("Remove", "Copy"):
      patch.setattr(tf.gfile, name, counted(getattr(tf.gfile, name)))
    with pytest.raises(KeyboardInterrupt):
      evaluations.keep_best()
  evaluations.keep_best()
  assert helpers.read_weights(best_model.find_checkpoint(str(tmp_path))) == (
      helpers.read_weights(path))


def test_a_best_whose_copy_did_not_end_is_copied_again(tmp_path):
  path = write_folder(tmp_path, 2.0, eval_f1=0.5)
  (tmp_path / "run.json").write_text("{}")
  for name in os.listdir(str(tmp_path / "best")):
    os.remove(str(tmp_path / "best" / name))
  for name in training_state.names_of(path):
    tf.gfile.Copy(str(tmp_path / name), str(tmp_path / "best" / name))
  best_model.Evaluations(str(tmp_path), "eval_f1", 5, ("run.json",),
                         data="2-1a").keep_best()
  assert (tmp_path / "best" / "run.json").exists()
  assert (tmp_path / "best" / "checkpoint").exists()


def test_a_damaged_best_is_made_again_from_a_whole_one_only(tmp_path):
  path = write_folder(tmp_path, 2.0, eval_f1=0.5)
  evaluations = best_model.Evaluations(
      str(tmp_path), "eval_f1", 5, data="2-1a")
  os.truncate(str(tmp_path / "best" / "model.ckpt-5.index"), 5)
  with helpers.captured_log() as lines:
    evaluations.keep_best()
  assert "it will be made again if possible" in lines[0]
  kept = best_model.find_checkpoint(str(tmp_path))
  assert helpers.read_weights(kept) == helpers.read_weights(path)
  expected = training_state.checksum_of_weights(kept)
  # Now the one it was copied from is damaged, and recognized as such.
  files.write_json(path + ".state.json", {
      "step": 5, "position": 1, "seed": 1, "is_ordered": True,
      "files": {"model.ckpt-5.index": [5, 0]}})
  evaluations.keep_best()
  assert training_state.checksum_of_weights(kept) == expected


def test_the_history_is_of_the_metric_that_chose_the_best(tmp_path):
  write_folder(tmp_path, 1.0, eval_f1=0.5, eval_loss=0.1)
  folder = str(tmp_path)
  assert os.path.dirname(best_model.find_checkpoint(folder, "eval_f1")) == str(
      tmp_path / "best")
  with pytest.raises(ValueError, match="^--best_metric=eval_loss: .*ckpt-5 was "
                     "chosen by eval_f1; leave the flag out$"):
    best_model.find_checkpoint(folder, "eval_loss")
  best_model.Evaluations(folder, "eval_loss", 5, data="2-1a").keep_best()
  assert best_model.read_history(folder)[1] == "eval_loss"


def test_evaluations_on_other_data_are_not_compared(tmp_path):
  write_folder(tmp_path, 1.0, eval_f1=0.5)
  with pytest.raises(ValueError, match=r"history.tsv: holds evaluations on oth"
                     r"er data, .*\(2-1a there, 2-1b here\); evaluate on the "):
    best_model.Evaluations(str(tmp_path), "eval_f1", 5, data="2-1b")
  # What the training takes back does not matter.
  assert not best_model.Evaluations(str(tmp_path), "eval_f1", 4, data="b").rows


def test_data_are_described_by_their_content(tmp_path):
  def describe(text, count=2):
    (tmp_path / "a").write_text(text)
    path = str(tmp_path / "a")
    return best_model.describe_data(tasks.Data(path, count, count))

  os.utime(str(tmp_path), (1, 1))
  assert describe("some") == describe("some")
  assert len({describe("some"), describe("other"), describe("other", 3)}) == 3
  assert best_model.describe_data(tasks.Data(
      [str(tmp_path / "a")], 3, 3)) == describe("other", 3)
