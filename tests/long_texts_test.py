import numpy as np
import pytest

from bert_suite import long_texts
from helpers import captured_log

HEAD_TAIL = long_texts.LongTexts("head_tail")


def windows(stride=5, pooling="mean"):
  return long_texts.LongTexts("windows", stride, pooling)


def numbers(length, start=0):
  return list(range(start, start + length))


@pytest.mark.parametrize("length, head", [
    (510, 128), (126, 31), (10, 2), (3, 0), (1000, 128)])
def test_head_and_tail_are_shared_out_as_128_of_510(length, head):
  text = numbers(2000)
  assert long_texts.head_and_tail(text, length) == (
      text[:head] + text[2000 - length + head:])
  assert long_texts.head_and_tail(text[:length], length) == text[:length]


@pytest.mark.parametrize("policy", [
    long_texts.TRUNCATE, HEAD_TAIL, windows()])
def test_texts_that_fit_stay_whole(policy):
  assert policy.fit(numbers(8), None, 10) == [(numbers(8), [])]
  assert policy.fit(numbers(3), numbers(4), 10) == [(numbers(3), numbers(4))]


def test_head_and_tail_of_pairs_are_as_long_as_truncation_leaves_them():
  a, b = numbers(30), numbers(4, 100)
  assert long_texts.TRUNCATE.fit(a, b, 17) == [(numbers(10), b)]
  assert HEAD_TAIL.fit(a, b, 17) == [([0, 1] + numbers(8, 22), b)]
  (cut_a, cut_b), = HEAD_TAIL.fit(a, numbers(50, 100), 27)
  assert cut_a == [0, 1, 2] + numbers(9, 21)
  assert cut_b == [100, 101, 102] + numbers(9, 141)


@pytest.mark.parametrize("length, stride, starts", [
    (9, 5, [0, 1]), (20, 5, [0, 5, 10, 12]), (20, 8, [0, 8, 12]),
    (16, 4, [0, 4, 8]), (16, 8, [0, 8]), (17, 3, [0, 3, 6, 9])])
def test_windows_are_full_overlap_and_end_with_the_text(length, stride, starts):
  assert windows(stride).fit(numbers(length), [], 10) == [
      (numbers(8, start), []) for start in starts]


@pytest.mark.parametrize("size_a, size_b", [(30, 4), (4, 30)])
def test_the_shorter_text_of_a_pair_is_in_every_window(size_a, size_b):
  for a, b in windows(3).fit(numbers(size_a), numbers(size_b, 100), 13):
    assert len(a) + len(b) == 10
    assert [b, a][size_a < size_b] == [numbers(4, 100), numbers(4)][
        size_a < size_b]


@pytest.mark.parametrize("stride", [1, 6, 8])
@pytest.mark.parametrize("size_a, size_b, length", [
    (6, 6, 14), (7, 6, 13), (60, 50, 12), (1, 9, 9), (5, 2, 5), (40, 0, 10)])
