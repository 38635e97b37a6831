"""Tests of the command line: flags of scripts side by side, and mistakes."""

import ast
from concurrent import futures
import contextlib
import copy
import dataclasses
import errno
import glob
import os
import pathlib
import re
import subprocess
import sys

from absl import flags
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, faults, run_settings, runner, script_options, usage
import convert_checkpoint
import convert_triviaqa
import create_pretraining_data
import export_model
import extract_features
import fill_mask
import helpers
from helpers import captured_log
import learn_vocab
import modeling
import run_classifier
import run_classifier_with_tfhub
import run_ner
import run_pretraining
import run_squad
import squad_metrics

FLAGS = flags.FLAGS
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def define_toy_flags():
  """What another script would define, with one default of its own."""
  cli.define_flag("integer", "max_seq_length", 384, "Longest input.")
  cli.define_flag("string", "toy_file", None, "A file.")
  script_options.define_flags(run_settings.TrainingSettings)


def parse(*arguments):
  assert cli.parse_flags(["toy.py"] + list(arguments)) == ["toy.py"]


def test_scripts_imported_side_by_side_define_no_flags_yet():
  script = ("import tensorflow; from bert_suite import tf_estimator; "
            "from absl import flags; before = set(flags.FLAGS); "
            "import run_classifier, run_ner, run_pretraining, run_squad; "
            "print(sorted(set(flags.FLAGS) - before))")
  output = subprocess.check_output([sys.executable, "-c", script], cwd=ROOT,
                                   stderr=subprocess.DEVNULL)
  assert output.decode("utf-8").splitlines()[-1] == "[]"


def test_classifier_flags_and_their_defaults(no_flags):
  run_classifier.define_flags()
  parse()
  for name, default in {
      "bert_config_file": None, "data_dir": None, "do_eval": False,
      "do_lower_case": True, "do_predict": False, "do_train": False,
      "eval_batch_size": 8, "gcp_project": None, "init_checkpoint": None,
      "iterations_per_loop": 1000, "learning_rate": 5e-5, "master": None,
      "max_seq_length": 128, "num_tpu_cores": 8, "num_train_epochs": 3.0,
      "output_dir": None, "predict_batch_size": 8,
      "save_checkpoints_steps": 1000, "task_name": None, "tpu_name": None,
      "tpu_zone": None, "train_batch_size": 32, "use_tpu": False,
      "vocab_file": None, "warmup_proportion": 0.1}.items():
    assert FLAGS[name].value == default, name


def test_squad_flags_and_their_defaults(no_flags):
  run_squad.define_flags()
  parse()
  for name, default in {
      "bert_config_file": None, "do_lower_case": True, "do_predict": False,
      "do_eval": False, "do_train": False, "doc_stride": 128,
      "init_checkpoint": None, "iterations_per_loop": 1000,
      "learning_rate": 5e-5, "max_answer_length": 30, "max_query_length": 64,
      "max_seq_length": 384, "n_best_size": 20,
      "null_score_diff_threshold": "0.0", "num_train_epochs": 3.0,
      "output_dir": None, "predict_batch_size": 8, "predict_file": None,
      "save_checkpoints_steps": 1000, "train_batch_size": 32,
      "train_file": None, "use_tpu": False, "verbose_logging": False,
      "version_2_with_negative": False, "vocab_file": None,
      "warmup_proportion": 0.1}.items():
    assert FLAGS[name].value == default, name


def test_last_script_sets_the_default(no_flags):
  run_classifier.define_flags()
  run_classifier.define_flags()
  define_toy_flags()
  parse()
  assert FLAGS.max_seq_length == 384
  assert FLAGS.toy_file is None
  run_classifier.define_flags()
  assert FLAGS.max_seq_length == 128
  assert FLAGS["max_seq_length"].default == 128


def test_value_of_the_command_line_stays(no_flags):
  run_classifier.define_flags()
  parse("--max_seq_length=17", "--do_train", "--nodo_eval",
        "--learning_rate=0.5", "--vocab_file=", "--save_checkpoints_steps=1000")
  define_toy_flags()
  run_classifier.define_flags()
  define_toy_flags()
  assert FLAGS.max_seq_length == 17
  assert FLAGS.do_train is True
  assert FLAGS.do_eval is False
  assert FLAGS.learning_rate == 0.5
  assert FLAGS.vocab_file == ""
  assert run_settings.fields_given(
      run_settings.TrainingSettings, FLAGS)["save_checkpoints_steps"] == 1000


