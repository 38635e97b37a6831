"""A run of any task: it reads, trains, evaluates, predicts and exports."""

import contextlib
import copy
import gc
import json
import math
import os
import tempfile

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    accumulation, best_model, checkpoints, cli, cluster, devices, faults, hooks,
    input_pipeline, kernels, placement, problem_types, progress, record_order,
    run_settings, serving, tasks, training, training_state)


def start(settings, computes=True):
  """Starts the log, and checks the requested device and compiler.

  Args:
    settings: object with the settings of a script as attributes.
    computes: bool. Whether there is a model to run.
  """
  progress.start_logging(settings.verbose)
  run_settings.check_tpu(settings.use_tpu)
  run_settings.check_micro_batch(settings)
  devices.check(settings)
  cluster.prepare(settings)
  placed = placement.find(settings)
  if placed and settings.do_train:
    placement.check_batch_size(settings, placed)
  if computes:
    run_settings.log_device(settings)


def read(task):
  """Checks settings of a task and reads all of its input.

  Args:
    task: tasks.Task.

  Returns:
    dict from split to its examples.

  Raises:
    ValueError: files are missing or wrong, or settings contradict each other.
  """
  if getattr(task.settings, "export_dir", None) and not task.is_served():
    raise ValueError("--export_dir: the task %s cannot be served; leave the "
                     "flag out" % task.name)
  calibrate_on = getattr(task.settings, "calibrate_on", None)
  if calibrate_on not in (None, "dev"):
    raise ValueError("--calibrate_on=%s: expected dev, the set of --do_eval" %
                     calibrate_on)
  if calibrate_on and (task.settings.do_train or "eval" not in task.asked() or
                       task.settings.compute_dtype == "float32"):
    raise ValueError("--calibrate_on=dev: compares an evaluation in 8 or 16 "
                     "bits with one in float32; pass --do_eval and "
                     "--compute_dtype, without --do_train")
  task.check()
  return task.read_all()


def run(task, on_log=None):
  """Trains, evaluates, predicts and exports as the settings of a task say.

  Args:
    task: tasks.Task.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure to its value; None without an evaluation.

  Raises:
    UserError: files are missing or wrong, or settings contradict each other.
  """
  # All input is read first, so that mistakes show before the training.
  with cli.user_errors():
    examples = read(task)
  with contextlib.ExitStack() as stack:
    joined = stack.enter_context(cluster.join(task.settings))
    if joined and not joined.is_chief:
      return _train_for_chief(task, examples, on_log, joined)
    return _run(task, examples, on_log, joined)


def _run(task, examples, on_log, joined):
  """Does all of a run but reading; see `run`."""
  with training.sole_training(task.settings):
    with cli.user_errors():
      current = _Run(task, examples, on_log, joined)
    devices.wait_for_server(getattr(task.settings, "master", None))
    with task.naming_errors(current.data):
      if task.settings.do_train:
        current.train()
      checkpoint, results = current.evaluate_at_end()
      if getattr(task.settings, "calibrate_on", None):
        _check_evaluation(task, current.data["eval"], checkpoint, results)
      if "predict" in current.data:
        task.predict(current.estimator, current.data["predict"], checkpoint)
    results = task.finish() or results
    if getattr(task.settings, "export_dir", None):
      _export(task, checkpoint or current.begin.init_checkpoint)
  return results


