"""Tests of record_origins: the vocabulary of records reaches run.json."""

import os

import pytest

from bert_suite import checkpoints
from bert_suite.pretraining import record_origins
import create_pretraining_data
import helpers
import tokenization

SIZE = len(helpers.WORDS)


@pytest.fixture
def made(tmp_path):
  """Makes records as the command does; returns their file and vocabulary."""
  vocab_file = helpers.write_vocab(tmp_path)
  text = helpers.write_lines(tmp_path / "text.txt", [
      ["the cat sings."], ["it is near."], [""], ["tea rains."], ["a kettle"]])
  path = str(tmp_path / "out.tfrecord")
  helpers.run_main(create_pretraining_data, [
      "--input_file=" + text, "--output_file=" + path,
      "--vocab_file=" + vocab_file, "--max_seq_length=16"])
  return path, vocab_file


def describe(vocab_file):
  return checkpoints.describe_vocab(tokenization.load_vocab(vocab_file))


def other_vocab(folder):
  return helpers.write_lines(
      folder / "other" / "vocab.txt", [[w] for w in reversed(helpers.WORDS)])


def find(paths, vocab_file=None, folders=()):
  return record_origins.find_vocabulary(paths, vocab_file, folders, SIZE)


def test_what_makes_records_says_with_which_vocabulary(made):
  path, vocab_file = made
  expected = dict(vocabulary=describe(vocab_file), do_lower_case=True)
  assert find([path]) == (vocab_file, expected)
  assert find([path], vocab_file) == (vocab_file, expected)
  # Neither patterns of names nor a plain listing has the file that says so.
  assert sorted(name for name in os.listdir(os.path.dirname(path))
                if name.startswith("out")) == ["out.tfrecord"]


def test_a_file_that_was_replaced_is_not_known(made, tmp_path):
  path, vocab_file = made
  with open(path, "ab") as writer:
    writer.write(b"more")
  assert find([path]) == (None, {})
  other = other_vocab(tmp_path)
  assert find([path], other) == (other, {"vocabulary": describe(other)})
  del vocab_file


@pytest.mark.parametrize("content", [
    "", "[]", "{}", "{\"bytes\": 3}", "[" * 5000])
def test_what_cannot_be_read_is_not_known(made, tmp_path, content):
  path, _ = made
  (tmp_path / ".out.tfrecord.json").write_text(content)
  assert find([path]) == (None, {})


def test_another_vocabulary_than_that_of_the_records_is_refused(made, tmp_path):
  path, vocab_file = made
  other = other_vocab(tmp_path)
  with pytest.raises(ValueError) as error:
    find([path], other)
  assert str(error.value) == (
      "%s: is not the vocabulary that %s is made with, which was %s; give that "
      "one, or leave it out" % (other, path, vocab_file))
  second = str(tmp_path / "second.tfrecord")
  open(second, "w").close()
  assert find([path, second]) == (None, {})  # of one it is not known
  record_origins.write([second], other, tokenization.FullTokenizer(other))
  with pytest.raises(ValueError) as error:
    find([path, second])
  assert str(error.value) == (
      "%s is made with the vocabulary %s, but %s with %s; give files of one "
      "vocabulary" % (path, vocab_file, second, other))


def test_the_training_before_is_asked_last(made, tmp_path):
  path, vocab_file = made
  before = tmp_path / "before"
  before.mkdir()
  known = {"vocabulary": {"size": 3, "sha256": "abc"}, "do_lower_case": False}
  checkpoints.write_record(
      str(before), dict(known, task="pretraining"), 0, vocab_file="/v")
  folders = [str(tmp_path / "none"), str(before)]
  assert find(["unknown"], None, folders) == ("/v", known)
  assert find([path], None, folders)[0] == vocab_file
