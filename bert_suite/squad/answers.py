"""SQuAD: from the logits of windows to answers in the words of the context.

`write_predictions` makes the n-best list of every question and writes
predictions.json, nbest_predictions.json and, for SQuAD 2.0, null_odds.json.
"""

import bisect
import collections
import functools
import json

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from .. import files, model_inputs, progress, squad_metrics, tokenization

# The logits of a window: its number, and two sequences of S float.
RawResult = collections.namedtuple(
    "RawResult", ["unique_id", "start_logits", "end_logits"])

# An entry of an n-best list. Offsets are into the context, or None.
Answer = collections.namedtuple("Answer", [
    "text", "start_logit", "end_logit", "start_char", "end_char"])

# What the reference answers in SQuAD 1.1 if no window offers an answer.
_NONCE = Answer("empty", 0.0, 0.0, None, None)

# The null score of a question without windows, whose context has no words.
_NULL_SCORE_WITHOUT_WINDOWS = 1000000.0

_KEPT_WORDS = 2 ** 17

# Number of a question's spans beyond which those that can no longer be an
# answer are dropped: a book has thousands of windows, each with hundreds.
_MANY_SPANS = 2 ** 16


def write_predictions(all_examples, all_features, all_results, n_best_size,
                      max_answer_length, do_lower_case, output_prediction_file,
                      output_nbest_file, output_null_log_odds_file,
                      version_2_with_negative=False,
                      null_score_diff_threshold=0.0, verbose_logging=False,
                      dataset=None, strip_accents=None):
  """Finds the answers and writes them as JSON.

  N-best lists go to their file one by one, so that memory does not depend on
  their size.

  Args:
    all_examples: list of SquadExample. If several have the same id, the last
      one counts.
    all_features: list of InputFeatures. Their windows.
    all_results: iterable of RawResult, one for every window.
    n_best_size: int. Answers per question, and start and end positions to try
      per window.
    max_answer_length: int. In word pieces.
    do_lower_case: bool. As the tokenizer of the features.
    output_prediction_file: str. Gets {id: text}.
    output_nbest_file: str. Gets {id: [{text, probability, start_logit,
      end_logit, start_char, end_char}]}, the best first.
    output_null_log_odds_file: str. Gets {id: by how much the score of no
      answer exceeds that of the best answer}; SQuAD 2.0 only.
    version_2_with_negative: bool. Questions may be answered with "".
    null_score_diff_threshold: float, or a float as str. A question whose odds
      are greater is answered with "". Or "best", for the one with the best F1.
    verbose_logging: bool. Logs why an answer could not be found in the text.
    dataset: list of dict. The articles of the file, with answers, for "best";
      or what `reader.read_questions` made of them.
    strip_accents: bool or None. As the tokenizer of the features.

  Returns:
    float: the threshold that was applied; None if there was none to apply.

  Raises:
    ValueError: a window has no result, or one that is not finite; "best" is
      asked for without a dataset; a number is less than 1.
  """
  threshold = squad_metrics.parse_threshold(null_score_diff_threshold)
  if threshold == squad_metrics.BEST and dataset is None:
    raise ValueError(
        "null_score_diff_threshold=best needs a data set with answers")
  windows = group_windows(all_features)
  results = {result.unique_id: result for result in all_results}
  last_of_id = {
      example.qas_id: index for index, example in enumerate(all_examples)}
  finder = AnswerFinder(n_best_size, max_answer_length, do_lower_case,
                        version_2_with_negative, verbose_logging, strip_accents)
  texts, null_odds = {}, {}
  tf.logging.info("Writing predictions to: %s", output_prediction_file)
  tf.logging.info("Writing nbest to: %s", output_nbest_file)
  with files.atomic_path(output_nbest_file) as temporary:
    with tf.gfile.GFile(temporary, "w") as writer, progress.Progress(
        "Finding answers", len(last_of_id)) as shown:
      separator = "{\n"
      for qas_id, index in last_of_id.items():
        answers, null_score = finder.find(
            all_examples[index], windows.get(index, []), results)
        answers = answers or [_NONCE]
        writer.write(separator + _format_answers(qas_id, answers))
        separator = ",\n"
        best = answers[0]
        if version_2_with_negative:
          best = next((answer for answer in answers if answer.text), None)
          # If no window offers an answer, the answer is "", whatever the
          # threshold, and its odds are those against an answer of score 0.
          null_odds[qas_id] = null_score - (
              best.start_logit + best.end_logit if best else 0.0)
        texts[qas_id] = best.text if best else ""
        shown.advance()
      writer.write("\n}\n" if last_of_id else "{}\n")
  if version_2_with_negative:
    texts, threshold = choose_texts(texts, null_odds, threshold, dataset)
    write_json(output_null_log_odds_file, null_odds)
  write_json(output_prediction_file, texts)
  return threshold if version_2_with_negative else None


