"""Tests of squad.results: files of a prediction that are not what they were."""

import json

import pytest

from bert_suite.squad import results

QUESTIONS = [{"paragraphs": [{"context": "It rains.", "qas": [
    {"id": "a", "question": "is it", "is_impossible": False,
     "answers": [{"text": "rains", "answer_start": 3}]},
    {"id": "b", "question": "far", "is_impossible": True, "answers": []}]}]}]
FILES = {"predictions.json": {"a": "rains", "b": "it"},
         "nbest_predictions.json": {"a": [{"text": "rains"}],
                                    "b": [{"text": ""}, {"text": "it"}]},
         "null_odds.json": {"a": -2.0, "b": 2.0}}


def evaluate(folder, threshold, **changed):
  for name, value in FILES.items():
    (folder / name).write_text(json.dumps(
        changed.get(name.split(".")[0], value)))
  return results.evaluate(QUESTIONS, "dev.json", str(folder), True, threshold)


@pytest.mark.parametrize("threshold", [None, 0.5, "best"])
@pytest.mark.parametrize("odds", [[1], "1", None, float("nan")])
def test_null_odds_that_are_no_numbers_are_named(tmp_path, threshold, odds):
  with pytest.raises(ValueError, match="null_odds.json: found .* for the id a"):
    evaluate(tmp_path, threshold, null_odds={"a": odds, "b": 1.0})


def test_answers_that_are_no_texts_are_named(tmp_path):
  with pytest.raises(ValueError, match="nbest_predictions.json: is not what"):
    evaluate(tmp_path, 0.5, nbest_predictions={"a": [{"text": [1]}], "b": []})


def test_a_threshold_chooses_among_the_answers(tmp_path):
  assert evaluate(tmp_path, 0.0)["exact"] == 100.0
  assert json.loads((tmp_path / "predictions.json").read_text()) == {
      "a": "rains", "b": ""}
