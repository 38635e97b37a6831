"""Runs the commands and programs of README.md and docs/, on small stand-ins.

A page is read from top to bottom, the pages in the order of PAGES, each command
in the same process. /tmp is a folder of the test, and so is the current folder.
"""

import contextlib
import importlib
import io
import json
import os
import pathlib
import re
import shlex
import shutil
import urllib.request

from absl import flags
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import script_options
import convert_checkpoint
import export_fixtures
import helpers
import run_classifier
import run_squad_test
import serve_test

DOCS = os.path.join(helpers.TOP, "docs")
PAGES = ["README.md"] + ["docs/%s.md" % name for name in (
    "classification own-data training squad words pretraining vocabulary "
    "tokenization features hugging-face serving from-python out-of-memory "
    "several-devices cloud-tpu speed multilingual differences troubleshooting "
    "faq security citing"
).split()]

# Other tests run demo.sh and `pip install .`; the rest needs a network.
OTHERS = {"git", "cd", "./demo.sh", "source", "pip", "curl", "unzip", "gcloud",
          "docker", "tensorflow_model_server"}
HARDWARE = ("--use_tpu", "--num_gpus", "--worker_hosts",
            "--compute_dtype=int8")
# Their flags are checked, but they are not run.

SERVER = "localhost:8500"  # what serve.py is asked by, with curl

# Numbers that only take time are lower.
FEWER = {"num_train_steps": 2, "num_warmup_steps": 1, "num_train_epochs": 3,
         "dupe_factor": 1, "num_seeds": 2}

# What "..." stands for.
SHARED = [
    "--bert_config_file=$BERT_DIR/bert_config.json", "--do_train=true",
    "--init_checkpoint=$BERT_DIR/bert_model.ckpt", "--output_dir=/tmp/@"]
MRPC = ["--task_name=MRPC", "--data_dir=$GLUE_DIR/MRPC"]
LEFT_OUT = {
    "run_classifier": SHARED + MRPC + ["--vocab_file=$BERT_DIR/vocab.txt"],
    "run_pretraining": SHARED + [
        "--input_file=/tmp/tf_examples.tfrecord", "--num_train_steps=2"],
    "run_classifier_with_tfhub": MRPC + [
        "--do_train=true", "--output_dir=/tmp/@"]}

# Programs that belong into one of the reader's, by a line of theirs.
PARTS = {
    'model.settings["thresholds"]': "takes a model of several labels",
    "logits = my_head(": "takes the reader's inputs and head",
    "script_options.from_flags(Settings": "is run by downstream_test",
    'delattr(FLAGS, "max_seq_length")': "is run by downstream_test"}


def read_blocks(page):
  """Yields the kind ("shell" or "python") and the text of each block."""
  with open(os.path.join(helpers.TOP, page), encoding="utf-8") as reader:
    yield from re.findall(
        r"^```(shell|python)\n(.*?)^```$", reader.read(), re.M | re.S)


def read_commands(text):
  """Yields the words of each command of a block, and its input or None."""
  lines = iter(text.replace("\\\n", " ").split("\n"))
  for line in lines:
    given = None
    if line.endswith(" << 'END'"):
      line, given = line[:-len(" << 'END'")], []
      for following in lines:
        if following == "END":
          break
        given.append(following)
      given = "\n".join(given)
    while line.split("#")[0].count("'") % 2:  # a text of several lines
      line += "\n" + next(lines)
    for command in line.split(" && "):
      words = shlex.split(command, comments=True)
      if words:
        yield words, given


def all_commands():
  """Returns (page, script, arguments) of every command of the suite."""
  found = []
  for page in PAGES:
    for kind, text in read_blocks(page):
      for words, _ in read_commands(text) if kind == "shell" else ():
        if words[0].startswith("python") and words[1].endswith(".py"):
          found.append((page, words[1][:-3], words[2:]))
  return found


def test_every_page_is_run_and_linked():
  there = {"docs/" + name for name in os.listdir(DOCS)}
  assert set(PAGES) == there | {"README.md"}
  for page in PAGES:
    with open(os.path.join(helpers.TOP, page), encoding="utf-8") as reader:
      text = reader.read()
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
      path = os.path.normpath(os.path.join(
          helpers.TOP, os.path.dirname(page), target)) if target else (
              os.path.join(helpers.TOP, page))
      assert os.path.exists(path), (page, target)
      if anchor:
        with open(path, encoding="utf-8") as reader:
          headings = re.findall(r"^#+ (.*)$", reader.read(), re.M)
        assert anchor in {
            re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
            for heading in headings}, (page, target, anchor)
  with open(os.path.join(helpers.TOP, "README.md")) as reader:
    readme = reader.read()
  assert [page for page in PAGES[1:] if "(%s)" % page not in readme] == []
  assert readme.count("\n") <= 300


