"""What `create_pretraining_data.py` counts in a text and in its records.

The counts of shards are summed. They are logged, with a warning if the records
teach less than the text could.
"""

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import corpus, instances

_MANY_UNKNOWN = 0.05  # share of [UNK] that calls for a warning
_LITTLE_USED = 0.9  # share of the text; less calls for one
_MANY_RANDOM = 0.8  # share of random next sentences; about 0.55 are usual


class Counter:
  """Counts a text and the records that are made from it.

  Attributes:
    coverage: instances.Coverage, which tokens the records have.
  """

  def __init__(self, text, documents, vocab, settings):
    """Counts the text.

    Args:
      text: corpus.Text.
      documents: list of corpus.Document.
      vocab: dict from token to id.
      settings: instances.Settings.
    """
    self._lengths = text.lengths
    self._room = settings.room
    self.coverage = instances.Coverage(
        len(text.ids), settings.truncate_segment_prob > 0)
    unknown = vocab["[UNK]"]
    self._counts = {
        "documents": len(documents), "tokens": len(text.ids),
        "single_sentence_documents": sum(
            1 for document in documents if len(document) == 1),
        "sentences": len(text.lengths) - text.lengths.count(0),
        "unknown": (text.ids.count(unknown) +
                    text.ids.count(unknown + corpus.vocab_range(vocab))),
        "records": 0, "record_tokens": 0, "masked": 0, "random_next": 0}

  def add(self, instance):
    """Counts a TrainingInstance."""
    counts = self._counts
    counts["records"] += 1
    counts["record_tokens"] += len(instance.tokens)
    counts["masked"] += len(instance.masked_lm_positions)
    counts["random_next"] += instance.is_random_next

  def result(self):
    """Returns a dict from name to int, see `log_summary`."""
    used = self.coverage.count()
    long_lines = unused_in_long_lines = start = 0
    for length in self._lengths:
      if length > self._room:
        long_lines += 1
        used_here = self.coverage.count(start, start + length)
        unused_in_long_lines += length - used_here
      start += length
    return dict(
        self._counts, used=used, unused=self._counts["tokens"] - used,
        long_lines=long_lines, unused_in_long_lines=unused_in_long_lines)


def log_summary(counts, settings):
  """Logs what was made, so that mistakes show.

  Args:
    counts: dict from name to int: documents, single_sentence_documents,
      sentences, tokens; how many of the tokens are unknown, used (in at least
      one record) and unused; long_lines (sentences that no record has room for)
      and unused_in_long_lines (tokens); records, record_tokens (without
      padding), masked, random_next.
    settings: instances.Settings.
  """
  unknown = counts["unknown"] / counts["tokens"]
  length, share_used = settings.max_seq_length, _share_used(counts)
  padding = 1 - counts["record_tokens"] / (counts["records"] * length)
  tf.logging.info("***** Summary *****")
  for name, value in (
      ("documents", counts["documents"]), ("sentences", counts["sentences"]),
      ("tokens", counts["tokens"]),
      ("share of [UNK]", "%.2f%% of the tokens" % (100 * unknown)),
      ("share of the text used", "not known, made by an older version"
       if share_used is None else
       "%.1f%% of the tokens are in a record" % (100 * share_used)),
      ("records", counts["records"]),
      ("share of padding",
       "%.1f%% of %d tokens per record" % (100 * padding, length)),
      ("masked tokens", "%.1f per record, of %d at most" % (
          counts["masked"] / counts["records"],
          settings.max_predictions_per_seq))):
    tf.logging.info("  %s = %s", name, value)
  if unknown > _MANY_UNKNOWN:
    tf.logging.warning(
        "%.0f%% of the tokens are [UNK]: is --vocab_file for this language, "
        "and --do_lower_case for this vocabulary?", 100 * unknown)
  _warn_of_unused_text(counts, settings)
  _warn_of_random_sentences(counts, settings)


def _share_used(counts):
  """Returns the share of the text's tokens that are in at least one record."""
  # Shards made by an older version add to neither.
  counted = counts["used"] + counts["unused"]
  return counts["used"] / counted if counted else None


def _warn_of_unused_text(counts, settings):
  share = _share_used(counts)
  if share is None or share >= _LITTLE_USED:
    return
  text = "%.1f%% of the text is in no record: " % (100 - 100 * share)
  if 2 * counts["unused_in_long_lines"] > counts["unused"]:
    text += (
        "%d of %d lines are longer than --max_seq_length=%d has room for (%d "
        "word pieces), and a record takes only a part of each; put one "
        "sentence on each line, or give --split_long_lines to have them cut "
        "into sentences" % (counts["long_lines"], counts["sentences"],
                            settings.max_seq_length, settings.room))
  else:
    text += (
        "what exceeds the length of a record is cut off, at a different place "
        "each time; a larger --dupe_factor (now %d) or --max_seq_length (now "
        "%d) uses more" % (settings.dupe_factor, settings.max_seq_length))
  tf.logging.warning("%s", text)


def _warn_of_random_sentences(counts, settings):
  random_next = counts["random_next"] / counts["records"]
  if random_next < _MANY_RANDOM:
    return
  text = ("%.1f%% of the records have a random next sentence, so that they "
          "teach next to nothing about which sentence follows: " %
          (100 * random_next))
  if 2 * counts["single_sentence_documents"] > counts["documents"]:
    text += ("%d of %d documents are a single sentence; a blank line ends a "
             "document: put it between documents, not between sentences, or, "
             "where each line is a whole paragraph, pass --split_long_lines" % (
                 counts["single_sentence_documents"], counts["documents"]))
  else:
    text += ("most lines fill a record of --max_seq_length=%d alone; put one "
             "sentence on each line, or give %s" % (
                 settings.max_seq_length, "a larger --max_seq_length"
                 if settings.split_long_lines else "--split_long_lines"))
  tf.logging.warning("%s", text)
