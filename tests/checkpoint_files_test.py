"""Tests of checkpoint_files: every kind of path given as a checkpoint."""

import zipfile

import numpy as np
import pytest

from bert_suite import (
    checkpoint_files, checkpoints, cli, initial_weights, trained_models)
import extract_features
from helpers import save_checkpoint, write_config, write_vocab
import predictor

CONVERT = ("expected a checkpoint of TensorFlow 1; convert it, or download the "
           "model as bert_model.ckpt")
RUN_CONVERT = (
    "expected a checkpoint of TensorFlow 1; run `python convert_checkpoint.py "
    "--model_dir=%s --output_dir=NEW_FOLDER` to convert it to bert_model.ckpt")
UNPACK = ("unpack it and pass the path of the checkpoint in it, up to and "
          "including \".ckpt\"")
PREFIX = "pass the path up to and including \".ckpt\" or \".ckpt-<step>\""


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """Makes a folder with two checkpoints and goes into it."""
  monkeypatch.chdir(tmp_path)
  (tmp_path / "out").mkdir()
  for step in (2, 10):
    save_checkpoint(tmp_path / "out" / ("model.ckpt-%d" % step), {"w": [1.0]})
  (tmp_path / "out" / "model.ckpt-2.meta").write_bytes(b"a graph")
  return tmp_path


def explain(path):
  with pytest.raises(ValueError) as error:
    checkpoints.check_readable(str(path))
  assert "\n" not in str(error.value)
  return str(error.value)


def write_zip(path, *names):
  with zipfile.ZipFile(str(path), "w") as archive:
    for name in names:
      archive.writestr(name, "content")


@pytest.mark.parametrize("ending", [
    "", ".index", ".meta", ".data-00000-of-00001"])
def test_a_file_of_a_checkpoint_means_its_prefix(folder, ending):
  del folder
  assert checkpoint_files.resolve("out/model.ckpt-2" + ending) == (
      "out/model.ckpt-2")
  assert checkpoint_files.resolve("out/model.ckpt-10" + ending) == (
      "out/model.ckpt-10")  # where there is no .meta, too


def test_a_vocabulary_is_named(folder):
  (folder / "vocab.txt").write_text("[PAD]\n[UNK]\na\n")
  assert explain(folder / "vocab.txt").startswith(
      "%s: found a vocabulary, expected a checkpoint" % (folder / "vocab.txt"))


def test_a_path_may_be_an_object(folder):
  assert checkpoint_files.resolve(folder / "out" / "model.ckpt-2") == str(
      folder / "out" / "model.ckpt-2")


def test_a_prefix_that_ends_like_a_file_is_taken_as_given(folder):
  save_checkpoint(folder / "model.index", {"w": [1.0]})
  assert checkpoint_files.resolve("model.index") == "model.index"


@pytest.mark.parametrize("path,message", [
    ("out/checkpoint", "found the list of a folder's checkpoints, expected one "
     "of them; %s, for example out/model.ckpt-10"),
    ("out", "found a folder, expected a checkpoint; %s, for example "
     "out/model.ckpt-10"),
    ("out/", "found a folder, expected a checkpoint; %s, for example "
     "out/model.ckpt-10"),
    ("out/model.ckpt", "there is no such checkpoint; %s, for example "
     "out/model.ckpt-2 or out/model.ckpt-10"),
    ("out/bert", "there is no such checkpoint; %s, for example "
     "out/model.ckpt-10"),
    ("bert-base-uncased", "there is no such checkpoint; %s"),
    ("nowhere/bert_model.ckpt", "there is no folder nowhere; %s"),
    ("bert_config.json", "found a JSON file, expected a checkpoint of "
     "TensorFlow 1; %s"),
])
def test_the_path_to_give_is_named(folder, path, message):
  write_config(folder)
  assert explain(path) == "%s: %s" % (path, message % PREFIX)


def cure_of(kind):
  """Returns what is said of a file in the working folder."""
  return RUN_CONVERT % "." if "PyTorch" in kind else CONVERT


@pytest.mark.parametrize("name,content,kind", [
    ("pytorch_model.bin", b"anything", "a PyTorch file"),
    ("model.pt", b"", "a PyTorch file"),
    ("model.safetensors", b"", "a PyTorch file"),
    ("weights", b"\x10" + bytes(7) + b"{\"w\": 1}",
     "a PyTorch file (safetensors)"),
    ("weights", b"\x80\x02\x8a\nl\xfc\x9cF", "a PyTorch file, or another "
     "pickle"),
    ("tf_model.h5", b"anything", "a Keras file"),
    ("model.keras", b"anything", "a Keras file"),
    ("bert.weights.h5", b"\x89HDF\r\n\x1a\n", "a Keras (HDF5) file"),
    ("bert_model.ckpt", b"\x89HDF\r\n\x1a\n", "a Keras (HDF5) file"),
    ("flax_model.msgpack", b"anything", "a Flax file"),
    ("weights.npz", b"anything", "an archive of NumPy arrays"),
    ("weights", b"\x93NUMPY", "a NumPy array"),
])
def test_weights_of_another_library_are_named(folder, name, content, kind):
  (folder / name).write_bytes(content)
  assert explain(name) == "%s: found %s, %s" % (name, kind, cure_of(kind))


