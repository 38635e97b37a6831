"""Makes shards in a pipeline of Apache Beam: on one machine or on many.

Beam is only imported for it. The pipeline calls the same function for each
shard as a process of `workers` does, so the records are the same; the outcome
of a shard is a file, since a pipeline returns nothing to the program.
"""

import json
import os
import shlex

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import workers
from .. import cli, files

RUNNERS = ("DirectRunner", "DataflowRunner", "FlinkRunner", "SparkRunner")


def check(runner, arguments, paths):
  """Raises ValueError if a runner is unknown, or cannot be used.

  Args:
    runner: str. A flag, like the next.
    arguments: str.
    paths: list of str. Files to read and write; None without shards.
  """
  if runner not in RUNNERS:
    raise ValueError("--beam_runner=%s: expected one of %s" % (
        runner, ", ".join(RUNNERS)))
  if paths is None:
    raise ValueError("--beam_runner=%s: a pipeline makes shards; pass "
                     "--output_file=NAME@NUMBER, or --shard_size" % runner)
  local = [path for path in paths if "://" not in path]
  if runner == "DataflowRunner" and local:
    raise ValueError("--beam_runner=%s: its workers cannot reach the local "
                     "file %s; use a bucket, gs://" % (runner, local[0]))
  beam = _import_beam()
  try:
    beam.options.pipeline_options.PipelineOptions(
        _options(runner, arguments, 1)).get_all_options()
  except SystemExit:  # from its parser, which has printed what is wrong
    raise ValueError("--beam_args=%s: Beam refuses them; the lines above say "
                     "why" % arguments) from None


def _import_beam():
  """Returns the module apache_beam; raises ValueError without it."""
  try:
    import apache_beam
    from apache_beam.options import pipeline_options  # noqa: F401  # for `run`
    return apache_beam
  except ImportError as error:
    raise ValueError(
        "--beam_runner: apache_beam cannot be imported (%s); pip install "
        "apache-beam, or \".[beam]\" for the suite and it" % error) from None


def _options(runner, arguments, num_workers):
  """Returns Beam's options as a list of str.

  Args:
    runner: str. A flag, like the next.
    arguments: str.
    num_workers: int. Processes of the DirectRunner, unless set in `arguments`.
  """
  options = ["--runner=" + runner]
  if runner == "DirectRunner":
    options += ["--direct_running_mode=multi_processing",
                "--direct_num_workers=%d" % num_workers]
  try:
    return options + shlex.split(arguments or "")
  except ValueError as error:
    raise ValueError("--beam_args=%s: %s" % (arguments, error)) from None


def make_runner(runner, arguments, name):
  """Returns a function that runs tasks in a pipeline, as `workers.run` does.

  Args:
    runner: str. One of RUNNERS.
    arguments: str. The flag --beam_args.
    name: str. See `workers.shard_paths`. Beside the shards is a hidden folder
      until the pipeline ends.
  """
  folder, base = os.path.split(name)
  folder = os.path.join(folder, ".%s.beam" % base)

  def run(function, tasks, num_processes, unused_method, on_report=None):
    del on_report  # shards report nothing before they are made
    if not tasks:
      return
    if tf.gfile.Exists(folder):  # from a run that was killed
      tf.gfile.DeleteRecursively(folder)
    tf.gfile.MakeDirs(folder)
    try:
      failure = _run_pipeline(_options(runner, arguments, num_processes),
                              function, tasks, folder)
      for index in range(len(tasks)):
        path = _outcome_path(folder, index)
        if tf.gfile.Exists(path):
          with tf.gfile.GFile(path) as reader:
            yield workers.Outcome(index, **json.load(reader))
        elif not failure:
          yield workers.Outcome(index, None, workers.Died(
              "the pipeline ended without a result of it"))
      if failure:  # after yielding what was made
        lines = str(failure).strip().splitlines() or [""]
        raise ValueError("--beam_runner=%s: the pipeline has failed: %s: %s" % (
            runner, type(failure).__name__, lines[0])) from failure
    finally:
      tf.gfile.DeleteRecursively(folder)

  return run


def _run_pipeline(options, function, tasks, folder):
  """Runs a pipeline to its end; returns the exception that ended it, or None.

  Args:
    options: list of str, Beam's.
    function: see `workers.run`, also for the next.
    tasks: list of tuple.
    folder: str. Gets a file for each task.
  """
  beam = _import_beam()
  top = os.path.abspath(__file__)
  for _ in __name__.split("."):
    top = os.path.dirname(top)
  before = os.environ.get("PYTHONPATH")
  # Processes that the DirectRunner starts import this module as this one does.
  os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [top, before]))
  try:
    with beam.Pipeline(options=beam.options.pipeline_options.PipelineOptions(
        options)) as pipeline:
      # All tasks are one argument, so that the tokenizer is sent once.
      _ = (pipeline | beam.Create(range(len(tasks))) | beam.Reshuffle() |
           beam.Map(_work, function, tasks, folder))
  except Exception as error:  # noqa: BLE001  # it is raised later
    return error
  finally:
    if before is None:
      del os.environ["PYTHONPATH"]
    else:
      os.environ["PYTHONPATH"] = before
  return None


def _work(index, function, tasks, folder):
  """Runs one task; the body of the pipeline."""
  try:
    outcome = dict(result=function(lambda unused_value: None, *tasks[index]),
                   error=None)
  except (ValueError, OSError, cli.UserError) as error:
    outcome = dict(result=None, error=str(error))
  files.write_json(_outcome_path(folder, index), outcome)


def _outcome_path(folder, index):
  return os.path.join(folder, "%d.json" % index)
