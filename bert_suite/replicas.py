"""Replicas of the model in one graph, each on a device with a share of a batch.

All replicas compute with the same variables, which are on the first device of
each process, and each is read from there once per step. TensorFlow's
collectives (`collective_ops.all_reduce`, with NCCL between GPUs) add up the
weights that means are taken over, then the gradients. From these sums the norm
is computed and the update made, once, so that a step equals that of one device
with the whole batch.
"""

import contextlib
import itertools

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf
from tensorflow.python.ops import collective_ops

from . import accumulation

# About how many elements of gradients one operation adds up: 16 MiB. Gradients
# that are ready are sent while the backward pass goes on.
_BUCKET = 1 << 22

_GROUP_KEY = 1  # of all replicas of a graph, and of all workers' graphs


class _Member:
  """A replica in the group that adds up together.

  All members run the same collectives in the same order: in different orders
  they would wait for each other.
  """

  def __init__(self, placement, device):
    self._size = placement.num_replicas
    self._instances = itertools.count(placement.first_instance)
    self._device, self._last = device, []

  def add_up(self, tensor):
    """Returns the sum of a Tensor over the replicas."""
    with tf.device(self._device), tf.control_dependencies(self._last):
      # TensorFlow 1.15 needs a Tensor that has a device itself.
      total = collective_ops.all_reduce(
          tf.identity(tensor), self._size, _GROUP_KEY, next(self._instances),
          "Add", "Id")
    self._last = [total]
    return total


@contextlib.contextmanager
def _reading_from(device, values, keeps=False):
  """Makes what is built within a `with` block read each variable only once.

  Args:
    device: str. Where the variables are.
    values: dict, to which the Tensors read are added, by variable name.
    keeps: bool. Reads once per session, not once per step, as for variables
      that do not change.
  """
  def get(getter, name, *args, **kwargs):
    if name not in values:
      with tf.device(device):
        value = tf.convert_to_tensor(getter(name, *args, **kwargs))
      if keeps:
        value = tf.Variable(
            value, trainable=False, name="copy", use_resource=True,
            collections=[tf.GraphKeys.LOCAL_VARIABLES])
      values[name] = tf.identity(value)  # on the device of the replica
    return values[name]

  with tf.variable_scope(
      tf.get_variable_scope(), custom_getter=get, auxiliary_name_scope=False,
      reuse=True):
    yield


@contextlib.contextmanager
def _without(*collections):
  """Leaves what is built within a `with` block out of collections."""
  refs = [tf.get_collection_ref(name) for name in collections]
  before = [list(ref) for ref in refs]
  yield
  for ref, values in zip(refs, before):
    ref[:] = values


def _make_variables(build, features, device):
  """Makes the variables; returns the head of the whole batch, never computed.

  They are made as without replicas, so that a seed gives them the same values.
  """
  with tf.device(device), accumulation.building(None, reuse=False):
    return build(features, None)


class _Replica:
  """The model on one device, with a share of the batch of a step.

  Attributes:
    loss: float32 scalar Tensor. Its part of the loss of the whole batch; known
      once the gradients are.
  """

  def __init__(self, build, features, placement, index, size, count):
    self._placement, self._device = placement, placement.devices[index]
    self.add_up = _Member(placement, self._device).add_up
    self._parts, self._values = None, {}
    number = placement.worker * len(placement.devices) + index
    shares = []

    def build_part(features, part):
      of_part = 0 if part is None else part * placement.num_replicas
      return build(features, tf.constant(number) + of_part)

    def of_all(loss, own):
      shares.append(loss * (own / self.add_up(own)))
      return shares[-1]

    with self._scope(), _without(*[tf.GraphKeys.SUMMARIES] * (index > 0)):
      if size:
        self._parts = accumulation.Parts(
            build_part, features, size, count, self.add_up)
        return
      with accumulation.sharing(of_all):
        self.loss = build_part(features, None).loss
      if not shares:  # a mean; all replicas have equally many examples
        self.loss /= placement.num_replicas

  @contextlib.contextmanager
  def _scope(self):
    with tf.device(self._device), _reading_from(
        self._placement.devices[0], self._values):
      yield

  def sums(self, variables, scale_up):
    """Computes its gradients; see `accumulation.Parts.sums`."""
    sources = [self._values.get(v.op.name, v) for v in variables]
    with self._scope():
      if self._parts:
        found = self._parts.sums(sources, scale_up)
        self.loss = self._parts.loss
        return found
      gradients = tf.gradients(scale_up(self.loss), sources)
      of_rows = [accumulation.is_rows(gradient) for gradient in gradients]
      squares = tf.add_n([tf.constant(0.0)] + [
          tf.reduce_sum(tf.square(gradient.values))
          for gradient, rows in zip(gradients, of_rows) if rows])
      return [
          tf.unsorted_segment_sum(gradient.values, gradient.indices,
                                  tf.shape(variable)[0])
          if isinstance(gradient, tf.IndexedSlices) else gradient
          for gradient, variable in zip(gradients, sources)], squares, of_rows

  def add_up_all(self, tensors):
    """Adds up Tensors over the replicas, the last first; returns a list."""
    results = []
    for bucket in _make_buckets(reversed(tensors)):
      with tf.device(self._device):
        sizes = [tf.size(tensor) for tensor in bucket]
        total = self.add_up(tf.concat(
            [tf.reshape(tensor, [-1]) for tensor in bucket], 0)
            if bucket[1:] else bucket[0])
        results += [tf.reshape(part, tensor.shape) for part, tensor in zip(
            tf.split(total, sizes), bucket)] if bucket[1:] else [total]
    return results[::-1]


