"""Trained models of each task, with random weights, for tests of exports."""

import json
import os
import shutil

import tensorflow.compat.v1 as tf

from bert_suite import checkpoints, serving, trained_models
from bert_suite.ner import head as ner_head
import helpers
import modeling
import tokenization

LENGTH = 16


def build(task, config, labels=None):
  """Makes the graph of a task's model, and so its variables."""
  if task == "ner":  # which wants a checkpoint first
    ner_head.create_model(config, False, num_labels=len(labels), **{
        name: tf.placeholder(tf.int32, [None, None])
        for name in serving.SEQUENCE_INPUTS})
    return
  served = trained_models.TASKS[task].serve(
      config, {"labels": labels}, {}, None, serving.OPTIONS)
  served.build({name: tf.placeholder(tf.int32, [None, None])
                for name in serving.SEQUENCE_INPUTS + served.extra_inputs})


def write_pretrained(folder):
  """Writes a small model of the sample's words, with heads of pre-training.

  Args:
    folder: str. There, for vocab.txt, bert_config.json and bert_model.ckpt.
  """
  sample = os.path.join(helpers.TOP, "sample_data", "sample_")
  shutil.copy(sample + "vocab.txt", os.path.join(folder, "vocab.txt"))
  with open(sample + "config.json") as reader:
    config = dict(json.load(reader), max_position_embeddings=512,
                  hidden_size=16, intermediate_size=16, num_hidden_layers=4)
  with open(os.path.join(folder, "bert_config.json"), "w") as writer:
    json.dump(config, writer)
  with tf.Graph().as_default(), tf.Session() as session:
    build("masked_lm", modeling.BertConfig.from_dict(config))
    session.run(tf.global_variables_initializer())
    tf.train.Saver().save(session, os.path.join(folder, "bert_model.ckpt"))


def write_model(folder, task, record_task=None, labels=None,
                version_2_with_negative=False, strip_accents=None, **changes):
  """Writes the output directory of a training; returns it.

  Args:
    folder: py.path or pathlib.Path.
    task: str. One of trained_models.TASKS.
    record_task: str. The task's name in run.json.
    labels: list of str.
    version_2_with_negative: bool. Of squad.
    strip_accents: bool. As run.json has it.
    **changes: of the config.
  """
  output_dir = str(folder / ("trained_" + task))
  vocab_file = helpers.write_vocab(folder)
  config = modeling.BertConfig(**dict(helpers.CONFIG, **changes))
  with tf.Graph().as_default(), tf.Session() as session:
    build(task, config, labels)
    variables = tf.global_variables()
    tf.train.get_or_create_global_step()
    for variable in variables:  # as an optimizer leaves them behind
      tf.get_variable(variable.op.name + "/adam_m", variable.shape)
    session.run(tf.global_variables_initializer())
    session.run([tf.assign(v, tf.random_normal(v.shape, stddev=0.3, seed=i))
                 for i, v in enumerate(variables)])
    tf.train.Saver().save(
        session, os.path.join(output_dir, "model.ckpt"), global_step=3)
  checkpoints.write_record(
      output_dir, checkpoints.make_record(
          record_task or task, config, labels,
          tokenization.load_vocab(vocab_file), do_lower_case=True,
          strip_accents=strip_accents),
      0, max_seq_length=LENGTH, vocab_file=vocab_file, doc_stride=4,
      max_query_length=6, version_2_with_negative=version_2_with_negative,
      **{"window_stride": 4} if task == "ner" else {})
  return output_dir


MODELS = {
    "classifier": dict(record_task="mrpc", labels=["no", "yes", "tea"]),
    "features": {},
    "masked_lm": dict(record_task="pretraining"),
    "squad": {},
}
