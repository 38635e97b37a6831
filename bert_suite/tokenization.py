"""Text to word pieces and ids, exactly as BERT's published models expect.

  tokenizer = tokenization.FullTokenizer("vocab.txt", do_lower_case=True)
  pieces = tokenizer.tokenize("The unaffable one.")
  ids = tokenizer.convert_tokens_to_ids(pieces)

BasicTokenizer cleans the text and cuts it into words and punctuation,
WordpieceTokenizer cuts a word into entries of the vocabulary, FullTokenizer
does both and remembers the words it has met.

Characters are classed as Unicode 11 classes them, on every version of Python,
so that a text has the same ids everywhere.
"""

import collections
import functools
import operator
import re
import string
import sys
import unicodedata

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import vocab_files

# What FullTokenizer may remember: words as written, with what BasicTokenizer
# makes of them. An entry takes some 150 bytes, at worst 400, so all of them
# take about 20 MB, at worst 50 MB. (The tables of characters below, shared by
# all tokenizers, take at worst 10 MB each.)
MAX_CACHED_WORDS = 2 ** 17  # the table is emptied when it is full
MAX_CACHED_CHARS = 16  # longer words, and text without spaces, are not kept

_LOWER_CASED_MODELS = (
    "uncased_L-12_H-768_A-12", "uncased_L-24_H-1024_A-16",
    "multilingual_L-12_H-768_A-12", "chinese_L-12_H-768_A-12")
_CASED_MODELS = (
    "cased_L-12_H-768_A-12", "cased_L-24_H-1024_A-16",
    "multi_cased_L-12_H-768_A-12")

