"""Tests of squad.data and squad.records: words, answers, windows, records."""

import json
import tracemalloc

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import text_windows
from bert_suite.squad import data as squad_data, reader as squad_files
from helpers import WORDS, captured_log, gzip_file, write_vocab
import tokenization

CONTEXT = "The kettle sings.  A cat\nsleeps not near, it rains. Tea is far."
NUM_PIECES = 19  # of the vocabulary in helpers.py


def question(key="q", text="is it far", answer=None, start=None, **more):
  if answer is not None:
    more["answers"] = [{"text": answer, "answer_start": CONTEXT.index(answer)
                        if start is None else start}]
  return dict(more, id=key, question=text)


def write_squad(folder, questions, context=CONTEXT, **more):
  path = folder / "squad.json"
  path.write_text(json.dumps(dict(more, data=[{"paragraphs": [
      {"context": context, "qas": questions}]}])), encoding="utf-8")
  return str(path)


def read(folder, questions, is_training=True, version_2=False, **more):
  """Returns the examples of a file with these questions, and the warnings."""
  with captured_log() as lines:
    examples = squad_data.read_squad_examples(
        write_squad(folder, questions, **more), is_training, version_2)
  return examples, "\n".join(lines)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return tokenization.FullTokenizer(
      write_vocab(tmp_path_factory.mktemp("vocab")))


# Reading.


def test_gzip_is_unpacked_or_named(tmp_path):
  path = write_squad(tmp_path, [])
  plain = squad_files.read_dataset(path)
  gzip_file(path)
  assert squad_files.read_dataset(path) == plain
  with open(path, "rb+") as writer:
    writer.truncate(30)
  with pytest.raises(ValueError) as error:
    squad_files.read_dataset(path)
  assert str(error.value).startswith(path + ": is a damaged gzip file (")


@pytest.mark.parametrize("answer,start,end", [
    ("The kettle", 0, 1), ("A cat\nsleeps", 3, 5), ("sings", 2, 2),
    (" A", 2, 3), (" Tea is", 9, 11), ("far.", 12, 12)])
def test_an_answer_is_found_by_its_words(tmp_path, answer, start, end):
  (example,), _ = read(tmp_path, [question(answer=answer)])
  assert example.doc_tokens == CONTEXT.split()
  assert (example.start_position, example.end_position) == (start, end)
  assert (example.orig_answer_text, example.is_impossible) == (answer, False)
  for word, place in zip(example.doc_tokens, example.word_starts):
    assert example.context[place:place + len(word)] == word


def test_words_end_at_the_spaces_of_the_reference_only(tmp_path):
  (example,), _ = read(
      tmp_path, [question()], False, context="\ta\u202fb\u00a0c\r\nd \u3000e")
  assert example.doc_tokens == ["a", "b\u00a0c", "d", "\u3000e"]
  assert example.word_starts == [1, 3, 8, 10]


def test_prediction_needs_no_answers(tmp_path):
  (example,), log = read(tmp_path, [question()], is_training=False)
  assert example.orig_answer_text is example.start_position is None
  assert log == ""


@pytest.mark.parametrize("answer,start", [
    ("The kettle", 10 ** 6), ("The kettle", -1), ("The kettle", 5),
    ("far. Indeed", 56), ("", 0), (" ", 3)])
def test_an_answer_outside_the_text_is_left_out_of_training(
    tmp_path, answer, start):
  examples, log = read(tmp_path, [
      question("bad", answer=answer, start=start), question(answer="cat")])
  assert [example.qas_id for example in examples] == ["q"]
  assert "1 question(s) are left out of training" in log and ": bad" in log


def test_an_empty_context(tmp_path):
  examples, log = read(
      tmp_path, [question(answer="cat", start=0)], context=" \n")
  assert not examples and "left out of training" in log
  examples, log = read(tmp_path, [question()], False, context="")
  assert examples[0].doc_tokens == []
  assert "1 question(s) have a context without words" in log


def test_of_several_answers_training_takes_the_first(tmp_path):
  several = question("s", answer="cat")
  several["answers"] += question(answer="kettle")["answers"]
  examples, log = read(tmp_path, [several, question(answer="Tea")])
  assert [e.orig_answer_text for e in examples] == ["cat", "Tea"]
  assert "1 question(s) have several answers" in log and ": s" in log


def test_a_missing_is_impossible(tmp_path):
  examples, _ = read(tmp_path, [
      question("a", answer="cat"), question("b", answers=[]), question("c"),
      question("d", answers=[], is_impossible=True)], version_2=True)
  assert [e.is_impossible for e in examples] == [False, True, True, True]
  assert [e.start_position for e in examples] == [4, -1, -1, -1]


