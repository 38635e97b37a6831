"""Tests of several runs of a training: seeds, the search, and folds."""

import collections
import dataclasses
import json
import math
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    cli, problem_types, processors, run_settings, runner, several_runs, splits)
from bert_suite.script_options import option
import helpers
import predictor
import run_classifier


@dataclasses.dataclass
class Settings(run_settings.FineTuningSettings):
  """The settings of a task that trains nothing."""

  do_train: bool = option("bool", True, "Train.")
  do_eval: bool = option("bool", True, "Evaluate.")
  do_predict: bool = option("bool", False, "Predict.")
  max_seq_length: int = option("integer", 12, "Word pieces.")


class FakeTask:
  """What several runs need of a task."""

  splits = ("train", "eval", "predict")
  best_metric = "eval_accuracy"
  brought_by = None
  read_flags = ()
  num_examples = 200

  def __init__(self, settings):
    self.settings = settings

  def check(self):
    pass

  def read_all(self):
    return {"train": range(self.num_examples), "eval": range(20)}

  def record(self):
    return {"task": "fake", "labels": ["a", "b"]}

  def training_values(self):
    return {name: getattr(self.settings, name) for name in (
        "max_seq_length", "train_batch_size", "learning_rate",
        "tf_random_seed", "num_train_epochs")}

  def is_served(self):
    return True

  def constant_figures(self):
    return {"eval_accuracy": 0.5}


class Trainer:
  """Stands in for `runner.run`: gives figures by the name of the run.

  Attributes:
    figures: dict from the name of a run to a figure, or an exception to raise.
    calls: list of (name of the run, settings).
  """

  def __init__(self, **figures):
    self.figures = {name.replace("__", "-"): figure
                    for name, figure in figures.items()}
    self.calls = []

  def __call__(self, task, on_log=None):
    folder = task.settings.output_dir
    name = os.path.basename(folder)
    self.calls.append((name, task.settings))
    if not task.settings.do_eval:
      return None
    tf.gfile.MakeDirs(folder)
    for file in ("model.ckpt-3.index", "checkpoint", "train.tf_record",
                 "eval_results.txt"):
      helpers.write_lines(os.path.join(folder, file), [["x"]])
    figure = self.figures.get(name, 0.75)
    if isinstance(figure, BaseException):
      raise figure
    if on_log:
      on_log({"step": 3})
    return {"eval_accuracy": figure, "eval_loss": 1.0, "global_step": 3}

  def names(self):
    return [name for name, _ in self.calls]


@pytest.fixture(name="trainer")
def make_trainer(monkeypatch):
  trainer = Trainer(seed__1=0.7, seed__2=0.9, seed__3=0.5)
  monkeypatch.setattr(runner, "run", trainer)
  return trainer


def run(tmp_path, **values):
  """Runs the fake task; returns the figures and the lines of the log."""
  settings = Settings(output_dir=str(tmp_path / "out"), **values)
  with helpers.captured_log() as lines:
    return several_runs.run(FakeTask, settings), lines


def read_table(tmp_path):
  lines = [line.split("\t") for line in (
      tmp_path / "out" / "runs.tsv").read_text().split("\n")[:-1]]
  return [dict(zip(lines[0], line)) for line in lines[1:]]


def test_seeds_are_run_listed_and_the_best_is_kept(tmp_path, trainer):
  figures, lines = run(tmp_path, num_seeds=3)
  assert figures == {"eval_accuracy": 0.9, "eval_loss": 1.0, "global_step": 3}
  assert trainer.names() == ["seed-1", "seed-2", "seed-3"]
  assert [one.tf_random_seed for _, one in trainer.calls] == [1, 2, 3]
  rows = read_table(tmp_path)
  assert [(row["run"], row["tf_random_seed"], row["eval_accuracy"],
           row["failed"], row["best eval_accuracy"]) for row in rows] == [
               ("seed-1", "1", "0.7", "no", ""), ("seed-2", "2", "0.9", "no",
                                                  "*"),
               ("seed-3", "3", "0.5", "yes", "")]
  for name in ("seed-1", "seed-2", "seed-3"):
    left = sorted(os.listdir(str(tmp_path / "out" / name)))
    assert left == (["checkpoint", "eval_results.txt", "model.ckpt-3.index",
                     "train.tf_record"] if name == "seed-2" else
                    ["eval_results.txt"])
  # Mean, sample deviation, median, minimum, maximum, and one that failed.
  assert [line.split() for line in lines if line.split()[:1] == ["all"]] == [
      "all 3 0.7000 0.2000 0.7000 0.5000 0.9000 1".split()]
  assert lines[-1] == "The best run is %s, whose checkpoints are kept" % (
      tmp_path / "out" / "seed-2")


