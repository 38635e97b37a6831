"""The three kinds of labels: in records, in losses, learned, and served."""

import json

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import label_weights, problem_types
import helpers
import predictor
import run_classifier

RNG = np.random.RandomState(6)
LOGITS = RNG.normal(size=[5, 3]).astype(np.float32)
LABELS = {
    problem_types.SINGLE_LABEL: np.array([0, 2, 1, 1, 0], np.int32),
    problem_types.MULTI_LABEL: (RNG.rand(5, 3) < 0.5).astype(np.float32),
    problem_types.REGRESSION: RNG.normal(size=5).astype(np.float32)}


def make(name):
  """Returns the problem of a name, and logits and labels for it."""
  problem = problem_types.KINDS[name](3)
  return problem, LOGITS[:, :problem.num_outputs], LABELS[name]


def run(*tensors):
  with tf.Session() as session:
    return session.run(tensors)


@pytest.mark.parametrize("name", sorted(problem_types.KINDS))
def test_the_graph_computes_what_numpy_computes(name):
  problem, logits, labels = make(name)
  with tf.Graph().as_default():
    losses, predictions, loss = run(
        problem.losses(logits, labels), problem.predict(tf.constant(logits)),
        problem.training_loss(tf.constant(logits), labels))
  np.testing.assert_allclose(
      losses, problem.losses_array(logits, labels), rtol=1e-5)
  np.testing.assert_allclose(
      predictions, problem.predict_array(logits), rtol=1e-5)
  assert loss == pytest.approx(np.mean(losses), rel=1e-6)
  assert problem.figures[0] in dict(
      problem.evaluate(logits, labels), eval_loss=0)


def test_smoothing_spreads_a_share_over_all_labels():
  problem, logits, labels = make(problem_types.SINGLE_LABEL)
  targets = 0.9 * np.eye(3)[labels] + 0.1 / 3
  expected = -np.mean(np.sum(
      targets * np.log(problem.predict_array(logits)), axis=1))
  with tf.Graph().as_default():
    loss, = run(problem.training_loss(
        tf.constant(logits), labels, smoothing=0.1))
  assert loss == pytest.approx(expected, rel=1e-5)
  problem, logits, labels = make(problem_types.MULTI_LABEL)
  with tf.Graph().as_default():
    loss, = run(problem.training_loss(
        tf.constant(logits), labels, smoothing=0.1))
  assert loss == pytest.approx(np.mean(
      problem.losses_array(logits, 0.9 * labels + 0.05)), rel=1e-5)


def test_weights_are_those_of_each_examples_label():
  problem, logits, labels = make(problem_types.SINGLE_LABEL)
  weights = np.array([1.0, 5.0, 0.5])[labels]
  with tf.Graph().as_default():
    loss, = run(problem.training_loss(
        tf.constant(logits), labels, [1.0, 5.0, 0.5]))
  losses = problem.losses_array(logits, labels)
  assert loss == pytest.approx(
      np.sum(weights * losses) / np.sum(weights), rel=1e-5)


def test_weights_of_several_labels_are_of_having_them():
  problem, logits, labels = make(problem_types.MULTI_LABEL)
  weights = np.array([1.0, 5.0, 0.5])
  with tf.Graph().as_default():
    loss, = run(problem.training_loss(
        tf.constant(logits), labels, weights.tolist()))
  probabilities = problem.predict_array(logits.astype(np.float64))
  expected = -np.mean(weights * labels * np.log(probabilities) +
                      (1 - labels) * np.log(1 - probabilities))
  assert loss == pytest.approx(expected, rel=1e-5)


def test_balanced_weights_make_up_for_how_often_a_label_occurs():
  single = problem_types.SingleLabel(3)
  found = ["a"] * 6 + ["b"] * 3
  assert label_weights.balanced(["a", "b", "c"], single, found) == [
      9 / 18.0, 1.0, 1.0]
  several = problem_types.MultiLabel(2)
  assert label_weights.balanced(
      ["a", "b"], several, [["a"], ["a", "b"], ["a"], []]) == [1 / 3.0, 3.0]
  assert label_weights.balanced(
      ["a", "b"], several, [["a", "a"], ["b"]]) == [1.0, 1.0]


def test_weights_name_labels_with_commas_and_colons():
  labels = ["a, b", "c:d", "e"]
  assert label_weights.find(
      "a, b:2,e:1,c:d:0.5", labels, problem_types.SingleLabel(3), ()) == [
          2.0, 0.5, 1.0]


@pytest.mark.parametrize("text, message", [
    ("a:1", "found no weight of b"), ("a:1,c:2", "found the label 'c'"),
    ("a:1,b:-1", "found the weight '-1' of b"),
    ("a:1,b:nan", "found the weight 'nan' of b"), ("a:1,a:2", "found a twice"),
    ("balance", "found 'balance', expected label:weight"),
    ("a=3", "found 'a=3', expected label:weight")])
def test_wrong_weights_are_named(text, message):
  with pytest.raises(ValueError, match=message):
    label_weights.check(text, 0.0, ["a", "b"], problem_types.SingleLabel(2))


def test_regression_has_no_weights():
  problem = problem_types.Regression()
  for arguments in (("balanced", 0.0), (None, 0.1)):
    with pytest.raises(ValueError, match="labels that are numbers have no"):
      label_weights.check(*arguments, None, problem)
  label_weights.check(None, 0.0, None, problem)


