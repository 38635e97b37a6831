"""Writes examples fast, and can keep many of them on disk until then.

`Serializer` makes the bytes of a padded pre-training record, `serialize_ints`
those of a record of any whole numbers, `RecordWriter` writes them to files in
turn, `Spill` holds them until their order is known.
"""

import array
import contextlib
import functools
import os
import struct
import tempfile

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import files, model_inputs


def encode_varint(number):
  """Returns the bytes of an int, 0 or more, as a protocol buffer's varint."""
  encoded = bytearray()
  while number >= 128:
    encoded.append(number % 128 + 128)
    number //= 128
  encoded.append(number)
  return bytes(encoded)


class _Varints(dict):
  """From a number to the bytes of its varint, filled on demand."""

  def __init__(self, modulus=None):
    """With a modulus, a number is reduced by it first."""
    super().__init__()
    self._modulus = modulus

  def __missing__(self, number):
    value = encode_varint(number % self._modulus if self._modulus else number)
    if number < _LARGEST_KEPT:  # ids of examples do not recur
      self[number] = value
    return value


_LARGEST_KEPT = 2 ** 24
_NUMBERS = _Varints()
_FLOAT_LIST, _INT64_LIST = 2, 3  # fields of tf.train.Feature


@functools.lru_cache(maxsize=None)
def _feature_header(name, kind, num_bytes):
  """Returns what precedes the bytes of a feature's values in an Example."""
  def field(number, length):
    return _NUMBERS[number * 8 + 2] + _NUMBERS[length]

  # From the inside out; each length counts everything inside.
  header = field(1, num_bytes)  # FloatList.value or Int64List.value, packed
  header = field(kind, len(header) + num_bytes) + header
  header = field(2, len(header) + num_bytes) + header  # the map's value
  key = name.encode("ascii")
  header = field(1, len(key)) + key + header  # the map's key
  return field(1, len(header) + num_bytes) + header  # Features.feature


def serialize_ints(features):
  """Returns the bytes of a tf.train.Example.

  Args:
    features: dict from name, str of ASCII, to list of int, 0 or more.
  """
  content = b""
  for name, numbers in features.items():
    values = b"".join(map(_NUMBERS.__getitem__, numbers))
    content += _feature_header(name, _INT64_LIST, len(values)) + values
  return _NUMBERS[1 * 8 + 2] + _NUMBERS[len(content)] + content


class Serializer:
  """Pads records and makes tf.train.Examples of them, as bytes.

  Writing the bytes directly takes a fraction of the time that protocol buffers
  take in Python.
  """

  def __init__(self, max_seq_length, max_predictions_per_seq, vocab_range=None):
    """Sets the lengths to pad to.

    Args:
      max_seq_length: int.
      max_predictions_per_seq: int.
      vocab_range: int. If given, ids are written modulo this number, see
        `corpus.read_text`.
    """
    self._max_seq_length = max_seq_length
    self._max_predictions = max_predictions_per_seq
    self._ids = _Varints(vocab_range)

  def __call__(self, instance):
    """Returns the bytes of a TrainingInstance whose tokens are ids.

    Raises:
      ValueError: it is longer than the length to pad to.
    """
    num_tokens = len(instance.tokens)
    padding = b"\0" * (self._max_seq_length - num_tokens)
    num_masked = len(instance.masked_lm_positions)
    masked_padding = b"\0" * (self._max_predictions - num_masked)
    if num_tokens > self._max_seq_length or num_masked > self._max_predictions:
      raise ValueError(
          "found an instance of %d tokens, %d of them masked, expected at most "
          "max_seq_length=%d and max_predictions_per_seq=%d" % (
              num_tokens, num_masked, self._max_seq_length,
              self._max_predictions))
    ids, numbers = self._ids.__getitem__, _NUMBERS.__getitem__
    features = b""
    for name, kind, values in (
        ("input_ids", _INT64_LIST,
         b"".join(map(ids, instance.tokens)) + padding),
        ("input_mask", _INT64_LIST, b"\1" * num_tokens + padding),
        ("segment_ids", _INT64_LIST,
         b"".join(map(numbers, instance.segment_ids)) + padding),
        ("masked_lm_positions", _INT64_LIST,
         b"".join(map(numbers, instance.masked_lm_positions)) + masked_padding),
        ("masked_lm_ids", _INT64_LIST,
         b"".join(map(ids, instance.masked_lm_labels)) + masked_padding),
        ("masked_lm_weights", _FLOAT_LIST,
         struct.pack("<f", 1.0) * num_masked + masked_padding * 4),
        ("next_sentence_labels", _INT64_LIST,
         numbers(int(instance.is_random_next)))):
      features += _feature_header(name, kind, len(values)) + values
    return _NUMBERS[1 * 8 + 2] + _NUMBERS[len(features)] + features