def test_seeds_begin_at_the_one_that_is_given(tmp_path, trainer):
  run(tmp_path, num_seeds=2, tf_random_seed=7, keep_all_runs=True)
  assert trainer.names() == ["seed-7", "seed-8"]
  for name in trainer.names():
    assert (tmp_path / "out" / name / "model.ckpt-3.index").exists()


def test_runs_that_are_finished_are_not_run_again(tmp_path, trainer):
  trainer.figures["seed-2"] = cli.Interrupted("stopped at step 2 of 3")
  with pytest.raises(cli.Interrupted, match="run seed-2: stopped at step 2"):
    run(tmp_path, num_seeds=3)
  assert trainer.names() == ["seed-1", "seed-2"]
  trainer.figures["seed-2"] = 0.9
  run(tmp_path, num_seeds=3)
  assert trainer.names()[2:] == ["seed-2", "seed-3"]
  table = (tmp_path / "out" / "runs.tsv").read_text()
  figures, lines = run(tmp_path, num_seeds=3)
  assert len(trainer.calls) == 4 and figures["eval_accuracy"] == 0.9
  assert (tmp_path / "out" / "runs.tsv").read_text() == table
  assert "3 of 3 runs in %s are finished" % (tmp_path / "out") in lines
  assert [line.split()[0] for line in lines if line.startswith("  ")] == [
      "run", "seed-1", "seed-2", "seed-3", "runs", "all"]
  run(tmp_path, num_seeds=4)  # more of them
  assert trainer.names()[4:] == ["seed-4"]


def test_weights_are_removed_after_a_kill(tmp_path, trainer):
  run(tmp_path, num_seeds=2)
  left = tmp_path / "out" / "seed-1" / "model.ckpt-3.index"
  left.write_text("it was killed before it removed this")
  run(tmp_path, num_seeds=2)
  assert not left.exists()


def test_an_error_names_the_run_and_ends_all(tmp_path, trainer):
  trainer.figures["seed-1"] = tf.errors.ResourceExhaustedError(
      None, None, "OOM when allocating tensor")
  with pytest.raises(cli.UserError, match="run seed-1: out of memory"):
    run(tmp_path, num_seeds=3)
  trainer.figures["seed-1"] = KeyboardInterrupt()
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, num_seeds=3)
  assert trainer.names() == ["seed-1", "seed-1"]


def test_memory_names_the_batch_size_of_the_run(tmp_path, trainer):
  trainer.figures["batch-8_rate-3e-04"] = tf.errors.ResourceExhaustedError(
      None, None, "OOM when allocating tensor")
  with pytest.raises(cli.UserError, match="run batch-8_rate-3e-04: out of "
                     "memory .*--train_batch_size=8"):
    run(tmp_path, search=True)


@pytest.mark.slow
def test_the_search_tries_each_setting_with_each_seed(tmp_path, trainer):
  trainer.figures.update({
      "batch-64_rate-5e-05_seed-1": 0.95, "batch-64_rate-5e-05_seed-2": 0.55,
      "batch-16_rate-1e-04_seed-1": 0.8, "batch-16_rate-1e-04_seed-2": 0.8})
  figures, lines = run(tmp_path, search=True, num_seeds=2)
  assert figures["eval_accuracy"] == 0.95
  assert len(trainer.calls) == 40
  tried = {(one.train_batch_size, one.learning_rate, one.num_train_epochs,
            one.tf_random_seed) for _, one in trainer.calls}
  assert tried == {(size, rate, 4.0, seed) for size in (8, 16, 32, 64, 128)
                   for rate in (3e-4, 1e-4, 5e-5, 3e-5) for seed in (1, 2)}
  assert "The best setting, by its mean: batch-16 rate-1e-04" in lines
  assert lines[-1].startswith("The best run is %s," % (
      tmp_path / "out" / "batch-64_rate-5e-05_seed-1"))


