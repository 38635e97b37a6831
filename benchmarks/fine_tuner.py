"""Fine-tuning with transformers, on our features and from our checkpoints."""

import os

from absl import flags
import numpy as np

import modeling
import transformers_inference
import transformers_peer

FLAGS = flags.FLAGS


def read_config(path):
  """Returns a bert_config.json as transformers takes it, a dict."""
  return transformers_peer.convert_config(
      modeling.BertConfig.from_json_file(path))


class FineTuner:
  """transformers on one task; its process starts with the first run.

  The same word pieces and the same weights are on both sides. Uses the flags of
  the benchmark: bert_config_file, init_checkpoint, train_batch_size,
  learning_rate and num_train_epochs.
  """

  def __init__(self, head, make_arrays, num_labels, folder):
    """Makes it.

    Args:
      head: str. See transformers_worker.py.
      make_arrays: function without arguments that returns a dict from
        "train/input_ids" and the like to array [N, ...], and the same of "dev".
      num_labels: int.
      folder: str. For files on the way.
    """
    self._head, self._make_arrays = head, make_arrays
    self._num_labels, self._folder = num_labels, folder
    self._peer = self._labels = None

  def train(self, seed):
    """Trains; returns logits and right labels of the dev set, two arrays."""
    if not self._peer:
      self._start()
    return np.array(self._peer.ask(seed=seed)["logits"]), self._labels

  def close(self):
    """Ends the process."""
    if self._peer:
      self._peer.close()

  def _start(self):
    arrays = self._make_arrays()
    self._labels = arrays["dev/label_ids"]
    data, weights = [os.path.join(self._folder, name + ".npz")
                     for name in ("data", "weights")]
    np.savez(data, **arrays)
    transformers_inference.write_weights(FLAGS.init_checkpoint, weights)
    self._peer = transformers_peer.Peer(
        task="fine_tune", head=self._head, weights=weights, data=data,
        config=dict(
            read_config(FLAGS.bert_config_file), num_labels=self._num_labels),
        batch_size=FLAGS.train_batch_size, learning_rate=FLAGS.learning_rate,
        num_epochs=FLAGS.num_train_epochs)
