"""Converted models beside transformers: what heads compute, both ways.

These tests run where TORCH_PYTHON in the environment names the interpreter of
an environment with torch and transformers, see benchmarks/transformers_peer.py.
"""

import json
import os
import subprocess

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite.conversion import models
from bert_suite.ner import head as ner_head
from bert_suite.pretraining import heads as pretraining_heads
from bert_suite.squad import head as squad_head
from conversion_fixtures import (
    EVERY_HEAD, HEADS, RECORDS, convert, write_reference)
from helpers import TOP, WORDS, write_config, write_vocab
import modeling
import run_classifier
import tokenization

TORCH_PYTHON = os.environ.get("TORCH_PYTHON")


def make_inputs():
  random = np.random.RandomState(5)
  ids = random.randint(5, len(WORDS), [3, 12])
  mask = np.ones([3, 12], np.int64)
  mask[1, 7:] = mask[2, 3:] = 0
  segments = np.cumsum(ids == 7, axis=1).clip(0, 1)
  return {"input_ids": ids * mask, "input_mask": mask, "segment_ids": segments}


def compute_ours(folder, architecture, inputs):
  """Returns what the heads of the scripts compute, by transformers' names."""
  config = modeling.BertConfig.from_json_file(
      os.path.join(folder, "bert_config.json"))
  with tf.Graph().as_default(), tf.Session() as session:
    arrays = [tf.constant(inputs[name], tf.int32) for name in (
        "input_ids", "input_mask", "segment_ids")]
    outputs = build_ours(config, architecture, arrays)
    saver = tf.train.Saver(tf.global_variables())
    saver.restore(session, os.path.join(folder, "bert_model.ckpt"))
    return session.run(outputs)


def build_ours(config, architecture, arrays):
  """Builds a model with the head of a script; returns its outputs."""
  model_args = (config, False) + tuple(arrays)
  if architecture == "BertForSequenceClassification":
    _, _, logits, _ = run_classifier.create_model(
        *model_args, labels=tf.zeros([3], tf.int32), num_labels=3,
        use_one_hot_embeddings=False)
    return {"logits": logits}
  if architecture == "BertForTokenClassification":
    return {"logits": ner_head.create_model(*model_args, num_labels=3)}
  if architecture == "BertForQuestionAnswering":
    return dict(zip(("start_logits", "end_logits"), squad_head.create_model(
        *model_args, use_one_hot_embeddings=False)))
  model = modeling.BertModel(*model_args)
  vectors, pooled = model.get_sequence_output(), model.get_pooled_output()
  heads = HEADS[architecture]
  if not heads:
    return {"last_hidden_state": vectors, "pooler_output": pooled}
  positions = tf.tile([tf.range(12)], [3, 1])
  _, _, words = pretraining_heads.get_masked_lm_output(
      config, vectors, model.get_embedding_table(), positions, positions,
      tf.ones([3, 12]))
  outputs = {"words": tf.reshape(words, [3, 12, -1])}
  if models.NEXT_SENTENCE in heads:
    _, _, outputs["seq_relationship_logits"] = (
        pretraining_heads.get_next_sentence_output(
            config, pooled, tf.zeros([3], tf.int32)))
  return outputs


@pytest.fixture(scope="module")
def theirs(tmp_path_factory):
  """Returns what transformers computes of models of both sides.

  A process imports it once, which takes longer than all that follows.

  Returns:
    dict from (side, architecture) to (folder of the other format, outputs as
    `compute_ours` names them).
  """
  if not TORCH_PYTHON:
    pytest.skip("TORCH_PYTHON names no interpreter")
  top = tmp_path_factory.mktemp("models")
  arguments, places = [str(top / "inputs.npz")], {}
  np.savez(arguments[0], **make_inputs())
  for architecture, heads in sorted(HEADS.items()):
    ours, _ = write_reference(top / ("ours" + architecture), architecture)
    there = convert(ours, top / ("hf" + architecture))
    new = top / ("new" + architecture)
    new.mkdir()
    write_vocab(new)
    more = {"id2label": {"0": "O", "1": "B-PER", "2": "I-PER"}} if heads in (
        (models.CLASSIFIER,), (models.NER,)) else {}
    write_config(new, "config.json", model_type="bert", hidden_act="gelu",
                 layer_norm_eps=1e-5, **more)
    saved = str(top / ("saved" + architecture))
    for side, folder, save_to, other in (("ours", there, "", ours),
                                         ("theirs", str(new), saved, saved)):
      outputs = str(top / ("%s%s.npz" % (side, architecture)))
      places[side, architecture] = other, outputs
      arguments += [architecture, folder, save_to, outputs]
  process = subprocess.run(
      [TORCH_PYTHON, os.path.join(TOP, "tests", "transformers_worker.py")] +
      arguments, capture_output=True, env=dict(os.environ, HF_HUB_OFFLINE="1"))
  assert process.returncode == 0, process.stderr.decode("utf-8")
  return {key: (folder, read_outputs(path))
          for key, (folder, path) in places.items()}


def read_outputs(path):
  found = dict(np.load(path))
  for name in ("logits", "prediction_logits"):
    if name in found and found[name].shape[-1] == len(WORDS):
      found["words"] = log_softmax(found.pop(name))
  if "seq_relationship_logits" in found:
    found["seq_relationship_logits"] = log_softmax(
        found["seq_relationship_logits"])
  return found


def log_softmax(logits):
  return logits - np.log(np.sum(np.exp(logits), axis=-1, keepdims=True))


def check_same(ours, theirs, mask):
  for name, value in ours.items():
    difference = np.abs(value - theirs[name])
    if value.ndim > 1 and value.shape[1] == mask.shape[1]:
      difference = difference[mask == 1]  # at padding, nothing is defined
    print("%s: largest difference %.1e" % (name, np.max(difference)))
    assert np.max(difference) < 1e-5, name
    assert np.max(np.abs(value)) > 0.2


@EVERY_HEAD
def test_transformers_computes_the_same_of_ours(theirs, architecture):
  folder, outputs = theirs["ours", architecture]
  inputs = make_inputs()
  check_same(compute_ours(folder, architecture, inputs), outputs,
             inputs["input_mask"])
  tokenizer = tokenization.FullTokenizer(os.path.join(folder, "vocab.txt"))
  assert outputs["tokens"].tolist() == tokenizer.convert_tokens_to_ids(
      ["[CLS]"] + tokenizer.tokenize(str(outputs["text"])) + ["[SEP]"])
  labels = RECORDS.get(architecture, {}).get("labels", ["LABEL_0", "LABEL_1"])
  assert json.loads(str(outputs["id2label"])) == labels


@EVERY_HEAD
def test_ours_computes_the_same_of_transformers(
    tmp_path, theirs, architecture):
  folder, outputs = theirs["theirs", architecture]
  write_vocab(tmp_path)
  back = convert(folder, tmp_path / "back",
                 vocab_file=tmp_path / "vocab.txt")
  inputs = make_inputs()
  check_same(compute_ours(back, architecture, inputs), outputs,
             inputs["input_mask"])
