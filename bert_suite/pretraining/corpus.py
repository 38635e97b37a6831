"""Text to pre-train on: files, cut into parts, tokenized, kept as ids.

A text has one sentence per line and a blank line between documents. A document
continues from one file to the next unless a blank line ends it.

A sentence is kept as the ids of its tokens, four bytes each, so a text takes
about as much memory as it has bytes.
"""

import array
import collections
import itertools
import re
import sys

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import sentences, workers
from .. import gzip_files

# A line is a sentence. A line of this length means that the file has no line
# ends, or is not text.
MAX_LINE_BYTES = 2 ** 20

_BLOCK_BYTES = 2 ** 18  # read at once
_GZIP_RATIO = 3  # usual compression of English
_MIN_PART_BYTES = 2 ** 20  # less is not worth a process

# What a tokenizer treats as spaces between words: Unicode's class Zs, and these
# control characters.
_SPACES = re.compile("[ \t\n\r\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]+")

# Part of a file: bytes from begin up to end. A gzip file is one span, from 0 to
# its size on disk.
Span = collections.namedtuple("Span", ["path", "begin", "end", "is_gzip"])


class Text(collections.namedtuple("Text", ["ids", "lengths"])):
  """A tokenized text.

  Attributes:
    ids: array of int32, the ids of all tokens, see `read_text`.
    lengths: array of int32, the number of tokens of each sentence; a 0 stands
      for a blank line.
  """


class Document:
  """A sequence of sentences, each a list of ids; a view into a Text."""

  __slots__ = ("_ids", "_starts", "_first", "_count")

  def __init__(self, ids, starts, first, count):
    self._ids = ids
    self._starts = starts
    self._first = first
    self._count = count

  def __len__(self):
    return self._count

  def __getitem__(self, index):
    if not 0 <= index < self._count:
      raise IndexError("sentence %d of %d" % (index, self._count))
    index += self._first
    return self._ids[self._starts[index]:self._starts[index + 1]].tolist()

  def start(self, index):
    """Returns the place of a sentence's first token in the Text's ids."""
    return self._starts[self._first + index]


def list_documents(text):
  """Returns the documents of a Text, a list of Document, none of them empty."""
  documents, first = [], 0
  starts = array.array("q", [0])
  for length in itertools.chain(text.lengths, [0]):
    if length:
      starts.append(starts[-1] + length)
    elif len(starts) - 1 > first:
      count = len(starts) - 1 - first
      documents.append(Document(text.ids, starts, first, count))
      first += count
  return documents


def list_spans(paths):
  """Finds the size and kind of text files.

  Args:
    paths: list of str.

  Returns:
    list of Span, each a whole file.

  Raises:
    ValueError: a file is missing, a folder, or empty.
  """
  spans = []
  for path in paths:
    try:
      if tf.gfile.IsDirectory(path):
        raise ValueError("%s: is a folder, expected a file of text" % path)
      with tf.gfile.GFile(path, "rb") as reader:
        is_gzip = gzip_files.is_gzip(reader)
        size = reader.size()
    except tf.errors.OpError as error:
      raise ValueError("%s: cannot be read (%s)" % (
          path, error.message)) from None
    if not size:
      raise ValueError("%s: is empty, expected text, one sentence per line; "
                       "remove it from the input" % path)
    spans.append(Span(path, 0, size, is_gzip))
  return spans


def count_bytes(spans):
  """Returns the size of spans; for gzip files, an estimate when unpacked."""
  return sum(_count_span(span) for span in spans)


def _count_span(span):
  return (span.end - span.begin) * (_GZIP_RATIO if span.is_gzip else 1)


