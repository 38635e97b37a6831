r"""Converts Hugging Face models to the scripts' format, and back.

  python convert_checkpoint.py --model_dir=/path/to/bert-base-uncased \
    --output_dir=/tmp/bert_base

From a folder with config.json and model.safetensors it makes one with
bert_config.json, vocab.txt and bert_model.ckpt. It also reads
pytorch_model.bin if torch is installed.

  python convert_checkpoint.py --model_dir=/tmp/mrpc_output \
    --output_dir=/tmp/mrpc_hugging_face

From the output_dir of a training, or the folder of a pre-trained model, it
makes one that transformers loads. Labels, and whatever else a fine-tuned model
needs, are converted in both directions. The TensorFlow 2 checkpoints of the
Model Garden become bert_model.ckpt too. Only weights are kept of a training.
"""

import dataclasses
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, config as configs, files, model_files, progress,
    run_record, run_settings, script_options, thresholds)
from .conversion import hugging_face, model_garden, models
from .script_options import option

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("output_dir",)


@dataclasses.dataclass
class Settings(run_settings.LoggingSettings):
  """Settings of this script; each field is a flag."""

  model_dir: str = option(
      "path", None, "Folder of the model: a Hugging Face model, the output_dir "
      "of a training, or a folder with bert_model.ckpt.")
  init_checkpoint: str = option(
      "path", None, "Checkpoint to convert.", default_text="the latest in "
      "--model_dir")
  bert_config_file: str = option(
      "path", None, "JSON file with the shape of the model.",
      default_text="that beside the checkpoint")
  vocab_file: str = option(
      "path", None, "Vocabulary of the model.",
      default_text="that of the model's folder")
  do_lower_case: bool = option(
      "bool", None, "The model reads lower-cased text.", flag_default=True,
      default_text="what its files say, or its vocabulary")
  labels: str = option(
      "string", None, "Labels of a classifier or tagger, with commas, in the "
      "order of training, if no file has them.")
  max_shard_mb: int = option(
      "integer", 5000, "Largest size of a safetensors file, in units of 10^6 "
      "bytes; larger models become several files and an index.", lower_bound=1)
  output_dir: str = option("path", None, "New folder for the converted model.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def read_model(settings):
  """Reads the model to convert.

  Args:
    settings: Settings.

  Returns:
    models.Model; bool, whether it is a Hugging Face one.

  Raises:
    ValueError: it cannot be read, or is not a BERT model.
  """
  folder = settings.model_dir
  if folder and not settings.init_checkpoint and hugging_face.is_model(folder):
    if settings.bert_config_file:
      raise ValueError("--bert_config_file: %s has config.json; leave it out" %
                       folder)
    model, types = hugging_face.read(
        folder, settings.vocab_file, settings.do_lower_case)
    _log_model(model, folder, ", weights of type %s become float32" % types
               if types != "F32" else "")
    return model, True
  if settings.init_checkpoint and hugging_face.is_model(
      os.path.dirname(settings.init_checkpoint)):
    raise ValueError("--init_checkpoint=%s: is of a Hugging Face model; pass "
                     "--model_dir=%s" % (settings.init_checkpoint,
                                         os.path.dirname(
                                             settings.init_checkpoint) or "."))
  checkpoint = models.find_checkpoint(folder, settings.init_checkpoint)
  arguments = (checkpoint, settings.bert_config_file, settings.vocab_file,
               settings.do_lower_case)
  if model_garden.is_object_based(checkpoints.check_readable(checkpoint)):
    model, is_other = model_garden.read(*arguments), True
  else:
    model, is_other = models.read_reference(*arguments), False
  _log_model(model, checkpoint)
  return model, is_other


def _log_model(model, source, remark=""):
  """Logs what was read."""
  config = model.config
  tf.logging.info(
      "Read an encoder%s from %s: %d layers of %d, %d attention heads, %d "
      "words, %.1f million weights%s", " and the head of " + " and ".join(
          model.heads) if model.heads else "", source,
      config["num_hidden_layers"], config["hidden_size"],
      config["num_attention_heads"], len(model.tokens),
      sum(array.size for array in model.weights.values()) / 1e6, remark)


def split_labels(settings, model):
  """Returns the labels that --labels names, or None.

  Args:
    settings: Settings.
    model: models.Model.

  Raises:
    ValueError: the model has other labels, or another number of them.
  """
  if not settings.labels:
    return None
  labels = [label.strip() for label in settings.labels.split(",")]
  known = model.record.get("labels")
  if known and known != labels:
    raise ValueError("--labels: found %s, but the model was trained with %s; "
                     "leave it out" % (settings.labels, ",".join(known)))
  head = model.heads[0] if model.heads else None
  if head not in (models.CLASSIFIER, models.NER):
    raise ValueError("--labels: the model is neither a classifier nor a "
                     "tagger; leave it out")
  count = len(model.weights[models.HEADS[head]])
  if len(labels) != count or len(set(labels)) < count or "" in labels:
    raise ValueError("--labels=%s: expected %d different labels" % (
        settings.labels, count))
  return labels


def write_reference(folder, model, labels=None):
  """Writes the files of the reference's format into a folder.

  Args:
    folder: str.
    model: models.Model.
    labels: list of str. Labels that the model lacks; None for none.

  Returns:
    list of str, the names of what was written.
  """
  names = [model_files.CHECKPOINT, model_files.CONFIG, model_files.VOCAB]
  model_files.save(os.path.join(folder, names[0]), model.weights)
  files.write_json(os.path.join(folder, names[1]), model.config)
  model_files.write_vocab(folder, model.tokens)
  if not set(model.heads) & set(models.TASKS):
    return names
  record = dict(model.record)
  if labels:
    record["labels"] = labels
  limits = record.pop("thresholds", None)
  if limits and len(limits) != len(record.get("labels") or ()):
    tf.logging.warning(
        "The thresholds in the model's config are left out: there are %d for "
        "%d labels", len(limits), len(record.get("labels") or ()))
    limits = None
  vocab = {token: index for index, token in enumerate(model.tokens)}
  record = run_record.make_record(
      record.pop("task", None), configs.BertConfig.from_dict(model.config),
      vocab=vocab, **record)
  run_record.check_fields(record)
  files.write_json(os.path.join(folder, checkpoints.FILE_NAME), record)
  names.append(checkpoints.FILE_NAME)
  if limits:
    thresholds.write(folder, os.path.join(folder, names[0]),
                     record["labels"], limits)
    names.append(thresholds.FILE_NAME)
  return names


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings):
  """Converts a model.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(settings.verbose)
  if not settings.model_dir and not settings.init_checkpoint:
    raise cli.UserError("pass --model_dir, the folder of a model, or "
                        "--init_checkpoint")
  with cli.user_errors():
    model_files.check_new(settings.output_dir)
    model, to_reference = read_model(settings)
    labels = split_labels(settings, model)
    with model_files.new_folder(settings.output_dir) as folder:
      names = (write_reference(folder, model, labels) if to_reference else
               hugging_face.write(
                   folder, model, settings.max_shard_mb * 10 ** 6, labels))
  tf.logging.info("Wrote %s to %s", ", ".join(names), settings.output_dir)


def main(_):
  """Converts a model."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
