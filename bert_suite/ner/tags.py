"""Tags of words: three ways to write entities, and the best legal sequence.

IOB2   B- begins each entity, I- continues it.
IOB1   I- begins and continues; B- begins one right after another of its type.
IOBES  B- begins, I- continues, E- ends; S- is an entity of one word.

O is not part of an entity. Sources: Ramshaw and Marcus, arXiv cmp-lg/9505040;
Tjong Kim Sang and Veenstra, arXiv cs/9907006. Sequences that are not legal in
their scheme are read as conlleval, the scorer of CoNLL-2003, reads them.
"""

import collections
import functools
import re

import numpy as np

_LETTERS = {"IOB1": "BI", "IOB2": "BI", "IOBES": "BIES"}
SCHEMES = tuple(_LETTERS)
OUTSIDE = "O"
# What a message expects instead of an invalid tag.
EXPECTED = "O, or B-, I-, E- or S- with a type, such as B-PER"

_TAG = re.compile(r"([BIES])-([^\t\r\n]*\S[^\t\r\n]*)")

Entity = collections.namedtuple("Entity", "start end type")
Entity.__doc__ = """An entity of a sentence.

Attributes:
  start: int. Its first word.
  end: int. The word after its last.
  type: str.
"""


def is_tag(text):
  """Returns whether a str is a tag of any scheme."""
  return text == OUTSIDE or bool(_TAG.fullmatch(text))


@functools.lru_cache(maxsize=4096)
def split_tag(tag):
  """Returns the letter and the type of a tag; ("O", None) for O."""
  return (OUTSIDE, None) if tag == OUTSIDE else _TAG.fullmatch(tag).groups()


def _goes_on(before, tag):
  """Returns whether a tag continues the entity of the tag before it."""
  (letter_before, type_before), (letter, kind) = before, tag
  return letter in "IE" and letter_before in "BI" and kind == type_before


def read_entities(tags):
  """Returns the list of Entity in tags of any scheme, a list of str."""
  entities, start = [], None
  split = [split_tag(tag) for tag in tags] + [split_tag(OUTSIDE)]
  for i, tag in enumerate(split):
    if start is not None and not _goes_on(split[i - 1], tag):
      entities.append(Entity(start, i, split[start][1]))
      start = None
    if start is None and tag[0] != OUTSIDE:
      start = i
  return entities


def write_tags(entities, length, scheme):
  """Returns the tags, list of str, of a sentence.

  Args:
    entities: list of Entity, in order, without overlap.
    length: int. Words of the sentence.
    scheme: str. One of SCHEMES.
  """
  tags, before = [OUTSIDE] * length, None
  for start, end, kind in entities:
    letters = ["B"] + ["I"] * (end - start - 1)
    if scheme == "IOBES":
      letters[-1] = "E" if len(letters) > 1 else "S"
    elif scheme == "IOB1" and (before is None or before[1:] != (start, kind)):
      letters[0] = "I"
    tags[start:end] = ["%s-%s" % (letter, kind) for letter in letters]
    before = (start, end, kind)
  return tags


def convert(tags, scheme):
  """Returns tags of any scheme, a list of str, in another; None for None."""
  return tags and write_tags(read_entities(tags), len(tags), scheme)


def all_tags(types, scheme):
  """Returns every tag of some types, a list of str that begins with O."""
  return [OUTSIDE] + ["%s-%s" % (letter, kind) for kind in sorted(types)
                      for letter in _LETTERS[scheme]]


def types_of(tags):
  """Returns the set of the types of some tags."""
  return {split_tag(tag)[1] for tag in tags if tag != OUTSIDE}


def may_follow(before, tag, scheme):
  """Returns whether a tag may follow another in a scheme.

  Both ends of a sentence count as an O.

  Args:
    before: str. The tag of the word before.
    tag: str.
    scheme: str. One of SCHEMES.
  """
  before, tag = split_tag(before), split_tag(tag)
  if scheme == "IOB2":
    return tag[0] in "OB" or _goes_on(before, tag)
  if scheme == "IOB1":
    return tag[0] in "OI" or tag[1] == before[1]
  is_inside = before[0] in "BI"
  return _goes_on(before, tag) if is_inside else tag[0] not in "IE"


def find_illegal(tags, scheme):
  """Returns the index of the first illegal tag; None if all are legal.

  Args:
    tags: list of str.
    scheme: str. One of SCHEMES.
  """
  for i, (before, tag) in enumerate(
      zip([OUTSIDE] + tags, tags + [OUTSIDE])):
    if split_tag(tag)[0] not in OUTSIDE + _LETTERS[scheme] or (
        not may_follow(before, tag, scheme)):
      return min(i, len(tags) - 1)
  return None


class Decoder:
  """Turns the logits of words into tags."""

  def __init__(self, labels, scheme, legal_only=False):
    """Takes what the model predicts.

    Args:
      labels: list of str. L tags.
      scheme: str. One of SCHEMES.
      legal_only: bool. The tags of a sentence are the sequence with the
        greatest sum of logits among those that the scheme allows, instead of
        each word's best (Viterbi's algorithm; a log-softmax shifts all tags of
        a word equally, so that it is also the most likely sequence).
    """
    self._labels, self._legal_only = labels, legal_only
    self._outside = labels.index(OUTSIDE)
    self._follows = np.array([[may_follow(before, tag, scheme)
                               for tag in labels] for before in labels])
    self._penalties = np.where(self._follows, 0.0, -np.inf)  # [L, L]

  def decode(self, logits):
    """Returns the tags, list of str, of a sentence.

    Args:
      logits: float array [words, L].
    """
    chosen = np.argmax(logits, axis=-1)
    ends = np.full([1], self._outside)
    if self._legal_only and not np.all(self._follows[
        np.concatenate([ends, chosen]), np.concatenate([chosen, ends])]):
      chosen = self._find_best(np.asarray(logits, np.float64))
    return [self._labels[i] for i in chosen]

  def _find_best(self, logits):
    """Returns the indices of the best legal tags of at least one word."""
    best_before = []
    totals = logits[0] + self._penalties[self._outside]  # [L]
    for row in logits[1:]:
      options = totals[:, np.newaxis] + self._penalties  # [L, L]
      best_before.append(np.argmax(options, axis=0))
      totals = np.max(options, axis=0) + row
    path = [np.argmax(totals + self._penalties[:, self._outside])]
    for best in reversed(best_before):
      path.append(best[path[-1]])
    return path[::-1]
