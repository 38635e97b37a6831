"""Tests of optimization: ten steps against NumPy, and what must not happen."""

import re
import time

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import environment
from helpers import captured_log
import modeling
import optimization

INIT_LR = 0.05
NUM_TRAIN_STEPS = 12
NUM_WARMUP_STEPS = 4
DECAY = 0.01  # what create_optimizer sets
SLOTS = ("/adam_m", "/adam_v")
# Two words occur several times; NumPy must see each row on its own.
WORD_IDS = np.array([1, 3, 1, 0, 1, 3])
# Names and whether they decay.
DECAYS = {"words": True, "dense/kernel": True, "dense/bias": False,
          "LayerNorm/gamma": False, "layer_norm/beta": False}


@pytest.fixture
def session():
  with tf.Graph().as_default(), tf.Session() as sess:
    yield sess


def rate_at(step, num_warmup_steps=NUM_WARMUP_STEPS):
  """The schedule, from the number of steps taken before."""
  if step < num_warmup_steps:
    return INIT_LR * step / num_warmup_steps
  return INIT_LR * (1.0 - min(step, NUM_TRAIN_STEPS) / float(NUM_TRAIN_STEPS))


def adamw_step(variable, m, v, gradient, rate, decay):
  """One update in float64; returns variable, m and v after it."""
  m = 0.9 * m + 0.1 * gradient
  v = 0.999 * v + 0.001 * gradient ** 2
  return variable - rate * (m / (np.sqrt(v) + 1e-6) + decay * variable), m, v


def initial_values():
  rng = np.random.RandomState(1)
  return {"words": rng.randn(5, 3), "dense/kernel": rng.randn(3, 4),
          "dense/bias": rng.randn(4), "LayerNorm/gamma": rng.randn(3),
          "layer_norm/beta": rng.randn(3)}


def make_variables(use_resource):
  return {name: tf.get_variable(
      name, initializer=tf.constant(value, tf.float32),
      use_resource=use_resource) for name, value in initial_values().items()}


def loss_with_gradients(variables, gradients):
  """A loss whose gradients are given; those of "words" row by row."""
  return sum(
      tf.reduce_sum(gradients[name] * (
          tf.gather(variable, WORD_IDS) if name == "words" else variable))
      for name, variable in variables.items())


def gradient_shapes():
  shapes = {name: value.shape for name, value in initial_values().items()}
  shapes["words"] = (len(WORD_IDS), 3)
  return shapes


def variable_named(name):
  return {v.op.name: v for v in tf.global_variables()}[name]


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("scale", [0.01, 1.0], ids=["small", "clipped"])
def test_ten_steps_match_numpy(session, use_resource, scale):
  variables = make_variables(use_resource)
  with tf.variable_scope("", use_resource=use_resource):
    global_step = tf.train.get_or_create_global_step()
  assert hasattr(global_step, "handle") == use_resource
  fed = {name: tf.placeholder(tf.float32, shape)
         for name, shape in gradient_shapes().items()}
  train_op = optimization.create_optimizer(
      loss_with_gradients(variables, fed), INIT_LR, NUM_TRAIN_STEPS,
      NUM_WARMUP_STEPS, False)
  slots = {name: [variable_named(name + suffix) for suffix in SLOTS]
           for name in variables}
  assert {v.op.name for v in tf.global_variables()} == {"global_step"} | {
      name + suffix for name in variables for suffix in ("",) + SLOTS}
  assert len(tf.trainable_variables()) == len(variables)
  session.run(tf.global_variables_initializer())

  state = {name: (value.astype(np.float32).astype(np.float64),
                  np.zeros(value.shape), np.zeros(value.shape))
           for name, value in initial_values().items()}
  rng = np.random.RandomState(2)
  for step in range(10):
    gradients = {name: scale * rng.randn(*shape)
                 for name, shape in gradient_shapes().items()}
    rate, norm, _ = session.run(
        ["learning_rate:0", "global_norm:0", train_op],
        {fed[name]: gradients[name] for name in fed})
    assert rate == pytest.approx(rate_at(step), rel=1e-5)
    expected_norm = np.sqrt(sum(np.sum(g ** 2) for g in gradients.values()))
    assert norm == pytest.approx(expected_norm, rel=1e-5)
    assert (expected_norm > 1.0) == (scale == 1.0)
    for name in variables:
      gradient = gradients[name] / max(expected_norm, 1.0)
      if name == "words":
        rows = np.zeros([5, 3])
        np.add.at(rows, WORD_IDS, gradient)
        gradient = rows
      state[name] = adamw_step(
          *state[name], gradient=gradient, rate=rate_at(step),
          decay=DECAY if DECAYS[name] else 0.0)
    actual = session.run({name: [variables[name]] + slots[name]
                          for name in variables})
    for name in variables:
      # float32 holds 1 - 0.999 to 5e-5 only.
      for ours, theirs, rtol, atol in zip(
          actual[name], state[name], (1e-5, 1e-4, 1e-4), (1e-5, 1e-7, 0.0)):
        np.testing.assert_allclose(ours, theirs, rtol, atol)
    assert session.run(global_step) == step + 1


