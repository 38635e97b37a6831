"""Reads a JSON file that is too large for memory, an element at a time."""

import codecs
import json
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import gzip_files

_BLOCK_BYTES = 2 ** 20
_MOST_CHARS = 2 ** 26  # of an element
_SPACE = re.compile(r"[ \t\n\r]*")


def iterate_list(path, name):
  """Goes through a list that the object of a JSON file has under a name.

  Args:
    path: str. UTF-8, plain or gzip.
    name: str.

  Yields:
    The list's elements, whatever they are.

  Raises:
    ValueError: it cannot be read, is not such a JSON file or is damaged, or an
      element alone has more than 64 million characters.
  """
  try:
    with tf.gfile.GFile(path, "rb") as file:
      yield from _Reader(gzip_files.unpacked(file, path), path).iterate(name)
  except tf.errors.OpError as error:
    raise ValueError("%s: cannot be read (%s)" % (path, error.message)) from None


class _Reader:
  """A window of text that moves over a file, and what JSON is in it."""

  def __init__(self, reader, path):
    self._reader, self._path = reader, path
    self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
    self._text, self._at, self._before = "", 0, 0
    self._is_at_end = False

  def iterate(self, name):
    """Yields the elements; see `iterate_list`."""
    self._take("{", "an object with a list \"%s\"" % name)
    if not self._find_key(name):
      raise self._error("found no \"%s\", expected an object with a list of "
                        "that name; is it the right file?" % name)
    self._take("[", "the list \"%s\"" % name)
    is_first = True
    while not self._skip("]"):
      if not is_first:
        self._take(",", "a comma")
      is_first = False
      yield self._value()
    while self._skip(","):  # what follows is read to its end, or it was cut off
      self._member()
    self._take("}", "the end of the object")
    if self._peek():
      raise self._error("found more after the object, expected its end")

  def _find_key(self, name):
    """Moves behind the key of this name; returns whether there is one."""
    while True:
      key = self._value()
      self._take(":", "a colon")
      if key == name:
        return True
      self._value()
      if not self._skip(","):
        return False

  def _member(self):
    self._value()
    self._take(":", "a colon")
    self._value()

  def _value(self):
    """Returns the JSON value at this place and moves behind it."""
    self._peek()
    while True:
      try:
        value, end = json.JSONDecoder().raw_decode(self._text, self._at)
        # A number at the end of the window may go on.
        if end < len(self._text) or self._is_at_end:
          self._at = end
          return value
      except RecursionError:
        raise self._error("is nested too deeply") from None
      except ValueError as error:
        if self._is_at_end:
          raise self._error("is not JSON or was cut off (%s)" % (
              getattr(error, "msg", error))) from None
      if len(self._text) - self._at > _MOST_CHARS:
        raise self._error("found no end of a value in %d characters; is it "
                          "JSON?" % _MOST_CHARS)
      self._read()

  def _skip(self, char):
    """Moves behind a character; returns whether it is at this place."""
    if self._peek() != char:
      return False
    self._at += 1
    return True

  def _take(self, char, expected):
    if not self._skip(char):
      raise self._error("found %s, expected %s" % (
          repr(self._text[self._at:self._at + 20]) if self._peek() else
          "the end", expected))

  def _peek(self):
    """Skips white space; returns the character there, "" at the end."""
    while True:
      self._at = _SPACE.match(self._text, self._at).end()
      if self._at < len(self._text) or self._is_at_end:
        return self._text[self._at:self._at + 1]
      self._read()

  def _read(self):
    """Reads a block, or as much as there is in the window, if that is more."""
    data = self._reader.read(max(
        _BLOCK_BYTES, len(self._text) - self._at))
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
