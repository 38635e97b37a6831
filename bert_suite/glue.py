"""The tasks of the GLUE benchmark, and XNLI: what their files hold."""

import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import tables
from .processors import REGRESSION, DataProcessor, InputExample


class GlueProcessor(DataProcessor):
  """A task of the GLUE benchmark: train.tsv, dev.tsv, test.tsv.

  A subclass says what its columns are called, or has a `_create_examples` of
  its own.

  Attributes:
    dev_set: str. Name of the dev set's file, without its ending.
    test_set: str. The same for the test set.
    labels: tuple of str, in order.
    texts: tuple of str. Names of the columns with the one or two texts.
    label: str. Name of the column with the label.
    positions: dict from the name of a column to its index in files whose header
      calls it something else; empty if there is no such file.
    skips_short_rows: bool. Leaves out rows with too few columns, with a
      warning, except in the test set, where each row needs an answer.
  """

  dev_set = "dev"
  test_set = "test"
  labels = ("0", "1")
  texts = ("sentence1", "sentence2")
  label = "label"
  positions = {}
  skips_short_rows = False

  def get_train_examples(self, data_dir):
    return self._read_examples(data_dir, "train", "train")

  def get_dev_examples(self, data_dir):
    return self._read_examples(data_dir, self.dev_set, self.dev_set)

  def get_test_examples(self, data_dir):
    return self._read_examples(data_dir, self.test_set, "test")

  def get_labels(self):
    return list(self.labels)

  def _read_examples(self, data_dir, name, set_type):
    path = os.path.join(data_dir, name + ".tsv")
    return self._check_any(
        self._create_examples(self._read_tsv(path), set_type), path)

  def _create_examples(self, lines, set_type):
    """Makes the examples of a set; labels are ignored in the set "test"."""
    is_test = set_type == "test"
    names = self.texts if is_test else self.texts + (self.label,)
    columns = [tables.find_column(lines, name, self.positions.get(name))
               for name in names if lines]
    texts = columns[:len(self.texts)]
    label = None if is_test else (columns or [None])[-1]
    tables.warn_of_first_row(lines, texts, label, self.labels)
    unknown = self.labels[0] if self.labels else None
    examples, short = [], []
    for i, row in enumerate(lines[1:], 1):
      if self.skips_short_rows and not is_test and len(row) <= max(columns):
        short.append(row)
        continue
      examples.append(InputExample(
          self._guid(set_type, i, row), *[row[column] for column in texts],
          label=unknown if is_test else self._label(row, label)))
    if short:
      tf.logging.warning(
          "%s: found %d tab-separated column(s), expected %d; left out, as %d "
          "rows of the file are", short[0].where, len(short[0]), len(lines[0]),
          len(short))
    return examples

  def _guid(self, set_type, index, row):
    """Returns the name of the example in a row, the header being row 0."""
    del row
    return "%s-%d" % (set_type, index)


class ColaProcessor(GlueProcessor):
  """CoLA: is the sentence acceptable English?"""

  texts = ("sentence",)
  positions = {"sentence": 1}
  metric_names = ("matthews_correlation",)
  best_metric = "eval_matthews_correlation"

  def _create_examples(self, lines, set_type):
    if set_type == "test":
      return super()._create_examples(lines, set_type)
    # The other sets have no header.
    return [InputExample(
        "%s-%d" % (set_type, i), row[3], None, self._label(row, 1))
            for i, row in enumerate(lines)]


class Sst2Processor(GlueProcessor):
  """SST-2: is the sentence, about a film, positive?"""

  texts = ("sentence",)


class MrpcProcessor(GlueProcessor):
  """MRPC: do both sentences mean the same?"""

  texts = ("#1 String", "#2 String")
  label = "Quality"
  positions = {"Quality": 0, "#1 String": 3, "#2 String": 4}


class StsbProcessor(GlueProcessor):
  """STS-B: how similar are the sentences, from 0 to 5?"""

  problem_type = REGRESSION
  metric_names = ("pearson", "spearman")
  labels = ()
  label = "score"

  def _label(self, row, index):
    return tables.read_number(row[index], row.where, self.label)


class QqpProcessor(GlueProcessor):
  """QQP: do both questions ask the same?"""

  texts = ("question1", "question2")
  label = "is_duplicate"
  skips_short_rows = True  # some questions have line breaks


