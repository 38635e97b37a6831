"""Tests of --task_name=table: labels, streams, splits, mistakes, a run."""

import json
import os

import pytest

from bert_suite import classification, cli, processors, table_task, task_names
from helpers import (
    captured_log, count_records, read_probabilities, run_main, write_config,
    write_lines, write_vocab)
import run_classifier

ROWS = [["text", "label"], ["It rains.", "wet"], ["tea", "dry"],
        ["The cat sleeps.", "dry"]]


def make(tmp_path, rows=None, **settings):
  """Makes the processor of a table; `rows` are those of train.tsv."""
  if rows is not None:
    write_lines(tmp_path / "train.tsv", rows)
  values = dict(
      task_name="table", train_file=str(tmp_path / "train.tsv"), text_a="text",
      label="label", do_train=True, output_dir=str(tmp_path))
  values.update(settings)
  return task_names.find_processor(
      "table", run_classifier.Settings(**values))


def facts(examples):
  return [(e.guid, e.text_a, e.text_b, e.label) for e in examples]


def error_of(function, *arguments):
  with pytest.raises(ValueError) as error:
    list(function(*arguments))
  return str(error.value)


def test_examples_are_a_stream_that_can_be_read_again(tmp_path):
  with captured_log() as lines:
    processor = make(tmp_path, ROWS)
    examples = processor.get_train_examples(None)
  expected = [("train-1", "It rains.", None, "wet"),
              ("train-2", "tea", None, "dry"),
              ("train-3", "The cat sleeps.", None, "dry")]
  assert len(examples) == 3
  assert facts(examples) == expected == facts(examples)
  assert processor.get_labels() == ["dry", "wet"]
  assert lines == [str(tmp_path / "train.tsv") +
                   ": 3 rows; labels: dry 2, wet 1"]
  for rows in ROWS + [["a", "dry"]], [ROWS[0], ROWS[2], ROWS[1], ROWS[3]]:
    write_lines(tmp_path / "train.tsv", rows)
    assert "train.tsv: has changed since the run" in error_of(examples.__iter__)


def test_a_table_that_is_gone_before_its_predictions_is_named(tmp_path):
  train = make(tmp_path, ROWS).get_train_examples(None)
  os.remove(str(tmp_path / "train.tsv"))
  with pytest.raises(cli.UserError, match="train.tsv: there is no such file"):
    list(classification.read_again(train))


def test_pairs_have_two_texts(tmp_path):
  processor = make(tmp_path, [["b", "label", "a"], ["two", "x", "one"],
                              ["four", "y", "three"]], text_a="a", text_b="b")
  assert facts(processor.get_train_examples(None)) == [
      ("train-1", "one", "two", "x"), ("train-2", "three", "four", "y")]


def test_labels_of_a_dev_set_must_be_those_of_the_training(tmp_path):
  dev = write_lines(tmp_path / "dev.tsv", ROWS[:2] + [["tea", "damp"]])
  processor = make(tmp_path, ROWS, dev_file=dev)
  assert error_of(processor.get_dev_examples, None) == (
      "%s, line 3, column label: found the label 'damp' (str), expected one of "
      "'dry', 'wet' (str), which are those of the training" % dev)


def test_labels_are_read_from_a_model_without_the_training_set(tmp_path):
  write_lines(tmp_path / "model" / "labels.txt", [["wet"], ["dry"], ["damp"]])
  dev = write_lines(tmp_path / "dev.tsv", ROWS)
  values = dict(train_file=None, do_train=False, do_eval=True, dev_file=dev)
  for places in (dict(output_dir=str(tmp_path / "model")),
                 dict(init_checkpoint=str(tmp_path / "model" / "model.ckpt"))):
    processor = make(tmp_path, **dict(values, **places))
    assert processor.get_labels() == ["wet", "dry", "damp"]
    assert len(processor.get_dev_examples(None)) == 3
  assert error_of(make(tmp_path, **values).get_labels) == (
      "%s: has no labels.txt, as a trained model has; also pass the "
      "--train_file that the model was trained on" % tmp_path)


@pytest.mark.parametrize("content, message", [
    (b"wet\ndry\nwet\n", "labels.txt, line 3: found 'wet' for the second "
     "time; copy the file again"),
    (b"wet\n\ndry\n", "labels.txt, line 2: found '', expected a label; correct "
     "or remove the row"),
    (b"wet\n\xff\n", "labels.txt: cannot be read ('utf-8' codec can't decode "
     "byte 0xff in position 4: invalid start byte); copy it again")])
