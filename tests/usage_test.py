"""Tests of --help and of what is said about mistyped flags."""

import os
import platform
import re
import runpy
import subprocess
import sys

from absl import flags
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, usage
import convert_checkpoint
import convert_triviaqa
import create_pretraining_data
import export_model
import extract_features
import fill_mask
from helpers import TOP, run_script
import learn_vocab
import run_classifier
import run_classifier_with_tfhub
import run_ner
import run_pretraining
import run_squad
import serve
import squad_metrics

SCRIPTS = {script.__name__.split(".")[-1]: script for script in (
    convert_checkpoint, convert_triviaqa,
    create_pretraining_data, export_model, extract_features,
    fill_mask, learn_vocab, run_classifier, run_classifier_with_tfhub, run_ner,
    run_pretraining, run_squad, serve, squad_metrics)}
EVERY_SCRIPT = pytest.mark.parametrize("name", sorted(SCRIPTS))


def help_of(name):
  script = SCRIPTS[name]
  script.define_flags()
  return usage.format_help(name + ".py", script.__doc__,
                           getattr(script, "REQUIRED_FLAGS", ()))


def run(arguments, folder=TOP):
  process = subprocess.run(
      [sys.executable] + arguments, cwd=str(folder), capture_output=True)
  return (process.returncode, process.stdout.decode("utf-8"),
          process.stderr.decode("utf-8"))


@EVERY_SCRIPT
def test_help_lists_every_flag_once_in_a_group(no_flags, name):
  text = help_of(name)
  shown = re.findall(r"--(\w+)=", "\n".join(
      re.findall(r"^  --.*", text, re.MULTILINE)))
  assert sorted(shown) == sorted(usage.own_flags())
  assert max(len(line) for line in text.splitlines()) <= 80


@EVERY_SCRIPT
def test_help_marks_what_must_be_given(no_flags, name):
  marked = re.findall(r"^  --(\w+)=.*\(required\)$", help_of(name),
                      re.MULTILINE)
  assert sorted(marked) == sorted(
      getattr(SCRIPTS[name], "REQUIRED_FLAGS", ()))


@pytest.mark.parametrize("name, flag, default", [
    ("run_classifier", "do_lower_case", "default: found from the vocabulary"),
    ("create_pretraining_data", "do_lower_case",
     "default: found from the vocabulary"),
    ("run_classifier", "eval_batch_size", "default: 32 on CPU and GPU"),
    ("run_squad", "predict_batch_size", "default: 32 on CPU and GPU"),
    ("run_pretraining", "eval_batch_size", "default: 8; 1 or more"),
    ("run_classifier", "learning_rate", "default: 5e-05; more than 0"),
    ("run_classifier", "do_train", "default: false"),
    ("export_model", "max_seq_length", "default: that of the training"),
    ("export_model", "do_lower_case",
     "default: that of the training, else found from the vocabulary"),
    ("run_classifier_with_tfhub", "do_lower_case",
     "default: that of the module"),
    ("run_classifier_with_tfhub", "vocab_file", "Not for this script"),
])
def test_help_shows_defaults_as_they_behave(no_flags, name, flag, default):
  entry = help_of(name).split("\n  --%s=" % flag)[1].split("\n  --")[0]
  assert default in " ".join(entry.split())


@EVERY_SCRIPT
def test_examples_of_the_help_can_be_pasted(no_flags, name):
  description = re.split("\n\n(Data|Model):", help_of(name))[0]
  lines = re.findall(r"^  .*", description, re.MULTILINE)
  output = subprocess.check_output(
      ["bash", "-euc", 'python() { printf "%s\\n" "$@" END; }\n' +
       "\n".join(lines)], cwd=TOP).decode("utf-8")
  commands = output.split("END\n")[:-1]
  assert commands
  for command in commands:
    script, arguments = command.split("\n")[0], command.split("\n")[1:-1]
    assert script == name + ".py"
    # Twice the same flag would be the value of the other command.
    for flag in list(usage.own_flags()):
      delattr(flags.FLAGS, flag)
    SCRIPTS[name].define_flags()
    cli.parse_flags([script] + arguments)
    for flag in getattr(SCRIPTS[name], "REQUIRED_FLAGS", ()):
      assert flags.FLAGS[flag].value
    paths = re.findall(r"=(sample.*)", "\n".join(arguments))
    assert all(os.path.exists(os.path.join(TOP, path)) for path in paths)


@EVERY_SCRIPT
def test_modules_of_scripts_run_as_commands(monkeypatch, no_flags, name):
  started = []
  monkeypatch.setattr(cli, "run", lambda main, *_, **__: started.append(main))
  monkeypatch.delitem(sys.modules, "bert_suite." + name)
  runpy.run_module("bert_suite." + name, run_name="__main__")
  assert [main.__module__ for main in started] == ["__main__"]


@pytest.mark.parametrize("argument", ["-h", "--help"])
def test_a_script_without_tensorflow_prints_its_help(argument):
  status, text, stderr = run(["squad_metrics.py", argument])
  assert (status, stderr) == (0, "")
  assert text.startswith("Usage: python squad_metrics.py --flag=value")
  assert "--data_file=PATH  (required)" in text


