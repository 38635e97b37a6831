"""Tests of bert_suite.ner without a model: tags, files, windows, scores."""

import itertools
import json
import random

import numpy as np
import pytest

from bert_suite.ner import (
    data as ner_data, reader, results, scores, tags as ner_tags)
from helpers import WORDS, captured_log, gzip_file, write_vocab
import tokenization

O_TAGS = ["O"]
SPANS = [ner_tags.Entity(0, 1, "A"), ner_tags.Entity(1, 3, "A"),
         ner_tags.Entity(3, 4, "B-c"), ner_tags.Entity(5, 6, "A")]
WRITTEN = {
    "IOB1": "I-A B-A I-A I-B-c O I-A",
    "IOB2": "B-A B-A I-A B-B-c O B-A",
    "IOBES": "S-A B-A E-A S-B-c O S-A"}


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return tokenization.FullTokenizer(
      write_vocab(tmp_path_factory.mktemp("vocab")))


def write(path, text):
  path.write_bytes(text.encode("utf-8"))
  return str(path)


# Tags.


@pytest.mark.parametrize("scheme", ner_tags.SCHEMES)
def test_each_scheme_writes_and_reads_the_same_entities(scheme):
  tags = ner_tags.write_tags(SPANS, 6, scheme)
  assert " ".join(tags) == WRITTEN[scheme]
  assert ner_tags.read_entities(tags) == SPANS
  for other in ner_tags.SCHEMES:
    assert " ".join(ner_tags.convert(tags, other)) == WRITTEN[other]


@pytest.mark.parametrize("tags, entities", [
    ("O I-A I-A O", [(1, 3, "A")]),
    ("B-A I-B", [(0, 1, "A"), (1, 2, "B")]),
    ("I-A I-B B-B", [(0, 1, "A"), (1, 2, "B"), (2, 3, "B")]),
    ("E-A E-A", [(0, 1, "A"), (1, 2, "A")]),
    ("B-A E-A I-A", [(0, 2, "A"), (2, 3, "A")]),
    ("S-A I-A O", [(0, 1, "A"), (1, 2, "A")]),
    ("B-A O E-A", [(0, 1, "A"), (2, 3, "A")]),
    ("I-A S-A E-A", [(0, 1, "A"), (1, 2, "A"), (2, 3, "A")])])
def test_tags_that_are_not_legal_are_read_as_conlleval_does(tags, entities):
  assert ner_tags.read_entities(tags.split()) == entities


@pytest.mark.parametrize("scheme", ner_tags.SCHEMES)
def test_what_may_follow_is_what_the_scheme_writes(scheme):
  """All sequences of three words, against writing what they mean."""
  labels = ner_tags.all_tags(["A", "B"], scheme)
  for tags in itertools.product(labels, repeat=3):
    is_legal = ner_tags.convert(list(tags), scheme) == list(tags)
    assert (ner_tags.find_illegal(list(tags), scheme) is None) == is_legal


@pytest.mark.parametrize("scheme", ner_tags.SCHEMES)
def test_the_decoder_finds_the_best_legal_sequence(scheme):
  labels = ner_tags.all_tags(["A", "B"], scheme)
  free, legal = [ner_tags.Decoder(labels, scheme, only)
                 for only in (False, True)]
  rng = np.random.RandomState(3)
  differ = 0
  for length in (1, 2, 3, 4) * 3:
    logits = rng.normal(size=[length, len(labels)]).astype(np.float32)
    assert free.decode(logits) == [labels[i] for i in logits.argmax(axis=1)]
    best = max(
        (tags for tags in itertools.product(range(len(labels)), repeat=length)
         if ner_tags.find_illegal([labels[i] for i in tags], scheme) is None),
        key=lambda tags: sum(logits[range(length), tags]))
    assert legal.decode(logits) == [labels[i] for i in best]
    differ += legal.decode(logits) != free.decode(logits)
  assert differ > 3
  assert legal.decode(np.zeros([0, len(labels)])) == []


# Files.

CONLL = """-DOCSTART- -X- -X- O

EU NNP B-NP I-ORG
rejects VBZ B-VP O
German JJ B-NP I-MISC

-DOCSTART- -X- -X- O

Peter NNP B-NP I-PER
"""


def test_columns_of_conll_2003(tmp_path):
  found = reader.read(gzip_file(write(tmp_path / "eng.train", CONLL)), True)
  assert [one.words for one in found] == [["EU", "rejects", "German"],
                                          ["Peter"]]
  assert [one.tags for one in found] == [["I-ORG", "O", "I-MISC"], ["I-PER"]]
  assert [(one.document, one.line) for one in found] == [(1, 3), (2, 9)]
  assert found.has_documents and found.has_tags
  assert found.types() == {"ORG", "MISC", "PER"}
  found = reader.read(write(tmp_path / "x", CONLL), True, 2, 3)
  assert found[0].words == ["NNP", "VBZ", "JJ"]
  assert found.types() == {"NP", "VP"}


