"""Tests of the two pre-training heads, in float64 NumPy and by name."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
import numpy_bert
import run_pretraining

# B sequences of S tokens, W wide; P predictions each of V words.
B, S, W, P, V = 3, 5, 8, 2, 11
CONFIG = modeling.BertConfig(
    vocab_size=V, hidden_size=W, num_attention_heads=2, hidden_act="gelu",
    initializer_range=0.02)
TABLE = "bert/embeddings/word_embeddings"
SHAPES = {
    "cls/predictions/transform/dense/kernel": [W, W],
    "cls/predictions/transform/dense/bias": [W],
    "cls/predictions/transform/LayerNorm/beta": [W],
    "cls/predictions/transform/LayerNorm/gamma": [W],
    "cls/predictions/output_bias": [V],
    "cls/seq_relationship/output_weights": [2, W],
    "cls/seq_relationship/output_bias": [2],
}
RNG = np.random.RandomState(5)
SEQUENCE = RNG.normal(size=[B, S, W]).astype(np.float32)
POOLED = RNG.normal(size=[B, W]).astype(np.float32)
POSITIONS = np.array([[0, 4], [2, 1], [3, 0]], np.int32)
LABELS = np.array([[3, 10], [0, 7], [1, 0]], np.int32)
WEIGHTS = np.array([[1, 1], [1, 1], [1, 0]], np.float32)


@pytest.fixture
def session():
  with tf.Graph().as_default(), tf.Session() as sess:
    yield sess


def build_heads(labels=LABELS, weights=WEIGHTS, is_random_next=(0, 1, 1)):
  """Builds both heads on constants; returns what each returns."""
  with tf.variable_scope("bert/embeddings"):
    table = tf.get_variable("word_embeddings", [V, W])
  return (
      run_pretraining.get_masked_lm_output(
          CONFIG, tf.constant(SEQUENCE), table, tf.constant(POSITIONS),
          tf.constant(labels), tf.constant(weights)),
      run_pretraining.get_next_sentence_output(
          CONFIG, tf.constant(POOLED), tf.constant(is_random_next)))


def randomize(session):
  """Gives all variables random values; returns them by name."""
  rng = np.random.RandomState(6)
  values = {v.op.name: rng.normal(size=v.shape.as_list()).astype(np.float32)
            for v in sorted(tf.global_variables(), key=lambda v: v.name)}
  session.run([tf.assign(v, values[v.op.name]).op
               for v in tf.global_variables()])
  return values


def assert_near(actual, expected):
  assert np.shape(actual) == np.shape(expected)
  np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def test_variables_have_the_names_and_shapes_of_published_checkpoints(session):
  build_heads()
  shapes = {v.name: v.shape.as_list() for v in tf.trainable_variables()}
  assert shapes.pop(TABLE + ":0") == [V, W]
  assert shapes == {name + ":0": shape for name, shape in SHAPES.items()}


def test_initial_values(session):
  build_heads()
  session.run(tf.global_variables_initializer())
  values = {v.op.name: v.eval(session) for v in tf.global_variables()}
  for name in SHAPES:
    if name.endswith(("kernel", "output_weights")):
      assert 0 < np.abs(values[name]).max() <= 2 * CONFIG.initializer_range
    else:
      assert np.all(values[name] == float(name.endswith("gamma")))


def test_masked_lm_is_that_of_numpy(session):
  masked_lm, _ = build_heads()
  values = randomize(session)
  actual = session.run(masked_lm)
  expected = numpy_bert.masked_lm(
      values, np.float64(SEQUENCE), POSITIONS, LABELS, WEIGHTS)
  assert expected[2].dtype == np.float64
  for ours, theirs in zip(actual, expected):
    assert_near(ours, theirs)
  loss, per_example_loss, log_probs = actual
  assert per_example_loss.shape == (B * P,)
  assert_near(np.exp(log_probs).sum(axis=-1), np.ones([B * P]))
  assert_near(loss, per_example_loss[:5].mean())  # the sixth weighs nothing


def test_predictions_of_weight_0_change_neither_loss_nor_gradient(session):
  changed = np.array(LABELS)
  changed[WEIGHTS == 0] = 9
  losses = []
  for labels in (LABELS, changed):
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
      losses.append(build_heads(labels)[0])
  variables = tf.trainable_variables("cls/predictions")
  assert len(variables) == 5
  randomize(session)
  first, second = session.run(losses)
  assert first[0] == second[0]
  assert first[1][-1] != second[1][-1]
  for ours, theirs in session.run(list(zip(
      *[tf.gradients(loss[0], variables) for loss in losses]))):
    np.testing.assert_array_equal(ours, theirs)


def test_without_any_prediction_the_loss_is_0(session):
  (loss, _, _), _ = build_heads(weights=np.zeros([B, P], np.float32))
  gradient, = tf.gradients(loss, tf.trainable_variables(TABLE))
  randomize(session)
  assert session.run(loss) == 0.0
  np.testing.assert_array_equal(session.run(gradient), np.zeros([V, W]))


def test_weights_may_be_integers_and_shapes_unknown(session):
  with tf.variable_scope("bert/embeddings"):
    table = tf.get_variable("word_embeddings", [V, W])
  inputs = [tf.placeholder(tf.float32, [None, None, W])] + [
      tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
  outputs = run_pretraining.get_masked_lm_output(
      CONFIG, inputs[0], table, *inputs[1:])
  values = randomize(session)
  actual = session.run(outputs, dict(zip(
      inputs, [SEQUENCE, POSITIONS, LABELS, WEIGHTS.astype(np.int32)])))
  expected = numpy_bert.masked_lm(
      values, np.float64(SEQUENCE), POSITIONS, LABELS, WEIGHTS)
  for ours, theirs in zip(actual, expected):
    assert_near(ours, theirs)


@pytest.mark.parametrize("labels", [[0, 1, 1], [[1], [0], [1]]])
def test_next_sentence_is_that_of_numpy(session, labels):
  _, next_sentence = build_heads(is_random_next=labels)
  values = randomize(session)
  expected = numpy_bert.next_sentence(values, np.float64(POOLED), labels)
  actual = session.run(next_sentence)
  for ours, theirs in zip(actual, expected):
    assert_near(ours, theirs)
  assert actual[1].shape == (B,)
  assert actual[2].shape == (B, 2)


def test_gradients_of_both_heads_reach_every_variable(session):
  masked_lm, next_sentence = build_heads()
  gradients = tf.gradients(masked_lm[0] + next_sentence[0],
                           tf.trainable_variables())
  assert None not in gradients
  randomize(session)
  for gradient in session.run(gradients):
    assert np.any(gradient != 0)


@pytest.mark.parametrize("shape", [[B, S, W], [None, None, None]])
def test_gather_indexes(session, shape):
  sequence = tf.placeholder(tf.float32, shape)
  positions = tf.placeholder(tf.int32, [shape[0], None])
  gathered = run_pretraining.gather_indexes(sequence, positions)
  actual = session.run(gathered, {sequence: SEQUENCE, positions: POSITIONS})
  expected = np.concatenate([SEQUENCE[i, POSITIONS[i]] for i in range(B)])
  assert actual.shape == (B * P, W)
  np.testing.assert_array_equal(actual, expected)
