"""Tests of convert_triviaqa, and of json_stream, which it reads with."""

import json
import os

import pytest

from bert_suite import cli, json_stream
from bert_suite.squad import data, reader, triviaqa
import convert_triviaqa
import helpers
from helpers import captured_log
import tokenization

DOCUMENTS = {
    "wikipedia/Tea.txt": "The kettle sings. \n\nIt rains  tea. THE CAT sleeps, "
                         "and the cat is not far.\n",
    "web/0/0_1.txt": "\ufeffA cat, the\nkettle; teapot.",
    "web/0/0_2.txt": "no such thing",
}


def question(number, value, aliases=(), pages=(), results=(), **more):
  return dict({
      "QuestionId": "tc_%d" % number, "Question": "What is %d?" % number,
      "QuestionSource": "http://example.org", "Answer": {
          "Value": value, "Aliases": list(aliases), "Type": "WikipediaEntity",
          "NormalizedValue": value.lower(),
          "NormalizedAliases": [one.lower() for one in aliases]},
      "EntityPages": [{"DocSource": "TagMe", "Filename": name, "Title": name}
                      for name in pages],
      "SearchResults": [{"Rank": 0, "Filename": name, "Url": "http://x"}
                        for name in results]}, **more)


QUESTIONS = [
    question(1, "The Cat", ["the cat", "A cat"], ["Tea.txt"],
             ["0/0_1.txt", "0/0_2.txt", "0/0_1.txt"]),
    question(2, "teap", ["The  Kettle"], ["Tea.txt"], ["0/0_1.txt"]),
    question(3, "Tea", [], ["None.txt"], []),
]
QUESTIONS[2]["SearchResults"].append({"Url": "http://not.loaded"})


@pytest.fixture(name="folder")
def fixture_folder(tmp_path, monkeypatch):
  for name, text in DOCUMENTS.items():
    path = tmp_path / "evidence" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode("utf-8"))
  write_questions(tmp_path / "web-train.json", QUESTIONS)
  monkeypatch.chdir(tmp_path)
  return tmp_path


def write_questions(path, questions):
  path.write_text(json.dumps(
      {"Data": questions, "Domain": "Web", "VerifiedEval": False,
       "Version": 1.0}, indent=1))


def convert(**settings):
  with captured_log() as log:
    convert_triviaqa.run_with(convert_triviaqa.Settings(**dict(dict(
        input_file="web-train.json", evidence_dir="evidence",
        output_file="squad.json"), **settings)))
  with open("squad.json", encoding="utf-8") as file:
    content = json.load(file)
  assert all(len(article["paragraphs"]) == 1 and
             len(article["paragraphs"][0]["qas"]) == 1
             for article in content["data"])
  return content["version"], [
      dict(article["paragraphs"][0]["qas"][0],
           context=article["paragraphs"][0]["context"])
      for article in content["data"]], log


def test_each_document_with_the_answer_is_a_paragraph(folder):
  version, items, log = convert()
  assert version == "1.1"
  assert [item["id"] for item in items] == [
      "tc_1--Tea.txt", "tc_1--0/0_1.txt", "tc_2--Tea.txt", "tc_2--0/0_1.txt"]
  # As it is spelled, before other cases; whole words; the first place of each.
  assert [[one["text"] for one in item["answers"]] for item in items] == [
      ["the cat"], ["A cat"], ["The kettle"], ["the\nkettle"]]
  for item in items:
    assert "is_impossible" not in item
    for one in item["answers"]:
      assert item["context"][one["answer_start"]:].startswith(one["text"])
  assert items[0]["context"] == DOCUMENTS["wikipedia/Tea.txt"].strip()
  assert items[0]["question"] == "What is 1?"
  assert ("4 written, 1 without the answer, 1 without a document, "
          "1 repeated") in "\n".join(log)


def test_a_normalized_alias_is_not_found_before_the_answer_as_it_is_spelled():
  spellings = triviaqa._read_spellings({"Answer": {
      "Value": "US", "Aliases": ["US", "ibm pc"],
      "NormalizedAliases": ["us", "ibm pc"]}}, "here")
  assert spellings == ["US", "ibm pc"]
  assert triviaqa.find_answers("It helped us when the US came.", spellings) == [
      ("US", 22)]


