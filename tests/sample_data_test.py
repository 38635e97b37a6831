"""Checks the files that the demo and other tests read."""

import collections
import os
import string
import unicodedata

import pytest

import tokenization

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
VOCAB = os.path.join(TOP, "sample_data", "sample_vocab.txt")
NUM_ROWS = {"train": 600, "dev": 120, "test": 120}
MAX_SEQ_LENGTH = 48  # of demo.sh


def read_lines(*path):
  with open(os.path.join(TOP, *path), encoding="utf-8", newline="") as f:
    text = f.read()
  assert text.endswith("\n")
  assert "\r" not in text
  return text[:-1].split("\n")


def read_rows(split):
  """Returns the header and the rows of a .tsv file, as lists of columns."""
  rows = [line.split("\t") for line in read_lines("sample_data",
                                                  split + ".tsv")]
  return rows[0], rows[1:]


@pytest.fixture(scope="module")
def tokenizer():
  return tokenization.FullTokenizer(VOCAB, do_lower_case=True)


@pytest.mark.parametrize("split", sorted(NUM_ROWS))
def test_tsv_has_the_mrpc_layout(split):
  header, rows = read_rows(split)
  first = "index" if split == "test" else "Quality"
  assert header == [first, "#1 ID", "#2 ID", "#1 String", "#2 String"]
  assert len(rows) == NUM_ROWS[split]
  for row in rows:
    assert len(row) == 5
    assert all(column == column.strip() and column for column in row)
    assert '"' not in "".join(row)
    assert row[3] != row[4]
  if split == "test":
    assert [row[0] for row in rows] == [str(i) for i in range(len(rows))]


@pytest.mark.parametrize("split", ["train", "dev"])
def test_labels_are_balanced(split):
  _, rows = read_rows(split)
  assert (collections.Counter(row[0] for row in rows) ==
          {"0": NUM_ROWS[split] // 2, "1": NUM_ROWS[split] // 2})


def test_splits_share_no_id_and_no_sentence():
  ids, sentences = [], []
  for split in NUM_ROWS:
    for row in read_rows(split)[1]:
      ids.extend(row[1:3])
      sentences.extend(row[3:5])
  assert len(ids) == len(set(ids)) == 2 * sum(NUM_ROWS.values())
  assert len(sentences) == len(set(sentences)) == len(ids)


def test_no_single_word_gives_the_label_away():
  _, rows = read_rows("train")
  agreeing = collections.Counter()
  for row in rows:
    sign = 1 if row[0] == "1" else -1
    for side, text in enumerate(row[3:5]):
      for word in set(text.lower().split()):
        agreeing[side, word] += sign
  # A word that is in all rows of one label, and in no other, reaches 300.
  assert max(abs(count) for count in agreeing.values()) < 60


def test_vocabulary():
  vocab = read_lines("sample_data", "sample_vocab.txt")
  assert vocab[0] == "[PAD]"
  assert {"[UNK]", "[CLS]", "[SEP]", "[MASK]", "[unused0]"} < set(vocab)
  assert 2000 <= len(vocab) <= 4000
  assert len(vocab) == len(set(vocab))
  assert all(piece == "".join(piece.split()) and piece for piece in vocab)
  for char in string.ascii_lowercase + string.digits + string.punctuation:
    assert char in vocab
    assert "##" + char in vocab


def test_vocabulary_covers_the_sample_text(tokenizer):
  lines = [line for line in read_lines("sample_text.txt") if line]
  pieces = [piece for line in lines for piece in tokenizer.tokenize(line)]
  assert len(pieces) > 3000
  assert [piece for piece in pieces if piece == "[UNK]"] == []
  # Some words are kept whole and some are cut, as with a full vocabulary.
  share = sum(piece.startswith("##") for piece in pieces) / float(len(pieces))
  assert 0.02 < share < 0.5


@pytest.mark.parametrize("split", sorted(NUM_ROWS))
def test_vocabulary_covers_the_pairs_and_they_fit(tokenizer, split):
  for row in read_rows(split)[1]:
    pieces = [tokenizer.tokenize(text) for text in row[3:5]]
    assert "[UNK]" not in pieces[0] + pieces[1]
    assert len(pieces[0]) + len(pieces[1]) + 3 <= MAX_SEQ_LENGTH


def test_sample_text_is_documents_of_sentences_in_several_scripts():
  lines = read_lines("sample_text.txt")
  assert all(line == line.strip() for line in lines)
  assert "\t" not in "".join(lines)
  documents = "\n".join(lines).split("\n\n")
  assert len(documents) > 20
  assert all(len(document.split("\n")) >= 8 for document in documents)
  scripts = {unicodedata.name(char, "").split(" ")[0]
             for char in "".join(lines)}
  assert {"LATIN", "CJK", "HIRAGANA", "KATAKANA", "CYRILLIC", "ARABIC",
          "DEVANAGARI", "HANGUL", "GREEK"} <= scripts
