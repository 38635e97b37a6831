"""Tests of folds: evaluations that are not what was kept."""

import zipfile

import numpy as np
import pytest

from bert_suite import folds, problem_types

ARRAYS = {"logits": np.array([[1.0, 0.0], [0.0, 1.0]]),
          "label_ids": np.array([0, 1]),
          "per_example_loss": np.ones([2]), "is_real_example": np.ones([2])}


def compute(folder):
  return folds.compute_figures([str(folder)], problem_types.SingleLabel(2))


def test_what_was_kept_has_figures(tmp_path):
  folds.keep(str(tmp_path), ARRAYS)
  assert compute(tmp_path)["eval_accuracy"] == 1.0


@pytest.mark.parametrize("changed", [
    {"logits": np.ones([3, 2])}, {"logits": np.array(1.0)},
    {"label_ids": np.array([None, None])}, {"other": np.ones([1])}])
def test_other_arrays_are_one_line_with_their_file(tmp_path, changed):
  arrays = dict(ARRAYS, **changed)
  if "other" in changed:
    del arrays["logits"]
  folds.keep(str(tmp_path), arrays)
  with pytest.raises(ValueError, match="fold.npz: cannot be read"):
    compute(tmp_path)


def test_a_damaged_archive_is_one_line_with_its_file(tmp_path):
  with zipfile.ZipFile(str(tmp_path / "fold.npz"), "w") as archive:
    archive.writestr("logits.npy", b"\x93NUMPY\x01\x00damaged")
  with pytest.raises(ValueError, match="fold.npz: cannot be read"):
    compute(tmp_path)
