"""Times predictions beside PyTorch and Hugging Face transformers.

  python benchmarks/transformers_inference.py --data_dir=glue \
    --vocab_file=vocab.txt --torch_python=/tmp/torch_env/bin/python

Text in, probabilities out, tokenization included, by a classifier with the same
random weights: ours through `Predictor.predict`, theirs with BertTokenizerFast,
each batch padded to its longest sentence, and torch.inference_mode. torch is in
an environment of its own, see transformers_peer.py. The sentences (or pairs)
are those of --data_sets in the order of their file, --chunk at a time; each
chunk is answered in three ways, whose order goes round from chunk to chunk:

  HF           batches of --batch_size, in the order of the file
  ours         the same batches, a call of `predict` each
  ours sorted  the whole chunk in one call, which puts sentences of similar
               lengths together

The first --warmup chunks of a data set are not counted. Prints the environment
of both; for each data set a table of the seconds of each chunk, how far the
probabilities of both are apart at most; what waiting cost; and, last, for each
data set, where sentences/s and ratios are medians over the chunks:

  MRPC: HF <n> sentences/s, ours <n>, ratio <r> (<min> to <max>), ours sorted
    <n>, ratio <r> (<min> to <max>)
"""

import os
import sys
import tempfile
import time

from absl import app, flags
import numpy as np

import random_models  # isort: skip  # before TensorFlow
import tensorflow.compat.v1 as tf

from bert_suite import checkpoints
import lengths
import predictor
import pretraining_data
import tokenization
import transformers_peer

FLAGS = flags.FLAGS

SIDES = ("HF", "ours", "ours sorted")
ROW = "%8s %9s %12s %12s %8s %8s"
SETS = {"train": "get_train_examples", "dev": "get_dev_examples"}


def define_flags():
  """Defines the flags of this script."""
  random_models.define_flags()
  transformers_peer.define_flags()
  flags.DEFINE_string("data_dir", None, "Folder with a folder per data set.",
                      required=True)
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.", required=True)
  flags.DEFINE_list("data_sets", ["MRPC", "SST-2"], "Data sets: %s." %
                    ", ".join(sorted(lengths.PROCESSORS)))
  flags.DEFINE_enum("set", "train", sorted(SETS), "Which file of theirs.")
  flags.DEFINE_integer("batch_size", 32, "Sentences per batch.", lower_bound=1)
  flags.DEFINE_integer("max_seq_length", 128, "Length that sentences are cut "
                       "to.", lower_bound=3, upper_bound=lengths.LONGEST)
  flags.DEFINE_integer("chunk", 128, "Sentences per turn.", lower_bound=1)
  flags.DEFINE_integer("chunks", 3, "Turns to count.", lower_bound=1)
  flags.DEFINE_integer("warmup", 1, "Turns before those, not counted.",
                       lower_bound=0)
  flags.DEFINE_integer("seed", 1, "Seed of the weights.")


def read_chunks(name):
  """Reads sentences of a data set.

  Args:
    name: str.

  Returns:
    list, for each turn, of list of (str, str or None).
  """
  if name not in lengths.PROCESSORS:
    sys.exit("--data_sets: found %r, expected any of %s" % (
        name, ", ".join(sorted(lengths.PROCESSORS))))
  examples = getattr(lengths.PROCESSORS[name](), SETS[FLAGS.set])(
      os.path.join(FLAGS.data_dir, name))
  number = FLAGS.warmup + FLAGS.chunks
  if len(examples) < number * FLAGS.chunk:
    sys.exit("%s has %d sentences, --warmup, --chunks and --chunk ask for %d" %
             (name, len(examples), number * FLAGS.chunk))
  pairs = [(example.text_a, example.text_b) for example in examples]
  return [pairs[i * FLAGS.chunk:(i + 1) * FLAGS.chunk] for i in range(number)]


def write_weights(checkpoint, path):
  """Writes the weights of a checkpoint, without the optimizer's, as .npz."""
  reader = tf.train.load_checkpoint(checkpoint)
  np.savez(path, **{name: reader.get_tensor(name)
                    for name in reader.get_variable_to_shape_map()
                    if name != "global_step"})


def in_batches(chunk):
  """Cuts a chunk into batches."""
  return [chunk[start:start + FLAGS.batch_size]
          for start in range(0, len(chunk), FLAGS.batch_size)]


def as_texts(pairs):
  """Makes what `predict` takes of (str, str or None)."""
  return [pair if pair[1] else pair[0] for pair in pairs]


def ask_peer(peer, chunk):
  """Returns the probabilities and the seconds of transformers."""
  seconds, probabilities = 0.0, []
  for batch in in_batches(chunk):
    texts, others = zip(*batch)
    answer = peer.ask(texts=texts, pairs=others if any(others) else None)
    seconds += answer["seconds"]
    probabilities += answer["probabilities"]
  return np.array(probabilities), seconds