@pytest.mark.parametrize("num_warmup_steps", [0, None, 1, NUM_WARMUP_STEPS,
                                              NUM_TRAIN_STEPS])
def test_learning_rate_schedule(session, num_warmup_steps):
  step = tf.placeholder(tf.int64, [])
  rate = optimization.learning_rate_schedule(
      INIT_LR, NUM_TRAIN_STEPS, num_warmup_steps, step)
  for value in range(NUM_TRAIN_STEPS + 3):
    assert session.run(rate, {step: value}) == pytest.approx(
        rate_at(value, num_warmup_steps or 0), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("use_resource", [True, False])
def test_each_step_has_the_rate_of_the_count_before_it(session, use_resource):
  # A race with counting the step would show in some of many steps.
  with tf.variable_scope("", use_resource=use_resource):
    global_step = tf.train.get_or_create_global_step()
    kernel = tf.get_variable("bias", initializer=tf.ones([50]))
  steps = 200
  train_op = optimization.create_optimizer(
      tf.reduce_sum(tf.square(kernel)), 1.0, 2 * steps, 0, False)
  session.run(tf.global_variables_initializer())
  rates = [session.run(["learning_rate:0", train_op])[0] for _ in range(steps)]
  np.testing.assert_allclose(
      rates, 1.0 - np.arange(steps) / (2.0 * steps), rtol=1e-5)
  assert session.run(global_step) == steps


@pytest.mark.parametrize("changes, rate, decay, clip_norm", [
    ({}, 0.5, 0.01, 1.0),
    ({"weight_decay_rate": 0.2}, 0.5, 0.2, 1.0),
    ({"clip_norm": 1e-6}, 0.5, 0.01, 1e-6),
    ({"num_warmup_steps": 4}, 0.0, 0.01, 1.0)])
def test_a_step_follows_the_settings(session, changes, rate, decay, clip_norm):
  value, gradient = np.array([3.0, 4.0]), np.array([6.0, 8.0])
  kernel = tf.get_variable("kernel", initializer=tf.constant(value, tf.float32))
  settings = optimization.Settings(
      **dict(dict(learning_rate=0.5, num_train_steps=10, num_warmup_steps=0),
             **changes))
  train_op = optimization.make_train_op(
      tf.reduce_sum(tf.square(kernel)), settings)
  session.run(tf.global_variables_initializer())
  session.run(train_op)
  expected, _, _ = adamw_step(
      value, 0.0, 0.0, gradient * clip_norm / 10.0, rate, decay)
  np.testing.assert_allclose(session.run(kernel), expected, rtol=1e-5)


LAYERED = {"bert/embeddings/words": 0.5 ** 3,
           "bert/encoder/layer_0/kernel": 0.25,
           "bert/encoder/layer_1/LayerNorm/gamma": 0.5,
           "bert/pooler/kernel": 1.0, "output_bias": 1.0}


def test_lower_layers_have_smaller_learning_rates():
  assert optimization.layer_factors(list(LAYERED), 1.0) == {}
  factors = optimization.layer_factors(list(LAYERED), 0.5)
  assert {name: factors.get(name, 1.0) for name in LAYERED} == LAYERED
  many = optimization.layer_factors(
      ["bert/encoder/layer_%d/k" % i for i in range(12)], 0.9)
  assert many["bert/encoder/layer_11/k"] == pytest.approx(0.9)
  assert many["bert/encoder/layer_0/k"] == pytest.approx(0.9 ** 12)


@pytest.mark.parametrize("size", [6, 2 ** 18], ids=["small", "one pass"])
@pytest.mark.parametrize("compiled", [False, True])
def test_corrected_averages_and_rates_of_layers_match_numpy(
    session, size, compiled, no_gpu):
  if compiled and tf.__version__.startswith("1."):
    pytest.skip("TensorFlow 1.15 refuses --use_xla")
  random = np.random.RandomState(3)
  values = {name: random.randn(size).astype(np.float32) for name in LAYERED}
  variables = {name: tf.get_variable(name, initializer=value, use_resource=True)
               for name, value in values.items()}
  with tf.variable_scope("", use_resource=True):
    tf.train.get_or_create_global_step()
  gradients = {name: random.randn(size).astype(np.float32) for name in LAYERED}
  train_op = optimization.make_train_op(
      sum(tf.reduce_sum(gradients[name] * variable)
          for name, variable in variables.items()),
      optimization.Settings(
          learning_rate=0.1, num_train_steps=100, num_warmup_steps=0,
          clip_norm=1e9, compiled=compiled, adam_bias_correction=True,
          layerwise_lr_decay=0.5))
  session.run(tf.global_variables_initializer())
  expected = {name: (value.astype(np.float64), 0.0, 0.0)
              for name, value in values.items()}
  for step in range(3):
    session.run(train_op)
    for name, (value, m, v) in expected.items():
      m = 0.9 * m + 0.1 * gradients[name]
      v = 0.999 * v + 0.001 * gradients[name].astype(np.float64) ** 2
      change = m / (1 - 0.9 ** (step + 1)) / (
          np.sqrt(v / (1 - 0.999 ** (step + 1))) + 1e-6)
      decay = 0.0 if "LayerNorm" in name or "bias" in name else 0.01
      rate = 0.1 * (1 - step / 100.0) * LAYERED[name]
      expected[name] = value - rate * (change + decay * value), m, v
  for name, found in session.run(variables).items():
    np.testing.assert_allclose(found, expected[name][0], 1e-4, 1e-5, name)


def slowly(value):
  """A tensor that takes its time."""
  def sleep():
    time.sleep(0.2)
    return np.float32(value)
  tensor = tf.py_func(sleep, [], tf.float32)
  tensor.set_shape([])
  return tensor


@pytest.mark.parametrize("use_resource", [True, False])
def test_forward_pass_reads_the_values_before_the_step(session, use_resource):
  kernel = tf.get_variable("kernel", initializer=[0.3, -0.2],
                           use_resource=use_resource)
  factor = slowly(1.0)
  with tf.control_dependencies([factor]):
    late = kernel.read_value()
  # With this rate the decay alone takes half of the values away.
  train_op = optimization.create_optimizer(
      tf.reduce_sum(tf.square(late)) * factor, 50.0, 100, 0, False)
  session.run(tf.global_variables_initializer())
  session.run(train_op)
  np.testing.assert_allclose(
      session.run(variable_named("kernel/adam_m")),
      0.1 * 2 * np.array([0.3, -0.2]), rtol=1e-5)
  expected, _, _ = adamw_step(
      np.array([0.3, -0.2]), 0.0, 0.0, np.array([0.6, -0.4]), 50.0, DECAY)
  np.testing.assert_allclose(session.run(kernel), expected, rtol=1e-4)


@pytest.mark.parametrize("use_resource", [True, False])
@pytest.mark.parametrize("factor", [np.inf, np.nan], ids=["inf", "nan"])
def test_norm_that_is_not_finite_changes_nothing(session, use_resource, factor):
  variables = make_variables(use_resource)
  fed = tf.placeholder(tf.float32, [])
  loss = slowly(1.0) * fed * sum(
      tf.reduce_sum(tf.square(v)) for v in variables.values())
  train_op = optimization.create_optimizer(loss, 1.0, 1000, 0, False)
  session.run(tf.global_variables_initializer())
  for _ in range(3):
    session.run(train_op, {fed: 0.1})
  before = session.run(tf.global_variables())
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    session.run(train_op, {fed: factor})
  assert re.search(r"not finite at global step\W+3\b", error.value.message)
  for variable, expected, actual in zip(
      tf.global_variables(), before, session.run(tf.global_variables())):
    np.testing.assert_array_equal(actual, expected, variable.name)
  session.run(train_op, {fed: 0.1})  # the next batch may be a good one
  assert session.run(tf.train.get_global_step()) == 4


def test_variable_without_gradient_is_left_alone(session):
  used = tf.get_variable("used/kernel", initializer=[1.0, 2.0])
  unused = tf.get_variable("unused/kernel", initializer=[3.0, 4.0])
  train_op = optimization.create_optimizer(
      tf.reduce_sum(used), 0.1, 10, 0, False)
  assert not [v for v in tf.global_variables()
              if v.op.name.startswith("unused/kernel/")]
  session.run(tf.global_variables_initializer())
  session.run(train_op)
  np.testing.assert_array_equal(session.run(unused), [3.0, 4.0])
  assert np.all(session.run(used) < [1.0, 2.0])


@pytest.mark.parametrize("use_resource", [True, False])
def test_apply_gradients_leaves_the_global_step_alone(session, use_resource):
  global_step = tf.train.get_or_create_global_step()
  variables = make_variables(use_resource)
  rng = np.random.RandomState(3)
  gradients = {name: rng.randn(*shape)
               for name, shape in gradient_shapes().items()}
  optimizer = optimization.AdamWeightDecayOptimizer(
      learning_rate=0.1, weight_decay_rate=0.2,
      exclude_from_weight_decay=["kern.l$"])
  grads_and_vars = []
  for name, variable in variables.items():
    gradient = tf.constant(gradients[name], tf.float32)
    if name == "words":
      gradient = tf.IndexedSlices(gradient, tf.constant(WORD_IDS),
                                  tf.constant([5, 3]))
    grads_and_vars.append((gradient, variable))
  grads_and_vars.append((None, tf.get_variable("no_gradient", [])))
  train_op = optimizer.apply_gradients(grads_and_vars, global_step=global_step)
  session.run(tf.global_variables_initializer())
  session.run(train_op)
  assert session.run(global_step) == 0
  for name, value in initial_values().items():
    gradient = gradients[name]
    if name == "words":
      gradient = np.zeros([5, 3])
      np.add.at(gradient, WORD_IDS, gradients[name])
    expected, _, _ = adamw_step(
        value, 0.0, 0.0, gradient, 0.1, 0.0 if "kernel" in name else 0.2)
    np.testing.assert_allclose(
        session.run(variables[name]), expected, rtol=1e-4, atol=1e-6)
  assert optimizer.get_slot(variables["words"], "adam_m").op.name == (
      "words/adam_m")


def test_gradient_norm_is_the_same_packed_and_padded():
  config = modeling.BertConfig(
      vocab_size=9, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
      intermediate_size=8, hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0, max_position_embeddings=6,
      type_vocab_size=2, initializer_range=0.5)
  # Words, positions and types all occur several times among the real tokens.
  ids = [[1, 4, 4, 2, 0, 0], [1, 4, 5, 6, 7, 2]]
  mask = [[1, 1, 1, 1, 0, 0], [1, 1, 0, 1, 1, 1]]
  types = [[0, 0, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1]]
  norms, summed, weights = [], [], None
  for remove_padding in (False, True):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(1)
      model = modeling.BertModel(
          config, True, tf.constant(ids), tf.constant(mask), tf.constant(types),
          options=modeling.Options(remove_padding=remove_padding))
      loss = tf.reduce_sum(tf.square(model.get_pooled_output() - 0.5))
      train_op = optimization.create_optimizer(loss, 0.1, 10, 0, False)
      gradients = tf.gradients(loss, tf.trainable_variables())
      tables = [g for g, v in zip(gradients, tf.trainable_variables())
                if v.op.name.endswith("_embeddings")]
      # Words come as rows; positions and types must not.
      assert [isinstance(g, tf.IndexedSlices) for g in tables] == [
          True, False, False]
      dense = tf.global_norm([tf.convert_to_tensor(g) for g in gradients])
      session.run(tf.global_variables_initializer())
      # One seed draws other weights in another graph on TensorFlow 1.15.
      weights = weights or session.run(tf.trainable_variables())
      session.run([tf.assign(variable, value) for variable, value in zip(
          tf.trainable_variables(), weights)])
      # Apart: these gradients must not read what the step has updated.
      summed.append(session.run(dense))
      norms.append(session.run(["global_norm:0", train_op])[0])
  assert norms[1] == pytest.approx(norms[0], rel=1e-5)
  assert summed[1] == pytest.approx(summed[0], rel=1e-5)
  # The rows of a repeated word counted one by one do make a difference here.
  assert abs(norms[0] - summed[0]) > 1e-3 * norms[0]


def test_tpu_cores_sum_every_gradient():
  with tf.Graph().as_default() as graph:
    a, b = [tf.get_variable(n, [2]) for n in "ab"]
    optimization.create_optimizer(
        tf.reduce_sum(a * b), 0.1, 10, 0, use_tpu=True)
    summed = [op for op in graph.get_operations()
              if op.type == "CrossReplicaSum"]
    assert len(summed) == 2


def find_updates(graph):
  """Finds the compiled updates, one for each variable."""
  return [op for op in graph.get_operations()
          if op.type in ("PartitionedCall", "StatefulPartitionedCall")]


@pytest.fixture
def no_gpu(monkeypatch):
  monkeypatch.setattr(environment, "find_gpus", lambda: [])


def test_a_gpu_compiles_no_update_unless_told_to(monkeypatch):
  """XLA for GPUs may lack files, and its compiler would stop the training."""
  monkeypatch.setattr(environment, "find_gpus", lambda: ["GPU:0"])
  with tf.Graph().as_default() as graph:
    variable = tf.get_variable("v", [512, 512], use_resource=True)
    optimization.create_optimizer(
        tf.reduce_sum(tf.square(variable)), 0.1, 10, 0, False)
    assert not find_updates(graph)


@pytest.mark.skipif(tf.__version__.startswith("1."),
                    reason="compiles no functions")
def test_compiled_updates_are_the_same_for_any_number_of_rows():
  """A program whose inputs have a row per token is compiled for each number."""
  def train(compiled):
    with tf.Graph().as_default() as graph, tf.Session() as session:
      ids = tf.placeholder(tf.int32, [None])
      variables = [tf.get_variable(
          name, initializer=tf.ones(shape), use_resource=True)
                   for name, shape in (("table", [5, 2]), ("scale", [2]))]
      table, scale = variables
      train_op = optimization.make_train_op(
          tf.reduce_sum(tf.gather(table, ids) * scale),
          optimization.Settings(0.1, 10, 0, compiled=compiled))
      programs = find_updates(graph)
      assert len(programs) == 2 * compiled  # norm and update
      assert all(tensor.shape.is_fully_defined()
                 for program in programs for tensor in program.inputs)
      assert graph.get_tensor_by_name("global_norm:0").shape == []
      session.run(tf.global_variables_initializer())
      for batch in ([1, 3, 1], [0]):
        session.run(train_op, {ids: batch})
      return session.run(variables)

  for ours, theirs in zip(train(True), train(False)):
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_a_variable_more_adds_no_constants_of_the_optimizer(no_gpu):
  """BERT-Base has 201 variables; what they share is in the graph once."""
  def count_constants(num_variables):
    with tf.Graph().as_default() as graph:
      variables = [tf.get_variable("v%d" % i, [512, 512], use_resource=True)
                   for i in range(num_variables)]
      gradients = [tf.ones([512, 512]) for _ in variables]
      before = set(graph.get_operations())
      optimization.AdamWeightDecayOptimizer(0.1).apply_gradients(
          zip(gradients, variables))
      return sum(op.type == "Const" and any(
          consumer in find_updates(graph)
          for consumer in op.outputs[0].consumers())
                 for op in graph.get_operations() if op not in before)

  assert count_constants(1) == count_constants(3)


@pytest.mark.parametrize("use_resource", [True, False])
def test_what_is_small_and_does_not_decay_is_updated_by_one_operation(
    use_resource):
  with tf.Graph().as_default() as graph:
    variables = make_variables(use_resource)
    loss = sum(map(tf.reduce_sum, variables.values()))
    optimization.create_optimizer(loss, 0.1, 10, 0, False)
    updates = [op for op in graph.get_operations()
               if op.type in ("ApplyAdam", "ResourceApplyAdam")]
    assert len(updates) == list(DECAYS.values()).count(False)


def test_shared_constants_wait_for_nothing(no_gpu):
  """Else the first variables would wait for the last gradient."""
  with tf.Graph().as_default() as graph:
    variable = tf.get_variable("v", [512, 512], use_resource=True)
    optimization.AdamWeightDecayOptimizer(
        0.1, weight_decay_rate=0.01).apply_gradients(
            [(tf.identity(tf.ones([512, 512])), variable)])
    update, = find_updates(graph)
    constants = [tensor.op for tensor in update.inputs
                 if tensor.op.type == "Const"]
    assert len(constants) == 3  # rate, decay, scale
    assert not any(op.control_inputs for op in constants)


@pytest.mark.parametrize("num_warmup_steps,share,rate", [
    (10000, "0.2%", "1.9e-06"), (20, "95.0%", "0.00095"),
    (10**6, "0.002%", "1.9e-08")])
def test_a_warmup_that_never_ends_is_pointed_out_with_the_highest_rate(
    session, num_warmup_steps, share, rate):
  loss = tf.reduce_sum(tf.get_variable("x", [2]))
  with captured_log() as lines:
    optimization.create_optimizer(loss, 1e-3, 20, num_warmup_steps, False)
  assert lines[0].startswith(
      "--num_warmup_steps (%d) is not less than --num_train_steps (20): the "
      "learning rate never exceeds %s of --learning_rate (%s); " % (
          num_warmup_steps, share, rate))


def test_a_warmup_that_ends_is_not_pointed_out(session):
  loss = tf.reduce_sum(tf.get_variable("x", [2]))
  for num_warmup_steps in (None, 0, 19):
    with captured_log() as lines, tf.variable_scope(str(num_warmup_steps)):
      optimization.create_optimizer(loss, 1e-3, 20, num_warmup_steps, False)
    assert not [line for line in lines if "warm" in line]


@pytest.mark.parametrize("compiled", [False, True])
def test_float16_shrinks_the_loss_scale_until_gradients_are_finite(
    session, compiled):
  """A skipped step changes neither variables nor the global step."""
  if compiled and tf.__version__.startswith("1."):
    pytest.skip("compiles no functions")
  factor = tf.placeholder(tf.float32, [])
  variable = tf.get_variable("v", initializer=[1.0, 2.0])
  step = tf.train.get_or_create_global_step()
  train_op = optimization.make_train_op(
      tf.reduce_sum(variable * factor), optimization.Settings(
          0.1, 10, 0, compute_dtype="float16", compiled=compiled))
  session.run([tf.global_variables_initializer(),
               tf.local_variables_initializer()])
  scale = [v for v in tf.local_variables() if "factor" in v.op.name][0]
  assert not [v for v in tf.global_variables() if "loss_scale" in v.op.name]
  before = session.run(variable)
  for halvings in (1, 2):  # 1e35 times the scale is more than float32 has
    session.run(train_op, {factor: 1e35})
    assert session.run([scale, step]) == [2.0 ** (15 - halvings), 0]
    np.testing.assert_array_equal(session.run(variable), before)
  session.run(train_op, {factor: 1.0})
  assert session.run([scale, step]) == [2.0 ** 13, 1]
  with_scale = session.run(variable)
  unscaled = optimization.AdamWeightDecayOptimizer(
      0.1, 0.01).apply_gradients([(tf.ones([2]) / np.sqrt(2.0), variable)])
  session.run(tf.global_variables_initializer())
  session.run(unscaled)
  np.testing.assert_allclose(with_scale, session.run(variable), rtol=1e-6)


def test_the_loss_scale_stays_finite_where_gradients_are_0(
    session, monkeypatch):
  monkeypatch.setattr(optimization.LossScale, "_STEPS_TO_GROW", 1)
  variable = tf.get_variable("v", initializer=[1.0, 2.0])
  train_op = optimization.make_train_op(
      tf.reduce_sum(variable * 0.0), optimization.Settings(
          0.1, 10, 0, compute_dtype="float16"))
  session.run([tf.global_variables_initializer(),
               tf.local_variables_initializer()])
  factors = []
  for _ in range(11):
    session.run(train_op)
    factors += session.run([v for v in tf.local_variables()
                            if "factor" in v.op.name])
  assert factors == [2.0 ** min(15 + i, 24) for i in range(1, 12)]


def test_compiling_an_update_of_other_variables_says_what_it_needs(session):
  variable = tf.get_variable("v", initializer=[1.0, 2.0], use_resource=False)
  with pytest.raises(ValueError, match="call tf.enable_resource_variables()"):
    optimization.make_train_op(
        tf.reduce_sum(variable), optimization.Settings(
            0.1, 10, 0, compiled=True))


def test_float16_stops_where_no_loss_scale_helps(session):
  variable = tf.get_variable("v", initializer=[1.0, 2.0])
  train_op = optimization.make_train_op(
      tf.reduce_sum(variable * np.inf), optimization.Settings(
          0.1, 10, 0, compute_dtype="float16"))
  session.run([tf.global_variables_initializer(),
               tf.local_variables_initializer()])
  with pytest.raises(tf.errors.InvalidArgumentError, match="not finite"):
    for _ in range(17):
      session.run(train_op)


@pytest.mark.skipif(tf.__version__.startswith("1."),
                    reason="adds up in bfloat16, and is refused")
def test_losses_in_bfloat16_stay_within_a_percent():
  """Fifty steps on the same batches, without dropout."""
  config = modeling.BertConfig(
      vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=2,
      intermediate_size=64, max_position_embeddings=16,
      hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
  rng = np.random.RandomState(1)
  batches = rng.randint(40, size=[50, 16, 12])

  def train(compute_dtype):
    with tf.Graph().as_default(), tf.Session() as session:
      tf.set_random_seed(1)
      ids = tf.placeholder(tf.int32, [16, 12])
      model = modeling.BertModel(
          config, True, ids, options=modeling.Options(
              compute_dtype=compute_dtype))
      # The parity of the first id, which can be learnt.
      logits = modeling.dense(model.get_pooled_output(), 2, name="head")
      loss = tf.reduce_mean(
          tf.nn.sparse_softmax_cross_entropy_with_logits(
              labels=ids[:, 0] % 2, logits=logits))
      train_op = optimization.make_train_op(loss, optimization.Settings(
          2e-3, 60, 5, compute_dtype=compute_dtype))
      session.run(tf.global_variables_initializer())
      return np.array([session.run([loss, train_op], {ids: batch})[0]
                       for batch in batches])

  exact, rounded = train("float32"), train("bfloat16")
  assert exact[-10:].mean() < 0.6 * exact[:10].mean()  # it does learn
  assert not np.array_equal(exact, rounded)
  np.testing.assert_allclose(rounded, exact, atol=0.01 * exact.max())
