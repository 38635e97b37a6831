"""Tests of xla: programs, their variables and dropout, the same training."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import kernels, layers, xla
from helpers import run_script, write_config, write_vocab

NEW = not tf.__version__.startswith("1.")  # compiles functions


def load(output_dir):
  """Returns the variables of the last checkpoint, a dict from name to array."""
  reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(output_dir))
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()}


@pytest.mark.slow
@pytest.mark.skipif(not NEW, reason="refused")
def test_a_training_is_the_same_with_it(tmp_path):
  """Six steps from one checkpoint; its head has no dropout."""
  questions = [{"id": str(i), "question": "the " * (i + 1), "answers": [
      {"text": "cat", "answer_start": 4}]} for i in range(12)]
  train_file = tmp_path / "train.json"
  train_file.write_text(json.dumps({"data": [{"paragraphs": [
      {"context": "the cat sleeps", "qas": questions}]}]}))
  arguments = dict(
      do_train=True, train_file=train_file, vocab_file=write_vocab(tmp_path),
      bert_config_file=write_config(
          tmp_path, hidden_dropout_prob=0, attention_probs_dropout_prob=0),
      max_seq_length=16, max_query_length=8, doc_stride=4, train_batch_size=4,
      num_train_epochs=2, xla_cache_dir=str(tmp_path / "cache"),
      learning_rate=1e-3, tf_random_seed=1)
  compiled = tmp_path / "compiled"

  def train(name, **changes):
    values = dict(arguments, output_dir=str(tmp_path / name), **changes)
    status, _, stderr = run_script(
        "run_squad.py",
        ["--%s=%s" % item for item in sorted(values.items())],
        TF_XLA_FLAGS="", XLA_FLAGS="--xla_dump_to=%s" % compiled)
    assert status == 0, stderr[-3000:]
    return load(values["output_dir"]), stderr

  train("start", num_train_epochs=1)
  start = tf.train.latest_checkpoint(str(tmp_path / "start"))
  plain, _ = train("plain", init_checkpoint=start)
  # Those of `find_fault`: small variables are updated without one.
  assert len(list(compiled.glob("*before_optimizations.txt"))) == 2
  ours, stderr = train("xla", init_checkpoint=start, use_xla=True)
  assert stderr.count("--use_xla: on CPUs, steps") == 1
  assert set(ours) == set(plain)
  for name in ours:
    np.testing.assert_allclose(ours[name], plain[name], atol=1e-4, err_msg=name)
  # A file for each program: each kind of layer, its gradient and so on, though
  # there are several layers; sizes of R and T come on top.
  assert 0 < len(list(compiled.glob("*before_optimizations.txt"))) <= 40


@pytest.mark.skipif(not NEW, reason="compiles no functions")
def test_a_program_has_the_variables_of_its_call():
  def double(x):
    return x * layers.dense(x, 2, name="d", initializer=tf.ones_initializer())

  with tf.Graph().as_default() as graph, tf.Session() as session:
    x, results = tf.constant([[1.0, 2.0]]), []
    with xla.compiling():
      for scope in "ab":
        with tf.variable_scope(scope):
          results.append(xla.call(double, x))
    names = [v.op.name for v in tf.trainable_variables()]
    assert names == ["a/d/kernel", "a/d/bias", "b/d/kernel", "b/d/bias"]
    session.run(tf.global_variables_initializer())
    session.run(tf.assign(tf.trainable_variables()[3], [1.0, 1.0]))
    np.testing.assert_allclose(
        session.run(results), [[[3.0, 6.0]], [[4.0, 8.0]]])
    # One function for both calls.
    assert len({op.get_attr("f").name for op in graph.get_operations()
                if op.type == "PartitionedCall"}) == 1


@pytest.mark.skipif(not NEW, reason="compiles no functions")
def test_dropout_in_a_program_is_new_in_each_run_and_call():
  def drop(x):
    return layers.dropout(x, 0.5)

  with tf.Graph().as_default(), tf.Session() as session:
    x = tf.ones([40, 50])
    with kernels.gradients_by_hand(), xla.compiling():
      one, other = xla.call(drop, x), xla.call(drop, x)
    gradient, = tf.gradients(one, x)
    runs = [session.run([one, other, gradient]) for _ in range(2)]
  for first, second, slope in runs:
    # The gradient computes the mask again: it has to be the same.
    np.testing.assert_array_equal(first, slope)
    assert (first != second).mean() > 0.4
    assert set(np.unique(first)) == {0.0, 2.0}
    assert 0.45 < (first > 0).mean() < 0.55
  assert (runs[0][0] != runs[1][0]).mean() > 0.4


def test_without_xla_the_fault_is_found(monkeypatch):
  def fail(x):
    raise tf.errors.UnimplementedError(None, None, "no XLA\nTrace: ...")

  find_fault = xla.find_fault.__wrapped__
  assert not find_fault()
  monkeypatch.setattr(
      xla, "compiled", lambda function: lambda x: tf.py_func(
          fail, [x], tf.float32))
  assert "no XLA" in find_fault()