def test_windows_leave_out_only_the_end_of_a_shorter_text(
    size_a, size_b, length, stride):
  found = windows(stride).fit(numbers(size_a), numbers(size_b, 100), length)
  read = {token for a, b in found for token in a + b}
  room = length - (3 if size_b else 2)
  shorter, longer = sorted([size_a, size_b])
  assert len(read) == longer + min(shorter, room // 2)
  assert all(len(a) + len(b) <= room for a, b in found)
  assert len(set(map(str, found))) == len(found)


@pytest.mark.parametrize("policy, length, message", [
    (windows(0), 10, "^--window_stride=0: expected a whole number"),
    (windows(9), 10, "^--window_stride=9: expected 1 to 8, the word pieces of "
     "a text in --max_seq_length=10$"),
    (windows(), 4, "^--long_text=windows: needs --max_seq_length=5 or more"),
    (windows(pooling="sum"), 10, "^--window_pooling=sum: expected one of mean"),
    (long_texts.LongTexts("split"), 10, "^--long_text=split: expected one of "),
    (long_texts.LongTexts("head_tail", 4), 10, "^--window_stride=4: only "
                                               "applies to "
                                               "--long_text=windows, found "
                                               "--long_text=head_tail; leave "
                                               "it out")])
def test_settings_that_are_wrong_are_named(policy, length, message):
  with pytest.raises(ValueError, match=message):
    policy.check(length)


def test_settings_that_are_right_pass():
  for policy in (long_texts.TRUNCATE, HEAD_TAIL, windows(1), windows(8)):
    policy.check(10)
  assert HEAD_TAIL.values() == {"long_text": "head_tail"}
  assert windows(4, "max").values() == {
      "long_text": "windows", "window_stride": 4, "window_pooling": "max"}


def count(policy, sizes, length=10, largest=None):
  """Returns what is logged of texts, or pairs, of some sizes."""
  counts = long_texts.SetCounts("examples", policy, largest)
  with captured_log() as lines:
    for size_a, size_b in sizes:
      long_texts.make_model_inputs(
          ["tea"] * size_a, ["tea"] * size_b, length, Tokenizer, policy, counts)
    counts.report()
  return lines


class Tokenizer:

  @staticmethod
  def convert_tokens_to_ids(tokens):
    return [1] * len(tokens)


LIMIT = "the 10 word pieces of --max_seq_length, [CLS] and [SEP] included"


@pytest.mark.parametrize("policy, how", [
    (long_texts.TRUNCATE, "were cut"),
    (HEAD_TAIL, "were cut to head and tail")])
def test_the_share_of_cut_texts_is_logged_with_what_would_help(policy, how):
  sizes = [(8, 0), (4, 3), (9, 0), (20, 20)]
  start = ("2 of 4 examples (50.0%%) have more than %s, and %s; the longest "
           "has " % (LIMIT, how))
  windows_help = "; --long_text=windows reads all of each"
  assert count(policy, sizes) == [
      start + "43: --max_seq_length=43 would hold all" + windows_help]
  assert count(policy, sizes, largest=20) == [
      start + "43: --max_seq_length=20, the model's largest, would cut 1" +
      windows_help]
  assert count(policy, sizes, largest=10) == [start + "43" + windows_help]
  assert count(policy, sizes[:2]) == [
      "None of the 2 examples was cut"]
  assert count(policy, []) == []


def test_windows_are_counted_and_so_are_shorter_texts_that_are_cut():
  first = ("2 of 3 examples (66.7%%) have more than %s, and are read in "
           "several windows: %d windows in all, %.2f per text; the longest has "
           "%d word pieces")
  assert count(windows(4), [(8, 0), (9, 0), (16, 0)]) == [
      first % (LIMIT, 6, 2.0, 18)]
  assert count(windows(4), [(4, 3), (9, 2), (9, 4)]) == [
      first % (LIMIT, 6, 2.0, 16),
      "1 of 3 examples (33.3%) are pairs whose shorter text is longer than "
      "half a window and was cut to that; a larger --max_seq_length cuts fewer"]


ARRAYS = {
    "example_index": np.array([0, 1, 1, 1, 2, 2], np.int32),
    "label_ids": np.array([1, 0, 0, 0, 1, 1], np.int32),
    "is_real_example": np.ones(6, np.float32),
    "per_example_loss": np.arange(6, dtype=np.float32),
    "logits": np.array([[5, -5], [1, 2], [3, 1], [2, 9], [-1, -4], [-3, -2]],
                       np.float32)}
POOLED = {"mean": [[5, -5], [2, 4], [-2, -3]],
          "max": [[5, -5], [3, 9], [-1, -2]]}


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_windows_of_a_set_become_its_examples(pooling):
  found = long_texts.pool_set(
      ARRAYS, pooling, lambda logits, label_ids: logits[:, 0] + label_ids)
  assert set(found) == set(ARRAYS) - {"example_index"}
  np.testing.assert_array_equal(found["logits"], POOLED[pooling])
  assert found["logits"].dtype == np.float32
  np.testing.assert_array_equal(found["label_ids"], [1, 0, 1])
  np.testing.assert_array_equal(
      found["per_example_loss"], np.array(POOLED[pooling])[:, 0] + [1, 0, 1])


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_predictions_are_pooled_as_they_arrive(pooling):
  taken = []

  def predictions():
    for index, logits in zip(ARRAYS["example_index"], ARRAYS["logits"]):
      taken.append(index)
      yield {"example_index": index, "logits": logits}

  found = long_texts.pool_predictions(
      predictions(), pooling, lambda logits: {"score": logits[0] + 1})
  first = next(found)
  np.testing.assert_array_equal(first["logits"], POOLED[pooling][0])
  assert first["score"] == POOLED[pooling][0][0] + 1
  assert taken == [0, 1]
  np.testing.assert_array_equal(
      [one["logits"] for one in found], POOLED[pooling][1:])
