"""Tests of create_pretraining_data: exact records, shards, memory, mistakes.

`slow_instances` is a second, plain implementation on strings, step by step as
published, that the records are checked against; it also made the hashes.
"""

import glob
import gzip
import hashlib
import itertools
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, example_writer
from bert_suite.pretraining import corpus, workers, writing
import create_pretraining_data
from helpers import TOP, captured_log, run_main, run_script
import tokenization

WORDS = ("[PAD] [UNK] [CLS] [SEP] [MASK] the a kettle cat sing sleep ##s ##ing "
         "##er is not near far it . , rains tea").split()
SPOKEN = ("the a kettle kettles sings singing singer sleeping sleeps cat cats "
          "is not near far. it . , rains, tea unheard").split()


# A text, and what the records of it must be.


def make_text(num_documents=9, longest=14, seed=4):
  """Makes a text, by a rule that is the same on every version of Python."""
  lines = []
  for document in range(num_documents):
    for sentence in range(1 + (seed + 5 * document) % longest):
      start = 7 * document + 3 * sentence + seed
      lines.append(" ".join(
          SPOKEN[(start + word * (1 + sentence % 4)) % len(SPOKEN)]
          for word in range(1 + (document + 2 * sentence) % 8)))
    lines.extend([""] * (1 + document % 2))
  return "\n".join(lines) + "\n"


def write(path, text):
  with open(str(path), "w", encoding="utf-8", newline="") as writer:
    writer.write(text)
  return str(path)


@pytest.fixture
def files(tmp_path):
  """Returns the tmp_path, with text.txt and vocab.txt in it."""
  write(tmp_path / "text.txt", make_text())
  write(tmp_path / "vocab.txt", "".join(word + "\n" for word in WORDS))
  return tmp_path


def run(folder, output="out.tfrecord", text="text.txt", **flag_values):
  """Runs main; returns what it logged. Flags are those of the short records."""
  values = dict(max_seq_length=24, max_predictions_per_seq=5, masked_lm_prob=.2,
                dupe_factor=3, random_seed=11, short_seq_prob=0.3)
  values.update(flag_values)
  arguments = ["--%s=%s" % item for item in values.items()]
  with captured_log() as log:
    run_main(create_pretraining_data, arguments + [
        "--input_file=" + ",".join(
            str(folder / name) for name in text.split(",")),
        "--vocab_file=%s" % (folder / "vocab.txt"),
        "--output_file=" + ",".join(
            str(folder / name) for name in output.split(","))])
  return log


def read(path):
  """Returns the parsed records of a file, list of dict of list."""
  records = []
  for data in tf.python_io.tf_record_iterator(str(path)):
    features = tf.train.Example.FromString(data).features.feature
    records.append({
        name: list(value.int64_list.value or value.float_list.value)
        for name, value in features.items()})
  return records


def digest(records):
  text = json.dumps(records, sort_keys=True)
  return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def contents(pattern):
  found = {}
  for path in glob.glob(str(pattern)):
    with open(path, "rb") as reader:
      found[os.path.basename(path)] = reader.read()
  return found


def slow_tokens(line, by_spaces):
  """Returns (token, is it the first of its word) of a line of SPOKEN words."""
  tokens = []
  for word in line.split():
    pieces = [word] if word in WORDS else None
    for ending in ("s", "ing", "er", ".", ","):
      if pieces is None and word.endswith(ending) and word != ending:
        mark = "" if ending in WORDS else "##"
        inner = slow_tokens(word[:-len(ending)], by_spaces)
        pieces = [piece for piece, _ in inner] + [mark + ending]
    for number, piece in enumerate(pieces or ["[UNK]"]):
      tokens.append((piece, number == 0 if by_spaces
                     else not piece.startswith("##")))
  return tokens


