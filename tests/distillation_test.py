"""Tests of learning from a teacher, and of texts with other words."""

import json
import os
import shutil
import threading
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    augmentation, checkpoints, distillation, input_pipeline, problem_types,
    trained_models)
from bert_suite.processors import InputExample
from conversion_fixtures import write_reference
from helpers import (
    WORDS, run_command, save_checkpoint, write_config, write_lines, write_vocab)
import predictor
import run_classifier
import tokenization

LABELS = ["maybe", "no", "yes"]
TEXTS = ["the cat sings", "tea is near", "a kettle sleeps", "it rains",
         "the tea is far", "a cat is not near"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """Returns a folder with a teacher, a masked LM, texts and a student."""
  top = tmp_path_factory.mktemp("distillation")
  for name, kind in (("teacher", "BertForSequenceClassification"),
                     ("masked_lm", "BertForMaskedLM")):
    _, weights = write_reference(top / name, kind)
    if "output_weights" in weights:  # a teacher that tells texts apart
      for variable in weights:
        if variable.endswith("gamma"):
          weights[variable][:] = 1.0
      weights["output_weights"] *= 5.0
      save_checkpoint(top / name / "bert_model.ckpt", weights)
  write_lines(top / "train.tsv", [["text", "label"]] + [
      [text, LABELS[i % 3]] for i, text in enumerate(TEXTS)])
  write_lines(top / "dev.tsv", [["text", "label"], ["tea", "yes"]])
  (top / "more.txt").write_text("it is far\n\nrains , rains\n")
  write_config(top)
  write_vocab(top)
  return str(top)


def make_arguments(folder, output_dir, **flags):
  values = dict(
      task_name="table", train_file=os.path.join(folder, "train.tsv"),
      dev_file=os.path.join(folder, "dev.tsv"), text_a="text", label="label",
      teacher_dir=os.path.join(folder, "teacher"), do_train=True,
      max_seq_length=12, train_batch_size=4, num_train_epochs=1,
      tf_random_seed=1, vocab_file=os.path.join(folder, "vocab.txt"),
      bert_config_file=os.path.join(folder, "bert_config.json"),
      output_dir=str(output_dir))
  return ["--%s=%s" % item for item in dict(values, **flags).items()
          if item[1] is not None]


def train(folder, output_dir, **flags):
  code, message = run_command(
      run_classifier, make_arguments(folder, output_dir, **flags))
  assert code == 0, message


def read_records(output_dir):
  spec = {"input_ids": tf.FixedLenFeature([12], tf.int64),
          distillation.OUTPUTS: tf.FixedLenFeature([3], tf.float32),
          distillation.HAS_LABEL: tf.FixedLenFeature([], tf.float32)}
  with tf.Graph().as_default(), tf.Session() as session:
    return session.run([tf.parse_single_example(record, spec) for record in (
        input_pipeline.iterate_records(os.path.join(
            str(output_dir), "train.tf_record")))])


def softmax(logits):
  return np.exp(logits) / np.sum(np.exp(logits), axis=-1, keepdims=True)


def test_losses_are_those_of_numpy():
  random = np.random.RandomState(1)
  logits, targets = np.float32(random.standard_normal([2, 5, 3]))
  soft = softmax(targets / 2.0)
  sigmoids = [1.0 / (1.0 + np.exp(-array / 2.0)) for array in (targets, logits)]
  expected = {
      problem_types.SingleLabel(3): -4.0 * np.sum(
          soft * np.log(softmax(logits / 2.0)), axis=-1),
      problem_types.MultiLabel(3): -4.0 * np.mean(
          sigmoids[0] * np.log(sigmoids[1]) +
          (1.0 - sigmoids[0]) * np.log(1.0 - sigmoids[1]), axis=-1),
      problem_types.Regression(): np.square(logits[:, 0] - targets[:, 0])}
  with tf.Graph().as_default(), tf.Session() as session:
    for problem, losses in expected.items():
      size = problem.num_outputs
      np.testing.assert_allclose(
          session.run(problem.soft_losses(tf.constant(logits[:, :size]),
                                          tf.constant(targets[:, :size]), 2.0)),
          losses, rtol=1e-4)


def test_logits_are_those_of_the_predictions():
  logits = np.float32([[1.0, -2.0, 0.5], [9.0, 0.0, -30.0]])
  single, multi = problem_types.SingleLabel(3), problem_types.MultiLabel(3)
  found = single.logits_of(single.predict_array(logits))
  np.testing.assert_allclose(softmax(found), softmax(logits), atol=1e-6)
  np.testing.assert_allclose(
      found - found[:, :1], logits - logits[:, :1], atol=1e-4)
  found = multi.logits_of(multi.predict_array(logits))
  np.testing.assert_allclose(found[0], logits[0], atol=1e-5)
  assert np.all(np.isfinite(multi.logits_of(np.float32([0.0, 1.0]))))


def test_the_labels_share_counts_only_where_there_are_labels():
  problem = problem_types.SingleLabel(2)
  one = distillation.Distiller(run_classifier.Settings(
      label_share=0.25, temperature=2.0, output_dir="x"))
  one._problem = problem
  logits, targets = np.float32([[1, 0], [3, -1]]), np.float32([[0, 1], [2, 2]])
  with tf.Graph().as_default(), tf.Session() as session:
    soft, hard, loss = session.run([
        problem.soft_losses(tf.constant(logits), tf.constant(targets), 2.0),
        problem.losses(tf.constant(logits), tf.constant([1, 0])),
        one.loss(tf.constant(logits), tf.constant([1, 0]),
                 tf.constant(targets), tf.constant([1.0, 0.0]))])
  np.testing.assert_allclose(
      loss, (0.75 * soft[0] + 0.25 * hard[0] + soft[1]) / 2.0, rtol=1e-6)


def test_records_have_what_the_teacher_says(folder, tmp_path):
  train(folder, tmp_path / "out", augment=2,
        masked_lm_dir=os.path.join(folder, "masked_lm"),
        transfer_file=os.path.join(folder, "more.txt"))
  records = read_records(tmp_path / "out")
  assert len(records) == 3 * len(TEXTS) + 2
  assert [record[distillation.HAS_LABEL] for record in records] == (
      [1.0] * len(TEXTS) + [0.0] * (2 * len(TEXTS) + 2))
  name, = [name for name in os.listdir(str(tmp_path / "out"))
           if name.startswith("augmented")]
  with open(str(tmp_path / "out" / name)) as reader:
    made = [json.loads(line) for line in reader]
  assert [second for _, second in made] == [None] * 12
  for i, (text, _) in enumerate(made):
    before, after = TEXTS[i // 2].split(), text.split()
    assert len(before) == len(after)
    assert set(after) <= set(WORDS).union(before)
  assert sum(text != TEXTS[i // 2] for i, (text, _) in enumerate(made)) > 6
  texts = TEXTS + [text for text, _ in made] + ["it is far", "rains , rains"]
  with predictor.Predictor(os.path.join(folder, "teacher")) as model:
    expected = model.predict(texts)
  found = softmax(np.array([one[distillation.OUTPUTS] for one in records]))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert np.max(np.ptp(expected, axis=0)) > 0.1
  training = checkpoints.read_training(str(tmp_path / "out"))
  assert training["augment"] == 2 and training["temperature"] == 1.0


def test_a_student_comes_to_say_what_its_teacher_says(folder, tmp_path):
  with predictor.Predictor(os.path.join(folder, "teacher")) as model:
    expected = model.predict(TEXTS)
  train(folder, tmp_path / "out", num_train_epochs=60, learning_rate=3e-3)
  with predictor.Predictor(str(tmp_path / "out")) as model:
    found = model.predict(TEXTS)
  # A third of the labels is "no", of which the teacher knows nothing.
  assert np.max(expected[:, 1]) < 0.02 and np.max(found[:, 1]) < 0.02
  np.testing.assert_allclose(
      np.mean(found, axis=0), np.mean(expected, axis=0), atol=0.05)


@pytest.fixture
def asked(monkeypatch):
  """Returns a list of how many texts teachers have computed."""
  counts, compute = [], distillation.Distiller._compute

  def count(self, examples):
    counts.append(len(examples))
    return compute(self, examples)

  monkeypatch.setattr(distillation.Distiller, "_compute", count)
  return counts


@pytest.mark.slow
def test_the_teacher_is_asked_once_for_all_seeds(folder, tmp_path, asked):
  out = tmp_path / "out"
  train(folder, out, num_seeds=2, do_eval=True, eval_steps=1, use_best=True)
  assert asked == [6]
  assert len([name for name in os.listdir(str(out))
              if name.startswith("teacher-")]) == 1
  for name in ("seed-1", "seed-2"):
    assert os.path.exists(str(out / name / "eval_results.txt"))
  assert any(os.path.exists(str(out / name / "best" / "checkpoint"))
             for name in ("seed-1", "seed-2"))


@pytest.mark.slow
def test_a_training_that_resumes_does_not_ask_again(folder, tmp_path, asked):
  train(folder, tmp_path)
  train(folder, tmp_path, num_train_epochs=2)
  assert asked == [6]
  assert checkpoints.read_step(
      checkpoints.find_checkpoint(str(tmp_path))) == 3
  name, = [name for name in os.listdir(str(tmp_path))
           if name.startswith("teacher-")]
  path = str(tmp_path / name)
  assert distillation._read_outputs(path, (6, 3)).shape == (6, 3)
  assert distillation._read_outputs(path, (7, 3)) is None
  with open(path, "r+b") as writer:
    writer.truncate(100)
  assert distillation._read_outputs(path, (6, 3)) is None


def test_labels_of_the_teacher_may_be_in_another_order(folder, monkeypatch):
  settings = run_classifier.Settings(
      teacher_dir=os.path.join(folder, "teacher"))
  teacher = distillation.find_teacher(
      settings, problem_types.SingleLabel(3), ["yes", "maybe", "no"])
  assert teacher.order == [2, 0, 1]
  with pytest.raises(ValueError, match="for the labels maybe, no, yes, exp"):
    distillation.find_teacher(
        settings, problem_types.SingleLabel(2), ["0", "1"])
  with pytest.raises(ValueError, match="expected one for regression"):
    distillation.find_teacher(settings, problem_types.Regression(), None)
  found = trained_models.find(settings.teacher_dir)
  monkeypatch.setattr(trained_models, "find", lambda folder: found._replace(
      task=found.task._replace(name="squad")))
  with pytest.raises(ValueError, match="has a model for squad"):
    distillation.find_teacher(settings, problem_types.SingleLabel(3), LABELS)


@pytest.mark.parametrize("flags, expected", [
    ({"teacher_dir": None, "temperature": 2.0},
     "--temperature: also pass --teacher_dir"),
    ({"teacher_dir": None, "augment": 1}, "--augment: also pass --teacher_dir"),
    ({"teacher_dir": "/no/such"}, "--teacher_dir: /no/such: there is no such"),
    ({"teacher_dir": "."}, "--teacher_dir=.: holds no checkpoint; give the ou"),
    ({"class_weights": "balanced"}, "--class_weights: changes how labels are"),
    ({"masked_lm_dir": "/tmp"}, "--masked_lm_dir: also pass --augment"),
    ({"augment": 1}, "--augment: pass --masked_lm_dir, or a pre-trained"),
    ({"augment": 1, "init_checkpoint": "teacher/bert_model.ckpt"},
     "bert_model.ckpt has no masked LM (cls/predictions)"),
    ({"transfer_file": "/no/such.txt"}, "found no file for '/no/such.txt'"),
    ({"transfer_file": os.devnull}, "--transfer_file=%s: can be read only once"
     % os.devnull),
])
def test_mistakes_are_one_line(folder, tmp_path, flags, expected):
  flags = dict(flags)
  if "init_checkpoint" in flags:
    flags["init_checkpoint"] = os.path.join(folder, flags["init_checkpoint"])
  code, message = run_command(
      run_classifier, make_arguments(folder, tmp_path / "out", **flags))
  assert code == 1 and expected in message and message.count("\n") == 1


class FakeMaskedLM:
  """Guesses the same for every [MASK], and keeps what it was asked."""

  def __init__(self, folder, max_seq_length):
    self.settings = {"max_seq_length": max_seq_length}
    self.tokenizer = tokenization.FullTokenizer(
        os.path.join(folder, "vocab.txt"), never_split=("[MASK]",))
    self.tokenizer_lock = threading.Lock()
    self.asked = []

  def predict(self, texts):
    self.asked += texts
    return [[[("##s", 0.5), ("cat", 0.2), (".", 0.1), ("tea", 0.1),
              ("[SEP]", 0.1)]]] * len(texts)


def test_words_of_one_piece_are_replaced_by_other_words(folder):
  model = FakeMaskedLM(folder, 20)
  examples = [InputExample("0", "The cat sings.", "It is near"),
              InputExample("1", "tea"), InputExample("2", ", .")]
  made = list(augmentation.augment(examples, model, 50))
  assert made == list(augmentation.augment(examples, model, 50))
  assert len(made) == 150
  firsts = {text.split()[1] for text, _ in made[:50]}
  assert firsts == {"cat", "tea"}  # not a piece, a mark or itself
  assert {text.split()[2] for text, _ in made[:50]} == {"sings"}  # two pieces
  assert {text.split()[3] for text, _ in made[:50]} == {"."}
  assert all(text != ("the cat sings .", "it is near") for text in made[:50])
  assert made[50:100] == [("cat", None)] * 50
  assert made[100:] == [(", .", None)] * 50
  pairs = [text for text in model.asked if isinstance(text, tuple)]
  assert ("the [MASK] sings .", "it is near") in pairs
  changed = np.mean([a != "the" for text, _ in made[:50]
                     for a in text.split()[:1]])
  assert 0.2 < changed < 0.6


def test_a_mask_in_a_text_is_no_gap_to_fill(folder):
  model = FakeMaskedLM(folder, 20)
  made = list(augmentation.augment(
      [InputExample("0", "[MASK] the cat", "tea")], model, 20))
  assert all(text.startswith("[ mask ] ") for text, _ in made)
  assert {text.count("[MASK]") for pair in model.asked for text in pair} == {
      0, 1}


def test_of_long_texts_the_masked_lm_reads_what_is_around_a_word(folder):
  model = FakeMaskedLM(folder, 9)
  text = "the kettle sings near it . the cat sleeps far , far"
  list(augmentation.augment([InputExample("0", text, "tea")], model, 20))
  assert "the [MASK] sings near it ." in model.asked
  assert "[MASK] kettle sings near it ." in model.asked
  for words in set(model.asked) - {"[MASK]"}:  # which is the second text
    assert words.split().count("[MASK]") == 1
    assert 6 <= len(model.tokenizer.tokenize(words)) <= 7


def test_a_masked_lm_may_be_that_of_the_student(folder):
  path = os.path.join(folder, "masked_lm", "bert_model.ckpt")
  settings = types.SimpleNamespace(
      masked_lm_dir=None, init_checkpoint=path, do_lower_case=None,
      bert_config_file=os.path.join(folder, "masked_lm", "bert_config.json"),
      vocab_file=os.path.join(folder, "vocab.txt"))
  assert augmentation.find_model(settings).checkpoint == path
  with augmentation.load_model(settings) as model:
    assert len(model.predict(["the [MASK] sings"])[0]) == 1


def test_windows_of_a_text_have_the_same_teacher(folder, tmp_path):
  shutil.copy(os.path.join(folder, "train.tsv"), str(tmp_path))
  with open(str(tmp_path / "train.tsv"), "a") as writer:
    writer.write("%s\tno\n" % " ".join(TEXTS))
  train(folder, tmp_path / "out", long_text="windows", window_stride=6,
        train_file=tmp_path / "train.tsv")
  records = read_records(tmp_path / "out")
  assert len(records) > len(TEXTS) + 1
  last = [record[distillation.OUTPUTS] for record in records[len(TEXTS):]]
  np.testing.assert_array_equal(last, [last[0]] * len(last))
