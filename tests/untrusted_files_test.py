"""Files of others: none is executed, leaves its folder or fills the memory."""

import ast
import gzip
import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    best_model, checkpoints, cli, serving, table_task, trained_models,
    training_state)
from bert_suite.pretraining import record_origins
from bert_suite.squad import reader as squad_files
from helpers import TOP, WORDS, save_checkpoint, write_config
import modeling
import run_classifier
import tokenization

# What runs a text, or what an archive or a pickle says.
CALLS = {"eval", "exec", "__import__", "extractall", "unpack_archive", "system"}
MODULES = {"pickle", "dill", "cloudpickle", "marshal", "shelve", "joblib",
           "yaml", "tarfile", "runpy"}
SIZE = 8 * 2 ** 30


def find_sources():
  return [os.path.join(folder, name)
          for top in (TOP, os.path.join(TOP, "bert_suite"))
          for folder, folders, names in os.walk(top)
          if top != TOP or folder == TOP
          for name in names if name.endswith(".py")]


def test_nothing_that_is_read_is_executed():
  sources = find_sources()
  assert len(sources) > 80
  for path in sources:
    with open(path, encoding="utf-8") as reader:
      tree = ast.parse(reader.read())
    for node in ast.walk(tree):
      where = "%s:%d" % (path, getattr(node, "lineno", 0))
      if isinstance(node, ast.Import):
        names = {one.name.split(".")[0] for one in node.names}
        assert not MODULES & names, where
      elif isinstance(node, ast.ImportFrom):
        assert (node.module or "").split(".")[0] not in MODULES, where
      elif isinstance(node, ast.Call):
        name = getattr(node.func, "id", getattr(node.func, "attr", None))
        assert name not in CALLS, where
        if name == "load" and getattr(node.func.value, "id", None) == "np":
          assert "allow_pickle" in [word.arg for word in node.keywords], where
        for word in node.keywords:
          assert word.arg != "allow_pickle" or word.value.value is False, where


def make_sparse(path, head=b""):
  """Writes a file of 8 GB that takes no room."""
  os.makedirs(os.path.dirname(str(path)), exist_ok=True)
  with open(str(path), "wb") as writer:
    writer.write(head)
    writer.truncate(SIZE)
  return str(path)


def refused(function, *arguments):
  with pytest.raises(ValueError) as error:
    with cli.user_errors():
      function(*arguments)
  assert "\n" not in str(error.value)
  return str(error.value)


@pytest.mark.parametrize("name, read", [
    ("vocab.txt", tokenization.load_vocab),
    ("bert_config.json", modeling.BertConfig.from_json_file),
    ("run.json", lambda path: checkpoints.read_record(os.path.dirname(path))),
    ("history.tsv", lambda path: best_model.best_row(os.path.dirname(path))),
    ("labels.txt", lambda path: table_task.TableProcessor(
        run_classifier.Settings(
            task_name="table", text_a="a", label="b", do_eval=True,
            output_dir=os.path.dirname(path))).get_labels()),
    ("train-v2.0.json", squad_files.read_dataset),
    ("train.json.gz", squad_files.read_dataset),
    (os.path.join("assets", serving.SETTINGS_FILE),
     lambda path: serving.load_saved_model(
         os.path.dirname(os.path.dirname(path))))])
def test_gigabytes_are_refused_unread_with_their_size(tmp_path, name, read):
  path = make_sparse(tmp_path / name, b"\x1f\x8b\x08" * name.endswith("gz"))
  text = refused(read, path)
  assert "has 8192 MB, expected " in text
  assert path.replace("/assets/" + serving.SETTINGS_FILE, "") in text


def test_what_unpacks_to_gigabytes_is_refused(tmp_path, monkeypatch):
  monkeypatch.setattr(squad_files, "_MOST_BYTES", 2 ** 22)
  path = tmp_path / "dev.json.gz"
  path.write_bytes(gzip.compress(b" " * 2 ** 22 + b"{}"))
  assert refused(squad_files.read_json, str(path)) == (
      "%s: has more than 4 MB, unpacked; is it the right file?" % path)
  path.write_bytes(gzip.compress(b" " * (2 ** 22 - 2) + b"{}"))
  assert squad_files.read_json(str(path)) == {}


def test_gigabytes_beside_records_or_as_a_list_are_passed_over(tmp_path):
  records = tmp_path / "a.tf_record"
  records.write_bytes(b"")
  make_sparse(tmp_path / ".a.tf_record.json")
  assert record_origins.read(str(records)) is None
  prefix = save_checkpoint(tmp_path / "model.ckpt-3", {"w": [1.0]})
  make_sparse(tmp_path / "checkpoint")
  assert checkpoints.find_checkpoint(str(tmp_path)) == prefix


