"""Folders of Hugging Face models: config, vocabulary and weights, both ways."""

import os
import re

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import hf_config, hf_vocab, models, safetensors_files
from .. import files, model_inputs, vocab_files

_PYTORCH = "pytorch_model.bin"
_INDEX = ".index.json"

_HEADS = {
    "output_weights": "classifier.weight", "output_bias": "classifier.bias",
    "cls/ner/output_weights": "classifier.weight",
    "cls/ner/output_bias": "classifier.bias",
    "cls/squad/output_weights": "qa_outputs.weight",
    "cls/squad/output_bias": "qa_outputs.bias",
    "cls/seq_relationship/output_weights": "cls.seq_relationship.weight",
    "cls/seq_relationship/output_bias": "cls.seq_relationship.bias",
    "cls/predictions/output_bias": "cls.predictions.bias"}
# Values that follow from the config, which older releases also saved.
_BUFFERS = ("bert.embeddings.position_ids", "bert.embeddings.token_type_ids")
# The masked LM's output layer, which is the table of words, and its bias.
_DECODER = "cls.predictions.decoder."


def tensor_name(name):
  """Returns transformers' name for a variable."""
  if name in _HEADS:
    return _HEADS[name]
  name = re.sub(r"/layer_(\d+)/", r"/layer/\1/", name)
  name = re.sub("/gamma$|/kernel$|(?<=_embeddings)$", "/weight", name)
  return re.sub("/beta$", "/bias", name).replace("/", ".")


def find_weights(folder):
  """Returns the name of a folder's weights file, or of its index; or None."""
  names = files.list_folder(folder)
  return next((name for name in (
      safetensors_files.FILE_NAME, safetensors_files.FILE_NAME + _INDEX,
      _PYTORCH, _PYTORCH + _INDEX) if name in names), None)


def is_model(folder):
  """Returns whether a folder is that of a Hugging Face model."""
  return hf_config.FILE_NAME in files.list_folder(folder) and bool(
      find_weights(folder))


def read(folder, vocab_file=None, do_lower_case=None):
  """Reads a model.

  Args:
    folder: str.
    vocab_file: str. None for that of the folder.
    do_lower_case: bool. None for what the tokenizer's settings say.

  Returns:
    models.Model; str, the types of its weights.

  Raises:
    ValueError: the model is not BERT; or a file is missing, cannot be read or
      does not fit the others.
  """
  path = os.path.join(folder, hf_config.FILE_NAME)
  values = hf_vocab.read_object(path)
  try:
    config = hf_config.to_reference(values)
    architecture = hf_config.find_architecture(values)
    _, num_labels = hf_config.read_labels(values)
  except ValueError as error:
    raise ValueError("%s: %s" % (path, error)) from None
  source = os.path.join(folder, find_weights(folder))
  tensors = _name_as_now(open_weights(source), source)
  heads = _find_heads(tensors, architecture, source)
  weights = _read_weights(tensors, config, heads, num_labels, source)
  tokens = (vocab_files.read_tokens(vocab_file) if vocab_file else
            hf_vocab.read_tokens(folder))
  model_inputs.check_vocab(
      {token: index for index, token in enumerate(tokens)},
      vocab_file or folder, config["vocab_size"])
  record = {}
  if heads and heads[0] in models.TASKS:
    try:
      record = hf_config.read_record(values, heads[0])
    except ValueError as error:
      raise ValueError("%s: %s" % (path, error)) from None
    if "thresholds" in record and not hf_config.fits_thresholds(
        values, weights):
      del record["thresholds"]
      tf.logging.warning(
          "%s: the thresholds of labels were tuned for other weights, those "
          "before the model was trained further, and are left out; tune them "
          "again with --tune_thresholds", path)
  _set_casing(folder, config, record, do_lower_case)
  return models.Model(config, weights, tokens, record, heads), ", ".join(
      sorted({tensor.dtype for tensor in tensors.values()}))


