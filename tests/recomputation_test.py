"""Tests of bert_suite/recomputation.py."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import xla
import helpers
import modeling

IDS = np.array([[2, 5, 6, 7, 3, 0], [2, 8, 9, 3, 0, 0]], np.int32)


def gradients_of(recompute_grad, remove_padding, compiled, rate,
                 num_positions=None):
  """Returns loss and gradients of a model, and the graph."""
  config = modeling.BertConfig(
      vocab_size=12, hidden_size=8, num_hidden_layers=3, num_attention_heads=2,
      intermediate_size=16, max_position_embeddings=8,
      hidden_dropout_prob=rate, attention_probs_dropout_prob=rate)
  with tf.Graph().as_default() as graph, tf.Session() as session:
    tf.set_random_seed(1)
    ids = tf.placeholder(tf.int32, [None, None])
    with xla.drawing_from(7, tf.constant(3)):
      model = modeling.BertModel(
          config, True, ids, tf.cast(ids > 0, tf.int32),
          options=modeling.Options(
              remove_padding=remove_padding, compiled=compiled,
              recompute_grad=recompute_grad),
          output_positions=num_positions and tf.tile(
              [list(range(num_positions))], [tf.shape(ids)[0], 1]))
    output = (model.get_positions_output() if num_positions else
              model.get_sequence_output())
    loss = tf.reduce_sum(output ** 3) + tf.reduce_sum(
        model.get_pooled_output())
    variables = tf.trainable_variables()
    gradients = [tf.convert_to_tensor(x)
                 for x in tf.gradients(loss, variables)]
    session.run(tf.global_variables_initializer())
    random = np.random.RandomState(0)
    helpers.load_variables(session, {
        variable: random.normal(0, 0.5, variable.shape)
        for variable in variables})
    return session.run([loss] + gradients, {ids: IDS}), graph


@pytest.mark.parametrize("remove_padding, compiled, rate, num_positions", [
    (False, False, 0.0, None), (False, False, 0.3, None),
    (True, False, 0.3, None), (True, False, 0.3, 2),
    pytest.param(True, True, 0.3, None, marks=pytest.mark.slow),
    pytest.param(False, True, 0.3, None, marks=pytest.mark.slow)])
def test_recomputed_layers_have_the_same_gradients(
    remove_padding, compiled, rate, num_positions):
  """The dropout masks are the same too.

  Sums that XLA compiles are rounded in another order the second time, by an
  amount that goes with the largest values in them.
  """
  if compiled and tf.__version__.startswith("1."):
    pytest.skip("compiles no functions")
  arguments = remove_padding, compiled, rate, num_positions
  kept, _ = gradients_of(False, *arguments)
  again, _ = gradients_of(True, *arguments)
  for one, other in zip(kept, again):
    np.testing.assert_allclose(
        other, one, rtol=1e-5,
        atol=1e-5 * (max(1, np.max(np.abs(one))) if compiled else 1))


@pytest.mark.slow
@pytest.mark.parametrize("remove_padding", [False, True])
def test_of_a_layer_only_its_input_is_kept(remove_padding):
  """No gradient reads what the forward pass computed inside of a layer."""
  def kept(recompute_grad):
    _, graph = gradients_of(recompute_grad, remove_padding, False, 0.1)
    return {tensor.op.type for op in graph.get_operations()
            if op.name.startswith("gradients") for tensor in op.inputs
            if tensor.op.name.startswith("bert/encoder/layer_1/")}

  # IdentityN has the layer's inputs and weights, Pack the keys of dropout.
  inputs = {"IdentityN", "Pack", "ReadVariableOp"}
  assert kept(True) <= inputs
  assert len(kept(False) - inputs) > 3
