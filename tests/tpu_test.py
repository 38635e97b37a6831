"""What can be proved about --use_tpu without a TPU.

A TPU runs one program that XLA compiles, so the step must have static shapes
and compile; that is so on a CPU as well.
"""

import dataclasses
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    cli, faults, input_pipeline, run_settings, tf_estimator, training)
from bert_suite.ner import head as ner_head
import helpers
import modeling
import run_classifier
import run_ner
import run_pretraining
import run_squad

CONFIG = modeling.BertConfig(**dict(
    helpers.CONFIG, num_hidden_layers=2, hidden_dropout_prob=0.0,
    attention_probs_dropout_prob=0.0))


def make_ner(init_checkpoint, settings, options):
  return training.make_model_fn(
      lambda features, is_training: ner_head.make_head(
          CONFIG, options, features, is_training, 3,
          in_graph=settings.use_tpu), init_checkpoint, settings)


SCRIPTS = {
    run_classifier: (
        lambda path: run_classifier.file_based_input_fn_builder(
            path, 16, True, True),
        lambda *args: run_classifier.make_model_fn(CONFIG, 3, *args)),
    run_squad: (
        lambda path: run_squad.input_fn_builder(path, 16, True, True),
        lambda *args: run_squad.make_model_fn(CONFIG, *args)),
    run_ner: (
        lambda path: input_pipeline.make_input_fn(path, {
            name: tf.FixedLenFeature([16], tf.int64) for name in (
                "input_ids", "input_mask", "segment_ids", "label_ids",
                "label_mask")}, True, True),
        make_ner),
    run_pretraining: (
        lambda path: run_pretraining.input_fn_builder([path], 16, 4, True),
        lambda *args: run_pretraining.make_model_fn(CONFIG, *args))}
WAYS = [dict(), dict(gradient_accumulation_steps=2), dict(recompute_grad=True),
        dict(gradient_accumulation_steps=2, recompute_grad=True,
             compute_dtype="bfloat16")]
BATCH = 4  # of a core

no_estimator = pytest.mark.skipif(
    not hasattr(tf, "estimator"), reason="no TPUs from 2.16 on")


def make_features(script, folder):
  """Returns the features that a script's input_fn gives to a core."""
  path = str(folder / "records")
  if not tf.gfile.Exists(path):
    tf.io.TFRecordWriter(path).close()
  dataset = SCRIPTS[script][0](path)({"batch_size": BATCH})
  return tf.data.make_one_shot_iterator(dataset).get_next()


def build_step(script, features, use_tpu=True, **flags):
  """Builds a training step; returns loss and training op."""
  warmup = ("num_warmup_steps" if script is run_pretraining else
            "warmup_proportion")
  settings = script.Settings(
      use_tpu=use_tpu, learning_rate=1e-2, **dict(flags, **{warmup: 0}))
  options = run_settings.model_options(settings)
  assert options.use_one_hot_embeddings == use_tpu
  assert not (use_tpu and (options.remove_padding or options.compiled))
  if not use_tpu:
    # Else the norm takes the rows of a word one by one, and the softmax over
    # the tokens of a question leaves padding out; here, padding has tags.
    options = dataclasses.replace(
        options, use_one_hot_embeddings=True,
        remove_padding=options.remove_padding and script not in (
            run_squad, run_ner))
  model_fn = SCRIPTS[script][1](
      None, run_settings.optimizer_settings(settings, 10), options)
  spec = model_fn(features, None, tf_estimator.ModeKeys.TRAIN,
                  {"batch_size": BATCH})
  return spec.loss, spec.train_op


def ops_of_step(train_op, features):
  """Returns the ops that a step runs, from the features on."""
  ends = {tensor.op for tensor in features.values()}
  found, waiting = set(), [train_op]
  while waiting:
    op = waiting.pop()
    if op not in found and op not in ends:
      found.add(op)
      waiting += [tensor.op for tensor in op.inputs] + op.control_inputs
  return found


@pytest.mark.parametrize("way", WAYS, ids=str)
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda one: one.__name__)
def test_every_shape_of_a_step_is_static(script, way, tmp_path):
  with tf.Graph().as_default() as graph:
    tf.enable_resource_variables()
    features = make_features(script, tmp_path)
    assert all(value.shape.is_fully_defined() for value in features.values())
    _, train_op = build_step(script, features, **way)
    ops = ops_of_step(train_op, features)
    assert len(ops) > 500
    # TensorFlow 1.15 finds out by an op which axes were broadcast; XLA computes
    # that from the shapes while it compiles.
    assert not [tensor for op in ops for tensor in op.outputs
                if not tensor.shape.is_fully_defined() and
                op.type != "BroadcastGradientArgs"]
    # Nothing is hidden in a function, and nothing is looked up by index.
    assert not [op for op in ops if "Call" in op.type or "PyFunc" in op.type]
    table = graph.get_tensor_by_name("bert/embeddings/word_embeddings:0")
    assert not [op for op in ops if op.type in ("Gather", "GatherV2",
                                                "ResourceGather")
                and op.inputs[0] is table.op.outputs[0]]
    # One sum over the cores for each gradient.
    unused = 2 if script in (run_squad, run_ner) else 0  # those of the pooler
    assert len([op for op in ops if op.type == "CrossReplicaSum"]) == (
        len(tf.trainable_variables()) - unused)


