"""Tests of export_model --format=onnx."""

import io
import json
import os
import sys
import types

import numpy as np
import pytest

from bert_suite import (
    calibration, checkpoints, cli, devices, onnx_export, onnx_graph,
    problem_types, runner, serving, task_names, trained_models)
from bert_suite.processors import InputExample
from export_fixtures import LENGTH, MODELS, write_model
import export_model
import helpers
import predictor
import run_classifier

onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

TASKS = dict(MODELS, ner=dict(labels=["O", "B-A", "I-A"]))


def export(model_dir, export_dir, **flags):
  helpers.run_main(export_model, ["--format=onnx"] + [
      "--%s=%s" % item for item in sorted(dict(
          flags, model_dir=model_dir, export_dir=export_dir).items())])
  return helpers.newest_version(str(export_dir))


def make_inputs(task, seed=1):
  """Returns sequences with padding behind, before, between and alone."""
  random = np.random.RandomState(seed)
  mask = random.randint(0, 2, (7, 11))
  mask[0] = 1
  mask[1] = 0
  mask[2, 4:] = 0
  inputs = {"input_ids": random.randint(0, len(helpers.WORDS), mask.shape),
            "input_mask": mask,
            "segment_ids": random.randint(0, 2, mask.shape)}
  if task == "masked_lm":
    inputs["input_mask"] = np.where(np.arange(11) < 3, 1, mask)
    inputs["masked_lm_positions"] = random.randint(0, 3, (7, 2))
  return inputs


def compute_both(model_dir, path, inputs, **options):
  """Returns the outputs of TensorFlow and those of the file."""
  model = trained_models.find(model_dir, **options)
  served = serving.open_session(model.task, model.checkpoint)
  with served.session:
    expected = serving.run(served, serving.SIGNATURE, inputs)
  session = onnxruntime.InferenceSession(os.path.join(path, "model.onnx"))
  assert {one.name for one in session.get_outputs()} == set(expected)
  return expected, dict(zip(expected, session.run(list(expected), {
      name: array.astype(np.int64) for name, array in inputs.items()})))


@pytest.mark.parametrize("task, options", [
    ("classifier", {}), ("squad", {}), ("ner", {}), ("masked_lm", {}),
    ("features", dict(task="features")),
    ("features", dict(task="features", layers="-2,0")),
    ("features", dict(task="features", layers="-1,0", pooling="max")),
    ("features", dict(task="features", layers="0,-2", pooling="mean")),
    ("features", dict(task="features", pooling="cls"))])
def test_onnx_runtime_computes_what_tensorflow_does(tmp_path, task, options):
  model_dir = write_model(tmp_path, task, num_hidden_layers=2, **TASKS[task])
  path = export(model_dir, tmp_path / "exported", **options)
  assert sorted(os.listdir(path)) == ["model.json", "model.onnx", "vocab.txt"]
  with open(os.path.join(path, "model.json")) as reader:
    settings = json.load(reader)
  assert (settings["task"], settings["max_seq_length"]) == (task, LENGTH)
  for inputs in (make_inputs(task), {
      name: array[:1] for name, array in make_inputs(task).items()}):
    expected, found = compute_both(model_dir, path, inputs, **options)
    for name, array in expected.items():
      assert array.dtype == found[name].dtype
      np.testing.assert_allclose(array, found[name], atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", [
    problem_types.MULTI_LABEL, problem_types.REGRESSION])
def test_other_problems_of_classifiers(tmp_path, kind):
  is_number = kind == problem_types.REGRESSION
  model_dir = write_model(tmp_path, "classifier", labels=(
      ["only"] if is_number else ["no", "yes", "tea"]))
  record = os.path.join(model_dir, "run.json")
  with open(record) as reader:
    values = json.load(reader)
  values["problem_type"] = kind
  if is_number:
    del values["labels"]
  with open(record, "w") as writer:
    json.dump(values, writer)
  expected, found = compute_both(
      model_dir, export(model_dir, tmp_path / "exported", task="classifier"),
      make_inputs("classifier"), task="classifier")
  name, = expected
  assert name == ("score" if is_number else "probabilities")
  np.testing.assert_allclose(expected[name], found[name], atol=1e-5)


