"""The order of training: each record once per epoch, from any position."""

import itertools
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import record_order

COUNTS = (300, 3, 0, 700)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
  """Files whose records begin with their number, over all files."""
  folder = tmp_path_factory.mktemp("records")
  random, numbers, made = np.random.RandomState(1), itertools.count(), []
  for count in COUNTS:
    made.append(str(folder / ("%d.tf_record" % len(made))))
    with tf.python_io.TFRecordWriter(made[-1]) as writer:
      for number in itertools.islice(numbers, count):
        writer.write(b"%d:" % number + random.bytes(random.randint(900)))
  return made


def read(paths, count, position=0, seed=7, group_size=100):
  records = record_order.iterate_records(paths, seed, position, group_size)
  return [int(record.split(b":")[0])
          for record in itertools.islice(records, count)]


@pytest.mark.parametrize("group_size", [1, 10, 100, 10 ** 5])
def test_each_epoch_has_every_record_once_in_an_order_of_its_own(
    paths, group_size):
  total = sum(COUNTS)
  numbers = read(paths, 3 * total, group_size=group_size)
  epochs = [numbers[i * total:(i + 1) * total] for i in range(3)]
  for epoch in epochs:
    assert sorted(epoch) == list(range(total))
  assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
  assert read(paths, total, seed=8, group_size=group_size) != epochs[0]
  # Near each other in the file, far from each other in the order.
  distances = np.abs(np.diff(np.argsort(epochs[0])))
  assert np.median(distances) > 10


@pytest.mark.parametrize("group_size", [1, 100, 10 ** 5])
def test_any_position_continues_the_order(paths, group_size):
  total = sum(COUNTS)
  numbers = read(paths, 3 * total, group_size=group_size)
  for position in (1, 63, 64, 640, total - 1, total, total + 1, 2 * total + 17):
    assert read(paths, 50, position, group_size=group_size) == numbers[
        position:position + 50], position


def test_a_far_position_needs_no_reading():
  """Of 10**8 records only their counts are there."""
  groups = record_order.Order([10 ** 8], 1, 10000).groups(256 * 10 ** 6)
  numbers = next(groups)
  assert 0 <= min(numbers) < 10 ** 7 < 9 * 10 ** 7 < max(numbers) < 10 ** 8


def test_the_index_is_made_once_and_again_for_another_file(
    paths, tmp_path, monkeypatch):
  path = str(tmp_path / "a.tf_record")
  tf.gfile.Copy(paths[0], path)
  offsets = record_order.find_offsets(path)
  assert len(offsets) == COUNTS[0] + 1
  assert offsets[-1] == os.path.getsize(path)
  with monkeypatch.context() as patch:
    patch.setattr(record_order, "_scan", lambda *unused: pytest.fail("scans"))
    np.testing.assert_array_equal(record_order.find_offsets(path), offsets)
  tf.gfile.Copy(paths[1], path, overwrite=True)
  os.utime(path, (1, 1))  # the clock was set back
  assert len(record_order.find_offsets(path)) == COUNTS[1] + 1
  with open(str(tmp_path / ".a.tf_record.offsets"), "wb") as writer:
    writer.write(b"damaged")
  assert len(record_order.find_offsets(path)) == COUNTS[1] + 1


@pytest.mark.parametrize("place, number", [
    (2, 16), (3, 0), (3, 2 ** 40), (4, -1), (5, 2)])
def test_an_index_with_wrong_places_is_made_again(
    paths, tmp_path, place, number):
  path, index = [str(tmp_path / name) for name in (
      "a.tf_record", ".a.tf_record.offsets")]
  tf.gfile.Copy(paths[1], path)
  offsets = record_order.find_offsets(path).tolist()
  numbers = np.fromfile(index, np.int64)
  numbers[place] = number
  numbers.tofile(index)
  assert record_order.find_offsets(path).tolist() == offsets


@pytest.mark.skipif(tf.__version__ < "2", reason="reads without checksums")
def test_an_index_of_another_order_is_named(paths, tmp_path):
  path, index = [str(tmp_path / name) for name in (
      "a.tf_record", ".a.tf_record.offsets")]
  tf.gfile.Copy(paths[1], path)
  record_order.find_offsets(path)
  numbers = np.fromfile(index, np.int64)
  numbers[3] += 1
  numbers.tofile(index)
  with pytest.raises(tf.errors.DataLossError) as error:
    read([path], 3)
  assert error.value.message.startswith(path + ": corrupted record at ")
  assert error.value.message.endswith("; remove " + index)


def test_a_folder_that_cannot_be_written_to_is_read(
    paths, tmp_path, monkeypatch):
  path = str(tmp_path / "a.tf_record")
  tf.gfile.Copy(paths[1], path)

  def refuse(unused_path):
    raise PermissionError("no")

  monkeypatch.setattr(record_order.files, "atomic_path", refuse)
  assert sorted(read([path], 3)) == [300, 301, 302]
  assert os.listdir(str(tmp_path)) == ["a.tf_record"]


@pytest.mark.parametrize("damage", ["cut", "flipped"])
def test_a_damaged_file_is_refused(paths, tmp_path, damage):
  with open(paths[0], "rb") as reader:
    content = bytearray(reader.read())
  if damage == "cut":
    content = content[:-3]
  else:
    content[1000] ^= 1
  path = tmp_path / "a.tf_record"
  path.write_bytes(content)
  with pytest.raises(tf.errors.DataLossError):
    read([str(path)], 1)


def test_files_without_records_are_refused(paths):
  with pytest.raises(ValueError, match="found no record"):
    read([paths[2]], 1)
