"""Runs the notebooks from the first cell to the last, each cell twice.

Cells are executed in this process, without a notebook server, as small as they
can be: the constants of SMALLER are replaced.
"""

import ast
import glob
import inspect
import json
import os
import re
import shutil
import sys

import pytest

import create_pretraining_data
from export_fixtures import write_pretrained
import export_model
import fill_mask
import helpers
from hub_module import with_module
import run_classifier
import run_classifier_with_tfhub
import run_pretraining
import run_squad

FOLDER = os.path.join(helpers.TOP, "notebooks")
NOTEBOOKS = sorted(glob.glob(os.path.join(FOLDER, "*.ipynb")))

CLASSIFIER, PRETRAINING, SQUAD, HUB, TPU = NOTEBOOKS

SMALLER = [
    ("EPOCHS = None", "EPOCHS = 1"), ("EPOCHS = 4", "EPOCHS = 1"),
    ("STEPS = 1000", "STEPS = 10"), ("dupe_factor=20", "dupe_factor=2"),
    ('"train.json"), 1, 400', '"train.json"), 1, 40')]

# Where settings are named, by what a cell calls.
SETTINGS = {
    "run_classifier.train_and_evaluate": run_classifier.Settings,
    "run_classifier_with_tfhub.Settings": run_classifier_with_tfhub.Settings,
    "run_pretraining.Settings": run_pretraining.Settings,
    "run_squad.Settings": run_squad.Settings,
    "create_pretraining_data.Settings": create_pretraining_data.Settings,
    "export_model.Settings": export_model.Settings,
    "fill_mask.Settings": fill_mask.Settings}


def read_cells(path, kind="code"):
  """Returns the texts of the cells of a kind."""
  with open(path, encoding="utf-8") as reader:
    return ["".join(cell["source"]) for cell in json.load(reader)["cells"]
            if cell["cell_type"] == kind]


def run_cell(text, path, names):
  """Runs a cell of the notebook of that path, which has these names."""
  exec(compile(text, path, "exec"), names)  # pylint: disable=exec-used


@pytest.fixture
def notebook(tmp_path, monkeypatch):
  """Returns a function that runs a notebook and returns its names."""
  pyplot = pytest.importorskip("matplotlib.pyplot")
  monkeypatch.chdir(FOLDER)
  monkeypatch.setattr(sys, "path", list(sys.path))
  monkeypatch.syspath_prepend(FOLDER)  # without the module's cache
  for name in ("BERT_SUITE", "BERT_DIR", "BERT_MODULE", "SQUAD_DIR"):
    monkeypatch.delenv(name, raising=False)
  pyplot.switch_backend("agg")
  shown = []
  monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.gcf()))

  def run(path):
    names = {"__name__": "__main__"}
    for text in read_cells(path):
      text = text.replace("/tmp/bert_notebook", str(tmp_path / "work"))
      for constant, smaller in SMALLER:
        text = text.replace(constant, smaller)
      for _ in range(2):
        run_cell(text, path, names)
    return names, shown

  yield run
  pyplot.close("all")


@pytest.fixture
def no_network(monkeypatch, tmp_path):
  """What is published is not found, at once."""
  monkeypatch.syspath_prepend(FOLDER)
  import notebook_tools
  monkeypatch.setattr(
      notebook_tools, "ADDRESS", (tmp_path / "nowhere").as_uri() + "/")


@pytest.fixture
def model_dir(tmp_path, monkeypatch):
  """A folder with a model; BERT_DIR names it."""
  folder = tmp_path / "model"
  folder.mkdir()
  write_pretrained(str(folder))
  monkeypatch.setenv("BERT_DIR", str(folder))
  return str(folder)


@pytest.mark.slow
def test_classifier_without_a_network(notebook, no_network, capsys):
  names, shown = notebook(CLASSIFIER)
  log = capsys.readouterr().out
  assert "Not downloaded: goes on with the small model" in log
  assert not names["is_trained"]
  assert 0 <= names["training"].results["eval_accuracy"] <= 1
  assert names["labels"] == ["denies it", "says the same"]
  assert names["probabilities"].shape == (3, 2)
  assert len(shown) == 6  # three pictures, twice


