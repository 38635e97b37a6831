"""Predicted tags as CoNLL columns, and as JSON lines with character spans."""

import contextlib
import json
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import reader, tags as ner_tags
from .. import files

COLUMNS = "predictions.conll"
SPANS = "predictions.jsonl"

_BREAK = re.compile(r"[\t\r\n]")


def describe(sentence, tags):
  """Returns a sentence with its tags as a dict, which JSON lines can hold.

  Args:
    sentence: reader.Sentence.
    tags: list of str.

  Returns:
    dict with "text"; "tokens" and "tags", a list of str each; and "spans", a
    list of dict with "start" and "end", characters of the text from 0, the
    latter exclusive, "label" and "text".
  """
  text, starts = sentence.located()
  spans = []
  for first, stop, kind in ner_tags.read_entities(tags):
    start = starts[first]
    end = starts[stop - 1] + len(sentence.words[stop - 1])
    spans.append({"start": start, "end": end, "label": kind,
                  "text": text[start:end]})
  return {"text": text, "tokens": sentence.words, "tags": tags, "spans": spans}


def format_columns(sentences, index, tags):
  """Returns the rows of a sentence: word, tag in the file if any, prediction.

  Columns are separated by tabs, as words may have spaces. A tab or line end
  within a word, which a row cannot hold, becomes a space.

  Args:
    sentences: reader.Sentences.
    index: int. Which of them.
    tags: list of str.

  Returns:
    str; if a document begins, that row and a blank line come first.
  """
  one, lines = sentences[index], []
  right = [[]] * len(tags) if one.tags is None else [[tag] for tag in one.tags]
  if sentences.has_documents and (
      index == 0 or sentences[index - 1].document != one.document):
    blank = [ner_tags.OUTSIDE] * (1 if one.tags is None else 2)
    lines += ["\t".join([reader.DOCUMENT_START] + blank), ""]
  lines += ["\t".join([sentences.language + _BREAK.sub(" ", word)] + there + [
      tag])
            for word, there, tag in zip(one.words, right, tags)]
  return "\n".join(lines) + "\n"


def write_columns(path, sentences, predicted):
  """Writes the rows of all sentences as one whole file, or none.

  Args:
    path: str.
    sentences: reader.Sentences.
    predicted: list of list of str, the tags of each.
  """
  files.write_text(path, "".join(
      format_columns(sentences, i, tags) + "\n"
      for i, tags in enumerate(predicted)))


class SpansFile(contextlib.AbstractContextManager):
  """Writes predictions.jsonl, which appears once it is complete."""

  def __init__(self, path):
    self._path, self._stack = path, contextlib.ExitStack()

  def __enter__(self):
    temporary = self._stack.enter_context(files.atomic_path(self._path))
    self._writer = self._stack.enter_context(tf.gfile.GFile(temporary, "w"))
    return self

  def __exit__(self, *error):
    return self._stack.__exit__(*error)

  def add(self, sentence, tags):
    """Writes a sentence; see `describe`."""
    self._writer.write(json.dumps(
        describe(sentence, tags), ensure_ascii=False) + "\n")
