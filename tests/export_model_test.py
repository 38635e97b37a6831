"""Tests of export_model, --export_dir and serving: what others load."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    checkpoints, cli, files, hub_modules, serving, trained_models)
from export_fixtures import LENGTH, MODELS, write_model
import export_model
import helpers
from hub_module import hub, with_module, without_module
import modeling
import optimization
import predictor
import run_classifier
import run_classifier_with_tfhub
import run_squad

# Runs without any module of ours; arguments: a folder of requests as JSON, by
# the name of the model, and a folder for the answers.
STRANGER = """
import json, os, sys
import tensorflow.compat.v2 as tf
tf.compat.v1.enable_eager_execution()
try:
  import modeling
  raise SystemExit("our modules are there")
except ImportError:
  pass
requests = json.load(open(sys.argv[1]))
answers = {}
for name, (path, signature, request) in requests.items():
  function = tf.saved_model.load(path).signatures[signature]
  # What TensorFlow Serving does: rows to columns, and back again.
  rows = request["instances"]
  outputs = function(**{key: tf.constant([row[key] for row in rows], tf.int32)
                        for key in rows[0]})
  outputs = {key: value.numpy().tolist() for key, value in outputs.items()}
  if len(outputs) == 1:
    predictions, = outputs.values()
  else:
    predictions = [dict(zip(outputs, row)) for row in zip(*outputs.values())]
  answers[name] = {"predictions": predictions}