def test_unanswered_questions_are_kept_where_asked_for(folder):
  version, items, _ = convert(version_2_with_negative=True)
  assert version == "v2.0"
  assert [(item["id"], item["is_impossible"]) for item in items] == [
      ("tc_1--Tea.txt", False), ("tc_1--0/0_1.txt", False),
      ("tc_1--0/0_2.txt", True), ("tc_2--Tea.txt", False),
      ("tc_2--0/0_1.txt", False)]
  assert items[2]["answers"] == []


def test_documents_are_cut_after_words(folder):
  assert [item["context"] for item in convert(max_words=2)[1]] == [
      "A cat,", "The kettle"]
  assert triviaqa.read_beginning("evidence/web/0/0_1.txt", 3) == "A cat, the"
  assert triviaqa.read_beginning("evidence/web/none", 3) is None


def test_a_test_set_without_answers_can_be_predicted(folder):
  questions = [dict(one) for one in QUESTIONS[:2]]
  for one in questions:
    del one["Answer"]
  write_questions(folder / "web-train.json", questions)
  for negative in (False, True):
    _, items, _ = convert(version_2_with_negative=negative)
    assert len(items) == 5
    assert all(item["answers"] == [] and "is_impossible" not in item
               for item in items)


def test_a_share_is_the_same_for_a_seed(folder):
  questions = [dict(QUESTIONS[0], QuestionId="q%d" % i) for i in range(50)]
  write_questions(folder / "web-train.json", questions)
  first = convert(sample_share=0.3)[1]
  assert 10 < len(first) < 55
  assert convert(sample_share=0.3)[1] == first
  assert convert(sample_share=0.3, random_seed=2)[1] != first


def test_run_squad_reads_the_answers(folder):
  convert(version_2_with_negative=True)
  dataset, is_version_2 = reader.read_dataset("squad.json")
  assert is_version_2
  questions = reader.read_questions(dataset, "squad.json")
  examples = data.read_squad_examples(
      "squad.json", is_training=True, version_2_with_negative=True)
  assert [(one.qas_id, one.is_impossible) for one in examples] == [
      (one.id, bool(one.item["is_impossible"])) for one in questions]
  vocab = helpers.write_vocab(folder)
  features = []
  data.convert_examples_to_features(
      examples, tokenization.FullTokenizer(vocab), max_seq_length=32,
      doc_stride=8, max_query_length=8, is_training=True,
      output_fn=features.append)
  spans = [feature.tokens[feature.start_position:feature.end_position + 1]
           for feature in features if feature.start_position]
  assert spans == [["the", "cat"], ["a", "cat"], ["the", "kettle"],
                   ["the", "kettle"]]


@pytest.mark.parametrize("changes, message", [
    (dict(evidence_dir="none"), "--evidence_dir=none: is not a folder"),
    (dict(evidence_dir="evidence/web"), "^--evidence_dir=evidence/web: has "
     "neither wikipedia nor web; give the folder"),
    (dict(evidence_dir="other"), "^--input_file=web-train.json: none of the 6 "
     "documents is in --evidence_dir=other; give the folder"),
    (dict(max_words=1), "none of the 5 documents has its answer among the "
     "first --max_words=1 words; 1 more are not in --evidence_dir"),
    (dict(sample_share=1e-9), "^--input_file=web-train.json: there is no "
     "question with a document; give a greater --sample_share$"),
    (dict(input_file="squad"), "^squad: is SQuAD's JSON already, which run_"),
    (dict(output_file="none/x"), "^--output_file=none/x: cannot be written"),
    (dict(input_file="none.json"), "found no file"),
    (dict(output_file="web-train.json"), "which it would replace"),
    (dict(output_file=None), "also pass --output_file"),
])
def test_mistakes(folder, changes, message):
  (folder / "other" / "wikipedia").mkdir(parents=True)
  (folder / "squad").write_text('{"version": "1.1", "data": [')
  with pytest.raises(cli.UserError, match=message):
    convert(**changes)
  assert sorted(os.listdir(".")) == [
      "evidence", "other", "squad", "web-train.json"]


