"""Trained models without an Estimator: build once, load once, run many times.

A task says in a ServingTask how its outputs come about. From that this module
makes a session to run here (`open_session`), or a SavedModel to run elsewhere
(`export_saved_model`), whose graph has no optimizer and none of its variables.
"""

import collections
import contextlib
import json
import os
import time

import tensorflow.compat.v1 as tf

import checkpoints
import input_pipeline

# What every task reads, int32 [B, S] each.
SEQUENCE_INPUTS = ("input_ids", "input_mask", "segment_ids")
SIGNATURE = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
# Assets of a SavedModel.
VOCAB_FILE = "vocab.txt"
SETTINGS_FILE = "model.json"


class ServingTask(collections.namedtuple(
    "ServingTask", ["name", "build", "extra_inputs", "settings"])):
  """How a task's outputs come about, for whoever has a trained model.

  Attributes:
    name: str. "classifier", for example.
    build: function of a dict from input name to Tensor that builds the model,
      without dropout, and returns a dict from the name of a signature to its
      outputs, a dict from name to Tensor [B, ...].
    extra_inputs: names of inputs that are read beside SEQUENCE_INPUTS, int32
      [B, anything].
    settings: dict for JSON. What a program must know to use the outputs, such
      as the labels.
  """

  def __new__(cls, name, build, extra_inputs=(), settings=None):
    return super(ServingTask, cls).__new__(
        cls, name, build, tuple(extra_inputs), settings or {})


class Served(collections.namedtuple(
    "Served", ["session", "inputs", "signatures"])):
  """A model that is ready to run.

  Attributes:
    session: tf.Session.
    inputs: dict from input name to its placeholder.
    signatures: dict, as `ServingTask.build` returns it.
  """


def session_config():
  """Returns a ConfigProto that leaves memory of a GPU to others."""
  config = tf.ConfigProto(allow_soft_placement=True)
  config.gpu_options.allow_growth = True
  return config


def open_session(task, checkpoint):
  """Builds a task's model in a graph of its own and loads its weights.

  Args:
    task: ServingTask.
    checkpoint: str. Prefix of a checkpoint that has every variable.

  Returns:
    Served.

  Raises:
    ValueError: the checkpoint cannot be read or does not fit.
  """
  with tf.Graph().as_default():
    inputs = collections.OrderedDict(
        (name, tf.placeholder(tf.int32, [None, None], name))
        for name in SEQUENCE_INPUTS + task.extra_inputs)
    signatures = task.build(inputs)
    variables = tf.global_variables()
    checkpoints.check_shapes(
        variables, checkpoint, must_have_all=True,
        cure="is it the checkpoint of this task, model and set of labels?")
    saver = tf.train.Saver(variables)
    session = tf.Session(config=session_config())
    saver.restore(session, checkpoint)
  return Served(session, inputs, signatures)


def run(served, signature, arrays):
  """Runs a model; several threads may do so at once.

  Args:
    served: Served.
    signature: str.
    arrays: dict from input name to int32 [B, S].

  Returns:
    dict from output name to array [B, ...].
  """
  return served.session.run(
      served.signatures[signature],
      {served.inputs[name]: array for name, array in arrays.items()})
