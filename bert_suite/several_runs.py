"""Several runs of one training: other seeds, settings, or folds of the data.

Each run has its own folder in output_dir. The figures of finished runs are in
output_dir/runs.json, from which a later start resumes, and, for people, in
runs.tsv.
"""

import collections
import dataclasses
import gc
import itertools
import json
import math
import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    best_model, cli, files, folds, json_files, progress, run_record,
    run_settings, runner, script_options, splits, training)

FILE_NAME = "runs.json"
TABLE = "runs.tsv"

# What --search tries: the grid that the 24 small BERT models of Turc et al.
# (arXiv 1908.08962) were published with.
BATCH_SIZES = (8, 16, 32, 64, 128)
LEARNING_RATES = (3e-4, 1e-4, 5e-5, 3e-5)
EPOCHS = 4.0

_SEARCHED = ("train_batch_size", "learning_rate", "num_train_epochs")

# Settings that may differ between the commands that share a folder: no figure
# depends on them.
_FREE = frozenset("""
    output_dir vocab_file bert_config_file do_predict export_dir test_file
    predict_batch_size eval_batch_size glue_submission_dir plots num_seeds
    keep_all_runs keep_checkpoint_max save_checkpoints_steps log_steps verbose
    verbose_logging remove_padding recompute_grad auto_micro_batch use_xla
    xla_cache_dir use_tpu tpu_name tpu_zone gcp_project num_tpu_cores
    iterations_per_loop num_gpus worker_hosts task_index master""".split())

_CORRELATIONS = ("pearson", "spearman", "correlation")  # ends of names

# The files of a training that are useless without its weights.
_WEIGHTS = re.compile(
    r"^(model\.ckpt-.*|checkpoint|graph\.pbtxt|\.?\w+\.tf_record(\.offsets)?)$")


class Run(collections.namedtuple(
    "Run", "name output_dir settings figures has_failed")):
  """A run that is finished.

  Attributes:
    name: str.
    output_dir: str. Its folder.
    settings: dict from name to value, of those that differ between runs.
    figures: dict, as in eval_results.txt.
    has_failed: bool. It is no better than a constant prediction.
  """


def has_failed(figure, baseline, metric):
  """Returns whether a figure is no better than that of a constant prediction.

  Source: Dodge et al., arXiv 2002.06305; Zhang et al., arXiv 2006.05987.

  Args:
    figure: float.
    baseline: float. The figure of a constant prediction; None if unknown.
    metric: str. The figure's name.
  """
  if math.isnan(figure) or baseline is None:
    return math.isnan(figure)
  if best_model.is_lower_better(metric):
    return figure >= baseline - 1e-6
  return figure <= baseline + 1e-6


def is_asked(settings):
  """Returns whether settings of a script ask for several runs."""
  return bool(settings.num_seeds or settings.search or
              getattr(settings, "k_folds", None))


def check(settings):
  """Raises ValueError if settings do not allow several runs."""
  missing = [name for name in ("do_train", "do_eval")
             if not getattr(settings, name)]
  if missing:
    raise ValueError("--num_seeds, --search and --k_folds compare trainings; "
                     "also pass --" + ", --".join(missing))
  if getattr(settings, "k_folds", None) and settings.dev_share:
    raise ValueError("--k_folds and --dev_share: both set examples aside to "
                     "evaluate on; leave one of them out")
  defaults = {field.name: field.default
              for field in dataclasses.fields(settings)}
  for name in _SEARCHED if settings.search else ():
    if getattr(settings, name) != defaults[name]:
      raise ValueError(
          "--%s=%g: --search tries batch sizes %s and learning rates %s, %g "
          "epochs each; leave the flag out" % (
              name, getattr(settings, name), ", ".join(map(str, BATCH_SIZES)),
              ", ".join("%g" % rate for rate in LEARNING_RATES), EPOCHS))