@pytest.mark.parametrize("script", ["squad_metrics.py", "run_classifier.py"])
def test_version_is_that_of_the_package(script):
  with open(os.path.join(TOP, "pyproject.toml")) as reader:
    version = re.search(r'^version = "(.*)"$', reader.read(), re.M).group(1)
  status, output, _ = run_script(script, ["--version"])
  expected = "bert-suite %s, Python %s" % (version, platform.python_version())
  if script == "run_classifier.py":
    expected += ", TensorFlow " + tf.__version__
  assert (status, output) == (0, expected + "\n")


def test_a_program_with_a_task_of_its_own_prints_its_help(tmp_path):
  (tmp_path / "reviews.py").write_text("""
import sys
sys.path.insert(0, %r)
from absl import flags
from bert_suite import cli
import run_classifier

run_classifier.PROCESSORS["reviews"] = run_classifier.ColaProcessor

def define_flags():
  run_classifier.define_flags()
  cli.define_flag("integer", "stars", 3, "Stars of a good review.")
  flags.DEFINE_enum("kind", "book", ["book", "film"], "What is reviewed.")

if __name__ == "__main__":
  cli.run(run_classifier.main, define_flags, run_classifier.REQUIRED_FLAGS)
""" % TOP)
  status, text, _ = run(["reviews.py", "--nonsense", "-h"], tmp_path)
  assert status == 0
  assert text.startswith(
      "Usage: python reviews.py --flag=value ...\n\nFine-tunes BERT on")
  assert "python run_classifier.py" not in text
  assert "qqp, reviews, rte, sst-2," in " ".join(text.split())
  own, shared = text.split("\n\nData:\n")
  assert "Stars of a good review. (default: 3)" in own
  assert "--kind=VALUE" in own
  for flag in ("data_dir", "do_train", "use_tpu"):
    assert "  --%s=" % flag in shared
  assert "pdb" not in text and "tt_check_filter" not in text


@pytest.mark.parametrize("name, typed, advice", [
    ("run_classifier", "max_seq_lenght", "did you mean --max_seq_length?"),
    ("run_classifier", "train-batchsize", "did you mean --train_batch_size?"),
    ("run_classifier", "output", "did you mean --output_dir?"),
    ("run_classifier", "colour", ""),
    ("run_classifier", "logtostder", ""),  # near to a flag of absl alone
    ("squad_metrics", "max_seq_length", ""),
    ("run_classifier", "lr", "use --learning_rate"),
    ("squad_metrics", "lr", ""),
    ("run_classifier", "batch_size", "use --train_batch_size, --eval_batch"),
    ("run_squad", "batch-size",
     "use --train_batch_size and --predict_batch_size"),
    ("run_pretraining", "per_device_train_batch_size",
     "use --train_batch_size and --eval_batch_size"),
    ("extract_features", "per_device_eval_batch_size", "use --batch_size"),
    ("run_classifier", "max_len", "use --max_seq_length"),
    ("extract_features", "max_length", "use --max_seq_length"),
    ("run_classifier", "epochs", "use --num_train_epochs"),
    ("run_pretraining", "epochs", "use --num_train_steps"),
    ("run_classifier", "max_steps", "use --num_train_epochs, which"),
    ("run_pretraining", "max_steps", "use --num_train_steps"),
    ("run_classifier", "train_data", "use --data_dir, the folder with train.tsv"
     " and dev.tsv, or --train_file with"),
    ("run_pretraining", "train_file", "use --input_file"),
    ("run_ner", "eval_file", "use --dev_file and --test_file"),
    ("run_classifier", "fp16", "use --compute_dtype=bfloat16, or float16 on"),
    ("run_squad", "nobf16", "use --compute_dtype=bfloat16, or float16 on"),
    ("fill_mask", "fp16", "leave it out: everything is computed in"),
    ("run_classifier", "weight_decay", "leave it out: it is 0.01"),
    ("run_classifier", "early_stopping", "use --early_stopping_patience"),
    ("run_squad", "metric_for_best_model", "use --best_metric"),
    ("run_pretraining", "metric_for_best_model", "use --best_metric"),
    ("run_classifier", "seed", "use --tf_random_seed"),
    ("create_pretraining_data", "seed", "use --random_seed"),
    ("run_classifier", "model_name_or_path", "use --init_checkpoint"),
    ("run_pretraining", "model_name_or_path", "use --init_checkpoint"),
    ("run_classifier_with_tfhub", "model_name_or_path",
     "use --bert_hub_module_handle"),
    ("run_classifier", "device", "leave it out: TensorFlow uses a GPU"),
])
def test_advice_about_a_flag_names_only_what_the_script_has(
    no_flags, name, typed, advice):
  SCRIPTS[name].define_flags()
  found = usage.advise(typed)
  assert found.startswith(advice) if advice else found == ""
  with pytest.raises(SystemExit) as error:
    cli.parse_flags(["some/script.py", "--%s=1" % typed])
  assert error.value.code == (
      "script.py: unknown flag --%s%s (--help lists all flags)" %
      (typed, found and "; " + found))
