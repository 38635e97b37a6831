"""Files of words and their tags: CoNLL columns, and JSON lines.

In CoNLL columns a row is a word, and a blank line ends a sentence. In JSON
lines a line is a sentence, as tokens with tags or as a text with spans.
"""

import bisect
import collections
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import tags as ner_tags
from .. import characters, gzip_files, table_files, tokenization

DOCUMENT_START = "-DOCSTART-"

_SAMPLE = '{"tokens": ["...", "..."], "tags": ["B-PER", "O"]}'
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)*:")  # before a word of WikiANN


class Sentence(collections.namedtuple(
    "Sentence", "words tags document text starts line",
    defaults=[None, 0, None, None, 0])):
  """A sentence.

  Attributes:
    words: list of str.
    tags: list of str, one for each word, as the file has them; or None.
    document: int. Which document of the file it is in.
    text: str, or None for the words joined by spaces.
    starts: list of int, where in the text each word begins; or None.
    line: int. The line of the file with the first word.
  """

  def located(self):
    """Returns the text, and where in it each word begins, a list of int."""
    if self.text is not None:
      return self.text, self.starts
    starts, end = [], 0
    for word in self.words:
      starts.append(end)
      end += len(word) + 1
    return " ".join(self.words), starts


class Sentences(list):
  """The sentences of a file, a list of Sentence.

  Attributes:
    path: str.
    has_tags: bool. They have tags.
    has_documents: bool. The file says where a document begins.
    language: str. The prefix of each word in WikiANN, such as "en:".
  """

  def __init__(self, path, sentences, has_documents, language=""):
    super().__init__(sentences)
    self.path, self.has_documents = path, has_documents
    self.has_tags = any(one.tags is not None for one in self)
    self.language = language

  def types(self):
    """Returns the set of the types of entities."""
    return {kind for one in self for kind in ner_tags.types_of(one.tags or ())}


def read(path, needs_tags, word_column=1, tag_column=None):
  """Reads a file.

  Args:
    path: str. JSON lines if the name ends with .jsonl or .ndjson, else CoNLL
      columns; may be gzip, whatever its name is.
    needs_tags: bool. Sentences must have tags.
    word_column: int. The column of the words, from 1.
    tag_column: int. The column of the tags; None for the last, if the file has
      more than one.

  Returns:
    Sentences.

  Raises:
    ValueError: something is wrong; the message says where.
  """
  with tf.gfile.GFile(path, "rb") as reader:
    lines = table_files.read_lines(gzip_files.unpacked(reader, path), path)
    if table_files.is_json(path):
      found = _read_json(lines, path, needs_tags)
    else:
      found = _Columns(path, needs_tags, word_column, tag_column).read(lines)
  if not any(one.words for one in found):
    raise ValueError("%s: has no words" % path)
  _warn_of_mixtures(found)
  return found


def _warn_of_mixtures(sentences):
  """Warns if no scheme allows all the tags."""
  if not sentences.has_tags:
    return
  illegal = {}  # from a scheme to where it is first violated
  for one in sentences:
    for scheme in ner_tags.SCHEMES:
      if scheme not in illegal:
        word = ner_tags.find_illegal(one.tags, scheme) if one.tags else None
        if word is not None:
          illegal[scheme] = (one.line, word, one.tags[word])
  if len(illegal) == len(ner_tags.SCHEMES):
    line, word, tag = max(illegal.values())
    tf.logging.warning(
        "%s: the tags follow none of the schemes %s throughout, for example at "
        "%s in the sentence in line %d; entities are read as conlleval does",
        sentences.path, ", ".join(ner_tags.SCHEMES),
        "%s, word %d" % (tag, word + 1), line)


# CoNLL columns.


