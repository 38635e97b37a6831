"""Measures extract_features.py: lines per second, peak memory.

  python benchmarks/features.py --text_file=text.txt \
    --vocab_file=vocab.txt [--init_checkpoint=bert_model.ckpt \
    --bert_config_file=bert_config.json]

Writes the vectors of the first 1,000 and 10,000 lines of a text that are not
blank, as JSON lines, as a NumPy archive, and one mean vector per line, each in
a process of its own; with a model of --layers and --hidden and random weights,
or with the one that is given. Start-up (the imports, loading the model)
counts for the memory, not for the speed. Prints the environment, how fast
numbers are printed as JSON beside NumPy's rounding and Python's `repr`, which
print the same, a table, and last a line for each kind of file:

  numbers: <ours> million/s, NumPy and repr <theirs> million/s, ratio <r>
  <kind>: <n> lines/s, peak memory <a> MB at 1000 lines, <b> MB at 10000
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import feature_files
import extract_features
import modeling
import pretraining_data
import tokenization

FLAGS = flags.FLAGS

# Kind of file: its format and pooling.
KINDS = {"jsonl": ("jsonl", "none"), "npz": ("npz", "none"),
         "mean": ("jsonl", "mean")}
_LENGTH = 128
_BATCH_SIZE = 32


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("text_file", None, "Text, one line per example.")
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.")
  flags.DEFINE_string("init_checkpoint", None, "Checkpoint, or random weights.")
  flags.DEFINE_string("bert_config_file", None, "Its config.")
  flags.DEFINE_integer("layers", 4, "Layers without a checkpoint.")
  flags.DEFINE_integer("hidden", 512, "Hidden size without a checkpoint.")
  flags.DEFINE_string("output_layers", "-1,-2", "Layers to write.")
  flags.DEFINE_list("kinds", ["jsonl", "npz", "mean"], "What to measure.")
  flags.DEFINE_list("sizes", ["1000", "10000"], "Lines to measure with.")
  flags.DEFINE_string("measure", None,
                      "Kind to measure once, in this process, with the "
                      "whole text; what the script calls itself with.")
  flags.mark_flags_as_required(["text_file", "vocab_file"])


def write_model(folder):
  """Writes config and checkpoint of random weights; returns both paths."""
  vocab = tokenization.load_vocab(FLAGS.vocab_file)
  config = modeling.BertConfig(
      vocab_size=len(vocab), hidden_size=FLAGS.hidden,
      num_hidden_layers=FLAGS.layers,
      num_attention_heads=max(1, FLAGS.hidden // 64),
      intermediate_size=4 * FLAGS.hidden, type_vocab_size=2)
  config_file = os.path.join(folder, "bert_config.json")
  with open(config_file, "w") as writer:
    writer.write(config.to_json_string())
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    modeling.BertModel(config, False, tf.zeros([1, 4], tf.int32))
    session.run(tf.global_variables_initializer())
    return config_file, tf.train.Saver().save(
        session, os.path.join(folder, "model.ckpt"))


def measure():
  """Returns a dict of the figures of one run."""
  output_format, pooling = KINDS[FLAGS.measure]
  config = modeling.BertConfig.from_json_file(FLAGS.bert_config_file)
  layers = extract_features.parse_layers(
      FLAGS.output_layers, config.num_hidden_layers)
  tokenizer = tokenization.FullTokenizer(FLAGS.vocab_file)
  run = extract_features.make_session_runner(
      config, FLAGS.init_checkpoint, layers, pooling, _BATCH_SIZE)
  warm = extract_features.InputExample(0, "warm up", None)
  run(extract_features.convert_examples_to_features(
      [warm], _LENGTH, tokenizer))
  with tempfile.TemporaryDirectory() as folder:
    output = os.path.join(folder, "output")
    start = time.perf_counter()
    count = extract_features.write_features(
        extract_features.extract(
            extract_features.stream_examples(FLAGS.text_file), _LENGTH,
            tokenizer, run, 8 * _BATCH_SIZE), output, output_format, layers)
    seconds = time.perf_counter() - start
    size = os.path.getsize(output)
  return {"lines": count, "seconds": seconds, "file": size / 1e6,
          "memory": pretraining_data.peak_memory()}


def measure_apart(kind, text_file, config_file, checkpoint):
  """Returns the same, measured in a process of its own."""
  output = subprocess.check_output([
      sys.executable, os.path.abspath(__file__), "--measure=" + kind,
      "--text_file=" + text_file, "--vocab_file=" + FLAGS.vocab_file,
      "--output_layers=" + FLAGS.output_layers,
      "--bert_config_file=" + config_file, "--init_checkpoint=" + checkpoint])
  return json.loads(output.decode("ascii").strip().split("\n")[-1])


def time_numbers(print_rows, matrix, runs=15):
  """Returns the least CPU time, in seconds, of printing a matrix."""
  seconds = []
  for _ in range(runs):
    start = time.process_time()
    print_rows(matrix)
    seconds.append(time.process_time() - start)
  return min(seconds)


def print_rows_plainly(matrix):
  """Does what JsonNumbers.print_rows does, with what NumPy and Python have."""
  return [", ".join(map(repr, row)).encode("ascii") for row in np.round(
      matrix.astype(np.float64), 6).tolist()]


def compare_numbers():
  """Prints how fast each way prints the vectors of a line of 64 tokens."""
  matrix = np.random.RandomState(0).normal(
      scale=0.6, size=[64, 768]).astype(np.float32)
  ours = feature_files.JsonNumbers().print_rows
  assert ours(matrix) == print_rows_plainly(matrix)
  speeds = [matrix.size / 1e6 / time_numbers(print_rows, matrix)
            for print_rows in (ours, print_rows_plainly)]
  print("numbers: %.1f million/s, NumPy and repr %.1f million/s, ratio %.1f" % (
      speeds[0], speeds[1], speeds[0] / speeds[1]))


def main(_):
  """Measures every kind with every number of lines and sums up."""
  if FLAGS.measure:
    print(json.dumps(measure()))
    return
  pretraining_data.print_environment()
  compare_numbers()
  row = "%6s %8s %9s %9s %12s %10s"
  print(row % ("kind", "lines", "seconds", "lines/s", "memory, MB", "file, MB"))
  summary = []
  with tempfile.TemporaryDirectory() as folder:
    if FLAGS.init_checkpoint:
      config_file, checkpoint = FLAGS.bert_config_file, FLAGS.init_checkpoint
    else:
      config_file, checkpoint = write_model(folder)
    with open(FLAGS.text_file, "rb") as reader:
      lines = [line for line in reader if line.strip()]
    path = os.path.join(folder, "text")
    for kind in FLAGS.kinds:
      found = []
      for size in map(int, FLAGS.sizes):
        with open(path, "wb") as writer:
          writer.writelines(lines[:size])
        one = measure_apart(kind, path, config_file, checkpoint)
        found.append(one)
        print(row % (kind, one["lines"], "%.2f" % one["seconds"],
                     "%.0f" % (one["lines"] / one["seconds"]),
                     "%.0f" % one["memory"], "%.1f" % one["file"]), flush=True)
      summary.append("%s: %.0f lines/s, peak memory %s" % (
          kind, found[-1]["lines"] / found[-1]["seconds"], ", ".join(
              "%.0f MB at %d lines" % (one["memory"], one["lines"])
              for one in found)))
  print("\n" + "\n".join(summary))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
