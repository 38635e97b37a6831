"""Requests that arrive together are computed together, by one thread.

Each request has its own thread, which tokenizes its texts, passes the model's
inputs to the Batcher, and turns the results into answers. So a text that cannot
be answered fails only its own request, whatever the model's task is.
"""

import collections
import copy
import functools
import itertools
import threading
import time

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import faults, serving


class NotComputed(RuntimeError):
  """A request has no results; the text says why.

  Attributes:
    status: int. HTTP status.
  """

  def __init__(self, status, text):
    super().__init__(text)
    self.status = status


class Ticket:
  """A request, from its arrival to its end.

  Attributes:
    num_tokens: int. Word pieces to compute, [CLS] and [SEP] included.
    results: list of dict from output name to array, for each input.
    error: NotComputed, or None.
    done: threading.Event. Set when there are results or an error.
  """

  def __init__(self):
    self.num_tokens, self.results, self.error = 0, [], None
    self.done = threading.Event()
    self.num_missing = 0

  def fail(self, error):
    """Ends the request without results; the first error counts."""
    self.error = self.error or error
    self.done.set()


# An input of a request: what to compute, with which arguments of
# `Predictor.compute`, and where its results go.
_Item = collections.namedtuple("_Item", "ticket index model_input how arrival")


class Batcher:
  """A queue of inputs and the thread that computes them."""

  def __init__(self, compute, max_tokens, wait, max_queued,
               observe=lambda num_tokens: None):
    """Starts the thread.

    Args:
      compute: function, `predictor.Predictor.compute`.
      max_tokens: int. Word pieces of a batch; a single input may have more.
      wait: float. Seconds that the first input of a batch waits for others.
      max_queued: int. Word pieces that may wait.
      observe: function of the word pieces of each batch.
    """
    self._compute, self._observe = compute, observe
    self._max_tokens, self._wait = max_tokens, wait
    self._max_queued = max_queued
    self._items, self._queued, self._closed = collections.deque(), 0, None
    self._current = []  # the items that are computed now
    self._changed = threading.Condition()
    self._thread = threading.Thread(
        target=self._run, name="batches", daemon=True)
    self._thread.start()

  @property
  def num_queued(self):
    """Word pieces that wait."""
    return self._queued

  def sharing(self, model, ticket):
    """Returns a copy of a Predictor that computes here, for a Ticket."""
    shared = copy.copy(model)
    shared.compute = functools.partial(self.compute, ticket)
    return shared

  def compute(self, ticket, inputs, make_extra=None,
              signature=serving.SIGNATURE):
    """Waits for the results of inputs.

    Args:
      ticket: Ticket.
      inputs: list of ModelInput.
      make_extra: see `predictor.Predictor.compute`, also for the next.
      signature: str.

    Returns:
      list of dict from output name to array, for each input.

    Raises:
      NotComputed: there is no room for them, they failed, or the request was
        cancelled.
    """
    if not inputs:
      return []
    num_tokens = sum(len(one.tokens) for one in inputs)
    how = {"signature": signature}
    if make_extra is not None:
      how["make_extra"] = make_extra
    with self._changed:
      if ticket.error or self._closed:
        raise ticket.error or self._closed
      total = ticket.num_tokens + num_tokens
      if total > self._max_queued:
        raise NotComputed(413, "the request has %d word pieces or more; %d may "
                          "wait (--max_queue_tokens); send fewer texts at once"
                          % (total, self._max_queued))
      if self._queued + num_tokens > self._max_queued:
        raise NotComputed(429, "too many requests: %d word pieces wait "
                          "already; try again" % self._queued)
      ticket.num_tokens += num_tokens
      ticket.results = [None] * len(inputs)
      ticket.num_missing = len(inputs)
      ticket.done.clear()
      arrival = time.monotonic()
      self._items.extend(_Item(ticket, i, one, how, arrival)
                         for i, one in enumerate(inputs))
      self._queued += num_tokens
      self._changed.notify()
    ticket.done.wait()
    if ticket.error:
      raise ticket.error
    return ticket.results

  def cancel(self, ticket, error):
    """Ends a request; its inputs that still wait are not computed.

    Args:
      ticket: Ticket.
      error: NotComputed. Raised in its thread.
    """
    with self._changed:
      ticket.fail(error)
      if ticket.num_missing:
        self._set_items(
            item for item in self._items if item.ticket is not ticket)

  def hurry(self):
    """From now on computes inputs at once, without waiting for others."""
    with self._changed:
      self._wait = 0.0
      self._changed.notify()

  def close(self, error, seconds=5.0):
    """Ends the thread after its current batch; inputs that wait fail.

    Args:
      error: NotComputed. Raised in the threads of requests.
      seconds: float. How long to wait for that batch at most.
    """
    with self._changed:
      self._closed = error
      for item in itertools.chain(self._items, self._current):
        if item.ticket.num_missing:
          item.ticket.fail(error)
      self._set_items([])
    self._thread.join(seconds)

  def is_computing(self):
    """Returns whether the thread is still there, after `close` too."""
    return self._thread.is_alive()

  def _set_items(self, items):
    self._items = collections.deque(items)
    self._queued = sum(len(item.model_input.tokens) for item in self._items)
    self._changed.notify()

  def _run(self):
    """Computes batch after batch."""
    while True:
      batch = self._next_batch()
      if batch is None:
        return
      inputs = [item.model_input for item in batch]
      try:
        results = self._compute(inputs, **batch[0].how)
      except Exception as error:  # noqa: BLE001  # the next batch may work
        tf.get_logger().exception("A batch of %d texts failed", len(batch))
        failed = NotComputed(500, faults.one_line(
            "the model failed: %s" % (
                faults.describe(error) or faults.message_of(error))))
        for item in batch:
          self.cancel(item.ticket, failed)
        continue
      self._observe(sum(len(one.tokens) for one in inputs))
      for item, result in zip(batch, results):
        item.ticket.results[item.index] = result
        item.ticket.num_missing -= 1
        if not item.ticket.num_missing:
          item.ticket.done.set()

  def _next_batch(self):
    """Waits for a batch; returns its items, or None after the last one."""
    with self._changed:
      while True:
        if not self._items:
          if self._closed:
            return None
          self._changed.wait()
          continue
        # Inputs that came while another batch was computed have waited enough.
        left = self._items[0].arrival + self._wait - time.monotonic()
        if left <= 0 or self._queued >= self._max_tokens:
          return self._take()
        self._changed.wait(left)

  def _take(self):
    """Takes the items of a batch from the queue, which is not empty."""
    batch, size = [], 0
    while self._items:
      item = self._items[0]
      size += len(item.model_input.tokens)
      if batch and (size > self._max_tokens or item.how != batch[0].how):
        break
      batch.append(self._items.popleft())
      self._queued -= len(item.model_input.tokens)
    self._current = batch
    return batch
