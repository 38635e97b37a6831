"""Tests of training: a toy head on CPU, checkpoints, log lines, mistakes."""

import dataclasses
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    cli, initial_weights, input_pipeline, progress, run_settings, tf_estimator,
    training)
from bert_suite.script_options import option
import extract_features
from helpers import TOP, captured_log, make_variables, save_checkpoint
import modeling
import optimization
import run_classifier
import run_pretraining
import run_squad

RNG = np.random.RandomState(1)
X = RNG.normal(size=[11, 2]).astype(np.float32)
Y = (X.dot([1.0, -2.0]) + 0.5).astype(np.float32)
BERT = dict(vocab_size=13, hidden_size=8, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=12,
            max_position_embeddings=6, type_vocab_size=2)


def head_fn(features, is_training):
  """A linear model with dropout of its input."""
  w = tf.get_variable("w", features["x"].shape[1:],
                      initializer=tf.random_normal_initializer())
  b = tf.get_variable("b", [], initializer=tf.zeros_initializer())
  x = modeling.dropout(features["x"], 0.5) if is_training else features["x"]
  y = tf.reduce_sum(x * w, axis=1) + b  # [B]
  squares = tf.square(y - features["y"])  # [B]
  loss = tf.reduce_mean(squares, name="toy_loss")

  return training.Head(loss, {"y": y}, (
      lambda squares: {"mean_square": np.mean(squares)},
      {"squares": squares}, ["mean_square"]))


def make_toy(output_dir, num_train_steps=5, init_checkpoint=None,
             head_fn=head_fn, **kwargs):
  model_fn = training.make_model_fn(
      head_fn, init_checkpoint, optimization.Settings(
          learning_rate=0.01, num_train_steps=num_train_steps,
          num_warmup_steps=2))
  return training.make_estimator(
      model_fn, str(output_dir), train_batch_size=4, eval_batch_size=3,
      predict_batch_size=5, **kwargs)


def toy_input_fn(is_training=False, x=X):
  return input_pipeline.make_array_input_fn({"x": x, "y": Y}, is_training)


class LossHook(tf.train.SessionRunHook):
  """Collects the loss of every step."""

  def __init__(self):
    self.losses = []

  def before_run(self, run_context):
    return tf.train.SessionRunArgs("toy_loss:0")

  def after_run(self, run_context, run_values):
    self.losses.append(float(run_values.results))


def train_toy(output_dir, steps=5, **kwargs):
  """Trains and returns the losses and the log."""
  hook = LossHook()
  with captured_log() as lines:
    make_toy(output_dir, steps, **kwargs).train(
        toy_input_fn(is_training=True), hooks=[hook], max_steps=steps)
  return hook.losses, lines


def checkpoint_steps(output_dir):
  return sorted(int(re.search(r"-(\d+)\.index$", name).group(1))
                for name in os.listdir(str(output_dir))
                if name.endswith(".index"))


# The estimator.


def test_trains_evaluates_and_predicts(tmp_path):
  far = {"w": [5.0, 5.0], "b": -3.0}
  output_dir = tmp_path / "out"
  losses, _ = train_toy(
      output_dir, 150, tf_random_seed=1,
      init_checkpoint=save_checkpoint(tmp_path / "far.ckpt", far))
  assert len(losses) == 150

  estimator = make_toy(output_dir)
  w, b = [estimator.get_variable_value(name) for name in ("w", "b")]
  y = X.dot(w) + b
  results = estimator.evaluate(toy_input_fn())  # batches of 3, the last of 2
  assert results["global_step"] == 150
  np.testing.assert_allclose(
      results["mean_square"], np.mean((y - Y) ** 2), rtol=1e-5)
  at_start = np.mean((X.dot(far["w"]) + far["b"] - Y) ** 2)
  assert results["mean_square"] < 0.7 * at_start
  predicted = [row["y"] for row in estimator.predict(toy_input_fn())]
  np.testing.assert_allclose(predicted, y, rtol=1e-5, atol=1e-6)


def test_random_seed_decides_weights_dropout_and_shuffling(tmp_path):
  losses = [train_toy(tmp_path / str(i), tf_random_seed=seed)[0]
            for i, seed in enumerate([3, 3, 4, None, None])]
  assert len(losses[0]) == 5
  assert losses[0] == losses[1]
  assert losses[0] != losses[2]
  assert losses[3] != losses[4]  # without a seed no two runs are the same


