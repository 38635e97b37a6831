"""Tests of checksums: records are those that TensorFlow writes."""

import struct

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import checksums


@pytest.mark.parametrize("size", [0, 1, 8, 255, 256, 257, 5000])
def test_a_frame_is_what_tensorflow_writes(tmp_path, size):
  data = np.random.RandomState(size).bytes(size)
  path = str(tmp_path / "one.tf_record")
  with tf.python_io.TFRecordWriter(path) as writer:
    writer.write(data)
  with open(path, "rb") as reader:
    assert reader.read() == checksums.frame(data)


@pytest.mark.parametrize("begin", [0, 1, 254, 300, 10 ** 5])
def test_heads_are_where_a_length_has_its_checksum(begin):
  random = np.random.RandomState(1)
  heads, content = [], b""
  for size in (0, 3, 240, 1, 500, 2 ** 17, 0):
    heads.append(len(content))
    length = struct.pack("<Q", size)
    content += length + checksums.masked_crc(length) + random.bytes(size)
  assert list(checksums.find_heads(content + b"\0" * 300, begin)) == [
      head for head in heads if head >= begin]
  assert not list(checksums.find_heads(content, len(content) - 5))
