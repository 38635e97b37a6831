"""Thresholds of labels that are tuned on the dev set."""

import json

import numpy as np
import pytest

from bert_suite import (
    best_model, classification, classification_report, cli, metrics,
    problem_types, thresholds)
import helpers
import predictor
import run_classifier

LABELS = ["cold", "late", "wet"]


def f1_of(are, said):
  return metrics.precision_recall_f1(
      *metrics.count_labels(are[:, None], said[:, None]))[2][0]


@pytest.mark.parametrize("are,probabilities,threshold", [
    # 0.5 misses two of three; all from 0.3 on are right.
    ([1, 1, 1, 0], [0.7, 0.4, 0.3, 0.1], 0.2),
    # What is above 0.5 is wrong.
    ([1, 0, 0, 0], [0.9, 0.7, 0.6, 0.1], 0.8),
    # From 0.2 to 0.8 all are equal: the default.
    ([1, 0], [0.8, 0.2], 0.5),
    # One hit of one (F1 2/3) is less than two of three (4/5).
    ([1, 0, 1], [0.9, 0.4, 0.2], 0.1),
    # As good at 0.7 as at 0.25, where one more is right and one more wrong.
    ([1, 1, 0, 0, 1], [0.9, 0.3, 0.6, 0.55, 0.8], 0.7),
    # It is never right, or always.
    ([0, 0], [0.9, 0.1], 0.5), ([1, 1], [0.4, 0.2], 0.1),
    # Equal probabilities are not divided, nor what rounding set apart.
    ([1, 0, 0], [0.4, 0.4, 0.2], 0.3), ([1, 0], [0.4000003, 0.4], 0.2)])
def test_the_threshold_of_a_label_has_the_highest_f1(
    are, probabilities, threshold):
  assert thresholds.tune(
      np.array([are], bool).T, np.float32([probabilities]).T) == pytest.approx(
          [threshold])


def test_no_other_threshold_is_better():
  random = np.random.RandomState(4)
  are = random.rand(200, 3) < [0.5, 0.1, 0.02]
  probabilities = np.float32(np.round(
      0.4 * random.rand(200, 3) + 0.2 * are * random.rand(200, 3), 2))
  found = thresholds.tune(are, probabilities)
  for label in range(3):
    ours = f1_of(are[:, label], probabilities[:, label] >= found[label])
    for other in np.arange(0.0025, 1, 0.005):
      assert ours >= f1_of(are[:, label], probabilities[:, label] >= other)
    assert ours > f1_of(are[:, label], probabilities[:, label] >= 0.5)


def test_thresholds_are_read_for_their_weights_and_labels_only(tmp_path):
  folders = [str(tmp_path / "none"), str(tmp_path)]
  one, other = [helpers.save_checkpoint(
      tmp_path / name / "model.ckpt-3", {"x": [value]})
                for name, value in (("one", 1.0), ("other", 2.0))]
  assert thresholds.read(folders, one, LABELS) is None
  thresholds.write(str(tmp_path), one, LABELS, np.array([0.25, 0.5, 1 / 3]))
  np.testing.assert_array_equal(
      thresholds.read(folders, one, LABELS[::-1]), [1 / 3, 0.5, 0.25])
  with helpers.captured_log() as lines:
    assert thresholds.read(folders, other, LABELS) is None
  assert lines == ["%s is of another checkpoint, of step 0, so it is not used "
                   "for %s; to tune thresholds, evaluate with "
                   "--tune_thresholds" % (tmp_path / "thresholds.json", other)]
  # Those of the checkpoint's own folder are used then.
  thresholds.write(str(tmp_path / "other"), other, LABELS, [0.1, 0.2, 0.3])
  np.testing.assert_array_equal(thresholds.read(
      folders + [str(tmp_path / "other")], other, LABELS), [0.1, 0.2, 0.3])
  with pytest.raises(ValueError, match="thresholds.json: cannot be read .found "
                     "the labels cold, late, wet, expected dry.; write it again"
                     " with --do_eval and --tune_thresholds, or remove it"):
    thresholds.read(folders, one, ["dry"])


@pytest.mark.parametrize("text", [
    "", "[]", "[" * 100000, '{"checksum": 1, "thresholds": {"a": 0.5}}',
    '{"step": 3, "thresholds": {"a": 0.5}}'] + [
        '{"step": 3, "checksum": 1, "thresholds": %s}' % value for value in (
            '{"a": 2}', '{"a": "x"}', '{"a": NaN}', "3")] + [
                '{"step": 1e999, "checksum": 1, "thresholds": {"a": 0.5}}'])
