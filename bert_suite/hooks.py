"""Hooks that the Estimator calls at every step: they log, evaluate and stop."""

import collections
import contextlib
import os
import signal
import statistics
import threading

from . import environment  # isort: skip  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import progress, xla

# The minimum number of points that TensorBoard gets from a training.
_MIN_POINTS = 20

_STEP = "step_after_run"


def read_step_after(train_op):
  """Adds the global step after each run to the graph, for the hooks below.

  Reading the variable in the same run would race with its update, and counting
  runs would be wrong when several make one step.

  Args:
    train_op: op or Tensor that updates the global step.
  """
  with tf.control_dependencies([train_op]):
    tf.identity(tf.train.get_global_step().read_value(), name=_STEP)


def _find_tensor(name):
  return tf.get_default_graph().get_tensor_by_name(name + ":0")


def find_step():
  """Returns the Tensor that `read_step_after` added to the graph."""
  return _find_tensor(_STEP)


class LogHook(tf.train.SessionRunHook):
  """Shows step, loss, learning rate, speed and time left while training.

  TensorBoard gets the loss, the learning rate, the gradients' global norm, the
  examples per second, and the summaries that are in the graph when the hook is
  made.
  """

  def __init__(self, loss, log_steps, num_train_steps, batch_size,
               model_dir=None, on_log=None):
    """Makes the hook.

    Args:
      loss: float32 scalar Tensor.
      log_steps: int. Steps from one line to the next; 0 for none.
      num_train_steps: int. Steps of the whole training.
      batch_size: int. Examples per step.
      model_dir: str. Folder of TensorBoard's events; None for none.
      on_log: function of a dict with "step" and the values for TensorBoard.
    """
    self._step_after = _find_tensor(_STEP)
    self._tensors = {
        "loss": loss, "learning_rate": _find_tensor("learning_rate"),
        "global_norm": _find_tensor("global_norm")}
    # A session optimizes the graph again for every new set of tensors that it
    # is asked for, so it is asked for the summaries at every step. The
    # Estimator's own are not among them: it would add the loss under another
    # name.
    self._summaries = tf.summary.merge_all()
    self._summary_steps = max(
        1, min(log_steps or 100, num_train_steps // _MIN_POINTS))
    self._log_steps = log_steps
    self._num_train_steps = num_train_steps
    self._batch_size = batch_size
    self._model_dir = model_dir
    self._on_log = on_log

  def after_create_session(self, session, coord):
    self._step = session.run(tf.train.get_global_step())
    # The latest steps and when they ended.
    self._times = collections.deque(
        [(self._step, progress.clock())], maxlen=(self._log_steps or 100) + 1)
    self._progress = progress.Progress(
        "Training", self._num_train_steps, "steps", initial=self._step,
        log_every=self._log_steps)

  def before_run(self, run_context):
    return tf.train.SessionRunArgs(
        [self._step_after, self._tensors] +
        [self._summaries] * (self._summaries is not None))

  def after_run(self, run_context, run_values):
    step, values, *summaries = run_values.results
    if step == self._step:
      return
    before, self._step = self._step, step
    self._times.append((step, progress.clock()))
    (first_step, start), (_, end) = self._times[0], self._times[-1]
    speed = (step - first_step) * self._batch_size / max(end - start, 1e-9)
    self._progress.advance(
        step - before, "loss %.5f, learning rate %.3g, %.1f examples/sec" % (
            values["loss"], values["learning_rate"], speed))
    if self._step % self._summary_steps and self._step < self._num_train_steps:
      return
    row = {name: float(value) for name, value in values.items()}
    row["examples_per_second"] = speed
    if self._on_log:
      self._on_log(dict(row, step=int(self._step)))
    if self._model_dir:
      writer = tf.summary.FileWriterCache.get(self._model_dir)
      # Not `tf.summary.scalar`: its tags would not be the tensors' names.
      writer.add_summary(tf.Summary(value=[
          tf.Summary.Value(tag=name, simple_value=value)
          for name, value in sorted(row.items())]), self._step)
      for summary in summaries:
        writer.add_summary(summary, self._step)

  def end(self, session):
    self._progress.close()
    if self._model_dir:
      tf.summary.FileWriterCache.get(self._model_dir).flush()


class QuietStepHook(tf.train.SessionRunHook):
  """Keeps noise off stderr during the first step, in which XLA starts."""

  def __init__(self, stack):
    """Makes the hook.

    Args:
      stack: contextlib.ExitStack, to be closed if the step is interrupted.
    """
    self._stack, self._started = stack, False

  def before_run(self, run_context):
    if not self._started:
      self._started = True
      self._stack.enter_context(environment.quiet_start())

  def after_run(self, run_context, run_values):
    self._stack.close()


class CompilationHook(tf.train.SessionRunHook):
  """Logs how many sizes a training compiled programs for, and how long it took.

  Steps that meet a size for the first time wait for the compiler; its time is
  what they take longer than the others.
  """

  def begin(self):
    self._sizes = tf.get_collection(xla.SIZES)  # empty where shapes are fixed
    self._seen, self._compiling, self._others = set(), [], []

  def before_run(self, run_context):
    self._start = progress.clock()
    return tf.train.SessionRunArgs(self._sizes)

  def after_run(self, run_context, run_values):
    found = {(name, int(size)) for sizes in run_values.results
             for pair in np.reshape(sizes, [-1, 2])
             for name, size in zip(("tokens", "length"), pair)}
    is_new = not self._seen or found - self._seen
    self._seen |= found or {("step", 1)}
    (self._compiling if is_new else self._others).append(
        progress.clock() - self._start)

  def end(self, session):
    names = [name for name, _ in self._seen]
    usual = statistics.median(self._others or [0])
    tf.logging.info(
        "Compiling took %.1f seconds (%s)",
        sum(seconds - usual for seconds in self._compiling),
        "token counts: %d, sequence lengths: %d" % (
            names.count("tokens"), names.count("length"))
        if self._sizes else "one shape")


class EvalProgressHook(tf.train.SessionRunHook):
  """Shows the progress of an evaluation."""

  def __init__(self, num_examples, batch_size):
    """Makes the hook.

    Args:
      num_examples: int. Examples of the whole evaluation, None if not known.
      batch_size: int. Examples per batch.
    """
    self._num_examples = num_examples
    self._batch_size = batch_size

  def after_create_session(self, session, coord):
    self._left = self._num_examples
    self._progress = progress.Progress("Evaluating", self._num_examples)

  def after_run(self, run_context, run_values):
    count = self._batch_size
    if self._left is not None:
      count = min(count, self._left)  # the last batch may be smaller
      self._left -= count
    self._progress.advance(count)

  def end(self, session):
    self._progress.close()


class StartHook(tf.train.SessionRunHook):
  """Calls a function once the model is built and has its weights."""

  def __init__(self, function):
    """Takes a function without arguments."""
    self._function = function

  def after_create_session(self, session, coord):
    self._function()


class EvaluateHook(tf.train.SessionRunHook):
  """Saves and evaluates a checkpoint now and then, except at the end."""

  def __init__(self, evaluate, model_dir, next_evaluation, num_train_steps,
               agree=None):
    """Makes the hook.

    Args:
      evaluate: function without arguments that evaluates the latest checkpoint
        and returns whether to stop training there.
      model_dir: str. Folder of the checkpoints.
      next_evaluation: function of a step that returns the next one to evaluate.
      num_train_steps: int. Steps of the whole training.
      agree: function of the session and whether to stop that tells the other
        processes; None if there are none.
    """
    self._evaluate, self._agree = evaluate, agree
    self._path = os.path.join(model_dir, "model.ckpt")
    self._next_evaluation = next_evaluation
    self._num_train_steps = num_train_steps

  def after_create_session(self, session, coord):
    self._next = self._next_evaluation(
        int(session.run(tf.train.get_global_step())))
    # The Estimator's own, which decides which checkpoints to keep.
    self._saver, = tf.get_collection(tf.GraphKeys.SAVERS)

  def before_run(self, run_context):
    return tf.train.SessionRunArgs(_find_tensor(_STEP))

  def after_run(self, run_context, run_values):
    step = int(run_values.results)
    if step < self._next or step >= self._num_train_steps:
      return
    self._next = self._next_evaluation(step)
    progress.stop_clock()
    self._saver.save(run_context.session, self._path, global_step=step)
    stops = self._evaluate()
    if self._agree:
      self._agree(run_context.session, stops)
    if stops:
      run_context.request_stop()
    progress.start_clock()


class SavingListener(tf.train.CheckpointSaverListener):
  """Leaves the time for saving checkpoints out of the speed that is shown."""

  def before_save(self, session, global_step_value):
    progress.stop_clock()

  def after_save(self, session, global_step_value):
    progress.start_clock()


class StopHook(tf.train.SessionRunHook):
  """Ends the training after the current step when a signal asks for it.

  The Estimator then saves a checkpoint, as it always does at the end. A second
  signal stops at once, as does one before the first step: nothing is lost then,
  and TensorFlow may be waiting for another machine, so that Python cannot call
  a handler. Signals come from Ctrl-C, or are the SIGTERM of a machine that is
  about to be taken away.
  """

  def __init__(self):
    self.step = None  # where a signal stopped the training
    self.asked = False  # whether there was a signal
    self._numbers = ()

  @contextlib.contextmanager
  def on_signals(self):
    """Listens to signals within a `with` block, once there is a session."""
    before = {}
    if threading.current_thread() is threading.main_thread():
      before = {number: signal.getsignal(number)
                for number in (signal.SIGINT, signal.SIGTERM)}
    # A signal that the job was started to ignore is still ignored.
    before = {number: handler for number, handler in before.items()
              if handler not in (signal.SIG_IGN, None)}
    self._numbers = tuple(before)
    try:
      yield
    finally:
      for number, handler in before.items():
        signal.signal(number, handler)

  def _ask(self, unused_number, unused_frame):
    if self.asked:
      raise KeyboardInterrupt()
    self.asked = True
    tf.logging.info("Saving a checkpoint, then stopping; another signal "
                    "(Ctrl-C, SIGTERM) stops without saving")

  def after_create_session(self, session, coord):
    for number in self._numbers:
      signal.signal(number, self._ask)

  def after_run(self, run_context, run_values):
    if self.asked:
      run_context.request_stop()

  def end(self, session):
    if self.asked:
      self.step = int(session.run(tf.train.get_global_step()))