def test_assigned_value_stays(no_flags):
  run_classifier.define_flags()
  FLAGS.max_seq_length = 64
  FLAGS.vocab_file = "vocab.txt"
  define_toy_flags()
  parse()
  run_classifier.define_flags()
  assert FLAGS.max_seq_length == 64
  assert FLAGS.vocab_file == "vocab.txt"


@pytest.mark.parametrize("argument, expected", [
    ("--do_lower=false", False), ("--nodo_lower", False), ("--do_lower", True),
    ("--do_lower_case=False", False)])
def test_do_lower_is_do_lower_case(no_flags, argument, expected):
  run_classifier.define_flags()
  parse(argument)
  assert FLAGS.do_lower_case is expected
  assert FLAGS.do_lower is expected
  run_classifier.define_flags()
  assert FLAGS.do_lower_case is expected
  FLAGS.do_lower = not expected
  assert FLAGS.do_lower_case is not expected


def test_an_alias_counts_as_given(no_flags):
  run_classifier.define_flags()
  assert cli.given(FLAGS, "do_lower_case") is None
  parse("--do_lower=false")
  assert cli.given(FLAGS, "do_lower_case") is False


@pytest.mark.parametrize("first, second, argument, expected", [
    (dict(lower_bound=1), dict(lower_bound=0), "--n=0", 0),
    (dict(lower_bound=1), dict(), "--n=-5", -5),
    (dict(above=0), dict(upper_bound=0), "--n=0", 0),
    (dict(lower_bound=0), dict(lower_bound=1), "--n=0", "expected 1 or more"),
    (dict(), dict(upper_bound=9), "--n=10", "expected 9 at most"),
])
def test_last_script_sets_the_bounds(no_flags, first, second, argument,
                                     expected):
  for bounds in (first, second, second):
    cli.define_flag("integer", "n", 3, "A number.", **bounds)
  if isinstance(expected, int):
    parse(argument)
    assert FLAGS.n == expected
  else:
    with pytest.raises(SystemExit) as error:
      parse(argument)
    assert error.value.code.count(expected) == 1


def test_last_script_sets_kind_and_help(no_flags):
  cli.define_flag("bool", "threshold", False, "Use one.")
  cli.define_flag("float", "threshold", 0.5, "What to exceed.", above=0)
  assert "exceed" in FLAGS["threshold"].help
  with pytest.raises(SystemExit):
    parse("--nothreshold")
  parse("--threshold=0.75")
  assert FLAGS.threshold == 0.75
  cli.define_flag("bool", "threshold", False, "Use one.")
  parse("--nothreshold")
  assert FLAGS.threshold is False


def test_checks_of_a_program_stay(no_flags):
  cli.define_flag("string", "data_dir", None, "Folder.")
  flags.register_validator("data_dir", lambda value: value != "bad", "no bad")
  cli.define_flag("string", "data_dir", None, "Folder.")
  with pytest.raises(SystemExit) as error:
    parse("--data_dir=bad")
  assert "no bad" in error.value.code


@pytest.fixture
def home(tmp_path, monkeypatch):
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  monkeypatch.chdir(tmp_path)
  return str(tmp_path / "home")


@pytest.mark.parametrize("kind, given, expected", [
    ("path", "~", "HOME"),
    ("path", "~/a b", "HOME/a b"),
    ("path", "~root", os.path.expanduser("~root")),
    ("path", "a/~", "a/~"),
    ("path", "./~/a", "./~/a"),
    ("path", "a,~/b", "a,~/b"),  # one path, whose name has a comma
    ("path", "-", "-"),
    ("path", "", ""),
    ("path", "gs://bucket/~", "gs://bucket/~"),
    ("paths", "~/a,b, ~/c*,~/d@4", "HOME/a,b, HOME/c*,HOME/d@4"),
    ("paths", "", ""),
])
def test_a_tilde_is_the_home_folder(no_flags, home, kind, given, expected):
  cli.define_flag(kind, "p", None, "Where.")
  parse("--p=" + given)
  assert FLAGS.p == expected.replace("HOME", home)