def test_a_damaged_file_is_named(tmp_path, text):
  (tmp_path / "thresholds.json").write_text(text)
  with pytest.raises(ValueError, match="thresholds.json: cannot be read"):
    thresholds.read([str(tmp_path)], "model.ckpt-3", ["a"])


def test_figures_and_reports_are_those_of_the_thresholds():
  problem = problem_types.MultiLabel(2)
  logits = np.float32([[2.0, -1.0], [-1.0, -3.0]])
  labels = np.float32([[1, 1], [0, 0]])
  assert problem.evaluate(logits, labels) == {
      "eval_accuracy": 0.5, "eval_f1_macro": 0.5,
      "eval_f1_micro": pytest.approx(2 / 3)}
  problem.use_thresholds(np.array([0.5, 0.2]))
  assert problem.evaluate(logits, labels) == {
      "eval_accuracy": 0.5, "eval_f1_macro": 0.5,
      "eval_f1_micro": pytest.approx(2 / 3), "eval_accuracy_tuned": 1.0,
      "eval_f1_macro_tuned": 1.0, "eval_f1_micro_tuned": 1.0}
  examples = [run_classifier.InputExample("a", "tea", label=["no", "yes"]),
              run_classifier.InputExample("b", "it", label=[])]
  report = classification_report.make_report(
      examples, logits, labels, ["no", "yes"], problem).split("\n")
  assert report[2].split() == ["yes", "1.0000", "1.0000", "1.0000", "1"]
  assert [line.split() for line in report[6:9]] == [
      "Tuned thresholds, the least probabilities to predict:".split(),
      ["no", "0.5000"], ["yes", "0.2000"]]
  assert "No mistakes." in report


def write_table(path, count):
  """Writes texts, each with the labels of two of its words."""
  random = np.random.RandomState(count)
  words = {"cold": "tea", "late": "kettle", "wet": "rains"}
  rows = [["text", "labels"]]
  for _ in range(count):
    found = [label for label in LABELS if random.rand() < 0.3]
    rows.append(["the cat is near " + " ".join(map(words.get, found)),
                 json.dumps(found)])
  return helpers.write_lines(path, rows)


@pytest.fixture(name="settings", scope="module")
def make_settings(tmp_path_factory):
  """Settings of a run that trained, evaluated, predicted and exported."""
  folder = tmp_path_factory.mktemp("thresholds")
  settings = dict(
      task_name="table", train_file=write_table(folder / "train.tsv", 24),
      dev_file=write_table(folder / "dev.tsv", 40),
      test_file=write_table(folder / "test.tsv", 30), text_a="text",
      label="labels", multi_label=True, vocab_file=helpers.write_vocab(folder),
      bert_config_file=helpers.write_config(folder), max_seq_length=16,
      train_batch_size=8, num_train_epochs=2.0, learning_rate=5e-3,
      eval_steps=2, tf_random_seed=1, output_dir=str(folder / "out"))
  run_classifier.run_with(run_classifier.Settings(
      do_train=True, do_eval=True, do_predict=True, tune_thresholds=True,
      export_dir=str(folder / "exported"), **settings))
  return settings


def read_table(path):
  """Returns the rows, dicts; of JSON lists of labels those of the report."""
  with open(str(path)) as reader:
    lines = [line.rstrip("\n").split("\t") for line in reader]
  return [dict(zip(lines[0], line)) for line in lines[1:]]


def read_thresholds(folder, step):
  with open(folder + "/thresholds.json") as reader:
    found = json.load(reader)
  assert found["step"] == step
  return found["thresholds"]


@pytest.mark.slow
def test_a_run_predicts_with_what_it_tuned(settings):
  out = settings["output_dir"]
  tuned = read_thresholds(out, 6)
  assert set(tuned.values()) != {0.5}
  for name in ("dev_predictions.tsv", "predictions.tsv"):
    for row in read_table(out + "/" + name):
      assert row["prediction"] == ",".join(
          label for label in LABELS if float(row[label]) >= tuned[label])
  rows = read_table(out + "/dev_predictions.tsv")
  are, said = [np.array([[label in row[key].split(",") for label in LABELS]
                         for row in rows]) for key in ("label", "prediction")]
  with open(out + "/eval_results.txt") as reader:
    figures = dict(line.split(" = ") for line in reader)
  for name, threshold in (("", 0.5), ("_tuned", None)):
    if threshold:
      said_here = np.array([[float(row[label]) >= threshold for label in LABELS]
                            for row in rows])
    else:
      said_here = said
    assert float(figures["eval_f1_macro" + name]) == pytest.approx(np.mean([
        f1_of(are[:, i], said_here[:, i]) for i in range(3)]))
  assert float(figures["eval_f1_macro_tuned"]) > float(figures["eval_f1_macro"])
  with open(out + "/eval_report.txt") as reader:
    assert "Tuned thresholds" in reader.read()


