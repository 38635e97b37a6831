"""Several processes that train as one, see `workers`.

Each process, a worker, has a TensorFlow server, a graph of its own with all
variables, and a share of each batch. The gradients are added up over all of
them (`replicas`), so that all make the same updates. The first worker, the
chief, decides where the training begins, sends the others its weights, and is
the only one to save, evaluate and predict; the others write to folders of their
own, which are removed at the end.
"""

import atexit
import contextlib
import dataclasses
import json
import logging
import os
import shutil
import socket
import sys
import tempfile
import threading
import time

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf
from tensorflow.python.ops import collective_ops

from . import hooks, input_pipeline, placement, run_settings, workers
from .cli import Interrupted, UserError

_JOB = "/job:worker/replica:0/task:%d"
_GROUP_KEY = 2  # one CPU of each worker; 1 is the group of the replicas

# Most collectives in a graph. No two graphs of a server may share a number.
_INSTANCES = 1 << 16

# Seconds between a worker's checks of the others, that one of them may take to
# answer, and that a step may take to fail once one has ended: under a minute.
_PAUSE, _PATIENCE, _LAST_WORDS = 2.0, 10.0, 30.0

_POLL = 0.1  # seconds between checks for a message

# What TensorFlow prints about a lost worker, besides the one line of the error.
_NOISE_OF_LOSS = (
    "Aborting Ring(Reduce|Gather)|BaseCollectiveExecutor::StartAbort|"
    "^Additional GRPC error information|Error received from peer|"
    "^The error could be from a previous operation|^$")
logging.getLogger("tensorflow").addFilter(
    lambda record: not record.getMessage().startswith("An error was raised. "))

_servers = {}  # from workers.Address to tf.train.Server; never removed


