"""Gradients of a batch in parts: what --gradient_accumulation_steps asks for.

A loop in the graph computes the gradients of one part at a time and adds them
up, so that a step needs the memory of one part. Everything else is done once
per batch: means, norm, update, and the count of steps.
"""

import contextlib
import threading

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import xla

# Collection that is not empty if the head cannot be built inside a function,
# such as one with a Hub module.
NOT_IN_FUNCTIONS = "not_in_functions"

_local = threading.local()


def smaller_parts(batch_size, num_parts):
  """Returns how many parts a batch is split into to halve the size of a part.

  Args:
    batch_size: int.
    num_parts: int. Number of parts so far, which are too large.

  Returns:
    int, the least divisor of `batch_size` that is at least twice `num_parts`;
    None if a part is already one example.
  """
  return next((count for count in range(2 * num_parts, batch_size + 1)
               if batch_size % count == 0), None)


def share(loss, sum_weights):
  """Returns what the mean over a part adds to the mean over the whole batch.

  A head calls this for each mean in its loss if examples differ in how many
  values, or how much weight, they add to it. For all other heads, each part is
  weighted by its number of examples.

  Args:
    loss: float32 scalar Tensor, a weighted mean over the examples at hand.
    sum_weights: function without arguments that returns the sum of the weights,
      a scalar Tensor, computed from features only.

  Returns:
    float32 scalar Tensor; the loss itself if the batch is not split.
  """
  take_total = getattr(_local, "take_total", None)
  return take_total(loss, tf.cast(
      sum_weights(), tf.float32)) if take_total else loss


@contextlib.contextmanager
def sharing(take_total):
  """Makes `share` call a function of a loss and its sum of weights."""
  before = getattr(_local, "take_total", None)
  _local.take_total = take_total
  try:
    yield
  finally:
    _local.take_total = before


@contextlib.contextmanager
def building(take_total, reuse):
  """Builds in the current scope, so that variables keep their names.

  The session cannot fetch what is built here, so it is kept out of the
  collections of Tensors to fetch.

  Args:
    take_total: function that `share` calls with loss and sum of weights, or
      None.
    reuse: bool. The variables must exist already.
  """
  refs = [tf.get_collection_ref(name)
          for name in (tf.GraphKeys.SUMMARIES, xla.SIZES)]
  before = [list(ref) for ref in refs]
  try:
    with sharing(take_total), tf.variable_scope(
        tf.get_variable_scope(), reuse=reuse or None,
        auxiliary_name_scope=False):
      yield
  finally:
    for ref, values in zip(refs, before):
      ref[:] = values


@contextlib.contextmanager
def _loops(as_functions):
  """Builds loops as functions, or as operations of the graph."""
  before = tf.control_flow_v2_enabled()
  switch = {True: tf.enable_control_flow_v2, False: tf.disable_control_flow_v2}
  switch[as_functions]()
  try:
    yield
  finally:
    switch[before]()


def is_rows(gradient):
  """Returns whether a gradient is a set of rows, each added to the norm."""
  # TensorFlow 1.15 appends a dense gradient to the rows if there are both.
  return isinstance(gradient, tf.IndexedSlices) and (
      gradient.values.op.type != "ConcatV2")


