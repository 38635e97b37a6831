"""Names as given, patterns, lists; links for TensorFlow; inputs and outputs."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import checkpoints, files
from helpers import TOP, save_checkpoint

ODD_NAMES = ["run[lr=3e-4]", "a*b", "what?", "a, b", "tab\\n", "[", "x[1-3] y"]


def touch(folder, *names):
  folder.mkdir(parents=True, exist_ok=True)
  for name in names:
    (folder / name).write_bytes(b"x")


# Finding files.


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_name_that_exists_is_taken_as_given(tmp_path, name):
  touch(tmp_path / name, name, "part-1", "part-2", ".part-3")
  touch(tmp_path / "run3", "part-1")
  touch(tmp_path / "aXb", "part-1")
  folder = str(tmp_path / name)
  path = os.path.join(folder, name)
  assert files.find_files(path, "--input_file") == [path]
  parts = [os.path.join(folder, part) for part in ("part-1", "part-2")]
  assert files.find_files(folder + "/part-*", "--input_file") == parts
  assert files.find_files(folder + "/*-[12]", "--input_file") == parts
  assert files.find_files(
      ", ".join([parts[1], path, parts[0]]), "--input_file") == [
          parts[1], path, parts[0]]


def test_patterns_in_folders_and_names(tmp_path):
  for folder in ("a1", "a2", "b1"):
    touch(tmp_path / folder, "x.txt", "y.txt", ".hidden.txt")
  found = files.match("%s/a?/*.txt" % tmp_path)
  assert found == ["%s/%s" % (tmp_path, name) for name in (
      "a1/x.txt", "a1/y.txt", "a2/x.txt", "a2/y.txt")]
  assert files.match("%s/a1/.*.txt" % tmp_path) == [
      "%s/a1/.hidden.txt" % tmp_path]
  assert files.match("%s/none/*.txt" % tmp_path) == []


def test_a_backslash_makes_a_wildcard_an_ordinary_character(tmp_path):
  touch(tmp_path, "a*", "ab")
  assert files.match("%s/a\\*" % tmp_path) == ["%s/a*" % tmp_path]


def test_a_pattern_does_not_leave_the_folder_that_exists_as_given(tmp_path):
  touch(tmp_path / "run[1]", "other")
  touch(tmp_path / "run1", "part-1")
  assert files.match("%s/run[1]/part-*" % tmp_path) == []


def test_relative_names(tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  touch(tmp_path, "a.txt", "b[1].txt", "c, d.txt")
  assert files.find_files("?.txt,b[1].txt,c, d.txt", "--x") == [
      "a.txt", "b[1].txt", "c, d.txt"]


@pytest.mark.parametrize("given,missing", [
    ("a.txt,none.txt", "none.txt"), ("a.txt,,a.txt", ""), ("", ""),
    ("none*", "none*")])
def test_a_file_that_is_not_there_is_named(tmp_path, monkeypatch, given,
                                           missing):
  monkeypatch.chdir(tmp_path)
  touch(tmp_path, "a.txt")
  with pytest.raises(ValueError, match="^--x=.*found no file for %r" %
                     missing.replace("*", "[*]")):
    files.find_files(given, "--x")


def test_names_to_write_are_split_except_inside_folders_and_files(
    tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  touch(tmp_path / "run, 2, x", "old, b")
  touch(tmp_path / "d")
  touch(tmp_path, "old, a")
  for names, expected in (
      ("a,b", ["a", "b"]), ("old, a", ["old, a"]),
      ("run, 2, x/a", ["run, 2, x/a"]),
      ("run, 2, x/a,run, 2, x/b,d/c,d/d", [
          "run, 2, x/a", "run, 2, x/b", "d/c", "d/d"]),
      ("a,run, 2, x/b,c", ["a", "run, 2, x/b", "c"]),
      ("run, 3/a", ["run", " 3/a"])):
    assert files.split_names(names) == expected


# Names that TensorFlow takes for patterns.


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("is_folder", [True, False])
def test_a_checkpoint_of_any_name_is_read(tmp_path, name, is_folder):
  folder = tmp_path / name if is_folder else tmp_path
  folder.mkdir(exist_ok=True)
  plain = save_checkpoint(folder / "model.ckpt", {"w": np.arange(3)})
  prefix = plain
  if not is_folder:
    prefix = str(tmp_path / name)
    for ending in (".index", ".data-00000-of-00001"):
      os.rename(plain + ending, prefix + ending)
  assert checkpoints.exists(prefix)
  assert checkpoints.check_readable(prefix) == {"w": [3]}
  with tf.Graph().as_default(), tf.Session() as session:
    w = tf.get_variable("w", [3])
    tf.train.Saver().restore(session, files.literal(prefix))
    assert session.run(w).tolist() == [0, 1, 2]
  assert files.given_names(files.literal(prefix)) == prefix
  assert not checkpoints.exists(prefix + "0")


def test_names_without_wildcards_stay(tmp_path):
  for name in ("gs://bucket//a/model.ckpt", "out//model.ckpt", "a, b/", ""):
    assert files.literal(name) == files.literal_folder(name) == name


def test_a_remote_name_with_wildcards_is_refused():
  for function in (files.literal, files.literal_folder):
    with pytest.raises(ValueError, match=r"^gs://b/run\[1\]: TensorFlow takes"):
      function("gs://b/run[1]")


def test_links_go_with_the_process_and_what_they_lead_to_stays(tmp_path):
  folder = str(tmp_path / "run[1]")
  link = subprocess.check_output([sys.executable, "-c", (
      "import sys; sys.path.insert(0, sys.argv[1])\n"
      "import os; from bert_suite import files\n"
      "link = files.literal_folder(sys.argv[2])\n"
      "open(os.path.join(link, 'a'), 'w').close()\n"
      "assert link == files.literal_folder(sys.argv[2] + '/')\n"
      "print(link)"), TOP, folder], stderr=subprocess.DEVNULL)
  link = link.decode("utf-8").strip()
  assert not os.path.lexists(link) and not os.path.exists(os.path.dirname(link))
  assert os.listdir(folder) == ["a"]


# Inputs and outputs.


@pytest.fixture
def text(tmp_path, monkeypatch):
  """Names of one file, in the current folder."""
  monkeypatch.chdir(tmp_path)
  touch(tmp_path, "text.txt", "other.txt")
  os.symlink("text.txt", "link.txt")
  os.symlink(str(tmp_path), "folder")
  os.link("text.txt", "hard.txt")


@pytest.mark.parametrize("name", [
    "text.txt", "./text.txt", "folder/text.txt", ".//folder/./text.txt",
    "link.txt", "hard.txt", "file://%s/text.txt"])
def test_an_output_that_is_an_input_is_refused(text, tmp_path, name):
  name = name.replace("%s", str(tmp_path))
  for given, output in (("text.txt", name), (name, "text.txt")):
    with pytest.raises(ValueError) as error:
      files.check_outputs(
          [("--vocab_file", None), ("--input_file", given)],
          [("--output_file", "new.txt"), ("--output_file", output)])
    assert str(error.value) == (
        "%s (--output_file) is the file %s (--input_file), which it would "
        "replace; name another file to write" % (output, given))


def test_outputs_differ_from_each_other(text):
  for first, second in (("new", "./new"), ("folder/new", "new"),
                        ("gs://b/new", "gs://b/new")):
    with pytest.raises(ValueError) as error:
      files.check_outputs([], [("--output_file", first), ("--x", second)])
    assert str(error.value) == (
        "%s (--x) is the file %s (--output_file) too; use different names" %
        (second, first))


def test_other_files_and_devices_may_be_written(text):
  files.check_outputs(
      [("--input_file", "text.txt"), ("--vocab_file", "text.txt"),
       ("--init_checkpoint", "gs://b/a"), ("--x", "/dev/null")],
      [("--output_file", "other.txt"), ("--output_file", "gs://b/b"),
       ("--y", "/dev/null"), ("--z", "/dev/null")])


def test_standard_input_may_be_the_output(text, tmp_path):
  """`script --input_file=- < text.txt --output_file=text.txt`."""
  with open("text.txt") as reader:
    process = subprocess.run(
        [sys.executable, "-c", (
            "import sys; sys.path.insert(0, sys.argv[1])\n"
            "from bert_suite import files\n"
            "files.check_outputs([('--i', '-')], [('--o', '-')])\n"
            "files.check_outputs([('--i', '-')], [('--o', 'hard.txt')])\n"),
         TOP], stdin=reader, capture_output=True, cwd=str(tmp_path))
  assert process.stderr.decode("utf-8").rstrip().endswith(
      "ValueError: hard.txt (--o) is the file - (--i), which it would replace; "
      "name another file to write")


def test_a_caret_excludes_characters_as_in_patterns_of_tensorflow(tmp_path):
  for name in "ab":
    (tmp_path / (name + ".txt")).write_text("")
  assert files.match(str(tmp_path / "[^b].txt")) == [str(tmp_path / "a.txt")]
