"""Tests of leaving padding out: when it happens, and what shapes it keeps."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import kernels, padding, run_settings, tf_estimator
import modeling
import run_classifier


def make_config():
  return modeling.BertConfig(
      vocab_size=30, hidden_size=12, num_hidden_layers=1,
      num_attention_heads=2, intermediate_size=16, max_position_embeddings=16)


def leaves_padding_out():
  """Whether the default graph looks for the real tokens."""
  return any(op.type == "Where"
             for op in tf.get_default_graph().get_operations())


def test_layouts():
  with tf.Graph().as_default(), tf.Session() as session:
    mask = tf.constant([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
    packing = padding.Packing(mask, 3, 4)
    ids = packing.pack(tf.constant([[1, 2, 3, 4], [5, 6, 7, 8], [9, 8, 7, 6]]))
    packed = tf.cast(ids[:, tf.newaxis], tf.float32)  # [R, 1]
    got = session.run({
        "ids": ids, "positions": packing.position_ids,
        "unpacked": packing.unpack(packed)[:, :, 0],
        "taken": packing.take(packed, tf.constant([[0, 3], [0, 0], [1, 1]])),
        "bias": packing.groups[0].attention_bias[:, 0, 0]})
  assert got["ids"].tolist() == [1, 3, 4, 8]
  assert got["positions"].tolist() == [0, 2, 3, 1]
  assert got["unpacked"].tolist() == [[1, 0, 3, 4], [0] * 4, [0, 8, 0, 0]]
  taken = got["taken"][:, 0].tolist()
  assert taken[:2] == [1, 4] and taken[4:] == [8, 8]
  assert (got["bias"] == 0).tolist() == [
      [True] * 3, [False] * 3, [True, False, False]]


@pytest.mark.parametrize("num_groups", [1, 2, 3])
def test_heads_go_there_and_back(num_groups):
  num_heads, size = 3, 4
  mask = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]])
  with tf.Graph().as_default(), tf.Session() as session, \
      kernels.gradients_by_hand():
    packing = padding.Packing(
        tf.constant(mask), 3, 4, num_groups=num_groups)
    packed = np.random.RandomState(1).normal(
        size=[mask.sum(), num_heads * size]).astype(np.float32)
    tensor = tf.constant(packed)
    heads = packing.split_heads(tensor, num_heads)
    merged = packing.merge_heads(heads)
    weights = tf.random_normal(tf.shape(merged), seed=1)
    gradient, = tf.gradients(tf.reduce_sum(merged * weights), tensor)
    sequences = packing.split_sequences(tf.constant([5, 6, 7]))
    got_groups = session.run(
        [(group.sequences, heads[i]) for i, group in enumerate(packing.groups)])
    got_merged, got_weights, got_gradient, got_split, got_sequences = (
        session.run([merged, weights, gradient, sequences,
                     packing.merge_sequences(sequences)]))
  rows = packed.reshape([-1, num_heads, size])
  tokens = {0: rows[:3], 1: rows[:0], 2: rows[3:]}
  # Sorted by length only where there is more than one group.
  expected = {1: [[0, 1, 2]], 2: [[1], [2, 0]], 3: [[1], [2], [0]]}[num_groups]
  assert [list(found) for found, _ in got_groups] == expected
  for found, got_heads in got_groups:
    longest = max(1, max(len(tokens[sequence]) for sequence in found))
    assert got_heads.shape == (len(found), num_heads, longest, size)
    for sequence, got in zip(found, got_heads):
      np.testing.assert_array_equal(
          got[:, :len(tokens[sequence])],
          tokens[sequence].transpose([1, 0, 2]))
  np.testing.assert_array_equal(got_merged, packed)
  np.testing.assert_array_equal(got_gradient, got_weights)
  assert [list(split) for split in got_split] == [
      [5 + sequence for sequence in found] for found in expected]
  assert list(got_sequences) == [5, 6, 7]


def test_rows_past_the_end_have_no_gradient():
  """What the rows hold for which there is no token must not reach a token."""
  with tf.Graph().as_default(), tf.Session() as session, \
      kernels.gradients_by_hand():
    packing = padding.Packing(tf.constant([[1, 1], [1, 0]]), 2, 2)
    context = tf.constant(np.ones([2, 1, 2, 4], np.float32))
    gradient, = tf.gradients(packing.merge_heads([context]), context)
    got = session.run(gradient)[:, 0, :, 0]
  assert got.tolist() == [[1, 1], [1, 0]]


def test_a_batch_of_padding_alone_has_a_row():
  with tf.Graph().as_default(), tf.Session() as session:
    packing = padding.Packing(tf.zeros([2, 3], tf.int32), 2, 3)
    packed = tf.ones_like(packing.pack(tf.ones([2, 3, 5])))
    heads = packing.split_heads(tf.ones([1, 2]), 1)[0]
    rows, unpacked, shape = session.run(
        [packed, packing.unpack(packed), tf.shape(heads)])
  assert rows.shape == (1, 5)
  assert unpacked.shape == (2, 3, 5) and not unpacked.any()
  assert shape.tolist() == [2, 1, 1, 2]


def test_layouts_with_few_shapes():
  with tf.Graph().as_default(), tf.Session() as session:
    mask = tf.constant([[0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [0, 1, 0, 0, 1]])
    packing = padding.Packing(mask, 3, 5, few_shapes=True)
    ids = packing.pack(tf.constant([[9, 8, 7, 6, 5], [1, 2, 3, 4, 5],
                                    [5, 6, 7, 8, 9]]))
    packed = tf.cast(ids[:, tf.newaxis], tf.float32)
    heads = packing.split_heads(packed, 1)  # [B, 1, T, 1]
    got = session.run({
        "ids": ids, "positions": packing.position_ids,
        "unpacked": packing.unpack(packed)[:, :, 0],
        "heads": heads[0][:, 0, :, 0],
        "back": packing.merge_heads([heads[0] + 1])[:, 0],
        "bias": packing.groups[0].attention_bias[:, 0, 0]})
  assert got["ids"].tolist() == [1, 3, 4, 6, 9] + [9] * 3
  assert got["positions"].tolist() == [0, 2, 3, 1, 4] + [0] * 3
  assert got["unpacked"].tolist() == [
      [0] * 5, [1, 0, 3, 4, 0], [0, 6, 0, 0, 9]]
  assert got["heads"][1, :3].tolist() == [1, 3, 4]
  assert got["heads"][2, :2].tolist() == [6, 9]
  assert (got["bias"] == 0).tolist() == [
      [False] * 4, [True, True, True, False], [True, True, False, False]]
  assert got["back"][:5].tolist() == [2, 4, 5, 7, 10]
  assert got["back"].shape == (8,)


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


def test_sizes_of_programs_are_the_same_where_the_batch_is_not_known():
  with tf.Graph().as_default(), tf.Session() as session:
    largest, size = tf.placeholder(tf.int32, []), tf.placeholder(tf.int32, [])
    sizes = padding.make_sizes(largest, 8)
    chosen = padding.choose_size(size, sizes)
    for number in (1, 5, 8, 100, 32 * 128 + 4, 64 * 512):
      known = padding.make_sizes(number, 8)
      assert len(known) <= 12 and known[-1] == number
      found = session.run(sizes, {largest: number})
      assert sorted(set(found)) == known and list(found) == sorted(found)
      for real in {1, number // 3 + 1, number}:
        assert session.run(chosen, {largest: number, size: real}) == min(
            size for size in known if size >= real)


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
            options=modeling.Options(
                remove_padding=True, few_shapes=few_shapes))
      outputs.append([model.get_sequence_output(), model.get_pooled_output()])
    session.run(tf.global_variables_initializer())
    plain, few = session.run(outputs)
  np.testing.assert_allclose(few[0], plain[0], atol=1e-5)
  np.testing.assert_allclose(few[1], plain[1], atol=1e-5)


@pytest.mark.parametrize("read", ["sequence", "positions"])
@pytest.mark.parametrize("real", [[5, 1, 8], [0, 3, 2], [0, 0, 0]])
def test_few_shapes_change_no_gradient(real, read):
  """The rows that fill up are 18 and more, each a copy of a token's."""
  mask = (np.arange(8) < np.array(real)[:, np.newaxis]).astype(np.int32)
  weights = (np.random.RandomState(1).normal(size=[3, 8, 12]) *
             mask[:, :, np.newaxis]).astype(np.float32)
  config = make_config()
  config.hidden_dropout_prob = config.attention_probs_dropout_prob = 0.0
  gradients = []
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    ids = tf.constant(np.arange(24).reshape([3, 8]), tf.int32)
    positions = tf.zeros([3, 1], tf.int32) if read == "positions" else None
    for few_shapes in [False, True]:
      with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        model = modeling.BertModel(
            config, True, ids, tf.constant(mask), scope="bert",
            options=modeling.Options(
                remove_padding=True, few_shapes=few_shapes),
            output_positions=positions)
      output = (model.get_positions_output() if read == "positions" else
                model.get_sequence_output())
      loss = tf.reduce_sum(output * weights[:, :output.shape[1]])
      loss += tf.reduce_sum(model.get_pooled_output() * weights[:, 1])
      gradients.append([tf.convert_to_tensor(gradient) for gradient in
                        tf.gradients(loss, tf.trainable_variables())])
    session.run(tf.global_variables_initializer())
    gradients = session.run(gradients)
  for theirs, ours in zip(*gradients):
    # Sums in another order: small elements are off by as much as large ones.
    np.testing.assert_allclose(
        ours, theirs, rtol=0, atol=1e-6 * max(1, np.abs(theirs).max()))
  assert any(real) == any(np.abs(g).max() > 0.1 for g in gradients[1])


@pytest.mark.parametrize("few_shapes", [True, False])
@pytest.mark.parametrize("batch_size", [3, None])
def test_static_shapes_are_kept(batch_size, few_shapes):
  with tf.Graph().as_default():
    ids = tf.placeholder(tf.int32, [batch_size, 8])
    model = modeling.BertModel(make_config(), False, ids, tf.ones_like(ids),
                               options=modeling.Options(
                                   remove_padding=True, few_shapes=few_shapes))
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
  settings = run_classifier.Settings(
      use_tpu=use_tpu, remove_padding=remove_padding)
  model_fn = run_classifier.make_model_fn(
      make_config(), 2, None,
      run_settings.optimizer_settings(settings, num_train_steps=10),
      run_settings.model_options(settings))
  with tf.Graph().as_default():
    ids = tf.placeholder(tf.int32, [2, 8])
    features = {"input_ids": ids, "input_mask": ids, "segment_ids": ids,
                "label_ids": tf.placeholder(tf.int32, [2])}
    model_fn(features, None, tf_estimator.ModeKeys.PREDICT, {})
    assert leaves_padding_out() == (remove_padding and not use_tpu)
