"""A run of any task: it reads, trains, evaluates, predicts and exports."""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    best_model, checkpoints, cli, devices, hooks, progress, run_settings,
    serving, tasks, training, training_state)


def start(settings, computes=True):
  """Starts the log, and checks the device and compiler that are asked for.

  Args:
    settings: object with the settings of a script as attributes.
    computes: bool. Whether there is a model to run.
  """
  progress.start_logging(settings.verbose)
  run_settings.check_tpu(settings.use_tpu)
  devices.check(settings)
  if computes:
    run_settings.log_device(settings.use_tpu)


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
  settings = task.settings
  # All input is read first, so that mistakes show before the training.
  with cli.user_errors():
    examples = read(task)
  with training.sole_training(settings):
    with cli.user_errors():
      num_train_steps = task.count_train_steps(examples)
      record = task.record()
      begin = training.find_start(settings, record, num_train_steps, task)
      if begin.step >= num_train_steps:
        examples.pop("train", None)  # nothing left to train on them
      state = training_state.State(begin.step)
      if "train" in examples:
        state = training_state.find_state(
            begin.checkpoint, begin.step, task.batch_size("train"),
            settings.tf_random_seed)
      data = {split: task.write(split, found)
              for split, found in examples.items()}

    def make_estimator(state):
      return _make_estimator(task, num_train_steps, state, on_log)

    def checkpoint_to_use(num_train_steps):
      return training.checkpoint_to_use(
          settings.output_dir, begin, num_train_steps)

    def record_start():
      checkpoints.write_record(
          settings.output_dir, record, begin.step,
          **dict(task.training_values(), num_train_steps=num_train_steps))

    evaluations = None
    if settings.do_train and task.eval_every:
      with cli.user_errors():
        epoch = len(examples["train"]) if "train" in examples else 0
        evaluations = best_model.Evaluations(
            settings.output_dir, task.best_metric, task.has_epochs and
            epoch / task.batch_size("train"), begin.step)
        evaluations.keep_best()

    def evaluate(estimator, checkpoint):
      results = task.evaluate(estimator, data["eval"], checkpoint)
      step = checkpoints.read_step(checkpoint) if evaluations else 0
      if evaluations and not evaluations.has(step):
        with cli.user_errors():
          evaluations.add(step, results)
      return results

    estimator, results = make_estimator(state), None
    with task.naming_errors(data):
      if settings.do_train:
        if (evaluations and state.step < num_train_steps and state.step and
            state.step % task.eval_every == 0 and
            not evaluations.has(state.step)):
          evaluate(estimator, checkpoint_to_use(0))  # it was interrupted
        estimator = _train(
            task, estimator, make_estimator, data, num_train_steps, state,
            record_start,
            lambda estimator: evaluate(estimator, checkpoint_to_use(0)))
      checkpoint = checkpoint_to_use(num_train_steps)
      use_best = getattr(settings, "use_best", False)
      if "eval" in data and (evaluations or not use_best):
        results = evaluate(estimator, checkpoint)
        if evaluations:
          evaluations.log()
      if use_best:
        with cli.user_errors():
          checkpoint = best_model.find_checkpoint(settings.output_dir)
        tf.logging.info("Using the best checkpoint, %s", checkpoint)
        if "eval" in data:
          results = task.evaluate(estimator, data["eval"], checkpoint)
      if "predict" in data:
        task.predict(estimator, data["predict"], checkpoint)
    results = task.finish() or results
    if getattr(settings, "export_dir", None):
      _export(task, checkpoint or begin.init_checkpoint)
  return results


def _make_estimator(task, num_train_steps, state, on_log):
  settings = task.settings
  batch_sizes = {
      split + "_batch_size": task.batch_size(split) for split in task.splits
      if split in tasks.Task.splits}
  return training.make_estimator(
      training.make_model_fn(
          task.head, settings.init_checkpoint,
          run_settings.optimizer_settings(settings, num_train_steps),
          task.head_names, getattr(settings, "init_head", "auto"), state,
          run_settings.find_fresh(settings, task.config)),
      settings.output_dir, settings=settings, start_step=state.step,
      on_log=on_log, **batch_sizes)


def _train(task, estimator, make_estimator, data, num_train_steps, state,
           on_start, evaluate):
  """Trains, with evaluations before the last step as `task.eval_every` says.

  Args:
    task: tasks.Task.
    estimator: TPUEstimator.
    make_estimator: function of the State to start at.
    data: dict from split to Data; without "train" where all steps are done.
    num_train_steps: int.
    state: training_state.State. Where it resumes.
    on_start: function without arguments, see `training.train`.
    evaluate: function of an estimator.

  Returns:
    The estimator that trained the last steps.
  """
  # What is computed elsewhere cannot call the reader of this process.
  in_order = state.is_ordered and not (
      task.settings.use_tpu or task.settings.master)

  def train(state, **more):
    training.train(
        estimator, "train" in data and task.input_fn(
            "train", data["train"], state.position,
            state.seed if in_order else None),
        num_train_steps, state.step, task.how_to_train_more, on_start=on_start,
        **more)

  if not task.eval_every:
    train(state)
  elif not task.settings.use_tpu:
    train(state, more_hooks=[hooks.EvaluateHook(
        lambda: evaluate(estimator), estimator.model_dir, task.eval_every,
        num_train_steps)])
  else:
    # A TPU cannot evaluate while it trains: the training stops and resumes.
    while True:
      stop_step = min(num_train_steps, (
          state.step // task.eval_every + 1) * task.eval_every)
      train(state, stop_step=stop_step)
      if stop_step >= num_train_steps:
        break
      evaluate(estimator)
      state = state.at(stop_step)
      estimator = make_estimator(state)  # its seed depends on the step
  return estimator


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
