"""The data of classifiers: examples, their readers, and their features."""

import itertools
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    input_pipeline, long_texts, model_inputs, problem_types, progress, tables,
    tokenization)
from .problem_types import (  # noqa: F401  # a DataProcessor has one of them
    MULTI_LABEL, REGRESSION, SINGLE_LABEL)


class InputExample:
  """One text, or pair of texts, with its label."""

  def __init__(self, guid, text_a, text_b=None, label=None):
    """Makes an example.

    Args:
      guid: str. Name of the example, for messages.
      text_a: str. The (first) text, not tokenized.
      text_b: str. The second text of a pair.
      label: str; of several labels a list of str, of regression a float. None
        for examples to predict.
    """
    self.guid = guid
    self.text_a = text_a
    self.text_b = text_b
    self.label = label


class PaddingInputExample:
  """Fills the last batch on TPUs, which need all batches to have one size.

  It is left out of all results. (It is not None, so that a missing example is
  not mistaken for padding.)
  """


class InputFeatures:
  """The ids, mask, segments and label of an example."""

  def __init__(self, input_ids, input_mask, segment_ids, label_id,
               is_real_example=True):
    """Holds features: three lists of max_seq_length int, a label, a bool."""
    self.input_ids = input_ids
    self.input_mask = input_mask
    self.segment_ids = segment_ids
    self.label_id = label_id
    self.is_real_example = is_real_example


class Stream:
  """Items that are made again in each iteration, so that none are kept."""

  def __init__(self, iterate, length):
    """Makes a stream.

    Args:
      iterate: function without arguments that returns an iterator.
      length: int. The number of items.
    """
    self._iterate = iterate
    self._length = length

  def __len__(self):
    return self._length

  def __iter__(self):
    return self._iterate()


class DataProcessor:
  """Reads the files of a task; a task is a subclass with these four methods.

  Examples may also be a `Stream`, so that they need not be in memory.

  Attributes:
    problem_type: str. SINGLE_LABEL, MULTI_LABEL or REGRESSION.
    metric_names: tuple of str. Metrics besides accuracy, F1 and loss.
    best_metric: str. The figure that models are compared by; None for that of
      the problem type.
    recorded_name: str. The task whose models it shares, as in run.json; None
      for its own.
    setting_names: tuple of str. Settings that say what it reads; run.json
      records them.
    shared_flags: tuple of str. Settings that evaluations and predictions should
      share with the training; a difference causes a warning.
    read_flags: tuple of str. Settings that name files or folders to read.
    labels_file: str. File in --output_dir that gets the labels; None for none.
    knows_test_labels: bool. Labels of examples to predict, where there are any,
      are correct.
  """

  problem_type = SINGLE_LABEL
  metric_names = ()
  best_metric = None
  recorded_name = None
  setting_names = ("data_dir",)
  shared_flags = ()
  read_flags = ("data_dir",)
  labels_file = None
  knows_test_labels = False

  @classmethod
  def from_settings(cls, settings):
    """Makes the processor that a run's settings ask for."""
    del settings
    return cls()

  def get_train_examples(self, data_dir):
    """Returns the training set, a list of InputExample."""
    self._miss("get_train_examples", "--do_train")

  def get_dev_examples(self, data_dir):
    """Returns the dev set, a list of InputExample."""
    self._miss("get_dev_examples", "--do_eval")

  def get_test_examples(self, data_dir):
    """Returns the set to predict, a list of InputExample; labels optional."""
    self._miss("get_test_examples", "--do_predict")

  def get_labels(self):
    """Returns the labels, a list of str; results have the same order."""
    self._miss("get_labels", "every run")

  def _miss(self, method, step):
    raise NotImplementedError("%s needs the method %s, which %s does not have" %
                              (step, method, type(self).__name__))

  @classmethod
  def _read_tsv(cls, input_file, quotechar=None):
    """Reads tab-separated values; see `tables.read_tsv`."""
    return tables.read_tsv(input_file, quotechar)

  def _label(self, row, index):
    """Returns a row's label; raises ValueError if it is not a known one."""
    label = tokenization.convert_to_unicode(row[index])
    labels = self.get_labels()
    if not isinstance(labels, (list, tuple)) or label not in labels:
      where = getattr(row, "where", "a row")  # may be a program's own list
      hint = "; correct or remove the row"
      if getattr(row, "number", None) == 1:
        hint = "; if the row is a header, remove it: this file has none"
      raise wrong_label(where, label, checked_labels(self),
                        tables.separator_hint(row) or hint)
    return label

  def _check_any(self, examples, path):
    """Returns a set's examples; raises ValueError if there are none."""
    if not examples:
      raise ValueError("%s: found no example, at most a header; is the file "
                       "complete?" % path)
    return examples


