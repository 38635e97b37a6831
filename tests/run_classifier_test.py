"""Tests of run_classifier: data, head, metrics, whole runs of the script."""

import itertools
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    checkpoints, cli, input_pipeline, run_settings, runner, training)
from helpers import (
    CONFIG, LABELS, PAIRS, WORDS, captured_log, check_mrpc_results,
    count_records, read_batches, read_eval_results, read_events,
    read_probabilities, run_main, run_script, save_checkpoint, write_config,
    write_lines, write_mrpc, write_vocab)
import modeling
import numpy_bert
import optimization
import run_classifier
import tokenization

# Processors.


def facts(examples):
  return [(e.guid, e.text_a, e.text_b, e.label) for e in examples]


def test_cola(tmp_path):
  write_lines(tmp_path / "train.tsv", [
      ["gj04", "1", "", "One sings."], ["gj04", "0", "*", "Sings \"one."]])
  write_lines(tmp_path / "dev.tsv", [["gj04", "1", "", "Caf\u00e9."]])
  write_lines(tmp_path / "test.tsv", [
      ["index", "sentence"], ["0", "First."], ["1", "Second."]])
  processor = run_classifier.ColaProcessor()
  assert processor.get_labels() == ["0", "1"]
  assert facts(processor.get_train_examples(str(tmp_path))) == [
      ("train-0", "One sings.", None, "1"),
      ("train-1", "Sings \"one.", None, "0")]
  assert facts(processor.get_dev_examples(str(tmp_path))) == [
      ("dev-0", "Caf\u00e9.", None, "1")]
  assert facts(processor.get_test_examples(str(tmp_path))) == [
      ("test-1", "First.", None, "0"), ("test-2", "Second.", None, "0")]


def test_mrpc(tmp_path):
  folder = write_mrpc(tmp_path, num_train=2)
  processor = run_classifier.MrpcProcessor()
  assert processor.get_labels() == ["0", "1"]
  assert facts(processor.get_train_examples(folder)) == [
      ("train-1",) + PAIRS[0] + ("1",), ("train-2",) + PAIRS[1] + ("0",)]
  assert facts(processor.get_dev_examples(folder)) == [
      ("dev-%d" % (i + 1), a, b, str(label))
      for i, ((a, b), label) in enumerate(zip(PAIRS, LABELS))]
  assert facts(processor.get_test_examples(folder)) == [
      ("test-%d" % (i + 1), a, b, "0") for i, (a, b) in enumerate(PAIRS)]


def test_mnli(tmp_path):
  header = ("index promptID pairID genre s1_binary_parse s2_binary_parse "
            "s1_parse s2_parse sentence1 sentence2").split()
  row = ["31", "1", "1n", "fiction", "( a )", "( b )", "(A a)", "(B b)",
         "It rains.", "Tea is near."]
  labelled = header + ["label1", "gold_label"]
  write_lines(tmp_path / "train.tsv", [
      labelled, row + ["neutral", "entailment"],
      ["8"] + row[1:] + ["neutral", "contradiction"]])
  write_lines(tmp_path / "dev_matched.tsv", [
      header + ["label%d" % i for i in range(5)] + ["gold_label"],
      row + ["entailment"] * 5 + ["neutral"]])
  write_lines(tmp_path / "test_matched.tsv", [header, row])
  processor = run_classifier.MnliProcessor()
  assert processor.get_labels() == ["contradiction", "entailment", "neutral"]
  texts = ("It rains.", "Tea is near.")
  assert facts(processor.get_train_examples(str(tmp_path))) == [
      ("train-31",) + texts + ("entailment",),
      ("train-8",) + texts + ("contradiction",)]
  assert facts(processor.get_dev_examples(str(tmp_path))) == [
      ("dev_matched-31",) + texts + ("neutral",)]
  assert facts(processor.get_test_examples(str(tmp_path))) == [
      ("test-31",) + texts + ("contradiction",)]


def test_xnli(tmp_path):
  write_lines(tmp_path / "multinli" / "multinli.train.zh.tsv", [
      ["premise", "hypo", "label"], ["\u4e0b\u96e8", "\u8336", "neutral"],
      ["\u732b", "\u8336", "contradictory"]])
  header = ["language", "gold_label", "", "", "", "", "sentence1", "sentence2"]
  rows = [["en", "neutral", "", "", "", "", "It rains.", "Tea.", "1"],
          ["zh", "contradiction", "", "", "", "", "\u732b", "\u8336", "1"]]
  write_lines(tmp_path / "xnli.dev.tsv", [header] + rows)
  write_lines(tmp_path / "xnli.test.tsv", [header] + [
      row[:1] + ["hidden"] + row[2:] for row in rows])
  processor = run_classifier.XnliProcessor()
  assert processor.get_labels() == ["contradiction", "entailment", "neutral"]
  assert facts(processor.get_train_examples(str(tmp_path))) == [
      ("train-1", "\u4e0b\u96e8", "\u8336", "neutral"),
      ("train-2", "\u732b", "\u8336", "contradiction")]
  for found, name in ((processor.get_dev_examples, "dev-2"),
                      (processor.get_test_examples, "test-2")):
    assert facts(found(str(tmp_path))) == [
        (name, "\u732b", "\u8336", "contradiction")]
  english = run_classifier.XnliProcessor(language="en")
  assert facts(english.get_dev_examples(str(tmp_path))) == [
      ("dev-1", "It rains.", "Tea.", "neutral")]


