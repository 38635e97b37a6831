r"""Makes the records that BERT is pre-trained on, of plain text.

  python create_pretraining_data.py --input_file=sample_text.txt \
    --output_file=/tmp/sample.tfrecord \
    --vocab_file=sample_data/sample_vocab.txt \
    --max_seq_length=128 --max_predictions_per_seq=20

The text has one sentence per line and a blank line between documents. A record
is a pair of stretches of text of which some words are masked; the second one
follows the first in the text, or is from elsewhere.

--shard_size=100, or --output_file=text@16, makes several files from parts of
the text, --num_workers of them at a time.

Source: Devlin et al., arXiv 1810.04805, section 3.1 and appendix A.2.
"""

import collections
import contextlib
import dataclasses
import hashlib
import os
import random
import re
import time

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, example_writer, files, input_pipeline, model_inputs,
    progress, run_settings, script_options, tokenization)
from .pretraining import (
    corpus, instances as pretraining_instances, record_origins,
    summary as pretraining_summary, workers)
from .script_options import option

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("input_file", "output_file", "vocab_file")

_NUM_LOGGED = 5  # records to show in the log
_SECONDS_BETWEEN_REPORTS = 0.5

# Defined elsewhere, but used from here by programs.
TrainingInstance = pretraining_instances.TrainingInstance
create_instances_from_document = (
    pretraining_instances.create_instances_from_document)
create_masked_lm_predictions = (
    pretraining_instances.create_masked_lm_predictions)
truncate_seq_pair = pretraining_instances.truncate_seq_pair
create_int_feature = input_pipeline.create_int_feature
create_float_feature = input_pipeline.create_float_feature

# For programs that import it; here a label stands where its index does.
MaskedLmInstance = collections.namedtuple("MaskedLmInstance",
                                          ["index", "label"])


@dataclasses.dataclass
class Settings(run_settings.CasingSettings, run_settings.LoggingSettings):
  """What this script is told; each field is a flag."""

  input_file: str = option(
      "paths", None,
      "Text files, plain or gzip: paths or patterns, commas between them.")
  output_file: str = option(
      "paths", None,
      "TFRecord file to write; several, with commas between them, are "
      "filled in turn. NAME@16 makes 16 shards, NAME-00000-of-00016 and so "
      "on.")
  vocab_file: str = option(
      "path", None,
      "Vocabulary that the model will be trained with.")
  do_lower_case: bool = option(
      "bool", None,
      "Lower-case the text: true for uncased models, false for cased ones.",
      flag_default=True, default_text=run_settings.CASING_DEFAULT)
  do_whole_word_mask: bool = option(
      "bool", False,
      "Mask all pieces of a word (\"##\" marks those after the first) or "
      "none.")
  whole_word_segmented: bool = option(
      "bool", False,
      "Mask all pieces of a word or none, where spaces mark the words: for "
      "Chinese text after segmentation.")
  max_seq_length: int = option(
      "integer", 128, "Tokens per record.", lower_bound=5)
  max_predictions_per_seq: int = option(
      "integer", 20,
      "Tokens to mask per record at most; about max_seq_length * "
      "masked_lm_prob. Training needs the same number.", lower_bound=1)
  random_seed: int = option("integer", 12345, "Seed of all that is random.")
  dupe_factor: int = option(
      "integer", 10,
      "Times to go through the text, masking other words.", lower_bound=1)
  masked_lm_prob: float = option("float", 0.15, "Share of tokens to mask.")
  short_seq_prob: float = option(
      "float", 0.1,
      "Share of documents to make shorter records of.")
  truncate_segment_prob: float = option(
      "float", 0.0,
      "Share of sentences to cut off somewhere, so that the model gets to "
      "know incomplete ones.")
  split_long_lines: bool = option(
      "bool", False,
      "Cut lines that are too long for --max_seq_length into sentences, for "
      "text with a paragraph per line.")
  shard_size: int = option(
      "integer", 0,
      "Make shards, each of about this many MB (1,000,000 bytes) of text; "
      "0 for none.", lower_bound=0)
  num_workers: int = option(
      "integer", 1,
      "Processes to use: each makes a shard; without shards they tokenize. "
      "The records do not depend on it.", lower_bound=1)


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def create_training_instances(input_files, tokenizer, max_seq_length,
                              dupe_factor, short_seq_prob, masked_lm_prob,
                              max_predictions_per_seq, rng,
                              do_whole_word_mask=False,
                              truncate_segment_prob=0.0,
                              whole_word_segmented=False,
                              split_long_lines=False):
  """Makes all records of a text, in memory.

  Args:
    input_files: list of str. Files of text.
    tokenizer: FullTokenizer.
    max_seq_length: int. See the flag, as for all that follow.
    dupe_factor: int.
    short_seq_prob: float.
    masked_lm_prob: float.
    max_predictions_per_seq: int.
    rng: random.Random.
    do_whole_word_mask: bool.
    truncate_segment_prob: float.
    whole_word_segmented: bool.
    split_long_lines: bool.

  Returns:
    list of TrainingInstance, shuffled, their tokens str.

  Raises:
    ValueError: the text cannot be read.
  """
  settings = pretraining_instances.Settings(
      max_seq_length, max_predictions_per_seq, masked_lm_prob, short_seq_prob,
      truncate_segment_prob, dupe_factor, do_whole_word_mask,
      whole_word_segmented, split_long_lines)
  documents = corpus.list_documents(_read_text(
      corpus.list_spans(input_files), tokenizer, settings))
  tokens = {index: token for token, index in tokenizer.vocab.items()}
  if whole_word_segmented:
    mark = corpus.vocab_range(tokenizer.vocab)
    tokens.update({index + mark: token for index, token in tokens.items()})
  instances = []
  for instance in pretraining_instances.create_instances(
      documents, settings, pretraining_instances.Symbols.of_ids(
          tokenizer.vocab, settings), rng):
    for name in ("tokens", "masked_lm_labels"):
      setattr(instance, name, [tokens[i] for i in getattr(instance, name)])
    instances.append(instance)
  rng.shuffle(instances)
  return instances


