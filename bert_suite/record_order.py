"""The order in which training reads records, given by a seed and a position.

TensorFlow shuffles records in a buffer, whose content is lost when a training
stops, and skips records by reading them. Here the order is computed:
records next to each other in a file form blocks, the blocks of an epoch are
permuted, and the records of each `_BLOCKS_TOGETHER` blocks are permuted among
themselves. So reads are long, every record comes once per epoch, and any
position in the order is found without reading what comes before it.
"""

import itertools
import os
import struct

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf
from tensorflow.python.lib.io import tf_record

from . import files, progress

_BLOCKS_TOGETHER = 64

# The least records that an order permutes together. They are held in memory.
LEAST_GROUP = 2 ** 14

_HEAD_BYTES, _OVERHEAD = 12, 16  # of a record, see `checksums`


def find_offsets(path):
  """Returns where the records of a TFRecord file begin, from an index.

  The index is a file beside it, `.NAME.offsets`. The first call makes it, which
  reads all records and verifies their checksums, and so does one after the
  file's size or time has changed. If the folder is not writable, each call
  computes the index.

  Args:
    path: str. A file that is not compressed.

  Returns:
    int64 array [records + 1]; the last is the size of the file.

  Raises:
    tf.errors.DataLossError: the file is damaged or cut off.
  """
  made_for = np.array(files.find_change(path), np.int64)
  index = _index_path(path)
  if tf.gfile.Exists(index):
    with tf.gfile.GFile(index, "rb") as reader:
      # No more than a file of this size can need.
      content = reader.read(8 * (3 + int(made_for[1]) // _OVERHEAD) + 1)
    if len(content) % 8 == 0 and len(content) >= 24:
      numbers = np.frombuffer(content, np.int64)
      if ((numbers[:2] == made_for).all() and numbers[2] == 0 and
          numbers[-1] == made_for[1] and
          (np.diff(numbers[2:]) >= _OVERHEAD).all()):
        return numbers[2:]
  offsets = _scan(path, int(made_for[1]))
  try:
    with files.atomic_path(index) as temporary:
      with tf.gfile.GFile(temporary, "wb") as writer:
        writer.write(np.concatenate([made_for, offsets]).tobytes())
  except (OSError, tf.errors.OpError) as error:
    tf.logging.debug("%s: cannot be kept (%s)", index, error)
  return offsets


def _index_path(path):
  folder, name = os.path.split(path)
  return os.path.join(folder, ".%s.offsets" % name)


def _scan(path, size):
  """Returns the offsets of a file of that size; see `find_offsets`."""
  offsets = [0]
  with progress.Progress(
      "Indexing " + os.path.basename(path), size, "bytes") as shown:
    for record in tf.python_io.tf_record_iterator(path):
      shown.advance(_OVERHEAD + len(record))
      offsets.append(offsets[-1] + _OVERHEAD + len(record))
  if offsets[-1] != size:
    raise tf.errors.DataLossError(None, None, "%s ends in a record" % path)
  return np.array(offsets, np.int64)


class Order:
  """A permutation of the records of some files for each epoch.

  Attributes:
    num_records: int.
  """

  def __init__(self, counts, seed, group_size):
    """Makes the order.

    Args:
      counts: list of int. Records of each file.
      seed: int.
      group_size: int. About how many records are permuted together.
    """
    block = max(1, group_size // _BLOCKS_TOGETHER)
    ends = np.cumsum(counts)
    # The first record of each block, and how many it has.
    self._starts = np.concatenate([
        np.arange(end - count, end, block)
        for count, end in zip(counts, ends)]).astype(np.int64)
    last = np.repeat(ends, [-(-count // block) for count in counts])
    self._sizes = np.minimum(block, last - self._starts)
    self._seed = seed % 2 ** 32
    self.num_records = int(ends[-1])

  def groups(self, position):
    """Yields the numbers of records, int64 arrays, without end.

    Args:
      position: int. Records to skip, counted over all epochs.
    """
    first_epoch, done = divmod(position, self.num_records)
    for epoch in itertools.count(first_epoch):
      blocks = self._random(epoch).permutation(len(self._starts))
      ends = np.cumsum(self._sizes[blocks])[_BLOCKS_TOGETHER - 1::
                                            _BLOCKS_TOGETHER]
      first = int(np.searchsorted(ends, done, side="right"))
      done -= int(ends[first - 1]) if first else 0
      for group in range(first, -(-len(blocks) // _BLOCKS_TOGETHER)):
        chosen = blocks[group * _BLOCKS_TOGETHER:][:_BLOCKS_TOGETHER]
        numbers = np.concatenate([
            np.arange(start, start + size) for start, size in zip(
                self._starts[chosen], self._sizes[chosen])])
        yield self._random(epoch, group + 1).permutation(numbers)[done:]
        done = 0

  def _random(self, *numbers):
    return np.random.RandomState((self._seed,) + numbers)


def iterate_records(paths, seed, position, group_size):
  """Yields the records of TFRecord files in the order of training, without end.

  Args:
    paths: list of str. Files that are not compressed.
    seed: int.
    position: int. Records that were read before.
    group_size: int. See `Order`; this many records are held in memory.

  Yields:
    bytes.

  Raises:
    ValueError: there is no record.
    tf.errors.DataLossError: a file is damaged.
  """
  offsets = [find_offsets(path) for path in paths]
  counts = [len(found) - 1 for found in offsets]
  if not sum(counts):
    raise ValueError("%s: found no record" % ", ".join(paths))
  first = np.cumsum([0] + counts)
  with _Readers(paths) as readers:
    for numbers in Order(counts, seed, group_size).groups(position):
      records = [None] * len(numbers)
      ranks = np.argsort(numbers)  # in file order, for sequential reads
      sources = np.searchsorted(first, numbers[ranks], side="right") - 1
      for rank, number, source in zip(
          ranks.tolist(), (numbers[ranks] - first[sources]).tolist(),
          sources.tolist()):
        records[rank] = readers.read(source, int(offsets[source][number]))
      yield from records


class _Readers:
  """Reads single records of files, and keeps the last file open."""

  def __init__(self, paths):
    self._paths, self._index, self._reader = paths, None, None

  def __enter__(self):
    return self

  def __exit__(self, *unused):
    if self._reader:
      self._reader.close()

  def read(self, index, offset):
    """Returns the record, bytes, at an offset of the file with that index."""
    if index != self._index:
      self.__exit__()
      self._index, self._reader = index, _open(self._paths[index])
    try:
      return self._reader.read(offset)[0]
    except tf.errors.DataLossError as error:
      raise tf.errors.DataLossError(
          None, None, "%s: %s, where its index says that a record begins; "
          "remove %s" % (self._paths[index], error.message, _index_path(
              self._paths[index]))) from None


def _open(path):
  """Returns a reader; `read` returns a record and where the next begins."""
  if hasattr(tf_record, "tf_record_random_reader"):
    return tf_record.tf_record_random_reader(path)
  return _PlainReader(path)  # TensorFlow 1.15


class _PlainReader:
  """Reads records whose checksums were checked when the index was made."""

  def __init__(self, path):
    # Much faster than GFile, which fills a large buffer after each `seek`.
    self._file = (tf.gfile.GFile if "://" in path else open)(path, "rb")
    self.close = self._file.close

  def read(self, offset):
    self._file.seek(offset)
    length, = struct.unpack("<Q", self._file.read(_HEAD_BYTES)[:8])
    return self._file.read(length), offset + _OVERHEAD + length
