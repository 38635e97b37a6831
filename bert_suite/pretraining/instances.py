"""Documents to training instances: pairs of segments with masked tokens.

The same code takes tokens that are str, as programs pass them, and int, as
`corpus` keeps them. It draws from a `random.Random` what google-research/bert
draws, in the same order, so a seed gives the same instances.

Source: Devlin et al., arXiv 1810.04805, section 3.1 and appendix A.2.
"""

import collections
import dataclasses
import functools
import itertools

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import corpus


class Settings(collections.namedtuple("Settings", [
    "max_seq_length", "max_predictions_per_seq", "masked_lm_prob",
    "short_seq_prob", "truncate_segment_prob", "dupe_factor",
    "do_whole_word_mask", "whole_word_segmented", "split_long_lines"],
                                      defaults=[False])):
  """How to make records: the flags of the same names."""

  @property
  def room(self):
    """Tokens of text that fit in a record besides [CLS] and two [SEP]."""
    return self.max_seq_length - 3

  def check(self):
    """Raises ValueError if the values make no sense."""
    for name in ("masked_lm_prob", "short_seq_prob", "truncate_segment_prob"):
      if not 0 <= getattr(self, name) <= 1:  # which is true for NaN too
        raise ValueError("--%s=%s: expected a share, from 0 to 1" % (
            name, getattr(self, name)))
    for name, least in (("max_seq_length", 5), ("max_predictions_per_seq", 1),
                        ("dupe_factor", 1)):
      if getattr(self, name) < least:
        raise ValueError("--%s=%d: expected %d or more" % (
            name, getattr(self, name), least))
    if self.max_predictions_per_seq > self.room:
      tf.logging.warning(
          "--max_predictions_per_seq=%d: a record of --max_seq_length=%d has "
          "only %d tokens to mask; the rest is padding",
          self.max_predictions_per_seq, self.max_seq_length, self.room)
    wanted = int(round(self.max_seq_length * self.masked_lm_prob))
    if self.max_predictions_per_seq < wanted:
      tf.logging.warning("--max_predictions_per_seq=%d: --masked_lm_prob=%g of "
                         "%d tokens would be %d", self.max_predictions_per_seq,
                         self.masked_lm_prob, self.max_seq_length, wanted)


@dataclasses.dataclass(eq=False)
class TrainingInstance:
  """A record, not padded.

  Its tokens are str, or int if it is made from a `corpus.Document`.

  Attributes:
    tokens: list, `[CLS] ... [SEP] ... [SEP]`, some of them masked.
    segment_ids: list of int, 0 or 1 for each token.
    masked_lm_positions: list of int, ascending: places of tokens to predict.
    masked_lm_labels: list, the tokens that were there.
    is_random_next: bool, the second segment is from elsewhere.
  """

  tokens: list
  segment_ids: list
  masked_lm_positions: list
  masked_lm_labels: list
  is_random_next: bool


class Symbols(collections.namedtuple(
    "Symbols", ["cls", "sep", "mask", "words", "is_inner"])):
  """The tokens that making records needs to know, as str or as int.

  Attributes:
    cls: [CLS].
    sep: [SEP].
    mask: [MASK].
    words: list. What a token may be replaced with at random.
    is_inner: function of a token: does it belong to the word before it? None
      if each token is masked separately.
  """

  @classmethod
  def of_strings(cls, vocab_words, do_whole_word_mask):
    """Makes the symbols of tokens that are str."""
    return cls("[CLS]", "[SEP]", "[MASK]", vocab_words,
               _is_inner_piece if do_whole_word_mask else None)

  @classmethod
  def of_ids(cls, vocab, settings):
    """Makes the symbols of tokens as `corpus.read_text` numbers them."""
    is_inner = None
    if settings.whole_word_segmented:
      is_inner = functools.partial(int.__le__, corpus.vocab_range(vocab))
    elif settings.do_whole_word_mask:
      is_inner = {index for token, index in vocab.items()
                  if _is_inner_piece(token)}.__contains__
    return cls(vocab["[CLS]"], vocab["[SEP]"], vocab["[MASK]"],
               list(vocab.values()), is_inner)


def _is_inner_piece(token):
  return token.startswith("##")


