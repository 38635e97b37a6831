"""Finds the largest batches of BERT-Large in 12 GB, with all that saves memory.

  python benchmarks/largest_batch.py --results=/tmp/largest_batch.jsonl

Each measurement is a process of memory.py, with the head of SQuAD and
sequences without padding or, where packing is to save memory, with SQuAD's
lengths as shares of the longest. To the peaks of each way to save memory,

  memory = fixed + batch * (linear * length + square * length ** 2)

is fitted, as the attention's scores alone grow by the square. Below some batch
the update is what takes the most, so the fits are of larger ones. One more
measurement shows how well a fit holds, and the first way is also tried under
the limit itself: with the largest batch, and with one example more.

--results keeps what was measured; the same command goes on from there.
"""

import collections
import json
import os
import signal
import subprocess
import tempfile

from absl import app, flags
import numpy as np

import lengths
import memory

FLAGS = flags.FLAGS

LIMIT = 12 * 1024  # MB
LENGTHS = (64, 128, 256, 320, 384, 512)
REFERENCE = (12, 6, 2, 1, 0, 0)  # of its README
BATCHES = (128, 128, 512, 384)  # lengths; the last checks the fit
TRIED = 384

# side: of memory.py. parts: that the batch is computed in. batches: examples of
# a part, for each of BATCHES.
Way = collections.namedtuple("Way", "name side dtype parts squad batches")
_BFLOAT16 = "bfloat16"
WAYS = (
    Way("as it is", "packed", "float32", 1, False, (12, 22, 4, 5)),
    Way("packed, SQuAD's lengths", "packed", "float32", 1, True,
        (30, 50, 9, 12)),
    Way("`--compute_dtype=bfloat16`", "packed", _BFLOAT16, 1, False,
        (16, 24, 5, 7)),
    Way("`--recompute_grad`", "recomputed", "float32", 1, False,
        (28, 44, 10, 12)),
    Way("`--gradient_accumulation_steps`", "packed", "float32", 2, False,
        (8, 16, 3, 4)),
    Way("all of them", "recomputed", _BFLOAT16, 2, True, (60, 100, 20, 24)))


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("results", "largest_batch.jsonl", "File of measurements, "
                      "to which those that are missing are added.")
  flags.DEFINE_integer("layers", 24, "Layers of the model.", lower_bound=1)
  flags.DEFINE_integer("hidden", 1024, "Hidden size, a multiple of 64.")


def measure(way, length, batch, limit_mb, folder):
  """Returns the peak of a step in MB; None where that is above `limit_mb`."""
  arguments = ["--full_length"]
  if way.squad:
    counts = lengths.read(lengths.DEFAULT_FILE)["SQuAD"]
    shares = collections.Counter()
    for number, count in counts.items():
      shares[max(3, round(number * length / max(counts)))] += count
    path = os.path.join(folder, "lengths.json")
    lengths.write(path, {"SQuAD": shares})
    arguments = ["--data_sets=SQuAD", "--lengths_file=" + path,
                 "--even_lengths"]
  arguments += [
      "--head=squad", "--steps=1", "--compute_dtype=" + way.dtype,
      "--layers=%d" % FLAGS.layers, "--hidden=%d" % FLAGS.hidden,
      "--max_seq_length=%d" % length, "--batch_size=%d" % (batch * way.parts),
      "--gradient_accumulation_steps=%d" % way.parts]
  try:
    return memory.measure_apart(way.side, arguments, limit_mb)["peak"]
  except subprocess.CalledProcessError as error:
    # Some operations of a CPU do not look whether they got their memory.
    if limit_mb and error.returncode == -signal.SIGSEGV:
      return None
    raise


class Results:
  """What was measured, in memory and in --results."""

  def __init__(self, folder):
    self._folder, self._found = folder, {}
    if os.path.exists(FLAGS.results):
      with open(FLAGS.results) as reader:
        for line in reader:
          key, peak = json.loads(line)
          self._found[tuple(key)] = peak

  def peak(self, way, length, batch, limit_mb=None):
    """Returns what `measure` does, measured now if it never was."""
    key = (way.name, FLAGS.layers, FLAGS.hidden, length, batch, limit_mb)
    if key not in self._found:
      self._found[key] = measure(way, length, batch, limit_mb, self._folder)
      with open(FLAGS.results, "a") as writer:
        writer.write(json.dumps([key, self._found[key]]) + "\n")
    return self._found[key]


def terms(length, batch):
  """Returns what the three numbers of a fit are multiplied by."""
  return [1.0, batch * length, batch * length ** 2]


def largest(fitted, length):
  """Returns the largest batch of a length that fits into LIMIT, int."""
  fixed, linear, square = fitted
  return max(0, int((LIMIT - fixed) //
                    (linear * length + square * length ** 2)))


def describe(way, results, fitted, length):
  """Returns the entry of a table; "10+" where 0.8 of LIMIT was not measured.

  As many tokens fit as did in the batch of the longest sequences.
  """
  (long, batch), peak = max(zip(BATCHES, way.batches)), max(
      results.peak(way, *point) for point in zip(BATCHES, way.batches))
  if peak < 0.8 * LIMIT:
    return "%d+" % (batch * long // length)
  return "%d" % largest(fitted, length)


def main(_):
  """Measures what is missing and prints the table."""
  row = "| %s |" + " %s |" * len(LENGTHS)
  notes = []
  with tempfile.TemporaryDirectory() as folder:
    results = Results(folder)
    print(row % (("length",) + LENGTHS))
    print(row % (("google-research/bert",) + REFERENCE))
    for way in WAYS:
      *points, check = zip(BATCHES, way.batches)
      fitted = np.linalg.solve(
          [terms(*point) for point in points],
          [results.peak(way, *point) for point in points])
      print(row % ((way.name,) + tuple(
          describe(way, results, fitted, x) for x in LENGTHS)),
            flush=True)
      notes.append("%s: %.0f MB + batch * (%.3f * length + %.6f * length ** 2),"
                   " at batch %d of length %d %.3f of what was measured" % (
                       (way.name,) + tuple(fitted) + (check[1], check[0]) +
                       (np.dot(fitted, terms(*check)) / results.peak(
                           way, *check),)))
      if way is WAYS[0]:
        batch = largest(fitted, TRIED)
        notes += ["  under a limit of %d MB, batch %d of length %d: %s" % (
            LIMIT, number, TRIED, "runs" if results.peak(
                way, TRIED, number, LIMIT) else "out of memory")
                  for number in (batch, batch + 1)]
  print("\n" + "\n".join(notes))


if __name__ == "__main__":
  define_flags()
  app.run(main)
