"""Words to records: word pieces, windows, and which piece stands for a word.

The first piece of a word carries its tag, as in Devlin et al., arXiv
1810.04805, section 5.3. Texts that are too long for the model are read through
overlapping windows; a word is learnt and predicted in the one with the most
context around its first piece. So every word has one place.
"""

import itertools

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import model_inputs, text_windows

# What is read at once: a sentence, or all sentences of a document.
CONTEXTS = ("sentence", "document")
UNKNOWN = "[UNK]"

_NUM_LOGGED = 5  # records to log, so that a wrong vocabulary is noticed


def check_documents(sentences):
  """Raises ValueError if a file does not say where documents begin."""
  if not sentences.has_documents:
    raise ValueError(
        "--context=document: %s does not say where a document begins; expected "
        "rows with -DOCSTART-, or in JSON lines a name as \"document\" in "
        "each line; add them, or pass --context=sentence" % sentences.path)


def split_into_pieces(words, tokenizer):
  """Splits words into word pieces; each has at least one.

  A word of which the tokenizer leaves nothing, such as a lone control
  character, is read as [UNK].

  Args:
    words: list of str.
    tokenizer: FullTokenizer.

  Returns:
    list of str, the pieces, and a list of int, the first piece of each word.
  """
  pieces, firsts = [], []
  for word in words:
    firsts.append(len(pieces))
    pieces += tokenizer.tokenize(word) or [UNKNOWN]
  return pieces, firsts


class Windows:
  """The windows through which sentences are read, in their order."""

  def __init__(self, tokenizer, max_seq_length, stride, context="sentence"):
    """Takes what they depend on.

    Args:
      tokenizer: FullTokenizer.
      max_seq_length: int. S, at least 3.
      stride: int. Pieces from one window to the next.
      context: str. One of CONTEXTS.
    """
    self._tokenizer, self._length = tokenizer, max_seq_length
    self._stride, self._context = stride, context

  def _units(self, sentences):
    """Yields what is read at once, lists of Sentence."""
    if self._context == "sentence":
      return ([one] for one in sentences)
    return (list(group) for _, group in itertools.groupby(
        sentences, lambda one: one.document))

  def make(self, sentences):
    """Yields the windows in which at least one word has its place.

    Args:
      sentences: list of Sentence.

    Yields:
      A ModelInput, and the list of int of the positions of first pieces in it.
      Words are in order across windows.
    """
    for unit in self._units(sentences):
      yield from self._make_of(unit)

  def _make_of(self, unit):
    """Yields what `make` does, for one list of `_units`."""
    pieces, firsts = split_into_pieces(
        [word for one in unit for word in one.words], self._tokenizer)
    number = 0  # of the next word
    for start, stop, is_best in text_windows.find_windows(
        len(pieces), self._length - 2, self._stride):
      places = []
      while number < len(firsts) and (
          firsts[number] < stop and is_best[firsts[number] - start]):
        places.append(firsts[number] - start + 1)  # after [CLS]
        number += 1
      if places:
        yield model_inputs.make_model_input(
            pieces[start:stop], None, self._length, self._tokenizer), places

  def count(self, sentences):
    """Returns the number of windows."""
    return sum(1 for _ in self.make(sentences))

  def log(self, sentences, name):
    """Logs how much is too long to be read at once.

    Args:
      sentences: list of Sentence.
      name: str. What they are, for the log.
    """
    counts = [sum(1 for _ in self._make_of(unit))
              for unit in self._units(sentences)]
    tf.logging.info(
        "%s: %d of %d %ss have more than the %d word pieces of "
        "--max_seq_length, [CLS] and [SEP] included, and are read in several "
        "windows; %d windows in all", name, sum(n > 1 for n in counts),
        len(counts), self._context, self._length, sum(counts))


def make_features(sentences, tags, labels, windows, name):
  """Yields a dict of features for each window; the first are logged.

  Args:
    sentences: list of Sentence.
    tags: iterable of list of str, the tags of each sentence; a word whose tag
      is not in `labels` counts as the first of them.
    labels: list of str.
    windows: Windows.
    name: str. What the windows are called in the log.

  Yields:
    dict from name to list of S int: input_ids, input_mask and segment_ids, and
    for first pieces label_mask, 1, and label_ids.
  """
  ids = {label: i for i, label in enumerate(labels)}
  found = itertools.chain.from_iterable(tags)
  for index, (model_input, places) in enumerate(windows.make(sentences)):
    length = len(model_input.input_ids)
    label_ids, label_mask, shown = [0] * length, [0] * length, []
    for place, tag in zip(places, found):
      label_ids[place], label_mask[place] = ids.get(tag, 0), 1
      shown.append("%s %s" % (model_input.tokens[place], tag))
    if index < _NUM_LOGGED:
      model_inputs.log_example("%s, window %d" % (name, index + 1), model_input,
                               ", ".join(shown), index)
    yield {"input_ids": model_input.input_ids,
           "input_mask": model_input.input_mask,
           "segment_ids": model_input.segment_ids,
           "label_ids": label_ids, "label_mask": label_mask}