class Coverage:
  """Which tokens of a text are in at least one record."""

  def __init__(self, num_tokens, may_be_shortened):
    """Starts with no record.

    Args:
      num_tokens: int. Tokens of the text.
      may_be_shortened: bool. Records may have sentences with the ends cut off.
    """
    self._is_used = bytearray(num_tokens)
    self._may_be_shortened = may_be_shortened

  def add(self, document, position, sentences, skipped, count):
    """Marks the tokens of a document that a record has.

    Args:
      document: corpus.Document.
      position: int. The index of the first of the sentences in the document.
      sentences: list of list. As joined in the record; `_maybe_truncate` may
        have shortened them.
      skipped: int. Tokens that the record lacks at the beginning.
      count: int. Tokens that it has.
    """
    if not self._may_be_shortened:  # then the sentences are contiguous
      start = document.start(position) + skipped
      self._is_used[start:start + count] = b"\1" * count
      return
    for place, sentence in enumerate(sentences, position):
      taken = min(len(sentence) - skipped, count)
      if taken > 0:
        start = document.start(place) + skipped
        self._is_used[start:start + taken] = b"\1" * taken
        count -= taken
      skipped = max(0, skipped - len(sentence))

  def count(self, begin=0, end=None):
    """Returns how many of the tokens from begin to end are in a record."""
    return self._is_used.count(1, begin, end)


def create_instances(documents, settings, symbols, rng,
                     on_document=lambda done: None, coverage=None):
  """Yields the records of all passes over the documents, which it shuffles.

  Args:
    documents: list of corpus.Document.
    settings: Settings.
    symbols: Symbols.
    rng: random.Random.
    on_document: function of the number of documents processed.
    coverage: Coverage to fill, or None.

  Yields:
    TrainingInstance.
  """
  rng.shuffle(documents)
  for done in range(settings.dupe_factor * len(documents)):
    yield from _instances_of_document(
        documents, done % len(documents), settings, symbols, rng, coverage)
    on_document(done + 1)


def create_instances_from_document(
    all_documents, document_index, max_seq_length, short_seq_prob,
    masked_lm_prob, max_predictions_per_seq, vocab_words, rng,
    do_whole_word_mask=False, truncate_segment_prob=0.0):
  """Makes the records of one pass over a document.

  Args:
    all_documents: list of document: list of sentence: list of str.
    document_index: int. Which one to make records from.
    max_seq_length: int. See the flag, as for all without a description.
    short_seq_prob: float.
    masked_lm_prob: float.
    max_predictions_per_seq: int.
    vocab_words: list of str. What a token may be replaced with at random.
    rng: random.Random.
    do_whole_word_mask: bool.
    truncate_segment_prob: float.

  Returns:
    list of TrainingInstance.
  """
  settings = Settings(
      max_seq_length, max_predictions_per_seq, masked_lm_prob, short_seq_prob,
      truncate_segment_prob, dupe_factor=1,
      do_whole_word_mask=do_whole_word_mask, whole_word_segmented=False)
  return list(_instances_of_document(
      all_documents, document_index, settings,
      Symbols.of_strings(vocab_words, do_whole_word_mask), rng))


def _instances_of_document(documents, index, settings, symbols, rng,
                           coverage=None):
  """Yields the records of one pass over documents[index].

  Sentences are gathered until they fill a record; the second segment begins
  between two of them. If it is taken from elsewhere, the sentences that it
  replaces go into the next record.
  """
  document = documents[index]
  max_num_tokens = settings.room
  # Fine-tuning has short inputs, so pre-training should.
  target_length = max_num_tokens
  if rng.random() < settings.short_seq_prob:
    target_length = rng.randint(2, max_num_tokens)
  chunk, chunk_length, position = [], 0, 0
  while position < len(document):
    chunk.append(_maybe_truncate(document[position], settings, rng))
    chunk_length += len(chunk[-1])
    position += 1
    if chunk_length < target_length and position < len(document):
      continue
    begin = position - len(chunk)
    num_first = rng.randint(1, len(chunk) - 1) if len(chunk) > 1 else 1
    tokens_a = _join(chunk[:num_first])
    is_random_next = len(chunk) == 1 or rng.random() < 0.5
    if is_random_next:
      document_b, position_b, chunk_b = _random_segment(
          documents, index, target_length - len(tokens_a), settings, rng)
      position -= len(chunk) - num_first
    else:
      document_b, position_b = document, begin + num_first
      chunk_b = chunk[num_first:]
    tokens_b = _join(chunk_b)
    skipped_a, skipped_b = truncate_seq_pair(
        tokens_a, tokens_b, max_num_tokens, rng)
    if coverage is not None:
      coverage.add(document, begin, chunk[:num_first], skipped_a, len(tokens_a))
      coverage.add(document_b, position_b, chunk_b, skipped_b, len(tokens_b))
    tokens = [symbols.cls] + tokens_a + [symbols.sep]
    segment_ids = [0] * len(tokens) + [1] * (len(tokens_b) + 1)
    tokens += tokens_b
    tokens.append(symbols.sep)
    tokens, positions, labels = _mask(
        tokens, settings.masked_lm_prob, settings.max_predictions_per_seq,
        symbols, rng)
    yield TrainingInstance(tokens, segment_ids, positions, labels,
                           is_random_next)
    chunk, chunk_length = [], 0


