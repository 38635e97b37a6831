"""Models of the published proportions with random weights, to time."""

import os
import sys

from absl import flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import tensorflow.compat.v1 as tf

from bert_suite import checkpoints, serving
import modeling
import run_classifier
import tokenization

SIZE_PER_HEAD = 64  # as in every published model


def define_flags(layers=12, hidden=768):
  """Defines the flags of the model's size."""
  flags.DEFINE_integer("layers", layers, "Transformer layers.", lower_bound=1)
  flags.DEFINE_integer("hidden", hidden, "Hidden size, a multiple of %d." %
                       SIZE_PER_HEAD)
  flags.register_validator(
      "hidden", lambda size: size > 0 and size % SIZE_PER_HEAD == 0,
      "must be a multiple of %d, the size of a head" % SIZE_PER_HEAD)


def make_config(layers, hidden, vocab_size, **changes):
  """Makes a BertConfig of the published models' proportions."""
  return modeling.BertConfig(
      vocab_size=vocab_size,
      hidden_size=hidden,
      num_hidden_layers=layers,
      num_attention_heads=hidden // SIZE_PER_HEAD,
      intermediate_size=4 * hidden,
      type_vocab_size=2, **changes)


def write_classifier(folder, config, labels, vocab_file, max_seq_length,
                     seed=None, init_checkpoint=None):
  """Writes what training a classifier leaves, with random weights.

  Args:
    folder: str.
    config: BertConfig.
    labels: list of str.
    vocab_file: str. Uncased vocabulary.
    max_seq_length: int. S.
    seed: int. Seed of the weights, None for any.
    init_checkpoint: str. Has weights of the encoder; None for random ones.
  """
  task = run_classifier.serving_task(config, labels)
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(seed)
    task.build({name: tf.placeholder(tf.int32, [None, None])
                for name in serving.SEQUENCE_INPUTS})
    if init_checkpoint:
      tf.train.init_from_checkpoint(
          init_checkpoint, modeling.get_assignment_map_from_checkpoint(
              tf.trainable_variables(), init_checkpoint)[0])
    tf.train.get_or_create_global_step()
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(
        session, os.path.join(folder, "model.ckpt"), global_step=1)
  vocab = tokenization.load_vocab(vocab_file)
  checkpoints.write_record(
      folder, checkpoints.make_record(
          "mrpc", config, labels, vocab, do_lower_case=True), 0,
      max_seq_length=max_seq_length, vocab_file=vocab_file)