def group_windows(features):
  """Returns a dict from the index of an example to its list of windows."""
  windows = collections.defaultdict(list)
  for feature in features:
    windows[feature.example_index].append(feature)
  return windows


def choose_texts(texts, null_odds, threshold, dataset,
                 sources=squad_metrics.ARGUMENTS):
  """Applies a threshold and logs what it does.

  Args:
    texts: see `apply_threshold`, as for the next.
    null_odds: dict from id to float.
    threshold: float, or squad_metrics.BEST.
    dataset: see `squad_metrics.score`, as for the next.
    sources: (str, str, str).

  Returns:
    dict from id to str; and the threshold, float.
  """
  if threshold == squad_metrics.BEST:
    threshold = squad_metrics.best_threshold(
        dataset, texts, null_odds, sources, warns=False)
    tf.logging.info("Best null_score_diff_threshold: %s", threshold)
  texts = apply_threshold(texts, null_odds, threshold)
  tf.logging.info(
      "null_score_diff_threshold %s answers %d of %d questions with nothing",
      threshold, sum(1 for text in texts.values() if not text), len(texts))
  return texts, threshold


def apply_threshold(texts, null_odds, threshold):
  """Answers questions with "" if no answer is likely enough.

  Args:
    texts: dict from id to the best answer that is not empty.
    null_odds: dict from id to float.
    threshold: float. Questions with greater odds are answered with "".

  Returns:
    dict from id to str.
  """
  return {qas_id: "" if null_odds.get(qas_id, threshold) > threshold else text
          for qas_id, text in texts.items()}


def write_json(path, value):
  """Writes a value as JSON in the layout of the reference."""
  files.write_text(path, json.dumps(value, indent=4) + "\n")


def get_final_text(pred_text, orig_text, do_lower_case, verbose_logging=False,
                   strip_accents=None):
  """Finds the part of a text that a prediction in tokenized words means.

  In "Steve Smith's" the prediction "steve smith" means "Steve Smith".

  Args:
    pred_text: str. Words as BasicTokenizer gives them, with spaces.
    orig_text: str. The words of the context that it is from.
    do_lower_case: bool. As the tokenizer that made the prediction.
    verbose_logging: bool. Logs why there is no such part.
    strip_accents: bool or None. As the tokenizer that made the prediction.

  Returns:
    str. The part, or all of `orig_text` if that cannot be determined.
  """
  words = orig_text.split(" ")
  context = _Context(words, None, None,
                     _make_clean(do_lower_case, strip_accents), verbose_logging)
  return context.project(pred_text, 0, len(words) - 1)[0]


def _make_clean(do_lower_case, strip_accents):
  """Returns a function from a word to the text that BasicTokenizer makes."""
  basic_tokenizer = tokenization.BasicTokenizer(
      do_lower_case, strip_accents=strip_accents)
  return functools.lru_cache(maxsize=_KEPT_WORDS)(
      lambda word: " ".join(basic_tokenizer.tokenize(word)))


