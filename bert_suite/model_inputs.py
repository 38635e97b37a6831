"""What the encoder reads: one text or a pair as ids, mask and segments."""

import collections
import numbers

from . import environment  # isort: skip  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import tokenization


def pad_to_length(values, length, padding=0):
  """Returns `values` with `padding` appended up to `length` items."""
  return list(values) + [padding] * (length - len(values))


def truncate_pair(tokens_a, tokens_b, max_length):
  """Shortens two lists in place until they fit, one token at a time.

  The longer list loses its last token, or `tokens_b` if both are equally long:
  a token of a short sequence says more than one of a long sequence.

  Args:
    tokens_a: list.
    tokens_b: list.
    max_length: int. Largest length of both together.
  """
  while len(tokens_a) + len(tokens_b) > max_length:
    (tokens_a if len(tokens_a) > len(tokens_b) else tokens_b).pop()


ModelInput = collections.namedtuple(
    "ModelInput", ["tokens", "input_ids", "input_mask", "segment_ids"])


class CutCount:
  """Counts inputs, and warns once about those that were cut."""

  def __init__(self, inputs,
               limit="--max_seq_length, [CLS] and [SEP] included,"):
    """Starts at 0.

    Args:
      inputs: str. What the inputs are called, such as "lines".
      limit: str. What limits their length.
    """
    self._inputs, self._limit = inputs, limit
    self._num_inputs = self._num_cut = 0
    self._is_reported = False

  def add(self, num_pieces, max_pieces, is_cut=None, num_windows=1):
    """Counts an input.

    Args:
      num_pieces: int. Its length.
      max_pieces: int. The most pieces that are read at once.
      is_cut: bool. None if every input that is too long is cut.
      num_windows: int. Number of windows that it is read in.
    """
    del num_windows
    self._num_inputs += 1
    self._num_cut += num_pieces > max_pieces if is_cut is None else is_cut
    self._max_pieces = max_pieces

  def report(self):
    """Warns if inputs were cut, the first time only."""
    if self._num_cut and not self._is_reported:
      self._is_reported = True
      tf.logging.warning(
          "%d of %d %s have more than the %d word pieces of %s and were cut",
          self._num_cut, self._num_inputs, self._inputs, self._max_pieces,
          self._limit)


def check_count(name, value, least=1):
  """Raises ValueError unless `value` is a whole number of at least `least`."""
  # bool is an int to Python.
  if (isinstance(value, bool) or not isinstance(value, numbers.Integral) or
      value < least):
    raise ValueError("%s=%s: expected a whole number, at least %d" % (
        name, tokenization.shorten(value), least))


def check_choice(name, value, choices):
  """Raises ValueError if a flag's value is not one of the choices."""
  if value not in choices:
    raise ValueError("--%s=%s: expected one of %s" % (
        name, value, ", ".join(choices)))


def check_pair(name, type_vocab_size):
  """Raises ValueError if a model has no second segment.

  Args:
    name: str. The pair, for the message.
    type_vocab_size: int. Number of the model's segments; None if unknown.
  """
  if type_vocab_size is not None and type_vocab_size < 2:
    raise ValueError(
        "%s: is a pair of texts, but the model's type_vocab_size is %d: it "
        "reads single texts only; use a model with 2 or more" % (
            name, type_vocab_size))


def make_model_input(tokens_a, tokens_b, max_seq_length, tokenizer, cuts=None):
  """Wraps, cuts and pads one text or a pair for the encoder.

  ```
  tokens:      [CLS] the kettle sing ##s . [SEP] tea is near ##ly ready [SEP]
  segment_ids: 0     0   0      0    0   0 0     1   1  1    1    1     1
  ```

  Args:
    tokens_a: list of str. Word pieces of the first text.
    tokens_b: list of str, or None or empty for a single text.
    max_seq_length: int. S, at least 3.
    tokenizer: FullTokenizer.
    cuts: CutCount, or None. Counts the input.

  Returns:
    ModelInput: `tokens` without padding; `input_ids`, `input_mask` and
    `segment_ids`, lists of S int.
  """
  tokens_a, tokens_b = list(tokens_a), list(tokens_b or [])
  if cuts is not None:
    cuts.add(len(tokens_a) + len(tokens_b) + (3 if tokens_b else 2),
             max_seq_length)
  if tokens_b:
    truncate_pair(tokens_a, tokens_b, max_seq_length - 3)
  else:
    del tokens_a[max_seq_length - 2:]
  tokens = ["[CLS]"] + tokens_a + ["[SEP]"]
  segment_ids = [0] * len(tokens)
  if tokens_b:
    tokens += tokens_b + ["[SEP]"]
    segment_ids += [1] * (len(tokens_b) + 1)
  return ModelInput(
      tokens=tokens,
      input_ids=pad_to_length(
          tokenizer.convert_tokens_to_ids(tokens), max_seq_length),
      input_mask=pad_to_length([1] * len(tokens), max_seq_length),
      segment_ids=pad_to_length(segment_ids, max_seq_length))