@pytest.mark.parametrize("name,file_name,row,message", [
    ("cola", "train.tsv", ["x", "2", "", "One."],
     "found the label '2' (str), expected one of '0', '1' (str)"),
    ("mrpc", "train.tsv", ["yes", "1", "2", "One.", "Two."],
     "found the label 'yes' (str), expected one of '0', '1' (str)"),
    ("mnli", "train.tsv", ["0"] * 11 + ["-"], "found the label '-' (str), "
     "expected one of 'contradiction', 'entailment', 'neutral' (str)"),
    ("xnli", "multinli/multinli.train.zh.tsv", ["a", "b", ""],
     "found the label '' (str), expected one of 'contradiction', 'entailment', "
     "'neutral' (str)"),
    ("cola", "train.tsv", ["One."],
     "found 1 tab-separated column(s), expected at least 4 columns"),
    ("mrpc", "train.tsv", ["1", "1", "2", "One."],
     "found 4 tab-separated column(s), expected at least 5 columns"),
    ("mnli", "train.tsv", ["0"] * 9,
     "found 9 tab-separated column(s), expected at least 10 columns"),
    ("xnli", "multinli/multinli.train.zh.tsv", ["a", "b"],
     "found 2 tab-separated column(s), expected at least 3 columns"),
    ("mrpc", "train.tsv", [""],
     "found a blank line, expected at least 4 columns"),
])
def test_a_wrong_row_is_named(tmp_path, name, file_name, row, message):
  good = {"cola": ["x", "1", "", "One."], "mrpc": ["1", "1", "2", "A.", "B."],
          "mnli": ["0"] * 11 + ["neutral"], "xnli": ["a", "b", "neutral"]}
  # A row follows, because blank lines at the end are left out.
  path = write_lines(tmp_path / file_name, [good[name], good[name], row,
                                            good[name]])
  processor = run_classifier.find_processor(name)
  assert type(processor) is run_classifier.PROCESSORS[name]
  with pytest.raises(ValueError) as error:
    processor.get_train_examples(str(tmp_path))
  assert str(error.value) == "%s, row 3: %s; correct or remove the row" % (
      path, message)


@pytest.mark.parametrize("name, file_name, get, row", [
    ("mrpc", "train.tsv", "get_train_examples", ["1", "1", "2", "A", "B"]),
    ("mrpc", "test.tsv", "get_test_examples", ["0", "1", "2", "A", "B"]),
    ("cola", "test.tsv", "get_test_examples", ["0", "One"]),
    ("mnli", "train.tsv", "get_train_examples", ["a"] * 11 + ["neutral"]),
    ("xnli", "multinli/multinli.train.zh.tsv", "get_train_examples",
     ["a", "b", "neutral"]),
    ("xnli", "xnli.dev.tsv", "get_dev_examples",
     ["zh", "neutral"] + ["a"] * 6),
])
def test_data_in_place_of_a_header_is_named(
    tmp_path, name, file_name, get, row):
  path = write_lines(tmp_path / file_name, [row, row])
  with captured_log() as lines:
    examples = getattr(run_classifier.find_processor(name), get)(str(tmp_path))
  assert len(examples) == 1
  assert len(lines) == 1 and lines[0].startswith(
      "%s, row 1: looks like data" % path)


# Features.


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
  return tokenization.FullTokenizer(
      write_vocab(tmp_path_factory.mktemp("vocab")))


def ids_of(text):
  return [WORDS.index(piece) for piece in text.split()]


def convert(tokenizer, *examples):
  return run_classifier.convert_examples_to_features(
      examples, ["no", "yes"], 10, tokenizer)


def test_features_of_a_pair_and_of_one_text(tokenizer):
  pair, single = convert(
      tokenizer,
      run_classifier.InputExample("a", "The kettle sings", "It rains.", "yes"),
      run_classifier.InputExample("b", "Cats sleeping", "", "no"))
  assert pair.input_ids == ids_of(
      "[CLS] the kettle sing ##s [SEP] it rains . [SEP]")
  assert pair.input_mask == [1] * 10
  assert pair.segment_ids == [0] * 6 + [1] * 4
  assert single.input_ids == ids_of("[CLS] cat ##s sleep ##ing [SEP]") + [0] * 4
  assert single.input_mask == [1] * 6 + [0] * 4
  assert single.segment_ids == [0] * 10
  assert (pair.label_id, single.label_id) == (1, 0)
  assert (pair.is_real_example, single.is_real_example) == (True, True)