@pytest.mark.parametrize("keep,kept", [(2, [6, 7]), (0, [0, 3, 6, 7])])
def test_checkpoints_are_saved_and_kept_as_asked(tmp_path, keep, kept):
  train_toy(tmp_path, 7, save_checkpoints_steps=3, keep_checkpoint_max=keep)
  assert checkpoint_steps(tmp_path) == kept


@pytest.mark.skipif(hasattr(tf, "estimator"),
                    reason="this TensorFlow supports TPUs")
def test_use_tpu_needs_an_older_tensorflow(tmp_path, monkeypatch):
  def look_up(*unused_args, **unused_kwargs):
    raise OSError("no network")

  monkeypatch.setattr(  # a name must not be looked up before the check
      tf.distribute.cluster_resolver, "TPUClusterResolver", look_up)
  with pytest.raises(cli.UserError) as error:
    make_toy(tmp_path, use_tpu=True, tpu_name="my-tpu")
  assert re.search("TPU training needs TensorFlow 2.15 or older.* %s" %
                   re.escape(tf.__version__), str(error.value))
  assert "\n" not in str(error.value)


# Checkpoints.


def bert_head_fn(features, is_training):
  model = modeling.BertModel(
      modeling.BertConfig(**BERT), is_training, features["ids"])
  loss = tf.reduce_mean(tf.square(model.get_pooled_output()))
  return training.Head(loss, {}, None)


def bert_checkpoint(path, **changes):
  """Writes a checkpoint of a BertModel; returns it and its shapes by name."""
  config = modeling.BertConfig(**dict(BERT, **changes))
  with tf.Graph().as_default(), tf.Session() as session:
    modeling.BertModel(config, False, tf.zeros([1, 3], tf.int32))
    session.run(tf.global_variables_initializer())
    shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
    return tf.train.Saver().save(session, str(path)), shapes


def test_an_estimator_is_what_settings_and_keywords_say():
  def make(**values):
    return training.make_estimator(
        lambda features, mode, params: None, None, **values)

  settings = run_classifier.Settings(
      save_checkpoints_steps=7, keep_checkpoint_max=3, tf_random_seed=5)
  config = make(settings=settings, keep_checkpoint_max=2, start_step=1).config
  assert (config.save_checkpoints_steps, config.keep_checkpoint_max,
          config.tf_random_seed) == (7, 2, 1000008)
  # Settings of a script that does not train have only some of the fields.
  config = make(settings=extract_features.Settings(master="")).config
  assert config.save_checkpoints_steps == make().config.save_checkpoints_steps
  with pytest.raises(cli.UserError, match="unknown setting keep_checkpoint_ma"):
    make(keep_checkpoint_maxx=1)


def test_a_model_without_settings_only_predicts():
  model_fn = training.make_model_fn(head_fn, None, settings=None)
  with pytest.raises(ValueError, match="'eval', but this model only predicts"):
    model_fn({}, None, tf_estimator.ModeKeys.EVAL, {})


@pytest.mark.parametrize("changes", [
    dict(hidden_size=16), dict(vocab_size=14), dict(intermediate_size=24)])
def test_a_checkpoint_of_another_config_stops_the_training(tmp_path, changes):
  _, ours = bert_checkpoint(tmp_path / "ours.ckpt")
  checkpoint, theirs = bert_checkpoint(tmp_path / "theirs.ckpt", **changes)
  output_dir = tmp_path / "out"
  estimator = training.make_estimator(
      training.make_model_fn(
          bert_head_fn, checkpoint, optimization.Settings(0.01, 5, 0)),
      str(output_dir))
  ids = np.zeros([32, 3], np.int32)
  with pytest.raises(cli.UserError) as error:
    estimator.train(input_pipeline.make_array_input_fn({"ids": ids}, True),
                    max_steps=1)
  expected = {
      "%s: %s in the checkpoint, %s in the model%s" % (
          n, theirs[n], ours[n],
          " (learn_vocab.py --extend=append gives a model rows for more words)"
          if theirs[n][0] != ours[n][0] and "word_embeddings" in n else "")
      for n in ours if theirs[n] != ours[n]}
  assert set(str(error.value).split("): ", 1)[1].split("; ")) == expected
  assert len(expected) == {
      "hidden_size": len(ours) - 1,  # all but intermediate/dense/bias
      "vocab_size": 1, "intermediate_size": 3}[list(changes)[0]]
  if output_dir.exists():
    assert not [name for name in os.listdir(str(output_dir)) if "ckpt" in name]


