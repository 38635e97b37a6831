r"""Makes the records that BERT is pre-trained on from plain text.

  python create_pretraining_data.py --input_file=sample_text.txt \
    --output_file=/tmp/sample.tfrecord \
    --vocab_file=sample_data/sample_vocab.txt \
    --max_seq_length=128 --max_predictions_per_seq=20

The text has one sentence per line and a blank line between documents. A record
is a pair of text segments with some words masked; the second one follows the
first in the text, or is from elsewhere.

--shard_size=100, or --output_file=text@16, makes several files from parts of
the text, --num_workers of them at a time.

Source: Devlin et al., arXiv 1810.04805, section 3.1 and appendix A.2.
"""

import collections
import dataclasses
import random

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import (
    cli, example_writer, files, model_inputs, progress, run_settings,
    script_options, tokenization)
# Programs find these here.
from .input_pipeline import (  # noqa: F401
    create_float_feature, create_int_feature)
from .pretraining import (
    beam, corpus, instances as pretraining_instances, record_origins, summary,
    workers, writing)
from .pretraining.instances import (  # noqa: F401
    TrainingInstance, create_instances_from_document,
    create_masked_lm_predictions, truncate_seq_pair)
from .pretraining.writing import write_records
from .script_options import option

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("input_file", "output_file", "vocab_file")

# For programs that import it; here, indexes and labels are parallel lists.
MaskedLmInstance = collections.namedtuple("MaskedLmInstance", "index label")


@dataclasses.dataclass
class Settings(run_settings.CasingSettings, run_settings.LoggingSettings):
  """Settings of this script; each field is a flag."""

  input_file: str = option("paths", None, "Text files, plain or gzip: paths or "
                           "patterns, separated by commas.")
  output_file: str = option(
      "paths", None,
      "TFRecord file to write; several, separated by commas, are filled in "
      "turn. NAME@16 makes 16 shards, NAME-00000-of-00016 and so on.")
  vocab_file: str = option(
      "path", None, "Vocabulary that the model will be trained with.")
  do_lower_case: bool = option(
      "bool", None,
      "Lower-case the text: true for uncased models, false for cased ones.",
      flag_default=True, default_text=run_settings.CASING_DEFAULT)
  do_whole_word_mask: bool = option(
      "bool", False,
      "Mask all pieces of a word (\"##\" marks those after the first) or none.")
  whole_word_segmented: bool = option(
      "bool", False, "Mask all pieces of a word or none, where spaces mark the "
      "words: for Chinese text after segmentation.")
  max_seq_length: int = option(
      "integer", 128, "Tokens per record.", lower_bound=5)
  max_predictions_per_seq: int = option(
      "integer", 20, "Tokens to mask per record at most; about max_seq_length "
      "* masked_lm_prob. Training needs the same number.", lower_bound=1)
  random_seed: int = option("integer", 12345, "Seed of all random choices.")
  dupe_factor: int = option("integer", 10, "Passes over the text, each masking "
                            "different words.", lower_bound=1)
  masked_lm_prob: float = option("float", 0.15, "Share of tokens to mask.")
  short_seq_prob: float = option(
      "float", 0.1, "Share of documents to make shorter records from.")
  truncate_segment_prob: float = option(
      "float", 0.0, "Share of sentences to cut short, so that the model also "
      "sees incomplete ones.")
  split_long_lines: bool = option(
      "bool", False, "Cut lines that are too long for --max_seq_length into "
      "sentences, for text with a paragraph per line.")
  shard_size: int = option(
      "integer", 0, "Make shards, each of about this many MB (1,000,000 bytes) "
      "of text; 0 for none.", lower_bound=0)
  num_workers: int = option(
      "integer", 1, "Processes to use: each makes a shard; without shards they "
      "tokenize. The records do not depend on the number.", lower_bound=1)
  beam_runner: str = option(
      "string", None, "Make the shards in a pipeline of Apache Beam, with this "
      "runner: %s. Needs apache-beam." % ", ".join(beam.RUNNERS))
  beam_args: str = option(
      "string", None, "Options of the pipeline, such as \"--project=my-project "
      "--region=us-central1 --temp_location=gs://my-bucket/tmp\".")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def create_training_instances(
    input_files, tokenizer, max_seq_length, dupe_factor, short_seq_prob,
    masked_lm_prob, max_predictions_per_seq, rng, do_whole_word_mask=False,
    truncate_segment_prob=0.0, whole_word_segmented=False,
    split_long_lines=False):
  """Makes all records from a text, in memory.

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
  documents = corpus.list_documents(corpus.read_text(
      corpus.list_spans(input_files), tokenizer, whole_word_segmented,
      longest=settings.room if split_long_lines else None))
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
    ValueError: an instance is too long.
  """
  serialize = example_writer.Serializer(max_seq_length, max_predictions_per_seq)
  tokens = {index: token for token, index in tokenizer.vocab.items()}
  to_ids = tokenizer.convert_tokens_to_ids
  with example_writer.RecordWriter(
      output_files, tokens, writing.NUM_LOGGED) as writer:
    for instance in instances:
      writer.write(serialize(TrainingInstance(
          to_ids(instance.tokens), instance.segment_ids,
          instance.masked_lm_positions, to_ids(instance.masked_lm_labels),
          instance.is_random_next)))
  tf.logging.info("Wrote %d records", writer.count)


def make_tokenizer(vocab_file, do_lower_case, strip_accents=None):
  """Makes the tokenizer.

  Args:
    vocab_file: str.
    do_lower_case: bool; None to let the vocabulary decide.
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


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(asked):
  """Makes records from text.

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
    output_files, parts = writing.plan_output(
        asked.output_file, asked.shard_size, spans)
    paths = (workers.shard_paths(output_files[0], len(parts)) if parts else
             output_files)
    files.check_outputs(
        [("--input_file", span.path) for span in spans] +
        [("--vocab_file", asked.vocab_file)],
        [("--output_file", path) for path in paths])
    run_tasks = workers.run
    if asked.beam_runner:
      beam.check(asked.beam_runner, asked.beam_args, parts and [
          span.path for span in spans] + paths)
      run_tasks = beam.make_runner(
          asked.beam_runner, asked.beam_args, output_files[0])
    elif asked.beam_args:
      raise ValueError("--beam_args: only works with --beam_runner; pass that "
                       "too, or leave it out")
  tf.logging.info("*** Reading from input files ***")
  for span in spans:
    tf.logging.info("  %s", span.path)
  tf.logging.info("*** Writing to output files ***")
  for path in paths:
    tf.logging.info("  %s", path)
  if parts:
    counts = writing.write_shards(parts, output_files[0], tokenizer, settings,
                                  asked.random_seed, asked.num_workers,
                                  run_tasks)
  else:
    with writing.Bars() as report:
      counts = write_records(
          spans, output_files, tokenizer, settings,
          random.Random(asked.random_seed), asked.num_workers, report)
  with cli.user_errors():
    record_origins.write(paths, asked.vocab_file, tokenizer)
  summary.log_summary(counts, settings)


def main(_):
  """Makes records from text."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
