"""Tests of tokenization: against a slow tokenizer, options, caches, reports."""

import collections
import copy
import functools
import itertools
import pickle
import random
import unicodedata

from absl import flags
import pytest

from bert_suite import characters
import tokenization

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = SPECIAL + ["want", "##want", "##ed", "wa", "un", "runn", "##ing", ",",
                   "the", "low", "##er", "covid", "#"]
# Characters that lower-casing, decomposition or cleaning treat in some way of
# their own, and ranges of many scripts, all as Unicode 11 assigned them.
ODD = (
    "\u03a3\u03c3\u03c2\u0391\u0130\u0131\u00df\u1e9e\ufb01\u01c5\u212a\u2126"
    "\u00e9e\u0301\u0323\u0327\u1734\u166d\u302e\U0001d165\u094d\u037e\u0387"
    "\u2028\u2029\ufeff\u00ad\u200b\u200d\u3000\u00a0\u1680\u205f\u180e\ufffd"
    "\x00\x01\x0b\x0c\x1c\x1d\x1e\x1f\x7f\x85\t\n\r  \u2260\u226e\U0001f600"
    "\uac00\ud55c\u1100\u1161\u4e00\u9fff\ufa0e\uf900\U00020000\U0002f800"
    "\u3042\u0e01\u0e34\ud800\ue000\U0010ffff#'.,-$+~^`[]MASK")
RANGES = [(0x20, 0x7f), (0xa0, 0x250), (0x300, 0x370), (0x386, 0x482),
          (0x5d0, 0x5eb), (0x620, 0x6d4), (0x905, 0x940), (0xe01, 0xe3b),
          (0x1e00, 0x1f00), (0x2010, 0x205f), (0x3041, 0x3097),
          (0x4e00, 0x4e80), (0xac00, 0xad00), (0xf900, 0xfa6e)]


def write_vocab(tmp_path, tokens, end=b"\n"):
  path = tmp_path / "vocab.txt"
  path.write_bytes(end.join(token.encode("utf-8") for token in tokens) + end)
  return str(path)


@pytest.fixture
def warnings(monkeypatch):
  """The warnings that tokenization logs, formatted."""
  lines = []
  monkeypatch.setattr(tokenization.tf.logging, "warning",
                      lambda message, *args: lines.append(message % args))
  return lines


def category(char):
  """The category in Unicode 11 of a character that it assigned."""
  return {"\u166d": "Po", "\u1734": "Mn"}.get(
      char, unicodedata.category(char))


def is_punctuation(char):
  return (33 <= ord(char) <= 47 or 58 <= ord(char) <= 64
          or 91 <= ord(char) <= 96 or 123 <= ord(char) <= 126
          or category(char).startswith("P"))


def is_cjk(char):
  return any(first <= ord(char) <= last for first, last in (
      (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF),
      (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B820, 0x2CEAF),
      (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)))


def slow_words(text, do_lower_case, strip_accents=None):
  """What BasicTokenizer promises, step by step, a character at a time."""
  clean = ""
  for char in text:
    if char in "\t\n\r" or category(char) == "Zs":
      clean += " "
    elif char not in "\0\ufffd" and category(char) not in ("Cc", "Cf"):
      clean += " " + char + " " if is_cjk(char) else char
  words = []
  for word in clean.split():
    strips = do_lower_case if strip_accents is None else strip_accents
    if do_lower_case:
      # Up to Unicode 13 the mark U+1734 is no end of a word to a sigma.
      word = (word.replace("\u1734", "") if strips else word).lower()
    if strips:
      word = "".join(char for char in unicodedata.normalize("NFD", word)
                     if category(char) != "Mn")
    words.extend("".join(" " + char + " " if is_punctuation(char) else char
                         for char in word).split())
  return words


def slow_pieces(word, vocab, unk_token="[UNK]", max_chars=200):
  """The longest entry first, then the longest that goes on, and so on."""
  pieces, start = [], 0
  while start < len(word) and len(word) <= max_chars:
    ends = [end for end in range(start + 1, len(word) + 1)
            if ("##" if start else "") + word[start:end] in vocab]
    if not ends:
      break
    pieces.append(("##" if start else "") + word[start:ends[-1]])
    start = ends[-1]
  return pieces if start == len(word) else [unk_token]


