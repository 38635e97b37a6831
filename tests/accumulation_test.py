"""Tests of accumulation: parts of a batch make the update of the whole."""

import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    classifier_head, cli, modeling, optimization, tf_estimator, training, xla)
from bert_suite.classification import make_encoder
from bert_suite.ner import head as ner_head
from bert_suite.pretraining import heads
from bert_suite.squad import head as squad_head
import helpers

BATCH, LENGTH, PREDICTIONS = 12, 10, 3
CONFIG = modeling.BertConfig(
    vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=12, max_position_embeddings=LENGTH, type_vocab_size=2,
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
    initializer_range=0.3)


def make_features(batch=BATCH):
  """A batch of texts of other lengths, and of other numbers of predictions."""
  rng = np.random.RandomState(1)
  lengths = rng.randint(3, LENGTH + 1, size=[batch, 1])
  mask = np.arange(LENGTH) < lengths
  # The first rows have many predictions, the last ones few or none.
  counts = np.maximum(PREDICTIONS - np.arange(batch) // 3, 0)[:, np.newaxis]
  numbers = dict(
      input_ids=rng.randint(1, 20, size=[batch, LENGTH]) * mask,
      input_mask=mask, segment_ids=rng.randint(2, size=[batch, LENGTH]) * mask,
      masked_lm_positions=rng.randint(3, size=[batch, PREDICTIONS]),
      masked_lm_ids=rng.randint(20, size=[batch, PREDICTIONS]),
      next_sentence_labels=rng.randint(2, size=[batch, 1]),
      label_ids=np.arange(batch) % 5 // 3, unique_ids=np.arange(batch),
      start_positions=rng.randint(3, size=[batch]),
      end_positions=rng.randint(3, size=[batch]))
  features = {name: np.int32(value) for name, value in numbers.items()}
  features["masked_lm_weights"] = np.float32(np.arange(PREDICTIONS) < counts)
  return features


def classifier(options, **more):
  return classifier_head.make_head(
      make_encoder(CONFIG, options), 2, False, **more)


def ner(options):
  def head_fn(features, is_training):
    return ner_head.make_head(CONFIG, options, dict(
        features, label_ids=features["segment_ids"],
        label_mask=features["input_mask"]), is_training, 2, [0.2, 3.0])

  return head_fn


HEADS = {
    "pretraining": lambda options: functools.partial(
        heads.make_head, CONFIG, options, True),
    "classifier": classifier,
    "weighted classifier": lambda options: classifier(
        options, label_weights=[0.2, 3.0]),
    "NER": ner,
    "SQuAD": lambda options: functools.partial(
        squad_head.make_head, CONFIG, options)}


def train(head_fn, features, num_parts, batch_size=None, known=True,
          num_train_steps=10, placed=None, **settings):
  """Returns variables after two steps, by name; and their losses and norms."""
  rows = len(next(iter(features.values())))
  rng = np.random.RandomState(5)
  config = tf.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=True)
  with tf.Graph().as_default(), tf.Session(config=config) as session:
    with tf.variable_scope("", use_resource=True):
      tf.train.get_or_create_global_step()
    spec = training.make_model_fn(head_fn, None, optimization.Settings(
        0.01, num_train_steps, 0, gradient_accumulation_steps=num_parts,
        **settings), placed=placed)({
            name: tf.constant(value) if known else
            tf.placeholder_with_default(value, (None,) + value.shape[1:])
            for name, value in features.items()},
                     None, tf_estimator.ModeKeys.TRAIN,
                     {"batch_size": batch_size or rows, "log_steps": 1})
    session.run([tf.global_variables_initializer(),
                 tf.local_variables_initializer()])
    helpers.load_variables(session, {
        variable: rng.normal(scale=0.3, size=variable.shape)
        for variable in tf.trainable_variables()})
    figures = [session.run([spec.loss, "global_norm:0", spec.train_op])[:2]
               for _ in range(min(2, num_train_steps))]
    values = session.run({v.op.name: v for v in tf.global_variables()})
  return values, np.array(figures)


