"""Measures create_pretraining_data.py: records per second, peak memory.

  python benchmarks/pretraining_data.py --text_file=text.txt \
    --vocab_file=vocab.txt

Makes unsharded records of the first 1, 4 and 16 MB of a text, with one worker,
at dupe_factor 10 and length 128, each in a process of its own. Start-up (the
imports, the vocabulary) counts for neither seconds nor memory. The speed is
measured --runs times on 1 MB.

Prints the environment, a table, and beside it what google-research/bert was
recorded to take; last a line each:

  speed: <ours> records/s, recorded <theirs>, ratio <r>
  memory: <ours> MB for each further MB of text, recorded <theirs>, ratio <r>
"""

import json
import os
import platform
import random
import resource
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite.pretraining import corpus, instances as pretraining_instances
import create_pretraining_data

FLAGS = flags.FLAGS

SETTINGS = pretraining_instances.Settings(
    max_seq_length=128, max_predictions_per_seq=20, masked_lm_prob=0.15,
    short_seq_prob=0.1, truncate_segment_prob=0.0, dupe_factor=10,
    do_whole_word_mask=False, whole_word_segmented=False)

# Of google-research/bert on TensorFlow 1.15, the same settings.
RECORDED_RECORDS, RECORDED_SECONDS = 26700, 14.0  # of 1 MB of English
RECORDED_GROWTH = 90.0  # MB of memory for each MB of text
RECORDED = (
    "Recorded, not measured in this run: google-research/bert on TensorFlow "
    "1.15, the same\nsettings, start-up excluded, on an idle two-core AMD "
    "EPYC: about %d s for 1 MB of\nEnglish (%d records, %.0f records/s); "
    "memory grows by about %d MB for each MB of text,\nabove the 440 MB of "
    "importing TensorFlow" % (
        RECORDED_SECONDS, RECORDED_RECORDS,
        RECORDED_RECORDS / RECORDED_SECONDS, RECORDED_GROWTH))


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("text_file", None, "Text, one sentence per line.")
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.")
  flags.DEFINE_list("sizes", ["1", "4", "16"], "MB of text to measure with.")
  flags.DEFINE_integer("runs", 3, "Runs of the first size.", lower_bound=1)
  flags.DEFINE_bool("measure", False,
                    "Measure the whole text once, in this process, and print "
                    "JSON; what the script calls itself with.")
  flags.mark_flags_as_required(["text_file", "vocab_file"])


def peak_memory():
  """Returns the most memory that this process has held, in MB."""
  peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  return peak / (2.0**20 if sys.platform == "darwin" else 2.0**10)


def measure(text_file, vocab_file):
  """Returns a dict of the figures of one text."""
  tokenizer = create_pretraining_data.make_tokenizer(vocab_file, True)
  with tempfile.TemporaryDirectory() as folder:
    before, start = peak_memory(), time.perf_counter()
    counts = create_pretraining_data.write_records(
        corpus.list_spans([text_file]), [os.path.join(folder, "records")],
        tokenizer, SETTINGS, random.Random(12345), num_logged=0)
    seconds = time.perf_counter() - start
    return {"records": counts["records"], "seconds": seconds,
            "memory": peak_memory() - before, "start_memory": before}


def measure_apart(text_file):
  """Returns the same, measured in a process of its own."""
  output = subprocess.check_output([
      sys.executable, os.path.abspath(__file__), "--measure",
      "--text_file=" + text_file, "--vocab_file=" + FLAGS.vocab_file])
  return json.loads(output.decode("ascii").strip().split("\n")[-1])


def write_beginning(text_file, megabytes, path):
  """Writes the whole lines of the first MB of a text; returns their size."""
  with open(text_file, "rb") as reader:
    data = reader.read(int(megabytes * 10**6))
  data = data[:data.rindex(b"\n") + 1]
  with open(path, "wb") as writer:
    writer.write(data)
  return len(data) / 1e6


def print_environment():
  """Prints what the figures depend on."""
  print("TensorFlow %s, Python %s, %d cores" % (
      tf.__version__, platform.python_version(), os.cpu_count()))
  if hasattr(os, "getloadavg"):  # not on Windows
    print("Load average at the start: %.2f" % os.getloadavg()[0])


def main(_):
  """Measures texts of several sizes and sums up."""
  if FLAGS.measure:
    print(json.dumps(measure(FLAGS.text_file, FLAGS.vocab_file)))
    return
  print_environment()
  row = "%8s %10s %10s %12s %12s"
  print(row % ("MB", "records", "seconds", "records/s", "memory, MB"))
  sizes, found = [], []
  with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, "text")
    for index, size in enumerate(map(float, FLAGS.sizes)):
      sizes.append(write_beginning(FLAGS.text_file, size, path))
      if sizes[-1] < 0.9 * size:
        sys.exit("--text_file=%s: has %.1f MB, --sizes asks for %g" % (
            FLAGS.text_file, sizes[-1], size))
      found.append([measure_apart(path)
                    for _ in range(1 if index else FLAGS.runs)])
      for one in found[-1]:
        print(row % (
            "%.2f" % sizes[-1], one["records"], "%.2f" % one["seconds"],
            "%.0f" % (one["records"] / one["seconds"]),
            "%.1f" % one["memory"]), flush=True)
  print("memory is above the %.0f MB that start-up took" %
        found[0][0]["start_memory"])
  print("\n" + RECORDED + "\n")

  speed = np.median([one["records"] / one["seconds"] for one in found[0]])
  recorded_speed = RECORDED_RECORDS / RECORDED_SECONDS
  print("speed: %.0f records/s, recorded %.0f, ratio %.1f" % (
      speed, recorded_speed, speed / recorded_speed))
  if len(sizes) > 1:
    growth = (found[-1][0]["memory"] - found[0][0]["memory"]) / (
        sizes[-1] - sizes[0])
    print("memory: %.1f MB for each further MB of text, recorded %.0f, ratio "
          "%.2f" % (growth, RECORDED_GROWTH, growth / RECORDED_GROWTH))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.WARN)
  define_flags()
  app.run(main)
