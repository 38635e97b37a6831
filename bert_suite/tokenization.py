"""Text to word pieces and ids, exactly as BERT's published models expect.

  tokenizer = tokenization.FullTokenizer("vocab.txt", do_lower_case=True)
  pieces = tokenizer.tokenize("The unaffable one.")
  ids = tokenizer.convert_tokens_to_ids(pieces)

BasicTokenizer cleans the text and splits it into words and punctuation,
WordpieceTokenizer splits a word into entries of the vocabulary, FullTokenizer
does both and caches the words it has seen.
"""

import collections
import functools
import operator
import re
import sys

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import characters, vocab_files
# Programs import these names from this module.
from .casing import (  # noqa: F401
    decide_casing, validate_case_matches_checkpoint)
from .characters import (  # noqa: F401
    is_control as _is_control, is_punctuation as _is_punctuation,
    is_whitespace as _is_whitespace)

# The cache of FullTokenizer: words as written, with what BasicTokenizer makes
# of them. An entry takes about 150 bytes, 400 at worst, so a full cache takes
# about 20 MB, 50 MB at worst. (The tables of `characters`, shared by all
# tokenizers, take at most 10 MB each.)
MAX_CACHED_WORDS = 2 ** 17  # the table is emptied when it is full
MAX_CACHED_CHARS = 16  # longer words, and text without spaces, are not kept


def convert_to_unicode(text):
  """Returns text as str; bytes are decoded as UTF-8, dropping invalid ones."""
  if isinstance(text, str):
    return text
  if isinstance(text, bytes):
    return text.decode("utf-8", "ignore")
  raise ValueError("text must be str or bytes, found %s: %s" %
                   (type(text).__name__, shorten(text)))


def shorten(value):
  """Returns the repr of a value, cut off if it is long."""
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + "..."


def describe(value):
  """Returns a value, cut off if it is long, and its type; for messages."""
  return "%s (%s)" % (shorten(value), type(value).__name__)


def printable_text(text):
  """Returns text, str or UTF-8 bytes, as str, for print and logging."""
  return convert_to_unicode(text)


def load_vocab(vocab_file):
  """Reads a vocabulary, one token per line; a token's id is its line, from 0.

  White space around a token is removed. Of equal tokens, the last sets the id.
  One warning names duplicates, another any missing tokens that every model
  needs.

  Args:
    vocab_file: str, path of a UTF-8 text file, local or remote.

  Returns:
    collections.OrderedDict, token (str) to id (int).

  Raises:
    ValueError: see `vocab_files.read_tokens`.
  """
  vocab, duplicates = collections.OrderedDict(), []
  for index, token in enumerate(vocab_files.read_tokens(vocab_file)):
    token = sys.intern(token)
    if token in vocab:
      duplicates.append("%s (lines %d and %d)" %
                        (shorten(token), vocab[token] + 1, index + 1))
    vocab[token] = index
  if duplicates:
    tf.logging.warning(
        "%s: %d entries repeat an earlier one, and the last sets the id: %s%s",
        vocab_file, len(duplicates), ", ".join(duplicates[:5]),
        " and others" if len(duplicates) > 5 else "")
  missing = [token for token in ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
             if token not in vocab]
  if missing:
    tf.logging.warning(
        "%s has no %s, which published vocabularies have: converting tokens to "
        "ids fails where it is needed", vocab_file, ", ".join(missing))
  return vocab


def _warn_of_accents(vocab, vocab_file):
  """Warns of entries that text without accents can never match."""
  found = [token for token in vocab
           if not token.isascii() and token != characters.strip_marks(token)]
  if found:
    tf.logging.warning(
        "%s: %d of %d entries (%.2g%%), for example %r, have accents or "
        "composed characters and can never match, because accents are stripped "
        "from the text; pass strip_accents=false if the vocabulary was made "
        "without stripping", vocab_file, len(found), len(vocab),
        100.0 * len(found) / len(vocab), found[0])


