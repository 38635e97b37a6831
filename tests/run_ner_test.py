"""Tests of run_ner: the head, whole runs of the script, mistakes, answers."""

import json
import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli
from bert_suite.ner import head as ner_head, reader, scores
from helpers import (
    CONFIG, WORDS, captured_log, newest_version, read_eval_results,
    read_weights, run_command, run_main, write_config, write_vocab)
from micro_batch_test import limit_memory
import modeling
import numpy_bert
import predictor
from resume_test import MOMENTS, check_weights, run_and_kill
import run_ner

TRAIN = """-DOCSTART- -X- O

the DT O
kettle NN I-OBJ
sings VB O
. . O

a DT O
cat NN I-ANI
tea NN I-OBJ
kettle NN I-OBJ
sleeps VB O

-DOCSTART- -X- O

tea NN I-OBJ
kettle NN B-OBJ
is VB O
near RB O
the DT O
cat NN I-ANI
""" * 2
DEV = TRAIN[:len(TRAIN) // 2]
TEST = ["the\tkettle\u200d\tO", "\u200d\tx\tO", "kettles\tx\tB-OBJ", "",
        "%s\tx\tO" % ("tea,far" * 9), "cat\tx\tB-ANI", "%s\tx\tO" % ("a" * 300)]


@pytest.fixture(scope="module")
def files(tmp_path_factory):
  """Files, and the arguments that name them."""
  folder = tmp_path_factory.mktemp("ner")
  for name, text in (("train", TRAIN), ("dev", DEV), ("test", "\n".join(TEST))):
    (folder / name).write_text(text, encoding="utf-8")
  return dict(
      vocab_file=write_vocab(folder), bert_config_file=write_config(folder),
      train_file=str(folder / "train"), dev_file=str(folder / "dev"),
      test_file=str(folder / "test"))


def arguments_for(files, output_dir, **changes):
  values = dict(
      files, output_dir=str(output_dir), max_seq_length=9, window_stride=3,
      train_batch_size=2, learning_rate=2e-2, tf_random_seed=1)
  values.update(changes)
  return ["--%s=%s" % item for item in sorted(values.items())
          if item[1] is not None]


def read_columns(path):
  """Returns the sentences of a file of predictions, lists of rows."""
  return [[row.split("\t") for row in part.split("\n")]
          for part in path.read_text(encoding="utf-8").strip().split("\n\n")]


# The head.


def test_create_model_is_that_of_numpy():
  rng = np.random.RandomState(4)
  mask = np.array([[1] * n + [0] * (8 - n) for n in (7, 3, 1)], np.int32)
  ids = rng.randint(1, len(WORDS), [3, 8]).astype(np.int32) * mask
  types = np.zeros_like(ids)
  with tf.Graph().as_default(), tf.Session() as session:
    outputs = ner_head.create_model(
        modeling.BertConfig(**CONFIG), False, tf.constant(ids),
        tf.constant(mask), tf.constant(types), 5,
        modeling.Options(remove_padding=True))
    variables = {v.op.name: rng.normal(0.0, 0.5, v.shape.as_list())
                 for v in tf.trainable_variables()}
    session.run([tf.assign(v, variables[v.op.name]).op
                 for v in tf.trainable_variables()])
    logits = session.run(outputs)
  encoded = numpy_bert.encode(variables, 2, ids, mask, types)
  expected = encoded.layers[-1].dot(
      variables["cls/ner/output_weights"].T) + variables["cls/ner/output_bias"]
  np.testing.assert_allclose(
      logits[mask == 1], expected[mask == 1], atol=5e-5)


def test_the_loss_is_the_weighted_mean_over_words():
  logits = np.log([[[0.5, 0.5], [0.1, 0.9]], [[0.2, 0.8], [0.3, 0.7]]])
  with tf.Graph().as_default(), tf.Session() as session:
    loss = session.run(ner_head.tag_loss(
        tf.constant(logits), tf.constant([[0, 1], [0, 0]]),
        tf.constant([[1.0, 3.0], [0.5, 0.0]], tf.float64)))
  assert loss == pytest.approx(
      -(np.log(0.5) + 3.0 * np.log(0.9) + 0.5 * np.log(0.2)) / 4.5)


# Whole runs.


@pytest.fixture(scope="module")
def trained(files, tmp_path_factory):
  """The output folder of the whole script."""
  folder = tmp_path_factory.mktemp("trained") / "out"
  with captured_log():
    run_main(run_ner, arguments_for(
        files, folder, do_train=True, do_eval=True, do_predict=True,
        num_train_epochs=20, eval_steps=12, use_best=True,
        class_weights="balanced", valid_tags_only=True,
        export_dir=folder.parent / "exported"))
  return folder


def test_the_script_learns_and_scores(trained):
  names, values = read_eval_results(str(trained))
  found = dict(zip(names, values))
  assert names == ["eval_accuracy", "eval_f1", "eval_loss", "eval_precision",
                   "eval_recall", "global_step", "loss"]
  assert found["eval_f1"] == 1.0 and found["eval_loss"] < 0.1
  rows = sum(read_columns(trained / "dev_predictions.conll"), [])
  # The words of --dev_file with their own tags, line by line.
  assert [row[:2] for row in rows] == [
      [line.split()[0], line.split()[-1]] for line in DEV.split("\n") if line]
  assert [row[2] for row in rows] == [
      "O", "O", "B-OBJ", "O", "O", "O", "B-ANI", "B-OBJ", "I-OBJ", "O", "O",
      "B-OBJ", "B-OBJ", "O", "O", "O", "B-ANI"]
  history = (trained / "history.tsv").read_text().split("\n")
  assert history[0].split("\t")[:2] == ["step", "epoch"] and (
      "best eval_f1" in history[0]) and len(history) > 3
  record = json.loads((trained / "run.json").read_text())
  assert record["labels"] == ["O", "B-ANI", "I-ANI", "B-OBJ", "I-OBJ"]
  assert (record["task"], record["tag_scheme"]) == ("ner", "IOB2")
  assert record["training"]["window_stride"] == 3
  assert re.search(r"\nOBJ +1.0000 +1.0000 +1.0000 +4 +4\n", (
      trained / "eval_report.txt").read_text())


def test_each_word_of_the_test_set_has_one_answer(trained):
  sentences = read_columns(trained / "predictions.conll")
  assert [[row[:2] for row in one] for one in sentences] == [
      [line.split("\t")[::2] for line in TEST[:3]],
      [line.split("\t")[::2] for line in TEST[4:]]]
  tags = [[row[2] for row in one] for one in sentences]
  lines = [json.loads(line) for line in (
      trained / "predictions.jsonl").read_text("utf-8").split("\n")[:-1]]
  assert [line["tags"] for line in lines] == tags
  for line in lines:
    assert line["text"] == " ".join(line["tokens"])
    for span in line["spans"]:
      assert line["text"][span["start"]:span["end"]] == span["text"]
  right = [[row[1] for row in one] for one in sentences]
  results = dict(line.split(" = ") for line in (
      trained / "test_results.txt").read_text().split("\n")[:-1])
  assert {name: float(value) for name, value in results.items()} == {
      "test_" + name: value
      for name, value in scores.count(right, tags).figures().items()}
  # What it writes it also reads.
  again = reader.read(str(trained / "predictions.jsonl"), True)
  assert [one.tags for one in again] == tags


@pytest.mark.parametrize("source", ["out", "exported", "best"])
def test_predictor_answers_as_the_script(trained, source):
  path = {"out": trained, "exported": newest_version(str(
      trained.parent / "exported")), "best": trained / "best"}[source]
  with captured_log(), predictor.Predictor(str(path)) as model:
    assert model.settings["valid_tags_only"] is True
    found = model.predict(
        [["the", "kettle", "sings", "."], "A cat: tea kettle sleeps", "",
         [line.split("\t")[0] for line in TEST[4:]]])
    with pytest.raises(ValueError, match=r"texts\[0\]: found a pair of texts"):
      model.predict([("a", "b")])
  assert found[0]["tags"] == ["O", "B-OBJ", "O", "O"]
  assert found[1]["tokens"] == ["A", "cat", ":", "tea", "kettle", "sleeps"]
  assert found[2] == {"text": "", "tokens": [], "tags": [], "spans": []}
  if source != "out":  # which has weights of a later step than the best
    assert found[3]["tags"] == [
        row[2] for row in read_columns(trained / "predictions.conll")[1]]


def test_a_trained_model_evaluates_and_predicts_alone(files, trained, tmp_path):
  words = tmp_path / "words.jsonl"
  words.write_text('{"text": "the kettle sings."}\n{"text": " "}\n')
  checkpoint = tf.train.latest_checkpoint(str(trained / "best"))
  run_main(run_ner, arguments_for(
      files, tmp_path / "out", do_eval=True, do_predict=True,
      init_checkpoint=checkpoint, test_file=words))
  names, values = read_eval_results(str(tmp_path / "out"))
  assert dict(zip(names, values))["eval_f1"] == 1.0
  assert read_columns(tmp_path / "out" / "predictions.conll") == [
      [["the", "O"], ["kettle", "B-OBJ"], ["sings", "O"], [".", "O"]]]
  assert not (tmp_path / "out" / "test_results.txt").exists()
  status, stderr = run_command(run_ner, arguments_for(
      files, tmp_path / "other", do_eval=True, init_checkpoint=checkpoint,
      tag_scheme="IOBES"))
  assert status == 1
  assert "tag_scheme is IOB2 there and IOBES here" in stderr


@pytest.mark.slow
def test_several_seeds_of_documents_in_another_scheme(files, tmp_path):
  run_main(run_ner, arguments_for(
      files, tmp_path / "out", do_train=True, do_eval=True, do_predict=True,
      test_file=files["dev_file"], num_seeds=2, context="document",
      tag_scheme="IOBES", max_seq_length=12, window_stride=None,
      num_train_epochs=2, gradient_accumulation_steps=2, train_batch_size=1))
  runs = json.loads((tmp_path / "out" / "runs.json").read_text())
  assert [name for name, *_ in runs["runs"]] == ["seed-1", "seed-2"]
  best = tmp_path / "out" / runs["best"]
  record = json.loads((best / "run.json").read_text())
  assert len(record["labels"]) == 9
  assert record["training"]["context"] == "document"
  rows = sum(read_columns(best / "predictions.conll"), [])
  assert [row[0] for row in rows] == [
      line.split()[0] for line in DEV.split("\n") if line]
  # Documents of 9 and of 7 pieces, the first through windows of 10.
  assert record["training"]["num_train_steps"] == 6


@pytest.mark.slow
def test_a_killed_training_resumes_and_ends_alike(files, tmp_path):
  changes = dict(do_train=True, do_predict=True, num_train_epochs=4,
                 save_checkpoints_steps=2, class_weights="balanced")
  for name in ("whole", "killed"):
    arguments = arguments_for(files, tmp_path / name, **changes)
    if name == "killed":
      run_and_kill("run_ner", arguments, MOMENTS["between checkpoints"][0])
      assert tf.train.latest_checkpoint(str(tmp_path / name)).endswith("-2")
      assert not (tmp_path / name / "predictions.conll").exists()
    run_main(run_ner, arguments)
  whole, killed = [tf.train.latest_checkpoint(str(tmp_path / name))
                   for name in ("whole", "killed")]
  assert os.path.basename(whole) == os.path.basename(killed)
  check_weights(killed, read_weights(whole))
  for name in ("predictions.conll", "predictions.jsonl", "test_results.txt"):
    assert (tmp_path / "killed" / name).read_bytes() == (
        tmp_path / "whole" / name).read_bytes()


@pytest.mark.slow
def test_two_devices_short_of_memory_train_like_one(
    files, tmp_path, monkeypatch):
  """Sentences have few words or many; each word counts alike."""
  monkeypatch.setattr(modeling, "dropout", lambda x, rate: x)
  settings = dict(
      files, max_seq_length=9, train_batch_size=8, learning_rate=2e-2,
      num_train_epochs=6, tf_random_seed=1, do_train=True, do_eval=True,
      bert_config_file=write_config(
          tmp_path, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0),
      class_weights="balanced")
  one = run_ner.run_with(run_ner.Settings(
      output_dir=str(tmp_path / "one"), **settings))
  limit_memory(monkeypatch, 2)
  with captured_log() as lines:
    two = run_ner.run_with(run_ner.Settings(
        output_dir=str(tmp_path / "two"), devices=["/cpu:0", "/cpu:1"],
        init_checkpoint=str(tmp_path / "one" / "model.ckpt-0"),
        auto_micro_batch=True, **settings))
  assert [line for line in lines if line.startswith("Out of memory with 4")]
  assert one["eval_f1"] == 1.0 and one["global_step"] == 4
  assert sorted(two) == sorted(one)
  for name, value in one.items():
    assert two[name] == pytest.approx(value, rel=1e-3), name
  found, expected = [read_weights(tf.train.latest_checkpoint(
      str(tmp_path / name))) for name in ("two", "one")]
  for name, value in expected.items():
    np.testing.assert_allclose(found[name], value, 1e-3, 1e-3, name)


@pytest.mark.parametrize("changes, message", [
    (dict(), "nothing to do; give --do_train, --do_eval or --do_predict"),
    (dict(do_train=True, train_file=None), "--do_train needs --train_file"),
    (dict(do_train=True, eval_steps=2, dev_file=None),
     "--eval_steps needs --dev_file"),
    (dict(do_train=True, train_file="none"),
     "--train_file=none: No such file or directory$"),
    (dict(do_train=True, max_seq_length=21), "give a smaller --max_seq_length"),
    (dict(do_eval=True),
     "--output_dir=.*/out: found no run.json of a training of this task, .* "
     "or name the --output_dir of a training$"),
    (dict(do_eval=True, init_checkpoint="other/model.ckpt"),
     ": --init_checkpoint=other/model.ckpt: found no run.json"),
    (dict(do_train=True, tag_scheme="BILOU"),
     "--tag_scheme=BILOU: expected one of IOB1, IOB2, IOBES"),
    (dict(do_train=True, context="text"), "--context=text: expected one of"),
    (dict(do_train=True, window_stride=8), "--window_stride=8: expected 1 to"),
    (dict(do_train=True, tag_column=4), "--tag_column=4: .*has 3 column"),
    (dict(do_train=True, class_weights="O:1"), "found no weight of B-ANI"),
    (dict(do_train=True, best_metric="f1"), "--best_metric=f1: expected one"),
    (dict(do_train=True, output_dir="."), "is the file .*--train_file"),
    (dict(do_train=True, do_predict=True, context="document"),
     "--context=document: .*test does not say where a document begins")])
def test_mistakes_get_one_line(files, tmp_path, changes, message):
  changes = dict(changes)
  if changes.get("output_dir"):
    changes["output_dir"] = str(tmp_path)
    changes["train_file"] = str(tmp_path / "predictions.conll")
    (tmp_path / "predictions.conll").write_text("a O\n")
  status, stderr = run_command(run_ner, arguments_for(
      files, changes.pop("output_dir", tmp_path / "out"), **changes))
  assert status == 1
  assert len(stderr.splitlines()) == 1 and re.search(message, stderr)
  assert not (tmp_path / "out").exists()


def test_tags_that_are_all_o_teach_nothing(files, tmp_path):
  (tmp_path / "x").write_text("a O\n")
  with pytest.raises(cli.UserError, match="x: has no entity to learn, all tag"):
    run_ner.run_with(run_ner.Settings(**dict(
        files, train_file=str(tmp_path / "x"), do_train=True, max_seq_length=9,
        output_dir=str(tmp_path / "out"))))
