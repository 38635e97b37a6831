"""Tests of modeling: against NumPy, packed against padded, and every helper."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import xla
import modeling
import numpy_bert
import run_pretraining

CONFIG = dict(
    vocab_size=19, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
    intermediate_size=12, max_position_embeddings=16, type_vocab_size=3)
# Four sequences: without padding, prefix, holes, one token that is not first.
MASK = np.array([[1, 1, 1, 1, 1, 1, 1],
                 [1, 1, 1, 0, 0, 0, 0],
                 [1, 0, 1, 1, 0, 0, 1],
                 [0, 0, 1, 0, 0, 0, 0]])


@pytest.fixture
def session():
  with tf.Graph().as_default(), tf.Session() as sess:
    yield sess


def make_config(dropout=0.0, **changes):
  return modeling.BertConfig(
      hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
      **dict(CONFIG, **changes))


def randomize(session, seed=1):
  """Gives all variables random values; returns them by name."""
  rng = np.random.RandomState(seed)
  values = {}
  assignments = []
  for variable in sorted(tf.global_variables(), key=lambda v: v.name):
    value = rng.normal(0.0, 0.5, variable.shape.as_list())
    if variable.op.name.endswith("gamma"):
      value += 1.0
    values[variable.op.name] = value.astype(np.float32)
    assignments.append(tf.assign(variable, values[variable.op.name]).op)
  session.run(assignments)
  return values


def random_inputs(rng, mask, config):
  return (rng.randint(config.vocab_size, size=mask.shape), mask,
          rng.randint(config.type_vocab_size, size=mask.shape))


def make_models(config, shape=(None, None), is_training=False):
  """Returns placeholders of ids, mask, types, and a padded and packed model."""
  inputs = tuple(tf.placeholder(tf.int32, shape) for _ in range(3))
  models = []
  for remove_padding in (False, True):
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
      models.append(modeling.BertModel(
          config, is_training, *inputs, scope="bert",
          options=modeling.Options(remove_padding=remove_padding)))
  return inputs, models[0], models[1]


def outputs_of(model):
  return (model.get_embedding_output(), model.get_all_encoder_layers(),
          model.get_pooled_output())


def assert_near(actual, expected, tolerance=2e-5):
  np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


def check_against_numpy(actual, expected, is_real, zero_at_padding):
  """Holds outputs against numpy_bert.Outputs where `is_real` is 1."""
  embedding_output, layers, pooled = actual
  assert len(layers) == len(expected.layers)
  assert_near(pooled * is_real[:, :1], expected.pooled_output * is_real[:, :1])
  if zero_at_padding:
    assert not np.any(pooled[is_real[:, 0] == 0])
  for ours, theirs in zip([embedding_output] + layers,
                          [expected.embedding_output] + expected.layers):
    assert_near(ours[is_real == 1], theirs[is_real == 1])
    if zero_at_padding:
      assert not np.any(ours[is_real == 0])


@pytest.mark.parametrize("changes", [
    dict(),
    dict(hidden_act="relu", hidden_size=16, num_attention_heads=4),
    dict(hidden_act="tanh", num_hidden_layers=1, num_attention_heads=1),
    dict(hidden_act="linear", intermediate_size=5, num_hidden_layers=3),
    dict(hidden_act="gelu_erf", layer_norm_eps=0.5),
    dict(hidden_act="gelu_new"),
])
def test_matches_numpy(session, changes):
  config = make_config(dropout=0.5, **changes)  # dropout rests in evaluation
  inputs, padded, packed = make_models(config, MASK.shape)
  variables = randomize(session)
  values = random_inputs(np.random.RandomState(2), MASK, config)
  expected = numpy_bert.encode(
      variables, config.num_attention_heads, *values,
      hidden_act=config.hidden_act, epsilon=config.layer_norm_eps)
  feed = dict(zip(inputs, values))
  actual = session.run(outputs_of(padded), feed)
  # Every sequence has a real token, so that padding sees something too.
  check_against_numpy(actual, expected, np.ones_like(MASK), False)
  actual = session.run(outputs_of(packed), feed)
  check_against_numpy(actual, expected, MASK, True)
  assert packed.get_sequence_output() is packed.get_all_encoder_layers()[-1]
  assert padded.get_sequence_output().shape == [4, 7, config.hidden_size]


@pytest.mark.parametrize("remove_padding", [False, True])
def test_without_mask_and_types_all_are_ones_and_zeros(session, remove_padding):
  config = make_config()
  ids = np.array([[3, 1, 4, 1, 5], [9, 2, 6, 5, 3]])
  model = modeling.BertModel(
      config, False, tf.constant(ids), options=modeling.Options(
          remove_padding=remove_padding))
  expected = numpy_bert.encode(
      randomize(session), config.num_attention_heads, ids)
  check_against_numpy(session.run(outputs_of(model)), expected,
                      np.ones_like(ids), False)


def test_sizes_of_batch_and_sequence_may_vary(session):
  config = make_config()
  inputs, padded, packed = make_models(config)
  variables = randomize(session)
  rng = np.random.RandomState(3)
  for batch_size, seq_length in [(1, 1), (2, 16), (5, 3)]:
    mask = (rng.rand(batch_size, seq_length) < 0.6).astype(int)
    mask[:, -1] = 1
    values = random_inputs(rng, mask, config)
    expected = numpy_bert.encode(
        variables, config.num_attention_heads, *values)
    for model, is_real in ((padded, np.ones_like(mask)), (packed, mask)):
      check_against_numpy(
          session.run(outputs_of(model), dict(zip(inputs, values))), expected,
          is_real, model is packed)


def test_pretraining_heads_match_numpy(session):
  config = make_config(hidden_act="relu", layer_norm_eps=0.5)
  inputs, padded, _ = make_models(config)
  positions = np.array([[0, 2], [1, 2], [6, 3], [2, 0]])
  labels = np.array([[3, 4], [0, 18], [7, 7], [1, 0]])
  weights = np.array([[1.0, 1.0], [1.0, 0.0], [1.0, 1.0], [1.0, 0.0]])
  is_random_next = np.array([[0], [1], [1], [0]])
  masked_lm = run_pretraining.get_masked_lm_output(
      config, padded.get_sequence_output(), padded.get_embedding_table(),
      tf.constant(positions, tf.int32), tf.constant(labels, tf.int32),
      tf.constant(weights, tf.float32))
  next_sentence = run_pretraining.get_next_sentence_output(
      config, padded.get_pooled_output(), tf.constant(is_random_next))
  variables = randomize(session)
  values = random_inputs(np.random.RandomState(4), MASK, config)
  encoded = numpy_bert.encode(variables, config.num_attention_heads, *values,
                              hidden_act="relu", epsilon=0.5)
  feed = dict(zip(inputs, values))
  expected = numpy_bert.masked_lm(
      variables, encoded.layers[-1], positions, labels, weights, "relu",
      epsilon=0.5)
  for ours, theirs in zip(session.run(masked_lm, feed), expected):
    assert_near(ours, theirs, 5e-5)
  expected = numpy_bert.next_sentence(
      variables, encoded.pooled_output, is_random_next)
  for ours, theirs in zip(session.run(next_sentence, feed), expected):
    assert_near(ours, theirs)


# Packed against padded.


def loss_at_real_tokens(model, mask, factors):
  """A loss of all outputs that padding has no part in."""
  is_real = tf.cast(mask, tf.float32)[..., tf.newaxis]  # [B, S, 1]
  layers = [model.get_embedding_output()] + model.get_all_encoder_layers()
  loss = sum(tf.reduce_sum(tf.square(layer - factor) * is_real)
             for layer, factor in zip(layers, factors))
  return loss + tf.reduce_sum(
      tf.square(model.get_pooled_output() - 0.3) * is_real[:, 0])


def to_dense(gradient, shape):
  """Sums up the rows of an IndexedSlices value."""
  if not hasattr(gradient, "indices"):
    return gradient
  dense = np.zeros(shape, np.float64)
  np.add.at(dense, gradient.indices, gradient.values)
  return dense


def gradients_of(loss):
  gradients = tf.gradients(loss, tf.trainable_variables())
  assert None not in gradients
  return gradients


# With its size known, a batch attends in two groups sorted by length.
@pytest.mark.parametrize("shape", [(None, None), (5, 11)])
def test_packed_outputs_and_gradients_are_those_of_padded(session, shape):
  config = make_config(dropout=0.0)
  inputs, padded, packed = make_models(config, shape, is_training=True)
  factors = [0.1, -0.2, 0.3]
  losses = [loss_at_real_tokens(model, inputs[1], factors)
            for model in (padded, packed)]
  fetches = [(outputs_of(model), loss, gradients_of(loss))
             for model, loss in zip((padded, packed), losses)]
  randomize(session)
  shapes = [v.shape.as_list() for v in tf.trainable_variables()]
  rng = np.random.RandomState(5)
  for density in (0.3, 0.6, 0.9):
    mask = (rng.rand(5, 11) < density).astype(int)
    values = random_inputs(rng, mask, config)
    (outputs, loss, gradients), (packed_outputs, packed_loss,
                                 packed_gradients) = session.run(
                                     fetches, dict(zip(inputs, values)))
    check_against_numpy(packed_outputs, numpy_bert.Outputs(*outputs), mask,
                        True)
    assert packed_loss == pytest.approx(loss, rel=1e-5)
    gradients = [to_dense(*pair) for pair in zip(gradients, shapes)]
    # The bias of the keys moves all scores of a softmax alike, so that its
    # gradient is rounding only: what is small is measured against the largest.
    largest = max(np.abs(gradient).max() for gradient in gradients)
    for ours, theirs, dense_shape in zip(packed_gradients, gradients, shapes):
      np.testing.assert_allclose(
          to_dense(ours, dense_shape), theirs, rtol=1e-5, atol=1e-6 * largest)


def build_with(options, config=None):
  """Builds a loss of every output; returns outputs and dense gradients."""
  config = config or make_config()
  ids, mask, types = random_inputs(np.random.RandomState(3), MASK, config)
  with tf.variable_scope("", reuse=tf.AUTO_REUSE):
    model = modeling.BertModel(
        config, True, tf.constant(ids, tf.int32), tf.constant(mask),
        tf.constant(types, tf.int32), scope="bert", options=options,
        output_positions=tf.constant([[0, 3], [2, 1], [6, 3], [2, 2]]))
  outputs = (model.get_sequence_output(), model.get_positions_output(),
             model.get_pooled_output())
  # Padding is computed in one of the models and zero in another.
  outputs = (outputs[0] * MASK[:, :, np.newaxis].astype(np.float32),
             outputs[1], outputs[2] * MASK[:, :1].astype(np.float32))
  loss = sum(tf.reduce_sum(output * normal_weights(output.shape.as_list()))
             for output in outputs)
  return outputs, [tf.convert_to_tensor(gradient)
                   for gradient in gradients_of(loss)]


@pytest.mark.skipif(tf.__version__.startswith("1."),
                    reason="compiles no functions")
@pytest.mark.parametrize("remove_padding", [False, True])
def test_compiled_outputs_and_gradients_are_the_same(session, remove_padding):
  plain, compiled = [build_with(modeling.Options(
      remove_padding=remove_padding, compiled=compiled))
                     for compiled in (False, True)]
  names = [v.op.name for v in tf.trainable_variables()]
  assert len(names) == len(set(names)) == 39
  randomize(session)
  plain, compiled = session.run([plain, compiled])
  for ours, theirs in zip(compiled[0], plain[0]):
    assert_near(ours, theirs)
  largest = max(np.abs(gradient).max() for gradient in plain[1])
  for ours, theirs in zip(compiled[1], plain[1]):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * largest)


@pytest.mark.skipif(tf.__version__.startswith("1."),
                    reason="compiles no functions")
@pytest.mark.parametrize("remove_padding", [False, True])
def test_compiled_batches_may_have_any_size(session, remove_padding):
  """As the last one of an evaluation, which is not full."""
  config = make_config()
  values = random_inputs(np.random.RandomState(3), MASK, config)
  inputs = [tf.placeholder(tf.int32, [None, MASK.shape[1]]) for _ in values]
  with tf.variable_scope("", reuse=tf.AUTO_REUSE):
    plain, compiled = [modeling.BertModel(
        config, False, *inputs, scope="bert", options=modeling.Options(
            remove_padding=remove_padding, compiled=compiled))
                       for compiled in (False, True)]
  randomize(session)
  for number in (len(MASK), 1):
    feed = {tensor: value[:number] for tensor, value in zip(inputs, values)}
    ours, theirs, sizes = session.run([
        compiled.get_pooled_output(), plain.get_pooled_output(),
        tf.get_collection(xla.SIZES)], feed)
    assert_near(ours, theirs)
    assert len(sizes) == remove_padding


@pytest.mark.parametrize("compute_dtype, tolerance", [
    ("bfloat16", 2.0 ** -4), ("float16", 2.0 ** -7)])
@pytest.mark.parametrize("remove_padding", [False, True])
def test_data_type_of_the_products(session, remove_padding, compute_dtype,
                                   tolerance):
  """Outputs are near float32's, and no further product is rounded."""
  exact, rounded = [build_with(modeling.Options(
      remove_padding=remove_padding, compute_dtype=dtype))
                    for dtype in ("float32", compute_dtype)]
  dtypes = [op.inputs[0].dtype.base_dtype.name
            for op in tf.get_default_graph().get_operations()
            if "MatMul" in op.type]
  # A layer has 6 products of tokens with weights and 2 of attention, the pooler
  # has one, each with two gradients; the last layer's positions add some.
  assert dtypes.count(compute_dtype) >= 3 * (2 * 8 + 1)
  assert all(v.dtype.base_dtype == tf.float32 for v in tf.global_variables())
  randomize(session)
  exact, rounded = session.run([exact, rounded])
  for ours, theirs in zip(rounded[0], exact[0]):
    assert ours.dtype == np.float32
    assert 0 < np.abs(ours - theirs).max() < tolerance * np.abs(theirs).max()
  largest = max(np.linalg.norm(gradient) for gradient in exact[1])
  for ours, theirs in zip(rounded[1], exact[1]):
    assert np.linalg.norm(ours - theirs) < tolerance * largest


