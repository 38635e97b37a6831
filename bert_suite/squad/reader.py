"""Reads SQuAD's JSON as Questions; messages say where a file is not SQuAD.

Does not import TensorFlow, which takes longer than reading most files.
"""

import json
import re

from .. import gzip_files

_MOST_BYTES = 2 ** 30


def read_dataset(path):
  """Returns the articles of a SQuAD file, and whether it says it is 2.0."""
  content = read_json(
      path, "one for the whole file, as SQuAD has it, {\"data\": "
      "[{\"paragraphs\": [{\"context\": ..., \"qas\": [...]}]}]}")
  dataset = member(content, "data", path)
  version = str(content.get("version")).lower()
  return dataset, bool(re.match(r"v?2(\.|$)", version))


def read_json(path, expected="one object for the whole file"):
  """Returns what a JSON file, plain or gzip, holds.

  Args:
    path: str.
    expected: str. What the file should be, for messages.

  Raises:
    ValueError: it cannot be read or is not JSON; the text names it.
  """
  try:
    if "://" in path:
      import tensorflow.compat.v1 as tf
      with tf.gfile.GFile(path, "rb") as reader:
        content = gzip_files.read(reader, path, _MOST_BYTES)
    else:
      with open(path, "rb") as reader:
        content = gzip_files.read(reader, path, _MOST_BYTES)
  except ValueError:
    raise  # it says everything
  except Exception as error:  # noqa: BLE001
    # TensorFlow's errors cannot be named without importing it.
    raise ValueError("%s: cannot be read (%s)" % (
        path, getattr(error, "strerror", None) or
        getattr(error, "message", None) or error)) from None
  try:
    text = content.decode("utf-8-sig")
  except UnicodeDecodeError as error:
    raise ValueError("%s: byte %d is not UTF-8; save the file as UTF-8" % (
        path, error.start + 1)) from None
  try:
    return json.loads(text)
  except (ValueError, RecursionError) as error:
    raise ValueError(_describe_lines(text, path, expected) or
                     "%s: is not JSON (%s)" % (path, error)) from None


def _describe_lines(text, path, expected):
  """Returns what is wrong if a text is JSON Lines, else None."""
  lines = text.strip().split("\n", 1)
  try:
    first = json.loads(lines[0])
  except (ValueError, RecursionError):
    return None
  if not isinstance(first, dict) or len(lines) < 2:
    return None
  return "%s: found an object in each line, first %s; expected %s" % (
      path, describe(first), expected)


class Question:
  """A question as it is in its file; its contents are checked when used.

  Attributes:
    id: str.
    where: str. Its place in the file, for messages.
    paragraph: the file's entry of its paragraph.
    item: dict. The file's entry of the question.
  """

  def __init__(self, item, paragraph, where):
    key = item.get("id") if isinstance(item, dict) else None
    if not isinstance(key, (str, int, float)):
      raise ValueError("%s: is not SQuAD: found %s, expected an object with an "
                       "id and answers" % (where, describe(item)))
    self.id, self.where = text_id(key), where
    self.paragraph, self.item = paragraph, item
    self._answers = None

  @property
  def answers(self):
    """The texts of all answers, a list of str; raises ValueError."""
    if self._answers is None:
      self._answers = self._read_answers()
    return self._answers

  def _read_answers(self):
    if self.item.get("is_impossible") and self.item.get("answers") is None:
      return []
    texts = []
    for answer in member(self.item, "answers", self.where):
      text = answer.get("text") if isinstance(answer, dict) else None
      if not isinstance(text, str):
        raise ValueError("%s: is not SQuAD: found %s as an answer, expected an "
                         "object with a text" % (self.where, describe(answer)))
      texts.append(text)
    return texts


class Questions(list):
  """The questions of a dataset, their answers checked; list of Question."""


def read_questions(dataset, source):
  """Returns the Questions of a dataset, completely checked.

  Args:
    dataset: list of dict, the articles; or Questions, which are returned.
    source: str. What a message calls it.

  Raises:
    ValueError: it is not SQuAD, or has no questions.
  """
  if isinstance(dataset, Questions):
    return dataset
  questions = Questions()
  for question in iterate_questions(dataset, source):
    _ = question.answers  # which are now checked
    questions.append(question)
  if not questions:
    raise ValueError("%s: has no questions" % source)
  return questions


def iterate_questions(dataset, source):
  """Iterates over the questions of a dataset.

  Args:
    dataset: list of dict. The articles.
    source: str. What a message calls it.

  Yields:
    Question.

  Raises:
    ValueError: it is not SQuAD.
  """
  if not isinstance(dataset, (list, tuple)):
    raise ValueError("%s: found %s, expected the list of articles" % (
        source, describe(dataset)))
  for i, article in enumerate(dataset):
    where = "%s: article %d" % (source, i + 1)
    for j, paragraph in enumerate(member(article, "paragraphs", where)):
      place = "%s, paragraph %d" % (where, j + 1)
      for k, item in enumerate(member(paragraph, "qas", place)):
        yield Question(item, paragraph, "%s, question %d" % (place, k + 1))


def member(value, name, where):
  """Returns the list that an object has under a name, or raises ValueError."""
  found = value
  if isinstance(value, dict) and name in value:
    found = value[name]
    if isinstance(found, (list, tuple)):
      return found
    where = "%s, \"%s\"" % (where, name)
    expected = "a list"
  else:
    expected = "an object with a list \"%s\"" % name
  raise ValueError("%s: is not SQuAD: found %s, expected %s" % (
      where, describe(found), expected))


def text_id(key):
  """Returns an id as JSON writes it as an object's key."""
  return key if isinstance(key, str) else json.dumps(key)


def describe(value):
  """Returns a few words about a value that was found, for messages."""
  if isinstance(value, dict):
    keys = [str(key) for key in value]
    return "an object " + ("with the keys " + first_of(keys) if keys else "{}")
  if isinstance(value, (list, tuple)):
    return "a list of %d" % len(value)
  text = json.dumps(value) if isinstance(value, str) else repr(value)
  return _shorten({"None": "null", "True": "true", "False": "false"}.get(
      text, text))


def first_of(items):
  """Returns the first of a list of str as one text."""
  names = map(_shorten, items[:5])
  return ", ".join(names) + (", ..." if len(items) > 5 else "")


def _shorten(text):
  return text if len(text) <= 40 else text[:37] + "..."
