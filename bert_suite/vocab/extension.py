"""Adds words to a model's vocabulary, and rows for them to its weights.

A new word's rows are the means of the rows of the pieces that it was split into
before, which are closer to its meaning than random values.
"""

import collections
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np

from .. import tokenization, vocab_files

WORD_TABLE = "bert/embeddings/word_embeddings"
MASKED_LM_BIAS = "cls/predictions/output_bias"

_UNUSED = re.compile(r"\[unused\d+\]$")


class Entry(collections.namedtuple("Entry", ["id", "word", "piece_ids"])):
  """A new entry of a vocabulary.

  Attributes:
    id: int.
    word: str.
    piece_ids: list of int. The pieces that the word was split into before.
  """


def read_words(path, basic_tokenizer):
  """Reads words to add, one per line; blank lines are skipped.

  Args:
    path: str.
    basic_tokenizer: BasicTokenizer. A word is what it returns for a line.

  Returns:
    list of str, without repetitions.

  Raises:
    ValueError: the file cannot be read, or the tokenizer splits a line into
      several words, so that no text would ever match it.
  """
  words = []
  for number, line in enumerate(
      vocab_files.read_tokens(path, "words"), 1):
    found = basic_tokenizer.tokenize(line)
    if line and len(found) != 1:
      raise ValueError(
          "%s, line %d: found %s, which is split into %s before pieces are "
          "looked up, so it cannot be an entry; expected one word without "
          "spaces and punctuation" % (
              path, number, tokenization.shorten(line),
              " and ".join([repr(word) for word in found[:3]] +
                           ["more"] * (len(found) > 3)) or "nothing"))
    words += found
  return list(collections.OrderedDict.fromkeys(words))


def find_split(words, tokenizer):
  """Returns the words that a tokenizer splits, or turns into [UNK].

  Args:
    words: iterable of str, words as BasicTokenizer returns them.
    tokenizer: FullTokenizer.
  """
  wordpiece = tokenizer.wordpiece_tokenizer
  longest = wordpiece.max_input_chars_per_word
  return [word for word in words
          if word not in tokenizer.vocab and len(word) <= longest]


def place(words, tokenizer, tokens, into_unused):
  """Decides which ids new words get.

  Args:
    words: list of str, none of them in the vocabulary.
    tokenizer: FullTokenizer of the vocabulary.
    tokens: list of str. The vocabulary, by id.
    into_unused: bool. They replace entries [unusedN], from the first one on;
      else they follow the last entry.

  Returns:
    list of str, the new vocabulary, and list of Entry.

  Raises:
    ValueError: there are too few entries [unusedN].
  """
  ids = range(len(tokens), len(tokens) + len(words))
  if into_unused:
    ids = find_unused(tokens)
    if len(ids) < len(words):
      raise ValueError(
          "--extend=unused: there are %d words and only %d entries [unusedN]; "
          "give fewer, or --extend=append" % (len(words), len(ids)))
  tokens = list(tokens) + [""] * (0 if into_unused else len(words))
  entries = []
  for index, word in zip(ids, words):
    tokens[index] = word
    entries.append(Entry(index, word, tokenizer.convert_tokens_to_ids(
        tokenizer.wordpiece_tokenizer.tokenize(word))))
  return tokens, entries


def find_unused(tokens):
  """Returns the ids of the entries [unusedN] of a vocabulary, a list of int."""
  return [index for index, token in enumerate(tokens) if _UNUSED.match(token)]


def extend_weights(values, entries, size):
  """Adds rows for new entries to a model's weights.

  Args:
    values: dict from a variable's name to its array. Those that have a row, or
      a number, for each entry are replaced by larger copies.
    entries: list of Entry.
    size: int. The final number of rows.

  Raises:
    ValueError: there is no table of words.
  """
  if WORD_TABLE not in values:
    raise ValueError("there is no %s in the checkpoint, expected a model of "
                     "BERT" % WORD_TABLE)
  rows = len(values[WORD_TABLE])
  for name in (WORD_TABLE, MASKED_LM_BIAS):
    if name not in values:  # an encoder without the masked LM
      continue
    old = values[name]
    if len(old) != rows:
      raise ValueError("%s has %d rows and %s %d, expected the same" % (
          WORD_TABLE, rows, name, len(old)))
    new = np.zeros((size,) + old.shape[1:], old.dtype)
    new[:rows] = old
    for entry in entries:
      new[entry.id] = old[entry.piece_ids].mean(axis=0)
    values[name] = new
