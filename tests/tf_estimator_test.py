"""Tests of tf_estimator: one small linear model through the whole Estimator."""

import copy
import importlib.util
import json
import logging
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf
import tensorflow.compat.v2 as tf2

from bert_suite import tf_estimator
import helpers

BRINGS_ESTIMATOR = hasattr(tf, "estimator")  # TensorFlow 2.15 and older
from_2_16_on = pytest.mark.skipif(
    BRINGS_ESTIMATOR, reason="this TensorFlow brings its own Estimator")

LEARNING_RATE = 0.1
X = np.linspace(-1.0, 1.0, 10).astype(np.float32)
Y = 2.0 * X + 1.0


def sgd(w, b, num_steps, batch_size):
  """What training of the linear model must arrive at, in numpy."""
  for step in range(num_steps):
    rows = np.arange(step * batch_size, (step + 1) * batch_size) % len(X)
    error = w * X[rows] + b - Y[rows]
    w, b = (w - LEARNING_RATE * 2 * np.mean(error * X[rows]),
            b - LEARNING_RATE * 2 * np.mean(error))
  return w, b


def make_input_fn(repeat=False, seen=None):
  def input_fn(params):
    if seen is not None:
      seen.append(params["batch_size"])
    data = tf.data.Dataset.from_tensor_slices(({"x": X}, Y))
    if repeat:
      data = data.repeat()
    return data.batch(params["batch_size"])
  return input_fn


def linear(features):
  w = tf.get_variable("w", [], initializer=tf.zeros_initializer())
  b = tf.get_variable("b", [], initializer=tf.zeros_initializer())
  return w * features["x"] + b  # [B]


def minimize(loss):
  optimizer = tf.train.GradientDescentOptimizer(LEARNING_RATE)
  return optimizer.minimize(loss, global_step=tf.train.get_global_step())


def metric_fn(prediction, label):
  return {"error": tf.metrics.mean_absolute_error(label, prediction),
          "bias": tf.metrics.mean(prediction - label)}


def make_model_fn(seen=None, metrics_as_dict=False, host_call=None):
  def model_fn(features, labels, mode, params):
    if seen is not None:
      seen.append((mode, params.get("batch_size"), params["use_tpu"]))
    y = linear(features)
    if mode == tf_estimator.ModeKeys.PREDICT:
      return tf_estimator.TPUEstimatorSpec(mode=mode, predictions={"y": y})
    loss = tf.reduce_mean(tf.square(y - labels))
    if mode == tf_estimator.ModeKeys.EVAL:
      tensors = [y, labels]
      if metrics_as_dict:
        tensors = {"label": labels, "prediction": y}
      return tf_estimator.TPUEstimatorSpec(
          mode=mode, loss=loss, eval_metrics=(metric_fn, tensors))
    return tf_estimator.TPUEstimatorSpec(
        mode=mode, loss=loss, train_op=minimize(loss),
        host_call=host_call(loss) if host_call else None)
  return model_fn


def make_estimator(model_dir, model_fn, **kwargs):
  config = tf_estimator.TPURunConfig(
      cluster=None,
      master=None,
      model_dir=str(model_dir),
      save_checkpoints_steps=5,
      log_step_count_steps=1,
      tpu_config=tf_estimator.TPUConfig(
          iterations_per_loop=5,
          num_shards=8,
          per_host_input_for_training=(
              tf_estimator.InputPipelineConfig.PER_HOST_V2)))
  return tf_estimator.TPUEstimator(
      use_tpu=False, model_fn=model_fn, config=config, train_batch_size=4,
      eval_batch_size=3, predict_batch_size=7, export_to_tpu=False, **kwargs)


@pytest.fixture(scope="module")
def trained_dir(tmp_path_factory):
  """A folder with the checkpoint of step 10."""
  model_dir = tmp_path_factory.mktemp("linear")
  make_estimator(model_dir, make_model_fn()).train(
      make_input_fn(repeat=True), max_steps=10)
  return model_dir


