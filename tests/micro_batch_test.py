"""Tests of whole runs whose batches are computed in parts, asked for or not."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    accumulation, cli, hooks, input_pipeline, placement, training)
import helpers
import modeling
import run_classifier
import run_pretraining
import run_pretraining_test
import run_squad
import run_squad_test

STEPS = 4
BATCH = 8
# 2 ** 48 bytes are more than a process can have on any machine of today.
TOO_MUCH = 2 ** 46


@pytest.fixture(scope="module", name="flags")
def make_flags(tmp_path_factory):
  """From each script to the flags of a run of 4 steps."""
  folder = tmp_path_factory.mktemp("data")
  rng = np.random.RandomState(8)
  input_pipeline.write_examples(
      str(folder / "records"),
      [run_pretraining_test.make_record(rng) for _ in range(20)])
  squad = run_squad_test.write_json(
      folder / "train.json", run_squad_test.make_squad())
  shared = dict(
      bert_config_file=helpers.write_config(folder), train_batch_size=BATCH,
      learning_rate=1e-2, tf_random_seed=3, save_checkpoints_steps=2,
      do_train=True)
  fine_tuning = dict(
      shared, vocab_file=helpers.write_vocab(folder), max_seq_length=16)
  return {
      run_classifier: dict(
          fine_tuning, task_name="MRPC", num_train_epochs=BATCH * STEPS / 12.0,
          data_dir=helpers.write_mrpc(folder / "data")),
      run_squad: dict(  # of 9 questions
          fine_tuning, train_file=squad, predict_file=squad, max_seq_length=20,
          max_query_length=4, num_train_epochs=3.6),
      run_pretraining: dict(
          shared, input_file=str(folder / "records"), num_warmup_steps=2,
          max_seq_length=run_pretraining_test.LENGTH, num_train_steps=STEPS,
          max_predictions_per_seq=run_pretraining_test.PREDICTIONS)}


def arguments_of(values):
  return ["--%s=%s" % item for item in sorted(values.items())]


def run(script, values, output_dir):
  """Runs a script; returns the weights that it ends with, and its log."""
  with helpers.captured_log() as lines:
    helpers.run_main(script, arguments_of(dict(values, output_dir=output_dir)))
  return helpers.read_weights(tf.train.latest_checkpoint(str(output_dir))), [
      line for line in lines if line.startswith("Out of memory")]


def limit_memory(monkeypatch, size, from_step=0, training_only=True):
  """Has memory run out where more examples than a size are computed at once."""
  make_model_fn = training.make_model_fn

  def make_limited(head_fn, *args):
    def limited(features, is_training):
      if is_training == training_only:
        surplus = tf.maximum(
            tf.shape(features["input_ids"], out_type=tf.int64)[0] - size, 0)
        surplus *= tf.cast(
            tf.train.get_or_create_global_step() >= from_step, tf.int64)
        # TensorFlow 1.15 does not make room for zeros that are only summed.
        nothing = tf.reduce_sum(tf.random.uniform([surplus * TOO_MUCH]))
        features = dict(features, input_ids=features["input_ids"] + tf.cast(
            nothing, features["input_ids"].dtype))
      return head_fn(features, is_training)

    return make_model_fn(limited, *args)

  monkeypatch.setattr(training, "make_model_fn", make_limited)


def check_alike(found, expected):
  assert sorted(found) == sorted(expected)
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, 1e-4, 1e-4, name)


@pytest.mark.slow
@pytest.mark.parametrize("script, from_step, resumed", [
    (run_pretraining, 1, 0), (run_squad, 3, 2)])
def test_a_batch_in_parts_asked_for_or_not_trains_like_the_whole(
    flags, tmp_path, monkeypatch, script, from_step, resumed):
  monkeypatch.setattr(modeling, "dropout", lambda x, rate: x)
  values = dict(flags[script], bert_config_file=helpers.write_config(
      tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0))
  expected, _ = run(script, values, tmp_path / "whole")
  values["init_checkpoint"] = tmp_path / "whole/model.ckpt-0"
  parts, _ = run(script, dict(
      values, train_batch_size=2, gradient_accumulation_steps=4),
                 tmp_path / "parts")
  check_alike(parts, expected)
  limit_memory(monkeypatch, 2, from_step)
  automatic, warnings = run(
      script, dict(values, auto_micro_batch=True), tmp_path / "limited")
  check_alike(automatic, expected)
  assert warnings == [
      "Out of memory with %d examples at a time; going on from step %d with %d "
      "at a time, and updates of 8 as before (--auto_micro_batch)" % (
          size, resumed, size // 2) for size in (8, 4)]


@pytest.mark.slow
def test_smaller_parts_draw_the_dropout_of_accumulated_batches(
    flags, tmp_path, monkeypatch):
  """13 batches of 4 make 6 steps of two of them and one of one."""
  values = dict(flags[run_classifier], num_train_epochs=13 / 3.0)
  expected, _ = run(run_classifier, dict(
      values, train_batch_size=2, gradient_accumulation_steps=4),
                    tmp_path / "parts")
  limit_memory(monkeypatch, 2)
  found, warnings = run(run_classifier, dict(
      values, train_batch_size=4, gradient_accumulation_steps=2,
      init_checkpoint=tmp_path / "parts/model.ckpt-0", auto_micro_batch=True),
                        tmp_path / "limited")
  assert len(warnings) == 1 and "updates of 8 as before" in warnings[0]
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, name)


@pytest.mark.slow
def test_two_devices_take_smaller_parts_together(flags, tmp_path, monkeypatch):
  monkeypatch.setattr(placement, "find", lambda settings: placement.Placement(
      ("/cpu:0", "/cpu:1")))
  values = dict(flags[run_classifier], num_train_epochs=2)
  expected, _ = run(run_classifier, dict(
      values, train_batch_size=4, gradient_accumulation_steps=2),
                    tmp_path / "parts")
  limit_memory(monkeypatch, 2, from_step=1)
  found, warnings = run(run_classifier, dict(
      values, init_checkpoint=tmp_path / "parts/model.ckpt-0",
      auto_micro_batch=True), tmp_path / "limited")
  assert len(warnings) == 1 and "with 4 examples at a time" in warnings[0]
  for name, value in expected.items():
    np.testing.assert_array_equal(found[name], value, name)


def test_without_the_flag_one_line_names_it(flags, tmp_path, monkeypatch):
  limit_memory(monkeypatch, 4)
  status, stderr = helpers.run_command(run_classifier, arguments_of(
      dict(flags[run_classifier], output_dir=tmp_path)))
  line, = stderr.splitlines()
  assert status == 1 and line.startswith(
      "run_classifier.py: out of memory (OOM when allocating")
  assert ("give --auto_micro_batch or --recompute_grad, for the same results "
          "in less memory, or lower --train_batch_size=8 or "
          "--max_seq_length=16, or end" in line)


@pytest.mark.slow
def test_a_signal_in_a_step_without_memory_ends_the_run(
    flags, tmp_path, monkeypatch):
  limit_memory(monkeypatch, 2)
  monkeypatch.setattr(  # as a signal within the step does
      hooks.StopHook, "before_run", lambda self, context: setattr(
          self, "asked", True))
  with pytest.raises(cli.Interrupted, match="^stopped in a step that ran out"):
    run(run_classifier, dict(flags[run_classifier], auto_micro_batch=True),
        tmp_path)


@pytest.mark.slow
def test_one_example_is_not_halved(flags, tmp_path, monkeypatch):
  limit_memory(monkeypatch, 0)
  status, stderr = helpers.run_command(run_classifier, arguments_of(
      dict(flags[run_classifier], train_batch_size=1, auto_micro_batch=True,
           output_dir=tmp_path)))
  line, = stderr.splitlines()
  assert status == 1 and line.startswith(
      "run_classifier.py: one example at a time is too much already: out of "
      "memory (OOM when allocating")
  assert ("; give --recompute_grad, for the same results in less memory, or "
          "lower --max_seq_length=16, or end other" in line)
  assert not os.path.exists(str(tmp_path / "model.ckpt-1.index"))


@pytest.mark.slow
def test_an_evaluation_without_memory_is_not_taken_for_a_step(
    flags, tmp_path, monkeypatch):
  limit_memory(monkeypatch, 2, training_only=False)
  with pytest.raises(cli.UserError, match=(
      r"^out of memory \(OOM.* lower --eval_batch_size=4 or --max_seq")):
    run(run_classifier, dict(
        flags[run_classifier], auto_micro_batch=True, do_eval=True,
        eval_steps=2, eval_batch_size=4), tmp_path)


def test_a_tpu_refuses_it(flags, tmp_path):
  with pytest.raises(cli.UserError, match="^--(auto_micro_batch|use_tpu): "):
    run(run_classifier, dict(flags[run_classifier], auto_micro_batch=True,
                             use_tpu=True), tmp_path)


def test_parts_divide_the_batch():
  assert [accumulation.smaller_parts(12, count) for count in (
      1, 2, 4, 6, 12)] == [2, 4, 12, 12, None]
  assert accumulation.smaller_parts(5, 1) == 5
  assert accumulation.smaller_parts(1, 1) is None
