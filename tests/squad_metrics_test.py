"""Tests of squad_metrics, figures worked out by hand."""

import json
import logging

import pytest

from bert_suite.squad import reader as squad_files
from helpers import captured_log, run_script
import squad_metrics


def question(key, *answers, **more):
  return dict(id=key, question="?", answers=[
      {"text": text, "answer_start": 0} for text in answers], **more)


def articles(*questions):
  return [{"paragraphs": [{"context": "", "qas": list(questions)}]}]


VERSION_1 = articles(question("a", "the red Cat", "cat"),
                     question("b", "two old kettles"),
                     question("c", "tea"))
VERSION_2 = articles(
    question("a", "red cat", is_impossible=False),
    question("b", "two old kettles", is_impossible=False),
    question("c", is_impossible=True),
    question("d", is_impossible=True))


@pytest.mark.parametrize("text,expected", [
    ("The  Cat!", "cat"), ("a-an-the", "aanthe"), ("An a the", ""),
    ("\u201ctea\u201d \u2014 the", "\u201ctea\u201d \u2014"),
    ("theatre", "theatre"), ("3.14", "314"), ("tea\n\ttime", "tea time")])
def test_normalize_answer(text, expected):
  assert squad_metrics.normalize_answer(text) == expected


@pytest.mark.parametrize("prediction,answer,expected", [
    ("red cat", "the cat", 2 / 3.0),  # 1 of 2 words, 1 of 1
    ("cat cat tea", "cat tea tea", 2 / 3.0),
    ("dog", "cat", 0.0), ("The cat.", "cat", 1.0)])
def test_f1_counts_words(prediction, answer, expected):
  assert squad_metrics.f1(prediction, answer) == pytest.approx(expected)
  assert squad_metrics.f1(answer, prediction) == pytest.approx(expected)


@pytest.mark.parametrize("prediction,answer,version_2,expected", [
    ("", "", True, 1.0), ("", "", False, 0.0), ("the", "", True, 1.0),
    ("cat", "", True, 0.0), ("", "cat", True, 0.0)])
def test_f1_of_texts_without_words(prediction, answer, version_2, expected):
  assert squad_metrics.f1(prediction, answer, version_2) == expected


def test_version_1_takes_the_best_answer_and_counts_missing_as_wrong():
  with captured_log() as lines:
    results = squad_metrics.score(
        VERSION_1, {"a": "A cat", "b": "old kettles"})
  assert list(results) == ["exact_match", "f1"]
  assert results["exact_match"] == pytest.approx(100 / 3.0)
  assert results["f1"] == pytest.approx(100 * (1.0 + 0.8) / 3)
  assert any("no prediction for 1 of the 3 questions" in line
             for line in lines)


PREDICTIONS = {"a": "red cat", "b": "old kettles", "c": "tea", "d": ""}


def test_version_2_separates_questions_with_answers_from_those_without():
  results = squad_metrics.score(VERSION_2, PREDICTIONS)
  assert dict(results) == pytest.approx(dict(
      exact=50.0, f1=100 * (1 + 0.8 + 0 + 1) / 4, total=4, HasAns_exact=50.0,
      HasAns_f1=90.0, HasAns_total=2, NoAns_exact=50.0, NoAns_f1=50.0,
      NoAns_total=2))


# Of c, which has no answer, the odds are greatest.
ODDS = {"a": -5.0, "b": -1.0, "c": 4.0, "d": 0.5}


@pytest.mark.parametrize("threshold,exact,f1", [
    (None, 75.0, 95.0),  # at 1.0 c is answered with nothing
    (5.0, 50.0, 70.0), (-2.0, 75.0, 75.0), (-9.0, 50.0, 50.0),
    ("best", 75.0, 95.0), ("4.0", 50.0, 70.0)])
def test_version_2_with_null_odds(threshold, exact, f1):
  results = squad_metrics.score(VERSION_2, PREDICTIONS, ODDS, threshold)
  assert results["exact"] == pytest.approx(exact)
  assert results["f1"] == pytest.approx(f1)
  assert results["best_exact"] == pytest.approx(75.0)
  assert results["best_exact_thresh"] == -5.0
  assert results["best_f1"] == pytest.approx(95.0)
  assert results["best_f1_thresh"] == -1.0
  assert squad_metrics.best_threshold(VERSION_2, PREDICTIONS, ODDS) == -1.0


def test_best_threshold_of_equal_odds_gives_what_it_promises():
  odds = dict.fromkeys(PREDICTIONS, 0.0)
  official = squad_metrics.score(VERSION_2, PREDICTIONS, odds)
  assert official["best_f1"] == pytest.approx(95.0)  # stops between a and c
  best = squad_metrics.best_threshold(VERSION_2, PREDICTIONS, odds)
  at_best = squad_metrics.score(VERSION_2, PREDICTIONS, odds, best)
  assert at_best["f1"] == pytest.approx(70.0)
  for threshold in (-1.0, 0.0, 1.0):
    assert squad_metrics.score(
        VERSION_2, PREDICTIONS, odds, threshold)["f1"] <= at_best["f1"] + 1e-9


def test_best_threshold_may_answer_nothing():
  wrong = {key: "dog" for key in PREDICTIONS}
  best = squad_metrics.best_threshold(VERSION_2, wrong, ODDS)
  assert best < min(ODDS.values())
  assert squad_metrics.score(VERSION_2, wrong, ODDS, best)["f1"] == 50.0


def test_ids_that_are_no_texts_are_those_of_the_json_files():
  dataset = articles(question(7, "cat"), question(2.5, "tea"))
  assert squad_metrics.score(dataset, {"7": "cat", "2.5": "tea"}) == {
      "exact_match": 100.0, "f1": 100.0}


