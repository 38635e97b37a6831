"""Tests of input_pipeline: whole files or none, tables, records, batches."""

import collections
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import files, input_pipeline, model_inputs
from helpers import captured_log, count_records, gzip_file, read_batches
import tokenization

NAME_TO_FEATURES = {
    "ids": tf.FixedLenFeature([3], tf.int64),
    "weights": tf.FixedLenFeature([2], tf.float32),
    "label": tf.FixedLenFeature([], tf.int64),
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "c", "d", "e", "f"]


def make_features(count):
  return [{"ids": [i, i + 1, i * i], "weights": [0.5 * i, 1.0], "label": [i]}
          for i in range(count)]


def read_labels(input_fn, batch_size, num_batches=None, seed=1):
  batches = read_batches(input_fn, batch_size, num_batches, seed)
  return np.concatenate([batch["label"] for batch in batches]).tolist()


@pytest.fixture
def records(tmp_path):
  """A TFRecord file whose labels are 0 to 9."""
  path = str(tmp_path / "ten.tf_record")
  assert input_pipeline.write_examples(path, make_features(10)) == 10
  return path


# Writing.


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("before", ["old text", None])
def test_an_error_in_the_middle_leaves_what_was_there(tmp_path, error, before):
  path = tmp_path / "out.txt"
  if before is not None:
    path.write_text(before)
  with pytest.raises(error):
    with files.atomic_path(str(path)) as temporary:
      with tf.gfile.GFile(temporary, "w") as writer:
        writer.write("half of the new")
      assert os.path.dirname(temporary) == str(tmp_path)
      raise error()
  assert os.listdir(str(tmp_path)) == (["out.txt"] if before else [])
  if before is not None:
    assert path.read_text() == before


def test_an_error_before_anything_is_written_stays_that_error(tmp_path):
  with pytest.raises(ZeroDivisionError):
    with files.atomic_path(str(tmp_path / "out.txt")):
      raise ZeroDivisionError()
  assert os.listdir(str(tmp_path)) == []


def test_write_text_replaces_the_file(tmp_path):
  path = tmp_path / "out.txt"
  files.write_text(str(path), "first, and longer\n")
  files.write_text(str(path), "zw\u00f6lf\n")
  assert path.read_bytes() == "zw\u00f6lf\n".encode("utf-8")
  assert os.listdir(str(tmp_path)) == ["out.txt"]


def test_two_that_write_one_file_do_not_share_a_temporary_name(tmp_path):
  path = str(tmp_path / "out.txt")
  with files.atomic_path(path) as first:
    with files.atomic_path(path) as second:
      assert first != second
      for temporary in (first, second):
        with open(temporary, "w") as writer:
          writer.write(temporary)
    assert open(path).read() == second
  assert open(path).read() == first
  assert os.listdir(str(tmp_path)) == ["out.txt"]


def test_a_pipe_or_device_is_written_to_and_a_link_stays(tmp_path):
  assert not os.path.isfile(os.devnull)
  with files.atomic_path(os.devnull) as path:
    assert path == os.devnull
  pipe, link = tmp_path / "pipe", tmp_path / "link"
  os.mkfifo(str(pipe))
  with files.atomic_path(str(pipe)) as path:
    assert path == str(pipe)
  (tmp_path / "file").write_text("before")
  link.symlink_to(tmp_path / "file")
  files.write_text(str(link), "after")
  assert link.is_symlink() and (tmp_path / "file").read_text() == "after"


def test_write_examples_keeps_the_old_file_if_an_example_fails(
    records, tmp_path):
  def features():
    yield from make_features(3)
    raise ValueError("row 4 is wrong")

  with pytest.raises(ValueError, match="row 4"):
    input_pipeline.write_examples(records, features())
  assert os.listdir(str(tmp_path)) == ["ten.tf_record"]
  assert count_records(records) == 10


def test_examples_hold_int64_and_float_lists():
  example = input_pipeline.make_example(collections.OrderedDict([
      ("int", [3, True, np.int32(5)]), ("float", [1, 0.25]),
      ("float32", np.array([0.5, 2.0], np.float32)),
      ("array", np.array([7, 8]))]))
  feature = example.features.feature
  assert list(feature["int"].int64_list.value) == [3, 1, 5]
  assert list(feature["float"].float_list.value) == [1.0, 0.25]
  assert list(feature["float32"].float_list.value) == [0.5, 2.0]
  assert list(feature["array"].int64_list.value) == [7, 8]
  assert sorted(feature) == ["array", "float", "float32", "int"]


# Reading records.


def test_what_is_written_is_read(records):
  batches = read_batches(input_pipeline.make_input_fn(
      records, NAME_TO_FEATURES, is_training=False), 4)
  assert [len(batch["label"]) for batch in batches] == [4, 4, 2]
  for name, dtype in (("ids", np.int32), ("weights", np.float32),
                      ("label", np.int32)):
    values = np.concatenate([batch[name] for batch in batches])
    assert values.dtype == dtype
    expected = [np.reshape(f[name], values.shape[1:])
                for f in make_features(10)]
    np.testing.assert_array_equal(values, expected)