@pytest.mark.parametrize("activation", ["gelu_erf", "relu", "tanh", ""])
def test_other_activations(tmp_path, activation):
  model_dir = write_model(tmp_path, "features", hidden_act=activation,
                          num_hidden_layers=1, layer_norm_eps=1e-3)
  expected, found = compute_both(
      model_dir, export(model_dir, tmp_path / "exported", task="features"),
      make_inputs("features"), task="features")
  for name, array in expected.items():
    np.testing.assert_allclose(array, found[name], atol=2e-5)


def test_8_bits_take_a_quarter_and_compute_about_the_same(tmp_path):
  model_dir = write_model(tmp_path, "features", hidden_size=64,
                          intermediate_size=256)
  paths = [export(model_dir, tmp_path / dtype, task="features",
                  compute_dtype=dtype) for dtype in ("float32", "int8")]
  sizes = [os.path.getsize(os.path.join(path, "model.onnx")) for path in paths]
  assert sizes[1] < 0.5 * sizes[0]
  with open(os.path.join(paths[1], "model.json")) as reader:
    assert json.load(reader)["compute_dtype"] == "int8"
  expected, found = compute_both(
      model_dir, paths[1], make_inputs("features"), task="features")
  error = np.abs(expected["layer_output_0"] - found["layer_output_0"])
  assert 1e-4 < error.mean() < 0.05


def test_an_export_that_computes_something_else_is_refused(
    tmp_path, monkeypatch):
  model_dir = write_model(tmp_path, "classifier", **MODELS["classifier"])
  monkeypatch.setitem(onnx_graph._ACTIVATIONS, "gelu", "Relu")
  with pytest.raises(cli.UserError, match="--format=onnx: .* differ from "
                     "TensorFlow's by .*nothing was written"):
    export(model_dir, tmp_path / "exported")
  assert not os.path.exists(str(tmp_path / "exported")) or not os.listdir(
      str(tmp_path / "exported"))


@pytest.mark.parametrize("flags, expected", [
    (dict(compute_dtype="bfloat16"), "--compute_dtype=bfloat16: .*float32 or"),
    (dict(format="tflite"), "--format=tflite: expected one of saved_model, on"),
    (dict(hub_dir="hub"), "--format=onnx: give --export_dir, without --hub")])
def test_mistakes(tmp_path, flags, expected):
  model_dir = write_model(tmp_path, "classifier", **MODELS["classifier"])
  with pytest.raises(cli.UserError, match=expected):
    export(model_dir, tmp_path / "exported", **flags)
  assert not os.path.exists(str(tmp_path / "exported"))


def test_without_the_packages_there_is_a_line(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "onnx", None)
  with pytest.raises(cli.UserError, match="files of ONNX need .*pip inst"):
    export("trained", tmp_path / "exported")


def test_a_file_that_would_be_too_large_is_refused(tmp_path, monkeypatch):
  model_dir = write_model(tmp_path, "classifier", **MODELS["classifier"])
  monkeypatch.setattr(onnx_export, "_MOST_BYTES", 1000)
  with pytest.raises(cli.UserError, match="--format=onnx: .* makes a file of"):
    export(model_dir, tmp_path / "exported")


def assert_close(expected, found):
  """Compares what `predict` returned: numbers, and what has some."""
  if isinstance(expected, dict):
    expected, found = sorted(expected.items()), sorted(found.items())
  if isinstance(expected, (list, tuple)):
    assert len(expected) == len(found)
    for pair in zip(expected, found):
      assert_close(*pair)
  elif isinstance(expected, (float, np.ndarray)):
    np.testing.assert_allclose(found, expected, atol=1e-4)
  else:
    assert expected == found


