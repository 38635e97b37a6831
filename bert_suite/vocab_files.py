"""Vocabulary files: reading their entries, refusing files of other kinds."""

import json
import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import json_files

_EXPECTED = ("; expected a vocabulary of BERT, UTF-8 text with one entry per "
             "line, often called vocab.txt")
# Beginnings of files that are not text. A SentencePiece model begins with its
# first piece, such as <unk>, as protocol buffers write it.
_BINARY = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it and pass the text file"),
    (b"PK\x03\x04", "is a zip archive" + _EXPECTED),
    (b"\xff\xfe|\xfe\xff|[^\x00]?\x00", "is UTF-16 text; save it as UTF-8"),
    (b"\n[\x00-\x7f]\n[\x00-\x7f]<", "is a SentencePiece model" + _EXPECTED),
    (b"[^\n]*\x00", "is not text" + _EXPECTED))
_SPACE = "\u2581"  # what SentencePiece writes for a space
_PIECE_AND_SCORE = re.compile(r"\S+\t-?\d+(\.\d+)?(e-?\d+)?$")


def read_tokens(vocab_file, kind="vocabulary"):
  """Reads the entries of a vocabulary, one per line.

  White space around an entry, a byte order mark and blank lines at the end are
  left out; a blank line elsewhere is the entry "", so that later entries keep
  their ids.

  Args:
    vocab_file: str, path of a UTF-8 text file, local or remote.
    kind: str. What the file is called in messages.

  Returns:
    list of str; the id of an entry is its index.

  Raises:
    ValueError: the file cannot be read, is empty, or is of another kind.
  """
  path = os.fsdecode(vocab_file) if vocab_file else ""
  try:
    data = json_files.read_small(path)
  except tf.errors.OpError as error:
    raise ValueError("cannot read the %s file %r: %s" % (
        kind, path, error.message.replace(path + "; ", ""))) from None
  except ValueError as error:
    raise ValueError("the %s file %s %s" % (kind, path, error)) from None
  for beginning, found in _BINARY:
    if re.match(beginning, data, re.DOTALL):
      raise ValueError("the %s file %s %s" % (kind, path, found))
  try:
    # Other line ends are ordinary characters.
    tokens = [line.strip() for line in data.decode("utf-8-sig").split("\n")]
  except UnicodeDecodeError as error:
    raise ValueError(
        "%s, line %d: found bytes %r, expected UTF-8 text; is this the %s "
        "file, and was it saved as UTF-8?" %
        (path, error.object.count(b"\n", 0, error.start) + 1,
         error.object[error.start:error.end], kind)) from None
  while tokens and not tokens[-1]:
    tokens.pop()
  if not tokens:
    raise ValueError("the %s file %s is empty" % (kind, path))
  found = _other_kind(tokens)
  if found:
    raise ValueError("the %s file %s %s%s" % (kind, path, found, _EXPECTED))
  return tokens


def _other_kind(tokens):
  """Returns what a text is instead of a BERT vocabulary, or None."""
  if tokens[0].startswith("{"):
    try:
      json.loads("\n".join(tokens))
      return "is JSON, like a tokenizer.json or a config"
    except (ValueError, RecursionError):
      pass
  scored = sum(1 for token in tokens if _PIECE_AND_SCORE.match(token))
  if scored > len(tokens) / 2:
    return "is from SentencePiece: %r is a piece and its score" % tokens[-1]
  marked = [token for token in tokens
            if token.startswith(_SPACE) and token != _SPACE]
  if len(marked) > len(tokens) / 100:
    return "is from SentencePiece: in %r, %s stands for a space" % (
        marked[0], _SPACE)
  return None