def check_alike(found, expected):
  """Compares two results of `train`."""
  assert sorted(found[0]) == sorted(expected[0])
  np.testing.assert_allclose(found[1], expected[1], 1e-5, 1e-5)
  for name, value in expected[0].items():
    # Where a gradient is 0 but for rounding, Adam makes more of that.
    atol = 1e-6 if "adam_" in name else 1e-4
    np.testing.assert_allclose(found[0][name], value, 1e-4, atol, name)


@pytest.fixture(autouse=True)
def without_dropout(monkeypatch):
  monkeypatch.setattr(modeling, "dropout", lambda x, rate: x)


@pytest.mark.slow
@pytest.mark.parametrize("name, options, num_parts, settings", [
    ("pretraining", {"remove_padding": True}, 3, {}),
    ("pretraining", {}, 4, {"compute_dtype": "float16"}),  # scales the loss
    ("pretraining", {"use_one_hot_embeddings": True}, 6, {}),
    pytest.param(
        "pretraining", {"remove_padding": True, "compiled": True}, 2,
        {"compiled": True}, marks=pytest.mark.slow),
    ("pretraining", {"remove_padding": True, "recompute_grad": True}, 3, {}),
    pytest.param(
        "SQuAD", {"remove_padding": True, "recompute_grad": True,
                  "compiled": True}, 3, {"compiled": True},
        marks=pytest.mark.slow),
    ("classifier", {"remove_padding": True}, 3, {"clip_norm": 0.1}),
    ("weighted classifier", {}, 4, {}),
    ("NER", {"remove_padding": True}, 4, {}),
    ("SQuAD", {"remove_padding": True}, 12, {"clip_norm": 0.1})])
def test_parts_make_the_update_of_the_whole_batch(
    name, options, num_parts, settings):
  if tf.__version__.startswith("1."):
    if "compiled" in options:
      pytest.skip("TensorFlow 1.15 refuses --use_xla")
    if name == "pretraining" and not options.get("use_one_hot_embeddings"):
      pytest.skip("TensorFlow 1.15 does not sum what the table's rows get as "
                  "words and as outputs, for the norm of one piece")
  head_fn = HEADS[name](modeling.Options(**options))
  whole = HEADS[name](modeling.Options(**dict(options, recompute_grad=False)))
  check_alike(train(head_fn, make_features(), num_parts, **settings),
              train(whole, make_features(), 1, **settings))


def test_a_batch_that_ends_early_has_the_mean_of_its_own():
  features = {name: value[:10] for name, value in make_features().items()}
  head_fn = HEADS["classifier"](modeling.Options(remove_padding=True))
  check_alike(
      train(head_fn, features, 3, batch_size=12, known=False),
      train(head_fn, features, 1, known=False))


def test_the_last_step_may_have_fewer_parts():
  head_fn = HEADS["weighted classifier"](modeling.Options())
  few = {name: value[:8] for name, value in make_features().items()}
  check_alike(
      train(head_fn, make_features(), 3, num_train_steps=1,
            last_accumulation_steps=2),
      train(head_fn, few, 1, num_train_steps=1))


def test_each_part_has_the_features_and_shapes_of_its_own_batch():
  seen = []

  def head_fn(features, is_training):
    del is_training
    seen.append(features["x"].shape.as_list())
    tf.summary.scalar("in_a_loop", features["x"][0])
    weight = tf.get_variable("w", [], initializer=tf.zeros_initializer())
    tf.get_variable("unused", [])
    return training.Head(
        tf.reduce_mean(weight * features["x"]), {}, None)

  found, _ = train(head_fn, {"x": np.arange(6, dtype=np.float32)}, 3)
  assert seen == [[6], [2]]
  assert "w/adam_m" in found and "unused/adam_m" not in found


def test_parts_draw_numbers_of_their_own():
  with tf.Graph().as_default(), tf.Session() as session:
    keys = []
    for part in (None, 0, 1, 2):
      with xla.drawing_from(7, tf.constant(3), part if part is None else
                            tf.constant(part)):
        keys += [tuple(key) for key in session.run(
            [xla.draw_key() for _ in range(5)])]
  assert keys[:5] == keys[5:10]
  assert len(set(keys)) == 15


def test_a_batch_that_parts_do_not_divide_is_refused():
  with pytest.raises(cli.UserError) as error:
    train(HEADS["classifier"](None), make_features(), 5)
  assert "train_batch_size=12 " in str(error.value)