def test_names_exist_on_every_tensorflow():
  assert issubclass(tf_estimator.TPUEstimator, tf_estimator.Estimator)
  assert issubclass(tf_estimator.TPURunConfig, tf_estimator.RunConfig)
  for name in ("EstimatorSpec", "TPUEstimatorSpec", "TPUConfig",
               "ServingInputReceiver"):
    assert isinstance(getattr(tf_estimator, name), type)
  assert tf_estimator.ModeKeys.PREDICT == "infer"
  assert tf_estimator.InputPipelineConfig.PER_HOST_V2 == 3


def test_train_then_resume_follow_sgd(tmp_path):
  model_fn = make_model_fn()
  estimator = make_estimator(tmp_path, model_fn)
  estimator.train(make_input_fn(repeat=True), max_steps=6)
  w, b = sgd(0.0, 0.0, 6, batch_size=4)
  np.testing.assert_allclose(estimator.get_variable_value("w"), w, rtol=1e-5)

  resumed = make_estimator(tmp_path, model_fn)
  resumed.train(make_input_fn(repeat=True), steps=3)
  w, b = sgd(w, b, 3, batch_size=4)
  assert resumed.get_variable_value("global_step") == 9
  np.testing.assert_allclose(resumed.get_variable_value("w"), w, rtol=1e-5)
  np.testing.assert_allclose(resumed.get_variable_value("b"), b, rtol=1e-5)
  assert resumed.latest_checkpoint() == os.path.join(
      str(tmp_path), "model.ckpt-9")


@pytest.mark.parametrize("metrics_as_dict", [False, True])
def test_evaluate_counts_the_short_last_batch(trained_dir, metrics_as_dict):
  estimator = make_estimator(
      trained_dir, make_model_fn(metrics_as_dict=metrics_as_dict))
  w, b = sgd(0.0, 0.0, 10, batch_size=4)
  result = estimator.evaluate(make_input_fn())
  assert result["global_step"] == 10
  np.testing.assert_allclose(
      result["error"], np.mean(np.abs(w * X + b - Y)), rtol=1e-5)
  np.testing.assert_allclose(
      result["bias"], np.mean(w * X + b - Y), rtol=1e-4)
  two_batches = estimator.evaluate(make_input_fn(), steps=2)
  np.testing.assert_allclose(
      two_batches["error"], np.mean(np.abs(w * X + b - Y)[:6]), rtol=1e-5)


def test_evaluate_a_chosen_checkpoint(trained_dir):
  estimator = make_estimator(trained_dir, make_model_fn())
  result = estimator.evaluate(
      make_input_fn(),
      checkpoint_path=os.path.join(str(trained_dir), "model.ckpt-5"))
  w, b = sgd(0.0, 0.0, 5, batch_size=4)
  assert result["global_step"] == 5
  np.testing.assert_allclose(
      result["error"], np.mean(np.abs(w * X + b - Y)), rtol=1e-5)


def test_predict_single_examples_and_batches(trained_dir):
  estimator = make_estimator(trained_dir, make_model_fn())
  w, b = sgd(0.0, 0.0, 10, batch_size=4)
  single = [row["y"] for row in estimator.predict(make_input_fn())]
  np.testing.assert_allclose(single, w * X + b, rtol=1e-4)
  batches = [batch["y"] for batch in estimator.predict(
      make_input_fn(), yield_single_examples=False)]
  assert [len(batch) for batch in batches] == [7, 3]
  np.testing.assert_allclose(np.concatenate(batches), w * X + b, rtol=1e-4)


def test_batch_size_of_each_mode_reaches_input_fn_and_model_fn(tmp_path):
  by_input, by_model = [], []
  params = {"extra": [1]}
  estimator = make_estimator(
      tmp_path, make_model_fn(seen=by_model), params=params)
  estimator.train(make_input_fn(seen=by_input), steps=1)
  estimator.evaluate(make_input_fn(seen=by_input), steps=1)
  list(estimator.predict(make_input_fn(seen=by_input)))
  assert by_input == [4, 3, 7]
  assert by_model == [
      ("train", 4, False), ("eval", 3, False), ("infer", 7, False)]
  assert params == {"extra": [1]}
  assert estimator.params == {"extra": [1]}