def slow_instances(text, rng, max_seq_length=24, max_predictions_per_seq=5,
                   masked_lm_prob=0.2, short_seq_prob=0.3, dupe_factor=3,
                   do_whole_word_mask=False, whole_word_segmented=False,
                   truncate_segment_prob=0.0):
  """Returns lists (tokens, segment ids, positions, labels, is random)."""
  documents = [[]]
  for line in text.split("\n"):
    if line.strip():
      documents[-1].append(slow_tokens(line, whole_word_segmented))
    else:
      documents.append([])
  documents = [document for document in documents if document]
  rng.shuffle(documents)

  def cut(sentence):
    if truncate_segment_prob and rng.random() < truncate_segment_prob:
      if len(sentence) > 1:
        sentence = sentence[:rng.randint(1, len(sentence) - 1)]
    return sentence

  def of_document(index):
    room = max_seq_length - 3
    target = room
    if rng.random() < short_seq_prob:
      target = rng.randint(2, room)
    found, gathered, i = [], [], 0
    while i < len(documents[index]):
      gathered.append(cut(documents[index][i]))
      is_last = i == len(documents[index]) - 1
      if is_last or sum(len(sentence) for sentence in gathered) >= target:
        end_a = 1
        if len(gathered) >= 2:
          end_a = rng.randint(1, len(gathered) - 1)
        a = sum(gathered[:end_a], [])
        b = []
        if len(gathered) == 1 or rng.random() < 0.5:
          is_random = True
          for _ in range(10):
            other = rng.randint(0, len(documents) - 1)
            if other != index:
              break
          j = rng.randint(0, len(documents[other]) - 1)
          while j < len(documents[other]):
            b = b + cut(documents[other][j])
            if len(b) >= target - len(a):
              break
            j += 1
          i -= len(gathered) - end_a
        else:
          is_random = False
          b = sum(gathered[end_a:], [])
        while len(a) + len(b) > room:
          longer = a if len(a) > len(b) else b
          del longer[0 if rng.random() < 0.5 else -1]
        cls, sep = [("[CLS]", True)], [("[SEP]", True)]
        tokens = cls + a + sep + b + sep
        segments = [0] * (len(a) + 2) + [1] * (len(b) + 1)
        found.append(slow_mask(tokens, segments, is_random))
        gathered = []
      i += 1
    return found

  def slow_mask(tokens, segments, is_random):
    groups = []
    for place, (token, is_first) in enumerate(tokens):
      if token in ("[CLS]", "[SEP]"):
        continue
      if (do_whole_word_mask or whole_word_segmented) and groups and (
          not is_first):
        groups[-1].append(place)
      else:
        groups.append([place])
    rng.shuffle(groups)
    tokens = [token for token, _ in tokens]
    output, masked = list(tokens), []
    count = min(max_predictions_per_seq,
                max(1, int(round(len(tokens) * masked_lm_prob))))
    for group in groups:
      if len(masked) < count and len(masked) + len(group) <= count:
        for place in group:
          if rng.random() < 0.8:
            output[place] = "[MASK]"
          elif rng.random() < 0.5:
            pass
          else:
            output[place] = WORDS[rng.randint(0, len(WORDS) - 1)]
          masked.append((place, tokens[place]))
    masked.sort()
    return (output, segments, [place for place, _ in masked],
            [token for _, token in masked], is_random)

  instances = []
  for _ in range(dupe_factor):
    for index in range(len(documents)):
      instances.extend(of_document(index))
  rng.shuffle(instances)
  return instances


def slow_records(text=None, seed=11, **settings):
  """Returns what `read` must return."""
  length = settings.get("max_seq_length", 24)
  num_masked = settings.get("max_predictions_per_seq", 5)
  records = []
  for tokens, segments, places, labels, is_random in slow_instances(
      make_text() if text is None else text, random.Random(seed), **settings):
    padding = [0] * (length - len(tokens))
    masked_padding = [0] * (num_masked - len(places))
    records.append({
        "input_ids": [WORDS.index(token) for token in tokens] + padding,
        "input_mask": [1] * len(tokens) + padding,
        "segment_ids": segments + padding,
        "masked_lm_positions": places + masked_padding,
        "masked_lm_ids": [WORDS.index(t) for t in labels] + masked_padding,
        "masked_lm_weights": [1.0] * len(places) + [0.0] * len(masked_padding),
        "next_sentence_labels": [int(is_random)]})
  return records


# The records.


@pytest.mark.parametrize("settings,recorded", [
    ({}, "710410f72e0ca1de"),
    ({"do_whole_word_mask": True}, "6da72739945d87ab"),
    ({"whole_word_segmented": True, "masked_lm_prob": 0.4}, "96df87a66e31b5bb"),
    ({"truncate_segment_prob": 0.4}, "77aa8b9de36f9173"),
    ({"max_seq_length": 150, "max_predictions_per_seq": 140,
      "masked_lm_prob": 0.9, "dupe_factor": 1}, "7399cd5d3fa079e7"),
])
def test_records_are_the_recorded_ones(files, settings, recorded):
  run(files, **settings)
  records = read(files / "out.tfrecord")
  assert records == slow_records(**settings)
  assert digest(records) == recorded
  assert len(records) > 10


def test_settings_of_the_test_above_make_a_difference():
  records = [slow_records(), slow_records(do_whole_word_mask=True),
             slow_records(whole_word_segmented=True),
             slow_records(truncate_segment_prob=0.4), slow_records(seed=12)]
  assert len(set(map(digest, records))) == len(records)


