"""Files with a text per line, or a pair, written `text a ||| text b`."""

import os
import sys

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import gzip_files, model_inputs


class InputExample:
  """One line: a text, or a pair of texts."""

  def __init__(self, unique_id, text_a, text_b):
    """Makes an example.

    Args:
      unique_id: int. The line's number, from 0.
      text_a: str. The (first) text, not tokenized.
      text_b: str. The second text of a pair, or None.
    """
    self.unique_id = unique_id
    self.text_a = text_a
    self.text_b = text_b


def stream_examples(input_file):
  """Reads a file line by line.

  Args:
    input_file: str, or `-` for the standard input.

  Yields:
    InputExample, for empty lines too.

  Raises:
    ValueError: a line is not UTF-8, or a gzip file is damaged.
  """
  if input_file == "-":
    # A copy: a thread that waits for a line must not hold sys.stdin.
    with os.fdopen(os.dup(sys.stdin.fileno()), "rb") as reader:
      yield from _parse_lines(reader, "standard input")
    return
  # TensorFlow asks for a file's size, and a pipe has none.
  is_pipe = os.path.exists(input_file) and not os.path.isfile(input_file)
  make_reader = open if is_pipe else tf.gfile.GFile
  with make_reader(input_file, "rb") as reader:
    yield from _parse_lines(reader, input_file)


def _parse_lines(reader, name):
  for index, line in enumerate(gzip_files.unpacked(reader, name)):
    try:
      text = line.decode("utf-8-sig" if index == 0 else "utf-8").strip()
    except UnicodeDecodeError as error:
      raise ValueError("%s, line %d: byte %d is not UTF-8; save the file as "
                       "UTF-8" % (name, index + 1, error.start + 1)) from None
    text_a, separator, text_b = text.rpartition(" ||| ")
    yield InputExample(index, *(
        (text_a, text_b) if separator else (text, None)))


def check_pairs(examples, type_vocab_size):
  """Yields examples; raises ValueError at a pair that a model cannot read.

  Args:
    examples: iterable of InputExample.
    type_vocab_size: int. Segments that the model knows.
  """
  for example in examples:
    if example.text_b:
      model_inputs.check_pair(
          "line %d" % (example.unique_id + 1), type_vocab_size)
    yield example