def plan(settings):
  """Returns an ordered dict from a run's name to its settings."""
  grid = [("", {})]
  if settings.search:
    grid = [("batch-%d_rate-%.0e" % (size, rate), dict(
        zip(_SEARCHED, (size, rate, EPOCHS))))
            for size in BATCH_SIZES for rate in LEARNING_RATES]
  seeds, parts = [("", {})], [("", {})]
  if settings.num_seeds:
    first = 1 if settings.tf_random_seed is None else settings.tf_random_seed
    seeds = [("seed-%d" % seed, {"tf_random_seed": seed})
             for seed in range(first, first + settings.num_seeds)]
  count = getattr(settings, "k_folds", None)
  if count:
    parts = [("fold-%d" % (number + 1), {"fold": splits.Fold(number, count)})
             for number in range(count)]
  planned = collections.OrderedDict()
  for chosen in itertools.product(grid, seeds, parts):
    values = {}
    for _, more in chosen:
      values.update(more)
    planned["_".join(name for name, _ in chosen if name)] = values
  return planned


def _group_folds(planned):
  """Returns a dict from what the names of folds share to their names."""
  groups = collections.OrderedDict()
  for name in planned:
    groups.setdefault(name[:name.index("fold-")].rstrip("_") or "all",
                      []).append(name)
  return groups


def run(make_task, settings, on_log=None):
  """Runs a task, once or as many times as the settings ask for.

  Args:
    make_task: function of settings that returns a tasks.Task.
    settings: Settings of a script.
    on_log: function, see `training.make_estimator`; with several runs, each
      dict that it gets also has "run", the run's name.

  Returns:
    dict from the name of a figure to its value, of the best run; None without
    an evaluation.

  Raises:
    UserError: see `runner.run`; with several runs it names the run.
  """
  if not is_asked(settings):
    return runner.run(make_task(settings), on_log)
  with cli.user_errors():
    check(settings)
    planned = plan(settings)
    # Reads all input first, so that mistakes show at the start.
    task = make_task(_settings_of_run(
        settings, *next(iter(planned.items())),
        export_dir=settings.export_dir))
    predicts_apart = "eval" in task.splits
    if not (predicts_apart or settings.do_predict):
      raise ValueError("--num_seeds and --search: also pass --do_predict")
    examples = runner.read(task)
    planned = _leave_out(planned, settings, examples)
    read_flags = [name for name in task.read_flags if not tf.gfile.IsDirectory(
        getattr(settings, name) or "")]
    training.check_results(
        settings.output_dir, run_settings.files_read(settings, read_flags),
        [os.path.join(settings.output_dir, name) for name in (
            FILE_NAME, TABLE, folds.RESULTS, folds.PREDICTIONS)])
    training.check_output_dir(settings.output_dir)
    if settings.export_dir:
      training.check_output_dir(settings.export_dir, "export_dir")
  with training.sole_training(settings):
    with cli.user_errors():
      runs = _Runs(settings, planned, task, examples)
    problem = getattr(task, "problem", None)
    del task, examples
    for number, name in enumerate(planned, 1):
      if name not in runs.finished:
        tf.logging.info(
            "***** Run %d of %d: %s *****", number, len(planned), name)
        runs.add(name, *_train(make_task, _settings_of_run(
            settings, name, planned[name],
            do_predict=not predicts_apart), name, runs.metric, on_log))
    runs.log()
    if getattr(settings, "k_folds", None):
      folds.report(settings.output_dir, _group_folds(planned), problem)
    best = runs.find_best()
    predicts = settings.do_predict and predicts_apart
    if predicts or settings.export_dir:
      # With --do_train, so that all is as in the training, which has finished.
      _call(make_task, _settings_of_run(
          settings, best.name, planned[best.name], do_predict=predicts,
          export_dir=settings.export_dir, **_done(settings)), best.name,
            runner.run)
  return best.figures


def _done(settings):
  """Returns the settings to turn off in the call that predicts and exports."""
  values = {"do_eval": False, "plots": False}
  if not (settings.eval_steps or settings.eval_each_epoch):
    # Otherwise it must know which figure best/ was chosen by.
    values.update(tune_thresholds=False, best_metric=None)
  return {name: value for name, value in values.items()
          if hasattr(settings, name)}


def _leave_out(planned, settings, examples):
  """Returns the planned runs that have examples for at least one step."""
  def has_a_step(values):
    values = dict(cli.values_of(settings, _SEARCHED), **values)
    return len(examples["train"]) * values["num_train_epochs"] >= values[
        "train_batch_size"]

  possible = collections.OrderedDict(
      (name, values) for name, values in planned.items() if has_a_step(values))
  if possible and len(possible) < len(planned):
    tf.logging.warning(
        "%d training examples are less than one step for %d of the %d runs, "
        "which are left out",
        len(examples["train"]), len(planned) - len(possible),
        len(planned))
  return possible or planned


