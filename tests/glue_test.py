"""Tests of the tasks of GLUE and XNLI: columns, labels, names, languages."""

import pytest

from bert_suite import cli, problem_types, processors, task_names
from helpers import captured_log, write_lines, write_mrpc
import run_classifier


def examples_of(name, tmp_path, split="train", **settings):
  """Returns the examples of a set as lists of all but the name."""
  processor = task_names.find_processor(
      name, run_classifier.Settings(**settings))
  found = getattr(processor, "get_%s_examples" % split)(str(tmp_path))
  return [[one.text_a, one.text_b, one.label] for one in found]


@pytest.mark.parametrize("name, header, row, example", [
    ("sst-2", "sentence label", "good 1", ["good", None, "1"]),
    ("sts-b", "index genre filename year old_index source1 source2 sentence1 "
     "sentence2 score", "0 g f y o s t one two 3.80", ["one", "two", 3.8]),
    ("qqp", "id qid1 qid2 question1 question2 is_duplicate", "9 1 2 who what 1",
     ["who", "what", "1"]),
    ("qnli", "index question sentence label", "0 who he entailment",
     ["who", "he", "entailment"]),
    ("rte", "index sentence1 sentence2 label", "0 one two not_entailment",
     ["one", "two", "not_entailment"]),
    ("wnli", "index sentence1 sentence2 label", "0 one two 0",
     ["one", "two", "0"]),
    # Where the columns are is up to the file.
    ("mrpc", "#2 String Quality #1 String".replace(" S", "_S"), "two 1 one",
     ["one", "two", "1"]),
    ("mnli", "gold_label sentence2 sentence1", "neutral two one",
     ["one", "two", "neutral"]),
])
def test_columns_are_found_by_their_names(tmp_path, name, header, row, example):
  header = [column.replace("_S", " S") for column in header.split()]
  write_lines(tmp_path / "train.tsv", [header, row.split(), row.split()])
  assert examples_of(name, tmp_path) == [example, example]
  # Test sets have no label; where it is not known there is none to read.
  label = header.index({"qqp": "is_duplicate", "sts-b": "score",
                        "mrpc": "Quality", "mnli": "gold_label"}.get(
                            name, "label"))
  del header[label]
  row = row.split()
  del row[label]
  write_lines(tmp_path / ("test_matched.tsv" if name == "mnli" else "test.tsv"),
              [header, row])
  assert examples_of(name, tmp_path, "test")[0][:2] == example[:2]


def test_what_tasks_are_measured_by():
  facts = {
      name: (made.problem_type, made.metric_names, made.best_metric or
             problem_types.KINDS[made.problem_type].best_metric)
      for name, made in task_names.PROCESSORS.items()}
  del facts["table"]
  single = processors.SINGLE_LABEL, (), "eval_accuracy"
  assert facts.pop("sts-b") == (
      processors.REGRESSION, ("pearson", "spearman"), "eval_spearman")
  assert facts.pop("cola") == (
      processors.SINGLE_LABEL, ("matthews_correlation",),
      "eval_matthews_correlation")
  assert len(facts) == 10 and set(facts.values()) == {single}


def test_a_missing_column_is_named_with_the_header(tmp_path):
  path = write_lines(tmp_path / "train.tsv", [["text", "label"], ["a", "1"]])
  for name, column in (("sst2", "sentence"), ("RTE", "sentence1"),
                       ("mrpc", "#1 String")):
    with pytest.raises(ValueError) as error:
      examples_of(name, tmp_path)
    assert str(error.value) == (
        "%s, row 1: found the columns 'text', 'label', expected one that is "
        "called '%s'" % (path, column))


def test_old_positions_serve_where_the_header_has_other_names(tmp_path):
  write_lines(tmp_path / "train.tsv", [
      ["a", "b", "c", "d", "e"], ["1", "x", "y", "one", "two"]])
  assert examples_of("mrpc", tmp_path) == [["one", "two", "1"]]


@pytest.mark.parametrize("score", ["five", "nan", "inf", ""])
def test_a_score_that_is_no_number_is_named(tmp_path, score):
  path = write_lines(tmp_path / "train.tsv", [
      ["sentence1", "sentence2", "score", "x"], ["a", "b", score, ""]])
  with pytest.raises(ValueError) as error:
    examples_of("STSB", tmp_path)
  assert str(error.value) == (
      "%s, row 2, column score: found %r, expected a number" % (path, score))


def test_broken_rows_of_qqp_are_left_out_and_counted(tmp_path):
  good = ["9", "1", "2", "who", "what", "1"]
  rows = [["id", "qid1", "qid2", "question1", "question2", "is_duplicate"],
          good, good[:5], ["x", "1"], good]
  path = write_lines(tmp_path / "train.tsv", rows)
  with captured_log() as lines:
    assert len(examples_of("qqp", tmp_path)) == 2
  assert lines == [
      "%s, row 3: found 5 tab-separated column(s), expected 6; left out, as 2 "
      "rows of the file are" % path]
  write_lines(tmp_path / "test.tsv", rows[:1] + [["x", "1"]])
  with pytest.raises(ValueError, match="row 2: found 2 tab-sep"):
    examples_of("qqp", tmp_path, "test")


@pytest.mark.parametrize("typed, name", [
    ("CoLA", "cola"), ("SST2", "sst-2"), ("Sst-2", "sst-2"), ("STSB", "sts-b"),
    ("MNLI_MM", "mnli-mm"), ("mnlimm", "mnli-mm"), ("ax", "ax")])
def test_names_of_tasks_are_not_case_sensitive(typed, name):
  assert task_names.find_task(typed) == name


def test_an_exact_name_comes_first(monkeypatch):
  for name in ("my_task", "my-task"):
    monkeypatch.setitem(
        task_names.PROCESSORS, name, task_names.PROCESSORS["ax"])
    assert task_names.find_task(name.upper()) == name