# Words say the answer: it can be learned.
WORDS = ["tea", "kettle", "cat", "rain"]


class MadeData(run_classifier.DataProcessor):
  """A few words each, whose label follows from them."""

  def label_of(self, words):
    raise NotImplementedError()

  def examples(self, seed, count):
    random = np.random.RandomState(seed)
    made = []
    for i in range(count):
      words = [word for word in WORDS if random.rand() < 0.5]
      made.append(run_classifier.InputExample(
          str(i), " ".join(words) or "it", label=self.label_of(words)))
    return made

  def get_train_examples(self, data_dir):
    return self.examples(1, 256)

  def get_dev_examples(self, data_dir):
    return self.examples(2, 60)

  def get_test_examples(self, data_dir):
    return self.examples(3, 20)


class Several(MadeData):
  problem_type = problem_types.MULTI_LABEL

  def get_labels(self):
    return ["cat", "tea"]

  def label_of(self, words):
    return [label for label in self.get_labels() if label in words]


class Number(MadeData):
  problem_type = problem_types.REGRESSION
  metric_names = ("pearson", "spearman")

  def label_of(self, words):
    return float(len(words)) + ("cat" in words)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  folder = tmp_path_factory.mktemp("model")
  return dict(
      vocab_file=helpers.write_vocab(folder),
      bert_config_file=helpers.write_config(
          folder, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
          initializer_range=0.2),
      max_seq_length=16, train_batch_size=32, learning_rate=4e-3,
      num_train_epochs=16, tf_random_seed=1, do_predict=True,
      output_dir=str(folder / "out"))


def read_rows(folder):
  with open(folder + "/test_results.tsv") as reader:
    return np.array([list(map(float, line.split("\t"))) for line in reader])


@pytest.mark.slow
def test_several_labels_are_learned_and_served(settings, tmp_path):
  settings = dict(settings, output_dir=str(tmp_path / "out"),
                  class_weights="balanced")
  found = run_classifier.train_and_evaluate(Several, **settings)
  assert sorted(found.results) == [
      "eval_accuracy", "eval_f1_macro", "eval_f1_micro", "eval_loss",
      "global_step", "loss"]
  assert found.results["eval_f1_micro"] > 0.95
  rows = read_rows(found.output_dir)
  examples = Several().get_test_examples(None)
  expected = [["cat" in one.label, "tea" in one.label] for one in examples]
  assert np.mean((rows > 0.5) == expected) > 0.95
  with open(found.output_dir + "/predictions.tsv") as reader:
    table = [line.rstrip("\n").split("\t") for line in reader]
  assert table[0] == ["id", "text_a", "prediction", "cat", "tea"]
  assert [row[2] for row in table[1:]] == [
      ",".join(name for name, value in zip(["cat", "tea"], row) if value >= 0.5)
      for row in rows]
  with open(found.output_dir + "/dev_predictions.tsv") as reader:
    assert len(reader.readlines()) == 61
  with open(found.output_dir + "/eval_report.txt") as reader:
    assert reader.readline().split() == [
        "label", "precision", "recall", "F1", "support"]
  model = predictor.Predictor(found.output_dir)
  assert model.labels == ["cat", "tea"]
  np.testing.assert_allclose(
      model.predict([one.text_a for one in examples]), rows, atol=1e-5)


def test_numbers_are_learned_and_served(settings, tmp_path):
  settings = dict(settings, output_dir=str(tmp_path / "out"),
                  export_dir=str(tmp_path / "export"))
  found = run_classifier.train_and_evaluate(Number, **settings)
  assert sorted(found.results) == [
      "eval_loss", "eval_mse", "eval_pearson", "eval_spearman", "global_step",
      "loss"]
  assert found.results["eval_pearson"] > 0.9
  assert found.results["eval_mse"] == pytest.approx(
      found.results["eval_loss"], rel=1e-5)
  rows = read_rows(found.output_dir)[:, 0]
  examples = Number().get_test_examples(None)
  texts = [one.text_a for one in examples]
  for folder in (found.output_dir, str(tmp_path / "export")):
    model = predictor.Predictor(folder)
    assert model.labels is None
    scores = model.predict(texts)
    assert scores.shape == (20,)
    np.testing.assert_allclose(scores, rows, rtol=1e-4, atol=1e-5)
  with open(found.output_dir + "/run.json") as reader:
    assert json.load(reader)["problem_type"] == "regression"


def test_a_run_of_another_kind_is_refused(settings, tmp_path):
  settings = dict(settings, output_dir=str(tmp_path / "out"),
                  num_train_epochs=0.2, task_name="made")
  run_classifier.train_and_evaluate(Several, **settings)
  with pytest.raises(run_classifier.cli.UserError, match="problem_type"):
    run_classifier.train_and_evaluate(Number, **settings)


def test_an_unknown_label_of_several_is_named(settings, tmp_path):
  class Wrong(Several):
    def label_of(self, words):
      return ["dog"]

  message = "Example 0: found the label 'dog' .*expected one of "
  with pytest.raises(run_classifier.cli.UserError, match=message):
    run_classifier.train_and_evaluate(
        Wrong, **dict(settings, output_dir=str(tmp_path / "out")))
