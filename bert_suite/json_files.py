"""Reads small files whole, and JSON files from untrusted sources."""

import json

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import gzip_files

_MOST_BYTES = 2 ** 26
_DEEPEST = 64


def read_small(path):
  """Returns what a file holds, bytes.

  Raises:
    ValueError: it is far larger than any vocabulary or config.
    tf.errors.OpError: it cannot be read.
  """
  with tf.gfile.GFile(path, "rb") as reader:
    excess = gzip_files.find_excess(reader, _MOST_BYTES)
    if excess:
      raise ValueError(excess)
    return reader.read()


def read(path):
  """Returns the value in a JSON file that is not too large for `read_small`.

  Raises:
    ValueError: it is not JSON; or nested so deeply that handling it may fail.
    tf.errors.OpError: it cannot be read.
  """
  def check(value, left):
    if not left:
      raise RecursionError()
    for inner in (value.values() if isinstance(value, dict) else
                  value if isinstance(value, list) else ()):
      check(inner, left - 1)

  text = read_small(path).decode("utf-8-sig")
  try:
    value = json.loads(text)
    check(value, _DEEPEST)
  except RecursionError:
    raise ValueError("it is nested more than %d deep" % _DEEPEST) from None
  return value