def test_padding_examples_are_zeros_and_not_real(tokenizer):
  padding, = convert(tokenizer, run_classifier.PaddingInputExample())
  for values in (padding.input_ids, padding.input_mask, padding.segment_ids):
    assert values == [0] * 10
  assert padding.label_id == 0
  assert padding.is_real_example is False


def test_a_label_that_is_not_in_the_list_is_named(tokenizer):
  example = run_classifier.InputExample("dev-3", "It rains.", None, "maybe")
  with pytest.raises(ValueError) as error:
    convert(tokenizer, example)
  assert str(error.value) == (
      "Example dev-3: found the label 'maybe' (str), expected one of 'no', "
      "'yes' (str)")


@pytest.mark.parametrize("labels, label, message", [
    (["0", "1"], 1, "found the label 1 (int), expected one of '0', '1' (str)"),
    ([0, 1], "1", "found the label '1' (str), expected one of 0, 1 (int)"),
    (["0", "1"], None, "found the label None (NoneType), expected one of '0', "
     "'1' (str); only examples to predict may have no label"),
    (["0", 1], "x" * 80, "found the label '%s... (str), expected one of '0', 1 "
     "(int, str)" % ("x" * 56)),
])
def test_a_label_of_another_type_is_named(tokenizer, labels, label, message):
  with pytest.raises(ValueError) as error:
    run_classifier.convert_examples_to_features(
        [run_classifier.InputExample("a", "It rains.", None, label)], labels,
        10, tokenizer)
  assert str(error.value) == "Example a: " + message


def test_labels_may_be_numbers_where_a_program_converts_examples(tokenizer):
  features, = run_classifier.convert_examples_to_features(
      [run_classifier.InputExample("a", "It rains.", None, 1)], [0, 1], 10,
      tokenizer)
  assert features.label_id == 1


@pytest.mark.parametrize("labels, found", [
    ([0, 1], "found 0 (int); expected a list of str"),
    (["0", 1], "found 1 (int); expected"), (None, "found None (NoneType);"),
    ("01", "found '01' (str); expected a list"), ([], "found no label;"),
    ([b"0"], "found b'0' (bytes);"), (["a", "b", "a"], "found 'a' twice;"),
    ({"0": 1}, "found {'0': 1} (dict);"),
])
def test_labels_that_cannot_be_used_are_named(monkeypatch, labels, found):
  class Wrong(run_classifier.DataProcessor):

    def get_labels(self):
      return labels

  with pytest.raises(ValueError) as error:
    run_classifier.checked_labels(Wrong())
  assert str(error.value).startswith("Wrong.get_labels: " + found)
  if labels != ["a", "b", "a"]:  # in which the label of the row is
    with pytest.raises(ValueError, match="Wrong.get_labels: found"):
      Wrong()._label(["a"], 0)


@pytest.mark.parametrize("label", [None, "no", "unknown", 7])
def test_labels_of_examples_to_predict_are_neither_read_nor_shown(
    tokenizer, label):
  with captured_log() as lines:
    features, = run_classifier.convert_examples_to_features(
        [run_classifier.InputExample("test-1", "It rains.", None, label)],
        ["yes", "no"], 10, tokenizer, is_labelled=False)
  assert features.label_id == 0
  assert features.input_ids == ids_of("[CLS] it rains . [SEP]") + [0] * 5
  assert "label" not in "".join(lines)


def test_examples_that_are_cut_are_counted(tmp_path, tokenizer):
  examples = [run_classifier.InputExample(str(i), text, None, "no")
              for i, text in enumerate(["tea " * 8, "tea " * 9, "tea " * 30])]
  examples.append(run_classifier.PaddingInputExample())
  with captured_log() as lines:
    run_classifier.file_based_convert_examples_to_features(
        examples, ["no"], 10, tokenizer, str(tmp_path / "eval.tf_record"))
    convert(tokenizer, *examples[:1])
  assert [line for line in lines if "cut" in line] == [
      "2 of 3 examples of eval.tf_record (66.7%) have more than the 10 word "
      "pieces of --max_seq_length, [CLS] and [SEP] included, and were cut; the "
      "longest has 32: --max_seq_length=32 would hold all; --long_text=windows "
      "reads all of each",
      "None of the 1 examples was cut"]


@pytest.mark.parametrize("verbosity, count", [
    (tf.logging.INFO, 1), (tf.logging.DEBUG, 5)])
def test_the_first_example_is_logged_or_five(tokenizer, verbosity, count):
  example = run_classifier.InputExample("x", "It rains.", None, "no")
  with captured_log() as lines:
    tf.logging.set_verbosity(verbosity)
    convert(tokenizer, *[example] * 7)
  assert lines.count("guid: x") == count
  assert lines.count("label: no (id = 0)") == count


