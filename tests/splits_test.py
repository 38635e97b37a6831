"""Tests of splitting a stream of examples at random."""

import collections

import pytest

from bert_suite import splits


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
