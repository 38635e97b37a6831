"""The checksum of TFRecord files, masked CRC-32C, and records with it.

A TFRecord file is a sequence of records, each of four parts: the length of the
data (8 bytes), a checksum of the length (4), the data, its checksum (4).
"""

import functools
import struct

import numpy as np

_CASTAGNOLI = 0x82F63B78  # CRC-32C, bits reversed
_ROW = 256  # bytes; rows of this length are summed side by side


@functools.lru_cache(maxsize=None)
def _make_tables():
  """Returns tables to update a sum by one byte, and by a row of zeros.

  Returns:
    table: list of 256 int, for the lowest byte of a sum.
    shift: list of four such lists, one for each byte of a sum.
  """
  table = np.arange(256, dtype=np.int64)
  for _ in range(8):
    table = table >> 1 ^ np.where(table & 1, _CASTAGNOLI, 0)
  states = np.arange(256, dtype=np.int64) << np.array(
      [[0], [8], [16], [24]])  # [4, 256]
  for _ in range(_ROW):
    states = table[states & 0xFF] ^ states >> 8
  return table.tolist(), states.tolist()


def masked_crc(data):
  """Returns the four bytes of TFRecord's masked CRC-32C.

  Args:
    data: bytes.
  """
  table, shift = _make_tables()
  crc = 0xFFFFFFFF
  rest = len(data) % _ROW
  for byte in data[:rest]:
    crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
  if len(data) > rest:
    for row in _sum_rows(np.frombuffer(data, np.uint8, offset=rest), table):
      crc = (shift[0][crc & 0xFF] ^ shift[1][crc >> 8 & 0xFF] ^
             shift[2][crc >> 16 & 0xFF] ^ shift[3][crc >> 24] ^ row)
  crc ^= 0xFFFFFFFF
  masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
  return struct.pack("<I", masked)


def _sum_rows(data, table):
  """Computes the CRC of each row, from 0, of uint8 [rows * _ROW]: list of int.
  """
  columns = np.ascontiguousarray(data.reshape([-1, _ROW]).T)
  table = np.array(table, np.int64)
  sums = np.zeros([columns.shape[1]], np.int64)  # the type of indexes
  for column in columns:
    sums = np.take(table, (sums ^ column) & 0xFF) ^ sums >> 8
  return sums.tolist()


def find_heads(content, begin):
  """Yields the offsets at which a length is followed by its checksum.

  Args:
    content: bytes.
    begin: int. The first offset to look at.
  """
  table = np.array(_make_tables()[0], np.int64)
  size = _ROW  # few at first, as the next record is usually near
  while begin + 12 <= len(content):
    part = np.frombuffer(content, np.uint8, min(
        size + 11, len(content) - begin), begin).astype(np.int64)
    count = len(part) - 11
    crc = np.full([count], 0xFFFFFFFF)
    for i in range(8):
      crc = np.take(table, (crc ^ part[i:i + count]) & 0xFF) ^ crc >> 8
    crc ^= 0xFFFFFFFF
    masked = ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF
    there = sum(part[8 + i:8 + i + count] << 8 * i for i in range(4))
    yield from (begin + np.flatnonzero(masked == there)).tolist()
    begin, size = begin + count, min(2 * size, _ROW ** 2)


def frame(data):
  """Returns bytes as a record of a file: its four parts, joined."""
  length = struct.pack("<Q", len(data))
  return b"".join([length, masked_crc(length), data, masked_crc(data)])
