"""Splits a stream of examples at random, with the same shares of each label."""

import random


def count_parts(counts, share):
  """Returns how many items of each kind are in either part.

  Args:
    counts: dict from a kind, such as a label, to the number of its items.
    share: float. The share of the second part.

  Returns:
    dict from kind to [int, int]. The second part has `share` of each kind,
    within one, and of all together, rounded; but the first part always has one
    of each kind.
  """
  parts, seen, taken = {}, 0, 0
  for kind, count in sorted(counts.items(), key=repr):
    seen += count
    second = min(round(share * seen) - taken, count - 1)
    taken += second
    parts[kind] = [count - second, second]
  return parts


def assign(items, kind, parts, seed):
  """Yields each item with its part, all splits alike; keeps no item.

  Args:
    items: iterable.
    kind: function of an item that returns its kind.
    parts: dict from kind to list of int, the items of it in each part.
    seed: int. The same seed splits the same items in the same way.

  Yields:
    (item, int): the number of a part, from 0; None for an item that was not
    counted.
  """
  generator = random.Random(seed)
  left = {name: list(counts) for name, counts in parts.items()}
  for item in items:
    counts = left.get(kind(item), [])
    if not sum(counts):
      yield item, None
      continue
    point, part = generator.randrange(sum(counts)), 0
    while point >= counts[part]:
      point -= counts[part]
      part += 1
    counts[part] -= 1
    yield item, part