@pytest.mark.parametrize("from_file", [True, False])
def test_input_fns_give_what_was_converted(tmp_path, tokenizer, from_file):
  examples = [
      run_classifier.InputExample(str(i), a, b, ["no", "yes"][label])
      for i, ((a, b), label) in enumerate(zip(PAIRS, LABELS))]
  examples.append(run_classifier.PaddingInputExample())
  features = convert(tokenizer, *examples)
  if from_file:
    path = str(tmp_path / "eval.tf_record")
    run_classifier.file_based_convert_examples_to_features(
        examples, ["no", "yes"], 10, tokenizer, path)
    input_fn = run_classifier.file_based_input_fn_builder(
        path, 10, is_training=False, drop_remainder=False)
  else:
    input_fn = run_classifier.input_fn_builder(
        features, 10, is_training=False, drop_remainder=False)
  batches = read_batches(input_fn, 3)
  assert [len(batch["label_ids"]) for batch in batches] == [3, 3, 2]
  found = {name: np.concatenate([batch[name] for batch in batches])
           for name in batches[0]}
  expected = {
      "input_ids": [f.input_ids for f in features],
      "input_mask": [f.input_mask for f in features],
      "segment_ids": [f.segment_ids for f in features],
      "label_ids": LABELS + [0]}
  if from_file:
    expected["is_real_example"] = [1] * 7 + [0]
  assert sorted(found) == sorted(expected)
  for name in found:
    assert found[name].dtype == np.int32
    np.testing.assert_array_equal(found[name], expected[name])


# Head and metrics.


@pytest.mark.parametrize("remove_padding", [False, True])
def test_create_model_is_that_of_numpy(remove_padding):
  rng = np.random.RandomState(3)
  ids = rng.randint(len(WORDS), size=[4, 6]).astype(np.int32)
  mask = np.array([[1] * n + [0] * (6 - n) for n in (6, 1, 3, 5)], np.int32)
  types = rng.randint(2, size=[4, 6]).astype(np.int32)
  labels = np.array([2, 0, 1, 1], np.int32)
  with tf.Graph().as_default(), tf.Session() as session:
    outputs = run_classifier.create_model(
        modeling.BertConfig(**CONFIG), False, tf.constant(ids),
        tf.constant(mask), tf.constant(types), tf.constant(labels), 3, False,
        options=modeling.Options(remove_padding=remove_padding))
    variables = {v.op.name: rng.normal(0.0, 0.5, v.shape.as_list())
                 for v in tf.trainable_variables()}
    session.run([tf.assign(v, variables[v.op.name]).op
                 for v in tf.trainable_variables()])
    loss, per_example_loss, logits, probabilities = session.run(outputs)
  pooled = numpy_bert.encode(variables, 2, ids, mask, types).pooled_output
  expected = (pooled.dot(variables["output_weights"].T) +
              variables["output_bias"])
  log_probs = numpy_bert.log_softmax(expected)
  losses = -log_probs[np.arange(4), labels]
  for ours, theirs in ((logits, expected), (probabilities, np.exp(log_probs)),
                       (per_example_loss, losses), (loss, losses.mean())):
    np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-5)


def run_metrics(batches, num_labels, use_tpu=False):
  """Feeds batches of (losses, labels, logits, weights) to a head's metrics."""
  with tf.Graph().as_default(), tf.Session() as session:
    inputs = [tf.placeholder(tf.float32, [None]),
              tf.placeholder(tf.int32, [None]),
              tf.placeholder(tf.float32, [None, num_labels]),
              tf.placeholder(tf.float32, [None])]
    losses, labels, logits, is_real_example = inputs
    head_fn = run_classifier.make_head_fn(
        lambda *unused_inputs: (losses, losses, logits, logits))
    head = head_fn(
        dict(input_ids=None, input_mask=None, segment_ids=None,
             label_ids=labels, is_real_example=is_real_example), False)
    function, tensors = training.eval_metrics(head, use_tpu)
    metrics = function(**tensors)
    session.run(tf.local_variables_initializer())
    for batch in batches:
      session.run([update for _, update in metrics.values()],
                  dict(zip(inputs, batch)))
    return session.run({name: value for name, (value, _) in metrics.items()})


@pytest.mark.parametrize("use_tpu", [False, True])
@pytest.mark.parametrize("num_labels", [2, 3])
def test_metrics_are_those_of_numpy(num_labels, use_tpu):
  rng = np.random.RandomState(num_labels)
  losses = rng.rand(23).astype(np.float32)
  labels = rng.randint(num_labels, size=23)
  logits = rng.normal(size=[23, num_labels])
  real = (rng.rand(23) < 0.7).astype(np.float32)
  found = run_metrics(
      [[values[start:start + 5] for values in (losses, labels, logits, real)]
       for start in range(0, 23, 5)], num_labels, use_tpu)
  kept = real == 1
  assert 5 < np.sum(kept) < 23
  right = logits.argmax(axis=1)[kept] == labels[kept]
  expected = {"eval_accuracy": np.mean(right),
              "eval_loss": np.mean(losses[kept])}
  if num_labels == 2:
    hits = np.sum(right & (labels[kept] == 1))
    precision = hits / float(np.sum(logits.argmax(axis=1)[kept] == 1))
    recall = hits / float(np.sum(labels[kept] == 1))
    expected["eval_f1"] = 2 * precision * recall / (precision + recall)
  assert sorted(found) == sorted(expected)
  for name in found:
    np.testing.assert_allclose(found[name], expected[name], rtol=1e-5)