def test_deep_json_is_refused(tmp_path):
  values = modeling.BertConfig(9).to_dict()
  for depth, message in ((70, "nested more than 64 deep"),
                         (10 ** 5, "nested more than 64 deep")):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(values)[:-1] + ', "x": %s%s}' % (
        "[" * depth, "]" * depth))
    assert message in refused(
        modeling.BertConfig.from_json_file, str(path)), depth


def test_a_checkpoint_of_a_size_that_no_memory_has_is_refused(tmp_path):
  prefix = save_checkpoint(tmp_path / "model.ckpt-3", {"w": [1.0]})
  with open(prefix + ".index", "rb+") as file:
    content = file.read()
    # The place and the size of the table's own index, and what ends each table.
    footer = b"\0\0\0" + b"\xff" * 6 + b"\x7f"
    file.seek(len(content) - 48)
    file.write(footer + b"\0" * (40 - len(footer)))
  assert "%s: not a checkpoint that can be read" % prefix in refused(
      checkpoints.check_readable, prefix)


@pytest.mark.parametrize("other", ["absolute", "up", "dots"])
def test_a_list_of_checkpoints_stays_in_its_folder(tmp_path, other):
  """Nothing outside is read as a checkpoint, listed anew or removed."""
  outside = save_checkpoint(tmp_path / "other" / "model.ckpt-1", {"w": [2.0]})
  folder = tmp_path / "run"
  inside = save_checkpoint(folder / "model.ckpt-3", {"w": [1.0]})
  there = {"absolute": outside, "up": "../other/model.ckpt-1",
           "dots": "../other/.."}[other]
  (folder / "checkpoint").write_text(
      'model_checkpoint_path: "model.ckpt-3"\n'
      'all_model_checkpoint_paths: "%s"\n'
      'all_model_checkpoint_paths: "model.ckpt-3"\n' % there)
  assert checkpoints.find_checkpoint(str(folder)) == inside
  checkpoints.repair_list(str(folder))
  assert "other" not in (folder / "checkpoint").read_text()
  (folder / "checkpoint").write_text('model_checkpoint_path: "%s"\n' % there)
  assert checkpoints.find_checkpoint(str(folder)) == inside
  assert checkpoints.exists(outside)
  # Absolute paths of the same folder, as TensorFlow writes them, or of where it
  # was before it was moved, are right.
  (folder / "checkpoint").write_text(
      'model_checkpoint_path: "/gone/model.ckpt-3"\n')
  assert checkpoints.find_checkpoint(str(folder)) == inside


@pytest.mark.parametrize("name", ["model.ckpt-*", "model.ckpt-[0-9]", "m?"])
def test_a_list_of_checkpoints_names_no_pattern(tmp_path, name):
  """TensorFlow would remove what it matches when it is the oldest."""
  save_checkpoint(tmp_path / "model.ckpt-3", {"w": [1.0]})
  (tmp_path / "checkpoint").write_text(
      'model_checkpoint_path: "model.ckpt-3"\n'
      'all_model_checkpoint_paths: "%s"\n'
      'all_model_checkpoint_paths: "model.ckpt-3"\n' % name)
  checkpoints.repair_list(str(tmp_path))
  assert tf.train.get_checkpoint_state(
      str(tmp_path)).all_model_checkpoint_paths == [
          str(tmp_path / "model.ckpt-3")]


def test_a_state_names_files_of_its_checkpoint_only(tmp_path):
  prefix = save_checkpoint(tmp_path / "run" / "model.ckpt-3", {"w": [1.0]})
  secret = tmp_path / "secret"
  secret.write_text("1234")
  with open(prefix + ".state.json", "w") as writer:
    json.dump({"step": 3, "position": 1, "seed": 1, "is_ordered": True,
               "files": {"../secret": [4, 0], str(secret): [4, 0]}}, writer)
  assert training_state.find_damage(prefix) == "%s is missing" % (
      tmp_path / "run" / "secret")


def test_run_json_writes_nowhere_and_names_no_other_vocabulary(tmp_path):
  """Its path of a vocabulary is read, and must have what it recorded."""
  prefix = save_checkpoint(tmp_path / "run" / "model.ckpt-3", {
      "bert/embeddings/word_embeddings": np.zeros([len(WORDS), 2])})
  other = tmp_path / "other.txt"
  other.write_text("\n".join(WORDS[::-1]) + "\n")
  config = modeling.BertConfig.from_json_file(write_config(tmp_path))
  checkpoints.write_record(
      os.path.dirname(prefix), checkpoints.make_record(
          "features", config, vocab={word: i for i, word in enumerate(WORDS)}),
      0, vocab_file=str(other), data_dir="/", export_dir="../..")
  before = sorted(os.listdir(str(tmp_path)))
  text = refused(lambda: trained_models.find(model_dir=str(tmp_path / "run")))
  assert "%s: is not the vocabulary that the model was trained with" % (
      other) in text
  assert sorted(os.listdir(str(tmp_path))) == before
