"""Tests of checkpoints: run.json, where a run starts, checkpoints that fit."""

import json
import os
import re
import shutil
import threading
from unittest import mock

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import checkpoint_fit, checkpoints, files, training_lock
from helpers import CONFIG, captured_log, make_variables, save_checkpoint
import modeling
import predictor

VOCAB = {"[PAD]": 0, "[UNK]": 1, "tea": 2}


def make_record(**changes):
  values = dict(task="mrpc", config=modeling.BertConfig(**CONFIG),
                labels=["0", "1"], vocab=VOCAB, do_lower_case=True)
  values.update(changes)
  return checkpoints.make_record(**values)


def trained_folder(folder, step=4, record=None):
  """Makes a folder with a checkpoint of a step and, if given, a run.json."""
  folder.mkdir()
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("w", initializer=1.0)
    global_step = tf.train.get_or_create_global_step()
    saver = tf.train.Saver()
    session.run(tf.global_variables_initializer())
    for at in (step - 1, step):
      session.run(tf.assign(global_step, at))
      saver.save(session, str(folder / "model.ckpt"), global_step=at)
  if record is not None:
    checkpoints.write_record(str(folder), record, 0, learning_rate=0.1)
  return str(folder), str(folder / ("model.ckpt-%d" % step))


# run.json.


def test_the_record_has_what_makes_a_run(tmp_path):
  record = make_record()
  checkpoints.write_record(str(tmp_path), record, 0, learning_rate=0.5)
  with open(str(tmp_path / "run.json")) as reader:
    written = json.load(reader)
  assert written["task"] == "mrpc"
  assert written["labels"] == ["0", "1"]
  assert written["config"]["hidden_size"] == CONFIG["hidden_size"]
  assert written["vocabulary"]["size"] == 3
  assert len(written["vocabulary"]["sha256"]) == 64
  assert written["do_lower_case"] is True
  assert written["training"] == {"learning_rate": 0.5}
  assert os.listdir(str(tmp_path)) == ["run.json"]


def test_the_hash_is_of_tokens_and_ids():
  swapped = {"[PAD]": 0, "[UNK]": 2, "tea": 1}
  hashes = {checkpoints.hash_vocab(vocab) for vocab in (
      VOCAB, dict(reversed(list(VOCAB.items()))), swapped,
      {"[PAD]": 0, "[UNK]": 1})}
  assert len(hashes) == 3


@pytest.mark.parametrize("changes,difference", [
    (dict(task="cola"), "task is mrpc there and cola here"),
    (dict(labels=["1", "0"]), "labels is [0, 1] there and [1, 0] here"),
    (dict(labels=list("abcdefghij")),
     "labels is [0, 1] there and [a, b, c, d, e, f, g, h, ...] here"),
    (dict(vocab={"tea": 0}), "vocabulary is 3 tokens, hash %.12s there and 1 "
     "tokens, hash %.12s here" % (checkpoints.hash_vocab(VOCAB),
                                  checkpoints.hash_vocab({"tea": 0}))),
    (dict(config=modeling.BertConfig(**dict(CONFIG, num_attention_heads=4))),
     "config's num_attention_heads is 2 there and 4 here"),
    # What a file does not say is the default.
    (dict(config=modeling.BertConfig(layer_norm_eps=1e-5, **CONFIG)),
     "config's layer_norm_eps is 1e-12 there and 1e-05 here"),
    (dict(do_lower_case=False), "do_lower_case is True there and False here"),
    (dict(strip_accents=False), "strip_accents is auto there and False here"),
])
@pytest.mark.parametrize("is_training", [False, True])
def test_another_run_is_refused_with_both_named(
    tmp_path, changes, difference, is_training):
  folder, checkpoint = trained_folder(tmp_path / "out", record=make_record())
  checkpoints.check_record(folder, make_record(), checkpoint)
  same = modeling.BertConfig(layer_norm_eps=1e-12, **CONFIG)
  checkpoints.check_record(
      folder, make_record(config=same, strip_accents=True), checkpoint)
  with pytest.raises(ValueError) as error:
    checkpoints.find_start(folder, None, make_record(**changes), is_training)
  assert str(error.value) == (
      "%s holds model.ckpt-4 of another run: %s. Give the flags of that run, "
      "or another --output_dir (--init_checkpoint=%s starts from its weights)" %
      (folder, difference, checkpoint))