def test_params_may_not_hold_batch_size(tmp_path):
  with pytest.raises(ValueError, match="batch_size"):
    make_estimator(tmp_path, make_model_fn(), params={"batch_size": 4})


def test_exported_model_gives_the_same_numbers(trained_dir, tmp_path):
  def serving_input_receiver_fn():
    x = tf.placeholder(tf.float32, [None], name="x")
    return tf_estimator.ServingInputReceiver({"x": x}, {"x": x})

  seen = []
  estimator = make_estimator(trained_dir, make_model_fn(seen=seen))
  folder = estimator.export_saved_model(
      str(tmp_path), serving_input_receiver_fn)
  assert seen == [("infer", None, False)]  # an export fits any batch size
  list(estimator.predict(make_input_fn()))
  assert seen[1:] == [("infer", 7, False)]

  with tf.Graph().as_default(), tf.Session() as session:
    model = tf.saved_model.load(
        session, [tf.saved_model.tag_constants.SERVING], folder)
    signature = model.signature_def["serving_default"]
    y = session.run(signature.outputs["y"].name,
                    {signature.inputs["x"].name: X})
  w, b = sgd(0.0, 0.0, 10, batch_size=4)
  np.testing.assert_allclose(y, w * X + b, rtol=1e-4)


class CountingHook(tf.train.SessionRunHook):

  def __init__(self):
    self.num_runs = 0

  def after_run(self, run_context, run_values):
    self.num_runs += 1


def test_session_run_hooks_of_every_mode_run(trained_dir, tmp_path):
  estimator = make_estimator(tmp_path, make_model_fn())
  hooks = [CountingHook() for _ in range(3)]
  estimator.train(make_input_fn(repeat=True), hooks=hooks[:1], steps=4)
  estimator.evaluate(make_input_fn(), hooks=hooks[1:2])
  list(estimator.predict(make_input_fn(), hooks=hooks[2:]))
  assert [hook.num_runs for hook in hooks] == [4, 4, 2]


def test_hooks_and_scaffold_of_the_spec_are_used(tmp_path):
  hook = CountingHook()
  initialized = []

  def model_fn(features, labels, mode, params):
    del params
    loss = tf.reduce_mean(tf.square(linear(features) - labels))

    def scaffold_fn():
      return tf.train.Scaffold(
          init_fn=lambda scaffold, session: initialized.append(scaffold))

    return tf_estimator.TPUEstimatorSpec(
        mode=mode, loss=loss, train_op=minimize(loss), scaffold_fn=scaffold_fn,
        training_hooks=[hook])

  make_estimator(tmp_path, model_fn).train(make_input_fn(repeat=True), steps=2)
  assert hook.num_runs == 2
  assert len(initialized) == 1


@pytest.mark.parametrize("as_dict", [False, True])
def test_host_call_runs_at_every_step(tmp_path, as_dict):
  values = []

  def record(loss):
    return tf.py_func(lambda value: values.append(value) or value, [loss],
                      tf.float32, stateful=True)

  def host_call(loss):
    return (record, {"loss": loss} if as_dict else [loss])

  make_estimator(tmp_path, make_model_fn(host_call=host_call)).train(
      make_input_fn(repeat=True), steps=3)
  expected = []
  for step in range(3):
    w, b = sgd(0.0, 0.0, step, batch_size=4)
    rows = np.arange(step * 4, step * 4 + 4) % len(X)
    expected.append(np.mean((w * X[rows] + b - Y[rows]) ** 2))
  np.testing.assert_allclose(values, expected, rtol=1e-5)