@pytest.mark.parametrize("member,kind", [
    ("archive/data.pkl", "a PyTorch file"),
    ("model.weights.h5", "a Keras file"),
    ("w.npy", "an archive of NumPy arrays")])
def test_a_zip_file_is_named_by_what_it_holds(folder, member, kind):
  write_zip(folder / "weights", member)
  assert explain("weights") == "weights: found %s, %s" % (kind, cure_of(kind))


def test_an_archive_that_was_not_unpacked_is_named(folder):
  write_zip(folder / "uncased.zip", "uncased/bert_model.ckpt.index")
  (folder / "bert_model.ckpt.tar.gz").write_bytes(b"\x1f\x8b")
  assert explain("uncased.zip") == (
      "uncased.zip: found an archive, expected a checkpoint of TensorFlow 1; " +
      UNPACK)
  assert explain("uncased/bert_model.ckpt") == (
      "uncased/bert_model.ckpt: uncased.zip is not unpacked; " + UNPACK)
  assert explain("bert_model.ckpt") == (
      "bert_model.ckpt: there is no such checkpoint; bert_model.ckpt.tar.gz is "
      "a compressed file, expected a checkpoint of TensorFlow 1; " + UNPACK)


@pytest.mark.parametrize("content,end", [
    (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n",
     "found a Git LFS pointer instead of the data, expected a checkpoint of "
     "TensorFlow 1; fetch the data with `git lfs pull`"),
    (b"\n<!DOCTYPE html><html>Sign in</html>",
     "found a web page instead of the data, expected a checkpoint of "
     "TensorFlow 1; download the file itself")])
@pytest.mark.parametrize("ending", ["", ".index", ".data-00000-of-00001"])
def test_what_a_download_brought_instead_is_named(folder, content, end, ending):
  if ending:
    save_checkpoint(folder / "bert_model.ckpt", {"w": np.ones([500])})
  (folder / ("bert_model.ckpt" + ending)).write_bytes(content)
  assert explain("bert_model.ckpt") == "bert_model.ckpt%s: %s" % (ending, end)


@pytest.mark.parametrize("names,missing", [
    ([".index"], ".data-00000-of-00001"),
    ([".data-00000-of-00001"], ".index"),
    ([".data-00001-of-00002", ".index"], ".data-00000-of-00002")])
def test_the_missing_file_of_a_checkpoint_is_named(folder, names, missing):
  for name in names:
    (folder / ("bert_model.ckpt" + name)).write_bytes(b"")
  expected = ("bert_model.ckpt: the checkpoint is incomplete: found %s, but "
              "no bert_model.ckpt%s; copy it too" % (
                  ", ".join("bert_model.ckpt" + name for name in names),
                  missing))
  for ending in ("", ".index", ".meta"):
    assert explain("bert_model.ckpt" + ending) == expected


def test_folders_of_other_models_are_named(folder):
  for name, inside in (("saved", "saved_model.pb"), ("hf", "config.json")):
    (folder / name).mkdir()
    (folder / name / inside).write_text("{}")
  assert explain("saved") == (
      "saved: found a SavedModel, expected a checkpoint of TensorFlow 1; pass "
      "the one that it was made from")
  message = (
      "hf: found the folder of a Hugging Face model, " + RUN_CONVERT % "hf")
  assert explain("hf") == message
  for find in (predictor.Predictor, trained_models.find):
    with pytest.raises(ValueError) as error:
      find("hf")
    assert str(error.value) == message


def test_a_file_system_that_is_none_is_named():
  assert "File system scheme 'https' not implemented" in explain(
      "https://example.com/bert_model.ckpt")


@pytest.mark.parametrize("load", [
    predictor.Predictor,
    lambda path: trained_models.find(init_checkpoint=path),
    lambda path: initial_weights.initialize_from_checkpoint(path),
    lambda path: extract_features.make_session_runner(
        None, path, [-1], "none", 8),
    lambda path: checkpoints.find_start("new", path, {"task": "mrpc"}, True),
])
def test_everything_that_takes_a_checkpoint_names_it(folder, load):
  (folder / "pytorch_model.bin").write_bytes(b"weights")
  with pytest.raises((ValueError, cli.UserError), match=(
      "^pytorch_model.bin: found a PyTorch file, expected a checkpoint")):
    load("pytorch_model.bin")


def test_later_steps_get_the_prefix(folder):
  given = "out/model.ckpt-2.index"
  assert checkpoints.find_start(
      "new", given, {"task": "mrpc"}, True).init_checkpoint == (
          "out/model.ckpt-2")
  with pytest.raises(ValueError, match="^out/model.ckpt-2 holds none of"):
    predictor.Predictor(
        given, task="features", vocab_file=write_vocab(folder),
        bert_config_file=write_config(folder))