def test_a_folder_named_tilde_does_not_stand_in_for_the_home_folder(
    no_flags, home):
  os.makedirs("~/out")
  for kind in ("path", "paths"):
    cli.define_flag(kind, "p_" + kind, None, "Where.")
  parse("--p_path=~/out", "--p_paths=~/out")
  assert FLAGS.p_path == FLAGS.p_paths == home + "/out"


def test_a_tilde_before_no_user_is_a_name_only_if_it_exists(no_flags, home):
  cli.define_flag("path", "p", None, "Where.")
  cli.define_flag("paths", "q", None, "Where.")
  with pytest.raises(SystemExit) as error:
    parse("--p=~no-such-user/x")
  assert "no user named 'no-such-user'" in error.value.code
  assert "./~no-such-user/x" in error.value.code
  for name in ("~old", "a,~old"):
    open(name, "w").close()
  parse("--p=~old", "--q=a,~old")
  assert FLAGS.p == "~old"
  assert FLAGS.q == "a,~old"


@pytest.mark.parametrize("script", [
    convert_checkpoint, convert_triviaqa,
    create_pretraining_data, export_model, extract_features,
    fill_mask, learn_vocab, run_classifier, run_classifier_with_tfhub, run_ner,
    run_pretraining, run_squad, squad_metrics],
                         ids=lambda script: script.__name__)
def test_flags_for_files_and_folders_expand_a_tilde(no_flags, home, script):
  script.define_flags()
  names = [name for name in usage.own_flags()
           if re.search("_file$|_dir$|_handle$|^init_checkpoint$", name)]
  assert len(names) >= 3
  parse(*["--%s=~/x" % name for name in names])
  assert ({name: FLAGS[name].value for name in names} ==
          {name: home + "/x" for name in names})


@pytest.mark.parametrize("argument, parts", [
    ("--max_seq_length=long", ["max_seq_length", "long"]),
    ("--do_train=perhaps", ["do_train", "perhaps"]),
    ("--max_seq_length", ["max_seq_length"]),
    ("--train_batchsize=3", ["--train_batchsize", "--train_batch_size"]),
    ("more", ["more"]),
])
def test_wrong_argument_ends_with_one_line(no_flags, argument, parts):
  run_classifier.define_flags()
  with pytest.raises(SystemExit) as error:
    cli.parse_flags(["/some/where/toy.py", argument])
  assert error.value.code.startswith("toy.py: ")
  assert "\n" not in error.value.code
  for part in parts:
    assert part in error.value.code


OOM = ("OOM when allocating tensor with shape[64,12,512,512] and type float on "
       "/job:localhost/replica:0/task:0/device:GPU:0 by allocator GPU_0_bfc")


@pytest.mark.parametrize("kind, text, said", [
    (tf.errors.ResourceExhaustedError, OOM, "out of memory (%s); " % OOM),
    (tf.errors.ResourceExhaustedError,
     "Graph execution error:\n\n2 root error(s) found.\n  (0) " + OOM +
     "\n\t [[{{node bert/MatMul}}]]\nHint: If you want to see a list", OOM),
    (tf.errors.ResourceExhaustedError,
     "failed to allocate memory [Op:AddV2]", "out of memory (failed to"),
    (tf.errors.InternalError, "CUDA runtime implicit initialization on GPU:0 "
     "failed. Status: out of memory", "out of memory (CUDA runtime"),
    (tf.errors.InternalError, "Failed to create cuBLAS handle: "
     "CUBLAS_STATUS_NOT_INITIALIZED", "usually for lack of memory (Failed to"),
    (tf.errors.InternalError, "Attempting to perform BLAS operation using "
     "StreamExecutor without BLAS support", "usually for lack of memory"),
    (tf.errors.InternalError, "Blas xGEMM launch failed : a.shape=[1,4,5]",
     "usually for lack of memory"),
    (tf.errors.UnknownError, "Could not create cudnn handle: "
     "CUDNN_STATUS_NOT_INITIALIZED", "usually for lack of memory"),
])
@pytest.mark.parametrize("in_user_errors", [True, False])
def test_out_of_memory_names_the_figures_to_lower(
    no_flags, monkeypatch, capsys, kind, text, said, in_user_errors):
  def main(_):
    with cli.user_errors() if in_user_errors else contextlib.nullcontext():
      raise kind(None, None, text)

  monkeypatch.setattr(sys, "argv", [
      "toy.py", "--do_train", "--do_eval", "--train_batch_size=64"])
  with captured_log(), pytest.raises(SystemExit) as error:
    cli.run(main, run_classifier.define_flags)
  assert error.value.code == 1
  line, = capsys.readouterr().err.splitlines()
  assert line.startswith("toy.py: ") and said in line
  assert ("lower --train_batch_size=64 or --eval_batch_size=32 or "
          "--max_seq_length=128, or end other programs") in line
  assert ("; give --auto_micro_batch or --recompute_grad, for the same results "
          "in less memory, or lower" in line) == (
              "usually" not in line)