@pytest.mark.parametrize("values,message", [
    (dict(num_seeds=2, learning_rate=1e-3), "holds runs of other settings: "
     "--learning_rate is 5e-05 there and 0.001 here"),
    (dict(num_seeds=2, reinit_layers=1), "--reinit_layers is 0 there and 1"),
    (dict(search=True), "--search is False there and True here"),
    (dict(num_seeds=1), "the run seed-2 is not one of this command's"),
    (dict(num_seeds=2, init_checkpoint="/other"), "--init_checkpoint is None")])
def test_another_grid_in_the_same_folder_is_refused(
    tmp_path, trainer, values, message):
  run(tmp_path, num_seeds=2)
  with pytest.raises(cli.UserError, match=message):
    run(tmp_path, **values)
  assert len(trainer.calls) == 2


@pytest.mark.parametrize("values,message", [
    (dict(num_seeds=2, do_eval=False), "also pass --do_eval"),
    (dict(search=True, learning_rate=1e-3), "--learning_rate=0.001: --search "
     "tries batch sizes 8, 16, 32, 64, 128 and learning rates 0.0003, .* leave "
     "the flag out")])
def test_settings_that_do_not_go_with_several_runs(
    tmp_path, trainer, values, message):
  with pytest.raises(cli.UserError, match=message):
    run(tmp_path, **values)
  assert not trainer.calls


def test_a_damaged_file_of_runs_is_named(tmp_path, trainer):
  run(tmp_path, num_seeds=1)
  path = tmp_path / "out" / "runs.json"
  path.write_text(path.read_text()[:30])
  with pytest.raises(cli.UserError, match="runs.json: cannot be read .* remove "
                     "it, and runs that still have their checkpoints"):
    run(tmp_path, num_seeds=1)


@pytest.mark.parametrize("name", ["../other", "/other", "..", ""])
def test_runs_are_in_the_folder_of_their_list(tmp_path, name):
  (tmp_path / "runs.json").write_text(json.dumps({
      "of": {}, "best": name, "runs": [[name, {}, {"eval_loss": 1.0}, False]]}))
  with pytest.raises(ValueError, match="runs.json: cannot be read .*a name"):
    several_runs.read(str(tmp_path))


@pytest.mark.parametrize("run", [
    ["a", {}, {"eval_loss": "1"}, False], ["a", 1, {}, False],
    ["a", {}, [["eval_loss", [1]]], False], 1.0])
def test_figures_of_runs_are_numbers(tmp_path, run):
  (tmp_path / "runs.json").write_text(json.dumps({
      "of": {}, "best": "a", "runs": [run]}))
  with pytest.raises(ValueError, match="runs.json: cannot be read"):
    several_runs.read(str(tmp_path))


def test_the_best_run_predicts_and_is_exported(tmp_path, trainer):
  run(tmp_path, num_seeds=2, do_predict=True,
      export_dir=str(tmp_path / "exported"))
  assert trainer.names() == ["seed-1", "seed-2", "seed-2"]
  assert [(one.do_eval, one.do_predict, bool(one.export_dir))
          for _, one in trainer.calls] == [
              (True, False, False), (True, False, False), (False, True, True)]


def test_a_task_that_predicts_to_evaluate_does_so_in_each_run(
    tmp_path, trainer, monkeypatch):
  monkeypatch.setattr(FakeTask, "splits", ("train", "predict"))
  with pytest.raises(cli.UserError, match="also pass --do_predict"):
    run(tmp_path, num_seeds=2)
  run(tmp_path, num_seeds=2, do_predict=True)
  assert [one.do_predict for _, one in trainer.calls] == [True, True]


@pytest.mark.parametrize("figure,baseline,metric,failed", [
    (0.7, 0.69, "eval_accuracy", False), (0.69, 0.69, "eval_accuracy", True),
    (0.1, 0.0, "eval_spearman", False), (math.nan, 0.0, "eval_pearson", True),
    (0.0, 0.0, "eval_matthews_correlation", True), (0.0, None, "f1", False),
    (0.5, 0.6, "eval_loss", False), (0.7, 0.6, "eval_loss", True)])
