"""The Estimator around a task: making it, training, evaluating, results.

What every script does around its task lives here once: the estimator, the
`model_fn` around a task's head, stopping on Ctrl-C, evaluating and writing
results.
"""

import collections
import contextlib
import json
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    accumulation, best_model, checkpoint_fit, checkpoints, cli, faults, files,
    hooks, initial_weights, input_pipeline, metrics, modeling, optimization,
    optimizers, placement, replicas, run_settings, tf_estimator, training_lock,
    training_state, workers, xla)


def make_estimator(
    model_fn, output_dir, train_batch_size=32, eval_batch_size=8,
    predict_batch_size=8, settings=None, start_step=0, on_log=None,
    sessions=None, **values):
  """Makes the estimator that trains, evaluates and predicts.

  Args:
    model_fn: function, as `make_model_fn` returns it.
    output_dir: str. Folder of checkpoints and logs. The estimator's
      `model_dir` is a link to it if TensorFlow would take it for a pattern.
    train_batch_size: int. Over all cores.
    eval_batch_size: int. Over all cores.
    predict_batch_size: int. Over all cores.
    settings: Settings of a script. Where to run, and what to keep and log: any
      fields of `run_settings.TrainingSettings`.
    start_step: int. Step that training resumes from. Goes into the seed, so
      that it does not repeat the dropout and shuffling of the first steps.
    on_log: function, see `hooks.LogHook`; not used on TPUs.
    sessions: placement.Sessions; None for those of this process alone.
    **values: fields of `run_settings.TrainingSettings`, such as `use_tpu`, that
      override `settings` and the defaults.

  Returns:
    A TPUEstimator, which runs on CPU and GPU as well.

  Raises:
    UserError: an argument makes no sense, or there are no TPUs for the
      TensorFlow that is installed.
  """
  settings = run_settings.TrainingSettings(**dict(run_settings.fields_given(
      run_settings.TrainingSettings, settings), **values))
  run_settings.check_tpu(settings.use_tpu)
  model_dir = output_dir
  if output_dir:
    with cli.user_errors():
      model_dir = files.literal_folder(output_dir)
      checkpoints.repair_list(model_dir)
  seed = settings.tf_random_seed
  if seed is not None and start_step:
    seed = (seed + 1000003 * start_step) % 2**31
  cluster, log_steps = None, settings.log_steps
  # An evaluation or prediction has a batch for each device.
  num_devices = placement.count_devices(settings)
  sessions = sessions or placement.of_one_process(settings)
  params = {"log_steps": log_steps, "on_log": on_log}
  if sessions.share:
    params["share"] = sessions.share
  if settings.use_tpu and settings.tpu_name:
    cluster = _find_tpu(settings)
  with cli.user_errors(), workers.without_tf_config():
    run_config = tf_estimator.TPURunConfig(
        cluster=cluster, master=sessions.master, model_dir=model_dir,
        save_checkpoints_steps=(
            settings.save_checkpoints_steps if sessions.saves else None),
        keep_checkpoint_max=settings.keep_checkpoint_max,
        # Away from TPUs the LogHook of `make_model_fn` does both, and more.
        save_summary_steps=(log_steps or 100) if settings.use_tpu else 0,
        log_step_count_steps=(log_steps or None) if settings.use_tpu else None,
        tf_random_seed=seed, session_config=sessions.config,
        device_fn=sessions.device and (lambda op: sessions.device),
        tpu_config=tf_estimator.TPUConfig(
            iterations_per_loop=settings.iterations_per_loop,
            num_shards=settings.num_tpu_cores,
            per_host_input_for_training=(
                tf_estimator.InputPipelineConfig.PER_HOST_V2)))
    return tf_estimator.TPUEstimator(
        use_tpu=settings.use_tpu, model_fn=model_fn, config=run_config,
        params=params,
        train_batch_size=train_batch_size,
        eval_batch_size=eval_batch_size * num_devices,
        predict_batch_size=predict_batch_size * num_devices)


def _find_tpu(settings):
  """Returns the cluster resolver of --tpu_name; raises UserError without it."""
  try:
    return tf.distribute.cluster_resolver.TPUClusterResolver(
        settings.tpu_name, zone=settings.tpu_zone, project=settings.gcp_project)
  except (OSError, ImportError, ValueError, RuntimeError) as error:
    raise cli.UserError(
        "--tpu_name=%s: cannot be looked up (%s); on the TPU's own machine use "
        "--tpu_name=local, elsewhere its address, grpc://HOST:8470" % (
            settings.tpu_name, faults.message_of(error))) from None


