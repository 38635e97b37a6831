"""Tests of dense layers in 8-bit integers."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import classification, cli, devices, int8, kernels, layers
import export_fixtures
import export_model
import helpers
import predictor
import run_classifier


def find_reason():
  try:
    devices.check_dtype("int8")
  except ValueError as error:
    return str(error)
  return ""


pytestmark = pytest.mark.skipif(bool(find_reason()), reason=find_reason())


@pytest.mark.parametrize("num_in, num_out", [(24, 40), (40, 24)])
def test_a_layer_is_that_of_numpy_but_for_rounding(num_in, num_out):
  random = np.random.RandomState(1)
  x = random.randn(7, num_in).astype(np.float32) + 1
  x[2] *= 1000  # rows have scales of their own
  x[3] = 0
  kernel = random.randn(num_in, num_out).astype(np.float32)
  kernel[:, 5] *= 1000  # and so have columns
  kernel[:, 6] = 0
  bias = random.randn(num_out).astype(np.float32)
  with tf.Graph().as_default(), tf.Session() as session:
    with kernels.computing_in("int8"):
      output = layers.dense(
          tf.constant(x), num_out, initializer=tf.constant_initializer(kernel))
    session.run(tf.global_variables_initializer())
    session.run([v.assign(bias) for v in tf.trainable_variables()
                 if v.op.name == "dense/bias"])
    session.run(tf.local_variables_initializer())
    found = session.run(output)
    names = [v.op.name for v in int8.variables_to_save()]
  exact = x @ kernel + bias
  # Half a step of each factor, of some dozens whose signs differ.
  size = np.abs(x).max(1)[:, np.newaxis] * np.abs(kernel).max(0) * num_in ** 0.5
  assert np.all(np.abs(found - exact) <= 0.02 * size + 1e-5)
  assert np.any(np.abs(found - exact) > 1e-4)  # it was computed in integers
  np.testing.assert_allclose(found[3], bias, atol=1e-6)
  assert names == ["dense/bias", "dense/kernel_int8", "dense/kernel_scales",
                   "dense/kernel_sums"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  return export_fixtures.write_model(
      tmp_path_factory.mktemp("classifier"), "classifier",
      **export_fixtures.MODELS["classifier"])


def answer(path, **values):
  texts = [("the tea", "want"), "the", "runn ##ing want the"]
  with predictor.Predictor(str(path), **values) as model:
    return model.predict(texts)


def test_answers_and_exports_in_integers_are_almost_those_in_float32(
    trained, tmp_path):
  exact = answer(trained)
  found = answer(trained, compute_dtype="int8")
  np.testing.assert_allclose(found, exact, atol=0.05)
  assert np.abs(found - exact).max() > 1e-6
  sizes = {}
  for dtype in ("float32", "int8"):
    helpers.run_main(export_model, [
        "--model_dir=" + trained, "--export_dir=%s" % (tmp_path / dtype),
        "--compute_dtype=" + dtype])
    version = helpers.newest_version(str(tmp_path / dtype))
    np.testing.assert_allclose(
        answer(version), found if dtype == "int8" else exact, atol=1e-6)
    reader = tf.train.load_checkpoint(
        os.path.join(version, "variables", "variables"))
    sizes[dtype] = {
        name: reader.get_tensor(name).nbytes
        for name in reader.get_variable_to_shape_map() if "/kernel" in name}
  kernels_of = {name for name in sizes["float32"]}
  assert kernels_of and not kernels_of.intersection(sizes["int8"])
  assert {name[:-len("_int8")]: 4 * size for name, size in
          sizes["int8"].items() if name.endswith("_int8")} == sizes["float32"]


def run_with(folder, **values):
  return run_classifier.run_with(run_classifier.Settings(**dict(dict(
      task_name="MRPC", data_dir=helpers.write_mrpc(folder / "data"),
      vocab_file=helpers.write_vocab(folder), max_seq_length=16,
      bert_config_file=helpers.write_config(folder), train_batch_size=4,
      num_train_epochs=1, output_dir=str(folder / "out")), **values)))


def test_what_a_data_type_loses_is_said_and_too_much_is_refused(tmp_path):
  run_with(tmp_path, do_train=True)
  asked = dict(do_eval=True, compute_dtype="int8", calibrate_on="dev")
  with helpers.captured_log() as lines:
    results = run_with(tmp_path, allowed_loss=100.0, **asked)
  said, = [line for line in lines if line.startswith("eval_accuracy: ")]
  assert said.startswith("eval_accuracy: %.4f in int8, " %
                         results["eval_accuracy"])
  # As if int8 had got half of the examples more wrong.
  task_class = classification.ClassificationTask
  figures = task_class.figures
  with pytest.MonkeyPatch.context() as patched:
    patched.setattr(task_class, "figures", lambda self, results: dict(
        figures(self, results), eval_accuracy=(
            0.75 if self.settings.output_dir.endswith("out") else 1.0)))
    with pytest.raises(cli.UserError, match=(
        "^--compute_dtype=int8: loses 25.00 points of eval_accuracy on the dev "
        "set, more than --allowed_loss=0.4; ")):
      run_with(tmp_path, **asked)
    run_with(tmp_path, allowed_loss=30.0, **asked)


@pytest.mark.parametrize("values, message", [
    (dict(do_train=True, compute_dtype="int8"),
     "--compute_dtype=int8: is for evaluation and prediction only; train"),
    (dict(do_eval=True, compute_dtype="int8", use_xla=True),
     "--compute_dtype=int8: XLA cannot compile it; leave --use_xla out"),
    (dict(do_eval=True, calibrate_on="dev"), "--calibrate_on=dev: compares"),
    (dict(do_eval=True, compute_dtype="int8", calibrate_on="x.tsv"),
     "--calibrate_on=x.tsv: expected dev, the set of --do_eval")])
def test_what_does_not_go_together_is_refused(tmp_path, values, message):
  with pytest.raises(cli.UserError, match=message):
    run_with(tmp_path, **values)


def test_gpus_do_not_compute_in_integers(monkeypatch):
  monkeypatch.setattr(devices.environment, "find_gpus", lambda: ["GPU:0"])
  with pytest.raises(ValueError, match="int8: is computed on CPUs only"):
    devices.check_dtype("int8")
