"""Tests of learn_vocab: counting, learning, extending models."""

import collections
import json
import os
import random

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, config as configs, model_files, model_inputs
from bert_suite.vocab import counts, extension, learning, report
import create_pretraining_data
import helpers
from helpers import captured_log, read_weights, run_main, write_lines
import learn_vocab
import run_classifier
import run_pretraining
import tokenization

TEXT = ("The unaffable cat: “naïve”, 世界!\n\n" +
        "low lower lowest new newer newest wide wider widest\n" * 5 +
        "É e\u0301 Straße 1,000.50 don't #hash ##x [MASK]\n")
NEW = ["zebra", "sings", "cats"]


@pytest.fixture(name="text")
def fixture_text(tmp_path):
  path = tmp_path / "text.txt"
  path.write_text(TEXT, encoding="utf-8")
  return str(path)


def all_words(text, tokenizer):
  return collections.Counter(
      word for line in text.split("\n") for word in tokenizer.tokenize(line))


# Counting.


@pytest.mark.parametrize("num_workers", [1, 3])
@pytest.mark.parametrize("end", ["\n", ""])
def test_each_word_is_counted_once_however_the_text_is_cut(
    tmp_path, monkeypatch, num_workers, end):
  monkeypatch.setattr(counts, "PART_BYTES", 50)
  generator = random.Random(1)
  text = "\n".join(
      " ".join(generator.choice(TEXT.split()) for _ in range(
          generator.randrange(9))) for _ in range(60)) + end
  paths = [str(tmp_path / name) for name in ("a", "b")]
  for path in paths:
    with open(path, "w", encoding="utf-8") as writer:
      writer.write(text)
  helpers.gzip_file(paths[1])
  tokenizer = tokenization.BasicTokenizer(True)
  found = counts.count_words(paths, tokenizer, num_workers)
  assert found.words == {word: 2 * count for word, count in all_words(
      text, tokenizer).items()}
  assert found.num_dropped == 0
  assert found.count_pieces() == counts.count_characters(found.words)


def test_rare_words_are_dropped_where_there_are_too_many_but_not_their_letters(
    tmp_path, monkeypatch):
  monkeypatch.setattr(counts, "MAX_WORDS", 40)
  monkeypatch.setattr(counts, "PART_BYTES", 100)
  words = ["often"] * 300 + ["word%03d" % i for i in range(300)]
  random.Random(1).shuffle(words)
  path = write_lines(tmp_path / "text", [[word] for word in words])
  tokenizer = tokenization.BasicTokenizer(True)
  found, again = (counts.count_words([path], tokenizer, n) for n in (1, 2))
  assert len(found.words) <= 40
  assert found.words["often"] >= 300 - found.num_dropped
  assert max(found.words, key=found.words.get) == "often"
  assert found.num_dropped == 600 - sum(found.words.values())
  assert found.count_pieces() == counts.count_characters(
      collections.Counter(words))
  assert (again.words, again.pieces) == (found.words, found.pieces)


def test_words_that_a_tokenizer_takes_for_unknown_are_not_counted(tmp_path):
  path = write_lines(tmp_path / "text", [["a" * 201 + " " + "b" * 200]])
  with captured_log() as log:
    found = counts.count_words([path], tokenization.BasicTokenizer(True))
  assert list(found.words) == ["b" * 200] and found.num_too_long == 1
  assert "1 words have more than 200 characters" in "\n".join(log)


def test_a_text_without_words_is_a_mistake(tmp_path):
  path = write_lines(tmp_path / "text", [[" "], [""]])
  with pytest.raises(ValueError, match="found no words, expected text"):
    counts.count_words([path], tokenization.BasicTokenizer(True))


def test_characters_are_left_out_beyond_the_coverage():
  pieces = {"a": 90, "##a": 5, "b": 3, "c": 1, "##d": 1}
  assert learning.choose_characters(pieces, 1.0) == (
      ["a", "b", "c", "##a", "##d"], {})
  assert learning.choose_characters(pieces, 0.98) == (
      ["a", "b", "##a"], {"c": 1, "d": 1})
  assert learning.choose_characters(pieces, 0.5)[0] == ["a", "##a"]


