"""Measures which batch of BERT-Large fits into 12 GB, and what saving costs.

  nice python benchmarks/largest_batch.py --results=/tmp/memory.jsonl

Each measurement is a process of memory.py: sequences without padding (but for
"packed", which has SQuAD's lengths stretched to the length asked for), a step
after one that is not counted. The memory is that of weights and averages, and
what the resident set grows by at its peak: gradients, activations, and what
TensorFlow keeps of freed memory. The update is left out: a GPU makes it in
place, while XLA's on a CPU takes new weights and averages.
--results holds what is measured; the same command goes on from there, and
prints the tables once it is all there.

Memory grows by a constant with each example, and that by the square of the
length in the attention's scores. So memory = fixed + batch * (linear * length +
square * length ** 2) is fitted to the measurements of each way, by least
squares, and checked with one that is not among them.
"""

import collections
import itertools
import json
import os
import subprocess
import sys
import tempfile

from absl import app, flags
import numpy as np

import lengths

FLAGS = flags.FLAGS

HERE = os.path.dirname(os.path.abspath(__file__))
BUDGET = 12 * 1024.0  # MB
LENGTHS = (64, 128, 256, 320, 384, 512)
REFERENCE = (12, 6, 2, 1, 0, 0)  # of its README, for BERT-Large

# Batch size and length of what a way is fitted to, and checked with.
FITTED = ((1, 128), (4, 128), (1, 512))
TIMED = ((4, 128), (1, 384), (1, 512))
CHECK = (2, 256)

# Each way has arguments of memory.py; what each is beside the first, alone and
# then together.
WAYS = collections.OrderedDict([
    ("as it is", ["--side=packed"]),
    ("--recompute_grad", ["--side=recomputed"]),
    ("--compute_dtype=bfloat16", ["--side=packed", "--compute_dtype=bfloat16"]),
    ("both", ["--side=recomputed", "--compute_dtype=bfloat16"]),
    ("SQuAD's lengths, packed", ["--side=packed"]),
    ("SQuAD's lengths, packed, both", [
        "--side=recomputed", "--compute_dtype=bfloat16"])])
OF_SQUAD = {way for way in WAYS if way.startswith("SQuAD")}
# Draws of few lengths would differ in their sums.
FITTED_OF_SQUAD = ((4, 128), (12, 128), (3, 384))

Point = collections.namedtuple("Point", "way layers batch length parts")


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("results", "memory.jsonl", "File of measurements, to "
                      "which those that are missing are added.")
  flags.DEFINE_list("sizes", ["12:768", "24:1024"], "Layers and hidden size "
                    "of two models; the batches are those of the second.")
  flags.DEFINE_integer("at_most", None, "Measure so many, then stop.")
  flags.DEFINE_integer("free_mb", 10000, "Memory that must be free for a "
                       "measurement; the script stops where there is less.")


def find_sizes():
  """Returns a dict from the layers of the two models to their hidden sizes."""
  return collections.OrderedDict(
      tuple(map(int, size.split(":"))) for size in FLAGS.sizes)


def find_points():
  """Returns all measurements, a list of Point."""
  points, (small, large) = [], find_sizes()
  for way in list(WAYS)[:2]:
    points += [Point(way, large, *size, 1) for size in FITTED]
  for way in list(WAYS)[2:4]:
    points += [Point(way, large, *size, 1) for size in FITTED]
  points.append(Point("as it is", large, 2, 128, 2))
  for way in list(WAYS)[:2]:
    points += [Point(way, large, *size, 1) for size in ((1, 384), CHECK)]
    points += [Point(way, small, *size, 1) for size in TIMED]
  for way in list(WAYS)[4:]:
    points += [Point(way, large, *size, 1) for size in FITTED_OF_SQUAD]
  return points


def read_results():
  """Returns a dict from Point to what memory.py found, a dict."""
  found = {}
  if os.path.exists(FLAGS.results):
    with open(FLAGS.results) as reader:
      for line in reader:
        point, values = json.loads(line)
        found[Point(*point)] = values
  return found


def free_mb():
  """Returns the memory that processes can still have, in MB."""
  with open("/proc/meminfo") as reader:
    fields = dict(line.split(":") for line in reader)
  return int(fields["MemAvailable"].split()[0]) / 1024.0


