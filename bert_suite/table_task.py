"""The task "table": texts and labels of a user's own files, named by flags."""

import collections
import dataclasses
import json
import os
import zlib

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    json_files, processors, script_options, splits, table_files, tables)
from .script_options import option
from .tokenization import shorten

LABELS_FILE = "labels.txt"
_FILES = {"train": "train_file", "dev": "dev_file", "test": "test_file"}
_COLUMN = "; a name, or where the file has no header the number, from 1"
_MOST_LABELS = 2 ** 16
_SHOWN_LABELS = 8


@dataclasses.dataclass
class TableSettings(script_options.Settings):
  """What --task_name=table reads."""

  train_file: str = option(
      "path", None, "Table to train on, with --task_name=table: .tsv, .csv or "
      ".jsonl, with or without .gz.")
  dev_file: str = option("path", None, "Table to evaluate on.")
  test_file: str = option(
      "path", None, "Table to predict; needs no column of labels.")
  table_format: str = option(
      "string", None, "Format of the tables: tsv, csv or jsonl.",
      default_text="what their names end with")
  text_a: str = option("string", None, "Column of the text" + _COLUMN + ".")
  text_b: str = option("string", None, "Column of the second text of a pair.")
  label: str = option("string", None, "Column of the label.")
  multi_label: bool = option(
      "bool", False, "A text has any number of labels: a JSON list.")
  label_separator: str = option(
      "string", None, "Separator between the labels of a text, with "
      "--multi_label.", default_text="they are a JSON list")
  regression: bool = option("bool", False, "The labels are numbers to predict.")
  dev_share: float = option(
      "float", None, "Share of --train_file to set aside and evaluate on, if "
      "there is no --dev_file.", above=0, upper_bound=0.9)