# Ideographs, each a word of its own; kana, hangul and the rest are not.
_CJK_RANGES = (
    (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2A6DF),
    (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
    (0x2F800, 0x2FA1F))

# What a later Unicode lower-cases, decomposes or classes otherwise than
# Unicode 11, with what lies between: characters that Unicode 11 left
# unassigned or that every version leaves as they are.
_NEWER_THAN_UNICODE_11 = re.compile(
    "([\u055f\u061d\u0888-\u08d2\u0b55\u0c3c\u0c77\u0d81\u0eba\u0ece\u1715"
    "\u180f\u1abf-\u1ace\u1b7d-\u1b7e\u1dfa\u2c2f\u2c5f\u2e4f-\u2e5d"
    "\ua7ba-\ua7f6\ua82c\ua9bd\uab66-\uab6b\ufbc2\U00010570-\U000107ba"
    "\U00010eab-\U00010eff\U00010f82-\U00010f89\U00011070-\U00011074"
    "\U000110c2\U000111cf\U00011241\U0001145a\U000116b9\U00011938-\U000119e2"
    "\U00011b00-\U00011b09\U00011f00-\U00011fff\U00012ff1-\U00013455"
    "\U00016f4f\U00016fe2-\U0001affe\U0001cf00-\U0001cf46"
    "\U0001df00-\U0001df2a\U0001e030-\U0001e4ef\U0001e94b])")
_RECLASSED_SINCE_UNICODE_11 = {
    "\u055f": "Po", "\u166d": "Po", "\u1734": "Mn", "\ua9bd": "Mc"}


def validate_case_matches_checkpoint(do_lower_case, init_checkpoint):
  """Checks do_lower_case against the name of a published checkpoint.

  Args:
    do_lower_case: bool, whether the text will be lower-cased.
    init_checkpoint: str or None, ".../cased_L-12_H-768_A-12/bert_model.ckpt";
      any other folder's name says nothing and passes.

  Raises:
    ValueError: the model of that name was trained on the other kind of text.
  """
  found = re.search(r"([\w-]+)/bert_model\.ckpt", init_checkpoint or "")
  if found and found.group(1) in (
      _CASED_MODELS if do_lower_case else _LOWER_CASED_MODELS):
    raise ValueError(
        "%s was trained on %s text, but do_lower_case is %s: set "
        "--do_lower_case=%s, or rename the folder if its name is misleading "
        "(init_checkpoint: %s)" %
        (found.group(1), "cased" if do_lower_case else "lower-cased",
         bool(do_lower_case), not do_lower_case, init_checkpoint))


def decide_casing(do_lower_case, vocab_file, init_checkpoint=None,
                  config_value=None):
  """Finds out whether a model wants its text lower-cased.

  Args:
    do_lower_case: bool; None if the user left it open. Then the config says
      it, else the vocabulary, else it is True.
    vocab_file: str.
    init_checkpoint: str or None, for `validate_case_matches_checkpoint`.
    config_value: bool or None. What the model's config says.

  Returns:
    bool.

  Raises:
    ValueError: what the user said contradicts the config, or the name of a
      published checkpoint.
  """
  is_cased_vocab = _has_upper_case(vocab_file)
  if do_lower_case is None:
    if config_value is not None:
      do_lower_case, source = bool(config_value), "the model's config"
    elif is_cased_vocab:
      do_lower_case, source = False, vocab_file + ", which has upper case"
    else:
      do_lower_case, source = True, None
    if source:
      tf.logging.info("do_lower_case=%s is taken from %s", do_lower_case,
                      source)
  elif config_value is not None and do_lower_case != bool(config_value):
    raise ValueError(
        "--do_lower_case=%s: the model's config says %s; leave the flag out, "
        "or correct the config" % (do_lower_case, bool(config_value)))
  elif do_lower_case and is_cased_vocab:
    tf.logging.warning(
        "--do_lower_case=True, but %s has upper case: the model seems to be a "
        "cased one, which wants --do_lower_case=False", vocab_file)
  validate_case_matches_checkpoint(do_lower_case, init_checkpoint)
  return do_lower_case


def _has_upper_case(vocab_file):
  """Tells whether a vocabulary is that of a cased model.

  A lower-cased one can hold a few entries with upper case, from text that
  lower-casing does not reach; in the published cased ones those are over 10%.
  """
  tokens = vocab_files.read_tokens(vocab_file)
  upper = sum(1 for token in tokens
              if token != token.lower() and not token.startswith("["))
  return upper > 0.01 * len(tokens)


def convert_to_unicode(text):
  """Returns text as str; bytes are UTF-8, and what is not is dropped."""
  if isinstance(text, str):
    return text
  if isinstance(text, bytes):
    return text.decode("utf-8", "ignore")
  raise ValueError("text must be str or bytes, found %s: %s" %
                   (type(text).__name__, shorten(text)))


def shorten(value):
  """Returns a value as Python writes it, its end cut off where it is long."""
  text = repr(value)
  return text if len(text) <= 60 else text[:57] + "..."


def describe(value):
  """Returns a value, cut where it is long, with its type; for messages."""
  return "%s (%s)" % (shorten(value), type(value).__name__)


def printable_text(text):
  """Returns text, str or UTF-8 bytes, as str, for print and logging."""
  return convert_to_unicode(text)


def load_vocab(vocab_file):
  """Reads a vocabulary, one token a line; a token's id is its line, from 0.

  White space around a token is removed. Of equal tokens the last gives the id;
  they are reported, as is the lack of a token that every model needs.

  Args:
    vocab_file: str, path of a UTF-8 text file, local or remote.

  Returns:
    collections.OrderedDict, token (str) to id (int).

  Raises:
    ValueError: see `vocab_files.read_tokens`.
  """
  vocab, duplicates = collections.OrderedDict(), []
  for index, token in enumerate(map(
      sys.intern, vocab_files.read_tokens(vocab_file))):
    if token in vocab:
      duplicates.append("%s (lines %d and %d)" %
                        (shorten(token), vocab[token] + 1, index + 1))
    vocab[token] = index
  if duplicates:
    tf.logging.warning(
        "%s: %d entries repeat an earlier one, the last gives the id: %s%s",
        vocab_file, len(duplicates), ", ".join(duplicates[:5]),
        " and others" if len(duplicates) > 5 else "")
  missing = [token for token in ("[UNK]", "[CLS]", "[SEP]", "[MASK]")
             if token not in vocab]
  if missing:
    tf.logging.warning(
        "%s has no %s, which published vocabularies have: what needs it will "
        "fail when tokens are converted to ids", vocab_file,
        ", ".join(missing))
  return vocab


def _warn_of_accents(vocab, vocab_file):
  """Warns of entries that a text without accents never has."""
  found = [token for token in vocab if not token.isascii() and token != "".join(
      char for char in unicodedata.normalize("NFD", token)
      if _category(char) != "Mn")]
  if found:
    tf.logging.warning(
        "%s: %d of %d entries (%.2g%%), %r for example, have accents or "
        "composed characters and can never match, because accents are stripped "
        "from the text; give strip_accents=false if the vocabulary was made "
        "without stripping", vocab_file, len(found), len(vocab),
        100.0 * len(found) / len(vocab), found[0])


def parse_strip_accents(value):
  """Returns True, False, or None for auto: whether accents are removed.

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
  """Returns the parts of text, a str, between stretches of white space."""
  return text.split()


class FullTokenizer:
  """Text to word pieces: BasicTokenizer, then WordpieceTokenizer.

  `vocab`, `inv_vocab`, `basic_tokenizer` and `wordpiece_tokenizer` may be
  replaced or changed at any time; the next call follows. Remembers what
  BasicTokenizer makes of words, see MAX_CACHED_WORDS, as long as both
  tokenizers are this module's. Nothing that depends on the vocabulary is
  remembered. A subclass need not call this constructor.
  """

  _cached_for = None  # settings; the cache is made at the first text

  def __init__(self, vocab_file, do_lower_case=True, never_split=(),
               strip_accents=None):
    """Reads the vocabulary.

    Args:
      vocab_file: str, path of the vocabulary, see load_vocab.
      do_lower_case: bool, lower-case the text.
      never_split: list of str, tokens to keep whole where the text has them,
        e.g. ["[MASK]"]; see BasicTokenizer.
      strip_accents: bool, remove accents; None for what do_lower_case is.

    Raises:
      ValueError: from load_vocab; or a token of never_split is not in there.
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
    # A space always ends a word, and what is on one side of it has no effect on
    # the other. Any other white space or control character stays in its word,
    # where BasicTokenizer sees to it.
    parts = (
        [basic.tokenize(text)] if _find_never_split(text, basic.never_split)
        else map(self._cache.__getitem__, text.split(" ")))
    vocab, longest = wordpiece.vocab, wordpiece.max_input_chars_per_word
    pieces = []
    for words in parts:
      for word in words:
        if word in vocab and len(word) <= longest:  # most words, so no call
          pieces.append(word)
        else:
          pieces += wordpiece._split_word(word)
    return pieces

  def _split(self, text):
    """Returns the words of a text, by the BasicTokenizer that is there now."""
    return self.basic_tokenizer.tokenize(text)

  def convert_tokens_to_ids(self, tokens):
    """Returns the ids, list of int, of tokens, list of str."""
    return convert_by_vocab(self.vocab, tokens)

  def convert_ids_to_tokens(self, ids):
    """Returns the tokens, list of str, of ids, list of int."""
    return convert_by_vocab(self.inv_vocab, ids)


class _WordCache(dict):
  """Word as written to tuple of its words, filled as they are asked for."""

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

  Drops control characters, cuts at white space, around ideographs and around
  every punctuation character. A subclass need not call the constructor, and may
  override the helpers `_clean_text`, `_tokenize_chinese_chars`,
  `_is_chinese_char`, `_run_strip_accents` and `_run_split_on_punc`; the words
  are then made by those, which is slow.
  """

  do_lower_case = True
  strip_accents = None
  never_split = ()

  def __init__(self, do_lower_case=True, never_split=(), strip_accents=None):
    """Sets what to do with case, accents and special tokens.

    Args:
      do_lower_case: bool, lower-case the text.
      never_split: list of str, tokens without white space that are kept as
        they are wherever the text has them, even inside a word; one that
        begins or ends with a letter or digit is found as a whole word only.
      strip_accents: bool, remove accents; None for what do_lower_case is.

    Raises:
      ValueError: a token of never_split is empty or has white space.
    """
    self.do_lower_case = do_lower_case
    self.strip_accents = parse_strip_accents(strip_accents)
    self.never_split = ((never_split,) if isinstance(never_split, str)
                        else tuple(never_split))
    _find_never_split("", self.never_split)  # reports a token it cannot find

  def strips_accents(self):
    """Returns whether accents are removed, which may follow do_lower_case."""
    return bool(self.do_lower_case if self.strip_accents is None else
                self.strip_accents)

  def tokenize(self, text):
    """Returns the words, list of str, of text, str or UTF-8 bytes."""
    text = convert_to_unicode(text)
    words = []
    for i, part in enumerate(_find_never_split(text, self.never_split)
                             or [text]):
      words += [part] if i % 2 else self._tokenize(part)
    return words

  def _tokenize(self, text):
    """Returns the words of a str; every token in it may be split."""
    if not (_HELPER_NAMES.isdisjoint(self.__dict__)
            and _helpers_of(type(self)) == _HELPERS):
      return self._tokenize_by_helpers(text)
    changes = bool(self.do_lower_case), self.strips_accents()
    if not any(changes):
      return text.translate(_CUT).split()
    cut = text.translate(_CHANGE_AND_CUT[changes])
    if _DEPENDS in cut:
      cut = _change_and_cut(text, *changes)
    return cut.split()

  def _tokenize_by_helpers(self, text):
    """Returns what `_tokenize` does, by the methods that may be overridden."""
    words = []
    for word in whitespace_tokenize(
        self._tokenize_chinese_chars(self._clean_text(text))):
      if self.do_lower_case:
        word = _change_parts(str.lower, word)
      if self.strips_accents():
        word = self._run_strip_accents(word)
      words += self._run_split_on_punc(word)
    return whitespace_tokenize(" ".join(words))

  def _clean_text(self, text):
    """Returns text without control characters, its white space as spaces."""
    return "".join(map(_clean, text))

  def _tokenize_chinese_chars(self, text):
    """Returns text with spaces around ideographs."""
    return "".join(" %s " % char if self._is_chinese_char(ord(char)) else char
                   for char in text)

  def _is_chinese_char(self, cp):
    """Returns whether a code point, an int, is an ideograph."""
    return _is_cjk(chr(cp))

  def _run_strip_accents(self, text):
    """Returns text decomposed, without marks such as accents."""
    return "".join(char for char in _change_parts(_decompose, text)
                   if _category(char) != "Mn")

  def _run_split_on_punc(self, text):
    """Returns the parts of text, list of str, punctuation being one each."""
    parts = [""]
    for char in text:
      if _is_punctuation(char):
        parts += [char, ""]
      else:
        parts[-1] += char
    return list(filter(None, parts))


def _find_never_split(text, tokens):
  """Returns text cut at any of tokens: text, token, text, ..., token, text.

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
  """Returns whether a word is to be kept whole, as "[unused5]" is.

  That is for tokenizers of programs with a flag --preserve_unused_tokens, and
  only where it is set and the vocabulary has the word. For those of this
  module, pass `never_split`.

  Args:
    token: str.
    vocab: dict or set of str.
  """
  name = "preserve_unused_tokens"
  return bool(name in flags.FLAGS and flags.FLAGS[name].value
              and token in vocab and re.match(r"\[unused\d+\]$", token))


class WordpieceTokenizer:
  """Words to word pieces, the longest first.

  A subclass that sets `vocab` need not call the constructor.
  """

  unk_token = "[UNK]"
  max_input_chars_per_word = 200

  def __init__(self, vocab, unk_token="[UNK]", max_input_chars_per_word=200):
    """Sets the vocabulary.

    Args:
      vocab: dict or set of str; pieces inside a word begin with "##".
      unk_token: str, stands for a word that cannot be made of pieces.
      max_input_chars_per_word: int, a longer word is not tried.
    """
    self.vocab = vocab
    self.unk_token = unk_token
    self.max_input_chars_per_word = max_input_chars_per_word

  def tokenize(self, text):
    """Cuts words into pieces, e.g. "unaffable" into "un", "##aff", "##able".

    Args:
      text: str or UTF-8 bytes, words as BasicTokenizer gives them, separated
        by white space.

    Returns:
      list of str.
    """
    pieces = []
    for word in whitespace_tokenize(convert_to_unicode(text)):
      pieces.extend(self._split_word(word))
    return pieces

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


def _category(char):
  """Returns the general category of a character in Unicode 11."""
  if char in _RECLASSED_SINCE_UNICODE_11:
    return _RECLASSED_SINCE_UNICODE_11[char]
  if _NEWER_THAN_UNICODE_11.match(char):
    return "Cn"
  return unicodedata.category(char)


def _is_whitespace(char):
  """Whether cleaning makes a space of the character."""
  return char in " \t\n\r" or _category(char) == "Zs"


def _is_control(char):
  """Whether cleaning drops the character as a control character."""
  return char not in "\t\n\r" and _category(char) in ("Cc", "Cf")


def _is_punctuation(char):
  """Whether words end around the character; all ASCII symbols count."""
  return char in string.punctuation or _category(char).startswith("P")


def _is_cjk(char):
  """Whether the character is an ideograph."""
  return any(first <= ord(char) <= last for first, last in _CJK_RANGES)


def _clean(char):
  """Returns what cleaning makes of a character, "" if it drops it."""
  if char in "\0\ufffd" or _is_control(char):
    return ""
  return " " if _is_whitespace(char) else char


def _cut(char):
  """_clean, with spaces around a character that is a word of its own."""
  if _is_punctuation(char) or _is_cjk(char):
    return " %s " % char
  return _clean(char)


def _change_and_cut(text, lower, strip):
  """Returns text cleaned and changed, with spaces to cut at.

  Args:
    text: str.
    lower: bool, lower-case it.
    strip: bool, remove marks, such as accents.
  """
  text = "".join(map(_clean, text))
  if strip:
    # Lower-casing a sigma looks past marks. Unicode 14 made this one a letter.
    text = text.replace("\u1734", "")
  if lower:
    text = _change_parts(str.lower, text)
  if strip:
    text = _change_parts(_decompose, text)
  return "".join(_cut(char) for char in text
                 if not (strip and _category(char) == "Mn"))


_decompose = functools.partial(unicodedata.normalize, "NFD")


def _change_parts(change, text):
  """Applies a function of str to what Unicode 11 knows of a text.

  To Unicode 11 newer characters are nothing in particular: they stay, and part
  what stands before from what stands after.
  """
  parts = _NEWER_THAN_UNICODE_11.split(text)
  parts[::2] = list(map(change, parts[::2]))
  return "".join(parts)


def _change_and_cut_char(lower, strip, char):
  """Returns _change_and_cut(char), _DEPENDS if neighbours may change that.

  They do for the capital sigma, which has two lower-case forms, and where
  decomposing may change the order of characters other than marks.
  """
  text = _change_and_cut(char, lower, strip)
  if lower and char == "\u03a3" or (
      strip and any(map(unicodedata.combining, text))):
    return _DEPENDS
  return text


class _CharTable(dict):
  """Table for str.translate, filled as characters are met, 2 ** 16 at most."""

  def __init__(self, replace):
    super().__init__()
    self.replace = replace

  def __missing__(self, code):
    if len(self) >= 2 ** 16:
      self.clear()
    value = self[code] = self.replace(chr(code))
    return value


_DEPENDS = "\0"  # which no clean text has
_CUT = _CharTable(_cut)
_CHANGE_AND_CUT = {
    changes: _CharTable(functools.partial(_change_and_cut_char, *changes))
    for changes in ((True, True), (True, False), (False, True))}