def test_the_best_checkpoint_has_thresholds_of_its_own(settings):
  best = best_model.best_row(settings["output_dir"])
  read_thresholds(settings["output_dir"] + "/best", best.step)


@pytest.mark.slow
def test_a_later_run_and_served_models_have_the_same_thresholds(settings):
  out = settings["output_dir"]
  before = read_table(out + "/predictions.tsv")
  run_classifier.run_with(run_classifier.Settings(
      do_predict=True, do_eval=True, **dict(settings, train_file=None)))
  assert read_table(out + "/predictions.tsv") == before
  with open(out + "/eval_results.txt") as reader:
    assert "eval_f1_macro_tuned = " in reader.read()
  tuned = read_thresholds(out, 6)
  for path in (out, settings["output_dir"][:-3] + "exported"):
    with predictor.Predictor(path) as model:
      assert dict(zip(model.labels, model.settings["thresholds"])) == tuned
  # A checkpoint of this folder, evaluated in another one.
  elsewhere = dict(settings, train_file=None, output_dir=out + "-2",
                   init_checkpoint=out + "/model.ckpt-6")
  run_classifier.run_with(run_classifier.Settings(do_predict=True, **elsewhere))
  assert read_table(out + "-2/predictions.tsv") == before


def test_the_best_checkpoint_predicts_into_another_folder(settings, tmp_path):
  out = settings["output_dir"]
  run_classifier.run_with(run_classifier.Settings(do_predict=True, **dict(
      settings, train_file=None, output_dir=str(tmp_path),
      init_checkpoint="%s/best/model.ckpt-%d" % (
          out, best_model.best_row(out).step))))
  tuned = read_thresholds(out + "/best", best_model.best_row(out).step)
  for row in read_table(tmp_path / "predictions.tsv"):
    assert row["prediction"] == ",".join(
        label for label in LABELS if float(row[label]) >= tuned[label])


@pytest.mark.parametrize("values,message", [
    (dict(multi_label=False), "--tune_thresholds: labels have thresholds only"),
    (dict(do_eval=False), "--tune_thresholds: also pass --do_ev"),
    (dict(master="grpc://other"), "--tune_thresholds: --use_tpu and")
])
def test_what_tuning_needs_is_said(settings, tmp_path, values, message):
  values = dict(dict(
      settings, do_train=True, do_eval=True, tune_thresholds=True, eval_steps=0,
      output_dir=str(tmp_path / "out")), **values)
  with pytest.raises(cli.UserError, match=message):
    run_classifier.run_with(run_classifier.Settings(**values))


@pytest.mark.slow
def test_folds_predict_with_one_half_and_are_compared_by_tuned_figures(
    settings, tmp_path):
  run_classifier.run_with(run_classifier.Settings(
      do_train=True, do_eval=True, do_predict=True, tune_thresholds=True,
      k_folds=2, **dict(settings, output_dir=str(tmp_path))))
  rows = read_table(tmp_path / "fold_predictions.tsv")
  said = [[label for label in LABELS if float(row[label]) >= 0.5]
          for row in rows]
  assert [row["prediction"] for row in rows] == list(map(",".join, said))
  pooled, = read_table(tmp_path / "fold_results.tsv")
  assert float(pooled["eval_accuracy"]) == pytest.approx(np.mean([
      sorted(row["label"].split(",")) == sorted(labels or [""])
      for row, labels in zip(rows, said)]))
  runs = read_table(tmp_path / "runs.tsv")
  assert "eval_f1_macro_tuned" in runs[0]
  best = max(runs, key=lambda row: float(row["eval_f1_macro_tuned"]))
  assert best["best eval_f1_macro_tuned"] == "*"
  # The call that predicts with it knows by which figure best/ was chosen.
  assert read_table(tmp_path / best["run"] / "predictions.tsv")
  assert "best eval_f1_macro_tuned" in read_table(
      tmp_path / best["run"] / "history.tsv")[0]


def test_predicting_each_label_for_all_is_what_tuned_figures_must_beat():
  task = classification.ClassificationTask(
      run_classifier.Settings(task_name="table", tune_thresholds=True), None,
      None, None)
  task.labels, task.problem = ["no", "yes"], problem_types.MultiLabel(2)
  task._examples["eval"] = [  # pylint: disable=protected-access
      run_classifier.InputExample(str(number), "tea", label=label)
      for number, label in enumerate([["no"], [], ["yes"], []])]
  figures = task.constant_figures()
  assert figures["eval_f1_macro"] == 0.0
  assert figures["eval_f1_macro_tuned"] == pytest.approx(0.4)
