"""Whole runs on files in a bucket: TensorFlow's ram:// stands in for gs://.

Unlike gs://, it takes the beginning of a file's name for a folder's name, which
the prefix of a checkpoint would be, and renames and removes a folder without
what is in it; `like_a_bucket` corrects that.
"""

import json
import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import model_files
from bert_suite.pretraining import workers
import create_pretraining_data
import create_pretraining_data_test
import export_model
import extract_features
import helpers
import learn_vocab
import run_classifier
import run_pretraining
import run_squad
import run_squad_test

pytestmark = pytest.mark.skipif(
    "ram" not in tf.io.gfile.get_registered_schemes()
    if hasattr(tf.io.gfile, "get_registered_schemes") else True,
    reason="this TensorFlow has no ram://")

BUCKET = "ram://bucket"


def read(path, mode="r"):
  with tf.gfile.GFile(path, mode) as reader:
    return reader.read()


def write(path, text):
  tf.gfile.MakeDirs(os.path.dirname(path))
  with tf.gfile.GFile(path, "w") as writer:
    writer.write(text)
  return path


@pytest.fixture(scope="module")
def bucket(tmp_path_factory, like_a_bucket):
  """Fills the bucket; gives flags of a model's files there."""
  folder = tmp_path_factory.mktemp("local")
  helpers.write_vocab(folder)
  helpers.write_config(folder)
  helpers.write_mrpc(folder / "MRPC")
  (folder / "squad.json").write_text(json.dumps(run_squad_test.make_squad()))
  (folder / "text.txt").write_text(create_pretraining_data_test.make_text())
  (folder / "in.txt").write_text("The kettle sings.\nIt rains. ||| Tea.\n")
  for parent, _, names in os.walk(str(folder)):
    for name in names:
      path = os.path.join(parent, name)
      write(os.path.join(BUCKET, os.path.relpath(path, str(folder))),
            open(path, encoding="utf-8").read())
  return dict(vocab_file=BUCKET + "/vocab.txt",
              bert_config_file=BUCKET + "/bert_config.json")


@pytest.fixture(scope="module", autouse=True)
def like_a_bucket():
  """Has ram:// find what has the whole of a name, and take folders whole."""
  calls = tf.io.gfile.exists.__globals__["_pywrap_file_io"]
  is_directory, file_exists = calls.IsDirectory, calls.FileExists
  rename, delete = calls.RenameFile, calls.DeleteFile

  def is_there(path):
    folder, name = os.path.split(path.decode("utf-8").rstrip("/"))
    return folder in ("ram:", "ram:/") or name in [
        one.rstrip("/") for one in tf.gfile.ListDirectory(folder)]

  def exact_exists(path):
    file_exists(path)  # raises NotFoundError
    if path.startswith(b"ram://") and not is_there(path):
      raise tf.errors.NotFoundError(None, None, "there is no such file")

  def rename_all(source, target, overwrite):
    inside = [] if not source.startswith(b"ram://") else [
        os.path.join(folder, name)[len(source):].encode("utf-8")
        for folder, folders, names in tf.gfile.Walk(source.decode("utf-8"))
        for name in folders + names]
    for name in [b""] + inside:
      rename(source + name, target + name, overwrite)

  def delete_file(path):
    if path.startswith(b"ram://") and is_directory(path):
      raise tf.errors.NotFoundError(None, None, "a folder is no file")
    delete(path)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(calls, "DeleteFile", delete_file)
    patch.setattr(calls, "FileExists", exact_exists)
    patch.setattr(calls, "RenameFile", rename_all)
    patch.setattr(calls, "IsDirectory", lambda path: is_directory(path) and (
        not path.startswith(b"ram://") or is_there(path)))
    yield


@pytest.fixture(autouse=True)
def nothing_local(tmp_path, monkeypatch):
  """Fails where a name in the bucket was taken for a local one."""
  monkeypatch.chdir(tmp_path)
  yield
  assert os.listdir(str(tmp_path)) == []


def run(script, **flags):
  status, stderr = helpers.run_command(
      script, ["--%s=%s" % item for item in sorted(flags.items())])
  assert not stderr and status == 0


def run_here(function, tasks, num_processes, method, on_report=None):
  """Stands in for `workers.run`: the bucket is in the memory of a process."""
  del num_processes, on_report
  assert method == "spawn"
  for index, task in enumerate(tasks):
    yield workers.Outcome(
        index, function(lambda unused_value: None, *task), None)


def make_records(bucket):
  for name in ("text@2", "one"):
    run(create_pretraining_data, input_file=BUCKET + "/te*.txt",
        output_file=BUCKET + "/records/" + name, dupe_factor=1,
        vocab_file=bucket["vocab_file"], max_seq_length=16,
        max_predictions_per_seq=4)


