"""config.json of Hugging Face to bert_config.json and run.json, and back."""

import math
import re
import zlib

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np

from . import models
from .. import checkpoint_fit, config as configs, problem_types

FILE_NAME = "config.json"

# From a class of transformers to the heads that it has.
ARCHITECTURES = {
    "BertModel": (),
    "BertForPreTraining": (models.MASKED_LM, models.NEXT_SENTENCE),
    "BertForMaskedLM": (models.MASKED_LM,),
    "BertForSequenceClassification": (models.CLASSIFIER,),
    "BertForQuestionAnswering": (models.SQUAD,),
    "BertForTokenClassification": (models.NER,)}
# Hugging Face's names of activations, and those of BertConfig. What the
# reference calls "gelu" is the tanh form.
_ACTIVATIONS = {
    "gelu": "gelu_erf", "gelu_python": "gelu_erf", "gelu_new": "gelu",
    "gelu_pytorch_tanh": "gelu", "relu": "relu", "tanh": "tanh",
    "linear": "linear"}
_THEIR_ACTIVATIONS = {
    "gelu": "gelu_new", "gelu_new": "gelu_new", "gelu_erf": "gelu",
    "relu": "relu", "tanh": "tanh", "linear": "linear"}
# The defaults of transformers for what config.json leaves out.
_DEFAULTS = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12,
    "num_attention_heads": 12, "intermediate_size": 3072, "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512, "type_vocab_size": 2,
    "initializer_range": 0.02, "layer_norm_eps": 1e-12}
# Why other models are not BERT.
_REASONS = {
    "distilbert": "it has no segments and no pooler",
    "roberta": "its positions begin at 2 and its pieces are not BERT's",
    "xlm-roberta": "its positions begin at 2 and its pieces are not BERT's",
    "camembert": "its positions begin at 2 and its pieces are not BERT's",
    "albert": "its layers share their weights",
    "electra": "its embeddings have a size of their own",
    "mobilebert": "its layers have bottlenecks",
    "deberta": "its positions are relative",
    "deberta-v2": "its positions are relative"}
# Values that keys of BERT models must have, if they are there.
_AS_BERT = {
    "position_embedding_type": ("absolute", "its positions are not absolute"),
    "is_decoder": (False, "it is a decoder"),
    "add_cross_attention": (False, "it has cross-attention")}

# Settings of a training that also apply when the model is used.
_USED = ("max_seq_length", "doc_stride", "max_query_length",
         "version_2_with_negative", "valid_tags_only", "long_text",
         "window_stride", "window_pooling")
_RECORDED = "bert_suite"  # the key for what Hugging Face has no key for
_TUNED_FOR = "thresholds_for"  # of the key: the head that they were tuned for


def check_is_bert(values):
  """Raises ValueError, with the reason, for the config of another model."""
  kind = str(values.get("model_type", "bert"))
  if kind != "bert":
    raise ValueError("model_type is %.40s, which is not BERT%s" % (
        kind, ": " + _REASONS[kind] if kind in _REASONS else ""))
  for key, (expected, reason) in _AS_BERT.items():
    if values.get(key, expected) not in (expected, None):
      raise ValueError("%s is %.40s, so the model is not BERT: %s" % (
          key, values[key], reason))
  width = values.get("hidden_size", _DEFAULTS["hidden_size"])
  if values.get("embedding_size", width) not in (width, None):
    raise ValueError(
        "embedding_size is %.40s and hidden_size %.40s, so the model is not "
        "BERT: its embeddings have a size of their own" % (
            values["embedding_size"], width))
  if values.get("tie_word_embeddings") is False and (
      models.MASKED_LM in ARCHITECTURES.get(find_architecture(values), ())):
    raise ValueError("tie_word_embeddings is False, so the model is not BERT: "
                     "its output layer has a table of its own")
  if values.get("pruned_heads"):
    raise ValueError("pruned_heads is not empty: BERT's layers have all heads")
  if values.get("quantization_config"):
    raise ValueError("quantization_config is there: its weights are quantized")


def to_reference(values):
  """Returns the content of bert_config.json for that of config.json.

  Args:
    values: dict.

  Raises:
    ValueError: the model is not BERT, or a value is invalid.
  """
  check_is_bert(values)
  config = {key: values.get(key, default) for key, default in _DEFAULTS.items()}
  activation = config["hidden_act"]
  if not isinstance(activation, str) or activation not in _ACTIVATIONS:
    raise ValueError("hidden_act is %.40r, expected one of %s" % (
        activation, ", ".join(sorted(_ACTIVATIONS))))
  config["hidden_act"] = _ACTIVATIONS[activation]
  configs.check_config(configs.BertConfig.from_dict(config))
  if math.isclose(config["layer_norm_eps"], _DEFAULTS["layer_norm_eps"]):
    del config["layer_norm_eps"]  # the reference's only value
  return config


def find_architecture(values):
  """Returns the name in ARCHITECTURES that a config.json gives, or None."""
  found = values.get("architectures") or []
  name = found[0] if isinstance(found, list) and found else None
  if name is not None and str(name) not in ARCHITECTURES:
    raise ValueError("architectures is %.60s; expected one of %s" % (
        name, ", ".join(ARCHITECTURES)))
  return name


