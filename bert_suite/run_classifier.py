r"""Fine-tunes BERT on classifying sentences or pairs of sentences.

On the sample data, from random weights:

  python run_classifier.py --task_name=MRPC --data_dir=sample_data \
    --do_train=true --do_eval=true --do_predict=true \
    --vocab_file=sample_data/sample_vocab.txt \
    --bert_config_file=sample_data/sample_config.json \
    --max_seq_length=48 --learning_rate=3e-4 --num_train_epochs=15 \
    --output_dir=/tmp/sample_classifier

On MRPC, from a pre-trained model:

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  export GLUE_DIR=/path/to/glue
  python run_classifier.py --task_name=MRPC --data_dir=$GLUE_DIR/MRPC \
    --do_train=true --do_eval=true --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --learning_rate=2e-5 \
    --output_dir=/tmp/mrpc_output

Tasks: CoLA, MNLI, MRPC, XNLI. A new task is one class, see `DataProcessor`,
and one line in `PROCESSORS`.
"""

import collections
import itertools
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoint_fit, checkpoints, cli, files, hooks, input_pipeline, metrics,
    model_inputs, modeling, optimization, progress, run_settings, serving,
    tables, tokenization, training)

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("data_dir", "task_name", "vocab_file", "bert_config_file",
                  "output_dir")

# What a run may change when it goes on; run.json keeps it to look up.
_TRAINING_FLAGS = ("learning_rate", "warmup_proportion", "train_batch_size",
                   "num_train_epochs", "max_seq_length", "data_dir",
                   "vocab_file", "tf_random_seed")

# Files in --output_dir.
_EVAL_RESULTS = "eval_results.txt"
_TEST_RESULTS = "test_results.tsv"

# A name of the reference that programs use.
_truncate_seq_pair = model_inputs.truncate_pair


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  define = cli.define_flag
  define("path", "data_dir", None,
         "Folder with the task's .tsv files.")
  define("string", "task_name", None,
         "Task to train: %s." % ", ".join(sorted(PROCESSORS)))
  define("integer", "max_seq_length", 128,
         "Word pieces per example; longer ones are cut, shorter ones padded.",
         lower_bound=3)
  define("bool", "do_train", False, "Train on the task's training set.")
  define("bool", "do_eval", False, "Evaluate on the dev set.")
  define("bool", "do_predict", False, "Predict the test set.")
  define("integer", "eval_batch_size", 8, "Batch size for evaluation.",
         lower_bound=1, default_text=run_settings.BATCH_SIZE_DEFAULT)
  run_settings.define_fine_tuning_flags()


class InputExample:
  """One text, or pair of texts, with its label."""

  def __init__(self, guid, text_a, text_b=None, label=None):
    """Makes an example.

    Args:
      guid: str. Name of the example, for messages.
      text_a: str. The (first) text, not tokenized.
      text_b: str. The second text of a pair.
      label: str. Examples to predict need none.
    """
    self.guid = guid
    self.text_a = text_a
    self.text_b = text_b
    self.label = label


class PaddingInputExample:
  """Fills up the last batch on TPUs, which need all batches equally large.

  It is left out of every figure. (A value of its own, not None, so that a
  forgotten example is not taken for one of these.)
  """


class InputFeatures:
  """An example as the model reads it."""

  def __init__(self, input_ids, input_mask, segment_ids, label_id,
               is_real_example=True):
    """Holds features: three lists of max_seq_length int, a label, a bool."""
    self.input_ids = input_ids
    self.input_mask = input_mask
    self.segment_ids = segment_ids
    self.label_id = label_id
    self.is_real_example = is_real_example


