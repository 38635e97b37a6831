"""Times predictions beside PyTorch, Hugging Face transformers, ONNX Runtime.

  python benchmarks/transformers_inference.py --data_dir=glue \
    --vocab_file=vocab.txt --torch_python=/tmp/torch_env/bin/python

Text in, probabilities out, tokenization included, by a classifier with the same
weights on all sides, random or with the encoder of --init_checkpoint and
--bert_config_file. torch is in an environment of its own, see
transformers_peer.py. The sentences (or pairs) are those of --data_sets in the
order of their file, --chunk at a time. Each chunk is answered by every one of
--sides, whose order goes round from chunk to chunk, in batches of --batch_size
in the order of the file; --batch_size=1 times one text after the other.

  hf-float32     transformers: BertTokenizerFast, each batch padded to its
  hf-bfloat16    longest sentence, torch.inference_mode; all of the model in
                 bfloat16
  onnx-int8      the same tokenizer and batches; the model exported and
                 quantized by onnxruntime.quantization.quantize_dynamic. Needs
                 `pip install onnx onnxruntime` there
  ours-float32   `Predictor.predict`, a call for each batch
  ours-bfloat16  and ours-int8: the same, with that compute_dtype
  ours-onnx-...  the same, of what export_model.py --format=onnx writes;
                 -batch with --int8_scales=batch
  ... sorted     the whole chunk in one call, which puts sentences of similar
                 lengths together

Without --sides, all that this machine can compute. The first --warmup chunks of
a data set are not counted. Prints what each side is; a line per turn; what
waiting cost; and, last, a table for each data set: sentences/s; with
--batch_size=1 the milliseconds of a sentence, median and 99th percentile; how
many times faster the last of ours is, both in the order of the file unless it
says sorted; all medians over the turns; and how far
probabilities are from those of the first side at most.
"""

import collections
import os
import sys
import tempfile
import time

from absl import app, flags
import numpy as np

import random_models  # isort: skip  # before TensorFlow
import tensorflow.compat.v1 as tf

from bert_suite import checkpoints, onnx_export, trained_models
import lengths
import modeling
import predictor
import pretraining_data
import tokenization
import transformers_peer

FLAGS = flags.FLAGS

# From the name to the data type.
PEERS = {"hf-float32": "float32", "hf-bfloat16": "bfloat16",
         "onnx-int8": "int8"}
OURS = {"ours-float32": "float32", "ours-bfloat16": "bfloat16",
        "ours-int8": "int8", "ours-onnx-float32": "float32",
        "ours-onnx-int8-batch": "int8", "ours-onnx-int8": "int8"}
SETS = {"train": "get_train_examples", "dev": "get_dev_examples"}


class Side(collections.namedtuple("Side", "name answer")):
  """One way to answer.

  Attributes:
    name: str.
    answer: function of a list of (str, str or None) that returns probabilities
      and the seconds of each batch, two arrays.
  """


def define_flags():
  """Defines the flags of this script."""
  random_models.define_flags()
  transformers_peer.define_flags()
  flags.DEFINE_string("data_dir", None, "Folder with a folder per data set.",
                      required=True)
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.", required=True)
  flags.DEFINE_list("sides", None, "Sides to time; all that this machine can "
                    "compute without it.")
  flags.DEFINE_string("init_checkpoint", None, "Checkpoint of the encoder; "
                      "random weights without it.")
  flags.DEFINE_string("bert_config_file", None, "Config of the model, instead "
                      "of --layers and --hidden.")
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


def ask_peer(peer, batches):
  """Returns the probabilities and the seconds of each batch of a peer."""
  columns = [list(zip(*batch)) for batch in batches]
  answer = peer.ask(batches=[
      (texts, others if any(others) else None) for texts, others in columns])
  return np.array(answer["probabilities"]), np.array(answer["seconds"])


def predict(model, batches):
  """Returns the probabilities and the seconds of each batch of a Predictor."""
  probabilities, seconds = [], []
  for batch in batches:
    began = time.perf_counter()
    probabilities.append(model.predict(as_texts(batch)))
    seconds.append(time.perf_counter() - began)
  return np.concatenate(probabilities), np.array(seconds)


def take_turn(number, chunk, sides):
  """Answers a chunk in all ways.

  Args:
    number: int. Says which goes first.
    chunk: list of (str, str or None).
    sides: list of Side.

  Returns:
    list of the seconds of each side's batches, arrays, and of the largest
    differences of its probabilities from those of the first side.
  """
  answers, seconds = [None] * len(sides), [None] * len(sides)
  for place in range(len(sides)):
    turn = (number + place) % len(sides)
    answers[turn], seconds[turn] = sides[turn].answer(chunk)
    time.sleep(transformers_peer.PAUSE)  # until its threads are at rest
  return seconds, [np.abs(one - answers[0]).max() for one in answers]


def measure(name, chunks, sides):
  """Takes the turns of one data set.

  Args:
    name: str. The data set.
    chunks: list, of `read_chunks`.
    sides: list of Side.

  Returns:
    The table that sums it up, str.
  """
  print("\n%s, seconds:" % name)
  taken, apart = [], []
  for turn, chunk in enumerate(chunks, 1 - FLAGS.warmup):
    seconds, differences = take_turn(turn, chunk, sides)
    print("%s: %s" % (turn if turn > 0 else "warm-up", ", ".join(
        "%s %.3f" % (side.name, one.sum())
        for side, one in zip(sides, seconds))), flush=True)
    taken.append(seconds)
    apart.append(differences)
  return "%s, %s: %d turns of %d, batches of %d\n%s" % (
      name, FLAGS.set, FLAGS.chunks, FLAGS.chunk, FLAGS.batch_size,
      format_table([side.name for side in sides], taken[FLAGS.warmup:],
                   np.max(apart, axis=0), FLAGS.chunk, FLAGS.batch_size == 1))


