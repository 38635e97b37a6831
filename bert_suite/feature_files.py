"""Files of feature vectors: JSON lines, NumPy archives, TFRecords.

Writers take one line's vectors at a time and keep none of them. `-` stands for
the standard output.
"""

import collections
import contextlib
import json
import os
import re
import shutil
import sys
import tempfile
import zipfile

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import checksums, example_writer, files, input_pipeline

STANDARD_OUTPUT = "-"


class LineFeatures(collections.namedtuple(
    "LineFeatures", ["index", "tokens", "values"])):
  """The vectors of one line of text.

  Attributes:
    index: int. The line's number, from 0.
    tokens: list of str, its T word pieces with [CLS] and [SEP].
    values: float32 [T, L, W], a vector for each token and layer; or [W], one
      vector for the line.
  """


# Numbers in JSON.

# A float32 times 10**6 needs 24 + 14 bits and so is exact in a float64; its
# nearest whole number, ties to even, is what round(x, 6) finds the long way.
# What remains is printing whole numbers, by looking up their parts.
_SCALE = 10**6
_MAX_WHOLE = 1000  # larger numbers are printed one by one
# Below 0.0001 Python prints exponents.
_NUM_TINY = 100
_PART = "S8"  # a number is printed as two parts of 8 bytes, padded with \0
# Numbers that are printed at once. Their temporary arrays stay in the cache.
_CHUNK = 1 << 14