def test_drop_remainder_makes_the_batch_size_static(records):
  input_fn = input_pipeline.make_input_fn(
      records, NAME_TO_FEATURES, is_training=False, drop_remainder=True)
  assert read_labels(input_fn, 4) == list(range(8))
  with tf.Graph().as_default():
    shapes = tf.data.get_output_shapes(input_fn({"batch_size": 4}))
  assert shapes["ids"].as_list() == [4, 3]
  assert shapes["label"].as_list() == [4]


def test_several_files_are_read_one_after_the_other(records, tmp_path):
  other = str(tmp_path / "other.tf_record")
  input_pipeline.write_examples(other, make_features(3))
  input_fn = input_pipeline.make_input_fn(
      [other, records], NAME_TO_FEATURES, is_training=False)
  assert read_labels(input_fn, 20) == [0, 1, 2] + list(range(10))


@pytest.mark.parametrize("is_training", [True, False])
def test_gzip_files_among_others_are_read_as_if_they_were_plain(
    tmp_path, is_training):
  paths = []
  for index in range(4):
    paths.append(str(tmp_path / ("%d.tf_record" % index)))
    input_pipeline.write_examples(paths[-1], make_features(5 + 20 * index))
  input_fn = input_pipeline.make_input_fn(
      paths, NAME_TO_FEATURES, is_training=is_training, num_parallel_files=3,
      num_skipped=7, shuffle_buffer_size=5)
  plain = read_labels(input_fn, 4, 10)
  for path in paths[::2]:
    gzip_file(path)
  assert read_labels(input_fn, 4, 10) == plain
  assert [count_records(path) for path in paths] == [
      5, 25, 45, 65]


def training_input_fns(records, shuffle_buffer_size):
  """The same ten labels, from a file and from an array."""
  return [
      input_pipeline.make_input_fn(
          records, NAME_TO_FEATURES, is_training=True,
          shuffle_buffer_size=shuffle_buffer_size),
      input_pipeline.make_array_input_fn(
          {"label": np.arange(10, dtype=np.int32)}, is_training=True,
          shuffle_buffer_size=shuffle_buffer_size)]


@pytest.mark.parametrize("source", [0, 1])
def test_training_repeats_and_shuffles_without_losing_a_record(records, source):
  in_order = training_input_fns(records, 1)[source]
  assert read_labels(in_order, 4, 6) == (3 * list(range(10)))[:24]

  shuffled = training_input_fns(records, 5)[source]
  labels = read_labels(shuffled, 4, 25)
  # 105 records went into the buffer, 10 or 11 of each; 5 are still there.
  counts = collections.Counter(labels)
  assert sorted(counts) == list(range(10))
  assert min(counts.values()) >= 5
  assert max(counts.values()) <= 11
  assert labels != (10 * list(range(10)))
  assert labels == read_labels(shuffled, 4, 25)  # the seed is the same
  assert labels != read_labels(shuffled, 4, 25, seed=2)


def test_arrays_come_in_batches_of_their_own_type():
  arrays = {"x": np.arange(14, dtype=np.float32).reshape([7, 2]),
            "label": np.arange(7, dtype=np.int32)}
  input_fn = input_pipeline.make_array_input_fn(arrays, is_training=False)
  batches = read_batches(input_fn, 3)
  assert [len(batch["x"]) for batch in batches] == [3, 3, 1]
  for name in arrays:
    values = np.concatenate([batch[name] for batch in batches])
    np.testing.assert_array_equal(values, arrays[name])
    assert values.dtype == arrays[name].dtype
  full = input_pipeline.make_array_input_fn(
      arrays, is_training=False, drop_remainder=True)
  assert read_labels(full, 3) == list(range(6))


# Texts to what the model reads.


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  path = str(tmp_path_factory.mktemp("vocab") / "vocab.txt")
  with open(path, "w", encoding="utf-8") as writer:
    writer.write("\n".join(WORDS) + "\n")
  return tokenization.FullTokenizer(path)


@pytest.mark.parametrize("a,b,max_length,shortened", [
    ("abc", "de", 5, ("abc", "de")),
    ("abcd", "ef", 5, ("abc", "ef")),
    ("abcd", "ef", 3, ("ab", "e")),
    ("a", "bcdef", 3, ("a", "bc")),
    ("abc", "def", 5, ("abc", "de")),  # of equals, the second is cut first
    ("ab", "cd", 0, ("", "")),
    ("abc", "", 2, ("ab", "")),
])
def test_truncate_pair_cuts_the_longer_one(a, b, max_length, shortened):
  tokens_a, tokens_b = list(a), list(b)
  model_inputs.truncate_pair(tokens_a, tokens_b, max_length)
  assert ("".join(tokens_a), "".join(tokens_b)) == shortened