@pytest.mark.parametrize("more,questions", [
    (dict(version="v2.0"), [question(answer="cat")]),
    ({}, [question(answer="cat"), question("n", is_impossible=True)])])
def test_version_2_without_its_flag(tmp_path, more, questions):
  with pytest.raises(ValueError, match="--version_2_with_negative"):
    read(tmp_path, questions, **more)
  examples, log = read(tmp_path, questions, False, **more)
  assert len(examples) == len(questions)
  assert "without --version_2_with_negative every question is" in log
  _, log = read(tmp_path, questions, False, True, **more)
  assert log == ""


def test_repeated_ids_are_reported(tmp_path):
  examples, log = read(tmp_path, [question(), question(), question("r")], False)
  assert len(examples) == 3
  assert "1 id(s) are there more than once" in log and log.endswith(": q")


def test_ids_that_are_not_strings(tmp_path):
  examples, _ = read(tmp_path, [question(7), question(1.5)], False)
  assert [example.qas_id for example in examples] == ["7", "1.5"]


@pytest.mark.parametrize("content,message", [
    ("{", "is not JSON"),
    ('{"id": 1, "answers": {"text": ["a"]}}\n{"id": 2}\n',
     "found an object in each line, first an object with the keys id, answers; "
     'expected one for the whole file, as SQuAD has it, {"data": '),
    ('{"data": [{"id": 1, "context": "a"}]}',
     "article 1: is not SQuAD: found an object with the keys id, context, "
     'expected an object with a list "paragraphs"'),
    ("[]", 'found a list of 0, expected an object with a list "data"'),
    ('{"data": {}}', '"data": is not SQuAD: found an object {}, expected a'),
    ('{"data": []}', "has no questions"),
    ('{"data": [{"paragraphs": [{"qas": [{"id": "a"}]}]}]}',
     "article 1, paragraph 1: is not SQuAD: found an object with the keys qas, "
     "expected also a text \"context\""),
    ('{"data": [{"paragraphs": [{"context": null, "qas": [{"id": "a"}]}]}]}',
     "article 1, paragraph 1: is not SQuAD: found null as the context"),
    ('{"data": [{"paragraphs": [{"context": "", "qas": [{"id": "a"}]}]}]}',
     "article 1, paragraph 1, question 1 (id a): is not SQuAD: found an object "
     "with the keys id, expected also a text \"question\""),
    ('{"data": [{"paragraphs": [{"context": "", "qas": ["a"]}]}]}',
     'found "a", expected an object with an id'),
    ('{"data": [{"paragraphs": [{"context": "", "qas": '
     '[{"id": [], "question": ""}]}]}]}', "expected an object with an id")])
def test_json_that_is_not_squad_is_named_in_one_line(
    tmp_path, content, message):
  path = tmp_path / "squad.json"
  path.write_text(content)
  with pytest.raises(ValueError) as error:
    squad_data.read_squad_examples(str(path), False)
  assert str(error.value).startswith(str(path)) and message in str(error.value)
  assert "\n" not in str(error.value)


def test_another_encoding_is_named(tmp_path):
  path = tmp_path / "squad.json"
  path.write_bytes(json.dumps({"data": []}).encode("utf-16"))
  with pytest.raises(ValueError, match=(
      "squad.json: byte 1 is not UTF-8; save the file as UTF-8$")):
    squad_data.read_squad_examples(str(path), False)


@pytest.mark.parametrize("bad,message", [
    (question(answers=[]), "found no answer to learn, expected one; .*"
     "give --version_2_with_negative"),
    (question(), 'expected an object with a list "answers"'),
    (question(answers=["cat"]), 'found "cat" in an answer'),
    (question(answers=[{"text": "cat", "answer_start": "4"}]),
     'found the answer_start "4" in an answer, expected .* a whole number'),
    (question(answers=[{"text": "cat"}]), "found an object with the keys text")
])
def test_training_without_an_answer_is_named_in_one_line(
    tmp_path, bad, message):
  with pytest.raises(ValueError, match=message) as error:
    read(tmp_path, [bad])
  assert "question 1 (id q): " in str(error.value)
  assert "\n" not in str(error.value)


# Features.


def make_features(examples, tokenizer, is_training=False, max_seq_length=13,
                  doc_stride=3, max_query_length=2):
  features = []
  squad_data.convert_examples_to_features(
      examples, tokenizer, max_seq_length, doc_stride, max_query_length,
      is_training, features.append)
  return features


