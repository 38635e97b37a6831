"""Tests of optimizers: steps against NumPy, slots, and a resumed run."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, optimization
import helpers
import run_classifier

RATE, STEPS, POWER = 0.1, 20, 2.0
# Shapes, and the factor of the learning rate of each.
VARIABLES = {
    "bert/embeddings/words": ([6, 4], 0.25),
    "bert/encoder/layer_0/kernel": ([4, 3], 0.5),
    "bert/encoder/layer_0/LayerNorm/gamma": ([4], 0.5),
    "output_weights": ([2, 4], 1.0), "output_bias": ([2], 1.0)}
WORDS = np.array([1, 3, 1])


def norm(value):
  return np.sqrt(np.sum(np.square(value)))


def rms(value):
  return np.sqrt(np.mean(np.square(value)))


def lamb(value, slots, gradient, rate, decay, step):
  """You et al., algorithm 2, in float64; `slots` are changed."""
  m = slots["lamb_m"] = 0.9 * slots.get("lamb_m", 0) + 0.1 * gradient
  v = slots["lamb_v"] = 0.999 * slots.get("lamb_v", 0) + 0.001 * gradient ** 2
  ratio = (m / (1 - 0.9 ** step)) / (
      np.sqrt(v / (1 - 0.999 ** step)) + 1e-6)
  update = ratio + decay * value
  trust = 1.0
  if norm(value) > 0 and norm(update) > 0:
    trust = norm(value) / norm(update)
  return value - rate * trust * update


def adafactor(value, slots, gradient, rate, decay, step):
  """Shazeer and Stern, algorithms 4 and 5; sums are means here."""
  beta = 1 - step ** -0.8
  square = gradient ** 2 + 1e-30
  if value.ndim == 1:
    v = slots["adafactor_v"] = (
        beta * slots.get("adafactor_v", 0) + (1 - beta) * square)
  else:
    rows = slots["adafactor_vr"] = beta * slots.get("adafactor_vr", 0) + (
        1 - beta) * square.mean(axis=1)
    columns = slots["adafactor_vc"] = beta * slots.get("adafactor_vc", 0) + (
        1 - beta) * square.mean(axis=0)
    v = np.outer(rows, columns) / rows.mean()
  update = gradient / np.sqrt(v)
  update /= max(1.0, rms(update))
  return value - rate * (max(1e-3, rms(value)) * update + decay * value)


@pytest.mark.parametrize("name, step_of", [
    ("lamb", lamb), ("adafactor", adafactor)])
@pytest.mark.parametrize("more", [
    {}, {"compute_dtype": "float16"}, {"compiled": True}],
    ids=["plain", "float16", "compiled"])
def test_steps_are_those_of_numpy(name, step_of, more):
  if more.get("compiled") and tf.__version__.startswith("1."):
    pytest.skip("TensorFlow 1.15 refuses --use_xla")
  rng = np.random.RandomState(3)
  values = {name: rng.normal(size=shape) for name, (shape, _) in
            VARIABLES.items()}
  values["output_bias"] *= 0.0  # as it starts: the ratio of norms is 1
  with tf.Graph().as_default(), tf.Session() as session:
    with tf.variable_scope("", use_resource=True):
      tf.train.get_or_create_global_step()
      variables = {name: tf.get_variable(
          name, initializer=tf.constant(value, tf.float32))
                   for name, value in values.items()}
    fed = {name: tf.placeholder(tf.float32, [3, 4] if "words" in name else
                                value.shape) for name, value in values.items()}
    loss = sum(tf.reduce_sum(fed[name] * (
        tf.gather(variable, WORDS) if "words" in name else variable))
               for name, variable in variables.items())
    train_op = optimization.make_train_op(loss, optimization.Settings(
        RATE, STEPS, 0, optimizer=name, poly_power=POWER, clip_norm=2.0,
        layerwise_lr_decay=0.5, **more))
    session.run([tf.global_variables_initializer(),
                 tf.local_variables_initializer()])
    slots = {name: {} for name in values}
    for step in range(1, 6):
      gradients = {name: rng.normal(size=tensor.shape.as_list())
                   for name, tensor in fed.items()}
      session.run(train_op, {fed[name]: gradients[name] for name in fed})
      scale = 2.0 / max(2.0, norm([norm(g) for g in gradients.values()]))
      for variable, gradient in gradients.items():
        gradient = scale * gradient
        if "words" in variable:
          rows = np.zeros([6, 4])
          np.add.at(rows, WORDS, gradient)
          gradient = rows
        values[variable] = step_of(
            values[variable], slots[variable], gradient,
            RATE * (1 - (step - 1) / STEPS) ** POWER * VARIABLES[variable][1],
            0.0 if "LayerNorm" in variable or "bias" in variable else 0.01,
            step)
    found = session.run({v.op.name: v for v in tf.global_variables()})
  del found["global_step"]
  assert sorted(found) == sorted(list(values) + [
      "%s/%s" % pair for variable, ours in slots.items()
      for pair in [(variable, slot) for slot in ours]])
  for variable, value in values.items():
    np.testing.assert_allclose(found[variable], value, 1e-5, 1e-5, variable)
    for slot, expected in slots[variable].items():
      np.testing.assert_allclose(
          found["%s/%s" % (variable, slot)], expected, 1e-4, 1e-7)


def test_the_power_leaves_the_warm_up_linear():
  with tf.Graph().as_default(), tf.Session() as session:
    step = tf.placeholder(tf.int64, [])
    rate = optimization.learning_rate_schedule(0.8, 10, 4, step, 3.0)
    assert session.run(rate, {step: 2}) == pytest.approx(0.4)
    assert session.run(rate, {step: 5}) == pytest.approx(0.1)
    assert session.run(rate, {step: 10}) == 0.0


def test_a_script_trains_and_resumes_with_one_optimizer_only(tmp_path):
  arguments = dict(
      task_name="MRPC", data_dir=helpers.write_mrpc(tmp_path / "data"),
      vocab_file=helpers.write_vocab(tmp_path),
      bert_config_file=helpers.write_config(tmp_path), max_seq_length=16,
      train_batch_size=2, gradient_accumulation_steps=2, num_train_epochs=1,
      do_train=True, optimizer="adafactor", learning_rate=0.01,
      output_dir=tmp_path / "out")
  helpers.run_main(run_classifier, [
      "--%s=%s" % item for item in sorted(arguments.items())])
  weights = helpers.read_weights(str(tmp_path / "out" / "model.ckpt-3"))
  kernel = "bert/encoder/layer_0/output/dense/kernel"
  assert weights[kernel + "/adafactor_vr"].shape == (24,)
  assert weights[kernel + "/adafactor_vc"].shape == (16,)
  assert not [name for name in weights if "adam" in name]
  arguments["num_train_epochs"] = 2
  del arguments["optimizer"]
  for optimizer, text in (
      ("lamb --adam_bias_correction", "--optimizer=lamb has no use for it"),
      ("adamw", "has the averages of adafactor; give --optimizer=adafactor, "),
      ("sgd", "--optimizer=sgd: expected one of adamw, adafactor, lamb")):
    with pytest.raises(cli.UserError) as error:
      helpers.run_main(run_classifier, [
          "--%s=%s" % item for item in sorted(arguments.items())] +
                       ("--optimizer=" + optimizer).split())
    assert text in str(error.value) and "\n" not in str(error.value)
