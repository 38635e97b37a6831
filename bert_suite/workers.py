"""Which processes train as one: --worker_hosts, --task_index, or TF_CONFIG."""

import contextlib
import dataclasses
import json
import os
import re

from .cli import UserError


@dataclasses.dataclass(frozen=True)
class Address:
  """The workers of a training, and which one this process is.

  Attributes:
    hosts: Where the workers are, "host:port", the chief first.
    index: Number of this process among them.
  """
  hosts: tuple
  index: int


def find(settings):
  """Returns the Address that settings or TF_CONFIG give; None for one process.

  Args:
    settings: Settings of a script.

  Raises:
    UserError: they make no sense.
  """
  hosts = getattr(settings, "worker_hosts", None)
  index = getattr(settings, "task_index", None)
  if not hosts:
    if index is not None:
      raise UserError("--task_index=%d: also pass --worker_hosts" % index)
    return _parse_tf_config(os.environ.get("TF_CONFIG", ""))
  hosts = tuple(host.strip() for host in hosts.split(","))
  if index is None:
    raise UserError("--worker_hosts: also pass --task_index, from 0 to %d, the "
                    "number of this process's host among them" % (
                        len(hosts) - 1))
  return _check(hosts, index, "--worker_hosts", "--task_index=%d" % index)


def _parse_tf_config(text):
  """Returns the Address in TF_CONFIG; None without workers in it."""
  def fail(found):
    raise UserError(
        "TF_CONFIG: found %s, expected {\"cluster\": {\"worker\": [\"host:port"
        "\", ...]}, \"task\": {\"type\": \"worker\", \"index\": 0}}, also with "
        "a \"chief\"; or remove it from the environment" % found)

  if not text.strip():
    return None
  try:
    config = json.loads(text)
  except ValueError:
    fail(text[:100])
  jobs = config.get("cluster") if isinstance(config, dict) else None
  if not jobs:
    return None
  task = config.get("task")
  if not isinstance(jobs, dict) or not isinstance(task, dict):
    fail(text[:100])
  others = sorted(set(jobs) - {"chief", "worker"})
  if others:
    raise UserError(
        "TF_CONFIG: found the jobs %s; there are only \"chief\" and \"worker\" "
        "here: weights need no \"ps\", and the chief evaluates" %
        ", ".join(others))
  kind, index = task.get("type"), task.get("index", 0)
  if (not isinstance(kind, str) or kind not in jobs or
      isinstance(index, bool) or not isinstance(index, int)):
    fail("the task %s" % json.dumps(task)[:100])
  hosts = []
  for name in ("chief", "worker"):
    listed = jobs.get(name, [])
    if not isinstance(listed, list) or not all(
        isinstance(host, str) for host in listed):
      fail("the hosts %s" % json.dumps(listed)[:100])
    if name == kind:
      if not 0 <= index < len(listed):
        fail("index %d of %d hosts" % (index, len(listed)))
      index += len(hosts)
    hosts += listed
  return _check(tuple(hosts), index, "TF_CONFIG", "the index %d" % index)


def _check(hosts, index, name, index_name):
  """Returns the Address for hosts; None for a single one; raises UserError."""
  for host in hosts:
    if not re.match(r"([^\s:/]+|\[[^\s/]+\]):\d+$", host) or not (
        1 <= int(host.rsplit(":", 1)[1]) <= 65535):
      raise UserError("%s: found %r, expected host:port, the port from 1 to "
                      "65535" % (name, host))
  if len(set(hosts)) < len(hosts):
    raise UserError("%s: found a host twice; each process needs an address of "
                    "its own, on the same machine another port" % name)
  if index >= len(hosts):
    raise UserError("%s: there are %d workers, 0 to %d" % (
        index_name, len(hosts), len(hosts) - 1))
  return Address(hosts, index) if len(hosts) > 1 else None


def check(settings):
  """Raises UserError if several processes cannot do what settings ask for.

  Args:
    settings: Settings of a script.
  """
  address = find(settings)
  if not address:
    return
  name = "--worker_hosts" if getattr(
      settings, "worker_hosts", None) else "TF_CONFIG"
  for other in (
      "use_tpu", "master", "num_seeds", "search", "k_folds",
      "auto_micro_batch"):
    if getattr(settings, other, None):
      raise UserError("%s: cannot be combined with --%s; leave one out" % (
          name, other))
  if not settings.do_train:
    raise UserError("%s: only a training has several processes; also pass "
                    "--do_train, or leave it out" % name)


@contextlib.contextmanager
def without_tf_config():
  """Hides TF_CONFIG from an Estimator, which would read it differently."""
  text = os.environ.pop("TF_CONFIG", None)
  try:
    yield
  finally:
    if text is not None:
      os.environ["TF_CONFIG"] = text