def random_texts(count, seed):
  rng = random.Random(seed)
  for _ in range(count):
    near = rng.choice(RANGES)
    yield "".join(
        rng.choice((" ", rng.choice(ODD), rng.choice("aAeEs"),
                    chr(rng.randrange(*near)),
                    chr(rng.randrange(*rng.choice(RANGES)))))
        for _ in range(rng.randrange(30)))


def random_vocab(seed):
  """Entries of one to three characters for about half of what can occur."""
  rng = random.Random(seed)
  chars = [char for text in random_texts(400, seed) for char in
           "".join(slow_words(text, True) + slow_words(text, False))
           if char != "\ud800"]  # cannot be written to a file
  tokens = ["".join(rng.choice(chars) for _ in range(rng.choice((1, 1, 2, 3))))
            for _ in range(6000)]
  tokens = [rng.choice(("", "##")) + token for token in tokens]
  return SPECIAL + sorted(set(tokens) - set(SPECIAL))


SETTINGS = [(True, None), (False, None), (True, False), (False, True)]


@pytest.mark.parametrize("do_lower_case, strip_accents", SETTINGS)
def test_every_path_agrees_with_the_slow_tokenizer(
    tmp_path, do_lower_case, strip_accents):
  vocab = random_vocab(seed=1)
  full = tokenization.FullTokenizer(
      write_vocab(tmp_path, vocab), do_lower_case, strip_accents=strip_accents)
  basic = tokenization.BasicTokenizer(
      do_lower_case, strip_accents=strip_accents)
  wordpiece = tokenization.WordpieceTokenizer(set(vocab))
  found = collections.Counter()
  for text in list(random_texts(4000, seed=2)) * 2:  # again, from the cache
    words = slow_words(text, do_lower_case, strip_accents)
    pieces = [piece for word in words
              for piece in slow_pieces(word, full.vocab)]
    assert basic.tokenize(text) == words, ascii(text)
    assert wordpiece.tokenize(" ".join(words)) == pieces, ascii(text)
    assert full.tokenize(text) == pieces, ascii(text)
    found.update("unknown" if piece == "[UNK]" else piece[:2] == "##"
                 for piece in pieces)
  assert min(found[kind] for kind in ("unknown", True, False)) > 1000


@pytest.mark.parametrize("do_lower_case, strip_accents", SETTINGS)
def test_every_character_in_context(do_lower_case, strip_accents):
  """One translate table stands for all steps, also beside a sigma or marks."""
  basic = tokenization.BasicTokenizer(
      do_lower_case, strip_accents=strip_accents)
  for code in itertools.chain(range(0x3400), range(0xa490, 0xac10),
                              range(0xf900, 0x11000), range(0x1d100, 0x1d200)):
    char = chr(code)
    if (characters.NEWER_THAN_UNICODE_11.match(char)
        or unicodedata.category(char) == "Cn"):
      continue
    text = "A\u03a3{0}\u0391 {0}\u0301\u0323 \u302e{0} x{0}\u03a3 {0}B".format(
        char)
    assert basic.tokenize(text) == slow_words(
        text, do_lower_case, strip_accents), hex(code)


@pytest.mark.parametrize("char", [
    "\U00010570",  # Unicode 14: an upper-case letter
    "\U00011938",  # 13: decomposes
    "\u2e52",  # 13: punctuation
    "\u0898",  # 14: a mark
    "\U00013439",  # 15: a control character
    "\ua9bd",  # since 12 a mark
])
def test_newer_unicode_changes_nothing(char):
  for do_lower_case in (True, False):
    basic = tokenization.BasicTokenizer(do_lower_case)
    assert basic.tokenize("x%sy" % char) == ["x%sy" % char]
  assert tokenization.BasicTokenizer().tokenize(
      "\u0391\u03a3%s\u0391\u03a3" % char) == [
          "\u03b1\u03c2%s\u03b1\u03c2" % char]