def read_labels(values):
  """Returns a model's labels.

  Args:
    values: dict, the content of config.json.

  Returns:
    list of str, or None if their names are only LABEL_0 and so on; int, how
    many there are.

  Raises:
    ValueError: id2label lacks an id from 0 on, or has a name twice.
  """
  by_id = values.get("id2label")
  if not by_id:
    count = values.get("num_labels")
    return None, count if isinstance(count, int) else 2
  if not isinstance(by_id, dict) or set(by_id) != set(
      map(str, range(len(by_id)))):
    raise ValueError("id2label: expected an object with the ids 0, 1 and so on")
  labels = [by_id[str(i)] for i in range(len(by_id))]
  if all(label == "LABEL_%d" % i for i, label in enumerate(labels)):
    return None, len(labels)
  if not all(isinstance(label, str) and label for label in labels) or (
      len(set(labels)) < len(labels)):
    raise ValueError("id2label: found %.80s, expected texts that differ" %
                     labels)
  return labels, len(labels)


def fits_thresholds(values, weights):
  """Returns whether a classifier is still the one whose thresholds are there.

  Args:
    values: dict, the content of config.json.
    weights: dict from the name of a variable to its array.
  """
  kept = values.get(_RECORDED)
  there = kept.get(_TUNED_FOR) if isinstance(kept, dict) else None
  return there is None or there == _checksum_of_head(weights)


def _checksum_of_head(weights):
  checksum = 0
  for name in checkpoint_fit.CLASSIFIER_HEAD:
    # A model may be stored in 16 bits in between.
    checksum = zlib.crc32(np.float16(weights[name]).tobytes(), checksum)
  return checksum


def read_record(values, head):
  """Returns the content of run.json for a fine-tuned model.

  Args:
    values: dict, the content of config.json.
    head: str. One of models.TASKS.

  Returns:
    dict, as `run_record.make_record` makes it.

  Raises:
    ValueError: a value is wrong.
  """
  labels, num_labels = read_labels(values)
  kept = values.get(_RECORDED)
  record = {name: value for name, value in kept.items() if name in (
      "tag_scheme", "thresholds", "training")} if isinstance(kept, dict) else {}
  if isinstance(record.get("training"), dict):
    record["training"] = {name: value for name, value in
                          record["training"].items() if name in _USED}
  if head == models.CLASSIFIER:
    problem = values.get("problem_type") or (
        problem_types.REGRESSION if num_labels == 1 else
        problem_types.SINGLE_LABEL)
    if problem == problem_types.REGRESSION:
      labels = None
      if num_labels != 1:
        raise ValueError("problem_type is regression and there are %s outputs; "
                         "expected 1" % num_labels)
    record["problem_type"] = problem
  else:
    record["task"] = head
    record.pop("thresholds", None)
  if head != models.SQUAD and labels:
    record["labels"] = labels
  if head == models.NER and labels and "tag_scheme" not in record:
    record["tag_scheme"] = "IOBES" if any(
        re.match("[ES]-", label) for label in labels) else "IOB2"
  return record


def from_reference(model, labels=None):
  """Returns the content of config.json.

  Args:
    model: models.Model.
    labels: list of str. Those of a classifier or tagger; None if their names
      are not known.

  Raises:
    ValueError: the number of labels is not that of outputs.
  """
  values = {key: model.config.get(key, default)
            for key, default in _DEFAULTS.items()}
  values["hidden_act"] = _THEIR_ACTIVATIONS[
      (values["hidden_act"] or "linear").lower()]
  values.update(
      architectures=[name for name, heads in ARCHITECTURES.items()
                     if heads == model.heads],
      model_type="bert", tie_word_embeddings=True, pad_token_id=0)
  if not values["architectures"]:
    raise ValueError("the model has only the head %s; transformers has no BERT "
                     "model with only that head" % ", ".join(model.heads))
  if not model.heads or model.heads[0] not in models.TASKS:
    return values
  head, record = model.heads[0], model.record
  kept = {name: record[name] for name in ("tag_scheme", "thresholds")
          if record.get(name) is not None}
  if "thresholds" in kept:
    kept[_TUNED_FOR] = _checksum_of_head(model.weights)
  training = {name: record.get("training", {})[name] for name in _USED
              if record.get("training", {}).get(name) is not None}
  values[_RECORDED] = dict(kept, training=training)
  if head == models.SQUAD:
    return values
  values["classifier_dropout"] = 0.1
  count = len(model.weights[models.HEADS[head]])
  labels = labels or record.get("labels") or [
      "LABEL_%d" % i for i in range(count)]
  if len(labels) != count:
    raise ValueError("labels: found %d, and the model has %d outputs" % (
        len(labels), count))
  values["id2label"] = {str(i): label for i, label in enumerate(labels)}
  values["label2id"] = {label: i for i, label in enumerate(labels)}
  if head == models.CLASSIFIER:
    values["problem_type"] = record.get("problem_type") or (
        problem_types.REGRESSION if count == 1 else problem_types.SINGLE_LABEL)
  return values