def test_runs_have_failed_that_are_no_better_than_one_answer_for_all(
    figure, baseline, metric, failed):
  assert several_runs.has_failed(figure, baseline, metric) == failed


def test_figures_without_a_number_are_left_out_of_the_summary():
  assert several_runs.summarize([0.5, math.nan, 1.0]) == pytest.approx(
      [0.75, math.sqrt(0.125), 0.75, 0.5, 1.0])
  assert all(map(math.isnan, several_runs.summarize([math.nan])))
  assert math.isnan(several_runs.summarize([0.5])[1])


def test_figures_of_predicting_the_same_for_all():
  figures = problem_types.constant_figures(
      problem_types.SingleLabel(2, ["matthews_correlation"]),
      np.array([1, 1, 0, 1]))
  assert figures == pytest.approx({
      "eval_accuracy": 0.75, "eval_f1": 6 / 7, "eval_matthews_correlation": 0,
      "eval_loss": -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))})
  figures = problem_types.constant_figures(
      problem_types.MultiLabel(2), np.array([[1., 0], [1, 0], [0, 1]]))
  assert figures["eval_accuracy"] == pytest.approx(2 / 3)
  assert figures["eval_f1_macro"] == pytest.approx(0.4)
  figures = problem_types.constant_figures(
      problem_types.Regression(), np.array([1.0, 2.0, 6.0]))
  assert (figures["eval_spearman"], figures["eval_mse"]) == (
      0.0, pytest.approx(14 / 3))


def make_examples(counts):
  return [processors.InputExample(
      "%s-%d" % (label, i), "text %s %d" % (label, i), None, label)
          for label, count in counts.items() for i in range(count)]


def test_folds_are_stratified_and_each_example_is_in_one():
  examples = make_examples({"a": 13, "b": 6, "c": 1})
  seen = []
  for number in range(4):
    fold = splits.Fold(number, 4)
    iterate, length = splits.select(examples, fold, 3, True)
    inside = list(iterate())
    assert length == len(inside) == 5
    labels = collections.Counter(example.label for example in inside)
    assert labels["a"] in (3, 4) and labels["b"] in (1, 2)
    others, length = splits.select(examples, fold, 3, False)
    assert length == 15 and {one.guid for one in others()} == {
        one.guid for one in examples} - {one.guid for one in inside}
    seen += [one.guid for one in inside]
  assert sorted(seen) == sorted(one.guid for one in examples)
  with pytest.raises(ValueError, match="--k_folds=21: found 20 differ"):
    splits.select(examples, splits.Fold(0, 21), 3, True)


def train(tmp_path, name, **values):
  """Trains on MRPC with the tiny model."""
  data = tmp_path / "mrpc"
  helpers.write_mrpc(data)
  with helpers.captured_log() as lines:
    training = run_classifier.train_and_evaluate(**dict(dict(
        task_name="mrpc", data_dir=str(data), max_seq_length=16,
        vocab_file=helpers.write_vocab(tmp_path),
        bert_config_file=helpers.write_config(tmp_path),
        train_batch_size=4, num_train_epochs=1.0,
        output_dir=str(tmp_path / name)), **values))
  return training, lines


@pytest.mark.slow
def test_a_program_gets_the_best_of_two_seeds(tmp_path):
  graph = tf.get_default_graph()
  operations = len(graph.get_operations())
  training, lines = train(tmp_path, "out", num_seeds=2, do_predict=True)
  assert len(graph.get_operations()) == operations
  assert [one.name for one in training.runs] == ["seed-1", "seed-2"]
  best = max(training.runs, key=lambda one: one.figures["eval_accuracy"])
  assert training.results == best.figures
  assert training.output_dir == best.output_dir
  assert {row["run"] for row in training.history} == {best.name}
  assert "eval_accuracy" in training.history[-1]
  assert helpers.read_probabilities(best.output_dir).shape == (7, 2)
  for one in training.runs:
    assert one.figures["global_step"] == 3
    assert bool(tf.gfile.Glob(one.output_dir + "/model.ckpt*")) == (
        one is best)
  with predictor.Predictor(training.output_dir) as model:
    assert model.predict([("a cat", "tea")]).shape == (1, 2)
  # A run alone has the same weights as one among several.
  alone, _ = train(tmp_path, "alone", tf_random_seed=2)
  assert alone.results["eval_loss"] == pytest.approx(
      training.runs[1].figures["eval_loss"], abs=1e-5)
  again, _ = train(tmp_path, "out", num_seeds=2)
  assert again.results == training.results and not again.history


