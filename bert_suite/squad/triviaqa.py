"""TriviaQA as SQuAD: where an evidence document has the answer.

TriviaQA (Joshi et al., arXiv 1705.03551) has questions with answers, spelled in
several ways, and documents that may have them. Here each pair of a question and
a document becomes a paragraph: the document's beginning, in which the first
occurrence of an answer is taken.
"""

import collections
import hashlib
import os
import random
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import reader
from .. import json_stream

# From a question's list of documents to the folder that they are in.
FOLDERS = (("EntityPages", "wikipedia"), ("SearchResults", "web"))

_MOST_BYTES = 2 ** 20  # of a document that are looked at
_WORD = re.compile(r"\S+")


class Pair(collections.namedtuple("Pair", ["id", "question", "spellings",
                                           "path"])):
  """A question and a document.

  Attributes:
    id: str. "tc_1--Nobel_Prize.txt", as TriviaQA's evaluation names it.
    question: str.
    spellings: list of str, ways to write the answer; None if the file has no
      answers, as in a test set.
    path: str. The document's file.
  """


def iterate_pairs(path, evidence_dir):
  """Iterates over the questions of a file, each with each of its documents.

  Args:
    path: str. A file such as wikipedia-train.json.
    evidence_dir: str. The folder with `wikipedia` and `web`.

  Yields:
    Pair.

  Raises:
    ValueError: it is not TriviaQA.
  """
  items = json_stream.iterate_list(path, "Data", {
      "data": "is SQuAD's JSON already, which run_squad.py reads as it is"})
  for number, item in enumerate(items, 1):
    where = "%s: question %d" % (path, number)
    texts = [item.get(name) if isinstance(item, dict) else None
             for name in ("QuestionId", "Question")]
    if not all(isinstance(text, str) and text for text in texts):
      raise ValueError(
          "%s: is not TriviaQA: found %s, expected an object with QuestionId, "
          "Question, Answer and EntityPages or SearchResults" % (
              where, reader.describe(item)))
    spellings = _read_spellings(item, where)
    for kind, folder in FOLDERS:
      for document in reader.member(item, kind, where) if item.get(
          kind) else ():
        name = document.get("Filename") if isinstance(document, dict) else None
        if not name:  # a page that could not be loaded
          continue
        if not isinstance(name, str) or os.path.isabs(name) or (
            ".." in re.split(r"[/\\]", name)):
          raise ValueError("%s: found the Filename %s, expected one in the "
                           "folder %s" % (where, reader.describe(name), folder))
        yield Pair("%s--%s" % (texts[0], name), texts[1], spellings,
                   os.path.join(evidence_dir, folder, name))


def _read_spellings(item, where):
  answer = item.get("Answer")
  if answer is None:
    return None
  found = [answer.get("Value")] if isinstance(answer, dict) else [None]
  for name in ("Aliases", "HumanAnswers", "NormalizedAliases"):
    if isinstance(answer, dict) and answer.get(name):
      listed = reader.member(answer, name, where + ", Answer")
      if name == "NormalizedAliases":
        # They are in lower case: "us" must not be found before "US".
        known = [str(text).lower() for text in found]
        listed = [text for text in listed if text not in known]
      found += listed
  if not all(isinstance(text, str) for text in found):
    raise ValueError("%s: found %s as the Answer, expected an object with "
                     "Value and Aliases" % (where, reader.describe(answer)))
  return list(collections.OrderedDict.fromkeys(
      " ".join(text.split()) for text in found if text.strip()))


def read_beginning(path, num_words):
  """Returns the first words of a document, as they are written.

  Bytes that are not UTF-8, which pages from the web can have, become U+FFFD.

  Args:
    path: str.
    num_words: int.

  Returns:
    str; None if there is no such file.
  """
  try:
    with tf.gfile.GFile(path, "rb") as file:
      data = file.read(_MOST_BYTES)
  except tf.errors.NotFoundError:
    return None
  text = data.decode("utf-8-sig", "replace").strip()
  end = 0
  for number, word in enumerate(_WORD.finditer(text), 1):
    end = word.end()
    if number == num_words:
      break
  return text[:end]


def find_answers(text, spellings):
  """Finds an answer in a text.

  Looks for whole words as the answer is spelled, or else in any case.

  Args:
    text: str.
    spellings: list of str.

  Returns:
    list of (text as it is written, its offset): the first occurrence of each,
    in order; empty if there is none.
  """
  if not spellings:
    return []
  # Of those that begin at the same place, the longest.
  pattern = r"(?<!\w)(?:%s)(?!\w)" % "|".join(
      r"\s+".join(map(re.escape, one.split()))
      for one in sorted(spellings, key=len, reverse=True))
  for flags in (0, re.IGNORECASE):
    found = collections.OrderedDict()
    for match in re.finditer(pattern, text, flags):
      found.setdefault(match.group(), match.start())
    if found:
      break
  return list(found.items())


def convert(paths, evidence_dir, num_words, keeps_unanswered=False, share=1.0,
            seed=12345, counts=None):
  """Converts TriviaQA to SQuAD's articles, each with one paragraph.

  Memory holds a block of a file, a document, and 8 bytes per id.

  Args:
    paths: list of str. TriviaQA's files of questions.
    evidence_dir: str. See `iterate_pairs`.
    num_words: int. Words of a document to keep.
    keeps_unanswered: bool. Keep pairs whose document does not have the answer
      there, as in SQuAD 2.0. Pairs of a file without answers are always kept.
    share: float. Share of the pairs to keep, drawn at random.
    seed: int.
    counts: collections.Counter. What became of the pairs is added to it.

  Yields:
    dict, an article.

  Raises:
    ValueError: a file cannot be read or is not TriviaQA.
  """
  counts = collections.Counter() if counts is None else counts
  generator, seen = random.Random(seed), set()
  for path in paths:
    for pair in iterate_pairs(path, evidence_dir):
      if generator.random() >= share:
        continue
      key = hashlib.sha256(pair.id.encode("utf-8")).digest()[:8]
      if key in seen:  # also if web and Wikipedia are converted together
        counts["repeated"] += 1
        continue
      seen.add(key)
      context = read_beginning(pair.path, num_words)
      if not context:
        counts["without a document"] += 1
        continue
      answers = find_answers(context, pair.spellings)
      item = {"id": pair.id, "question": pair.question, "answers": [
          {"text": text, "answer_start": start} for text, start in answers]}
      if not answers and pair.spellings is not None:
        counts["without the answer"] += 1
        if not keeps_unanswered:
          continue
      if keeps_unanswered and pair.spellings is not None:
        item["is_impossible"] = not answers
      counts["written"] += 1
      yield {"title": os.path.basename(pair.path), "paragraphs": [
          {"context": context, "qas": [item]}]}
