"""Tests of metrics: numbers by hand, whole sets through the Estimator."""

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import input_pipeline, metrics, problem_types, training
import optimization
import run_pretraining

RNG = np.random.RandomState(5)
X = RNG.normal(size=11).astype(np.float32)
Y = (X ** 3 + RNG.normal(0.0, 0.3, size=11)).astype(np.float32)


def spearman(predictions, labels):
  ranks = [np.argsort(np.argsort(values)) for values in (predictions, labels)]
  return {"spearman": np.corrcoef(*ranks)[0, 1]}


def test_means_and_f1_are_those_by_hand():
  labels = np.array([1, 1, 0, 0, 1, 2])
  predictions = np.array([1, 0, 1, 0, 1, 2])
  weights = np.array([1.0, 1.0, 0.5, 0.0, 0.0, 2.0])
  assert metrics.mean(np.array([1.0, 2.0, 6.0])) == 3.0
  assert metrics.mean(np.array([1.0, 2.0, 6.0]), np.array([1, 3, 0])) == 1.75
  assert metrics.accuracy(labels, predictions) == pytest.approx(4 / 6.0)
  assert metrics.accuracy(labels, predictions, weights) == 3 / 4.5
  # Two hits, one miss, one false alarm.
  assert metrics.f1(labels, predictions) == pytest.approx(4 / 6.0)
  assert metrics.f1(labels, predictions, weights) == pytest.approx(2 / 3.5)
  assert metrics.f1(labels, predictions, positive=2) == 1.0


def test_what_weighs_nothing_has_a_mean_of_0():
  nothing = np.zeros([2], np.int32)
  assert metrics.mean(np.array([1.0, 2.0]), nothing) == 0.0
  assert metrics.accuracy(nothing, nothing, nothing) == 0.0
  assert metrics.f1(nothing, nothing) == 0.0
  assert metrics.mean(np.array([])) == 0.0


def test_an_evaluation_gives_metrics_of_the_whole_set(tmp_path):
  def head_fn(features, is_training):
    del is_training
    w = tf.get_variable("w", [], initializer=tf.ones_initializer())
    y = w * features["x"]
    return training.Head(
        tf.reduce_mean(tf.square(y - features["y"])), {"y": y},
        (spearman, {"predictions": y, "labels": features["y"]}, ["spearman"]))

  estimator = training.make_estimator(
      training.make_model_fn(head_fn, None, optimization.Settings(
          learning_rate=0.01, num_train_steps=1, num_warmup_steps=0)),
      str(tmp_path), train_batch_size=4, eval_batch_size=3)
  data = {"x": X, "y": Y}
  estimator.train(
      input_pipeline.make_array_input_fn(data, True), max_steps=1)
  for _ in range(2):  # the second starts anew
    results = estimator.evaluate(
        input_pipeline.make_array_input_fn(data, False))
    assert sorted(results) == ["global_step", "loss", "spearman"]
    assert results["spearman"] == np.float32(spearman(X, Y)["spearman"])
    assert results["spearman"].dtype == np.float32


def test_initializing_local_variables_starts_a_new_set():
  sizes = []

  def function(values):
    sizes.append(len(values))
    return {"sum": np.sum(values), "not wanted": 1}

  with tf.Graph().as_default(), tf.Session() as session:
    values = tf.placeholder(tf.float32, [None])
    pairs = metrics.whole_set(function, {"values": values}, ["sum"])
    assert list(pairs) == ["sum"]
    value, update = pairs["sum"]
    for batches in ([1.0, 2.0], [4.0, 8.0, 16.0]), ([32.0],), ():
      session.run(tf.local_variables_initializer())
      for batch in batches:
        session.run(update, {values: batch})
      assert session.run(value) == np.sum(np.concatenate([[0.0], *batches]))
  assert sizes == [5, 1]  # without a batch it is not asked