@pytest.mark.slow
def test_pretraining_and_a_look_inside(notebook, model_dir, monkeypatch):
  monkeypatch.delenv("BERT_DIR")
  names, shown = notebook(PRETRAINING)
  assert names["history"][-1]["step"] == 10
  check_look_inside(names, names["folder"])
  assert len(names["points"]) == len(names["names"]) > 20
  assert len(shown) == 6

  names["LOOK_INTO"] = model_dir
  cells = read_cells(PRETRAINING)
  for text in cells[[i for i, text in enumerate(cells)
                     if "import fill_mask" in text][0]:]:
    run_cell(text, PRETRAINING, names)
  check_look_inside(names, model_dir)


def check_look_inside(names, folder):
  """The guesses and the attention are those of the model in a folder."""
  assert names["files"]["init_checkpoint"].startswith(folder)
  assert [len(answer["guesses"][0]) for answer in names["answers"]] == [5] * 3
  pieces = len(names["pieces"])
  assert [layer.shape[2:] for layer in names["attention"]] == [
      (pieces, pieces)] * names["config"].num_hidden_layers


@pytest.mark.slow
def test_squad(notebook, model_dir):
  names, shown = notebook(SQUAD)
  assert 0 <= names["results"]["exact_match"] <= names["results"]["f1"] <= 100
  assert len(names["answers"]) == len(names["QUESTIONS"])
  assert len(shown) == 2


@pytest.mark.slow
@with_module
def test_hub_classifier(notebook, model_dir):
  names, _ = notebook(HUB)
  assert names["tokenizer"].tokenize("The old window.")[0] == "the"
  assert names["probabilities"].shape[1] == 2
  assert 0 <= names["results"]["eval_accuracy"] <= 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=os.path.basename)
def test_settings_are_those_of_the_scripts(path):
  found = 0
  for text in read_cells(path):
    for node in ast.walk(ast.parse(text, path)):
      if isinstance(node, ast.Call):
        called = ast.get_source_segment(text, node.func)
        if called in SETTINGS:
          found += 1
          known = inspect.signature(SETTINGS[called]).parameters
          assert {one.arg for one in node.keywords if one.arg} <= set(known)
  assert found


def test_the_notebooks_begin_alike_and_keep_no_output():
  first = {read_cells(path)[0] for path in NOTEBOOKS if path != TPU}
  assert len(first) == 1
  for path in NOTEBOOKS:
    with open(path, encoding="utf-8") as reader:
      cells = json.load(reader)["cells"]
    assert not any(cell.get("outputs") or cell.get("execution_count")
                   for cell in cells), path
    assert len({cell["id"] for cell in cells}) == len(cells)


def test_links_of_the_notebooks_lead_somewhere():
  for path in NOTEBOOKS:
    for text in read_cells(path, "markdown"):
      for target in re.findall(r"\]\((?!http)([^)#]*)", text):
        assert os.path.exists(os.path.join(FOLDER, target)), (path, target)


def test_small_constants_are_still_in_a_notebook():
  texts = "".join(sum((read_cells(path) for path in NOTEBOOKS), []))
  assert [old for old, _ in SMALLER if old not in texts] == []


def test_a_folder_without_a_model_is_named(no_network, tmp_path):
  import notebook_tools
  with pytest.raises(ValueError, match="found no vocab.txt"):
    notebook_tools.find_model(str(tmp_path), str(tmp_path / "models"))


def test_an_archive_is_fetched_once(no_network, tmp_path):
  import notebook_tools
  source = tmp_path / "nowhere" / "2020" / "small"
  source.mkdir(parents=True)
  for name in ("vocab.txt", "bert_config.json", "bert_model.ckpt.index"):
    (source / name).write_text("x")
  shutil.make_archive(str(source), "zip", str(source.parent), "small")
  models = str(tmp_path / "models")
  first = notebook_tools.find_model("2020/small", models)
  os.remove(str(source) + ".zip")
  assert notebook_tools.find_model("2020/small", models) == first
  assert first["init_checkpoint"].endswith("bert_model.ckpt")
