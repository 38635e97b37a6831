"""Mistakes of users: each is one line with its cure, and nothing is lost.

All of run_classifier.py, because reading, checking and reporting are shared.
"""

import os
import re
import resource
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from helpers import (
    PAIRS, TOP, WORDS, run_command, save_checkpoint, write_config, write_lines,
    write_mrpc, write_vocab)
import run_classifier

HEADER = ["Quality", "#1 ID", "#2 ID", "#1 String", "#2 String"]
ROW = ["1", "7", "8"] + list(PAIRS[0])


@pytest.fixture(scope="module")
def task(tmp_path_factory):
  """A folder with MRPC's files and the arguments that name them."""
  folder = tmp_path_factory.mktemp("mrpc")
  return dict(data_dir=write_mrpc(folder / "data"),
              vocab_file=write_vocab(folder),
              bert_config_file=write_config(folder))


def arguments_for(output_dir, **values):
  values = dict(dict(
      task_name="MRPC", output_dir=output_dir, max_seq_length=16,
      train_batch_size=4, learning_rate=1e-2), **values)
  return ["--%s=%s" % item for item in sorted(values.items())]


def with_dev(folder, content):
  """Writes MRPC's files, the dev set with other bytes."""
  data_dir = write_mrpc(folder / "data")
  (folder / "data" / "dev.tsv").write_bytes(content)
  return dict(do_eval=True, data_dir=data_dir)


def with_train(folder, *rows):
  """Writes MRPC's files, the training set with other rows after a header."""
  data_dir = write_mrpc(folder / "data")
  write_lines(folder / "data" / "train.tsv", [HEADER, ROW] + list(rows))
  return dict(do_train=True, data_dir=data_dir)


def with_cola_header(folder):
  write_lines(folder / "data" / "train.tsv", [
      ["source", "label", "mark", "sentence"], ["x", "1", "", "It rains."]])
  return dict(do_train=True, task_name="CoLA", data_dir=str(folder / "data"))


def with_config(folder, text):
  path = folder / "config.json"
  path.write_bytes(text)
  return dict(do_eval=True, bert_config_file=str(path))


def with_checkpoint(folder, keep):
  """Writes a checkpoint and keeps a part of its data."""
  checkpoint = save_checkpoint(
      folder / "bert_model.ckpt", {"bert/w": np.ones([100])})
  with open(checkpoint + ".data-00000-of-00001", "rb+") as writer:
    writer.truncate(keep)
  return dict(do_train=True, init_checkpoint=checkpoint)


def without_word(folder, word):
  return write_lines(folder / "vocab.txt", [[w] for w in WORDS if w != word])


