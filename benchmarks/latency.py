"""Measures predictor.py against `estimator.predict` called for each request.

  python benchmarks/latency.py --vocab_file=vocab.txt

A classifier with random weights, of --layers and --hidden, answers requests of
1 and of 32 pairs of sentences: a Predictor on its SavedModel, one on its
checkpoint, and an estimator whose `predict` builds the graph and loads the
weights for each. Each request is tokenized. Prints the environment, what
start-up took (without importing TensorFlow), a table, and last:

  batch <n>: predictor <a> ms, estimator.predict <b> ms, ratio <r>

Milliseconds are medians; the ratio is that of the medians.
"""

import os
import sys
import tempfile
import time

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import checkpoints, serving, training
import modeling
import predictor
import pretraining_data
import random_models
import run_classifier
import tokenization

FLAGS = flags.FLAGS

_LENGTH = 128
_PAIR = ("He said the foodservice pie business does not fit the company 's "
         "long-term growth strategy .",
         "The foodservice pie business does not fit our long-term growth "
         "strategy .")
_LABELS = ["0", "1"]


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("vocab_file", None, "Uncased vocabulary.")
  random_models.define_flags(layers=4, hidden=512)
  flags.DEFINE_integer("requests", 20, "Requests to a predictor.")
  flags.DEFINE_integer("estimator_requests", 5, "Requests to the estimator.")
  flags.mark_flags_as_required(["vocab_file"])


def make_estimator_answer(folder, config, tokenizer):
  """Makes a function that answers pairs with `estimator.predict`."""
  estimator = training.make_estimator(
      run_classifier.model_fn_builder(
          config, len(_LABELS), None, 0.0, 0, 0, False, False,
          modeling.Options(remove_padding=True)), folder,
      predict_batch_size=32)

  def answer(pairs):
    features = run_classifier.convert_examples_to_features(
        [run_classifier.InputExample("", a, b, "0") for a, b in pairs],
        _LABELS, _LENGTH, tokenizer)
    results = estimator.predict(run_classifier.input_fn_builder(
        features, _LENGTH, is_training=False, drop_remainder=False))
    return np.array([result["probabilities"] for result in results])

  return answer


def time_of(function, *arguments):
  """Calls a function; returns what it returns, and seconds."""
  start = time.perf_counter()
  result = function(*arguments)
  return result, time.perf_counter() - start


def main(_):
  """Measures start-up and requests, and sums up."""
  pretraining_data.print_environment()
  print("%d layers, hidden size %d" % (FLAGS.layers, FLAGS.hidden))
  tokenizer = tokenization.FullTokenizer(FLAGS.vocab_file)
  config = random_models.make_config(
      FLAGS.layers, FLAGS.hidden, len(tokenizer.vocab))
  with tempfile.TemporaryDirectory() as folder:
    random_models.write_classifier(
        folder, config, _LABELS, FLAGS.vocab_file, _LENGTH)
    exported = serving.export_saved_model(
        run_classifier.serving_task(config, _LABELS),
        checkpoints.find_checkpoint(folder), FLAGS.vocab_file,
        {"task": "classifier", "labels": _LABELS, "max_seq_length": _LENGTH,
         "do_lower_case": True}, os.path.join(folder, "exported"))
    ways = []
    for name, path in (("SavedModel", exported), ("checkpoint", folder)):
      model, seconds = time_of(predictor.Predictor, path)
      _, first = time_of(model.predict, [_PAIR])
      print("start-up from the %s: %.2f s, first answer %.2f s" % (
          name, seconds, first))
      ways.append((name, model.predict, FLAGS.requests))
    ways.append(("estimator", make_estimator_answer(folder, config, tokenizer),
                 FLAGS.estimator_requests))
    summary = []
    print("%6s %12s %10s %10s %10s" % (
        "batch", "way", "median, ms", "min, ms", "max, ms"))
    for size in (1, 32):
      medians, answers = {}, {}
      for name, answer, count in ways:
        answer([_PAIR] * size)  # not counted
        times = []
        for _ in range(count):
          answers[name], seconds = time_of(answer, [_PAIR] * size)
          times.append(1000 * seconds)
        medians[name] = np.median(times)
        print("%6d %12s %10.1f %10.1f %10.1f" % (
            size, name, medians[name], min(times), max(times)), flush=True)
      np.testing.assert_allclose(
          answers["SavedModel"], answers["estimator"], atol=1e-5)
      summary.append("batch %d: predictor %.3g ms, estimator.predict %.3g ms, "
                     "ratio %.0f" % (
                         size, medians["SavedModel"], medians["estimator"],
                         medians["estimator"] / medians["SavedModel"]))
  print("\n" + "\n".join(summary))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
