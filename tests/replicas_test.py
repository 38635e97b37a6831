"""Tests of replicas: several devices make the update of one."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from accumulation_test import (  # noqa: F401
    HEADS, check_alike, make_features, train, without_dropout)
from bert_suite import (
    cli, environment, modeling, optimization, placement, tf_estimator, training,
    training_state, xla)
import helpers
import run_classifier

TWO = placement.Placement(("/cpu:0", "/cpu:1"))


@pytest.mark.parametrize("name, num_parts, options, settings", [
    ("pretraining", 1, {"remove_padding": True}, {}),
    ("pretraining", 1, {}, {"compute_dtype": "float16"}),  # scales the loss
    ("SQuAD", 2, {"remove_padding": True}, {"clip_norm": 0.1})])
def test_two_devices_make_the_update_of_one(name, num_parts, options, settings):
  head_fn = HEADS[name](modeling.Options(**options))
  whole = HEADS[name](modeling.Options(**dict(options, recompute_grad=False)))
  check_alike(
      train(head_fn, make_features(), num_parts, placed=TWO, **settings),
      train(whole, make_features(), 1, **settings))


def test_all_that_saves_memory_goes_together_with_devices():
  options = dict(remove_padding=True, compute_dtype="bfloat16")
  found = train(HEADS["pretraining"](modeling.Options(
      recompute_grad=True, **options)), make_features(), 3, placed=TWO)
  whole = train(HEADS["pretraining"](modeling.Options(**options)),
                make_features(), 1)
  # A weight's gradient is rounded to 8 bits, that of each part on its own.
  np.testing.assert_allclose(found[1], whole[1], 2e-2)
  for name in ("bert/embeddings/word_embeddings/adam_m",
               "bert/encoder/layer_0/output/dense/kernel/adam_m"):
    largest = np.abs(whole[0][name]).max()
    np.testing.assert_allclose(
        found[0][name], whole[0][name], atol=0.03 * largest, err_msg=name)


def test_replicas_and_their_parts_draw_numbers_of_their_own(tmp_path):
  keys = []

  def head_fn(features, is_training):
    del is_training
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    key = xla.draw_key()
    keys.append(key)
    return training.Head(tf.reduce_mean(weight * features["x"]), {}, None)

  config = tf.ConfigProto(device_count={"CPU": 2})
  with tf.Graph().as_default(), tf.Session(config=config) as session:
    tf.train.get_or_create_global_step()
    model_fn = training.make_model_fn(
        head_fn, None, optimization.Settings(1.0, 9, 0),
        state=training_state.State(0, seed=7), placed=placement.Placement(
            TWO.devices, num_workers=2, worker=1))
    model_fn({"x": tf.zeros([2])}, None, tf_estimator.ModeKeys.TRAIN,
             {"batch_size": 4}, tf_estimator.RunConfig(str(tmp_path)))
    session.run(tf.global_variables_initializer())
    found = [tuple(key) for key in session.run(keys)]
    with xla.drawing_from(7, tf.train.get_global_step()):
      alone = tuple(session.run(xla.draw_key()))
  assert found[0] == alone  # that of the variables, which is not computed
  assert len(set(found)) == 3  # those of the second process's devices


def test_the_last_step_may_have_fewer_parts():
  head_fn = HEADS["weighted classifier"](modeling.Options())
  few = {name: value[:8] for name, value in make_features().items()}
  check_alike(
      train(head_fn, make_features(), 3, placed=TWO, num_train_steps=1,
            last_accumulation_steps=2),
      train(head_fn, few, 1, num_train_steps=1))


def test_a_batch_that_devices_do_not_share_evenly_is_refused():
  three = placement.Placement(("/cpu:0",) * 3)
  with pytest.raises(cli.UserError, match="multiple of gradient_accumulation_"
                     r"steps=2 \* 3 devices"):
    train(HEADS["classifier"](None), make_features(8), 2, placed=three)


def make_settings(folder, name, **values):
  """Returns settings of a training of 4 steps, without dropout."""
  return run_classifier.Settings(**dict(dict(
      task_name="MRPC", data_dir=helpers.write_mrpc(folder / "data"),
      vocab_file=helpers.write_vocab(folder), bert_config_file=(
          helpers.write_config(folder, hidden_dropout_prob=0.0,
                               attention_probs_dropout_prob=0.0)),
      max_seq_length=16, train_batch_size=12, eval_batch_size=2,
      predict_batch_size=2, learning_rate=1e-3, num_train_epochs=4,
      do_train=True, do_eval=True, do_predict=True, tf_random_seed=3,
      output_dir=str(folder / name)), **values))


@pytest.mark.slow
def test_a_run_on_several_devices_is_that_of_one(tmp_path, monkeypatch):
  # The head has dropout whatever the config says.
  monkeypatch.setattr(modeling, "dropout", lambda x, rate: x)
  one = run_classifier.run_with(make_settings(tmp_path, "one"))
  # Of 4 batches of 2 examples, the last of one, three devices have one batch
  # each, then the first of them has one and the others none.
  for name, count in (("two", 2), ("three", 3)):
    several = run_classifier.run_with(make_settings(
        tmp_path, name, devices=["/cpu:%d" % i for i in range(count)]))
    check_runs(tmp_path, "one", one, name, several)


def check_runs(folder, name, results, other_name, other_results):
  """Compares the results, predictions and weights of two runs."""
  assert sorted(other_results) == sorted(results)
  for key, value in results.items():
    np.testing.assert_allclose(other_results[key], value, 1e-4, err_msg=key)
  folders = [str(folder / name), str(folder / other_name)]
  weights = [helpers.read_weights(os.path.join(one, "model.ckpt-4"))
             for one in folders]
  assert sorted(weights[0]) == sorted(weights[1])
  for key, value in weights[0].items():
    np.testing.assert_allclose(weights[1][key], value, 1e-4, 1e-4, err_msg=key)
  np.testing.assert_allclose(
      *map(helpers.read_probabilities, folders), rtol=1e-4)


@pytest.mark.parametrize("num_gpus, found, message", [
    ("2", [], "finds no GPU; leave the flag out"),
    ("3", ["GPU:0", "GPU:1"], "finds GPU:0, GPU:1; give a number up to 2"),
    ("0", [], "expected a number from 1 on, or all"),
    ("some", [], "expected a number from 1 on, or all")])
def test_gpus_that_are_not_there_are_refused(
    monkeypatch, num_gpus, found, message):
  monkeypatch.setattr(environment, "find_gpus", lambda: [
      type("GPU", (), {"name": name}) for name in found])
  settings = run_classifier.Settings(num_gpus=num_gpus)
  with pytest.raises(cli.UserError) as error:
    placement.find(settings)
  assert str(error.value).startswith("--num_gpus=%s: " % num_gpus)
  assert message in str(error.value)


def test_gpus_that_are_there_are_found(monkeypatch):
  monkeypatch.setattr(environment, "find_gpus", lambda: [
      type("GPU", (), {"name": "GPU:%d" % i}) for i in range(3)])

  def find(**values):
    placed = placement.find(run_classifier.Settings(**values))
    return placed and placed.devices

  assert find() is None and find(num_gpus="1") is None
  assert find(num_gpus="2") == ("/gpu:0", "/gpu:1")
  assert find(num_gpus="all") == ("/gpu:0", "/gpu:1", "/gpu:2")
  with pytest.raises(cli.UserError, match="--use_tpu computes elsewhere"):
    find(num_gpus="2", use_tpu=True)
  config = placement.session_config(placement.Placement(("/gpu:0", "/gpu:1")))
  assert config.device_count["GPU"] == 2 and config.experimental.collective_nccl
