"""Entity F1 of run_ner.py over several seeds, beside transformers.

  python benchmarks/ner.py --train_file=wnut17train.conll \
    --test_file=emerging.test.annotated --vocab_file=vocab.txt \
    --bert_config_file=bert_config.json --init_checkpoint=bert_model.ckpt \
    --output_dir=ner --torch_python=/tmp/torch_env/bin/python

Trains with each of --seeds: with run_ner.py, and with transformers'
BertForTokenClassification from the same checkpoint, on the same word pieces,
the first of a word with its tag, with dropout, clipping, a warm-up of 10%,
linear decay and AdamW (weight decay 0.01, with bias correction, which
run_ner.py only does when asked). transformers runs in an environment of its
own, see transformers_peer.py; its batches are padded to their longest. Both
sides are scored by one function, whose figures are conlleval's.

Results stay in --output_dir, a file per run; a run that is there is not
repeated. Prints a line per run as it ends and then, for precision, recall and
F1, mean +- sample standard deviation (min to max) of both. --limit tries it out
on the first sentences of each file.
"""

import collections
import json
import os
import sys
import tempfile

from absl import app, flags
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import tensorflow.compat.v1 as tf

from bert_suite.ner import data, reader, results, scores, tags
import fine_tuner
import mrpc_seeds
import suite_scripts
import tokenization
import transformers_peer

FLAGS = flags.FLAGS

SIDES = ("ours", "HF")
METRICS = ("precision", "recall", "f1")
SCHEME = "IOB2"

# Flags that go to run_ner.py as they are.
PASSED_ON = suite_scripts.PASSED_ON + ("adam_bias_correction",)


def define_flags():
  """Defines the flags of this script."""
  transformers_peer.define_flags()
  flags.DEFINE_string("train_file", None, "CoNLL columns, or JSON lines.",
                      required=True)
  flags.DEFINE_string("test_file", None, "The same, to score.", required=True)
  suite_scripts.define_training_flags(1e-4, 5)
  flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds.")
  flags.DEFINE_bool("adam_bias_correction", True, "As of run_ner.py, which "
                    "torch's AdamW always does.")
  flags.DEFINE_integer("limit", None, "Sentences of each file to read.",
                       lower_bound=1)


def read(path):
  """Returns the Sentences of a file, the first ones with --limit."""
  found = reader.read(path, True)
  return reader.Sentences(path, found[:FLAGS.limit], found.has_documents)


def right_tags(sentences):
  """Returns the tags of each sentence, lists of str."""
  return [tags.convert(one.tags, SCHEME) for one in sentences]


def make_arrays(files, labels, tokenizer, max_seq_length):
  """Makes the features of both files, as run_ner.py does.

  Args:
    files: dict from "train" and "dev" to Sentences.
    labels: list of str.
    tokenizer: FullTokenizer.
    max_seq_length: int.

  Returns:
    dict from "train/input_ids" and the like to array [N, S]; label_ids are -100
    but at first pieces.
  """
  windows = data.Windows(tokenizer, max_seq_length, max_seq_length // 2)
  arrays = {}
  for name, sentences in files.items():
    features = list(data.make_features(
        sentences, right_tags(sentences), labels, windows, name))
    for key in ("input_ids", "input_mask", "segment_ids"):
      arrays["%s/%s" % (name, key)] = np.array([one[key] for one in features])
    arrays[name + "/label_ids"] = np.array([
        np.where(one["label_mask"], one["label_ids"], -100)
        for one in features])
  return arrays


def score(sentences, logits, labels):
  """Returns the figures of the logits of all words, float array [words, L]."""
  decoder, predicted, start = tags.Decoder(labels, SCHEME), [], 0
  for one in sentences:
    predicted.append(decoder.decode(logits[start:start + len(one.words)]))
    start += len(one.words)
  return scores.count(right_tags(sentences), predicted).figures()


def train_ours(seed, paths):
  """Trains and predicts with run_ner.py; returns its figures."""
  with tempfile.TemporaryDirectory() as folder:
    suite_scripts.run(
        "run_ner.py", do_train=True, do_predict=True, train_file=paths["train"],
        test_file=paths["dev"], output_dir=folder, tf_random_seed=seed,
        save_checkpoints_steps=1000000000,  # one, at the end
        **suite_scripts.values_of(PASSED_ON))
    found = suite_scripts.read_results(
        os.path.join(folder, "test_results.txt"))
  return {name[len("test_"):]: value for name, value in found.items()}


def measure(folder):
  """Runs both with all seeds.

  Args:
    folder: str. For files on the way.

  Returns:
    dict from (side, metric) to list of float.
  """
  files = {"train": read(FLAGS.train_file), "dev": read(FLAGS.test_file)}
  labels = tags.all_tags(files["train"].types(), SCHEME)
  paths = {}
  for name, sentences in files.items():
    paths[name] = os.path.join(folder, name + ".conll")
    results.write_columns(
        paths[name], reader.Sentences(paths[name], [
            one._replace(tags=None) for one in sentences], False),
        right_tags(sentences))
  peer = fine_tuner.FineTuner("tagger", lambda: make_arrays(
      files, labels, tokenization.FullTokenizer(
          FLAGS.vocab_file, FLAGS.do_lower_case), FLAGS.max_seq_length),
      len(labels), folder)
  found = collections.defaultdict(list)
  for seed in map(int, FLAGS.seeds):
    for side in SIDES:
      path = os.path.join(FLAGS.output_dir, "%s_seed%d.json" % (side, seed))
      if not os.path.exists(path):
        figures = (train_ours(seed, paths) if side == "ours" else
                   score(files["dev"], peer.train(seed)[0], labels))
        with open(path, "w") as writer:
          json.dump(figures, writer)
      with open(path) as lines:
        figures = json.load(lines)
      print("%s, seed %d: %s" % (side, seed, ", ".join(
          "%s %.4f" % (name, figures[name]) for name in METRICS)), flush=True)
      for name in METRICS:
        found[side, name].append(figures[name])
  peer.close()
  return found


def main(_):
  """Runs both sides, then reports."""
  os.makedirs(FLAGS.output_dir, exist_ok=True)
  with tempfile.TemporaryDirectory() as folder:
    found = measure(folder)
  print("\n%d seed(s), mean +- sample standard deviation (min to max)" % len(
      FLAGS.seeds))
  for name in METRICS:
    for side in SIDES:
      print("%-10s %-5s %s" % (
          name, side, mrpc_seeds.spread(found[side, name], "%.4f")))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