@pytest.mark.parametrize("a,b,max_seq_length,tokens,segment_ids", [
    ("ab", "c", 8, "[CLS] a b [SEP] c [SEP]", [0, 0, 0, 0, 1, 1, 0, 0]),
    ("ab", "c", 6, "[CLS] a b [SEP] c [SEP]", [0, 0, 0, 0, 1, 1]),
    ("ab", "c", 5, "[CLS] a [SEP] c [SEP]", [0, 0, 0, 1, 1]),
    ("ab", "cdef", 7, "[CLS] a b [SEP] c d [SEP]", [0, 0, 0, 0, 1, 1, 1]),
    ("abc", None, 7, "[CLS] a b c [SEP]", [0] * 7),
    ("abc", "", 5, "[CLS] a b c [SEP]", [0] * 5),
    ("abc", None, 4, "[CLS] a b [SEP]", [0] * 4),
    ("abc", None, 2, "[CLS] [SEP]", [0] * 2),
    ("", None, 3, "[CLS] [SEP]", [0] * 3),
])
def test_make_model_input(
    tokenizer, a, b, max_seq_length, tokens, segment_ids):
  given = list(a), None if b is None else list(b)
  found = model_inputs.make_model_input(
      given[0], given[1], max_seq_length, tokenizer)
  tokens = tokens.split()
  num_padding = max_seq_length - len(tokens)
  assert found.tokens == tokens
  assert found.input_ids == (
      [WORDS.index(token) for token in tokens] + [0] * num_padding)
  assert found.input_mask == [1] * len(tokens) + [0] * num_padding
  assert found.segment_ids == segment_ids
  assert given == (list(a), None if b is None else list(b))  # left as it was


def test_pad_to_length():
  assert model_inputs.pad_to_length((1, 2), 4) == [1, 2, 0, 0]
  assert model_inputs.pad_to_length([1, 2], 4, -1) == [1, 2, -1, -1]
  assert model_inputs.pad_to_length([1, 2], 2) == [1, 2]


def test_log_example_shows_the_first_in_short_and_all_as_debug(tokenizer):
  def log(index):
    model_inputs.log_example("train-7", model_inputs.make_model_input(
        ["a"], ["b"], 6, tokenizer), "yes (id = 1)", index)

  with captured_log() as lines:
    log(0)
    log(1)
  assert lines == [
      "*** Example ***", "guid: train-7", "tokens: [CLS] a [SEP] b [SEP]",
      "label: yes (id = 1)"]
  with captured_log() as lines:
    tf.logging.set_verbosity(tf.logging.DEBUG)
    log(1)
  assert lines == [
      "*** Example ***", "guid: train-7", "tokens: [CLS] a [SEP] b [SEP]",
      "input_ids: 2 4 3 5 3 0", "input_mask: 1 1 1 1 1 0",
      "segment_ids: 0 0 0 1 1 0", "label: yes (id = 1)"]


@pytest.mark.parametrize("max_tokens, expected", [
    (150, [[1, 3, 0, 4, 2]]),
    (149, [[1, 3, 0, 4], [2]]),  # five as long as the longest
    (24, [[1, 3, 0, 4], [2]]),
    (23, [[1, 3, 0], [4], [2]]),
    (1, [[1], [3], [0], [4], [2]])])
def test_batches_of_tokens_hold_no_more_than_they_may(max_tokens, expected):
  assert model_inputs.batches_of_tokens(
      [4, 1, 30, 3, 6], max_tokens) == expected
  assert model_inputs.batches_of_tokens([], max_tokens) == []


def test_a_long_text_among_many_short_ones_has_no_large_batch():
  """Attention takes memory for all of a batch as long as its longest."""
  lengths = [512] + [5] * 300
  for batch in model_inputs.batches_of_tokens(
      lengths, model_inputs.most_tokens(32, 512)):
    assert len(batch) * max(lengths[i] for i in batch) <= 32 * 512


@pytest.mark.parametrize("batch_size", [1, 2, 4])
def test_records_of_similar_lengths_come_together_and_go_in_order(
    tmp_path, monkeypatch, batch_size):
  monkeypatch.setattr(input_pipeline, "_BATCHES_TO_SORT", 5)
  lengths = np.random.RandomState(0).randint(0, 9, 33)
  path = str(tmp_path / "lengths.tf_record")
  input_pipeline.write_examples(path, [
      {"input_mask": [1] * length + [0] * (8 - length), "label": [i]}
      for i, length in enumerate(lengths)])
  batches = read_batches(input_pipeline.make_input_fn(
      path, {"input_mask": tf.FixedLenFeature([8], tf.int64),
             "label": tf.FixedLenFeature([], tf.int64)},
      is_training=False, by_length=True), batch_size)
  size = 5 * batch_size
  assert [batch["label"].tolist() for batch in batches] == [
      [start + i for i in batch] for start in range(0, 33, size)
      for batch in model_inputs.batches_of_tokens(
          lengths[start:start + size], batch_size * 8)]
  results = [{"label": label, input_pipeline.PLACE: place} for batch in batches
             for label, place in zip(batch["label"],
                                     batch[input_pipeline.PLACE])]
  assert list(input_pipeline.in_order(results)) == [
      {"label": label} for label in range(33)]
  # Without places, they are in order already.
  results = [{"label": 2}, {"label": 1}]
  assert list(input_pipeline.in_order(map(dict, results))) == results
