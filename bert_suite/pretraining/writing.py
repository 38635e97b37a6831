"""Writes pre-training records: into files in turn, or into shards.

A text becomes ids (`corpus`), ids become records (`instances`), which wait in a
file until their order is known (`example_writer.Spill`).
"""

import collections
import contextlib
import hashlib
import operator
import os
import random
import re
import time

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import corpus, instances, summary, workers
from .. import cli, example_writer, files, progress, run_record

NUM_LOGGED = 5  # records to show in the log
_SECONDS_BETWEEN_REPORTS = 0.5


class Stage(collections.namedtuple("Stage", ["title", "unit", "begin", "end"])):
  """Part of the work, for showing progress.

  Attributes:
    title: str.
    unit: str. What is counted.
    begin: float. Share of the whole work that is done when it begins.
    end: float. The same when it ends.
  """


_READING = Stage("Reading text", "KB", 0.0, 0.15)
_CREATING = Stage("Creating records", "documents", 0.15, 0.9)
_WRITING = Stage("Writing records", "records", 0.9, 1.0)


def write_records(spans, output_files, tokenizer, settings, rng, num_workers=1,
                  report=lambda stage, done, total, records: None,
                  num_logged=NUM_LOGGED, may_be_empty=False):
  """Makes the records of a text and writes them into files in turn.

  Memory holds the text as ids, and 8 bytes per record.

  Args:
    spans: list of corpus.Span. The text.
    output_files: list of str.
    tokenizer: FullTokenizer.
    settings: instances.Settings.
    rng: random.Random.
    num_workers: int. Processes to tokenize with.
    report: function of a Stage, units done, units in total, records made.
    num_logged: int. Records to show in the log.
    may_be_empty: bool. A text without documents is not a mistake.

  Returns:
    dict from name to int, see `summary.log_summary`.

  Raises:
    UserError: the text cannot be read, or the files cannot be written.
  """
  vocab = tokenizer.vocab
  with contextlib.ExitStack() as stack:
    with cli.user_errors():
      writer = stack.enter_context(example_writer.RecordWriter(
          output_files, {index: token for token, index in vocab.items()},
          num_logged))
      spill = stack.enter_context(example_writer.Spill(output_files[0]))
      text = _read_text(spans, tokenizer, settings, num_workers, report)
    documents = corpus.list_documents(text)
    counter = summary.Counter(text, documents, vocab, settings)
    if not may_be_empty:
      _check_documents(documents, spans)
    serialize = example_writer.Serializer(
        settings.max_seq_length, settings.max_predictions_per_seq,
        corpus.vocab_range(vocab))
    num_passes = settings.dupe_factor * len(documents)
    for instance in instances.create_instances(
        documents, settings, instances.Symbols.of_ids(vocab, settings), rng,
        lambda done: report(_CREATING, done, num_passes, len(spill.offsets)),
        counter.coverage):
      spill.append(serialize(instance))
      counter.add(instance)
    num_records = len(spill.offsets)
    rng.shuffle(spill.offsets)
    for done, record in enumerate(spill, 1):
      writer.write(record)
      if done % 1000 == 0 or done == num_records:
        report(_WRITING, done, num_records, num_records)
  return counter.result()


