"""Weights files in the safetensors format, read and written with NumPy.

Format: 8 bytes, the length of the header as a little-endian number; the header,
JSON from the name of each tensor to its dtype, shape and place; the data. See
https://github.com/huggingface/safetensors.
"""

import collections
import json
import os
import struct

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from .. import files, json_files

FILE_NAME = "model.safetensors"

_MOST_HEADER = 10 ** 8  # bytes, the format's limit
_METADATA = "__metadata__"
# Bytes per number of each type; weights are read from the first three.
_SIZES = {"F32": 4, "F16": 2, "BF16": 2, "F64": 8, "I64": 8, "I32": 4, "I16": 2,
          "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
          "F8_E4M3": 1, "F8_E5M2": 1}


class Tensor(collections.namedtuple("Tensor", "source dtype shape read")):
  """A tensor in a file.

  Attributes:
    source: str. The file.
    dtype: str, as in the format: "F32", for example.
    shape: list of int.
    read: function without arguments that returns it as a float32 array.
  """


def read(path):
  """Reads the header of a file.

  Args:
    path: str.

  Returns:
    dict from name to Tensor.

  Raises:
    ValueError: it is not such a file, or is incomplete.
  """
  try:
    size = tf.gfile.Stat(path).length
    with tf.gfile.GFile(path, "rb") as reader:
      start = reader.read(8)
      length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
      if not 2 <= length <= min(_MOST_HEADER, size - 8):
        raise ValueError(
            "found %d bytes that begin with the length %d of a header" % (
                size, length))
      header = json.loads(reader.read(length).decode("utf-8"),
                          object_pairs_hook=_without_repetitions)
    return _check_header(path, header, 8 + length, size)
  except (ValueError, RecursionError, tf.errors.OpError) as error:
    raise ValueError(
        "%s: cannot be read as safetensors (%s); copy it again" % (
            path, getattr(error, "message", error))) from None


def _without_repetitions(pairs):
  """Returns the dict of a JSON object; raises ValueError for repeated names."""
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError("%s is there twice" % next(
        name for name in names if names.count(name) > 1))
  return found


def _check_header(path, header, start, size):
  """Returns a dict from name to Tensor; raises ValueError if it is not valid.

  Args:
    path: str.
    header: the content of the JSON.
    start: int. Where the data begin.
    size: int. Bytes of the file.
  """
  if not isinstance(header, dict):
    raise ValueError("the header is not a JSON object")
  tensors, places = {}, []
  for name, entry in header.items():
    if name == _METADATA:
      continue
    if not isinstance(entry, dict) or set(entry) != {
        "dtype", "shape", "data_offsets"}:
      raise ValueError("%s: expected dtype, shape and data_offsets" % name)
    dtype, shape, offsets = (
        entry["dtype"], entry["shape"], entry["data_offsets"])
    if not isinstance(dtype, str) or dtype not in _SIZES:
      raise ValueError("%s: dtype %.20r is not known" % (name, dtype))
    if not _are_counts(shape) or not _are_counts(offsets) or len(offsets) != 2:
      raise ValueError("%s: shape or data_offsets are not whole numbers" % name)
    expected = _SIZES[dtype]
    for dimension in shape:  # Python's int, which does not overflow
      expected *= dimension
    if offsets[1] - offsets[0] != expected:
      raise ValueError("%s: %s %s has %d bytes, not %d" % (
          name, dtype, shape, offsets[1] - offsets[0], expected))
    places.append((offsets[0], offsets[1], name))
    tensors[name] = Tensor(path, dtype, shape, _make_reader(
        path, start + offsets[0], expected, dtype, shape))
  end = 0
  for begin, after, name in sorted(places):
    if begin != end:
      raise ValueError("%s begins at byte %d of the data, expected %d" % (
          name, begin, end))
    end = after
  if start + end != size:
    raise ValueError("the file has %d bytes, its header says %d" % (
        size, start + end))
  return tensors