class _Context:
  """The words of a context, and what BasicTokenizer makes of them.

  Both texts have the same characters except for case and spaces, unless accents
  or control characters were dropped. So the number of characters before a
  place, not counting spaces, maps one text to the other. They are counted once
  per context and not once per answer.
  """

  def __init__(self, words, context, word_starts, clean, verbose_logging):
    """Counts the characters before each word.

    Args:
      words: list of str.
      context: str or None.
      word_starts: list of int, or None.
      clean: function from a word to its tokenized text.
      verbose_logging: bool.
    """
    self.words = words
    self._context = context
    self._context_starts = word_starts
    self._verbose_logging = verbose_logging
    self._text = " ".join(words)
    cleaned = [clean(word) for word in words]
    self._clean_text = " ".join(filter(None, cleaned))
    # Where words begin in both texts, where they end in the cleaned one, and
    # how many characters come before them.
    self._starts, self._clean_starts, self._clean_ends = [], [], []
    self._counts, self._clean_counts = [0], [0]
    start = clean_start = 0
    for word, text in zip(words, cleaned):
      self._starts.append(start)
      self._clean_starts.append(clean_start)
      start += len(word) + 1
      clean_start += len(text) + 1 if text else 0
      self._clean_ends.append(max(clean_start - 1, 0))
      self._counts.append(self._counts[-1] + len(word))
      self._clean_counts.append(
          self._clean_counts[-1] + len(text) - text.count(" "))

  def project(self, pred_text, first_word, last_word):
    """Finds a prediction within some of the words, see `get_final_text`.

    Args:
      pred_text: str.
      first_word: int.
      last_word: int.

    Returns:
      (str, int, int). The text and its offsets in the context, from and to;
      offsets are None if the context does not contain the text verbatim.
    """
    span = self._find(pred_text, first_word, last_word)
    if span is None:
      last = len(self.words[last_word]) - 1
      span = (first_word, 0), (last_word, last)
    (first_word, first), (last_word, last) = span
    text = self._text[self._starts[first_word] + first:
                      self._starts[last_word] + last + 1]
    if self._context_starts is None:
      return text, None, None
    start = self._context_starts[first_word] + first
    stop = self._context_starts[last_word] + last + 1
    if self._context[start:stop] != text:
      # Words are joined by single spaces; the context has others here.
      start = self._context.find(text)
      stop = start + len(text)
    return (text, start, stop) if start >= 0 else (text, None, None)

  def _find(self, pred_text, first_word, last_word):
    """Returns (word, place in the word) of the first and last character.

    None if that cannot be determined.
    """
    start = self._clean_starts[first_word]
    place = self._clean_text.find(pred_text, start, self._clean_ends[last_word])
    if place < 0 or pred_text.strip(" ") != pred_text or not pred_text:
      self._log("Unable to find text: '%s' in '%s'", pred_text, first_word,
                last_word)
      return None
    before, after = self._counts[first_word], self._counts[last_word + 1]
    if after - before != (self._clean_counts[last_word + 1] -
                          self._clean_counts[first_word]):
      self._log("Length not equal after stripping spaces: '%s' in '%s'",
                pred_text, first_word, last_word)
      return None
    first = before + place - start - self._clean_text.count(" ", start, place)
    last = first + len(pred_text) - pred_text.count(" ") - 1
    return self._locate(first), self._locate(last)

  def _locate(self, number):
    """Returns (word, place) of a character, given how many precede it."""
    word = bisect.bisect_right(self._counts, number) - 1
    return word, number - self._counts[word]

  def _log(self, message, pred_text, first_word, last_word):
    if self._verbose_logging:
      tf.logging.info(
          message, pred_text, " ".join(self.words[first_word:last_word + 1]))


def check_sizes(n_best_size, max_answer_length):
  """Raises ValueError for numbers that leave no answers."""
  model_inputs.check_count("n_best_size", n_best_size)
  model_inputs.check_count("max_answer_length", max_answer_length)


