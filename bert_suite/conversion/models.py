"""What is converted: a model, the shapes of its weights, what it lacks."""

import collections
import os

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from .. import (
    checkpoint_fit, checkpoints, config as configs, json_files, model_files,
    model_inputs, problem_types, run_record, thresholds, tokenization,
    vocab_files)


class Model(collections.namedtuple(
    "Model", "config weights tokens record heads")):
  """A model, in the reference's terms.

  Attributes:
    config: dict, as bert_config.json holds it.
    weights: dict from the name of a variable to a float32 array.
    tokens: list of str. The vocabulary.
    record: dict, as run.json holds it; "do_lower_case" is always there.
    heads: tuple of names in HEADS. What it has besides the encoder.
  """


MASKED_LM, NEXT_SENTENCE = "masked_lm", "next_sentence"
CLASSIFIER, SQUAD, NER = "classifier", "squad", "ner"
# From a head to a variable that only it has.
HEADS = collections.OrderedDict([
    (MASKED_LM, "cls/predictions/output_bias"),
    (NEXT_SENTENCE, "cls/seq_relationship/output_bias"),
    (CLASSIFIER, checkpoint_fit.CLASSIFIER_HEAD[1]),
    (SQUAD, checkpoint_fit.SQUAD_HEAD[1]),
    (NER, checkpoint_fit.NER_HEAD[1])])
# Those of tasks; a model has at most one.
TASKS = (CLASSIFIER, SQUAD, NER)
POOLER = ("bert/pooler/dense/kernel", "bert/pooler/dense/bias")


def expected_shapes(config, heads=(), num_outputs=2):
  """Returns the shapes of a model's weights.

  Args:
    config: dict, as bert_config.json holds it.
    heads: names in HEADS.
    num_outputs: int. Outputs of a classifier or tagger.

  Returns:
    OrderedDict from the name of a variable to list of int.
  """
  width, inner = config["hidden_size"], config["intermediate_size"]
  shapes = collections.OrderedDict()

  def dense(name, rows, columns):
    shapes[name + "/kernel"] = [rows, columns]
    shapes[name + "/bias"] = [columns]

  def layer_norm(name):
    shapes[name + "/LayerNorm/gamma"] = [width]
    shapes[name + "/LayerNorm/beta"] = [width]

  for table, rows in (("word", "vocab_size"), ("token_type", "type_vocab_size"),
                      ("position", "max_position_embeddings")):
    shapes["bert/embeddings/%s_embeddings" % table] = [config[rows], width]
  layer_norm("bert/embeddings")
  for i in range(config["num_hidden_layers"]):
    layer = "bert/encoder/layer_%d/" % i
    for part in ("self/query", "self/key", "self/value", "output/dense"):
      dense(layer + "attention/" + part, width, width)
    layer_norm(layer + "attention/output")
    dense(layer + "intermediate/dense", width, inner)
    dense(layer + "output/dense", inner, width)
    layer_norm(layer + "output")
  dense("bert/pooler/dense", width, width)
  if MASKED_LM in heads:
    dense("cls/predictions/transform/dense", width, width)
    layer_norm("cls/predictions/transform")
    shapes[HEADS[MASKED_LM]] = [config["vocab_size"]]
  for head in heads:
    if head != MASKED_LM:
      outputs = num_outputs if head in (CLASSIFIER, NER) else 2
      shapes[HEADS[head].replace("bias", "weights")] = [outputs, width]
      shapes[HEADS[head]] = [outputs]
  return shapes


def check_shapes(found, expected, source, names=None):
  """Raises ValueError, in one line, unless shapes are those of a model.

  Args:
    found: dict from name to list of int.
    expected: dict from name to list of int.
    source: str. Where they are from.
    names: dict from the names in both to those to show; None for the same.
  """
  names = names or {}
  problems = ["there is no %s" % names.get(name, name)
              for name in expected if name not in found]
  problems += ["%s is %s, expected %s" % (
      names.get(name, name), list(found[name]), expected[name])
               for name in expected
               if name in found and list(found[name]) != expected[name]]
  problems += ["%s is not part of this kind of model" % names.get(name, name)
               for name in sorted(found) if name not in expected]
  if problems:
    raise ValueError("%s does not match its config: %s%s" % (
        source, "; ".join(problems[:3]), "; and %d more" % (len(problems) - 3)
        if len(problems) > 3 else ""))


def add_pooler(weights, config, source):
  """Adds a new pooler to a model without one, with a warning.

  BERT's graph always has one. Its weights are random, as at the start of a
  training, but the same each time.

  Args:
    weights: dict from name to array, to which it is added.
    config: dict.
    source: str. Where the model is from.
  """
  width, deviation = config["hidden_size"], config["initializer_range"]
  random = np.random.RandomState(0)
  kernel = random.standard_normal([width, width])
  while np.any(np.abs(kernel) > 2):  # a truncated normal distribution
    kernel = np.where(np.abs(kernel) > 2, random.standard_normal(
        [width, width]), kernel)
  weights[POOLER[0]] = np.float32(kernel * deviation)
  weights[POOLER[1]] = np.zeros([width], np.float32)
  tf.logging.warning(
      "%s has no pooler. The new one has random weights: train it before you "
      "use pooled_output or a classifier", source)


