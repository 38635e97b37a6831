"""Finds what is wrong with files of examples.

`checksums` describes the format of a record.
"""

import collections
import contextlib
import itertools
import os
import re
import struct

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from google.protobuf import message
import numpy as np
import tensorflow.compat.v1 as tf

from . import checksums, cli, files, gzip_files, input_pipeline, progress

_OVERHEAD = 16  # bytes of a record that are not data
_BLOCK_BYTES = 2 ** 20  # unpacked at once
_BATCH_SIZE = 1000  # records that are checked together
_NUM_SHOWN = 3  # bad records to describe


class DamagedRecords(cli.UserError):
  """Records are damaged, or do not fit; the text names them and the cure."""


class Expected(collections.namedtuple(
    "Expected", "name_to_features limits cure")):
  """What records should hold.

  Attributes:
    name_to_features: dict from name to `tf.FixedLenFeature`.
    limits: dict from name to int, see `input_pipeline.make_input_fn`.
    cure: str. What to do about a record that does not fit.
  """


def check_records(paths, expected, count):
  """Checks the first records of files, the same number from each.

  Args:
    paths: list of str. TFRecord files.
    expected: Expected.
    count: int. Records to check.

  Raises:
    ValueError: there is no record, or one does not fit.
    DamagedRecords: one cannot be read.
  """
  num_checked = 0
  for path in paths:
    with naming_bad_records([path], expected):
      records = itertools.islice(_read_records(path), -(-count // len(paths)))
      for number, record in enumerate(records, 1):
        problem = _find_problem(record, expected)
        if problem:
          raise ValueError("%s, record %d: %s; %s" % (
              path, number, problem, expected.cure))
        num_checked += 1
        if num_checked == count:
          return
  if not num_checked:
    raise ValueError("%s: found no record" % ", ".join(paths))


def _read_records(path):
  """Yields the records of a file.

  Raises:
    tf.errors.DataLossError: one is damaged or cut off, even within its length
      field, which TensorFlow takes for the end of the file.
  """
  end = 0
  for record in input_pipeline.iterate_records(path):
    end += _OVERHEAD + len(record)
    yield record
  if end < _count_bytes(path):
    raise tf.errors.DataLossError(None, None, "%s ends in a record" % path)


def _count_bytes(path):
  """Returns the size of a file, unpacked if it is gzip.

  Raises:
    tf.errors.DataLossError: a gzip file is damaged.
  """
  if not input_pipeline.compression_of(path):
    return tf.gfile.Stat(path).length
  with tf.gfile.GFile(path, "rb") as reader:
    try:
      return sum(map(len, _iterate_blocks(gzip_files.unpacked(reader, path))))
    except ValueError as error:
      raise tf.errors.DataLossError(None, None, str(error)) from None


def _iterate_blocks(reader):
  return iter(lambda: reader.read1(_BLOCK_BYTES), b"")


def _find_problem(record, expected):
  """Returns what is wrong with a serialized `tf.train.Example`, or None."""
  try:
    features = tf.train.Example.FromString(record).features.feature
  except message.DecodeError:
    return "found no tf.train.Example"
  for name, feature in sorted(expected.name_to_features.items()):
    if name not in features:
      return "found %s, expected also %s" % (
          ", ".join(sorted(features)) or "no feature", name)
    kind = "int64_list" if feature.dtype == tf.int64 else "float_list"
    values = getattr(features[name], kind).value
    count = int(np.prod(feature.shape))
    if len(values) != count:
      return "found %d values of %s, expected %d" % (len(values), name, count)
    limit = expected.limits.get(name)
    if limit is not None and not 0 <= min(values) <= max(values) < limit:
      return "found %s from %d to %d, expected 0 to %d" % (
          name, min(values), max(values), limit - 1)
  return None


@contextlib.contextmanager
def naming_bad_records(paths, expected):
  """Names the file and the record when a `with` block reads bad ones.

  Args:
    paths: list of str. TFRecord files that the block reads.
    expected: Expected.
  """
  try:
    yield
  except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
    is_of_records = isinstance(error, tf.errors.DataLossError) or re.search(
        "ParseExample|" + input_pipeline.BAD_RECORDS, error.message)
    for path in paths if is_of_records else []:
      if not _is_good(path, expected):
        raise DamagedRecords(_describe_bad_file(path, expected)) from None
    raise  # the error is about another file, such as a checkpoint


def _describe_bad_file(path, expected):
  """Returns the first problem of a file, and the cure."""
  try:
    _count_bytes(path)
  except tf.errors.DataLossError as error:
    return ("%s, or keep what can be read of it with --skip_bad_records" %
            error.message)
  for record, problem in _examine(path, expected):
    if problem:
      return ("%s%s %s; %s, or leave such records out with "
              "--skip_bad_records") % (
          path, "," if record else ":", problem,
          expected.cure if record else "write the file again")
  return ("%s: holds more than TensorFlow %s can read from a gzip file; unpack "
          "it with gzip -d" % (path, tf.__version__))


def _is_good(path, expected):
  """Returns, quickly, whether all records of a file can be read and fit."""
  def measure(serialized):
    batch = input_pipeline.check_limits(
        input_pipeline.decode_batch(serialized, expected.name_to_features),
        expected.limits)
    with tf.control_dependencies(list(batch.values())):
      return tf.reduce_sum(
          tf.cast(tf.strings.length(serialized), tf.int64) + _OVERHEAD)

  with tf.Graph().as_default():
    total = input_pipeline.read_records([path]).batch(_BATCH_SIZE).map(
        measure).reduce(tf.constant(0, tf.int64), tf.add)
    # Not on a GPU: a session would configure it before the training does.
    config = tf.ConfigProto(device_count={"GPU": 0})
    try:
      with tf.Session(config=config) as session:
        return session.run(total) == _count_bytes(path)
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError):
      return False


def _examine(path, expected):
  """Reads all records of a file, slowly if it is damaged.

  Args:
    path: str.
    expected: Expected.

  Yields:
    record: bytes, None if it is damaged.
    problem: str. What is wrong and where, None if nothing is.
  """
  records = ((None, record) for record in _read_records(path))
  if not _is_whole(path):
    records = scan(path)
  for number, (offset, record) in enumerate(records, 1):
    if record is None:
      yield None, "the record at byte %d is damaged or cut off" % offset
    else:
      problem = _find_problem(record, expected)
      yield record, problem and "record %d: %s" % (number, problem)


def _is_whole(path):
  """Returns whether all records of a file can be read, whatever they hold."""
  try:
    for _ in _read_records(path):
      pass
  except tf.errors.DataLossError:
    return False
  return True


def copy_good_records(paths, folder, expected):
  """Copies the good records of files with bad ones; counts and logs the bad.

  Reads all files, damaged ones slowly.

  Args:
    paths: list of str. TFRecord files.
    folder: str. Where the copies go.
    expected: Expected. Records that do not fit are bad too.

  Returns:
    list of str: `paths`, with the copy in place of a file with bad records.

  Raises:
    ValueError: a file has no good record.
  """
  good_paths = []
  # The number distinguishes files of the same name.
  copies = [os.path.join(folder, "%d-%s" % (number, os.path.basename(path)))
            for number, path in enumerate(paths)]
  files.check_outputs([("--input_file", path) for path in paths],
                      [("--skip_bad_records", copy) for copy in copies])
  with progress.Progress("Checking files", len(paths), "files") as shown:
    for path, copy in zip(paths, copies):
      if _is_good(path, expected):
        good_paths.append(path)
      else:
        good_paths.append(copy)
        tf.gfile.MakeDirs(folder)
        _copy_good_records(path, copy, expected)
      shown.advance()
  return good_paths


def _copy_good_records(path, good_path, expected):
  problems, count, is_damaged = [], 0, True
  with files.atomic_path(good_path) as temporary:
    with tf.python_io.TFRecordWriter(temporary) as writer:
      for record, problem in _examine(path, expected):
        is_damaged = is_damaged and record is None
        if problem:
          problems.append(problem)
        else:
          writer.write(record)
          count += 1
    if not count:
      raise ValueError("%s: found no good record%s" % (
          path, "; is it a TFRecord file?" if is_damaged else
          " (%s); %s" % (problems[0], expected.cure)))
  tf.logging.warning(
      "%s: skipped %d bad record(s) (%s%s); the %d good ones are in %s",
      path, len(problems), "; ".join(problems[:_NUM_SHOWN]),
      "; ..." if len(problems) > _NUM_SHOWN else "", count, good_path)


def scan(path):
  """Reads a TFRecord file that may be damaged.

  Where a length is damaged, it looks for the next place that could begin a
  record. Holds the file in memory and takes about a second for 10 MB.

  Args:
    path: str.

  Yields:
    The offset of a record in bytes, and its data: bytes, or None if damaged.
  """
  content = bytearray()
  with tf.gfile.GFile(path, "rb") as reader:
    try:
      for block in _iterate_blocks(gzip_files.unpacked(reader, path)):
        content += block
    except ValueError:  # a gzip file is damaged
      content += b"\0"  # so that the missing part counts as a bad record
  content = bytes(content)
  offset, end = 0, len(content)
  while offset < end:
    length = _read_length(content, offset)
    if length is None:
      yield offset, None
      offset = next(
          (place for place in checksums.find_heads(content, offset + 1)
           if _read_length(content, place) is not None), end)
      continue
    start, stop = offset + 12, offset + 12 + length
    data = content[start:stop]
    is_good = content[stop:stop + 4] == checksums.masked_crc(data)
    yield offset, data if is_good else None
    offset = stop + 4


def _read_length(content, offset):
  """Returns the length at an offset, None if it is damaged or too large."""
  length = content[offset:offset + 8]
  checksum = content[offset + 8:offset + 12]
  if len(length) < 8 or checksum != checksums.masked_crc(length):
    return None
  length, = struct.unpack("<Q", length)
  return length if offset + 16 + length <= len(content) else None
