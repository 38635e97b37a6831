"""SQuAD: questions from JSON files, cut into windows that the model can read.

A context is split into words at white space, the words into word pieces. If a
question and its context are longer than the model can read, the context is read
through several overlapping windows. Every piece knows its word and every word
its place in the context, which maps predictions back to the text.
"""

import bisect
import collections
import dataclasses
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import reader as squad_files
from .. import model_inputs, progress, text_windows
from .records import FeatureWriter  # noqa: F401  # programs find it here

FIRST_UNIQUE_ID = 1000000000

# What the reference splits words at; other Unicode spaces stay inside.
_WORD = re.compile("[^ \t\r\n\u202f]+")

_NUM_LOGGED = 5  # windows to log, so that a wrong vocabulary is noticed


@dataclasses.dataclass(eq=False, repr=False)
class SquadExample:
  """A question with its context and, for training, its answer.

  Attributes:
    qas_id: str.
    question_text: str.
    doc_tokens: list of str. The words of the context. Questions of one context
      share the list, which saves tokenizing it again.
    orig_answer_text: str. The answer; "" if there is none.
    start_position: int. Its first word; -1 if there is no answer.
    end_position: int. Its last word.
    is_impossible: bool. The context does not answer the question.
    context: str, or None if answers need no offsets.
    word_starts: list of int. Where in `context` each word begins, or None.
  """

  qas_id: str
  question_text: str
  doc_tokens: list
  orig_answer_text: str = None
  start_position: int = None
  end_position: int = None
  is_impossible: bool = False
  context: str = None
  word_starts: list = None

  def __repr__(self):
    return "SquadExample(%r, %r, %d words, start_position=%r, %r)" % (
        self.qas_id, self.question_text, len(self.doc_tokens),
        self.start_position, self.orig_answer_text)


@dataclasses.dataclass(eq=False)
class InputFeatures:
  """A window of an example, as the model reads it.

  Attributes:
    unique_id: int. Number of the window.
    example_index: int. The example that it belongs to.
    doc_span_index: int. Which of the example's windows it is.
    tokens: list of str, without padding.
    token_to_orig_map: dict from the position of a piece of the context to the
      index of its word.
    token_is_max_context: dict from the same positions to bool: no other window
      has more of the context around the piece.
    input_ids: list of S int.
    input_mask: list of S int.
    segment_ids: list of S int.
    start_position: int. Position of the answer's first piece, for training; 0,
      which is [CLS], if the window does not hold the answer.
    end_position: int. That of its last piece.
    is_impossible: bool. As in SquadExample.
  """

  unique_id: int
  example_index: int
  doc_span_index: int
  tokens: list
  token_to_orig_map: dict
  token_is_max_context: dict
  input_ids: list
  input_mask: list
  segment_ids: list
  start_position: int = None
  end_position: int = None
  is_impossible: bool = None