def test_repeated_ids_are_reported():
  dataset = articles(question("a", "cat"), question("a", "tea"))
  with captured_log() as lines:
    results = squad_metrics.score(dataset, {"a": "cat"})
  assert results["exact_match"] == 50.0
  assert any("1 id(s) are there more than once" in line for line in lines)


@pytest.mark.parametrize("dataset,predictions,odds,message", [
    ("text", {}, None, 'dataset: found "text", expected the list of articles'),
    ([{}], {}, None, 'article 1: is not SQuAD: found an object {}, expected an '
     'object with a list "paragraphs"'),
    (articles(), {}, None, "dataset: has no questions"),
    (articles({"answers": []}), {}, None, "question 1: is not SQuAD: found an "
     "object with the keys answers, expected an object with an id"),
    (articles(dict(id="a", answers=[{"txt": ""}])), {"a": ""}, None,
     "found an object with the keys txt as an answer"),
    (VERSION_1, ["a"], None, "predictions: found a list of 1, expected an "
     "object {question id: answer}"),
    (VERSION_1, {"a": 3}, None, "found 3 for the id a, expected a text"),
    (VERSION_1, {"x": ""}, None, "none of its 1 ids is in dataset"),
    (VERSION_1, {"a": ""}, {"a": 1.0}, "null odds are for SQuAD 2.0"),
    (articles(question("a")), {"a": ""}, None, "question a has no answers"),
    (VERSION_2, {"a": ""}, {"b": 0.0}, "has no null odds of 1 of the 1"),
    (VERSION_2, {"a": ""}, {"a": float("nan")}, "expected a finite number")])
def test_what_does_not_go_together_is_said_in_one_line(
    dataset, predictions, odds, message):
  with pytest.raises(ValueError) as error:
    squad_metrics.score(dataset, predictions, odds)
  assert message in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("value,expected", [
    (None, None), ("best", "best"), ("1.5", 1.5), (-2, -2.0)])
def test_parse_threshold(value, expected):
  assert squad_metrics.parse_threshold(value) == expected


@pytest.mark.parametrize("value", ["Best", "nan", "", "1,5"])
def test_parse_threshold_names_what_it_cannot_read(value):
  with pytest.raises(ValueError, match="expected a number, or \"best\""):
    squad_metrics.parse_threshold(value)


@pytest.mark.parametrize("version,expected", [
    ("v2.0", True), ("2.0", True), (2, True), ("1.1", False), (None, False),
    ("v1.12", False), ("2018", False)])
def test_version_of_a_file(tmp_path, version, expected):
  path = tmp_path / "data.json"
  path.write_text(json.dumps({"version": version, "data": []}))
  assert squad_files.read_dataset(str(path)) == ([], expected)


@pytest.fixture
def paths(tmp_path):
  """Writes the files of a SQuAD 2.0; returns a dict from flag to path."""
  contents = {"data_file": {"version": "v2.0", "data": VERSION_2},
              "predictions_file": PREDICTIONS, "null_odds_file": ODDS}
  for name, content in contents.items():
    (tmp_path / name).write_text(json.dumps(content))
  return {name: str(tmp_path / name) for name in contents}


def test_the_script_prints_one_json_object(paths):
  status, stdout, stderr = run_script("squad_metrics.py", [
      "--%s=%s" % item for item in paths.items()] + [
          "--null_score_diff_threshold=best"])
  assert status == 0, stderr
  assert json.loads(stdout) == squad_metrics.score(
      VERSION_2, PREDICTIONS, ODDS, "best")
  threshold = squad_metrics.best_threshold(
      VERSION_2, PREDICTIONS, ODDS)
  assert "INFO:tensorflow:Best threshold: %s\n" % threshold in stderr
  assert all(line.startswith(("INFO:tensorflow:", "WARNING:tensorflow:"))
             for line in stderr.splitlines())


def test_a_program_runs_the_script_with_settings(paths, capsys):
  logger = logging.getLogger("tensorflow")
  before = list(logger.handlers), logger.propagate
  with captured_log():
    squad_metrics.run_with(squad_metrics.Settings(
        null_score_diff_threshold="best", **paths))
  assert (logger.handlers, logger.propagate) == before
  assert json.loads(capsys.readouterr().out) == squad_metrics.score(
      VERSION_2, PREDICTIONS, ODDS, "best")


@pytest.mark.parametrize("arguments,message", [
    ([], "also pass --data_file, --predictions_file"),
    (["--data_file={data_file}", "--predictions_file=/none.json"],
     "/none.json: cannot be read"),
    (["--data_file={data_file}", "--predictions_file={data_file}",
      "--null_score_diff_threshold=1"], "also pass --null_odds_file")])
def test_the_script_ends_with_one_line(paths, arguments, message):
  status, stdout, stderr = run_script(
      "squad_metrics.py", [a.format(**paths) for a in arguments])
  assert (status, stdout) == (1, "")
  assert stderr.startswith("squad_metrics.py: ") and message in stderr
  assert len(stderr.splitlines()) == 1


def test_questions_that_were_read_are_not_read_again(monkeypatch):
  questions = squad_files.read_questions(VERSION_2, "dev.json")
  monkeypatch.setattr(squad_files, "iterate_questions", None)
  texts = {"a": "red cat", "b": "", "c": "", "d": "tea"}
  odds = {"a": -1.0, "b": 2.0, "c": 3.0, "d": 1.0}
  threshold = squad_metrics.best_threshold(questions, texts, odds)
  assert threshold == -1.0
  results = squad_metrics.score(questions, texts, odds, threshold)
  assert results["total"] == 4 and results["exact"] == 75.0