@pytest.fixture(scope="module")
def pretrained(bucket):
  """Makes records and trains on them; returns the output folder."""
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(workers, "run", run_here)
    make_records(bucket)
  run(run_pretraining, input_file=BUCKET + "/records/text-*", do_train=True,
      do_eval=True, num_train_steps=3, save_checkpoints_steps=2,
      train_batch_size=2, eval_batch_size=2, max_eval_steps=2, tf_random_seed=1,
      bert_config_file=bucket["bert_config_file"],
      output_dir=BUCKET + "/pretrained", max_seq_length=16,
      max_predictions_per_seq=4)
  return BUCKET + "/pretrained"


def test_records_and_pre_training(bucket, pretrained):
  assert "global_step = 3\n" in read(pretrained + "/eval_results.txt")
  assert {"run.json", "checkpoint", "model.ckpt-3.index"} <= set(
      tf.gfile.ListDirectory(pretrained))
  # The same command has nothing left to do.
  run(run_pretraining, input_file=BUCKET + "/records/text-*", do_train=True,
      num_train_steps=3, train_batch_size=2, max_seq_length=16,
      max_predictions_per_seq=4, output_dir=pretrained,
      bert_config_file=bucket["bert_config_file"])


def test_a_model_with_more_words(bucket, pretrained):
  words = write(BUCKET + "/words.txt", "zebra\ncats\n")
  folder = BUCKET + "/new/extended"
  tf.gfile.MakeDirs(folder)  # an empty one may be there
  run(learn_vocab, extend="append", words_file=words, output_dir=folder + "/",
      init_checkpoint=pretrained + "/model.ckpt-3", **bucket)
  assert set(tf.gfile.ListDirectory(BUCKET + "/new")) == {"extended"}
  assert {"vocab.txt", "bert_config.json", "bert_model.ckpt.index"} <= set(
      tf.gfile.ListDirectory(folder))
  assert read(folder + "/vocab.txt").endswith("zebra\ncats\n")
  table = helpers.read_weights(folder + "/bert_model.ckpt")[
      "bert/embeddings/word_embeddings"]
  assert len(table) == len(helpers.WORDS) + 2
  with pytest.raises(ValueError, match="exists already"):
    model_files.check_new(folder)


@pytest.mark.parametrize("parent", [BUCKET + "/failed", None])
def test_nothing_is_left_of_a_folder_that_could_not_be_filled(
    bucket, tmp_path_factory, parent):
  parent = parent or str(tmp_path_factory.mktemp("local"))
  with pytest.raises(OSError, match="^full$"):
    with model_files.new_folder(os.path.join(parent, "new")) as temporary:
      write(os.path.join(temporary, "a", "b"), "half")
      raise OSError("full")
  assert tf.gfile.ListDirectory(parent) == []


@pytest.mark.slow
def test_a_classifier(bucket, pretrained):
  flags = dict(
      bucket, task_name="MRPC", data_dir=BUCKET + "/MRPC", max_seq_length=16,
      output_dir=BUCKET + "/mrpc", init_checkpoint=pretrained + "/model.ckpt-3",
      do_train=True, train_batch_size=4, do_eval=True, eval_batch_size=4,
      do_predict=True, predict_batch_size=4, eval_each_epoch=True,
      export_dir=BUCKET + "/exported", keep_checkpoint_max=1)
  run(run_classifier, num_train_epochs=1, **flags)
  rows = read(BUCKET + "/mrpc/test_results.tsv").splitlines()
  assert len(rows) == 7
  assert tf.gfile.Glob(BUCKET + "/exported/*/saved_model.pb")
  assert tf.gfile.Exists(BUCKET + "/mrpc/best/model.ckpt-3.index")
  # With --use_best it starts from what is there.
  run(run_classifier, use_best=True, num_train_epochs=1, **flags)
  run(export_model, model_dir=BUCKET + "/mrpc", export_dir=BUCKET + "/again")
  assert tf.gfile.Glob(BUCKET + "/again/*/saved_model.pb")


def test_a_squad(bucket, pretrained):
  run(run_squad, train_file=BUCKET + "/squad.json", do_train=True,
      predict_file=BUCKET + "/squad.json", do_predict=True, do_eval=True,
      max_seq_length=16, doc_stride=4, max_query_length=4, train_batch_size=4,
      num_train_epochs=1, init_checkpoint=pretrained + "/model.ckpt-3",
      output_dir=BUCKET + "/squad", **bucket)
  assert len(json.loads(read(BUCKET + "/squad/predictions.json"))) == 9
  assert "exact" in read(BUCKET + "/squad/eval_results.json")


@pytest.mark.parametrize("output_format", ["jsonl", "npz", "tfrecord"])
def test_features(bucket, pretrained, output_format):
  path = BUCKET + "/features." + output_format
  run(extract_features, input_file=BUCKET + "/in.txt", layers="-1",
      init_checkpoint=pretrained + "/model.ckpt-3", output_file=path,
      batch_size=2,
      max_seq_length=12, output_format=output_format, **bucket)
  if output_format == "jsonl":
    assert len(read(path).splitlines()) == 2
  elif output_format == "npz":
    with tf.gfile.GFile(path, "rb") as reader:
      assert np.load(reader)["layers"].tolist() == [-1]
  else:
    assert helpers.count_records(path) == 2
