"""Runs of the classifier on texts that are longer than a window."""

import json
import os

import numpy as np
import pytest

from bert_suite import (
    best_model, cli, long_texts, predictor, run_classifier, tokenization)
from export_fixtures import write_model
from helpers import (
    captured_log, count_records, newest_version, read_eval_results,
    read_probabilities, write_config, write_vocab)

LENGTH = 12
STRIDE = 4
# Words of a text, and its label; the first fits into one window.
SIZES = [(5, "0"), (30, "1"), (11, "1"), (18, "0"), (50, "0"), (10, "1")]
# 1, 6, 2, 3, 11 and 1.
NUM_WINDOWS = 24
WORDS = "the a kettle cat sing sleep is not near far it rains tea".split()


class ReviewProcessor(run_classifier.DataProcessor):
  """Long texts; all sets are the same, the last pair has a short text, too."""

  def get_train_examples(self, data_dir):
    random = np.random.RandomState(1)
    return [run_classifier.InputExample(
        str(i), " ".join(random.choice(WORDS, size)), None, label)
            for i, (size, label) in enumerate(SIZES)]

  get_dev_examples = get_test_examples = get_train_examples

  def get_labels(self):
    return ["0", "1"]


TEXTS = [one.text_a for one in ReviewProcessor().get_train_examples("")]


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
  folder = tmp_path_factory.mktemp("long")
  # Weights that make texts differ, as two epochs would not.
  start = write_model(folder, "classifier", labels=["0", "1"])
  return dict(
      vocab_file=write_vocab(folder), bert_config_file=write_config(folder),
      init_checkpoint=start + "/model.ckpt-3",
      output_dir=str(folder / "out"), max_seq_length=LENGTH,
      long_text="windows", window_stride=STRIDE, train_batch_size=4,
      eval_batch_size=4, predict_batch_size=5, learning_rate=1e-4,
      num_train_epochs=2, eval_each_epoch=True, do_predict=True,
      tf_random_seed=1)


@pytest.fixture(scope="module")
def trained(settings):
  """The log of a training, which also evaluates, predicts and exports."""
  with captured_log() as lines:
    run_classifier.train_and_evaluate(
        ReviewProcessor, export_dir=settings["output_dir"] + "/exported",
        **settings)
  return lines


def pooled(model, settings, pooling):
  """Pools the answers that a model gives to each window as a text."""
  tokenizer = tokenization.FullTokenizer(settings["vocab_file"])
  policy = long_texts.LongTexts("windows", STRIDE)
  found, count = [], 0
  for text in TEXTS:
    windows = [" ".join(window) for window, _ in policy.fit(
        tokenizer.tokenize(text), None, LENGTH)]
    count += len(windows)
    # Up to a constant, which softmax leaves out, these are the logits.
    logits = np.log(model.predict(windows))
    found.append(np.exp(pooling(logits, axis=0)))
  assert count == NUM_WINDOWS
  return np.array(found) / np.sum(found, axis=1, keepdims=True)


def test_each_text_has_one_answer_that_of_its_windows(settings, trained):
  output_dir = settings["output_dir"]
  for split in ("train", "eval", "predict"):
    assert count_records(
        os.path.join(output_dir, split + ".tf_record")) == NUM_WINDOWS
    shown, = [line for line in trained if " examples of %s.tf" % split in line
              and "windows" in line]
    assert "4 of 6 examples of %s.tf_record (66.7%%) have" % split in shown
    assert "24 windows in all, 4.00 per text; the longest has 52" in shown
  with captured_log() as lines:
    alone = predictor.Predictor(output_dir, long_text="truncate")
  assert ("long_text is truncate here, but the model was trained with windows"
          in lines)
  expected = pooled(alone, settings, np.mean)
  found = read_probabilities(output_dir)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  labels = [int(label) for _, label in SIZES]
  losses = -np.log(expected[np.arange(6), labels])
  results = dict(zip(*read_eval_results(output_dir)))
  assert results["global_step"] == NUM_WINDOWS / 4 * 2
  assert results["eval_accuracy"] == pytest.approx(
      np.mean(expected.argmax(axis=1) == labels))
  assert results["eval_loss"] == pytest.approx(losses.mean(), abs=1e-5)
  assert results["loss"] == results["eval_loss"]
  assert [(row.step, row.epoch) for row in best_model.read_history(
      output_dir)[0]] == [(NUM_WINDOWS / 4, 1), (NUM_WINDOWS / 2, 2)]


def test_served_models_pool_as_well(settings, trained):
  output_dir = settings["output_dir"]
  with open(os.path.join(output_dir, "run.json")) as reader:
    recorded = json.load(reader)["training"]
  expected = {"long_text": "windows", "window_stride": STRIDE,
              "window_pooling": "mean"}
  assert {name: recorded[name] for name in expected} == expected
  for path in (output_dir, output_dir + "/exported"):
    with captured_log() as lines:
      model = predictor.Predictor(path, batch_size=3)
      np.testing.assert_allclose(
          model.predict(TEXTS), read_probabilities(output_dir), atol=1e-5)
      assert model.predict([]).shape == (0, 2)
    assert not [line for line in lines if "window" in line]
  with open(os.path.join(newest_version(output_dir + "/exported"), "assets",
                         "model.json")) as reader:
    assert expected.items() <= json.load(reader).items()


def test_the_maximum_may_be_asked_for_and_is_warned_of(
    settings, trained, tmp_path):
  with captured_log() as lines:
    run_classifier.run_with(run_classifier.Settings(**dict(
        settings, window_pooling="max", init_checkpoint=(
            settings["output_dir"] + "/model.ckpt-12"),
        output_dir=str(tmp_path))), ReviewProcessor)
    model = predictor.Predictor(settings["output_dir"], window_pooling="max")
  warning = "window_pooling is max here, but the model was trained with mean"
  assert "--" + warning in lines and warning in lines
  np.testing.assert_allclose(
      read_probabilities(tmp_path), model.predict(TEXTS), atol=1e-5)
  assert np.abs(read_probabilities(tmp_path) - read_probabilities(
      settings["output_dir"])).max() > 1e-3


def test_a_predictor_may_cut_out_the_middle(settings, trained):
  with captured_log():
    model = predictor.Predictor(
        settings["output_dir"], long_text="head_tail")
    (found,), words = model.make_inputs([(TEXTS[1], None)]), TEXTS[1].split()
    assert model.predict(TEXTS).shape == (6, 2)
  assert found.tokens == ["[CLS]"] + words[:2] + words[-8:] + ["[SEP]"]
  with pytest.raises(ValueError, match="^--long_text=middle: expected one of"):
    predictor.Predictor(settings["output_dir"], long_text="middle")


@pytest.mark.parametrize("changes, message", [
    (dict(window_stride=11), "^--window_stride=11: expected 1 to 10"),
    (dict(long_text="all"), "^--long_text=all: expected one of truncate"),
    (dict(master="grpc://there:1"), "^--long_text=windows: windows are pooled "
     "in this process, which cannot be on a TPU or with --master")])
def test_settings_that_do_not_go_together_are_one_line(
    settings, tmp_path, changes, message):
  with pytest.raises(cli.UserError, match=message), captured_log():
    run_classifier.train_and_evaluate(ReviewProcessor, **dict(
        settings, window_stride=changes.pop("window_stride", None), **dict(
            changes, output_dir=str(tmp_path))))