def _set_casing(folder, config, record, do_lower_case):
  """Adds what is known of case and accents to config and record."""
  lower, accents, source = hf_vocab.read_casing(folder)
  if do_lower_case is not None:
    lower, source = do_lower_case, "--do_lower_case"
  if lower is None:
    tf.logging.info("No file of %s says whether it reads lower-cased text: "
                    "do_lower_case is found from the vocabulary", folder)
    return
  tf.logging.info("do_lower_case=%s is taken from %s", lower, source)
  config["do_lower_case"] = record["do_lower_case"] = lower
  if accents is not None:
    record["strip_accents"] = accents
    if accents != lower:
      tf.logging.warning(
          "%s: the tokenizer has strip_accents=%s: pass --strip_accents=%s to "
          "the scripts", folder, accents, str(accents).lower())


def open_weights(path):
  """Finds the tensors of a weights file, or of all files of an index.

  Args:
    path: str. A file that `find_weights` names.

  Returns:
    dict from name to safetensors_files.Tensor.

  Raises:
    ValueError: a file is missing or cannot be read.
  """
  read_file = (safetensors_files.read if safetensors_files.FILE_NAME in
               os.path.basename(path) else read_pytorch)
  if not path.endswith(_INDEX):
    return read_file(path)
  places = safetensors_files.read_index(path)
  tensors = {}
  for source in sorted(set(places.values())):
    tensors.update(read_file(source))
  missing = sorted(set(places) - set(tensors))
  if missing:
    raise ValueError("%s: there is no %s in %s; copy the files again" % (
        path, missing[0], places[missing[0]]))
  return tensors


def read_pytorch(path):
  """Reads pytorch_model.bin, with torch, without executing any of it.

  Args:
    path: str.

  Returns:
    dict from name to safetensors_files.Tensor.

  Raises:
    ValueError: it cannot be read, or torch is not installed.
  """
  try:
    import torch
  except ImportError:
    raise ValueError(
        "%s: needs torch, which is not installed; run `pip install torch`, or "
        "use the model's %s, which needs nothing" % (
            path, safetensors_files.FILE_NAME)) from None
  try:
    # Only tensors: a pickle may contain code.
    content = torch.load(path, map_location="cpu", weights_only=True)
  except TypeError:
    raise ValueError("%s: needs torch 1.13 or later, this is %s; run `pip "
                     "install --upgrade torch`" % (
                         path, torch.__version__)) from None
  except Exception as error:  # noqa: BLE001  # from pickle, zip or torch
    raise ValueError(
        "%s: cannot be read as tensors of PyTorch (%s): it is damaged, or "
        "holds more than tensors, and nothing else is read" % (
            path, type(error).__name__)) from None
  types = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}

  def make_reader(name, value):
    def read_tensor():
      if value.dtype not in types:
        raise ValueError("%s: %s is %s, expected float32, float16 or bfloat16" %
                         (path, name, value.dtype))
      return np.ascontiguousarray(value.detach().float().numpy())

    return read_tensor

  if not isinstance(content, dict) or not all(
      isinstance(value, torch.Tensor) for value in content.values()):
    raise ValueError("%s: found no dict of tensors, such as a model's "
                     "state_dict" % path)
  return {name: safetensors_files.Tensor(
      path, types.get(value.dtype, str(value.dtype)), list(value.shape),
      make_reader(name, value)) for name, value in content.items()}


def _name_as_now(tensors, source):
  """Returns tensors under their current names in models with heads.

  Args:
    tensors: dict from name to Tensor.
    source: str. Where they are from.

  Raises:
    ValueError: two would have the same name.
  """
  found = {}
  for name, tensor in tensors.items():
    name = re.sub(r"(?<=LayerNorm\.)gamma$", "weight", name)
    name = re.sub(r"(?<=LayerNorm\.)beta$", "bias", name)
    if name.startswith(("embeddings.", "encoder.", "pooler.")):
      name = "bert." + name  # an encoder alone has no scope
    if name in found:
      raise ValueError("%s: %s is there twice" % (source, name))
    found[name] = tensor
  return {name: tensor for name, tensor in found.items()
          if name not in _BUFFERS}