MISTAKES = {
    "missing column": (
        lambda folder: with_train(folder, ROW[:4], ROW),
        r"/train\.tsv, row 3: found 4 tab-separated column\(s\), expected at "
        "least 5 columns; correct or remove the row$"),
    "unknown label": (
        lambda folder: with_train(folder, ["2"] + ROW[1:], ROW),
        r"/train\.tsv, row 3: found the label '2' \(str\), expected one of "
        r"'0', '1' \(str\); "
        "correct or remove the row$"),
    "blank line": (
        lambda folder: with_train(folder, [""], ROW),
        r"/train\.tsv, row 3: found a blank line, expected at least 4 columns; "
        "correct or remove the row$"),
    "header where none belongs": (
        with_cola_header,
        r"/train\.tsv, row 1: found the label 'label' \(str\), expected one of "
        r"'0', '1' \(str\); "
        "if the row is a header, remove it: this file has none$"),
    "not UTF-8": (
        lambda folder: with_dev(
            folder, b"Quality\ta\tb\tc\td\n1\t1\t2\tCaf\xe9\tTea\n"),
        r"/dev\.tsv, row 2: byte 10 is not UTF-8; save the file as UTF-8$"),
    "empty file": (
        lambda folder: with_dev(folder, b""),
        r"/dev\.tsv: found no example, at most a header; is the file "
        r"complete\?$"),
    "only a header": (
        lambda folder: with_dev(folder, "\t".join(HEADER).encode() + b"\n"),
        r"/dev\.tsv: found no example, at most a header; is the file "
        r"complete\?$"),
    "sequences beyond the position table": (
        lambda folder: dict(do_train=True, max_seq_length=21),
        "at most 20 positions .* --max_seq_length, found 21$"),
    "vocabulary larger than vocab_size": (
        lambda folder: dict(do_train=True, bert_config_file=write_config(
            folder, vocab_size=21)),
        r"/vocab\.txt: has ids up to 21, but the model's vocab_size is 21; is "
        r"it the vocabulary of the model\? learn_vocab\.py --extend=append "
        r"gives a model more words$"),
    "checkpoint that is not there": (
        lambda folder: dict(
            do_train=True, init_checkpoint=str(folder / "bert_model")),
        "/bert_model: there is no such checkpoint; pass the path up to and "
        "including \"\\.ckpt\""),
    "folder for a checkpoint": (
        lambda folder: dict(do_train=True, init_checkpoint=str(folder)),
        ": found a folder, expected a checkpoint; pass the path up to and "
        "including \"\\.ckpt\""),
    "truncated checkpoint": (
        lambda folder: with_checkpoint(folder, 200),
        r"/bert_model\.ckpt: not a checkpoint that can be read \(.*\); copy it "
        "again"),
    "config that is not JSON": (
        lambda folder: with_config(folder, b"hidden_size = 16"),
        r"/config\.json: .*JSON"),
    "config with a wrong type": (
        lambda folder: dict(do_eval=True, bert_config_file=write_config(
            folder, hidden_size="16")), r'/bert_config\.json: .*"hidden_size"'),
    "pairs for a model of single texts": (
        lambda folder: dict(do_train=True, bert_config_file=write_config(
            folder, type_vocab_size=1)),
        "^Example train-1: is a pair of texts, but the model's type_vocab_size "
        "is 1: it reads single texts only; use a model with 2 or more$"),
    "missing config": (
        lambda folder: dict(
            do_eval=True, bert_config_file=str(folder / "none.json")),
        r"/none\.json: cannot be read"),
    "missing data file": (
        lambda folder: dict(do_train=True, data_dir=str(folder)),
        r"^--data_dir=.*: a file of the task is missing \(.*/train\.tsv; No "
        r"such file or directory\)$"),
    "missing vocabulary": (
        lambda folder: dict(do_eval=True, vocab_file=str(folder / "none.txt")),
        r"/none\.txt.*No such file or directory"),
    "vocabulary without a special token": (
        lambda folder: dict(
            do_train=True, vocab_file=without_word(folder, "[CLS]")),
        r"/vocab\.txt: has no \[CLS\]"),
    "unknown task": (
        lambda folder: dict(do_train=True, task_name="SST"),
        "^--task_name=SST: unknown task, expected one of ax, cola, .* xnli; "
        "for files of your own use --task_name=table --train_file=FILE, or add "
        r"a task to PROCESSORS \(see docs/own-data.md\)$"),
    "nothing to do": (
        lambda folder: dict(do_train=False),
        "^nothing to do; give --do_train, --do_eval or --do_predict$"),
    "less than a step": (
        lambda folder: dict(do_train=True, num_train_epochs=0.25),
        r"^--train_batch_size=4 and --num_train_epochs=0\.25 make 0\.75 steps "
        "of the 12 training examples, expected at least 1$"),
    "casing of another checkpoint": (
        lambda folder: dict(do_eval=True, do_lower_case=False, init_checkpoint=(
            "uncased_L-12_H-768_A-12/bert_model.ckpt")),
        "^uncased_L-12_H-768_A-12 was trained on lower-cased text"),
    "casing of another config": (
        lambda folder: dict(
            do_eval=True, do_lower_case=True, bert_config_file=write_config(
                folder, do_lower_case=False)),
        "^--do_lower_case=True: the model's config says False; leave the flag "
        "out, or correct the config$"),
    "no trained model": (
        lambda folder: dict(do_eval=True),
        ": pass --do_train, or --init_checkpoint with a trained model$"),
    "folder that cannot be made": (
        lambda folder: dict(do_train=True, output_dir=write_lines(
            folder / "file", [["x"]]) + "/out"),
        r"^--output_dir=.*/file/out: cannot be written to \(.*\); name another "
        "folder, or make room there and allow writing$"),
    "number that is too small": (
        lambda folder: dict(do_train=True, train_batch_size=0),
        "--train_batch_size=0: "),
}


