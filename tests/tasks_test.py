"""Tests of tasks: one class is all that a task of a program's own takes."""

import dataclasses
import json
import os
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    cli, input_pipeline, metrics, model_inputs, run_settings, runner, serving,
    tasks, tf_estimator, trained_models, training)
from bert_suite.script_options import option
import export_model
import helpers
import modeling
import optimization
import predictor

# Its data: how long a text is, in words, is learned from the text.
TRAIN = ["a cat", "the kettle sings", "it rains, it rains", "tea"] * 3
EVAL = ["the cat sings", "rains", "a kettle is near"]
PREDICT = ["tea is far", "a cat sings", "the", "it is not"]


class LengthTask(tasks.Task):
  """Guesses how many words a text has: a number from the vector of [CLS]."""

  name = "length"
  head_names = ("length/weights",)
  options = ("unit",)

  def read(self, split):
    if split == self.settings.missing:
      raise ValueError("found no text to %s" % split)
    return {"train": TRAIN, "eval": EVAL, "predict": PREDICT}[split]

  def features(self, split, examples):
    for text in examples:
      model_input = model_inputs.make_model_input(
          self.tokenizer.tokenize(text), None, self.settings.max_seq_length,
          self.tokenizer)
      yield {"input_ids": model_input.input_ids,
             "input_mask": model_input.input_mask,
             "segment_ids": model_input.segment_ids,
             "length": [float(len(text.split()))]}

  def feature_spec(self, split):
    return dict(super().feature_spec(split),
                length=tf.FixedLenFeature([], tf.float32))

  @staticmethod
  def guess(config, options, is_training, inputs):
    model = modeling.BertModel(
        config, is_training, *[
            inputs[name] for name in serving.SEQUENCE_INPUTS], options=options)
    first = model.get_sequence_output()[:, 0]  # [B, W]
    weights = tf.get_variable("length/weights", [first.shape[-1]])
    return tf.reduce_sum(first * weights, axis=-1)  # [B]

  def head(self, features, is_training):
    guesses = self.guess(
        self.config, run_settings.model_options(self.settings), is_training,
        features)
    errors = tf.square(guesses - features["length"])
    return training.Head(
        tf.reduce_mean(errors), {"length": guesses},
        (lambda errors: {"eval_error": metrics.mean(errors)},
         dict(errors=errors), ["eval_error"]))

  def row(self, prediction):
    return "%.6f" % prediction["length"]

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    def build(inputs):
      inputs, cut = serving.round_up_request(
          inputs, config.max_position_embeddings)
      return {serving.SIGNATURE: {
          "length": cut(cls.guess(config, model_options, False, inputs))}}

    return serving.ServingTask(
        cls.name, build, settings={"unit": options.get("unit") or "words"})

  @classmethod
  def answer(cls, model, pairs):
    return ["%.6f %s" % (result["length"], model.settings["unit"])
            for result in model.compute(model.make_inputs(pairs))]


@dataclasses.dataclass
class Settings(run_settings.FineTuningSettings):
  """The task's settings."""

  do_train: bool = option("bool", False, "Train.")
  do_eval: bool = option("bool", False, "Evaluate.")
  do_predict: bool = option("bool", False, "Predict.")
  max_seq_length: int = option("integer", 12, "Word pieces.")
  eval_batch_size: int = option("integer", 2, "Batch size.")
  missing: str = option("string", None, "A split to miss.")


def make_task(folder, **values):
  """Makes the task with settings of its own."""
  settings = Settings(**dict(dict(
      vocab_file=helpers.write_vocab(folder),
      bert_config_file=helpers.write_config(folder),
      output_dir=str(folder / "out"), train_batch_size=4, num_train_epochs=2.0,
      learning_rate=0.01), **values))
  config = modeling.BertConfig.from_json_file(settings.bert_config_file)
  return LengthTask(
      settings, config, run_settings.make_tokenizer(settings, config))


