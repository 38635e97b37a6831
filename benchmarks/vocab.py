"""Compares a vocabulary of learn_vocab.py with one of the library tokenizers.

  pip install tokenizers
  python benchmarks/vocab.py --text_file=text.txt --vocab_size=8000

Each 100th line is held out; from the others learn_vocab.py and
BertWordPieceTokenizer.train, which splits the text with its own pre-tokenizer,
learn a vocabulary of that size, with a minimum frequency of 2. Both then
split the text, each with its own tokenizer. Then every word of the whole text
is split by ours and put together again.

Prints a line each:

  held out: ours <p> pieces per word, theirs <p>, ratio <r>
  learnt from: ours <p> pieces per word, theirs <p>, ratio <r>
  round trip: <n> words, <n> of them different, <n> [UNK], of which <n> have
  only characters of the vocabulary, <n> come back changed
  1 and 2 processes: md5 <a> and <b>

`[UNK]` is a piece. A word is what our BasicTokenizer makes one, for both.
"""

import collections
import hashlib
import os
import sys
import tempfile

from absl import app, flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import learn_vocab
import tokenization

FLAGS = flags.FLAGS


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("text_file", None, "UTF-8 text.")
  flags.DEFINE_integer("vocab_size", 8000, "Entries of both vocabularies.")
  flags.DEFINE_bool("do_lower_case", True, "Uncased vocabularies.")
  flags.mark_flags_as_required(["text_file"])


def write_parts(text_file, folder):
  """Writes a text without its held-out lines; returns path, lines, held out."""
  with open(text_file, encoding="utf-8") as reader:
    lines = reader.read().split("\n")
  held_out = lines[::100]
  del lines[::100]
  path = os.path.join(folder, "train.txt")
  with open(path, "w", encoding="utf-8") as writer:
    writer.write("\n".join(lines) + "\n")
  return path, lines, held_out


def learn_theirs(text_file):
  """Returns a tokenizer of the library with a vocabulary learnt from a text."""
  import tokenizers
  tokenizer = tokenizers.BertWordPieceTokenizer(lowercase=FLAGS.do_lower_case)
  tokenizer.train([text_file], vocab_size=FLAGS.vocab_size, min_frequency=2,
                  show_progress=False)
  return tokenizer


def learn_ours(text_file, folder, num_workers):
  """Returns the path of a vocabulary that learn_vocab.py learnt from a text."""
  path = os.path.join(folder, "vocab%d.txt" % num_workers)
  learn_vocab.run_with(learn_vocab.Settings(
      input_file=text_file, output_file=path, vocab_size=FLAGS.vocab_size,
      do_lower_case=FLAGS.do_lower_case, num_workers=num_workers))
  return path


def hash_file(path):
  """Returns the MD5 of a file."""
  with open(path, "rb") as reader:
    return hashlib.md5(reader.read()).hexdigest()


def count_words(lines, basic):
  """Returns a Counter of the words of lines."""
  written = collections.Counter(
      word for line in lines for word in line.split(" "))
  counts = collections.Counter()
  for text, count in written.items():
    for word in basic.tokenize(text):
      counts[word] += count
  return counts


def compare(title, lines, ours, theirs):
  """Prints how many pieces both need for the words of lines."""
  counts = count_words(lines, ours.basic_tokenizer)
  num_words = sum(counts.values())
  ours_pieces = sum(count * len(ours.wordpiece_tokenizer.tokenize(word))
                    for word, count in counts.items())
  theirs_pieces = sum(
      count * len(theirs.encode(word, add_special_tokens=False).tokens)
      for word, count in counts.items())
  print("%s: ours %.4f pieces per word, theirs %.4f, ratio %.4f" % (
      title, ours_pieces / num_words, theirs_pieces / num_words,
      ours_pieces / theirs_pieces))


def go_round(lines, ours):
  """Prints what becomes of all words that are split and put together again."""
  counts = count_words(lines, ours.basic_tokenizer)
  unknown = whole = changed = 0
  for word in counts:
    pieces = ours.wordpiece_tokenizer.tokenize(word)
    if "[UNK]" in pieces:
      unknown += 1
      whole += all(char in ours.vocab for char in word)
    else:
      joined = "".join(piece[2:] if i else piece
                       for i, piece in enumerate(pieces))
      changed += joined != word
  print("round trip: %d words, %d of them different, %d [UNK], of which %d "
        "have only characters of the vocabulary, %d come back changed" % (
            sum(counts.values()), len(counts), unknown, whole, changed))


def main(_):
  """Learns both vocabularies and compares them."""
  with tempfile.TemporaryDirectory() as folder:
    path, lines, held_out = write_parts(FLAGS.text_file, folder)
    theirs = learn_theirs(path)
    found = [learn_ours(path, folder, num_workers) for num_workers in (1, 2)]
    hashes = list(map(hash_file, found))
    ours = tokenization.FullTokenizer(found[0], FLAGS.do_lower_case)
  compare("held out", held_out, ours, theirs)
  compare("learnt from", lines, ours, theirs)
  go_round(lines + held_out, ours)
  print("1 and 2 processes: md5 %s and %s" % tuple(hashes))


if __name__ == "__main__":
  define_flags()
  app.run(main)
