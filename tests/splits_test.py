"""Tests of splitting a stream of examples at random."""

import collections

import numpy as np
import pytest

from bert_suite import splits
from run_classifier import InputExample


@pytest.mark.parametrize("counts, share, expected", [
    ({"a": 80, "b": 20}, 0.1, {"a": [72, 8], "b": [18, 2]}),
    ({"a": 1, "b": 1, "c": 1}, 0.5, {"a": [1, 0], "b": [1, 0], "c": [1, 0]}),
    ({"a": 2, "b": 2}, 0.9, {"a": [1, 1], "b": [1, 1]}),
    ({"": 10}, 0.25, {"": [8, 2]}),
])
def test_each_kind_has_its_share(counts, share, expected):
  assert splits.count_parts(counts, share) == expected


def test_many_small_kinds_have_their_share_together():
  parts = splits.count_parts({i: 4 for i in range(100)}, 0.1)
  assert sum(second for _, second in parts.values()) == 40
  assert max(second for _, second in parts.values()) == 1


@pytest.mark.parametrize("counts, share, kind, most", [
    (dict({"a%d" % i: 1 for i in range(500)}, zzz=1000), 0.1, "zzz", 101),
    (dict({"a%d" % i: 1 for i in range(5)}, s=10), 0.2, "s", 3)])
def test_rare_kinds_leave_the_share_of_the_others_alone(
    counts, share, kind, most):
  parts = splits.count_parts(counts, share)
  assert parts.pop(kind)[1] == most
  assert not any(second for _, second in parts.values())


def halve(counts):
  return splits.count_parts(counts, 0.5)


def test_equal_texts_are_in_the_same_part():
  examples = [InputExample(str(i), "text %d" % (i % 100), label="ab"[i % 2])
              for i in range(200)]
  examples += [InputExample("n", "text 0", label="b"),  # another label
               InputExample("p", "text 0", "text 1", label="b")]
  split = splits.Split(
      examples, lambda counts: splits.count_parts(counts, 0.1), 3)
  assert split.sizes == [sum(split.sizes) - split.sizes[1], split.sizes[1]]
  assert sum(split.sizes) == 202 and split.num_repeated == 101
  parts = []
  for number in range(2):
    iterate, length = split.select(lambda part, number=number: part == number)
    parts.append([(one.text_a, one.text_b) for one in iterate()])
    assert len(parts[-1]) == length == split.sizes[number]
  assert 20 <= length <= 22 and not set(parts[0]) & set(parts[1])


def test_numbers_have_their_share_in_each_range():
  examples = [InputExample(str(i), "text %d" % i, label=float(i))
              for i in range(100)]
  iterate, length = splits.Split(examples, halve, 1).select(bool)
  assert length == 50
  labels = [one.label for one in iterate()]
  assert np.histogram(labels, 10, (0, 100))[0].tolist() == [5] * 10


def test_of_several_labels_the_rarest_has_its_share():
  labels = [["a", "b"], ["a"], []] * 4
  examples = [InputExample(str(i), "text %d" % i, label=label)
              for i, label in enumerate(labels)]
  iterate, _ = splits.Split(examples, halve, 1).select(bool)
  assert sorted(one.label for one in iterate()) == (
      [[]] * 2 + [["a"]] * 2 + [["a", "b"]] * 2)


def test_items_are_assigned_at_random_and_always_alike():
  items = [(i, "ab"[i % 5 == 0]) for i in range(1000)]
  parts = splits.count_parts(
      collections.Counter(kind for _, kind in items), 0.1)

  def second(seed):
    return [item for item, part in splits.assign(
        iter(items), lambda item: item[1], parts, seed) if part]

  found = second(3)
  assert collections.Counter(kind for _, kind in found) == {"a": 80, "b": 20}
  assert found == second(3) != second(4)
  # Each has the same chance: over many seeds each item is drawn about as often.
  drawn = collections.Counter(
      item for seed in range(300) for item in second(seed))
  assert len(drawn) == 1000 and max(drawn.values()) < 60


def test_an_item_that_was_not_counted_is_in_no_part():
  assert list(splits.assign("aab", str, {"a": [1, 0]}, 0)) == [
      ("a", 0), ("a", None), ("b", None)]
