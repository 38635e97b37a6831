"""A model's vocabulary given more words, and its weights rows for them.

A new word's rows are the means of the rows of the pieces that it was split into
before, which is nearer to what it means than random values.
"""

import collections
import os
import re
import shutil

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from .. import checkpoints, files, tokenization, vocab_files

WORD_TABLE = "bert/embeddings/word_embeddings"
MASKED_LM_BIAS = "cls/predictions/output_bias"

# The files of a model, in its folder.
VOCAB, CONFIG, CHECKPOINT = "vocab.txt", "bert_config.json", "bert_model.ckpt"

_UNUSED = re.compile(r"\[unused\d+\]$")
# A training's own variables: the step and what optimizers keep.
_NOT_WEIGHTS = re.compile(
    r"global_step$|.*/(adam_[mv]|lamb_[mv]|adafactor_v[rc]?)$")


class Entry(collections.namedtuple("Entry", ["id", "word", "piece_ids"])):
  """A new entry of a vocabulary.

  Attributes:
    id: int.
    word: str.
    piece_ids: list of int. The pieces that the word was split into before.
  """


def read_words(path, basic_tokenizer):
  """Reads words to add, one a line; blank lines are skipped.

  Args:
    path: str.
    basic_tokenizer: BasicTokenizer. A word is what it makes of the line.

  Returns:
    list of str, without repetitions.

  Raises:
    ValueError: the file cannot be read, or a line is not one word to the
      tokenizer, so that no text would ever match it.
  """
  words = []
  for number, line in enumerate(vocab_files.read_tokens(path), 1):
    found = basic_tokenizer.tokenize(line)
    if line and len(found) != 1:
      raise ValueError(
          "%s, line %d: found %s, which is split into %s before pieces are "
          "looked up and so can be no entry; expected one word without spaces "
          "and punctuation" % (
              path, number, tokenization.shorten(line),
              " and ".join(map(repr, found)) or "nothing"))
    words += found
  return list(collections.OrderedDict.fromkeys(words))


def find_split(words, tokenizer):
  """Returns those of words that a tokenizer splits, or takes for [UNK].

  Args:
    words: iterable of str, words as BasicTokenizer returns them.
    tokenizer: FullTokenizer.
  """
  wordpiece = tokenizer.wordpiece_tokenizer
  longest = wordpiece.max_input_chars_per_word
  return [word for word in words
          if word not in tokenizer.vocab and len(word) <= longest]


def place(words, tokenizer, tokens, into_unused):
  """Decides which ids new words have.

  Args:
    words: list of str, none of them in the vocabulary.
    tokenizer: FullTokenizer of the vocabulary.
    tokens: list of str. The vocabulary, by id.
    into_unused: bool. Take the place of entries [unusedN], the first ones
      first; else they follow the last entry.

  Returns:
    list of str, the new vocabulary, and list of Entry.

  Raises:
    ValueError: there are not so many entries [unusedN].
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
  """Gives a model's weights rows for new entries.

  Args:
    values: dict from a variable's name to its array. Those that have a row, or
      a number, for each entry are replaced by larger copies.
    entries: list of Entry.
    size: int. Rows to have in the end.

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


def read_weights(checkpoint):
  """Returns a dict from the names of a checkpoint's weights to their arrays.

  What a training keeps beside them, such as Adam's averages, is left out.
  """
  reader = checkpoints.open_checkpoint(checkpoint)
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()
          if not _NOT_WEIGHTS.match(name)}


def write_model(folder, tokens, config=None, values=None):
  """Writes the files of a model into a new folder: all of them, or none.

  Args:
    folder: str. It must not exist, or be empty.
    tokens: list of str. The vocabulary.
    config: dict; None for no file.
    values: dict from the name of a variable to its array; None for no
      checkpoint.

  Raises:
    ValueError: there is something in the folder.
  """
  check_new(folder)
  with files.atomic_path(folder.rstrip("/")) as temporary:
    tf.gfile.MakeDirs(temporary)
    try:
      files.write_text(os.path.join(temporary, VOCAB),
                       "".join(token + "\n" for token in tokens))
      if config is not None:
        files.write_json(os.path.join(temporary, CONFIG), config)
      if values is not None:
        _save(os.path.join(temporary, CHECKPOINT), values)
      if os.path.isdir(folder):
        os.rmdir(folder)  # a folder does not replace another one
    except BaseException:
      shutil.rmtree(temporary, ignore_errors=True)
      raise


def check_new(folder):
  """Raises ValueError if something is in a folder, or it is a file."""
  if tf.gfile.Exists(folder) and (
      not tf.gfile.IsDirectory(folder) or files.list_folder(folder)):
    raise ValueError("--output_dir=%s: is there already; name a folder that is "
                     "new" % folder)


def _save(prefix, values):
  """Writes a checkpoint of arrays."""
  with tf.Graph().as_default(), tf.Session() as session:
    names = sorted(values)
    feeds = {tf.placeholder(values[name].dtype, values[name].shape):
             values[name] for name in names}
    session.run(tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
        tensors=list(feeds)), feeds)
