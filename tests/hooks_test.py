"""Tests of hooks: what a training logs and gives to TensorBoard; signals."""

import os
import re
import signal
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, hooks, training, xla
from helpers import ManualClock, captured_log, read_events
from training_test import head_fn, make_toy, toy_input_fn, train_toy

LINE = re.compile(r"Training: (\d+) of (\d+) steps, loss ([\d.]+), "
                  r"learning rate ([\de.+-]+), ([\d.]+) examples/sec, "
                  r"([\d.]+) steps/sec(?:, (\d+:\d+) left)?$")


def logged_steps(lines):
  """Returns (step, of, loss, learning rate, speed, steps/sec) of each line."""
  matches = [LINE.match(line) for line in lines]
  return [tuple(float(figure) for figure in match.groups()[:6])
          for match in matches if match]


@pytest.fixture(autouse=True)
def interrupts():
  """Ctrl-C as in a shell: who runs the tests in the background ignores it."""
  before = signal.signal(signal.SIGINT, signal.default_int_handler)
  yield
  signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("sizes, message", [
    ([[8, 16], [8, 32], [16, 32], [8, 16], [24, 16]],
     "token counts: 3, sequence lengths: 2"),
    ([], "one shape")])
def test_the_sizes_that_were_compiled_are_counted(sizes, message):
  with tf.Graph().as_default():
    step = tf.assign_add(tf.get_variable("step", initializer=-1), 1)
    if sizes:
      tf.add_to_collection(xla.SIZES, tf.constant(sizes)[step])
    with captured_log() as lines, tf.train.MonitoredSession(
        hooks=[hooks.CompilationHook()]) as session:
      for _ in range(5):
        session.run(step)
  assert [line.split("seconds (")[1] for line in lines
          if line.startswith("Compiling took")] == [message + ")"]


def test_a_line_every_few_steps_and_at_the_end(tmp_path):
  losses, lines = train_toy(tmp_path, 5, log_steps=2)
  logged = logged_steps(lines)
  assert [line[:2] for line in logged] == [(2, 5), (4, 5), (5, 5)]
  np.testing.assert_allclose(
      [line[2] for line in logged], [losses[1], losses[3], losses[4]],
      atol=1e-5)
  # A step has the rate of the steps before it: 1 of 2 for warming up, then
  # 3 and 4 of 5 on the way down.
  np.testing.assert_allclose(
      [line[3] for line in logged],
      [0.01 * 1 / 2, 0.01 * (1 - 3 / 5.0), 0.01 * (1 - 4 / 5.0)], rtol=5e-3)
  assert min(line[4] for line in logged) > 0
  left = [line.endswith(" left") for line in lines if LINE.match(line)]
  assert left == [True, True, False]

  _, lines = train_toy(tmp_path, 8, log_steps=3)  # resumes from step 5
  assert [line[:2] for line in logged_steps(lines)] == [(6, 8), (8, 8)]


def test_every_step_asks_for_the_same_tensors(tmp_path, monkeypatch):
  """A session optimizes the graph anew for each set that it is asked for."""
  asked = []
  run = tf.Session.run

  def noting_run(session, fetches, *args, **kwargs):
    if isinstance(fetches, dict) and "caller" in fetches:  # a step with hooks
      asked.append({getattr(fetch, "name", fetch)
                    for fetch in tf.nest.flatten(list(fetches.values()))})
    return run(session, fetches, *args, **kwargs)

  monkeypatch.setattr(tf.Session, "run", noting_run)
  train_toy(tmp_path, 45, log_steps=10)  # summaries at every second step
  assert len(asked) == 45
  assert all(names == asked[0] for names in asked), asked


def test_log_steps_0_logs_no_step(tmp_path):
  losses, lines = train_toy(tmp_path, 3, log_steps=0)
  assert len(losses) == 3
  assert not [line for line in lines if line.startswith("Training:")]


