"""Programs written against the modules the way notebooks and forks do."""

import collections
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
import optimization
import run_classifier
import tf_estimator
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
