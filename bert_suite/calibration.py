"""What arithmetic in 8 or 16 bits changes in the answers of an export.

They are measured on the dev set of the training, as `Predictor` gives them.
"""

import dataclasses
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, predictor, problem_types, processors, runner, task_names)

DEV = "dev"


@dataclasses.dataclass
class _DevSettings(task_names.DataSettings):
  """What a DataProcessor reads a dev set with."""

  output_dir: str = None
  init_checkpoint: str = None
  do_train: bool = False
  do_eval: bool = True


class DevSet:
  """The dev set of a classifier's training.

  Attributes:
    best_metric: str. The figure that models are compared by.
  """

  def __init__(self, model, calibrate_on):
    """Reads it.

    Args:
      model: trained_models.TrainedModel.
      calibrate_on: str. DEV for what the run.json beside the checkpoint names;
        else its folder, or with --task_name=table its file.

    Raises:
      ValueError: there is no such set, it is no classifier's, or it is wrong.
    """
    flag = "--calibrate_on=%s" % calibrate_on
    folder = os.path.dirname(model.checkpoint)
    record = checkpoints.read_record(folder) or {}
    name = task_names.key_of(record.get("task"))
    if model.task.name != "classifier":
      raise ValueError("%s: is for classifiers, found the task %s; leave the "
                       "flag out" % (flag, model.task.name))
    if not record:
      raise ValueError("%s: there is no run.json in %s, which would say how to "
                       "read the dev set; leave the flag out" % (flag, folder))
    if name is None:
      raise ValueError(
          "%s: the run.json in %s is of the task %s, expected one of %s; leave "
          "the flag out" % (flag, folder, record.get("task"), ", ".join(
              sorted(task_names.PROCESSORS))))
    if record.get("fold"):
      raise ValueError("%s: %s was trained with --k_folds and has no dev set; "
                       "leave the flag out" % (flag, folder))
    settings = self._make_settings(name, model, record)
    if calibrate_on != DEV:
      # With a share set aside, the dev set is a part of the training file.
      file_name = "train_file" if settings.dev_share else "dev_file"
      setattr(settings, file_name if name == "table" else "data_dir",
              calibrate_on)
    try:
      processor, _ = task_names.processor_of(settings)
      self._examples = processors.read_examples(
          processor, "eval", settings.data_dir, model.config.type_vocab_size)
    except ValueError as error:
      raise ValueError("%s, with the settings in %s: %s%s" % (
          flag, os.path.join(folder, checkpoints.FILE_NAME), error,
          "; if the data have moved, give their folder or file as "
          "--calibrate_on" * (calibrate_on == DEV))) from None
    self._problem = problem_types.KINDS[processor.problem_type](
        len(model.settings.get("labels") or ()), processor.metric_names)
    limits = np.array(model.settings.get("thresholds", []))
    if np.any(limits != problem_types.THRESHOLD):  # tuned
      self._problem.use_thresholds(limits)
    self.best_metric = processor.best_metric or self._problem.best_metric

  def _make_settings(self, name, model, record):
    """Returns the _DevSettings of a run.json, a dict."""
    training = record.get("training", {})
    kind = model.settings.get("problem_type")
    known = {field.name for field in dataclasses.fields(_DevSettings)}
    return _DevSettings(
        task_name=name, output_dir=os.path.dirname(model.checkpoint),
        init_checkpoint=model.checkpoint,
        split_seed=record.get("split_seed", 0),
        multi_label=name == "table" and kind == problem_types.MULTI_LABEL,
        regression=name == "table" and kind == problem_types.REGRESSION,
        **{key: value for key, value in training.items() if key in known})

  def measure(self, model, compute_dtype):
    """Returns the figures of a Predictor's answers, by name."""
    tf.logging.info("Answering %d examples of the dev set in %s",
                    len(self._examples), compute_dtype)
    labels, texts = [], []
    for one in self._examples:
      labels.append(processors.encode_label(one, model.labels, self._problem))
      texts.append((one.text_a, one.text_b) if one.text_b else one.text_a)
    logits = self._problem.logits_of(model.predict(texts))
    label_ids = np.reshape(labels, [-1] + self._problem.label_shape)
    figures = problem_types.compute_figures(self._problem, {
        "logits": logits, "label_ids": label_ids,
        "per_example_loss": self._problem.losses_array(logits, label_ids),
        "is_real_example": np.ones(len(labels))})
    return {name: value for name, value in figures.items()
            if name in self._problem.figures or
            name.endswith(problem_types.TUNED)}


def make_check(model, arguments, calibrate_on, allowed, compute_dtype):
  """Measures a model in float32; makes a function that checks an export of it.

  Args:
    model: trained_models.TrainedModel.
    arguments: dict. Those of `trained_models.find` that found it.
    calibrate_on: see `DevSet`.
    allowed: float. Points that the main metric may lose.
    compute_dtype: str. The data type of the export.

  Returns:
    A function of the folder of an export that raises UserError if it loses
    more.

  Raises:
    ValueError: see `DevSet`.
  """
  dev_set = DevSet(model, calibrate_on)
  parts = dict(arguments, compute_dtype="float32")
  path = parts.pop("model_dir") or parts.pop("init_checkpoint")
  with predictor.Predictor(path, **parts) as exact:
    expected = dev_set.measure(exact, "float32")

  def check(path):
    with predictor.Predictor(path) as exported:
      runner.check_loss(
          dev_set.measure(exported, compute_dtype), expected,
          dev_set.best_metric, compute_dtype, allowed)

  return check