def test_host_call_writes_summaries_by_the_end(tmp_path):
  summary_dir = str(tmp_path)
  tags = []

  class ReadingHook(tf.train.SessionRunHook):

    def end(self, session):
      (name,) = os.listdir(summary_dir)
      for event in tf.train.summary_iterator(os.path.join(summary_dir, name)):
        tags.extend(value.tag for value in event.summary.value)

  def write(loss):
    step = tf.train.get_or_create_global_step()
    with tf2.summary.create_file_writer(summary_dir).as_default():
      return tf2.summary.write("host_loss", loss[0], step=step)

  with tf.Graph().as_default():
    loss = tf.get_variable("loss", [])
    spec = tf_estimator.TPUEstimatorSpec(
        mode=tf_estimator.ModeKeys.TRAIN, loss=loss.read_value(),
        train_op=loss.assign_sub(0.1),
        host_call=(write, [tf.reshape(loss, [1])])).as_estimator_spec()
    hooks = list(spec.training_hooks) + [ReadingHook()]
    with tf.train.MonitoredSession(hooks=hooks) as session:
      for _ in range(3):
        session.run(spec.train_op)
  assert tags == ["host_loss"] * 3


def test_model_fn_may_return_an_estimator_spec(tmp_path):
  def model_fn(features, labels, mode, params, config):
    assert (params["batch_size"], config.model_dir) == (4, str(tmp_path))
    loss = tf.reduce_mean(tf.square(linear(features) - labels))
    return tf_estimator.EstimatorSpec(
        mode=mode, loss=loss, train_op=minimize(loss))

  estimator = make_estimator(tmp_path, model_fn)
  estimator.train(make_input_fn(repeat=True), steps=2)
  w, _ = sgd(0.0, 0.0, 2, batch_size=4)
  np.testing.assert_allclose(estimator.get_variable_value("w"), w, rtol=1e-5)


def test_labels_without_a_taker_are_an_error(tmp_path):
  def model_fn(features, mode, params):
    del params
    return tf_estimator.EstimatorSpec(mode, predictions=linear(features))

  estimator = make_estimator(tmp_path, model_fn)
  with pytest.raises(ValueError, match="input_fn returns labels"):
    estimator.evaluate(make_input_fn())


def test_loss_is_logged_at_info(tmp_path, monkeypatch):
  lines = []
  handler = logging.Handler()
  handler.emit = lambda record: lines.append(record.getMessage())
  logger = logging.getLogger("tensorflow")
  monkeypatch.setattr(logger, "filters", [])  # those of progress.quiet_logging
  level = tf.logging.get_verbosity()
  tf.logging.set_verbosity(tf.logging.INFO)
  logger.addHandler(handler)
  try:
    make_estimator(tmp_path, make_model_fn()).train(
        make_input_fn(repeat=True), steps=2)
  finally:
    logger.removeHandler(handler)
    tf.logging.set_verbosity(level)
  assert any(line.startswith("Loss for final step: ") for line in lines)
  assert any(line.startswith("global_step/sec: ") for line in lines)
  assert [line.split(" = ")[0] for line in lines
          if line.startswith("loss = ")] == ["loss", "loss"]
  # What TensorFlow's TPUEstimator says of TPUs, and wrongly of GPUs.
  for text in ("on CPU", "marked as finished", "eval_on_tpu"):
    assert not [line for line in lines if text in line], text


@pytest.mark.parametrize("master", [None, ""])
def test_run_config_carries_the_tpu_settings(master):
  config = tf_estimator.TPURunConfig(
      cluster=None, master=master, model_dir="/tmp/a", tf_random_seed=7,
      keep_checkpoint_max=3, log_step_count_steps=50,
      session_config=tf.ConfigProto(allow_soft_placement=True),
      tpu_config=tf_estimator.TPUConfig(iterations_per_loop=9))
  assert config.master == ""
  for other in (config, copy.deepcopy(config),
                pickle.loads(pickle.dumps(config)),
                config.replace(model_dir="/tmp/a", save_summary_steps=1)):
    assert type(other) is tf_estimator.TPURunConfig
    assert other.tpu_config.iterations_per_loop == 9
    assert (other.tf_random_seed, other.keep_checkpoint_max) == (7, 3)
    assert other.session_config.allow_soft_placement