@pytest.mark.parametrize("task", sorted(TASKS))
def test_a_predictor_reads_the_file(tmp_path, task):
  model_dir = write_model(tmp_path, task, **TASKS[task])
  more = {"task": task, "pooling": "mean"} if task == "features" else {}
  export(model_dir, tmp_path / "exported", **more)
  texts = {"masked_lm": ["the [MASK] tea", "[MASK] [MASK]"],
           "squad": [("tea", "the kettle sings"), ("the", "")]}.get(
               task, ["the kettle", "tea", ""])
  with predictor.Predictor(model_dir, **more) as ours, predictor.Predictor(
      str(tmp_path / "exported"), batch_size=2) as model:
    assert model.settings["task"] == task
    for one in (texts, texts[:1], []):
      assert_close(ours.predict(one), model.predict(one))
    if task == "masked_lm":
      with pytest.raises(cli.UserError, match="score: a file of ONNX"):
        model.score(["tea"])


def test_a_damaged_file_is_a_line(tmp_path):
  model_dir = write_model(tmp_path, "classifier", **MODELS["classifier"])
  path = export(model_dir, tmp_path / "exported")
  with open(os.path.join(path, "model.onnx"), "r+b") as writer:
    writer.truncate(1000)
  with pytest.raises(cli.UserError, match=path + ": cannot be loaded .*; give"):
    predictor.Predictor(path)


@pytest.mark.parametrize("scales", onnx_graph.SCALES)
def test_texts_change_each_other_only_with_a_scale_per_batch(tmp_path, scales):
  path = export(write_model(tmp_path, "classifier", **TASKS["classifier"]),
                tmp_path / "exported", compute_dtype="int8", int8_scales=scales)
  texts = ["The kettle sings.", ("It rains.", "Tea is near."), "cat", "a a a"]
  with predictor.Predictor(path) as model:
    alone = np.concatenate([model.predict([text]) for text in texts])
    together = model.predict(texts)
  apart = np.abs(alone - together).max()
  assert apart < 1e-6 if scales == "token" else apart > 1e-5


def test_a_row_of_zeros_gives_the_bias():
  random = np.random.RandomState(0)
  kernel, bias = [random.randn(*shape).astype(np.float32)
                  for shape in ([8, 5], [5])]
  graph = onnx_graph.Graph("int8")
  graph.add("Cast", "ids", to=onnx_graph.type_of(np.float32), outputs=["x"])
  graph.add("Identity", graph.dense("x", kernel, bias), outputs=["y"])
  session = onnxruntime.InferenceSession(graph.make_model(
      {"ids": ["rows", 8]}, {"y": (np.float32, ["rows", 5])},
      "test").SerializeToString())
  x = random.randint(-9, 9, (4, 8))
  x[1] = 0
  found, = session.run(None, {"ids": x})
  np.testing.assert_array_equal(found[1], bias)
  np.testing.assert_allclose(found, x @ kernel + bias, atol=0.4)


def test_scales_without_integers_are_one_line(tmp_path, mrpc):
  for changes in (dict(compute_dtype="float32"), dict(format="saved_model")):
    with pytest.raises(cli.UserError, match="^--int8_scales: is for --format"):
      export_model.run_with(export_model.Settings(**dict(dict(
          model_dir=mrpc, export_dir=str(tmp_path), format="onnx",
          compute_dtype="int8", int8_scales="batch"), **changes)))


def test_a_model_may_have_few_positions(tmp_path):
  model_dir = write_model(tmp_path, "classifier", **dict(
      TASKS["classifier"], max_position_embeddings=LENGTH))
  export(model_dir, tmp_path / "exported")


def test_threads_are_as_many_as_asked_for(tmp_path, monkeypatch):
  path = export(write_model(tmp_path, "classifier", **TASKS["classifier"]),
                tmp_path / "exported")
  found = []
  for asked, number in (("3", 3), (None, 0)):
    if asked:
      monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", asked)
    else:
      monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    served, _, _ = onnx_export.load(path)
    options = served.session._session.get_session_options()
    found.append(options.intra_op_num_threads == number)
  assert found == [True, True]


