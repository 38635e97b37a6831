"""Measures the tokenizer beside the Rust one of Hugging Face.

  pip install tokenizers
  python benchmarks/tokenizer.py --text_file=text.txt --vocab_file=vocab.txt

Both cut the same lines, the first --megabytes of a text, into word pieces, one
thread each, in one process, one after the other. A first pass is that of a
tokenizer made just before, which knows no word yet; the second pass is over the
same lines again. --runs times all of it, with new tokenizers. Making them is
not part of the time.

Prints the environment, how many lines get the same pieces from both, MB
(1,000,000 bytes) per second of every run, the figures recorded elsewhere, and
last a line each, of the medians:

  first pass: <ours> MB/s, Rust <theirs> MB/s, ratio <r>
  second pass: <ours> MB/s, Rust <theirs> MB/s, ratio <r>
"""

import os
import platform
import statistics
import sys
import time

from absl import app, flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import tokenization

FLAGS = flags.FLAGS

RECORDED = (
    "Recorded, not measured in this run, on 3 MB of English novels, on a "
    "two-core AMD\nEPYC: google-research/bert 0.7 MB/s, Rust tokenizers 2.4, "
    "TensorFlow Text 26, a\nprototype with a word cache 3.2 (first pass) and "
    "22 (second)")
RECORDED_REFERENCE = 0.7  # MB/s, on any text


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("text_file", None, "UTF-8 text.")
  flags.DEFINE_string("vocab_file", None, "Vocabulary of the text's language.")
  flags.DEFINE_bool("do_lower_case", True, "False for cased vocabularies.")
  flags.DEFINE_float("megabytes", 3.0, "How much of the text to use.")
  flags.DEFINE_integer("runs", 3, "Runs of both.", lower_bound=1)
  flags.mark_flags_as_required(["text_file", "vocab_file"])


def read_lines(path, megabytes):
  """Returns the lines of the first part of a text, and its size in bytes."""
  with open(path, "rb") as reader:
    content = reader.read(int(megabytes * 1e6))
  content = content[:content.rfind(b"\n") + 1] or content
  return content.decode("utf-8", "ignore").split("\n"), len(content)


def make_ours():
  """Returns a new tokenizer of this project, as a function of a line."""
  return tokenization.FullTokenizer(
      FLAGS.vocab_file, FLAGS.do_lower_case).tokenize


def make_rust():
  """Returns a new tokenizer of Hugging Face, as a function of a line."""
  try:
    import tokenizers
  except ImportError as error:
    sys.exit("this compares with the package tokenizers (%s); pip install "
             "tokenizers" % error)
  encode = tokenizers.BertWordPieceTokenizer(
      FLAGS.vocab_file, lowercase=FLAGS.do_lower_case).encode
  return lambda line: encode(line, add_special_tokens=False).tokens


def time_passes(tokenize, lines):
  """Returns the seconds of two passes over the lines."""
  seconds = []
  for _ in range(2):
    start = time.perf_counter()
    for line in lines:
      tokenize(line)
    seconds.append(time.perf_counter() - start)
  return seconds


def main(_):
  """Measures both, run by run, and prints the medians."""
  lines, num_bytes = read_lines(FLAGS.text_file, FLAGS.megabytes)
  makers = {"ours": make_ours, "Rust": make_rust}
  print("Python %s, tokenizers %s, %d cores" % (
      platform.python_version(), _version_of_rust(), os.cpu_count()))
  if hasattr(os, "getloadavg"):  # not on Windows
    print("Load average at the start: %.2f" % os.getloadavg()[0])
  ours, rust = make_ours(), make_rust()
  same = sum(ours(line) == rust(line) for line in lines)
  print("%.2f MB, %d lines, of which %d get the same pieces from both" % (
      num_bytes / 1e6, len(lines), same))

  speeds = {name: ([], []) for name in makers}
  print("\n%4s %12s %12s %12s %12s" % (
      "run", "ours, first", "second", "Rust, first", "second"))
  for run in range(1, FLAGS.runs + 1):
    row = []
    for name, make in makers.items():
      for number, seconds in enumerate(time_passes(make(), lines)):
        speeds[name][number].append(num_bytes / 1e6 / seconds)
        row.append("%12.2f" % speeds[name][number][-1])
    print("%4d %s" % (run, " ".join(row)))

  print("\n" + RECORDED + "\n")
  for number, title in enumerate(("first pass", "second pass")):
    ours, rust = [statistics.median(speeds[name][number]) for name in makers]
    print("%s: %.2f MB/s, Rust %.2f MB/s, ratio %.2f (%.1f times the "
          "reference's recorded %.1f)" % (
              title, ours, rust, ours / rust, ours / RECORDED_REFERENCE,
              RECORDED_REFERENCE))


def _version_of_rust():
  make_rust()
  return sys.modules["tokenizers"].__version__


if __name__ == "__main__":
  define_flags()
  app.run(main)
