"""Tests of leaving padding out: when it happens, and what shapes it keeps."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import modeling
import padding
import run_classifier
import tf_estimator


def make_config():
  return modeling.BertConfig(
      vocab_size=30, hidden_size=12, num_hidden_layers=1,
      num_attention_heads=2, intermediate_size=16, max_position_embeddings=16)


def leaves_padding_out():
  """Whether the default graph scatters packed tokens."""
  return any(op.type == "ScatterNd"
             for op in tf.get_default_graph().get_operations())


def test_layouts():
  with tf.Graph().as_default(), tf.Session() as session:
    mask = tf.constant([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
    packing = padding.Packing(mask, 3, 4)
    ids = packing.pack(tf.constant([[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]]))
    packed = tf.cast(tf.expand_dims(ids, 1), tf.float32)
    attention = packing.to_attention(packed)
    got = session.run({
        "ids": ids, "positions": packing.position_ids,
        "unpacked": packing.unpack(packed)[:, :, 0],
        "attention": attention[:, :, 0],
        "back": packing.from_attention(attention)[:, 0],
        "mask": packing.attention_mask[:, 0]})
  assert got["ids"].tolist() == [1, 3, 4, 8]
  assert got["positions"].tolist() == [0, 2, 3, 1]
  assert got["unpacked"].tolist() == [[1, 0, 3, 4], [0] * 4, [0, 8, 0, 0]]
  assert got["attention"].tolist() == [[1, 3, 4], [0] * 3, [8, 0, 0]]
  assert got["mask"].tolist() == [[1, 1, 1], [0] * 3, [1, 0, 0]]
  assert got["back"].tolist() == [1, 3, 4, 8]


def test_layouts_with_few_shapes():
  with tf.Graph().as_default(), tf.Session() as session:
    mask = tf.constant([[0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1]])
    packing = padding.Packing(mask, 3, 5, few_shapes=True)
    ids = packing.pack(tf.constant([[9, 8, 7, 6, 5], [1, 2, 3, 4, 5],
                                    [5, 6, 7, 8, 9]]))
    packed = tf.cast(tf.expand_dims(ids, 1), tf.float32)
    attention = packing.to_attention(packed)
    got = session.run({
        "ids": ids, "positions": packing.position_ids,
        "unpacked": packing.unpack(packed)[:, :, 0],
        "attention": attention[:, :, 0],
        "back": packing.from_attention(attention + 1)[:, 0],
        "mask": packing.attention_mask[:, 0]})
  assert got["ids"].tolist() == [1, 3, 4, 6, 9] + [9] * 27
  assert got["positions"].tolist() == [0, 2, 3, 1, 4] + [0] * 27
  assert got["unpacked"].tolist() == [
      [0] * 5, [1, 0, 3, 4, 0], [0, 6, 0, 0, 9]]
  assert got["attention"].tolist() == [[0] * 4, [1, 3, 4, 0], [6, 9, 0, 0]]
  assert got["mask"].tolist() == [[0] * 4, [1, 1, 1, 0], [1, 1, 0, 0]]
  assert got["back"].tolist() == [2, 4, 5, 7, 10] + [1] * 27


def test_sizes_are_rounded_up_to_few():
  with tf.Graph().as_default(), tf.Session() as session:
    size = tf.placeholder(tf.int32, [])
    rounded = padding.round_up(size, 32, 16)
    found = {n: int(session.run(rounded, {size: n}))
             for n in [0, 1, 32, 33, 1023, 1024, 1025, 2048, 2049, 4096]}
    some = [int(session.run(rounded, {size: n})) for n in range(1, 4097, 7)]
  assert found == {0: 0, 1: 32, 32: 32, 33: 64, 1023: 1024, 1024: 1024,
                   1025: 1088, 2048: 2048, 2049: 2176, 4096: 4096}
  assert all(0 <= big - n <= max(31, n // 16)
             for n, big in zip(range(1, 4097, 7), some))
  assert len(set(some)) <= 64


@pytest.mark.parametrize("real", [[5, 1, 8], [0, 3, 2], [0, 0, 0]])
def test_few_shapes_change_no_output(real):
  mask = (np.arange(8) < np.array(real)[:, np.newaxis]).astype(np.int32)
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    ids = tf.constant(np.arange(24).reshape([3, 8]), tf.int32)
    outputs = []
    for few_shapes in [False, True]:
      with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        model = modeling.BertModel(
            make_config(), False, ids, tf.constant(mask), scope="bert",
            remove_padding=True, few_shapes=few_shapes)
      loss = tf.reduce_sum(model.get_pooled_output() ** 2)
      outputs.append([model.get_sequence_output(), model.get_pooled_output(),
                      [tf.convert_to_tensor(gradient) for gradient in
                       tf.gradients(loss, tf.trainable_variables())]])
    session.run(tf.global_variables_initializer())
    plain, few = session.run(outputs)
  np.testing.assert_allclose(few[0], plain[0], atol=1e-5)
  np.testing.assert_allclose(few[1], plain[1], atol=1e-5)
  for one, other in zip(few[2], plain[2]):
    np.testing.assert_allclose(one, other, atol=1e-5)


@pytest.mark.parametrize("few_shapes", [True, False])
@pytest.mark.parametrize("batch_size", [3, None])
def test_static_shapes_are_kept(batch_size, few_shapes):
  with tf.Graph().as_default():
    ids = tf.placeholder(tf.int32, [batch_size, 8])
    model = modeling.BertModel(make_config(), True, ids, tf.ones_like(ids),
                               remove_padding=True, few_shapes=few_shapes)
    assert model.get_sequence_output().shape.as_list() == [batch_size, 8, 12]
    assert model.get_embedding_output().shape.as_list() == [batch_size, 8, 12]
    assert model.get_pooled_output().shape.as_list() == [batch_size, 12]


def test_bert_model_computes_padding_unless_told_otherwise():
  with tf.Graph().as_default():
    ids = tf.placeholder(tf.int32, [2, 8])
    modeling.BertModel(make_config(), False, ids, tf.ones_like(ids))
    assert not leaves_padding_out()


@pytest.mark.parametrize("remove_padding", [True, False])
@pytest.mark.parametrize("use_tpu", [True, False])
def test_model_fn_follows_the_flags(remove_padding, use_tpu):
  model_fn = run_classifier.model_fn_builder(
      make_config(), 2, None, 1e-4, 10, 1, use_tpu=use_tpu,
      use_one_hot_embeddings=use_tpu, remove_padding=remove_padding)
  with tf.Graph().as_default():
    ids = tf.placeholder(tf.int32, [2, 8])
    features = {"input_ids": ids, "input_mask": ids, "segment_ids": ids,
                "label_ids": tf.placeholder(tf.int32, [2])}
    model_fn(features, None, tf_estimator.ModeKeys.PREDICT, {})
    assert leaves_padding_out() == (remove_padding and not use_tpu)