def _settings_of_run(settings, name, values, **more):
  """Returns the settings of a run; it exports only if `more` says so."""
  return dataclasses.replace(settings, **dict(dict(
      values, num_seeds=None, search=False, export_dir=None,
      output_dir=os.path.join(settings.output_dir, name)), **more))


def _train(make_task, settings, name, metric, on_log):
  """Trains and evaluates a run; returns its figures and whether it failed."""
  def train(task):
    figures = runner.run(
        task, on_log and (lambda row: on_log(dict(row, run=name))))
    if metric not in figures:
      raise cli.UserError("there is no %s to compare runs by; found %s" % (
          metric, ", ".join(sorted(figures))))
    with cli.user_errors():
      baseline = task.constant_figures().get(metric)
    return figures, has_failed(figures[metric], baseline, metric)

  return _call(make_task, settings, name, train)


def _call(make_task, settings, name, function):
  """Calls a function of a run's task, with its own graph and writers."""
  def call():
    with tf.Graph().as_default():
      return function(make_task(settings))

  tf.summary.FileWriterCache.clear()
  try:
    return script_options.call_with(settings, call)
  except cli.UserError as error:
    raise type(error)("run %s: %s" % (name, error)) from None
  finally:
    tf.summary.FileWriterCache.clear()
    gc.collect()  # graphs refer to themselves


class _Runs:
  """The runs of an output_dir; finished ones are kept in files.

  Attributes:
    metric: str. The figure that says which is best.
    finished: dict from name to Run.
  """

  def __init__(self, settings, planned, task, examples):
    """Reads the finished runs, and records what all runs share.

    Args:
      settings: Settings of a script.
      planned: dict, from `plan`.
      task: tasks.Task of one of the runs, checked.
      examples: dict from split to the examples of that run.

    Raises:
      ValueError: runs in the folder had other settings.
    """
    self._folder, self._planned = settings.output_dir, planned
    self._keeps_all = settings.keep_all_runs
    self.metric = task.best_metric
    free = _FREE.union(*planned.values())
    values = run_record.with_absolute_paths(dict(
        cli.values_of(settings, script_options.names_of(settings)),
        **dict(task.training_values(), best_metric=self.metric)))
    identity = {"--" + name: value for name, value in values.items()
                if name not in free}
    identity.update(
        task.record(), fold=None, weights=task.brought_by, examples={
            split: len(found) for split, found in examples.items()
            if split != "predict"})
    self._identity = json.loads(json.dumps(identity))
    there, found, _ = _read(self._folder)
    self.finished = {one.name: one for one in found}
    different = run_record.find_differences(there, self._identity) + [
        "the run %s is not one of this command's" % name
        for name in self.finished if name not in planned]
    if different:
      raise ValueError(
          "%s holds runs of other settings: %s. Give their settings, or "
          "another --output_dir" % (self._folder, "; ".join(different)))
    if found:
      tf.logging.info("%d of %d runs in %s are finished", len(found),
                      len(planned), self._folder)
      self._clean()
    self._write()  # a run that gets killed has these settings too

  def add(self, name, figures, failed):
    """Records the results of a run, and removes the weights of worse runs."""
    values = {key: value.number + 1 if key == "fold" else value
              for key, value in self._planned[name].items()}
    self.finished[name] = Run(
        name, os.path.join(self._folder, name), values, figures, failed)
    self._write()
    files.write_text(os.path.join(self._folder, TABLE), "".join(
        "\t".join(line) + "\n" for line in self._table(repr, True)))
    self._clean()

  def _write(self):
    files.write_json(os.path.join(self._folder, FILE_NAME), {
        "of": self._identity,
        "best": self.finished and self.find_best().name or None, "runs": [
            [one.name, one.settings, one.figures, one.has_failed]
            for one in self._in_order()]})

  def _in_order(self):
    return [self.finished[name] for name in self._planned
            if name in self.finished]

  def find_best(self):
    """Returns the best Run, the earlier of equals."""
    runs = self._in_order()
    best = best_model.find_best(runs, self.metric)
    return best or runs[0]  # if none has a number

  def _clean(self):
    """Removes the weights of finished runs that are not the best."""
    best = self.find_best()
    for one in self._in_order():
      if one is not best and not self._keeps_all:
        for name in files.list_folder(one.output_dir):
          path = os.path.join(one.output_dir, name)
          if name == best_model.FOLDER:
            tf.gfile.DeleteRecursively(path)
          elif _WEIGHTS.match(name):
            tf.gfile.Remove(path)

  def _table(self, show, with_settings):
    """Returns the lines of a table of the runs, each a list of str."""
    runs, best = self._in_order(), self.find_best()
    settings = sorted(runs[0].settings) if with_settings else []
    names = sorted({name for one in runs for name in one.figures
                    if with_settings or name.startswith("eval_") or
                    name == self.metric})
    lines = [["run"] + settings + names + ["failed", "best " + self.metric]]
    for one in runs:
      lines.append(
          [one.name] + [str(one.settings[name]) for name in settings] +
          [show(one.figures[name]) if name in one.figures else ""
           for name in names] +
          ["yes" if one.has_failed else "no",
           "*" if one is best else ""])
    return lines

  def log(self):
    """Logs the figures of each run, and their statistics."""
    def show(value):
      return "%.4f" % value if isinstance(value, float) else str(value)

    progress.log_table("Runs", self._table(show, False))
    groups = collections.OrderedDict()
    for one in self._in_order():
      values = {name: value for name, value in one.settings.items()
                if name in _SEARCHED[:2]}
      groups.setdefault(
          "batch-%(train_batch_size)d rate-%(learning_rate).0e" % values
          if values else "all", []).append(one)
    lines = [["runs", "number", "mean", "deviation", "median", "minimum",
              "maximum", "failed"]]
    means = []
    for name, runs in groups.items():
      figures = summarize([one.figures[self.metric] for one in runs])
      means.append(best_model.Row(name, None, {self.metric: figures[0]}))
      lines.append(
          [name, str(len(runs))] + ["%.4f" % value for value in figures] +
          [str(sum(one.has_failed for one in runs))])
    progress.log_table("%s of the runs" % self.metric, lines)
    best = best_model.find_best(means, self.metric)
    if len(groups) > 1 and best:
      tf.logging.info("The best setting, by its mean: %s", best.step)
    if any(one.has_failed for one in self._in_order()):
      tf.logging.info(
          "A run has failed if its %s is no better than that of predicting the "
          "same for every text%s: try other seeds, a lower --learning_rate or "
          "more --num_train_epochs", self.metric, ", which is 0" if
          self.metric.endswith(_CORRELATIONS) else "")
    best = self.find_best()
    tf.logging.info("The best run is %s%s", best.output_dir, "" if
                    self._keeps_all else ", whose checkpoints are kept")


