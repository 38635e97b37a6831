"""Tests of bert_suite/best_model.py."""

import math

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import best_model, checkpoints, training_state


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
  assert lines[0] == "step\tepoch\teval_f1\tbest eval_f1"
  assert [line[-1] == "*" for line in lines[1:]] == [False, True, False]


def test_no_history_has_no_best_row(tmp_path):
  assert best_model.best_row(str(tmp_path)) is None


@pytest.mark.parametrize("text", ["", "a\tb\n", "step\tepoch\tbest x\n1\n"])
def test_another_history_is_refused(tmp_path, text):
  (tmp_path / "history.tsv").write_text(text)
  with pytest.raises(ValueError, match=r"history.tsv, row [12]: not as a"):
    best_model.read_history(str(tmp_path))


def test_a_history_that_is_not_text_is_named(tmp_path):
  (tmp_path / "history.tsv").write_bytes(b"step\tepoch\tbest \xff\n")
  with pytest.raises(ValueError, match="history.tsv: cannot be read"):
    best_model.best_row(str(tmp_path))


def test_best_holds_one_checkpoint_and_run_json(tmp_path):
  (tmp_path / "run.json").write_text("{}")
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("x", initializer=np.float32(1))
    session.run(tf.global_variables_initializer())
    saver = training_state.Saver(training_state.State(0), 5)
    saver.build()
    for step in (1, 2):
      path = saver.save(session, str(tmp_path / "model.ckpt"), step)
      best_model.copy_checkpoint(path, str(tmp_path))
  best = tmp_path / "best"
  assert sorted(path.name.split(".data")[0] for path in best.iterdir()) == [
      "checkpoint", "model.ckpt-2", "model.ckpt-2.index",
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
  evaluations = best_model.Evaluations(str(tmp_path), "eval_f1", None, 99)
  assert evaluations.find_stop(patience) == step