@pytest.mark.parametrize("init, cure", [
    (False, "another --output_dir"), (True, "another --init_checkpoint")])
def test_weights_that_cannot_fit_are_not_advised(tmp_path, init, cure):
  folder, checkpoint = trained_folder(tmp_path / "out", record=make_record())
  other = modeling.BertConfig(**dict(CONFIG, num_hidden_layers=7))
  with pytest.raises(ValueError, match="Give the flags of that run, or %s$" %
                     cure):
    checkpoints.find_start(
        str(tmp_path / "new") if init else folder, checkpoint if init else None,
        make_record(config=other), False)


def test_what_a_record_leaves_open_is_no_difference(tmp_path):
  folder, checkpoint = trained_folder(
      tmp_path / "out", record=make_record(strip_accents=False))
  checkpoints.check_record(folder, checkpoints.make_record(
      None, modeling.BertConfig(**CONFIG)), checkpoint)
  with pytest.raises(ValueError, match="strip_accents is False there and auto"):
    checkpoints.check_record(folder, make_record(), checkpoint)


def test_all_differences_are_named(tmp_path):
  folder, checkpoint = trained_folder(tmp_path / "out", record=make_record())
  with pytest.raises(ValueError, match="labels is .*; task is "):
    checkpoints.check_record(
        folder, make_record(task="cola", labels=["a"]), checkpoint)


@pytest.mark.parametrize("name,value", [
    ("hidden_dropout_prob", 0.3), ("attention_probs_dropout_prob", 0.3),
    ("initializer_range", 0.3)])
def test_what_only_matters_to_training_may_change(tmp_path, name, value):
  folder, checkpoint = trained_folder(tmp_path / "out", record=make_record())
  config = modeling.BertConfig(**dict(CONFIG, **{name: value}))
  checkpoints.check_record(folder, make_record(config=config), checkpoint)


def test_a_changed_training_is_logged_and_kept(tmp_path):
  record = make_record()
  checkpoints.write_record(str(tmp_path), record, 0, learning_rate=0.5, steps=9)
  with captured_log() as lines:
    checkpoints.write_record(
        str(tmp_path), record, 7, learning_rate=0.25, steps=9)
  assert lines == [
      "learning_rate was 0.5 so far and is 0.25 from step 7 on"]
  assert checkpoints.read_record(str(tmp_path))["training"] == {
      "learning_rate": 0.25, "steps": 9}


GOOD_RECORD = dict(
    task="mrpc", labels=["0", "1"], config=CONFIG, do_lower_case=True,
    vocabulary={"size": 3, "sha256": "abc"},
    training=dict(learning_rate=0.1, vocab_file="v", max_seq_length=16))


def damaged(name, value):
  """Returns the text of a run.json with another value, None for none."""
  record = json.loads(json.dumps(GOOD_RECORD))
  keys = name.split(".")
  within = record[keys[0]] if keys[1:] else record
  if value is None:
    del within[keys[-1]]
  else:
    within[keys[-1]] = value
  return json.dumps(record)


