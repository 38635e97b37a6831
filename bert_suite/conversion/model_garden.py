"""Checkpoints of BERT in TensorFlow 2's Model Garden.

They are object-based: names are the paths of attributes that lead to variables.
An encoder is a Keras model whose layers with weights are the tables of words,
positions and segments, a layer norm, the Transformer's layers and the pooler,
in this order.
"""

import os
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import models
from .. import (
    checkpoint_fit, checkpoints, model_inputs, tokenization, vocab_files)

_LAYER = re.compile(r"(.*/)?layer_with_weights-(\d+)/(.+)$")
_NOT_WEIGHTS = re.compile(
    r"_CHECKPOINTABLE_OBJECT_GRAPH$|(.*/)?(save_counter|global_step|"
    r"optimizer)(/|$)|.*/\.OPTIMIZER_SLOT/")
_FIRST_LAYERS = ("bert/embeddings/word_embeddings",
                 "bert/embeddings/position_embeddings",
                 "bert/embeddings/token_type_embeddings")
_TABLES = ("embeddings", "_position_embeddings")  # attributes of the above
# From the attribute of a Transformer layer to our name of its part.
_PARTS = {
    "_attention_layer/_query_dense": "attention/self/query",
    "_attention_layer/_key_dense": "attention/self/key",
    "_attention_layer/_value_dense": "attention/self/value",
    "_attention_layer/_output_dense": "attention/output/dense",
    "_attention_output_dense": "attention/output/dense",
    "_attention_layer_norm": "attention/output/LayerNorm",
    "_intermediate_dense": "intermediate/dense",
    "_output_dense": "output/dense",
    "_output_layer_norm": "output/LayerNorm"}


def is_object_based(shapes):
  """Returns whether variables, a dict by name, are those of TensorFlow 2."""
  return any(name.endswith(checkpoint_fit.OBJECT_BASED) for name in shapes)


def variable_name(layer, attribute, num_layers):
  """Returns our name for an encoder's variable, None if BERT does not have it.

  Args:
    layer: int. Its number among the layers with weights.
    attribute: str, such as "_output_dense/kernel".
    num_layers: int. Of the Transformer.
  """
  first = len(_FIRST_LAYERS)
  if layer < first:
    return _FIRST_LAYERS[layer] if attribute in _TABLES else None
  part, _, leaf = attribute.rpartition("/")
  if layer == first:
    return "bert/embeddings/LayerNorm/" + attribute
  if layer == first + 1 + num_layers:
    return "bert/pooler/dense/" + attribute
  if part not in _PARTS:
    return None
  return "bert/encoder/layer_%d/%s/%s" % (layer - first - 1, _PARTS[part], leaf)


def read(checkpoint, bert_config_file=None, vocab_file=None,
         do_lower_case=None):
  """Reads an encoder.

  Args:
    checkpoint: str. Its prefix.
    bert_config_file: str. None for bert_config.json beside it.
    vocab_file: str. None for vocab.txt beside it.
    do_lower_case: bool. None to find it from the vocabulary.

  Returns:
    models.Model.

  Raises:
    ValueError: a file is missing, or does not fit the others.
  """
  folder = os.path.dirname(checkpoint)
  config = models.read_config(folder, bert_config_file, {})
  shapes = checkpoints.check_readable(checkpoint)
  places, others = {}, []
  for key in sorted(shapes):
    if _NOT_WEIGHTS.match(key):
      continue
    found = _LAYER.match(key.replace(checkpoint_fit.OBJECT_BASED, ""))
    if not found:
      others.append(key)
      continue
    name = variable_name(int(found.group(2)), found.group(3),
                         config["num_hidden_layers"])
    if name is None or name in places:
      raise ValueError(
          "%s: found %s, which is %s of an encoder of the Model Garden with %d "
          "layers" % (checkpoint, key, "no part" if name is None else
                      "there twice, as a part", config["num_hidden_layers"]))
    places[name] = key
  if not places:
    raise ValueError(
        "%s: found no layer_with_weights-0 and so on (the first names: %s), so "
        "it is not an encoder of the Model Garden" % (
            checkpoint, ", ".join(others[:3])))
  if others:
    tf.logging.warning("%s: left out, not part of the encoder: %s%s",
                       checkpoint, ", ".join(others[:5]),
                       ", ..." if len(others) > 5 else "")
  weights = _read_weights(checkpoint, config, shapes, places)
  vocab_file = models.find_vocab(folder, vocab_file, {})
  model_inputs.check_vocab(tokenization.load_vocab(vocab_file), vocab_file,
                           config["vocab_size"])
  lower = tokenization.decide_casing(
      do_lower_case, vocab_file, None, config.get("do_lower_case"))
  return models.Model(config, weights, vocab_files.read_tokens(vocab_file),
                      {"do_lower_case": lower}, ())


def _read_weights(checkpoint, config, shapes, places):
  """Reads an encoder's weights, with those of attention heads as matrices.

  Args:
    checkpoint: str.
    config: dict.
    shapes: dict from name in the checkpoint to list of int.
    places: dict from the name of a variable to that in the checkpoint.

  Returns:
    dict from the name of a variable to a float32 array.
  """
  expected = models.expected_shapes(config)
  if models.POOLER[0] not in places:
    for name in models.POOLER:
      del expected[name]
  width, heads = config["hidden_size"], config["num_attention_heads"]
  by_head = [heads, width // heads]
  found = {}
  for name, key in places.items():
    shape = list(shapes[key])
    if name.endswith("attention/output/dense/kernel"):
      split = by_head + [width]
    elif "/attention/self/" in name:
      split = [width] * name.endswith("/kernel") + by_head
    else:
      split = None
    found[name] = expected.get(name) if shape == split else shape
  models.check_shapes(found, expected, checkpoint, {
      name: "%s (%s)" % (key, name) for name, key in places.items()})
  reader = checkpoints.open_checkpoint(checkpoint)
  weights = {name: np.float32(reader.get_tensor(key)).reshape(expected[name])
             for name, key in places.items()}
  if models.POOLER[0] not in weights:
    models.add_pooler(weights, config, checkpoint)
  return weights