@pytest.mark.parametrize("kind, text", [
    (tf.errors.InternalError, "Blas operations are not in this build"),
    (tf.errors.ResourceExhaustedError, "Too many open files"),
])
def test_other_faults_of_a_step_are_not_taken_for_lack_of_memory(kind, text):
  assert faults.describe(kind(None, None, text)) is None


@pytest.mark.parametrize("error, line", [
    # As the writer of TensorBoard's events says it.
    (RuntimeError("/out/events.1; No space left on device"),
     r"no room to write to \(/out/events.1; No space left on device\); what"),
    (IndexError("/out/events.1; File too large"), "no room to write to"),
    (RuntimeError("/out/events.1; Read-only file system"),
     "no permission to write or read: /out/events.1; Read-only file system$"),
    (PermissionError(errno.EACCES, "Permission denied", "/out/a"),
     "no permission to write or read: .*'/out/a'$"),
    (tf.errors.PermissionDeniedError(
        None, None, "Graph execution error:\n\nDetected at node 'save' defined "
        "at (most recent call last):\n  File x\nNode: 'save'\n/out/a; "
        "Permission denied\n\t [[{{node save}}]]"),
     "no permission to write or read: /out/a; Permission denied$")])
def test_faults_of_a_disk_name_the_file(error, line):
  assert re.match(line, faults.describe(error))


@pytest.mark.parametrize("error", [
    RuntimeError("dictionary changed size"), IndexError("out of range"),
    OSError(errno.EIO, "Input/output error")])