def test_columns_at_tabs_keep_every_other_character(tmp_path):
  text = "\ufeffNew York\tB-LOC\r\n\u2028\tO\n\x85\tO\n\u00a0\tO\n\n\n#\tO\n\n"
  found = reader.read(write(tmp_path / "x.conll", text), True)
  assert [one.words for one in found] == [
      ["New York", "\u2028", "\x85", "\u00a0"], ["#"]]
  assert not found.has_documents


def test_words_alone_have_no_tags(tmp_path):
  found = reader.read(write(tmp_path / "x", "It\nrains\n\ntea"), False)
  assert [one.words for one in found] == [["It", "rains"], ["tea"]]
  assert not found.has_tags and found[0].tags is None


def test_the_language_of_wikiann_is_no_part_of_the_word(tmp_path):
  text = "en:R.H.\tB-ORG\nen::\tO\n\nen:\tO\n"
  found = reader.read(write(tmp_path / "train", text), True)
  assert [one.words for one in found] == [["R.H.", ":"], [""]]
  assert results.format_columns(found, 0, ["B-ORG", "O"]) == (
      "en:R.H.\tB-ORG\tB-ORG\nen::\tO\tO\n")
  text = text.replace("en::", ":")
  found = reader.read(write(tmp_path / "train", text), True)
  assert found[0].words == ["en:R.H.", ":"]


def test_a_break_within_a_token_does_not_break_a_row(tmp_path):
  row = {"tokens": ["a\tb", "\n", "c\rd"], "tags": ["B-X", "O", "O"]}
  found = reader.read(write(tmp_path / "x.jsonl", json.dumps(row)), True)
  columns = results.format_columns(found, 0, ["O", "O", "B-X"])
  assert columns == "a b\tB-X\tO\n \tO\tO\nc d\tO\tB-X\n"
  again = reader.read(write(tmp_path / "x.conll", columns), True)
  assert again[0].words == ["a b", " ", "c d"]
  assert results.describe(found[0], ["O"] * 3)["tokens"] == row["tokens"]


@pytest.mark.parametrize("name, text, message", [
    ("x", "a O\nb c O\n", "line 2: found 3 column.s., expected 2 as in line 1"),
    ("x", "a\tB-\n", "line 1, column 2: found the tag 'B-', expected O, or B-"),
    ("x", "\na\tX-A\n", "line 2, column 2: found the tag 'X-A', expected O"),
    ("x", "\tO\n", "line 1, column 1: found an empty word"),
    ("x", "a\n", "line 1: found 1 column, 'a', expected a word and its tag"),
    ("x", "This is a text.\n", "line 1, column 4: found the tag 'text.', .*; a "
     "line is one word and its tag .--tag_column., as in CoNLL-2003$"),
    ("x", '{"text": "a"}', "line 1: found JSON, .* name that ends with .jsonl"),
    ("x", "\n \n", "x: has no words"), ("x", "", "x: has no words"),
    ("x", "a O\nb\xffO\n", "line 2: byte 2 is not UTF-8"),
    ("x.jsonl", '{"tokens": ["a"]}', "found no tags, which only a file"),
    ("x.jsonl", '{"text": "a"}', "line 1: found no spans"),
    ("x.jsonl", '{"words": ["a"]}', "line 1: found the names 'words', expec"),
    ("x.jsonl", "[1]", 'found a JSON list, expected .* {"tokens"'),
    ("x.jsonl", '{"tokens": ["a", ""], "tags": []}', "token 2 is empty"),
    ("x.jsonl", '{"tokens": ["a"], "tags": []}', "1 tokens and 0 tags"),
    ("x.jsonl", '{"tokens": ["a"], "tags": ["LOC"]}', "tag 1 is 'LOC'"),
    ("x.jsonl", '{"tokens": "a", "tags": []}', "found 'a' .str. as the tokens"),
    ("x.jsonl", '{"text": "a b", "spans": [[0, 4, "X"]]}',
     "line 1, span 1: found the characters from 0 up to 4, expected some of"),
    ("x.jsonl", '{"text": "a b", "spans": [[1, 2, "X"]]}',
     "line 1, span 1: found ' ', expected at least one word"),
    ("x.jsonl", '{"text": "a b", "spans": [[0, 1]]}', "span 1: found .0, 1."),
    ("x.jsonl", '{"text": "a b", "spans": [[0, 1, "X\\nY"]]}',
     "line 1, span 1: found the label 'X.*Y', expected one without tabs and"),
    ("x.jsonl", '{"tokens": ["a"], "tags": ["B-X\\tY"]}', "tag 1 is 'B-X"),
    ("x.jsonl", '{"text": "a b", "spans": [[0, 3, "X"], [2, 3, "Y"]]}',
     "line 1: two spans share the word 'b'"),
    ("x.jsonl", '{"document": null, "tokens": ["a"], "tags": ["O"]}',
     "found None .NoneType. as the document")])
