r"""Learns a vocabulary from text, or gives a model's vocabulary more words.

  python learn_vocab.py --input_file=text.txt --output_file=vocab.txt \
    --vocab_size=30000

The entries are those that published vocabularies begin with, the characters of
the text, and word pieces, learnt from how often each word occurs in the text.

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  python learn_vocab.py --extend=append --input_file=domain.txt \
    --vocab_file=$BERT_DIR/vocab.txt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt --output_dir=/tmp/domain_bert

Words that the vocabulary splits, the text's most frequent or --words_file's,
become entries of it. The folder then has all three files of the model.

Source: Wu et al., arXiv 1609.08144, section 4.1 (word pieces); Sennrich et al.,
arXiv 1508.07909 (how they are learnt).
"""

import dataclasses

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, config as configs, files, json_files, model_files,
    model_inputs, progress, run_settings, script_options, tokenization,
    vocab_files)
from .script_options import option
from .vocab import counts, extension, learning, report

FLAGS = flags.FLAGS

EXTENSIONS = ("unused", "append")

_NUM_WORDS = 1000  # that --extend adds by default


@dataclasses.dataclass
class Settings(run_settings.ModelSettings, run_settings.LoggingSettings):
  """Settings of this script; each field is a flag."""

  input_file: str = option("paths", None, "Text files, plain or gzip: paths or "
                           "patterns, separated by commas.")
  output_file: str = option("path", None, "Vocabulary to write.")
  vocab_size: int = option(
      "integer", 30000, "Entries of the vocabulary, the special tokens "
      "included.", lower_bound=1)
  min_frequency: int = option(
      "integer", 2, "How often a pair of pieces must occur to be joined, or, "
      "with --extend, a word to be added.", lower_bound=1)
  character_coverage: float = option(
      "float", 1.0, "Share of the text's characters to keep, the most frequent "
      "first; words with others become [UNK].", above=0.0,
      upper_bound=1.0)
  heldout_file: str = option(
      "paths", None, "Text files in which to count [UNK] and pieces per word.",
      default_text="--input_file")
  compare_vocab_file: str = option(
      "paths", None, "Vocabularies to compare the new one with.")
  num_workers: int = option(
      "integer", 1, "Processes that count words. The vocabulary does not "
      "depend on their number.", lower_bound=1)
  extend: str = option(
      "string", None, "Add words to --vocab_file: in place of its entries "
      "[unusedN] (unused), or after the last one, which makes the model larger "
      "(append).")
  words_file: str = option("path", None, "Words to add, with --extend, one per "
                           "line; they come before those of --input_file.")
  num_words: int = option(
      "integer", None, "Most words to add, with --extend.", lower_bound=1,
      default_text="%d, or as many as --words_file has or --extend=unused "
      "leaves room for" % _NUM_WORDS)
  do_lower_case: bool = option(
      "bool", None, "Lower-case the text, for an uncased vocabulary.",
      flag_default=True, default_text="true; with --extend, found from the "
      "vocabulary")
  vocab_file: str = option("path", None, "Vocabulary to extend.")
  bert_config_file: str = option(
      "path", None, "JSON file with the shape of the model to extend.")
  init_checkpoint: str = option("path", None, "Checkpoint to extend.")
  output_dir: str = option(
      "path", None, "New folder for the extended vocab.txt, bert_config.json "
      "and bert_model.ckpt.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def count_words(settings, patterns, flag, tokenizer):
  """Counts the words of files.

  Args:
    settings: Settings.
    patterns: str. Names of files.
    flag: str. The flag that they are from.
    tokenizer: BasicTokenizer.

  Returns:
    counts.WordCounts.

  Raises:
    UserError: the text cannot be read.
  """
  with cli.user_errors():
    paths = files.find_files(patterns, flag)
    num_bytes = sum(tf.gfile.Stat(path).length for path in paths)
    with progress.Progress("Counting words", num_bytes, "bytes") as bar:
      return counts.count_words(
          paths, tokenizer, settings.num_workers, bar.advance)


def learn(settings):
  """Learns a vocabulary and writes it.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  _refuse(settings, "--extend", (
      "vocab_file", "init_checkpoint", "bert_config_file", "words_file",
      "num_words", "output_dir"))
  cli.check_given(settings, ("input_file", "output_file"))
  with cli.user_errors():
    learning.import_tokenizers()
    files.check_outputs(
        _texts_read(settings), [("--output_file", settings.output_file)])
    files.check_writable(settings.output_file, "--output_file")
    compared = _read_compared(settings)
    tokenizer = tokenization.BasicTokenizer(
        settings.do_lower_case is not False,
        strip_accents=settings.strip_accents)
  found = count_words(
      settings, settings.input_file, "--input_file", tokenizer)
  with cli.user_errors():
    tokens = learning.learn(found, settings.vocab_size, settings.min_frequency,
                            settings.character_coverage)
    files.write_text(settings.output_file,
                     "".join(token + "\n" for token in tokens))
  if len(tokens) < settings.vocab_size:
    tf.logging.warning(
        "The vocabulary has %d entries, not --vocab_size=%d: the text has no "
        "more pieces that occur %d times (--min_frequency)", len(tokens),
        settings.vocab_size, settings.min_frequency)
  tf.logging.info("Wrote %s; the vocab_size of a model's config is %d",
                  settings.output_file, len(tokens))
  _report(settings, tokenizer, found,
          [(settings.output_file, tokens)] + compared)


def extend(settings):
  """Gives a vocabulary more words, and a model's weights rows for them.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  with cli.user_errors():
    model_inputs.check_choice("extend", settings.extend, EXTENSIONS)
  _refuse(settings, "learning a vocabulary; --output_dir is that of --extend",
          ("output_file",))
  cli.check_given(settings, ("vocab_file", "output_dir"))
  if not settings.words_file:
    cli.check_given(settings, ("input_file",))
  if settings.extend == "append":
    cli.check_given(settings, ("bert_config_file", "init_checkpoint"))
  with cli.user_errors():
    model_files.check_new(settings.output_dir)
    compared = _read_compared(settings)
    config, checkpoint, tokenizer = _read_model(settings)
    tokens = vocab_files.read_tokens(settings.vocab_file)
    if settings.extend == "unused" and not extension.find_unused(tokens):
      raise ValueError("--extend=unused: %s has no entries [unusedN]; give "
                       "--extend=append, which adds entries after the last" %
                       settings.vocab_file)
    words = extension.read_words(settings.words_file, tokenizer.basic_tokenizer
                                 ) if settings.words_file else []
  words, found = _choose_words(settings, tokenizer, tokens, words)
  with cli.user_errors():
    extended, entries = extension.place(
        words, tokenizer, tokens, settings.extend == "unused")
    values = None
    if config:
      config["vocab_size"] = max(config["vocab_size"], len(extended))
    if checkpoint:
      values = model_files.read_weights(checkpoint)
      extension.extend_weights(values, entries, config["vocab_size"])
    model_files.write_model(settings.output_dir, extended, config, values)
  tf.logging.info(
      "Added %d words, ids %d to %d: %s", len(entries), entries[0].id,
      entries[-1].id, _shorten(words))
  tf.logging.info("Wrote %s to %s", ", ".join(
      [model_files.VOCAB] + [model_files.CONFIG] * bool(config) +
      [model_files.CHECKPOINT] * bool(checkpoint)), settings.output_dir)
  _report(settings, tokenizer.basic_tokenizer, found,
          [(settings.output_dir, extended), (settings.vocab_file, tokens)] +
          compared)


def _refuse(settings, instead, names):
  """Raises UserError if settings are given that belong to another use."""
  given = ["--" + name for name in names
           if getattr(settings, name) not in (None, "")]
  if given:
    raise cli.UserError("%s: is for %s; leave it out" % (
        ", ".join(given), instead))


def _texts_read(settings):
  """Returns the files of text that are read, for `files.check_outputs`."""
  names = ["input_file", "heldout_file", "compare_vocab_file"]
  return [("--" + name, path) for name in names if getattr(settings, name)
          for path in files.find_files(getattr(settings, name), "--" + name)]


def _read_model(settings):
  """Reads the model to extend.

  Args:
    settings: Settings.

  Returns:
    dict, its config, or None; str, prefix of its checkpoint, or None;
    FullTokenizer.

  Raises:
    ValueError: a file cannot be read, or they do not fit each other.
  """
  config = configs.BertConfig.from_json_file(
      settings.bert_config_file) if settings.bert_config_file else None
  if settings.init_checkpoint and not config:
    raise ValueError("--init_checkpoint: also pass --bert_config_file")
  if config:
    tokenizer = run_settings.make_tokenizer(settings, config)
  else:
    tokenizer = tokenization.FullTokenizer(
        settings.vocab_file, tokenization.decide_casing(
            settings.do_lower_case, settings.vocab_file),
        strip_accents=settings.strip_accents)
    model_inputs.check_tokens(
        tokenizer.vocab, settings.vocab_file, ["[UNK]"], "words need")
  checkpoint = None
  if settings.init_checkpoint:
    checkpoint = checkpoints.resolve(settings.init_checkpoint)
    shape = checkpoints.check_readable(checkpoint).get(extension.WORD_TABLE)
    expected = [config.vocab_size, config.hidden_size]
    if shape != expected:
      raise ValueError(
          "%s: %s is %s there and %s by %s; give the config of this "
          "checkpoint" % (checkpoint, extension.WORD_TABLE,
                          shape and list(shape), expected,
                          settings.bert_config_file))
  values = json_files.read(settings.bert_config_file) if config else None
  return values, checkpoint, tokenizer


def _choose_words(settings, tokenizer, tokens, given):
  """Chooses the words to add.

  Args:
    settings: Settings.
    tokenizer: FullTokenizer.
    tokens: list of str. The vocabulary.
    given: list of str. Words of --words_file.

  Returns:
    list of str; and WordCounts of --input_file, or None.

  Raises:
    UserError: there are none to add, or no text could be read.
  """
  words = extension.find_split(given, tokenizer)
  _log_skipped(given, words, tokenizer.vocab, settings.words_file)
  most, found = settings.num_words, None
  if not most:
    most = max(len(words), len(extension.find_unused(tokens)) if
               settings.extend == "unused" else _NUM_WORDS)
  if settings.input_file:
    found = count_words(settings, settings.input_file, "--input_file",
                        tokenizer.basic_tokenizer)
    known = set(words)
    learned = extension.find_split(
        [word for word, count in found.sorted_words()
         if count >= settings.min_frequency and word not in known], tokenizer)
    words += learned
  words = words[:most]
  if not words:
    raise cli.UserError(
        "there is no word to add: --vocab_file has all that occur %d times "
        "(--min_frequency)" % settings.min_frequency if settings.input_file else
        "there is no word to add: --vocab_file has all of --words_file")
  if len(words) < most and (settings.num_words or settings.input_file):
    log = tf.logging.warning if settings.num_words else tf.logging.info
    log("%d words are added, not %d (--num_words): %s has no more that %s"
        "--vocab_file lacks", len(words), most,
        settings.input_file or settings.words_file,
        "occur %d times (--min_frequency) and " % settings.min_frequency
        if settings.input_file else "")
  return words, found


def _log_skipped(given, words, vocab, path):
  """Logs which words of a file are not added, and why.

  Args:
    given: list of str. The words of the file.
    words: list of str. Those of them that are added.
    vocab: dict whose keys are the existing entries.
    path: str. The file.
  """
  skipped = [word for word in given if word not in set(words)]
  for reason, some in (
      ("are entries already", [one for one in skipped if one in vocab]),
      ("are too long for a tokenizer, which takes them for [UNK]",
       [one for one in skipped if one not in vocab])):
    if some:
      tf.logging.info("%d of %d words of %s %s: %s", len(some), len(given),
                      path, reason, _shorten(some))


def _shorten(words):
  """Returns the first of some words as a text."""
  return ", ".join(words[:8]) + ", ..." * (len(words) > 8)


def _read_compared(settings):
  """Returns (name, list of str) of each of --compare_vocab_file.

  Raises:
    ValueError: one cannot be read, or a file of texts is missing.
  """
  return [(path, vocab_files.read_tokens(path))
          for flag, path in _texts_read(settings)
          if flag == "--compare_vocab_file"]


def _report(settings, tokenizer, found, vocabularies):
  """Logs how vocabularies split the words of a text.

  Args:
    settings: Settings.
    tokenizer: BasicTokenizer.
    found: WordCounts of --input_file, or None.
    vocabularies: list of (name, list of str).
  """
  if settings.heldout_file:
    found = count_words(
        settings, settings.heldout_file, "--heldout_file", tokenizer)
  if found is None:
    return
  report.log("Words of " + (settings.heldout_file or settings.input_file),
             found, vocabularies)


@script_options.runs(Settings)
def run_with(settings):
  """Learns or extends a vocabulary.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(settings.verbose)
  if settings.extend:
    extend(settings)
  else:
    learn(settings)


def main(_):
  """Learns or extends a vocabulary."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, argv=argv)


if __name__ == "__main__":
  run()
