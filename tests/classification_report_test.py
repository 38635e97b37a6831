"""Reports and tables of what a classifier predicts."""

import numpy as np
import pytest

from bert_suite import classification_report, problem_types
import helpers
import run_classifier
from run_classifier import InputExample

LABELS = ["no", "yes"]
EXAMPLES = [
    InputExample("dev-1", "tea\tis\nfar", "a cat", "yes"),
    InputExample("dev-2", "it rains", "the cat", "no"),
    InputExample("dev-3", "a kettle " * 20, "", "yes"),
    InputExample("dev-4", "it", "is", "yes")]
LOGITS = np.array([[0, 2], [0, 3], [1, 0], [0, 1]], np.float32)
IDS = np.array([1, 0, 1, 1])
SINGLE = problem_types.SingleLabel(2)


def read(path):
  with open(str(path)) as reader:
    return [line.rstrip("\n").split("\t") for line in reader]


def test_a_report_has_figures_confusion_and_the_worst_mistakes_first():
  report = classification_report.make_report(
      EXAMPLES, LOGITS, IDS, LABELS, SINGLE)
  assert report.split("\n")[:13] == [
      "label            precision    recall        F1   support",
      "no                  0.0000    0.0000    0.0000         1",
      "yes                 0.6667    0.6667    0.6667         3",
      "macro mean          0.3333    0.3333    0.3333         4",
      "weighted mean       0.5000    0.5000    0.5000         4",
      "eval_f1 is the F1 of yes.",
      "",
      "How often a label (row) was predicted as another (column):",
      "                   (1)   (2)",
      "(1) no               0     1",
      "(2) yes              1     2",
      "",
      "The most confident mistakes:"]
  assert report.split("\n")[13:] == [
      "dev-2: no, predicted yes with 0.953: it rains | the cat",
      "dev-3: yes, predicted no with 0.731: " + ("a kettle " * 7)[:57] + "...",
      ""]


def test_figures_of_a_report_are_those_of_scikit_learn():
  reference = pytest.importorskip("sklearn.metrics")
  random = np.random.RandomState(2)
  ids = random.randint(5, size=400)
  logits = random.normal(size=[400, 5]) + 2 * np.eye(5)[ids]
  names = ["a", "b", "c", "d", "e"]
  examples = [InputExample(str(i), "it", label=names[label])
              for i, label in enumerate(ids)]
  report = classification_report.make_report(
      examples, logits, ids, names, problem_types.SingleLabel(5))
  expected = reference.classification_report(
      ids, np.argmax(logits, axis=1), target_names=names, digits=4,
      output_dict=True)
  rows = {line[:16].strip(): line[16:].split()
          for line in report.split("\n")[1:8]}
  for ours, theirs in [(name, name) for name in names] + [
      ("macro mean", "macro avg"), ("weighted mean", "weighted avg")]:
    assert rows[ours] == [
        "%.4f" % expected[theirs][key]
        for key in ("precision", "recall", "f1-score")] + [
            str(int(expected[theirs]["support"]))]


def test_a_report_of_numbers_has_the_largest_errors_first():
  examples = [InputExample("a", "tea", label=1.0),
              InputExample("b", "it", label=3.0)]
  report = classification_report.make_report(
      examples, np.array([[1.5], [1.0]]), np.array([1.0, 3.0]), None,
      problem_types.Regression())
  assert report.split("\n") == [
      "mse = 2.1250", "pearson = -1.0000", "spearman = -1.0000", "",
      "The largest errors:", "b: 3, predicted 1: it",
      "a: 1, predicted 1.5: tea",
      ""]


def test_a_report_of_several_labels_has_a_row_for_each():
  examples = [InputExample("a", "tea", label=["no", "yes"]),
              InputExample("b", "it", label=[])]
  report = classification_report.make_report(
      examples, np.array([[2.0, 1.0], [-1.0, 3.0]]),
      np.array([[1.0, 1.0], [0.0, 0.0]]), LABELS, problem_types.MultiLabel(2))
  lines = report.split("\n")
  assert lines[1].split() == ["no", "1.0000", "1.0000", "1.0000", "1"]
  assert lines[2].split() == ["yes", "0.5000", "1.0000", "0.6667", "1"]
  assert lines[-2] == "b: no label, predicted yes (yes: 0.953): it"