def predict(model, batches):
  """Returns the probabilities and the seconds of a Predictor."""
  began = time.perf_counter()
  probabilities = [model.predict(as_texts(batch)) for batch in batches]
  return np.concatenate(probabilities), time.perf_counter() - began


def take_turn(number, chunk, model, peer):
  """Answers a chunk in three ways.

  Args:
    number: int. Says which goes first.
    chunk: list of (str, str or None).
    model: Predictor.
    peer: transformers_peer.Peer.

  Returns:
    list of seconds, in the order of SIDES, and the largest difference between
    the probabilities of any two.
  """
  ways = [lambda: ask_peer(peer, chunk),
          lambda: predict(model, in_batches(chunk)),
          lambda: predict(model, [chunk])]
  seconds, answers = [None] * len(SIDES), [None] * len(SIDES)
  for place in range(len(SIDES)):
    side = (number + place) % len(SIDES)
    answers[side], seconds[side] = ways[side]()
  return seconds, np.max(np.ptp(answers, axis=0))


def measure(name, chunks, model, peer):
  """Takes the turns of one data set and prints them as a table.

  Args:
    name: str. The data set.
    chunks: list, of `read_chunks`.
    model: Predictor.
    peer: transformers_peer.Peer.

  Returns:
    The line that sums it up, str, and the seconds of all turns, counted or not,
    float [turns, SIDES].
  """
  print("\n%s: %s, chunks of %d\n" % (name, FLAGS.set, FLAGS.chunk) + ROW % (
      ("turn",) + tuple(side + ", s" for side in SIDES) + ("ours", "sorted")))
  taken, apart = [], []
  for turn, chunk in enumerate(chunks, 1 - FLAGS.warmup):
    seconds, difference = take_turn(turn, chunk, model, peer)
    taken.append(seconds)
    apart.append(difference)
    print_row(turn if turn > 0 else "warm-up", seconds)
  taken = np.array(taken)
  counted = taken[FLAGS.warmup:]
  print_row("median", np.median(counted, axis=0))
  print("Probabilities are apart by at most %.1g" % max(apart))
  speeds = FLAGS.chunk / np.median(counted, axis=0)
  ratios = counted[:, :1] / counted[:, 1:]
  return "%s: HF %.4g sentences/s, %s" % (name, speeds[0], ", ".join(
      "%s %.4g, ratio %.2f (%.2f to %.2f)" % (
          side, speed, np.median(column), column.min(), column.max())
      for side, speed, column in zip(SIDES[1:], speeds[1:], ratios.T))), taken


def print_row(title, seconds):
  """Prints a row of the table."""
  theirs, ours, in_order = seconds
  print(ROW % ((title,) + tuple("%.3f" % each for each in seconds) +
               ("%.2f" % (theirs / ours), "%.2f" % (theirs / in_order))),
        flush=True)


def start(folder):
  """Makes the models of both sides, with the same weights.

  Args:
    folder: str. For files on the way.

  Returns:
    Predictor, transformers_peer.Peer.
  """
  config = random_models.make_config(
      FLAGS.layers, FLAGS.hidden,
      len(tokenization.load_vocab(FLAGS.vocab_file)))
  random_models.write_classifier(
      folder, config, ["0", "1"], FLAGS.vocab_file, FLAGS.max_seq_length,
      FLAGS.seed)
  weights = os.path.join(folder, "weights.npz")
  write_weights(checkpoints.find_checkpoint(folder), weights)
  peer = transformers_peer.Peer(
      task="answer", head="classifier", config=config.to_dict(),
      seed=FLAGS.seed, weights=weights, vocab_file=FLAGS.vocab_file,
      max_seq_length=FLAGS.max_seq_length, do_lower_case=True)
  return predictor.Predictor(folder, batch_size=FLAGS.batch_size), peer


def main(_):
  """Makes both models, measures and sums up."""
  chunks = {name: read_chunks(name) for name in FLAGS.data_sets}
  pretraining_data.print_environment()
  print("%d layers, hidden size %d, batch %d, length at most %d" % (
      FLAGS.layers, FLAGS.hidden, FLAGS.batch_size, FLAGS.max_seq_length))
  with tempfile.TemporaryDirectory() as folder:
    model, peer = start(folder)
  print("Peer: " + peer.description, flush=True)
  results = [measure(name, chunks[name], model, peer)
             for name in FLAGS.data_sets]
  peer.close()
  theirs, ours, in_order = sum(taken.sum(axis=0) for _, taken in results)
  print()
  peer.print_waiting(ours + in_order, theirs)
  print("\n" + "\n".join(summary for summary, _ in results))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
