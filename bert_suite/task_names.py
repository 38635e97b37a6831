"""The tasks of classifiers by their names."""

import dataclasses
import re

from . import cli, glue, splits, table_task
from .script_options import option

# From the name of a task, in any case, to its DataProcessor's class.
PROCESSORS = {
    "ax": glue.AxProcessor, "cola": glue.ColaProcessor,
    "mnli": glue.MnliProcessor, "mnli-mm": glue.MnliMismatchedProcessor,
    "mrpc": glue.MrpcProcessor, "qnli": glue.QnliProcessor,
    "qqp": glue.QqpProcessor, "rte": glue.RteProcessor,
    "sst-2": glue.Sst2Processor, "sts-b": glue.StsbProcessor,
    "table": table_task.TableProcessor,
    "wnli": glue.WnliProcessor, "xnli": glue.XnliProcessor}


@dataclasses.dataclass
class DataSettings(table_task.TableSettings):
  """What a classifier reads."""

  data_dir: str = option("path", None, "Folder with the task's .tsv files; "
                         "required except with --task_name=table.")
  task_name: str = option("string", None, lambda: "Task to train: %s." %
                          ", ".join(sorted(PROCESSORS)))
  xnli_language: str = option(
      "string", "zh", "Language of XNLI's dev and test sets: ar, bg, de, el, "
      "en, es, fr, hi, ru, sw, th, tr, ur, vi or zh.")
  train_language: str = option(
      "string", None, "Language of XNLI's training set.",
      default_text="that of --xnli_language")
  k_folds: int = option(
      "integer", None, "Cut the training set into N parts and train N times, "
      "each time on all parts but one, which is evaluated on.", lower_bound=2)
  split_seed: int = option(
      "integer", 0, "Seed of the examples that --dev_share and --k_folds set "
      "aside. It does not depend on --tf_random_seed, so that runs can be "
      "compared.")
  fold: splits.Fold = None  # the part to evaluate on instead of the dev set


def make_processor(processor, settings=None):
  """Returns a DataProcessor, given one or its class; else raises UserError.

  Args:
    processor: DataProcessor, or its class.
    settings: Settings, for classes that are made from them; None for defaults.
  """
  if isinstance(processor, type):
    from_settings = getattr(processor, "from_settings", None)
    try:
      processor = (from_settings(settings) if from_settings and settings else
                   processor())
    except TypeError as error:
      raise cli.UserError("processor: %s: %s; pass an object" % (
          processor.__name__, error)) from None
  if not hasattr(processor, "get_labels"):
    raise cli.UserError("processor: found %r, expected a DataProcessor; pass "
                        "the name of a task as task_name" % (processor,))
  return processor


def key_of(task_name):
  """Returns the key of a task in PROCESSORS; None if it has none."""
  for plain in (str.lower, lambda name: re.sub("[-_ ]", "", name.lower())):
    for name in PROCESSORS:
      if plain(name) == plain(task_name or ""):
        return name
  return None


def find_task(task_name):
  """Returns the key of a task in PROCESSORS, ignoring case and hyphens.

  Raises:
    ValueError: there is no such task.
  """
  found = key_of(task_name)
  if found is None:
    raise ValueError(
        "--task_name=%s: unknown task, expected one of %s; for files of your "
        "own use --task_name=table --train_file=FILE, or add a task to "
        "PROCESSORS (see docs/own-data.md)" % (
            task_name, ", ".join(sorted(PROCESSORS))))
  return found


def find_processor(task_name, settings=None):
  """Makes the processor of a task; see `find_task` and `make_processor`."""
  return make_processor(PROCESSORS[find_task(task_name)], settings)


def processor_of(settings):
  """Returns the processor of --task_name, and the task's name for run.json.

  Args:
    settings: Settings of a script.

  Raises:
    ValueError: there is no such task, or it does not read a setting given.
  """
  name = find_task(settings.task_name)
  processor = make_processor(PROCESSORS[name], settings)
  ignored = [
      field.name for field in dataclasses.fields(table_task.TableSettings)
      if "flag" in field.metadata and getattr(settings, field.name) and
      field.name not in processor.setting_names]
  if ignored and not isinstance(processor, table_task.TableProcessor):
    raise ValueError("--%s: --task_name=%s does not read it; use --task_name="
                     "table, or leave it out" % (ignored[0], name))
  if settings.data_dir and isinstance(processor, table_task.TableProcessor):
    raise ValueError("--data_dir: --task_name=table does not read it; use "
                     "--train_file, --dev_file and --test_file")
  return processor, processor.recorded_name or name.lower()


def folder_flags(task_name):
  """Returns the required flags that name a task's data, a tuple."""
  found = PROCESSORS.get(key_of(task_name))
  return () if found is table_task.TableProcessor else ("data_dir",)