class _Columns:
  """Reads CoNLL columns; see `read` for the arguments."""

  def __init__(self, path, needs_tags, word_column, tag_column):
    self._path, self._needs_tags = path, needs_tags
    self._word_column, self._tag_column = word_column, tag_column
    self._width = None  # columns of the first row
    self._first = None  # its line

  def read(self, lines):
    """Returns Sentences from an iterable of str."""
    sentences, words, tags = [], [], []
    document, has_documents, begin = 0, False, 1

    def end_sentence():
      if words:
        sentences.append(Sentence(
            words[:], None if None in tags else tags[:], document, line=begin))
        del words[:], tags[:]

    for number, line in enumerate(lines, 1):
      columns = self._split(line)
      if not columns or columns[0] == DOCUMENT_START:
        end_sentence()
        document += bool(columns)
        has_documents = has_documents or bool(columns)
        continue
      word, tag = self._read_row(columns, number)
      begin = begin if words else number
      words.append(word)
      tags.append(tag)
    end_sentence()
    return Sentences(
        self._path, *_take_language(sentences, has_documents))

  @staticmethod
  def _split(line):
    """Returns the columns of a row: at tabs or, without any, at spaces."""
    if "\t" in line:
      return line.split("\t")
    return [column for column in line.split(" ") if column]

  def _read_row(self, columns, number):
    """Returns the word and the tag of a row; None for no tag."""
    where = "%s, line %d" % (self._path, number)
    if self._width is None:
      self._check_width(columns, where)
      self._width, self._first = len(columns), number
    if len(columns) != self._width:
      raise ValueError(
          "%s: found %d column(s), expected %d as in line %d; separate columns "
          "by one tab, or by spaces" % (
              where, len(columns), self._width, self._first))
    word = columns[self._word_column - 1]
    if not word:
      raise ValueError("%s, column %d: found an empty word, expected a word; "
                       "remove the row" % (where, self._word_column))
    if self._width == 1 and self._tag_column is None:
      return word, None
    column = self._tag_column or self._width
    tag = columns[column - 1]
    if not ner_tags.is_tag(tag):
      raise ValueError(
          "%s, column %d: found the tag %s, expected %s; a line is one word "
          "and its tag (--tag_column)%s" % (
              where, column, tokenization.shorten(tag), ner_tags.EXPECTED,
              ", as in CoNLL-2003" if self._needs_tags else
              ", or the word alone; whole texts go into a file named .jsonl"))
    return word, tag

  def _check_width(self, columns, where):
    """Raises ValueError if the first row lacks a column."""
    width = len(columns)
    if columns[0].startswith(('{"', '[{"')):
      raise ValueError(
          "%s: found JSON, expected a word and its tag; for an object on each "
          "line, give the file a name that ends with .jsonl" % where)
    if self._needs_tags and width == 1:
      raise ValueError(
          "%s: found 1 column, %s, expected a word and its tag, separated by a "
          "tab or by spaces" % (where, tokenization.shorten(columns[0])))
    for flag, column in (("word_column", self._word_column),
                         ("tag_column", self._tag_column)):
      if column and column > width:
        raise ValueError("--%s=%d: %s has %d column(s); give one of them" % (
            flag, column, where, width))


def _take_language(sentences, has_documents):
  """Removes the prefix that WikiANN writes before each word.

  Args:
    sentences: list of Sentence.
    has_documents: bool.

  Returns:
    The arguments of Sentences after the first.
  """
  match = sentences and _LANGUAGE.match(sentences[0].words[0])
  language = match.group() if match else ""
  if not language or not all(
      word.startswith(language) for one in sentences for word in one.words):
    return sentences, has_documents
  return [one._replace(words=[word[len(language):] for word in one.words])
          for one in sentences], has_documents, language


# JSON lines.


def _read_json(lines, path, needs_tags):
  """Returns Sentences from an iterable of str."""
  sentences, documents, has_documents = [], {}, False
  notes = collections.Counter()
  for number, found in table_files.parse_json(lines, path, _SAMPLE):
    where = "%s, line %d" % (path, number)
    name = found.get("document", number)
    has_documents = has_documents or "document" in found
    if not isinstance(name, (str, int)):
      raise ValueError("%s: found %s as the document, expected a text or a "
                       "number" % (where, tokenization.describe(name)))
    document = documents.setdefault((type(name), name), len(documents))
    one = (_read_tokens(found, where) if "tokens" in found else
           _read_text(found, where, notes))
    if one.tags is None and needs_tags or (
        sentences and (one.tags is None) != (sentences[0].tags is None)):
      raise ValueError("%s: found no %s, which %s" % (
          where, "tags" if "tokens" in found else "spans",
          "only a file to predict may lack" if needs_tags else
          "the lines above have") if one.tags is None else
                       "%s: found tags or spans, which the lines above lack; "
                       "give them to all or to none" % where)
    sentences.append(one._replace(document=document, line=number))
  if notes:
    tf.logging.warning(
        "%s: %d span(s) begin or end within a word, and are extended to the "
        "whole word; the first is at %s", path, sum(notes.values()),
        next(iter(notes)))
  return Sentences(path, sentences, has_documents)


def _is_list_of_str(value):
  return isinstance(value, list) and all(isinstance(one, str) for one in value)