def test_estimator_takes_a_strategy_on_one_machine(tmp_path):
  def model_fn(features, labels, mode):
    loss = tf.reduce_mean(tf.square(linear(features) - labels))
    return tf_estimator.EstimatorSpec(
        mode, loss=loss, train_op=minimize(loss))

  def input_fn():
    return tf.data.Dataset.from_tensor_slices(({"x": X}, Y)).repeat().batch(4)

  estimator = tf_estimator.Estimator(
      model_fn, config=tf_estimator.RunConfig(
          model_dir=str(tmp_path),
          train_distribute=tf.distribute.MirroredStrategy(["/cpu:0"])))
  estimator.train(input_fn, steps=3)
  w, _ = sgd(0.0, 0.0, 3, batch_size=4)
  np.testing.assert_allclose(estimator.get_variable_value("w"), w, rtol=1e-5)


@from_2_16_on
def test_a_strategy_over_machines_is_refused(monkeypatch):
  monkeypatch.setenv("TF_CONFIG", json.dumps({
      "cluster": {"chief": ["a:1"], "worker": ["b:1"]},
      "task": {"type": "chief", "index": 0}}))
  strategy = tf.distribute.OneDeviceStrategy("/cpu:0")
  with pytest.raises(ValueError, match="several machines needs TensorFlow 2.1"):
    tf_estimator.RunConfig(train_distribute=strategy)


@pytest.mark.skipif(not BRINGS_ESTIMATOR, reason="no TPUs from 2.16 on")
def test_use_tpu_gives_the_estimator_of_tensorflow(tmp_path):
  estimator = tf_estimator.TPUEstimator(
      use_tpu=True, model_fn=make_model_fn(), train_batch_size=8,
      config=tf_estimator.TPURunConfig(model_dir=str(tmp_path)))
  assert type(estimator) is tf.estimator.tpu.TPUEstimator


@from_2_16_on
def test_use_tpu_is_refused(tmp_path):
  config = tf_estimator.TPURunConfig(model_dir=str(tmp_path))
  with pytest.raises(ValueError) as error:
    tf_estimator.TPUEstimator(
        use_tpu=True, model_fn=make_model_fn(), config=config,
        train_batch_size=4)
  assert "TPU training needs TensorFlow 2.15 or older" in str(error.value)
  assert "\n" not in str(error.value)


@from_2_16_on
@pytest.mark.parametrize("found", [False, True])
def test_missing_or_strange_package_names_the_pip_command(
    monkeypatch, tmp_path, found):
  def loaded():
    return [name for name in sys.modules
            if name.split(".")[0] == "tensorflow_estimator"]

  spec = None
  if found:  # a package of this name, but without the modules we need
    spec = importlib.util.spec_from_file_location(
        "tensorflow_estimator", str(tmp_path / "__init__.py"),
        submodule_search_locations=[str(tmp_path)])
  for name in loaded():
    monkeypatch.delitem(sys.modules, name)
  find_spec = importlib.util.find_spec
  monkeypatch.setattr(
      importlib.util, "find_spec", lambda name:
      spec if name == "tensorflow_estimator" else find_spec(name))
  with pytest.raises(ImportError) as error:
    tf_estimator._import_estimator_package()
  assert "pip install tensorflow-estimator==2.15.0" in str(error.value)
  assert "\n" not in str(error.value)
  assert not loaded()


@from_2_16_on
def test_import_after_a_failed_one_and_without_more_keras():
  program = """
import sys
import tensorflow.compat.v1 as tf
try:
  import tensorflow_estimator
  raise SystemExit("the plain import was expected to fail")
except ImportError:
  pass
def keras_modules():
  return {m for m in sys.modules if m.split(".")[0] in ("keras", "tf_keras")}
before = keras_modules()
from bert_suite import tf_estimator
tf_estimator.TPURunConfig(tpu_config=tf_estimator.TPUConfig())
assert keras_modules() == before, keras_modules() - before
import tensorflow_estimator.python.estimator.gc
"""
  result = subprocess.run(
      [sys.executable, "-c", program], cwd=helpers.TOP, stderr=subprocess.PIPE)
  assert result.returncode == 0, result.stderr.decode()[-2000:]