def test_older_classes_are_kept():
  basic = tokenization.BasicTokenizer()
  assert basic.tokenize("a\u166db") == ["a", "\u166d", "b"]
  assert basic.tokenize("\u0391\u03a3\u1734\u0391") == ["\u03b1\u03c3\u03b1"]


@pytest.mark.parametrize("text, lower, cased", [
    (" \tHeLLo!how  \n Are yoU?  ", ["hello", "!", "how", "are", "you", "?"],
     ["HeLLo", "!", "how", "Are", "yoU", "?"]),
    ("H\u00e9llo", ["hello"], ["H\u00e9llo"]),
    ("ah\u535a\u63a8zz", ["ah", "\u535a", "\u63a8", "zz"],
     ["ah", "\u535a", "\u63a8", "zz"]),
    ("\u39f0\u3391\u03a3.\u0391", ["\u39f0", "\u3391\u03c3", ".", "\u03b1"],
     ["\u39f0", "\u3391\u03a3", ".", "\u0391"]),
    ("\u039f\u03a3 \u0391", ["\u03bf\u03c2", "\u03b1"],
     ["\u039f\u03a3", "\u0391"]),
    ("a\u302e\U0001d165", ["a\U0001d165\u302e"], ["a\u302e\U0001d165"]),
    ("\u0130\u00df", ["i\u00df"], ["\u0130\u00df"]),
    ("\ud55c", ["\u1112\u1161\u11ab"], ["\ud55c"]),
    ("a\u00adb\ufeffc\x1cd\x85e\u3000f", ["abcde", "f"], ["abcde", "f"]),
    ("a\u2028b\u200bc", ["a", "bc"], ["a", "bc"]),
    ("a\u037eb\u2260", ["a", ";", "b", "="], ["a", "\u037e", "b\u2260"]),
    ("$1.50+[MASK]", ["$", "1", ".", "50", "+", "[", "mask", "]"],
     ["$", "1", ".", "50", "+", "[", "MASK", "]"]),
    (b"caf\xc3\xa9 \xff!", ["cafe", "!"], ["caf\u00e9", "!"]),
    ("", [], []),
    (" \x00\x0b\ufffd", [], []),
])
def test_basic_tokenizer(text, lower, cased):
  assert tokenization.BasicTokenizer().tokenize(text) == lower
  assert tokenization.BasicTokenizer(False).tokenize(text) == cased


@pytest.mark.parametrize("do_lower_case, strip_accents, expected", [
    (True, True, ["ete", "\u03bf\u03c2"]),
    (True, False, ["\u00e9te\u0301", "\u03cc\u03c2"]),
    (False, True, ["Ete", "\u039f\u03a3"]),
    (False, False, ["\u00c9te\u0301", "\u038c\u03a3"]),
])
def test_accents_need_not_follow_the_case(
    do_lower_case, strip_accents, expected):
  text = "\u00c9te\u0301 \u038c\u03a3"
  basic = tokenization.BasicTokenizer(
      do_lower_case, strip_accents=strip_accents)
  assert basic.tokenize(text) == expected
  assert basic.strips_accents() is strip_accents
  basic.strip_accents = None
  assert basic.tokenize(text) == tokenization.BasicTokenizer(
      do_lower_case).tokenize(text)


def test_what_strip_accents_may_be():
  assert [tokenization.BasicTokenizer(strip_accents=value).strip_accents
          for value in ("auto", None, "true", True, "False", False)] == [
              None, None, True, True, False, False]
  for wrong in ("yes", 1, ""):
    with pytest.raises(ValueError, match="^strip_accents=%s: expected auto, "
                       "true or false$" % wrong):
      tokenization.BasicTokenizer(strip_accents=wrong)


