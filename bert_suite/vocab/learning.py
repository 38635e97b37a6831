"""Learns word pieces from counts of words, with the library `tokenizers`."""

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

# The first entries of the published vocabularies, in their order.
SPECIAL_TOKENS = tuple(
    ["[PAD]"] + ["[unused%d]" % i for i in range(99)] +
    ["[UNK]", "[CLS]", "[SEP]", "[MASK]"])

_LINE_CHARS = 2 ** 14  # of text that the library gets at once


def import_tokenizers():
  """Returns the library `tokenizers`; raises ValueError without it."""
  try:
    import tokenizers
    import tokenizers.models
    import tokenizers.pre_tokenizers
    import tokenizers.trainers
  except ImportError as error:
    raise ValueError(
        "learning a vocabulary: tokenizers cannot be imported (%s); pip "
        "install tokenizers" % error) from None
  return tokenizers


def choose_characters(pieces, coverage):
  """Chooses the characters that a vocabulary has.

  Args:
    pieces: dict from a piece of one character to its count, see
      `counts.count_characters`.
    coverage: float. Share of all characters that the chosen ones make up, the
      most frequent first; 1 for all.

  Returns:
    list of str, pieces of one character: first those without "##".
    dict from each character left out to its count.
  """
  chars = {}
  for piece, count in pieces.items():
    chars[piece[-1]] = chars.get(piece[-1], 0) + count
  needed, kept = coverage * sum(chars.values()), 0
  left_out = {}
  for char in sorted(chars, key=lambda char: (-chars[char], char)):
    if kept >= needed:
      left_out[char] = chars[char]
    kept += chars[char]
  return sorted((piece for piece in pieces if piece[-1] not in left_out),
                key=lambda piece: (len(piece), piece)), left_out


def learn(counts, size, min_frequency=2, coverage=1.0):
  """Learns a vocabulary.

  Pieces are joined as in byte pair encoding, the most frequent pair first, as
  the library's WordPieceTrainer does. All chosen characters come first, so that
  no word made of them becomes [UNK].

  Args:
    counts: counts.WordCounts.
    size: int. Entries of the vocabulary; fewer if the text has no more.
    min_frequency: int. How often a pair must occur.
    coverage: float. See `choose_characters`.

  Returns:
    list of str: SPECIAL_TOKENS, characters, other pieces. It depends only on
    the arguments.

  Raises:
    ValueError: there is no such library, or the characters alone are too many.
  """
  library = import_tokenizers()
  characters, left_out = choose_characters(counts.count_pieces(), coverage)
  if len(SPECIAL_TOKENS) + len(characters) > size:
    raise ValueError(
        "--vocab_size=%d: %d entries are special tokens and the text has %d "
        "characters; give a larger size, or a --character_coverage such as "
        "0.9995, which leaves the rarest out" % (
            size, len(SPECIAL_TOKENS), len(characters)))
  if left_out:
    tf.logging.info(
        "%d characters, %d of the text's, are left out, and words with them "
        "become [UNK]: %s", len(left_out), sum(left_out.values()),
        " ".join(list(left_out)[:20]) + " ..." * (len(left_out) > 20))
  model = library.Tokenizer(library.models.WordPiece(unk_token="[UNK]"))
  model.pre_tokenizer = library.pre_tokenizers.WhitespaceSplit()
  # As special tokens, characters get the first ids in this order. Otherwise
  # those with "##" would get them in an order that changes from run to run, and
  # ids break ties between equally frequent pairs.
  trainer = library.trainers.WordPieceTrainer(
      vocab_size=size - len(SPECIAL_TOKENS), min_frequency=min_frequency,
      special_tokens=characters, continuing_subword_prefix="##",
      show_progress=False)
  model.train_from_iterator(_repeat(counts, left_out), trainer)
  ids = model.get_vocab()
  return list(SPECIAL_TOKENS) + sorted(ids, key=ids.get)


def _repeat(counts, left_out):
  """Yields lines of text in which each word occurs as often as was counted."""
  line, length = [], 0
  for word, count in counts.sorted_words():
    if not left_out.keys().isdisjoint(word):
      continue
    while count:
      if length >= _LINE_CHARS:
        yield " ".join(line)
        line, length = [], 0
      number = min(count, 1 + (_LINE_CHARS - length) // (len(word) + 1))
      line += [word] * number
      length += number * (len(word) + 1)
      count -= number
  yield " ".join(line)
