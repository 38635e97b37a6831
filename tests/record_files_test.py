"""Tests of record_files: finding files, records that are wrong or damaged."""

import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import files, input_pipeline, record_files
from helpers import captured_log, gzip_file, read_batches

FEATURES = {"ids": tf.FixedLenFeature([3], tf.int64),
            "weight": tf.FixedLenFeature([1], tf.float32)}
EXPECTED = record_files.Expected(FEATURES, {"ids": 10}, "do this")


def write(path, *records):
  """Writes records of (ids, weight); returns the path and their offsets."""
  input_pipeline.write_examples(str(path), (
      {"ids": ids, "weight": [weight]} for ids, weight in records))
  offsets, offset = [], 0
  for record in tf.python_io.tf_record_iterator(str(path)):
    offsets.append(offset)
    offset += len(record) + 16
  assert offset == os.path.getsize(str(path))
  return str(path), offsets


@pytest.fixture
def five(tmp_path):
  """A file of five records, and their offsets."""
  return write(tmp_path / "five.tfrecord",
               *[([i, i, i], 0.5) for i in range(5)])


def flip(path, offset):
  """Changes a byte of a file."""
  with open(path, "rb+") as file:
    file.seek(offset)
    byte = bytearray(file.read(1))
    file.seek(offset)
    file.write(bytearray([byte[0] ^ 0x55]))


def cut(path, size):
  with open(path, "rb+") as file:
    file.truncate(size)


def check(*paths):
  record_files.check_records(paths, EXPECTED, 1000)


def read_first_ids(path):
  return [tf.train.Example.FromString(record).features.feature["ids"]
          .int64_list.value[0]
          for record in tf.python_io.tf_record_iterator(path)]


# Finding files.


def test_files_of_names_and_patterns(tmp_path):
  for name in ("b-1", "b-0", "a"):
    (tmp_path / name).write_bytes(b"")
  found = files.find_files(
      "%s/b-*, %s/a" % (tmp_path, tmp_path), "--input_file")
  assert found == [str(tmp_path / name) for name in ("b-0", "b-1", "a")]


@pytest.mark.parametrize("pattern", ["c-*", "none/x", ""])
def test_a_pattern_without_files_is_named(tmp_path, pattern):
  (tmp_path / "a").write_bytes(b"")
  given = pattern and str(tmp_path / pattern)
  with pytest.raises(ValueError) as error:
    files.find_files("%s/a,%s" % (tmp_path, given), "--input_file")
  assert str(error.value) == (
      "--input_file=%s/a,%s: found no file for %r; pass paths or patterns such "
      "as /data/part-*, separated by commas" % (tmp_path, given, given))


# Records that do not fit.


def test_good_records_pass(five):
  check(five[0], five[0])


@pytest.mark.parametrize("record,problem", [
    (([1, 2], 0.5), "found 2 values of ids, expected 3"),
    (([1, 2, 10], 0.5), "found ids from 1 to 10, expected 0 to 9"),
    (([1, -1, 2], 0.5), "found ids from -1 to 2, expected 0 to 9"),
    (([1, 2, 3], 1), "found 0 values of weight, expected 1"),  # an int feature
])
def test_a_record_that_does_not_fit_is_named(tmp_path, record, problem):
  path, _ = write(tmp_path / "a", ([1, 2, 3], 0.5), record)
  with pytest.raises(ValueError) as error:
    check(path)
  assert str(error.value) == "%s, record 2: %s; do this" % (path, problem)


def test_a_missing_feature_is_named(tmp_path):
  path = str(tmp_path / "a")
  input_pipeline.write_examples(path, [{"ids": [1, 2, 3], "x": [1]}])
  with pytest.raises(ValueError, match="record 1: found ids, x, expected also "
                     "weight; do this"):
    check(path)


def test_records_of_something_else_are_named(tmp_path):
  path = str(tmp_path / "a")
  with tf.python_io.TFRecordWriter(path) as writer:
    writer.write(b"\xff\xff\xff")
  with pytest.raises(ValueError, match="record 1: found no tf.train.Example"):
    check(path)


def test_only_the_first_records_are_looked_at(tmp_path):
  path, _ = write(tmp_path / "a", ([1, 2, 3], 0.5), ([1, 2], 0.5))
  record_files.check_records([path], EXPECTED, 1)
  with pytest.raises(ValueError, match="record 2"):
    record_files.check_records([path], EXPECTED, 2)


def test_every_file_is_looked_at(tmp_path):
  first, _ = write(tmp_path / "a", *[([1, 2, 3], 0.5)] * 9)
  second, _ = write(tmp_path / "b", ([1, 2], 0.5))
  with pytest.raises(ValueError, match="/b, record 1: "):
    record_files.check_records([first, second], EXPECTED, 4)


def test_files_without_records_are_named(tmp_path):
  paths = [write(tmp_path / name)[0] for name in "ab"]
  with pytest.raises(ValueError, match="/a, .*/b: found no record$"):
    check(*paths)


def test_a_bad_record_further_on_is_found_when_a_batch_fails(tmp_path):
  good = ([1, 2, 3], 0.5)
  whole, _ = write(tmp_path / "whole", good)
  for record, problem in (
      (([1, 2], 0.5), "found 2 values of ids, expected 3"),
      (([1, 2, 10], 0.5), "found ids from 1 to 10, expected 0 to 9"),
      (([1, 2, 3], 1), "found 0 values of weight, expected 1")):
    path, _ = write(tmp_path / "bad", *[good] * 6 + [record])
    with pytest.raises(record_files.DamagedRecords) as error:
      with record_files.naming_bad_records([whole, path], EXPECTED):
        read_batches(input_pipeline.make_input_fn(
            [whole, path], FEATURES, is_training=False,
            limits=EXPECTED.limits), 3)
    assert str(error.value) == (
        "%s, record 7: %s; do this, or leave such records out with "
        "--skip_bad_records" % (path, problem))