def pieces_of(feature):
  return [feature.tokens[p] for p in sorted(feature.token_to_orig_map)]


def test_windows_hold_question_and_context(tmp_path, tokenizer):
  examples, _ = read(tmp_path, [question()], False)
  features = make_features(examples, tokenizer)
  pieces = tokenizer.tokenize(CONTEXT)
  assert len(pieces) == NUM_PIECES
  assert [f.unique_id for f in features] == [
      10 ** 9 + i for i in range(len(features))]
  for index, feature in enumerate(features):
    own = pieces[3 * index:3 * index + 8]  # 13 - 2 of the question - 3
    assert pieces_of(feature) == own
    assert feature.tokens == ["[CLS]", "is", "it", "[SEP]"] + own + ["[SEP]"]
    length = len(feature.tokens)
    padding = [0] * (13 - length)
    assert feature.input_ids == [
        WORDS.index(t) for t in feature.tokens] + padding
    assert feature.input_mask == [1] * length + padding
    assert feature.segment_ids == (
        [0] * 4 + [1] * (length - 4) + padding)
    assert (feature.example_index, feature.doc_span_index) == (0, index)
    for position, word in feature.token_to_orig_map.items():
      assert feature.tokens[position].replace("##", "") in (
          examples[0].doc_tokens[word].lower())
  assert 3 * index + 8 >= len(pieces) > 3 * (index - 1) + 8


def test_questions_that_are_cut_are_counted(tmp_path, tokenizer):
  examples, _ = read(tmp_path, [
      question("a"), question("b", text="is it"), question("c")], False)
  with captured_log() as lines:
    make_features(examples, tokenizer)
  assert [line for line in lines if "cut" in line] == [
      "2 of 3 questions have more than the 2 word pieces of --max_query_length "
      "and were cut"]


def test_every_piece_has_its_most_context_in_one_window(tmp_path, tokenizer):
  examples, _ = read(tmp_path, [question()], False)
  features = make_features(examples, tokenizer)
  best = {}  # piece of the context: (least context on a side, length, window)
  for index, feature in enumerate(features):
    positions = sorted(feature.token_to_orig_map)
    for place in range(len(positions)):
      rank = (min(place, len(positions) - 1 - place) + 0.01 * len(positions),
              -index)
      piece = 3 * index + place
      best[piece] = max(best.get(piece, rank), rank)
  assert sorted(best) == list(range(NUM_PIECES))
  for index, feature in enumerate(features):
    for position, is_best in feature.token_is_max_context.items():
      assert is_best == (best[3 * index + position - 4][1] == -index)


def test_the_answer_is_learnt_in_windows_that_hold_it(tmp_path, tokenizer):
  examples, _ = read(tmp_path, [question(answer="not near")])
  features = make_features(examples, tokenizer, is_training=True)
  found = [f.tokens[f.start_position:f.end_position + 1] for f in features]
  assert found.count(["not", "near"]) == 3
  assert all(tokens in (["not", "near"], ["[CLS]"]) for tokens in found)
  for feature, tokens in zip(features, found):
    assert (["[CLS]"] == tokens) == (
        "not" not in pieces_of(feature) or "near" not in pieces_of(feature))


def test_the_log_shows_what_is_learnt(tmp_path, tokenizer):
  examples, _ = read(tmp_path, [question(answer="not near")])
  for is_training in (True, False):
    with captured_log() as lines:
      make_features(examples, tokenizer, is_training=is_training)
    assert [line.split(":")[0] for line in lines][:3] == [
        "*** Example ***", "guid", "tokens"]
    assert sum(line.startswith("guid: ") for line in lines) == 1
    assert sum(line.startswith("answer: ") for line in lines) == is_training
    with captured_log() as lines:
      tf.logging.set_verbosity(tf.logging.DEBUG)
      features = make_features(examples, tokenizer, is_training=is_training)
    shown = [line for line in lines if line.startswith(
        ("start_position", "end_position", "answer", "label"))]
    expected = []
    for f in features[:5]:
      answer = (" ".join(f.tokens[f.start_position:f.end_position + 1])
                if f.start_position else "none in this window")
      expected += ["start_position: %s" % f.start_position,
                   "end_position: %s" % f.end_position, "answer: " + answer]
    assert shown == (expected if is_training else [])
    assert sum(line.startswith("guid: ") for line in lines) == 5
    assert ("answer: not near" in shown) is is_training


def test_the_span_of_an_answer_is_its_pieces_not_its_words(
    tmp_path, tokenizer):
  examples, _ = read(tmp_path, [
      question("whole", answer="sleeps"), question("part", answer="sleep"),
      question("inside", answer="ettl")])
  features = make_features(
      examples, tokenizer, is_training=True, max_seq_length=40)
  assert [f.tokens[f.start_position:f.end_position + 1] for f in features] == [
      ["sleep", "##s"], ["sleep"], ["kettle"]]