def test_damaged_labels_of_a_model_are_named(tmp_path, content, message):
  (tmp_path / "labels.txt").write_bytes(content)
  processor = make(tmp_path, train_file=None, do_train=False, do_eval=True)
  assert error_of(processor.get_labels) == str(tmp_path / message)


def test_labels_of_examples_to_predict_are_read_where_they_are_right(tmp_path):
  for rows, labels in (([["text"], ["tea"], ["cat"]], [None, None]),
                       ([["label", "text"], ["?", "tea"], ["wet", "cat"]],
                        [None, "wet"])):
    test = write_lines(tmp_path / "test.tsv", rows)
    examples = make(tmp_path, ROWS, test_file=test).get_test_examples(None)
    assert facts(examples) == [("test-1", "tea", None, labels[0]),
                               ("test-2", "cat", None, labels[1])]


@pytest.mark.parametrize("values, separator, expected", [
    (['["b", "a"]', "[]", '["c"]', ""], None, [["b", "a"], [], ["c"], []]),
    (["b|a", "", " c ", "a|"], "|", [["b", "a"], [], ["c"], ["a"]]),
    (["b|a|b", "a|a", "", "c"], "|", [["b", "a"], ["a"], [], ["c"]]),
])
def test_a_text_may_have_several_labels(tmp_path, values, separator, expected):
  processor = make(
      tmp_path, [["text", "label"]] + [["tea", value] for value in values],
      multi_label=True, label_separator=separator)
  assert processor.problem_type == processors.MULTI_LABEL
  assert processor.get_labels() == ["a", "b", "c"]
  assert [one.label for one in processor.get_train_examples(None)] == expected


def test_labels_of_json_may_be_numbers_or_lists(tmp_path):
  path = tmp_path / "train.jsonl"
  for labels, multi_label, expected in (
      ([1, 0, True], False, ["0", "1", "true"]),
      ([["x", 7], []], True, ["7", "x"])):
    path.write_text("".join(
        json.dumps({"text": "tea", "label": one}) + "\n" for one in labels))
    processor = make(tmp_path, train_file=str(path), multi_label=multi_label)
    assert processor.get_labels() == expected


def test_lists_are_labels_of_several_only(tmp_path):
  path = tmp_path / "train.jsonl"
  path.write_text(json.dumps({"text": "tea", "label": ["dry"]}) + "\n")
  assert error_of(make(tmp_path, train_file=str(path)).get_labels) == (
      "%s, line 1, column label: found ['dry'], expected one label; if texts "
      "have several, pass --multi_label" % path)


def test_what_to_predict_is_asked_for(tmp_path):
  assert error_of(make(tmp_path, ROWS).get_test_examples, None) == (
      "--do_predict: also pass --test_file")


def test_ids_count_rows_and_messages_count_lines(tmp_path):
  path = tmp_path / "train.csv"
  path.write_text('text,label\n"one\ntwo",wet\ntea,dry\nit, \n')
  processor = make(tmp_path, train_file=str(path))
  assert "%s, line 5, column label" % path in error_of(processor.get_labels)
  path.write_text('text,label\n"one\ntwo",wet\ntea,dry\n')
  processor = make(tmp_path, train_file=str(path))
  assert [one.guid for one in processor.get_train_examples(None)] == [
      "train-1", "train-2"]


def test_labels_may_be_numbers_to_predict(tmp_path):
  processor = make(tmp_path, [["text", "label"], ["tea", "1.5"], ["a", "-2"]],
                   regression=True)
  assert processor.problem_type == processors.REGRESSION
  assert [one.label for one in processor.get_train_examples(None)] == [1.5, -2]
  assert processor.get_labels() == []


@pytest.mark.parametrize("row, settings, message", [
    (["", "dry"], {}, "column text: found '', expected a text; correct or"
     " remove the row"),
    (["tea", " "], {}, "column label: found ' ', expected a label; corr"),
    (["tea", "x"], {"regression": True}, "column label: found 'x', expected a "
     "number"),
    (["tea", "nan"], {"regression": True}, "column label: found 'nan', expect"),
    (["tea", "-inf"], {"regression": True}, "column label: found '-inf', exp"),
    (["tea", "a"], {"multi_label": True}, "column label: found 'a', "
     'expected a JSON list such as ["a", "b"]; or pass --label_separator'),
    (["tea", '["a", null]'], {"multi_label": True}, "column label: found null, "
     "expected a label"),
    (["tea", "a\x0bb"], {}, "column label: found 'a\\x0bb', expected a label "
     "without a line break"),
])
def test_a_wrong_row_is_named(tmp_path, row, settings, message):
  processor = make(tmp_path, [["text", "label"], row], **settings)
  assert error_of(processor.get_train_examples, None).startswith(
      "%s, line 2, %s" % (tmp_path / "train.tsv", message))


