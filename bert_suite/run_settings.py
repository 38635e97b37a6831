"""Settings that scripts share, and values derived from them."""

import dataclasses
import multiprocessing
import os

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    devices, files, model_inputs, modeling, optimization, script_options,
    serving, tokenization)
from .cli import UserError, values_of
from .script_options import option

# What `tokenization.decide_casing` does.
CASING_DEFAULT = "found from the vocabulary"
ALLOWED_LOSS = ("Points of the task's main metric, such as percent of "
                "accuracy, that --compute_dtype may lose.")

# Without gradients to keep, memory allows larger batches than in training, and
# they compute faster.
_INFERENCE_BATCH_SIZE = 32

BATCH_SIZE_DEFAULT = "%d on CPU and GPU, with the results of 8; 8 on TPU" % (
    _INFERENCE_BATCH_SIZE)


@dataclasses.dataclass
class LoggingSettings(script_options.Settings):
  """How much a script logs."""

  verbose: bool = option(
      "bool", False, "Log everything: five examples of each file with their "
      "numbers, shapes, variables, the Estimator's messages.")


@dataclasses.dataclass
class EncoderSettings(LoggingSettings):
  """How the encoder computes."""

  remove_padding: bool = option(
      "bool", True, "Compute real tokens only: the same results in less time. "
      "Always off with --use_tpu, which needs fixed shapes.")
  compute_dtype: str = option(
      "string", "float32", "Data type of the encoder's matrix products: "
      "float32, bfloat16, float16, or, for evaluation and prediction on a CPU, "
      "int8. All but float32 round more, and are faster on hardware that has "
      "them. Checkpoints are always float32.")


@dataclasses.dataclass
class ComputeSettings(EncoderSettings):
  """How encoder and training are compiled."""

  use_xla: object = option(
      "switch", "auto",
      "Compile layers and update with XLA; auto does so on GPUs.")
  xla_cache_dir: str = option(
      "path", os.path.join("~", ".cache", "bert_suite", "xla"),
      "Folder in which TensorFlow 2.20 and later keep what they compiled, for "
      "the next run; empty for none.")


@dataclasses.dataclass
class DeviceSettings(ComputeSettings):
  """Where to run."""

  use_tpu: bool = option("bool", False, "Run on a TPU instead of CPU or GPU.")
  tpu_name: str = option("string", None, "Cloud TPU to use: its name, or "
                         "grpc://ip.address.of.tpu:8470.")
  tpu_zone: str = option("string", None, "Zone of the Cloud TPU; found from "
                         "metadata if not given.")
  gcp_project: str = option("string", None, "Project of the Cloud TPU; found "
                            "from metadata if not given.")
  master: str = option("string", None, "Address of the TensorFlow master.")
  num_tpu_cores: int = option(
      "integer", 8, "TPU cores to use, with --use_tpu.", lower_bound=1)


@dataclasses.dataclass
class TrainingSettings(DeviceSettings):
  """Where to train, and what to keep and log.

  `devices`, which is not a flag, names the devices to distribute batches to,
  such as ["/cpu:0", "/cpu:1"], in place of --num_gpus.
  """

  devices: tuple = ()
  num_gpus: str = option(
      "string", None, "GPUs that share each batch: a number, or all; "
      "--train_batch_size counts all of them together.",
      default_text="one, if TensorFlow finds any")
  worker_hosts: str = option(
      "string", None, "Processes that train together, host:port separated by "
      "commas. Start each with the same flags and its own --task_index; the "
      "first one saves, evaluates and predicts.",
      default_text="those of TF_CONFIG, if any")
  task_index: int = option(
      "integer", None, "Number of this process among --worker_hosts.",
      lower_bound=0)
  iterations_per_loop: int = option("integer", 1000, "Steps per call of the "
                                    "estimator, with --use_tpu.", lower_bound=1)
  save_checkpoints_steps: int = option(
      "integer", 1000, "Steps from one checkpoint to the next.", lower_bound=1)
  keep_checkpoint_max: int = option(
      "integer", 5, "Checkpoints to keep; older ones are deleted. 0 keeps all.",
      lower_bound=0)
  log_steps: int = option("integer", 100, "Steps from one line about the "
                          "training to the next; 0 for none.", lower_bound=0)
  tf_random_seed: int = option(
      "integer", None, "Seed of initial weights, dropout and shuffling; "
      "without it no two runs are alike.")