json.dump(answers, open(sys.argv[2], "w"))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Gives the training output directory of each task."""
  return {task: write_model(tmp_path_factory.mktemp(task), task, **arguments)
          for task, arguments in MODELS.items()}


def export(model_dir, export_dir, **flags):
  """Runs the script; returns the new version."""
  helpers.run_main(export_model, [
      "--%s=%s" % item for item in sorted(dict(
          flags, model_dir=model_dir, export_dir=export_dir).items())])
  return helpers.newest_version(str(export_dir))


def make_request(task):
  """Returns rows of a request: two sequences of one length."""
  ids = [[2, 5, 7, 4, 3, 0, 0], [2, 9, 3, 5, 6, 20, 3]]
  rows = [{"input_ids": row, "input_mask": [int(i > 0) for i in row],
           "segment_ids": [0, 0, 0, 1, 1, 1, 1]} for row in ids]
  if task == "masked_lm":
    for row in rows:
      row["masked_lm_positions"] = [3, 1]
  return {"instances": rows}


def compute(model_dir, signature, request):
  """Computes the outputs with our code, from the checkpoint."""
  layers = "-1,0" if signature == "serving_default" and (
      "trained_features" in model_dir) else None
  model = trained_models.find(model_dir, layers=layers)
  served = serving.open_session(model.task, model.checkpoint)
  rows = request["instances"]
  return serving.run(served, signature, {
      name: np.array([row[name] for row in rows]) for name in rows[0]})


@pytest.mark.slow
def test_a_stranger_gets_the_numbers_of_every_task(trained, tmp_path):
  requests = {}
  for task, model_dir in trained.items():
    flags = dict(task=task, layers="-1,0") if task == "features" else {}
    path = export(model_dir, tmp_path / ("exported_" + task), **flags)
    requests[task] = path, "serving_default", make_request(task)
    if task == "masked_lm":
      requests["log_probs"] = path, "log_probs", make_request(task)
  (tmp_path / "requests.json").write_text("%s" % json.dumps(requests))
  answers_file = tmp_path / "answers.json"
  process = subprocess.run(
      [sys.executable, "-I", "-c", STRANGER, str(tmp_path / "requests.json"),
       str(answers_file)],
      cwd=str(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
  assert process.returncode == 0, process.stdout[-3000:]
  answers = json.loads(answers_file.read_text())
  for name, (_, signature, request) in requests.items():
    task = "masked_lm" if name == "log_probs" else name
    expected = compute(trained[task], signature, request)
    predictions = answers[name]["predictions"]
    assert len(predictions) == 2
    if len(expected) == 1:
      predictions = [{key: row} for row in predictions for key in expected]
    assert sorted(predictions[0]) == sorted(expected)
    for key, array in expected.items():
      np.testing.assert_allclose(
          [row[key] for row in predictions], array, atol=1e-5)
  row = answers["classifier"]["predictions"][0]
  assert len(row) == 3 and abs(sum(row) - 1) < 1e-5
  assert set(answers["squad"]["predictions"][0]) == {
      "start_logits", "end_logits"}


@pytest.mark.parametrize("task", sorted(MODELS))
def test_requests_of_similar_sizes_are_computed_in_the_same_shapes(
    trained, task):
  model = trained_models.find(trained[task])
  served = serving.open_session(model.task, model.checkpoint)
  products = [op.outputs[0] for op in served.session.graph.get_operations()
              if op.type in ("MatMul", "BatchMatMul", "BatchMatMulV2")]
  assert products
  shapes = set()
  for rows, length, predictions in ((9, 9, 9), (10, 9, 10), (9, 10, 10)):
    arrays = {name: np.ones([rows, length], np.int32)
              for name in serving.SEQUENCE_INPUTS}
    arrays["input_mask"][9:] = arrays["input_mask"][:, 9:] = 0
    if task == "masked_lm":
      arrays["masked_lm_positions"] = np.ones([rows, predictions], np.int32)
    feeds = {served.inputs[name]: arrays[name] for name in arrays}
    outputs, found = served.session.run(
        [served.signatures[serving.SIGNATURE], products], feeds)
    shapes.add(tuple(product.shape for product in found))
    for name, output in outputs.items():
      assert len(output) == rows
      if task == "masked_lm":
        assert output.shape[1] == predictions
      elif "logits" in name or "layer_output" in name:
        assert output.shape[1] == length
  assert len(shapes) == 1


def test_only_the_model_and_its_assets_are_exported(trained, tmp_path):
  path = export(trained["classifier"], tmp_path)
  assert sorted(os.listdir(path)) == ["assets", "saved_model.pb", "variables"]
  assert sorted(os.listdir(path + "/assets")) == ["model.json", "vocab.txt"]
  names = [name for name, _ in tf.train.list_variables(
      path + "/variables/variables")]
  assert "output_weights" in names
  assert not [n for n in names if "adam" in n or "global_step" in n]
  with open(path + "/assets/model.json") as reader:
    assert json.load(reader) == dict(
        task="classifier", labels=["no", "yes", "tea"], do_lower_case=True,
        max_seq_length=LENGTH)


def test_an_export_never_touches_an_earlier_one(trained, tmp_path):
  first = export(trained["classifier"], tmp_path)
  before = open(first + "/saved_model.pb", "rb").read()
  second = export(trained["classifier"], tmp_path)
  assert sorted(os.listdir(str(tmp_path))) == sorted(
      os.path.basename(path) for path in (first, second))
  assert int(os.path.basename(second)) > int(os.path.basename(first))
  assert open(first + "/saved_model.pb", "rb").read() == before


def test_a_failed_export_leaves_nothing(trained, tmp_path, monkeypatch):
  def fail(*unused_args, **unused_kwargs):
    raise ValueError("no room")

  monkeypatch.setattr(tf.saved_model.Builder, "save", fail)
  with pytest.raises(cli.UserError, match="no room"):
    export(trained["classifier"], tmp_path)
  assert os.listdir(str(tmp_path)) == []


def test_what_a_killed_export_left_goes_with_the_next(trained, tmp_path):
  script = ("import os; from bert_suite import files; os.makedirs("
            "files._temporary_name(os.path.join(%r, 'version')))" %
            str(tmp_path))
  subprocess.check_call([sys.executable, "-c", script], cwd=helpers.TOP)
  leftover, = os.listdir(str(tmp_path))
  (tmp_path / leftover / "saved_model.pb").write_text("half")
  # Of another host, where a process of that number may well run.
  elsewhere = leftover.replace(files._place(), "0" * 8)
  assert elsewhere != leftover
  (tmp_path / elsewhere).mkdir()
  assert helpers.newest_version(str(tmp_path)) is None
  path = export(trained["classifier"], tmp_path)
  assert sorted(os.listdir(str(tmp_path))) == [
      elsewhere, os.path.basename(path)]


@pytest.mark.parametrize(
    "name", ["saved_model.pb", "variables/variables.index"])
def test_a_model_that_loses_a_file_meanwhile_gets_no_version(
    trained, tmp_path, monkeypatch, name):
  save = tf.saved_model.Builder.save

  def lose(builder, *args, **kwargs):
    save(builder, *args, **kwargs)
    leftover, = os.listdir(str(tmp_path))
    os.remove(str(tmp_path / leftover / name))

  monkeypatch.setattr(tf.saved_model.Builder, "save", lose)
  with pytest.raises(cli.UserError, match=(
      "the model lost its %s while" % name)):
    export(trained["classifier"], tmp_path)
  assert os.listdir(str(tmp_path)) == []


def copy_checkpoint(model_dir, folder):
  """Copies a checkpoint without the run.json beside it; returns its prefix."""
  folder.mkdir()
  for name in os.listdir(model_dir):
    if name.startswith("model.ckpt-3."):
      shutil.copy(os.path.join(model_dir, name), str(folder))
  return str(folder / "model.ckpt-3")


def test_a_checkpoint_brings_the_run_json_beside_it(trained, tmp_path):
  checkpoint = trained["classifier"] + "/model.ckpt-3"
  path = str(tmp_path / "out")
  helpers.run_main(export_model, [
      "--init_checkpoint=" + checkpoint, "--export_dir=" + path])
  version, = os.listdir(path)
  with open(os.path.join(path, version, "assets", "model.json")) as reader:
    assert json.load(reader) == dict(
        task="classifier", labels=["no", "yes", "tea"], do_lower_case=True,
        max_seq_length=LENGTH)


def test_a_path_without_a_hub_module_is_named(trained, tmp_path):
  (tmp_path / "hub" / "17").mkdir(parents=True)
  (tmp_path / "hub" / "17" / "tfhub_module.pb").write_bytes(b"")
  checkpoint = trained["classifier"] + "/model.ckpt-3"
  hub_modules.check_module(str(tmp_path / "hub" / "17"))
  hub_modules.check_module("https://tfhub.dev/google/bert/1")
  for path, cure in (
      (str(tmp_path / "hub"), "%s, the newest version in it" % (
          tmp_path / "hub" / "17")),
      (checkpoint + ".index", "%s to run_classifier.py, as --init_checkpoint" %
       checkpoint),
      (str(tmp_path / "none"), "the folder of a version that export_model.py "
       "--hub_dir wrote")):
    with pytest.raises(ValueError) as error:
      hub_modules.check_module(path)
    assert str(error.value) == (
        "--bert_hub_module_handle=%s: found no Hub module; give %s" % (
            path, cure))


def test_a_checkpoint_alone_with_config_and_task(trained, tmp_path):
  folder = os.path.dirname(trained["classifier"])
  path = str(tmp_path / "out")
  arguments = ["--task=classifier", "--export_dir=" + path,
               "--vocab_file=" + folder + "/vocab.txt",
               "--bert_config_file=" + helpers.write_config(tmp_path),
               "--init_checkpoint=" + copy_checkpoint(
                   trained["classifier"], tmp_path / "copied")]
  helpers.run_main(export_model, arguments)
  helpers.run_main(export_model, arguments + [
      "--labels=a,b,c", "--max_seq_length=9", "--nodo_lower_case"])
  found = []
  for version in sorted(os.listdir(path)):
    with open(os.path.join(path, version, "assets", "model.json")) as reader:
      found.append(json.load(reader))
  assert found == [
      dict(task="classifier", labels=["0", "1", "2"], do_lower_case=True,
           max_seq_length=20),
      dict(task="classifier", labels=["a", "b", "c"], do_lower_case=False,
           max_seq_length=9)]


def test_what_was_trained_on_a_hub_module_is_named(tmp_path):
  checkpoint = helpers.save_checkpoint(
      tmp_path / "model.ckpt-4", {"module/bert/w": 1.0})
  for flags in (["--model_dir=" + str(tmp_path)],
                ["--task=classifier", "--init_checkpoint=" + checkpoint]):
    with pytest.raises(cli.UserError, match=(
        "model.ckpt-4: was trained on a Hub module by .* cannot be exported")):
      helpers.run_main(export_model, flags + [
          "--task=classifier", "--export_dir=" + str(tmp_path / "out")])


@pytest.mark.parametrize("make_flags,message", [
    (lambda trained, folder: dict(export_dir=""),
     "^nothing to do; give --export_dir or --hub_dir$"),
    (lambda trained, folder: {}, "^give --model_dir, or --task with"),
    (lambda trained, folder: dict(model_dir=str(folder / "none")),
     "none: there is no such folder"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"] + "/model.ckpt-3"),
     "model.ckpt-3: found a checkpoint, expected a folder; give it as init_c"),
    (lambda trained, folder: dict(model_dir=str(folder), task="squad"),
     "holds neither a checkpoint nor an exported"),
    (lambda trained, folder: dict(model_dir=trained["squad"], task="tagger"),
     "task tagger: expected one of classifier, features, masked_lm, ner, "),
    (lambda trained, folder: dict(task="squad"),
     "^also pass init_checkpoint, bert_config_file, vocab_file$"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"], vocab_file=helpers.write_lines(
            folder / "v" / "vocab.txt",
            [[word] for word in reversed(helpers.WORDS)])),
     "vocab.txt: is not the vocabulary that the model was trained with"),
    (lambda trained, folder: dict(model_dir=trained["squad"],
                                  vocab_file=str(folder / "gone.txt")),
     "gone.txt: the vocabulary does not exist"),
    (lambda trained, folder: dict(
        task="classifier", labels="yes",
        init_checkpoint=copy_checkpoint(
            trained["classifier"], folder / "copied"),
        bert_config_file=helpers.write_config(folder),
        vocab_file=helpers.write_vocab(folder)), "does not fit"),
    (lambda trained, folder: dict(
        init_checkpoint=trained["classifier"] + "/model.ckpt-3",
        labels="a,b,c"),
     "^labels: found a,b,c, but .*/model.ckpt-3 was trained with no,yes,tea; "),
    (lambda trained, folder: dict(
        init_checkpoint=trained["squad"] + "/model.ckpt-3",
        bert_config_file=helpers.write_config(folder, num_attention_heads=4)),
     "config's num_attention_heads is 2 there and 4 here. Give the flags of "
     "that run, or leave bert_config_file out$"),
    (lambda trained, folder: dict(
        init_checkpoint=trained["squad"] + "/model.ckpt-3",
        vocab_file=helpers.write_lines(
            folder / "v" / "vocab.txt",
            [[word] for word in reversed(helpers.WORDS)])),
     "vocab.txt: is not the vocabulary that the model was trained with"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"],
        init_checkpoint=trained["classifier"] + "/model.ckpt-3"),
     "trained_classifier holds model.ckpt-3 of another run: task is mrpc there "
     "and squad here. Give the flags of that run, or leave model_dir out$"),
    (lambda trained, folder: dict(
        model_dir=trained["classifier"], labels="yes,no,tea"),
     "^labels: found yes,no,tea, but .* was trained with no,yes,tea; leave it"),
    (lambda trained, folder: dict(
        model_dir=trained["classifier"], labels="no,yes,no"),
     "^labels: found 'no' twice"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"], do_lower_case="false"),
     "^do_lower_case: found false, but .* was trained with true; leave it out"),
    (lambda trained, folder: dict(model_dir=trained["squad"], labels="a,b"),
     "^labels: the task squad has none; leave it out, or give task=classifier"),
    (lambda trained, folder: dict(model_dir=trained["classifier"], layers="-1"),
     "^layers: the task classifier has none; leave it out, or give task=feat"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"], task="classifier"),
     "it is not a classifier"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"], hub_dir=str(folder / "x" / ".." / "out")),
     "^--hub_dir=.*: is also --export_dir; give it a folder of its own$"),
    (lambda trained, folder: dict(
        model_dir=trained["squad"], export_dir=trained["squad"] + "/"),
     "^--export_dir=.*: is also --model_dir; give it"),
])
def test_a_mistake_is_told_and_nothing_is_written(
    trained, tmp_path, make_flags, message):
  flags = dict({"export_dir": str(tmp_path / "out")},
               **make_flags(trained, tmp_path))
  with pytest.raises(cli.UserError, match=message) as error:
    helpers.run_main(export_model, [
        "--%s=%s" % item for item in sorted(flags.items())])
  if "does not fit" not in message:
    assert "\n" not in str(error.value)
  assert not (tmp_path / "out").exists() or not os.listdir(
      str(tmp_path / "out"))


def test_the_classifier_exports_after_training(tmp_path):
  arguments = dict(
      task_name="MRPC", data_dir=helpers.write_mrpc(tmp_path / "data"),
      vocab_file=helpers.write_vocab(tmp_path),
      bert_config_file=helpers.write_config(tmp_path), max_seq_length=LENGTH,
      output_dir=str(tmp_path / "out"), export_dir=str(tmp_path / "exported"),
      train_batch_size=4, num_train_epochs=1, do_train=True, do_predict=True)
  helpers.run_main(run_classifier, [
      "--%s=%s" % item for item in sorted(arguments.items())])
  served, settings, _ = serving.load_saved_model(
      helpers.newest_version(str(tmp_path / "exported")))
  assert settings["labels"] == ["0", "1"]
  batch, = helpers.read_batches(run_classifier.file_based_input_fn_builder(
      str(tmp_path / "out" / "predict.tf_record"), LENGTH, False, False), 100)
  found = serving.run(served, "serving_default", {
      name: batch[name] for name in serving.SEQUENCE_INPUTS})
  np.testing.assert_allclose(
      found["probabilities"], helpers.read_probabilities(str(tmp_path / "out")),
      atol=1e-5)


def test_squad_exports_after_all_else(tmp_path, monkeypatch):
  evaluate, there = run_squad.evaluate, []
  monkeypatch.setattr(run_squad, "evaluate", lambda *args: (
      there.append(os.listdir(str(tmp_path / "exported"))), evaluate(*args)))
  context = "The kettle sings. It rains, it rains, and the cat is not far."
  questions = [("The kettle", "sings"), ("it is not", "far")]
  file_name = helpers.write_lines(tmp_path / "squad.json", [[json.dumps(dict(
      version="1.1", data=[dict(title="Tea", paragraphs=[dict(
          context=context, qas=[
              dict(id=text, question=question, answers=[dict(
                  text=text, answer_start=context.index(text))])
              for question, text in questions])])]))]])
  arguments = dict(
      train_file=file_name, predict_file=file_name,
      vocab_file=helpers.write_vocab(tmp_path),
      bert_config_file=helpers.write_config(tmp_path), max_seq_length=LENGTH,
      doc_stride=4, max_query_length=5, output_dir=str(tmp_path / "out"),
      export_dir=str(tmp_path / "exported"), train_batch_size=2,
      num_train_epochs=4, do_train=True, do_predict=True, do_eval=True)
  helpers.run_main(run_squad, [
      "--%s=%s" % item for item in sorted(arguments.items())])
  assert there == [[]]
  with open(str(tmp_path / "out" / "predictions.json")) as reader:
    expected = json.load(reader)
  model = predictor.Predictor(str(tmp_path / "exported"))
  answers = model.predict([(question, context) for question, _ in questions])
  assert [answer["text"] for answer in answers] == [
      expected[text] for _, text in questions]
  arguments.update(do_train=False, do_predict=False)
  with pytest.raises(cli.UserError, match=(
      "^--export_dir: also pass --do_train or --do_predict; ")):
    helpers.run_main(run_squad, [
        "--%s=%s" % item for item in sorted(arguments.items())])


# TF1 Hub modules.


@with_module
def test_a_module_says_whether_accents_are_stripped(tmp_path):
  model_dir = write_model(
      tmp_path, "features", strip_accents=False, type_vocab_size=1)
  hub_dir = str(tmp_path / "hub")
  helpers.run_main(export_model, [
      "--model_dir=" + model_dir, "--hub_dir=" + hub_dir])
  handle = helpers.newest_version(hub_dir)
  tokenizer, num_segments = run_classifier_with_tfhub.read_module(handle)
  assert tokenizer.basic_tokenizer.strip_accents is False
  assert num_segments == 1


@with_module
def test_fine_tuning_from_the_module_is_that_from_the_checkpoint(
    tmp_path, monkeypatch):
  """With dropout 0: the same losses, step by step."""
  model_dir = write_model(
      tmp_path, "classifier", labels=["0", "1"], hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0)
  hub_dir = str(tmp_path / "hub")
  helpers.run_main(export_model, ["--model_dir=" + model_dir,
                                  "--hub_dir=" + hub_dir])
  handle = helpers.newest_version(hub_dir)
  tokenizer = run_classifier_with_tfhub.create_tokenizer_from_hub_module(handle)
  assert tokenizer.vocab == {word: i for i, word in enumerate(helpers.WORDS)}
  assert tokenizer.basic_tokenizer.do_lower_case is True

  # The head starts from the same values, and without its own dropout.
  monkeypatch.setattr(modeling, "dropout", lambda x, *_, **__: x)
  monkeypatch.setattr(
      modeling, "create_initializer",
      lambda r: tf.truncated_normal_initializer(stddev=r, seed=5))
  features = run_classifier.convert_examples_to_features(
      run_classifier.MrpcProcessor().get_train_examples(
          helpers.write_mrpc(tmp_path / "data")), ["0", "1"], LENGTH, tokenizer)
  batch = dict(
      {name: np.array([getattr(f, name) for f in features], np.int32)
       for name in serving.SEQUENCE_INPUTS},
      labels=np.array([f.label_id for f in features], np.int32))

  def train(create_model, **arguments):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.train.get_or_create_global_step()
      inputs = {name: tf.constant(array) for name, array in batch.items()}
      loss = create_model(is_training=True, num_labels=2,
                          **dict(arguments, **inputs))[0]
      if create_model is run_classifier.create_model:
        checkpoint = checkpoints.find_checkpoint(model_dir)
        tf.train.init_from_checkpoint(checkpoint, {"bert/": "bert/"})
      train_op = optimization.create_optimizer(loss, 1e-3, 10, 0, False)
      session.run(tf.global_variables_initializer())
      return [session.run([loss, train_op])[0] for _ in range(4)]

  expected = train(
      run_classifier.create_model, use_one_hot_embeddings=False,
      bert_config=modeling.BertConfig(**dict(
          helpers.CONFIG, hidden_dropout_prob=0.0,
          attention_probs_dropout_prob=0.0)))
  found = train(run_classifier_with_tfhub.create_model,
                bert_hub_module_handle=handle)
  np.testing.assert_allclose(found, expected, rtol=1e-5)
  assert expected[3] < expected[0]


@with_module
def test_the_module_has_two_graphs_and_no_slots(tmp_path):
  model_dir = write_model(tmp_path, "squad")
  hub_dir = str(tmp_path / "hub")
  for _ in range(2):
    helpers.run_main(export_model, ["--model_dir=" + model_dir,
                                    "--hub_dir=" + hub_dir])
  assert len(os.listdir(hub_dir)) == 2
  spec = hub.load_module_spec(helpers.newest_version(hub_dir))
  assert sorted(map(sorted, spec.get_tags())) == [[], ["train"]]
  for tags in (set(), {"train"}):
    assert sorted(spec.get_signature_names(tags)) == [
        "tokenization_info", "tokens"]
  names = [name for name, _ in tf.train.list_variables(os.path.join(
      helpers.newest_version(hub_dir), "variables", "variables"))]
  assert names and all(
      name.startswith("bert/") and "adam" not in name for name in names)


@without_module
def test_without_hub_module_the_script_says_so(trained, tmp_path):
  with pytest.raises(cli.UserError, match=(
      "(needs hub.Module|cannot be imported).*export a SavedModel only")):
    helpers.run_main(export_model, ["--model_dir=" + trained["squad"],
                                    "--hub_dir=" + str(tmp_path / "hub")])
  assert not (tmp_path / "hub").exists()
  with pytest.raises(ValueError):
    hub_modules.import_hub("stop")