def test_labels_that_are_not_the_model_s_are_refused(tmp_path):
  path = export(write_model(tmp_path, "classifier", **TASKS["classifier"]),
                tmp_path / "exported")
  settings = os.path.join(path, "model.json")
  with open(settings) as reader:
    content = json.load(reader)
  with open(settings, "w") as writer:
    json.dump(dict(content, labels=["a", "b"]), writer)
  with pytest.raises(ValueError, match="has 2 labels, and the model 3 outputs"):
    predictor.Predictor(path)


def test_a_cpu_whose_sums_overflow_is_warned_of(
    tmp_path, monkeypatch):
  model_dir = write_model(tmp_path, "classifier", **TASKS["classifier"])
  paths = {dtype: export(model_dir, tmp_path / dtype, compute_dtype=dtype)
           for dtype in ("float32", "int8")}
  for flags, dtype, number in (("avx2", "int8", 1), ("avx2", "float32", 0),
                               ("avx2 avx_vnni", "int8", 0)):
    monkeypatch.setattr(devices, "open", lambda path, flags=flags: io.StringIO(
        "flags : " + flags), raising=False)
    with helpers.captured_log() as lines:
      predictor.Predictor(paths[dtype]).close()
    assert number == len([line for line in lines if line.startswith(
        "The model computes in int8, but this CPU has none of avx512_vnni")])


@pytest.fixture(scope="module")
def mrpc(tmp_path_factory):
  """Gives the output directory of a training on a small MRPC."""
  folder = tmp_path_factory.mktemp("mrpc")
  run_classifier.run_with(run_classifier.Settings(
      task_name="MRPC", data_dir=helpers.write_mrpc(folder / "data"),
      vocab_file=helpers.write_vocab(folder), max_seq_length=16,
      bert_config_file=helpers.write_config(folder), train_batch_size=4,
      num_train_epochs=1, output_dir=str(folder / "out"), do_train=True))
  return str(folder / "out")


@pytest.mark.parametrize("file_format", ["onnx", "saved_model"])
def test_an_export_says_what_its_data_type_changes(
    tmp_path, mrpc, file_format):
  with helpers.captured_log() as lines:
    export_model.run_with(export_model.Settings(
        model_dir=mrpc, export_dir=str(tmp_path), format=file_format,
        compute_dtype="int8", calibrate_on="dev", allowed_loss=100.0))
  data_dir = checkpoints.read_record(mrpc)["training"]["data_dir"]
  examples = task_names.find_processor("mrpc").get_dev_examples(data_dir)
  accuracies = []
  for path in (helpers.newest_version(str(tmp_path)), mrpc):
    with predictor.Predictor(path) as model:
      answers = model.predict([(one.text_a, one.text_b) for one in examples])
      accuracies.append(np.mean([
          model.labels[answer.argmax()] == one.label
          for answer, one in zip(answers, examples)]))
  assert ["eval_accuracy: %.4f in int8, %.4f in float32, %+.2f points" % (
      *accuracies, 100 * (accuracies[0] - accuracies[1]))] == [
          line for line in lines if line.startswith("eval_accuracy")]


@pytest.mark.parametrize("file_format", ["onnx", "saved_model"])
def test_an_export_that_loses_too_much_is_not_written(
    tmp_path, mrpc, file_format, monkeypatch):
  monkeypatch.setattr(
      calibration.DevSet, "measure", lambda self, model, compute_dtype: {
          "eval_accuracy": 0.9 if compute_dtype == "float32" else 0.89})
  values = dict(model_dir=mrpc, export_dir=str(tmp_path), format=file_format,
                compute_dtype="int8", calibrate_on="dev")
  with pytest.raises(cli.UserError, match=(
      "^--compute_dtype=int8: loses 1.00 points of eval_accuracy on the dev "
      "set, more than --allowed_loss=0.4; ")):
    export_model.run_with(export_model.Settings(**values))
  assert not os.listdir(str(tmp_path))
  export_model.run_with(export_model.Settings(allowed_loss=1.1, **values))
  assert len(os.listdir(str(tmp_path))) == 1