def test_faults_of_a_program_keep_their_stack_trace(error):
  assert faults.describe(error) is None


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
  """Runs the script with one mistake each; returns exit statuses and errors."""
  folder = tmp_path_factory.mktemp("runs")
  (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n")
  (folder / "bert_config.json").write_text(
      modeling.BertConfig(vocab_size=6).to_json_string())
  required = ["--data_dir=%s" % folder, "--output_dir=%s" % (folder / "output"),
              "--vocab_file=%s" % (folder / "vocab.txt"),
              "--bert_config_file=%s" % (folder / "bert_config.json")]
  processes = {name: subprocess.Popen(
      [sys.executable, os.path.join(ROOT, "run_classifier.py")] + arguments,
      stderr=subprocess.PIPE, cwd=str(folder)) for name, arguments in {
          "unknown flag": required + ["--task_name=cola", "--max_seq_len=64"],
          "missing flag": required,
          "stray": required + ["--task_name=cola", "--do_train", "True"],
          "unknown task": required + ["--task_name=colo", "--do_train"],
  }.items()}
  results = {}
  for name, process in processes.items():
    stderr = process.communicate()[1].decode("utf-8")
    results[name] = process.returncode, stderr
  assert not (folder / "output").exists()
  return results


@pytest.mark.parametrize("name, parts", [
    ("unknown flag", ["--max_seq_len", "--max_seq_length"]),
    ("missing flag", ["--task_name"]),
    ("stray", ["'True'", "--flag=value"]),
    ("unknown task", ["colo", "ax, cola, mnli, mnli-mm, mrpc, qnli"]),
])
def test_mistake_ends_the_script_with_one_line(runs, name, parts):
  status, stderr = runs[name]
  assert status == 1
  assert "Traceback" not in stderr
  # TensorFlow has its say as well, but before.
  lines = [line for line in stderr.splitlines()
           if line.startswith("run_classifier.py: ")]
  assert lines == stderr.splitlines()[-1:]
  for part in parts:
    assert part in lines[0]


# In a program or a notebook.


def toy_run(argv=None, seen=None, fault=None):
  def main(rest):
    if fault:
      raise fault
    seen.append((rest, FLAGS.toy_file, FLAGS.max_seq_length))

  cli.run(main, define_toy_flags, ["toy_file"], argv)


def test_run_returns_in_a_program_and_begins_with_the_defaults(no_flags):
  seen = []
  toy_run(["--toy_file=a", "--max_seq_length=7"], seen)
  toy_run(["--toy_file=b"], seen)
  assert [values[1:] for values in seen] == [("a", 7), ("b", 384)]
  assert all(len(values[0]) == 1 for values in seen)


def test_run_takes_no_arguments_of_a_notebooks_kernel(no_flags, monkeypatch):
  monkeypatch.setattr(cli.builtins, "__IPYTHON__", True, raising=False)
  monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "k.json"])
  with pytest.raises(cli.UserError, match="^also pass --toy_file$"):
    toy_run(seen=[])
  seen = []
  FLAGS.toy_file = "assigned"
  toy_run(seen=seen)
  assert seen[0][1] == "assigned"
  # %run of a script
  monkeypatch.setattr(sys.modules["__main__"], "__file__", "/x/s.py",
                      raising=False)
  monkeypatch.setattr(sys, "argv", ["s.py", "--toy_file=given"])
  toy_run(seen=seen)
  assert seen[1][1] == "given"


@pytest.mark.parametrize("argv, fault, text", [
    ([], None, "also pass --toy_file"),
    (["--toy_fil=a"], None, "unknown flag --toy_fil; did you mean --toy_file? "
     "(--help lists all flags)"),
    (["a"], None, "found the argument 'a' outside any flag; write "
     "--flag=value, also for true and false"),
    (["--toy_file=a"], cli.UserError("a mistake"), "a mistake"),
    (["--toy_file=a"], OSError(28, "No space left on device"), None),
])
def test_a_mistake_in_a_program_is_raised_alone(no_flags, argv, fault, text):
  with pytest.raises(cli.UserError) as error:
    toy_run(argv, [], fault)
  assert text in (None, str(error.value))
  assert error.value.__cause__ is None
  assert error.value.__context__ is None or error.value.__suppress_context__
  assert error.value._render_traceback_() == ["UserError: %s" % error.value]


def test_help_in_a_program_is_printed(no_flags, capsys):
  toy_run(["--help"])
  assert "--toy_file=TEXT  (required)" in capsys.readouterr().out


@pytest.mark.parametrize("found, shown", [
    ("a\nb", "a b"), ("\x1b[31m \0\t\u202e\ud800\x85",
                      r"\x1b[31m \x00\t\u202e\ud800\x85"),
    ("caf\u00e9 \u732b", "caf\u00e9 \u732b")])
def test_a_mistake_is_one_line_that_a_terminal_can_show(found, shown):
  assert str(cli.UserError("x: " + found)) == "x: " + shown


def test_a_long_mistake_keeps_its_ends():
  for long, most in (("a" * 10 ** 6, 1000), ("aaa " * 10 ** 6, 40100)):
    text = str(cli.UserError("x: %s; remove it" % long))
    assert text.startswith("x: aaa") and text.endswith("; remove it")
    assert " [...] " in text and len(text) < most
  text = "a b" * 3000
  assert str(cli.UserError(text)) == text


def test_a_value_error_of_what_the_user_gave_stays_one():
  with pytest.raises(ValueError, match="^a mistake$") as error:
    with cli.user_errors():
      raise ValueError("a mistake")
  assert isinstance(error.value, cli.UserError)
  assert error.value.__suppress_context__