class DataProcessor:
  """Reads one task's files. A task is a subclass with these four methods."""

  def get_train_examples(self, data_dir):
    """Returns the training set, a list of InputExample."""
    self._miss("get_train_examples", "--do_train")

  def get_dev_examples(self, data_dir):
    """Returns the dev set, a list of InputExample."""
    self._miss("get_dev_examples", "--do_eval")

  def get_test_examples(self, data_dir):
    """Returns the set to predict, a list of InputExample; labels are unread."""
    self._miss("get_test_examples", "--do_predict")

  def get_labels(self):
    """Returns the labels, a list of str; results keep their order."""
    self._miss("get_labels", "every step")

  def _miss(self, method, step):
    raise NotImplementedError("%s needs the method %s of %s" % (
        step, method, type(self).__name__))

  @classmethod
  def _read_tsv(cls, input_file, quotechar=None):
    """Reads tab-separated values; see `tables.read_tsv`."""
    return tables.read_tsv(input_file, quotechar)

  def _label(self, row, index):
    """Returns a column that must be one of the labels."""
    label = tokenization.convert_to_unicode(row[index])
    labels = self.get_labels()
    if not isinstance(labels, (list, tuple)) or label not in labels:
      where = getattr(row, "where", "a row")  # a caller's own list has none
      hint = "; correct or remove the row"
      if getattr(row, "number", None) == 1:
        hint = "; if the row is a header, remove it: this file has none"
      raise _wrong_label(where, label, checked_labels(self),
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


def _wrong_label(where, label, labels, hint=""):
  """Returns the ValueError for a label that is none of labels."""
  kinds = sorted(set(type(known).__name__ for known in labels))
  return ValueError("%s: found the label %s, expected one of %s (%s)%s" % (
      where, tokenization.describe(label), ", ".join(map(repr, labels)),
      ", ".join(kinds), hint))


class XnliProcessor(DataProcessor):
  """XNLI: does the first sentence imply the second? One language."""

  def __init__(self, language="zh"):
    self.language = language

  def get_train_examples(self, data_dir):
    path = os.path.join(
        data_dir, "multinli", "multinli.train.%s.tsv" % self.language)
    examples, rows = [], self._read_tsv(path)
    tables.warn_of_first_row(rows, (0, 1), 2, self.get_labels())
    for i, row in enumerate(rows[1:], 1):
      if row[2] == "contradictory":
        row[2] = "contradiction"
      examples.append(InputExample(
          "train-%d" % i, row[0], row[1], self._label(row, 2)))
    return self._check_any(examples, path)

  def get_dev_examples(self, data_dir):
    return self._read_examples(os.path.join(data_dir, "xnli.dev.tsv"), "dev")

  def get_test_examples(self, data_dir):
    return self._read_examples(os.path.join(data_dir, "xnli.test.tsv"), "test")

  def get_labels(self):
    return ["contradiction", "entailment", "neutral"]

  def _read_examples(self, path, set_type):
    rows = self._read_tsv(path)
    tables.warn_of_first_row(rows, (6, 7), 1, self.get_labels())
    return self._check_any([
        InputExample(
            "%s-%d" % (set_type, i), row[6], row[7],
            "contradiction" if set_type == "test" else self._label(row, 1))
        for i, row in enumerate(rows)
        if i > 0 and row[0] == self.language], path)


class GlueProcessor(DataProcessor):
  """A task of the GLUE benchmark: train.tsv, dev.tsv, test.tsv."""

  dev_set = "dev"
  test_set = "test"

  def get_train_examples(self, data_dir):
    return self._read_examples(data_dir, "train", "train")

  def get_dev_examples(self, data_dir):
    return self._read_examples(data_dir, self.dev_set, self.dev_set)

  def get_test_examples(self, data_dir):
    return self._read_examples(data_dir, self.test_set, "test")

  def get_labels(self):
    return ["0", "1"]

  def _read_examples(self, data_dir, name, set_type):
    path = os.path.join(data_dir, name + ".tsv")
    return self._check_any(
        self._create_examples(self._read_tsv(path), set_type), path)

  def _create_examples(self, lines, set_type):
    """Makes the examples of a set; the label of those of "test" is unread."""
    raise NotImplementedError()


class MnliProcessor(GlueProcessor):
  """MultiNLI (GLUE), matched: does the first sentence imply the second?"""

  dev_set = "dev_matched"
  test_set = "test_matched"

  def get_labels(self):
    return ["contradiction", "entailment", "neutral"]

  def _create_examples(self, lines, set_type):
    tables.warn_of_first_row(lines, (8, 9), -1, self.get_labels())
    return [
        InputExample(
            "%s-%s" % (set_type, row[0]), row[8], row[9],
            "contradiction" if set_type == "test" else self._label(row, -1))
        for row in lines[1:]]


class MrpcProcessor(GlueProcessor):
  """MRPC (GLUE): do both sentences say the same?"""

  def _create_examples(self, lines, set_type):
    tables.warn_of_first_row(lines, (3, 4), 0, self.get_labels())
    return [
        InputExample("%s-%d" % (set_type, i), row[3], row[4],
                     "0" if set_type == "test" else self._label(row, 0))
        for i, row in enumerate(lines) if i > 0]


class ColaProcessor(GlueProcessor):
  """CoLA (GLUE): is the sentence acceptable English?"""

  def _create_examples(self, lines, set_type):
    if set_type == "test":
      tables.warn_of_first_row(lines, (1,))
      return [InputExample("test-%d" % i, row[1], None, "0")
              for i, row in enumerate(lines) if i > 0]
    # The other sets have no header.
    return [InputExample("%s-%d" % (set_type, i), row[3], None,
                         self._label(row, 1))
            for i, row in enumerate(lines)]


PROCESSORS = {
    "cola": ColaProcessor,
    "mnli": MnliProcessor,
    "mrpc": MrpcProcessor,
    "xnli": XnliProcessor,
}


def convert_single_example(ex_index, example, label_list, max_seq_length,
                           tokenizer, is_labelled=True, cuts=None):
  """Turns an example into features; the first is logged, five as DEBUG.

  Args:
    ex_index: int. Index of the example.
    example: InputExample or PaddingInputExample.
    label_list: list of str.
    max_seq_length: int. S.
    tokenizer: FullTokenizer.
    is_labelled: bool. Without it, as for prediction, the example's label is
      not read, and its label_id is 0, which stands for none.
    cuts: model_inputs.CutCount, or None. Counts the example.

  Returns:
    InputFeatures.

  Raises:
    ValueError: the label is not in the list.
  """
  if isinstance(example, PaddingInputExample):
    zeros = [0] * max_seq_length
    return InputFeatures(zeros, zeros, zeros, 0, is_real_example=False)

  model_input = model_inputs.make_model_input(
      tokenizer.tokenize(example.text_a),
      tokenizer.tokenize(example.text_b) if example.text_b else None,
      max_seq_length, tokenizer, cuts)
  label_id, shown_label = 0, None
  if is_labelled:
    if example.label not in label_list:
      raise _wrong_label(
          "Example %s" % example.guid, example.label, label_list,
          "; only examples to predict may be without a label"
          if example.label is None else "")
    label_id = label_list.index(example.label)
    shown_label = "%s (id = %d)" % (example.label, label_id)
  if ex_index < 5:
    model_inputs.log_example(
        example.guid, model_input, shown_label, ex_index)
  return InputFeatures(model_input.input_ids, model_input.input_mask,
                       model_input.segment_ids, label_id)


def convert_examples_to_features(examples, label_list, max_seq_length,
                                 tokenizer, is_labelled=True):
  """Turns examples into a list of InputFeatures."""
  return list(_features(
      examples, label_list, max_seq_length, tokenizer, is_labelled))


def file_based_convert_examples_to_features(
    examples, label_list, max_seq_length, tokenizer, output_file,
    is_labelled=True):
  """Turns examples into features and writes them as a TFRecord file."""
  input_pipeline.write_examples(output_file, (
      {"input_ids": f.input_ids, "input_mask": f.input_mask,
       "segment_ids": f.segment_ids, "label_ids": [f.label_id],
       "is_real_example": [int(f.is_real_example)]}
      for f in _features(
          examples, label_list, max_seq_length, tokenizer, is_labelled,
          "examples of " + os.path.basename(output_file))))


def _features(examples, label_list, max_seq_length, tokenizer, is_labelled,
              name="examples"):
  """Yields features; `name` is what the report of those cut calls them."""
  cuts = model_inputs.CutCount(name)
  with progress.Progress("Writing features", len(examples)) as shown:
    for index, example in enumerate(examples):
      yield convert_single_example(
          index, example, label_list, max_seq_length, tokenizer, is_labelled,
          cuts)
      shown.advance()
  cuts.report()


def file_based_input_fn_builder(input_file, seq_length, is_training,
                                drop_remainder, num_skipped=0):
  """Makes an `input_fn` that reads what the function above wrote.

  Args:
    input_file: str. TFRecord file.
    seq_length: int. S.
    is_training: bool. See `input_pipeline.make_input_fn`, as for the next two.
    drop_remainder: bool.
    num_skipped: int.

  Returns:
    A function of `params` that returns a `tf.data.Dataset` of batches.
  """
  name_to_features = {
      "input_ids": tf.FixedLenFeature([seq_length], tf.int64),
      "input_mask": tf.FixedLenFeature([seq_length], tf.int64),
      "segment_ids": tf.FixedLenFeature([seq_length], tf.int64),
      "label_ids": tf.FixedLenFeature([], tf.int64),
      "is_real_example": tf.FixedLenFeature([], tf.int64),
  }
  return input_pipeline.make_input_fn(
      input_file, name_to_features, is_training, drop_remainder,
      num_skipped=num_skipped)


def input_fn_builder(features, seq_length, is_training, drop_remainder):
  """Makes an `input_fn` over a list of InputFeatures, for small data sets."""
  shape = [len(features), seq_length]
  arrays = {
      "input_ids": np.reshape([f.input_ids for f in features], shape),
      "input_mask": np.reshape([f.input_mask for f in features], shape),
      "segment_ids": np.reshape([f.segment_ids for f in features], shape),
      "label_ids": np.array([f.label_id for f in features]),
  }
  return input_pipeline.make_array_input_fn(
      {name: array.astype(np.int32) for name, array in arrays.items()},
      is_training, drop_remainder)


def create_model(bert_config, is_training, input_ids, input_mask, segment_ids,
                 labels, num_labels, use_one_hot_embeddings, options=None):
  """Builds the encoder and a softmax over the labels on its pooled output.

  Args:
    bert_config: BertConfig.
    is_training: bool. Applies dropout.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    labels: int32 [B].
    num_labels: int. L.
    use_one_hot_embeddings: bool. See BertModel, as for the next.
    options: modeling.Options.

  Returns:
    loss: float32 scalar, the mean of the next.
    per_example_loss: float32 [B].
    logits: float32 [B, L].
    probabilities: float32 [B, L].
  """
  model = modeling.BertModel(
      config=bert_config, is_training=is_training, input_ids=input_ids,
      input_mask=input_mask, token_type_ids=segment_ids,
      use_one_hot_embeddings=use_one_hot_embeddings,
      output_positions=tf.zeros_like(input_ids[:, :0]), options=options)
  return classification_head(
      model.get_pooled_output(), is_training, labels, num_labels)


def classification_head(pooled_output, is_training, labels, num_labels):
  """A softmax over the labels on one vector per example.

  Args:
    pooled_output: float32 [B, W].
    is_training: bool. Applies dropout.
    labels: int32 [B].
    num_labels: int. L.

  Returns:
    As `create_model`.
  """
  output_weights = tf.get_variable(
      "output_weights", [num_labels, pooled_output.shape[-1]],
      initializer=modeling.create_initializer(0.02))
  output_bias = tf.get_variable(
      "output_bias", [num_labels], initializer=tf.zeros_initializer())
  with tf.variable_scope("loss"):
    if is_training:
      pooled_output = modeling.dropout(pooled_output, 0.1)
    logits = tf.nn.bias_add(
        tf.matmul(pooled_output, output_weights, transpose_b=True),
        output_bias)  # [B, L]
    per_example_loss = tf.nn.sparse_softmax_cross_entropy_with_logits(
        labels=labels, logits=logits)  # [B]
    return (tf.reduce_mean(per_example_loss), per_example_loss, logits,
            tf.nn.softmax(logits))


def compute_metrics(per_example_loss, label_ids, predictions, is_real_example):
  """Computes accuracy, mean loss, and F1 of the second label.

  Args:
    per_example_loss: float32 array [N].
    label_ids: int32 array [N].
    predictions: int32 array [N].
    is_real_example: float32 array [N]. 0 leaves an example out.

  Returns:
    dict from name to float.
  """
  return {
      "eval_accuracy": metrics.accuracy(
          label_ids, predictions, is_real_example),
      "eval_loss": metrics.mean(per_example_loss, is_real_example),
      "eval_f1": metrics.f1(label_ids, predictions, is_real_example),
  }


def tpu_metrics(per_example_loss, label_ids, predictions, is_real_example):
  """Returns the same of Tensors [B], as pairs of `tf.metrics`."""
  hits = tf.cast(label_ids * predictions, tf.float32)
  return {
      "eval_accuracy": tf.metrics.accuracy(
          label_ids, predictions, is_real_example),
      "eval_loss": tf.metrics.mean(per_example_loss, is_real_example),
      # See `metrics.f1`; both labels are 0 or 1 where it is asked for.
      "eval_f1": tf.metrics.mean(
          hits, tf.cast(label_ids + predictions, tf.float32) * is_real_example),
  }


def model_fn_builder(bert_config, num_labels, init_checkpoint, learning_rate,
                     num_train_steps, num_warmup_steps, use_tpu,
                     use_one_hot_embeddings, options=None, **others):
  """`make_model_fn` with the reference's arguments.

  Args:
    bert_config: BertConfig.
    num_labels: int.
    init_checkpoint: str, or None.
    learning_rate: float. See `optimization.Settings`, as for the three that
      follow.
    num_train_steps: int.
    num_warmup_steps: int.
    use_tpu: bool.
    use_one_hot_embeddings: bool. See `modeling.make_options`, as for the next.
    options: modeling.Options.
    **others: further arguments of `make_model_fn`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  return make_model_fn(
      bert_config, num_labels, init_checkpoint,
      optimization.Settings(
          learning_rate, num_train_steps, num_warmup_steps, use_tpu),
      modeling.make_options(options, use_one_hot_embeddings), **others)


def make_model_fn(bert_config, num_labels, init_checkpoint, settings,
                  options=None, loss_batch_size=None, init_head="auto"):
  """Makes the `model_fn` of a classifier.

  Args:
    bert_config: BertConfig.
    num_labels: int.
    init_checkpoint: str, or None. See `training.make_model_fn`.
    settings: optimization.Settings.
    options: modeling.Options.
    loss_batch_size: int. See `make_head_fn`; off on TPUs.
    init_head: str. See `checkpoint_fit.find_new_head`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  def build_model(is_training, input_ids, input_mask, segment_ids, labels):
    return create_model(
        bert_config, is_training, input_ids, input_mask, segment_ids, labels,
        num_labels, use_one_hot_embeddings=False, options=options)

  return training.make_model_fn(
      make_head_fn(build_model, None if settings.use_tpu else loss_batch_size),
      init_checkpoint, settings, checkpoint_fit.CLASSIFIER_HEAD, init_head)


def serving_task(bert_config, labels, options=serving.OPTIONS):
  """Makes the ServingTask of a classifier.

  Args:
    bert_config: BertConfig.
    labels: list of str. L labels.
    options: modeling.Options.

  Returns:
    ServingTask with the output "probabilities", float32 [B, L].
  """
  def build(inputs):
    inputs, cut = serving.round_up_request(
        inputs, bert_config.max_position_embeddings)
    no_labels = tf.zeros([tf.shape(inputs["input_ids"])[0]], tf.int32)
    probabilities = create_model(
        bert_config, False, labels=no_labels, num_labels=len(labels),
        use_one_hot_embeddings=False, options=options, **inputs)[-1]
    return {serving.SIGNATURE: {"probabilities": cut(probabilities)}}

  return serving.ServingTask(
      "classifier", build, settings={"labels": list(labels)})


def make_head_fn(build_model, loss_batch_size=None):
  """Makes the `head_fn` of a classifier for `training.make_model_fn`.

  Args:
    build_model: function (is_training, input_ids, input_mask, segment_ids,
      labels) that returns what `create_model` returns.
    loss_batch_size: int. An evaluation's `loss` is the mean of the mean losses
      of batches, so it depends on their size; this reports that of batches of
      this size where they are larger. None leaves it as it is; so must TPUs.
  """
  def head_fn(features, is_training):
    labels = features["label_ids"]
    loss, per_example_loss, logits, probabilities = build_model(
        is_training, features["input_ids"], features["input_mask"],
        features["segment_ids"], labels)
    if "is_real_example" in features:
      is_real_example = tf.cast(features["is_real_example"], tf.float32)
    else:
      is_real_example = tf.ones_like(per_example_loss)
    if loss_batch_size and not is_training:
      # The Estimator takes the mean over all values that it is given; it asks
      # for a scalar, but not where it does not know the shape.
      batch = tf.range(tf.shape(per_example_loss)[0]) // loss_batch_size
      loss = tf.placeholder_with_default(
          tf.math.segment_mean(per_example_loss, batch), shape=None)
    names = ["eval_accuracy", "eval_loss"]
    if logits.shape[-1] == 2:
      names.append("eval_f1")
    return training.Head(
        loss=loss,
        predictions={"probabilities": probabilities},
        metrics=(compute_metrics, dict(
            per_example_loss=per_example_loss, label_ids=labels,
            predictions=tf.argmax(logits, axis=-1, output_type=tf.int32),
            is_real_example=is_real_example), names),
        tpu_metrics=tpu_metrics)

  return head_fn


def evaluate(estimator, input_file, max_seq_length, output_dir, num_examples,
             batch_size, steps=None, checkpoint=None):
  """Evaluates a checkpoint and writes eval_results.txt.

  Args:
    estimator: the estimator.
    input_file: str. TFRecord file.
    max_seq_length: int. S.
    output_dir: str.
    num_examples: int. Examples in the file.
    batch_size: int. B.
    steps: int. Batches to read, on TPUs; None reads the whole file.
    checkpoint: str. None for the latest, as `training.evaluate` has it.
  """
  tf.logging.info("***** Running evaluation *****")
  results = training.evaluate(
      estimator,
      file_based_input_fn_builder(
          input_file, max_seq_length, is_training=False,
          drop_remainder=steps is not None),
      steps, hooks.eval_hooks(num_examples, batch_size, steps is not None),
      checkpoint)
  training.write_results(
      os.path.join(output_dir, _EVAL_RESULTS), "Eval results", results)
  return results


def predict(estimator, input_file, max_seq_length, output_dir, num_examples,
            use_tpu, checkpoint=None):
  """Writes test_results.tsv: a row per example, a probability per label.

  Args:
    estimator: the estimator.
    input_file: str. TFRecord file.
    max_seq_length: int. S.
    output_dir: str.
    num_examples: int. Rows to write; padding examples follow them.
    use_tpu: bool. Reads full batches only.
    checkpoint: str. None for the latest.
  """
  tf.logging.info("***** Running prediction *****")
  results = estimator.predict(
      input_fn=file_based_input_fn_builder(
          input_file, max_seq_length, is_training=False,
          drop_remainder=use_tpu),
      checkpoint_path=checkpoint and files.literal(checkpoint))
  rows = []
  with progress.Progress("Predicting", num_examples) as shown:
    for result in itertools.islice(results, num_examples):
      rows.append("\t".join(str(p) for p in result["probabilities"]))
      shown.advance()
  if len(rows) != num_examples:
    raise RuntimeError("%s: predicted %d of %d examples" % (
        input_file, len(rows), num_examples))
  path = os.path.join(output_dir, _TEST_RESULTS)
  files.write_text(path, "".join(row + "\n" for row in rows))
  tf.logging.info("Wrote %d predictions to %s", len(rows), path)


def find_processor(task_name):
  """Makes the processor of a task; raises ValueError for an unknown one."""
  processors = {name.lower(): made for name, made in PROCESSORS.items()}
  if task_name.lower() not in processors:
    raise ValueError("--task_name=%s: unknown task, expected one of %s" % (
        task_name, ", ".join(sorted(PROCESSORS))))
  return processors[task_name.lower()]()


def read_examples(processor, data_dir, do_train, do_eval, do_predict):
  """Reads the sets that are asked for.

  Returns:
    OrderedDict from step ("train", "eval", "predict") to list of InputExample.

  Raises:
    ValueError: a file is wrong or empty, or no set is asked for.
  """
  examples = collections.OrderedDict()
  try:
    if do_train:
      examples["train"] = processor.get_train_examples(data_dir)
    if do_eval:
      examples["eval"] = processor.get_dev_examples(data_dir)
    if do_predict:
      examples["predict"] = processor.get_test_examples(data_dir)
  except tf.errors.NotFoundError as error:
    raise ValueError("--data_dir=%s: a file of the task is missing (%s)" % (
        data_dir, error.message)) from None
  for step, found in examples.items():
    if not found:
      raise ValueError("--data_dir=%s: found no example to %s" % (
          data_dir, step))
  if not examples:
    raise ValueError(
        "nothing to do; give --do_train, --do_eval or --do_predict")
  return examples


def check_files(flag_values):
  """Raises ValueError if a result would replace a file that is read."""
  names = ["vocab_file", "bert_config_file"]
  if os.path.realpath(flag_values.data_dir) != os.path.realpath(
      flag_values.output_dir):  # else its files are those of earlier runs
    names.append("data_dir")
  training.check_results(
      flag_values.output_dir, run_settings.files_read(flag_values, names),
      [os.path.join(flag_values.output_dir, name) for name in (
          "train.tf_record", "eval.tf_record", "predict.tf_record",
          _EVAL_RESULTS, _TEST_RESULTS)])


def write_features(examples, labels, max_seq_length, tokenizer, output_dir):
  """Writes each step's features; returns a dict from step to file."""
  tf.gfile.MakeDirs(output_dir)
  input_files = {}
  for step, found in examples.items():
    input_files[step] = os.path.join(output_dir, step + ".tf_record")
    tf.logging.info("Writing %d examples to %s", len(found), input_files[step])
    file_based_convert_examples_to_features(
        found, labels, max_seq_length, tokenizer, input_files[step],
        is_labelled=step != "predict")
  return input_files


def run_steps(flag_values, tokenizer, make_model, config=None,
              brought_by=None, type_vocab_size=None, processor=None,
              on_log=None):
  """Reads the data, then trains, evaluates and predicts, as the flags say.

  Args:
    flag_values: the parsed flags of `define_flags`.
    tokenizer: FullTokenizer.
    make_model: function of the number of labels and `optimization.Settings`
      that returns a `model_fn`.
    config: BertConfig, or None where the model is not made from one.
    brought_by: str. What the weights come from if not from --init_checkpoint.
    type_vocab_size: int. Segments that the model knows, where there is no
      config; None if unknown.
    processor: DataProcessor; None for that of --task_name.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure of the dev set to its value; None without
    --do_eval.
  """
  with training.sole_training(flag_values):
    return _run_steps(flag_values, tokenizer, make_model, config, brought_by,
                      type_vocab_size, processor, on_log)


def _run_steps(flag_values, tokenizer, make_model, config, brought_by,
               type_vocab_size, processor, on_log):
  max_seq_length = flag_values.max_seq_length
  output_dir = flag_values.output_dir
  # Everything the user gave is read first: a mistake shows before training.
  with cli.user_errors():
    check_files(flag_values)
    processor = processor or find_processor(flag_values.task_name)
    labels = checked_labels(processor)
    examples = read_examples(
        processor, flag_values.data_dir, flag_values.do_train,
        flag_values.do_eval, flag_values.do_predict)
    pair = next((example for found in examples.values() for example in found
                 if example.text_b), None)
    if pair:
      model_inputs.check_pair(
          "Example %s" % pair.guid,
          config.type_vocab_size if config else type_vocab_size)
    num_examples = {step: len(found) for step, found in examples.items()}
    num_train_steps = run_settings.count_train_steps(
        num_examples.get("train", 0), flag_values)
    record = checkpoints.make_record(
        flag_values.task_name.lower(), config, labels, tokenizer.vocab,
        do_lower_case=tokenizer.basic_tokenizer.do_lower_case,
        strip_accents=tokenizer.basic_tokenizer.strip_accents)
    start = training.find_start(
        flag_values, record, num_train_steps, checkpoint_fit.CLASSIFIER_HEAD,
        ("max_seq_length",), _TRAINING_FLAGS, brought_by)
    if start.step >= num_train_steps:
      examples.pop("train", None)  # nothing left to train on them
    if flag_values.use_tpu:  # Full batches only: fill up the last one.
      for step, batch_size in (("eval", flag_values.eval_batch_size),
                               ("predict", flag_values.predict_batch_size)):
        missing = -num_examples.get(step, 0) % batch_size
        examples.get(step, []).extend([PaddingInputExample()] * missing)
    input_files = write_features(
        examples, labels, max_seq_length, tokenizer, output_dir)

  eval_batch_size = run_settings.batch_size_of(flag_values, "eval_batch_size")
  estimator = training.make_estimator(
      make_model(
          len(labels),
          run_settings.optimizer_settings(flag_values, num_train_steps)),
      output_dir,
      train_batch_size=flag_values.train_batch_size,
      eval_batch_size=eval_batch_size,
      predict_batch_size=run_settings.batch_size_of(
          flag_values, "predict_batch_size"),
      start_step=start.step, on_log=on_log,
      **run_settings.hardware_values(flag_values))
  results = None
  if flag_values.do_train:
    training.train(
        estimator,
        file_based_input_fn_builder(
            input_files.get("train"), max_seq_length, is_training=True,
            drop_remainder=True,
            num_skipped=start.step * flag_values.train_batch_size),
        num_train_steps, start.step,
        on_start=lambda: checkpoints.write_record(
            output_dir, record, start.step, num_train_steps=num_train_steps,
            **cli.values_of(flag_values, _TRAINING_FLAGS)))
  checkpoint = training.checkpoint_to_use(
      output_dir, start, num_train_steps)
  if flag_values.do_eval:
    results = evaluate(
        estimator, input_files["eval"], max_seq_length, output_dir,
        num_examples["eval"], eval_batch_size,
        len(examples["eval"]) // eval_batch_size
        if flag_values.use_tpu else None, checkpoint)
  if flag_values.do_predict:
    predict(estimator, input_files["predict"], max_seq_length, output_dir,
            num_examples["predict"], flag_values.use_tpu, checkpoint)
  if flag_values.export_dir:
    training.export(
        serving_task(config, labels, run_settings.serving_options(flag_values)),
        checkpoint or start.init_checkpoint,
        config, tokenizer.basic_tokenizer, flag_values)
  return results


def run_with(flag_values, processor=None, on_log=None):
  """Fine-tunes from, evaluates or predicts with a checkpoint.

  Args:
    flag_values: the parsed flags of `define_flags`.
    processor: see `run_steps`, as for the next and what is returned.
    on_log: function.
  """
  progress.start_logging(flag_values.verbose)
  run_settings.check_tpu(flag_values.use_tpu)
  run_settings.check_xla(flag_values.use_xla, flag_values.use_tpu)
  run_settings.log_device(flag_values.use_tpu)
  with cli.user_errors():
    bert_config = modeling.BertConfig.from_json_file(
        flag_values.bert_config_file)
    modeling.check_seq_length(
        flag_values.max_seq_length, bert_config.max_position_embeddings)
    tokenizer = run_settings.make_tokenizer(flag_values, bert_config)

  def make_model(num_labels, settings):
    return make_model_fn(
        bert_config, num_labels, flag_values.init_checkpoint, settings,
        run_settings.model_options(flag_values),
        loss_batch_size=flag_values.eval_batch_size,
        init_head=flag_values.init_head)

  return run_steps(flag_values, tokenizer, make_model, bert_config,
                   processor=processor, on_log=on_log)


class Training(collections.namedtuple(
    "Training", ["history", "results", "output_dir"])):
  """What `train_and_evaluate` returns.

  Attributes:
    history: list of dict, one for each logged step in order, none where all
      steps were done before: "step", "loss",
      "learning_rate", "global_norm", "examples_per_second"; that of the step
      that was evaluated also has the dev set's "eval_accuracy" and so on.
    results: dict, what eval_results.txt has; None without an evaluation.
    output_dir: str. Folder with the model, which `predictor.Predictor` takes.
  """


def train_and_evaluate(processor=None, **settings):
  """Trains from Python, and evaluates: what the script does with its flags.

  Args:
    processor: DataProcessor that reads the data, or its class; None for that of
      `task_name`.
    **settings: the script's flags by name. They have the same defaults and
      bounds, but for do_train and do_eval, which are True unless given.

  Returns:
    Training.

  Raises:
    UserError: what the script would print as one line.
  """
  required = REQUIRED_FLAGS
  if isinstance(processor, type):
    processor = processor()
  if processor is not None and not hasattr(processor, "get_labels"):
    raise cli.UserError("processor: found %r, expected a DataProcessor; the "
                        "name of a task is task_name" % (processor,))
  if processor is not None:  # which may read its data from anywhere
    settings = dict({"task_name": type(processor).__name__, "data_dir": ""},
                    **settings)
    required = [name for name in required if name != "data_dir"]
  flag_values = cli.make_flag_values(
      define_flags, dict({"do_train": True, "do_eval": True}, **settings),
      required)
  history = []
  verbosity = tf.logging.get_verbosity()
  # Writers of an earlier call would write on into a folder that was removed.
  tf.summary.FileWriterCache.clear()
  try:
    results = cli.call_here(flag_values, lambda: run_with(
        flag_values, processor, history.append))
  finally:
    tf.summary.FileWriterCache.clear()
    tf.logging.set_verbosity(verbosity)
  if results:
    step = int(results["global_step"])
    if history and history[-1]["step"] == step:
      history[-1].update({name: float(value) for name, value in results.items()
                          if name.startswith("eval_")})
  return Training(history, results, flag_values.output_dir)


def main(_):
  """Fine-tunes from, evaluates or predicts with a checkpoint."""
  run_with(FLAGS)


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)