def test_numbers_are_compared_too():
  dev_set = calibration.DevSet.__new__(calibration.DevSet)
  dev_set._problem = problem_types.Regression()
  dev_set._examples = [InputExample(label, "a", None, label)
                       for label in ("1", "2", "4")]
  model = types.SimpleNamespace(labels=None, predict=lambda texts: np.float32(
      [1, 3, 4]))
  figures = dev_set.measure(model, "int8")
  assert sorted(figures) == [
      "eval_loss", "eval_mse", "eval_pearson", "eval_spearman"]
  assert figures["eval_spearman"] == pytest.approx(1)
  assert figures["eval_mse"] == pytest.approx(1 / 3)


@pytest.mark.parametrize("metric, exact, found, message", [
    ("eval_accuracy", 0.85, 0.846, None),  # 0.4 points, but for rounding
    ("eval_accuracy", 0.85, 0.845, "loses 0.50 points of eval_accuracy"),
    ("eval_loss", 0.1, 9.0, "loses 8.90 points of eval_loss"),
    ("eval_loss", 0.9, 0.1, None),
    ("eval_spearman", 0.9, np.nan, "eval_spearman is not a number"),
    ("eval_f1", 0.9, 0.9, "eval_f2 is not a number"),
    ("f1", 80.1, 79.9, None), ("f1", 80.5, 79.9, "loses 0.60 points of f1")])
def test_what_is_lost_is_counted(metric, exact, found, message):
  def check():
    runner.check_loss(
        {metric: found}, {metric: exact},
        metric.replace("eval_f1", "eval_f2"), "int8", 0.4)

  if message:
    with pytest.raises(cli.UserError, match=message):
      check()
  else:
    check()


def test_tuned_thresholds_decide():
  tuned = "eval_f1_macro" + problem_types.TUNED
  with pytest.raises(cli.UserError, match="loses 50.00 points of " + tuned):
    runner.check_loss({"eval_f1_macro": 0.5, tuned: 0.4},
                      {"eval_f1_macro": 0.5, tuned: 0.9}, "eval_f1_macro",
                      "int8", 0.4)


def test_a_table_and_its_columns_are_found_again(tmp_path):
  rows = ["words,mood", "the cat,good", "a tea,bad", "it rains,good"]
  for name in ("train.csv", "dev.csv"):
    (tmp_path / name).write_text("\n".join(rows) + "\n")
  run_classifier.run_with(run_classifier.Settings(
      task_name="table", train_file=str(tmp_path / "train.csv"),
      dev_file=str(tmp_path / "dev.csv"), text_a="words", label="mood",
      vocab_file=helpers.write_vocab(tmp_path), max_seq_length=16,
      bert_config_file=helpers.write_config(tmp_path), train_batch_size=2,
      num_train_epochs=1, output_dir=str(tmp_path / "out"), do_train=True))
  more = tmp_path / "more.csv"
  more.write_text("\n".join(rows + rows[1:]) + "\n")
  for asked, number in (("dev", 3), (str(more), 6)):
    with helpers.captured_log() as lines:
      export_model.run_with(export_model.Settings(
          model_dir=str(tmp_path / "out"), export_dir=str(tmp_path / "new"),
          format="onnx", compute_dtype="int8", calibrate_on=asked,
          allowed_loss=100.0))
    assert "Answering %d examples of the dev set in int8" % number in lines


@pytest.mark.parametrize("changes, message", [
    (dict(compute_dtype="float32"),
     "^--calibrate_on=dev: compares an export in 8 or 16 bits with float32; "),
    (dict(calibrate_on="nowhere"),
     "^--calibrate_on=nowhere, with the settings in .*run.json: "
     "--data_dir=nowhere: a file of the task is missing"),
    (dict(task="features"),
     "^--calibrate_on=dev: is for classifiers, found the task features; ")])
def test_a_dev_set_that_cannot_be_read_is_one_line(
    tmp_path, mrpc, changes, message):
  with pytest.raises(cli.UserError, match=message):
    export_model.run_with(export_model.Settings(**dict(dict(
        model_dir=mrpc, export_dir=str(tmp_path), format="onnx",
        compute_dtype="int8", calibrate_on="dev"), **changes)))
  assert not os.listdir(str(tmp_path))
