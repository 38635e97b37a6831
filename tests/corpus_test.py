"""Tests of corpus: cutting a text, and reading it as documents of ids."""

import gzip
import os
import random

import pytest

from bert_suite.pretraining import corpus
import tokenization

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] tea is near ##ly .".split()


@pytest.fixture
def tokenizer(tmp_path):
  path = tmp_path / "vocab.txt"
  path.write_text("".join(word + "\n" for word in WORDS))
  return tokenization.FullTokenizer(str(path))


def write(path, data):
  with open(str(path), "wb") as writer:
    writer.write(data)
  return str(path)


def read(part):
  """Returns the bytes of a part."""
  data = b""
  for span in part:
    with open(span.path, "rb") as reader:
      data += reader.read()[span.begin:span.end]
  return data


def make_text(seed, num_lines):
  random_lines = random.Random(seed)
  return b"".join(
      random_lines.choice([b"", b"", b" \t", b"tea", b"tea is near", b"x" * 40])
      + b"\n" for _ in range(num_lines))


@pytest.mark.parametrize("seed", range(10))
def test_parts_are_the_text_cut_between_documents(tmp_path, seed):
  texts = [make_text(100 * seed + i, num) for i, num in enumerate([50, 3, 200])]
  spans = corpus.list_spans([
      write(tmp_path / str(i), text) for i, text in enumerate(texts)])
  ends = [len(texts[0]), len(texts[0] + texts[1])]
  total = sum(map(len, texts))
  assert corpus.count_bytes(spans) == total
  for num_parts in (1, 2, 3, 7, 40, 1000):
    parts = [read(part) for part in corpus.split_text(spans, num_parts)]
    assert b"".join(parts) == b"".join(texts)
    assert all(parts) and len(parts) <= num_parts
    position = 0
    for part in parts[:-1]:
      position += len(part)
      lines = part.split(b"\n")
      assert position in ends or (
          lines[-1] == b"" and not lines[-2].strip())  # after a blank line
    if num_parts <= 7:  # then every part has documents to spare
      assert len(parts) == num_parts
      assert max(map(len, parts)) < 1.5 * total / num_parts + 300


def test_every_cut_is_found_in_one_reading_of_a_text_without_any(
    tmp_path, monkeypatch):
  spans = corpus.list_spans([write(tmp_path / "a", b"tea is near\n" * 1000)])
  looks = []
  find = corpus._find_document
  monkeypatch.setattr(corpus, "_find_document", lambda span, offset: (
      looks.append(offset) or find(span, offset)))
  assert corpus.split_text(spans, 50) == [spans]
  assert len(looks) == 1


def test_gzip_files_are_not_cut(tmp_path):
  paths = [str(tmp_path / name) for name in "ab"]
  for path in paths:
    with gzip.open(path, "wb") as writer:
      writer.write(make_text(1, 300))
  spans = corpus.list_spans(paths)
  assert [span.is_gzip for span in spans] == [True, True]
  assert corpus.split_text(spans, 10) == [[spans[0]], [spans[1]]]


def test_documents_are_lists_of_sentences_of_ids(tmp_path, tokenizer):
  path = write(tmp_path / "a", b"\n\ntea is near.\nnearly tea\n \n\x00\n\ntea")
  text = corpus.read_text(corpus.list_spans([path]), tokenizer)
  documents = corpus.list_documents(text)
  assert [list(document) for document in documents] == [
      [[5, 6, 7, 9], [7, 8, 5]], [[5]]]
  assert [len(document) for document in documents] == [2, 1]
  for index in (2, -1):
    with pytest.raises(IndexError):
      documents[0][index]


def test_words_between_spaces_are_marked(tmp_path, tokenizer):
  path = write(tmp_path / "a", "tea. nearly\u3000tea\tis".encode("utf-8"))
  text = corpus.read_text(corpus.list_spans([path]), tokenizer, mark_words=True)
  mark = corpus.vocab_range(tokenizer.vocab)
  assert text.ids.tolist() == [5, 9 + mark, 7, 8 + mark, 5, 6]
  assert mark == len(WORDS)


@pytest.mark.parametrize("mark_words", [False, True])
def test_lines_that_are_too_long_become_sentences_and_lose_nothing(
    tmp_path, tokenizer, mark_words):
  path = write(tmp_path / "a", b"tea is near. tea\n"
               b"tea is near. nearly tea. near tea is\n\n" +
               b"nearly " * 4 + b"tea.\n")
  spans = corpus.list_spans([path])
  whole = corpus.read_text(spans, tokenizer, mark_words)
  assert whole.lengths.tolist() == [5, 11, 0, 10]
  text = corpus.read_text(spans, tokenizer, mark_words, longest=5)
  assert text.ids == whole.ids
  # A sentence of more than five goes into parts of two, here a word each.
  assert text.lengths.tolist() == [5, 4, 4, 3, 0, 2, 2, 2, 2, 2]


@pytest.mark.parametrize("num_workers", [1, 3])
def test_advance_counts_the_bytes_of_the_files(
    tmp_path, tokenizer, monkeypatch, num_workers):
  monkeypatch.setattr(corpus, "_MIN_PART_BYTES", 100)
  monkeypatch.setattr(corpus, "_BLOCK_BYTES", 1000)
  with gzip.open(str(tmp_path / "b"), "wb") as writer:
    writer.write(make_text(1, 300))
  spans = corpus.list_spans([
      write(tmp_path / "a", make_text(2, 300)), str(tmp_path / "b")])
  counts = []
  corpus.read_text(spans, tokenizer, num_workers=num_workers,
                   advance=counts.append)
  assert sum(counts) == sum(span.end for span in spans)
  assert len(counts) > 3


def test_errors_of_workers_that_tokenize(tmp_path, tokenizer, monkeypatch):
  monkeypatch.setattr(corpus, "_MIN_PART_BYTES", 100)
  text = make_text(2, 300)
  path = write(tmp_path / "a", text + b"tea\n\xc3(\n" + text)
  with pytest.raises(ValueError, match="a, line 302: found the byte 0xc3"):
    corpus.read_text(corpus.list_spans([path]), tokenizer, num_workers=2)
  write(tmp_path / "a", text)
  monkeypatch.setattr(tokenizer, "tokenize", lambda text: exit_at_once())
  with pytest.raises(ValueError, match="tokenizing .*a from byte [0-9]+ on: "
                     r"its worker ended without a result \(status 3\)"):
    corpus.read_text(corpus.list_spans([path]), tokenizer, num_workers=2)


def exit_at_once():
  os._exit(3)