def parse_strip_accents(value):
  """Returns whether accents are removed: True, False, or None for auto.

  Args:
    value: one of these, or "true", "false" or "auto", as in --strip_accents.

  Raises:
    ValueError: it is something else.
  """
  values = {"none": None, "auto": None, "true": True, "false": False}
  if str(value).lower() not in values:
    raise ValueError("strip_accents=%s: expected auto, true or false" % value)
  return values[str(value).lower()]


def convert_by_vocab(vocab, items):
  """Returns [vocab[item] for item in items], tokens to ids or ids to tokens."""
  try:
    return [vocab[item] for item in items]
  except KeyError as error:
    raise KeyError("%s is not in the vocabulary of %d entries" %
                   (error, len(vocab))) from None


def convert_tokens_to_ids(vocab, tokens):
  """Returns the ids, list of int, of tokens, list of str."""
  return convert_by_vocab(vocab, tokens)


def convert_ids_to_tokens(inv_vocab, ids):
  """Returns the tokens, list of str, of ids, list of int."""
  return convert_by_vocab(inv_vocab, ids)


def whitespace_tokenize(text):
  """Returns the parts of text, a str, between white space."""
  return text.split()


class FullTokenizer:
  """Text to word pieces: BasicTokenizer, then WordpieceTokenizer.

  `vocab`, `inv_vocab`, `basic_tokenizer` and `wordpiece_tokenizer` may be
  replaced or changed at any time; the next call uses them. As long as both
  tokenizers are this module's, what BasicTokenizer makes of words is cached,
  see MAX_CACHED_WORDS; nothing that depends on the vocabulary is. A subclass
  need not call this constructor.
  """

  _cached_for = None  # settings; the first text makes the cache

  def __init__(self, vocab_file, do_lower_case=True, never_split=(),
               strip_accents=None):
    """Reads the vocabulary.

    Args:
      vocab_file: str, path of the vocabulary, see load_vocab.
      do_lower_case: bool, lower-case the text.
      never_split: list of str, tokens to keep whole in the text, e.g.
        ["[MASK]"]; see BasicTokenizer.
      strip_accents: bool, remove accents; None for the value of do_lower_case.

    Raises:
      ValueError: from load_vocab, or a token of never_split is not in it.
    """
    self.vocab = load_vocab(vocab_file)
    self.inv_vocab = {index: token for token, index in self.vocab.items()}
    self.basic_tokenizer = BasicTokenizer(
        do_lower_case, never_split, strip_accents)
    if self.basic_tokenizer.strips_accents():
      _warn_of_accents(self.vocab, vocab_file)
    self.wordpiece_tokenizer = WordpieceTokenizer(self.vocab)
    for token in self.basic_tokenizer.never_split:
      if token not in self.vocab:
        raise ValueError("never_split names %s, which is not in the vocabulary "
                         "%s" % (shorten(token), vocab_file))

  def tokenize(self, text):
    """Returns the word pieces, list of str, of text, str or UTF-8 bytes."""
    text = convert_to_unicode(text)
    basic, wordpiece = self.basic_tokenizer, self.wordpiece_tokenizer
    if not (type(basic) is BasicTokenizer
            and type(wordpiece) is WordpieceTokenizer
            and "tokenize" not in basic.__dict__
            and _HELPER_NAMES.isdisjoint(basic.__dict__)
            and _helpers_of(BasicTokenizer) == _HELPERS
            and "tokenize" not in wordpiece.__dict__):
      return [piece for word in basic.tokenize(text)
              for piece in wordpiece.tokenize(word)]
    settings = basic.do_lower_case, basic.strip_accents
    if settings != self._cached_for:
      self._cache = _WordCache(self._split)
      self._cached_for = settings
    # A space always ends a word, and the text on one side of it does not affect
    # the other. Other white space and control characters are left in a word for
    # BasicTokenizer.
    parts = (
        [basic.tokenize(text)] if _find_never_split(text, basic.never_split)
        else map(self._cache.__getitem__, text.split(" ")))
    vocab, longest = wordpiece.vocab, wordpiece.max_input_chars_per_word
    pieces = []
    for words in parts:
      for word in words:
        if word in vocab and len(word) <= longest:  # most words: saves a call
          pieces.append(word)
        else:
          pieces += wordpiece._split_word(word)
    return pieces

  def _split(self, text):
    """Returns the words of a text, by the current BasicTokenizer."""
    return self.basic_tokenizer.tokenize(text)

  def convert_tokens_to_ids(self, tokens):
    """Returns the ids, list of int, of tokens, list of str."""
    return convert_by_vocab(self.vocab, tokens)

  def convert_ids_to_tokens(self, ids):
    """Returns the tokens, list of str, of ids, list of int."""
    return convert_by_vocab(self.inv_vocab, ids)


