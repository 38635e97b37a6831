"""The server: paths, limits, refusals, shutdown. Needs aiohttp."""

import asyncio
import concurrent.futures
import contextlib
import logging
import re
import signal
import threading
import time

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

from aiohttp import http_exceptions, web
import tensorflow.compat.v1 as tf

from . import batching, monitoring, replies
from .. import cli, faults

# After these the connection is closed: the body has not arrived completely, or
# the server is shutting down.
_CLOSES = (408, 413, 503)


class Server:
  """Answers requests with a model until it is told to end.

  Attributes:
    batcher: batching.Batcher.
    figures: monitoring.Figures.
    is_ending: bool. New requests are refused.
  """

  def __init__(self, model, name, version, settings):
    """Takes a loaded model.

    Args:
      model: predictor.Predictor.
      name: str. The model's, in paths.
      version: str. As TensorFlow Serving reports it.
      settings: object with max_requests, max_request_bytes, max_queue_tokens,
        batch_tokens, batch_wait_ms, timeout_s and drain_s, see `serve`.
    """
    self._model, self._name, self._version = model, name, version
    self._settings, self.is_ending = settings, False
    self.batcher = batching.Batcher(
        model.compute, settings.batch_tokens, settings.batch_wait_ms / 1000,
        settings.max_queue_tokens, self._count_batch)
    self.figures = monitoring.Figures(
        lambda: self.batcher.num_queued, lambda: self._num_open)
    self._slots = threading.BoundedSemaphore(settings.max_requests)
    self._num_open = 0
    # Each request waits in a thread, so there are as many threads.
    self._threads = concurrent.futures.ThreadPoolExecutor(
        settings.max_requests, "request")

  def _count_batch(self, num_tokens):
    self.figures.count_batch(num_tokens)

  # Handling requests.

  def make_app(self):
    """Returns the aiohttp Application."""
    app = web.Application(
        middlewares=[self._make_middleware()],
        client_max_size=self._settings.max_request_bytes)
    app.add_routes([
        web.post("/predict", self._handle_texts),
        web.post("/v1/models/{name:[^/:]+}:predict", self._handle_texts),
        web.get("/v1/models/{name:[^/:]+}", self._handle_status),
        web.post("/v1/embeddings", self._handle_texts),
        web.get("/health", self._handle_health),
        web.get("/metrics", self._handle_metrics)])
    return app

  def _make_middleware(self):
    @web.middleware
    async def middleware(request, handler):
      route = request.match_info.route.resource
      path = re.sub(r"/\{.*\}", "", route.canonical) if route else "other"
      request["path"] = path.replace(":predict", "")  # of replies.FIELDS
      begin, status = time.monotonic(), 499  # if the client disconnects
      self._num_open += 1
      try:
        response = await self._respond(request, handler)
        status = response.status
        return response
      finally:
        self._num_open -= 1
        self.figures.count_request(
            path, status, time.monotonic() - begin
            if handler == self._handle_texts else None)

    return middleware

  async def _respond(self, request, handler):
    """Returns the response of a handler, or one that says what is wrong."""
    headers = {}
    try:
      self._check_name(request)
      return await handler(request)
    except web.HTTPException as error:
      status, text = error.status, self._explain(error)
      headers = {name: error.headers[name] for name in ["Allow"]
                 if name in error.headers}
    except batching.NotComputed as error:
      status, text = error.status, str(error)
    except ValueError as error:
      status, text = 400, str(error)
    except Exception as error:  # noqa: BLE001  # the server keeps running
      tf.get_logger().exception("A request failed")
      status, text = 500, faults.message_of(error)
    if status == 429:
      headers["Retry-After"] = "1"
    return _reply(replies.refusal(status, text, request["path"]),
                  status, headers)

  def _explain(self, error):
    """Returns the message for an HTTPException of aiohttp."""
    return {
        404: "no such path; there are POST /predict, /v1/models/%s:predict and "
        "/v1/embeddings, GET /health, /metrics and /v1/models/%s" % (
            self._name, self._name),
        405: "expected the method %s" % error.headers.get("Allow"),
        413: "the request has more than %d bytes (--max_request_bytes)" %
        self._settings.max_request_bytes}.get(error.status, error.reason)

  def _check_name(self, request):
    name = request.match_info.get("name", self._name)
    if name != self._name:
      raise batching.NotComputed(404, "no model %s; there is %s" % (
          faults.one_line(name)[:60], self._name))

  async def _handle_status(self, unused_request):
    return _reply(replies.to_json({"model_version_status": [{
        "version": self._version,
        "state": "UNLOADING" if self.is_ending else "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""}}]}))

  async def _handle_health(self, unused_request):
    if self.is_ending:
      raise _ending()
    return _reply(b'{"status": "ready"}')

  async def _handle_metrics(self, unused_request):
    text, content_type = self.figures.format()
    return web.Response(body=text, headers={"Content-Type": content_type})

  async def _handle_texts(self, request):
    """Answers texts: in a thread, after waiting with others for a batch."""
    if self.is_ending:
      raise _ending()
    if not self._slots.acquire(blocking=False):
      raise batching.NotComputed(
          429, "too many requests: %d wait already; try again" %
          self._settings.max_requests)
    ticket = batching.Ticket()
    try:
      return _reply(await asyncio.wait_for(
          self._run(request, ticket), self._settings.timeout_s))
    except asyncio.TimeoutError:
      raise batching.NotComputed(
          408, "no answer within %g seconds (--timeout_s)" %
          self._settings.timeout_s) from None
    finally:  # also if the client has disconnected
      self.batcher.cancel(ticket, _ending())

  async def _run(self, request, ticket):
    """Reads a request and returns the answer of its thread, bytes."""
    with contextlib.ExitStack() as stack:
      stack.callback(self._slots.release)
      if (request.content_length or 0) > self._settings.max_request_bytes:
        raise web.HTTPRequestEntityTooLarge(
            self._settings.max_request_bytes, request.content_length)
      body = await _read(request)
      future = self._threads.submit(
          self._answer, body, request["path"], ticket)
      release = stack.pop_all().close
    # The thread may go on for a moment after the request has ended.
    future.add_done_callback(lambda _: release())
    return await asyncio.wrap_future(future)

  def _answer(self, body, path, ticket):
    """Returns the answer of a request as JSON, bytes; runs in a thread."""
    found = replies.read(body, path)
    field = replies.FIELDS[path][0]
    model = self.batcher.sharing(self._model, ticket)
    is_embedding = path == "/v1/embeddings"
    if is_embedding and model.settings.get("pooling", "none") == "none":
      raise ValueError(
          "the model is of the task %s and gives no vector of a text; one does "
          "that export_model.py has made with --task=features --pooling=mean" %
          model.settings["task"])
    try:
      answers = model.predict(found[field])
    except cli.InvalidValue as error:
      raise ValueError(
          re.sub(r"^texts\[", field + "[", str(error))) from None
    self.figures.num_texts.inc(len(answers))
    self.figures.num_tokens.inc(ticket.num_tokens)
    return replies.to_json(replies.embeddings(
        self._name, answers, ticket.num_tokens,
        found.get("encoding_format") == "base64")
        if is_embedding else {"predictions": replies.describe(model, answers)})

  # Startup and shutdown.

  def run(self, listener):
    """Serves until SIGTERM or SIGINT, then finishes the open requests.

    Args:
      listener: socket.socket, bound.
    """
    asyncio.run(self._serve(listener))

  async def _serve(self, listener):
    # For anything but HTTP, which gets status 400, it would log a stack trace.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    runner = web.AppRunner(
        self.make_app(), access_log=None, handler_cancellation=True,
        auto_decompress=False, shutdown_timeout=1.0)
    await runner.setup()
    site = web.SockSite(runner, listener, backlog=1024)
    end, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for one in signals:
      loop.add_signal_handler(one, end.set)
    try:
      await site.start()
      tf.logging.info(
          "Serving %s (%s) on %s; Ctrl-C ends it", self._name,
          self._model.settings["task"], url_of(listener))
      await end.wait()
      for one in signals:  # a second signal ends it at once
        loop.remove_signal_handler(one)
      await self._drain(site)
    finally:
      self.batcher.close(_ending())
      await runner.cleanup()

  async def _drain(self, site):
    """Stops accepting, and waits for what has been accepted."""
    self.is_ending = True
    await site.stop()
    self.batcher.hurry()
    tf.logging.info("Ending: %d requests are left", self._num_open)
    last = time.monotonic() + self._settings.drain_s
    while self._num_open and time.monotonic() < last:
      await asyncio.sleep(0.02)
    if self._num_open:
      tf.logging.warning("%d requests had no answer within %g seconds "
                         "(--drain_s)", self._num_open, self._settings.drain_s)


async def _read(request):
  """Returns the body of a request, bytes."""
  try:
    return await request.read()
  except ConnectionError:
    raise batching.NotComputed(499, "the client has gone") from None
  except (web.RequestPayloadError, http_exceptions.HttpProcessingError):
    raise ValueError("the body is broken off or malformed") from None


def _ending():
  """Returns a new error: one that is raised twice would mix both tracebacks."""
  return batching.NotComputed(503, "the server is ending; ask another one")


def url_of(listener):
  """Returns the URL of a bound socket."""
  host, port = listener.getsockname()[:2]
  return "http://%s:%d" % ("[%s]" % host if ":" in host else host, port)


def _reply(body, status=200, headers=None):
  response = web.Response(
      body=body, status=status, content_type="application/json",
      headers=headers)
  if status in _CLOSES:
    response.force_close()
  return response