def checked_labels(processor):
  """Returns a processor's labels; raises ValueError if they cannot be used."""
  labels = processor.get_labels()
  what = "%s.get_labels: found " % type(processor).__name__
  expected = "; expected a list of str such as [\"0\", \"1\"]"
  if not isinstance(labels, (list, tuple)):
    raise ValueError(what + tokenization.describe(labels) + expected)
  if not labels:
    raise ValueError(what + "no label" + expected)
  for index, label in enumerate(labels):
    if not isinstance(label, str):
      raise ValueError(what + tokenization.describe(label) + expected)
    if label in labels[:index]:
      raise ValueError("%s%s twice; name each label once" % (
          what, tokenization.shorten(label)))
  return labels


def wrong_label(where, label, labels, hint=""):
  """Returns the ValueError for a label that is not one of `labels`."""
  kinds = sorted(set(type(known).__name__ for known in labels))
  return ValueError("%s: found the label %s, expected one of %s (%s)%s" % (
      where, tokenization.describe(label), ", ".join(map(repr, labels)),
      ", ".join(kinds), hint))


def read_examples(processor, split, data_dir, type_vocab_size=None):
  """Reads a set of examples.

  Args:
    processor: DataProcessor.
    split: str. "train", "eval" or "predict".
    data_dir: str, or None.
    type_vocab_size: int. Segments that the model knows; None if unknown.

  Returns:
    list of InputExample, or a Stream if the processor returns one.

  Raises:
    ValueError: they are missing or wrong.
  """
  method = {"train": "get_train_examples", "eval": "get_dev_examples",
            "predict": "get_test_examples"}[split]
  try:
    examples = getattr(processor, method)(data_dir)
    if not isinstance(examples, Stream):
      examples = list(examples or ())
  except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError) as error:
    raise ValueError("--data_dir=%s: a file of the task is missing (%s)" % (
        data_dir, error.message)) from None
  name = "%s.%s" % (type(processor).__name__, method)
  if not len(examples):
    raise ValueError("%s: found no example to %s%s" % (
        name, split, " in --data_dir=" + data_dir if data_dir else ""))
  # The rows of a stream are alike, and checking all would read it once more.
  looked_at = list(itertools.islice(
      examples, 1 if isinstance(examples, Stream) else None))
  wrong = [one for one in looked_at if not hasattr(one, "text_a")]
  if wrong:
    raise ValueError("%s: found %s, expected an InputExample" % (
        name, tokenization.describe(wrong[0])))
  pair = next((example for example in looked_at if example.text_b), None)
  if pair:
    model_inputs.check_pair("Example %s" % pair.guid, type_vocab_size)
  return examples


def convert_single_example(ex_index, example, label_list, max_seq_length,
                           tokenizer, is_labelled=True, cuts=None):
  """Turns an example into InputFeatures; see `convert_example`."""
  return _with_one_number(convert_example(
      ex_index, example, label_list, max_seq_length, tokenizer, is_labelled,
      cuts)[0])


def _with_one_number(features):
  """Returns InputFeatures whose label_id is the int that programs expect."""
  features.label_id, = features.label_id
  return features


