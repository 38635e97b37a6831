"""Tests of --use_xla: what TensorFlow is told, the same training with it."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, run_settings, training, xla
from helpers import (
    captured_log, run_script, write_config, write_mrpc, write_vocab)


def graph_options(**kwargs):
  estimator = training.make_estimator(
      lambda features, labels, mode, params: None, "unused", **kwargs)
  return estimator.config.session_config.graph_options


def test_the_flag_reaches_the_session():
  plain, compiled = graph_options(), graph_options(use_xla=True)
  assert (compiled.optimizer_options.global_jit_level ==
          tf.OptimizerOptions.ON_1)
  # All else is what an estimator has anyway.
  compiled.ClearField("optimizer_options")
  assert compiled == plain


@pytest.mark.parametrize("given, expected", [
    (None, "--tf_xla_cpu_global_jit"),
    ("--tf_xla_auto_jit=2", "--tf_xla_auto_jit=2 --tf_xla_cpu_global_jit"),
    ("--tf_xla_cpu_global_jit", "--tf_xla_cpu_global_jit"),
    ("options.txt", "options.txt")])
def test_options_that_were_given_stay(monkeypatch, given, expected):
  monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
  if given:
    monkeypatch.setenv("TF_XLA_FLAGS", given)
  xla.let_cpu_compile()
  assert os.environ["TF_XLA_FLAGS"] == expected


def test_without_the_flag_nothing_is_done(monkeypatch):
  monkeypatch.delenv("TF_XLA_FLAGS", raising=False)
  with captured_log() as lines:
    run_settings.check_xla(False)
  assert "TF_XLA_FLAGS" not in os.environ and not lines


def test_tpus_are_refused():
  with pytest.raises(cli.UserError, match="TPUs always compile"):
    run_settings.check_xla(True, use_tpu=True)


def load(output_dir):
  """Returns the variables of the last checkpoint, a dict from name to array."""
  reader = tf.train.load_checkpoint(tf.train.latest_checkpoint(output_dir))
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()}


def test_a_training_is_the_same_with_it(tmp_path):
  """Six steps from one checkpoint, of whose head nothing is random either."""
  arguments = dict(
      task_name="MRPC", do_train=True, data_dir=write_mrpc(tmp_path / "data"),
      vocab_file=write_vocab(tmp_path), bert_config_file=write_config(
          tmp_path, hidden_dropout_prob=0, attention_probs_dropout_prob=0),
      max_seq_length=16, train_batch_size=4, num_train_epochs=2,
      # TensorFlow 1.15 seeds a random operation, as the dropout of the head, by
      # its place among all; there only the same graph draws the same.
      remove_padding=not tf.__version__.startswith("1."),
      learning_rate=1e-3, tf_random_seed=1)
  compiled = tmp_path / "compiled"

  def train(name, **changes):
    values = dict(arguments, output_dir=str(tmp_path / name), **changes)
    status, _, stderr = run_script(
        "run_classifier.py",
        ["--%s=%s" % item for item in sorted(values.items())],
        TF_XLA_FLAGS="", XLA_FLAGS="--xla_dump_to=%s" % compiled)
    assert status == 0, stderr[-3000:]
    return load(values["output_dir"]), stderr

  train("start", num_train_epochs=1)
  start = tf.train.latest_checkpoint(str(tmp_path / "start"))
  plain, _ = train("plain", init_checkpoint=start)
  assert not list(compiled.glob("*before_optimizations.txt"))
  ours, stderr = train("xla", init_checkpoint=start, use_xla=True)
  assert stderr.count("--use_xla: on CPUs measured") == 1
  assert set(ours) == set(plain)
  for name in ours:
    np.testing.assert_allclose(ours[name], plain[name], atol=1e-4, err_msg=name)
  # A file for each compilation, module_0001.cluster_0__... and so on; 19
  # clusters at most, of one shape each.
  assert 0 < len(list(compiled.glob("*before_optimizations.txt"))) <= 40