def _make_buckets(tensors):
  """Yields lists of Tensors that are added up together."""
  bucket, size = [], 0
  for tensor in tensors:
    bucket.append(tensor)
    size += tensor.shape.num_elements()
    if size >= _BUCKET:
      yield bucket
      bucket, size = [], 0
  if bucket:
    yield bucket


class Replicas:
  """The replicas of this process, in place of `accumulation.Parts`.

  Attributes:
    head: what `build` returned for the whole batch. It makes the variables, and
      is never computed.
    loss: float32 scalar Tensor, the loss of the whole batch. Known once the
      gradients are.
  """

  def __init__(self, build, features, placement, size, num_parts=1, count=None):
    """Builds the model on each device.

    Args:
      build: function of features (dict from name to Tensor [B, ...]) and the
        number of the part (int, int32 scalar Tensor, or None) that returns an
        object with a `loss`.
      features: dict from name to Tensor [B, ...], the batch of this process.
      placement: Placement.
      size: int. Examples that a replica computes at a time, in one part.
      num_parts: int. Parts of the batch, see `accumulation`; each replica has a
        share of each.
      count: int32 scalar Tensor. How many parts to compute; None for all.
    """
    self.head = _make_variables(build, features, placement.devices[0])
    self._replicas = [
        _Replica(build, self._take(features, placement, i, size, num_parts),
                 placement, i, size if num_parts > 1 else None, count)
        for i in range(len(placement.devices))]
    self.loss = None

  @staticmethod
  def _take(features, placement, index, size, num_parts):
    """Returns the features of a replica, its share of each part."""
    num_devices = len(placement.devices)
    shares = {}
    for name, value in features.items():
      rest = value.shape.as_list()[1:]
      parts = tf.reshape(value, [num_parts, num_devices, size] + rest)
      shares[name] = tf.reshape(parts[:, index], [num_parts * size] + rest)
    return shares

  def gradients(self, variables, scale_up):
    """Computes the gradients; see `accumulation.Parts.gradients`."""
    totals = []
    for replica in self._replicas:
      sums, squares, of_rows = replica.sums(variables, scale_up)
      found = [gradient for gradient in sums if gradient is not None]
      totals.append((replica.add_up_all(found), replica.add_up(
          tf.stack([squares, replica.loss]))))
    # Each replica has the totals: those of the first are used, once all others
    # have done their part.
    with tf.control_dependencies([scalars for _, scalars in totals]):
      squares, self.loss = tf.unstack(tf.identity(totals[0][1]))
    found = iter(totals[0][0])
    gradients = [None if gradient is None else next(found) for gradient in sums]
    return gradients, [gradient for gradient, rows in zip(gradients, of_rows)
                       if not rows] + [tf.sqrt(squares)] * any(of_rows)


def split_head(build, features, placement, batch_size):
  """Builds the head of an evaluation or prediction, with a batch per device.

  The batches are those that one device would compute one after the other, so
  all results, and the mean of their losses, are the same.

  Args:
    build: function of features and None that returns a training.Head.
    features: dict from name to Tensor [B, ...], of up to as many batches as
      there are devices, one after the other; the last may have fewer examples.
    placement: Placement.
    batch_size: int. Examples of a batch.

  Returns:
    training.Head. Its loss has the values of all batches.
  """
  whole = _make_variables(build, features, placement.devices[0])
  total = tf.shape(next(iter(features.values())))[0]
  heads, devices = [], placement.devices
  if tf.get_collection(accumulation.NOT_IN_FUNCTIONS):
    # The variables of a Hub module are read where they are, in one process.
    of_first = devices[0].rpartition("/")[0]
    devices = [one for one in devices if one.rpartition("/")[0] == of_first]
  for index in range(len(placement.devices)):
    device = devices[index % len(devices)]
    # If no example is left, the last one is computed but not used.
    begin = index * batch_size
    first, is_used = tf.minimum(begin, total - 1), tf.cast(
        begin < total, tf.int32)
    with tf.device(device), _reading_from(placement.devices[0], {}, index > 0):
      head = build({name: value[first:first + batch_size]
                    for name, value in features.items()}, None)
    heads.append(_select(head, is_used))

  def join(*tensors):
    return tf.concat(tensors, 0)

  with tf.device(placement.devices[0]):
    # Its shape is hidden from the Estimator, which expects a scalar.
    loss = None if whole.loss is None else tf.placeholder_with_default(
        tf.concat([tf.reshape(head.loss, [-1]) for head in heads], 0), None)
    metrics = whole.metrics
    if metrics:
      metrics = (metrics[0], tf.nest.map_structure(
          join, *[head.metrics[1] for head in heads]), metrics[2])
    return whole._replace(
        loss=loss, metrics=metrics, predictions=whole.predictions and
        tf.nest.map_structure(join, *[head.predictions for head in heads]))


def _select(head, is_used):
  """Returns a Head whose Tensors have no rows unless `is_used`, an int32."""
  def select(tensor):
    return tensor[:tf.shape(tensor)[0] * is_used]

  def select_all(tensors):
    return tf.nest.map_structure(select, tensors)

  metrics = head.metrics
  if metrics:
    metrics = metrics[0], select_all(metrics[1]), metrics[2]
  return head._replace(
      loss=None if head.loss is None else select(tf.reshape(head.loss, [-1])),
      metrics=metrics,
      predictions=head.predictions and select_all(head.predictions))