def make_batch(features):
  """Returns arrays of the shapes of features."""
  rng = np.random.RandomState(3)
  batch = {name: rng.randint(0, 2, value.shape.as_list())
           for name, value in features.items()}
  for name, end in (("input_ids", len(helpers.WORDS)), ("masked_lm_ids", 20),
                    ("masked_lm_positions", 4), ("start_positions", 4),
                    ("end_positions", 4)):
    if name in batch:
      batch[name] = rng.randint(0, end, batch[name].shape)
  batch["input_mask"] = np.sort(batch["input_mask"])[:, ::-1]
  batch["input_mask"][:, :4] = 1
  return batch


def take_steps(script, folder, use_tpu, **flags):
  """Takes two steps from the same weights; returns losses and new weights."""
  with tf.Graph().as_default(), tf.Session() as session:
    shapes = make_features(script, folder)
    batch = make_batch(shapes)
    features = {name: tf.placeholder(value.dtype, value.shape)
                for name, value in shapes.items()}
    tf.set_random_seed(1)
    if use_tpu:
      names = sorted(features)
      loss, = tf.xla.experimental.compile(
          lambda *tensors: build_step(
              script, dict(zip(names, tensors)), **flags),
          [features[name] for name in names])
    else:
      loss, train_op = build_step(script, features, use_tpu=False, **flags)
      with tf.control_dependencies([train_op]):
        loss = tf.identity(loss)
    session.run(tf.global_variables_initializer())
    rng = np.random.RandomState(2)
    helpers.load_variables(session, {
        variable: rng.normal(0, 0.3, variable.shape.as_list())
        for variable in sorted(tf.trainable_variables(), key=lambda v: v.name)})
    feed = {features[name]: value for name, value in batch.items()}
    losses = [session.run(loss, feed) for _ in range(2)]
    assert session.run(tf.train.get_global_step()) == 2
    return losses, session.run(
        {variable.name: variable for variable in tf.trainable_variables()})


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__.startswith("1."), reason="XLA of its CPU")
@pytest.mark.parametrize("script, way", [
    (run_classifier, WAYS[0]), (run_squad, WAYS[1]), (run_ner, WAYS[1]),
    (run_pretraining, WAYS[2]), (run_pretraining, WAYS[1])], ids=str)
def test_the_step_of_a_tpu_compiles_and_is_that_of_a_cpu(
    script, way, tmp_path, monkeypatch):
  """But for the sum over cores, which a CPU's XLA lacks: here is one core."""
  monkeypatch.setattr(  # of the classifier's own, which is always on
      modeling, "dropout", lambda tensor, unused_probability: tensor)
  optimizer = sys.modules[tf.tpu.CrossShardOptimizer.__module__]
  monkeypatch.setattr(optimizer.tpu_ops, "cross_replica_sum",
                      lambda gradient, unused_groups=None: gradient)
  losses, weights = take_steps(script, tmp_path, use_tpu=True, **way)
  expected_losses, expected = take_steps(script, tmp_path, use_tpu=False, **way)
  np.testing.assert_allclose(losses, expected_losses, rtol=1e-5)
  assert abs(losses[0] - losses[1]) > 1e-3
  assert set(weights) == set(expected)
  for name, value in weights.items():
    np.testing.assert_allclose(value, expected[name], atol=1e-4, err_msg=name)


@no_estimator
def test_the_estimator_of_a_tpu_is_set_up_as_the_flags_say(tmp_path):
  estimator = training.make_estimator(
      lambda features, labels, mode, params: None, str(tmp_path), 32,
      use_tpu=True, tpu_name="grpc://10.0.0.2:8470", num_tpu_cores=16,
      iterations_per_loop=50, save_checkpoints_steps=70)
  config = estimator.config
  assert config.tpu_config.iterations_per_loop == 50
  assert config.tpu_config.num_shards == 16
  assert config.tpu_config.per_host_input_for_training == (
      tf_estimator.InputPipelineConfig.PER_HOST_V2)
  assert config.save_checkpoints_steps == 70
  assert config.master == "grpc://10.0.0.2:8470"
  local = training.make_estimator(
      lambda features, labels, mode, params: None, str(tmp_path),
      use_tpu=True, master="grpc://10.0.0.3:8470")
  assert local.config.master == "grpc://10.0.0.3:8470"


@no_estimator
def test_without_a_tpu_there_is_one_line(tmp_path, monkeypatch):
  def look_up(*unused_args, **unused_kwargs):
    raise OSError("<urlopen error>")

  estimator = training.make_estimator(
      lambda features, labels, mode, params: None, str(tmp_path), use_tpu=True)
  with pytest.raises(RuntimeError) as error:
    estimator.train(lambda params: None, max_steps=1)
  assert faults.describe(error.value) == (
      "--use_tpu: TensorFlow finds no TPU; name one with --tpu_name "
      "(--tpu_name=local on its own machine), or leave --use_tpu out")
  monkeypatch.setattr(
      tf.distribute.cluster_resolver, "TPUClusterResolver", look_up)
  with pytest.raises(cli.UserError, match=(
      r"^--tpu_name=mine: cannot be looked up \(<urlopen error>\); on the")):
    training.make_estimator(None, str(tmp_path), use_tpu=True, tpu_name="mine")