# Learning.


def learn(text, *arguments):
  pytest.importorskip("tokenizers")
  path = os.path.join(os.path.dirname(text), "new_vocab.txt")
  run_main(learn_vocab, ["--input_file=" + text, "--output_file=" + path] +
           list(arguments))
  with open(path, encoding="utf-8") as reader:
    return path, reader.read().split("\n")[:-1]


@pytest.mark.parametrize("do_lower_case", [True, False])
def test_a_vocabulary_has_published_order_and_no_word_is_unknown(
    text, do_lower_case):
  path, tokens = learn(text, "--vocab_size=200",
                       "--do_lower_case=%s" % do_lower_case)
  assert tokens[:104] == ["[PAD]"] + ["[unused%d]" % i for i in range(99)] + [
      "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
  assert len(set(tokens)) == len(tokens) <= 200
  assert {"low", "new", "widest"} <= set(tokens)
  tokenizer = tokenization.FullTokenizer(path, do_lower_case)
  for line in TEXT.split("\n"):
    pieces = tokenizer.tokenize(line)
    assert "[UNK]" not in pieces
    assert "".join(piece[2 * piece.startswith("##") * (len(piece) > 2):]
                   for piece in pieces) == "".join(
                       tokenizer.basic_tokenizer.tokenize(line))


def test_the_same_vocabulary_each_time(text, monkeypatch):
  first = learn(text, "--vocab_size=180")[1]
  monkeypatch.setattr(counts, "PART_BYTES", 40)
  assert learn(text, "--vocab_size=180", "--num_workers=3")[1] == first
  monkeypatch.setattr(learning, "_LINE_CHARS", 7)
  assert learn(text, "--vocab_size=180")[1] == first


def test_lines_for_the_library_have_each_word_as_often_as_counted():
  words = {"a": 40000, "bc": 3, "d" * 150: 300, "x": 7}
  lines = list(learning._repeat(counts.WordCounts(words), {"x": 7}))
  found = collections.Counter(word for line in lines for word in line.split())
  del words["x"]
  assert found == words
  assert max(map(len, lines)) <= learning._LINE_CHARS + 200


def test_frequency_and_coverage(text):
  full = learn(text, "--vocab_size=1000")[1]
  assert "unaffable" not in full and "lowest" in full
  rare = learn(text, "--vocab_size=1000", "--min_frequency=6")[1]
  assert set(rare) < set(full) and "lowest" not in rare
  path, tokens = learn(text, "--vocab_size=1000", "--character_coverage=0.9")
  assert "世" not in tokens and "w" in tokens
  assert "[UNK]" in tokenization.FullTokenizer(path).tokenize(TEXT)


def test_the_report_is_that_of_the_tokenizer(text, tmp_path):
  path, tokens = learn(text, "--vocab_size=170")
  heldout = "lowest unaffable qq 世 zebra\nnewest"
  fit = report.measure(all_words(
      heldout, tokenization.BasicTokenizer(True)), tokens)
  pieces = tokenization.FullTokenizer(path).tokenize(heldout)
  assert fit.num_words == 6 and fit.num_pieces == len(pieces)
  assert fit.num_unknown == pieces.count("[UNK]") == 2
  held = write_lines(tmp_path / "held.txt", [[heldout]])
  other = helpers.write_vocab(tmp_path)
  settings = learn_vocab.Settings(
      input_file=text, vocab_size=170, output_file=str(tmp_path / "again.txt"),
      heldout_file=held, compare_vocab_file=other)
  with captured_log() as log:
    learn_vocab.run_with(settings)
  assert log[-3:][1].split()[1:] == [
      str(len(tokens)), "33.3333%", "%.4f" % fit.pieces_per_word]
  assert log[-1].split() == [other, str(len(helpers.WORDS)), "100.0000%",
                             "1.0000"]


@pytest.mark.parametrize("changes, message", [
    (dict(output_file=None), "also pass --output_file"),
    (dict(input_file=None), "also pass --input_file"),
    (dict(vocab_size=110), "--vocab_size=110: 104 entries are special tokens "
     "and the text has .* characters; give a larger size, or a "
     "--character_coverage"),
    (dict(vocab_file="x", num_words=3),
     "^--vocab_file, --num_words: is for --extend; leave it out$"),
    (dict(output_file="text.txt"), "is the file text.txt .--input_file., "
     "which it would replace"),
    (dict(heldout_file="none"), "--heldout_file=none: found no file"),
    (dict(output_file="none/new.txt"),
     r"^--output_file=none/new.txt: cannot be written \(No such file"),
    (dict(output_file="text.txt/new.txt"), r"written \(Not a directory\)"),
    (dict(output_file="."), "^--output_file=.: is a folder; name a file"),
    (dict(compare_vocab_file="text.txt/x"), "_file=text.txt/x: found no file"),
])
def test_mistakes_when_learning(text, monkeypatch, changes, message):
  pytest.importorskip("tokenizers")
  monkeypatch.chdir(os.path.dirname(text))
  with captured_log() as log, pytest.raises(cli.UserError, match=message):
    learn_vocab.run_with(learn_vocab.Settings(**dict(
        dict(input_file="text.txt", output_file="new.txt"), **changes)))
  assert os.listdir(".") == ["text.txt"]
  if "output_file" in changes:  # before the work
    assert not log


def test_without_the_library_a_line_says_what_to_install(text, monkeypatch):
  monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
  with captured_log(), pytest.raises(
      cli.UserError, match="pip install tokenizers"):
    learn_vocab.run_with(learn_vocab.Settings(
        input_file=text, output_file=text + ".vocab"))


# Extending.


def write_model(folder, unused=2):
  """Writes the three files of a pre-trained model; returns flags for them."""
  tokens = helpers.WORDS + ["[unused%d]" % i for i in range(unused)]
  vocab = write_lines(folder / "vocab.txt", [[token] for token in tokens])
  config = helpers.write_config(folder, vocab_size=len(tokens),
                                do_lower_case=True)
  values = {}
  with tf.Graph().as_default():
    settings = configs.BertConfig.from_json_file(config)
    run_pretraining.define_flags()
    from bert_suite import modeling
    ids = tf.placeholder(tf.int32, [None, None])
    model = modeling.BertModel(settings, False, ids)
    assert model.get_embedding_table() is not None
    shapes = {v.op.name: v.shape.as_list() for v in tf.global_variables()}
  width = settings.hidden_size
  shapes.update({
      "cls/predictions/transform/dense/kernel": [width, width],
      "cls/predictions/transform/dense/bias": [width],
      "cls/predictions/transform/LayerNorm/beta": [width],
      "cls/predictions/transform/LayerNorm/gamma": [width],
      "cls/predictions/output_bias": [len(tokens)],
      "cls/seq_relationship/output_weights": [2, width],
      "cls/seq_relationship/output_bias": [2]})
  generator = np.random.RandomState(1)
  for name, shape in shapes.items():
    values[name] = generator.normal(0, 0.1, shape)
  values[extension.WORD_TABLE + "/adam_m"] = values[extension.WORD_TABLE]
  checkpoint = helpers.save_checkpoint(folder / "bert_model.ckpt", values)
  return dict(vocab_file=vocab, bert_config_file=config,
              init_checkpoint=checkpoint)


def extend(folder, model, **changes):
  words = write_lines(folder / "words.txt", [[word] for word in NEW])
  settings = dict(model, words_file=words, output_dir=str(folder / "new"))
  settings.update(changes)
  with captured_log() as log:
    learn_vocab.run_with(learn_vocab.Settings(**settings))
  return settings["output_dir"], log


def read_tokens(folder):
  with open(os.path.join(folder, "vocab.txt"), encoding="utf-8") as reader:
    return reader.read().split("\n")[:-1]


def test_appended_words_start_as_the_mean_of_their_pieces(tmp_path):
  model = write_model(tmp_path)
  old = read_weights(model["init_checkpoint"])
  folder, log = extend(tmp_path, model, extend="append")
  tokens = read_tokens(folder)
  # "zebra" was [UNK], "sings" sing ##s, "cats" cat ##s.
  assert tokens == helpers.WORDS + ["[unused0]", "[unused1]"] + NEW
  with open(os.path.join(folder, "bert_config.json")) as reader:
    config = json.load(reader)
  with open(model["bert_config_file"]) as reader:
    assert config == dict(json.load(reader), vocab_size=len(tokens))
  new = read_weights(os.path.join(folder, "bert_model.ckpt"))
  assert set(new) == set(old) - {extension.WORD_TABLE + "/adam_m"}
  ids = {token: index for index, token in enumerate(helpers.WORDS)}
  for name, value in new.items():
    if name not in (extension.WORD_TABLE, extension.MASKED_LM_BIAS):
      np.testing.assert_array_equal(value, old[name])
      continue
    count = len(old[name])
    np.testing.assert_array_equal(value[:count], old[name])
    for row, pieces in zip(value[count:], (["[UNK]"], ["sing", "##s"],
                                           ["cat", "##s"])):
      np.testing.assert_allclose(
          row, np.mean([old[name][ids[piece]] for piece in pieces], axis=0),
          rtol=1e-6)
  assert "Added 3 words, ids 24 to 26: zebra, sings, cats" in log
  assert os.listdir(str(tmp_path / "new")) and not [
      name for name in os.listdir(str(tmp_path)) if name.endswith(".tmp")]


def test_words_in_unused_entries_leave_the_size(tmp_path):
  model = write_model(tmp_path)
  old = read_weights(model["init_checkpoint"])
  folder, _ = extend(tmp_path, model, extend="unused", num_words=2)
  assert read_tokens(folder) == helpers.WORDS + NEW[:2]
  with open(os.path.join(folder, "bert_config.json")) as reader, open(
      model["bert_config_file"]) as before:
    assert json.load(reader) == json.load(before)
  new = read_weights(os.path.join(folder, "bert_model.ckpt"))
  ids = {token: index for index, token in enumerate(helpers.WORDS)}
  for name in (extension.WORD_TABLE, extension.MASKED_LM_BIAS):
    np.testing.assert_array_equal(new[name][:-2], old[name][:-2])
    np.testing.assert_allclose(
        new[name][-1], (old[name][ids["sing"]] + old[name][ids["##s"]]) / 2,
        rtol=1e-6)
  # The vocabulary alone, too.
  folder, _ = extend(
      tmp_path, dict(vocab_file=model["vocab_file"]), extend="unused",
      num_words=2, output_dir=str(tmp_path / "alone"))
  assert os.listdir(folder) == ["vocab.txt"]
  assert read_tokens(folder) == helpers.WORDS + NEW[:2]


def test_a_table_with_rows_to_spare_is_filled_first():
  values = {extension.WORD_TABLE: np.arange(10.0).reshape([5, 2])}
  extension.extend_weights(values, [extension.Entry(3, "x", [0, 1])], 5)
  assert values[extension.WORD_TABLE].tolist() == [
      [0, 1], [2, 3], [4, 5], [1, 2], [8, 9]]


def test_words_of_a_text_are_those_that_were_split_most_frequent_first(
    tmp_path):
  model = write_model(tmp_path)
  text = write_lines(tmp_path / "text.txt", [
      ["the cats sing, the Cats sings cats zebra zebra kettle once"]])
  folder, log = extend(tmp_path, model, extend="append", words_file=None,
                       input_file=text)
  assert read_tokens(folder)[-2:] == ["cats", "zebra"]
  assert len(read_tokens(folder)) == len(helpers.WORDS) + 4
  pieces = [line.split()[-1] for line in log[-2:]]
  assert pieces == ["%.4f" % (13 / 12), "%.4f" % (16 / 12)]
  folder, _ = extend(tmp_path, model, extend="append", input_file=text,
                     min_frequency=1, num_words=4,
                     output_dir=str(tmp_path / "both"))
  assert read_tokens(folder)[-4:] == NEW + ["once"]


def test_the_log_says_which_words_are_not_added_and_why(tmp_path):
  model = write_model(tmp_path)
  text = write_lines(tmp_path / "text.txt", [["zebra zebra cats once"]])
  words = write_lines(tmp_path / "some.txt", [
      [word] for word in ("the", "sings", "Cat", "x" * 201)])
  changes = dict(extend="append", input_file=text, words_file=words)
  folder, log = extend(tmp_path, model, num_words=5, **changes)
  assert read_tokens(folder)[-2:] == ["sings", "zebra"]
  assert "2 of 4 words of %s are entries already: the, cat" % words in log
  assert [line for line in log if line.startswith(
      "1 of 4 words of %s are too long for a tokenizer" % words)
          and line.endswith(": " + "x" * 201)]
  assert ("2 words are added, not 5 (--num_words): %s has no more that occur 2 "
          "times (--min_frequency) and --vocab_file lacks" % text) in log
  _, log = extend(tmp_path, model, num_words=2, output_dir=str(
      tmp_path / "as_many"), **changes)
  assert not [line for line in log if "--num_words" in line]


def test_a_mask_in_the_text_is_read_as_pre_training_reads_it(tmp_path):
  text = write_lines(tmp_path / "text.txt", [["the [MASK] [MASK]"]])
  found = counts.count_words([text], tokenization.BasicTokenizer(True))
  assert found.words == {"the": 1, "[": 2, "mask": 2, "]": 2}
  vocab = write_lines(
      tmp_path / "vocab.txt", [[word] for word in helpers.WORDS + ["mask"]])
  tokenizer = create_pretraining_data.make_tokenizer(vocab, True)
  assert "mask" in tokenizer.tokenize("the [MASK]")


@pytest.mark.slow
def test_pre_training_and_fine_tuning_start_from_an_extended_model(tmp_path):
  model = write_model(tmp_path)
  folder, _ = extend(tmp_path, model, extend="append")
  vocab, config, checkpoint = (os.path.join(folder, name) for name in (
      "vocab.txt", "bert_config.json", "bert_model.ckpt"))
  text = write_lines(tmp_path / "text.txt", [
      ["the zebra sings and cats sleep"], ["it rains far"], [""],
      ["a zebra is not near"], ["the cat sings"]])
  run_main(create_pretraining_data, [
      "--input_file=" + text, "--output_file=%s" % (tmp_path / "records"),
      "--vocab_file=" + vocab, "--max_seq_length=16",
      "--max_predictions_per_seq=3", "--dupe_factor=2"])
  run_main(run_pretraining, [
      "--input_file=%s" % (tmp_path / "records"), "--do_train", "--do_eval",
      "--output_dir=%s" % (tmp_path / "trained"),
      "--bert_config_file=" + config,
      "--init_checkpoint=" + checkpoint, "--max_seq_length=16",
      "--max_predictions_per_seq=3", "--train_batch_size=4",
      "--num_train_steps=2", "--num_warmup_steps=1"])
  names, _ = helpers.read_eval_results(str(tmp_path / "trained"))
  assert "masked_lm_loss" in names
  data = helpers.write_mrpc(tmp_path / "mrpc")
  fine_tuning = [
      "--task_name=mrpc", "--data_dir=" + data, "--do_train",
      "--max_seq_length=16", "--train_batch_size=4", "--num_train_epochs=1"]
  run_main(run_classifier, fine_tuning + [
      "--output_dir=%s" % (tmp_path / "mrpc_out"), "--vocab_file=" + vocab,
      "--bert_config_file=" + config, "--init_checkpoint=" + checkpoint])
  trained = read_weights(tf.train.latest_checkpoint(
      str(tmp_path / "mrpc_out")))
  assert trained[extension.WORD_TABLE].shape == (27, 16)
  # What does not fit says what to do.
  with pytest.raises(cli.UserError, match=r"ids up to 26, but the model's "
                     r"vocab_size is 24; .* learn_vocab.py --extend=append"):
    run_main(run_classifier, fine_tuning + [
        "--output_dir=%s" % (tmp_path / "other"), "--vocab_file=" + vocab,
        "--bert_config_file=" + model["bert_config_file"],
        "--init_checkpoint=" + checkpoint])
  with pytest.raises(cli.UserError, match=r"word_embeddings: \[24, 16\] in the "
                     r"checkpoint, \[27, 16\] in the model \(learn_vocab.py "
                     "--extend=append"):
    run_main(run_classifier, fine_tuning + [
        "--output_dir=%s" % (tmp_path / "other"), "--vocab_file=" + vocab,
        "--bert_config_file=" + config,
        "--init_checkpoint=" + model["init_checkpoint"]])


@pytest.mark.parametrize("changes, message", [
    (dict(extend="more"), "extend=more: .* unused"),
    (dict(extend="unused"), "3 words and only 2 entries .unusedN.; give fewer, "
     "or --extend=append"),
    (dict(extend="append", output_file="x"), "--output_file: is for learning"),
    (dict(extend="append", init_checkpoint=None),
     "also pass --init_checkpoint"),
    (dict(extend="append", words_file=None), "also pass --input_file"),
    (dict(extend="unused", bert_config_file=None),
     "--init_checkpoint: also pass --bert_config_file"),
    (dict(extend="append", output_dir="{folder}"), "exists already"),
    (dict(extend="append", heldout_file="none"), "^--heldout_file=none: found"),
    (dict(extend="append", compare_vocab_file="{folder}/bert_config.json"),
     "^the vocabulary file .*bert_config.json is JSON"),
    (dict(extend="append", words_file="none"),
     "^cannot read the words file 'none': No such file"),
    (dict(extend="--input_file=x", words_file=None),
     "^--extend=--input_file=x: expected one of unused, append$"),
    (dict(extend="append", output_dir="{folder}/vocab.txt/a/b"),
     r"^--output_dir=.*/a/b: cannot be written \(Not a directory\)"),
    (dict(extend="unused", vocab_file="{folder}/plain", bert_config_file=None,
          init_checkpoint=None),
     "^--extend=unused: .*plain has no entries .unusedN.; give --extend=app"),
    (dict(extend="append", words_file="{folder}/known"),
     "--vocab_file has all of --words_file"),
    (dict(extend="append", words_file="{folder}/split"),
     "split, line 2: found 'covid-19', which is split into 'covid' and '-' and "
     "'19'"),
])
def test_mistakes_when_extending(tmp_path, changes, message):
  model = write_model(tmp_path)
  write_lines(tmp_path / "known", [["the"], [""], ["Cat"]])
  write_lines(tmp_path / "plain", [["[UNK]"], ["the"]])
  write_lines(tmp_path / "split", [["zebra"], ["covid-19"]])
  before = sorted(os.listdir(str(tmp_path)))
  with pytest.raises(cli.UserError, match=message):
    extend(tmp_path, model, **{
        name: value and value.format(folder=tmp_path)
        for name, value in changes.items()})
  assert sorted(set(os.listdir(str(tmp_path))) - {"words.txt"}) == before


def test_a_checkpoint_of_another_config_is_refused(tmp_path):
  model = write_model(tmp_path)
  model["bert_config_file"] = helpers.write_config(
      tmp_path, "other.json", vocab_size=40)
  with pytest.raises(cli.UserError, match=r"word_embeddings is \[24, 16\] "
                     r"there and \[40, 16\] by .*other.json"):
    extend(tmp_path, model, extend="append")


def test_nothing_is_left_of_a_model_that_could_not_be_written(
    tmp_path, monkeypatch):
  model = write_model(tmp_path)

  def fail(prefix, values):
    with open(prefix + ".index", "w") as writer:
      writer.write("half")
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(model_files, "save", fail)
  with pytest.raises(cli.UserError, match="No space left"):
    extend(tmp_path, model, extend="append")
  assert not os.path.exists(str(tmp_path / "new"))
  assert not [name for name in os.listdir(str(tmp_path)) if "new" in name]


def test_a_vocabulary_that_does_not_fit_a_model_names_the_command():
  with pytest.raises(ValueError, match="learn_vocab.py --extend=append"):
    model_inputs.check_vocab(
        {"[UNK]": 0, "[CLS]": 1, "[SEP]": 7}, "vocab.txt", 7)
