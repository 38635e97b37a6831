"""Reads files that may be gzip, as told by their first bytes, not their names.

A file that is read at once is refused if it is too large for what it should be.

Does not import TensorFlow, and neither does `squad.reader`.
"""

import gzip
import io
import os
import zlib

# The third byte is the only compression method. No UTF-8 text begins with
# these, and no file of records either, unless its first record has 560 KB.
_MAGIC = b"\x1f\x8b\x08"
_BUFFER_BYTES = 2 ** 16
_BLOCK_BYTES = 2 ** 20  # to read at a time if the file may be too large


def is_gzip(reader):
  """Returns whether a file is gzip.

  Args:
    reader: binary file at its beginning, where it stays. It has `seek`, or, as
      a pipe must, `peek`.
  """
  if hasattr(reader, "peek"):
    return reader.peek(len(_MAGIC))[:len(_MAGIC)] == _MAGIC
  magic = reader.read(len(_MAGIC))
  reader.seek(0)
  return magic == _MAGIC


def unpacked(reader, name):
  """Returns an io.BufferedReader of what a file holds, unpacked if it is gzip.

  Its lines end at "\\n" alone, unlike those of `tf.gfile.GFile`, which drops
  carriage returns.

  Args:
    reader: binary file at its beginning, see `is_gzip`.
    name: str. What a message calls it.

  Returns:
    io.BufferedReader, whose methods raise ValueError for a damaged gzip file.
  """
  if is_gzip(reader):
    reader = gzip.GzipFile(fileobj=reader)
  return io.BufferedReader(_Raw(reader, name), _BUFFER_BYTES)


def find_excess(reader, limit):
  """Returns why a file is too large to be read at once, None if it is not.

  Args:
    reader: binary file.
    limit: int. Bytes that it may have.
  """
  size = (reader.size() if hasattr(reader, "size") else
          os.fstat(reader.fileno()).st_size)
  return ("has %d MB, expected %d at most" % (size >> 20, limit >> 20)
          if size > limit else None)


def read(reader, name, limit):
  """Returns what a file holds, bytes, unpacked if it is gzip.

  Args:
    reader: binary file at its beginning, see `is_gzip`.
    name: str. What a message calls it.
    limit: int. Bytes that it may have, packed or not.

  Raises:
    ValueError: it is larger, or a damaged gzip file.
  """
  excess, blocks, left = find_excess(reader, limit), [], limit
  source = unpacked(reader, name)
  while not excess:
    blocks.append(source.read(_BLOCK_BYTES))
    if not blocks[-1]:
      return b"".join(blocks)
    left -= len(blocks[-1])
    if left < 0:
      excess = "has more than %d MB, unpacked" % (limit >> 20)
  raise ValueError("%s: %s; is it the right file?" % (name, excess))


class _Raw(io.RawIOBase):
  """Any reader in the form that `io.BufferedReader` needs."""

  def __init__(self, reader, name):
    super().__init__()
    # On a pipe, `read` would wait for as many bytes as it is asked for.
    self._read = getattr(reader, "read1", reader.read)
    self._is_gzip = isinstance(reader, gzip.GzipFile)
    self._name = name

  def readable(self):
    return True

  def readinto(self, buffer):
    try:
      data = self._read(len(buffer))
    except (EOFError, OSError, zlib.error) as error:
      if not self._is_gzip:
        raise
      raise ValueError("%s: is a damaged gzip file (%s); get it again" % (
          self._name, error)) from None
    buffer[:len(data)] = data
    return len(data)