def _read_text(spans, tokenizer, settings, num_workers, report):
  num_bytes = sum(span.end - span.begin for span in spans)
  done = 0

  def advance(count):
    nonlocal done
    done += count
    report(_READING, done // 1000, num_bytes // 1000, 0)

  return corpus.read_text(
      spans, tokenizer, settings.whole_word_segmented, num_workers, advance,
      settings.room if settings.split_long_lines else None)


def _check_documents(documents, spans):
  """Raises UserError if there are none, and warns if there is only one."""
  name = spans[0].path + (" and others" if len(spans) > 1 else "")
  if not documents:
    raise cli.UserError(_describe_empty(name))
  if len(documents) == 1:
    tf.logging.warning(
        "%s: is a single document, so that a random next sentence comes from "
        "that same document; put a blank line between documents", name)


def _describe_empty(name):
  return ("%s: has nothing but blank lines, expected text, one sentence per "
          "line and a blank line between documents" % name)


class Bars(contextlib.AbstractContextManager):
  """Shows progress, one bar per stage; a `report` function."""

  def __init__(self):
    self._stage = self._bar = None

  def __exit__(self, *unused_exception):
    if self._bar is not None:
      self._bar.close()

  def __call__(self, stage, done, total, records):
    if stage != self._stage:
      self.__exit__()
      self._bar = progress.Progress(stage.title, total, stage.unit)
      self._stage, self._done = stage, 0
    self._bar.advance(
        done - self._done, "%d records" % records if stage is _CREATING else "")
    self._done = done


# Shards.


class _ShardBar:
  """Shows the progress of all shards together."""

  def __init__(self, bar, sizes, dupe_factor):
    """Sets the amount of work.

    Args:
      bar: Progress.
      sizes: list of float. What each shard adds to the bar.
      dupe_factor: int.
    """
    self._bar, self._sizes, self._dupe_factor = bar, sizes, dupe_factor
    self._shares = [0.0] * len(sizes)
    self._documents = [0] * len(sizes)
    self._records = [0] * len(sizes)
    self._shown = 0

  def on_report(self, index, value):
    """Takes what a `_ShardReport` sent."""
    self._shares[index], documents, self._records[index] = value
    self._documents[index] = max(self._documents[index], documents)
    done = int(sum(map(operator.mul, self._shares, self._sizes)))
    self._bar.advance(done - self._shown, "%d documents, %d records" % (
        sum(self._documents), sum(self._records)))
    self._shown = done

  def on_done(self, index, counts):
    """Takes the counts of a complete shard."""
    documents = counts["documents"] * self._dupe_factor
    self.on_report(index, (1.0, documents, counts["records"]))


class _ShardReport:
  """Sends a shard's progress from time to time; a `report` function."""

  def __init__(self, send):
    self._send = send
    self._next_time = 0

  def __call__(self, stage, done, total, records):
    if time.time() < self._next_time:
      return
    self._next_time = time.time() + _SECONDS_BETWEEN_REPORTS
    share = stage.begin + (stage.end - stage.begin) * done / max(total, 1)
    self._send((share, done if stage is _CREATING else 0, records))


def write_shards(parts, name, tokenizer, settings, random_seed, num_workers,
                 run_tasks=workers.run):
  """Writes the records of each part of a text to its own file.

  Each shard has its own random numbers and takes random next sentences from its
  own documents: neither the order nor the number of workers matters.

  Args:
    parts: list of list of corpus.Span.
    name: str. See `workers.shard_paths`.
    tokenizer: FullTokenizer.
    settings: instances.Settings.
    random_seed: int. The shards' seeds are made from it.
    num_workers: int. Shards to make at once.
    run_tasks: function. See `workers.make_shards`.

  Returns:
    As for `write_records`, for all shards together.

  Raises:
    UserError: some shards could not be made, or were made before with other
      settings.
  """
  paths = workers.shard_paths(name, len(parts))
  tasks = [(index, part, path, tokenizer, settings, random_seed)
           for index, (part, path) in enumerate(zip(parts, paths))]
  basic = tokenizer.basic_tokenizer
  shared = dict(settings._asdict(), random_seed=random_seed,
                do_lower_case=basic.do_lower_case, text=_hash_text(parts),
                vocabulary=run_record.hash_vocab(tokenizer.vocab))
  if not settings.split_long_lines:
    del shared["split_long_lines"]  # unknown to older versions
  if basic.strips_accents() != basic.do_lower_case:
    shared["strip_accents"] = basic.strips_accents()
  counts = collections.Counter()
  sizes = [corpus.count_bytes(part) / 1000.0 for part in parts]
  with progress.Progress("Making shards", int(sum(sizes)), "KB") as shown:
    bar = _ShardBar(shown, sizes, settings.dupe_factor)

    def on_done(index, made):
      counts.update(made, single_document_shards=made["documents"] == 1)
      bar.on_done(index, made)

    with cli.user_errors():
      workers.make_shards(name, _make_shard, tasks, shared, num_workers,
                          workers.start_method([name] + _list_paths(parts)),
                          bar.on_report, on_done, run_tasks)
  if not counts["documents"]:
    raise cli.UserError(_describe_empty("the text of " + name))
  if counts["single_document_shards"]:
    tf.logging.warning("%d of %d shards are a single document each, so that a "
                       "random next sentence comes from that same document; "
                       "put a blank line between documents, or make fewer "
                       "shards", counts["single_document_shards"], len(parts))
  return counts


def _list_paths(parts):
  return sorted(set(span.path for part in parts for span in part))


def _make_shard(send, index, part, path, tokenizer, settings, random_seed):
  rng = random.Random(shard_seed(random_seed, index))
  with cli.user_errors():
    return write_records(
        part, [path], tokenizer, settings, rng, report=_ShardReport(send),
        num_logged=0 if index else NUM_LOGGED,
        may_be_empty=True)  # other shards have the documents


def shard_seed(random_seed, index):
  """Returns the seed of a shard, a 64-bit int."""
  text = "%d/%d" % (random_seed, index)
  return int(hashlib.sha256(text.encode("ascii")).hexdigest()[:16], 16)


def _hash_text(parts):
  """Returns a hash of the files, and of how they are cut."""
  times = [(path, tf.gfile.Stat(path).mtime_nsec)
           for path in _list_paths(parts)]
  cuts = [[tuple(span) for span in part] for part in parts]
  return hashlib.sha256(repr((times, cuts)).encode("utf-8")).hexdigest()


def plan_output(output_file, shard_size, spans):
  """Decides which files to write.

  Args:
    output_file: str. The flag.
    shard_size: int. The flag.
    spans: list of corpus.Span. The text.

  Returns:
    output_files: list of str; with shards, the one name that they share.
    parts: list of list of corpus.Span, the text of each shard; None without
      shards.

  Raises:
    ValueError: flags contradict each other, or ask for something impossible.
  """
  names = files.split_names(output_file)
  if not all(names):
    raise ValueError("--output_file=%s: expected names, with commas between "
                     "them" % output_file)
  for name in names:
    if not os.path.basename(name) or tf.gfile.IsDirectory(name):
      raise ValueError("--output_file=%s: %s is a folder, expected a file" % (
          output_file, name))
  found = [re.match(r"(.+)@(\d+)$", name) for name in names]
  if not any(found) and not shard_size:
    return names, None
  if len(names) > 1 or any(found) and shard_size:
    raise ValueError("--output_file=%s, --shard_size=%d: shards have one name, "
                     "and their number comes from NAME@NUMBER or from "
                     "--shard_size" % (output_file, shard_size))
  if shard_size:
    num_shards = -(-corpus.count_bytes(spans) // (shard_size * 10**6))
    return names, corpus.split_text(spans, num_shards)
  name, num_shards = found[0].group(1), int(found[0].group(2))
  parts = corpus.split_text(spans, num_shards)
  if len(parts) != num_shards:
    raise ValueError(
        "--output_file=%s: the text can only be cut into 1 to %d parts: "
        "between documents (at a blank line) or files, and not inside gzip "
        "files" % (output_file, len(parts)))
  return [name], parts