def test_examples_per_second_and_time_left(tmp_path, monkeypatch):
  """Evaluating and saving, 100 and 1,000 seconds, do not count."""
  clock = ManualClock()
  monkeypatch.setattr(hooks.progress, "time", clock)

  def evaluate():
    clock.now += 100

  class SlowSaver(tf.train.CheckpointSaverListener):
    def before_save(self, session, global_step_value):
      clock.now += 1000

  with tf.Graph().as_default(), captured_log() as lines:
    tf.constant(0.5, name="learning_rate")
    tf.constant(2.0, name="global_norm")
    train_op = tf.assign_add(tf.train.get_or_create_global_step(), 1)
    hooks.read_step_after(train_op)
    tf.add_to_collection(tf.GraphKeys.SAVERS, tf.train.Saver())
    session_hooks = [
        tf.train.CheckpointSaverHook(
            str(tmp_path), save_steps=3, saver=tf.train.Saver(),
            listeners=[hooks.SavingListener(), SlowSaver()]),
        hooks.EvaluateHook(
            evaluate, str(tmp_path), lambda step: step + 1, 124),
        hooks.LogHook(tf.constant(0.25), 2, 124, batch_size=8)]
    with tf.train.MonitoredSession(hooks=session_hooks) as session:
      for _ in range(4):
        clock.now += 0.5
        session.run(train_op)
  assert clock.now > 1500
  assert [line for line in lines if line.startswith("Training:")] == [
      "Training: 2 of 124 steps, loss 0.25000, learning rate 0.5, "
      "16.0 examples/sec, 2.0 steps/sec, 01:01 left",
      "Training: 4 of 124 steps, loss 0.25000, learning rate 0.5, "
      "16.0 examples/sec, 2.0 steps/sec, 01:00 left"]