@pytest.mark.parametrize("use_tpu", [False, True])
def test_f1_without_any_positive_is_0(use_tpu):
  found = run_metrics(
      [[[0.1, 0.2], [0, 0], [[1.0, 0.0], [2.0, 1.0]], [1.0, 1.0]]], 2, use_tpu)
  assert found["eval_f1"] == 0.0
  assert found["eval_accuracy"] == 1.0


@pytest.mark.parametrize("num_rows", [7, 11])
def test_the_loss_of_an_evaluation_does_not_depend_on_its_batches(
    tmp_path, num_rows):
  """TensorBoard has the loss of eval_results.txt, that of batches of 4."""
  losses = np.arange(num_rows, dtype=np.float32)  # logits of 0 and a wrong one

  def build_model(unused_is_training, input_ids, *unused_inputs):
    scale = tf.get_variable("scale", [])
    per_example_loss = scale * tf.cast(input_ids[:, 0], tf.float32)
    logits = tf.zeros_like(per_example_loss)[:, tf.newaxis] * [1., 1.]
    return tf.reduce_mean(per_example_loss), per_example_loss, logits, logits

  output_dir = str(tmp_path / "out")
  estimator = training.make_estimator(
      training.make_model_fn(
          run_classifier.make_head_fn(build_model, loss_batch_size=4),
          save_checkpoint(str(tmp_path / "model.ckpt"), {"scale": 1.0}),
          optimization.Settings(0.1, 1, 0)),
      output_dir, eval_batch_size=8)
  path = str(tmp_path / "eval.tf_record")
  input_pipeline.write_examples(path, (
      {"input_ids": [i], "input_mask": [1], "segment_ids": [0],
       "label_ids": [0], "is_real_example": [1]} for i in range(num_rows)))
  results = training.evaluate(
      estimator, run_classifier.file_based_input_fn_builder(
          path, 1, is_training=False, drop_remainder=False), None, [], None)
  expected = np.mean([
      np.mean(losses[i:i + 4]) for i in range(0, num_rows, 4)])
  assert results["loss"] == pytest.approx(expected, rel=1e-6)
  assert results["eval_loss"] == pytest.approx(np.mean(losses), rel=1e-6)
  del results["global_step"]
  assert {name: values[0] for name, values in read_events(
      output_dir + "/eval").items()} == pytest.approx(results, rel=1e-6)


# Whole runs.


def arguments_for(data_dir, vocab_file, config_file, output_dir, **changes):
  values = dict(
      task_name="MRPC", data_dir=data_dir, vocab_file=vocab_file,
      bert_config_file=config_file, output_dir=output_dir, max_seq_length=16,
      train_batch_size=4, eval_batch_size=4, predict_batch_size=4,
      learning_rate=1e-2)
  values.update(changes)
  return ["--%s=%s" % item for item in sorted(values.items())]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
  """A folder with MRPC's files and the arguments that name them."""
  folder = tmp_path_factory.mktemp("mrpc")
  return dict(data_dir=write_mrpc(folder / "data"),
              vocab_file=write_vocab(folder),
              config_file=write_config(folder))


@pytest.fixture(scope="module")
def trained_dir(task, tmp_path_factory):
  """The output folder of the whole script: 12 examples, 2 epochs, 6 steps."""
  output_dir = str(tmp_path_factory.mktemp("trained") / "out")
  status, _, stderr = run_script("run_classifier.py", arguments_for(
      output_dir=output_dir, do_train=True, do_eval=True, do_predict=True,
      num_train_epochs=2, log_steps=4, **task))
  assert status == 0, stderr[-3000:]
  for line in ("Training: 4 of 6 steps, loss ",
               "Training: 6 of 6 steps, loss ", "***** Eval results *****"):
    assert stderr.count(line) == 1
  return output_dir


def test_the_script_trains_evaluates_and_predicts(trained_dir):
  assert [count_records(os.path.join(
      trained_dir, step + ".tf_record"))
          for step in ("train", "eval", "predict")] == [12, 7, 7]
  assert (tf.train.latest_checkpoint(trained_dir) ==
          os.path.join(trained_dir, "model.ckpt-6"))
  check_mrpc_results(trained_dir, global_step=6)
  names = {name for name, _ in tf.train.list_variables(trained_dir)}
  assert {"output_weights", "output_bias", "global_step",
          "output_weights/adam_m", "output_weights/adam_v",
          "bert/pooler/dense/kernel"} <= names


