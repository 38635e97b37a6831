"""What sentence vectors are worth, beside sentence-transformers' of one model.

  python benchmarks/minilm.py --output_dir=minilm
  python benchmarks/sentence_vectors.py --model_dir=minilm --data_dir=glue \
    --torch_python=/tmp/torch_env/bin/python

Gives the sentences of dev sets vectors, without training: with
extract_features.py, the mean of the last layer, and with sentence-transformers'
pipeline of the same model, in an environment of its own, see
transformers_peer.py. The cosine of a pair's vectors says how alike both are. It
is scored by the area under the ROC curve (AUC) on MRPC and by Spearman's
correlation on STS-B. Prints a line per set, and last how far the figures and
the vectors, of length 1, are apart at most:

  MRPC, AUC: ours <a>, sentence-transformers <b>
  STS-B, Spearman: ours <a>, sentence-transformers <b>
  largest difference: of figures <d>, of vectors <e>
"""

import os
import sys
import tempfile

from absl import app, flags
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
from bert_suite import metrics, model_files, task_names
import minilm
import suite_scripts
import transformers_peer

FLAGS = flags.FLAGS


def area_under_curve(labels, scores):
  """Returns how often a score of label 1 is above one of label 0, a float.

  Args:
    labels: int array [N].
    scores: float array [N]. Of two that are equal, one half counts.
  """
  differences = scores[labels == 1][:, np.newaxis] - scores[labels == 0]
  return float(np.mean((np.sign(differences) + 1) / 2))


FIGURES = {"MRPC": ("AUC", area_under_curve),
           "STS-B": ("Spearman", metrics.spearman)}


def define_flags():
  """Defines the flags of this script."""
  transformers_peer.define_flags()
  flags.DEFINE_string("model_dir", None, "What minilm.py has written.",
                      required=True)
  flags.DEFINE_string("data_dir", None, "Folder with a folder per task.",
                      required=True)
  flags.DEFINE_integer("max_seq_length", 256, "Word pieces per sentence.")
  flags.DEFINE_integer("limit", None, "Pairs of each set to take.",
                       lower_bound=2)


def extract(texts):
  """Returns the vectors that extract_features.py writes, float32 [N, W]."""
  with tempfile.TemporaryDirectory() as folder:
    text_file, features = [os.path.join(folder, name)
                           for name in ("texts.txt", "features.npz")]
    with open(text_file, "w", encoding="utf-8") as writer:
      writer.writelines(text + "\n" for text in texts)
    suite_scripts.run(
        "extract_features.py", input_file=text_file, output_file=features,
        output_format="npz", pooling="mean", layers=-1,
        max_seq_length=FLAGS.max_seq_length, **{
            flag: os.path.join(FLAGS.model_dir, name) for flag, name in (
                ("vocab_file", model_files.VOCAB),
                ("bert_config_file", model_files.CONFIG),
                ("init_checkpoint", model_files.CHECKPOINT))})
    return np.load(features)["values"]


def measure(name, peer):
  """Measures one set, and prints its line.

  Args:
    name: str. One of FIGURES.
    peer: transformers_peer.Peer.

  Returns:
    Two floats: how far the figures and the vectors are apart at most.
  """
  examples = task_names.find_processor(name).get_dev_examples(
      os.path.join(FLAGS.data_dir, name))[:FLAGS.limit]
  labels = np.array([float(example.label) for example in examples])
  texts = [example.text_a for example in examples] + [
      example.text_b for example in examples]
  vectors, figures = [], []
  title, score = FIGURES[name]
  for rows in extract(texts), peer.ask(texts=texts)["vectors"]:
    rows = np.array(rows, np.float64)
    vectors.append(rows / np.linalg.norm(rows, axis=1, keepdims=True))
    first, second = np.split(vectors[-1], 2)
    figures.append(score(labels, np.sum(first * second, axis=1)))
  print("%s, %s: ours %.4f, sentence-transformers %.4f" % (
      name, title, *figures), flush=True)
  return abs(figures[0] - figures[1]), np.max(np.abs(vectors[0] - vectors[1]))


def main(_):
  """Measures every set."""
  peer = transformers_peer.Peer(
      task="encode", max_seq_length=FLAGS.max_seq_length,
      model_dir=os.path.abspath(
          os.path.join(FLAGS.model_dir, minilm.HUGGING_FACE)))
  print("Peer: " + peer.description, flush=True)
  found = [measure(name, peer) for name in FIGURES]
  peer.close()
  print("largest difference: of figures %.2g, of vectors %.2g" % tuple(
      max(values) for values in zip(*found)))


if __name__ == "__main__":
  define_flags()
  app.run(main)
