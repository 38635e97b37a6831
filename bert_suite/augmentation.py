"""Data augmentation: words replaced by what a masked LM finds likely.

Source: Jiao et al., arXiv 1909.10351 (TinyBERT), section 3.3 and algorithm 1.
There, words of several pieces are replaced by their nearest neighbours among
GloVe's vectors; here they stay.
"""

import collections
import itertools
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import checkpoints, model_files, progress
from .pretraining import served

_REPLACED = 0.4  # share of the words of a text, as in the paper
_TEXTS_AT_ONCE = 128
_SEED = 20190923


class _Words(collections.namedtuple("_Words", "texts num_pieces can_change")):
  """The words of an example's one or two texts.

  Attributes:
    texts: list of list of str, one or two.
    num_pieces: list of list of int. Number of word pieces of each word.
    can_change: list of (int, int): text and word of each word of one piece.
  """


def find_model(settings):
  """Finds the masked LM that --augment uses.

  Args:
    settings: DistillationSettings of a script.

  Returns:
    trained_models.TrainedModel of the task masked_lm.

  Raises:
    ValueError: there is no model, or it has no masked LM.
  """
  from . import trained_models  # here, since it imports the scripts

  parts = _describe(settings)
  served.check_checkpoint(
      parts["init_checkpoint"], "--augment",
      "pass --masked_lm_dir, the folder of a model that has")
  return trained_models.find(**parts)


def load_model(settings):
  """Loads it; returns a predictor.Predictor."""
  from . import predictor  # here, since it imports the scripts

  parts = _describe(settings)
  return predictor.Predictor(parts.pop("init_checkpoint"), **parts)


def _describe(settings):
  """Returns a dict of arguments of `trained_models.find`."""
  folder = settings.masked_lm_dir
  if folder:
    checkpoint = (checkpoints.find_checkpoint(folder) or
                  checkpoints.find_prefix(folder))
    if not checkpoint:
      raise ValueError("--masked_lm_dir=%s: holds no checkpoint" % folder)
    parts = {}
    if tf.gfile.Exists(os.path.join(folder, model_files.CONFIG)):
      parts = dict(bert_config_file=os.path.join(folder, model_files.CONFIG),
                   vocab_file=os.path.join(folder, model_files.VOCAB))
  else:
    checkpoint = settings.init_checkpoint
    if not checkpoint:
      raise ValueError("--augment: pass --masked_lm_dir, or a pre-trained "
                       "--init_checkpoint, whose masked LM replaces words")
    parts = dict(bert_config_file=settings.bert_config_file,
                 vocab_file=settings.vocab_file,
                 do_lower_case=settings.do_lower_case)
  return dict(parts, task="masked_lm",
              init_checkpoint=checkpoints.resolve(checkpoint))


def augment(examples, model, copies):
  """Makes variants of each example, with some words replaced.

  The same texts give the same results.

  Args:
    examples: list or Stream of InputExample.
    model: predictor.Predictor of the task masked_lm.
    copies: int. Variants per example.

  Yields:
    (str, str or None), all variants of an example before those of the next.
    Words are those of the model's BasicTokenizer, joined by spaces.
  """
  random = np.random.RandomState(_SEED)
  examples = iter(examples)
  while True:
    some = list(itertools.islice(examples, _TEXTS_AT_ONCE))
    if not some:
      return
    yield from _augment_some(some, model, copies, random)


def _augment_some(examples, model, copies, random):
  """Makes the texts of some examples; see `augment`."""
  split = [_split(example, model) for example in examples]
  chosen = [[_choose(words, random) for _ in range(copies)] for words in split]
  asked = [(words, place) for words, sets in zip(split, chosen)
           for place in sorted(set(itertools.chain(*sets)))]
  guesses = model.predict([_mask(words, place, model.settings["max_seq_length"])
                           for words, place in asked])
  candidates = {(id(words), place): _likely(guess, words.texts[place[0]][
      place[1]]) for (words, place), guess in zip(asked, guesses)}
  for words, sets in zip(split, chosen):
    for places in sets:
      texts = [list(text) for text in words.texts]
      for place in places:
        found = candidates[id(words), place]
        if found:
          texts[place[0]][place[1]] = found[random.randint(len(found))]
      texts = [" ".join(text) for text in texts]
      yield texts[0], texts[1] if len(texts) > 1 else None


def _split(example, model):
  """Returns the _Words of an example."""
  with model.tokenizer_lock:
    tokenizer = model.tokenizer
    # A classifier reads [MASK] as three words; it is not a gap to fill.
    texts = [tokenizer.basic_tokenizer.tokenize(
        text.replace(served.MASK, "[ MASK ]"))
             for text in (example.text_a, example.text_b) if text]
    pieces = [[tokenizer.wordpiece_tokenizer.tokenize(word) for word in text]
              for text in texts]
  return _Words(
      texts, [list(map(len, text)) for text in pieces],
      [(i, j) for i, text in enumerate(pieces) for j, found in enumerate(text)
       if len(found) == 1 and _is_word(found[0])])


def _choose(words, random):
  """Returns the set of places to replace, at least one if there are any."""
  places = words.can_change
  drawn = random.random_sample(len(places)) < _REPLACED
  if places and not drawn.any():
    drawn[random.randint(len(places))] = True
  return {place for place, is_drawn in zip(places, drawn) if is_drawn}


def _mask(words, place, max_seq_length):
  """Returns what the masked LM reads to replace a word: a text, or a pair.

  If the texts are too long, it reads only the words around the one to replace.

  Args:
    words: _Words.
    place: (int, int). Text and word.
    max_seq_length: int. The masked LM's.
  """
  index, word = place
  texts = [list(text) for text in words.texts]
  texts[index][word] = served.MASK
  if sum(map(sum, words.num_pieces)) <= max_seq_length - 1 - len(texts):
    texts = [" ".join(text) for text in texts]
    return texts[0] if len(texts) == 1 else tuple(texts)
  sizes, room = words.num_pieces[index], max_seq_length - 3
  begin, end = word, word + 1
  while True:
    before = room - sizes[begin - 1] if begin else -1
    if before >= 0:
      begin, room = begin - 1, before
    after = room - sizes[end] if end < len(sizes) else -1
    if after >= 0:
      end, room = end + 1, after
    if before < 0 and after < 0:
      return " ".join(texts[index][begin:end])


def _likely(guesses, word):
  """Returns the words, list of str, that may replace another.

  Args:
    guesses: list with one item, for the only [MASK]: a list of (word piece,
      probability).
    word: str. The word to replace.
  """
  return [piece for piece, _ in guesses[0]
          if piece != word and _is_word(piece)]


def _is_word(piece):
  """Returns whether a word piece is a word, not an ending, mark or [PAD]."""
  return not piece.startswith(("##", "[")) and any(map(str.isalnum, piece))


def count_progress(iterable, total):
  """Yields the items of an iterable, with a progress bar."""
  with progress.Progress("Replacing words", total) as shown:
    for item in iterable:
      yield item
      shown.advance()