class _Run:
  """A run of a task: where it starts, its data, its estimator.

  Attributes:
    begin: checkpoints.Start.
    data: dict from split to tasks.Data; without "train" if all steps are done.
    estimator: TPUEstimator of this process, for the most recent steps.
  """

  def __init__(self, task, examples, on_log, joined):
    """Finds where the run starts, and writes the features.

    Args:
      task: tasks.Task, checked.
      examples: dict from split to its examples.
      on_log: function, see `training.make_estimator`.
      joined: cluster.Cluster, or None.

    Raises:
      ValueError: the output folder or a checkpoint does not fit the run.
    """
    self._task, self._settings, self._on_log = task, task.settings, on_log
    self._joined = joined
    self._num_train_steps = task.count_train_steps(examples)
    self._last_step = self._num_train_steps  # lowered by an early stop
    self._record = task.record()
    self._num_parts = 1  # of each batch of --train_batch_size
    self._has_started = False
    self.begin = training.find_start(
        self._settings, self._record, self._num_train_steps, task)
    self._evaluations = self._evaluated = None
    self.data = {split: task.write(split, found)
                 for split, found in examples.items() if split != "train"}
    if self._settings.do_train and task.eval_every:
      self._evaluations = best_model.Evaluations(
          self._settings.output_dir, task.best_metric, self.begin.step,
          task.model_files, task.steps_per_epoch,
          best_model.describe_data(self.data[task.eval_split]))
      self._evaluations.keep_best()
      self._stops_early()
    self._state = training_state.State(self.begin.step)
    if self.begin.step < self._last_step:
      self.data["train"] = task.write("train", examples["train"])
      self._state = self._find_state()
    self.estimator = self._make_estimator()

  def _find_state(self):
    """Finds where the training resumes, and in which order it reads."""
    settings, task = self._settings, self._task
    # Other processes cannot call the reader of this one.
    is_ordered = not (
        settings.use_tpu or settings.master) and input_pipeline.can_be_ordered(
            self.data["train"].files)
    return training_state.find_state(
        self.begin.checkpoint, training_state.State(
            self.begin.step, 0, task.batch_size("train"),
            settings.tf_random_seed, is_ordered,
            max(getattr(settings, "shuffle_buffer_size", 0),
                record_order.LEAST_GROUP), self._num_train_steps,
            task.last_accumulation_steps * settings.train_batch_size))

  def _make_estimator(self, trains_with_others=False):
    if self._joined:
      sessions = (self._joined.training if trains_with_others else
                  self._joined.evaluation)
    else:
      sessions = placement.of_one_process(self._settings)
    return _make_estimator(
        self._task, self._num_train_steps, self._state, self._on_log,
        self._settings.init_checkpoint, sessions, self._num_parts)

  def _stops_early(self):
    """Returns whether --early_stopping_patience ends the training now."""
    stop = self._evaluations.find_stop(getattr(
        self._settings, "early_stopping_patience", None))
    if stop is None:
      return False
    self._last_step = stop
    return True

  def train(self):
    """Trains, with evaluations before the last step."""
    task, step = self._task, self._state.step
    if not self._evaluations:
      self._train_to()
      return
    if (0 < step < self._last_step and task.next_evaluation(step - 1) == step
        and not self._evaluations.has(step)):
      self._evaluate_latest()  # this evaluation was interrupted
    if not task.settings.use_tpu:
      self._train_to(self._evaluate_latest)
    else:
      # A TPU cannot evaluate while it trains: the training stops and resumes.
      while True:
        stop = min(self._last_step, task.next_evaluation(self._state.step))
        self._train_to(stop_step=stop)
        if stop >= self._last_step or self._evaluate_latest():
          break
        self._state = self._state.at(stop)
        self.estimator = self._make_estimator()  # its seed depends on the step

  def _train_to(self, *args, **more):
    """Trains; with --auto_micro_batch, tries again if memory runs out.

    Args:
      *args: see `_train_from_state`.
      **more: dict. The same.
    """
    while True:
      try:
        self._train_from_state(*args, **more)
        return
      except tf.errors.OpError as error:
        # If the variables did not fit, trying again would not help.
        if not (self._has_started and faults.is_for_memory(error) and getattr(
            self._settings, "auto_micro_batch", False)):
          raise
        shortage = faults.describe(error)
      gc.collect()  # frees the error's session, which holds the variables
      self._divide(shortage)

  def _divide(self, shortage):
    """Goes back to the last checkpoint, with parts of a batch half as large.

    Args:
      shortage: str. How memory ran out.

    Raises:
      UserError: they have only one example each.
    """
    placed, before = placement.find(self._settings), self._num_parts
    size = self._settings.train_batch_size // (
        placed.num_replicas if placed else 1)
    self._num_parts = accumulation.smaller_parts(size, before)
    if not self._num_parts:
      raise cli.UserError(
          "one example at a time is too much already: " + shortage)
    progress.close_all()
    with cli.user_errors():
      checkpoint = checkpoints.find_checkpoint(self._settings.output_dir)
      self._state = self._state.at(
          checkpoints.read_step(checkpoint) if checkpoint else self._state.step)
    tf.logging.warning(
        "Out of memory with %d examples at a time; going on from step %d with "
        "%d at a time, and updates of %d as before (--auto_micro_batch)",
        size // before, self._state.step, size // self._num_parts,
        self._task.batch_size("train"))
    self.estimator = self._make_estimator()

  def _train_from_state(self, evaluate=None, stop_step=None):
    """Trains from the current state to a step; see `training.train`.

    Args:
      evaluate: function, see `hooks.EvaluateHook`; None for no evaluations.
      stop_step: int, or None.
    """
    task, state, more = self._task, self._state, {}
    estimator, agree = self.estimator, None
    if self._joined:
      is_left = state.step < self._last_step
      if is_left and not state.is_ordered:
        raise cli.UserError(
            "--worker_hosts: several processes need uncompressed records, and "
            "a training that began with them; decompress the records, or train "
            "in one process")
      self._joined.send_start(dict(
          settings=_find_shared(task, self._num_train_steps, self.data),
          state=list(state) if is_left else None))
      if is_left:
        estimator = self._make_estimator(trains_with_others=True)
        more["stop"] = cluster.TogetherHook(self._joined)
        agree = more["stop"].agree
    if evaluate:
      more["more_hooks"] = [hooks.EvaluateHook(
          evaluate, self.estimator.model_dir, task.next_evaluation,
          self._num_train_steps, agree)]
    has_stopped = self._last_step < self._num_train_steps
    training.train(
        estimator, "train" in self.data and task.input_fn(
            "train", self.data["train"], state.position,
            state if state.is_ordered else None),
        self._last_step, state.step,
        "raise --early_stopping_patience" if has_stopped else
        task.how_to_train_more, stop_step, self._record_start, **more)

  def _record_start(self):
    self._has_started = True
    checkpoints.write_record(
        self._settings.output_dir, self._record, self.begin.step,
        **dict(self._task.training_values(),
               num_train_steps=self._num_train_steps))

  def _evaluate_latest(self):
    """Evaluates the latest checkpoint; returns whether to stop there."""
    checkpoint = training.checkpoint_to_use(
        self._settings.output_dir, self.begin, 0)
    self._task.trains_on = checkpoints.read_step(checkpoint) < self._last_step
    with cli.described_faults():  # not to be mistaken for those of a step
      self._evaluate(checkpoint)
    self._task.trains_on = False
    return self._stops_early()

  def _evaluate(self, checkpoint):
    """Evaluates a checkpoint, unless it is the last one evaluated.

    Returns:
      dict from the name of a figure to its value.
    """
    if not self._evaluated or self._evaluated[0] != checkpoint:
      task = self._task
      self._evaluated = checkpoint, task.evaluate(
          self.estimator, self.data[task.eval_split], checkpoint)
      step = checkpoints.read_step(checkpoint) if self._evaluations else 0
      if self._evaluations and not self._evaluations.has(step):
        with cli.user_errors():
          self._evaluations.add(step, self._evaluated[1])
    return self._evaluated[1]

  def evaluate_at_end(self):
    """Evaluates the final weights or, with --use_best, the best.

    Returns:
      The checkpoint to use from here on, see `training.checkpoint_to_use`; and
      a dict from the name of a figure to its value, None if there is none.
    """
    settings, results = self._settings, None
    checkpoint = training.checkpoint_to_use(
        settings.output_dir, self.begin, self._last_step)
    use_best = getattr(settings, "use_best", False)
    if self._evaluations:
      results = self._evaluate(checkpoint)
      self._evaluations.log()
    if use_best:
      with cli.user_errors():
        best = best_model.find_checkpoint(
            settings.output_dir, getattr(settings, "best_metric", None))
      tf.logging.info("Using the best checkpoint, %s", best)
      if not (self._evaluations and os.path.basename(best) ==
              os.path.basename(checkpoint)):  # else it was evaluated already
        checkpoint = best
    if "eval" in self.data:
      results = self._evaluate(checkpoint)
    return checkpoint, results


