"""Times what run_squad.py does around the model: features, predictions.

  python benchmarks/squad.py --predict_file=dev-v1.1.json --vocab_file=vocab.txt

Reads the file, cuts its contexts into windows and writes them as records; then
writes the predictions for logits that stand in for a model's: random numbers,
highest around one place of each window, so that the n-best lists are full.
Every run is in a process of its own; imports and vocabulary are not counted.

Prints the environment, the seconds of each run and the growth of peak memory
with n-best lists of 20 and of 200; last a line each:

  features: <ours> s, recorded <theirs> s, ratio <r>
  predictions: <ours> s, recorded <theirs> s, ratio <r>

The recorded seconds are google-research/bert's for dev-v1.1.json, 10,833
windows, on an idle two-core AMD EPYC.
"""

import json
import os
import platform
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite.squad import answers as squad_answers, data as squad_data
import pretraining_data
import tokenization

FLAGS = flags.FLAGS

SEQ_LENGTH, DOC_STRIDE, QUERY_LENGTH, ANSWER_LENGTH = 384, 128, 64, 30
RECORDED = {"features": 19.0, "predictions": 19.0}


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("predict_file", None, "SQuAD file.", required=True)
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.", required=True)
  flags.DEFINE_integer("runs", 3, "Runs to take the median of.", lower_bound=1)
  flags.DEFINE_integer("measure", 0, "Measure once, in this process, with "
                       "n-best lists so long, and print JSON; what the script "
                       "calls itself with.")


def make_features(folder):
  """Reads examples and makes their features; returns both."""
  tokenizer = tokenization.FullTokenizer(FLAGS.vocab_file)
  start = time.perf_counter()
  features = []

  def keep(feature):
    writer.process_feature(feature)
    feature.input_ids = feature.input_mask = feature.segment_ids = None
    features.append(feature)

  examples = squad_data.read_squad_examples(
      FLAGS.predict_file, is_training=False)
  with squad_data.FeatureWriter(
      os.path.join(folder, "eval.tf_record"), is_training=False) as writer:
    squad_data.convert_examples_to_features(
        examples, tokenizer, SEQ_LENGTH, DOC_STRIDE, QUERY_LENGTH, False, keep)
  return examples, features, time.perf_counter() - start


def make_results(features):
  """Returns a RawResult per window, float32 [S] each."""
  random = np.random.RandomState(1)
  logits = np.empty([len(features), 2, SEQ_LENGTH], np.float32)
  for feature, row in zip(features, logits):
    distance = np.abs(
        np.arange(SEQ_LENGTH) - random.randint(len(feature.tokens)))
    row[:] = random.normal(size=row.shape) + 10.0 - distance / 2.0
  return [squad_answers.RawResult(feature.unique_id, row[0], row[1])
          for feature, row in zip(features, logits)]


def measure(n_best_size):
  """Returns a dict of the figures of one run."""
  with tempfile.TemporaryDirectory() as folder:
    examples, features, feature_seconds = make_features(folder)
    results = make_results(features)
    before, start = pretraining_data.peak_memory(), time.perf_counter()
    squad_answers.write_predictions(
        examples, features, results, n_best_size, ANSWER_LENGTH, True,
        *[os.path.join(folder, name) for name in (
            "predictions.json", "nbest_predictions.json", "null_odds.json")])
    seconds = time.perf_counter() - start
    return {"windows": len(features), "features": feature_seconds,
            "predictions": seconds,
            "memory": pretraining_data.peak_memory() - before,
            "nbest_file": os.path.getsize(
                os.path.join(folder, "nbest_predictions.json")) / 2.0**20}


def measure_in_process(n_best_size):
  """Returns what `measure` returns, from a new process."""
  output = subprocess.check_output(
      [sys.executable, os.path.abspath(__file__),
       "--predict_file=%s" % FLAGS.predict_file,
       "--vocab_file=%s" % FLAGS.vocab_file, "--measure=%d" % n_best_size],
      stderr=subprocess.DEVNULL)
  return json.loads(output.decode("utf-8").splitlines()[-1])


def main(_):
  """Measures and prints."""
  if FLAGS.measure:
    print(json.dumps(measure(FLAGS.measure)))
    return
  print("TensorFlow %s, Python %s, %d cores" % (
      tf.__version__, platform.python_version(), os.cpu_count()))
  row = "%14s %8s %11s %14s %20s %15s"
  print(row % ("n_best_size", "windows", "features, s", "predictions, s",
               "memory grows by, MB", "n-best file, MB"), flush=True)
  runs = []
  for n_best_size in [20] * FLAGS.runs + [200]:
    run = measure_in_process(n_best_size)
    print(row % (n_best_size, run["windows"], "%.2f" % run["features"],
                 "%.2f" % run["predictions"], "%.0f" % run["memory"],
                 "%.0f" % run["nbest_file"]), flush=True)
    runs.append(run)
  print()
  for name in ("features", "predictions"):
    seconds = np.median([run[name] for run in runs[:-1]])
    print("%s: %.2f s, recorded %.1f s, ratio %.1f" % (
        name, seconds, RECORDED[name], RECORDED[name] / seconds))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