def check_tokens(vocab, vocab_file, tokens, who_needs_them):
  """Raises ValueError if a vocabulary lacks tokens.

  Args:
    vocab: dict from token to id.
    vocab_file: str. Its file, for the message.
    tokens: list of str.
    who_needs_them: str, for the message, such as "records need".
  """
  missing = [token for token in tokens if token not in vocab]
  if missing:
    raise ValueError("%s: has no %s, which %s; is it the vocabulary of the "
                     "model?" % (
                         vocab_file, ", ".join(missing), who_needs_them))


def check_vocab(vocab, vocab_file, vocab_size):
  """Raises ValueError if a vocabulary does not fit a model.

  Args:
    vocab: dict from token to id.
    vocab_file: str. Its file, for the message.
    vocab_size: int. Rows of the model's word embedding table.
  """
  check_tokens(vocab, vocab_file, ["[UNK]", "[CLS]", "[SEP]"],
               "every example needs")
  largest = max(vocab.values())
  if largest >= vocab_size:
    raise ValueError(
        "%s: has ids up to %d, but the model's vocab_size is %d; is it the "
        "vocabulary of the model? learn_vocab.py --extend=append gives a model "
        "more words" % (vocab_file, largest, vocab_size))


def log_example(name, model_input, label=None, index=0):
  """Logs how an example was tokenized, so that a wrong vocabulary shows.

  Ids are logged as DEBUG messages, and so is everything except for the first
  example.

  Args:
    name: str. The example's name.
    model_input: ModelInput.
    label: str. What to show as its label; None if it has none.
    index: int. The example's index in the file.
  """
  level = level_of_example(index)
  tf.logging.log(level, "*** Example ***")
  tf.logging.log(level, "guid: %s", name)
  tf.logging.log(level, "tokens: %s", " ".join(model_input.tokens))
  for field in ("input_ids", "input_mask", "segment_ids"):
    values = getattr(model_input, field)
    tf.logging.debug("%s: %s", field, " ".join(str(v) for v in values))
  if label is not None:
    tf.logging.log(level, "label: %s", label)


def level_of_example(index):
  """Returns the level at which an example of a file is logged."""
  return tf.logging.DEBUG if index else tf.logging.INFO


# More than this do not fit the caches of a CPU: from 512 to 2,048 answers took
# the least time, from 4,096 a tenth to a third more (LOG.md, 2026-11-28).
_MOST_TOKENS_OF_CPU = 2048


def most_tokens(batch_size, seq_length, may_use_gpu=True):
  """Returns how many tokens a batch should have, at most.

  Args:
    batch_size: int. Sequences of full length that fit the memory.
    seq_length: int. S.
    may_use_gpu: bool. A GPU, if there is one, computes the batch.
  """
  tokens = batch_size * seq_length
  if may_use_gpu and environment.find_gpus():
    return tokens
  return min(tokens, max(_MOST_TOKENS_OF_CPU, seq_length))


def batches_of_tokens(lengths, max_tokens):
  """Batches sequences of similar lengths, with about equal numbers of tokens.

  Args:
    lengths: list of int.
    max_tokens: int. Most tokens in a batch, counting all of its sequences as
      long as the longest, which bounds the memory of attention too. A single
      sequence may have more.

  Returns:
    list of list of int: the sequences of each batch, by index.
  """
  batches = []
  for index in np.argsort(lengths, kind="stable"):  # each is the longest so far
    if not batches or (len(batches[-1]) + 1) * lengths[index] > max_tokens:
      batches.append([])
    batches[-1].append(index)
  return batches


def stack_inputs(model_inputs):
  """Stacks model inputs into arrays, padded to the longest of them.

  Args:
    model_inputs: list of ModelInput, or of objects with its fields.

  Returns:
    dict of int32 [B, T]: "input_ids", "input_mask" and "segment_ids".
  """
  longest = max(len(one.tokens) for one in model_inputs)
  return {name: np.array([getattr(one, name)[:longest] for one in model_inputs],
                         np.int32)
          for name in ("input_ids", "input_mask", "segment_ids")}