@pytest.mark.parametrize("text,found", [
    ("", "Expecting value"), ("{", "Expecting property name"),
    ("[1]", "found no JSON object"), ("null", "found no JSON object"),
    ("\xff", "can't decode byte"), ("[" * 100000, "nested more"),
    ("{}", "task: found nothing, expected a name"),
    (damaged("task", 3), "task: found 3, expected a name"),
    (damaged("vocabulary", {}), "vocabulary.size: found nothing, expected a "
     "whole number above 0"),
    (damaged("vocabulary", []), r"vocabulary: found \[\], expected an object"),
    (damaged("vocabulary.size", "3"), "vocabulary.size: found \"3\", expected"),
    (damaged("vocabulary.sha256", None), "vocabulary.sha256: found nothing"),
    (damaged("labels", "01"), "labels: found \"01\", expected a list of texts"),
    (damaged("labels", [0, 1]), r"labels: found \[0, 1\], expected a list"),
    (damaged("labels", []), r"labels: found \[\], expected a list of texts"),
    (damaged("config", [1]), r"config: found \[1\], expected an object"),
    (damaged("config", {}), "BertConfig: \"vocab_size\" is missing"),
    (damaged("config.hidden_size", "x"), "BertConfig: \"hidden_size\" is 'x'"),
    (damaged("config.num_attention_heads", 7), "BertConfig: .* not a multiple"),
    (damaged("do_lower_case", "yes"), "do_lower_case: found \"yes\", expected "
     "true or false"),
    (damaged("training", 3), "training: found 3, expected an object"),
    (damaged("training.vocab_file", 3), "training.vocab_file: found 3"),
    (damaged("training.max_seq_length", "16"), "training.max_seq_length: "),
    (damaged("training.doc_stride", True), "training.doc_stride: found true"),
])
def test_a_damaged_record_is_one_line_everywhere(tmp_path, text, found):
  folder, checkpoint = trained_folder(tmp_path / "out")
  (tmp_path / "out" / "run.json").write_bytes(text.encode("latin-1"))
  for read in (lambda: checkpoints.read_record(folder),
               lambda: checkpoints.find_start(folder, None, {}, True),
               lambda: predictor.Predictor(folder),
               lambda: predictor.Predictor(checkpoint)):
    with pytest.raises(ValueError) as error:
      read()
    message = str(error.value)
    assert message.startswith("%s/run.json: cannot be read (" % folder)
    assert re.search(found, message)
    assert "; copy it again, or remove it: " in message
    assert "\n" not in message


def test_a_record_with_all_there_is_can_be_read(tmp_path):
  record = dict(GOOD_RECORD, use_next_sentence=False, of_a_program={"a": [1]})
  (tmp_path / "run.json").write_text(json.dumps(record))
  assert checkpoints.read_record(str(tmp_path)) == record