@pytest.mark.parametrize("item, message", [
    ({"id": 1}, "question 1: is not TriviaQA: found an object with"),
    ([], "question 1: is not TriviaQA: found a list of 0"),
    (question(1, "x", Answer="y"), "found \"y\" as the Answer"),
    (question(1, "x", Answer={"Value": "y", "Aliases": [1]}), "as the Answer"),
    (question(1, "x", EntityPages={"a": 1}), "EntityPages"),
    (question(1, "x", pages=["../../etc/passwd"]), "found the Filename"),
    (question(1, "x", pages=["/etc/passwd"]), "found the Filename"),
])
def test_what_is_not_triviaqa_is_named(folder, item, message):
  write_questions(folder / "web-train.json", [item])
  with pytest.raises(cli.UserError, match=message):
    convert()


# json_stream.


VALUE = {"before": {"Data": [1]}, "n": -1.25e3, "Data": [
    {"a": ["é世\U0001f600", "\\\"]}", None, True]}, [], 12, "x", {}, 345.5],
    "after": [{"x": 1}], "last": 12}


@pytest.mark.parametrize("block", [1, 2, 3, 7, 64, 2 ** 20])
@pytest.mark.parametrize("is_gzip", [False, True])
def test_elements_are_those_of_json(tmp_path, monkeypatch, block, is_gzip):
  monkeypatch.setattr(json_stream, "_BLOCK_BYTES", block)
  for i, text in enumerate([
      json.dumps(VALUE), json.dumps(VALUE, ensure_ascii=False, indent=3),
      "\ufeff" + json.dumps(VALUE) + "\n \n"]):
    path = str(tmp_path / ("value%d" % i))
    with open(path, "wb") as writer:
      writer.write(text.encode("utf-8"))
    if is_gzip:
      helpers.gzip_file(path)
    assert list(json_stream.iterate_list(path, "Data")) == VALUE["Data"]
    assert list(json_stream.iterate_list(path, "after")) == VALUE["after"]


def test_only_a_part_of_a_file_is_in_memory(tmp_path, monkeypatch):
  monkeypatch.setattr(json_stream, "_BLOCK_BYTES", 100)
  path = tmp_path / "large"
  path.write_text(json.dumps({"Data": [{"number": i} for i in range(5000)]}))
  longest = 0
  read = json_stream._Window._read

  def watch(self):
    nonlocal longest
    read(self)
    longest = max(longest, len(self._text))

  monkeypatch.setattr(json_stream._Window, "_read", watch)
  found = list(json_stream.iterate_list(str(path), "Data"))
  assert [one["number"] for one in found] == list(range(5000))
  assert 100 <= longest < 300


@pytest.mark.parametrize("text, message", [
    ("", "near character 1: found the end, expected an object"),
    ("[1]", "found '\\[1\\]', expected an object with a list \"Data\""),
    ("{\"Data\": {}}", "found '{}}', expected an object with a list"),
    ("{\"data\": [1], \"b\": {}}", "found an object with 'data', 'b', expected "
     "an object with a list \"Data\""),
    ("{}", "character 2: found '}', expected an object with a list \"Data\""),
    ("{[1]: 2}", "found '\\[1\\]: 2}', expected an object with a list"),
    ("{\"Data\": [1, 2", "found the end, expected a comma"),
    ("{\"Data\": [{\"a\": ", "is not JSON, or was cut off"),
    ("{\"Data\": [1 2]}", "found '2\\]}', expected a comma"),
    ("{\"Data\": [" + "[" * 100000, "nested too deeply|cut off"),
    (b"{\"Data\": [\"\xff\"]}", "is not UTF-8"),
])
def test_damaged_json_is_named(tmp_path, text, message):
  path = tmp_path / "bad.json"
  path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
  with pytest.raises(ValueError, match="bad.json: .*(%s)" % message):
    list(json_stream.iterate_list(str(path), "Data"))
  with pytest.raises(ValueError, match="none: cannot be read"):
    list(json_stream.iterate_list(str(tmp_path / "none"), "Data"))


def test_an_endless_value_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(json_stream, "_MOST_CHARS", 1000)
  monkeypatch.setattr(json_stream, "_BLOCK_BYTES", 100)
  path = tmp_path / "bad.json"
  path.write_text("{\"Data\": [\"" + "x" * 5000)
  with pytest.raises(ValueError, match="found no end of a value in 1000"):
    list(json_stream.iterate_list(str(path), "Data"))