class MnliProcessor(GlueProcessor):
  """MultiNLI, matched: does the first sentence imply the second?"""

  dev_set = "dev_matched"
  test_set = "test_matched"
  labels = ("contradiction", "entailment", "neutral")
  label = "gold_label"
  positions = {"sentence1": 8, "sentence2": 9, "gold_label": -1}

  def _guid(self, set_type, index, row):
    return "%s-%s" % (set_type, row[0])


class MnliMismatchedProcessor(MnliProcessor):
  """MultiNLI, mismatched: dev and test sets of other genres than train."""

  recorded_name = "mnli"  # whose models it evaluates
  dev_set = "dev_mismatched"
  test_set = "test_mismatched"


class AxProcessor(MnliProcessor):
  """AX, GLUE's diagnostic set: a test set for models of MNLI."""

  recorded_name = "mnli"
  positions = {}

  def get_train_examples(self, data_dir):
    self._miss_set("--do_train")

  def get_dev_examples(self, data_dir):
    self._miss_set("--do_eval")

  def get_test_examples(self, data_dir):
    names = [name for name in ("diagnostic", "AX") if tf.gfile.Exists(
        os.path.join(data_dir, name + ".tsv"))]
    return self._read_examples(data_dir, (names or ["diagnostic"])[0], "test")

  def _miss_set(self, flag):
    raise ValueError(
        "--task_name=AX: %s: the diagnostic set is a test set only; use "
        "--task_name=MNLI, then --task_name=AX --do_predict with the same "
        "--output_dir" % flag)


class QnliProcessor(GlueProcessor):
  """QNLI: does the sentence answer the question?"""

  texts = ("question", "sentence")
  labels = ("entailment", "not_entailment")


class RteProcessor(GlueProcessor):
  """RTE: does the first sentence imply the second?"""

  labels = ("entailment", "not_entailment")


class WnliProcessor(GlueProcessor):
  """WNLI: is the second sentence, with a pronoun replaced, true?"""


class XnliProcessor(DataProcessor):
  """XNLI: does the first sentence imply the second? One language."""

  setting_names = ("data_dir", "xnli_language", "train_language")

  def __init__(self, language="zh", train_language=None):
    """Sets the language of dev and test set, and that of the training set.

    Args:
      language: str.
      train_language: str. None for the same.
    """
    self.language = language
    self.train_language = train_language or language

  @classmethod
  def from_settings(cls, settings):
    return cls(settings.xnli_language, settings.train_language)

  def get_train_examples(self, data_dir):
    path = os.path.join(
        data_dir, "multinli", "multinli.train.%s.tsv" % self.train_language)
    rows = self._read_tsv(path)
    text_a, text_b, label = [
        tables.find_column(rows, name, position) if rows else position
        for position, name in enumerate(("premise", "hypo", "label"))]
    tables.warn_of_first_row(rows, (text_a, text_b), label, self.get_labels())
    examples = []
    for i, row in enumerate(rows[1:], 1):
      if row[label] == "contradictory":
        row[label] = "contradiction"
      examples.append(InputExample("train-%d" % i, row[text_a], row[text_b],
                                   self._label(row, label)))
    return self._check_any(examples, path)

  def get_dev_examples(self, data_dir):
    return self._read_examples(os.path.join(data_dir, "xnli.dev.tsv"), "dev")

  def get_test_examples(self, data_dir):
    return self._read_examples(os.path.join(data_dir, "xnli.test.tsv"), "test")

  def get_labels(self):
    return ["contradiction", "entailment", "neutral"]

  def _read_examples(self, path, set_type):
    rows = self._read_tsv(path)
    language, label, text_a, text_b = [
        tables.find_column(rows, name, position) if rows else position
        for name, position in (("language", 0), ("gold_label", 1),
                               ("sentence1", 6), ("sentence2", 7))]
    tables.warn_of_first_row(rows, (text_a, text_b), label, self.get_labels())
    examples = [
        InputExample(
            "%s-%d" % (set_type, i), row[text_a], row[text_b], "contradiction"
            if set_type == "test" else self._label(row, label))
        for i, row in enumerate(rows) if i and row[language] == self.language]
    if rows[1:] and not examples:
      raise ValueError(
          "%s: found no row of --xnli_language=%s, expected one of %s" % (
              path, self.language, ", ".join(sorted(
                  {row[language] for row in rows[1:]}))))
    return self._check_any(examples, path)