def _check_evaluation(task, data, checkpoint, results):
  """Evaluates in float32 too, see `check_loss`.

  Args:
    task: tasks.Task.
    data: tasks.Data of its dev set.
    checkpoint: str.
    results: dict from the name of a figure to its value, in that data type.
  """
  plain = copy.copy(task)
  plain.settings = copy.copy(task.settings)
  with tempfile.TemporaryDirectory() as folder, kernels.computing_exactly():
    plain.settings.output_dir = folder  # its own results stay where they are
    if getattr(plain.settings, "tune_thresholds", False):
      plain.settings.tune_thresholds = False  # the same for both
    tf.logging.info("The same in float32:")
    exact = plain.evaluate(
        _make_estimator(
            plain, 0, training_state.State(0), None, checkpoint,
            placement.of_one_process(plain.settings)), data, checkpoint)
  check_loss(results, exact, task.best_metric, task.settings.compute_dtype,
             task.settings.allowed_loss)


def check_loss(found, exact, best_metric, compute_dtype, allowed):
  """Logs the effect of a data type; raises UserError if it loses too much.

  Args:
    found: dict from the name of a figure to its value, in that data type.
    exact: the same in float32.
    best_metric: str. The figure that must not lose; where thresholds were
      tuned, that with them.
    compute_dtype: str.
    allowed: float. Points that it may lose.
  """
  if best_metric + problem_types.TUNED in found:
    best_metric += problem_types.TUNED
  shared = sorted(set(found).intersection(exact) - {"global_step"})
  for name in shared:
    if not best_model.is_lower_better(name):
      tf.logging.info("%s: %.4f in %s, %.4f in float32, %+.2f points", name,
                      found[name], compute_dtype, exact[name],
                      _points(name, found[name] - exact[name]))
  loss = -_points(best_metric, found[best_metric] - exact[best_metric]) if (
      best_metric in shared) else math.nan
  if best_model.is_lower_better(best_metric):
    loss = -loss
  if math.isnan(loss):
    raise cli.UserError(
        "--calibrate_on: %s is not a number on the dev set, so that data types "
        "cannot be compared by it; use another set or metric" % best_metric)
  if round(loss, 6) > allowed:
    raise cli.UserError(
        "--compute_dtype=%s: loses %.2f points of %s on the dev set, more than "
        "--allowed_loss=%g; use float32 or bfloat16, or allow more" % (
            compute_dtype, loss, best_metric, allowed))