def test_positions_of_sorted_groups_are_those_of_padded(session):
  """Each sequence gets its own attention back, in the order it came in."""
  config = make_config(dropout=0.0)
  lengths = np.array([7, 2, 9, 1, 5])
  mask = (np.arange(9) < lengths[:, np.newaxis]).astype(int)
  positions = tf.constant([[length - 1, length // 2] for length in lengths])
  ids, _, types = random_inputs(np.random.RandomState(3), mask, config)
  fetches = []
  for remove_padding in (False, True):
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
      model = modeling.BertModel(
          config, True, tf.constant(ids, tf.int32), tf.constant(mask),
          tf.constant(types, tf.int32), scope="bert",
          options=modeling.Options(
              remove_padding=remove_padding), output_positions=positions)
    outputs = model.get_positions_output(), model.get_pooled_output()
    weights = [normal_weights(output.shape.as_list()) for output in outputs]
    loss = sum(tf.reduce_sum(output * weight)
               for output, weight in zip(outputs, weights))
    fetches.append((outputs, gradients_of(loss)))
  randomize(session)
  padded, packed = session.run(fetches)
  for ours, theirs in zip(packed[0], padded[0]):
    assert_near(ours, theirs)
  shapes = [v.shape.as_list() for v in tf.trainable_variables()]
  padded, packed = [[to_dense(*pair) for pair in zip(gradients, shapes)]
                    for _, gradients in (padded, packed)]
  largest = max(np.abs(gradient).max() for gradient in padded)
  for ours, theirs in zip(packed, padded):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=2e-6 * largest)


def normal_weights(shape):
  return np.random.RandomState(7).normal(size=shape).astype(np.float32)


def test_packed_padding_is_zero_and_gradients_are_finite(session):
  config = make_config(dropout=0.1, num_hidden_layers=1)
  inputs = [tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
  model = modeling.BertModel(config, True, *inputs, options=modeling.Options(
      remove_padding=True))
  # This loss reads padding as well.
  loss = tf.reduce_sum(tf.square(model.get_pooled_output() - 1.0)) + (
      tf.reduce_sum(tf.square(model.get_sequence_output() - 1.0)))
  fetches = [outputs_of(model), gradients_of(loss)]
  randomize(session)
  shapes = [tuple(v.shape.as_list()) for v in tf.trainable_variables()]
  for mask in ([[1, 1, 0], [0, 0, 0]],  # a row of padding
               [[0, 1, 1], [1, 1, 1]],  # a masked [CLS]
               [[0, 0, 0], [0, 0, 0]]):  # padding only
    mask = np.array(mask)
    values = random_inputs(np.random.RandomState(6), mask, config)
    (embedding_output, layers, pooled), gradients = session.run(
        fetches, dict(zip(inputs, values)))
    for layer in [embedding_output] + layers:
      assert np.isfinite(layer).all()
      np.testing.assert_array_equal(np.any(layer, axis=-1), mask == 1)
    np.testing.assert_array_equal(np.any(pooled, axis=-1), mask[:, 0] == 1)
    for gradient, shape in zip(gradients, shapes):
      gradient = to_dense(gradient, shape)
      assert gradient.shape == shape
      assert np.isfinite(gradient).all()


def test_an_option_is_the_same_as_an_argument_of_its_own():
  def build(**arguments):
    with tf.Graph().as_default() as graph:
      ids = tf.placeholder(tf.int32, [2, 8])
      modeling.BertModel(make_config(), True, ids, ids, **arguments)
      return [operation.type for operation in graph.get_operations()]

  plain = build()
  assert plain == build(options=modeling.Options())
  one_hot = build(use_one_hot_embeddings=True)
  assert one_hot.count("OneHot") == plain.count("OneHot") + 1  # segments, too
  assert one_hot == build(options=modeling.Options(use_one_hot_embeddings=True))
  packed = modeling.Options(remove_padding=True)
  assert build(remove_padding=True) == build(options=packed)
  packed_one_hot = build(use_one_hot_embeddings=True, options=packed)
  assert packed_one_hot not in (one_hot, build(options=packed))
  assert packed_one_hot == build(options=modeling.Options(
      use_one_hot_embeddings=True, remove_padding=True))


@pytest.mark.parametrize("remove_padding", [False, True])
def test_packed_computes_real_tokens_only(session, remove_padding):
  config = make_config(dropout=0.1, num_hidden_layers=1)
  inputs = [tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
  model = modeling.BertModel(
      config, True, *inputs, options=modeling.Options(
          remove_padding=remove_padding))
  gradients_of(tf.reduce_sum(tf.square(model.get_pooled_output())))
  randomize(session)
  mask = np.zeros([3, 10], int)
  mask[0, :5] = 1
  mask[1, [0, 4, 9]] = 1
  mask[2, 0] = 1
  values = random_inputs(np.random.RandomState(7), mask, config)
  feed = dict(zip(inputs, values))
  rows = 9 if remove_padding else 30  # R or B * S
  length = 5 if remove_padding else 10  # T
  width, inner = config.hidden_size, config.intermediate_size

  def shapes(scope, *op_types):
    """Runs the ops of a scope; returns the shapes of their outputs, sorted."""
    tensors = [op.outputs[0] for op in session.graph.get_operations()
               if op.type in op_types and op.name.startswith(scope)]
    return sorted(value.shape for value in session.run(tensors, feed))

  encoder = "bert/encoder/"
  assert shapes(encoder, "MatMul") == [(rows, width)] * 5 + [(rows, inner)]
  assert (rows, inner) in shapes(encoder, "Sigmoid")  # in GELU
  assert shapes(encoder, "Rsqrt") == [(rows, 1)] * 2  # in layer norm
  assert shapes(encoder, "Softmax") == [(3, 2, length, length)]
  words = shapes("bert/embeddings/", "GatherV2", "ResourceGather")
  assert [np.prod(shape) for shape in words] == [rows * width]
  assert shapes("bert/embeddings/", "MatMul") == [(rows, width)]
  # Backwards, each dense layer takes one product for its input and one for its
  # kernel.
  backward = [
      shape for shape in shapes("gradients/bert/encoder/", "MatMul")
      if 1 not in shape]  # those with a vector are sums, for layer norm
  assert len(backward) == 2 * 6
  assert sum(shape[0] == rows for shape in backward) == 6


def test_packed_training_drops_at_random_and_repeats_with_a_seed():
  def two_runs(seed):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(seed)
      config = make_config(dropout=0.3)
      ids, mask, types = random_inputs(np.random.RandomState(8), MASK, config)
      model = modeling.BertModel(
          config, True, tf.constant(ids), tf.constant(mask), tf.constant(types),
          options=modeling.Options(remove_padding=True))
      randomize(session)
      return [session.run(model.get_sequence_output()) for _ in range(2)]

  first, second = two_runs(seed=1)
  assert np.abs(first - second)[MASK == 1].max() > 0.1
  again = two_runs(seed=1)
  np.testing.assert_array_equal(first, again[0])
  np.testing.assert_array_equal(second, again[1])
  assert np.abs(first - two_runs(seed=2)[0])[MASK == 1].max() > 0.1


def test_dropout_drops_its_share_and_scales_the_rest(session):
  ones = tf.ones([100, 100])
  tf.set_random_seed(1)
  dropped = session.run(modeling.dropout(ones, 0.2))
  assert np.mean(dropped == 0.0) == pytest.approx(0.2, abs=0.02)
  assert_near(dropped[dropped != 0.0], 1.25)
  assert modeling.dropout(ones, 0.0) is ones
  assert modeling.dropout(ones, None) is ones


# Variables and checkpoints.


def test_variables_are_named_and_shaped_as_in_published_checkpoints(session):
  modeling.BertModel(
      make_config(num_hidden_layers=1), True, tf.constant([[1, 2]]))
  layer = "bert/encoder/layer_0/"
  expected = {
      "bert/embeddings/word_embeddings": [19, 8],
      "bert/embeddings/token_type_embeddings": [3, 8],
      "bert/embeddings/position_embeddings": [16, 8],
      "bert/embeddings/LayerNorm/beta": [8],
      "bert/embeddings/LayerNorm/gamma": [8],
      layer + "attention/self/query/kernel": [8, 8],
      layer + "attention/self/query/bias": [8],
      layer + "attention/self/key/kernel": [8, 8],
      layer + "attention/self/key/bias": [8],
      layer + "attention/self/value/kernel": [8, 8],
      layer + "attention/self/value/bias": [8],
      layer + "attention/output/dense/kernel": [8, 8],
      layer + "attention/output/dense/bias": [8],
      layer + "attention/output/LayerNorm/beta": [8],
      layer + "attention/output/LayerNorm/gamma": [8],
      layer + "intermediate/dense/kernel": [8, 12],
      layer + "intermediate/dense/bias": [12],
      layer + "output/dense/kernel": [12, 8],
      layer + "output/dense/bias": [8],
      layer + "output/LayerNorm/beta": [8],
      layer + "output/LayerNorm/gamma": [8],
      "bert/pooler/dense/kernel": [8, 8],
      "bert/pooler/dense/bias": [8],
  }
  assert {v.name: v.shape.as_list() for v in tf.trainable_variables()} == {
      name + ":0": shape for name, shape in expected.items()}
  assert tf.global_variables() == tf.trainable_variables()


def test_scope_names_the_variables_and_reuse_shares_them(session):
  config = make_config()
  inputs = [tf.constant([[1, 2]]), tf.constant([[3, 4]])]
  models = []
  for reuse, ids in zip((False, True), inputs):
    with tf.variable_scope("towers", reuse=reuse):
      models.append(modeling.BertModel(config, False, ids, scope="encoder"))
  other = modeling.BertModel(config, False, inputs[0])
  names = [v.op.name for v in tf.trainable_variables()]
  assert len(names) == 2 * (5 + 16 * 2 + 2)
  assert {name.split("/embeddings")[0] for name in names
          if "embeddings/" in name} == {"towers/encoder", "bert"}
  assert models[0].get_embedding_table() is models[1].get_embedding_table()
  variables = randomize(session)
  expected = numpy_bert.encode(
      variables, 2, [[3, 4]], scope="towers/encoder").layers[-1]
  assert_near(session.run(models[1].get_sequence_output()), expected)
  expected = numpy_bert.encode(variables, 2, [[1, 2]]).layers[-1]
  assert_near(session.run(other.get_sequence_output()), expected)


def test_assignment_map_holds_what_model_and_checkpoint_share(tmp_path):
  checkpoint = str(tmp_path / "bert_model.ckpt")
  with tf.Graph().as_default(), tf.Session() as session:
    modeling.BertModel(make_config(num_hidden_layers=1), False,
                       tf.constant([[1]]))
    tf.get_variable("only_in_checkpoint", [2])
    saved = randomize(session)
    tf.train.Saver().save(session, checkpoint)
  with tf.Graph().as_default(), tf.Session() as session:
    modeling.BertModel(make_config(), False, tf.constant([[1]]))
    tf.get_variable("only_in_model", [2])
    variables = tf.trainable_variables()
    assignment_map, names = modeling.get_assignment_map_from_checkpoint(
        variables, checkpoint)
    shared = set(saved) - {"only_in_checkpoint"}
    assert set(assignment_map) == shared
    assert set(names) == shared | {name + ":0" for name in shared}
    tf.train.init_from_checkpoint(checkpoint, assignment_map)
    session.run(tf.global_variables_initializer())
    for variable in variables:
      if variable.op.name in shared:
        np.testing.assert_array_equal(
            session.run(variable), saved[variable.op.name])


# BertConfig.


def test_config_has_the_defaults_of_bert_base():
  assert modeling.BertConfig(7).to_dict() == dict(
      vocab_size=7, hidden_size=768, num_hidden_layers=12,
      num_attention_heads=12, intermediate_size=3072, hidden_act="gelu",
      hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
      max_position_embeddings=512, type_vocab_size=16, initializer_range=0.02)


def test_config_keeps_unknown_keys(tmp_path):
  given = dict(CONFIG, directionality="bidi", pooler={"layers": [3, 128]})
  config = modeling.BertConfig.from_dict(given)
  assert config.directionality == "bidi"
  assert given == {key: config.to_dict()[key] for key in given}
  path = tmp_path / "bert_config.json"
  path.write_text(config.to_json_string())
  again = modeling.BertConfig.from_json_file(str(path))
  assert again.to_dict() == config.to_dict() == json.loads(
      config.to_json_string())
  config.to_dict()["pooler"]["layers"].append(1)
  assert config.pooler == {"layers": [3, 128]}


@pytest.mark.parametrize("key, value", [
    ("hidden_size", "8"), ("num_hidden_layers", 2.0), ("vocab_size", True),
    ("num_attention_heads", -2), ("intermediate_size", 0),
    ("max_position_embeddings", None), ("type_vocab_size", [2]),
    ("hidden_dropout_prob", 1.0), ("attention_probs_dropout_prob", "0.1"),
    ("hidden_dropout_prob", -0.1), ("attention_probs_dropout_prob", True),
    ("initializer_range", "0.02"), ("hidden_act", "no such function"),
    ("hidden_act", 3), ("vocab_size", None), ("layer_norm_eps", "1e-5"),
    ("layer_norm_eps", 0.0), ("layer_norm_eps", None),
    ("position_embedding_type", "relative_key"), ("embedding_size", 128),
    ("is_decoder", True), ("add_cross_attention", True),
    ("model_type", "roberta"), ("hidden_act", "silu"),
])
def test_config_names_the_key_of_a_wrong_value(key, value):
  with pytest.raises(ValueError, match=key):
    modeling.BertConfig.from_dict(dict(CONFIG, **{key: value}))


def test_config_of_hugging_face_is_taken_where_it_is_a_bert():
  config = modeling.BertConfig.from_dict(dict(
      CONFIG, model_type="bert", position_embedding_type="absolute",
      embedding_size=CONFIG["hidden_size"], is_decoder=False,
      add_cross_attention=False, layer_norm_eps=1e-5, hidden_act="gelu_new"))
  assert config.layer_norm_eps == 1e-5
  assert config.to_dict()["layer_norm_eps"] == 1e-5
  assert modeling.BertConfig(7, layer_norm_eps=1e-6).layer_norm_eps == 1e-6
  assert modeling.BertConfig(7).layer_norm_eps == 1e-12


def test_heads_must_divide_the_hidden_size_once_a_model_is_wanted(
    session, tmp_path):
  config = modeling.BertConfig(vocab_size=99, hidden_size=37)  # and 12 heads
  assert modeling.BertConfig.from_dict(
      config.to_dict()).to_dict() == config.to_dict()
  message = ("BertConfig: \"hidden_size\" 37 is not a multiple of "
             "\"num_attention_heads\" 12")
  path = tmp_path / "bert_config.json"
  path.write_text(config.to_json_string())
  for named, build in (
      ("", lambda: modeling.BertModel(config, False, tf.constant([[1]]))),
      ("%s: " % path, lambda: modeling.BertConfig.from_json_file(str(path)))):
    with pytest.raises(ValueError) as error:
      build()
    assert str(error.value) == named + message


def test_a_config_may_be_made_first_and_filled_in_later(session):
  config = modeling.BertConfig(vocab_size=None)
  with pytest.raises(ValueError, match="vocab_size\" is None"):
    modeling.BertModel(config, False, tf.constant([[1]]))
  config.__dict__.update(CONFIG)
  modeling.BertModel(config, False, tf.constant([[1]]))


@pytest.mark.parametrize("name, change", [
    ("config", dict(config=CONFIG)), ("options", dict(options={"a": True}))])
def test_a_dict_in_place_of_an_object_is_one_line(session, name, change):
  with pytest.raises(ValueError, match="^%s: found a dict, expected " % name):
    modeling.BertModel(**dict(dict(
        config=make_config(), is_training=False,
        input_ids=tf.constant([[1]])), **change))


def test_model_checks_and_copies_its_config(session):
  config = make_config(dropout=0.4)
  config.num_attention_heads = 3
  with pytest.raises(ValueError, match="num_attention_heads"):
    modeling.BertModel(config, False, tf.constant([[1]]))
  config.num_attention_heads = 2
  modeling.BertModel(config, False, tf.constant([[1]]))
  assert config.hidden_dropout_prob == 0.4
  assert config.attention_probs_dropout_prob == 0.4


@pytest.mark.parametrize("content, complaint", [
    (b"{\"vocab_size\": 30522,", ""),
    (b"vocab_size = 30522", ""),
    (b"\xff\xfe{", ""),
    (b"[1, 2]", "list"),
    (b"{\"hidden_size\": 8}", "vocab_size"),
    (b"{\"vocab_size\": 9, \"hidden_size\": \"8\"}", "hidden_size"),
])
def test_config_file_that_is_wrong_is_named(tmp_path, content, complaint):
  path = tmp_path / "bert_config.json"
  path.write_bytes(content)
  with pytest.raises(ValueError) as error:
    modeling.BertConfig.from_json_file(str(path))
  assert str(path) in str(error.value)
  assert complaint in str(error.value)


def test_config_file_may_have_a_byte_order_mark_but_must_exist(tmp_path):
  path = tmp_path / "bert_config.json"
  path.write_bytes(b"\xef\xbb\xbf" + json.dumps(CONFIG).encode("utf-8"))
  config = modeling.BertConfig.from_json_file(str(path))
  assert config.vocab_size == CONFIG["vocab_size"]
  for missing in (str(tmp_path / "other.json"), str(tmp_path)):
    with pytest.raises(ValueError) as error:
      modeling.BertConfig.from_json_file(missing)
    assert missing in str(error.value)


# Sequence lengths, ranks, shapes.


@pytest.mark.parametrize("remove_padding", [False, True])
def test_sequence_longer_than_the_position_table(session, remove_padding):
  config = make_config()
  with pytest.raises(ValueError, match="max_position_embeddings"):
    modeling.BertModel(
        config, False, tf.ones([2, 17], tf.int32), tf.ones([2, 17], tf.int32),
        options=modeling.Options(remove_padding=remove_padding), scope="static")
  ids = tf.placeholder(tf.int32, [None, None])
  model = modeling.BertModel(config, False, ids, tf.ones_like(ids),
                             options=modeling.Options(
                                 remove_padding=remove_padding))
  session.run(tf.global_variables_initializer())
  output = model.get_sequence_output()
  assert session.run(output, {ids: np.ones([2, 16])}).shape == (2, 16, 8)
  with pytest.raises(tf.errors.InvalidArgumentError, match="16 positions"):
    session.run(output, {ids: np.ones([2, 17])})


def test_get_shape_list(session):
  tensor = tf.placeholder(tf.float32, [None, 3, None])
  shape = modeling.get_shape_list(tensor, expected_rank=3)
  assert shape[1] == 3
  assert session.run([shape[0], shape[2]], {tensor: np.ones([5, 3, 2])}) == [
      5, 2]
  assert modeling.get_shape_list(tf.ones([4, 2]), expected_rank=[2, 3]) == [
      4, 2]
  with pytest.raises(ValueError, match="logits.*rank 3"):
    modeling.get_shape_list(tensor, expected_rank=[1, 2], name="logits")


def test_assert_rank(session):
  tensor = tf.zeros([2, 3], name="a_matrix")
  assert modeling.assert_rank(tensor, 2) is None
  assert modeling.assert_rank(tensor, [1, 2]) is None
  with tf.variable_scope("some_scope"):
    with pytest.raises(ValueError) as error:
      modeling.assert_rank(tensor, [1, 3])
  for part in ("a_matrix", "some_scope", "rank 2", "1 or 3"):
    assert part in str(error.value)


def test_reshape_to_matrix_and_back(session):
  values = np.arange(24.0).reshape([2, 3, 4])
  for tensor in (tf.constant(values),
                 tf.placeholder_with_default(values, [None, None, 4])):
    matrix = modeling.reshape_to_matrix(tensor)
    np.testing.assert_array_equal(session.run(matrix), values.reshape([6, 4]))
    back = modeling.reshape_from_matrix(
        matrix[:, :2], modeling.get_shape_list(tensor))
    np.testing.assert_array_equal(session.run(back), values[:, :, :2])
  matrix = tf.zeros([6, 4])
  assert modeling.reshape_to_matrix(matrix) is matrix
  assert modeling.reshape_from_matrix(matrix, [6, 4]) is matrix
  assert modeling.reshape_to_matrix(tf.zeros([2, 1, 3, 5])).shape == [6, 5]
  with pytest.raises(ValueError, match="rank 2"):
    modeling.reshape_to_matrix(tf.zeros([3]))


def test_get_activation(session):
  x = np.linspace(-4.0, 4.0, 9)
  for name in ("gelu", "relu", "tanh", "GELU", "gelu_new", "gelu_erf"):
    function = modeling.get_activation(name)
    assert_near(session.run(function(tf.constant(x, tf.float32))),
                numpy_bert.ACTIVATIONS[name.lower()](x), 1e-6)
  for linear in ("linear", "", None):
    assert modeling.get_activation(linear) is None
  assert modeling.get_activation(tf.nn.elu) is tf.nn.elu
  with pytest.raises(ValueError, match="sine"):
    modeling.get_activation("sine")


# The layers one by one.


def test_create_attention_mask_from_input_mask(session):
  to_mask = np.array([[1, 0, 1, 1], [1, 1, 0, 0]])
  for from_tensor in (tf.zeros([2, 3]), tf.zeros([2, 3, 5])):
    mask = session.run(modeling.create_attention_mask_from_input_mask(
        from_tensor, tf.constant(to_mask)))
    assert mask.dtype == np.float32
    np.testing.assert_array_equal(mask, np.stack([to_mask] * 3, axis=1))


def test_attention_layer_between_different_lengths(session):
  rng = np.random.RandomState(9)
  from_values, to_values = rng.randn(2, 3, 6), rng.randn(2, 5, 4)
  mask = (rng.rand(2, 3, 5) < 0.6).astype(int)
  mask[:, :, 2] = 1
  acts = ("tanh", "relu", "linear")
  from_tensor = tf.constant(from_values, tf.float32)
  to_tensor = tf.constant(to_values, tf.float32)
  sizes = dict(batch_size=2, from_seq_length=3, to_seq_length=5)

  def layer(from_tensor, to_tensor, mask=mask, **more):
    with tf.variable_scope("self", reuse=tf.AUTO_REUSE):
      return modeling.attention_layer(
          from_tensor, to_tensor, mask, num_attention_heads=2, size_per_head=3,
          query_act=tf.tanh, key_act=tf.nn.relu, **more)

  flat = [tf.reshape(from_tensor, [6, 6]), tf.reshape(to_tensor, [10, 4])]
  results = [
      layer(from_tensor, to_tensor),
      layer(from_tensor, to_tensor, do_return_2d_tensor=True),
      layer(*flat, **sizes),
      layer(*flat, do_return_2d_tensor=True, **sizes)]
  unmasked = layer(from_tensor, to_tensor, mask=None)
  variables = randomize(session)

  def in_numpy(mask):
    return np.array([
        numpy_bert.attention(f, t, m, variables, "self", 2, acts)
        for f, t, m in zip(from_values, to_values, mask)])

  for result, shape in zip(session.run(results), [(2, 3, 6), (6, 6)] * 2):
    assert result.shape == shape
    assert_near(result, in_numpy(mask).reshape(shape))
  assert_near(session.run(unmasked), in_numpy(np.ones_like(mask)))
  with pytest.raises(ValueError, match="from_seq_length"):
    layer(*flat)
  with pytest.raises(ValueError, match="rank"):
    layer(from_tensor, flat[1], **sizes)


def test_transformer_model_returns_the_last_layer_or_all(session):
  x = tf.constant(np.random.RandomState(11).randn(2, 3, 8), tf.float32)
  sizes = dict(hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
               intermediate_size=4, hidden_dropout_prob=0.0,
               attention_probs_dropout_prob=0.0)
  with tf.variable_scope("encoder", reuse=tf.AUTO_REUSE):
    layers = modeling.transformer_model(x, do_return_all_layers=True, **sizes)
  with tf.variable_scope("encoder", reuse=tf.AUTO_REUSE):
    last = modeling.transformer_model(x, **sizes)
  assert len(layers) == 2
  randomize(session)
  first_values, last_values, alone = session.run(layers + [last])
  np.testing.assert_array_equal(last_values, alone)
  assert np.abs(first_values - last_values).max() > 0.1
  with pytest.raises(ValueError, match="multiple"):
    modeling.transformer_model(x, hidden_size=8, num_attention_heads=3)
  with pytest.raises(ValueError, match="hidden_size is 16"):
    modeling.transformer_model(x, hidden_size=16, num_attention_heads=2)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 2)])
def test_embedding_lookup_by_one_hot_and_by_gather(session, shape):
  ids = np.random.RandomState(12).randint(9, size=shape)
  with tf.variable_scope("lookup", reuse=tf.AUTO_REUSE):
    outputs, tables = zip(*[
        modeling.embedding_lookup(
            tf.constant(ids), vocab_size=9, embedding_size=4,
            word_embedding_name="words", use_one_hot_embeddings=use_one_hot)
        for use_one_hot in (False, True)])
  assert tables[0] is tables[1]
  table = randomize(session)["lookup/words"]
  for output in session.run(outputs):
    np.testing.assert_allclose(output, table[ids].reshape([2, 3, -1]), 1e-6)


def test_one_hot_embeddings_do_not_change_the_model(session):
  config = make_config()
  inputs = [tf.constant(v) for v in random_inputs(
      np.random.RandomState(13), MASK, config)]
  outputs = []
  for use_one_hot in (False, True):
    for remove_padding in (False, True):
      with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        outputs.append(modeling.BertModel(
            config, False, *inputs, use_one_hot_embeddings=use_one_hot,
            scope="bert", options=modeling.Options(
                remove_padding=remove_padding)).get_pooled_output())
  randomize(session)
  gathered, gathered_packed, one_hot, one_hot_packed = session.run(outputs)
  assert_near(one_hot, gathered, 1e-6)
  assert_near(one_hot_packed, gathered_packed, 1e-6)


def test_embedding_postprocessor_adds_what_it_is_asked_for(session):
  words = np.random.RandomState(14).randn(2, 3, 4)
  types = np.array([[0, 1, 1], [0, 0, 2]])
  x = tf.constant(words, tf.float32)
  common = dict(token_type_vocab_size=3, max_position_embeddings=5,
                dropout_prob=0.0, token_type_embedding_name="types",
                position_embedding_name="positions")
  outputs = []
  for use_types in (False, True):
    for use_positions in (False, True):
      with tf.variable_scope("post", reuse=tf.AUTO_REUSE):
        outputs.append(modeling.embedding_postprocessor(
            x, use_types, tf.constant(types),
            use_position_embeddings=use_positions, **common))
  variables = randomize(session)
  of_types = variables["post/types"][types]
  of_positions = variables["post/positions"][:3]
  for output, added in zip(session.run(outputs), [
      0.0, of_positions, of_types, of_types + of_positions]):
    assert_near(output, numpy_bert.layer_norm(
        words + added, variables, "post/LayerNorm"))
  with pytest.raises(ValueError, match="token_type_ids"):
    modeling.embedding_postprocessor(x, use_token_type=True)


def test_eager_execution_is_refused_at_once():
  if not tf.executing_eagerly():
    pytest.skip("TensorFlow 1.x, or version 2 behaviour is off")
  with pytest.raises(ValueError, match="disable_v2_behavior"):
    modeling.BertModel(make_config(), False, tf.ones([1, 2], tf.int32))
