"""Looks for what is wrong with files of examples.

A TFRecord file is a chain of records, each of them four parts: the length of
the data (8 bytes), a checksum of those (4), the data, a checksum of the data.
"""

import contextlib
import itertools
import os
import struct

import environment  # pylint: disable=unused-import  # before TensorFlow

from google.protobuf import message
import numpy as np
import tensorflow.compat.v1 as tf

import cli
import files
import input_pipeline
import progress

_OVERHEAD = 16  # bytes of a record that are not data
_CASTAGNOLI = 0x82F63B78  # CRC-32C, bits reversed


class DamagedRecords(cli.UserError):
  """A TFRecord file is damaged; the text says which, where, and the cure."""


def check_records(paths, name_to_features, limits, count, cure):
  """Looks at the first records of files, of each as many.

  Args:
    paths: list of str. TFRecord files.
    name_to_features: dict from name to `tf.FixedLenFeature`.
    limits: dict from name to int, see `input_pipeline.make_input_fn`.
    count: int. Records to look at.
    cure: str. What to do about a record that does not fit.

  Raises:
    ValueError: there is no record, or one does not fit.
    DamagedRecords: one cannot be read.
  """
  looked_at = 0
  count_per_file = -(-count // len(paths))
  for path in paths:
    with naming_damage([path]):
      for number, record in enumerate(
          itertools.islice(_read_records(path), count_per_file), 1):
        problem = _find_problem(record, name_to_features, limits)
        if problem:
          raise ValueError("%s, record %d: %s; %s" % (
              path, number, problem, cure))
        looked_at += 1
        if looked_at == count:
          return
  if not looked_at:
    raise ValueError("%s: found no record" % ", ".join(paths))


def _read_records(path):
  """Yields the records of a file.

  Raises:
    tf.errors.DataLossError: one is damaged or cut off, also where no more than
      a part of its length is left, which TensorFlow takes for the end.
  """
  end = 0
  for record in tf.python_io.tf_record_iterator(path):
    end += _OVERHEAD + len(record)
    yield record
  if end < tf.gfile.Stat(path).length:
    raise tf.errors.DataLossError(None, None, "%s ends in a record" % path)


def _find_problem(record, name_to_features, limits):
  """Returns what is wrong with a serialized `tf.train.Example`, or None."""
  try:
    features = tf.train.Example.FromString(record).features.feature
  except message.DecodeError:
    return "found no tf.train.Example"
  for name, feature in sorted(name_to_features.items()):
    if name not in features:
      return "found %s, expected also %s" % (
          ", ".join(sorted(features)) or "no feature", name)
    kind = "int64_list" if feature.dtype == tf.int64 else "float_list"
    values = getattr(features[name], kind).value
    expected = 1
    for size in feature.shape:
      expected *= size
    if len(values) != expected:
      return "found %d values of %s, expected %d" % (
          len(values), name, expected)
    limit = limits.get(name)
    if limit is not None and not 0 <= min(values) <= max(values) < limit:
      return "found %s from %d to %d, expected 0 to %d" % (
          name, min(values), max(values), limit - 1)
  return None


@contextlib.contextmanager
def naming_damage(paths):
  """Names the file and the place when a `with` block reads damaged records.

  Args:
    paths: list of str. TFRecord files that the block reads.
  """
  try:
    yield
  except tf.errors.DataLossError:
    for path in paths:
      if not _is_whole(path):
        offsets = [offset for offset, record in scan(path) if record is None]
        raise DamagedRecords(
            "%s: the record at byte %d is damaged or cut off; write the file "
            "again, or leave such records out with --skip_bad_records" % (
                path, offsets[0]))
    raise  # it was another file, such as a checkpoint


def _is_whole(path):
  """Tells whether all records of a file can be read; fast."""
  try:
    for _ in _read_records(path):
      pass
  except tf.errors.DataLossError:
    return False
  return True


def copy_good_records(paths, folder):
  """Copies the good records of damaged files; counts and logs the bad ones.

  Reads all files, and a damaged one slowly.

  Args:
    paths: list of str. TFRecord files.
    folder: str. Where the copies go.

  Returns:
    list of str: `paths`, with the copy in place of a damaged file.

  Raises:
    ValueError: a file has no good record.
  """
  good_paths = []
  # The number keeps files of the same name apart.
  copies = [os.path.join(folder, "%d-%s" % (number, os.path.basename(path)))
            for number, path in enumerate(paths)]
  files.check_outputs([("--input_file", path) for path in paths],
                      [("--skip_bad_records", copy) for copy in copies])
  with progress.Progress("Checking files", len(paths), "files") as shown:
    for path, copy in zip(paths, copies):
      if _is_whole(path):
        good_paths.append(path)
      else:
        good_paths.append(copy)
        tf.gfile.MakeDirs(folder)
        _copy_good_records(path, good_paths[-1])
      shown.advance()
  return good_paths


def _copy_good_records(path, good_path):
  bad = []
  count = 0
  with input_pipeline.atomic_path(good_path) as temporary:
    with tf.python_io.TFRecordWriter(temporary) as writer:
      for offset, record in scan(path):
        if record is None:
          bad.append(offset)
        else:
          writer.write(record)
          count += 1
    if not count:
      raise ValueError("%s: found no good record; is it a TFRecord file?" %
                       path)
  tf.logging.warning(
      "%s: skipped %d bad record(s), at byte %s; the %d good ones are in %s",
      path, len(bad), ", ".join(map(str, bad[:10])), count, good_path)


def scan(path):
  """Reads a TFRecord file that may be damaged.

  Where a length is damaged, the next place that could begin a record is looked
  for. Holds the file in memory and takes about a second for 10 MB.

  Args:
    path: str.

  Yields:
    The offset of a record in bytes, and its data: bytes, or None if damaged.
  """
  with tf.gfile.GFile(path, "rb") as reader:
    content = reader.read()
  offset, end = 0, len(content)
  while offset < end:
    length = _read_length(content, offset)
    if length is None:
      yield offset, None
      offset += 1
      while offset < end and _read_length(content, offset) is None:
        offset += 1
      continue
    start, stop = offset + 12, offset + 12 + length
    data = content[start:stop]
    is_good = content[stop:stop + 4] == checksum(data)
    yield offset, data if is_good else None
    offset = stop + 4


def _read_length(content, offset):
  """Returns the length at an offset, None if it is damaged or too large."""
  length = content[offset:offset + 8]
  if len(length) < 8 or content[offset + 8:offset + 12] != checksum(length):
    return None
  length, = struct.unpack("<Q", length)
  return length if offset + 16 + length <= len(content) else None


def _make_table():
  table = []
  for value in range(256):
    for _ in range(8):
      value = value >> 1 ^ (_CASTAGNOLI if value & 1 else 0)
    table.append(value)
  return table


_TABLE = _make_table()
_ROW = 256  # bytes; rows of so many are gone through side by side


def _make_shift():
  """Returns, for each byte of a sum, what a row of zeros makes of it."""
  table = np.array(_TABLE, np.uint32)
  states = np.arange(256, dtype=np.uint32) << np.array(
      [[0], [8], [16], [24]], np.uint32)  # [4, 256]
  for _ in range(_ROW):
    states = table[states & 0xFF] ^ states >> np.uint32(8)
  return states.tolist()


_SHIFT = _make_shift()


def checksum(data):
  """Returns the four bytes of TFRecord's masked CRC-32C.

  Args:
    data: bytes.
  """
  crc = 0xFFFFFFFF
  rest = len(data) % _ROW
  for byte in bytearray(data[:rest]):
    crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
  if len(data) > rest:
    for row in _sum_rows(np.frombuffer(data, np.uint8, offset=rest)):
      crc = (_SHIFT[0][crc & 0xFF] ^ _SHIFT[1][crc >> 8 & 0xFF] ^
             _SHIFT[2][crc >> 16 & 0xFF] ^ _SHIFT[3][crc >> 24] ^ row)
  crc ^= 0xFFFFFFFF
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  return struct.pack("<I", masked)


def _sum_rows(data):
  """Sums each row of uint8 [rows * _ROW], from 0; returns a list of int."""
  columns = np.ascontiguousarray(data.reshape([-1, _ROW]).T)
  table = np.array(_TABLE, np.int64)
  sums = np.zeros([columns.shape[1]], np.int64)  # as indexes are
  for column in columns:
    sums = np.take(table, (sums ^ column) & 0xFF) ^ sums >> 8
  return sums.tolist()


def frame(data):
  """Returns the four parts of a record of bytes, as a file has them."""
  length = struct.pack("<Q", len(data))
  return b"".join([length, checksum(length), data, checksum(data)])