def test_wordpiece_tokenizer():
  wordpiece = tokenization.WordpieceTokenizer(collections.OrderedDict(
      (token, i) for i, token in enumerate(WORDS)))
  assert wordpiece.tokenize("") == []
  assert wordpiece.tokenize("unwanted running") == [
      "un", "##want", "##ed", "runn", "##ing"]
  assert wordpiece.tokenize("unwantedX running") == ["[UNK]", "runn", "##ing"]
  assert wordpiece.tokenize(b"wa lower") == ["wa", "low", "##er"]
  assert wordpiece.tokenize("##ing # ##") == ["##ing", "#", "[UNK]"]
  short = tokenization.WordpieceTokenizer({"a": 0, "##a": 1}, "?", 3)
  assert short.tokenize("aaa aaaa b") == ["a", "##a", "##a", "?", "?"]
  by_default = tokenization.WordpieceTokenizer({"a", "##a"})
  assert by_default.tokenize("a" * 200) == ["a"] + ["##a"] * 199
  assert by_default.tokenize("a" * 201) == ["[UNK]"]


def test_full_tokenizer_and_round_trip(tmp_path):
  tokenizer = tokenization.FullTokenizer(write_vocab(tmp_path, WORDS))
  tokens = tokenizer.tokenize("UNwant\u00e9d,running")
  assert tokens == ["un", "##want", "##ed", ",", "runn", "##ing"]
  ids = tokenizer.convert_tokens_to_ids(tokens)
  assert ids == [WORDS.index(token) for token in tokens]
  assert tokenizer.convert_ids_to_tokens(ids) == tokens
  assert tokenization.convert_tokens_to_ids(tokenizer.vocab, tokens) == ids
  assert tokenization.convert_ids_to_tokens(tokenizer.inv_vocab, ids) == tokens
  tokens.append("changed by the caller")
  assert tokenizer.tokenize("UNwant\u00e9d,running") == tokens[:-1]
  with pytest.raises(KeyError, match="'covfefe' is not in .* 18 entries"):
    tokenizer.convert_tokens_to_ids(["the", "covfefe"])


def test_never_split(tmp_path):
  path = write_vocab(tmp_path, WORDS)
  plain = tokenization.FullTokenizer(path)
  assert plain.tokenize("the [MASK]") == ["the"] + ["[UNK]"] * 3
  keeping = tokenization.FullTokenizer(path, never_split=["[MASK]", "covid"])
  assert keeping.tokenize("The [MASK],low[MASK]er covid") == [
      "the", "[MASK]", ",", "low", "[MASK]", "[UNK]", "covid"]
  assert keeping.tokenize("[SEP] [mask]") == ["[UNK]"] * 6
  assert keeping.tokenize("covids COVID") == ["[UNK]", "covid"]
  assert keeping.tokenize("unwanted,") == plain.tokenize("unwanted,")
  cased = tokenization.BasicTokenizer(True, never_split="COVID")
  assert cased.tokenize("COVID, Covids\x00 COVID_ COVID") == [
      "COVID", ",", "covids", "covid", "_", "COVID"]
  keeping.basic_tokenizer.never_split = ["[SEP]"]
  assert keeping.tokenize("the [SEP] [MASK]") == [
      "the", "[SEP]"] + ["[UNK]"] * 3
  with pytest.raises(ValueError, match=r"never_split names '\[MSAK\]'.*vocab"):
    tokenization.FullTokenizer(path, never_split=["[MSAK]"])
  with pytest.raises(ValueError, match="without white space"):
    tokenization.BasicTokenizer(never_split=["New York"])


