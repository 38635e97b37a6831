"""Tests of example_writer: bytes of examples, files in turn, the spill."""

import collections
import os

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import example_writer, input_pipeline, model_inputs
from helpers import captured_log

Instance = collections.namedtuple("Instance", [
    "tokens", "segment_ids", "masked_lm_positions", "masked_lm_labels",
    "is_random_next"])


def make_instance(length, num_masked, is_random_next=True):
  """Ids of every length that they can have in an example."""
  ids = [(0, 1, 127, 128, 16383, 16384, 2097151, 2097152)[i % 8] + i // 8
         for i in range(length)]
  places = list(range(0, 3 * num_masked, 3))
  return Instance(ids, [i // 2 % 2 for i in range(length)], places,
                  [ids[-1 - i] for i in range(num_masked)], is_random_next)


@pytest.mark.parametrize("length,num_masked,max_length,max_masked", [
    (5, 1, 5, 1), (8, 2, 300, 77), (300, 77, 300, 77), (9, 0, 10, 1)])
@pytest.mark.parametrize("is_random_next", [False, True])
def test_examples_are_those_that_tensorflow_makes(
    length, num_masked, max_length, max_masked, is_random_next):
  instance = make_instance(length, num_masked, is_random_next)
  pad = model_inputs.pad_to_length
  expected = input_pipeline.make_example({
      "input_ids": pad(instance.tokens, max_length),
      "input_mask": pad([1] * length, max_length),
      "segment_ids": pad(instance.segment_ids, max_length),
      "masked_lm_positions": pad(instance.masked_lm_positions, max_masked),
      "masked_lm_ids": pad(instance.masked_lm_labels, max_masked),
      "masked_lm_weights": pad([1.0] * num_masked, max_masked, 0.0),
      "next_sentence_labels": [int(is_random_next)]})
  data = example_writer.Serializer(max_length, max_masked)(instance)
  assert tf.train.Example.FromString(data) == expected
  assert len(data) == len(expected.SerializeToString())


def test_marks_are_taken_off_ids():
  serialize = example_writer.Serializer(4, 1, vocab_range=300)
  example = tf.train.Example.FromString(serialize(
      Instance([2, 299, 300 + 299, 3], [0] * 4, [2], [300 + 7], False)))
  feature = example.features.feature
  assert list(feature["input_ids"].int64_list.value) == [2, 299, 299, 3]
  assert list(feature["masked_lm_ids"].int64_list.value) == [7]


def test_files_are_filled_in_turn_and_the_first_records_logged(tmp_path):
  paths = [str(tmp_path / name) for name in ("new/a", "b")]
  data = [example_writer.Serializer(4, 2)(
      Instance([i, 5, 6], [0, 0, 1], [1], [7], False)) for i in range(7)]
  tokens = {i: "word%d" % i for i in range(8)}

  def write():
    with example_writer.RecordWriter(paths, tokens, num_logged=2) as writer:
      for record in data:
        writer.write(record)

  with captured_log() as log:
    write()
  assert log == ["*** Example ***", "tokens: word0 word5 word6",
                 "next_sentence_labels: 0"]
  with captured_log() as log:
    tf.logging.set_verbosity(tf.logging.DEBUG)
    write()
  assert [list(tf.python_io.tf_record_iterator(path)) for path in paths] == [
      data[::2], data[1::2]]
  assert [line for line in log if line.startswith("tokens: ")] == [
      "tokens: word0 word5 word6", "tokens: word1 word5 word6"]
  assert "input_ids: 1 5 6 0" in log


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_none_of_the_files(tmp_path, error):
  paths = [str(tmp_path / name) for name in "ab"]
  with pytest.raises(error):
    with example_writer.RecordWriter(paths, {}) as writer:
      for _ in range(5):
        writer.write(b"half of the records")
      raise error()
  assert not os.listdir(str(tmp_path))


def test_a_file_that_cannot_be_opened_leaves_none(tmp_path):
  (tmp_path / "file").write_text("not a folder")
  with pytest.raises(tf.errors.OpError):
    with example_writer.RecordWriter(
        [str(tmp_path / "a"), str(tmp_path / "file" / "b")], {}):
      pass
  assert os.listdir(str(tmp_path)) == ["file"]


def test_spill_gives_records_in_the_order_of_offsets(tmp_path):
  records = [bytes(bytearray([i % 251])) * (i * i % 3000) for i in range(200)]
  with example_writer.Spill(str(tmp_path / "out")) as spill:
    for record in records:
      spill.append(record)
    assert list(spill) == records
    spill.offsets.reverse()
    assert list(spill) == records[::-1]
    assert spill.offsets.itemsize * len(spill.offsets) == 8 * len(records)
    assert not os.listdir(str(tmp_path))  # it has no name to leave behind
