"""Figures of a server in the text format of Prometheus."""

import prometheus_client as prometheus


class Figures:
  """What has been asked, answered and refused since the start.

  Attributes:
    num_texts, num_tokens: counters of what was answered.
  """

  def __init__(self, count_queued, count_open):
    """Starts at 0.

    Args:
      count_queued: function that returns the word pieces that wait.
      count_open: function that returns the requests that have no answer yet.
    """
    self._registry = prometheus.CollectorRegistry()
    shared = {"namespace": "bert", "registry": self._registry}
    self._requests = prometheus.Counter(
        "requests", "Requests that were answered or refused.",
        ["path", "status"], **shared)
    self._seconds = prometheus.Histogram(
        "request_seconds", "Time from a request to its answer.", ["path"],
        buckets=(.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 20, 60),
        **shared)
    self.num_texts = prometheus.Counter(
        "texts", "Texts that were answered.", **shared)
    self.num_tokens = prometheus.Counter(
        "word_pieces", "Word pieces that were answered.", **shared)
    self._batches = prometheus.Counter(
        "batches", "Batches that were computed.", **shared)
    self._batch_tokens = prometheus.Counter(
        "batch_word_pieces", "Word pieces of all batches.", **shared)
    prometheus.Gauge("queued_word_pieces", "Word pieces that wait.",
                     **shared).set_function(count_queued)
    prometheus.Gauge("open_requests", "Requests without an answer, this one "
                     "included.", **shared).set_function(count_open)
    prometheus.ProcessCollector(registry=self._registry)  # memory, CPU time

  def count_batch(self, num_tokens):
    """Counts a batch and its word pieces."""
    self._batches.inc()
    self._batch_tokens.inc(num_tokens)

  def count_request(self, path, status, seconds):
    """Counts a request.

    Args:
      path: str. The path of the route; what was sent may be anything.
      status: int.
      seconds: float. None for a request without texts.
    """
    self._requests.labels(path, status).inc()
    if seconds is not None:
      self._seconds.labels(path).observe(seconds)

  def format(self):
    """Returns bytes for Prometheus to read, and their Content-Type."""
    return (prometheus.generate_latest(self._registry),
            "text/plain; version=0.0.4; charset=utf-8")