def split_text(spans, num_parts, at_lines=False):
  """Cuts a text into parts of about the same size.

  A cut is at the end of a file, or at the first end of a document after the
  ideal place. Gzip files are not cut.

  Args:
    spans: list of Span, whole files.
    num_parts: int.
    at_lines: bool. Cut at the first end of a line instead.

  Returns:
    list of list of Span, `num_parts` or fewer if there are too few documents.
  """
  total = count_bytes(spans)
  cuts = [(0, 0)]  # index of a file, and a byte in it
  index, before = 0, 0  # bytes of the files before that file
  for number in range(1, num_parts):
    target = total * number // num_parts
    while target >= before + _count_span(spans[index]):
      before += _count_span(spans[index])
      index += 1
    span, offset = spans[index], target - before
    if not offset:
      cut = index, 0
    elif (index, offset) <= cuts[-1]:
      continue  # the previous cut went past here
    else:
      find = _find_line if at_lines else _find_document
      offset = None if span.is_gzip else find(span, offset)
      cut = (index + 1, 0) if offset is None else (index, offset)
    if cut > cuts[-1]:
      cuts.append(cut)
  end = len(spans), 0
  if cuts[-1] != end:
    cuts.append(end)
  return [_spans_between(spans, begin, end)
          for begin, end in zip(cuts, cuts[1:])]


def _spans_between(spans, begin, end):
  """Returns the spans from one cut to the next."""
  part = []
  for index in range(begin[0], min(end[0] + 1, len(spans))):
    span = spans[index]
    if index == begin[0]:
      span = span._replace(begin=begin[1])
    if index == end[0]:
      span = span._replace(end=end[1])
    if span.end > span.begin:
      part.append(span)
  return part


def _find_document(span, offset):
  """Returns where the first document after a byte begins, or None."""
  lines = _read_lines(span._replace(begin=offset))
  offset += len(next(lines)) + 1  # the rest of the line
  follows_blank = False
  for line in lines:
    if follows_blank and line.strip():
      return offset
    follows_blank = not line.strip()
    offset += len(line) + 1
  return None


def _find_line(span, offset):
  """Returns where the first line after a byte begins, or None."""
  offset += len(next(_read_lines(span._replace(begin=offset)))) + 1
  return offset if offset < span.end else None


def _read_lines(span, advance=lambda count: None):
  """Yields the lines of a span, bytes without their "\\n".

  A line that is too long is cut short, but stays longer than MAX_LINE_BYTES.

  Args:
    span: Span.
    advance: function of the number of bytes read from the file.

  Raises:
    ValueError: a gzip file is damaged.
  """
  with tf.gfile.GFile(span.path, "rb") as raw:
    reader, left, position = raw, span.end - span.begin, 0
    if span.is_gzip:
      reader, left = gzip_files.unpacked(raw, span.path), sys.maxsize
    else:
      raw.seek(span.begin)
    rest = b""
    while left:
      block = reader.read(min(_BLOCK_BYTES, left))
      if not block:
        break
      left -= len(block)
      advance(raw.tell() - span.begin - position)
      position = raw.tell() - span.begin
      lines = (rest + block).split(b"\n")
      rest = lines.pop()
      yield from lines
      if len(rest) > MAX_LINE_BYTES:
        break
    if rest:
      yield rest


def read_sentences(span, advance):
  """Yields the lines of a span as str, stripped; "" for a blank one.

  Args:
    span: Span.
    advance: function of the number of bytes that were read.

  Raises:
    ValueError: a line is not UTF-8 or too long, or a gzip file is damaged.
  """
  for index, line in enumerate(_read_lines(span, advance)):
    if len(line) > MAX_LINE_BYTES:
      raise ValueError(
          "%s, line %d: is longer than %d bytes; expected one sentence per "
          "line" % (span.path, _line_number(span, index), MAX_LINE_BYTES))
    try:
      yield line.decode("utf-8").strip()
    except UnicodeDecodeError as error:
      raise ValueError(
          "%s, line %d: found the byte 0x%02x at place %d, which is not UTF-8; "
          "save the file as UTF-8, or correct or remove the line" % (
              span.path, _line_number(span, index), line[error.start],
              error.start + 1)) from None


def _line_number(span, index):
  """Returns the number in its file, from 1, of a line of a span."""
  if span.begin:
    index += sum(1 for _ in _read_lines(span._replace(begin=0, end=span.begin)))
  return index + 1


