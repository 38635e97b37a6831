"""Counts the words of a text, in bounded memory and several processes."""

import collections

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import tokenization
from ..pretraining import corpus, workers

PART_BYTES = 2 ** 23  # of text that a process counts at once
MAX_WORDS = 2 ** 21  # distinct ones in memory; about 400 MB


class WordCounts:
  """Words and how often they occur; the rarest are dropped if too many.

  Attributes:
    words: dict from word to int.
    pieces: collections.Counter, from a piece of one character ("a" at the
      beginning of a word, "##a" within one) to how often words that were
      dropped had it.
    num_dropped: int. Occurrences of words that were dropped.
    num_too_long: int. Occurrences of words that WordpieceTokenizer turns into
      [UNK] because of their length. They are not counted elsewhere.
  """

  def __init__(self, words=None):
    self.words = dict(words or {})
    self.pieces = collections.Counter()
    self.num_dropped = self.num_too_long = 0

  def add(self, words):
    """Counts words, an iterable of str."""
    longest = tokenization.WordpieceTokenizer.max_input_chars_per_word
    ours = self.words
    for word in words:
      if len(word) > longest:
        self.num_too_long += 1
      else:
        ours[word] = ours.get(word, 0) + 1
    if len(ours) > MAX_WORDS:
      self._drop_rarest()

  def merge(self, other):
    """Adds the counts of another WordCounts."""
    for word, count in other.words.items():
      self.words[word] = self.words.get(word, 0) + count
    self.pieces.update(other.pieces)
    self.num_dropped += other.num_dropped
    self.num_too_long += other.num_too_long
    if len(self.words) > MAX_WORDS:
      self._drop_rarest()

  def _drop_rarest(self):
    """Drops all words up to a count, so that at most half as many are left.

    Manku and Motwani, "Approximate frequency counts over data streams", 2002:
    frequent words lose few of their occurrences.
    """
    left, least = len(self.words), 0
    for count, number in sorted(collections.Counter(
        self.words.values()).items()):
      if left <= MAX_WORDS // 2:
        break
      left, least = left - number, count
    dropped = {word: count for word, count in self.words.items()
               if count <= least}
    self.words = {word: count for word, count in self.words.items()
                  if count > least}
    self.pieces.update(count_characters(dropped))
    self.num_dropped += sum(dropped.values())

  def count_pieces(self):
    """Returns how often each piece of one character occurs, a Counter."""
    return count_characters(self.words) + self.pieces

  def sorted_words(self):
    """Returns (word, count) pairs, the most frequent first."""
    return sorted(self.words.items(), key=lambda pair: (-pair[1], pair[0]))


def count_characters(words):
  """Returns how often words have each piece of one character.

  Args:
    words: dict from word to count.

  Returns:
    collections.Counter from "a", or "##a" within a word, to int.
  """
  pieces = collections.Counter()
  for word, count in words.items():
    pieces[word[0]] += count
    for char in word[1:]:
      pieces["##" + char] += count
  return pieces


def count_words(paths, tokenizer, num_workers=1,
                advance=lambda count: None):
  """Counts the words of text files.

  If a text has too many words, which of the rarest are dropped does not depend
  on `num_workers`.

  Args:
    paths: list of str. UTF-8 text, plain or gzip, with lines of up to 1 MB.
    tokenizer: BasicTokenizer. Words are what it returns.
    num_workers: int. Processes to use.
    advance: function of the number of bytes that were read.

  Returns:
    WordCounts.

  Raises:
    ValueError: the text cannot be read, or has no words; or a worker died.
  """
  spans = corpus.list_spans(paths)
  parts = corpus.split_text(
      spans, max(1, corpus.count_bytes(spans) // PART_BYTES), at_lines=True)
  total = WordCounts()
  if num_workers == 1 or len(parts) == 1:
    found = (_count_part(advance, part, tokenizer) for part in parts)
  else:
    found = _count_in_workers(parts, tokenizer, num_workers, advance)
  for counts in found:
    total.merge(counts)
  if not total.words:
    raise ValueError("%s: found no words, expected text" % ", ".join(paths))
  if total.num_dropped:
    tf.logging.info(
        "More than %d different words: the rarest, %d of %d, were not kept",
        MAX_WORDS, total.num_dropped,
        total.num_dropped + sum(total.words.values()))
  if total.num_too_long:
    tf.logging.warning(
        "%d words have more than %d characters and were not counted: a "
        "tokenizer takes them for [UNK]", total.num_too_long,
        tokenization.WordpieceTokenizer.max_input_chars_per_word)
  return total


def _count_in_workers(parts, tokenizer, num_workers, advance):
  """Yields the WordCounts of parts, in their order."""
  early, next_index = {}, 0
  for outcome in workers.run(
      _count_part, [(part, tokenizer) for part in parts], num_workers,
      workers.start_method(span.path for part in parts for span in part),
      on_report=lambda unused_index, count: advance(count)):
    if outcome.error:
      first = parts[outcome.index][0]
      raise ValueError(
          "counting the words of %s from byte %d on: %s" % (
              first.path, first.begin, outcome.error)
          if isinstance(outcome.error, workers.Died) else outcome.error)
    early[outcome.index] = outcome.result
    while next_index in early:
      yield early.pop(next_index)
      next_index += 1


def _count_part(advance, part, tokenizer):
  """Returns the WordCounts of part of a text, a list of corpus.Span."""
  counts = WordCounts()
  for span in part:
    for line in corpus.read_sentences(span, advance):
      counts.add(tokenizer.tokenize(line))
  return counts