# The files that every training writes to --output_dir.
_WRITTEN = (checkpoints.FILE_NAME, "checkpoint", "graph.pbtxt",
            best_model.FILE_NAME)


def check_results(output_dir, read, written):
  """Raises ValueError if a file to be written to a folder is also an input.

  Args:
    output_dir: str.
    read: list of (flag, path), see `files_read`.
    written: list of str. Paths in the folder.
  """
  files.check_outputs(read, [("--output_dir", path) for path in written] + [
      ("--output_dir", os.path.join(output_dir, name)) for name in _WRITTEN])


def check_output_dir(output_dir, flag="output_dir"):
  """Makes the folder; raises UserError if nothing can be written there."""
  path = os.path.join(output_dir, ".write_test")
  try:
    tf.gfile.MakeDirs(output_dir)
    files.write_text(path, "")
    with contextlib.suppress(tf.errors.NotFoundError):
      tf.gfile.Remove(path)  # unless another process that tries it has done so
  except (OSError, tf.errors.OpError) as error:
    raise cli.UserError(
        "--%s=%s: cannot be written to (%s); name another folder, or make "
        "room there and allow writing" % (
            flag, output_dir, faults.message_of(error))) from None


def find_start(settings, record, num_train_steps, task):
  """Finds where a run begins, and makes its folders.

  Args:
    settings: object with the settings of a script as attributes.
    record: dict, from `checkpoints.make_record`.
    num_train_steps: int. 0 without --do_train.
    task: tasks.Task, whose attributes say which settings must match.

  Returns:
    checkpoints.Start.

  Raises:
    ValueError: see `checkpoints.find_start`.
    UserError: see `check_output_dir`.
  """
  init_head = getattr(settings, "init_head", "auto")
  checkpoint_fit.check_init_head(init_head)
  if init_head == "new" and not settings.do_train:
    raise ValueError("--init_head=new: a new head only makes sense with "
                     "--do_train; leave it out")
  start = checkpoints.find_start(
      settings.output_dir, settings.init_checkpoint, record,
      settings.do_train, task.brought_by, task.head_names)
  if start.step >= num_train_steps:  # else `checkpoints.write_record` warns
    values = task.training_values()
    checkpoints.warn_of_other_settings(start, settings.output_dir, {
        name: values[name] for name in task.shared_flags if name in values})
    if settings.do_train:
      checkpoints.warn_of_ignored_settings(
          settings.output_dir, values, task.how_to_train_more)
  else:
    optimizers.check_settings(
        settings, start.checkpoint and checkpoints.read_training(
            settings.output_dir).get("optimizer", optimizers.ADAMW))
  check_output_dir(settings.output_dir)
  if getattr(settings, "export_dir", None):
    check_output_dir(settings.export_dir, "export_dir")
  return start


class Head(collections.namedtuple(
    "Head", "loss predictions metrics tpu_metrics", defaults=[None])):
  """What a task adds to the encoder.

  Attributes:
    loss: float32 scalar Tensor; unused when predicting.
    predictions: dict from name to Tensor [B, ...].
    metrics: arguments for `metrics.whole_set`: NumPy function, dict from the
      names of its arguments to Tensor [B, ...], list of the metrics' names.
      None for no metrics but the loss. Unused except in evaluation.
    tpu_metrics: function of the same tensors that returns a dict from names to
      `tf.metrics` pairs. TPUs and remote sessions need it, as they cannot call
      NumPy in this process; metrics that it lacks are left out there.
  """


def eval_metrics(head, in_graph):
  """Returns a Head's metrics as a TPUEstimatorSpec takes them.

  Args:
    head: Head.
    in_graph: bool. The session is on a TPU or another machine, which cannot
      call functions of this process.

  Raises:
    UserError: they are not defined for such a session.
  """
  if not head.metrics:
    return None
  if in_graph and not head.tpu_metrics:
    raise cli.UserError(
        "the task has no tpu_metrics, which evaluation on a TPU or with "
        "--master needs; evaluate without --use_tpu and --master")
  function, tensors, names = head.metrics

  def make_pairs(**tensors):
    if not in_graph:
      return metrics.whole_set(function, tensors, names)
    pairs = head.tpu_metrics(**tensors)
    missing = [name for name in names if name not in pairs]
    if missing:
      tf.logging.warning("There is no %s: it is not computed on a TPU or with "
                         "--master", ", ".join(missing))
    return {name: pairs[name] for name in names if name in pairs}

  return make_pairs, tensors