def test_a_run_that_was_killed_is_of_the_settings_it_began_with(
    tmp_path, trainer):
  trainer.figures["seed-1"] = KeyboardInterrupt()
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, num_seeds=1, learning_rate=1e-3)
  with pytest.raises(cli.UserError, match="--learning_rate is 0.001 there and"):
    run(tmp_path, num_seeds=1)


def test_other_data_in_the_same_file_are_noticed(
    tmp_path, trainer, monkeypatch):
  run(tmp_path, num_seeds=1)
  monkeypatch.setattr(FakeTask, "num_examples", 201)
  with pytest.raises(cli.UserError, match="'train': 200.* there and .*201"):
    run(tmp_path, num_seeds=2)


def test_batches_larger_than_the_data_are_left_out(
    tmp_path, trainer, monkeypatch):
  monkeypatch.setattr(FakeTask, "num_examples", 10)
  _, lines = run(tmp_path, search=True)
  assert {one.train_batch_size for _, one in trainer.calls} == {8, 16, 32}
  assert ("10 training examples are less than one step for 8 of the 20 runs, "
          "which are left out") in lines


@pytest.mark.slow
def test_tuned_runs_set_the_same_examples_aside_and_the_best_predicts(tmp_path):
  table = helpers.write_lines(tmp_path / "train.tsv", [["text", "label"]] + [
      ["tea %d" % i, '["a"]' if i % 3 else '["a", "b"]'] for i in range(24)])

  def train_and_read(name, **more):
    train(tmp_path, name, task_name="table",
          data_dir=None, train_file=table, text_a="text",
          label="label", multi_label=True, dev_share=0.25, num_seeds=1,
          tune_thresholds=True, **more)
    folder, = (tmp_path / name).glob("seed-*")
    return folder, (folder / "dev_predictions.tsv").read_text().split("\n")

  folder, lines = train_and_read("out", test_file=table, do_predict=True)
  assert len((folder / "predictions.tsv").read_text().split("\n")) == 26
  _, others = train_and_read("other", tf_random_seed=5)
  ids = [line.split("\t")[:2] for line in lines]
  assert len(ids) == 8
  assert ids == [line.split("\t")[:2] for line in others]
  _, others = train_and_read("third", split_seed=5)
  assert ids != [line.split("\t")[:2] for line in others]


@pytest.fixture(name="folds", scope="module")
def run_folds(tmp_path_factory):
  """Settings of a run of two folds without a dev set, and its log."""
  tmp_path = tmp_path_factory.mktemp("folds")
  helpers.write_mrpc(tmp_path / "mrpc")
  os.remove(str(tmp_path / "mrpc" / "dev.tsv"))
  settings = run_classifier.Settings(
      task_name="mrpc", data_dir=str(tmp_path / "mrpc"), max_seq_length=16,
      vocab_file=helpers.write_vocab(tmp_path),
      bert_config_file=helpers.write_config(tmp_path), do_train=True,
      do_eval=True, train_batch_size=4, num_train_epochs=1.0, k_folds=2,
      keep_all_runs=True, output_dir=str(tmp_path / "out"))
  with helpers.captured_log() as lines:
    run_classifier.run_with(settings)
  return settings, lines


def read_rows(folder, name):
  """Returns the rows of a table with a header, dicts."""
  with open(os.path.join(folder, name)) as reader:
    lines = [line.rstrip("\n").split("\t") for line in reader]
  return [dict(zip(lines[0], line)) for line in lines[1:]]


@pytest.mark.slow
def test_folds_are_evaluated_without_a_dev_set(folds):
  settings, _ = folds
  runs, _ = several_runs.read(settings.output_dir)
  assert [(one.name, one.settings) for one in runs] == [
      ("fold-1", {"fold": 1}), ("fold-2", {"fold": 2})]
  assert os.path.exists(settings.output_dir + "/fold-2/run.json")