class _WordCache(dict):
  """Maps a word as written to the tuple of its words, made on first use."""

  def __init__(self, split):
    super().__init__()
    self.split = split

  def __missing__(self, word):
    words = tuple(self.split(word))
    if len(word) <= MAX_CACHED_CHARS:
      if len(self) >= MAX_CACHED_WORDS:
        self.clear()
      self[word] = words
    return words


class BasicTokenizer:
  """Text to words and punctuation.

  Drops control characters, splits at white space, around ideographs and around
  every punctuation character. A subclass need not call the constructor, and may
  override the helpers `_clean_text`, `_tokenize_chinese_chars`,
  `_is_chinese_char`, `_run_strip_accents` and `_run_split_on_punc`; it is
  then slower, because they are called.
  """

  do_lower_case = True
  strip_accents = None
  never_split = ()

  def __init__(self, do_lower_case=True, never_split=(), strip_accents=None):
    """Sets what to do with case, accents and special tokens.

    Args:
      do_lower_case: bool, lower-case the text.
      never_split: list of str, tokens without white space that are kept as
        they are wherever they occur in the text, even inside a word; one that
        begins or ends with a letter or digit is only found as a whole word.
      strip_accents: bool, remove accents; None for the value of do_lower_case.

    Raises:
      ValueError: a token of never_split is empty or has white space.
    """
    self.do_lower_case = do_lower_case
    self.strip_accents = parse_strip_accents(strip_accents)
    self.never_split = ((never_split,) if isinstance(never_split, str)
                        else tuple(never_split))
    _find_never_split("", self.never_split)  # checks the tokens

  def strips_accents(self):
    """Returns whether accents are removed, which may follow do_lower_case."""
    return bool(self.do_lower_case if self.strip_accents is None else
                self.strip_accents)

  def tokenize(self, text):
    """Returns the words, list of str, of text, str or UTF-8 bytes."""
    text = convert_to_unicode(text)
    words = []
    for i, part in enumerate(
        _find_never_split(text, self.never_split) or [text]):
      words += [part] if i % 2 else self._tokenize(part)
    return words

  def _tokenize(self, text):
    """Returns the words of a str; every token in it may be split."""
    if not (_HELPER_NAMES.isdisjoint(self.__dict__)
            and _helpers_of(type(self)) == _HELPERS):
      return self._tokenize_by_helpers(text)
    changes = bool(self.do_lower_case), self.strips_accents()
    if not any(changes):
      return text.translate(characters.CUT).split()
    cut = text.translate(characters.CHANGE_AND_CUT[changes])
    if characters.DEPENDS in cut:
      cut = characters.change_and_cut(text, *changes)
    return cut.split()

  def _tokenize_by_helpers(self, text):
    """Does the same as `_tokenize` with the methods that may be overridden."""
    words = []
    for word in whitespace_tokenize(
        self._tokenize_chinese_chars(self._clean_text(text))):
      if self.do_lower_case:
        word = characters.change_parts(str.lower, word)
      if self.strips_accents():
        word = self._run_strip_accents(word)
      words += self._run_split_on_punc(word)
    return whitespace_tokenize(" ".join(words))

  def _clean_text(self, text):
    """Returns text without control characters, its white space as spaces."""
    return "".join(map(characters.clean, text))

  def _tokenize_chinese_chars(self, text):
    """Returns text with spaces around ideographs."""
    return "".join(" %s " % char if self._is_chinese_char(ord(char)) else char
                   for char in text)

  def _is_chinese_char(self, cp):
    """Returns whether a code point, an int, is an ideograph."""
    return characters.is_cjk(chr(cp))

  def _run_strip_accents(self, text):
    """Returns text decomposed, without marks such as accents."""
    return characters.strip_marks(text)

  def _run_split_on_punc(self, text):
    """Returns the parts of text, list of str; each punctuation mark is one."""
    parts = [""]
    for char in text:
      if characters.is_punctuation(char):
        parts += [char, ""]
      else:
        parts[-1] += char
    return list(filter(None, parts))


