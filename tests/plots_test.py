"""Curves of an evaluation, and the pictures of them."""

import sys
import warnings

import numpy as np
import pytest

from bert_suite import cli, plots, problem_types
import helpers
import run_classifier

RANDOM = np.random.RandomState(3)
RIGHT = RANDOM.rand(300) < 0.3
# Rounded, so that some are equal.
SCORES = np.round(np.clip(0.3 * RIGHT + RANDOM.rand(300) * 0.7, 0.0, 1.0), 2)


def test_a_reliability_curve_is_that_of_scikit_learn():
  reference = pytest.importorskip("sklearn.calibration")
  share, mean = reference.calibration_curve(RIGHT, SCORES, n_bins=10)
  found = plots.reliability_curve(RIGHT, SCORES)
  np.testing.assert_allclose(found, (mean, share), rtol=1e-12)


def test_a_reliability_curve_leaves_empty_parts_out():
  mean, share = plots.reliability_curve(
      np.array([True, False, True]), np.array([0.05, 0.95, 1.0]))
  np.testing.assert_allclose(mean, [0.05, 0.975])
  np.testing.assert_allclose(share, [1.0, 0.5])


def test_a_precision_recall_curve_is_that_of_scikit_learn():
  reference = pytest.importorskip("sklearn.metrics")
  expected = reference.precision_recall_curve(RIGHT, SCORES)
  precision, recall = plots.precision_recall_curve(RIGHT, SCORES)
  count = len(expected[2])  # older versions stop once the recall is 1
  np.testing.assert_allclose(precision[:count], expected[0][-2::-1])
  np.testing.assert_allclose(recall[:count], expected[1][-2::-1])
  assert (recall[count - 1:] == 1).all()
  assert plots.average_precision(precision, recall) == pytest.approx(
      reference.average_precision_score(RIGHT, SCORES), rel=1e-12)


def read_picture(path):
  """Returns the pixels, int array [height, width, 3]."""
  with open(str(path), "rb") as reader:
    assert reader.read(8) == b"\x89PNG\r\n\x1a\n"
  image = pytest.importorskip("PIL.Image")
  with image.open(str(path)) as picture:
    return np.array(picture.convert("RGB")).astype(int)


def is_blue(pixels):
  """Returns whether there is the color of the first curve, or of counts."""
  return ((pixels[..., 2] - pixels[..., 0]) > 100).sum() > 50


# A formula that is none, one without a dollar, and a long name.
LABELS = ["$x_{$", r"a\b", "label " * 9]


@pytest.mark.parametrize("problem,label_ids,names", [
    (problem_types.SingleLabel(3), np.arange(60) % 3,
     ["confusion_matrix.png", "precision_recall.png", "reliability.png"]),
    (problem_types.MultiLabel(3), np.float32(RANDOM.rand(60, 3) < [
        0.5, 0.2, 0.0]), ["precision_recall.png", "reliability.png"]),
    (problem_types.Regression(), np.arange(60) / 10, ["scatter.png"])])
def test_pictures_of_each_kind_of_labels(tmp_path, problem, label_ids, names):
  pytest.importorskip("matplotlib")
  logits = RANDOM.normal(size=[60, problem.num_outputs])
  with warnings.catch_warnings():
    warnings.simplefilter("error")
    plots.write(str(tmp_path), logits, label_ids, LABELS, problem)
  assert sorted(path.name for path in tmp_path.iterdir()) == names
  for name in names:
    pixels = read_picture(tmp_path / name)
    assert pixels.shape[0] > 300 and pixels.shape[1] > 300
    assert is_blue(pixels)


def test_a_matrix_shows_the_counts(tmp_path):
  pytest.importorskip("matplotlib")
  figure = plots._draw_confusion(np.array([[7, 2], [0, 0]]), ["no", "yes"])
  axes = figure.axes[0]
  assert {(int(text.get_position()[1]), int(text.get_position()[0])):
          text.get_text() for text in axes.texts} == {
              (0, 0): "7", (0, 1): "2", (1, 0): "0", (1, 1): "0"}
  np.testing.assert_allclose(axes.images[0].get_array(), [[7 / 9, 2 / 9],
                                                          [0, 0]])
  assert [text.get_text() for text in axes.get_yticklabels()] == ["no", "yes"]


def test_a_legend_has_a_label_that_begins_with_an_underscore():
  pytest.importorskip("matplotlib")
  curves = plots._select(np.stack([RIGHT, RIGHT], 1), np.stack(
      [SCORES, SCORES], 1), ["__a", "b"], problem_types.MultiLabel(2))
  for draw in (plots._draw_reliability, plots._draw_precision_recall):
    texts = draw(curves).axes[0].get_legend().get_texts()
    assert [text.get_text().split()[0] for text in texts] == ["__a", "b"]


def settings_of(tmp_path, **values):
  return run_classifier.Settings(**dict(dict(
      task_name="mrpc", data_dir=helpers.write_mrpc(tmp_path / "mrpc"),
      vocab_file=helpers.write_vocab(tmp_path), max_seq_length=16,
      bert_config_file=helpers.write_config(tmp_path), train_batch_size=4,
      num_train_epochs=1.0, plots=True, output_dir=str(tmp_path / "out")),
      **values))


def test_a_run_draws_its_evaluation(tmp_path):
  pytest.importorskip("matplotlib")
  run_classifier.run_with(settings_of(tmp_path, do_train=True, do_eval=True))
  found = {path.name for path in (tmp_path / "out").iterdir()}
  assert {"confusion_matrix.png", "precision_recall.png",
          "reliability.png"} <= found
  assert is_blue(read_picture(tmp_path / "out" / "reliability.png"))


def test_what_plots_need_is_said_before_the_training(tmp_path, monkeypatch):
  pytest.importorskip("matplotlib")
  with pytest.raises(cli.UserError, match="--plots: also pass --do_eval"):
    run_classifier.run_with(settings_of(tmp_path, do_train=True))
  monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
  with pytest.raises(cli.UserError, match="--plots: matplotlib cannot be import"
                     "ed .*; pip install matplotlib, or leave the flag out"):
    run_classifier.run_with(settings_of(tmp_path, do_train=True, do_eval=True))
  assert not (tmp_path / "out").exists()
