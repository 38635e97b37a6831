"""Splits a stream of examples at random, with equal shares of each label."""

import array
import collections
import hashlib
import random
import zlib

import numpy as np

# The part of a training set, from 0, of so many, that a run evaluates on.
Fold = collections.namedtuple("Fold", "number count")

_NUM_RANGES = 10  # of labels that are numbers; stratified like labels


def labels_of(example):
  """Returns the labels of an example, a list of str; empty for a number."""
  label = example.label
  return label if isinstance(label, list) else (
      [label] if isinstance(label, str) else [])


def _key(example):
  """Returns a 64-bit int that examples with the same texts share."""
  texts = repr((example.text_a, example.text_b)).encode("utf-8")
  return int.from_bytes(hashlib.sha1(texts).digest()[:8], "big")


class Split:
  """Examples split into parts at random, with equal shares of each label.

  Equal texts are in the same part: a model that was trained on a text is not
  evaluated on it. Examples with several labels are stratified by the rarest,
  those with numbers by decile. Examples are not kept in memory.

  Attributes:
    sizes: list of int. The number of examples in each part.
    num_repeated: int. Examples whose texts occur in an earlier one.
  """

  def __init__(self, examples, count, seed):
    """Reads the examples, three times.

    Args:
      examples: iterable of InputExample that can be iterated again.
      count: function of a dict from kind to the number of items that returns
        the parts, such as `count_parts`.
      seed: int. See `assign`.
    """
    self._examples, self._seed = examples, seed
    self._counts = collections.Counter()
    keys, numbers = array.array("Q"), array.array("d")  # 8 bytes each
    for example in examples:
      keys.append(_key(example))
      self._counts.update(labels_of(example))
      if isinstance(example.label, float):
        numbers.append(example.label)
    self._limits = np.percentile(numbers, np.linspace(
        0, 100, _NUM_RANGES + 1)[1:-1]) if numbers else []
    values, counts = np.unique(keys, return_counts=True)
    self._repeated = frozenset(values[counts > 1].tolist())
    self.num_repeated = len(keys) - len(values)

    kinds, seen = collections.Counter(), set()
    for example in examples:
      group = self._group(example)
      if group not in seen:
        kinds[self._kind(example)] += 1
      if group is not None:
        seen.add(group)
    self._parts = count(kinds)
    found = collections.Counter(part for _, part in self._assign())
    self.sizes = [found[part] for part in range(
        max(map(len, self._parts.values()), default=0))]

  def _kind(self, example):
    """Returns what an example is stratified by: a label, or a range."""
    if isinstance(example.label, float):
      return int(np.searchsorted(self._limits, example.label))
    return min(labels_of(example), default="",
               key=lambda label: (self._counts[label], label))

  def _group(self, example):
    key = _key(example)
    return key if key in self._repeated else None

  def _assign(self):
    return assign(
        self._examples, self._kind, self._parts, self._seed, self._group)

  def select(self, is_selected):
    """Selects examples by the number of their part, from 0.

    Args:
      is_selected: function of the number of a part that returns a bool.

    Returns:
      iterate: function without arguments that returns an iterator.
      length: int. How many examples it yields.
    """
    return lambda: (
        example for example, part in self._assign()
        if part is not None and is_selected(part)
    ), sum(size for part, size in enumerate(self.sizes) if is_selected(part))


def count_parts(counts, share):
  """Returns how many items of each kind are in each of two parts.

  Args:
    counts: dict from a kind, such as a label, to the number of its items.
    share: float. The share of the second part.

  Returns:
    dict from kind to [int, int]. The second part has `share` of each kind,
    within one, and of all together as nearly as that allows; but the first part
    always has at least one of each kind.
  """
  second = {kind: min(int(share * count), count - 1)
            for kind, count in counts.items()}
  missing = round(share * sum(counts.values())) - sum(second.values())
  # Those that lose most by rounding down come first; ties not in name order.
  for kind in sorted(counts, key=lambda kind: (
      -(share * counts[kind] % 1), zlib.crc32(repr(kind).encode("utf-8")))):
    if missing > 0 and second[kind] < counts[kind] - 1:
      second[kind] += 1
      missing -= 1
  return {kind: [counts[kind] - second[kind], second[kind]] for kind in counts}


def assign(items, kind, parts, seed, group=lambda item: None):
  """Yields each item with its part, all splits equally likely; keeps no item.

  Args:
    items: iterable.
    kind: function of an item that returns its kind.
    parts: dict from kind to list of int, the number of its items in each part;
      a group counts as one.
    seed: int. The same seed splits the same items in the same way.
    group: function of an item that returns the key of its group, whose items
      are in the same part, or None for an item that is alone.

  Yields:
    (item, int): the number of a part, from 0; None for an item that was not
    counted.
  """
  generator, chosen = random.Random(seed), {}
  left = {name: list(counts) for name, counts in parts.items()}
  for item in items:
    name = group(item)
    if name not in chosen:
      part = _draw(left.get(kind(item), []), generator)
      if name is not None:
        chosen[name] = part
    yield item, part if name is None else chosen[name]


def _draw(counts, generator):
  """Draws a part, int, weighted by the items it still needs; None if none."""
  if not sum(counts):
    return None
  point, part = generator.randrange(sum(counts)), 0
  while point >= counts[part]:
    point -= counts[part]
    part += 1
  counts[part] -= 1
  return part


def count_folds(counts, num_folds):
  """Returns how many items of each kind are in each of K equal parts.

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
  """Selects the examples of a fold, or all others.

  Args:
    examples: iterable of InputExample that can be iterated again.
    fold: Fold.
    seed: int. See `assign`.
    is_inside: bool. Selects those of the fold.

  Returns:
    iterate: function without arguments that returns an iterator.
    length: int. How many examples it yields.

  Raises:
    ValueError: there are fewer texts than folds.
  """
  split = Split(
      examples, lambda counts: count_folds(counts, fold.count), seed)
  if not split.sizes[-1]:
    raise ValueError("--k_folds=%d: found %d different texts to train on, "
                     "expected at least as many as folds" % (
                         fold.count, sum(split.sizes) - split.num_repeated))
  return split.select(lambda part: (part == fold.number) == is_inside)