def test_output_files_are_filled_in_turn(files):
  run(files, output="a,b,c")
  expected = slow_records()
  for index, name in enumerate("abc"):
    assert read(files / name) == expected[index::3]


def test_documents_go_on_from_file_to_file_of_patterns_and_gzip(files):
  text = make_text()
  middle = text.index("\n", len(text) // 2) + 1
  assert text[middle - 2] != "\n" and text[middle] != "\n"
  write(files / "part-1", text[:middle])
  with gzip.open(str(files / "part-2.gz"), "wb") as writer:
    writer.write(text[middle:].encode("utf-8"))
  for names in ("part-1,part-2.gz", "part-*"):
    run(files, text=names)
    assert read(files / "out.tfrecord") == slow_records()


@pytest.mark.parametrize("end", ["\r\n", "\n \u3000\t"])
def test_white_space_around_lines_does_not_count(files, end):
  write(files / "text.txt", make_text().replace("\n", end))
  run(files)
  assert read(files / "out.tfrecord") == slow_records()


def test_a_single_document_warns_and_keeps_the_draws(files):
  text = make_text().replace("\n\n", "\n").replace("\n\n", "\n")
  write(files / "text.txt", text)
  log = run(files)
  assert [line for line in log if "is a single document" in line]
  assert read(files / "out.tfrecord") == slow_records(text)
  write(files / "text.txt", make_text())
  assert not [line for line in run(files) if "single document" in line]


def test_whole_words_by_spaces_are_masked_as_a_whole(files):
  """Chinese after segmentation, where "##" marks nothing."""
  chars = "\u4e00\u4e01\u4e03\u4e08\u4e09\u4e0a"
  write(files / "vocab.txt", "\n".join(WORDS[:5] + list(chars)) + "\n")
  words = [chars[:3], chars[3:5], chars[5:]]  # each character is in one word
  document = "\n".join(" ".join(words[i:] + words[:i]) for i in (0, 1, 2))
  write(files / "text.txt", "\n\n".join([document] * 4))
  for flag, is_whole in (("do_whole_word_mask", False),
                         ("whole_word_segmented", True)):
    run(files, **{flag: True, "masked_lm_prob": 0.3, "dupe_factor": 20})
    cut_words = 0
    for record in read(files / "out.tfrecord"):
      masked = {place: original for place, original, weight in zip(
          record["masked_lm_positions"], record["masked_lm_ids"],
          record["masked_lm_weights"]) if weight}
      originals = [masked.get(place, index)
                   for place, index in enumerate(record["input_ids"])]
      for place in range(len(originals) - 1):
        if (originals[place], originals[place + 1]) in ((5, 6), (6, 7), (8, 9)):
          cut_words += (place in masked) != (place + 1 in masked)
    assert (cut_words == 0) == is_whole


def test_truncation_shortens_a_share_of_sentences(files):
  lengths = []
  for share in (0.0, 0.5, 1.0):
    run(files, truncate_segment_prob=share, dupe_factor=20, short_seq_prob=0.0)
    records = read(files / "out.tfrecord")
    lengths.append(sum(sum(record["input_mask"]) for record in records) /
                   float(len(records)))
  assert lengths[0] > lengths[1] > lengths[2]


# Public functions, as programs call them.


def make_tokenizer(folder):
  return tokenization.FullTokenizer(str(folder / "vocab.txt"))


@pytest.mark.parametrize("settings", [
    {}, {"do_whole_word_mask": True, "truncate_segment_prob": 0.5},
    {"whole_word_segmented": True}])
def test_create_training_instances_and_writing_them(files, settings):
  tokenizer = make_tokenizer(files)
  instances = create_pretraining_data.create_training_instances(
      [str(files / "text.txt")], tokenizer, 24, 3, 0.3, 0.2, 5,
      random.Random(11), **settings)
  expected = slow_instances(make_text(), random.Random(11), **settings)
  assert isinstance(instances, list)
  assert [tuple(vars(instance).values()) for instance in instances] == expected
  assert "masked_lm_labels=['" in repr(instances[0])
  create_pretraining_data.write_instance_to_example_files(
      instances, tokenizer, 24, 5, [str(files / "a"), str(files / "b")])
  records = slow_records(**settings)
  assert read(files / "a") == records[::2]
  assert read(files / "b") == records[1::2]


def test_instances_that_do_not_fit_are_refused(files):
  instance = create_pretraining_data.TrainingInstance(
      ["[CLS]", "tea", "[SEP]"], [0, 0, 0], [1], ["tea"], False)
  for length, num_masked in ((2, 5), (3, 0)):
    with pytest.raises(ValueError, match="found an instance of 3 tokens, 1 of"):
      create_pretraining_data.write_instance_to_example_files(
          [instance], make_tokenizer(files), length, num_masked,
          [str(files / "a")])
  assert not os.path.exists(str(files / "a"))


@pytest.mark.parametrize("whole_words", [False, True])
def test_functions_on_strings(whole_words):
  documents = [[[token for token, _ in slow_tokens(line, False)]
                for line in document.strip().split("\n")]
               for document in make_text().replace("\n\n\n", "\n\n").strip()
               .split("\n\n")]
  rng = random.Random(5)
  rng.shuffle(documents)
  made = []
  for _ in range(3):
    for index in range(len(documents)):
      made += create_pretraining_data.create_instances_from_document(
          documents, index, 24, 0.3, 0.2, 5, WORDS, rng,
          do_whole_word_mask=whole_words)
  rng.shuffle(made)
  expected = slow_instances(make_text(), random.Random(5),
                            do_whole_word_mask=whole_words)
  assert [tuple(vars(instance).values()) for instance in made] == expected

  tokens = "[CLS] the cat [SEP] sing ##ing [SEP]".split()
  masked, places, labels = (
      create_pretraining_data.create_masked_lm_predictions(
          tokens, 1.0, 9, ["tea"], random.Random(1)))
  assert (places, labels) == ([1, 2, 4, 5], ["the", "cat", "sing", "##ing"])
  assert [masked[i] for i in (0, 3, 6)] == ["[CLS]", "[SEP]", "[SEP]"]
  assert set(masked[i] for i in places) <= set(tokens + ["[MASK]", "tea"])


def test_masked_tokens_become_what_they_should():
  rng, counts = random.Random(3), {}
  for _ in range(2000):
    masked, places, _ = create_pretraining_data.create_masked_lm_predictions(
        ["[CLS]", "tea", "far", "[SEP]"], 0.5, 2, ["near"], rng)
    for place in places:
      counts[masked[place]] = counts.get(masked[place], 0) + 1
  assert abs(counts["[MASK]"] - 3200) < 150
  assert abs(counts["near"] - 400) < 100
  assert abs(counts["tea"] + counts["far"] - 400) < 100


def test_truncate_seq_pair_takes_from_both_ends():
  a, b = list(range(10)), list(range(30, 34))
  create_pretraining_data.truncate_seq_pair(a, b, 8, random.Random(2))
  assert len(a) == 4 and b == [30, 31, 32, 33]
  assert a == list(range(a[0], a[0] + 4)) and 0 < a[0] < 6


# Workers and shards.


@pytest.fixture
def small_parts(monkeypatch):
  """Lets a text of some bytes be worth more than one worker."""
  monkeypatch.setattr(corpus, "_MIN_PART_BYTES", 100)


def test_workers_that_tokenize_change_nothing(files, small_parts, monkeypatch):
  begins = files / "begins"
  begins.mkdir()
  tokenize = corpus._tokenize_in_worker

  def tokenize_beginning_last(report, part, *args):
    (begins / str(part[0].begin)).write_text("")
    while not part[0].begin and len(os.listdir(str(begins))) < 3:
      time.sleep(0.01)  # until another part is done and a third one begins
    return tokenize(report, part, *args)

  monkeypatch.setattr(corpus, "_tokenize_in_worker", tokenize_beginning_last)
  run(files)
  assert not os.listdir(str(begins))
  for num_workers in (2, 3):
    run(files, num_workers=num_workers)
    assert read(files / "out.tfrecord") == slow_records()
    assert len(os.listdir(str(begins))) > 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_shards_do_not_depend_on_the_number_of_workers(
    files, monkeypatch, method):
  if method == "spawn":
    monkeypatch.setattr(workers, "start_method", lambda paths: "spawn")
  expected = None
  for num_workers in (1, 2, 4) if method == "fork" else (2,):
    folder = files / str(num_workers)
    folder.mkdir()
    run(files, output="%d/a@4" % num_workers, num_workers=num_workers)
    made = contents(folder / "a*")
    assert sorted(made) == ["a-0000%d-of-00004" % i for i in range(4)]
    assert len(set(made.values())) == 4
    expected = expected or made
    assert made == expected
  # A shard is the text between two ends of documents, with a seed of its own.
  first = read(folder / "a-00000-of-00004")
  beginnings = [make_text()[:match.end()]
                for match in re.finditer("\n\n+", make_text())]
  seed = writing.shard_seed(11, 0)
  assert first in [slow_records(text, seed) for text in beginnings]
  assert first not in [slow_records(text) for text in beginnings]
  assert len(set(writing.shard_seed(seed, index)
                 for seed in range(11, 14) for index in range(20))) == 60


def test_shard_size_chooses_the_number_of_shards(files):
  text = "".join(make_text(seed=i % 13) + "\n" for i in range(900))
  write(files / "text.txt", text)
  assert 1e6 < len(text) < 3e6
  log = run(files, shard_size=1, output="a", dupe_factor=1)
  number = -(-len(text) // 10**6)
  made = sorted(contents(files / "a*"))
  assert made == ["a-%05d-of-%05d" % (i, number) for i in range(number)]
  documents = [line for line in log if line.startswith("  documents = ")]
  assert documents == ["  documents = 8100"]


def test_a_killed_worker_is_named_and_only_its_shard_made_again(
    files, monkeypatch):
  run(files, output="all@4")
  expected = contents(files / "all-*")
  write_records = writing.write_records

  def write_and_be_killed(spans, output_files, *args, **kwargs):
    if output_files[0].endswith("a-00002-of-00004"):
      with example_writer.RecordWriter(output_files, {}) as writer:
        writer.write(b"half of the records")
        os.kill(os.getpid(), signal.SIGKILL)
    return write_records(spans, output_files, *args, **kwargs)

  monkeypatch.setattr(writing, "write_records", write_and_be_killed)
  with pytest.raises(cli.UserError) as error:
    run(files, output="a@4", num_workers=2)
  assert "1 of 4 shards could not be made: " in str(error.value)
  assert "a-00002-of-00004: its worker was killed by SIGKILL" in str(
      error.value)
  assert "\n" not in str(error.value)
  there = [path for path in contents(files / "a-*") if path.endswith("-00004")]
  assert sorted(there) == ["a-0000%d-of-00004" % i for i in (0, 1, 3)]

  before = {name: os.stat(str(files / name)).st_ino for name in there}
  monkeypatch.undo()
  log = run(files, output="a@4", num_workers=2)
  assert "3 of 4 shards are there already" in log
  assert {name: os.stat(str(files / name)).st_ino for name in there} == before
  assert contents(files / "a-*") == {
      name.replace("all", "a"): data for name, data in expected.items()}
  # The summary is of all shards, not of those that were made last.
  assert [line for line in log if "documents = 9" in line]


def test_shards_of_other_settings_are_not_reused(files):
  run(files, output="a@4")
  made = contents(files / "a-*")
  for changes, message in (
      ({"random_seed": 12}, "random_seed is 11 there and 12 here"),
      ({"max_seq_length": 32}, "max_seq_length is 24 there and 32 here"),
      ({"do_lower_case": False}, "do_lower_case is True there and False here"),
      ({"strip_accents": "false"},
       "strip_accents is not known there and False here")):
    with pytest.raises(cli.UserError) as error:
      run(files, output="a@4", **changes)
    assert message in str(error.value) and "remove " in str(error.value)
    assert contents(files / "a-*") == made
  write(files / "vocab.txt", "".join(word + "\n" for word in WORDS + ["tree"]))
  with pytest.raises(cli.UserError, match="vocabulary is [0-9a-f]+"):
    run(files, output="a@4")
  os.remove(str(files / ".a-of-00004.json"))
  run(files, output="a@4", random_seed=12)
  assert contents(files / "a-*") != made


def test_a_changed_text_is_not_taken_for_the_old_one(files):
  run(files, output="a@4")
  write(files / "text.txt", make_text().replace("tea", "cat"))
  os.utime(str(files / "text.txt"), (1, 1))
  with pytest.raises(cli.UserError, match="text is [0-9a-f]+ there"):
    run(files, output="a@4")


def test_shards_of_another_number_are_pointed_out(files):
  run(files, output="a@3")
  assert not [line for line in run(files, output="b@3")
              if "there too" in line]
  log = run(files, output="a@4")
  assert [line for line in log
          if "a-00000-of-00003 and 2 others are there too" in line]


def test_a_mistake_in_a_shard_is_one_line(files):
  with open(str(files / "text.txt"), "ab") as writer:
    writer.write(b"\ntea\n\nthe tea\xff is far\n")
  number = make_text().count("\n") + 4
  with pytest.raises(cli.UserError) as error:
    run(files, output="a@4")
  assert ("1 of 4 shards could not be made: %s: %s, line %d: found the byte "
          "0xff at place 8" % (files / "a-00003-of-00004", files / "text.txt",
                               number)) in str(error.value)
  assert sorted(contents(files / "a-*")) == [
      "a-0000%d-of-00004" % i for i in range(3)]


# Memory.

_MEASURE = """
import random, sys
sys.path.insert(0, %r)
import create_pretraining_data as script
from bert_suite.pretraining import corpus
from bert_suite.pretraining import instances as pretraining_instances
folder, how = sys.argv[1:]
tokenizer = script.make_tokenizer(folder + "/vocab.txt", True)
def peak():  # in MB; ru_maxrss would begin with that of the parent process
  with open("/proc/self/status") as lines:
    return next(int(line.split()[1]) / 1024.0 for line in lines
                if line.startswith("VmHWM:"))
def work(text):
  if how == "list":
    return script.create_training_instances(
        [text], tokenizer, 128, 10, 0.1, 0.15, 20, random.Random(1))
  settings = pretraining_instances.Settings(
      128, 20, 0.15, 0.1, 0.0, 10, False, False)
  script.write_records(corpus.list_spans([text]), [folder + "/out"], tokenizer,
                       settings, random.Random(1), num_logged=0)
work(folder + "/small.txt")
before = peak()
work(folder + "/large.txt")
print(peak() - before)
"""


@pytest.mark.slow
def test_memory_grows_by_a_tenth_of_what_strings_take(files):
  text = "".join(make_text(seed=i % 13) + "\n" for i in range(1500))
  write(files / "small.txt", text[:2000])
  write(files / "large.txt", text[:10**6])
  growth = {}
  for how in ("file", "list"):
    output = subprocess.check_output(
        [sys.executable, "-c", _MEASURE % TOP, str(files), how],
        stderr=subprocess.DEVNULL)
    growth[how] = float(output.decode("ascii").split()[-1])
  assert growth["file"] < 9  # MB, for 1 MB of text
  assert growth["list"] > 45  # so the bound above holds something off


# Mistakes, and what a run says.


@pytest.mark.parametrize("changes,message", [
    ({"text": "none-*"}, "found no file for '.*none-"),
    ({"text": "missing.txt"}, "found no file for '.*missing.txt'"),
    ({"text": "empty.txt"}, "empty.txt: is empty, expected text"),
    ({"text": "folder"}, "folder: is a folder, expected a file of text"),
    ({"text": "blank.txt"}, "blank.txt: has nothing but blank lines"),
    ({"text": "text.txt,latin.txt"},
     r"latin.txt, line 3: found the byte 0xe9 at place 4, which is not UTF-8"),
    ({"text": "long.txt"}, "long.txt, line 2: is longer than 1048576 bytes"),
    ({"text": "damaged.gz"}, "damaged.gz: is a damaged gzip file"),
    ({"masked_lm_prob": 1.5}, "--masked_lm_prob=1.5: expected a share"),
    ({"short_seq_prob": "nan"}, "--short_seq_prob=nan: expected a share"),
    ({"truncate_segment_prob": -1}, "--truncate_segment_prob=-1.0: expected"),
    ({"output": "a,a"}, r"/a \(--output_file\) is the file .*/a "
                        r"\(--output_file\) too; use different names"),
    ({"output": "folder"}, "folder is a folder, expected a file"),
    ({"output": "text.txt"}, r"text.txt \(--output_file\) is the file "
     r".*/text.txt \(--input_file\), which it would replace"),
    ({"output": "./text.txt"}, r"\(--input_file\), which it would replace"),
    ({"output": "a,vocab.txt"}, r"\(--vocab_file\), which it would replace"),
    ({"text": "wiki-0000?-of-00002", "output": "./wiki@2"},
     r"/wiki-00000-of-00002 \(--output_file\) is the file "
     r".*/wiki-00000-of-00002 \(--input_file\), which it would replace"),
    ({"output": "a@2,b"}, "shards have one name"),
    ({"output": "a@2", "shard_size": 3}, "shards have one name"),
    ({"output": "a@99"}, "the text can only be cut into 1 to 9 parts"),
    ({"output": "a@0"}, "the text can only be cut into 1 to"),
    ({"output": "text.txt/a"}, "text.txt"),
])
def test_mistakes_are_one_line(files, changes, message):
  write(files / "empty.txt", "")
  for index in range(2):
    write(files / ("wiki-0000%d-of-00002" % index), make_text(seed=index))
  (files / "folder").mkdir()
  write(files / "blank.txt", "\n  \n\n")
  write(files / "long.txt", "tea\n" + "tea " * 300000 + "\n")
  with open(str(files / "latin.txt"), "wb") as writer:
    writer.write(b"tea\n\ncaf\xe9 is near\n")
  with open(str(files / "damaged.gz"), "wb") as writer:
    writer.write(b"\x1f\x8b\x08\x00 and no more of it")
  before = sorted(os.listdir(str(files)))
  with pytest.raises(cli.UserError, match=message) as error:
    run(files, **changes)
  assert "\n" not in str(error.value)
  assert sorted(os.listdir(str(files))) == before


@pytest.mark.parametrize("missing", ["[CLS]", "[SEP]", "[MASK]", "[UNK]"])
def test_a_vocabulary_without_special_tokens_is_refused(files, missing):
  write(files / "vocab.txt",
        "".join(word + "\n" for word in WORDS if word != missing))
  with pytest.raises(cli.UserError) as error:
    run(files)
  assert "vocab.txt: has no %s, which records need" % missing in str(
      error.value)


def test_the_command_exits_with_one_line(files):
  arguments = ["--input_file=%s" % (files / "text.txt"),
               "--vocab_file=%s" % (files / "vocab.txt"),
               "--output_file=%s" % (files / "out")]
  status, _, log = run_script(
      "create_pretraining_data.py", arguments + ["--masked_lm_prob=2"])
  assert status == 1 and "Traceback" not in log
  assert log.strip().split("\n")[-1].startswith(
      "create_pretraining_data.py: --masked_lm_prob=2.0: expected a share")
  status, _, log = run_script(
      "create_pretraining_data.py", arguments + ["--max_seq_length=4"])
  assert status == 1 and "Traceback" not in log
  status, _, log = run_script("create_pretraining_data.py", arguments)
  assert status == 0 and "  documents = 9" in log


def test_summary_counts_what_is_there(files):
  log = run(files)
  records = slow_records()
  tokens = [token for line in make_text().split("\n")
            for token, _ in slow_tokens(line, False)]
  places = sum(sum(record["input_mask"]) for record in records)
  masked = sum(sum(record["masked_lm_weights"]) for record in records)
  for line in (
      "  documents = 9",
      "  sentences = %d" % sum(map(bool, make_text().split("\n"))),
      "  tokens = %d" % len(tokens),
      "  share of [UNK] = %.2f%% of the tokens" % (
          100.0 * tokens.count("[UNK]") / len(tokens)),
      "  records = %d" % len(records),
      "  share of padding = %.1f%% of 24 tokens per record" % (
          100 - 100.0 * places / len(records) / 24),
      "  masked tokens = %.1f per record, of 5 at most" % (
          masked / len(records))):
    assert line in log
  assert [line for line in log if line.startswith("tokens: [CLS] ")]
  assert [line for line in log if line.startswith("Creating records: 27 of 27 "
                                                  "documents")]


def write_distinct(folder, lengths):
  """Writes a text, and its vocabulary, in which no word comes twice.

  Args:
    folder: the folder of both.
    lengths: list of list of int. Words of each line of each document.
  """
  words = ["word%d" % i for i in range(sum(map(sum, lengths)))]
  write(folder / "vocab.txt", "\n".join(WORDS[:5] + ["."] + words) + "\n")
  words = iter(words)
  write(folder / "text.txt", "\n\n".join(
      "\n".join(" ".join(itertools.islice(words, count)) for count in document)
      for document in lengths) + "\n")


def share_used(folder):
  """Counts, of the words of `write_distinct`, those that records have."""
  found, first = set(), 6
  for path in glob.glob(str(folder / "out*")):
    for record in read(path):
      masked = dict(zip(record["masked_lm_positions"], record["masked_lm_ids"]))
      found.update(masked.get(place, index)
                   for place, index in enumerate(record["input_ids"]))
  total = sum(1 for _ in open(str(folder / "vocab.txt"))) - first
  return sum(1 for index in found if index >= first) / total


@pytest.mark.parametrize("settings", [
    {"dupe_factor": 1}, {"dupe_factor": 4}, {"truncate_segment_prob": 0.5},
    {"output": "out@2", "num_workers": 2}, {"do_whole_word_mask": True},
    {"whole_word_segmented": True, "num_workers": 2}])
def test_the_share_of_the_text_used_is_that_of_the_records(
    files, small_parts, settings):
  rng = random.Random(3)
  write_distinct(files, [[rng.randint(1, 40) for _ in range(rng.randint(1, 9))]
                         for _ in range(12)])
  log = run(files, **settings)
  share = share_used(files)
  assert 0.2 < share < 0.97
  assert ("  share of the text used = %.1f%% of the tokens are in a record" %
          (100 * share)) in log


def test_a_paragraph_per_line_is_pointed_out_and_can_be_split(files):
  paragraph = "the cat sings, the singer is far. " * 20
  write(files / "text.txt", (paragraph + "\n") * 3 + "\n" +
        "the cat sings\n" + paragraph + "\n")
  log = run(files)
  records = len(read(files / "out.tfrecord"))
  assert [line for line in log if re.match(
      "8[0-9][.][0-9]% of the text is in no record: 4 of 5 lines are longer "
      "than --max_seq_length=24 has room for [(]21 word pieces[)], .* or give "
      "--split_long_lines", line)]
  assert [line for line in log if "% of the records have a random next "
          "sentence" in line and "most lines fill a record" in line]
  log = run(files, split_long_lines=True)
  assert len(read(files / "out.tfrecord")) > 5 * records
  assert "  sentences = 81" in log
  assert not [line for line in log if "in no record" in line or
              "have a random next" in line]


def test_text_cut_at_the_length_of_records_is_not_put_down_to_long_lines(files):
  write_distinct(files, [[20] * 4] * 9)
  warnings = [line for line in run(files, dupe_factor=1)
              if "of the text is in no record" in line]
  assert len(warnings) == 1 and "a larger --dupe_factor (now 1)" in warnings[0]


def test_short_lines_are_not_split(files):
  run(files, split_long_lines=True)
  assert read(files / "out.tfrecord") == slow_records()


@pytest.mark.parametrize("output", ["out.tfrecord", "out@2"])
def test_documents_of_one_sentence_are_pointed_out(files, output):
  sentences = ["the cat is near.", "it rains.", "tea", "the kettle sings"] * 9
  write(files / "text.txt", "\n\n".join(sentences + ["it\nis\nfar"]))
  log = run(files, output=output)
  assert [line for line in log if re.match(
      "9[0-9][.][0-9]% of the records have a random next sentence, .*: 36 of "
      "37 documents are a single sentence; a blank line ends a document", line)]
  write(files / "text.txt", "\n".join(sentences + ["", "it\nis\nfar"]))
  assert not [line for line in run(files, output="other")
              if "have a random next" in line]


def test_shards_of_one_document_are_pointed_out(files):
  assert [line for line in run(files, output="a@7")
          if re.match("[56] of 7 shards are a single document each", line)]


def test_shards_of_an_older_version_are_kept(files):
  """They know nothing of --split_long_lines, nor of the share used."""
  before = run(files, output="a@2")
  path = files / ".a-of-00002.json"
  state = json.loads(path.read_text())
  for counts in state["shards"].values():
    for name in ("used", "unused", "random_next", "long_lines",
                 "unused_in_long_lines", "single_sentence_documents"):
      del counts[name]
  assert "split_long_lines" not in state["settings"]
  path.write_text(json.dumps(state))
  after = run(files, output="a@2")
  assert "2 of 2 shards are there already" in after
  assert [line for line in before if "  records = " in line][0] in after
  assert ("  share of the text used = not known, made by an older version"
          in after)


def test_a_wrong_vocabulary_is_pointed_out(files):
  write(files / "vocab.txt", "".join(word.upper() + "\n" for word in WORDS))
  log = run(files, do_lower_case=False)
  assert [line for line in log if "% of the tokens are [UNK]: is" in line]


def test_too_few_predictions_are_pointed_out(files):
  assert [line for line in run(files, max_predictions_per_seq=4)
          if "--masked_lm_prob=0.2 of 24 tokens would be 5" in line]


def test_more_predictions_than_tokens_are_pointed_out_and_padded(files):
  log = run(files, max_predictions_per_seq=30)
  assert [line for line in log if "has only 21 tokens to mask" in line]


def test_shards_of_blank_lines_are_empty(files):
  write(files / "text.txt", "\n" * 4000 + make_text())
  log = run(files, output="a@2")
  assert "  documents = 9" in log
  assert (files / "a-00000-of-00002").read_bytes() == b""
  assert (files / "a-00001-of-00002").read_bytes()


def test_a_cased_vocabulary_is_not_lower_cased_unless_asked_for(files):
  write(files / "text.txt", "Tea is near.\nTea is far.\n\ntea\n")
  vocab = WORDS[:]
  vocab[vocab.index("tea")] = "Tea"
  write(files / "vocab.txt", "".join(word + "\n" for word in vocab))
  unknown = [line for line in run(files) if "share of [UNK]" in line]
  with_flag = [line for line in run(files, do_lower_case=True)
               if "share of [UNK]" in line]
  assert unknown != with_flag


def test_accents_stay_where_asked_for(files):
  write(files / "text.txt", "Caf\u00e9.\n\nCAF\u00c9\n")
  write(files / "vocab.txt", "".join(
      word + "\n" for word in WORDS + ["caf\u00e9"]))
  share = "  share of [UNK] = %s of the tokens"
  assert share % "66.67%" in run(files)
  assert share % "0.00%" in run(files, strip_accents="false")
  with pytest.raises(cli.UserError, match="^strip_accents=no: "):
    run(files, strip_accents="no")