def vocab_range(vocab):
  """Returns the largest id of a vocabulary (token to id) plus 1."""
  return max(vocab.values()) + 1


def tokenize_part(part, tokenizer, mark_words=False,
                  advance=lambda count: None, longest=None):
  """Tokenizes part of a text; see `read_text`.

  Args:
    part: list of Span.
    tokenizer: FullTokenizer.
    mark_words: bool.
    advance: function of the number of bytes that were read.
    longest: int or None.

  Returns:
    Text.

  Raises:
    ValueError: a line is not UTF-8 or too long, or a gzip file is damaged.
  """
  text = Text(array.array("i"), array.array("i"))
  to_lines = _make_line_function(tokenizer, mark_words, longest)
  for span in part:
    for line in read_sentences(span, advance):
      if not line:
        text.lengths.append(0)
        continue
      for ids in to_lines(line):
        if ids:
          text.ids.extend(ids)
          text.lengths.append(len(ids))
  return text


def _make_line_function(tokenizer, mark_words, longest):
  """Returns a function of a line that returns the ids of its sentences."""
  mark = vocab_range(tokenizer.vocab)
  tokenize, to_ids = tokenizer.tokenize, tokenizer.convert_tokens_to_ids

  def to_words(line):
    ids = []
    for word in _SPACES.split(line):
      pieces = to_ids(tokenize(word))
      ids += pieces[:1]
      ids += [piece + mark for piece in pieces[1:]]
    return ids

  to_line = to_words if mark_words else lambda line: to_ids(tokenize(line))
  if not longest:
    return lambda line: [to_line(line)]
  inner = {index for token, index in tokenizer.vocab.items()
           if token.startswith("##")}

  def to_short_lines(line):
    ids = to_line(line)
    if len(ids) <= longest:
      return [ids]
    parts = []
    for sentence in sentences.split_sentences(line):
      ids = to_line(sentence)
      # Halves, because two segments share the room of `longest` tokens.
      parts += [ids] if len(ids) <= longest else sentences.cut_tokens(
          ids, longest // 2, lambda index: index >= mark or index in inner)
    return parts

  return to_short_lines


def read_text(spans, tokenizer, mark_words=False, num_workers=1,
              advance=lambda count: None, longest=None):
  """Reads and tokenizes a text.

  Args:
    spans: list of Span.
    tokenizer: FullTokenizer.
    mark_words: bool. Treat text between spaces as a word, and add
      `vocab_range(tokenizer.vocab)` to the ids of its tokens after the first.
    num_workers: int. Processes to use. The result does not depend on it.
    advance: function of the number of bytes that were read.
    longest: int. Cut lines of more tokens into sentences, and sentences of more
      tokens between words; None for neither.

  Returns:
    Text.

  Raises:
    ValueError: as in `tokenize_part`; or a worker died.
  """
  num_parts = min(4 * num_workers, count_bytes(spans) // _MIN_PART_BYTES)
  if num_workers == 1 or num_parts < 2:
    return tokenize_part(spans, tokenizer, mark_words, advance, longest)
  parts = split_text(spans, num_parts)
  text, early = Text(array.array("i"), array.array("i")), {}
  next_index = 0
  for outcome in workers.run(
      _tokenize_in_worker,
      [(part, tokenizer, mark_words, longest) for part in parts], num_workers,
      workers.start_method(span.path for span in spans),
      on_report=lambda unused_index, count: advance(count)):
    if isinstance(outcome.error, workers.Died):
      first = parts[outcome.index][0]
      raise ValueError("tokenizing %s from byte %d on: %s" % (
          first.path, first.begin, outcome.error))
    if outcome.error:
      raise ValueError(outcome.error)
    early[outcome.index] = outcome.result
    while next_index in early:
      ids, lengths = early.pop(next_index)
      text.ids.frombytes(ids)
      text.lengths.frombytes(lengths)
      next_index += 1
  return text


def _tokenize_in_worker(report, part, tokenizer, mark_words, longest):
  text = tokenize_part(part, tokenizer, mark_words, report, longest)
  return text.ids.tobytes(), text.lengths.tobytes()