def test_changes_are_followed(tmp_path):
  """Whatever a program replaces or changes, the next text is split by it."""
  tokenizer = tokenization.FullTokenizer(write_vocab(tmp_path, WORDS))
  text = "Unwanted wax"
  assert tokenizer.tokenize(text) == ["un", "##want", "##ed", "[UNK]"]
  tokenizer.vocab["##x"] = tokenizer.vocab.pop("covid")
  assert tokenizer.tokenize(text)[3:] == ["wa", "##x"]
  tokenizer.vocab.update({"unwanted": 99})
  assert tokenizer.tokenize(text) == ["unwanted", "wa", "##x"]
  for token in list(tokenizer.vocab):  # the same order, number and last key
    new = {"wa": "wax"}.get(token, token)
    tokenizer.vocab[new] = tokenizer.vocab.pop(token)
  assert tokenizer.tokenize(text) == ["unwanted", "wax"]
  del tokenizer.vocab["unwanted"]
  assert tokenizer.tokenize(text) == ["un", "##want", "##ed", "wax"]
  assert tokenizer.tokenize("l\u00f6w") == ["low"]
  tokenizer.basic_tokenizer.strip_accents = False
  assert tokenizer.tokenize("l\u00f6w") == ["[UNK]"]
  tokenizer.basic_tokenizer.do_lower_case = False
  assert tokenizer.tokenize(text) == ["[UNK]", "wax"]
  tokenizer.wordpiece_tokenizer.unk_token = "?"
  assert tokenizer.tokenize(text) == ["?", "wax"]
  tokenizer.wordpiece_tokenizer.max_input_chars_per_word = 2
  assert tokenizer.tokenize(text) == ["?", "?"]
  old = tokenizer.wordpiece_tokenizer
  tokenizer.wordpiece_tokenizer = copy.copy(old)  # equal until one changes
  assert tokenizer.tokenize("low") == ["?"]
  old.unk_token = "!"
  assert tokenizer.tokenize("covid") == ["?"]
  tokenizer.wordpiece_tokenizer = tokenization.WordpieceTokenizer({"wax": 0})
  assert tokenizer.tokenize(text) == ["[UNK]", "wax"]
  tokenizer.wordpiece_tokenizer.vocab["Unwanted"] = 1
  assert tokenizer.tokenize(text) == ["Unwanted", "wax"]

  class Letters:

    def tokenize(self, text):
      return list(text)

  tokenizer.basic_tokenizer = tokenizer.wordpiece_tokenizer = Letters()
  assert tokenizer.tokenize("a b") == ["a", " ", "b"]


@pytest.mark.parametrize("change", [
    lambda vocab: vocab.__setitem__("unwanted", 9),
    lambda vocab: vocab.update(unwanted=9),
    lambda vocab: vocab.setdefault("unwanted", 9),
    lambda vocab: vocab.__delitem__("un"),
    lambda vocab: vocab.pop("un"),
    lambda vocab: vocab.popitem(),
    lambda vocab: vocab.popitem(last=False),
    lambda vocab: vocab.clear(),
])
def test_every_change_of_the_vocabulary_is_noted(tmp_path, change):
  tokenizer = tokenization.FullTokenizer(write_vocab(
      tmp_path, ["un", "##want", "##ed"]))
  assert tokenizer.tokenize("unwanted") == ["un", "##want", "##ed"]
  change(tokenizer.vocab)
  assert tokenizer.tokenize("unwanted") == slow_pieces(
      "unwanted", tokenizer.vocab) != ["un", "##want", "##ed"]


@pytest.mark.parametrize("part", ["basic_tokenizer", "wordpiece_tokenizer"])
def test_a_replaced_method_is_used(tmp_path, part):
  """On the text as a whole: it need not treat words one by one."""
  tokenizer = tokenization.FullTokenizer(write_vocab(tmp_path, WORDS))
  assert tokenizer.tokenize("wa un") == ["wa", "un"]
  getattr(tokenizer, part).tokenize = lambda text: text[::-1].split()
  assert tokenizer.tokenize("nu aw") == {
      "basic_tokenizer": ["wa", "un"],
      "wordpiece_tokenizer": ["un", "wa"]}[part]


def test_cache_is_bounded(tmp_path, monkeypatch):
  monkeypatch.setattr(tokenization, "MAX_CACHED_WORDS", 10)
  tokenizer = tokenization.FullTokenizer(write_vocab(
      tmp_path, SPECIAL + ["a", "##a", "##b", "b"]))
  words = ["%s" % bin(i)[2:].replace("0", "a").replace("1", "b")
           for i in range(100)] + ["a" * 50]
  for word in words * 2 + ["a", "b,a"]:
    expected = [piece for part in slow_words(word, True)
                for piece in slow_pieces(part, tokenizer.vocab)]
    assert tokenizer.tokenize(word) == expected
    assert len(tokenizer._cache) <= 10
    assert all(len(word) <= tokenization.MAX_CACHED_CHARS
               for word in tokenizer._cache)
  assert tokenizer._cache["b,a"] == ("b", ",", "a")