@dataclasses.dataclass
class OptimizationSettings(TrainingSettings):
  """What every training needs: its folder, batch size and learning rate."""

  output_dir: str = option("path", None, "Folder for checkpoints and results.")
  train_batch_size: int = option(
      "integer", 32, "Batch size for training.", lower_bound=1)
  gradient_accumulation_steps: int = option(
      "integer", 1, "Batches of --train_batch_size that make one step: they "
      "are computed one by one, in the memory of one; the update is the same "
      "as for one large batch.", lower_bound=1)
  auto_micro_batch: bool = option(
      "bool", False, "If memory runs out, compute each batch of "
      "--train_batch_size in parts half as large, one by one, and go on from "
      "the last checkpoint: the update is still that of the whole batch.")
  learning_rate: float = option(
      "float", 5e-5, "Peak learning rate.", above=0)
  optimizer: str = option(
      "string", "adamw", "adamw, lamb or adafactor, which takes less memory.")
  poly_power: float = option(
      "float", 1.0, "Power of the learning rate's decay; 1 decays linearly.",
      above=0)
  recompute_grad: bool = option(
      "bool", False, "Compute the activations of each layer again for its "
      "gradient instead of keeping them: less memory, more time.")


@dataclasses.dataclass
class EvaluationSettings(script_options.Settings):
  """When to evaluate while training, and which checkpoint to use."""

  eval_steps: int = option(
      "integer", 0, "Evaluate every N steps while training and keep the best "
      "checkpoint in --output_dir/best; 0 evaluates only at the end.",
      lower_bound=0)
  best_metric: str = option(
      "string", None, "Metric that decides which checkpoint is best.",
      default_text="that of the task, such as eval_accuracy")
  use_best: bool = option(
      "bool", False, "Evaluate, predict and export with the best checkpoint "
      "instead of the last.")
  early_stopping_patience: int = option(
      "integer", None, "Stop training after N evaluations in a row that are no "
      "better than the best.", lower_bound=1)
  calibrate_on: str = option(
      "string", None, "dev: evaluate the dev set in float32 too, say what "
      "--compute_dtype changes, and stop before predictions and export if it "
      "loses more than --allowed_loss. Needs --do_eval.")
  allowed_loss: float = option(
      "float", 0.4, ALLOWED_LOSS, lower_bound=0.0)


@dataclasses.dataclass
class CasingSettings(script_options.Settings):
  """How upper case and accents are treated; see `tokenization`."""

  do_lower_case: bool = option(
      "bool", None,
      "Lower-case the text: true for uncased models, false for cased ones.",
      flag_default=True, default_text=CASING_DEFAULT, alias="do_lower")
  strip_accents: str = option("string", "auto", "Remove accents: auto does so "
                              "where the text is lower-cased; true, false.")


@dataclasses.dataclass
class ModelSettings(CasingSettings):
  """The files of a model."""

  bert_config_file: str = option(
      "path", None, "JSON file with the shape of the model.")
  vocab_file: str = option(
      "path", None, "Vocabulary that the model was trained with.")
  init_checkpoint: str = option("path", None, "Checkpoint of the model.")