def test_a_question_without_answer_learns_the_first_token(tmp_path, tokenizer):
  examples, _ = read(
      tmp_path, [question(is_impossible=True)], version_2=True)
  for feature in make_features(examples, tokenizer, is_training=True):
    assert (feature.start_position, feature.end_position) == (0, 0)
    assert feature.is_impossible is True


def test_a_question_of_only_spaces_and_an_empty_context(tmp_path, tokenizer):
  examples, _ = read(tmp_path, [question(text="  \n ")], False)
  feature = make_features(examples, tokenizer, max_seq_length=40)[0]
  assert feature.tokens[:3] == ["[CLS]", "[SEP]", "the"]
  examples, _ = read(tmp_path, [question()], False, context="")
  assert make_features(examples, tokenizer) == []


@pytest.mark.parametrize("changes,message", [
    (dict(max_seq_length=5), "max_seq_length=5 leaves no room"),
    (dict(doc_stride=0), "doc_stride=0")])
def test_lengths_without_room_are_refused(
    tmp_path, tokenizer, changes, message):
  examples, _ = read(tmp_path, [question()], False)
  with pytest.raises(ValueError, match=message):
    make_features(examples, tokenizer, **changes)


def test_records_hold_the_features(tmp_path, tokenizer):
  examples, _ = read(
      tmp_path, [question(answer="cat"), question("n", is_impossible=True)],
      version_2=True)
  features = make_features(examples, tokenizer, is_training=True)
  path = str(tmp_path / "train.tf_record")
  writer = squad_data.FeatureWriter(path, is_training=True)
  for feature in features:
    writer.process_feature(feature)
  assert not tf.gfile.Exists(path)
  writer.close()
  assert writer.num_features == len(features)
  for record, feature in zip(tf.python_io.tf_record_iterator(path), features):
    values = {name: list(value.int64_list.value) for name, value in
              tf.train.Example.FromString(record).features.feature.items()}
    assert values == {
        "unique_ids": [feature.unique_id], "input_ids": feature.input_ids,
        "input_mask": feature.input_mask, "segment_ids": feature.segment_ids,
        "start_positions": [feature.start_position],
        "end_positions": [feature.end_position],
        "is_impossible": [int(feature.is_impossible)]}


def test_an_error_leaves_no_file_of_features(tmp_path):
  with pytest.raises(RuntimeError):
    with squad_data.FeatureWriter(str(tmp_path / "a"), False):
      raise RuntimeError()
  assert list(tmp_path.iterdir()) == []


def test_windows_of_long_contexts_are_those_of_a_slow_count():
  rng = np.random.RandomState(1)
  for _ in range(50):
    count, size, stride = rng.randint(1, 60), rng.randint(1, 20), rng.randint(
        1, 25)
    windows = text_windows.find_windows(count, size, stride)
    start = 0
    for window in windows:
      assert window.start == start
      assert window.stop == min(start + size, count)
      assert len(window.is_max_context) == window.stop - window.start
      start += min(size, stride)
    assert windows[-1].stop == count
    shown = sum((list(range(w.start, w.stop)) for w in windows), [])
    chosen = [w.start + i for w in windows
              for i, is_max in enumerate(w.is_max_context) if is_max]
    assert sorted(chosen) == sorted(set(shown))
    bounds = [(window.start, window.stop) for window in windows]
    for window, expected in zip(windows, slow_max_context(bounds, count)):
      assert window.is_max_context.tolist() == expected


def slow_max_context(bounds, count):
  """Returns, for each window, whether each piece is read best there."""
  scores = np.full([len(bounds), count], -1.0)
  for row, (start, stop) in zip(scores, bounds):
    left = np.arange(stop - start)
    row[start:stop] = np.minimum(left, left[::-1]) + 0.01 * (stop - start)
  best = scores.argmax(axis=0)  # the first of equals
  return [(best[start:stop] == index).tolist()
          for index, (start, stop) in enumerate(bounds)]


@pytest.mark.parametrize("size,stride", [(381, 128), (60, 16)])
def test_windows_of_a_book_take_a_few_megabytes(size, stride):
  tracemalloc.start()
  try:
    windows = text_windows.find_windows(150000, size, stride)
    _, peak = tracemalloc.get_traced_memory()
  finally:
    tracemalloc.stop()
  assert len(windows) > 1000
  assert peak < 12e6
