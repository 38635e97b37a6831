"""How long the sequences of real training sets are, and batches that long.

lengths.json holds, for a data set, how many sequences of each length its
training set has: word pieces of the uncased vocabulary, [CLS] and [SEP]
included, cut at 512. Those counts are all that is kept of the data. To count
anew, from a folder with MRPC/train.tsv and SST-2/train.tsv:

  python benchmarks/lengths.py --data_dir=glue --vocab_file=vocab.txt

and from a SQuAD file, whose windows of at most 384 pieces are counted:

  python benchmarks/lengths.py --squad_file=dev-v1.1.json --vocab_file=vocab.txt
"""

import collections
import json
import os
import sys

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import files, glue
from bert_suite.squad import data as squad_data
import run_classifier
import tokenization

FLAGS = flags.FLAGS

DEFAULT_FILE = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "lengths.json")
LONGEST = 512  # what the published models can read
SQUAD_LENGTH = 384  # the default of run_squad.py


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("data_dir", None, "Folder with a folder per data set.")
  flags.DEFINE_string("squad_file", None, "SQuAD file, counted as SQuAD.")
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.", required=True)
  flags.DEFINE_string("lengths_file", DEFAULT_FILE, "JSON file to write.")


PROCESSORS = {"MRPC": glue.MrpcProcessor, "SST-2": glue.Sst2Processor}


def count(data_dir, vocab_file):
  """Counts how long the sequences of the training sets are.

  Args:
    data_dir: str. Folder with a folder per data set.
    vocab_file: str. Uncased vocabulary.

  Returns:
    dict from data set to a dict from length to number of sequences.
  """
  tokenizer = tokenization.FullTokenizer(vocab_file)
  lengths = {}
  for name in sorted(PROCESSORS):
    processor = PROCESSORS[name]()
    features = run_classifier.convert_examples_to_features(
        processor.get_train_examples(os.path.join(data_dir, name)),
        processor.get_labels(), LONGEST, tokenizer)
    lengths[name] = dict(collections.Counter(
        sum(f.input_mask) for f in features))
  return lengths


def count_squad(squad_file, vocab_file):
  """Counts how long the windows of a SQuAD file are, as run_squad.py cuts them.

  Args:
    squad_file: str.
    vocab_file: str. Uncased vocabulary.

  Returns:
    dict from length to number of windows.
  """
  found = collections.Counter()

  def add(feature):
    found[len(feature.tokens)] += 1

  squad_data.convert_examples_to_features(
      squad_data.read_squad_examples(squad_file, is_training=False),
      tokenization.FullTokenizer(vocab_file), SQUAD_LENGTH, doc_stride=128,
      max_query_length=64, is_training=False, output_fn=add)
  return dict(found)


def read(path):
  """Reads what `write` wrote; the same dict as `count` returns."""
  with open(path) as reader:
    content = json.load(reader)
  return {name: {int(length): number for length, number in counts.items()}
          for name, counts in content.items()}


def write(path, lengths):
  """Writes the counts as JSON, a line per data set."""
  lines = ["%s: %s" % (json.dumps(name),
                       json.dumps(collections.OrderedDict(
                           (str(length), counts[length])
                           for length in sorted(counts))))
           for name, counts in sorted(lengths.items())]
  files.write_text(path, "{\n%s\n}\n" % ",\n".join(lines))


def make_batch(
    random, counts, batch_size, seq_length, vocab_size, even=False):
  """Makes a batch: random tokens and labels, lengths drawn from a data set.

  Args:
    random: np.random.RandomState.
    counts: dict from length to number of sequences.
    batch_size: int. B.
    seq_length: int. S; longer sequences are cut.
    vocab_size: int.
    even: bool. Takes lengths at even quantiles, in random order: batches of few
      sequences then have about the share of tokens that the data set has.

  Returns:
    dict from the name of an argument of `run_classifier.create_model` to int32
    [B, S], or [B] for the labels.
  """
  lengths = sorted(counts)
  numbers = np.array([counts[length] for length in lengths], np.float64)
  shares = numbers / numbers.sum()
  if even:
    drawn = random.permutation(np.array(lengths)[np.searchsorted(
        np.cumsum(shares), (np.arange(batch_size) + 0.5) / batch_size)])
  else:
    drawn = random.choice(lengths, size=batch_size, p=shares)
  input_mask = np.arange(seq_length) < drawn[:, np.newaxis]  # [B, S]
  input_ids = random.randint(1, vocab_size, [batch_size, seq_length])
  batch = {
      "input_ids": input_ids * input_mask,
      "input_mask": input_mask,
      "segment_ids": np.zeros_like(input_ids),
      "labels": random.randint(0, 2, [batch_size]),
  }
  return {name: value.astype(np.int32) for name, value in batch.items()}


def main(_):
  """Counts, puts the counts into the file and says what they amount to."""
  lengths = read(FLAGS.lengths_file) if os.path.exists(
      FLAGS.lengths_file) else {}
  if not FLAGS.data_dir and not FLAGS.squad_file:
    sys.exit("give --data_dir or --squad_file")
  if FLAGS.data_dir:
    lengths.update(count(FLAGS.data_dir, FLAGS.vocab_file))
  if FLAGS.squad_file:
    lengths["SQuAD"] = count_squad(FLAGS.squad_file, FLAGS.vocab_file)
  write(FLAGS.lengths_file, lengths)
  for name, counts in sorted(lengths.items()):
    print("%s: %d sequences of %d to %d tokens" % (
        name, sum(counts.values()), min(counts), max(counts)))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.WARN)
  define_flags()
  app.run(main)