def read_squad_examples(input_file, is_training, version_2_with_negative=False):
  """Reads a SQuAD file.

  Training needs one answer per question, or in SQuAD 2.0 an `is_impossible`; if
  that is missing, a question without answers counts as impossible. Questions
  whose answer is not where the file says are left out of training. Anything odd
  about a file is logged once, with the first ids.

  Args:
    input_file: str.
    is_training: bool. Reads the answers.
    version_2_with_negative: bool. Questions may have no answer.

  Returns:
    list of SquadExample.

  Raises:
    ValueError: the file is not SQuAD, or is SQuAD 2.0 to be trained on without
      `version_2_with_negative`.
  """
  dataset, is_version_2 = squad_files.read_dataset(input_file)
  notes = {}  # from what is odd to a list of ids
  ids, examples, last_paragraph = collections.Counter(), [], None
  for question in squad_files.iterate_questions(dataset, input_file):
    key, item = question.id, question.item
    if question.paragraph is not last_paragraph:
      last_paragraph = question.paragraph
      context = _read_text(
          last_paragraph, "context", question.where.rsplit(", question ", 1)[0])
      words, word_starts = split_words(context)
    where = "%s (id %s)" % (question.where, key)
    example = SquadExample(key, _read_text(item, "question", where), words,
                           context=context, word_starts=word_starts)
    ids[key] += 1
    is_version_2 = is_version_2 or bool(item.get("is_impossible"))
    note = None
    if is_training:
      if is_version_2 and not version_2_with_negative:
        raise ValueError("%s: is SQuAD 2.0, in which questions may have no "
                         "answer; give --version_2_with_negative" % where)
      note = _read_answer(example, item, version_2_with_negative, where)
    elif not words:
      note = _EMPTY
    if note:
      notes.setdefault(note, []).append(key)
    if note != _MISPLACED:
      examples.append(example)
  if not ids:
    raise ValueError("%s: has no questions" % input_file)
  if not is_training:
    if is_version_2 and not version_2_with_negative:
      tf.logging.warning(
          "%s: is SQuAD 2.0, in which questions may have no answer; without "
          "--version_2_with_negative every question is answered", input_file)
    notes[_REPEATED] = [key for key, count in ids.items() if count > 1]
  for note, keys in notes.items():
    if keys:
      # Every dev file has several answers: nothing is wrong with that.
      log = tf.logging.info if note == _SEVERAL else tf.logging.warning
      log("%s: %d %s: %s", input_file, len(keys), note,
          squad_files.first_of(keys))
  return examples


_EMPTY = "question(s) have a context without words, which answers nothing"
_REPEATED = ("id(s) are there more than once; the last question of each is "
             "predicted")
_SEVERAL = "question(s) have several answers, of which training takes the first"
_MISPLACED = ("question(s) are left out of training: at answer_start the "
              "context does not have the answer")


def _read_text(value, name, where):
  """Returns the text that an object has under a name, or raises ValueError."""
  text = value.get(name)
  if name not in value:
    raise ValueError("%s: is not SQuAD: found %s, expected also a text \"%s\"" %
                     (where, squad_files.describe(value), name))
  if not isinstance(text, str):
    raise ValueError("%s: is not SQuAD: found %s as the %s, expected a text" %
                     (where, squad_files.describe(text), name))
  return text


def split_words(context):
  """Returns the words of a context and a list of where they begin."""
  words, starts = [], []
  for match in _WORD.finditer(context):
    words.append(match.group())
    starts.append(match.start())
  return words, starts


def _read_answer(example, question, version_2_with_negative, where):
  """Sets the answer of a training example; returns what is odd about it."""
  is_impossible = question.get("is_impossible")
  answers = question.get("answers")
  if answers is None and version_2_with_negative and is_impossible is not False:
    answers = []
  elif not isinstance(answers, list):
    answers = squad_files.member(question, "answers", where)  # which says why
  if version_2_with_negative and (
      not answers if is_impossible is None else is_impossible):
    example.is_impossible = True
    example.start_position = example.end_position = -1
    example.orig_answer_text = ""
    return None
  if not answers:
    raise ValueError("%s: found no answer to learn, expected one; %s" % (
        where, "set its is_impossible, or remove the question"
        if version_2_with_negative else "remove the question, or if it has "
        "none, as in SQuAD 2.0, give --version_2_with_negative"))
  answer, text, start = answers[0], None, None
  if isinstance(answer, dict):
    text, start = answer.get("text"), answer.get("answer_start")
  if not isinstance(text, str) or not isinstance(start, int):
    found = squad_files.describe(answer)
    if isinstance(text, str) and "answer_start" in answer:
      found = "the answer_start %s" % squad_files.describe(start)
    raise ValueError(
        "%s: is not SQuAD: found %s in an answer, expected an object with a "
        "text and a whole number answer_start" % (where, found))
  example.orig_answer_text = text
  last = start + len(text) - 1
  if not (text.strip() and example.doc_tokens and start >= 0 and
          last < len(example.context)):
    return _MISPLACED
  # A space belongs to the word before it.
  first_word, last_word = (
      max(bisect.bisect_right(example.word_starts, place) - 1, 0)
      for place in (start, last))
  found = " ".join(example.doc_tokens[first_word:last_word + 1])
  if " ".join(text.split()) not in found:
    return _MISPLACED
  example.start_position, example.end_position = first_word, last_word
  return _SEVERAL if len(answers) > 1 else None


