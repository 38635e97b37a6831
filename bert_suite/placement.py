"""Which devices a run computes on: --num_gpus, and those of other processes."""

import dataclasses
import re

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import workers
from .cli import UserError


@dataclasses.dataclass(frozen=True)
class Placement:
  """Where the replicas of this process are, and how many there are in all.

  Attributes:
    devices: Names of this process's devices, one for each of its replicas.
    num_workers: Processes, each with as many devices.
    worker: Number of this process among them.
    first_instance: Number of the first collective of a graph; in sessions that
      several processes share, no two graphs may have the same.
  """
  devices: tuple
  num_workers: int = 1
  worker: int = 0
  first_instance: int = 1

  @property
  def num_replicas(self):
    """Replicas of all processes."""
    return len(self.devices) * self.num_workers


@dataclasses.dataclass(frozen=True)
class Sessions:
  """Where the sessions of an estimator run.

  Attributes:
    placed: Placement; None for one device.
    master: Address of the server that runs them; empty for this process alone.
    config: ConfigProto; None for the Estimator's own.
    device: Name of the default device; None for any.
    share: input_pipeline.Share of this process while training; None for all.
    saves: Whether this process saves checkpoints.
  """
  placed: object
  master: str
  config: object
  device: object = None
  share: object = None
  saves: bool = True


def of_one_process(settings):
  """Returns the Sessions that settings ask for, of this process alone."""
  placed = find(settings)
  return Sessions(placed, settings.master, session_config(placed))


def find(settings):
  """Returns the Placement that settings ask for; None for a single device.

  Args:
    settings: Settings of a script: --num_gpus, or `devices`, the names of
      devices, such as ["/cpu:0", "/cpu:1"].

  Raises:
    UserError: there are too few GPUs, or the run computes elsewhere.
  """
  devices = tuple(getattr(settings, "devices", None) or ())
  asked = getattr(settings, "num_gpus", None)
  address = workers.find(settings)
  if address and not devices and asked is None:
    devices = ("/gpu:0" if environment.find_gpus() else "/cpu:0",)
  if asked is not None and not devices:
    for other in ("use_tpu", "master"):
      if getattr(settings, other, None):
        raise UserError("--num_gpus=%s: --%s computes elsewhere; leave one out"
                        % (asked, other))
    devices = tuple("/gpu:%d" % i for i in range(_count_gpus(asked)))
  if address:
    return Placement(devices, len(address.hosts), address.index)
  return Placement(devices) if len(devices) > 1 else None


def count_devices(settings):
  """Returns how many devices settings ask for in all processes, at least 1."""
  placed = find(settings)
  return placed.num_replicas if placed else 1


def _count_gpus(asked):
  """Returns how many GPUs --num_gpus asks for; raises UserError."""
  if asked != "all" and not re.match("[1-9][0-9]{0,5}$", asked):
    raise UserError(
        "--num_gpus=%s: expected a number from 1 on, or all" % asked)
  found = [gpu.name for gpu in environment.find_gpus()]
  count = len(found) if asked == "all" else int(asked)
  if not found or count > len(found):
    raise UserError("--num_gpus=%s: TensorFlow finds %s; %s" % (
        asked, ", ".join(found) or "no GPU", "give a number up to %d, or all" %
        len(found) if found else "leave the flag out to compute on the CPU "
        "(TF_CPP_MIN_LOG_LEVEL=0 shows why)"))
  return count


def check_batch_size(settings, placement):
  """Raises UserError unless replicas get equal shares of a batch."""
  size, count = settings.train_batch_size, placement.num_replicas
  if size % count:
    raise UserError(
        "--train_batch_size=%d: expected a multiple of %d, the number of "
        "devices that share each batch" % (size, count))


def session_config(placement):
  """Returns the ConfigProto of sessions for a Placement; None for the default.

  Args:
    placement: Placement, or None.
  """
  if not placement:
    return None
  config = tf.ConfigProto(allow_soft_placement=True)
  # As in the Estimator's own.
  config.graph_options.rewrite_options.meta_optimizer_iterations = 1
  for kind in ("CPU", "GPU"):
    numbers = [int(name.rsplit(":", 1)[1]) for name in placement.devices
               if kind in name.upper()]
    if numbers:
      config.device_count[kind] = max(numbers) + 1
      config.experimental.collective_nccl = kind == "GPU"
  return config