def test_every_flag_is_one_of_its_script():
  found = all_commands()
  assert len(found) > 30
  for page, name, arguments in found:
    values = flags.FlagValues()
    script_options.define_flags(importlib.import_module(name).Settings, values)
    arguments = [argument for argument in arguments if argument != "..."]
    assert values([name] + arguments) == [name], (page, name)


class Sandbox:
  """What a reader has, small.

  Attributes:
    folder: str. Stands for /tmp, and has the current folder, "here".
    names: dict from the name to the value of variables of the shell.
    server: process of serve.py, and its port; None before there is one.
  """

  def __init__(self, folder):
    self.folder, self.names, self.server = str(folder), {}, None
    for name in ("bert", "MRPC", "SQuAD", "NER", "XNLI/multinli", "here",
                 "TriviaQA/qa", "TriviaQA/evidence/wikipedia"):
      os.makedirs(os.path.join(self.folder, name))
    self._write_model()
    self._write_data()

  def _path(self, name):
    return os.path.join(self.folder, name)

  def _write(self, name, text):
    with open(self._path(name), "w", encoding="utf-8") as writer:
      writer.write(text)

  def _write_model(self):
    export_fixtures.write_pretrained(self._path("bert"))
    helpers.run_main(convert_checkpoint, [
        "--init_checkpoint=" + self._path("bert/bert_model.ckpt"),
        "--bert_config_file=" + self._path("bert/bert_config.json"),
        "--vocab_file=" + self._path("bert/vocab.txt"),
        "--output_dir=" + self._path("here/all-MiniLM-L6-v2")])

  def _write_data(self):
    helpers.write_mrpc(pathlib.Path(self._path("MRPC")))
    for version in ("1.1", "2.0"):
      data = json.dumps(run_squad_test.make_squad(version == "2.0"))
      for name in ("SQuAD/train", "SQuAD/dev", "here/dev"):
        self._write("%s-v%s.json" % (name, version), data)
    answers = {"q%d%d" % (i, j): "" for i in range(3) for j in range(3)}
    self._write("here/predictions.json", json.dumps(answers))
    self._write("here/null_odds.json", json.dumps(dict.fromkeys(answers, 0.5)))
    for name in ("wnut17train.conll", "emerging.dev.conll",
                 "emerging.test.annotated"):
      self._write("NER/" + name, "Ann\tB-person\nslept\tO\n\n" * 40)
    row = ["the tea", "a cup"]
    for language in ("en", "zh"):
      helpers.write_lines(self._path(
          "XNLI/multinli/multinli.train.%s.tsv" % language), [
              ["premise", "hypo", "label"]] + [
                  row + [label]
                  for label in ("neutral", "contradictory", "entailment") * 12])
    for name in ("dev", "test"):
      helpers.write_lines(self._path("XNLI/xnli.%s.tsv" % name), [
          ["language", "gold_label"] + [""] * 4 + ["sentence1", "sentence2"]
      ] + [[language, "neutral"] + [""] * 4 + row
           for language in ("sw", "zh")] * 4)
    self._write("TriviaQA/evidence/wikipedia/tea.txt", "Tea comes from China.")
    self._write("TriviaQA/qa/wikipedia-train.json", json.dumps({"Data": [{
        "QuestionId": "1", "Question": "Where from?", "SearchResults": [],
        "EntityPages": [{"Filename": "tea.txt"}],
        "Answer": {"Value": "China", "NormalizedAliases": ["china"],
                   "Aliases": ["China"]}}]}))
    with open(os.path.join(helpers.TOP, "sample_text.txt")) as reader:
      text = reader.read()
    for name in ("novels", "other_novels", "sentences", "words"):
      self._write("here/%s.txt" % name, text)
    self._write("here/domain.txt", "the kettleworm hums\n" * 8)
    shutil.copy(self._path("bert/bert_config.json"),
                self._path("here/small_config.json"))
    self._write("here/input.txt", "the tea\nthe cup ||| a cup\n")
    self._write("here/texts.txt", "the [MASK]\nthe tea\n")
    self._write("here/reviews.csv", "text,label\n" + "".join(
        "The tea was %s.,%s\n" % row for row in zip(
            "good warm late cold best dear dark dull fine weak".split(),
            ["praise", "complaint"] * 5)) * 5)
    self._write("here/new_reviews.csv", "text\nThe soup was warm.\n")
    os.symlink(os.path.join(helpers.TOP, "sample_data"),
               self._path("here/sample_data"))
    shutil.copy(os.path.join(helpers.TOP, "sample_text.txt"),
                self._path("here/sample_text.txt"))

  def fill_in(self, text):
    """Puts what is there in the place of what the reader has."""
    for name, value in dict(
        self.names, BERT_DIR="/tmp/bert", MULTI_DIR="/tmp/bert",
        CHINESE_DIR="/tmp/bert", TINY_DIR="/tmp/bert", GLUE_DIR="/tmp",
        NER_DIR="/tmp/NER",
        SQUAD_DIR="/tmp/SQuAD", XNLI_DIR="/tmp/XNLI",
        TRIVIAQA_DIR="/tmp/TriviaQA").items():
      text = text.replace("$" + name, value)
    text = text.replace("/path/to/uncased_L-12_H-768_A-12", "/tmp/bert")
    text = text.replace("/tmp/", self.folder + "/")
    for pattern in (r"\S+/model\.ckpt(?=-\d+)", r"\S+(?=/1700000000)"):
      found = re.search(pattern, text.split("=")[-1])
      if found:
        latest = (tf.train.latest_checkpoint(os.path.dirname(found.group()))
                  if "ckpt" in pattern else helpers.newest_version(
                      found.group()))
        text = text[:text.index(found.group())] + latest
    return text

  def run(self, words, given):
    """Runs a command of the shell."""
    if words[0] == "export":
      self.names.update(word.split("=", 1) for word in words[1:]
                        if "/path/to" not in word and "$PWD" not in word)
      return
    if words[0] == "curl" and SERVER in words[1]:
      self._ask(*words[1:])
      return
    if not words[0].startswith("python"):
      assert words[0] in OTHERS or "=" in words[0], words
      return
    if words[1] == "-":
      output = io.StringIO()
      with contextlib.redirect_stdout(output):
        exec(self.fill_in(given), {"__name__": "__main__"})
      if ">" in words:
        self._write(os.path.basename(words[-1]), output.getvalue())
      return
    if words[1] == "-m":
      return  # of another package
    if words[1] == "-c":
      exec(words[2], {})
      return
    name, arguments = words[1][:-3], words[2:]
    if name == "serve":
      self.end_server()
      self.server = serve_test.start(*map(self.fill_in, (
          arguments[0].split("=", 1)[1], *arguments[1:])))
      return
    if "..." in arguments:
      arguments[:1] = LEFT_OUT[name]
      # Each run has a folder of its own.
      arguments = [argument.replace("@", "run-%d" % len(os.listdir(
          self.folder))) for argument in arguments]
    arguments = [re.sub("^--(%s)=.*" % "|".join(FEWER), lambda match: (
        "--%s=%d" % (match.group(1), FEWER[match.group(1)])), argument)
                 for argument in arguments]
    if not any(argument.startswith(HARDWARE) for argument in arguments):
      helpers.run_main(importlib.import_module(name), [
          self.fill_in(argument) for argument in arguments])

  def _ask(self, url, *data):
    """Sends a request to serve.py, as `curl URL -d DATA` does."""
    assert data[:1] in ((), ("-d",)), data
    with urllib.request.urlopen(
        url.replace(SERVER, "127.0.0.1:%d" % self.server[1]),
        data[1].encode("utf-8") if data else None) as reader:
      assert reader.status == 200 and reader.read(), url

  def end_server(self):
    """Ends the server, if there is one."""
    if self.server:
      process, _ = self.server
      with process:
        process.terminate()
      assert process.returncode == 0
      self.server = None

  def run_program(self, text, names):
    """Runs a block of Python, in which an example may begin with ">>>"."""
    text = self.fill_in(text).replace('"vocab.txt"', '"%s"' % self._path(
        "bert/vocab.txt")).replace('"bert/', '"%s/' % self._path(
            "bert")).replace('"glue/', '"%s/' % self.folder)
    compile(text, "program", "exec")
    if not any(line in text for line in PARTS):
      with contextlib.redirect_stdout(io.StringIO()):
        exec(text, names)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(tf, "estimator"), reason=(
    "run_classifier_with_tfhub.py needs TensorFlow 2.15 or older"))
def test_every_command_and_program_runs(tmp_path, monkeypatch):
  for package in ("tokenizers", "aiohttp", "prometheus_client", "onnx",
                  "onnxruntime"):
    pytest.importorskip(package)
  sandbox = Sandbox(tmp_path)
  monkeypatch.chdir(tmp_path / "here")
  monkeypatch.setattr(run_classifier, "PROCESSORS", dict(
      run_classifier.PROCESSORS))
  try:
    for page in PAGES:
      names = {"__name__": "docs", "texts": ["late and cold"]}
      for kind, text in read_blocks(page):
        print(page, text)  # which pytest shows of a failure
        if kind == "python":
          sandbox.run_program(text, names)
        elif not text.startswith("  --"):  # flags to add to another command
          for words, given in read_commands(text):
            sandbox.run(words, given)
  finally:
    sandbox.end_server()
