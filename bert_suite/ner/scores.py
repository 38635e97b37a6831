"""Precision, recall and F1 of entities, equal to conlleval's, and a report.

An entity is right if its first word, its last word and its type are. Source:
Tjong Kim Sang and De Meulder, arXiv cs/0306050, section 2.4.
"""

import collections

import numpy as np

from . import tags as ner_tags
from .. import classification_report, metrics

# Stands for the type if there is no entity.
NONE = "none"


class Counts(collections.namedtuple(
    "Counts", "types hits said are confusion accuracy")):
  """What the figures of a set are computed from.

  Attributes:
    types: list of str. T types, sorted.
    hits: int array [T]. How many entities were right.
    said: int array [T]. How many were predicted.
    are: int array [T]. How many there are.
    confusion: int array [T + 1, T + 1], a row for each true type, a column for
      each type predicted for the same words, the last for none.
    accuracy: float. Share of the words whose tag was right.
  """

  def figures(self):
    """Returns a dict of precision, recall, f1 and accuracy, floats."""
    figures = metrics.precision_recall_f1(
        *[np.sum(counts, keepdims=True)
          for counts in (self.hits, self.said, self.are)])
    return dict(zip(("precision", "recall", "f1"), [
        float(value[0]) for value in figures]), accuracy=self.accuracy)


def count(right, predicted):
  """Counts entities.

  Args:
    right: list of list of str, the true tags of each sentence.
    predicted: list of list of str.

  Returns:
    Counts.
  """
  pairs, num_right = [], 0  # (type there, type predicted) of the same words
  for tags, said in zip(right, predicted):
    num_right += sum(a == b for a, b in zip(tags, said))
    there, found = [
        {one[:2]: one.type for one in ner_tags.read_entities(sequence)}
        for sequence in (tags, said)]
    pairs += [(there.get(words), found.get(words))
              for words in set(there) | set(found)]
  types = sorted({kind for pair in pairs for kind in pair if kind is not None})
  index = {kind: i for i, kind in enumerate(types + [None])}
  confusion = np.zeros([len(types) + 1] * 2, np.int64)
  for there, found in pairs:
    confusion[index[there], index[found]] += 1
  return Counts(
      types, np.diag(confusion)[:-1], confusion.sum(axis=0)[:-1],
      confusion.sum(axis=1)[:-1], confusion,
      num_right / max(sum(map(len, right)), 1))


def make_report(counts):
  """Returns the text of a report.

  Args:
    counts: Counts.
  """
  def line(name, precision, recall, f1, said, are):
    return "%-16s %9.4f %9.4f %9.4f %9d %9d" % (
        classification_report.show_name(name), precision, recall, f1, said, are)

  lines = ["%-16s %9s %9s %9s %9s %9s" % (
      "type", "precision", "recall", "F1", "predicted", "support")]
  figures = metrics.precision_recall_f1(counts.hits, counts.said, counts.are)
  lines += [line(*row) for row in zip(
      counts.types, *figures, counts.said, counts.are)]
  overall = counts.figures()
  lines.append(line("all", overall["precision"], overall["recall"],
                    overall["f1"], np.sum(counts.said), np.sum(counts.are)))
  lines += ["", "Tags that are right: %.4f" % overall["accuracy"]]
  lines += classification_report.show_confusion(
      counts.confusion, counts.types + [NONE])
  lines.append("%s: no entity has exactly these words." % NONE)
  return "\n".join(lines) + "\n"