def _points(name, change):
  """Returns the change of a figure in percent, if it is a fraction of 1."""
  # SQuAD's are in percent already, and losses have no bound.
  is_fraction = name.startswith("eval_") and not (
      best_model.is_lower_better(name))
  return 100 * change if is_fraction else change


def _make_estimator(task, num_train_steps, state, on_log, init_checkpoint,
                    sessions, num_parts=1):
  """Makes the estimator of a task; see `training.make_estimator`.

  Args:
    task: tasks.Task.
    num_train_steps: int. Steps of the whole training.
    state: training_state.State. Where it begins.
    on_log: function.
    init_checkpoint: str, or None.
    sessions: placement.Sessions.
    num_parts: int. Parts of each batch, if it does not fit in memory.
  """
  settings = task.settings
  batch_sizes = {
      split + "_batch_size": task.batch_size(split) for split in task.splits
      if split in tasks.Task.splits}
  return training.make_estimator(
      training.make_model_fn(
          task.head, init_checkpoint, run_settings.optimizer_settings(
              settings, num_train_steps, gradient_accumulation_steps=(
                  num_parts * run_settings.accumulation_steps(settings)),
              last_accumulation_steps=num_parts * task.last_accumulation_steps),
          task.head_names, getattr(settings, "init_head", "auto"), state,
          run_settings.find_fresh(settings, task.config),
          sessions.placed),
      settings.output_dir, settings=settings, start_step=state.step,
      on_log=on_log, sessions=sessions, **batch_sizes)


def _find_shared(task, num_train_steps, data):
  """Returns a dict of what all workers must agree on."""
  values = task.training_values()
  shared = {"--" + name: values[name] for name in values
            if not name.endswith("_file")}
  shared.update({"training steps": num_train_steps,
                 "training records": data["train"].num_records,
                 "devices": len(placement.find(task.settings).devices)}
                if "train" in data else {})
  return json.loads(json.dumps(shared, default=str))


def _train_for_chief(task, examples, on_log, joined):
  """Trains as one of the workers that neither save nor evaluate.

  Args:
    task: tasks.Task, checked.
    examples: dict from split to its examples.
    on_log: function, see `training.make_estimator`.
    joined: cluster.Cluster.
  """
  with cli.user_errors():
    num_train_steps = task.count_train_steps(examples)
    data = {"train": task.write("train", examples["train"])}
  begin = joined.receive_start(_find_shared(task, num_train_steps, data))
  if not begin["state"]:
    tf.logging.info("There is nothing left to train, says worker 0")
    return
  state = training_state.State(*begin["state"])
  stop, more = cluster.TogetherHook(joined), []
  if task.eval_every:
    more.append(cluster.WaitHook(
        stop.agree, task.next_evaluation, num_train_steps))
  with task.naming_errors(data):
    # The weights come from the chief.
    training.train(
        _make_estimator(
            task, num_train_steps, state, on_log, None, joined.training),
        task.input_fn("train", data["train"], state.position, state),
        num_train_steps, state.step, task.how_to_train_more, more_hooks=more,
        stop=stop)


def _export(task, checkpoint):
  """Exports the model of a checkpoint into --export_dir."""
  settings, basic = task.settings, task.tokenizer.basic_tokenizer
  options = run_settings.serving_options(settings)
  with cli.user_errors():
    served = task.serve(
        task.config, task.served_options(), task.training_values(),
        checkpoint, options)
    serving.export_saved_model(
        served, checkpoint, settings.vocab_file, serving.make_settings(
            served, settings.max_seq_length, basic.do_lower_case,
            basic.strip_accents, task.config.type_vocab_size,
            options.compute_dtype),
        settings.export_dir)