def test_pretraining_has_the_same_metrics_on_and_off_tpus():
  rng = np.random.RandomState(3)
  arrays = dict(
      masked_lm_example_loss=rng.rand(12).astype(np.float32),
      masked_lm_predictions=rng.randint(2, size=12).astype(np.int32),
      masked_lm_ids=rng.randint(2, size=12).astype(np.int32),
      masked_lm_weights=(rng.rand(12) < 0.6).astype(np.float32),
      next_sentence_example_loss=rng.rand(3).astype(np.float32),
      next_sentence_predictions=np.array([0, 1, 1], np.int32),
      next_sentence_labels=np.array([1, 1, 1], np.int32))
  found = run_pretraining.compute_metrics(**arrays)
  assert found["next_sentence_accuracy"] == pytest.approx(2 / 3.0)
  kept = arrays["masked_lm_weights"] == 1
  assert 0 < np.sum(kept) < 12
  assert found["masked_lm_loss"] == pytest.approx(
      np.mean(arrays["masked_lm_example_loss"][kept]), rel=1e-6)
  assert found["perplexity"] == pytest.approx(np.exp(found["masked_lm_loss"]))
  with tf.Graph().as_default(), tf.Session() as session:
    pairs = run_pretraining.tpu_metrics(**{
        name: tf.constant(array) for name, array in arrays.items()})
    session.run(tf.local_variables_initializer())
    session.run([update for _, update in pairs.values()])
    in_graph = session.run({name: value for name, (value, _) in pairs.items()})
  assert sorted(found) == sorted(in_graph)
  for name, value in in_graph.items():
    assert found[name] == pytest.approx(value, rel=1e-6), name


# Those of scikit-learn and SciPy, to the last digit that float32 has.


def random_labels(num_labels, kind, count=500):
  """Returns labels and predictions, int arrays, of one of several kinds."""
  random = np.random.RandomState(3)
  labels = random.randint(num_labels, size=count)
  predictions = np.where(
      random.rand(count) < 0.6, labels, random.randint(num_labels, size=count))
  if kind == "constant":
    predictions[:] = 1
  elif kind == "one missing":
    labels[labels == 1] = 0
  return labels, predictions


@pytest.mark.parametrize("kind", ["usual", "constant", "one missing"])
@pytest.mark.parametrize("num_labels", [2, 5])
def test_figures_of_labels_are_those_of_scikit_learn(num_labels, kind):
  reference = pytest.importorskip("sklearn.metrics")
  labels, predictions = random_labels(num_labels, kind)
  confusion = metrics.count_confusion(labels, predictions, num_labels)
  every = list(range(num_labels))
  np.testing.assert_array_equal(confusion, reference.confusion_matrix(
      labels, predictions, labels=every))
  found = metrics.precision_recall_f1(
      *metrics.count_classes(labels, predictions, num_labels))
  expected = reference.precision_recall_fscore_support(
      labels, predictions, labels=every, zero_division=0)
  for ours, theirs in zip(found, expected):
    np.testing.assert_allclose(ours, theirs, rtol=1e-15)
  assert metrics.matthews_correlation(labels, predictions) == pytest.approx(
      reference.matthews_corrcoef(labels, predictions), abs=1e-15)
  assert metrics.accuracy(labels, predictions) == reference.accuracy_score(
      labels, predictions)


def test_figures_of_several_labels_are_those_of_scikit_learn():
  reference = pytest.importorskip("sklearn.metrics")
  random = np.random.RandomState(4)
  logits = random.normal(size=[300, 6]).astype(np.float32)
  labels = (random.rand(300, 6) < 0.3).astype(np.float32)
  labels[:, 2], logits[:, 3] = 0.0, -1.0  # never there, never predicted
  found = problem_types.MultiLabel(6).evaluate(logits, labels)
  for average in ("macro", "micro"):
    assert found["eval_f1_" + average] == pytest.approx(reference.f1_score(
        labels, logits >= 0, average=average, zero_division=0), rel=1e-15)
  assert found["eval_accuracy"] == reference.accuracy_score(
      labels, logits >= 0)


def test_many_labels_take_no_square_of_memory():
  labels = np.array([0, 10 ** 6, 5])
  assert metrics.matthews_correlation(labels, labels) == 1.0


@pytest.mark.parametrize("kind", ["usual", "ties", "large"])
def test_correlations_are_those_of_scipy(kind):
  stats = pytest.importorskip("scipy.stats")
  random = np.random.RandomState(5)
  x = random.normal(size=400)
  y = x + random.normal(size=400)
  if kind == "ties":
    x, y = np.round(x), np.round(y)
  elif kind == "large":
    x, y = 1e6 * x + 1e8, 1e-6 * y
  assert metrics.pearson(x, y) == pytest.approx(
      stats.pearsonr(x, y)[0], rel=1e-13)
  assert metrics.spearman(x, y) == pytest.approx(
      stats.spearmanr(x, y)[0], rel=1e-13)


def test_what_never_changes_has_no_correlation():
  for value, count in (1.0, 5), (0.1, 7):  # the mean of the second is rounded
    same, other = np.full([count], value), np.arange(count)
    assert np.isnan(metrics.pearson(same, other))
    assert np.isnan(metrics.spearman(other, same))
  assert metrics.matthews_correlation(
      np.array([0, 1, 0]), np.array([1, 1, 1])) == 0.0
