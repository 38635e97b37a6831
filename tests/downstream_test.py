"""Programs written against the modules the way notebooks and forks do."""

import collections
import importlib
import inspect
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import input_pipeline, tf_estimator
import create_pretraining_data
import extract_features
import helpers
import modeling
import optimization
import run_classifier
import run_classifier_with_tfhub
import run_pretraining
import run_squad
import tokenization

VOCAB = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "film", "##s",
         "was", "were", "good", "bad", "very", "un", "##ex", "##citing", "."]
SEQ_LENGTH = 10
LABELS = ["bad", "good"]
NUM_TRAIN_STEPS = 150
LEARNING_RATE = 0.004


@pytest.fixture
def session():
  with tf.Graph().as_default(), tf.Session() as sess:
    yield sess


Files = collections.namedtuple("Files", ["tokenizer", "config", "checkpoint"])


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """A vocabulary, a configuration and a "pre-trained" checkpoint."""
  folder = tmp_path_factory.mktemp("bert_tiny")
  vocab_file, checkpoint = folder / "vocab.txt", str(folder / "bert_model.ckpt")
  vocab_file.write_text("".join(token + "\n" for token in VOCAB))
  config = modeling.BertConfig(
      vocab_size=len(VOCAB), hidden_size=16, num_hidden_layers=1,
      num_attention_heads=2, intermediate_size=16, max_position_embeddings=16,
      type_vocab_size=2, initializer_range=0.2, hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0)
  (folder / "bert_config.json").write_text(config.to_json_string())
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    modeling.BertModel(config, False, tf.constant([[1, 2]]))
    tf.get_variable("cls/predictions/output_bias", [len(VOCAB)])
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, checkpoint)
  return Files(
      tokenization.FullTokenizer(vocab_file=str(vocab_file),
                                 do_lower_case=True),
      modeling.BertConfig.from_json_file(str(folder / "bert_config.json")),
      checkpoint)


def make_examples():
  """Sixteen sentences, whose one telling word comes at different places."""
  examples = []
  for label in LABELS:
    for text in ("The film was %s.", "Films were %s.", "Very %s films.",
                 "%s", "%s film.", "The films were very %s", "%s, %s film!",
                 "unexciting: %s"):
      examples.append(run_classifier.InputExample(
          guid="toy-%d" % len(examples), text_a=text.replace("%s", label),
          text_b="The film." if len(examples) % 3 == 0 else None, label=label))
  return examples


def make_features(files):
  return run_classifier.convert_examples_to_features(
      make_examples(), LABELS, SEQ_LENGTH, files.tokenizer)


def assert_values_equal(checkpoint, expected_checkpoint, count):
  """Holds all BERT variables of a checkpoint against another one."""
  actual = tf.train.load_checkpoint(checkpoint)
  expected = tf.train.load_checkpoint(expected_checkpoint)
  names = [name for name, _ in tf.train.list_variables(expected_checkpoint)
           if name.startswith("bert/")]
  assert len(names) == count
  for name in names:
    np.testing.assert_array_equal(
        actual.get_tensor(name), expected.get_tensor(name), name)