def test_no_mistake_is_raised_with_the_error_behind_it():
  for path in glob.glob(os.path.join(ROOT, "*.py")):
    with open(path) as reader:
      tree = ast.parse(reader.read())
    for handler in ast.walk(tree):
      if isinstance(handler, ast.ExceptHandler):
        for node in ast.walk(handler):
          if isinstance(node, ast.Raise) and node.exc and not node.cause:
            assert node.exc.func.id in ("BrokenPipeError", "ImportError"), (
                path, node.lineno)


def classifier_flags(values):
  own = flags.FlagValues()
  script_options.define_flags(run_classifier.Settings, own)
  return cli.assign(own, values)


def test_flags_of_their_own_leave_the_command_lines_alone(no_flags):
  FLAGS.mark_as_parsed()
  before = set(FLAGS)
  first = classifier_flags({
      "learning_rate": 1, "train_batch_size": np.int64(4), "do_lower": False,
      "do_eval": "true", "warmup_proportion": None,
      "data_dir": pathlib.Path("data")})
  second = classifier_flags({})
  assert set(FLAGS) == before
  assert (first.learning_rate, first.train_batch_size, first.do_lower_case,
          first.do_eval, first.warmup_proportion, first.data_dir) == (
              1.0, 4, False, True, 0.1, "data")
  assert (second.learning_rate, second.do_lower_case) == (5e-5, True)
  assert cli.given(first, "learning_rate") == 1.0
  assert cli.given(second, "learning_rate") is None


@pytest.mark.parametrize("values, text", [
    ({"lr": 1}, "unknown setting lr; use learning_rate"),
    ({"learning_rat": 1}, "unknown setting learning_rat; did you mean "
     "learning_rate?"),
    ({"learning_rate": 0}, "flag --learning_rate=0.0: expected more than 0"),
    ({"train_batch_size": "x"}, "flag --train_batch_size=x: "),
    ({"data_dir": 3}, "flag --data_dir=3: "),
    ({"do_train": "no way"}, "flag --do_train=no way: ")])
def test_a_wrong_setting_is_one_line(no_flags, values, text):
  settings = run_classifier.Settings()

  def assign():
    for name, value in values.items():
      setattr(settings, name, value)

  for wrong in (
      lambda: classifier_flags(values),
      lambda: run_classifier.Settings(**values), assign):
    with pytest.raises(cli.UserError) as error:
      wrong()
    assert str(error.value).startswith(text)
    assert "\n" not in str(error.value)
  assert settings == run_classifier.Settings()


def test_what_is_assigned_to_settings_is_parsed(home):
  settings = copy.copy(run_pretraining.Settings())
  settings.learning_rate, settings.do_train = "1e-3", "false"
  settings.output_dir, settings.tf_random_seed = "~/out", None
  assert dataclasses.replace(settings) == run_pretraining.Settings(
      learning_rate=1e-3, do_train=False, output_dir=home + "/out")
  with pytest.raises(cli.UserError, match="--input_file=.*not list"):
    settings.input_file = ["a", "b"]


@pytest.mark.parametrize("script, text", [
    (run_classifier, "--data_dir, --task_name, --vocab_file, --bert_config_f"),
    (run_classifier_with_tfhub, "--data_dir, --task_name, --bert_hub_module_h"),
    (run_ner, "--vocab_file, --bert_config_file, --output_dir"),
    (run_squad, "--output_dir"),
    (run_pretraining, "--input_file, --bert_config_file, --output_dir"),
    (create_pretraining_data, "--input_file, --output_file, --vocab_file"),
    (extract_features, "--input_file, --output_file, --vocab_file, --bert_c"),
    (squad_metrics, "--data_file, --predictions_file")])
def test_run_with_names_missing_settings_and_what_are_none(script, text):
  with pytest.raises(cli.UserError, match="also pass " + text):
    script.run_with(script.Settings())
  name = script.__name__.split(".")[-1]
  for other, found in (
      ({"vocab_file": "vocab.txt"}, "builtins.dict"),
      (run_settings.ModelSettings(), "run_settings.ModelSettings")):
    with pytest.raises(cli.UserError, match="^settings: found %s, expected "
                       "%s.Settings$" % (found, name)):
      script.run_with(other)