def test_copies(tmp_path):
  tokenizer = tokenization.FullTokenizer(write_vocab(tmp_path, WORDS))
  before = tokenizer.tokenize("unwanted lower")
  for twin in (copy.deepcopy(tokenizer),
               pickle.loads(pickle.dumps(tokenizer))):
    assert twin.tokenize("unwanted lower") == before
    twin.vocab["unwanted"] = 77
    assert twin.tokenize("unwanted lower") == ["unwanted", "low", "##er"]
    assert tokenizer.tokenize("unwanted lower") == before


@pytest.mark.parametrize("strip_accents", [None, True, False])
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_helpers_make_the_words_of_the_fast_path(do_lower_case, strip_accents):
  """On texts with every character that some path treats in its own way."""
  class Slow(tokenization.BasicTokenizer):

    def _clean_text(self, text):
      return super()._clean_text(text)

  slow, fast = [kind(do_lower_case, ["[MASK]"], strip_accents)
                for kind in (Slow, tokenization.BasicTokenizer)]
  for text in itertools.chain(
      [ODD, "the [MASK]."], random_texts(300, seed=6)):
    assert slow.tokenize(text) == fast.tokenize(text)


def test_helpers_can_be_called():
  basic = tokenization.BasicTokenizer()
  assert basic._clean_text("a\x00\u200bb\tc\u3000d\ufffd") == "ab c d"
  assert basic._tokenize_chinese_chars("a\u4e00\u3042") == "a \u4e00 \u3042"
  assert basic._run_strip_accents("\u00c9\u00e5\u1734") == "Ea"
  assert basic._run_split_on_punc(",a b,-c") == [",", "a b", ",", "-", "c"]
  assert basic._run_split_on_punc("") == []
  assert [basic._is_chinese_char(ord(char)) for char in "\u4e00\U00020000a"
          ] == [True, True, False]


@pytest.mark.parametrize("helper, change, words", [
    ("_is_chinese_char", lambda self, cp: False, ["a\u4e00b", "e", "-", "x"]),
    ("_tokenize_chinese_chars", lambda self, text: text,
     ["a\u4e00b", "e", "-", "x"]),
    ("_clean_text", lambda self, text: text[:3], ["a", "\u4e00", "b"]),
    ("_run_strip_accents", lambda self, text: text,
     ["a", "\u4e00", "b", "\u00e9", "-", "x"]),
    ("_run_split_on_punc", lambda self, text: [text],
     ["a", "\u4e00", "b", "e-x"]),
])
def test_a_helper_of_a_subclass_a_program_or_an_object_is_used(
    tmp_path, monkeypatch, helper, change, words):
  text = "a\u4e00b \u00c9-X"
  path = write_vocab(tmp_path, WORDS + sorted(set(words)))
  tokenizer = tokenization.FullTokenizer(path)
  usual = ["a", "\u4e00", "b", "e", "-", "x"]
  assert tokenizer.basic_tokenizer.tokenize(text) == usual
  tokenizer.tokenize(text)  # whose pieces are now remembered
  changed = type("Changed", (tokenization.BasicTokenizer,), {helper: change})
  assert changed().tokenize(text) == words
  setattr(tokenizer.basic_tokenizer, helper,
          functools.partial(change, tokenizer.basic_tokenizer))
  assert tokenizer.tokenize(text) == words
  delattr(tokenizer.basic_tokenizer, helper)
  monkeypatch.setattr(tokenization.BasicTokenizer, helper, change)
  assert tokenizer.tokenize(text) == words
  assert tokenization.BasicTokenizer().tokenize(text) == words