def convert_examples_to_features(examples, tokenizer, max_seq_length,
                                 doc_stride, max_query_length, is_training,
                                 output_fn, cuts=None):
  """Cuts examples into windows; the first are logged.

  Args:
    examples: list of SquadExample.
    tokenizer: FullTokenizer.
    max_seq_length: int. S.
    doc_stride: int. Pieces from the start of a window to that of the next.
    max_query_length: int. Pieces that questions are cut to.
    is_training: bool. Also finds the answers in the windows.
    output_fn: function that is called with each InputFeatures.
    cuts: model_inputs.CutCount of questions; None for a new one.

  Raises:
    ValueError: the lengths leave no room for the context.
  """
  check_lengths(max_seq_length, doc_stride, max_query_length)
  cuts = cuts or model_inputs.CutCount("questions", "--max_query_length")
  unique_id = FIRST_UNIQUE_ID
  contexts = {}
  with progress.Progress("Making features", len(examples)) as shown:
    for example_index, example in enumerate(examples):
      # The example keeps its words alive, so that their id() stays unique.
      pieces = contexts.get(id(example.doc_tokens))
      if pieces is None:
        pieces = _Pieces(example.doc_tokens, tokenizer)
        contexts[id(example.doc_tokens)] = pieces
      query = tokenizer.tokenize(example.question_text)
      cuts.add(len(query), max_query_length)
      query = query[:max_query_length]
      answer = _find_answer(example, pieces, tokenizer) if is_training else None
      windows = pieces.windows(max_seq_length - len(query) - 3, doc_stride)
      for window_index, window in enumerate(windows):
        feature = _make_feature(unique_id, example_index, window_index, window,
                                query, pieces, max_seq_length, tokenizer)
        if is_training:
          _add_answer(feature, example, answer, window, len(query) + 2)
        if unique_id < FIRST_UNIQUE_ID + _NUM_LOGGED:
          _log_feature(feature, window, pieces)
        output_fn(feature)
        unique_id += 1
      shown.advance()
  cuts.report()


def check_lengths(max_seq_length, doc_stride, max_query_length):
  """Raises ValueError if windows would have no room or never advance."""
  if max_seq_length <= max_query_length + 3:
    raise ValueError(
        "max_seq_length=%d leaves no room for the context: expected more than "
        "max_query_length (%d) + 3" % (max_seq_length, max_query_length))
  if doc_stride < 1:
    raise ValueError("doc_stride=%d: expected 1 or more" % doc_stride)


def warn_of_long_stride(max_seq_length, doc_stride, max_query_length):
  """Warns of windows that may not overlap.

  Even then there is no gap between them, see `text_windows`, but an answer on
  the border of two is in neither.
  """
  room = max_seq_length - max_query_length - 3
  if doc_stride > room:
    tf.logging.warning(
        "--doc_stride=%d is more than the %d word pieces of context that a "
        "window has room for beside a question of --max_query_length: windows "
        "may not overlap, and an answer on the border of two is in neither",
        doc_stride, room)


class _Pieces:
  """The word pieces of a context.

  Attributes:
    pieces: list of str.
    words: list of int. The word of each piece.
    starts: list of int. The first piece of each word, and the number of pieces.
  """

  def __init__(self, words, tokenizer):
    self.pieces, self.words, self.starts = [], [], [0]
    for index, word in enumerate(words):
      pieces = tokenizer.tokenize(word)
      self.pieces += pieces
      self.words += [index] * len(pieces)
      self.starts.append(len(self.pieces))
    self._windows = {}

  def windows(self, size, stride):
    """Returns a list of Window of at most `size` pieces."""
    if (size, stride) not in self._windows:
      self._windows[size, stride] = text_windows.find_windows(
          len(self.pieces), size, stride)
    return self._windows[size, stride]


