"""Tests of shards that a pipeline of Apache Beam makes."""

import sys

import pytest

from bert_suite import cli
from bert_suite.pretraining import beam
import create_pretraining_data_test
from create_pretraining_data_test import contents, run

files = create_pretraining_data_test.files  # a fixture


def test_records_are_those_of_workers_and_are_made_once(files):
  pytest.importorskip("apache_beam")
  run(files, output="workers/a@4", num_workers=2)
  run(files, output="beam/a@4", num_workers=2, beam_runner="DirectRunner")
  made = contents(files / "workers" / "a-*")
  assert len(made) == 4
  assert contents(files / "beam" / "a-*") == made
  # Nothing else stays there, and the state is that of workers too.
  assert sorted(path.name for path in (files / "beam").iterdir()) == sorted(
      path.name for path in (files / "workers").iterdir())
  (files / "beam" / "a-00002-of-00004").unlink()
  log = run(files, output="beam/a@4", beam_runner="DirectRunner",
            beam_args="--direct_running_mode=in_memory")
  assert "3 of 4 shards are there already" in log
  assert contents(files / "beam" / "a-*") == made


def test_a_mistake_in_a_shard_is_one_line(files):
  pytest.importorskip("apache_beam")
  text = create_pretraining_data_test.make_text().encode("utf-8")
  (files / "text.txt").write_bytes(text + b"\n\xff\n" + text)
  with pytest.raises(cli.UserError, match=(
      r"^1 of 2 shards could not be made: \S+/a-0000\d-of-00002: .*not UTF")):
    run(files, output="a@2", beam_runner="DirectRunner",
        beam_args="--direct_running_mode=in_memory")
  assert len(list(files.glob("a-0000?-of-00002"))) == 1
  assert not list(files.glob(".*.beam"))


def test_what_beam_refuses_is_one_line(files):
  pytest.importorskip("apache_beam")
  for arguments in ("--direct_num_workers=many", "--a='b"):
    with pytest.raises(cli.UserError, match="^--beam_args=.*[^\n]*$"):
      run(files, output="a@2", beam_runner="DirectRunner", beam_args=arguments)
  with pytest.raises(cli.UserError, match=(
      "^--beam_runner=FlinkRunner: the pipeline has failed: [^\n]*$")):
    run(files, output="a@2", beam_runner="FlinkRunner",
        beam_args="--flink_master=nowhere:1 --job_server_timeout=1")
  assert not list(files.glob("a-0000?-of-00002"))


def test_without_beam_its_pip_command_is_named(files, monkeypatch):
  monkeypatch.setitem(sys.modules, "apache_beam", None)
  with pytest.raises(cli.UserError) as error:
    run(files, output="a@2", beam_runner="DirectRunner")
  assert "pip install apache-beam, or \".[beam]\"" in str(error.value)
  assert "\n" not in str(error.value)


@pytest.mark.parametrize("output, values, message", [
    ("a@2", dict(beam_runner="Direct"),
     "--beam_runner=Direct: expected one of DirectRunner, Data"),
    ("a", dict(beam_runner="SparkRunner"), "a pipeline makes shards; pass"),
    ("a@2", dict(beam_runner="DataflowRunner"), "cannot reach the local file"),
    ("a@2", dict(beam_args="--x=1"), "--beam_args: only works with")])
def test_flags_that_do_not_go_together(files, output, values, message):
  with pytest.raises(cli.UserError, match=message):
    run(files, output=output, **values)


def test_arguments_come_after_those_of_num_workers():
  given = "--direct_num_workers=3 --a='b c'"
  assert beam._options("DirectRunner", given, 2) == [
      "--runner=DirectRunner", "--direct_running_mode=multi_processing",
      "--direct_num_workers=2", "--direct_num_workers=3", "--a=b c"]
  assert beam._options("SparkRunner", None, 2) == ["--runner=SparkRunner"]
