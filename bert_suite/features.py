"""Vectors of the encoder: layers, pooling, and models that serve them."""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import modeling, serving, tasks
from .model_inputs import check_choice

POOLINGS = ("none", "cls", "mean", "max")


def parse_layers(text, num_layers):
  """Reads the value of --layers.

  Args:
    text: str. Numbers with commas.
    num_layers: int. Layers of the model.

  Returns:
    list of int.

  Raises:
    ValueError: it is not a list of layers that the model has.
  """
  expected = "expected numbers from %d to %d, with commas, for this model" % (
      -num_layers, num_layers - 1)
  try:
    layers = [int(part) for part in text.split(",")]
  except ValueError:
    raise ValueError("--layers=%s: %s" % (text, expected)) from None
  wrong = [layer for layer in layers if not -num_layers <= layer < num_layers]
  if wrong:
    raise ValueError("--layers=%s: there is no layer %d; %s" % (
        text, wrong[0], expected))
  return layers


def pool(layers, input_mask, pooling):
  """Combines the vectors of a sequence into one.

  Args:
    layers: float32 [B, S, L, W].
    input_mask: int32 [B, S].
    pooling: str. "cls" takes that of the first token; "mean" and "max" combine
      all tokens that are not padding.

  Returns:
    float32 [B, L * W], the layers one after the other.
  """
  if pooling == "cls":
    vectors = layers[:, 0]  # [B, L, W]
  else:
    mask = tf.cast(input_mask, tf.float32)[:, :, tf.newaxis, tf.newaxis]
    if pooling == "mean":
      vectors = tf.reduce_sum(layers * mask, axis=1) / tf.maximum(
          tf.reduce_sum(mask, axis=1), 1.0)
    else:
      vectors = tf.reduce_max(
          tf.where(tf.broadcast_to(mask > 0, tf.shape(layers)), layers,
                   tf.fill(tf.shape(layers), layers.dtype.min)), axis=1)
  _, num_layers, width = layers.shape.as_list()[1:]
  return tf.reshape(vectors, [-1, num_layers * width])


def stack_layers(bert_config, layer_indexes, input_ids, input_mask, segment_ids,
                 options=None):
  """Builds the encoder; returns the layers and the pooled output.

  Args:
    bert_config: BertConfig.
    layer_indexes: list of int. L layers.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    options: modeling.Options.

  Returns:
    float32 [B, S, L, W] and float32 [B, W].
  """
  model = modeling.BertModel(
      config=bert_config, is_training=False, input_ids=input_ids,
      input_mask=input_mask, token_type_ids=segment_ids, options=options)
  layers = model.get_all_encoder_layers()
  return (tf.stack([layers[i] for i in layer_indexes], axis=2),
          model.get_pooled_output())


def name_layers(layers):
  """Splits float32 [B, S, L, W] into a dict of L outputs, [B, S, W] each."""
  return {"layer_output_%d" % i: layer
          for i, layer in enumerate(tf.unstack(layers, axis=2))}


def serving_task(bert_config, layer_indexes, pooling="none",
                 options=serving.OPTIONS):
  """Makes the ServingTask of features.

  Args:
    bert_config: BertConfig.
    layer_indexes: list of int. L layers.
    pooling: str. With "none" the outputs are "layer_output_0" and so on,
      float32 [B, S, W]; with another, see `pool`, "vector", float32 [B, L * W].
    options: modeling.Options.

  Returns:
    ServingTask; "pooled_output", float32 [B, W], is always an output too.
  """
  def build(inputs):
    inputs, cut = serving.round_up_request(
        inputs, bert_config.max_position_embeddings)
    layers, pooled_output = stack_layers(
        bert_config, layer_indexes,
        *[inputs[name] for name in serving.SEQUENCE_INPUTS], options=options)
    outputs = {"pooled_output": cut(pooled_output)}
    if pooling == "none":
      outputs.update(name_layers(cut(layers, "input_ids")))
    else:
      outputs["vector"] = cut(pool(layers, inputs["input_mask"], pooling))
    return {serving.SIGNATURE: outputs}

  return serving.ServingTask(
      "features", build, settings={"layers": layer_indexes, "pooling": pooling})


class FeaturesTask(tasks.Task):
  """The encoder's own vectors, which are served but not trained."""

  name = "features"
  options = ("layers", "pooling")

  @classmethod
  def serve(cls, config, options, trained_with, checkpoint, model_options):
    pooling = options.get("pooling") or "none"
    check_choice("pooling", pooling, POOLINGS)
    layers = options.get("layers")
    if layers is None:
      layers = "-1"
    elif not isinstance(layers, str):  # numbers, from a program
      layers = ",".join(
          map(str, layers if isinstance(layers, (list, tuple)) else [layers]))
    layers = parse_layers(layers, config.num_hidden_layers)
    return serving_task(config, layers, pooling, model_options)

  @classmethod
  def answer(cls, model, pairs):
    """Returns float32 [texts, W]; without pooling, a list of [T, L, W]."""
    inputs = model.make_inputs(pairs)
    results = model.compute(inputs)
    if model.settings["pooling"] != "none":
      outputs = model.served.signatures[serving.SIGNATURE]
      return np.reshape(
          [one["vector"] for one in results],
          [len(pairs), outputs["vector"].shape.as_list()[1]]).astype(np.float32)
    names = ["layer_output_%d" % i
             for i in range(len(model.settings["layers"]))]
    return [np.stack([result[name][:len(one.tokens)] for name in names], axis=1)
            for one, result in zip(inputs, results)]
