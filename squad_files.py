"""Reads files in the JSON of SQuAD; a message says where one is not that.

Knows nothing of TensorFlow, which takes longer to import than most files to
read.
"""

import json
import re

import gzip_files


def read_dataset(path):
  """Returns the articles of a SQuAD file, and whether it says it is 2.0."""
  content = read_json(
      path, "one for the whole file, as SQuAD has it, {\"data\": "
      "[{\"paragraphs\": [{\"context\": ..., \"qas\": [...]}]}]}")
  dataset = member(content, "data", path)
  return dataset, bool(re.match(
      r"v?2(\.|$)", str(content.get("version")).lower()))


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
      import tensorflow.compat.v1 as tf  # pylint: disable=g-import-not-at-top
      with tf.gfile.GFile(path, "rb") as reader:
        content = gzip_files.unpacked(reader, path).read()
    else:
      with open(path, "rb") as reader:
        content = gzip_files.unpacked(reader, path).read()
  except ValueError:
    raise  # it says all
  except Exception as error:  # pylint: disable=broad-except
    # Without importing TensorFlow its errors cannot be named.
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
  """Returns what is wrong with JSON Lines; None if a text is something else."""
  lines = text.strip().split("\n", 1)
  try:
    first = json.loads(lines[0])
  except (ValueError, RecursionError):
    return None
  if not isinstance(first, dict) or len(lines) < 2:
    return None
  return "%s: found an object in each line, first %s; expected %s" % (
      path, describe(first), expected)


def iterate_questions(dataset, source):
  """Goes through the questions of a dataset.

  Args:
    dataset: list of dict. The articles.
    source: str. What a message calls it.

  Yields:
    where: str. Place of the question, for messages.
    paragraph: dict.
    question: dict.

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
      for k, question in enumerate(member(paragraph, "qas", place)):
        yield "%s, question %d" % (place, k + 1), paragraph, question


def read_id(question, where):
  """Returns the id of a question as text, or raises ValueError."""
  key = question.get("id") if isinstance(question, dict) else None
  if not isinstance(key, (str, int, float)):
    raise ValueError("%s: is not SQuAD: found %s, expected an object with an "
                     "id and answers" % (where, describe(question)))
  return text_id(key)


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
  """Returns an id as JSON writes it where it is the key of an object."""
  return key if isinstance(key, str) else json.dumps(key)


def describe(value):
  """Returns in a few words what was found in place of something else."""
  if isinstance(value, dict):
    keys = [str(key) for key in value]
    if not keys:
      return "an object {}"
    return "an object with the keys " + first_of(keys)
  if isinstance(value, (list, tuple)):
    return "a list of %d" % len(value)
  text = json.dumps(value) if isinstance(value, str) else repr(value)
  text = {"None": "null", "True": "true", "False": "false"}.get(text, text)
  return text if len(text) <= 40 else text[:37] + "..."


def first_of(items):
  """Returns the first items as text."""
  names = [name if len(name) <= 40 else name[:37] + "..." for name in items[:5]]
  return ", ".join(names) + (", ..." if len(items) > 5 else "")
