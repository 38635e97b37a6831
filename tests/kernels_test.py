"""Tests of the gradients by hand, against those that TensorFlow derives."""

import gc
import weakref

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import kernels


def values_of(build, arrays, by_tensorflow):
  """Returns the output of a function and its gradients, randomly weighted."""
  with tf.Graph().as_default() as graph, tf.Session() as session:
    tf.set_random_seed(3)
    tensors = [tf.constant(array) for array in arrays]
    if by_tensorflow:
      output = build(*tensors)
    else:
      with kernels.gradients_by_hand():
        output = build(*tensors)
    has_own = any("_gradient_op_type" in op.node_def.attr
                  for op in graph.get_operations())
    assert has_own != by_tensorflow
    weights = np.random.RandomState(4).normal(
        size=output.shape.as_list()).astype(np.float32)
    gradients = tf.gradients(tf.reduce_sum(output * weights), tensors)
    return session.run([output] + gradients)


def normal(*shape):
  return np.random.RandomState(len(shape)).normal(
      0.0, 2.0, shape).astype(np.float32)


@pytest.mark.parametrize("build, arrays", [
    (kernels.gelu, [np.linspace(-12.0, 12.0, 999, dtype=np.float32)]),
    (kernels.gelu_erf, [np.linspace(-12.0, 12.0, 999, dtype=np.float32)]),
    (lambda x, gamma, beta: kernels.normalize(x, gamma, beta, 0.5),
     [normal(7, 16), normal(16), normal(16) + 1.0]),
    (kernels.normalize, [normal(7, 16), normal(16), normal(16) + 1.0]),
    (kernels.normalize, [normal(2, 3, 16), normal(16), normal(16) + 1.0]),
    (lambda q, k, v: kernels.attend(q, k, v, tf.constant(
        [[[[0.0, 0.0, -10000.0]]]]), 0.0),
     [normal(2, 2, 4, 5), normal(2, 2, 3, 5), normal(2, 2, 3, 5)]),
], ids=["gelu", "gelu_erf", "another_epsilon", "normalize", "normalize_3d",
        "attend"])
def test_gradients_are_those_of_tensorflow(build, arrays):
  by_hand = values_of(build, arrays, by_tensorflow=False)
  derived = values_of(build, arrays, by_tensorflow=True)
  for one, other in zip(by_hand, derived):
    assert one.shape == other.shape
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_a_graph_with_gradients_by_hand_is_freed():
  with tf.Graph().as_default() as graph:
    x = tf.constant([1.0, 2.0])
    with kernels.gradients_by_hand():
      y = kernels.normalize(kernels.gelu(x), x, x)
    tf.gradients(y, x)
  freed = weakref.ref(graph)
  del graph, x, y
  gc.collect()
  assert freed() is None


def test_attention_drops_probabilities_and_their_gradients():
  """The gradient is that of the very mask the output was computed with."""
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    value = tf.constant(np.eye(6, dtype=np.float32)[np.newaxis, np.newaxis])
    query = tf.constant(normal(1, 1, 6, 6))
    key = tf.constant(normal(1, 1, 6, 6))
    with kernels.gradients_by_hand():
      context = kernels.attend(query, key, value, tf.zeros([1, 1, 1, 6]), 0.5)
    to_value, = tf.gradients(context[0, 0, :, 0], value)
    weights, gradient = session.run([context, to_value])
  # With the identity as values the context holds the dropped probabilities.
  weights = weights[0, 0]
  assert 5 < np.count_nonzero(weights) < 31
  np.testing.assert_allclose(gradient[0, 0, :, 0], weights.sum(axis=0),
                             rtol=1e-5)


def test_attention_with_dropout_has_the_gradients_of_tensorflow(monkeypatch):
  mask = (np.random.RandomState(2).rand(2, 2, 4, 3) < 0.5) * np.float32(2)
  monkeypatch.setattr(kernels, "dropout_mask", lambda shape, rate, key: mask)
  arrays = [normal(2, 2, 4, 5), normal(2, 2, 3, 5), normal(2, 2, 3, 5)]

  def build(*tensors):
    return kernels.attend(*tensors, bias=tf.zeros([2, 1, 1, 3]),
                          dropout_rate=0.5)

  by_hand = values_of(build, arrays, by_tensorflow=False)
  derived = values_of(build, arrays, by_tensorflow=True)
  for one, other in zip(by_hand, derived):
    np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-5)


def test_nearly_every_value_can_be_dropped():
  with tf.Graph().as_default(), tf.Session() as session:
    mask = session.run(kernels.dropout_mask([1000], 0.999999))
  assert np.isfinite(mask).all()


def test_mask_has_the_rate_and_the_mean():
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    one, other = session.run([
        kernels.dropout_mask([1001, 999], 0.1) for _ in range(2)])
  assert one.shape == (1001, 999)
  assert len(np.unique(one)) == 2 and one.min() == 0.0
  np.testing.assert_allclose(one.max(), 1.0 / 0.9, rtol=1e-4)
  # A million draws: the deviation of the share is 0.0003.
  for mask in (one, other):
    np.testing.assert_allclose(np.mean(mask == 0.0), 0.1, atol=0.0015)
  np.testing.assert_allclose(
      np.mean((one == 0.0) & (other == 0.0)), 0.01, atol=0.0005)
  np.testing.assert_allclose(
      np.mean((one[1:] == 0.0) & (one[:-1] == 0.0)), 0.01, atol=0.0005)


def test_gelu_is_exact_far_out():
  with tf.Graph().as_default(), tf.Session() as session:
    x = tf.constant([-1e4, -50.0, 0.0, 50.0, 1e4])
    with kernels.gradients_by_hand():
      y = kernels.gelu(x)
    got, slope = session.run([y, tf.gradients(y, x)[0]])
  assert got.tolist() == [0.0, 0.0, 0.0, 50.0, 1e4]
  assert slope.tolist() == [0.0, 0.0, 0.5, 1.0, 1.0]