class Cluster:
  """This process as one of the workers of a training.

  Attributes:
    address: workers.Address.
    is_chief: bool.
    training: placement.Sessions of this worker's training.
    evaluation: placement.Sessions of the chief's evaluations and predictions,
      which compute on the devices of all workers.
    target: str. The address of this process's server, for sessions.
  """

  _num_graphs = 0  # of trainings of this process

  def __init__(self, settings):
    """Starts the server and waits for the others.

    Args:
      settings: Settings of a script.

    Raises:
      UserError: the port is taken.
    """
    self.address = workers.find(settings)
    self.is_chief = not self.address.index
    # Each training makes a graph, and all workers make equally many.
    Cluster._num_graphs += 1
    placed = dataclasses.replace(
        placement.find(settings),
        first_instance=Cluster._num_graphs * _INSTANCES + 1)
    config = self._make_session_config(placed)
    if self.address not in _servers:
      _servers[self.address] = self._make_server(config)
    self.target = _servers[self.address].target
    self.training = placement.Sessions(
        placed, self.target, config, saves=self.is_chief,
        share=input_pipeline.Share(
            run_settings.accumulation_steps(settings), placed.num_workers,
            placed.worker))
    self.evaluation = self._make_evaluation(placed)
    self._lost = None  # str: what happened to another worker
    self._done = threading.Event()
    self._wait_for_others()

  def _make_server(self, config):
    hosts, index = self.address.hosts, self.address.index
    port = int(hosts[index].rsplit(":", 1)[1])
    with contextlib.closing(socket.socket()) as found:
      found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
      try:
        found.bind(("", port))
      except OSError as error:
        raise UserError("%s, worker %d: port %d of this machine cannot be "
                        "used (%s); give another" % (
                            hosts[index], index, port, error)) from None
    with environment.quiet_start():
      return tf.train.Server(
          tf.train.ClusterSpec({"worker": list(hosts)}), job_name="worker",
          task_index=index, config=config)

  def _make_session_config(self, placed):
    config = placement.session_config(placed)
    config.isolate_session_state = False
    config.experimental.collective_group_leader = _JOB % 0
    config.device_filters.append(_JOB % self.address.index)
    return config

  def _make_evaluation(self, placed):
    """Makes the Sessions of evaluations, which see all workers' devices."""
    config = placement.session_config(placed)
    # Their variables have the same names as the training's.
    config.isolate_session_state = True
    devices = [_JOB % worker + device for worker in range(placed.num_workers)
               for device in placed.devices]
    return placement.Sessions(
        placement.Placement(tuple(devices)), self.target, config, _JOB % 0)

  def _wait_for_others(self):
    """Waits until each worker's server answers."""
    for index, host in enumerate(self.address.hosts):
      name, port = host.rsplit(":", 1)
      is_waiting = False
      while index != self.address.index:
        try:
          socket.create_connection((name.strip("[]"), int(port)), 10).close()
          break
        except OSError as error:
          if not is_waiting:
            tf.logging.warning(
                "Worker %d, %s: nothing answers there yet (%s); waiting for "
                "it; Ctrl-C stops waiting", index, host, error)
          is_waiting = True
        time.sleep(1)

  # Messages, in queues of the chief's server.

  @contextlib.contextmanager
  def _queue(self, name, index):
    """Makes a queue for a worker, and a session that sees it."""
    with tf.Graph().as_default():
      with tf.device(_JOB % 0):
        queue = tf.FIFOQueue(
            64, tf.string, [[]], shared_name="%s_%d" % (name, index))
      # Not in a `with`: it would wait for half a minute if a worker is lost.
      session = tf.Session(self.target)
      yield queue, session
      session.close()

  def send(self, name, index, message):
    """Sends a worker a message; the other end is `receive`."""
    with self._queue(name, index) as (queue, session):
      session.run(queue.enqueue(json.dumps(message)))

  def receive(self, name, index):
    """Waits for a message; Ctrl-C stops waiting."""
    with self._queue(name, index) as (queue, session):
      size, message = queue.size(), queue.dequeue()
      # A dequeue that times out may lose the message.
      while not session.run(size):
        self.check_others()
        time.sleep(_POLL)
      return json.loads(session.run(message))

  def send_start(self, start):
    """Tells all other workers, from the chief, where the training begins.

    Args:
      start: dict.

    Raises:
      UserError: one of them would train differently.
    """
    others = range(1, len(self.address.hosts))
    for index in others:
      self.send("start", index, start)
    for index in others:
      fault = self.receive("agreed", index)
      if fault:
        raise UserError(fault)

  def receive_start(self, own):
    """Returns what the chief sent.

    Args:
      own: dict. Settings that have to be the same as the chief's.

    Raises:
      UserError: they are not.
    """
    found = self.receive("start", self.address.index)
    theirs = found["settings"]
    different = ["%s (%s, and %s of worker 0)" % (name, own.get(name), value)
                 for name, value in sorted(theirs.items())
                 if own.get(name) != value]
    fault = different and (
        "worker %d would train differently from worker 0: %s; give all workers "
        "the same data and flags" % (
            self.address.index, ", ".join(different)))
    self.send("agreed", self.address.index, fault)
    if fault:
      raise UserError(fault)
    return found

  def end(self):
    """Waits until the chief no longer needs the devices of the others."""
    others = range(1, len(self.address.hosts))
    if self.is_chief:
      for index in others:
        self.receive("done", index)
      self._done.set()
      for index in others:
        self.send("end", index, True)
      # Its server holds the messages, so it leaves last.
      with contextlib.suppress(tf.errors.OpError):
        for index in others:
          self.receive("gone", index)
    else:
      self.send("done", self.address.index, True)
      self.receive("end", self.address.index)
      self._done.set()
      with contextlib.suppress(tf.errors.OpError):  # the chief may have left
        self.send("gone", self.address.index, True)

  # Watching the others.

  def check_others(self):
    """Raises UserError if another worker has ended too early."""
    if self._lost:
      raise UserError(self._lost)

  def wait_for_loss(self):
    """Gives time to notice a lost worker; raises UserError if there is one."""
    for _ in range(int(_PAUSE + _PATIENCE) + 1):
      self.check_others()
      time.sleep(1)

  @contextlib.contextmanager
  def watching(self):
    """Stops the work inside a `with` block if another worker is lost.

    Raises:
      UserError: one is lost. If the step that needs it does not fail by itself,
        the process ends with the same message and exit status.
    """
    self._done.clear()
    threads = [threading.Thread(target=self._watch, args=(index,), daemon=True)
               for index in range(len(self.address.hosts))
               if index != self.address.index]
    for thread in threads:
      thread.start()
    try:
      with environment.quiet_start(_NOISE_OF_LOSS):
        yield
    except (tf.errors.OpError, _SessionLost):
      self.wait_for_loss()
      raise
    finally:
      self._done.set()
      for thread in threads:  # none may be in TensorFlow when Python exits
        thread.join(_PAUSE + _PATIENCE)

  def _watch(self, index):
    """Polls another worker for a number until that worker is lost."""
    with tf.Graph().as_default():
      with tf.device(_JOB % index):
        number = tf.placeholder_with_default(1, []) + 1
      try:
        session = tf.Session(self.target)
        while not self._done.wait(_PAUSE):
          session.run(number, options=tf.RunOptions(
              timeout_in_ms=int(_PATIENCE * 1000)))
        session.close()
      except tf.errors.OpError:
        pass
    if self._done.is_set():
      return
    self._lost = (
        "worker %d, %s, has ended or cannot be reached: its own last line says "
        "why; once that is fixed, run the same command on all to resume from "
        "the last checkpoint" % (index, self.address.hosts[index]))
    if not self._done.wait(_LAST_WORDS):  # the main thread waits in TensorFlow
      sys.stderr.write("%s: %s\n" % (
          os.path.basename(sys.argv[0]), self._lost))
      sys.stderr.flush()
      _remove_folders()
      os._exit(1)


