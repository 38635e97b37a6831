"""A run of any task: it reads, trains, evaluates, predicts and exports."""

import gc
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    accumulation, best_model, checkpoints, cli, devices, faults, hooks,
    input_pipeline, placement, progress, record_order, run_settings, serving,
    tasks, training, training_state)


def start(settings, computes=True):
  """Starts the log, and checks the device and compiler that are asked for.

  Args:
    settings: object with the settings of a script as attributes.
    computes: bool. Whether there is a model to run.
  """
  progress.start_logging(settings.verbose)
  run_settings.check_tpu(settings.use_tpu)
  run_settings.check_micro_batch(settings)
  devices.check(settings)
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
    ValueError: files are missing or wrong, or settings do not go together.
  """
  if getattr(task.settings, "export_dir", None) and not task.is_served():
    raise ValueError("--export_dir: the task %s cannot be served; leave the "
                     "flag out" % task.name)
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
    UserError: files are missing or wrong, or settings do not go together.
  """
  # All input is read first, so that mistakes show before the training.
  with cli.user_errors():
    examples = read(task)
  with training.sole_training(task.settings):
    with cli.user_errors():
      current = _Run(task, examples, on_log)
    devices.wait_for_server(getattr(task.settings, "master", None))
    with task.naming_errors(current.data):
      if task.settings.do_train:
        current.train()
      checkpoint, results = current.evaluate_at_end()
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
    data: dict from split to tasks.Data; without "train" where all steps are
      done.
    estimator: TPUEstimator, that of the last steps.
  """

  def __init__(self, task, examples, on_log):
    """Finds out where it starts and writes the features.

    Args:
      task: tasks.Task, checked.
      examples: dict from split to its examples.
      on_log: function, see `training.make_estimator`.

    Raises:
      ValueError: the output folder or a checkpoint does not go with the run.
    """
    self._task, self._settings, self._on_log = task, task.settings, on_log
    self._num_train_steps = task.count_train_steps(examples)
    self._last_step = self._num_train_steps  # an early stop makes it less
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
    """Finds out where the training resumes, and in which order it reads."""
    settings, task = self._settings, self._task
    # What is computed elsewhere cannot call the reader of this process.
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

  def _make_estimator(self):
    settings, task = self._settings, self._task
    batch_sizes = {
        split + "_batch_size": task.batch_size(split) for split in task.splits
        if split in tasks.Task.splits}
    return training.make_estimator(
        training.make_model_fn(
            task.head, settings.init_checkpoint,
            run_settings.optimizer_settings(
                settings, self._num_train_steps,
                gradient_accumulation_steps=self._num_parts *
                run_settings.accumulation_steps(settings),
                last_accumulation_steps=self._num_parts *
                task.last_accumulation_steps),
            task.head_names, getattr(settings, "init_head", "auto"),
            self._state, run_settings.find_fresh(settings, task.config),
            placement.find(settings)),
        settings.output_dir, settings=settings, start_step=self._state.step,
        on_log=self._on_log, **batch_sizes)

  def _stops_early(self):
    """Returns whether --early_stopping_patience ends the training by now."""
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
      self._evaluate_latest()  # which was interrupted
    if not task.settings.use_tpu:
      self._train_to(more_hooks=[hooks.EvaluateHook(
          self._evaluate_latest, self.estimator.model_dir, task.next_evaluation,
          self._num_train_steps)])
    else:
      # A TPU cannot evaluate while it trains: the training stops and resumes.
      while True:
        stop = min(self._last_step, task.next_evaluation(self._state.step))
        self._train_to(stop_step=stop)
        if stop >= self._last_step or self._evaluate_latest():
          break
        self._state = self._state.at(stop)
        self.estimator = self._make_estimator()  # its seed depends on the step

  def _train_to(self, **more):
    """Trains, with --auto_micro_batch again where memory runs out.

    Args:
      **more: arguments of `training.train`.
    """
    while True:
      try:
        self._train_from_state(**more)
        return
      except tf.errors.OpError as error:
        # One for want of room for the variables would come again and again.
        if not (self._has_started and faults.is_for_memory(error) and getattr(
            self._settings, "auto_micro_batch", False)):
          raise
        shortage = faults.describe(error)
      gc.collect()  # with the error goes its session, which has the variables
      self._divide(shortage)

  def _divide(self, shortage):
    """Goes back to the last checkpoint, for parts of a batch half as large.

    Args:
      shortage: str. How memory ran out.

    Raises:
      UserError: they have one example each.
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

  def _train_from_state(self, **more):
    """Trains from the current state; see `training.train` for the rest."""
    task, state = self._task, self._state
    has_stopped = self._last_step < self._num_train_steps
    training.train(
        self.estimator, "train" in self.data and task.input_fn(
            "train", self.data["train"], state.position,
            state if state.is_ordered else None),
        self._last_step, state.step,
        "raise --early_stopping_patience" if has_stopped else
        task.how_to_train_more, on_start=self._record_start, **more)

  def _record_start(self):
    self._has_started = True
    checkpoints.write_record(
        self._settings.output_dir, self._record, self.begin.step,
        **dict(self._task.training_values(),
               num_train_steps=self._num_train_steps))

  def _evaluate_latest(self):
    """Evaluates the latest checkpoint; returns whether to stop there."""
    with cli.described_faults():  # not to be taken for those of a step
      self._evaluate(training.checkpoint_to_use(
          self._settings.output_dir, self.begin, 0))
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
    """Evaluates what the training ended with or, with --use_best, the best.

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
              os.path.basename(checkpoint)):  # else it is evaluated already
        checkpoint = best
    if "eval" in self.data:
      results = self._evaluate(checkpoint)
    return checkpoint, results


def _export(task, checkpoint):
  """Exports the model of a checkpoint into --export_dir."""
  settings, basic = task.settings, task.tokenizer.basic_tokenizer
  with cli.user_errors():
    served = task.serve(
        task.config, task.served_options(), task.training_values(),
        checkpoint, run_settings.serving_options(settings))
    serving.export_saved_model(
        served, checkpoint, settings.vocab_file, serving.make_settings(
            served, settings.max_seq_length, basic.do_lower_case,
            basic.strip_accents, task.config.type_vocab_size),
        settings.export_dir)