@dataclasses.dataclass
class FineTuningSettings(
    ModelSettings, OptimizationSettings, EvaluationSettings):
  """Settings of scripts that fine-tune a model."""

  init_checkpoint: str = option(
      "path", None, "Checkpoint to start from, usually a pre-trained model.")
  init_head: str = option(
      "string", "auto", "What to do with a head in --init_checkpoint when "
      "training starts: auto keeps it if it fits and starts a new one if not, "
      "keep insists on it, new always starts a new one.")
  predict_batch_size: int = option(
      "integer", None, "Batch size for prediction.", flag_default=8,
      lower_bound=1, default_text=BATCH_SIZE_DEFAULT)
  num_train_epochs: float = option(
      "float", 3.0, "Times to go through the data.", lower_bound=0.0)
  eval_each_epoch: bool = option(
      "bool", False, "Like --eval_steps, but after each epoch.")
  warmup_proportion: float = option(
      "float", 0.1, "Share of the training in which the learning rate rises "
      "from 0.", lower_bound=0, upper_bound=1)
  warmup_steps: int = option(
      "integer", None, "The same in steps, instead of --warmup_proportion.",
      lower_bound=0)
  adam_bias_correction: bool = option(
      "bool", False, "Correct Adam's averages for having started from 0, which "
      "steadies training on small data.")
  layerwise_lr_decay: float = option(
      "float", 1.0, "Factor of the learning rate from each layer to the one "
      "below it, such as 0.8.", above=0.0, upper_bound=1.0)
  reinit_layers: int = option(
      "integer", 0, "Start the last N layers from new weights instead of those "
      "of --init_checkpoint.", lower_bound=0)
  reinit_pooler: bool = option(
      "bool", False, "Start the pooler from new weights.")
  export_dir: str = option(
      "path", None, "Folder in which to export the model, for serving, after "
      "everything else; each export is a new version there.")
  num_seeds: int = option(
      "integer", None, "Train N times, with the seeds 1, 2 and so on, or "
      "--tf_random_seed and those after it; keep the best.", lower_bound=1)
  search: bool = option(
      "bool", False, "Train with each batch size of 8, 16, 32, 64 and 128 and "
      "each learning rate of 3e-4, 1e-4, 5e-5 and 3e-5 for 4 epochs; keep the "
      "best.")
  keep_all_runs: bool = option(
      "bool", False, "Keep the checkpoints of all runs, not only those of the "
      "best.")


def accumulation_steps(settings):
  """Returns --gradient_accumulation_steps; 1 for settings without it."""
  return getattr(settings, "gradient_accumulation_steps", 1)


def batch_size_of(settings, name):
  """Returns the batch size of a flag, or a suitable one if it is not given.

  Args:
    settings: Settings of a script.
    name: str. "eval_batch_size", for example. "train_batch_size" is that of a
      step, including all batches whose gradients are accumulated.
  """
  if name == "train_batch_size":
    return settings.train_batch_size * accumulation_steps(settings)
  return getattr(settings, name) or (
      8 if settings.use_tpu else _INFERENCE_BATCH_SIZE)


def fields_given(kind, settings):
  """Returns the fields of a dataclass that settings also have, as a dict."""
  return values_of(settings, [field.name for field in dataclasses.fields(kind)
                              if hasattr(settings, field.name)])


def model_options(settings):
  """Returns the `modeling.Options` that a script's flags ask for.

  TPUs need shapes that do not depend on the data, and are faster with one-hot
  rows than with a gather; XLA compiles for each shape.

  Args:
    settings: Settings of a script.
  """
  use_tpu = settings.use_tpu
  values = dict(
      use_one_hot_embeddings=use_tpu, compiled=devices.uses_xla(settings))
  values.update(fields_given(modeling.Options, settings))
  values["remove_padding"] = values["remove_padding"] and not use_tpu
  return modeling.Options(**values)


def serving_options(settings):
  """Returns the `modeling.Options` of a model that answers requests.

  Args:
    settings: Settings of a script.
  """
  values = fields_given(modeling.Options, settings)
  if getattr(settings, "do_train", False):
    # The serving machine may lack the hardware of the training machine.
    values["compute_dtype"] = "float32"
  return dataclasses.replace(serving.OPTIONS, **values)


def optimizer_values(settings):
  """Returns the settings that are fields of `optimization.Settings`, a dict.

  Leaves out `use_tpu`, which says where to train.

  Args:
    settings: Settings of a script.
  """
  values = fields_given(optimization.Settings, settings)
  del values["use_tpu"]
  return values


def optimizer_settings(settings, num_train_steps, **values):
  """Returns the `optimization.Settings` that a script's flags ask for.

  Args:
    settings: Settings of a script.
    num_train_steps: int. Steps of the training. Warm-up steps are
      --num_warmup_steps or --warmup_steps, or --warmup_proportion of these.
    **values: fields that no flag sets.
  """
  values = dict(fields_given(optimization.Settings, settings),
                compiled=devices.uses_xla(settings),
                num_train_steps=num_train_steps, **values)
  if "num_warmup_steps" not in values:
    given = getattr(settings, "warmup_steps", None)
    values["num_warmup_steps"] = given if given is not None else int(
        num_train_steps * settings.warmup_proportion)
  return optimization.Settings(**values)