def _find_heads(tensors, architecture, source):
  """Returns the heads of a model, a tuple of names in models.HEADS.

  Those of pre-training are used if they are there, whatever the config says:
  google-bert/bert-base-uncased, a BertForMaskedLM, has both.

  Args:
    tensors: dict from name to Tensor.
    architecture: str, or None.
    source: str.

  Raises:
    ValueError: they cannot be determined.
  """
  named = {head: tensor_name(bias) for head, bias in models.HEADS.items()}
  if architecture is None and "classifier.bias" in tensors:
    raise ValueError(
        "%s: has a classifier, and config.json does not say of what; add "
        "\"architectures\": [\"BertForSequenceClassification\"], or "
        "[\"BertForTokenClassification\"]" % source)
  heads = hf_config.ARCHITECTURES.get(architecture, ())
  if not set(heads) & set(models.TASKS):
    heads = tuple(head for head in models.HEADS if head in heads or (
        named[head] in tensors and head not in (
            models.CLASSIFIER, models.NER)) or (
                head == models.MASKED_LM and _DECODER + "bias" in tensors))
  return heads


def _read_weights(tensors, config, heads, num_labels, source):
  """Reads the weights of a model.

  Args:
    tensors: dict from name to Tensor, which is changed.
    config: dict, as bert_config.json holds it.
    heads: tuple of names in models.HEADS.
    num_labels: int.
    source: str.

  Returns:
    dict from the name of a variable to a float32 array.

  Raises:
    ValueError: they do not fit.
  """
  decoder = {}
  if models.MASKED_LM in heads:
    decoder = {_DECODER + part: tensors.pop(_DECODER + part)
               for part in ("weight", "bias") if _DECODER + part in tensors}
    if _DECODER + "bias" in decoder:
      tensors.setdefault("cls.predictions.bias", decoder[_DECODER + "bias"])
  expected = models.expected_shapes(config, heads, num_labels)
  names = {name: tensor_name(name) for name in expected}
  has_pooler = names[models.POOLER[0]] in tensors
  if not has_pooler and not {models.CLASSIFIER, models.NEXT_SENTENCE} & set(
      heads):
    for name in models.POOLER:
      del expected[name]
  models.check_shapes(
      {name: tensor.shape for name, tensor in tensors.items()},
      {names[name]: shape[::-1] if name.endswith("/kernel") else shape
       for name, shape in expected.items()}, source)
  weights = {}
  for name in expected:
    array = tensors[names[name]].read()
    weights[name] = np.ascontiguousarray(
        array.T if name.endswith("/kernel") else array)
  for name, ours in ((_DECODER + "weight", "bert/embeddings/word_embeddings"),
                     (_DECODER + "bias", "cls/predictions/output_bias")):
    if name in decoder and not np.array_equal(
        decoder[name].read(), weights[ours]):
      raise ValueError("%s: %s is not %s, so the model is not BERT, whose "
                       "output layer shares the word embeddings" % (
                           source, name, tensor_name(ours)))
  if not has_pooler:
    models.add_pooler(weights, config, source)
  return weights


def write(folder, model, most_bytes, labels=None):
  """Writes the files of a model into a folder.

  Args:
    folder: str. It must exist.
    model: models.Model.
    most_bytes: int. The most bytes of weights in one file.
    labels: list of str. See `hf_config.from_reference`.

  Returns:
    list of str, the names of the files.

  Raises:
    ValueError: the labels do not fit.
  """
  values = hf_config.from_reference(model, labels)
  scope = len("bert.") if not model.heads else 0
  arrays = {tensor_name(name)[scope:]:
            array.T if name.endswith("/kernel") else array
            for name, array in model.weights.items()}
  names = safetensors_files.write(folder, arrays, most_bytes)
  files.write_json(os.path.join(folder, hf_config.FILE_NAME), values)
  hf_vocab.write(folder, model.tokens, model.record["do_lower_case"],
                 model.record.get("strip_accents"),
                 model.config["max_position_embeddings"])
  return names + [hf_config.FILE_NAME, hf_vocab.model_files.VOCAB,
                  hf_vocab.SETTINGS]