def test_initialize_from_checkpoint_sets_and_lists_what_it_finds(tmp_path):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", {
      "a": [[1.0, 2.0]], "scope/b": [3.0], "scope/b_c": [4.0], "other": 5.0})
  with tf.Graph().as_default(), tf.Session() as session:
    a, b, new = make_variables([("a", [1, 2]), ("scope/b", [1]), ("new", [1])])
    with captured_log() as lines:
      assert initial_weights.initialize_from_checkpoint(checkpoint) is None
    with captured_log() as debug_lines:
      progress.start_logging(verbose=True)
      initial_weights.initialize_from_checkpoint(checkpoint)
    session.run(tf.global_variables_initializer())
    values = session.run([a, b, new])
  np.testing.assert_array_equal(values[0], [[1.0, 2.0]])
  np.testing.assert_array_equal(values[1], [3.0])
  np.testing.assert_array_equal(values[2], [0.0])
  assert lines[-1:] == [
      "Variables: 3, 4 parameters, 2 from model.ckpt, 1 new: new"]
  assert debug_lines[-4:] == lines[-1:] + [
      "  name = a:0, shape = (1, 2), *INIT_FROM_CKPT*",
      "  name = scope/b:0, shape = (1,), *INIT_FROM_CKPT*",
      "  name = new:0, shape = (1,)"]
  assert not [line for line in lines if "random weights" in line]


@pytest.mark.parametrize("names,what", [
    (["electra/w", "output_bias"], "not a BERT checkpoint of TensorFlow 1"),
    (["model/w/.ATTRIBUTES/VARIABLE_VALUE"], "not a BERT checkpoint of "
     "TensorFlow 1, but an object-based one of TensorFlow 2; `python "
     "convert_checkpoint.py --init_checkpoint=%s --output_dir=NEW_FOLDER` "
     "converts those of the Model Garden"),
    (["model/bert/w"], "one with all names under the scope model/; save it "
     "again without that scope"),
    (["module/bert/w"], "one that run_classifier_with_tfhub.py trained on a "
     "Hub module; pass the checkpoint that the module was made from"),
    (["s%d" % i for i in range(7)], "not a BERT checkpoint of TensorFlow 1")])
@pytest.mark.parametrize("must_have_all", [False, True])
def test_a_checkpoint_with_none_of_the_encoder_is_refused(
    tmp_path, names, what, must_have_all):
  checkpoint = save_checkpoint(
      tmp_path / "model.ckpt", {name: [5.0] for name in names})
  with tf.Graph().as_default():
    make_variables([("bert/w", [1]), ("output_bias", [1])])
    with pytest.raises(cli.UserError) as error:
      initial_weights.initialize_from_checkpoint(
          checkpoint, must_have_all=must_have_all)
  assert str(error.value) == (
      "%s holds none of the model's variables (the first names found: %s%s), "
      "so it is %s; %s" % (
          checkpoint, ", ".join(names[:5]), ", ..." if names[5:] else "",
          what.replace("%s", checkpoint),
          "train first, or give the checkpoint of a fine-tuned model"
          if must_have_all else
          "leave --init_checkpoint out to start from random weights"))


@pytest.mark.parametrize("init_checkpoint", [None, ""])
def test_without_a_checkpoint_nothing_is_read(init_checkpoint):
  with tf.Graph().as_default(), captured_log() as lines:
    make_variables([("a", [1])])
    assert initial_weights.initialize_from_checkpoint(init_checkpoint) is None
  assert lines == ["Variables: 1, 1 parameters, all new"]