def find_fresh(settings, config):
  """Returns what --reinit_layers and --reinit_pooler re-initialize.

  Zhang et al., arXiv 2006.05987, section 4: the last layers are specialized to
  the pre-training task, and learn a small task faster from new weights.

  Args:
    settings: Settings of a script.
    config: BertConfig, or None if the model is not made from one.

  Returns:
    str, regular expression for the start of names; None for nothing.

  Raises:
    UserError: the model has fewer layers.
  """
  count = getattr(settings, "reinit_layers", 0)
  total = config.num_hidden_layers if config else 0
  if count > total:
    raise UserError("--reinit_layers=%d: the model has %d layers" % (
        count, total))
  names = ["encoder/layer_%d/" % i for i in range(total - count, total)]
  names += ["pooler/"] * bool(getattr(settings, "reinit_pooler", False))
  return "bert/(%s)" % "|".join(names) if names else None


def make_tokenizer(settings, config):
  """Makes the tokenizer that a model and the flags call for.

  Args:
    settings: Settings of a script.
    config: BertConfig.

  Returns:
    FullTokenizer.

  Raises:
    ValueError: vocabulary or casing do not fit the model.
  """
  do_lower_case = tokenization.decide_casing(
      settings.do_lower_case, settings.vocab_file,
      settings.init_checkpoint, getattr(config, "do_lower_case", None))
  tokenizer = tokenization.FullTokenizer(
      vocab_file=settings.vocab_file, do_lower_case=do_lower_case,
      strip_accents=settings.strip_accents)
  model_inputs.check_vocab(
      tokenizer.vocab, settings.vocab_file, config.vocab_size)
  return tokenizer


def files_read(settings, names):
  """Returns the files that flags name, for `files.check_outputs`.

  Args:
    settings: Settings of a script.
    names: names of flags; a folder stands for the files in it.

  Returns:
    list of (flag, path).
  """
  found = [("--init_checkpoint", path) for path in files.files_of_checkpoint(
      settings.init_checkpoint)]
  for name in names:
    path = getattr(settings, name)
    found.append(("--" + name, path))
    if path and tf.gfile.IsDirectory(path):
      found += [("--" + name, os.path.join(path, file))
                for file in tf.gfile.ListDirectory(path)]
  return found


def check_tpu(use_tpu):
  """Raises UserError if --use_tpu needs another version of TensorFlow."""
  if use_tpu and not hasattr(tf, "estimator"):
    raise UserError("--use_tpu: TPU training needs TensorFlow 2.15 or older, "
                    "this is TensorFlow %s" % tf.__version__)


def check_micro_batch(settings):
  """Raises UserError if --auto_micro_batch cannot work."""
  if settings.use_tpu and getattr(settings, "auto_micro_batch", False):
    raise UserError(
        "--auto_micro_batch: a TPU that ran out of memory has to be set up "
        "anew, which a run cannot do; give --gradient_accumulation_steps and a "
        "smaller --train_batch_size instead")


def log_device(settings):
  """Logs the device that the run uses, and how it computes if not in float32.

  Args:
    settings: Settings of a script.
  """
  how = ", in " + settings.compute_dtype
  how = how * (settings.compute_dtype != "float32") + (
      ", compiled by XLA" * bool(devices.uses_xla(settings)))
  gpus = [] if settings.use_tpu else environment.find_gpus()
  if settings.use_tpu:
    tf.logging.info("Running on TPU%s", how)
  elif gpus:
    tf.logging.info(
        "Running on GPU%s: %s", how, ", ".join(g.name for g in gpus))
  else:
    tf.logging.info(
        "Running on CPU, %d cores%s; TensorFlow finds no GPU "
        "(TF_CPP_MIN_LOG_LEVEL=0 shows why)", multiprocessing.cpu_count(), how)


def count_train_batches(num_examples, settings):
  """Returns the batches that the flags ask for; 0 without --do_train.

  Args:
    num_examples: int. Examples to train on.
    settings: Settings of a script.

  Raises:
    ValueError: the number of batches is less than one, or not finite.
  """
  if not settings.do_train:
    return 0
  count = (num_examples / settings.train_batch_size * settings.num_train_epochs)
  if not 1 <= count < 2**62:  # the comparison is false for NaN too
    raise ValueError(
        "--train_batch_size=%d and --num_train_epochs=%g make %g steps of the "
        "%d training examples, expected at least 1" % (
            settings.train_batch_size, settings.num_train_epochs, count,
            num_examples))
  return int(count)