def _are_counts(values):
  return isinstance(values, list) and all(
      isinstance(value, int) and not isinstance(value, bool) and value >= 0
      for value in values)


def _make_reader(path, start, length, dtype, shape):
  """Returns the function that reads a tensor; see `Tensor.read`."""
  def read_tensor():
    with tf.gfile.GFile(path, "rb") as reader:
      reader.seek(start)
      data = reader.read(length)
    if dtype == "BF16":  # the upper half of a float32
      numbers = np.frombuffer(data, "<u2").astype(np.uint32) << 16
      numbers = numbers.view(np.float32)
    elif dtype in ("F32", "F16"):
      numbers = np.frombuffer(data, "<f%d" % _SIZES[dtype])
    else:
      raise ValueError("%s: found weights of type %s, expected F32, F16 or "
                       "BF16" % (path, dtype))
    return numbers.astype(np.float32).reshape(shape)

  return read_tensor


def write(folder, arrays, most_bytes):
  """Writes model.safetensors; if it is too large, several files and an index.

  Args:
    folder: str.
    arrays: dict from name to float32 array.
    most_bytes: int. The most bytes of tensors in a file that has several.

  Returns:
    list of str, the names of the files.
  """
  shards = [{}]
  for name in sorted(arrays):
    if shards[-1] and most_bytes < arrays[name].nbytes + sum(
        array.nbytes for array in shards[-1].values()):
      shards.append({})
    shards[-1][name] = arrays[name]
  if len(shards) == 1:
    _write_file(os.path.join(folder, FILE_NAME), arrays)
    return [FILE_NAME]
  names = ["model-%05d-of-%05d.safetensors" % (i + 1, len(shards))
           for i in range(len(shards))]
  for name, shard in zip(names, shards):
    _write_file(os.path.join(folder, name), shard)
  files.write_json(os.path.join(folder, FILE_NAME + ".index.json"), {
      "metadata": {"total_size": sum(a.nbytes for a in arrays.values())},
      "weight_map": {key: name for name, shard in zip(names, shards)
                     for key in shard}})
  return names + [FILE_NAME + ".index.json"]


def _write_file(path, arrays):
  header, end = {_METADATA: {"format": "pt"}}, 0
  for name in sorted(arrays):
    array = arrays[name]
    header[name] = {"dtype": "F32", "shape": list(array.shape),
                    "data_offsets": [end, end + array.nbytes]}
    end += array.nbytes
  text = json.dumps(header, separators=(",", ":")).encode("utf-8")
  text += b" " * (-len(text) % 8)  # so that the data are aligned
  with tf.gfile.GFile(path, "wb") as writer:
    writer.write(struct.pack("<Q", len(text)) + text)
    for name in sorted(arrays):
      writer.write(np.ascontiguousarray(arrays[name], "<f4").tobytes())


def read_index(path):
  """Returns which file has each tensor, from an index of weights.

  Args:
    path: str. The index, such as model.safetensors.index.json.

  Returns:
    dict from the name of a tensor to the path of its file.

  Raises:
    ValueError: it is not an index, or names a file that is not beside it.
  """
  try:
    places = json_files.read(path)["weight_map"]
    if not isinstance(places, dict) or not places:
      raise ValueError("weight_map is empty")
  except (ValueError, KeyError, TypeError, tf.errors.OpError) as error:
    raise ValueError("%s: cannot be read as an index of weights (%s); copy it "
                     "again" % (path, getattr(error, "message", error))
                     ) from None
  folder = os.path.dirname(path)
  names = files.list_folder(folder)
  for tensor, name in places.items():
    if name not in names:  # names in other folders are not followed
      raise ValueError("%s: %s is in %s, which is not beside it; copy it, too" %
                       (path, tensor, name))
  return {tensor: os.path.join(folder, name) for tensor, name in places.items()}
