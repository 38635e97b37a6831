"""Tests of vocab_files: entries of a vocabulary, files of other kinds."""

import codecs
import gzip
import json

import pytest

from bert_suite import vocab_files

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "tea", "##s"]
LINES = "\n".join(TOKENS) + "\n"


def write(tmp_path, content, name="vocab.txt"):
  path = tmp_path / name
  path.write_bytes(
      content if isinstance(content, bytes) else content.encode("utf-8"))
  return str(path)


@pytest.mark.parametrize("content", [
    LINES, LINES[:-1], LINES.replace("\n", "\r\n"), LINES + "\n\n",
    LINES + "\r\n \r\n", codecs.BOM_UTF8 + LINES.encode("ascii"),
])
def test_marks_line_ends_and_blank_ends_are_no_entries(tmp_path, content):
  assert vocab_files.read_tokens(write(tmp_path, content)) == TOKENS


def test_a_blank_line_between_entries_keeps_the_ids(tmp_path):
  path = write(tmp_path, "[UNK]\n\ntea\n\u2028\n\u2581\n\n")
  assert vocab_files.read_tokens(path) == ["[UNK]", "", "tea", "", "\u2581"]


@pytest.mark.parametrize("content, name, complaint", [
    (gzip.compress(LINES.encode("ascii")), "vocab.txt.gz",
     "is compressed with gzip; unpack it"),
    (b"PK\x03\x04\x14\x00", "model.zip", "is a zip archive; expected"),
    (LINES.encode("utf-16"), "vocab.txt", "is UTF-16 text; save it as UTF-8"),
    (LINES.encode("utf-16-le"), "vocab.txt", "is UTF-16 text; save"),
    (LINES.encode("utf-16-be"), "vocab.txt", "is UTF-16 text; save"),
    (b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\n\x0b", "spm.model",
     "is a SentencePiece model; expected"),
    ("<unk>\t0\n<s>\t0\n\u2581tea\t-3.25\ns\t-4\n", "spm.vocab",
     "is from SentencePiece: 's\\t-4' is a piece and its score; expected"),
    ("[UNK]\n[CLS]\n\u2581tea\n\u2581\n", "vocab.txt",
     "is from SentencePiece: in '\u2581tea', \u2581 stands for a space; "
     "expected"),
    (json.dumps({"model": {"vocab": {"tea": 1}}}, indent=2), "tokenizer.json",
     "is JSON, like a tokenizer.json or a config; expected"),
    (b"\x80\x02}\x00", "vocab.bin", "is not text; expected"),
    ("", "vocab.txt", "is empty"), ("\n \n\r\n", "vocab.txt", "is empty"),
])
def test_files_of_other_kinds_are_named(tmp_path, content, name, complaint):
  path = write(tmp_path, content, name)
  with pytest.raises(ValueError) as error:
    vocab_files.read_tokens(path)
  assert str(error.value).startswith(
      "the vocabulary file %s %s" % (path, complaint))
  assert "\n" not in str(error.value)


def test_entries_that_look_like_other_kinds_are_entries(tmp_path):
  tokens = ['{"a":' * 5000, "{", "}", "\u2581tea", "a\t1"] + [
      "t%d" % i for i in range(300)]
  path = write(tmp_path, "\n".join(tokens))
  assert vocab_files.read_tokens(path) == tokens
