"""The tasks of classifiers by their names."""

import re

from . import cli, glue

# From the name of a task, in any case, to its DataProcessor's class.
PROCESSORS = {
    "ax": glue.AxProcessor, "cola": glue.ColaProcessor,
    "mnli": glue.MnliProcessor, "mnli-mm": glue.MnliMismatchedProcessor,
    "mrpc": glue.MrpcProcessor, "qnli": glue.QnliProcessor,
    "qqp": glue.QqpProcessor, "rte": glue.RteProcessor,
    "sst-2": glue.Sst2Processor, "sts-b": glue.StsbProcessor,
    "wnli": glue.WnliProcessor, "xnli": glue.XnliProcessor}


def make_processor(processor, settings=None):
  """Returns a DataProcessor, of one or its class; else raises UserError.

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
    raise cli.UserError("processor: found %r, expected a DataProcessor; the "
                        "name of a task is task_name" % (processor,))
  return processor


def find_task(task_name):
  """Returns the key of a task in PROCESSORS, whatever its case and hyphens.

  Raises:
    ValueError: there is none.
  """
  for plain in (str.lower, lambda name: re.sub("[-_ ]", "", name.lower())):
    for name in PROCESSORS:
      if plain(name) == plain(task_name):
        return name
  raise ValueError(
      "--task_name=%s: unknown task, expected one of %s; add one of your own "
      "to PROCESSORS (see README.md)" % (
          task_name, ", ".join(sorted(PROCESSORS))))


def find_processor(task_name, settings=None):
  """Makes the processor of a task; see `find_task` and `make_processor`."""
  return make_processor(PROCESSORS[find_task(task_name)], settings)
