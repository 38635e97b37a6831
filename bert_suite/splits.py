"""Splits a stream of examples at random, with the same shares of each label."""

import collections
import random

# The part of a training set, from 0, of so many, that a run evaluates on.
Fold = collections.namedtuple("Fold", "number count")


def labels_of(example):
  """Returns the labels of an example, a list of str; of a number, none."""
  label = example.label
  return label if isinstance(label, list) else (
      [label] if isinstance(label, str) else [])


def make_kind(counts):
  """Returns a function of an example that returns its label, of several the
  rarest; "" without one.

  Args:
    counts: dict from a label to the number of its examples.
  """
  return lambda example: min(
      labels_of(example), default="",
      key=lambda label: (counts[label], label))


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


def count_folds(counts, num_folds):
  """Returns how many items of each kind are in each of some equal parts.

  Args:
    counts: dict from a kind, such as a label, to the number of its items.
    num_folds: int. K.

  Returns:
    dict from kind to list of int [K]. Parts differ by one at most, in the items
    of each kind and of all together.
  """
  parts, first = {}, 0
  for kind, count in sorted(counts.items(), key=repr):
    more = count % num_folds
    parts[kind] = [count // num_folds + ((i - first) % num_folds < more)
                   for i in range(num_folds)]
    first += more
  return parts


def select(examples, fold, seed, is_inside):
  """Selects the examples of a fold, or the others.

  Args:
    examples: iterable of InputExample that can be iterated again.
    fold: Fold.
    seed: int. See `assign`.
    is_inside: bool. Selects those of the fold.

  Returns:
    iterate: function without arguments that returns an iterator.
    length: int. How many examples it yields.

  Raises:
    ValueError: there are fewer examples than folds.
  """
  kind = make_kind(collections.Counter(
      label for example in examples for label in labels_of(example)))
  parts = count_folds(collections.Counter(map(kind, examples)), fold.count)
  sizes = [sum(counts) for counts in zip(*parts.values())]
  if not sizes[-1]:
    raise ValueError("--k_folds=%d: found %d examples to train on, expected at "
                     "least as many as folds" % (fold.count, sum(sizes)))
  inside = sizes[fold.number]
  return lambda: (
      example for example, part in assign(examples, kind, parts, seed)
      if (part == fold.number) == is_inside
  ), inside if is_inside else sum(sizes) - inside