def test_steps_are_those_of_the_global_step_not_of_runs(tmp_path, monkeypatch):
  """As where the gradients of two batches make one step."""
  clock = ManualClock()
  monkeypatch.setattr(hooks.progress, "time", clock)
  evaluated, logged = [], []
  with tf.Graph().as_default(), captured_log() as lines:
    tf.constant(0.5, name="learning_rate")
    tf.constant(2.0, name="global_norm")
    num_runs = tf.Variable(0, dtype=tf.int64, trainable=False)
    global_step = tf.train.get_or_create_global_step()
    train_op = tf.assign(global_step, tf.assign_add(num_runs, 1) // 2)
    hooks.read_step_after(train_op)
    saver = tf.train.Saver()
    tf.add_to_collection(tf.GraphKeys.SAVERS, saver)
    with tf.train.MonitoredSession(hooks=[
        hooks.EvaluateHook(lambda: evaluated.append(
            os.path.basename(saver.last_checkpoints[-1])), str(tmp_path),
                           lambda step: step // 2 * 2 + 2, 6),
        hooks.LogHook(tf.constant(0.25), 3, 6, batch_size=8,
                      on_log=logged.append)]) as session:
      for _ in range(12):
        clock.now += 0.5
        session.run(train_op)
  assert evaluated == ["model.ckpt-2", "model.ckpt-4"]
  assert [row["step"] for row in logged] == [1, 2, 3, 4, 5, 6]
  assert [line for line in lines if line.startswith("Training:")] == [
      "Training: 3 of 6 steps, loss 0.25000, learning rate 0.5, "
      "8.0 examples/sec, 1.0 steps/sec, 00:03 left",
      "Training: 6 of 6 steps, loss 0.25000, learning rate 0.5, "
      "8.0 examples/sec, 1.0 steps/sec"]


@pytest.mark.parametrize("num_steps, log_steps, steps", [
    (5, 2, [1, 2, 3, 4, 5]),
    (45, 100, list(range(2, 45, 2)) + [45]),  # 20 points or more
    (45, 0, list(range(2, 45, 2)) + [45]),  # though no line is logged
    (81, 3, list(range(3, 82, 3))),
])
def test_tensorboard_has_loss_rate_norm_and_speed_of_the_same_steps(
    tmp_path, num_steps, log_steps, steps):
  losses, _ = train_toy(tmp_path, num_steps, log_steps=log_steps)
  events = read_events(str(tmp_path))
  assert sorted(events) == [
      "examples_per_second", "global_norm", "learning_rate", "loss"]
  assert all(sorted(values) == steps for values in events.values())
  for step, value in events["loss"].items():
    assert value == pytest.approx(losses[step - 1], rel=1e-5)
  assert min(events["global_norm"].values()) > 0
  assert min(events["examples_per_second"].values()) > 0
  for step, rate in events["learning_rate"].items():  # as the lines' test has
    expected = 0.01 * ((step - 1) / 2.0 if step < 3 else
                       1 - (step - 1) / float(num_steps))
    assert rate == pytest.approx(expected, rel=1e-4, abs=1e-9)


def test_tensorboard_has_the_summaries_of_a_head_of_the_users_own(tmp_path):
  def summarizing_head_fn(features, is_training):
    tf.summary.scalar("users", tf.constant(3.0))
    return head_fn(features, is_training)

  make_toy(tmp_path, 3, head_fn=summarizing_head_fn).train(
      toy_input_fn(is_training=True), max_steps=3)
  assert read_events(str(tmp_path))["users"] == {1: 3, 2: 3, 3: 3}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_a_checkpoint_and_says_how_to_go_on(tmp_path, number):
  class Sender(tf.train.SessionRunHook):
    """Sends the signal during step 3."""

    def __init__(self):
      self.count = 0

    def after_run(self, run_context, run_values):
      self.count += 1
      if self.count == 3:
        os.kill(os.getpid(), number)

  def train(hook):
    estimator = make_toy(tmp_path, 9)
    inner = estimator.train
    estimator.train = lambda input_fn, hooks, **kwargs: inner(
        input_fn, hooks=[hook] + hooks, **kwargs)
    training.train(estimator, toy_input_fn(True), 9,
                   start_step=0 if hook.count == 0 else 3)
    return estimator

  sender = Sender()
  before = signal.getsignal(number)
  with captured_log() as lines:
    with pytest.raises(cli.Interrupted) as error:
      train(sender)
  assert str(error.value) == (
      "stopped at step 3 of 9, which %s holds; the same command resumes from "
      "there" % (tmp_path / "model.ckpt-3"))
  assert error.value.exit_status == 130
  assert any(line.startswith("Saving a checkpoint") for line in lines)
  assert signal.getsignal(number) == before
  assert tf.train.latest_checkpoint(str(tmp_path)) == str(
      tmp_path / "model.ckpt-3")
  with captured_log() as lines:
    train(sender)
  assert "  Resuming at step 3" in lines
  assert tf.train.latest_checkpoint(str(tmp_path)) == str(
      tmp_path / "model.ckpt-9")


def test_a_signal_after_the_last_step_is_not_lost(tmp_path):
  class Late(tf.train.SessionRunHook):
    """Sends the signal when all other hooks have ended."""

    def end(self, session):
      os.kill(os.getpid(), signal.SIGTERM)

  with pytest.raises(cli.Interrupted, match="^stopped at step 2 of 2, which"):
    training.train(make_toy(tmp_path, 2), toy_input_fn(True), 2,
                   more_hooks=[Late()])


def test_a_second_signal_stops_at_once(tmp_path):
  class Impatient(tf.train.SessionRunHook):

    def after_run(self, run_context, run_values):
      # To this thread, where each is handled before the next is sent: two for
      # the process may arrive as one.
      signal.pthread_kill(threading.get_ident(), signal.SIGINT)
      signal.pthread_kill(threading.get_ident(), signal.SIGINT)

  stop = hooks.StopHook()
  with pytest.raises(KeyboardInterrupt):
    with stop.on_signals():
      make_toy(tmp_path, 5).train(
          toy_input_fn(True), max_steps=5, hooks=[Impatient(), stop])
  assert stop.step is None


def test_before_the_first_step_a_signal_is_not_listened_to(tmp_path):
  """TensorFlow may be waiting where Python would never call a handler."""
  before = signal.getsignal(signal.SIGTERM)
  found = []

  def input_fn(params):
    found.append(signal.getsignal(signal.SIGTERM))
    return toy_input_fn(True)(params)

  training.train(make_toy(tmp_path, 1), input_fn, 1)
  assert found == [before]


def test_a_signal_that_is_ignored_stays_ignored():
  before = signal.signal(signal.SIGINT, signal.SIG_IGN)
  try:
    with hooks.StopHook().on_signals():
      assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
  finally:
    signal.signal(signal.SIGINT, before)


def test_evaluation_shows_its_examples(tmp_path):
  train_toy(tmp_path, 1)
  with captured_log() as lines:
    make_toy(tmp_path).evaluate(
        toy_input_fn(), hooks=[hooks.EvalProgressHook(11, 3)])
  line, = [line for line in lines if line.startswith("Evaluating: ")]
  assert line.startswith("Evaluating: 11 of 11 examples, ")
