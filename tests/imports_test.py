"""Tests of the ways to import the suite: one folder, a package, pip, copies."""

import os
import shutil
import subprocess
import sys

import pytest

from helpers import TOP

MODULES = sorted(
    name[:-len(".py")] for name in os.listdir(TOP)
    if name.endswith(".py") and name != "__init__.py")


def find_scripts():
  """Returns those of MODULES that are commands: they have a function `run`."""
  found = []
  for name in MODULES:
    with open(os.path.join(TOP, "bert_suite", name + ".py")) as module:
      if "\ndef run(" in module.read():
        found.append(name)
  return found


SCRIPTS = find_scripts()
INTERNAL = sorted({
    os.path.splitext(name)[0]
    for _, _, names in os.walk(os.path.join(TOP, "bert_suite"))
    for name in names if name.endswith(".py")} - {"__init__"} - set(MODULES))

USE = """
tf = modeling.tf
config = modeling.BertConfig(
    vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=2,
    intermediate_size=4, max_position_embeddings=5)
with tf.Graph().as_default():
  model = modeling.BertModel(config, False, tf.zeros([2, 3], tf.int32))
  assert model.get_pooled_output().shape.as_list() == [2, 4]
"""


def copy_suite(folder, *names):
  """Copies modules of the top level, or all of them, and the package."""
  os.makedirs(str(folder), exist_ok=True)
  for name in names or MODULES + ["__init__"]:
    shutil.copy(os.path.join(TOP, name + ".py"), str(folder))
  shutil.copytree(os.path.join(TOP, "bert_suite"),
                  str(folder / "bert_suite"),
                  ignore=shutil.ignore_patterns("__pycache__"))


def run_program(folder, text, path=()):
  """Runs a program that lies in a folder, which is where Python looks first."""
  program = folder / "program_of_mine.py"
  program.write_text(text)
  environment = dict(os.environ, PYTHONPATH=os.pathsep.join(map(str, path)))
  process = subprocess.run(
      [sys.executable, str(program)], cwd=str(folder), env=environment,
      capture_output=True)
  assert process.returncode == 0, process.stderr.decode("utf-8")[-2000:]
  return process.stdout.decode("utf-8")


def test_the_top_level_has_the_names_of_the_reference_and_commands():
  assert MODULES == [
      "convert_checkpoint", "convert_triviaqa",
      "create_pretraining_data", "export_model",
      "extract_features", "fill_mask", "learn_vocab", "modeling",
      "optimization", "predictor", "run_classifier",
      "run_classifier_with_tfhub", "run_ner",
      "run_pretraining", "run_squad", "serve", "squad_metrics",
      "tokenization"]


def test_the_folder_on_the_path(tmp_path):
  run_program(tmp_path, "import sys\nimport %s\n" % ", ".join(MODULES) + USE +
              """
assert run_classifier.modeling is modeling
assert predictor.tokenization is tokenization
import bert_suite.modeling, bert_suite.run_squad
assert bert_suite.modeling is modeling and bert_suite.run_squad is run_squad
""", [TOP])


@pytest.fixture(scope="module")
def clone(tmp_path_factory):
  """A folder in which the suite is cloned into a folder `bert`."""
  folder = tmp_path_factory.mktemp("projects")
  copy_suite(folder / "bert")
  return folder


def test_a_clone_is_the_package_bert(clone):
  run_program(clone, """
import sys
from bert import modeling, tokenization, optimization, run_classifier
from bert import extract_features
import bert
""" + USE + """
assert bert.modeling is modeling is run_classifier.modeling
assert bert.optimization is optimization
assert extract_features.modeling is modeling
assert not {"modeling", "layers", "files"}.intersection(sys.modules)
""")


def test_importing_a_script_sets_the_modules_that_it_uses(clone):
  run_program(clone, "import bert.extract_features\n"
              "modeling = bert.modeling\n" + USE + """
try:
  bert.no_such_module
  raise SystemExit("expected an AttributeError")
except AttributeError:
  pass
""")


@pytest.mark.parametrize("first, second", [
    ("import modeling, run_squad", "import bert.modeling, bert.run_squad"),
    ("import bert.modeling, bert.run_squad", "import modeling, run_squad")])
def test_no_module_is_two_objects_where_both_ways_are_used(
    clone, first, second):
  run_program(clone, "%s\n%s\n" % (first, second) + """
assert bert.modeling is modeling
assert bert.run_squad is run_squad
assert bert.run_squad.modeling is modeling
""", [clone / "bert"])


@pytest.mark.slow
def test_pip_installs_the_package_and_commands(tmp_path):
  copy_suite(tmp_path / "source")
  for name in ("pyproject.toml", "requirements.txt", "README.md"):
    shutil.copy(os.path.join(TOP, name), str(tmp_path / "source"))
  target = tmp_path / "installed"
  subprocess.check_call([
      sys.executable, "-m", "pip", "install", "--quiet", "--no-deps",
      "--no-build-isolation", "--target", str(target),
      str(tmp_path / "source")])
  found = {name for name in os.listdir(str(target))
           if not name.endswith("-info")}
  assert found == {"bert", "bin"}
  assert set(os.listdir(str(target / "bin"))) == {
      "bert-" + script.replace("_", "-")
      for script in SCRIPTS}
  run_program(tmp_path, "from bert import modeling, run_classifier, predictor\n"
              + USE + "assert predictor.cli is run_classifier.cli\n", [target])
  shown = subprocess.check_output(
      [sys.executable, str(target / "bin" / "bert-run-classifier"), "--help"],
      env=dict(os.environ, PYTHONPATH=str(target)), cwd=str(tmp_path))
  shown = shown.decode("utf-8")
  assert shown.startswith("Usage: bert-run-classifier --flag=value ...")
  assert "--task_name" in shown


@pytest.mark.parametrize("is_package", [False, True])
def test_a_program_may_have_modules_of_the_names_of_ours(tmp_path, is_package):
  for name in INTERNAL + (MODULES if is_package else []):
    (tmp_path / (name + ".py")).write_text("MINE = True\n")
  if is_package:
    copy_suite(tmp_path / "bert")
  own = ", ".join(INTERNAL)
  run_program(tmp_path, """
%s
import %s
assert all(module.MINE for module in (%s,))
""" % ("from bert import " + ", ".join(MODULES) if is_package else
       "import " + ", ".join(MODULES), own, own) + USE,
              [] if is_package else [TOP])


@pytest.mark.parametrize("folder, statement", [
    ("", "import modeling"),
    ("lib", "from lib import modeling"),
    ("lib/bert", "import lib.bert.modeling as modeling")])
def test_modeling_and_the_package_copied_into_a_project(
    tmp_path, folder, statement):
  copy_suite(tmp_path / folder if folder else tmp_path, "modeling")
  run_program(tmp_path, statement + "\n" + USE)