def test_run_with_logs_and_returns_the_figures(monkeypatch, tmp_path):
  monkeypatch.setattr(
      runner, "run", lambda task, on_log: on_log({"loss": task.name}))
  with captured_log():
    assert run_pretraining.run_with(run_pretraining.Settings(
        input_file="a", output_dir="b", max_seq_length=16,
        bert_config_file=helpers.write_config(tmp_path)), dict) == {
            "loss": "masked_lm"}


def test_out_of_memory_names_the_figures_of_the_settings_that_run(no_flags):
  run_classifier.define_flags()
  parse("--do_train", "--train_batch_size=64", "--max_seq_length=512")

  @script_options.runs(ToySettings)
  def run_with(settings):
    del settings
    raise tf.errors.ResourceExhaustedError(None, None, OOM)

  for settings, figures in (
      (ToySettings(do_train=True, do_predict=True, train_batch_size=2),
       "--train_batch_size=2 or --predict_batch_size=32 or "
       "--max_seq_length=128"),
      (ToySettings(), "--max_seq_length=128")):
    with captured_log(), pytest.raises(cli.UserError) as error:
      run_with(settings)
    assert "lower %s, or end other" % figures in str(error.value)
  with pytest.raises(cli.UserError, match="; lower the batch size, or end"):
    with cli.user_errors():  # no script runs
      raise tf.errors.ResourceExhaustedError(None, None, OOM)


def test_settings_are_made_in_several_threads_at_once(no_flags):
  run_classifier.define_flags()
  before = set(FLAGS)

  def make(length):
    made = run_classifier.Settings(max_seq_length=length)
    return made.max_seq_length, made.init_head

  with futures.ThreadPoolExecutor(8) as threads:
    made = list(threads.map(make, range(10, 130)))
  assert made == [(length, "auto") for length in range(10, 130)]
  cli.define_flag("integer", "toy_number", 3, "A number.")
  assert set(FLAGS) - before == {"toy_number"}


def test_run_with_logs_as_a_command_does():
  @script_options.runs(run_settings.LoggingSettings)
  def run_with(settings):
    tf.logging.info("Done calling model_fn.")
    tf.logging.info("Here.")
    return settings.verbose

  for one in list(tf.get_logger().filters):  # as in a new process
    tf.get_logger().removeFilter(one)
  with captured_log() as lines:
    assert run_with(run_settings.LoggingSettings()) is False
  assert lines == ["Here."]


@dataclasses.dataclass
class ToySettings(run_classifier.Settings):
  """A program's own options and field beside those of a script."""

  toy_weight: float = script_options.option(
      "float", 0.5, "Weight of the toy.", lower_bound=0)
  toy_rate: float = script_options.option(
      "float", 0.5, "Rate of the toy.", group="Training")
  mine: int = 3


def test_a_field_of_a_subclass_is_a_flag_and_is_checked(no_flags):
  script_options.define_flags(ToySettings)
  FLAGS(["toy.py", "--toy_weight=2", "--do_lower=false"])
  *_, own, _, _, training, _, _, _ = usage.format_help(
      "toy.py", "", ()).split("\n\n")
  assert own.startswith("Flags of this program:\n  --toy_weight=X\n")
  assert training.startswith("Training:") and "--toy_rate=X" in training
  assert "mine" not in FLAGS and "toy_rate" not in own
  settings = script_options.from_flags(ToySettings, FLAGS)
  assert (settings.toy_weight, settings.do_lower_case,
          settings.eval_batch_size, settings.max_seq_length) == (
              2.0, False, None, 128)
  assert ToySettings(toy_weight=np.int64(3)).toy_weight == 3.0
  assert (settings.mine, ToySettings(mine="4").mine) == (3, "4")
  assert script_options.make(ToySettings, {"do_lower": False}).mine == 3
  with pytest.raises(cli.UserError, match="toy_weight=-1.0: expected 0 or mor"):
    ToySettings(toy_weight=-1)
  with pytest.raises(cli.UserError, match="setting toy_weigth; did you mean"):
    ToySettings(toy_weigth=1)
  with pytest.raises(cli.UserError, match="do_lower; did you mean do_lower_ca"):
    ToySettings(do_lower=False)