def format_table(names, taken, apart, chunk, has_single):
  """Formats what was measured.

  Args:
    names: list of str, of the sides.
    taken: list, for each turn and side, of the seconds of its batches.
    apart: list of float, for each side.
    chunk: int. Sentences per turn.
    has_single: bool. A batch is one sentence.

  Returns:
    str, a line for each side, as the top of this file says.
  """
  base = ([name for name in names if name in OURS] or names)[-1]
  totals = np.array([[np.sum(one) for one in turn] for turn in taken])
  ratios = totals / totals[:, names.index(base), np.newaxis]
  lines = ["%-24s %11s %s %24s %8s" % (
      "side", "sentences/s", "%8s %8s" % ("p50, ms", "p99, ms") * has_single,
      base + " is faster", "apart")]
  for i, name in enumerate(names):
    ratio = ratios[:, i]
    each = 1000 * np.concatenate([turn[i] for turn in taken])
    lines.append("%-24s %11.4g %s %24s %8.1g" % (
        name, chunk / np.median(totals[:, i]),
        "%8.4g %8.4g" % tuple(np.percentile(each, [50, 99])) * has_single,
        "%.2f (%.2f to %.2f)" % (np.median(ratio), ratio.min(), ratio.max()),
        apart[i]))
  return "\n".join(lines)


def open_own(name, folder):
  """Returns the Predictor of a side of OURS.

  Args:
    name: str.
    folder: str. Of the model, and for files on the way.
  """
  dtype = OURS[name]
  if "-onnx-" not in name:
    return predictor.Predictor(
        folder, batch_size=FLAGS.batch_size, compute_dtype=dtype)
  return predictor.Predictor(onnx_export.export(
      trained_models.find(folder), dtype, os.path.join(folder, name),
      scales="batch" if name.endswith("-batch") else "token"),
                             batch_size=FLAGS.batch_size)


def start(folder):
  """Makes the models of all sides, with the same weights.

  Args:
    folder: str. For files on the way.

  Returns:
    list of Side; and a dict from name to transformers_peer.Peer.
  """
  unknown = set(FLAGS.sides or []).difference(PEERS, OURS)
  if unknown:
    sys.exit("--sides: found %s, expected any of %s" % (
        min(unknown), ", ".join([*PEERS, *OURS])))
  vocab_size = len(tokenization.load_vocab(FLAGS.vocab_file))
  # GELU as transformers has it, or its exports are slower.
  config = (modeling.BertConfig.from_json_file(FLAGS.bert_config_file)
            if FLAGS.bert_config_file else random_models.make_config(
                FLAGS.layers, FLAGS.hidden, vocab_size, hidden_act="gelu_erf"))
  random_models.write_classifier(
      folder, config, ["0", "1"], FLAGS.vocab_file, FLAGS.max_seq_length,
      FLAGS.seed, FLAGS.init_checkpoint)
  weights = os.path.join(folder, "weights.npz")
  write_weights(checkpoints.find_checkpoint(folder), weights)
  print("%d layers, hidden size %d, length at most %d" % (
      config.num_hidden_layers, config.hidden_size, FLAGS.max_seq_length))
  sides, peers = [], {}
  for name in FLAGS.sides or [*PEERS, *OURS]:
    try:
      if name in PEERS:
        peers[name] = transformers_peer.Peer(
            task="answer", head="classifier", dtype=PEERS[name],
            config=transformers_peer.convert_config(config), seed=FLAGS.seed,
            weights=weights, vocab_file=FLAGS.vocab_file, do_lower_case=True,
            max_seq_length=FLAGS.max_seq_length)
        sides.append(Side(name, lambda chunk, peer=peers[name]: ask_peer(
            peer, in_batches(chunk))))
        print("%s: %s" % (name, peers[name].description), flush=True)
        continue
      model = open_own(name, folder)
    except (ImportError, ValueError) as error:
      if FLAGS.sides:
        sys.exit(str(error))
      print("%s left out: %s" % (name, error), flush=True)
      continue
    sides.append(Side(name, lambda chunk, model=model: predict(
        model, in_batches(chunk))))
    if FLAGS.batch_size > 1:
      sides.append(Side(name + " sorted", lambda chunk, model=model: predict(
          model, [chunk])))
  return sides, peers


def main(_):
  """Makes the models, measures and sums up."""
  chunks = {name: read_chunks(name) for name in FLAGS.data_sets}
  pretraining_data.print_environment()
  with tempfile.TemporaryDirectory() as folder:
    sides, peers = start(folder)
  results = [measure(name, chunks[name], sides) for name in FLAGS.data_sets]
  print("\nCPU seconds that waiting took: %s" % ", ".join(
      "%s %.2f, this process for it %.2f" % (
          name, peer.idle_cpu, peer.waiting_cpu)
      for name, peer in peers.items()))
  for peer in peers.values():
    peer.close()
  print("\n" + "\n\n".join(results))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