@pytest.mark.parametrize("rows, settings, message", [
    (ROWS[:1], {}, "train.tsv: found no row of data"),
    (ROWS[:2], {}, "train.tsv: found no label but 'wet' in column label, "
     "expected two or more"),
    (ROWS, {"train_file": None}, "--task_name=table: also pass --train_file"),
    (ROWS, {"train_file": "revv.csv"}, "--train_file=revv.csv: there is no su"),
    (ROWS, {"text_a": None}, "--task_name=table: also pass --text_a, a column"),
    (ROWS, {"label": None}, "--task_name=table: also pass --label, a column"),
    (ROWS, {"text_a": "1"}, "--text_a, --text_b, --label: found 1, label, "
     "expected names only, or numbers only where the file has no header"),
    (ROWS, {"multi_label": True, "regression": True}, "--multi_label and --"),
    (ROWS, {"label_separator": "|"}, "--label_separator=|: expected one or "),
    (ROWS, {"table_format": "xls"}, "--table_format=xls: expected one of tsv"),
    (ROWS, {"dev_share": 0.1, "dev_file": "a"}, "--dev_share and --"),
    (ROWS, {"dev_share": 0.01}, "--dev_share=0.01: leaves nothing of "),
    (ROWS, {}, "--do_eval: also pass --dev_file, or --dev_share=0.1 to evalu"),
])
def test_a_mistake_is_one_line(tmp_path, rows, settings, message):
  def read():
    processor = make(tmp_path, rows, **settings)
    return list(processor.get_train_examples(None)) + list(
        processor.get_dev_examples(None))

  assert message in error_of(read)


def test_too_many_labels_are_numbers_that_someone_took_for_labels(
    tmp_path, monkeypatch):
  monkeypatch.setattr(table_task, "_MOST_LABELS", 5)
  processor = make(tmp_path, ROWS[:1] + [["tea", str(i)] for i in range(9)])
  assert "found more than 5 labels; pass --regression if" in error_of(
      processor.get_labels)


def test_a_header_that_is_taken_for_data_is_named(tmp_path):
  with captured_log() as lines:
    make(tmp_path, ROWS + ROWS[1:], text_a="1", label="2").get_labels()
  assert lines[1].startswith(
      "%s, line 1: no other row has its label, 'label'; if it is a header" % (
          tmp_path / "train.tsv"))


@pytest.mark.parametrize("settings, values, kinds", [
    ({}, "ab", {"a": 4, "b": 4}),
    ({"multi_label": True, "label_separator": "|"}, ["a|b", "b"],
     {"a|b": 4, "b": 4}),
    ({"regression": True}, "12", None)])
def test_a_share_of_the_training_set_is_set_aside(
    tmp_path, settings, values, kinds):
  rows = [["text %d" % i, values[i % 2]] for i in range(40)]

  def parts(**more):
    processor = make(tmp_path, ROWS[:1] + rows, dev_share=0.2,
                     **dict(settings, **more))
    train, dev = (processor.get_train_examples(None),
                  processor.get_dev_examples(None))
    assert (len(train), len(dev)) == (32, 8)
    return facts(train), facts(dev)

  train, dev = parts()
  assert (train, dev) == parts() == parts(tf_random_seed=1)
  assert (train, dev) != parts(split_seed=1)
  assert sorted(text for _, text, _, _ in train + dev) == sorted(
      text for text, _ in rows)
  if kinds:
    found = [label if isinstance(label, str) else "|".join(label)
             for _, _, _, label in dev]
    assert {kind: found.count(kind) for kind in found} == kinds


def test_other_tasks_do_not_read_tables(tmp_path):
  settings = run_classifier.Settings(task_name="MRPC", train_file="a.tsv")
  with pytest.raises(ValueError, match="--train_file: --task_name=mrpc does no"
                     "t read it; use --task_name=table, or leave it out"):
    task_names.processor_of(settings)