def test_mistakes_in_files_are_named_with_their_place(
    tmp_path, name, text, message):
  path = tmp_path / name
  path.write_bytes(text.encode("latin-1"))
  with pytest.raises(ValueError, match=message) as error:
    reader.read(str(path), True)
  assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)


def test_texts_to_predict_are_told_where_to_go(tmp_path):
  path = write(tmp_path / "x", "Rome fell.\n")
  with pytest.raises(ValueError, match="word alone; whole texts go into a "
                     "file named .jsonl"):
    reader.read(path, False)
  path = write(
      tmp_path / "x.jsonl", '{"text": "a", "spans": []}\n{"text": "b"}')
  with pytest.raises(ValueError, match="line 2: found no spans, which the "
                     "lines above have"):
    reader.read(path, False)


def test_a_column_that_is_not_there(tmp_path):
  path = write(tmp_path / "x", "a O\n")
  with pytest.raises(ValueError, match="--tag_column=3: .* has 2 column"):
    reader.read(path, True, tag_column=3)


def test_tags_of_no_scheme_are_warned_of(tmp_path):
  with captured_log() as lines:
    reader.read(write(tmp_path / "x", "a B-A\nb O\nc I-A\n"), True)
    reader.read(write(tmp_path / "y", "a I-A\nb B-A\n\nc O\nc I-A\n"), True)
  line, = lines
  assert "x: the tags follow none of the schemes IOB1, IOB2, IOBES" in line
  assert "I-A, word 3 in the sentence in line 1" in line


def test_json_lines_of_tokens_and_of_texts(tmp_path):
  rows = [{"text": "Ann's in New-York.", "spans": [
      {"start": 9, "end": 17, "label": "LOC"}, [0, 3, "PER"]]},
          {"tokens": ["a b", "c"], "tags": ["O", "S-A"], "document": 7},
          {"text": " ", "spans": []}, {"text": "kettles", "document": 7,
                                       "spans": [[0, 6, "OBJ"]]}]
  with captured_log() as lines:
    found = reader.read(write(tmp_path / "x.jsonl", "\n".join(
        map(json.dumps, rows))), True)
  assert found[0].words == ["Ann", "'", "s", "in", "New", "-", "York", "."]
  assert " ".join(found[0].tags) == "B-PER O O O B-LOC I-LOC I-LOC O"
  assert found[0].starts == [0, 3, 4, 6, 9, 12, 13, 17]
  assert found[1].words == ["a b", "c"] and found[1].tags == ["O", "S-A"]
  assert found[2].words == [] and found[2].tags == []
  assert found[3].tags == ["B-OBJ"]
  assert [one.document for one in found] == [0, 1, 2, 1]
  assert [line for line in lines if "1 span(s) begin or end within" in line]
  described = results.describe(found[0], found[0].tags)
  assert described["spans"] == [
      {"start": 0, "end": 3, "label": "PER", "text": "Ann"},
      {"start": 9, "end": 17, "label": "LOC", "text": "New-York"}]


def test_words_of_a_text_have_the_pieces_of_the_text(tokenizer):
  rng = random.Random(4)
  pool = "ab. ,'\u4e2d\u200d\u2028\u00a0\t\x85\u0301C-\U0001f600"
  for _ in range(300):
    text = "".join(rng.choice(pool) for _ in range(rng.randint(0, 12)))
    words, starts = reader.split_words(text)
    assert tokenizer.tokenize(text) == [
        piece for word in words for piece in tokenizer.tokenize(word)]
    assert all(text[start:].startswith(word)
               for word, start in zip(words, starts))
    assert all(word.strip() == word and word for word in words)


# Windows.