class Parts:
  """The parts of a batch.

  Attributes:
    head: what `build` returned for the whole batch. It creates the variables
      and must not be computed.
    loss: float32 scalar Tensor, the loss of the whole batch. Set once the
      gradients are built.
  """

  def __init__(self, build, features, size, count=None, add_up=None):
    """Splits a batch.

    Args:
      build: function of features (dict from name to Tensor [B, ...]) and the
        number of the part (int32 scalar Tensor, or None) that returns an object
        with a `loss`.
      features: dict from name to Tensor [B, ...]. If B is known, `size` must
        divide it.
      size: int. Examples per part; the last part may have fewer.
      count: int32 scalar Tensor. How many parts to compute; None for all.
      add_up: function of a total over this batch that returns the total over
        all replicas, see `replicas`; None if there is only one.
    """
    self._build, self._features, self._size = build, features, size
    if count is not None:
      features = {name: value[:count * size]
                  for name, value in features.items()}
    self._totals, self.loss = [], None

    def keep_total(loss, total):
      self._totals.append(add_up(total) if add_up else total)
      return loss

    num_sizes = len(tf.get_collection(xla.SIZES))
    with building(keep_total, reuse=False):
      self.head = build(features, None)
      self._has_sizes = len(tf.get_collection(xla.SIZES)) > num_sizes
    num_examples = tf.shape(next(iter(features.values())))[0]
    self._count = -(-num_examples // size) if count is None else count
    self._num_examples = tf.cast(num_examples, tf.float32)
    if add_up and not self._totals:
      self._num_examples = add_up(self._num_examples)

  def _take(self, part):
    """Returns the features of a part, their shapes as static as possible."""
    def take(value):
      shape = value.shape.as_list()
      if shape[0] is None:
        return value[part * self._size:(part + 1) * self._size]
      return tf.gather(
          tf.reshape(value, [shape[0] // self._size, self._size] + shape[1:]),
          part)

    return {name: take(value) for name, value in self._features.items()}

  def _loss_of(self, part):
    """Returns what a part adds to the loss, and the sizes of its programs."""
    totals = iter(self._totals)
    features = self._take(part)
    num_sizes = len(tf.get_collection(xla.SIZES))
    with building(
        lambda loss, own: loss * (own / next(totals)), reuse=True):
      loss = self._build(features, part).loss
      sizes = tf.get_collection(xla.SIZES)[num_sizes:]
    if not self._totals:
      loss *= tf.cast(tf.shape(next(iter(features.values())))[0],
                      tf.float32) / self._num_examples
    return loss, sizes

  def gradients(self, variables, scale_up):
    """Computes the gradients of the loss, one part after the other.

    Args:
      variables: list of variables.
      scale_up: function of the loss that returns what to differentiate.

    Returns:
      Two lists: for each variable a Tensor of its shape, or None if the loss
      does not depend on it; and Tensors whose global norm is the one that the
      gradients of the unsplit batch would have, where rows of IndexedSlices
      are not summed.
    """
    sums, squares, of_rows = self.sums(variables, scale_up)
    return sums, [gradient for gradient, rows in zip(sums, of_rows)
                  if not rows] + [tf.sqrt(squares)] * any(of_rows)

  def sums(self, variables, scale_up):
    """Computes the same as `gradients`, in a form that `replicas` can add up.

    Returns:
      The first list of `gradients`; the sum of the squares of all rows that
      are added to the norm one by one, a float32 scalar Tensor; and a list of
      bool, for each variable whether its gradient is a set of such rows.
    """
    found = []

    def add(part, loss, squares, sums, sizes):
      own, new_sizes = self._loss_of(part)
      found[:] = tf.gradients(scale_up(own), variables)
      sums = list(sums)
      for i, gradient in enumerate(found):
        if is_rows(gradient):
          squares += tf.reduce_sum(tf.square(gradient.values))
        if isinstance(gradient, tf.IndexedSlices):
          sums[i] = tf.tensor_scatter_nd_add(
              sums[i], gradient.indices[:, tf.newaxis], gradient.values)
        elif gradient is not None:
          sums[i] += gradient
      if sizes:
        sizes = [sizes[0].write(part, tf.stack(new_sizes))]
      return part + 1, loss + own, squares, sums, sizes

    zero = tf.constant(0.0)
    # Gradients of compiled programs can only be built inside functions, which
    # cannot have TensorFlow 1's kind of variables.
    with _loops(xla.has_programs() and not tf.get_collection(NOT_IN_FUNCTIONS)):
      _, self.loss, squares, sums, sizes = tf.while_loop(
          lambda part, *unused: part < self._count, add,
          [tf.constant(0), zero, zero,
           [tf.zeros(variable.shape) for variable in variables],
           # Of unknown size, even an unused one does not compile for a TPU.
           [tf.TensorArray(tf.int32, 0, dynamic_size=True, infer_shape=False)
            for _ in range(self._has_sizes)]],
          parallel_iterations=1, back_prop=False)
    if sizes:
      tf.add_to_collection(xla.SIZES, sizes[0].concat())
    return [None if gradient is None else total
            for gradient, total in zip(found, sums)], squares, [
                is_rows(gradient) for gradient in found]
