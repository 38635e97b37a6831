"""Predictions of a trained model in Python; the model is loaded once.

```python
import predictor

model = predictor.Predictor("exported")    # or a training output directory
probabilities = model.predict([
    ("The kettle sings.", "The kettle is singing."),   # a pair
    "A single text."])                                 # [2, labels]
print(model.labels[probabilities[0].argmax()])
```
"""

import copy
import inspect
import itertools
import os
import threading

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, files, long_texts, model_inputs, onnx_export, serving,
    squad_metrics, tokenization, trained_models)
from .squad import answers as squad_answers

# Defaults; models of tasks other than squad accept no other values.
_N_BEST_SIZE = 20
_MAX_ANSWER_LENGTH = 30
_THRESHOLD = 0.0

_BATCHES_AT_ONCE = 64  # whose texts are tokenized and sorted together

_NAME = "texts[%d]"  # of a text, for messages


class Predictor:
  """A model in memory; several threads may use it at once.

  `with Predictor(path) as model:` closes it at the end.

  Attributes:
    settings: dict, the content of the model's model.json.
    labels: list of str, or None.
    served: serving.Served. This and all below, like the methods `make_inputs`
      and `compute`, are for `tasks.Task.answer`.
    tokenizer: FullTokenizer.
    tokenizer_lock: held while the tokenizer is used: its cache of words is not
      thread-safe.
    cuts: model_inputs.CutCount.
    policy: long_texts.LongTexts.
    search: n_best_size, max_answer_length and null_score_diff_threshold.
    first: int. The number of the first text, for messages.
  """

  first = 0

  @cli.user_errors()
  def __init__(self, path=None, vocab_file=None, batch_size=32,
               n_best_size=_N_BEST_SIZE, max_answer_length=_MAX_ANSWER_LENGTH,
               null_score_diff_threshold=_THRESHOLD, **model_parts):
    """Loads the model.

    Args:
      path: str, required. A model from `export_model.py`, a folder of its
        versions (the newest is used), a training output directory, or the
        prefix of a checkpoint.
      vocab_file: str. Only if `path` is not a SavedModel and does not record
        it.
      batch_size: int. Sequences of max_seq_length word pieces to compute at
        once; of shorter ones, as many as have no more word pieces in total.
      n_best_size: int. Only for squad, like the next two: start and end
        positions to try per window.
      max_answer_length: int. In word pieces.
      null_score_diff_threshold: float. When a model of SQuAD 2.0 gives no
        answer, see `squad_answers.write_predictions`.
      **model_parts: see `trained_models.find`, for checkpoints.

    Raises:
      ValueError: there is no such model, a part of it is missing, or an
        argument is unknown, does not apply to the model's task or is wrong.
    """
    _check_names(model_parts)
    trained_models.check_path("path", path)
    model_inputs.check_count("batch_size", batch_size)
    squad_answers.check_sizes(n_best_size, max_answer_length)
    self._batch_size = batch_size
    self.search = (n_best_size, max_answer_length,
                   _check_threshold(null_score_diff_threshold))
    path = cli.expand_home(os.fspath(path))
    saved_model = find_saved_model(path)
    if saved_model:
      if vocab_file or model_parts:
        raise ValueError("%s: the exported model brings its own %s" % (
            saved_model, ", ".join(
                sorted(model_parts) + ["vocab_file"] * bool(vocab_file))))
      is_onnx = tf.gfile.Exists(
          os.path.join(saved_model, onnx_export.MODEL_FILE))
      read = onnx_export.load if is_onnx else serving.load_saved_model
      self.served, self.settings, vocab_file = read(saved_model)
    else:
      is_folder = tf.gfile.IsDirectory(path)
      if not is_folder:
        _check_checkpoint(path)
        if model_parts.get("init_checkpoint") is not None:
          raise ValueError("init_checkpoint: %s is a checkpoint already; leave "
                           "one of them out" % path)
      model = trained_models.find(
          path if is_folder else None, vocab_file=vocab_file, **dict(
              model_parts, **({} if is_folder else {"init_checkpoint": path})))
      self.served = serving.open_session(model.task, model.checkpoint)
      self.settings, vocab_file = model.settings, model.vocab_file
    try:
      self._prepare(vocab_file)
    except BaseException:
      self.close()
      raise

  def _prepare(self, vocab_file):
    """Sets up everything around the model, from its settings."""
    task = trained_models.find_task(self.settings["task"])
    if not task.searches and self.search != (
        _N_BEST_SIZE, _MAX_ANSWER_LENGTH, _THRESHOLD):
      raise ValueError(
          "n_best_size, max_answer_length and null_score_diff_threshold are "
          "for squad, but the task of this model is %s; leave them out" %
          task.name)
    self.labels = self.settings.get("labels")
    self._task = task
    # One for all calls: a program is warned once, not on every request.
    self.cuts = model_inputs.CutCount(*task.cuts)
    self.tokenizer = tokenization.FullTokenizer(
        vocab_file, self.settings["do_lower_case"],
        never_split=task.never_split,
        strip_accents=self.settings.get("strip_accents"))
    self.tokenizer_lock = threading.Lock()
    length = self.settings["max_seq_length"]
    self.policy = long_texts.LongTexts.of(self.settings, length)
    self._most_tokens = model_inputs.most_tokens(
        self._batch_size, length,
        not isinstance(self.served.session, onnx_export.Session))

  @cli.user_errors()
  def predict(self, texts):
    """Answers texts.

    Args:
      texts: list of str, or of (str, str) for pairs. Questions with their
        contexts for squad. For ner a text may be the list of its words.

    Returns:
      classifier: float32 [texts, labels], probabilities. features: float32
      [texts, W], or, without pooling, a list of float32 [T, layers, W]. squad:
      a list of dict with "text", "probability", "start_char" and "end_char".
      ner: a list of dict with "text", "tokens", "tags" and "spans".
      masked_lm: for each text, for each [MASK] in it, a list of (word piece,
      probability), the likeliest first.

    Raises:
      ValueError: `texts` is not a list; a text is neither str nor a pair, is
        not UTF-8, is a pair but the model only reads single texts, or is so
        long that a [MASK] in it was cut off.
    """
    return self._in_windows(self._task.answer, texts, "predict")

  @cli.user_errors()
  def score(self, texts):
    """Scores how likely a model of the task masked_lm finds texts.

    Each word piece is masked in turn, and predicted from all others; the sum of
    the log probabilities is the text's pseudo-log-likelihood. Source: Salazar
    et al., arXiv 1910.14659, section 2.

    Args:
      texts: list of str, or of (str, str) for pairs.

    Returns:
      For each text a list of (word piece, natural logarithm of its
      probability).

    Raises:
      ValueError: as in `predict`, or a text contains [MASK].
      UserError: the model is for another task.
    """
    return self._in_windows(self._task.score, texts, "score")

  def _in_windows(self, answer, texts, method):
    """Answers a limited number of texts at a time, to save memory.

    Args:
      answer: function of a Predictor and pairs that returns a list or array.
      texts: see `predict`.
      method: str. For messages.
    """
    pairs = self.as_pairs(texts, method)
    size = _BATCHES_AT_ONCE * self._batch_size
    if len(pairs) <= size:
      return answer(self, pairs)
    parts = []
    for start in range(0, len(pairs), size):
      part = copy.copy(self)
      part.first = start
      parts.append(answer(part, pairs[start:start + size]))
    return (np.concatenate(parts) if isinstance(parts[0], np.ndarray) else
            list(itertools.chain.from_iterable(parts)))

  def as_pairs(self, texts, method):
    """Returns a list of pairs, see `_as_pair`."""
    if isinstance(texts, (str, bytes)):
      raise ValueError("%s takes a list of texts, found one text" % method)
    # A dict or a set gives the answers no order.
    if (isinstance(texts, (dict, set)) or not hasattr(texts, "__iter__") or
        getattr(texts, "ndim", 1) == 0):
      raise ValueError("%s takes a list of texts, found %s" % (
          method, type(texts).__name__))
    return [_as_pair(text, _NAME % i, self._task.reads_words)
            for i, text in enumerate(texts)]

  def close(self):
    """Frees the memory of the model, which can no longer answer."""
    self.served.session.close()

  def __enter__(self):
    return self

  def __exit__(self, *unused_error):
    self.close()

  def make_inputs(self, pairs, kept=None, names=None):
    """Tokenizes pairs of texts.

    Args:
      pairs: list of (str, str or None).
      kept: str. A token that must not be cut off.
      names: list of str. What messages call them; None for texts[0] and so on.

    Returns:
      list of ModelInput, more than one for a text that is read in windows.

    Raises:
      ValueError: a text is too long for all of its `kept`.
    """
    length = self.settings["max_seq_length"]
    inputs = []
    with self.tokenizer_lock:
      for i, (text_a, text_b) in enumerate(pairs):
        name = names[i] if names else self.name_of(i)
        if text_b:
          model_inputs.check_pair(name, self.settings.get("type_vocab_size"))
        tokens_a = self.tokenizer.tokenize(text_a)
        tokens_b = self.tokenizer.tokenize(text_b) if text_b else []
        inputs += long_texts.make_model_inputs(
            tokens_a, tokens_b, length, self.tokenizer, self.policy, self.cuts)
        if inputs[-1].tokens.count(kept) < (tokens_a + tokens_b).count(kept):
          raise ValueError(
              "%s: %s is cut to max_seq_length=%d word pieces, and a %s with "
              "the rest; shorten it" % (
                  name, tokenization.shorten(text_a), length, kept))
      self.cuts.report()
    return inputs

  def name_of(self, index):
    """Returns what messages call a text."""
    return _NAME % (self.first + index)

  def compute(self, inputs, make_extra=lambda batch: {},
              signature=serving.SIGNATURE):
    """Computes outputs, batching inputs of similar lengths together.

    Batches have about equal numbers of tokens, see `model_inputs.most_tokens`.

    Args:
      inputs: list of ModelInput.
      make_extra: function of a list of ModelInput that returns a dict of the
        task's further inputs.
      signature: str. Which outputs to compute.

    Returns:
      list of dict from output name to array, for each input.
    """
    results = [None] * len(inputs)
    for indexes in model_inputs.batches_of_tokens(
        [len(one.tokens) for one in inputs], self._most_tokens):
      batch = [inputs[i] for i in indexes]
      arrays = dict(model_inputs.stack_inputs(batch), **make_extra(batch))
      outputs = serving.run(self.served, signature, arrays)
      for row, index in enumerate(indexes):
        results[index] = {name: output[row] for name, output in outputs.items()}
    return results