def make_own_model_fn(files):
  """A model_fn as people write it: mean of the tokens, then one logit."""
  def model_fn(features, labels, mode, params):
    is_training = mode == tf_estimator.ModeKeys.TRAIN
    model = modeling.BertModel(
        config=files.config,
        is_training=is_training,
        input_ids=features["input_ids"],
        input_mask=features["input_mask"],
        token_type_ids=features["segment_ids"],
        use_one_hot_embeddings=False)
    sequence_output = model.get_sequence_output()  # [B, S, W]
    weights = tf.cast(features["input_mask"], tf.float32)[:, :, tf.newaxis]
    mean = tf.reduce_sum(sequence_output * weights, 1) / tf.reduce_sum(
        weights, 1)  # [B, W]
    if is_training:
      mean = tf.nn.dropout(mean, keep_prob=0.9)
    kernel = tf.get_variable(
        "head/kernel", [sequence_output.shape[-1], 1],
        initializer=modeling.create_initializer())
    logits = tf.matmul(mean, kernel)[:, 0]  # [B]

    tvars = tf.trainable_variables()
    assignment_map, initialized = modeling.get_assignment_map_from_checkpoint(
        tvars, files.checkpoint)
    assert {v.name for v in tvars} - set(initialized) == {"head/kernel:0"}
    tf.train.init_from_checkpoint(files.checkpoint, assignment_map)

    if mode == tf_estimator.ModeKeys.PREDICT:
      return tf_estimator.EstimatorSpec(
          mode, predictions={"logit": logits, "tokens": sequence_output})
    targets = tf.cast(features["label_ids"], tf.float32)
    loss = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(
        labels=targets, logits=logits))
    if mode == tf_estimator.ModeKeys.EVAL:
      return tf_estimator.EstimatorSpec(mode, loss=loss, eval_metric_ops={
          "accuracy": tf.metrics.accuracy(targets, tf.cast(logits > 0.0,
                                                           tf.float32))})
    train_op = optimization.create_optimizer(
        loss, LEARNING_RATE, NUM_TRAIN_STEPS, NUM_TRAIN_STEPS // 10, False)
    return tf_estimator.EstimatorSpec(mode, loss=loss, train_op=train_op)

  return model_fn


def test_own_head_and_model_fn_in_a_plain_estimator(files, tmp_path):
  features = make_features(files)
  estimator = tf_estimator.Estimator(
      make_own_model_fn(files),
      config=tf_estimator.RunConfig(model_dir=str(tmp_path), tf_random_seed=3),
      params={"batch_size": 8})
  estimator.train(
      run_classifier.input_fn_builder(features, SEQ_LENGTH, True, True),
      max_steps=NUM_TRAIN_STEPS)
  first = str(tmp_path / "model.ckpt-0")
  assert_values_equal(first, files.checkpoint, count=23)

  input_fn = run_classifier.input_fn_builder(features, SEQ_LENGTH, False, False)
  before = estimator.evaluate(input_fn, checkpoint_path=first)
  after = estimator.evaluate(input_fn)
  assert before["global_step"] == 0
  assert after["global_step"] == NUM_TRAIN_STEPS
  assert after["loss"] < before["loss"] - 0.3
  assert after["accuracy"] > 0.9
  predictions = list(estimator.predict(input_fn))
  assert len(predictions) == len(features)
  assert {p["tokens"].shape for p in predictions} == {(SEQ_LENGTH, 16)}
  hits = [(prediction["logit"] > 0.0) == feature.label_id
          for feature, prediction in zip(features, predictions)]
  assert np.mean(hits) == after["accuracy"]
  saved = {name for name, _ in tf.train.list_variables(str(tmp_path))}
  assert {"global_step", "head/kernel", "head/kernel/adam_m",
          "bert/pooler/dense/kernel",
          "bert/embeddings/word_embeddings/adam_v"} <= saved


def make_classifier(files, output_dir):
  """The classifier as the fine-tuning notebooks set it up."""
  model_fn = run_classifier.model_fn_builder(
      files.config, len(LABELS), files.checkpoint, LEARNING_RATE,
      NUM_TRAIN_STEPS, NUM_TRAIN_STEPS // 10, False, False)
  run_config = tf_estimator.TPURunConfig(
      model_dir=output_dir, save_checkpoints_steps=1000, tf_random_seed=4,
      tpu_config=tf_estimator.TPUConfig(
          iterations_per_loop=10, num_shards=8, per_host_input_for_training=(
              tf_estimator.InputPipelineConfig.PER_HOST_V2)))
  return tf_estimator.TPUEstimator(
      use_tpu=False, model_fn=model_fn, config=run_config, train_batch_size=8,
      eval_batch_size=6, predict_batch_size=5)


def test_classifier_as_notebooks_use_it(files, tmp_path):
  features = make_features(files)
  estimator = make_classifier(files, str(tmp_path / "output"))
  estimator.train(
      input_fn=run_classifier.input_fn_builder(
          features=features, seq_length=SEQ_LENGTH, is_training=True,
          drop_remainder=True),
      max_steps=NUM_TRAIN_STEPS)
  first = str(tmp_path / "output" / "model.ckpt-0")
  assert_values_equal(first, files.checkpoint, count=23)

  # The same examples through a file, with two that only fill up the batch.
  record_file = str(tmp_path / "eval.tf_record")
  examples = make_examples() + [run_classifier.PaddingInputExample()] * 2
  run_classifier.file_based_convert_examples_to_features(
      examples, LABELS, SEQ_LENGTH, files.tokenizer, record_file)
  from_file = run_classifier.file_based_input_fn_builder(
      input_file=record_file, seq_length=SEQ_LENGTH, is_training=False,
      drop_remainder=True)
  from_memory = run_classifier.input_fn_builder(
      features, SEQ_LENGTH, False, False)
  before = estimator.evaluate(from_file, checkpoint_path=first)
  after = estimator.evaluate(from_file, steps=3)
  assert after["eval_loss"] < before["eval_loss"] - 0.3
  assert after["eval_accuracy"] > 0.9
  again = estimator.evaluate(input_fn=from_memory)
  assert again["eval_accuracy"] == after["eval_accuracy"]
  assert again["eval_loss"] == pytest.approx(after["eval_loss"], rel=1e-4)

  results = [result["probabilities"]
             for result in estimator.predict(input_fn=from_memory)]
  assert np.shape(results) == (16, 2)
  np.testing.assert_allclose(np.sum(results, axis=1), 1.0, rtol=1e-5)
  hits = np.argmax(results, axis=1) == [f.label_id for f in features]
  assert np.mean(hits) == after["eval_accuracy"]


def test_features_of_a_pair_and_of_one_text(files):
  example = run_classifier.InputExample(
      "a", "Films were unexciting.", "The FILM was bad", "good")
  features = run_classifier.convert_single_example(
      0, example, LABELS, 12, files.tokenizer)
  # Nine places are left: the longer text loses its end, the second at a tie.
  tokens = ["[CLS]", "film", "##s", "were", "un", "##ex", "[SEP]", "the",
            "film", "was", "bad", "[SEP]"]
  assert features.input_ids == [VOCAB.index(token) for token in tokens]
  assert features.input_mask == [1] * 12
  assert features.segment_ids == [0] * 7 + [1] * 5
  assert features.label_id == 1
  assert features.is_real_example is True

  example = run_classifier.InputExample(guid=None, text_a="Bad", label="bad")
  features = run_classifier.convert_single_example(
      7, example, LABELS, 5, files.tokenizer)
  assert features.input_ids == [2, VOCAB.index("bad"), 3, 0, 0]
  assert features.input_mask == [1, 1, 1, 0, 0]
  assert features.segment_ids == [0] * 5
  assert features.label_id == 0


def test_create_model_in_a_session_with_a_loop_of_ones_own(session, files):
  tf.set_random_seed(5)
  features = make_features(files)
  arrays = [np.array([getattr(f, name) for f in features], np.int32)
            for name in ("input_ids", "input_mask", "segment_ids", "label_id")]
  inputs = [tf.placeholder(tf.int32, [None] + list(array.shape[1:]))
            for array in arrays]
  loss, per_example_loss, logits, probabilities = run_classifier.create_model(
      files.config, False, inputs[0], inputs[1], inputs[2], inputs[3], 2, False)
  tvars = tf.trainable_variables()
  assignment_map, _ = modeling.get_assignment_map_from_checkpoint(
      tvars, files.checkpoint)
  tf.train.init_from_checkpoint(files.checkpoint, assignment_map)
  train_op = optimization.create_optimizer(
      loss, LEARNING_RATE, NUM_TRAIN_STEPS, 5, False)
  session.run(tf.global_variables_initializer())
  feed = dict(zip(inputs, arrays))
  first, losses, values, shares = session.run(
      [loss, per_example_loss, logits, probabilities], feed)
  assert losses.shape == (16,) and values.shape == (16, 2)
  odds = np.exp(values) / np.exp(values).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(shares, odds, rtol=1e-5)
  np.testing.assert_allclose(
      losses, -np.log(odds[np.arange(16), arrays[3]]), rtol=1e-4)
  assert first == pytest.approx(losses.mean(), rel=1e-5)
  for _ in range(NUM_TRAIN_STEPS):
    session.run(train_op, feed)
  assert session.run(loss, feed) < first - 0.3
  path = tf.train.Saver().save(session, os.path.join(
      os.path.dirname(files.checkpoint), "own.ckpt"))
  assert "output_weights/adam_v" in dict(tf.train.list_variables(path))


class ConfigOfAPath(modeling.BertConfig):
  """A constructor that takes something else."""

  def __init__(self, path, num_labels):
    values = json.load(open(path))
    super().__init__(**values)
    self.num_labels = num_labels


class ConfigWithMore(modeling.BertConfig):
  """A constructor with an argument more, which does not call the first."""

  def __init__(self, vocab_size, num_labels=3):
    self.vocab_size = vocab_size
    self.num_labels = num_labels


class ConfigOfTheReference(modeling.BertConfig):
  """Makes its objects as the reference does."""

  @classmethod
  def from_dict(cls, json_object):
    config = cls(vocab_size=None)
    for key, value in json_object.items():
      config.__dict__[key] = value
    return config


@pytest.mark.parametrize("kind", [
    ConfigOfAPath, ConfigWithMore, ConfigOfTheReference])
def test_subclasses_of_the_config_are_made_of_files(files, tmp_path, kind):
  path = tmp_path / "bert_config.json"
  values = dict(files.config.to_dict(), embedding_dim=5)
  path.write_text(json.dumps(values))
  for config in (kind.from_json_file(str(path)), kind.from_dict(values)):
    assert type(config) is kind
    assert config.embedding_dim == 5
    assert config.hidden_size == files.config.hidden_size
    assert getattr(config, "num_labels", None) == (
        3 if kind is ConfigWithMore else None)
  with tf.Graph().as_default():
    modeling.BertModel(config, False, tf.constant([[1, 2]]))


def test_modules_are_found_in_the_scripts_that_import_them():
  for script, names in (
      (run_classifier, ["modeling", "optimization", "tokenization"]),
      (run_classifier_with_tfhub, ["optimization", "run_classifier",
                                   "tokenization"]),
      (run_pretraining, ["modeling", "optimization"]),
      (run_squad, ["modeling", "optimization", "tokenization"]),
      (extract_features, ["modeling", "tokenization"]),
      (create_pretraining_data, ["tokenization"])):
    for name in names:
      assert getattr(script, name) is importlib.import_module(name)


@pytest.mark.parametrize("script", [run_classifier, extract_features])
def test_truncate_seq_pair(script):
  tokens_a, tokens_b = list("abcd"), list("xy")
  script._truncate_seq_pair(tokens_a, tokens_b, 4)
  assert (tokens_a, tokens_b) == (list("ab"), list("xy"))


def test_private_functions_of_run_squad(files):
  logits = [0.5, 3.0, -1.0, 3.0, 2.0]
  assert run_squad._get_best_indexes(logits, n_best_size=3) == [1, 3, 4]
  assert run_squad._get_best_indexes(logits, 9) == [1, 3, 4, 0, 2]
  np.testing.assert_allclose(
      run_squad._compute_softmax([1000.0, 1000.0 + np.log(3)]), [0.25, 0.75])
  assert run_squad._compute_softmax([]) == []

  span = collections.namedtuple("DocSpan", ["start", "length"])
  spans = [span(0, 5), span(2, 5), span(4, 5), span(6, 2)]
  best = [[run_squad._check_is_max_context(spans, index, position)
           for index in range(len(spans))] for position in range(10)]
  assert [row.index(True) if True in row else None for row in best] == [
      0, 0, 0, 0, 1, 1, 2, 2, 2, None]
  assert max(sum(row) for row in best) == 1
  pieces = files.tokenizer.tokenize("unexciting films")
  assert run_squad._improve_answer_span(
      pieces, 0, 4, files.tokenizer, "films") == (3, 4)
  assert run_squad._improve_answer_span(
      pieces, 0, 2, files.tokenizer, "good") == (0, 2)


def test_feature_writer_knows_its_file(tmp_path):
  path = str(tmp_path / "train.tf_record")
  with run_squad.FeatureWriter(filename=path, is_training=True) as writer:
    assert (writer.filename, writer.is_training) == (path, True)


def test_decode_record(session):
  example = tf.train.Example(features=tf.train.Features(feature={
      "ids": input_pipeline.create_int_feature([4, 5]),
      "weights": input_pipeline.create_float_feature([0.5])}))
  dataset = tf.data.Dataset.from_tensors(example.SerializeToString()).map(
      lambda record: run_pretraining._decode_record(record, {
          "ids": tf.FixedLenFeature([2], tf.int64),
          "weights": tf.FixedLenFeature([1], tf.float32)}))
  decoded = tf.data.make_one_shot_iterator(dataset).get_next()
  assert decoded["ids"].dtype == tf.int32
  values = session.run(decoded)
  assert values["ids"].tolist() == [4, 5]
  assert values["weights"].tolist() == [0.5]


def test_an_optimizer_that_names_variables_in_its_own_way(session):
  class Optimizer(optimization.AdamWeightDecayOptimizer):

    def _get_variable_name(self, param_name):
      name = super()._get_variable_name(param_name)
      return {"first/w": "first/bias"}.get(name, name)

  variables = [tf.get_variable(name, initializer=[2.0])
               for name in ("first/w", "second/w")]
  update = Optimizer(
      0.5, weight_decay_rate=0.1, exclude_from_weight_decay=["bias"]
  ).apply_gradients([(tf.constant([0.0]), v) for v in variables])
  session.run(tf.global_variables_initializer())
  session.run(update)
  np.testing.assert_allclose(session.run(variables), [[2.0], [1.9]])


def test_dense_layers_of_the_pypi_release(session):
  inputs = tf.random_normal([2, 3, 8], seed=1)
  initializer = tf.random_normal_initializer(seed=2)
  heads = modeling.dense_layer_3d(inputs, 2, 4, initializer, None, "query")
  merged = modeling.dense_layer_3d_proj(
      heads, 5, 2, 4, initializer, tf.tanh, name="dense")
  flat = modeling.dense_layer_2d(merged, 6, initializer, tf.nn.relu, "flat")
  names = {v.op.name: v for v in tf.trainable_variables()}
  session.run(tf.global_variables_initializer())
  x, heads, merged, flat, values = session.run(
      [inputs, heads, merged, flat, names])
  assert {name: value.shape for name, value in values.items()} == {
      "query/kernel": (8, 8), "query/bias": (8,), "dense/kernel": (8, 5),
      "dense/bias": (5,), "flat/kernel": (5, 6), "flat/bias": (6,)}
  np.testing.assert_allclose(heads, np.einsum(
      "bfh,hnd->bfnd", x, values["query/kernel"].reshape(8, 2, 4)), rtol=1e-4)
  np.testing.assert_allclose(merged, np.tanh(np.einsum(
      "bfnd,ndh->bfh", heads, values["dense/kernel"].reshape(2, 4, 5))),
                             rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(
      flat, np.maximum(np.dot(merged, values["flat/kernel"]), 0.0),
      rtol=1e-4, atol=1e-6)


def read_program(first_line):
  """Returns the program of docs/from-python.md that begins with a line."""
  path = os.path.join(helpers.TOP, "docs", "from-python.md")
  with open(path, encoding="utf-8") as page:
    return re.search(r"```python\n(%s\n.*?)```\n" % first_line,
                     page.read(), re.DOTALL).group(1)


def test_a_flag_of_a_programs_own_as_readme_says(tmp_path):
  path = tmp_path / "program.py"
  path.write_text(read_program("import dataclasses").replace(
      "\n\ndef main", """

class ReviewProcessor(run_classifier.DataProcessor):
  def __init__(self, stars):
    print("Stars:", stars)

def main"""))
  done = subprocess.run(
      [sys.executable, str(path), "--stars=4"], capture_output=True,
      env=dict(os.environ, PYTHONPATH=helpers.TOP))
  assert (done.returncode, done.stdout) == (1, b"Stars: 4\n")
  assert done.stderr.decode().endswith(
      "program.py: also pass --vocab_file, --bert_config_file, --output_dir\n")


def test_flags_of_a_script_as_readme_says(tmp_path):
  program = read_program("import run_squad")
  parse, last_line = 'FLAGS(["notebook"])\n', "app.run(main)\n"
  assert program.count(last_line) == 1
  path = tmp_path / "program.py"
  path.write_text(program.replace(
      last_line, parse + "main(None)\n" + last_line))
  output = subprocess.check_output(
      [sys.executable, str(path), "--doc_stride=64"],
      env=dict(os.environ, PYTHONPATH=helpers.TOP))
  assert output.decode().split("\n")[-3:] == ["256 128", "256 64", ""]


@pytest.mark.parametrize("function, expected", [
    (modeling.BertModel.__init__,
     "self config is_training input_ids input_mask token_type_ids "
     "use_one_hot_embeddings scope"),
    (optimization.create_optimizer,
     "loss init_lr num_train_steps num_warmup_steps use_tpu"),
    (run_classifier.create_model,
     "bert_config is_training input_ids input_mask segment_ids labels "
     "num_labels use_one_hot_embeddings"),
    (run_classifier.model_fn_builder,
     "bert_config num_labels init_checkpoint learning_rate num_train_steps "
     "num_warmup_steps use_tpu use_one_hot_embeddings"),
    (run_squad.create_model,
     "bert_config is_training input_ids input_mask segment_ids "
     "use_one_hot_embeddings"),
    (run_squad.model_fn_builder,
     "bert_config init_checkpoint learning_rate num_train_steps "
     "num_warmup_steps use_tpu use_one_hot_embeddings"),
    (run_pretraining.model_fn_builder,
     "bert_config init_checkpoint learning_rate num_train_steps "
     "num_warmup_steps use_tpu use_one_hot_embeddings"),
    (extract_features.model_fn_builder,
     "bert_config init_checkpoint layer_indexes use_tpu "
     "use_one_hot_embeddings"),
    (run_classifier_with_tfhub.model_fn_builder,
     "num_labels learning_rate num_train_steps num_warmup_steps use_tpu "
     "bert_hub_module_handle")])
def test_arguments_are_those_that_programs_pass(function, expected):
  """In this order, and whatever comes after them may be left out."""
  expected = expected.split()
  parameters = inspect.signature(function).parameters
  assert list(parameters)[:len(expected)] == expected
  for parameter in list(parameters.values())[len(expected):]:
    assert (parameter.kind is parameter.VAR_KEYWORD or
            parameter.default is not parameter.empty)