class AnswerFinder:
  """Makes the n-best lists."""

  def __init__(self, n_best_size, max_answer_length, do_lower_case,
               version_2_with_negative, verbose_logging, strip_accents=None):
    check_sizes(n_best_size, max_answer_length)
    self._n_best_size = n_best_size
    self._max_answer_length = max_answer_length
    self._version_2 = version_2_with_negative
    self._clean = _make_clean(do_lower_case, strip_accents)
    self._verbose_logging = verbose_logging
    self._context = None

  def find(self, example, windows, results):
    """Makes the n-best list of an example.

    Args:
      example: SquadExample.
      windows: list of InputFeatures.
      results: dict from unique id to RawResult.

    Returns:
      list of Answer, empty if the windows offer none, which does not happen in
      SQuAD 2.0; and the null score, float.
    """
    null = _NULL_SCORE_WITHOUT_WINDOWS, 0.0, 0.0  # score, start and end logit
    found, num_spans, most = [], 0, _MANY_SPANS
    for index, feature in enumerate(windows):
      if feature.unique_id not in results:
        raise ValueError(
            "question %s: its window %d has no result; pass the results of all "
            "features" % (example.qas_id, feature.unique_id))
      result = results[feature.unique_id]
      start_logits = _check_logits(result.start_logits, example)  # [S]
      end_logits = _check_logits(result.end_logits, example)  # [S]
      null_logits = float(start_logits[0]), float(end_logits[0])
      null = min(null, (sum(null_logits),) + null_logits,
                 key=lambda scored: scored[0])
      found.append(self._find_spans(feature, index, start_logits, end_logits))
      num_spans += found[-1].shape[1]
      if num_spans > most:
        spans = np.concatenate(found, axis=1)
        _, used = self._take_best(example, windows, spans)
        found, num_spans = [spans[:, np.sort(used)]], len(used)
        most = max(_MANY_SPANS, 2 * num_spans)  # many may have the same text
    return self._choose(example, windows, found, null), null[0]

  def _find_spans(self, feature, index, start_logits, end_logits):
    """Combines the best positions of a window.

    Args:
      feature: InputFeatures. The window.
      index: int. Its number among those of the example.
      start_logits: float64 [S].
      end_logits: float64 [S].

    Returns:
      float64 [6, spans]: scores, start positions, end positions, start logits,
      end logits, `index`. Ordered by the start positions' logits, then by the
      end positions'.
    """
    words = feature.token_to_orig_map
    is_max_context = feature.token_is_max_context
    starts = [p for p in best_positions(start_logits, self._n_best_size)
              if p in words and is_max_context.get(p, False)]
    ends = [p for p in best_positions(end_logits, self._n_best_size)
            if p in words]
    lengths = np.subtract.outer(ends, starts).T + 1  # [starts, ends]
    rows, columns = np.nonzero(
        (lengths >= 1) & (lengths <= self._max_answer_length))
    starts = np.array(starts, np.int64)[rows]
    ends = np.array(ends, np.int64)[columns]
    return np.stack([start_logits[starts] + end_logits[ends], starts, ends,
                     start_logits[starts], end_logits[ends],
                     np.full([len(starts)], index)])

  def _choose(self, example, windows, found, null):
    """Returns the list of Answer: the best spans, each text once."""
    answers = []
    if found:
      if self._version_2:
        # "No answer" is one more span, after all others.
        found = found + [
            np.array([null[0], 0, 0, null[1], null[2], 0])[:, np.newaxis]]
      answers, _ = self._take_best(
          example, windows, np.concatenate(found, axis=1))
    if self._version_2 and all(answer.text for answer in answers):
      answers.append(Answer("", null[1], null[2], None, None))
    return answers

  def _take_best(self, example, windows, spans):
    """Goes through spans, the best first, until there are enough answers.

    Args:
      example: SquadExample.
      windows: list of InputFeatures.
      spans: float64 [6, spans], as `_find_spans` makes them.

    Returns:
      list of Answer, each text once; and int64 [spans looked at], their
      indexes. Spans found later can only push others down the list.
    """
    answers, seen, num_used = [], set(), 0
    order = np.argsort(-spans[0], kind="mergesort")  # stable
    for span in order:
      if len(answers) >= self._n_best_size:
        break
      num_used += 1
      _, start, end, start_logit, end_logit, index = spans[:, span].tolist()
      text, start_char, end_char = "", None, None
      if start:
        text, start_char, end_char = self._project(
            example, windows[int(index)], int(start), int(end))
      if text not in seen:
        seen.add(text)
        answers.append(
            Answer(text, start_logit, end_logit, start_char, end_char))
    return answers, order[:num_used]

  def _project(self, example, feature, start, end):
    """Returns text and offsets of the span from `start` to `end`."""
    if self._context is None or self._context.words is not example.doc_tokens:
      self._context = _Context(
          example.doc_tokens, example.context, example.word_starts,
          self._clean, self._verbose_logging)
    pieces = " ".join(feature.tokens[start:end + 1])
    pred_text = " ".join(pieces.replace(" ##", "").replace("##", "").split())
    words = feature.token_to_orig_map
    return self._context.project(pred_text, words[start], words[end])


def _check_logits(logits, example):
  """Returns logits as float64 [S]; raises ValueError unless all are finite."""
  logits = np.asarray(logits, np.float64)
  if not np.isfinite(logits).all():
    raise ValueError(
        "question %s: found logits that are not finite numbers; did the "
        "training of the checkpoint diverge?" % example.qas_id)
  return logits


def best_positions(logits, n_best_size):
  """Returns the positions of the largest logits, the largest first.

  Args:
    logits: float [S], an array or a list.
    n_best_size: int. Positions to return; with equal logits, the first ones.

  Returns:
    list of int.
  """
  logits = np.asarray(logits)
  positions = np.arange(len(logits))
  if n_best_size < len(logits):
    positions = np.flatnonzero(
        logits >= np.partition(logits, -n_best_size)[-n_best_size])
  order = np.argsort(-logits[positions], kind="mergesort")  # stable
  return positions[order[:n_best_size]].tolist()


def softmax(scores):
  """Returns the softmax of a list of float, a list of float."""
  if not len(scores):
    return []
  exponentials = np.exp(np.asarray(scores) - np.max(scores))
  return (exponentials / exponentials.sum()).tolist()


def probabilities(answers):
  """Returns the softmax of the scores of a list of Answer, a list of float."""
  return softmax([a.start_logit + a.end_logit for a in answers])


_encode_text = json.JSONEncoder().encode


def _format_answers(qas_id, answers):
  """Returns an n-best list as JSON, laid out as json.dumps(indent=4) does."""
  entries = []
  for answer, probability in zip(answers, probabilities(answers)):
    entries.append(
        '        {\n            "text": %s,\n            "probability": %r,\n'
        '            "start_logit": %r,\n            "end_logit": %r,\n'
        '            "start_char": %s,\n            "end_char": %s\n'
        '        }' % (
            _encode_text(answer.text), probability, answer.start_logit,
            answer.end_logit,
            "null" if answer.start_char is None else answer.start_char,
            "null" if answer.end_char is None else answer.end_char))
  return "    %s: [\n%s\n    ]" % (_encode_text(qas_id), ",\n".join(entries))