def test_without_remove_padding_the_probabilities_are_the_same(
    task, trained_dir, tmp_path):
  output_dir = str(tmp_path / "padded")
  run_main(run_classifier, arguments_for(
      output_dir=output_dir, do_eval=True, do_predict=True,
      init_checkpoint=os.path.join(trained_dir, "model.ckpt-6"),
      remove_padding=False, **task))
  check_mrpc_results(output_dir, global_step=6)  # that of the checkpoint
  np.testing.assert_allclose(
      read_probabilities(output_dir), read_probabilities(trained_dir),
      atol=1e-5)


def test_a_checkpoint_that_does_not_fit_ends_the_script_with_its_variables(
    task, trained_dir, tmp_path):
  output_dir = str(tmp_path / "out")
  status, stdout, stderr = run_script("run_classifier.py", arguments_for(
      output_dir=output_dir, do_train=True,
      init_checkpoint=os.path.join(trained_dir, "model.ckpt-6"),
      **dict(task, config_file=write_config(tmp_path, hidden_size=32))))
  assert (status, stdout) == (1, "")
  assert "Traceback" not in stderr
  last = stderr[stderr.index("run_classifier.py: "):].splitlines()[0]
  before, problems = last.split(" does not fit the model (")
  assert before.endswith("model.ckpt-6")
  problems = problems.split("): ")[1].split("; ")
  with tf.Graph().as_default():
    modeling.BertModel(modeling.BertConfig(**CONFIG), False,
                       tf.zeros([1, 4], tf.int32))
    names = {v.op.name for v in tf.trainable_variables()}
  names.remove("bert/encoder/layer_0/intermediate/dense/bias")  # [24] in both
  assert sorted(one.split(":")[0] for one in problems) == sorted(names)
  assert ("bert/pooler/dense/bias: [16] in the checkpoint, [32] in the model"
          in problems)
  assert tf.train.latest_checkpoint(output_dir) is None
  assert not [name for name in os.listdir(output_dir) if "ckpt" in name]


class WeatherProcessor(run_classifier.DataProcessor):
  """As a user writes one: three labels, one text, a table with quotes."""

  def get_train_examples(self, data_dir):
    return self._examples(data_dir)

  def get_dev_examples(self, data_dir):
    return self._examples(data_dir)

  def get_test_examples(self, data_dir):
    # Whatever stands for a label here, nothing reads it.
    return [run_classifier.InputExample(example.guid, example.text_a, label=one)
            for example, one in zip(
                self._examples(data_dir), itertools.cycle([None, 7, "dry"]))]

  def get_labels(self):
    return ["dry", "wet", "tea"]

  def _examples(self, data_dir):
    rows = self._read_tsv(os.path.join(data_dir, "weather.tsv"), quotechar="|")
    return [run_classifier.InputExample("row-%d" % i, row[0], label=row[1])
            for i, row in enumerate(rows)]


def test_a_model_of_another_task_lends_its_encoder(
    task, trained_dir, tmp_path, monkeypatch):
  """From two labels to three: the encoder stays, the head starts anew."""
  monkeypatch.setitem(
      run_classifier.PROCESSORS, "weather", WeatherProcessor)
  write_lines(tmp_path / "weather.tsv", [["rains", "wet"], ["tea", "tea"]])
  trained = os.path.join(trained_dir, "model.ckpt-6")
  values = dict(task, task_name="weather", data_dir=str(tmp_path),
                do_train=True, train_batch_size=2, num_train_epochs=1,
                init_checkpoint=trained + ".index")
  with captured_log() as lines:
    run_main(run_classifier, arguments_for(
        output_dir=str(tmp_path / "out"), **values))
  assert (
      "The head (output_weights, output_bias) starts from random "
      "weights: in %s output_weights is [2, 16] there and [3, 16] here, "
      "output_bias is [2] there and [3] here" % trained) in lines
  first = tf.train.load_checkpoint(str(tmp_path / "out" / "model.ckpt-0"))
  there = tf.train.load_checkpoint(trained)
  name = "bert/pooler/dense/kernel"
  np.testing.assert_array_equal(first.get_tensor(name), there.get_tensor(name))
  assert first.get_tensor("output_bias").tolist() == [0.0] * 3
  for changes, message in (
      (dict(init_head="keep"), "--init_head=keep: .* has another head: "),
      (dict(init_head="old"), "--init_head=old: expected one of auto, keep"),
      (dict(init_head="new", do_train=False, do_eval=True),
       "--init_head=new: a new head only makes sense with --do_train")):
    with pytest.raises(cli.UserError, match=message):
      run_main(run_classifier, arguments_for(
          output_dir=str(tmp_path / "other"), **dict(values, **changes)))


def test_what_a_finished_training_ignores_is_named(task, trained_dir, tmp_path):
  with captured_log() as lines:
    run_main(run_classifier, arguments_for(
        output_dir=trained_dir, do_train=True, num_train_epochs=1,
        **dict(task, data_dir=write_mrpc(tmp_path))))
  warning, = [line for line in lines if "are ignored" in line]
  assert warning == (
      "The training in %s is finished, so these settings are ignored: "
      "--data_dir=%s (trained with %s), --num_train_epochs=1.0 (trained with "
      "2.0). Give another --output_dir to train with them, or give a larger "
      "--num_train_epochs to train the same model further" % (
          trained_dir, tmp_path, task["data_dir"]))