def test_of_many_labels_those_that_are_confused_are_shown():
  names = ["label %d" % i for i in range(150)]
  ids = np.arange(300) % 150
  said = np.where(ids == 7, 9, ids)
  said[3] = 140
  report = classification_report.make_report(
      [InputExample(str(i), "it", label=names[j]) for i, j in enumerate(ids)],
      np.eye(150)[said], ids, names, problem_types.SingleLabel(150))
  lines = report.split("\n")
  start = lines.index("The labels most often predicted as another:")
  assert lines[start + 1:start + 4] == [
      "     2 times label 7 as label 9",
      "     1 times label 3 as label 140", ""]
  assert max(map(len, lines)) < 80


def test_several_labels_with_commas_can_be_told_apart():
  assert classification_report.show_label(["a", "b"]) == "a,b"
  assert classification_report.show_label(["a, b", "c"]) == '["a, b", "c"]'


def test_tables_have_one_row_per_example_whatever_is_in_the_text(tmp_path):
  path = tmp_path / "dev_predictions.tsv"
  classification_report.write_predictions(
      str(path), EXAMPLES, SINGLE.predict_array(LOGITS), LABELS, SINGLE)
  rows = read(path)
  assert rows[0] == ["id", "text_a", "text_b", "label", "prediction", "no",
                     "yes"]
  assert rows[1] == ["dev-1", "tea is far", "a cat", "yes", "yes", "0.119203",
                     "0.880797"]
  assert rows[3][2:5] == ["", "yes", "no"]
  assert len(rows) == 5


def test_a_table_that_is_interrupted_is_not_there(tmp_path):
  path = tmp_path / "predictions.tsv"
  with pytest.raises(KeyError):
    with classification_report.PredictionFile(
        str(path), EXAMPLES, LABELS, SINGLE, False) as table:
      table.add(np.array([0.5, 0.5]))
      raise KeyError()
  assert not list(tmp_path.iterdir())


def test_examples_that_have_changed_are_found_before_a_table_is_there(
    tmp_path):
  def changed():
    yield from EXAMPLES
    raise ValueError("train.tsv: has changed")

  with pytest.raises(ValueError, match="has changed"):
    classification_report.write_predictions(
        str(tmp_path / "dev_predictions.tsv"), changed(),
        SINGLE.predict_array(LOGITS), LABELS, SINGLE)
  assert not list(tmp_path.iterdir())


def test_submissions_are_as_the_server_of_glue_takes_them(tmp_path):
  folder = str(tmp_path / "glue")
  classification_report.write_submission(
      folder, "RTE", ["entailment", "not_entailment"])
  assert read(tmp_path / "glue" / "RTE.tsv") == [
      ["index", "prediction"], ["0", "entailment"], ["1", "not_entailment"]]
  classification_report.write_submission(folder, "STSB", [5.2, -1.0, 2.12345])
  assert read(tmp_path / "glue" / "STS-B.tsv")[1:] == [
      ["0", "5.000"], ["1", "0.000"], ["2", "2.123"]]
  for name, task in (("MNLI-m", "mnli"), ("MNLI-mm", "MNLI_MM"), ("AX", "ax")):
    assert classification_report.submission_name(task) == name + ".tsv"
  with pytest.raises(ValueError, match="XNLI is no task of GLUE"):
    classification_report.submission_name("XNLI")


def test_only_the_last_report_of_a_training_is_logged(tmp_path):
  with helpers.captured_log() as lines:
    run_classifier.run_with(run_classifier.Settings(
        task_name="MRPC", data_dir=helpers.write_mrpc(tmp_path / "data"),
        vocab_file=helpers.write_vocab(tmp_path), max_seq_length=16,
        bert_config_file=helpers.write_config(tmp_path), train_batch_size=4,
        num_train_epochs=1, do_train=True, do_eval=True, eval_steps=1,
        output_dir=str(tmp_path / "out")))
  said = [line for line in lines if "eval_report.txt" in line]
  assert len(said) == 3
  assert ["precision" in line for line in said] == [False, False, True]