def test_a_comma_in_a_path_is_part_of_it(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  (tmp_path / "a, b").write_bytes(b"x")
  here = os.getcwd()
  for value, recorded in (("a, b", here + "/a, b"),
                          ("c,gs://d", here + "/c,gs://d")):
    checkpoints.write_record(
        str(tmp_path), make_record(), 0, input_file=value, vocab_file="v, w")
    assert checkpoints.read_training(str(tmp_path)) == {
        "input_file": recorded, "vocab_file": here + "/v, w"}


# Where a run starts.


def test_a_checkpoint_of_the_same_run_wins_and_the_other_is_not_read(tmp_path):
  folder, checkpoint = trained_folder(tmp_path / "out", record=make_record())
  with captured_log() as lines:
    start = checkpoints.find_start(
        folder, str(tmp_path / "not" / "there.ckpt"), make_record(), True)
  assert start == (checkpoint, 4, None)
  assert lines == ["Weights are those of %s, step 4, found in --output_dir; "
                   "--init_checkpoint is not read" % checkpoint]


def test_without_a_record_only_shapes_can_be_compared(tmp_path):
  folder, checkpoint = trained_folder(tmp_path / "out")
  assert checkpoints.find_start(folder, None, make_record(task="x"), True) == (
      checkpoint, 4, None)


def test_init_checkpoint_counts_where_the_folder_has_none(tmp_path):
  given = save_checkpoint(tmp_path / "bert_model.ckpt", {"w": 1.0})
  with captured_log() as lines:
    start = checkpoints.find_start(
        str(tmp_path / "out"), given, make_record(), True)
  assert start == (None, 0, given)
  assert lines == ["Weights start from %s" % given]


def test_training_may_start_from_nothing_but_nothing_else_may(tmp_path):
  folder = str(tmp_path / "out")
  with captured_log() as lines:
    assert checkpoints.find_start(folder, None, make_record(), True) == (
        None, 0, None)
  assert lines == ["Weights start from random values"]
  logger = tf.get_logger()
  for head, brought_by, is_warning in (
      (["output_weights"], None, True), (["output_weights"], "a module", False),
      ([], None, False)):
    with mock.patch.object(logger, "warning") as warning, captured_log():
      checkpoints.find_start(
          folder, None, make_record(), True, brought_by, head)
    assert warning.called == is_warning
  with pytest.raises(ValueError, match="out holds no checkpoint: pass "
                     "--do_train, or --init_checkpoint with a trained model$"):
    checkpoints.find_start(folder, "", make_record(), False)


def test_a_trained_model_of_another_task_is_refused_for_prediction(tmp_path):
  _, checkpoint = trained_folder(tmp_path / "cola", record=make_record(
      task="cola"))
  out = str(tmp_path / "out")
  with pytest.raises(ValueError, match="task is cola there and mrpc here. Give "
                     "the flags of that run, or --do_train to start from its"):
    checkpoints.find_start(out, checkpoint, make_record(), False)
  # Training goes from task to task, as from pre-training to fine-tuning.
  assert checkpoints.find_start(out, checkpoint, make_record(), True) == (
      None, 0, checkpoint)


def test_a_checkpoint_without_the_head_is_refused_for_prediction(tmp_path):
  given = save_checkpoint(tmp_path / "bert_model.ckpt", {"w": 1.0, "b": 1.0})
  arguments = str(tmp_path / "out"), given, make_record()
  with pytest.raises(ValueError, match=(
      r"bert_model.ckpt: has no head, so it was not trained on this task; pass "
      "--do_train, or --init_checkpoint with a trained model$")):
    checkpoints.find_start(*arguments, is_training=False, head=("b", "head"))
  for is_training, head in ((True, ("head",)), (False, ("w", "b"))):
    checkpoints.find_start(*arguments, is_training=is_training, head=head)


@pytest.mark.parametrize("is_in_output_dir", [True, False])
def test_other_settings_than_those_of_the_training_are_warned_of(
    tmp_path, is_in_output_dir):
  folder = tmp_path / "out"
  folder.mkdir()
  checkpoints.write_record(str(folder), make_record(), 0, max_seq_length=16,
                           train_file="a.json", tf_random_seed=None)
  start = checkpoints.Start(
      *((str(folder / "m"), 3, None) if is_in_output_dir else
        (None, 0, str(folder / "m"))))
  output_dir = str(folder if is_in_output_dir else tmp_path)
  with captured_log() as lines:
    checkpoints.warn_of_other_settings(start, output_dir, dict(
        max_seq_length=16, train_file=os.path.join(os.getcwd(), "a.json"),
        tf_random_seed=None, new=1))
    assert lines == []
    checkpoints.warn_of_other_settings(start, output_dir, dict(
        max_seq_length=32, train_file="gs://b.json"))
  assert lines == [
      "--max_seq_length is 32 here, but the model was trained with 16",
      "--train_file is gs://b.json here, but the model was trained with " +
      os.path.abspath("a.json")]


def test_what_comes_too_late_for_a_finished_training_is_warned_of(tmp_path):
  checkpoints.write_record(
      str(tmp_path), make_record(), 0, learning_rate=0.1, num_train_epochs=3.0,
      data_dir="/data", input_file="/a,/b", vocab_file="/v", tf_random_seed=1)
  with captured_log() as lines:
    checkpoints.warn_of_ignored_settings(str(tmp_path), dict(
        learning_rate=0.1, num_train_epochs=3.0, data_dir="/data",
        input_file="/a,/b", vocab_file="/elsewhere", tf_random_seed=None,
        new=1), "train more")
    assert lines == []
    checkpoints.warn_of_ignored_settings(str(tmp_path), dict(
        learning_rate=0.2, num_train_epochs=1.0, data_dir="gs://data",
        input_file="/a,/c", tf_random_seed=1), "train more")
  assert lines == [
      "The training in %s is finished, so these settings are ignored: "
      "--data_dir=gs://data (trained with /data), --input_file=/a,/c (trained "
      "with /a,/b), --learning_rate=0.2 (trained with 0.1), "
      "--num_train_epochs=1.0 (trained with 3.0). Give another --output_dir to "
      "train with them, or train more to train the same model further" %
      tmp_path]


def test_a_start_from_an_encoder_of_another_vocabulary_is_warned_of(tmp_path):
  _, checkpoint = trained_folder(
      tmp_path / "pretrained", record=make_record(task="pretraining"))
  out = str(tmp_path / "out")
  with captured_log() as lines:
    checkpoints.find_start(out, checkpoint, make_record(), True)
    assert lines == ["Weights start from %s" % checkpoint]
    checkpoints.find_start(
        out, checkpoint, make_record(do_lower_case=False, vocab={"tea": 0}),
        True)
  assert lines[1].startswith(
      "%s was trained differently: do_lower_case is True there and False here; "
      "vocabulary is 3 tokens, " % checkpoint)


def test_the_one_before_counts_where_the_latest_was_removed(tmp_path):
  folder, checkpoint = trained_folder(tmp_path / "out")
  for name in os.listdir(folder):
    if name.startswith("model.ckpt-4."):
      os.remove(os.path.join(folder, name))
  with captured_log() as lines:
    start = checkpoints.find_start(folder, None, make_record(), True)
  before = os.path.join(folder, "model.ckpt-3")
  assert start == (before, 3, None)
  assert lines[0] == "%s is passed over, since %s has no files; using %s" % (
      checkpoint, checkpoint, before)
  checkpoints.repair_list(folder)
  assert tf.train.latest_checkpoint(folder) == before  # for the Estimator


@pytest.mark.parametrize("content", [
    None, b"", b"garbage", b"\xff\xfe", b"\0" * 200, b"model_checkpoint_pa"])
def test_without_a_list_that_can_be_read_the_newest_is_used(tmp_path, content):
  folder, _ = trained_folder(tmp_path / "a", step=10)
  newest = os.path.join(folder, "model.ckpt-10")  # 9 is the one before it
  path = tmp_path / "a" / "checkpoint"
  path.unlink()
  for name in os.listdir(folder):
    if name.startswith("model.ckpt-10."):
      os.utime(os.path.join(folder, name), (1, 1))  # the clock was set back
  if content is not None:
    path.write_bytes(content)
  with captured_log() as lines:
    assert checkpoints.find_checkpoint(folder) == newest
  assert [line for line in lines if "missing or damaged" in line] == [
      "%s is missing or damaged; using the newest checkpoint there, %s" % (
          path, newest)]
  assert checkpoints.find_prefix(folder) == newest
  with captured_log() as lines:
    checkpoints.repair_list(folder)
  assert not [line for line in lines if "missing or damaged" in line]
  state = tf.train.get_checkpoint_state(folder)
  assert state.model_checkpoint_path == newest
  assert [os.path.basename(name) for name in
          state.all_model_checkpoint_paths] == ["model.ckpt-9", "model.ckpt-10"]


@pytest.mark.parametrize("ending", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("keep", [None, 0, 5])
def test_a_latest_one_that_is_not_whole_is_passed_over(tmp_path, ending, keep):
  folder, latest = trained_folder(tmp_path / "a")
  if keep is None:
    os.remove(latest + ending)
  else:
    os.truncate(latest + ending, keep)
  before = os.path.join(folder, "model.ckpt-3")
  with captured_log() as lines:
    assert checkpoints.find_checkpoint(folder) == before
  assert len(lines) == 1
  assert lines[0].startswith("%s is passed over, since %s" % (latest, latest))
  assert lines[0].endswith("; using " + before)
  checkpoints.repair_list(folder)
  assert tf.train.latest_checkpoint(folder) == before  # for the Estimator


def test_a_folder_without_a_whole_checkpoint_says_what_is_wrong(tmp_path):
  folder, latest = trained_folder(tmp_path / "a")
  for name in os.listdir(folder):
    if name.endswith(".index"):
      os.remove(os.path.join(folder, name))
  with pytest.raises(ValueError) as error:
    checkpoints.find_checkpoint(folder)
  assert str(error.value).startswith(
      "%s holds no complete checkpoint: %s lacks model.ckpt-4." %
      (folder, latest))


def write_list(folder, paths):
  """Writes the list of checkpoints as older TensorFlows do."""
  with open(os.path.join(folder, "checkpoint"), "w") as writer:
    writer.write('model_checkpoint_path: "%s"\n' % paths[-1])
    for path in paths:
      writer.write('all_model_checkpoint_paths: "%s"\n' % path)


@pytest.mark.parametrize("name", ["out", "run[lr=3e-4]"])
@pytest.mark.parametrize("is_copied", [True, False])
def test_a_moved_or_copied_folder_uses_its_own_files(tmp_path, name, is_copied):
  folder, checkpoint = trained_folder(tmp_path / "first")
  paths = [os.path.join(folder, "model.ckpt-3"), checkpoint]
  write_list(folder, paths)
  moved = str(tmp_path / name)
  (shutil.copytree if is_copied else shutil.move)(folder, moved)
  latest = os.path.join(moved, "model.ckpt-4")
  assert checkpoints.find_prefix(moved) == latest
  assert checkpoints.find_start(moved, None, make_record(), True) == (
      latest, 4, None)
  before = snapshot(folder) if is_copied else None
  checkpoints.repair_list(moved)
  with open(os.path.join(moved, "checkpoint")) as reader:
    assert reader.read() == (
        'model_checkpoint_path: "model.ckpt-4"\n'
        'all_model_checkpoint_paths: "model.ckpt-3"\n'
        'all_model_checkpoint_paths: "model.ckpt-4"\n')
  link = files.literal_folder(moved)
  assert tf.train.latest_checkpoint(link) == link + "/model.ckpt-4"
  if is_copied:
    assert snapshot(folder) == before


def test_a_list_that_is_right_stays_as_it_is(tmp_path):
  folder, _ = trained_folder(tmp_path / "out")
  before = snapshot(folder)
  checkpoints.repair_list(folder)
  checkpoints.repair_list(str(tmp_path))  # without one
  assert snapshot(folder) == before


def test_the_list_of_a_running_training_stays_as_it_is(tmp_path):
  folder, checkpoint = trained_folder(tmp_path / "out")
  write_list(folder, ["/elsewhere/model.ckpt-4"])
  refused = []

  def repair():
    with open(os.path.join(folder, "checkpoint")) as reader:
      before = reader.read()
    checkpoints.repair_list(folder)
    with open(os.path.join(folder, "checkpoint")) as reader:
      refused.append(reader.read() == before)

  with training_lock.TrainingLock(folder):
    thread = threading.Thread(target=repair)  # as another process would
    thread.start()
    thread.join()
    repair()
  assert refused == [True, False]
  assert tf.train.latest_checkpoint(folder) == checkpoint


def test_a_list_alone_does_not_lead_to_another_folder(tmp_path):
  _, checkpoint = trained_folder(tmp_path / "first")
  (tmp_path / "out").mkdir()
  folder = str(tmp_path / "out")
  write_list(folder, [checkpoint])
  with pytest.raises(ValueError) as error:
    checkpoints.find_checkpoint(folder)
  assert str(error.value) == (
      "%(list)s names %(there)s, which is in another folder; copy its files "
      "here, or remove %(list)s and pass --init_checkpoint=%(there)s" % dict(
          list=os.path.join(folder, "checkpoint"), there=checkpoint))


def snapshot(folder):
  """Returns a dict from each file of a folder to its bytes."""
  found = {}
  for name in os.listdir(folder):
    with open(os.path.join(folder, name), "rb") as reader:
      found[name] = reader.read()
  return found


def test_a_list_of_what_is_gone_does_not_hide_what_is_there(tmp_path):
  folder, checkpoint = trained_folder(tmp_path / "out")
  with open(os.path.join(folder, "checkpoint"), "w") as writer:
    writer.write('model_checkpoint_path: "model.ckpt-99"\n')
  with captured_log() as lines:
    assert checkpoints.find_checkpoint(folder) == checkpoint
  assert lines == ["%s is passed over, since %s has no files; using %s" % (
      gone, gone, checkpoint) for gone in [os.path.join(
          folder, "model.ckpt-99")]]
  checkpoints.repair_list(folder)
  assert tf.train.latest_checkpoint(folder) == checkpoint


def test_a_folder_whose_checkpoints_are_all_gone_is_named(tmp_path):
  folder, _ = trained_folder(tmp_path / "out")
  for name in os.listdir(folder):
    if name.startswith("model.ckpt-"):
      os.remove(os.path.join(folder, name))
  with pytest.raises(ValueError) as error:
    checkpoints.find_start(folder, None, make_record(), True)
  assert "which has no files; remove %s" % os.path.join(
      folder, "checkpoint") in str(error.value)


# Checkpoints that can be read, and that fit.


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
  path = str(tmp_path / "bert_model")
  with pytest.raises(ValueError) as error:
    checkpoints.check_readable(path)
  assert str(error.value) == (
      "%s: there is no such checkpoint; pass the path up to and including "
      "\".ckpt\" or \".ckpt-<step>\"" % path)


@pytest.mark.parametrize("has_state", [False, True])
def test_a_folder_is_no_checkpoint_and_the_one_in_it_is_named(
    tmp_path, has_state):
  if has_state:
    folder, inside = trained_folder(tmp_path / "out")
  else:
    folder = str(tmp_path)
    inside = save_checkpoint(tmp_path / "bert_model.ckpt", {"w": 1.0})
    os.remove(os.path.join(folder, "checkpoint"))
  with pytest.raises(ValueError) as error:
    checkpoints.check_readable(folder)
  assert str(error.value) == (
      "%s: found a folder, expected a checkpoint; pass the path up to and "
      "including \".ckpt\" or \".ckpt-<step>\", for example %s" % (
          folder, inside))


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
@pytest.mark.parametrize("kept", [0.0, 0.5])
def test_a_truncated_checkpoint_is_named(tmp_path, suffix, kept):
  checkpoint = save_checkpoint(
      tmp_path / "model.ckpt", {"a": np.ones([50]), "b": np.ones([50])})
  assert checkpoints.check_readable(checkpoint) == {"a": [50], "b": [50]}
  with open(checkpoint + suffix, "rb+") as writer:
    writer.truncate(int(kept * os.path.getsize(checkpoint + suffix)))
  with pytest.raises(ValueError) as error:
    checkpoints.check_readable(checkpoint)
  assert str(error.value).startswith(
      "%s: not a checkpoint that can be read (" % checkpoint)
  assert "copy it again" in str(error.value)


def test_a_file_that_is_no_checkpoint_is_named(tmp_path):
  path = tmp_path / "bert_model.ckpt"
  path.write_bytes(b"not a checkpoint, but long enough to look into" * 10)
  with pytest.raises(ValueError, match="not a checkpoint that can be read"):
    checkpoints.check_readable(str(path))


def test_every_variable_that_does_not_fit_is_named(tmp_path):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", {
      "a": np.zeros([2, 3]), "b": np.zeros([4]), "c": 1.0, "other": [1.0]})
  with tf.Graph().as_default():
    good = make_variables([("b", [4]), ("new", [9])])
    checkpoint_fit.check_shapes(good, checkpoint)
    bad = make_variables([("a", [3, 2]), ("c", [1])])
    with pytest.raises(ValueError) as error:
      checkpoint_fit.check_shapes(good + bad, checkpoint, cure="try another")
  assert str(error.value) == (
      "%s does not fit the model (try another): "
      "a: [2, 3] in the checkpoint, [3, 2] in the model; "
      "c: [] in the checkpoint, [1] in the model" % checkpoint)


def test_a_checkpoint_may_have_to_hold_every_variable(tmp_path):
  checkpoint = save_checkpoint(tmp_path / "model.ckpt", {"w": [1.0, 2.0]})
  with tf.Graph().as_default():
    variables = make_variables([("w", [2]), ("deeper/w", [2])])
    checkpoint_fit.check_shapes(variables, checkpoint)
    with pytest.raises(ValueError) as error:
      checkpoint_fit.check_shapes(variables, checkpoint, must_have_all=True)
  assert str(error.value).endswith("): deeper/w: not in the checkpoint")
