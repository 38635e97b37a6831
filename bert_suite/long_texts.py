"""Texts that are longer than what the encoder reads at once.

`--long_text` says what becomes of them:

truncate:   the end is cut off.
head_tail:  the beginning and the end stay, the middle is cut out (Sun et al.
            2019, How to Fine-Tune BERT for Text Classification).
windows:    nothing is cut: overlapping windows are read one by one, and their
            logits are pooled into one answer.

In training each window is a record with the label of its text, and all records
weigh the same: a text of three windows counts three times. Evaluation and
prediction count texts: each has one answer.
"""

import collections
import itertools

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import model_inputs

MODES = ("truncate", "head_tail", "windows")
POOLINGS = ("mean", "max")
# The names of the settings of `LongTexts`, in scripts and in run.json.
SETTINGS = ("long_text", "window_stride", "window_pooling")
# The feature of records that says which example a window belongs to.
INDEX = "example_index"

# Of the 510 word pieces that BERT reads of a single text, the first 128 and the
# last 382 did best in the paper.
_HEAD, _WHOLE = 128, 510


class LongTexts(collections.namedtuple(
    "LongTexts", SETTINGS, defaults=("truncate", None, "mean"))):
  """What becomes of long texts.

  Attributes:
    long_text: str. One of MODES.
    window_stride: int. Word pieces from the start of a window to that of the
      next; None if there are no windows to make.
    window_pooling: str. One of POOLINGS.
  """

  @classmethod
  def of(cls, values, max_seq_length=None):
    """Makes a LongTexts from settings.

    Args:
      values: dict from SETTINGS, among others, to their values; None, or left
        out, for the default.
      max_seq_length: int. The default of the stride is half of it.
    """
    policy = cls(**{name: values[name] for name in SETTINGS
                    if values.get(name) is not None})
    if max_seq_length and policy.has_windows and policy.window_stride is None:
      return policy._replace(window_stride=max_seq_length // 2)
    return policy

  @property
  def has_windows(self):
    """Whether texts may become several inputs."""
    return self.long_text == "windows"

  def check(self, max_seq_length=None):
    """Raises ValueError if a setting is wrong.

    Args:
      max_seq_length: int. None if it is not known.
    """
    model_inputs.check_choice("long_text", self.long_text, MODES)
    model_inputs.check_choice("window_pooling", self.window_pooling, POOLINGS)
    largest = (max_seq_length or 2**31) - 2
    if self.has_windows and largest < 3:
      raise ValueError("--long_text=windows: needs --max_seq_length=5 or more, "
                       "found %d" % max_seq_length)
    if self.window_stride is None:
      return
    model_inputs.check_count("--window_stride", self.window_stride)
    if not self.has_windows:
      raise ValueError("--window_stride=%s: only applies to "
                       "--long_text=windows, found --long_text=%s; leave it "
                       "out" % (
                           self.window_stride, self.long_text))
    if self.window_stride > largest:
      raise ValueError(
          "--window_stride=%s: expected 1 to %d, the word pieces of a text in "
          "--max_seq_length=%d" % (
              self.window_stride, largest, max_seq_length))

  def check_device(self, settings, splits):
    """Raises ValueError if windows cannot be pooled.

    Args:
      settings: Settings of a script.
      splits: names of what is read, such as "eval".
    """
    # Predictions with --master are pooled in this process.
    if self.has_windows and (
        "eval" in splits and (settings.use_tpu or settings.master) or
        "predict" in splits and settings.use_tpu):
      raise ValueError(
          "--long_text=windows: windows are pooled in this process, which "
          "cannot be on a TPU or with --master; train there, and evaluate and "
          "predict without --use_tpu and --master")

  def values(self):
    """Returns a dict of the settings that matter, for run.json."""
    values = self._asdict()
    return {name: values[name]
            for name in (SETTINGS if self.has_windows else SETTINGS[:1])
            if values[name] is not None}

  def fit(self, tokens_a, tokens_b, max_seq_length):
    """Makes a text, or a pair, fit into the encoder.

    Args:
      tokens_a: list of str. Word pieces of the first text.
      tokens_b: list of str, or None or empty for a single text.
      max_seq_length: int. S, at least 3.

    Returns:
      list of (list of str, list of str), more than one only for windows; each
      has at most S - 2 word pieces, or S - 3 if it is a pair.
    """
    tokens_b = tokens_b or []
    room = max_seq_length - (3 if tokens_b else 2)
    if len(tokens_a) + len(tokens_b) <= room:
      return [(tokens_a, tokens_b)]
    if self.has_windows:
      return make_windows(tokens_a, tokens_b, room, self.window_stride)
    cut_a, cut_b = list(tokens_a), list(tokens_b)
    model_inputs.truncate_pair(cut_a, cut_b, room)
    if self.long_text == "head_tail":
      cut_a = head_and_tail(tokens_a, len(cut_a))
      cut_b = head_and_tail(tokens_b, len(cut_b))
    return [(cut_a, cut_b)]


TRUNCATE = LongTexts()


def head_and_tail(tokens, length):
  """Cuts out the middle of a text.

  Args:
    tokens: list.
    length: int. Most tokens to keep.

  Returns:
    list. All tokens if they fit; else the first ones, 128 / 510 of `length` but
    at most 128, and the last ones.
  """
  if len(tokens) <= length:
    return tokens
  head = min(_HEAD, length * _HEAD // _WHOLE)
  return tokens[:head] + tokens[len(tokens) - (length - head):]


def make_windows(tokens_a, tokens_b, room, stride):
  """Cuts a text, or the longer one of a pair, into overlapping windows.

  The shorter text of a pair is in every window, cut to at most half the room,
  rounded down.

  Args:
    tokens_a: list of str.
    tokens_b: list of str, empty for a single text.
    room: int. Word pieces that fit, fewer than there are.
    stride: int. Word pieces from one start to the next, but never more than a
      window holds, so that none is left out.

  Returns:
    list of (list of str, list of str). All windows are full: the last one ends
    with the text and may overlap the one before by more.
  """
  a_is_longer = len(tokens_a) >= len(tokens_b)
  longer, shorter = (
      (tokens_a, tokens_b) if a_is_longer else (tokens_b, tokens_a))
  shorter = shorter[:room // 2]
  size = max(1, min(room - len(shorter), len(longer)))
  last = len(longer) - size
  starts = list(range(0, last, min(stride, size))) + [last]
  parts = [longer[start:start + size] for start in starts]
  return [(part, shorter) if a_is_longer else (shorter, part)
          for part in parts]


def make_model_inputs(tokens_a, tokens_b, max_seq_length, tokenizer,
                      policy=TRUNCATE, counts=None):
  """Makes the wrapped and padded inputs of a text or a pair.

  Args:
    tokens_a: list of str.
    tokens_b: list of str, or None or empty for a single text.
    max_seq_length: int. S, at least 3.
    tokenizer: FullTokenizer.
    policy: LongTexts.
    counts: model_inputs.CutCount, or None. Counts the text.

  Returns:
    list of ModelInput, see `model_inputs.make_model_input`.
  """
  tokens_b = tokens_b or []
  parts = policy.fit(tokens_a, tokens_b, max_seq_length)
  if counts is not None:
    num_pieces = len(tokens_a) + len(tokens_b) + (3 if tokens_b else 2)
    is_cut = num_pieces > max_seq_length
    if policy.has_windows:  # only the shorter text of a pair may be
      is_cut = min(map(len, parts[0])) < min(len(tokens_a), len(tokens_b))
    counts.add(num_pieces, max_seq_length, is_cut, len(parts))
  return [model_inputs.make_model_input(a, b, max_seq_length, tokenizer)
          for a, b in parts]


class SetCounts(model_inputs.CutCount):
  """Counts the texts of a set, and says what became of the long ones."""

  def __init__(self, inputs, policy=TRUNCATE, largest=None):
    """Starts at 0.

    Args:
      inputs: str. What the texts are called, such as "examples of a file".
      policy: LongTexts.
      largest: int. Largest max_seq_length of the model; None if unknown.
    """
    super().__init__(inputs)
    self._policy, self._largest = policy, largest
    self._num_windows = self._num_split = 0
    self._lengths = collections.Counter()

  def add(self, num_pieces, max_pieces, is_cut=None, num_windows=1):
    super().add(num_pieces, max_pieces, is_cut)
    self._num_windows += num_windows
    self._num_split += num_windows > 1
    self._lengths[num_pieces] += 1

  def report(self):
    """Logs how many texts were cut or split, and what would help."""
    if not self._num_inputs:
      return
    limit = "%d word pieces of --max_seq_length, [CLS] and [SEP] included" % (
        self._max_pieces)
    if self._policy.has_windows:
      tf.logging.info(
          "%s have more than the %s, and are read in several windows: %d "
          "windows in all, %.2f per text; the longest has %d word pieces",
          self._share(self._num_split), limit, self._num_windows,
          self._num_windows / self._num_inputs, max(self._lengths))
      if self._num_cut:
        tf.logging.warning(
            "%s are pairs whose shorter text is longer than half a window and "
            "was cut to that; a larger --max_seq_length cuts fewer",
            self._share(self._num_cut))
    elif self._num_cut:
      tf.logging.warning(
          "%s have more than the %s, and were cut%s; %s",
          self._share(self._num_cut), limit,
          " to head and tail" if self._policy != TRUNCATE else "",
          self._advice())
    else:
      tf.logging.info("None of the %d %s was cut", self._num_inputs,
                      self._inputs)

  def _share(self, count):
    return "%d of %d %s (%.1f%%)" % (
        count, self._num_inputs, self._inputs, 100 * count / self._num_inputs)

  def _advice(self):
    """Returns what would cut fewer texts."""
    longest, largest = max(self._lengths), self._largest or float("inf")
    advice = "the longest has %d" % longest
    if longest <= largest:
      advice += ": --max_seq_length=%d would hold all" % longest
    elif self._max_pieces < largest:
      advice += ": --max_seq_length=%d, the model's largest, would cut %d" % (
          largest, sum(count for length, count in self._lengths.items()
                       if length > largest))
    return advice + "; --long_text=windows reads all of each"


def pool(logits, first, pooling):
  """Pools the logits of the windows of texts.

  Args:
    logits: float32 array [windows, L].
    first: int array [texts]. The index of the first window of each text.
    pooling: str. "mean" or "max".

  Returns:
    float32 array [texts, L].
  """
  logits = np.asarray(logits, np.float64)
  if pooling == "max":
    pooled = np.maximum.reduceat(logits, first)
  else:
    counts = np.diff(np.append(first, len(logits)))
    pooled = np.add.reduceat(logits, first) / counts[:, np.newaxis]
  return pooled.astype(np.float32)


def pool_set(arrays, pooling, losses):
  """Turns arrays over the windows of a whole set into arrays over its examples.

  Args:
    arrays: dict from name to array [windows, ...], whose INDEX is the number of
      the example, in order. All windows of an example share all but "logits"
      and "per_example_loss".
    pooling: str. One of POOLINGS.
    losses: function of `logits`, float32 [examples, L], and `label_ids`
      [examples, ...] that returns float32 [examples].

  Returns:
    dict from name to array [examples, ...], without INDEX.
  """
  first = np.unique(arrays[INDEX], return_index=True)[1]
  pooled = {name: array[first] for name, array in arrays.items()
            if name != INDEX}
  pooled["logits"] = pool(arrays["logits"], first, pooling)
  pooled["per_example_loss"] = losses(pooled["logits"], pooled["label_ids"])
  return pooled


def pool_head(head, indexes, pooling, losses):
  """Makes a head's metrics count examples, and its predictions poolable.

  Args:
    head: training.Head, whose metrics get "logits" [B, L] and
      "per_example_loss" [B].
    indexes: int32 Tensor [B]. The example that each window belongs to.
    pooling: str. One of POOLINGS.
    losses: function, see `pool_set`.

  Returns:
    training.Head, for evaluation in this process only.
  """
  function, tensors, names = head.metrics

  def compute_metrics(**arrays):
    return function(**pool_set(arrays, pooling, losses))

  return head._replace(
      predictions=dict(head.predictions, logits=tensors["logits"],
                       **{INDEX: indexes}),
      metrics=(compute_metrics, dict(tensors, **{INDEX: indexes}), names),
      tpu_metrics=None)


def pool_predictions(predictions, pooling, predict):
  """Yields one prediction for each example as its windows' predictions arrive.

  Args:
    predictions: iterable of dict from name to array, with "logits" [L] and
      INDEX.
    pooling: str. One of POOLINGS.
    predict: function of the pooled logits [L] that returns a dict of what the
      head predicts.

  Yields:
    dict like that of an example's first window, with what `predict` returns.
  """
  for _, windows in itertools.groupby(
      predictions, lambda prediction: int(prediction[INDEX])):
    windows = list(windows)
    logits, = pool([one["logits"] for one in windows], [0], pooling)
    yield dict(dict(windows[0], logits=logits), **predict(logits))


def choose(options, trained_with):
  """Returns the LongTexts of a model that is served.

  Args:
    options: dict. What a program asks for, see `LongTexts.of`; the rest is as
      in training.
    trained_with: dict from the name of a setting to its value in training. A
      warning says what differs.

  Raises:
    ValueError: an option is wrong.
  """
  asked = {name: options[name] for name in SETTINGS
           if options.get(name) is not None}
  trained = LongTexts.of(trained_with).values()
  for name, value in sorted(asked.items()):
    if trained_with and value != trained.get(name, value):
      tf.logging.warning("%s is %s here, but the model was trained with %s",
                         name, value, trained[name])
  if asked.get("long_text", trained["long_text"]) != trained["long_text"]:
    trained = {}  # its stride means nothing here
  policy = LongTexts.of(dict(trained, **asked))
  if asked:
    policy.check()
  return policy


def compute(model, pairs, predict):
  """Computes texts with a served model; pools the logits of windows.

  Args:
    model: predictor.Predictor.
    pairs: list of (str, str or None).
    predict: function, see `pool_predictions`.

  Returns:
    list of dict from name to array: for each text what the head predicts.
  """
  if not model.policy.has_windows:
    return model.compute(model.make_inputs(pairs))
  inputs, indexes = [], []
  for index, pair in enumerate(pairs):
    inputs += model.make_inputs([pair], names=[model.name_of(index)])
    indexes += [index] * (len(inputs) - len(indexes))
  results = model.compute(inputs)
  return list(pool_predictions(
      (dict(result, **{INDEX: index})
       for result, index in zip(results, indexes)),
      model.policy.window_pooling, predict))