def _check_names(model_parts):
  """Raises ValueError for an argument that Predictor does not have."""
  if "model_dir" in model_parts:
    raise ValueError("model_dir: there is no such argument; give it as path")
  own = set(inspect.signature(Predictor.__init__).parameters) - {
      "self", "model_parts"}
  trained_models.check_names(
      model_parts, trained_models.argument_names().union(own) - {"model_dir"})


def _check_checkpoint(path):
  """Raises ValueError, naming alternatives, unless a path is a checkpoint."""
  try:
    checkpoints.resolve(path)
  except ValueError as error:
    raise ValueError("%s (or a SavedModel of export_model.py, or the "
                     "output_dir of a training)" % error) from None


def _check_threshold(value):
  threshold = squad_metrics.parse_threshold(value)
  if not isinstance(threshold, float):
    raise ValueError("null_score_diff_threshold=%.60s: expected a number" %
                     value)
  return threshold


def find_saved_model(path):
  """Returns the folder of the exported model at a path, None without one.

  It has a SavedModel or an ONNX file. Versions of anything else, such as a Hub
  module, are skipped.
  """
  def has(folder, *names):
    return tf.gfile.Exists(os.path.join(folder, *names))

  if not tf.gfile.IsDirectory(path):
    return None
  if has(path, "saved_model.pb") or has(path, onnx_export.MODEL_FILE):
    return path
  return next((version for version in files.list_versions(path) if
               has(version, onnx_export.MODEL_FILE) or
               has(version, "saved_model.pb") and
               has(version, "assets", serving.SETTINGS_FILE) and
               not has(version, "tfhub_module.pb")), None)


def _as_pair(text, where, reads_words=False):
  """Returns (text, None) for a text, or a pair as a tuple, as str.

  With `reads_words`, a list of str is the words of one text: (list, None).
  """
  if isinstance(text, (str, bytes)):
    return _decode(text, where), None
  if reads_words and isinstance(text, list) and all(
      isinstance(word, (str, bytes)) for word in text):
    return [_decode(word, where) for word in text], None
  if isinstance(text, (tuple, list, np.ndarray)) and len(text) == 2 and all(
      isinstance(part, (str, bytes)) for part in text):
    return tuple(_decode(part, where) for part in text)
  raise ValueError("%s: found %s, expected a text or a pair of texts" % (
      where, tokenization.describe(text)))


def _decode(text, where):
  """Returns a text, str or UTF-8 bytes, as str."""
  try:
    return text if isinstance(text, str) else text.decode("utf-8")
  except UnicodeDecodeError as error:
    raise ValueError("%s: found %s, in which byte %d is not UTF-8" % (
        where, tokenization.shorten(text), error.start + 1)) from None