class JsonNumbers:
  """Prints arrays of float32 as `json.dumps` of `round(float(x), 6)` does."""

  def __init__(self):
    wholes = [b"%d." % i for i in range(_MAX_WHOLE)]
    # With their signs; then signs alone, for tails that are complete numbers.
    heads = wholes + [b"-" + whole for whole in wholes] + [b"", b"-"]
    self._next_heads = self._as_words([b", " + head for head in heads])
    self._first_heads = self._as_words([b"\n" + head for head in heads])
    tiny = [repr(i / _SCALE).encode("ascii") for i in range(_NUM_TINY)]
    self._tails = np.concatenate([self._decimals(), self._as_words(tiny)])

  @staticmethod
  def _as_words(texts):
    return np.array(texts, _PART).view(np.uint64)

  def _decimals(self):
    """Returns 000000 to 999999 without trailing zeros, but 0 for 000000."""
    thousand = [b"%03d" % i for i in range(1000)]
    stripped = [digits.rstrip(b"0") for digits in thousand]
    # They are in different bytes of a word, so that `|` joins them.
    words = self._as_words(thousand)[:, np.newaxis] | self._as_words(
        [b"\0\0\0" + digits for digits in stripped])
    words[:, 0] = self._as_words(stripped)
    words[0, 0] = self._as_words([b"0"])[0]
    return words.reshape([_SCALE])

  def print_rows(self, matrix):
    """Prints the rows of a matrix.

    Args:
      matrix: float32 [rows, W].

    Returns:
      list of bytes, one for each row: its numbers with `, ` between them.
    """
    rows_at_once = max(1, _CHUNK // max(1, matrix.shape[1]))
    rows = []
    for start in range(0, len(matrix), rows_at_once):
      rows += self._print_chunk(matrix[start:start + rows_at_once])
    return rows

  def _print_chunk(self, matrix):
    with np.errstate(invalid="ignore"):
      scaled = np.rint(matrix.astype(np.float64) * _SCALE)
    if not np.all(np.abs(scaled) < _MAX_WHOLE * _SCALE):  # false for NaN too
      return [", ".join(json.dumps(round(float(x), 6)) for x in row).encode(
          "ascii") for row in matrix]
    is_negative = np.signbit(scaled)
    units = np.abs(scaled).astype(np.uint32)
    heads = units // _SCALE
    tails = units - heads * _SCALE
    is_tiny = units < _NUM_TINY
    heads += np.where(is_negative, np.uint32(_MAX_WHOLE), np.uint32(0))
    if np.any(is_tiny):
      is_tiny &= units != 0
      heads[is_tiny] = 2 * _MAX_WHOLE + is_negative[is_tiny]
      tails[is_tiny] += _SCALE
    words = np.empty(units.shape + (2,), np.uint64)
    words[:, 1:, 0] = self._next_heads[heads[:, 1:]]
    words[:, :1, 0] = self._first_heads[heads[:, :1]]
    words[:, :, 1] = self._tails[tails]
    return words.tobytes().translate(None, b"\0").split(b"\n")[1:]


# Files.


def check_paths(input_file, output_file):
  """Raises ValueError if the input is missing or the output cannot be made.

  Args:
    input_file: str, or `-` for the standard input; None for no input.
    output_file: str, or `-` for the standard output.
  """
  if input_file not in (None, "-") and (
      not tf.gfile.Exists(input_file) or tf.gfile.IsDirectory(input_file)):
    raise ValueError("%s: there is no such file; give the text to read, or - "
                     "for standard input" % input_file)
  if _find_target(output_file) is not None:
    files.check_writable(output_file, "--output_file")


@contextlib.contextmanager
def open_output(path):
  """Opens a file to write bytes to; it gets its name when it is complete.

  Anything but a regular file, such as a pipe or a device, is written directly.

  Args:
    path: str, or `-` for the standard output.

  Yields:
    A file object.
  """
  target = _find_target(path)
  if target is None:
    descriptor = _find_descriptor(path)
    # A copy, so that closing it does not close the process's own.
    with open(path if descriptor is None else os.dup(descriptor),
              "wb") as writer:
      yield writer
    return
  with files.atomic_path(target) as temporary:
    with tf.gfile.GFile(temporary, "wb") as writer:
      writer.write(b"")  # makes the file, should nothing else follow
      yield writer


def _find_descriptor(path):
  """Returns the descriptor, int, of an open file that a path names, or None."""
  if path == STANDARD_OUTPUT:
    return sys.stdout.fileno()
  if path in ("/dev/stdout", "/dev/stderr"):
    return 1 if path == "/dev/stdout" else 2
  match = re.match(r"/(?:dev|proc/self)/fd/(\d+)$", path)
  return int(match.group(1)) if match else None


def _find_target(path):
  """Returns what `files.find_target` does; None also for an open file.

  Args:
    path: str, or `-` for the standard output.
  """
  is_open = _find_descriptor(path) is not None
  return None if is_open else files.find_target(path)


@contextlib.contextmanager
def json_writer(path, layers, is_pooled=False, width=None):
  """Makes a function that writes a LineFeatures as one line of JSON.

  ```
  {"linex_index": 0, "features": [{"token": "[CLS]", "layers":
      [{"index": -1, "values": [0.1, ...]}, ...]}, ...]}
  {"linex_index": 0, "values": [0.1, ...]}     # one vector for the line
  ```

  Args:
    path: str.
    layers: list of int. Numbers of the layers, L.
    is_pooled: bool. Not used, nor is the next: each line shows it.
    width: int.

  Yields:
    The function.
  """
  numbers = JsonNumbers()
  before_values = [b"{\"index\": %d, \"values\": [" % layer for layer in layers]

  def print_token(token, rows):
    values = b"]}, ".join(
        [before + row for before, row in zip(before_values, rows)])
    return b"".join([b"{\"token\": ", json.dumps(token).encode("ascii"),
                     b", \"layers\": [", values, b"]}]}"])

  with open_output(path) as writer:
    def write(line):
      values = line.values
      rows = numbers.print_rows(values.reshape([-1, values.shape[-1]]))
      if values.ndim == 1:
        writer.write(b"{\"linex_index\": %d, \"values\": [%s]}\n" % (
            line.index, rows[0]))
        return
      writer.write(b"{\"linex_index\": %d, \"features\": [%s]}\n" % (
          line.index, b", ".join(
              print_token(token, rows[i * len(layers):(i + 1) * len(layers)])
              for i, token in enumerate(line.tokens))))

    yield write


@contextlib.contextmanager
def npz_writer(path, layers, is_pooled=False, width=None):
  """Makes a function that adds a LineFeatures to a NumPy archive.

  The archive, for `numpy.load`, holds `layers`, int32 [L], and

  * `values`, float32 [N, W], one vector for each of N lines; or
  * `values`, float32 [tokens of all lines, L, W], `tokens`, str [tokens], and
    `line_starts`, int64 [N + 1]: line i has those from line_starts[i] to
    line_starts[i + 1] - 1.

  The archive begins with the sizes of arrays, which are known only at the end,
  so the arrays are first written to unnamed files beside it.

  Args:
    path: str.
    layers: list of int. Numbers of the layers, L.
    is_pooled: bool. Lines have one vector each.
    width: int. W, of a layer; without it, `values` of no lines have shape [0].

  Yields:
    The function.
  """
  target = _find_target(path)
  folder = os.path.dirname(os.path.abspath(target)) if target else None
  if target and not os.path.isdir(folder):
    folder = None
  with open_output(path) as writer, contextlib.ExitStack() as stack:
    shape = () if width is None else (
        (len(layers) * width,) if is_pooled else (len(layers), width))

    def make_spool(dtype, shape=()):
      spool = stack.enter_context(tempfile.TemporaryFile(dir=folder))
      return _Spool(spool, dtype, shape)

    values, starts, tokens = (
        make_spool("float32", shape), make_spool("int64"), make_spool(None))
    starts.append(np.array([0]))

    def write(line):
      if line.values.ndim == 1:
        values.append(line.values[np.newaxis])
        return
      values.append(line.values)
      starts.append(np.array([values.count]))
      tokens.append_texts(line.tokens)

    yield write
    with zipfile.ZipFile(_WriteOnly(writer), "w") as archive:
      values.copy_to(archive, "values")
      if not is_pooled:
        starts.copy_to(archive, "line_starts")
        tokens.copy_to(archive, "tokens")
      with archive.open("layers.npy", "w") as entry:
        np.lib.format.write_array(entry, np.array(layers, np.int32))


class _WriteOnly:
  """A file that zipfile does not seek in, as a GFile for writing cannot."""

  def __init__(self, writer):
    self._writer = writer
    self.flush = writer.flush

  def write(self, data):
    self._writer.write(data)
    return len(data)


class _Spool:
  """An array that grows along its first axis, in a file."""

  def __init__(self, spool, dtype, shape):
    """Makes an empty array.

    Args:
      spool: a file to keep it in.
      dtype: str; None for texts.
      shape: tuple of int. Shape of an item, for when nothing is appended.
    """
    self._spool = spool
    self._dtype, self._shape = dtype, shape
    self._longest_text = 1
    self.count = 0

  def append(self, array):
    self._shape = array.shape[1:]
    self._spool.write(np.ascontiguousarray(array, self._dtype).tobytes())
    self.count += len(array)

  def append_texts(self, texts):
    """Appends a list of str, which have no line breaks."""
    self._longest_text = max([self._longest_text] + [len(t) for t in texts])
    self._spool.write("".join(t + "\n" for t in texts).encode("utf-8"))
    self.count += len(texts)

  def copy_to(self, archive, name):
    """Writes the array as an entry of a zip file."""
    self._spool.flush()
    self._spool.seek(0)
    dtype = np.dtype(self._dtype or "U%d" % self._longest_text)
    # Files of 4 GB and more need larger headers from the start.
    with archive.open(name + ".npy", "w", force_zip64=True) as entry:
      np.lib.format.write_array_header_1_0(entry, {
          "descr": np.lib.format.dtype_to_descr(dtype),
          "fortran_order": False, "shape": (self.count,) + self._shape})
      if self._dtype is not None:
        shutil.copyfileobj(self._spool, entry, 1 << 20)
        return
      for text in self._spool:
        entry.write(np.array([text.decode("utf-8")[:-1]], dtype).tobytes())


@contextlib.contextmanager
def record_writer(path, layers, is_pooled=False, width=None):
  """Makes a function that writes a LineFeatures as a `tf.train.Example`.

  Its features: `linex_index`, int64 [1]; `layers`, int64 [L]; `tokens`, bytes
  [T]; `values`, float32, flat; `shape`, int64, the shape of `values`.

  Args:
    path: str.
    layers: list of int. Numbers of the layers, L.
    is_pooled: bool. Not used, nor is the next: each line shows it.
    width: int.

  Yields:
    The function.
  """
  def write(line):
    example = input_pipeline.make_example({
        "linex_index": [line.index], "layers": layers,
        "shape": line.values.shape})
    features = example.features.feature
    features["tokens"].bytes_list.value.extend(
        token.encode("utf-8") for token in line.tokens)
    features["values"].float_list.CopyFrom(_float_list(line.values))
    write_record(example.SerializeToString(deterministic=True))

  target = _find_target(path)
  if target is None:
    # TensorFlow would open it by its name, and truncate what is there.
    with open_output(path) as stream:
      def write_record(data):
        stream.write(checksums.frame(data))

      yield write
    return
  with files.atomic_path(target) as temporary:
    with tf.python_io.TFRecordWriter(temporary) as writer:
      write_record = writer.write
      yield write


def _float_list(array):
  """Makes a FloatList of an array's values, without a Python float for each."""
  data = np.ascontiguousarray(array, "<f4").tobytes()
  # Field 1, packed: its size and its bytes follow.
  return tf.train.FloatList.FromString(
      b"\x0a" + example_writer.encode_varint(len(data)) + data)


WRITERS = {"jsonl": json_writer, "npz": npz_writer, "tfrecord": record_writer}