def test_a_processor_of_the_user_runs(task, tmp_path, monkeypatch):
  monkeypatch.setitem(
      run_classifier.PROCESSORS, "weather", WeatherProcessor)
  path = tmp_path / "data" / "weather.tsv"
  rows = [["|it\trains|", "wet"], ["tea", "tea"], ["the cat sleeps", "dry"]]
  write_lines(path, rows * 2)
  output_dir = str(tmp_path / "out")
  arguments = arguments_for(
      output_dir=output_dir, task_name="Weather", do_train=True, do_eval=True,
      do_predict=True, num_train_epochs=3,
      **dict(task, data_dir=str(tmp_path / "data")))
  run_main(run_classifier, arguments)
  probabilities = read_probabilities(output_dir)
  assert probabilities.shape == (6, 3)
  np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
  names, values = read_eval_results(output_dir)
  assert names == ["eval_accuracy", "eval_loss", "global_step", "loss"]
  assert values[2] == 4  # 6 / 4 * 3, rounded down
  label_ids = [1, 2, 0, 1, 2, 0]
  np.testing.assert_allclose(values[:2], [
      np.mean(probabilities.argmax(axis=1) == label_ids),
      np.mean(-np.log(probabilities[np.arange(6), label_ids]))], atol=1e-5)

  write_lines(path, rows + [["snow", "white"]])
  before = count_records(
      os.path.join(output_dir, "train.tf_record"))
  with pytest.raises(cli.UserError, match="Example row-3: found the "
                     "label 'white'"):
    run_main(run_classifier, arguments)
  assert before == 6 == count_records(
      os.path.join(output_dir, "train.tf_record"))
  assert not tf.gfile.Glob(os.path.join(output_dir, "*.tmp"))


def test_accents_are_recorded_as_the_flag_says(task, tmp_path, monkeypatch):
  class Started(Exception):
    pass

  def find_start(settings, record, *unused):
    raise Started(record)

  monkeypatch.setattr(training, "find_start", find_start)
  for value, expected in (("auto", None), ("false", False), ("true", True)):
    with pytest.raises(Started) as started:
      run_main(run_classifier, arguments_for(
          output_dir=str(tmp_path / "out"), do_train=True, strip_accents=value,
          **task))
    assert started.value.args[0].get("strip_accents") is expected


def test_batches_for_tpus_are_filled_up(task, tmp_path, monkeypatch):
  class FeaturesAreWritten(Exception):
    pass

  def make_estimator(*unused_args, **kwargs):
    assert kwargs["settings"].use_tpu
    raise FeaturesAreWritten()

  monkeypatch.setattr(run_settings, "check_tpu", lambda use_tpu: None)
  monkeypatch.setattr(checkpoints, "resolve", lambda path: path)
  monkeypatch.setattr(checkpoints, "check_readable", lambda *unused: {
      "output_weights": [2, 16], "output_bias": [2]})
  monkeypatch.setattr(training, "make_estimator", make_estimator)
  output_dir = str(tmp_path / "out")
  with pytest.raises(FeaturesAreWritten):
    run_main(run_classifier, arguments_for(
        output_dir=output_dir, do_eval=True, do_predict=True, use_tpu=True,
        init_checkpoint="some.ckpt", **dict(task, predict_batch_size=5)))
  for step, padding in (("eval", 1), ("predict", 3)):
    input_fn = run_classifier.file_based_input_fn_builder(
        os.path.join(output_dir, step + ".tf_record"), 16, is_training=False,
        drop_remainder=False)
    batch, = read_batches(input_fn, 100)
    assert batch["is_real_example"].tolist() == [1] * 7 + [0] * padding


def test_a_method_that_a_processor_lacks_is_named():
  with pytest.raises(NotImplementedError, match=(
      "--do_predict needs the method get_test_examples, which DataProc.* not")):
    run_classifier.DataProcessor().get_test_examples("data")


# From Python.


@pytest.fixture
def settings(task, tmp_path):
  """Arguments of train_and_evaluate: 12 examples, 2 epochs, 6 steps."""
  values = dict(
      task, bert_config_file=task["config_file"], output_dir=tmp_path / "out",
      task_name="MRPC", max_seq_length=16, train_batch_size=4,
      num_train_epochs=2, learning_rate=1e-2, tf_random_seed=1)
  del values["config_file"]
  return values