@pytest.fixture(autouse=True)
def known(monkeypatch):
  """Adds the task to those that can be served, for the time of a test."""
  monkeypatch.setitem(trained_models.TASKS, LengthTask.name, LengthTask)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Gives the folder of a whole run of the task, and its results."""
  folder = tmp_path_factory.mktemp("toy")
  with helpers.captured_log():
    results = runner.run(make_task(
        folder, do_train=True, do_eval=True, do_predict=True,
        export_dir=str(folder / "exported")))
  return folder, results


def test_a_task_of_one_class_trains_evaluates_and_predicts(trained):
  folder, results = trained
  assert results["global_step"] == 6
  names, values = helpers.read_eval_results(str(folder / "out"))
  assert names == ["eval_error", "global_step", "loss"]
  assert values[0] == pytest.approx(results["eval_error"])
  assert len((folder / "out" / "test_results.tsv").read_text().split()) == 4
  record = json.loads((folder / "out" / "run.json").read_text())
  assert record["task"] == "length"
  assert record["training"]["num_train_steps"] == 6
  assert record["training"]["learning_rate"] == 0.01


@pytest.mark.parametrize("source", ["out", "exported", "exported_later"])
def test_predictor_answers_with_the_trained_and_the_exported_model(
    trained, source):
  folder, _ = trained
  if source == "exported_later":
    with helpers.captured_log():
      helpers.run_main(export_model, [
          "--model_dir=%s" % (folder / "out"),
          "--export_dir=%s" % (folder / source)])
  rows = (folder / "out" / "test_results.tsv").read_text().split("\n")[:-1]
  with helpers.captured_log(), predictor.Predictor(
      str(folder / source)) as model:
    assert model.settings["task"] == "length"
    answers = model.predict(PREDICT)
  assert [answer.split()[1] for answer in answers] == ["words"] * 4
  np.testing.assert_allclose(
      [float(answer.split()[0]) for answer in answers],
      [float(row) for row in rows], atol=2e-5)


def test_options_of_a_task_are_its_own(trained):
  folder, _ = trained
  model = trained_models.find(str(folder / "out"), unit="tokens")
  assert model.settings["unit"] == "tokens"
  with pytest.raises(ValueError, match="layers: the task length has none; leave"
                     " it out, or give task=features"):
    trained_models.find(str(folder / "out"), layers="-1")


def test_options_of_a_task_are_exported(trained):
  @dataclasses.dataclass
  class ExportSettings(export_model.Settings):
    unit: str = option("string", None, "What is counted.")

  folder, _ = trained
  values = dict(model_dir=str(folder / "out"))
  for settings, unit in ((ExportSettings(unit="tokens", **values), "tokens"),
                         (export_model.Settings(**values), "words")):
    assert export_model.find_model(settings).settings["unit"] == unit


def test_a_task_says_whether_it_searches_for_answers(trained, monkeypatch):
  folder = str(trained[0] / "out")
  with helpers.captured_log(), pytest.raises(
      cli.UserError, match="n_best_size, .* are for squad, but the task of "
      "this model is length; leave them out"):
    predictor.Predictor(folder, n_best_size=3)
  monkeypatch.setattr(LengthTask, "searches", True)
  with helpers.captured_log(), predictor.Predictor(
      folder, n_best_size=3) as model:
    assert model.search[0] == 3


def test_a_run_that_is_done_resumes_with_what_is_left(trained):
  """It evaluates the same and neither trains nor writes features to train."""
  folder, results = trained
  train_file = folder / "out" / "train.tf_record"
  os.remove(str(train_file))
  with helpers.captured_log() as lines:
    again = runner.run(make_task(folder, do_train=True, do_eval=True))
  assert again == pytest.approx(results)
  assert not train_file.exists()
  assert any(line.startswith("There is nothing left to train")
             for line in lines)


def test_mistakes_show_before_anything_is_written(tmp_path):
  with pytest.raises(cli.UserError, match="nothing to do; give --do_train, "
                     "--do_eval or --do_predict"):
    runner.run(make_task(tmp_path))
  with pytest.raises(cli.UserError, match="found no text to predict"):
    runner.run(make_task(tmp_path, do_train=True, do_predict=True,
                         missing="predict"))
  assert not (tmp_path / "out").exists()


def test_a_task_that_cannot_be_served_says_so_before_it_trains(tmp_path):
  task = make_task(tmp_path, do_train=True, export_dir=tmp_path / "exported")
  task.__class__ = type("Unserved", (LengthTask,), dict(
      serve=tasks.Task.__dict__["serve"]))
  with pytest.raises(cli.UserError, match="--export_dir: the task length cannot"
                     " be served"):
    runner.run(task)
  assert not (tmp_path / "out").exists()


def test_a_setting_of_the_optimizer_is_recorded(tmp_path):
  @dataclasses.dataclass
  class Decaying(Settings):
    weight_decay_rate: float = option("float", 0.01, "Decay of the weights.")

  task = make_task(tmp_path)
  task.settings = Decaying(weight_decay_rate=0.1)
  values = task.training_values()
  assert (values["weight_decay_rate"], values["learning_rate"]) == (0.1, 5e-5)
  assert "use_tpu" not in values  # the same training anywhere
  assert run_settings.optimizer_settings(
      task.settings, 10).weight_decay_rate == 0.1


@pytest.mark.parametrize("num_records,last", [(3, 1), (4, 2)])
def test_on_tpus_no_record_is_dropped(tmp_path, num_records, last):
  task = make_task(tmp_path, use_tpu=True, predict_batch_size=2)
  path = str(tmp_path / "predict.tf_record")
  input_pipeline.write_examples(
      path, task.features("predict", PREDICT[:num_records]))
  batches = helpers.read_batches(task.input_fn(
      "predict", tasks.Data(path, num_records, num_records)), 2)
  assert [len(batch["length"]) for batch in batches] == [2, last]


def test_a_model_of_a_task_that_is_not_known_names_those_that_are(
    trained, monkeypatch):
  folder, _ = trained
  monkeypatch.delitem(trained_models.TASKS, LengthTask.name)
  for source in ("out", "exported"):
    with helpers.captured_log(), pytest.raises(
        cli.UserError, match="task length: expected one of classifier, "):
      predictor.Predictor(str(folder / source))


def test_an_evaluation_in_between_reads_what_it_evaluates_on(tmp_path):
  task = make_task(tmp_path, do_train=True)
  assert task.asked() == ["train"]
  task.eval_every = 3
  assert task.asked() == ["train", "eval"]
  task.settings.do_eval = True
  assert task.asked() == ["train", "eval"]


@pytest.mark.parametrize("num_records, batch_size, epochs, steps", [
    (45, 32, 10.0, [2, 3, 5, 6, 8, 9, 10, 12, 13, 15]),
    (80, 32, 3.0, [3, 5, 8]), (3, 8, 9.0, [1, 2, 3]),
    (33, 10, 4.0, [4, 7, 10, 14])])
def test_an_epoch_is_evaluated_at_the_step_that_ends_it(
    tmp_path, monkeypatch, num_records, batch_size, epochs, steps):
  task = make_task(
      tmp_path, do_train=True, eval_each_epoch=True,
      train_batch_size=batch_size, num_train_epochs=epochs)
  # Records, not examples, which may be read through several windows.
  monkeypatch.setattr(task, "count_records", lambda examples: num_records)
  with helpers.captured_log() as lines:
    assert task.count_train_steps({"train": ["tea"]}) == int(
        num_records / batch_size * epochs)
  assert bool([line for line in lines if "several times" in line]) == (
      num_records < batch_size)
  assert float(task.steps_per_epoch) == num_records / batch_size
  found = [task.next_evaluation(0)]
  while len(found) < len(steps):
    found.append(task.next_evaluation(found[-1]))
  assert found == steps


def test_the_best_of_a_training_needs_evaluations(tmp_path):
  with pytest.raises(ValueError, match="^--use_best: finding .* pass --eval"):
    runner.read(make_task(tmp_path, do_train=True, use_best=True))
  assert not (tmp_path / "out").exists()


def test_the_history_does_not_replace_an_input(tmp_path):
  task = make_task(tmp_path, do_train=True)
  task.settings.output_dir = str(tmp_path)
  task.settings.vocab_file = helpers.write_lines(
      tmp_path / "history.tsv", [["tea"]])
  with pytest.raises(ValueError, match="is the file .*history.tsv .--vocab_"):
    task.check()


class TaggerTask(LengthTask):
  """A second task with labels, as a classifier has them."""

  name = "tagger"
  options = ("labels",)


def test_a_task_with_labels_is_found_by_its_name(monkeypatch):
  monkeypatch.setitem(trained_models.TASKS, "tagger", TaggerTask)
  find = trained_models._task_of
  assert find({"task": "tagger", "labels": ["a", "b"]}, None) == "tagger"
  assert find({"task": "mrpc", "labels": ["a", "b"]}, None) == "classifier"


def test_tasks_may_have_the_same_option(monkeypatch):
  monkeypatch.setitem(trained_models.TASKS, "tagger", TaggerTask)
  monkeypatch.setitem(trained_models.TASKS, "length", LengthTask)
  for task in ("tagger", "classifier"):
    trained_models._check_options(
        task, {"labels": ["a", "b"]}, None, None, {}, "it")
  with pytest.raises(ValueError, match="task=classifier or ner or tagger"):
    trained_models._check_options(
        "length", {"labels": ["a", "b"]}, None, None, {}, "it")


def test_a_session_elsewhere_computes_metrics_in_the_graph(tmp_path):
  """It could not call the functions of this process."""
  def mean_of(errors):
    return {"eval_error": tf.metrics.mean(errors)}

  with tf.Graph().as_default() as graph:
    head = training.Head(
        tf.zeros([]), {}, (lambda errors: {"eval_error": metrics.mean(errors)},
                           dict(errors=tf.ones([3])), ["eval_error"]), mean_of)
    spec = training.make_model_fn(
        lambda features, is_training: head, None,
        optimization.Settings(0.1, 1, 0))(
        {}, None, tf_estimator.ModeKeys.EVAL, {},
        types.SimpleNamespace(
            master="grpc://elsewhere:1", model_dir=str(tmp_path)))
    function, tensors = spec.eval_metrics
    function(**tensors)
    assert not [op for op in graph.get_operations() if "PyFunc" in op.type]
    with pytest.raises(cli.UserError, match="the task has no tpu_metrics"):
      training.eval_metrics(head._replace(tpu_metrics=None), True)


@pytest.mark.slow
def test_a_task_may_read_another_split(tmp_path):
  task = make_task(tmp_path, do_train=True)
  task.splits += ("second_eval",)
  task.asked = lambda: ["train"]
  assert runner.run(task) is None
  assert tf.train.latest_checkpoint(task.settings.output_dir)