class TableProcessor(processors.DataProcessor):
  """Reads the files that flags name, as streams.

  Attributes:
    settings: Settings of a script, with the fields of TableSettings.
    problem_type: str.
  """

  setting_names = ("train_file", "dev_file", "table_format", "text_a", "text_b",
                   "label", "label_separator", "dev_share")
  read_flags = tuple(_FILES.values())
  labels_file = LABELS_FILE
  knows_test_labels = True  # until it has read the file

  def __init__(self, settings):
    """Checks settings; reads nothing."""
    self.settings = settings
    if settings.multi_label and settings.regression:
      raise ValueError("--multi_label and --regression: leave one of them out")
    if settings.label_separator is not None and (
        not settings.multi_label or not settings.label_separator):
      raise ValueError("--label_separator=%s: expected one or more characters, "
                       "and --multi_label" % settings.label_separator)
    if settings.dev_share and settings.dev_file:
      raise ValueError("--dev_share and --dev_file: leave one of them out")
    if (settings.table_format or "tsv").lower() not in table_files.FORMATS:
      raise ValueError("--table_format=%s: expected one of %s" % (
          settings.table_format, ", ".join(table_files.FORMATS)))
    if not settings.text_a:
      raise ValueError("--task_name=table: also pass --text_a, a column's name")
    if not settings.label and (settings.do_train or settings.do_eval):
      raise ValueError("--task_name=table: also pass --label, a column's name")
    given = [settings.text_a, settings.text_b, settings.label]
    self._columns = [column for column in given if column]
    if len({column.isdecimal() for column in self._columns}) > 1:
      raise ValueError(
          "--text_a, --text_b, --label: found %s, expected names only, or "
          "numbers only where the file has no header" % ", ".join(
              self._columns))
    if settings.regression:
      self.problem_type = processors.REGRESSION
      self.metric_names = ("pearson", "spearman")
    elif settings.multi_label:
      self.problem_type = processors.MULTI_LABEL
    if settings.dev_share:
      self.shared_flags = ("train_file",)
    self._labels = None
    self._counts = {}  # from the name of a set to what `_count` found
    self._digests = {}  # from the name of a set to its file's digest
    self._split = None  # into the parts of --dev_share

  @classmethod
  def from_settings(cls, settings):
    return cls(settings)

  def get_train_examples(self, data_dir):
    return self._read("train", part=0)

  def get_dev_examples(self, data_dir):
    if self.settings.dev_share:
      return self._read("train", part=1)
    if not self.settings.dev_file:
      raise ValueError("--do_eval: also pass --dev_file, or --dev_share=0.1 to "
                       "evaluate on a part of --train_file")
    return self._read("dev")

  def get_test_examples(self, data_dir):
    return self._read("test")

  def get_labels(self):
    if self._labels is None:
      self._labels = self._find_labels()
    return list(self._labels)

  def _find_labels(self):
    """Returns the labels: those of --train_file, or a trained model's."""
    settings = self.settings
    if settings.regression:
      return ()
    if not settings.do_train:
      checkpoint = settings.init_checkpoint
      for folder in [settings.output_dir] + (
          [os.path.dirname(checkpoint)] if checkpoint else []):
        path = os.path.join(folder, LABELS_FILE)
        if tf.gfile.Exists(path):
          return _read_labels(path)
      if not settings.train_file:
        raise ValueError(
            "%s: has no %s, as a trained model has; also pass the --train_file "
            "that the model was trained on" % (
                settings.output_dir, LABELS_FILE))
    counts = self._count("train")[1]
    if len(counts) < 2 and not settings.multi_label:
      raise ValueError("%s: found no label but %r in column %s, expected two "
                       "or more" % (
                           settings.train_file, *counts, settings.label))
    return tuple(sorted(counts))

  def _read(self, split, part=None):
    """Returns a Stream of the examples of a set, or of a part of it."""
    self.get_labels()
    length, _ = self._count(split)

    def read():
      return self._examples(split)

    if part is None or not self.settings.dev_share:
      return processors.Stream(read, length)
    if not self._split:
      self._split = self._set_aside(processors.Stream(read, length))
    return processors.Stream(*self._split.select(lambda found: found == part))

  def _set_aside(self, examples):
    """Returns the Split into the training set and the set to evaluate on."""
    share = self.settings.dev_share
    split = splits.Split(
        examples, lambda counts: splits.count_parts(counts, share),
        self.settings.split_seed)
    if not split.sizes[1]:
      raise ValueError("--dev_share=%g: leaves nothing of %s to evaluate on; "
                       "give a larger share" % (share, self._path("train")))
    if split.num_repeated:
      tf.logging.info(
          "%s: %d rows repeat the texts of others; equal texts are either all "
          "trained on or all evaluated on", self._path("train"),
          split.num_repeated)
    return split

  def _path(self, split):
    """Returns the path of a set's file."""
    flag = _FILES[split]
    path = getattr(self.settings, flag)
    if not path:
      raise ValueError("--%s: also pass --%s" % (
          "do_predict" if split == "test" else "task_name=table", flag))
    if not tf.gfile.Exists(path) or tf.gfile.IsDirectory(path):
      raise ValueError("--%s=%s: there is no such file" % (flag, path))
    return path

  def _count(self, split):
    """Reads a file once; returns its number of rows and a Counter of labels."""
    if split not in self._counts:
      total, counts, first = 0, collections.Counter(), []
      has_labels = False
      for example in self._examples(split):
        total += 1
        has_labels = has_labels or example.label is not None
        counts.update(splits.labels_of(example))
        first = first or splits.labels_of(example)
        if len(counts) > _MOST_LABELS:
          raise ValueError(
              "%s, column %s: found more than %d labels; pass --regression if "
              "they are numbers to predict" % (
                  self._path(split), self.settings.label, _MOST_LABELS))
      if not total:
        raise ValueError("%s: found no row of data" % self._path(split))
      self._log(split, total, counts, first)
      self._counts[split] = total, counts
      if split == "test":
        self.knows_test_labels = has_labels
    return self._counts[split]

  def _log(self, split, total, counts, first):
    """Logs what `_count` found; warns of a header that is read as data."""
    shown = ["%s %d" % pair for pair in counts.most_common(_SHOWN_LABELS)]
    if len(counts) > len(shown):
      shown.append("%d more" % (len(counts) - len(shown)))
    path = self._path(split)
    tf.logging.info("%s: %d rows%s", path, total,
                    "; labels: " + ", ".join(shown) if shown else "")
    if (not table_files.has_header(self._columns) and total > 2 and
        [counts[label] for label in first] == [1]):
      tf.logging.warning(
          "%s, line 1: no other row has its label, %r; if it is a header, give "
          "the columns' names, not their numbers", path, first[0])

  def _examples(self, split):
    """Yields the examples of a file, checked.

    Raises:
      ValueError: they are wrong or, at the end, differ from the first time.
    """
    path, settings = self._path(split), self.settings
    digest = 0
    num_texts = 2 if settings.text_b else 1
    known = None if self._labels is None else set(self._labels)
    for index, (number, values) in enumerate(table_files.read_rows(
        path, self._columns, settings.table_format,
        settings.label if split == "test" else None), 1):
      where = "%s, line %d" % (path, number)
      digest = zlib.crc32(repr((number, values)).encode("utf-8"), digest)
      for text, column in zip(values[:num_texts], self._columns):
        if not isinstance(text, str) or not text.strip():
          raise ValueError("%s, column %s: found %s, expected a text; correct "
                           "or remove the row" % (
                               where, column, _show(text)))
      label = None
      if settings.label:
        try:
          label = self._parse_label(values[num_texts], where, known)
        except ValueError:
          if split != "test":  # whose labels may be wrong
            raise
      yield processors.InputExample(
          "%s-%d" % (split, index), values[0],
          values[1] if settings.text_b else None, label)
    if self._digests.setdefault(split, digest) != digest:
      raise ValueError("%s: has changed since the run began; start it again" %
                       path)

  def _parse_label(self, value, where, known):
    """Returns an example's label from the value of a column.

    Args:
      value: str; in JSON lines anything.
      where: str. File and row, for messages.
      known: set of str. All labels; None if they are not known yet.
    """
    if self.settings.regression:
      return tables.read_number(str(value), where, self.settings.label)
    where = "%s, column %s" % (where, self.settings.label)
    if not self.settings.multi_label:
      return _check_label(value, where, known)
    separator = self.settings.label_separator
    found = value
    if isinstance(value, str):
      if separator:
        found = [one for one in value.split(separator) if one.strip()]
      else:
        try:
          found = json.loads(value or "[]")
        except (ValueError, RecursionError):
          pass  # not a list
    if not isinstance(found, list):
      raise ValueError(
          '%s: found %s, expected a JSON list such as ["a", "b"]; or pass '
          "--label_separator" % (where, _show(value)))
    return list(dict.fromkeys(  # each once
        _check_label(one, where, known) for one in found))


