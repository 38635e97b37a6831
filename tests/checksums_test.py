"""Tests of checksums: records are those that TensorFlow writes."""

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