def test_other_errors_are_not_put_down_to_records(tmp_path, monkeypatch):
  path, _ = write(tmp_path / "bad", ([1, 2], 0.5))
  monkeypatch.setattr(record_files, "_is_good", None)  # takes long
  with pytest.raises(tf.errors.InvalidArgumentError, match="not finite"):
    with record_files.naming_bad_records([path], EXPECTED):
      raise tf.errors.InvalidArgumentError(None, None, "norm is not finite")


def test_records_that_do_not_fit_are_left_out_and_counted(tmp_path):
  good = ([1, 2, 3], 0.5)
  path, _ = write(tmp_path / "a", good, ([1, 2], 0.5), good, ([9, 10, 0], 0.5))
  folder = str(tmp_path / "good")
  with captured_log() as lines:
    copy, = record_files.copy_good_records([path], folder, EXPECTED)
  assert read_first_ids(copy) == [1, 1]
  assert ("%s: skipped 2 bad record(s) (record 2: found 2 values of ids, "
          "expected 3; record 4: found ids from 0 to 10, expected 0 to 9); the "
          "2 good ones are in %s" % (path, copy)) in lines


def test_a_file_in_which_nothing_fits_is_refused(tmp_path):
  path, _ = write(tmp_path / "a", ([1, 2], 0.5), ([1], 0.5))
  with pytest.raises(ValueError) as error:
    record_files.copy_good_records([path], str(tmp_path / "good"), EXPECTED)
  assert str(error.value) == (
      "%s: found no good record (record 1: found 2 values of ids, expected 3); "
      "do this" % path)


# Files in gzip.


def test_gzip_files_are_checked_as_plain_ones(five, tmp_path):
  path = gzip_file(five[0])
  check(path)
  assert record_files.copy_good_records(
      [path], str(tmp_path / "good"), EXPECTED) == [path]
  bad = gzip_file(write(tmp_path / "bad", ([1, 2, 3], 0.5), ([1], 0.5))[0])
  with pytest.raises(ValueError, match="bad, record 2: found 1 values of ids"):
    check(bad)


@pytest.mark.parametrize("missing", [1, 8, 30, 60])
def test_a_gzip_file_that_is_cut_off_is_named_or_read_as_far_as_it_goes(
    tmp_path, missing):
  rng = np.random.RandomState(1)
  path, _ = write(tmp_path / "a", *[
      (rng.randint(10, size=3), float(rng.rand())) for _ in range(50)])
  ids = read_first_ids(path)
  gzip_file(path)
  cut(path, os.path.getsize(path) - missing)
  with pytest.raises(record_files.DamagedRecords) as error:
    check(path)
  assert re.match(
      "%s: is a damaged gzip file [(].*[)]; get it again, or keep what can be "
      "read of it with --skip_bad_records$" % path, str(error.value))
  copy, = record_files.copy_good_records(
      [path], str(tmp_path / "good"), EXPECTED)
  assert 30 < len(read_first_ids(copy)) <= 50
  assert read_first_ids(copy) == ids[:len(read_first_ids(copy))]


# Damaged files.

# What is damaged, and the offset in bytes from the third record's begin.
DAMAGES = {"length": 1, "checksum of the length": 9, "data": 14}


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_record_is_named_with_its_offset(five, damage):
  path, offsets = five
  flip(path, offsets[2] + DAMAGES[damage])
  with pytest.raises(record_files.DamagedRecords) as error:
    check(path)
  assert str(error.value) == (
      "%s: the record at byte %d is damaged or cut off; write the file again, "
      "or leave such records out with --skip_bad_records" % (path, offsets[2]))


@pytest.mark.parametrize("size", [5, 12, 30])
def test_a_truncated_file_is_named_with_its_offset(five, size):
  path, offsets = five
  cut(path, offsets[4] + size)
  with pytest.raises(record_files.DamagedRecords) as error:
    check(path)
  assert "%s: the record at byte %d is damaged or cut off" % (
      path, offsets[4]) in str(error.value)


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_all_other_records_are_kept_and_the_bad_ones_counted(
    five, tmp_path, damage):
  path, offsets = five
  whole, _ = write(tmp_path / "whole", ([7, 7, 7], 0.5))
  flip(path, offsets[1] + DAMAGES[damage])
  cut(path, os.path.getsize(path) - 3)
  folder = str(tmp_path / "good")
  with captured_log() as lines:
    paths = record_files.copy_good_records([whole, path], folder, EXPECTED)
  copy = os.path.join(folder, "1-five.tfrecord")
  assert paths == [whole, copy]
  assert read_first_ids(copy) == [0, 2, 3]
  assert ("%s: skipped 2 bad record(s) (the record at byte %d is damaged or "
          "cut off; the record at byte %d is damaged or cut off); the 3 good "
          "ones are in %s" % (path, offsets[1], offsets[4], copy)) in lines
  check(*paths)


def test_a_file_without_any_good_record_is_refused(tmp_path):
  path = tmp_path / "text.txt"
  path.write_bytes(b"This is no file of records, but text." * 20)
  with pytest.raises(ValueError, match="text.txt: found no good record; is it "
                     r"a TFRecord file\?"):
    record_files.copy_good_records(
        [str(path)], str(tmp_path / "good"), EXPECTED)
  assert os.listdir(str(tmp_path / "good")) == []


def test_damage_of_another_file_stays_what_it_is(five):
  with pytest.raises(tf.errors.DataLossError):
    with record_files.naming_bad_records([five[0]], EXPECTED):
      raise tf.errors.DataLossError(None, None, "a checkpoint")