def test_all_folds_together_have_figures_and_a_table(folds):
  settings, lines = folds
  rows = read_rows(settings.output_dir, "fold_predictions.tsv")
  assert collections.Counter(row["run"] for row in rows) == {
      "fold-1": 7, "fold-2": 5}  # 5 of the 7 texts are there twice
  assert not {row["text_a"] for row in rows[:7]} & {
      row["text_a"] for row in rows[7:]}
  assert sorted(row["id"] for row in rows) == sorted(
      "train-%d" % number for number in range(1, 13))
  own = read_rows(settings.output_dir + "/fold-2", "dev_predictions.tsv")
  assert [dict(row, run="fold-2") for row in own] == rows[7:]
  pooled, = read_rows(settings.output_dir, "fold_results.tsv")
  assert (pooled["runs"], pooled["examples"]) == ("all", "12")
  are, said = [np.array([int(row[name]) for row in rows])
               for name in ("label", "prediction")]
  assert float(pooled["eval_accuracy"]) == np.mean(are == said)
  assert float(pooled["eval_f1"]) == pytest.approx(
      2 * np.sum(are & said) / np.sum(are + said))
  assert float(pooled["eval_loss"]) == pytest.approx(np.mean([
      -math.log(float(row[row["label"]])) for row in rows]), rel=1e-4)
  place = lines.index("***** All folds together *****")
  assert lines[place + 2].split() == ["all"] + [
      "%.4f" % float(pooled[name])
      for name in ("eval_accuracy", "eval_f1", "eval_loss")] + ["12"]


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 damaged"])
def test_folds_whose_evaluation_is_gone_have_no_figures_together(
    folds, content):
  settings, _ = folds
  path = settings.output_dir + "/fold-1/fold.npz"
  if content is None:  # of an older version
    os.remove(path)
  else:
    with open(path, "wb") as writer:
      writer.write(content)
  before = read_rows(settings.output_dir, "fold_results.tsv")
  with helpers.captured_log() as lines:
    run_classifier.run_with(settings)
  assert [line for line in lines if line.startswith(
      "No metrics over all folds: %s" % (
          path + ": cannot be read"))]
  assert read_rows(settings.output_dir, "fold_results.tsv") == before


def test_folds_of_each_seed_belong_together():
  planned = several_runs.plan(run_classifier.Settings(num_seeds=2, k_folds=2))
  assert several_runs._group_folds(planned) == {
      "seed-1": ["seed-1_fold-1", "seed-1_fold-2"],
      "seed-2": ["seed-2_fold-1", "seed-2_fold-2"]}


def test_a_table_that_is_read_is_not_replaced(tmp_path):
  path = helpers.write_lines(tmp_path / "out" / "runs.tsv", [
      ["text", "label"], ["tea", "a"], ["it", "b"]])
  with pytest.raises(cli.UserError, match="runs.tsv.*is the file .*--dev_file"):
    train(tmp_path, "out", task_name="table",
          data_dir=None, train_file=path, text_a="text",
          label="label", dev_file=path, num_seeds=2)


@pytest.mark.slow
def test_the_search_trains_with_each_setting(tmp_path, monkeypatch):
  monkeypatch.setattr(several_runs, "BATCH_SIZES", (4, 12))
  monkeypatch.setattr(several_runs, "LEARNING_RATES", (1e-3,))
  monkeypatch.setattr(several_runs, "EPOCHS", 2.0)
  training, lines = train(tmp_path, "out", search=True, tf_random_seed=1,
                          train_batch_size=32, num_train_epochs=3.0)
  assert [(one.name, one.settings, one.figures["global_step"])
          for one in training.runs] == [
              ("batch-4_rate-1e-03", dict(
                  train_batch_size=4, learning_rate=1e-3,
                  num_train_epochs=2.0), 6),
              ("batch-12_rate-1e-03", dict(
                  train_batch_size=12, learning_rate=1e-3,
                  num_train_epochs=2.0), 2)]
  for one in training.runs:
    with open(one.output_dir + "/run.json") as reader:
      recorded = json.load(reader)["training"]
    assert {name: recorded[name] for name in one.settings} == one.settings
  best = max(training.runs, key=lambda one: one.figures["eval_accuracy"])
  assert training.output_dir == best.output_dir
  assert [line for line in lines if line.startswith("The best setting, by its")]
