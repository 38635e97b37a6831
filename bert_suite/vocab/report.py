"""How well vocabularies suit a text: share of [UNK], pieces per word."""

import collections

from .. import progress, tokenization


class Fit(collections.namedtuple("Fit", ["num_words", "num_unknown",
                                         "num_pieces"])):
  """How a vocabulary splits the words of a text.

  Attributes:
    num_words: int.
    num_unknown: int. Words that become [UNK].
    num_pieces: int. An [UNK] counts as one.
  """

  @property
  def pieces_per_word(self):
    """Pieces per word, float."""
    return self.num_pieces / self.num_words

  @property
  def unknown_share(self):
    """Share of the words that become [UNK], float."""
    return self.num_unknown / self.num_words


def measure(words, tokens):
  """Splits words.

  Args:
    words: dict from word, as BasicTokenizer returns it, to count; not empty.
    tokens: iterable of str. The vocabulary.

  Returns:
    Fit.
  """
  wordpiece = tokenization.WordpieceTokenizer(set(tokens))
  num_words = num_unknown = num_pieces = 0
  for word, count in words.items():
    pieces = wordpiece.tokenize(word)
    num_words += count
    num_pieces += count * len(pieces)
    num_unknown += count * (pieces == [wordpiece.unk_token])
  return Fit(num_words, num_unknown, num_pieces)


def log(title, found, vocabularies):
  """Logs a table of how vocabularies split the words of a text.

  Args:
    title: str.
    found: counts.WordCounts.
    vocabularies: list of (name, list of str).
  """
  lines = [["vocabulary", "entries", "[UNK] words", "pieces per word"]]
  for name, tokens in vocabularies:
    fit = measure(found.words, tokens)
    lines.append([name, str(len(tokens)),
                  "%.4f%%" % (100 * fit.unknown_share),
                  "%.4f" % fit.pieces_per_word])
  progress.log_table(title, lines)