def check_is_max_context(doc_spans, cur_span_index, position):
  """Returns whether a window is the one with the most context around a piece.

  Args:
    doc_spans: list of objects with `start` and `length`. The windows.
    cur_span_index: int. The window.
    position: int. The piece, which the window holds.
  """
  scores = {}
  for index, span in enumerate(doc_spans):
    left = position - span.start
    if 0 <= left < span.length:
      scores[index] = text_windows.context_score(
          left, span.length - 1 - left, span.length)
  # The first of equals, as in `text_windows.find_windows`.
  return cur_span_index == max(scores, key=scores.get, default=None)


def _make_feature(unique_id, example_index, window_index, window, query, pieces,
                  max_seq_length, tokenizer):
  """Returns the InputFeatures of a window, without an answer."""
  start, stop, is_max_context = window
  model_input = model_inputs.make_model_input(
      query, pieces.pieces[start:stop], max_seq_length, tokenizer)
  first = len(query) + 2  # after [CLS] and [SEP]
  positions = range(first, first + stop - start)
  return InputFeatures(
      unique_id, example_index, window_index, model_input.tokens,
      dict(zip(positions, pieces.words[start:stop])),
      dict(zip(positions, is_max_context.tolist())),
      model_input.input_ids, model_input.input_mask, model_input.segment_ids)


def _log_feature(feature, window, pieces):
  """Logs a window and, in training, the answer that it has."""
  index = feature.unique_id - FIRST_UNIQUE_ID
  model_inputs.log_example(
      "%d, window %d of question %d, context from word %d on" % (
          feature.unique_id, feature.doc_span_index + 1,
          feature.example_index + 1, pieces.words[window.start] + 1), feature,
      index=index)
  start, end = feature.start_position, feature.end_position
  if start is None:
    return
  tf.logging.debug("start_position: %d", start)
  tf.logging.debug("end_position: %d", end)
  tf.logging.log(
      model_inputs.level_of_example(index), "answer: %s", " ".join(
          feature.tokens[start:end + 1]) if start else "none in this window")


def _find_answer(example, pieces, tokenizer):
  """Returns first and last piece of the answer, or None if there is none."""
  if example.is_impossible:
    return None
  return improve_answer_span(
      pieces.pieces, pieces.starts[example.start_position],
      pieces.starts[example.end_position + 1] - 1, tokenizer,
      example.orig_answer_text)


def improve_answer_span(pieces, start, end, tokenizer, answer_text):
  """Finds the answer's pieces within the pieces of its words.

  From "(1895-1943)" training learns the answer "1895", which is a piece; from
  "Japanese", with the answer "Japan", it learns the whole word.

  Args:
    pieces: list of str. The pieces of the context.
    start: int. First piece of the answer's words.
    end: int. Last piece of the answer's words.
    tokenizer: FullTokenizer.
    answer_text: str.

  Returns:
    (int, int). First and last piece.
  """
  answer = tokenizer.tokenize(answer_text)
  if answer:
    for first in range(start, end - len(answer) + 2):
      if pieces[first:first + len(answer)] == answer:
        return first, first + len(answer) - 1
  return start, end


def _add_answer(feature, example, answer, window, first):
  """Sets the positions of the answer in a window's features.

  Args:
    feature: InputFeatures, changed.
    example: SquadExample.
    answer: (int, int). First and last piece, or None.
    window: text_windows.Window.
    first: int. Position of the window's first piece.
  """
  feature.is_impossible = example.is_impossible
  feature.start_position = feature.end_position = 0
  if answer and answer[0] >= window.start and answer[1] < window.stop:
    feature.start_position = answer[0] - window.start + first
    feature.end_position = answer[1] - window.start + first
