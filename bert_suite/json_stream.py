"""Reads a JSON file that is too large for memory, one element at a time."""

import codecs
import json
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import gzip_files, tokenization

_BLOCK_BYTES = 2 ** 20
_MOST_CHARS = 2 ** 26  # of a value
_SPACE = re.compile(r"[ \t\n\r]*")
_AFTER_VALUE = frozenset(" \t\n\r,:]}")


def iterate_list(path, name, others=None):
  """Iterates over a list that the object in a JSON file has under a name.

  Args:
    path: str. UTF-8, plain or gzip.
    name: str.
    others: dict from a name that other kinds of files have to what such a file
      is, for the message.

  Yields:
    The list's elements, of any type. What follows the list is not read.

  Raises:
    ValueError: it cannot be read, is not such a JSON file or is damaged, or an
      element alone has more than 64 million characters.
  """
  try:
    with tf.gfile.GFile(path, "rb") as file:
      yield from _Window(gzip_files.unpacked(file, path), path).iterate(
          name, others or {})
  except tf.errors.OpError as error:
    raise ValueError("%s: cannot be read (%s)" % (
        path, error.message)) from None


class _Window:
  """A window of text that moves over a file, and the JSON that is in it."""

  def __init__(self, reader, path):
    self._reader, self._path = reader, path
    self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
    self._text, self._at, self._before = "", 0, 0
    self._is_at_end = False

  def iterate(self, name, others):
    """Yields the elements; see `iterate_list`."""
    expected = "an object with a list \"%s\"" % name
    self._take("{", expected)
    found = []
    while True:
      if self._peek() != "\"":
        raise self._error("found %s, expected %s" % (self._next(), expected))
      key = self._value()
      self._take(":", expected)
      if key == name:
        break
      if key in others:
        raise ValueError("%s: %s" % (self._path, others[key]))
      found.append(key)
      self._value()
      if self._peek() == "}":
        raise ValueError("%s: found an object with %s, expected %s" % (
            self._path, ", ".join(map(tokenization.shorten, found)), expected))
      self._take(",", expected)
    self._take("[", expected)
    while self._peek() != "]":
      yield self._value()
      if self._peek() != "]":
        self._take(",", "a comma, or the end of the list")

  def _take(self, char, expected):
    """Moves past a character that must be next."""
    if self._peek() != char:
      raise self._error("found %s, expected %s" % (self._next(), expected))
    self._at += 1

  def _next(self):
    """Returns what follows, for a message."""
    return repr(self._text[self._at:self._at + 20]) if self._peek() else (
        "the end")

  def _peek(self):
    """Skips white space; returns the character there, "" at the end."""
    while True:
      self._at = _SPACE.match(self._text, self._at).end()
      if self._at < len(self._text) or self._is_at_end:
        return self._text[self._at:self._at + 1]
      self._read()

  def _value(self):
    """Returns the JSON value at this place and moves past it."""
    self._peek()
    while True:
      try:
        value, end = json.JSONDecoder().raw_decode(self._text, self._at)
        # A number such as "1." may go on.
        if self._is_at_end or self._text[end:end + 1] in _AFTER_VALUE:
          self._at = end
          return value
      except RecursionError:
        raise self._error("is nested too deeply") from None
      except ValueError as error:
        if self._is_at_end:
          raise self._error("is not JSON, or was cut off (%s)" % (
              getattr(error, "msg", error))) from None
      if len(self._text) - self._at > _MOST_CHARS:
        raise self._error("found no end of a value in %d characters; is it "
                          "the right file?" % _MOST_CHARS)
      self._read()

  def _read(self):
    """Reads a block, or as much as the window holds if that is more."""
    data = self._reader.read(max(_BLOCK_BYTES, len(self._text) - self._at))
    try:
      more = self._decoder.decode(data, not data)
    except UnicodeDecodeError:
      raise self._error("is not UTF-8; save the file as UTF-8") from None
    self._is_at_end = not data
    self._before += self._at
    self._text, self._at = self._text[self._at:] + more, 0

  def _error(self, text):
    return ValueError("%s: near character %d: %s" % (
        self._path, self._before + self._at + 1, text))