def write_instance_to_example_files(instances, tokenizer, max_seq_length,
                                    max_predictions_per_seq, output_files):
  """Writes instances as TFRecord files, in turn; logs the first.

  Args:
    instances: iterable of TrainingInstance, their tokens str.
    tokenizer: FullTokenizer.
    max_seq_length: int.
    max_predictions_per_seq: int.
    output_files: list of str.

  Raises:
    ValueError: an instance is longer than it may be.
  """
  serialize = example_writer.Serializer(max_seq_length, max_predictions_per_seq)
  tokens = {index: token for token, index in tokenizer.vocab.items()}
  count = 0
  with example_writer.RecordWriter(
      output_files, tokens, _NUM_LOGGED) as writer:
    for instance in instances:
      writer.write(serialize(TrainingInstance(
          tokenizer.convert_tokens_to_ids(instance.tokens),
          instance.segment_ids, instance.masked_lm_positions,
          tokenizer.convert_tokens_to_ids(instance.masked_lm_labels),
          instance.is_random_next)))
      count += 1
  tf.logging.info("Wrote %d records", count)


class Stage(collections.namedtuple("Stage", ["title", "unit", "begin", "end"])):
  """Part of the work, for showing how far it is.

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
                  num_logged=_NUM_LOGGED, may_be_empty=False):
  """Makes the records of a text and writes them into files in turn.

  Memory holds the text as ids, and 8 bytes per record.

  Args:
    spans: list of corpus.Span. The text.
    output_files: list of str.
    tokenizer: FullTokenizer.
    settings: Settings.
    rng: random.Random.
    num_workers: int. Processes to tokenize with.
    report: function of a Stage, units done, units in all, records made.
    num_logged: int. Records to show in the log.
    may_be_empty: bool. Text without documents is no mistake.

  Returns:
    dict from name to int, see `pretraining_summary.log_summary`.

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
    counter = pretraining_summary.Counter(text, documents, vocab, settings)
    if not may_be_empty:
      _check_documents(documents, spans)
    serialize = example_writer.Serializer(
        settings.max_seq_length, settings.max_predictions_per_seq,
        corpus.vocab_range(vocab))
    for instance in pretraining_instances.create_instances(
        documents, settings,
        pretraining_instances.Symbols.of_ids(vocab, settings), rng,
        lambda done: report(_CREATING, done,
                            settings.dupe_factor * len(documents),
                            len(spill.offsets)), counter.coverage):
      spill.append(serialize(instance))
      counter.add(instance)
    num_records = len(spill.offsets)
    rng.shuffle(spill.offsets)
    for done, record in enumerate(spill, 1):
      writer.write(record)
      if done % 1000 == 0 or done == num_records:
        report(_WRITING, done, num_records, num_records)
  return counter.result()