def _join(sentences):
  return list(itertools.chain.from_iterable(sentences))


def _maybe_truncate(sentence, settings, rng):
  """Returns the sentence, or with some probability only a beginning of it."""
  probability = settings.truncate_segment_prob
  # No draw if it is off, so that the records stay those of the reference.
  if probability and rng.random() < probability and len(sentence) > 1:
    return sentence[:rng.randint(1, len(sentence) - 1)]
  return sentence


def _random_segment(documents, index, target_length, settings, rng):
  """Takes sentences of a document other than documents[index].

  If ten draws all give that document, as they do if there is no other, it is
  used.

  Returns:
    The document, the first sentence's position in it, and the list of
    sentences.
  """
  for _ in range(10):
    random_index = rng.randint(0, len(documents) - 1)
    if random_index != index:
      break
  document = documents[random_index]
  begin = rng.randint(0, len(document) - 1)
  sentences, length = [], 0
  for position in range(begin, len(document)):
    sentences.append(_maybe_truncate(document[position], settings, rng))
    length += len(sentences[-1])
    if length >= target_length:
      break
  return document, begin, sentences


def truncate_seq_pair(tokens_a, tokens_b, max_num_tokens, rng):
  """Shortens two lists in place until they fit.

  The longer list, or `tokens_b` if both are equally long, loses its first or
  last token, at random, so that neither end of a text becomes rarer.

  Args:
    tokens_a: list.
    tokens_b: list.
    max_num_tokens: int. Largest length of both together.
    rng: random.Random.

  Returns:
    (int, int). How many tokens each list lost at its beginning.
  """
  begin_a, length_a = 0, len(tokens_a)
  begin_b, length_b = 0, len(tokens_b)
  for _ in range(length_a + length_b - max_num_tokens):
    is_first = rng.random() < 0.5
    if length_a > length_b:
      length_a -= 1
      begin_a += is_first
    else:
      length_b -= 1
      begin_b += is_first
  tokens_a[:] = tokens_a[begin_a:begin_a + length_a]
  tokens_b[:] = tokens_b[begin_b:begin_b + length_b]
  return begin_a, begin_b


def create_masked_lm_predictions(tokens, masked_lm_prob,
                                 max_predictions_per_seq, vocab_words, rng,
                                 do_whole_word_mask=False):
  """Masks some tokens of a record.

  Of the chosen tokens, 80% become [MASK], 10% a random entry of the vocabulary,
  and 10% stay unchanged.

  Args:
    tokens: list of str, with [CLS] and [SEP].
    masked_lm_prob: float. Share of tokens to choose.
    max_predictions_per_seq: int. How many at most.
    vocab_words: list of str.
    rng: random.Random.
    do_whole_word_mask: bool. Choose all pieces of a word or none.

  Returns:
    tokens: list of str, a new list.
    masked_lm_positions: list of int, ascending.
    masked_lm_labels: list of str, the tokens that were there.
  """
  return _mask(tokens, masked_lm_prob, max_predictions_per_seq,
               Symbols.of_strings(vocab_words, do_whole_word_mask), rng)


def _mask(tokens, masked_lm_prob, max_predictions_per_seq, symbols, rng):
  """Like `create_masked_lm_predictions`, for tokens that are str or int."""
  words, rest = _find_words(tokens, symbols)
  rng.shuffle(words)

  num_to_predict = min(max_predictions_per_seq,
                       max(1, int(round(len(tokens) * masked_lm_prob))))
  masked = list(tokens)
  positions = []
  for word in words:
    if len(positions) >= num_to_predict:
      break
    places = [word] + rest[word] if word in rest else [word]
    if len(positions) + len(places) > num_to_predict:
      continue  # a shorter word may still fit
    for place in places:
      if rng.random() < 0.8:
        masked[place] = symbols.mask
      elif rng.random() >= 0.5:
        masked[place] = symbols.words[rng.randint(0, len(symbols.words) - 1)]
    positions += places
  positions.sort()
  return masked, positions, [tokens[position] for position in positions]


def _find_words(tokens, symbols):
  """Finds the tokens that are masked together.

  Returns:
    words: list of int, where words begin.
    rest: dict from there to list of int, the other places of the word; words of
      one token are not in it.
  """
  cls, sep, is_inner = symbols.cls, symbols.sep, symbols.is_inner
  places = [place for place, token in enumerate(tokens)
            if token != cls and token != sep]
  if is_inner is None:
    return places, {}
  words, rest = [], {}
  for place in places:
    if words and is_inner(tokens[place]):
      rest.setdefault(words[-1], []).append(place)
    else:
      words.append(place)
  return words, rest