def _read_labels(path):
  """Returns the labels, tuple of str, that a training wrote to a file."""
  try:
    lines = json_files.read_small(path).decode("utf-8-sig").rstrip().split("\n")
  except ValueError as error:
    raise ValueError("%s: cannot be read (%s); copy it again" % (
        path, error)) from None
  labels = {}
  for number, line in enumerate(lines, 1):
    where = "%s, line %d" % (path, number)
    label = _check_label(line, where, None)
    if label in labels:
      raise ValueError("%s: found %r for the second time; copy the file again" %
                       (where, label))
    labels[label] = number
  return tuple(labels)


def _show(value):
  """Returns a value as in its file, shortened if it is long."""
  return "null" if value is None else shorten(value)


def _check_label(value, where, known):
  """Returns a label, str; raises ValueError if it is invalid or unknown."""
  if isinstance(value, (bool, int, float)):  # in JSON
    value = json.dumps(value)
  label = value.strip() if isinstance(value, str) else ""
  if not label or len(label.splitlines()) > 1:
    raise ValueError("%s: found %s, expected %s" % (
        where, _show(value), "one label; if texts have several, pass "
        "--multi_label" if isinstance(value, list) else
        "a label without a line break" if label else
        "a label; correct or remove the row"))
  if known is not None and label not in known:
    raise processors.wrong_label(
        where, label, sorted(known), ", which are those of the training")
  return label