@pytest.mark.parametrize("context", ner_data.CONTEXTS)
@pytest.mark.parametrize("length, stride", [(3, 1), (5, 2), (8, 3), (40, 20)])
def test_every_word_has_one_place_in_order(tokenizer, context, length, stride):
  rng = random.Random(length)
  words = ["kettles", "the", "\u200d", "a" * 300, "not,near." * 3, "", "tea"]
  sentences = [
      reader.Sentence([rng.choice(words) for _ in range(rng.randint(0, 9))],
                      document=number // 4) for number in range(30)]
  windows = ner_data.Windows(tokenizer, length, stride, context)
  found = []
  for model_input, places in windows.make(sentences):
    assert places and len(model_input.input_ids) == length
    assert all(0 < place < len(model_input.tokens) - 1 for place in places)
    found += [model_input.tokens[place] for place in places]
  assert found == [(tokenizer.tokenize(word) or ["[UNK]"])[0]
                   for one in sentences for word in one.words]
  assert windows.count(sentences) == sum(1 for _ in windows.make(sentences))


def test_a_word_is_read_where_there_is_most_around_it(tokenizer):
  sentences = [reader.Sentence(["the"] * 4 + ["tea"] * 3)]
  found = [places for _, places in ner_data.Windows(
      tokenizer, 6, 2).make(sentences)]
  # Windows of pieces 0 to 3, 2 to 5 and 4 to 6.
  assert found == [[1, 2, 3], [2, 3], [2, 3]]


def test_documents_are_read_as_one(tokenizer):
  sentences = [reader.Sentence(["the", "tea"], document=0),
               reader.Sentence(["kettles"], document=0),
               reader.Sentence(["far"], document=1)]
  found = [model_input.tokens for model_input, _ in ner_data.Windows(
      tokenizer, 9, 4, "document").make(sentences)]
  assert found == [["[CLS]", "the", "tea", "kettle", "##s", "[SEP]"],
                   ["[CLS]", "far", "[SEP]"]]


def test_features_have_the_tag_at_the_first_piece(tokenizer):
  sentences = [reader.Sentence(["kettles", "sing", "\u200d"])]
  windows = ner_data.Windows(tokenizer, 8, 4)
  found, = ner_data.make_features(
      sentences, [["B-A", "I-A", "B-B"]], ["O", "B-A", "I-A"], windows, "x")
  assert [WORDS[i] for i in found["input_ids"]] == [
      "[CLS]", "kettle", "##s", "sing", "[UNK]", "[SEP]", "[PAD]", "[PAD]"]
  assert found["label_ids"] == [0, 1, 0, 2, 0, 0, 0, 0]
  assert found["label_mask"] == [0, 1, 0, 1, 1, 0, 0, 0]


# Scores.


def random_tags(rng, schemes, length):
  labels = ner_tags.all_tags(["PER", "LOC", "B-x"], rng.choice(schemes))
  return [rng.choice(labels + O_TAGS * 3) for _ in range(length)]


def test_figures_counted_by_hand():
  right = ["B-A I-A O B-B", "O O B-A", "B-B I-B"]
  said = ["B-A I-A O B-A", "B-B O B-A", "B-B O"]
  counts = scores.count(*[[tags.split() for tags in one]
                          for one in (right, said)])
  assert counts.types == ["A", "B"]
  assert counts.hits.tolist() == [2, 0]  # of A the first and that of line 2
  assert counts.said.tolist() == [3, 2]
  assert counts.are.tolist() == [2, 2]
  assert counts.confusion.tolist() == [[2, 0, 0], [1, 0, 1], [0, 2, 0]]
  assert counts.figures() == {
      "precision": 2 / 5, "recall": 2 / 4, "f1": 4 / 9, "accuracy": 6 / 9}
  report = scores.make_report(counts)
  for row in ("A 0.6667 1.0000 0.8000 3 2", "all 0.4000 0.5000 0.4444 5 4"):
    assert row.split() in [line.split() for line in report.splitlines()]
  assert "(2) B                1     0     1\n" in report


def test_figures_of_nothing():
  assert scores.count([[], ["O"]], [[], ["O"]]).figures() == {
      "precision": 0.0, "recall": 0.0, "f1": 0.0, "accuracy": 1.0}


@pytest.mark.parametrize("schemes", [("IOB1", "IOB2"), ("IOBES",)])
def test_figures_are_those_of_seqeval(schemes):
  metrics = pytest.importorskip("seqeval.metrics")
  rng = random.Random(7)
  for _ in range(100):
    lengths = [rng.randint(1, 8) for _ in range(5)]
    right, said = [[random_tags(rng, schemes, n) for n in lengths]
                   for _ in range(2)]
    counts = scores.count(right, said)
    found = counts.figures()
    for name in ("precision", "recall", "f1"):
      assert found[name] == pytest.approx(
          getattr(metrics, name + "_score")(right, said, zero_division=0))
    report = metrics.classification_report(
        right, said, output_dict=True, zero_division=0)
    for kind, hits, number in zip(counts.types, counts.hits, counts.are):
      if kind in report:
        assert report[kind]["support"] == number
        assert report[kind]["recall"] == pytest.approx(
            hits / number if number else 0.0)