_folders = []  # that workers other than the chief write to


def prepare(settings):
  """Checks settings; a worker that is not the chief gets a folder of its own.

  Args:
    settings: Settings of a script. Its `output_dir` becomes that folder, and
      it exports nothing.

  Raises:
    UserError: see `workers.check`.
  """
  workers.check(settings)
  address = workers.find(settings)
  if address and address.index:
    _folders.append(tempfile.mkdtemp(prefix="bert_worker_"))
    settings.output_dir, settings.export_dir = _folders[-1], None


@contextlib.contextmanager
def join(settings):
  """Makes this process a worker inside a `with` block.

  Args:
    settings: Settings of a script.

  Yields:
    Cluster; None for one process.

  Raises:
    UserError: see Cluster; or another worker is lost.
  """
  if not workers.find(settings):
    yield None
    return
  try:
    joined = Cluster(settings)
    with joined.watching():
      try:
        yield joined
      except Interrupted:
        joined.end()
        raise
      joined.end()
  finally:
    _remove_folders()


def _remove_folders():
  while _folders:
    shutil.rmtree(_folders.pop(), ignore_errors=True)


atexit.register(_remove_folders)  # an error may end the process before `join`


class _SessionLost(RuntimeError):
  """TensorFlow lost a session, as it does when another worker has ended."""


class TogetherHook(hooks.StopHook):
  """Makes all workers start from the chief's weights and stop at the same step.

  It replaces `hooks.StopHook`: a signal to one worker stops them all after the
  current step.
  """

  def __init__(self, joined):
    """Takes a Cluster."""
    super().__init__()
    self._cluster, self._has_begun = joined, False
    self._instance = joined.training.placed.first_instance + _INSTANCES // 2

  def _add_up(self, tensor):
    self._instance += 1
    with tf.device("/cpu:0"):
      return collective_ops.all_reduce(
          tf.identity(tensor), len(self._cluster.address.hosts), _GROUP_KEY,
          self._instance, "Add", "Id")

  def begin(self):
    assigned, is_chief = [], self._cluster.is_chief
    for variable in tf.global_variables():
      with tf.control_dependencies(assigned[-1:]):
        value = tf.convert_to_tensor(variable)
        if value.dtype.base_dtype not in (
            tf.float32, tf.float64, tf.int32, tf.int64):
          continue
        assigned.append(variable.assign(self._add_up(
            value if is_chief else tf.zeros_like(value)), read_value=False))
    self._take_weights = tf.group(*assigned)
    self._says = tf.placeholder_with_default(0.0, [])
    self._answer = self._add_up(self._says)

  def agree(self, session, stops):
    """Returns whether any worker says that all should stop."""
    return session.run(self._answer, {self._says: float(stops)}) > 0

  def after_create_session(self, session, coord):
    # TensorFlow would start over with a new session.
    if self._has_begun:
      raise _SessionLost("a session was lost")
    self._has_begun = True
    session.run(self._take_weights)
    super().after_create_session(session, coord)

  def after_run(self, run_context, run_values):
    if self.agree(run_context.session, self.asked):
      self.asked = True
      run_context.request_stop()


class WaitHook(tf.train.SessionRunHook):
  """Makes a worker wait while the chief evaluates; see `hooks.EvaluateHook`."""

  def __init__(self, agree, next_evaluation, num_train_steps):
    """Takes `TogetherHook.agree`; the rest is as for EvaluateHook."""
    self._agree, self._next_evaluation = agree, next_evaluation
    self._num_train_steps = num_train_steps

  def after_create_session(self, session, coord):
    self._next = self._next_evaluation(
        int(session.run(tf.train.get_global_step())))

  def before_run(self, run_context):
    return tf.train.SessionRunArgs(hooks.find_step())

  def after_run(self, run_context, run_values):
    step = int(run_values.results)
    if step < self._next or step >= self._num_train_steps:
      return
    self._next = self._next_evaluation(step)
    if self._agree(run_context.session, False):
      run_context.request_stop()