def test_subclasses_need_not_call_the_constructors(tmp_path):
  class Basic(tokenization.BasicTokenizer):

    def __init__(self, vocab):
      self.vocab = vocab

  class Wordpiece(tokenization.WordpieceTokenizer):

    def __init__(self, vocab):
      self.vocab = vocab

  class Full(tokenization.FullTokenizer):

    def __init__(self, vocab_file, basic, wordpiece):
      self.vocab = tokenization.load_vocab(vocab_file)
      self.inv_vocab = {v: k for k, v in self.vocab.items()}
      self.basic_tokenizer = basic(self.vocab)
      self.wordpiece_tokenizer = wordpiece(self.vocab)

  path = write_vocab(tmp_path, WORDS)
  for basic in (Basic, lambda vocab: tokenization.BasicTokenizer()):
    for wordpiece in (Wordpiece, tokenization.WordpieceTokenizer):
      tokenizer = Full(path, basic, wordpiece)
      for _ in range(2):
        pieces = tokenizer.tokenize("Unw\u00e4nted, covids " + "a" * 201)
        assert pieces == ["un", "##want", "##ed", ",", "[UNK]", "[UNK]"]
      assert tokenizer.convert_ids_to_tokens(
          tokenizer.convert_tokens_to_ids(pieces)) == pieces


def test_preserve_token_needs_the_flag_of_a_program():
  vocab = ["[unused7]", "the"]
  assert not tokenization.preserve_token("[unused7]", vocab)
  flags.DEFINE_bool("preserve_unused_tokens", False, "Of the program.")
  try:
    assert not tokenization.preserve_token("[unused7]", vocab)
    flags.FLAGS["preserve_unused_tokens"].value = True
    assert [tokenization.preserve_token(token, vocab) for token in (
        "[unused7]", "[unused8]", "the")] == [True, False, False]
  finally:
    del flags.FLAGS.preserve_unused_tokens


def test_load_vocab(tmp_path, warnings):
  """Only line feeds end a line; ids are line numbers, blank lines count."""
  tokens = SPECIAL + ["a\u2028b", " \u0085x ", "", "\x1cy\x1d", "z\u00a0"]
  for end in (b"\n", b"\r\n"):
    vocab = tokenization.load_vocab(write_vocab(tmp_path, tokens, end))
    assert isinstance(vocab, collections.OrderedDict)
    assert list(vocab.items()) == [
        (token, i) for i, token in enumerate(
            SPECIAL + ["a\u2028b", "x", "", "y", "z"])]
  (tmp_path / "vocab.txt").write_bytes("\n".join(SPECIAL).encode("utf-8"))
  assert list(tokenization.load_vocab(str(tmp_path / "vocab.txt"))) == SPECIAL
  assert not warnings


def test_load_vocab_reports_duplicates(tmp_path, warnings):
  path = write_vocab(tmp_path, SPECIAL + ["a", "b", "a ", "a"])
  vocab = tokenization.load_vocab(path)
  assert list(vocab.items())[5:] == [("a", 8), ("b", 6)]
  line, = warnings
  assert "\n" not in line and path in line and "2 entries" in line
  assert "'a' (lines 6 and 8), 'a' (lines 8 and 9)" in line
  tokenization.load_vocab(write_vocab(tmp_path, SPECIAL + ["b"] * 9))
  assert warnings[1].count("lines") == 5 and "8 entries" in warnings[1]


def test_load_vocab_reports_missing_tokens(tmp_path, warnings):
  path = write_vocab(tmp_path, ["[PAD]", "[CLS]", "[SEP]", "a"])
  assert tokenization.load_vocab(path)["a"] == 3
  line, = warnings
  assert "\n" not in line and "has no [UNK], [MASK]," in line and path in line


def test_load_vocab_refuses(tmp_path):
  path = write_vocab(tmp_path, WORDS)
  with open(path, "ab") as writer:
    writer.write(b"good\nb\xe9d\n")
  with pytest.raises(ValueError, match=r"vocab.txt, line 20: .*xe9.* UTF-8"):
    tokenization.load_vocab(path)
  with open(path, "wb"):
    pass
  with pytest.raises(ValueError, match="file .*vocab.txt is empty"):
    tokenization.load_vocab(path)
  for bad in (str(tmp_path / "none.txt"), str(tmp_path), "", None):
    with pytest.raises(ValueError) as error:
      tokenization.load_vocab(bad)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(
        "cannot read the vocabulary file %r: " % (bad or ""))
    assert not bad or str(error.value).count(bad) == 1