def convert_example(ex_index, example, label_list, max_seq_length, tokenizer,
                    is_labelled=True, cuts=None, policy=long_texts.TRUNCATE,
                    problem=None):
  """Turns an example into features; the first is logged, five as DEBUG.

  Args:
    ex_index: int. Index of the example.
    example: InputExample or PaddingInputExample.
    label_list: list of str.
    max_seq_length: int. S.
    tokenizer: FullTokenizer.
    is_labelled: bool. If False, as for prediction, the example's label is
      ignored and its label_id is 0, which means nothing.
    cuts: model_inputs.CutCount, or None. Counts the example.
    policy: long_texts.LongTexts.
    problem: one of the classes of `problem_types`; None for one label.

  Returns:
    list of InputFeatures, one for each window of a long text.

  Raises:
    ValueError: the label is not in the list.
  """
  problem = problem or problem_types.SingleLabel(len(label_list))
  if isinstance(example, PaddingInputExample):
    zeros = [0] * max_seq_length
    return [InputFeatures(zeros, zeros, zeros, problem.encode(None, label_list),
                          is_real_example=False)]

  inputs = long_texts.make_model_inputs(
      *tokenize_example(example, tokenizer), max_seq_length, tokenizer, policy,
      cuts)
  label_id, shown_label = problem.encode(None, label_list), None
  if is_labelled:
    label_id = encode_label(example, label_list, problem)
    shown_label = "%s (id = %s)" % (
        example.label, ", ".join("%g" % value for value in label_id))
    if problem.name == problem_types.REGRESSION:
      shown_label = "%g" % label_id[0]
  if ex_index < 5:
    model_inputs.log_example(example.guid, inputs[0], shown_label, ex_index)
  return [InputFeatures(
      one.input_ids, one.input_mask, one.segment_ids, label_id)
          for one in inputs]


def encode_label(example, label_list, problem):
  """Returns the list of numbers that a record holds for an example's label."""
  where = "Example %s" % example.guid
  if example.label is None:
    raise wrong_label(where, None, label_list,
                      "; only examples to predict may have no label")
  try:
    return problem.encode(example.label, label_list)
  except KeyError as error:
    raise wrong_label(where, error.args[0], label_list) from None
  except (TypeError, ValueError):
    raise ValueError("%s: found the label %s, expected a number" % (
        where, tokenization.describe(example.label))) from None


def tokenize_example(example, tokenizer):
  """Returns the word pieces of an example's texts, lists of str; None for none.

  Raises:
    ValueError: a text cannot be tokenized; names the example.
  """
  try:
    return tokenizer.tokenize(example.text_a), (
        tokenizer.tokenize(example.text_b) if example.text_b else None)
  except ValueError as error:
    raise ValueError("Example %s: %s" % (example.guid, error)) from None


def convert_examples_to_features(examples, label_list, max_seq_length,
                                 tokenizer, is_labelled=True):
  """Turns examples into a list of InputFeatures."""
  return [_with_one_number(features) for _, features in _features(
      examples, label_list, max_seq_length, tokenizer, is_labelled)]


def file_based_convert_examples_to_features(
    examples, label_list, max_seq_length, tokenizer, output_file,
    is_labelled=True):
  """Turns examples into features and writes them as a TFRecord file."""
  input_pipeline.write_examples(output_file, feature_dicts(
      examples, label_list, max_seq_length, tokenizer, is_labelled,
      "examples of " + os.path.basename(output_file)))


def feature_dicts(examples, label_list, max_seq_length, tokenizer, is_labelled,
                  name, policy=long_texts.TRUNCATE, largest=None,
                  problem=None):
  """Yields the features of examples as they are in records.

  Args:
    examples: list or Stream of InputExample or PaddingInputExample.
    label_list: list of str.
    max_seq_length: int. S.
    tokenizer: FullTokenizer.
    is_labelled: bool. See `convert_single_example`.
    name: str. What the log calls examples that were cut.
    policy: long_texts.LongTexts.
    largest: int. Largest max_seq_length of the model; None if unknown.
    problem: See `convert_example`.

  Yields:
    dict from name to list of int, or of float for float labels.
  """
  for index, f in _features(examples, label_list, max_seq_length, tokenizer,
                            is_labelled, name, policy, largest, problem):
    record = {"input_ids": f.input_ids, "input_mask": f.input_mask,
              "segment_ids": f.segment_ids, "label_ids": f.label_id,
              "is_real_example": [int(f.is_real_example)]}
    if policy.has_windows:
      record[long_texts.INDEX] = [index]
    yield record


def _features(examples, label_list, max_seq_length, tokenizer, is_labelled,
              name="examples", policy=long_texts.TRUNCATE, largest=None,
              problem=None):
  """Yields (index of the example, InputFeatures) for each window."""
  counts = long_texts.SetCounts(name, policy, largest)
  with progress.Progress("Writing features", len(examples)) as shown:
    for index, example in enumerate(examples):
      for features in convert_example(
          index, example, label_list, max_seq_length, tokenizer, is_labelled,
          counts, policy, problem):
        yield index, features
      shown.advance()
  counts.report()