def snapshot(folder):
  """Returns a dict from each file of a folder to its bytes."""
  return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("exists", [False, True])
@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_is_one_line_and_nothing_is_lost(
    task, tmp_path, name, exists):
  make_changes, message = MISTAKES[name]
  output_dir = tmp_path / "out"
  if exists:
    output_dir.mkdir()
    for kept in ("eval_results.txt", "train.tf_record", "eval.tf_record"):
      (output_dir / kept).write_bytes(b"of an earlier run")
    before = snapshot(output_dir)
  status, stderr = run_command(run_classifier, arguments_for(**dict(
      task, **dict(dict(output_dir=str(output_dir)),
                   **make_changes(tmp_path)))))
  assert status == 1
  program, text = stderr.split(": ", 1)
  assert program == "run_classifier.py"
  assert re.search(message, text.rstrip("\n")), text
  assert text.count("\n") == 1
  if exists:
    assert snapshot(output_dir) == before
  else:
    assert not output_dir.exists()


@pytest.mark.parametrize("name,value", [
    ("max_seq_length", 2), ("eval_batch_size", -1), ("predict_batch_size", 0),
    ("learning_rate", 0.0), ("learning_rate", float("nan")),
    ("warmup_proportion", -0.1), ("save_checkpoints_steps", 0),
    ("keep_checkpoint_max", -1), ("log_steps", -1)])
def test_a_number_that_is_too_small_is_named(task, tmp_path, name, value):
  status, stderr = run_command(run_classifier, arguments_for(
      str(tmp_path / "out"), do_train=True, **dict(task, **{name: value})))
  assert status == 1
  assert re.match(r"run_classifier\.py: flag --%s=%s: expected (\d or more|"
                  r"more than \d)\n$" % (name, value), stderr)


def test_a_share_is_at_most_1(task, tmp_path):
  status, stderr = run_command(run_classifier, arguments_for(
      str(tmp_path / "out"), do_train=True, warmup_proportion=1.5, **task))
  assert status == 1
  assert stderr == ("run_classifier.py: flag --warmup_proportion=1.5: expected "
                    "1 at most\n")


def test_a_byte_order_mark_and_blank_lines_at_the_end_are_handled(tmp_path):
  rows = "\n".join("\t".join(row) for row in (HEADER, ROW))
  for content in (rows, "\ufeff" + rows, rows + "\n\n \n\r\n",
                  rows.replace("\n", "\r\n") + "\r\n"):
    (tmp_path / "train.tsv").write_bytes(content.encode("utf-8"))
    example, = run_classifier.MrpcProcessor().get_train_examples(str(tmp_path))
    assert (example.text_a, example.text_b, example.label) == PAIRS[0] + ("1",)


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_last_checkpoint_stays(task, tmp_path):
  """Files may grow to 30 KB here: features fit, checkpoints do not."""
  output_dir = tmp_path / "out"
  output_dir.mkdir()
  (output_dir / "eval_results.txt").write_bytes(b"of an earlier run")
  process = subprocess.run(
      [sys.executable, os.path.join(TOP, "run_classifier.py")] + arguments_for(
          str(output_dir), do_train=True, **task),
      capture_output=True, preexec_fn=lambda: resource.setrlimit(
          resource.RLIMIT_FSIZE, (30000, 30000)))
  stderr = process.stderr.decode("utf-8")
  assert process.returncode == 1, stderr[-2000:]
  assert "Traceback" not in stderr
  last = stderr.rstrip("\n").split("\n")[-1]
  assert re.match(r"run_classifier\.py: no room to write to \(.*\); what was "
                  r"complete is still there: free some space, or name a folder "
                  r"on another disk, and run the same command again$", last)
  assert tf.train.latest_checkpoint(str(output_dir)) is None
  assert (output_dir / "eval_results.txt").read_bytes() == b"of an earlier run"