def test_scaffold_for_tpus_reads_the_checkpoint_when_it_is_called(tmp_path):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", {"a": [7.0]})
  values = []
  with tf.Graph().as_default():
    variable, = make_variables([("a", [1])])
    scaffold_fn = initial_weights.initialize_from_checkpoint(
        checkpoint, use_tpu=True)
    for call in (lambda: None, scaffold_fn):
      scaffold = call()
      with tf.Session() as session:
        session.run(variable.initializer)
        values.append(session.run(variable).tolist())
  assert isinstance(scaffold, tf.train.Scaffold)
  assert values == [[0.0], [7.0]]


def test_init_checkpoint_starts_a_training_but_not_a_second_time(tmp_path):
  start = {"w": [0.75, 1.5], "b": 2.0}
  checkpoint = save_checkpoint(tmp_path / "start.ckpt", start)
  output_dir = tmp_path / "out"
  train_toy(output_dir, 3, init_checkpoint=checkpoint)
  at_0 = tf.train.load_checkpoint(str(output_dir / "model.ckpt-0"))
  at_3 = tf.train.load_checkpoint(str(output_dir / "model.ckpt-3"))
  np.testing.assert_array_equal(at_0.get_tensor("w"), start["w"])
  np.testing.assert_array_equal(at_0.get_tensor("b"), start["b"])
  assert np.all(at_3.get_tensor("w") != start["w"])
  # What was trained counts from here on, also with the same arguments.
  predicted = make_toy(output_dir, init_checkpoint=checkpoint).predict(
      toy_input_fn())
  np.testing.assert_allclose(
      [row["y"] for row in predicted],
      X.dot(at_3.get_tensor("w")) + at_3.get_tensor("b"), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("step", ["train", "evaluate", "predict"])
def test_an_output_folder_of_another_model_is_refused(tmp_path, step):
  train_toy(tmp_path, 1)
  wide = np.concatenate([X, X[:, :1]], axis=1)  # w was [2], now it is [3]
  with pytest.raises(cli.UserError) as error:
    if step == "train":
      make_toy(tmp_path).train(toy_input_fn(True, x=wide), max_steps=2)
    else:
      list(getattr(make_toy(tmp_path), step)(toy_input_fn(x=wide)))
  assert "w: [2] in the checkpoint, [3] in the model" in str(error.value)


@pytest.mark.parametrize("step", ["evaluate", "predict"])
def test_a_checkpoint_without_the_head_serves_for_training_only(tmp_path, step):
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("w", [2])  # but no "b"
    session.run(tf.global_variables_initializer())
    checkpoint = tf.train.Saver().save(session, str(tmp_path / "w.ckpt"))
  with pytest.raises(cli.UserError) as error:
    list(getattr(make_toy(tmp_path / "out", init_checkpoint=checkpoint), step)(
        toy_input_fn()))
  assert "b: not in the checkpoint" in str(error.value)
  train_toy(tmp_path / "out", 1, init_checkpoint=checkpoint)


HEAD = ("output_weights", "output_bias")
FITTING = {"bert/w": [1.0], "output_weights": [2.0], "output_bias": [3.0]}


def start_with_head(checkpoint, init_head, **kwargs):
  """Starts a model with a head; returns the log and the variables' values."""
  with tf.Graph().as_default(), captured_log() as lines:
    make_variables([("bert/w", [1])] + [(name, [1]) for name in HEAD])
    initial_weights.initialize_from_checkpoint(
        checkpoint, head=HEAD, init_head=init_head, **kwargs)
    with tf.Session() as session:
      session.run(tf.global_variables_initializer())
      values = [v[0] for v in session.run(tf.trainable_variables())]
  return lines, values


@pytest.mark.parametrize("init_head,saved,line,values", [
    ("auto", FITTING, "The head (output_weights, output_bias) is kept: its "
     "weights start from %s; --init_head=new starts with a new one",
     [1.0, 2.0, 3.0]),
    ("keep", FITTING, "The head (output_weights, output_bias) is kept: its "
     "weights start from %s; --init_head=new starts with a new one",
     [1.0, 2.0, 3.0]),
    ("new", FITTING, "The head (output_weights, output_bias) starts from "
     "random weights", [1.0, 0.0, 0.0]),
    ("auto", {"bert/w": [1.0]}, "The head (output_weights, output_bias) starts "
     "from random weights", [1.0, 0.0, 0.0]),
    ("auto", dict(FITTING, output_weights=[1.0, 1.0]), "The head "
     "(output_weights, output_bias) starts from random weights: in %s "
     "output_weights is [2] there and [1] here", [1.0, 0.0, 0.0]),
    ("auto", {"bert/w": [1.0], "output_bias": [3.0]}, "The head "
     "(output_weights, output_bias) starts from random weights: in %s "
     "there is no output_weights", [1.0, 0.0, 0.0]),
    ("auto", {"bert/w": [1.0], "cls/squad/output_bias": [1.0]}, "The head "
     "(output_weights, output_bias) starts from random weights: in %s "
     "there is no output_weights, there is no output_bias, but the head of "
     "another task: cls/squad/output_bias", [1.0, 0.0, 0.0]),
])
def test_a_head_that_fits_is_kept_and_another_one_starts_anew(
    tmp_path, init_head, saved, line, values):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", saved)
  lines, found = start_with_head(checkpoint, init_head)
  assert lines[0] == line.replace("%s", checkpoint)
  assert found == values
  assert not [other for other in lines if "lacks" in other]


@pytest.mark.parametrize("saved,reason", [
    ({"bert/w": [1.0]}, "there is no output_weights, there is no output_bias"),
    (dict(FITTING, output_bias=[1.0, 1.0]),
     "output_bias is [2] there and [1] here")])
def test_a_head_to_keep_must_fit(tmp_path, saved, reason):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", saved)
  with pytest.raises(cli.UserError) as error:
    start_with_head(checkpoint, "keep")
  assert str(error.value) == (
      "--init_head=keep: %s has another head: %s; pass --init_head=auto to "
      "start with a new one" % (checkpoint, reason))


@pytest.mark.parametrize("init_head", ["auto", "new"])
def test_an_encoder_or_a_model_to_predict_with_must_fit_all_the_same(
    tmp_path, init_head):
  other_encoder = save_checkpoint(
      tmp_path / "encoder.ckpt", dict(FITTING, **{"bert/w": [1.0, 1.0]}))
  other_head = save_checkpoint(
      tmp_path / "head.ckpt", dict(FITTING, output_bias=[1.0, 1.0]))
  for checkpoint, kwargs, name in (
      (other_encoder, {}, "bert/w"),
      (other_head, dict(must_have_all=True), "output_bias")):
    with pytest.raises(cli.UserError, match=(
        r"does not fit the model .*: %s: \[2\] in the checkpoint, \[1\]" %
        name)):
      start_with_head(checkpoint, init_head, **kwargs)


def test_an_unknown_value_of_init_head_is_named(tmp_path):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", FITTING)
  with pytest.raises(cli.UserError, match=(
      "^--init_head=old: expected one of auto, keep, new$")):
    start_with_head(checkpoint, "old")


def test_an_encoder_that_is_there_in_part_is_warned_of():
  with tf.Graph().as_default(), captured_log() as lines:
    variables = [tf.get_variable(name, [1]) for name in (
        "bert/layer_0", "bert/layer_1", "output_bias")]
    initial_weights.warn_of_random_weights(
        variables, {"bert/layer_0": 1, "bert/layer_0:0": 1}, "some.ckpt")
  line, = lines
  assert line.startswith("some.ckpt lacks 1 variables of the model")
  assert line.endswith("bert/layer_1")


# Mistakes and results.


@pytest.mark.parametrize("error,text", [
    (ValueError("no such label"), "no such label"),
    (tf.errors.NotFoundError(None, None, "x.tsv; No such file"),
     "x.tsv; No such file"),
    (OSError("no network"), "no network"),
])
def test_user_errors_turns_mistakes_into_one_kind(error, text):
  with pytest.raises(cli.UserError) as caught:
    with cli.user_errors():
      raise error
  assert str(caught.value) == text


@pytest.mark.parametrize("kind", [KeyError, RuntimeError, KeyboardInterrupt])
def test_user_errors_leaves_faults_of_the_program_alone(kind):
  with pytest.raises(kind):
    with cli.user_errors():
      raise kind("a fault")


def test_misleading_lines_of_the_estimator_are_left_out(tmp_path):
  logger = tf.get_logger()
  before = logger.filters[:], logger.propagate
  try:
    progress.quiet_logging()
    with captured_log() as lines:
      make_toy(tmp_path).train(toy_input_fn(is_training=True), max_steps=1)
      make_toy(tmp_path).evaluate(toy_input_fn())
      run_settings.log_device(run_settings.TrainingSettings())
  finally:
    logger.filters[:], logger.propagate = before
  assert any(line.startswith("Running on ") for line in lines)
  assert any(line.startswith("Restoring parameters from ") for line in lines)
  for text in ("Running train on", "Running eval on", "Using config",
               "eval_on_tpu", "Saving dict", "Calling model_fn",
               "Create CheckpointSaverHook", "Graph was finalized",
               "local_init_op", "checkpoint_path", "evaluation at",
               "Loss for final step", "Saving checkpoints for 0 "):
    assert not [line for line in lines if text in line]
  features, = [line for line in lines if line.startswith("Features: ")]
  assert features == "Features: x [None, 2], y [None]"


def test_verbose_logs_all_but_what_misleads(tmp_path):
  logger = tf.get_logger()
  before = logger.filters[:], logger.propagate
  try:
    progress.quiet_logging()
    filters = logger.filters[:]
    progress.quiet_logging()
    assert logger.filters == filters
    with captured_log() as lines:
      progress.start_logging(verbose=True)
      make_toy(tmp_path).train(toy_input_fn(is_training=True), max_steps=1)
      make_toy(tmp_path).evaluate(toy_input_fn())
  finally:
    logger.filters[:], logger.propagate = before
  for text in ("Using config", "Calling model_fn", "Graph was finalized",
               "Finished evaluation at", "Loss for final step"):
    assert [line for line in lines if text in line], text
  assert len([line for line in lines if line.startswith("Features: ")]) == 2
  assert not [line for line in lines if "Running train on" in line]


def test_run_shows_a_mistake_as_one_line(tmp_path):
  script = tmp_path / "script.py"
  script.write_text("""
import sys
sys.path.insert(0, %r)
from absl import flags
from bert_suite import cli, tables

def define_flags():
  cli.define_flag("string", "table", None, "A table.")

def main(argv):
  sys.stderr.write("main runs with %%s\\n" %% argv[1:])
  with cli.user_errors():
    tables.read_tsv(flags.FLAGS.table)

if __name__ == "__main__":
  cli.run(main, define_flags, required=["table"])
""" % TOP)
  table = str(tmp_path / "table.tsv")
  process = subprocess.run(
      [sys.executable, str(script), "--table=" + table],
      capture_output=True)
  assert process.returncode == 1
  assert process.stdout == b""
  before, after = process.stderr.decode("utf-8").split("main runs with []\n")
  assert after == (
      "script.py: --table=%s: No such file or directory\n" % table)
  assert "Traceback" not in before


def test_write_results_sorts_logs_and_writes(tmp_path):
  path = tmp_path / "eval_results.txt"
  with captured_log() as lines:
    training.write_results(str(path), "Eval results", {
        "loss": np.float32(0.5), "accuracy": 0.25, "global_step": np.int64(3)})
  assert path.read_text() == "accuracy = 0.25\nglobal_step = 3\nloss = 0.5\n"
  assert lines == ["***** Eval results *****", "  accuracy = 0.25",
                   "  global_step = 3", "  loss = 0.5"]


# Options and settings from flags.


@pytest.mark.parametrize("script, values, expected", [
    (run_squad, {}, dict(remove_padding=True)),
    (run_classifier, dict(remove_padding=False), {}),
    pytest.param(
        run_pretraining, dict(use_xla=True),
        dict(remove_padding=True, compiled=True), marks=pytest.mark.skipif(
            tf.__version__.startswith("1."), reason="compiles no functions")),
    (run_classifier, dict(use_tpu=True), dict(use_one_hot_embeddings=True)),
    (extract_features, dict(use_tpu=True), {}),
    (extract_features, dict(use_one_hot_embeddings=True),
     dict(use_one_hot_embeddings=True, remove_padding=True))])
def test_options_follow_the_flags(script, values, expected):
  assert (run_settings.model_options(script.Settings(**values)) ==
          modeling.Options(**expected))


def test_a_tpu_that_trains_does_not_answer_requests():
  settings = run_squad.Settings(use_tpu=True)
  assert run_settings.serving_options(settings) == modeling.Options(
      remove_padding=True, few_shapes=True)
  settings = run_squad.Settings(remove_padding=False)
  assert not run_settings.serving_options(settings).remove_padding


def test_settings_follow_the_flags():
  settings = run_classifier.Settings(
      learning_rate=2e-5, warmup_proportion=0.1, use_tpu=True)
  assert (run_settings.optimizer_settings(settings, num_train_steps=59) ==
          optimization.Settings(2e-5, 59, 5, use_tpu=True))
  settings = run_pretraining.Settings(
      learning_rate=1e-4, num_train_steps=20,
      num_warmup_steps=7)
  assert (run_settings.optimizer_settings(settings, num_train_steps=20) ==
          optimization.Settings(1e-4, 20, 7))


def test_steps_of_warmup_come_before_a_share():
  settings = run_squad.Settings(warmup_steps=9, layerwise_lr_decay=0.8,
                                adam_bias_correction=True)
  found = run_settings.optimizer_settings(settings, num_train_steps=1000)
  assert (found.num_warmup_steps, found.layerwise_lr_decay,
          found.adam_bias_correction) == (9, 0.8, True)


def test_last_layers_and_pooler_start_anew_where_asked_for(tmp_path):
  names = ["bert/encoder/layer_0/k", "bert/encoder/layer_1/k",
           "bert/encoder/layer_11/k", "bert/pooler/k"]
  config = modeling.BertConfig(vocab_size=9, num_hidden_layers=12)

  def fresh(**changes):
    return run_settings.find_fresh(run_squad.Settings(**changes), config)

  assert fresh() is None
  checkpoint = save_checkpoint(
      tmp_path / "model.ckpt", {name: [1.0] for name in names})
  for changes, expected in (
      (dict(reinit_layers=1), [1, 1, 0, 1]),
      (dict(reinit_layers=11, reinit_pooler=True), [1, 0, 0, 0]),
      (dict(reinit_pooler=True), [1, 1, 1, 0])):
    with tf.Graph().as_default(), tf.Session() as session:
      variables = make_variables([(name, [1]) for name in names])
      initial_weights.initialize_from_checkpoint(
          checkpoint, fresh=fresh(**changes))
      session.run(tf.global_variables_initializer())
      assert [value[0] for value in session.run(variables)] == expected
  with pytest.raises(cli.UserError, match="the model has 12 layers"):
    fresh(reinit_layers=13)


@pytest.mark.parametrize("module, mode", [
    (run_squad, tf_estimator.ModeKeys.PREDICT),
    (run_pretraining, tf_estimator.ModeKeys.EVAL)])
@pytest.mark.parametrize("given", [False, True])
def test_an_option_is_a_field_a_flag_and_the_line_that_uses_it(
    monkeypatch, module, mode, given):
  @dataclasses.dataclass(frozen=True)
  class Options(modeling.Options):
    ignore_segments: bool = False

  @dataclasses.dataclass
  class Settings(module.Settings):
    ignore_segments: bool = option("bool", False, "See Options.")

  def complete_inputs(config, is_training, ids, mask, types, options):
    return original(config, is_training, ids, mask,
                    None if options.ignore_segments else types, options)

  original = modeling._complete_inputs
  monkeypatch.setattr(modeling, "Options", Options)
  monkeypatch.setattr(modeling, "_complete_inputs", complete_inputs)
  model_fn = module.make_model_fn(
      modeling.BertConfig(30, 8, 1, 2, 12), None,
      optimization.Settings(1e-3, 10, 0),
      run_settings.model_options(Settings(ignore_segments=given)))
  with tf.Graph().as_default():
    features = {name: tf.placeholder(tf.int32, [2, 8]) for name in (
        "unique_ids", "input_ids", "input_mask", "segment_ids",
        "masked_lm_positions", "masked_lm_ids", "next_sentence_labels")}
    features["next_sentence_labels"] = tf.placeholder(tf.int32, [2, 1])
    features["masked_lm_weights"] = tf.placeholder(tf.float32, [2, 8])
    model_fn(features, None, mode, {})
    assert bool(features["segment_ids"].consumers()) != given
