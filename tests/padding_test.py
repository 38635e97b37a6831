"""Tests of leaving padding out: when it happens, and what shapes it keeps."""

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


@pytest.mark.parametrize("batch_size", [3, None])
def test_static_shapes_are_kept(batch_size):
  with tf.Graph().as_default():
    ids = tf.placeholder(tf.int32, [batch_size, 8])
    model = modeling.BertModel(make_config(), True, ids, tf.ones_like(ids),
                               remove_padding=True)
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