def _find_never_split(text, tokens):
  """Returns text split at any of tokens: text, token, text, ..., token, text.

  Returns None if the text has none of them.
  """
  if not tokens:
    return None
  parts = _never_split_pattern(tuple(tokens)).split(text)
  return parts if len(parts) > 1 else None


@functools.lru_cache(maxsize=16)
def _never_split_pattern(tokens):
  """Returns a regex whose group matches any of tokens, a tuple of str."""
  alternatives = []
  for token in sorted(tokens, key=len, reverse=True):
    if token.split() != [token]:
      raise ValueError("never_split: found %s, expected a token without white "
                       "space such as '[MASK]'" % shorten(token))
    begin, end = (r"\b" if re.match(r"\w", char) else ""
                  for char in (token[0], token[-1]))
    alternatives.append(begin + re.escape(token) + end)
  return re.compile("(%s)" % "|".join(alternatives))


_HELPER_NAMES = frozenset([
    "_clean_text", "_tokenize_chinese_chars", "_is_chinese_char",
    "_run_strip_accents", "_run_split_on_punc"])
_helpers_of = operator.attrgetter(*sorted(_HELPER_NAMES))
_HELPERS = _helpers_of(BasicTokenizer)


def preserve_token(token, vocab):
  """Returns whether to keep a word such as "[unused5]" whole.

  This is for programs with a flag --preserve_unused_tokens and their own
  tokenizer: True only if the flag is set and the vocabulary has the word. The
  tokenizers of this module take `never_split` instead.

  Args:
    token: str.
    vocab: dict or set of str.
  """
  name = "preserve_unused_tokens"
  return bool(name in flags.FLAGS and flags.FLAGS[name].value
              and token in vocab and re.match(r"\[unused\d+\]$", token))


class WordpieceTokenizer:
  """Words to word pieces, always the longest that fits.

  A subclass that sets `vocab` need not call the constructor.
  """

  unk_token = "[UNK]"
  max_input_chars_per_word = 200

  def __init__(self, vocab, unk_token="[UNK]", max_input_chars_per_word=200):
    """Sets the vocabulary.

    Args:
      vocab: dict or set of str; pieces inside a word begin with "##".
      unk_token: str, stands for a word that cannot be made of pieces.
      max_input_chars_per_word: int, a longer word becomes `unk_token`.
    """
    self.vocab = vocab
    self.unk_token = unk_token
    self.max_input_chars_per_word = max_input_chars_per_word

  def tokenize(self, text):
    """Splits words into pieces, e.g. "unaffable" into "un", "##aff", "##able".

    Args:
      text: str or UTF-8 bytes, words as BasicTokenizer returns them, separated
        by white space.

    Returns:
      list of str.
    """
    return [piece for word in whitespace_tokenize(convert_to_unicode(text))
            for piece in self._split_word(word)]

  def _split_word(self, word):
    """Returns the pieces of a word."""
    if len(word) > self.max_input_chars_per_word:
      return [self.unk_token]
    if word in self.vocab:
      return [word]
    vocab, pieces, rest, shortest = self.vocab, [], word, 1
    while len(rest) >= shortest:
      for end in range(len(rest), shortest - 1, -1):
        if rest[:end] in vocab:
          break
      else:
        return [self.unk_token]
      pieces.append(sys.intern(rest[:end]))
      rest, shortest = "##" + rest[end:], len("##") + 1
    return pieces