def test_entries_with_accents_are_reported_where_they_never_match(
    tmp_path, warnings):
  path = write_vocab(tmp_path, SPECIAL + ["a", "\u00e9t\u00e9", "##\u00e9"])
  expected = ("%s: 2 of 8 entries (25%%), for example '\u00e9t\u00e9', have "
              "accents or composed characters and can never match, because "
              "accents are stripped from the text; pass strip_accents=false if "
              "the vocabulary was made without stripping" % path)
  tokenization.FullTokenizer(path)
  tokenization.FullTokenizer(path, False, strip_accents=True)
  assert warnings == [expected] * 2
  kept = tokenization.FullTokenizer(path, strip_accents=False)
  assert kept.tokenize("\u00c9t\u00e9 a\u00e9") == [
      "\u00e9t\u00e9", "a", "##\u00e9"]
  tokenization.FullTokenizer(path, False)
  assert len(warnings) == 2


def test_text_types():
  for convert in (tokenization.convert_to_unicode, tokenization.printable_text):
    assert convert("\u00e9") == "\u00e9"
    assert convert(b"\xc3\xa9\xff") == "\u00e9"
    with pytest.raises(ValueError, match="str or bytes, found int: 3"):
      convert(3)
  assert tokenization.whitespace_tokenize(" a\t\nb \u3000c") == ["a", "b", "c"]


@pytest.mark.parametrize("name, lower", [
    ("uncased_L-12_H-768_A-12", True), ("uncased_L-24_H-1024_A-16", True),
    ("multilingual_L-12_H-768_A-12", True), ("chinese_L-12_H-768_A-12", True),
    ("cased_L-12_H-768_A-12", False), ("cased_L-24_H-1024_A-16", False),
    ("multi_cased_L-12_H-768_A-12", False),
])
def test_validate_case(name, lower):
  path = "gs://bucket/models/%s/bert_model.ckpt" % name
  tokenization.validate_case_matches_checkpoint(lower, path)
  with pytest.raises(ValueError, match="%s was.*--do_lower_case=%s" %
                     (name, lower)):
    tokenization.validate_case_matches_checkpoint(not lower, path)
  for other in (None, "", "/tmp/%s/model.ckpt-3" % name,
                "/tmp/my_%s/bert_model.ckpt" % name):
    tokenization.validate_case_matches_checkpoint(not lower, other)


def write_vocab_of(tmp_path, *words):
  path = tmp_path / "vocab.txt"
  path.write_text("\n".join(
      ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") + words) + "\n")
  return str(path)


@pytest.mark.parametrize("given,config,words,expected", [
    (None, None, ["tea", "cat"], True),  # the special tokens do not count
    (None, None, ["Tea", "cat"], False),
    (None, False, ["tea"], False),
    (None, True, ["Tea"], True),
    (True, None, ["Tea"], True),
    (False, None, ["tea"], False),
    (False, False, ["tea"], False),
])
def test_casing_is_what_is_said_first(tmp_path, given, config, words, expected):
  path = write_vocab_of(tmp_path, *words)
  assert tokenization.decide_casing(given, path, None, config) == expected


def test_casing_of_a_config_is_not_contradicted(tmp_path):
  path = write_vocab_of(tmp_path, "tea")
  with pytest.raises(ValueError, match="^--do_lower_case=True: the model's "
                     "config says False; leave the flag out"):
    tokenization.decide_casing(True, path, None, False)


def test_casing_of_a_published_checkpoint_is_not_contradicted(tmp_path):
  path = write_vocab_of(tmp_path, "Tea")  # cased, so taken for cased
  with pytest.raises(ValueError, match="uncased_L-12_H-768_A-12 was"):
    tokenization.decide_casing(
        None, path, "/models/uncased_L-12_H-768_A-12/bert_model.ckpt")


def test_casing_that_the_vocabulary_speaks_against_warns(tmp_path, warnings):
  tokenization.decide_casing(True, write_vocab_of(tmp_path, "Tea"))
  assert "has upper case" in warnings[0]
