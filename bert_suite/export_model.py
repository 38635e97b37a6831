r"""Exports a trained model: a SavedModel or an ONNX file to serve, a Hub module
to train on.

  python export_model.py --model_dir=/tmp/mrpc_output --export_dir=/tmp/exported

exports the model in a training's output directory, which records its task.

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  python export_model.py --task=features --layers=-2 --pooling=mean \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --vocab_file=$BERT_DIR/vocab.txt --export_dir=/tmp/features \
    --hub_dir=/tmp/module

A program with its own Task adds it to `trained_models.TASKS` and calls `run` of
this module, or `run_with` and a subclass of `Settings` with the task's options.

Every export makes a new folder in --export_dir or --hub_dir, named by a number:
the version, as in TensorFlow Serving.
"""

import dataclasses
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags

from . import (
    calibration, cli, hub_modules, model_inputs, onnx_export, onnx_graph,
    progress, run_settings, script_options, serving, tokenization,
    trained_models, training)
from .script_options import option

FLAGS = flags.FLAGS
FORMATS = ("saved_model", "onnx")


@dataclasses.dataclass
class Settings(run_settings.ModelSettings, run_settings.EncoderSettings):
  """Settings of this script; each field is a flag."""

  model_dir: str = option("path", None, "Output directory of a training. It "
                          "has the task, the checkpoint and its files.")
  task: str = option(
      "string", None,
      lambda: "What to export: %s; by default, what was trained." %
      ", ".join(sorted(trained_models.TASKS)))
  init_checkpoint: str = option("path", None, "Checkpoint to export; by "
                                "default, the latest in --model_dir.")
  do_lower_case: bool = option(
      "bool", None, "Lower-case the text: true for uncased models, false for "
      "cased ones.", flag_default=True, alias="do_lower",
      default_text="that of the training, else " + run_settings.CASING_DEFAULT)
  max_seq_length: int = option(
      "integer", None,
      "Word pieces to cut texts to, for programs that tokenize. The model "
      "itself takes any length.", flag_default=128, lower_bound=3,
      default_text="that of the training, else 128, or 384 for squad")
  labels: str = option("string", None, "Labels of a classifier, with commas, "
                       "in the order of training.")
  layers: str = option(
      "string", None, "Layers of features, with commas.", flag_default="-1")
  pooling: str = option("string", None, "Pooling of features; see "
                        "extract_features.py.", flag_default="none")
  export_dir: str = option("path", None, "Folder for versions of the model.")
  format: str = option(
      "string", "saved_model", "What --export_dir gets: saved_model, of "
      "TensorFlow; onnx, for ONNX Runtime, needs `pip install \"onnx<1.19\" "
      "onnxruntime`.")
  calibrate_on: str = option(
      "string", None, "dev: answer the dev set of the training in float32 and "
      "with the export, say what --compute_dtype changes, and write nothing "
      "if it loses more than --allowed_loss. A folder, or for a table a file, "
      "instead of the one that run.json names.")
  allowed_loss: float = option(
      "float", 0.4, run_settings.ALLOWED_LOSS, lower_bound=0.0)
  int8_scales: str = option(
      "string", "token", "Scales of what dense layers read, with --format=onnx "
      "--compute_dtype=int8: token, one for each word piece, so that no text "
      "changes the answer to another; batch, one for all in the layers around "
      "attention, as in ONNX Runtime's own quantization, 3 to 8% faster.")
  hub_dir: str = option(
      "path", None, "Folder for versions of a TF1 Hub module of the encoder.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def describe_model(settings):
  """Returns a dict of the arguments of `trained_models.find`.

  Args:
    settings: Settings.
  """
  # With ONNX, only the exported file computes in another type.
  is_onnx = settings.format == "onnx"
  return dict(
      {name: getattr(settings, name, None)
       for name in trained_models.tasks_of_options()},
      labels=settings.labels or None,
      strip_accents=tokenization.parse_strip_accents(settings.strip_accents),
      remove_padding=settings.remove_padding or is_onnx,
      compute_dtype="float32" if is_onnx else settings.compute_dtype,
      **cli.values_of(settings, (
          "model_dir", "task", "init_checkpoint", "bert_config_file",
          "vocab_file", "do_lower_case", "max_seq_length")))


def find_model(settings):
  """Finds the model that the flags name; raises ValueError if there is none."""
  return trained_models.find(**describe_model(settings))


def check_calibration(settings):
  """Raises ValueError if --calibrate_on has nothing to compare."""
  if settings.calibrate_on == "":
    raise ValueError("--calibrate_on: expected dev, or a folder or file")
  if settings.calibrate_on and (
      settings.compute_dtype == "float32" or not settings.export_dir):
    raise ValueError(
        "--calibrate_on=%s: compares an export in 8 or 16 bits with float32; "
        "also pass --export_dir, and --compute_dtype=int8 or bfloat16" %
        settings.calibrate_on)


def make_check(settings, model):
  """Returns the function of --calibrate_on; None without it.

  Args:
    settings: Settings.
    model: trained_models.TrainedModel.
  """
  if not settings.calibrate_on:
    return None
  return calibration.make_check(
      model, describe_model(settings), settings.calibrate_on,
      settings.allowed_loss, settings.compute_dtype)


def check_folders(settings):
  """Raises ValueError if two flags name the same folder.

  That would mix versions of two kinds, or exports with a training's files.
  """
  folders = {}
  for name in ("model_dir", "export_dir", "hub_dir"):
    folder = getattr(settings, name)
    if folder:
      found = os.path.realpath(folder) if "://" not in folder else (
          folder.rstrip("/"))
      if found in folders:
        raise ValueError("--%s=%s: is also --%s; give it a folder of its own" %
                         (name, folder, folders[found]))
      folders[found] = name


@script_options.runs(Settings)
def run_with(settings):
  """Exports what is asked for.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(settings.verbose)
  folders = [name for name in ("export_dir", "hub_dir")
             if getattr(settings, name)]
  with cli.user_errors():
    if not folders:
      raise ValueError("nothing to do; give --export_dir or --hub_dir")
    if not (settings.model_dir or settings.task or settings.init_checkpoint):
      raise ValueError("give --model_dir, or --task with --init_checkpoint, "
                       "--bert_config_file and --vocab_file")
    check_folders(settings)
    model_inputs.check_choice("format", settings.format, FORMATS)
    model_inputs.check_choice(
        "int8_scales", settings.int8_scales, onnx_graph.SCALES)
    if settings.int8_scales != onnx_graph.SCALES[0] and (
        settings.format != "onnx" or settings.compute_dtype != "int8"):
      raise ValueError("--int8_scales: is for --format=onnx "
                       "--compute_dtype=int8; leave it out")
    if settings.format == "onnx":
      if settings.hub_dir or not settings.export_dir:
        raise ValueError("--format=onnx: give --export_dir, without --hub_dir")
      onnx_export.import_packages()
    check_calibration(settings)
    if settings.hub_dir and settings.compute_dtype != "float32":
      raise ValueError("--compute_dtype: a Hub module computes in float32; "
                       "leave it out, or --hub_dir")
    if settings.hub_dir:
      hub_modules.import_hub()
    model = find_model(settings)
    if settings.format == "onnx":
      onnx_export.check_supported(settings.compute_dtype, model.task.name)
    for name in folders:
      training.check_output_dir(getattr(settings, name), name)
    check = make_check(settings, model)
    if settings.format == "onnx":
      onnx_export.export(model, settings.compute_dtype, settings.export_dir,
                         check, settings.int8_scales)
    elif settings.export_dir:
      serving.export_saved_model(model.task, model.checkpoint, model.vocab_file,
                                 model.settings, settings.export_dir, check)
    if settings.hub_dir:
      hub_modules.export_module(
          model.config, model.checkpoint, model.vocab_file,
          model.settings["do_lower_case"], settings.hub_dir,
          model.settings.get("strip_accents"))


def main(_):
  """Exports what is asked for."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, argv=argv)


if __name__ == "__main__":
  run()