def _read_text(spans, tokenizer, settings, num_workers=1,
               report=lambda stage, done, total, records: None):
  num_bytes = sum(span.end - span.begin for span in spans)
  done = [0]

  def advance(count):
    done[0] += count
    report(_READING, done[0] // 1000, num_bytes // 1000, 0)

  return corpus.read_text(
      spans, tokenizer, settings.whole_word_segmented, num_workers, advance,
      settings.room if settings.split_long_lines else None)


def _check_documents(documents, spans):
  """Raises UserError if there are none, warns of a single one."""
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


class _Bars:
  """Shows how far the work is, one bar per stage; a `report` function."""

  def __init__(self):
    self._stage = self._bar = None

  def __enter__(self):
    return self

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
  """Shows how far all shards are together."""

  def __init__(self, parts, dupe_factor):
    """Sets what there is to do.

    Args:
      parts: list of list of corpus.Span, the text of each shard.
      dupe_factor: int.
    """
    self._sizes = [corpus.count_bytes(part) / 1000.0 for part in parts]
    self._shares = [0.0] * len(parts)
    self._documents = [0] * len(parts)
    self._records = [0] * len(parts)
    self._dupe_factor = dupe_factor
    self._shown = 0
    self._bar = progress.Progress(
        "Making shards", int(sum(self._sizes)), "KB")

  def __enter__(self):
    return self

  def __exit__(self, *unused_exception):
    self._bar.close()

  def on_report(self, index, value):
    """Takes what a `_ShardReport` sent."""
    self._shares[index], documents, self._records[index] = value
    self._documents[index] = max(self._documents[index], documents)
    done = int(sum(share * size for share, size in zip(
        self._shares, self._sizes)))
    self._bar.advance(done - self._shown, "%d documents, %d records" % (
        sum(self._documents), sum(self._records)))
    self._shown = done

  def on_done(self, index, counts):
    """Takes the counts of a complete shard."""
    self.on_report(index, (1.0, counts["documents"] * self._dupe_factor,
                           counts["records"]))


class _ShardReport:
  """Sends how far a shard is, now and then; a `report` function."""

  def __init__(self, send):
    self._send = send
    self._next_time = 0

  def __call__(self, stage, done, total, records):
    if time.time() < self._next_time:
      return
    self._next_time = time.time() + _SECONDS_BETWEEN_REPORTS
    share = stage.begin + (stage.end - stage.begin) * done / max(total, 1)
    self._send((share, done if stage is _CREATING else 0, records))


def write_shards(parts, name, tokenizer, settings, random_seed, num_workers):
  """Makes the records of each part of a text, into a file of its own.

  A shard's random numbers, and the documents that its random next sentences are
  from, are its own: neither the order nor the number of workers matters.

  Args:
    parts: list of list of corpus.Span.
    name: str. See `workers.shard_paths`.
    tokenizer: FullTokenizer.
    settings: Settings.
    random_seed: int. The seeds of the shards are made of it.
    num_workers: int. Shards to make at once.

  Returns:
    As `write_records`, of all shards together.

  Raises:
    UserError: some shards could not be made, or are there from other settings.
  """
  tasks = [(index, part, path, tokenizer, settings, random_seed)
           for index, (part, path) in enumerate(zip(
               parts, workers.shard_paths(name, len(parts))))]
  shared = dict(
      settings._asdict(), random_seed=random_seed,
      do_lower_case=tokenizer.basic_tokenizer.do_lower_case,
      vocabulary=checkpoints.hash_vocab(tokenizer.vocab),
      text=_hash_text(parts))
  if not settings.split_long_lines:
    del shared["split_long_lines"]  # which older versions did not know
  strips_accents = tokenizer.basic_tokenizer.strips_accents()
  if strips_accents != tokenizer.basic_tokenizer.do_lower_case:
    shared["strip_accents"] = strips_accents
  counts = collections.Counter()
  with _ShardBar(parts, settings.dupe_factor) as bar:
    def on_done(index, made):
      counts.update(made, single_document_shards=made["documents"] == 1)
      bar.on_done(index, made)

    with cli.user_errors():
      workers.make_shards(
          name, _make_shard, tasks, shared, num_workers,
          workers.start_method(
              [name] + [span.path for part in parts for span in part]),
          bar.on_report, on_done)
  if not counts["documents"]:
    raise cli.UserError(_describe_empty("the text of " + name))
  if counts["single_document_shards"]:
    tf.logging.warning(
        "%d of %d shards are a single document each, so that a random next "
        "sentence comes from that same document; put a blank line between "
        "documents, or make fewer shards",
        counts["single_document_shards"], len(parts))
  return counts


def _make_shard(send, index, part, path, tokenizer, settings, random_seed):
  try:
    with cli.user_errors():
      return write_records(
          part, [path], tokenizer, settings,
          random.Random(shard_seed(random_seed, index)),
          report=_ShardReport(send), num_logged=0 if index else _NUM_LOGGED,
          may_be_empty=True)  # other shards have the documents
  except cli.UserError as error:
    raise ValueError(str(error)) from None


def shard_seed(random_seed, index):
  """Returns the seed of a shard, an int of 64 bits."""
  text = "%d/%d" % (random_seed, index)
  return int(hashlib.sha256(text.encode("ascii")).hexdigest()[:16], 16)


def _hash_text(parts):
  """Returns a hash of what files there are and of how they are cut."""
  paths = sorted(set(span.path for part in parts for span in part))
  times = [(path, tf.gfile.Stat(path).mtime_nsec) for path in paths]
  return hashlib.sha256(repr(
      (times, [[tuple(span) for span in part] for part in parts])
  ).encode("utf-8")).hexdigest()


def plan_output(output_file, shard_size, spans):
  """Finds out what files to write.

  Args:
    output_file: str. The flag.
    shard_size: int. The flag.
    spans: list of corpus.Span. The text.

  Returns:
    output_files: list of str; of shards the one name that they share.
    parts: list of list of corpus.Span, the text of each shard; None without
      shards.

  Raises:
    ValueError: flags contradict each other, or ask for what cannot be.
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
    raise ValueError(
        "--output_file=%s, --shard_size=%d: shards have one name, and their "
        "number comes from NAME@NUMBER or from --shard_size" % (
            output_file, shard_size))
  if shard_size:
    num_shards = -(-corpus.count_bytes(spans) // (shard_size * 10**6))
    return names, corpus.split_text(spans, num_shards)
  name, num_shards = found[0].group(1), int(found[0].group(2))
  parts = corpus.split_text(spans, num_shards)
  if len(parts) != num_shards:
    raise ValueError(
        "--output_file=%s: the text can be cut into 1 to %d parts only; cuts "
        "are where documents end (at a blank line) or files, and not inside "
        "gzip files" % (output_file, len(parts)))
  return [name], parts


def make_tokenizer(vocab_file, do_lower_case, strip_accents=None):
  """Makes the tokenizer.

  Args:
    vocab_file: str.
    do_lower_case: bool; None for what the vocabulary calls for.
    strip_accents: str, bool or None. See `tokenization.parse_strip_accents`.

  Raises:
    ValueError: the vocabulary cannot be read, or lacks what records need.
  """
  tokenizer = tokenization.FullTokenizer(
      vocab_file, tokenization.decide_casing(do_lower_case, vocab_file),
      strip_accents=strip_accents)
  model_inputs.check_tokens(
      tokenizer.vocab, vocab_file, ["[UNK]", "[CLS]", "[SEP]", "[MASK]"],
      "records need")
  return tokenizer


def run_with(asked):
  """Makes records of text.

  Args:
    asked: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(asked.verbose)
  with cli.user_errors():
    settings = pretraining_instances.Settings(**cli.values_of(
        asked, pretraining_instances.Settings._fields))
    settings.check()
    tokenizer = make_tokenizer(
        asked.vocab_file, asked.do_lower_case, asked.strip_accents)
    spans = corpus.list_spans(
        files.find_files(asked.input_file, "--input_file"))
    output_files, parts = plan_output(
        asked.output_file, asked.shard_size, spans)
    paths = (workers.shard_paths(output_files[0], len(parts)) if parts else
             output_files)
    files.check_outputs(
        [("--input_file", span.path) for span in spans] +
        [("--vocab_file", asked.vocab_file)],
        [("--output_file", path) for path in paths])
  tf.logging.info("*** Reading from input files ***")
  for span in spans:
    tf.logging.info("  %s", span.path)
  tf.logging.info("*** Writing to output files ***")
  for path in paths:
    tf.logging.info("  %s", path)
  if parts:
    counts = write_shards(parts, output_files[0], tokenizer, settings,
                          asked.random_seed, asked.num_workers)
  else:
    with _Bars() as report:
      counts = write_records(
          spans, output_files, tokenizer, settings,
          random.Random(asked.random_seed), asked.num_workers, report)
  with cli.user_errors():
    record_origins.write(paths, asked.vocab_file, tokenizer)
  pretraining_summary.log_summary(counts, settings)


def main(_):
  """Makes records of text."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)