class RecordWriter:
  """Writes records to files in turn, whole files or none; logs the first.

  Use it in a `with` statement.

  Attributes:
    count: int. Records written so far.
  """

  def __init__(self, paths, tokens, num_logged=0):
    """Sets what to write.

    Args:
      paths: list of str. The files.
      tokens: dict from id to token, for the log.
      num_logged: int. Records to log, those after the first as DEBUG.
    """
    self._paths = paths
    self._tokens = tokens
    self._num_logged = num_logged
    self.count = 0

  def __enter__(self):
    files.check_outputs([], [("output_files", path) for path in self._paths])
    with contextlib.ExitStack() as stack:
      self._writers = []
      for path in self._paths:
        if os.path.dirname(path):
          tf.gfile.MakeDirs(os.path.dirname(path))
        temporary = stack.enter_context(files.atomic_path(path))
        self._writers.append(
            stack.enter_context(tf.python_io.TFRecordWriter(temporary)))
      self._stack = stack.pop_all()
    return self

  def __exit__(self, *exception):
    return self._stack.__exit__(*exception)

  def write(self, record):
    """Writes one record, bytes."""
    self._writers[self.count % len(self._writers)].write(record)
    if self.count < self._num_logged:
      self._log(tf.train.Example.FromString(record).features.feature)
    self.count += 1

  def _log(self, features):
    values = {name: list(feature.int64_list.value or feature.float_list.value)
              for name, feature in sorted(features.items())}
    level = model_inputs.level_of_example(self.count)
    tf.logging.log(level, "*** Example ***")
    tf.logging.log(level, "tokens: %s", " ".join(
        self._tokens[index] for index, is_real in zip(
            values["input_ids"], values["input_mask"]) if is_real))
    for name, numbers in values.items():
      tf.logging.log(
          level if name == "next_sentence_labels" else tf.logging.DEBUG,
          "%s: %s", name, " ".join(map(str, numbers)))


class Spill(contextlib.AbstractContextManager):
  """Records in an unnamed file, in any order, at 8 bytes of memory each.

  Use it in a `with` statement.

  Attributes:
    offsets: array of the records' offsets in the file, in reading order.
  """

  def __init__(self, path):
    """Makes the file beside `path`, or in a temporary folder if that is remote.
    """
    folder = None if "://" in path else os.path.dirname(path) or "."
    self._file = tempfile.TemporaryFile(dir=folder)
    self._size = 0
    self._longest = 0
    self.offsets = array.array("Q")

  def __exit__(self, *unused_exception):
    self._file.close()

  def append(self, record):
    """Adds a record, bytes."""
    data = struct.pack("<I", len(record)) + record
    self._file.write(data)
    self.offsets.append(self._size)
    self._size += len(data)
    self._longest = max(self._longest, len(data))

  def __iter__(self):
    self._file.flush()
    for offset in self.offsets:
      self._file.raw.seek(offset)
      data = self._file.raw.read(self._longest)
      yield data[4:4 + struct.unpack_from("<I", data)[0]]