def test_tables_are_not_in_a_data_dir():
  settings = run_classifier.Settings(
      task_name="table", train_file="a.tsv", text_a="text", data_dir="/tmp")
  with pytest.raises(ValueError, match="--data_dir: --task_name=table does not "
                     "read it; use --train_file"):
    task_names.processor_of(settings)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
  """Settings of a run that trained on a table, evaluated and predicted."""
  folder = tmp_path_factory.mktemp("table")
  rows = [["%s %d" % (text, i), label] for i in range(4)
          for text, label in ROWS[1:]]
  train = folder / "train.csv"
  train.write_text("text,label\n" + "".join(
      "%s,%s\n" % tuple(row) for row in rows))
  values = dict(
      task_name="table", train_file=train, text_a="text", label="label",
      test_file=write_lines(folder / "test.tsv", [row[:1] for row in ROWS]),
      dev_share=0.25, vocab_file=write_vocab(folder),
      bert_config_file=write_config(folder), output_dir=folder / "out",
      max_seq_length=16, train_batch_size=4, num_train_epochs=1,
      tf_random_seed=1)
  run_main(run_classifier, arguments_of(
      values, do_train=True, do_eval=True, do_predict=True))
  return values


def arguments_of(values, **changes):
  return ["--%s=%s" % item for item in sorted(dict(values, **changes).items())
          if item[1] is not None]


def test_a_run_on_a_table(trained):
  output_dir = str(trained["output_dir"])
  assert [count_records(os.path.join(output_dir, name + ".tf_record"))
          for name in ("train", "eval", "predict")] == [9, 3, 3]
  with open(os.path.join(output_dir, "labels.txt")) as reader:
    assert reader.read() == "dry\nwet\n"
  assert read_probabilities(output_dir).shape == (3, 2)
  with open(os.path.join(output_dir, "predictions.tsv")) as reader:
    assert reader.readline() == "id\ttext_a\tprediction\tdry\twet\n"
  with open(os.path.join(output_dir, "run.json")) as reader:
    record = json.load(reader)
  assert (record["task"], record["problem_type"], record["labels"]) == (
      "table", "single_label_classification", ["dry", "wet"])
  assert {name: record["training"][name] for name in (
      "train_file", "text_a", "label", "dev_share")} == {
          "train_file": str(trained["train_file"]), "text_a": "text",
          "label": "label", "dev_share": 0.25}
  assert "data_dir" not in record["training"]


def test_a_trained_model_predicts_without_its_training_set(trained):
  output_dir = str(trained["output_dir"])
  before = read_probabilities(output_dir)
  with captured_log() as lines:
    run_main(run_classifier, arguments_of(
        trained, do_predict=True, train_file=None, dev_share=None, label=None,
        tf_random_seed=None))
  assert (read_probabilities(output_dir) == before).all()
  assert not [line for line in lines if "was trained with" in line]


@pytest.mark.parametrize("other, message", [
    (dict(split_seed=2), "split_seed is 0 there and 2 here"),
    (dict(dev_share=0.5), "dev_share is 0.25 there and 0.5 here")])
def test_an_evaluation_on_another_part_than_was_set_aside_is_refused(
    trained, other, message):
  """It would read what was trained on."""
  with pytest.raises(cli.UserError, match=message):
    run_main(run_classifier, arguments_of(trained, do_eval=True, **other))


def test_other_labels_than_the_model_has_are_refused(trained, tmp_path):
  train = write_lines(tmp_path / "train.tsv", ROWS + [["tea", "hot"]] * 4)
  with pytest.raises(cli.UserError, match=r"holds model.ckpt-2 of another run: "
                     r"labels is \[dry, wet\] there and \[dry, hot, wet\] her"):
    run_main(run_classifier, arguments_of(
        trained, do_train=True, train_file=train, dev_share=None))
  with open(str(trained["output_dir"] / "labels.txt")) as reader:
    assert reader.read() == "dry\nwet\n"


def test_a_model_of_another_problem_type_is_refused(trained):
  with pytest.raises(cli.UserError, match="problem_type is single_label_classif"
                     "ication there and multi_label_classification here"):
    run_main(run_classifier, arguments_of(
        trained, do_predict=True, train_file=None, dev_share=None,
        multi_label=True))


def test_an_input_is_not_replaced(trained, tmp_path):
  train = write_lines(tmp_path / "train.tsv", ROWS)
  for name, flag in (("labels.txt", "train_file"),
                     ("eval.tf_record", "test_file"),
                     ("fold.npz", "test_file")):
    path = write_lines(tmp_path / name, ROWS)
    with pytest.raises(cli.UserError, match="is the file .*--" + flag):
      run_main(run_classifier, arguments_of(
          dict(trained, train_file=train), do_train=True, table_format="tsv",
          output_dir=tmp_path, **{flag: path}))
    with open(path) as reader:
      assert reader.read().startswith("text\tlabel\n")