def find_heads(names, source):
  """Returns the heads of a checkpoint of the reference, a tuple.

  Args:
    names: names of its variables.
    source: str. The checkpoint.

  Raises:
    ValueError: it has heads of several tasks.
  """
  heads = tuple(head for head, bias in HEADS.items() if bias in names)
  tasks = [head for head in heads if head in TASKS]
  if len(tasks) > 1 or tasks and len(heads) > 1:
    raise ValueError("%s: has the heads of several tasks, %s; expected those "
                     "of one" % (source, ", ".join(heads)))
  return heads


def read_reference(checkpoint, bert_config_file=None, vocab_file=None,
                   do_lower_case=None):
  """Reads a model in the reference's format, fine-tuned or not.

  Args:
    checkpoint: str. Its prefix.
    bert_config_file: str. None for bert_config.json beside the checkpoint, or
      what run.json there records.
    vocab_file: str. None for vocab.txt there, or what run.json records.
    do_lower_case: bool. None for what the model says, or its vocabulary.

  Returns:
    Model.

  Raises:
    ValueError: a file is missing, cannot be read or does not fit the others.
  """
  folder = os.path.dirname(checkpoint)
  record = checkpoints.read_record(folder) or {}
  config = read_config(folder, bert_config_file, record)
  shapes = checkpoints.check_readable(checkpoint)
  if any(name.startswith("module/bert/") for name in shapes):
    raise ValueError(
        "%s: was trained on a Hub module by run_classifier_with_tfhub.py; "
        "train with run_classifier.py to convert the model" % checkpoint)
  weights = model_files.read_weights(checkpoint)
  heads = find_heads(weights, checkpoint)
  num_outputs = next((len(weights[HEADS[head]]) for head in heads
                      if head in (CLASSIFIER, NER)), 2)
  check_shapes({name: value.shape for name, value in weights.items()},
               expected_shapes(config, heads, num_outputs), checkpoint)
  weights = {name: np.float32(value) for name, value in weights.items()}
  vocab_file = find_vocab(folder, vocab_file, record)
  vocab = tokenization.load_vocab(vocab_file)
  model_inputs.check_vocab(vocab, vocab_file, config["vocab_size"])
  there = record.get("vocabulary", {}).get("sha256")
  if there and there != run_record.hash_vocab(vocab):
    raise ValueError("%s: is not the vocabulary that the model was trained "
                     "with; give that one as --vocab_file" % vocab_file)
  record["do_lower_case"] = tokenization.decide_casing(
      do_lower_case, vocab_file, checkpoint,
      record.get("do_lower_case", config.get("do_lower_case")))
  if record.get("problem_type") == problem_types.MULTI_LABEL and (
      record.get("labels")):
    tuned = thresholds.read([folder], checkpoint, record["labels"])
    record["thresholds"] = None if tuned is None else tuned.tolist()
  return Model(
      config, weights, vocab_files.read_tokens(vocab_file), record, heads)


def find_checkpoint(model_dir, init_checkpoint):
  """Returns the prefix of a checkpoint.

  Args:
    model_dir: str, or None.
    init_checkpoint: str, or None for the latest in `model_dir`.

  Raises:
    ValueError: there is none.
  """
  if init_checkpoint:
    return checkpoints.resolve(init_checkpoint)
  if not tf.gfile.IsDirectory(model_dir):
    raise ValueError("--model_dir=%s: there is no such folder" % model_dir)
  found = (checkpoints.find_checkpoint(model_dir) or
           checkpoints.find_prefix(model_dir))
  if not found:
    raise ValueError(
        "--model_dir=%s: found neither a checkpoint, such as bert_model.ckpt, "
        "nor config.json with model.safetensors or pytorch_model.bin" %
        model_dir)
  return checkpoints.resolve(found)


def read_config(folder, bert_config_file, record):
  """Returns a model's config, a dict; see `read_reference`."""
  path = bert_config_file or os.path.join(folder, model_files.CONFIG)
  if not bert_config_file and not tf.gfile.Exists(path):
    if not record.get("config"):
      raise ValueError("%s: does not exist; pass --bert_config_file" % path)
    return dict(configs.BertConfig.from_dict(record["config"]).to_dict())
  configs.BertConfig.from_json_file(path)
  values = dict(configs.BertConfig(1).to_dict(), **json_files.read(path))
  if record.get("config"):
    there = run_record.make_record(None, configs.BertConfig.from_dict(values))
    differences = run_record.find_differences(
        {"config": record["config"]}, there)
    if differences:
      raise ValueError("%s: is not the config that the model was trained with: "
                       "%s" % (path, "; ".join(differences)))
  return values


def find_vocab(folder, vocab_file, record):
  """Returns the path of a model's vocabulary; see `read_reference`."""
  beside = os.path.join(folder, model_files.VOCAB)
  found = vocab_file or (
      beside if tf.gfile.Exists(beside) else
      record.get("training", {}).get("vocab_file"))
  if not found or not tf.gfile.Exists(found):
    raise ValueError("%s: does not exist; pass --vocab_file" % (
        found or beside))
  return found