def test_train_and_evaluate_returns_what_the_files_have(settings):
  verbosity = tf.logging.get_verbosity()
  output_dir = str(settings["output_dir"])
  for learning_rate in (1e-2, 2e-2):  # into a folder that was removed
    shutil.rmtree(output_dir, ignore_errors=True)
    training = run_classifier.train_and_evaluate(
        **dict(settings, learning_rate=learning_rate))
    assert training.output_dir == output_dir
    assert [row["step"] for row in training.history] == [1, 2, 3, 4, 5, 6]
    assert training.history[0]["learning_rate"] == pytest.approx(learning_rate)
    assert checkpoints.read_record(output_dir)["training"][
        "learning_rate"] == learning_rate
    events = read_events(output_dir)
    for name in ("loss", "learning_rate", "global_norm"):
      assert [row[name] for row in training.history] == pytest.approx(
          list(events[name].values()))
    names, values = read_eval_results(output_dir)
    assert sorted(json.loads(json.dumps(training.results))) == names
    assert [training.results[name] for name in names] == pytest.approx(values)
    assert {name: value for name, value in training.history[-1].items()
            if name.startswith("eval_")} == pytest.approx({
                name: value for name, value in training.results.items()
                if name.startswith("eval_")})
  assert tf.logging.get_verbosity() == verbosity
  # What is trained already is evaluated again.
  again = run_classifier.train_and_evaluate(
      **dict(settings, learning_rate=2e-2))
  assert again.history == []
  assert again.results == pytest.approx(training.results)


def test_train_and_evaluate_takes_a_processor(settings):
  class Reviews(run_classifier.DataProcessor):
    """Holds its data; reads no file."""

    def get_labels(self):
      return ["bad", "good"]

    def get_train_examples(self, data_dir):
      return [run_classifier.InputExample("%d" % i, text, None, label)
              for i, (text, label) in enumerate(
                  [("tea", "good"), ("it rains", "bad")] * 2)]

  for name in ("task_name", "data_dir"):
    del settings[name]
  training = run_classifier.train_and_evaluate(
      Reviews(), do_eval=False, **settings)
  assert training.results is None
  assert [row["step"] for row in training.history] == [1, 2]
  record = checkpoints.read_record(training.output_dir)
  assert (record["task"], record["labels"]) == ("reviews", ["bad", "good"])


def test_train_and_evaluate_takes_the_class_of_a_processor(settings):
  del settings["task_name"]
  training = run_classifier.train_and_evaluate(
      run_classifier.MrpcProcessor, do_eval=False, num_train_epochs=1,
      **{name: value for name, value in settings.items()
         if name not in ("do_eval", "num_train_epochs")})
  assert training.history
  with pytest.raises(cli.UserError, match="expected a DataProcessor"):
    run_classifier.train_and_evaluate("MRPC", **settings)


def test_train_and_evaluate_raises_mistakes(settings):
  for changes, text in (
      ({"learning_rat": 1}, "unknown setting learning_rat; did you mean "),
      ({"vocab_file": None}, "also pass --vocab_file"),
      ({"data_dir": "/nowhere"},
       "--data_dir=/nowhere: a file of the task is ")):
    with pytest.raises(cli.UserError) as error:
      run_classifier.train_and_evaluate(**dict(settings, **changes))
    assert str(error.value).startswith(text)


def test_run_with_needs_no_data_dir_or_task_name_with_a_processor(
    settings, monkeypatch):
  class Reviews(run_classifier.DataProcessor):
    get_labels = list

  del settings["task_name"], settings["data_dir"]
  monkeypatch.setattr(runner, "run", lambda task, on_log: task)
  made = run_classifier.Settings(**settings)
  with captured_log():
    task = run_classifier.run_with(made, Reviews)
  assert (task.recorded_name, task.settings.data_dir) == ("reviews", "")
  assert made.task_name is None
  with pytest.raises(cli.UserError, match="also pass --data_dir, --task_name"):
    run_classifier.run_with(made)


def example(*values):
  return run_classifier.InputExample("one", *values)


@pytest.mark.parametrize("examples, text", [
    ([("tea", "good")], "Reviews.get_train_examples: found ('tea', 'good') "
     "(tuple), expected an InputExample"),
    ((one for one in ()), "Reviews.get_train_examples: found no example to "
     "train in --data_dir=here"),
    (None, "Reviews.get_train_examples: found no example to train in"),
    ([example(None, None, "0")], "Example one: text must be str or bytes, found"
     " NoneType: None"),
    ((one for one in [example("tea", 1.5, "0")]),
     "Example one: text must be str or bytes, found float: 1.5")])
def test_examples_of_a_wrong_kind_are_one_line(settings, examples, text):
  class Reviews(run_classifier.MrpcProcessor):
    def get_train_examples(self, data_dir):
      return examples

  with pytest.raises(cli.UserError) as error:
    run_classifier.train_and_evaluate(
        Reviews, **dict(settings, do_eval=False, data_dir="here",
                        num_train_epochs=9))
  assert str(error.value).startswith(text)


def test_a_processor_that_cannot_be_made_is_one_line(settings):
  class Reviews(run_classifier.DataProcessor):
    def __init__(self, path):
      self.path = path

  with pytest.raises(cli.UserError, match="Reviews: .*'path'; pass an object"):
    run_classifier.train_and_evaluate(Reviews, **settings)