def test_mismatched_and_diagnostic_sets_share_the_model_of_mnli(tmp_path):
  header = ["index", "sentence1", "sentence2", "gold_label"]
  for name in ("train", "dev_mismatched", "test_mismatched", "AX"):
    write_lines(tmp_path / (name + ".tsv"), [
        header, ["7", name, "b", "neutral"]])
  for split, file in (("train", "train"), ("dev", "dev_mismatched"),
                      ("test", "test_mismatched")):
    assert examples_of("MNLI-mm", tmp_path, split)[0][0] == file
  assert examples_of("AX", tmp_path, "test")[0][0] == "AX"
  write_lines(tmp_path / "diagnostic.tsv", [header, ["7", "d", "b", ""]])
  assert examples_of("AX", tmp_path, "test")[0][0] == "d"
  with pytest.raises(ValueError, match="--task_name=AX: --do_eval: the diag"):
    examples_of("AX", tmp_path, "dev")
  for name in ("mnli-mm", "ax"):
    assert task_names.find_processor(name).recorded_name == "mnli"


def check(processor=None, **settings):
  """Checks a task's settings, as a run does at its start."""
  values = dict(do_predict=True, vocab_file="", bert_config_file="")
  run_classifier.ClassificationTask(
      run_classifier.Settings(**dict(values, **settings)), None, None, None,
      processor).check()


def test_a_file_for_the_server_replaces_no_input(tmp_path):
  data, out = tmp_path / "data", tmp_path / "out"
  write_lines(data / "AX.tsv", [["index", "sentence1", "sentence2"]])
  for output_dir in (out, data):
    with pytest.raises(ValueError, match=(
        r"AX.tsv \(--glue_submission_dir\) is the file .*--data_dir")):
      check(task_name="AX", data_dir=str(data), output_dir=str(output_dir),
            glue_submission_dir=str(data))
  check(task_name="AX", data_dir=str(data), output_dir=str(out),
        glue_submission_dir=str(tmp_path / "glue"))


def test_a_file_for_the_server_that_cannot_be_written_is_named_first(tmp_path):
  (tmp_path / "file").write_text("")
  settings = dict(task_name="RTE", data_dir=str(tmp_path / "data"),
                  output_dir=str(tmp_path / "out"))
  with pytest.raises(cli.UserError, match=(
      "--glue_submission_dir=.*file: cannot be written to")):
    check(glue_submission_dir=str(tmp_path / "file"), **settings)
  with pytest.raises(ValueError, match="Mine is no task of GLUE; leave it out"):
    check(task_names.PROCESSORS["rte"](), glue_submission_dir=str(tmp_path),
          **dict(settings, task_name="Mine"))
  with pytest.raises(cli.UserError, match=(
      "--glue_submission_dir: also pass --do_predict")):
    run_classifier.train_and_evaluate(
        vocab_file="v", bert_config_file="c", glue_submission_dir="g",
        **settings)


def test_the_task_of_a_run_is_recorded_by_its_own_name(tmp_path):
  write_mrpc(tmp_path)
  for typed, name in (("MNLI_MM", "mnli"), ("SST2", "sst-2"), ("MRPC", "mrpc")):
    task = run_classifier.ClassificationTask(
        run_classifier.Settings(
            task_name=typed, data_dir=str(tmp_path), output_dir=str(tmp_path),
            do_train=True), None, None, None)
    task.check()
    assert task.recorded_name == name
    assert "data_dir" in task.training_flags


@pytest.mark.parametrize("language", (
    "ar bg de el en es fr hi ru sw th tr ur vi zh").split())
def test_xnli_is_read_in_each_of_its_languages(tmp_path, language):
  others = ["fr", language, "th"]
  write_lines(tmp_path / "multinli" / ("multinli.train.%s.tsv" % language), [
      ["premise", "hypo", "label"], [language, "b", "contradictory"]])
  for name in ("dev", "test"):
    write_lines(tmp_path / ("xnli.%s.tsv" % name), [
        ["language", "gold_label", "sentence1", "sentence2"]] + [
            [other, "entailment", other + name, "b"] for other in others])
  assert examples_of("XNLI", tmp_path, xnli_language=language) == [
      [language, "b", "contradiction"]]
  for split, label in (("dev", "entailment"), ("test", "contradiction")):
    assert examples_of("XNLI", tmp_path, split, xnli_language=language) == [
        [language + split, "b", label]] * others.count(language)


def test_xnli_has_a_language_for_training_and_one_for_the_rest(tmp_path):
  for language in ("sw", "en"):
    write_lines(tmp_path / "multinli" / ("multinli.train.%s.tsv" % language), [
        ["premise", "hypo", "label"], [language, "b", "neutral"]])
  for name in ("dev", "test"):
    write_lines(tmp_path / ("xnli.%s.tsv" % name), [
        ["language", "sentence2", "sentence1", "gold_label"],
        ["en", "b", "tea", "neutral"], ["sw", "b", "chai", "entailment"]])
  assert examples_of("XNLI", tmp_path, xnli_language="sw") == [
      ["sw", "b", "neutral"]]
  for split, label in (("dev", "entailment"), ("test", "contradiction")):
    assert examples_of("XNLI", tmp_path, split, xnli_language="sw",
                       train_language="en") == [["chai", "b", label]]
  assert examples_of("XNLI", tmp_path, xnli_language="sw",
                     train_language="en") == [["en", "b", "neutral"]]
  with pytest.raises(ValueError, match=(
      "xnli.dev.tsv: found no row of --xnli_language=zh, expected one of en, "
      "sw$")):
    examples_of("XNLI", tmp_path, "dev")
