"""Runs tasks in separate processes, and makes shards of files that way.

`run` is for any tasks, `make_shards` for shards; called again, the latter makes
only those that are missing.
"""

import collections
import multiprocessing
import multiprocessing.connection
import os
import re
import signal
import sys
import traceback

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import cli, files, json_files


class Died(str):
  """How a worker died without reporting an error."""


class Outcome(collections.namedtuple("Outcome", ["index", "result", "error"])):
  """The outcome of a task.

  Attributes:
    index: int. Of the task.
    result: what the function returned.
    error: str, or None if all went well: the text of a ValueError, an OSError
      or a UserError, or Died.
  """


def start_method(paths):
  """Returns how to start processes that work on files.

  Forking saves each process the import of TensorFlow, but remote file systems
  have threads in this process, which do not survive a fork.

  Args:
    paths: iterable of str.
  """
  is_local = not any("://" in path for path in paths)
  return "fork" if sys.platform == "linux" and is_local else "spawn"


def run(function, tasks, num_processes, method,
        on_report=lambda index, value: None):
  """Runs a function on tasks, each in its own process.

  This frees the memory of a task when it ends, and a process that is killed
  takes no other task with it.

  Args:
    function: function at module level, of `report` and the task's items.
      `report(value)` calls `on_report(index, value)` in this process.
    tasks: list of tuple. Picklable if the method is "spawn".
    num_processes: int. How many may run at once.
    method: str. From `start_method`.
    on_report: function of a task's index and a value.

  Yields:
    Outcome, in the order in which the tasks end.

  Raises:
    RuntimeError: the function raised another error; the text has the stack
      trace.
  """
  context = multiprocessing.get_context(method)
  waiting = collections.deque(enumerate(tasks))
  running = {}
  try:
    while waiting or running:
      while waiting and len(running) < num_processes:
        index, task = waiting.popleft()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(
            target=_work, args=(sender, os.getpid(), function, task))
        process.daemon = True  # it does not outlive this process
        process.start()
        sender.close()  # so that reading ends when the process does
        running[receiver] = index, process
      for receiver in multiprocessing.connection.wait(list(running)):
        index, process = running[receiver]
        try:
          kind, value = receiver.recv()
        except (EOFError, OSError):
          kind, value = "died", None
        if kind == "report":
          on_report(index, value)
          continue
        process.join()
        receiver.close()
        del running[receiver]
        if kind == "fault":
          raise RuntimeError(value)
        if kind == "died":
          kind, value = "error", _describe_exit(process.exitcode)
        yield (Outcome(index, value, None) if kind == "result"
               else Outcome(index, None, value))
  finally:
    for _, process in running.values():
      process.terminate()
    for _, process in running.values():
      process.join()


def _work(sender, parent, function, task):
  """Runs one task; the body of a process."""
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
  # An exception, so that incomplete files are removed.
  signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))

  def report(value):
    if os.getppid() != parent:
      sys.exit(1)
    sender.send(("report", value))

  try:
    message = "result", function(report, *task)
  except (ValueError, OSError, cli.UserError) as error:
    message = "error", str(error)
  except Exception:  # noqa: BLE001  # sent to the parent
    message = "fault", traceback.format_exc()
  sender.send(message)


def _describe_exit(status):
  if status < 0:
    try:
      name = signal.Signals(-status).name
    except ValueError:
      name = "signal %d" % -status
    return Died("its worker was killed by %s%s" % (
        name, ", often for lack of memory: give fewer --num_workers, or "
        "smaller parts to work on" if name == "SIGKILL" else ""))
  return Died("its worker ended without a result (status %d)" % status)


def shard_paths(name, count):
  """Returns the names of `count` shards: NAME-00000-of-00016 and so on."""
  return ["%s-%05d-of-%05d" % (name, index, count) for index in range(count)]


def make_shards(name, function, tasks, settings, num_workers, method,
                on_report=lambda index, value: None,
                on_done=lambda index, result: None, run_tasks=run):
  """Makes the files of `shard_paths`, each in its own process.

  A file beside them records which are complete, the results, and what they were
  made with; it is hidden, so that file patterns do not match it. If one shard
  fails, the others are still made.

  Args:
    name: str.
    function: as for `run`; makes one shard and returns a JSON-able value.
    tasks: list of tuple, one per shard.
    settings: dict, JSON-able. Shards made with other values are not reused.
    num_workers: int. Shards to make at once.
    method: str. From `start_method`.
    on_report: as for `run`.
    on_done: function of a shard's index and what `function` returned for it;
      also called for shards that already exist.
    run_tasks: function like `run`, for tasks to run elsewhere.

  Raises:
    ValueError: shards made with other settings exist, or some could not be
      made.
  """
  paths = shard_paths(name, len(tasks))
  folder, base = os.path.split(name)
  state_file = os.path.join(folder, ".%s-of-%05d.json" % (base, len(tasks)))
  done = _read_state(state_file, settings, paths)
  _warn_of_others(name, paths)
  for index in sorted(done):
    on_done(index, done[index])
  if done:
    tf.logging.info("%d of %d shards are there already", len(done), len(paths))
  missing = [index for index in range(len(tasks)) if index not in done]
  errors = {}  # from an error to the shards that have it
  for outcome in run_tasks(
      function, [tasks[index] for index in missing], num_workers, method,
      lambda number, value: on_report(missing[number], value)):
    index = missing[outcome.index]
    if outcome.error:
      errors.setdefault(str(outcome.error), []).append(paths[index])
      tf.logging.error("%s: %s", paths[index], outcome.error)
      continue
    done[index] = outcome.result
    files.write_json(state_file, {"settings": settings, "shards": done})
    on_done(index, outcome.result)
    tf.logging.info("Made %s", paths[index])
  if errors:
    raise ValueError(
        "%d of %d shards could not be made: %s. The same command makes only "
        "those that are missing" % (
            sum(map(len, errors.values())), len(paths), "; ".join(
                "%s: %s" % (", ".join(failed), error)
                for error, failed in errors.items())))


def _warn_of_others(name, paths):
  folder, base = os.path.split(name)
  if not tf.gfile.IsDirectory(folder or "."):
    return
  shard = re.compile(re.escape(base) + r"-\d{5}-of-\d{5}$")
  found = filter(shard.match, tf.gfile.ListDirectory(folder or "."))
  others = sorted({os.path.join(folder, file) for file in found} - set(paths))
  if others:
    tf.logging.warning(
        "%s and %d others are there too, of another number of shards: the "
        "pattern %s-* also matches them", others[0], len(others) - 1, name)


def _read_state(path, settings, paths):
  """Returns the results of the shards that are complete, dict from index.

  Raises:
    ValueError: they were made with other settings, or the file is damaged.
  """
  if not tf.gfile.Exists(path):
    return {}
  try:
    state = json_files.read(path)
    there = state["settings"]
    done = {int(index): result for index, result in state["shards"].items()
            if tf.gfile.Exists(paths[int(index)])}
  except (ValueError, KeyError, IndexError, TypeError,
          AttributeError) as error:
    raise ValueError("%s: cannot be read (%r); remove it to have all shards "
                     "made again" % (path, error)) from None
  if done and there != settings:
    differences = [
        "%s is %s there and %s here" % (
            key, there.get(key, "not known"), settings.get(key, "not known"))
        for key in sorted(set(there) | set(settings))
        if there.get(key) != settings.get(key)]
    raise ValueError(
        "%d of the shards %s to %s are there, but made with other settings: "
        "%s. Give those settings, or another name; or remove %s to have all "
        "shards made again" % (
            len(done), paths[0], paths[-1], "; ".join(differences), path))
  return done