def summarize(figures):
  """Returns mean, sample deviation, median, minimum, maximum; ignores nan.

  Args:
    figures: list of float.

  Returns:
    list of float; nan if there are too few figures.
  """
  figures = [figure for figure in figures if not math.isnan(figure)]
  if not figures:
    return [math.nan] * 5
  return [float(np.mean(figures)),
          float(np.std(figures, ddof=1)) if len(figures) > 1 else math.nan,
          float(np.median(figures)), min(figures), max(figures)]


def read(output_dir):
  """Reads the finished runs of an output_dir.

  Returns:
    list of Run, and the best one; an empty list and None if there are none.

  Raises:
    ValueError: its runs.json is not in the form that is written there.
  """
  return _read(output_dir)[1:]


def _read(output_dir):
  """Returns what runs share, a dict; a list of Run; and the best of them."""
  path = os.path.join(output_dir, FILE_NAME)
  if not tf.gfile.Exists(path):
    return {}, [], None
  try:
    found = json_files.read(path)
    runs = []
    for name, settings, figures, failed in found["runs"]:
      if os.path.basename(name) != name or name in ("", ".", ".."):
        raise ValueError("found the run %r, expected a name" % name)
      if not all(isinstance(value, (int, float))
                 for value in dict(figures).values()):
        raise ValueError("run %s: found %r, expected numbers" % (name, figures))
      runs.append(Run(name, os.path.join(output_dir, name), dict(settings),
                      dict(figures), failed))
    best = None
    if runs:
      best, = [one for one in runs if one.name == found["best"]]
    return dict(found["of"]), runs, best
  except (ValueError, KeyError, TypeError) as error:
    raise ValueError(
        "%s: cannot be read (%s); remove it, and runs that still have their "
        "checkpoints are evaluated again, the others trained again" % (
            path, error)) from None
