"""Asks a predictor from many threads for a long time; watches memory, answers.

  python benchmarks/soak.py --minutes=60

A classifier with random weights, of --layers and --hidden, on the sample
vocabulary, answers requests from --threads threads at once: of one text or of
up to 32, of one word piece to more than the model reads, whose answers were
computed one at a time before. Requests of several also have a text of words
that were never met, which is asked alone as well. Every answer is compared with
that of its text alone.

Prints requests and texts per second, errors, the largest difference of a
probability in requests of one text and of several, the memory (RSS) after the
warm-up, a tenth of the time, and at the end, and its largest growth in between.
Before it, the tokenizer's table of words is filled, as days of service do.
Exits with 1 after an error, a difference beyond 1e-6, or a growth beyond 5%.
"""

import os
import random
import string
import sys
import tempfile
import threading
import time
import traceback

from absl import app, flags
import numpy as np

import random_models  # isort: skip  # finds the modules below
from bert_suite import serving, tokenization, trained_models
import predictor

FLAGS = flags.FLAGS
VOCAB = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(
    __file__))), "sample_data", "sample_vocab.txt")
LENGTH, MOST_TEXTS = 128, 32
MOST_DIFFERENCE, MOST_GROWTH = 1e-6, 0.05


def define_flags():
  """Defines the flags of this script."""
  random_models.define_flags(layers=2, hidden=128)
  flags.DEFINE_float("minutes", 60, "How long to ask.", lower_bound=0)
  flags.DEFINE_integer("threads", 8, "Threads that ask.", lower_bound=1)


def load_model(folder):
  """Returns a Predictor of the SavedModel of a new classifier."""
  size = len(tokenization.load_vocab(VOCAB))
  random_models.write_classifier(
      folder, random_models.make_config(FLAGS.layers, FLAGS.hidden, size),
      ["0", "1"], VOCAB, LENGTH, seed=1)
  model = trained_models.find(folder)
  exported = os.path.join(folder, "exported")
  serving.export_saved_model(model.task, model.checkpoint, model.vocab_file,
                             model.settings, exported)
  return predictor.Predictor(exported, batch_size=16)


def new_words(generator, count):
  """Returns a text of words that have never been met."""
  return " ".join("".join(generator.choices(string.ascii_lowercase, k=9))
                  for _ in range(count))


class Asker(threading.Thread):
  """Asks until it is stopped.

  Attributes:
    requests, texts: int. Answered.
    errors: list of str.
    differences: list of float, of requests of one text and of several.
    stops: bool. To be set from outside.
  """

  def __init__(self, model, known, seed):
    """Takes a Predictor, pairs of a text and its answer alone, and an int."""
    super().__init__(daemon=True)
    self._model, self._known = model, known
    self._random = random.Random(seed)
    self.requests, self.texts, self.errors = 0, 0, []
    self.differences, self.stops = [0.0, 0.0], False

  def run(self):
    while not self.stops:
      try:
        self._ask()
      except Exception:  # noqa: BLE001  # counted
        self.errors.append(traceback.format_exc())

  def _ask(self):
    chosen = self._random.choices(self._known, k=self._random.choice(
        [1, self._random.randint(1, MOST_TEXTS - 1)]))
    if len(chosen) > 1:
      new = new_words(self._random, self._random.randint(1, 8))
      chosen.append((new, self._model.predict([new])[0]))
    texts, expected = zip(*chosen)
    difference = np.max(np.abs(self._model.predict(list(texts)) - expected))
    kind = int(len(chosen) > 1)
    if not difference <= self.differences[kind]:  # which NaN is not either
      self.differences[kind] = difference
    self.requests += 1 + kind
    self.texts += len(chosen) + kind


def read_memory():
  """Returns the memory of this process (RSS) in MB."""
  with open("/proc/self/statm") as reader:
    return int(reader.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def main(_):
  """Asks, compares and prints."""
  generator = random.Random(1)
  with tempfile.TemporaryDirectory() as folder:
    model = load_model(folder)
  words = ["the", "report", "a", "children", "7", "ox!"]
  known = [(text, model.predict([text])[0]) for text in (
      " ".join(generator.choices(words, k=length))
      for length in range(1, LENGTH + 10))]
  model.tokenizer.tokenize(
      new_words(generator, tokenization.MAX_CACHED_WORDS))
  askers = [Asker(model, known, i) for i in range(FLAGS.threads)]
  begin, seconds, memory = time.time(), FLAGS.minutes * 60, []
  for asker in askers:
    asker.start()
  while time.time() < begin + seconds:
    time.sleep(min(1.0, seconds / 20))
    if time.time() >= begin + seconds / 10:
      memory.append(read_memory())
  for asker in askers:
    asker.stops = True
  for asker in askers:
    asker.join()
  seconds = time.time() - begin
  errors = [error for asker in askers for error in asker.errors]
  differences = np.max([asker.differences for asker in askers], axis=0)
  growth = max(memory) / memory[0] - 1
  print("".join(errors[:3]) + "%d threads, %.1f minutes: %.1f requests/sec, "
        "%.1f texts/sec, %d errors" % (
            FLAGS.threads, seconds / 60,
            sum(asker.requests for asker in askers) / seconds,
            sum(asker.texts for asker in askers) / seconds, len(errors)))
  print("largest difference from an answer alone: %g in requests of one text, "
        "%g in larger ones" % tuple(differences))
  print("memory: %.0f MB after the warm-up, %.0f MB at the end, largest growth "
        "%.1f%%" % (memory[0], memory[-1], 100 * growth))
  if errors or not max(differences) <= MOST_DIFFERENCE or growth > MOST_GROWTH:
    sys.exit(1)


if __name__ == "__main__":
  define_flags()
  app.run(main)