def make_builder(make):
  """Makes a script's `model_fn_builder`, which has the reference's arguments.

  Args:
    make: its `make_model_fn`, a function of BertConfig, init_checkpoint,
      optimization.Settings, modeling.Options and further arguments.
  """
  def model_fn_builder(bert_config, init_checkpoint, learning_rate,
                       num_train_steps, num_warmup_steps, use_tpu,
                       use_one_hot_embeddings, options=None, **others):
    """`make_model_fn` with the reference's arguments.

    Args:
      bert_config: BertConfig.
      init_checkpoint: str, or None.
      learning_rate: float. See `optimization.Settings`, also for the next
        three.
      num_train_steps: int.
      num_warmup_steps: int.
      use_tpu: bool.
      use_one_hot_embeddings: bool. See `modeling.make_options`.
      options: modeling.Options.
      **others: further arguments of `make_model_fn`.

    Returns:
      A `model_fn` for `make_estimator`.
    """
    return make(
        bert_config, init_checkpoint, optimization.Settings(
            learning_rate, num_train_steps, num_warmup_steps, use_tpu),
        modeling.make_options(options, use_one_hot_embeddings), **others)

  return model_fn_builder


def make_model_fn(head_fn, init_checkpoint, settings, head_names=(),
                  init_head="auto", state=None, fresh=None, placed=None):
  """Makes an Estimator's `model_fn` from a task's head.

  Args:
    head_fn: function of the batch (dict from name to Tensor [B, ...]) and
      `is_training` (bool) that builds encoder and head and returns a Head.
    init_checkpoint: str. Checkpoint to start from; None or empty for none.
    settings: optimization.Settings; None for prediction only.
    head_names: names of the head's variables. See
      `checkpoint_fit.find_new_head`, also for the next.
    init_head: str.
    state: training_state.State. Where the training resumes; None to draw
      dropout from --tf_random_seed alone, and to save checkpoints without
      state.
    fresh: str. See `initial_weights.initialize_from_checkpoint`.
    placed: placement.Placement. The devices to compute on; None for one.

  Returns:
    A function (features, labels, mode, params, config) that returns a
    TPUEstimatorSpec.
  """
  def model_fn(features, labels, mode, params, config=None):
    del labels  # They come with the features.
    if not settings and mode != tf_estimator.ModeKeys.PREDICT:
      raise ValueError("found the mode %r, but this model only predicts" % mode)
    use_tpu = settings.use_tpu if settings else params.get("use_tpu", False)
    # Evaluation and prediction have the same features as the training.
    is_training = mode == tf_estimator.ModeKeys.TRAIN
    tf.logging.log(
        tf.logging.INFO if is_training else tf.logging.DEBUG, "Features: %s",
        ", ".join("%s %s" % (name, features[name].shape.as_list())
                  for name in sorted(features)))

    def build(features, part=None):
      with contextlib.ExitStack() as stack:
        stack.enter_context(xla.compiling(bool(settings and settings.compiled)))
        if is_training and state and not use_tpu:
          stack.enter_context(xla.drawing_from(
              state.seed, tf.train.get_or_create_global_step(), part))
        return head_fn(features, is_training)

    parts = None
    if is_training and (placed or settings.gradient_accumulation_steps > 1):
      parts = _make_parts(
          build, features, params["batch_size"], settings, placed)
    if placed and not is_training:
      head = replicas.split_head(
          build, features, placed,
          params["batch_size"] // len(placed.devices))
    else:
      head = parts.head if parts else build(features)
    with cli.user_errors():
      latest = config and checkpoints.find_checkpoint(config.model_dir)
    scaffold_fn = None
    if latest:  # the estimator takes the weights from there
      with cli.user_errors():
        checkpoint_fit.check_shapes(
            tf.trainable_variables(), latest, must_have_all=True, cure="give "
            "another output_dir, or the flags that it was trained with")
    else:
      scaffold_fn = initial_weights.initialize_from_checkpoint(
          init_checkpoint, use_tpu,
          # Results of an untrained head would mean nothing.
          must_have_all=not is_training, head=head_names, init_head=init_head,
          fresh=fresh)
    spec = dict(mode=mode, scaffold_fn=scaffold_fn)
    if mode == tf_estimator.ModeKeys.PREDICT:
      spec["predictions"] = head.predictions
      if input_pipeline.PLACE in features:
        spec["predictions"] = dict(head.predictions, **{
            input_pipeline.PLACE: features[input_pipeline.PLACE]})
    elif mode == tf_estimator.ModeKeys.EVAL:
      in_graph = use_tpu or bool(config and config.master and not placed)
      spec.update(loss=head.loss, eval_metrics=eval_metrics(head, in_graph))
    else:
      train_op = optimization.make_train_op(head.loss, settings, parts)
      loss = parts.loss if parts else head.loss
      spec.update(loss=loss, train_op=train_op)
      if state and not use_tpu:
        tf.add_to_collection(tf.GraphKeys.SAVERS, training_state.Saver(
            state, config.keep_checkpoint_max))
      if not use_tpu:  # TPUs cannot write summaries from inside a step.
        hooks.read_step_after(train_op)
        spec["training_hooks"] = [hooks.LogHook(
            loss, params.get("log_steps", 0), settings.num_train_steps,
            params["batch_size"], config and config.model_dir,
            params.get("on_log"))]
        if settings.compiled:
          spec["training_hooks"].append(hooks.CompilationHook())
    return tf_estimator.TPUEstimatorSpec(**spec)

  return model_fn


def _make_parts(build, features, batch_size, settings, placed):
  """Makes the parts of a batch, in time and over devices.

  Args:
    build: function, see `accumulation.Parts`, also for the next.
    features: dict.
    batch_size: int. Examples of a step.
    settings: optimization.Settings.
    placed: placement.Placement, or None.

  Returns:
    accumulation.Parts or replicas.Replicas.

  Raises:
    UserError: the batch cannot be divided into such parts.
  """
  steps = settings.gradient_accumulation_steps
  count = placed.num_replicas if placed else 1
  if batch_size % (steps * count):
    raise cli.UserError(
        "train_batch_size=%d of the estimator: expected a multiple of %s, "
        "since it is the batch of a whole step" % (batch_size, " * ".join(
            ["gradient_accumulation_steps=%d" % steps] * (steps > 1) +
            ["%d devices" % count] * (count > 1))))
  size = batch_size // (steps * count)
  each = "%d examples" % size
  if count > 1:
    each += " on each of %d devices" % count
  if steps > 1:
    each = "%d parts, each of %s" % (steps, each)
  tf.logging.info("  Batch of a step = %d: %s", batch_size, each)
  at_end = settings.last_accumulation_steps
  num_parts = None
  if at_end % steps:
    is_last = tf.train.get_or_create_global_step() >= (
        settings.num_train_steps - 1)
    num_parts = tf.where(is_last, at_end, steps)
  if placed:
    return replicas.Replicas(build, features, placed, size, steps, num_parts)
  return accumulation.Parts(build, features, size, num_parts)


def train(estimator, input_fn, num_train_steps, start_step=0,
          how_to_train_more="give a larger --num_train_epochs", stop_step=None,
          on_start=None, more_hooks=(), stop=None):
  """Trains up to a step; Ctrl-C saves a checkpoint first.

  Args:
    estimator: TPUEstimator.
    input_fn: function of `params`.
    num_train_steps: int. Steps of the whole training.
    start_step: int. The step of the checkpoint that it resumes from.
    how_to_train_more: str. Advice if all steps are done.
    stop_step: int. The step to stop at for now; None for `num_train_steps`.
    on_start: function without arguments, called before the first step, once
      the model is known to fit the checkpoint.
    more_hooks: list of SessionRunHook.
    stop: hooks.StopHook; None for one of this process alone.

  Raises:
    Interrupted: Ctrl-C, or SIGTERM, stopped it before the end.
  """
  if start_step >= num_train_steps:
    tf.logging.info(
        "There is nothing left to train: %s holds step %d of %d; to train "
        "more, %s", files.given_names(estimator.model_dir), start_step,
        num_train_steps, how_to_train_more)
    return
  tf.logging.info("***** Running training *****")
  if start_step:
    tf.logging.info("  Resuming at step %d", start_step)
  tf.logging.info("  Num steps = %d", num_train_steps)
  stop = stop or hooks.StopHook()
  all_hooks = [stop] + list(more_hooks)
  if on_start:
    all_hooks.append(hooks.StartHook(on_start))
  saves = estimator.config.save_checkpoints_steps is not None
  with stop.on_signals(), contextlib.ExitStack() as stack:
    all_hooks.append(hooks.QuietStepHook(stack))
    try:
      estimator.train(input_fn=input_fn, max_steps=stop_step or num_train_steps,
                      hooks=all_hooks,
                      saving_listeners=[hooks.SavingListener()] * saves)
    except tf.errors.OpError as error:
      if not (stop.asked and faults.is_for_memory(error)):
        raise
      raise cli.Interrupted(
          "stopped in a step that ran out of memory; the same command resumes "
          "from the last checkpoint") from None
  if stop.asked:  # perhaps after the last step, during the final save
    latest = estimator.latest_checkpoint()
    step = checkpoints.read_step(latest) if stop.step is None else stop.step
    raise cli.Interrupted(
        "stopped at step %d of %d, which %s holds; the same command resumes "
        "from there" % (step, num_train_steps, files.given_names(latest)
                        if latest else "the checkpoint of worker 0"))


@contextlib.contextmanager
def sole_training(settings):
  """Keeps other trainings out of --output_dir within a `with` block.

  Without --do_train it does nothing: evaluation and prediction may run while
  another process trains.

  Args:
    settings: Settings of a script.

  Raises:
    UserError: another training is writing there.
  """
  lock = training_lock.TrainingLock(
      settings.output_dir if settings.do_train else None)
  with contextlib.ExitStack() as stack:
    with cli.user_errors():
      stack.enter_context(lock)
    yield


def checkpoint_to_use(output_dir, start, num_train_steps):
  """Returns the checkpoint that results are computed with.

  Args:
    output_dir: str.
    start: checkpoints.Start. Where the run began.
    num_train_steps: int. Steps of the training that has ended; 0 for none.

  Returns:
    str; None if `output_dir` has none, so that weights come from
    --init_checkpoint.

  Raises:
    UserError: it is not from the step at which the training ended.
  """
  with cli.user_errors():
    checkpoint = checkpoints.find_checkpoint(output_dir)
    expected = max(num_train_steps, start.step)
    step = checkpoints.read_step(checkpoint) if checkpoint else 0
  if num_train_steps and step != expected:
    raise cli.UserError(
        "%s: the training ended at step %d, but %s; is another program writing "
        "there?" % (output_dir, expected, "the latest checkpoint is %s, step %d"
                    % (checkpoint, step) if checkpoint else
                    "there is no checkpoint"))
  return checkpoint


def evaluate(estimator, input_fn, steps, eval_hooks, checkpoint,
             num_devices=1):
  """Evaluates a checkpoint.

  Args:
    estimator: TPUEstimator.
    input_fn: function of `params`.
    steps: int, or None for all of the input.
    eval_hooks: list of SessionRunHook.
    checkpoint: str, from `checkpoint_to_use`. None for the latest, or the
      weights that the model starts with.
    num_devices: int. Devices that compute a batch each at the same time.

  Returns:
    dict from name to figure.

  Raises:
    UserError: the figures are of another step than the checkpoint.
  """
  if steps and num_devices > 1:
    input_fn = input_pipeline.end_after(input_fn, steps, num_devices)
    steps = None
  results = estimator.evaluate(
      input_fn=input_fn, steps=steps, hooks=eval_hooks,
      checkpoint_path=checkpoint and files.literal(checkpoint))
  if checkpoint:
    step = checkpoints.read_step(checkpoint)
    if results["global_step"] != step:
      raise cli.UserError(
          "%s holds step %d, but step %d was evaluated; its figures were not "
          "written" % (checkpoint, step, results["global_step"]))
  return results


def write_results(path, title, results):
  """Writes results and logs them under a title.

  Args:
    path: str. A name that ends in .json gets a JSON object, in the order of
      `results`, any other `key = value` lines, sorted by key.
    title: str.
    results: dict from name to figure.
  """
  is_json = path.endswith(".json")
  keys = results if is_json else sorted(results)
  lines = ["%s = %s" % (key, results[key]) for key in keys]
  tf.logging.info("***** %s *****", title)
  for line in lines:
    tf.logging.info("  %s", line)
  text = json.dumps(results, indent=2) if is_json else "\n".join(lines)
  files.write_text(path, text + "\n")