def measure(point, folder):
  """Measures a Point with memory.py; returns what it found, a dict."""
  arguments = ["--full_length"]
  if point.way in OF_SQUAD:
    counts = lengths.read(lengths.DEFAULT_FILE)["SQuAD"]
    path = os.path.join(folder, "lengths.json")
    stretched = collections.Counter()
    for length, count in counts.items():
      stretched[max(3, round(length * point.length / max(counts)))] += count
    lengths.write(path, {"SQuAD": stretched})
    arguments = ["--data_sets=SQuAD", "--lengths_file=" + path]
  output = subprocess.check_output(
      [sys.executable, os.path.join(HERE, "memory.py"), "--head=squad",
       "--steps=1", "--noupdate", "--layers=%d" % point.layers,
       "--hidden=%d" % find_sizes()[point.layers],
       "--batch_size=%d" % point.batch,
       "--max_seq_length=%d" % point.length,
       "--gradient_accumulation_steps=%d" % point.parts] +
      WAYS[point.way] + arguments, stderr=subprocess.DEVNULL)
  return json.loads(output.decode("ascii").strip().split("\n")[-1])


def terms(batch, length):
  """Returns what the three numbers of a fit are multiplied by."""
  return [1.0, batch * length, batch * length ** 2]


def memory_of(found):
  """Returns the memory of a measurement, in MB."""
  return found["size_of_variables"] + found["peak"] - found["variables"]


def fit(results, way):
  """Returns the three numbers of a way's memory, in MB."""
  large = list(find_sizes())[1]
  points = [point for point in results if (
      point.way, point.layers, point.parts) == (way, large, 1) and
            (point.batch, point.length) != CHECK]
  return np.linalg.lstsq(
      np.array([terms(point.batch, point.length) for point in points]),
      np.array([memory_of(results[point]) for point in points]), rcond=None)[0]


def largest(numbers, length, further=0.0):
  """Returns the largest batch that fits, int."""
  _, linear, square = numbers
  room = BUDGET - numbers[0] - further
  return max(0, int(room // (linear * length + square * length ** 2)))


def print_times(results):
  """Prints memory and time with and without recomputation."""
  print("| layers | length | batch | memory, MB | --recompute_grad, MB | share "
        "| time |")
  for layers, (batch, length) in itertools.product(
      find_sizes(), TIMED):
    kept, again = [results[Point(way, layers, batch, length, 1)]
                   for way in list(WAYS)[:2]]
    needed = [one["peak"] - one["variables"] for one in (kept, again)]
    print("| %d | %d | %d | %.0f | %.0f | %.2f | * %.2f |" % (
        layers, length, batch, needed[0], needed[1], needed[1] / needed[0],
        again["seconds"] / kept["seconds"]))


def print_largest(results):
  """Prints the largest batches, and how well the fits hold."""
  large = list(find_sizes())[1]
  row = "| %s |" + " %s |" * len(LENGTHS)
  print(row % (("length",) + LENGTHS))
  print(row % (("google-research/bert",) + REFERENCE))
  for way in WAYS:
    numbers = fit(results, way)
    print(row % ((way,) + tuple(largest(numbers, x) for x in LENGTHS)))
    together = results.get(Point("as it is", large, 2, 128, 2))
    if way not in OF_SQUAD:
      # Two parts of one example take this much more than one example.
      further = memory_of(together) - np.dot(
          fit(results, "as it is"), terms(1, 128))
      print(row % ((way + ", a part with accumulation",) + tuple(
          largest(numbers, x, further) for x in LENGTHS)))
    print("  %s: %.0f MB + batch * (%.3f * length + %.6f * length ** 2)" % (
        (way,) + tuple(numbers)))
    check = results.get(Point(way, large, *CHECK, 1))
    if check:
      print("  batch %d of %d: %.0f MB, of what the fit says %.3f" % (
          CHECK + (memory_of(check), memory_of(check) / np.dot(
              numbers, terms(*CHECK)))))


def main(_):
  """Measures what is missing and prints the tables."""
  results = read_results()
  missing = [point for point in find_points() if point not in results]
  with tempfile.TemporaryDirectory() as folder:
    for point in missing[:FLAGS.at_most]:
      if free_mb() < FLAGS.free_mb:
        sys.exit("%.0f MB of memory are free, --free_mb=%d" % (
            free_mb(), FLAGS.free_mb))
      results[point] = measure(point, folder)
      with open(FLAGS.results, "a") as writer:
        writer.write(json.dumps([point, results[point]]) + "\n")
      print(*point, results[point], flush=True)
  left = [point for point in find_points() if point not in results]
  if left:
    print("%d measurements are left; the same command goes on" % len(left))
    return
  print_times(results)
  print_largest(results)


if __name__ == "__main__":
  define_flags()
  app.run(main)