def _read_tokens(found, where):
  """Returns the Sentence of a line with tokens."""
  words, tags = found["tokens"], found.get("tags")
  for name, value in (("tokens", words), ("tags", tags)):
    if value is not None and not _is_list_of_str(value):
      raise ValueError("%s: found %s as the %s, expected a list of texts" % (
          where, tokenization.describe(value), name))
  if "" in words:
    raise ValueError("%s: token %d is empty; remove it" % (
        where, words.index("") + 1))
  if tags is not None and len(tags) != len(words):
    raise ValueError("%s: found %d tokens and %d tags, expected a tag for each "
                     "token" % (where, len(words), len(tags)))
  for i, tag in enumerate(tags or ()):
    if not ner_tags.is_tag(tag):
      raise ValueError("%s: tag %d is %s, expected %s" % (
          where, i + 1, tokenization.shorten(tag), ner_tags.EXPECTED))
  return Sentence(words, tags)


def _read_text(found, where, notes):
  """Returns the Sentence of a line with a text; counts odd spans in notes."""
  text, spans = found.get("text"), found.get("spans")
  if "text" not in found:
    raise ValueError('%s: found the names %s, expected "tokens" and "tags", or '
                     '"text" and "spans"' % (
                         where, ", ".join(map(repr, found)) or "(none)"))
  if not isinstance(text, str):
    raise ValueError("%s: found %s as the text, expected a text" % (
        where, tokenization.describe(text)))
  if spans is not None and not isinstance(spans, list):
    raise ValueError("%s: found %s as the spans, expected a list" % (
        where, tokenization.describe(spans)))
  words, starts = split_words(text)
  if spans is None:
    return Sentence(words, None, text=text, starts=starts)
  entities = []
  for i, span in enumerate(spans):
    entities.append(_read_span(
        span, text, words, starts, "%s, span %d" % (where, i + 1), notes))
  entities.sort()
  for before, one in zip(entities, entities[1:]):
    if one.start < before.end:
      raise ValueError(
          "%s: two spans share the word %s; expected spans that do not "
          "overlap; leave one of them out" % (
              where, tokenization.shorten(words[one.start])))
  return Sentence(words, ner_tags.write_tags(entities, len(words), "IOB2"),
                  text=text, starts=starts)


def _read_span(span, text, words, starts, where, notes):
  """Returns the Entity of a span: all words that it overlaps."""
  values = span
  if isinstance(span, dict):
    values = [span.get(name) for name in ("start", "end", "label")]
  if (not isinstance(values, list) or len(values) != 3 or
      not all(type(value) is int for value in values[:2]) or
      not (isinstance(values[2], str) and values[2].strip())):
    raise ValueError('%s: found %s, expected {"start": 0, "end": 5, "label": '
                     '"PER"} or [0, 5, "PER"]' % (
                         where, tokenization.describe(span)))
  start, end, kind = values
  if not ner_tags.is_tag("B-" + kind):
    raise ValueError("%s: found the label %s, expected one without tabs and "
                     "line ends" % (where, tokenization.shorten(kind)))
  if not 0 <= start < end <= len(text):
    raise ValueError("%s: found the characters from %d up to %d, expected some "
                     "of the %d of the text, which count from 0" % (
                         where, start, end, len(text)))
  first = max(bisect.bisect_right(starts, start) - 1, 0)
  if starts and starts[first] + len(words[first]) <= start:
    first += 1
  last = bisect.bisect_left(starts, end)  # the word after it
  if first >= last:
    raise ValueError("%s: found %s, expected at least one word" % (
        where, tokenization.shorten(text[start:end])))
  if starts[first] < start or starts[last - 1] + len(words[last - 1]) > end:
    notes[where] += 1
  return ner_tags.Entity(first, last, kind)


def split_words(text):
  """Splits a text where BasicTokenizer does, at white space and punctuation.

  Args:
    text: str.

  Returns:
    words, a list of str, and a list of int, where in the text they begin.
  """
  spans, is_open = [], False
  for i, char in enumerate(text):
    cut = characters.CUT[ord(char)]
    if cut == char and not char.isspace():
      if is_open:
        spans[-1][1] = i + 1
      else:
        spans.append([i, i + 1])
      is_open = True
    elif cut.strip():  # a character that is a word of its own
      spans.append([i, i + 1])
      is_open = False
    elif cut:  # white space; a dropped character does not end a word
      is_open = False
  return ([text[start:end] for start, end in spans],
          [start for start, _ in spans])
