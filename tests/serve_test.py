"""Tests of serve.py: what it answers, what it refuses, and how it ends."""

import asyncio
import base64
import contextlib
import http.client
import importlib.util
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types

import numpy as np
import pytest

from bert_suite import cli, server as server_package
from bert_suite.server import batching, replies
from export_fixtures import MODELS, write_model
import helpers
import predictor
import serve

needs_packages = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("aiohttp", "prometheus_client"))),
    reason="needs aiohttp and prometheus_client")

TEXTS = ["The kettle sings.", ["It rains.", "Tea is near."], "cat", ["a", ""],
         "the the the the the the the the the the the the the the the the the"]


@contextlib.contextmanager
def serving(model, name="mine", **changes):
  """Serves a Predictor on a free port; gives the server and its port."""
  from aiohttp import web

  from bert_suite.server import web_app

  server = web_app.Server(
      model, name, "1", serve.Settings(model_dir="unused", **changes))
  loop, listener = asyncio.new_event_loop(), serve.bind("127.0.0.1", 0)
  runner = web.AppRunner(
      server.make_app(), handler_cancellation=True, access_log=None)
  thread = threading.Thread(target=loop.run_forever)
  thread.start()

  def wait_for(coroutine):
    asyncio.run_coroutine_threadsafe(coroutine, loop).result(20)

  wait_for(runner.setup())
  wait_for(web.SockSite(runner, listener).start())
  try:
    yield server, listener.getsockname()[1]
  finally:
    wait_for(runner.cleanup())
    server.batcher.close(web_app.batching.NotComputed(503, "over"))
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


def ask(port, path, body=None, method=None, headers=None):
  """Returns the status of a request, what it answers, and its headers."""
  connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
  try:
    if not (body is None or isinstance(body, bytes)):
      body = json.dumps(body).encode("utf-8")
    connection.request(
        method or ("GET" if body is None else "POST"), path, body,
        headers or {})
    response = connection.getresponse()
    text = response.read().decode("utf-8")
    found = json.loads(text) if "json" in response.headers[
        "Content-Type"] else text
    return response.status, found, response.headers
  finally:
    connection.close()


def error_of(port, path, body=None, **more):
  """Returns the status of a request that is refused, and why."""
  status, found, _ = ask(port, path, body, **more)
  assert list(found) == ["error"]
  text = found["error"]
  if path == "/v1/embeddings":
    assert text["type"] == "invalid_request_error"
    text = text["message"]
  assert "\n" not in text
  return status, text


def load(folder, task, **parts):
  arguments = MODELS.get(task, {})
  with helpers.captured_log():
    return predictor.Predictor(write_model(folder, task, **arguments), **parts)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
  pytest.importorskip("aiohttp")
  with load(tmp_path_factory.mktemp("model"), "classifier") as model:
    yield model


@pytest.fixture(scope="module")
def port(classifier):
  with serving(classifier, max_request_bytes=5000, batch_wait_ms=0) as (
      _, found):
    yield found


@needs_packages
def test_predict_answers_what_a_predictor_does(classifier, port):
  status, found, headers = ask(port, "/predict", {"texts": TEXTS})
  assert status == 200 and headers["Content-Type"].startswith(
      "application/json")
  rows = classifier.predict(TEXTS)
  assert len(found["predictions"]) == len(rows)
  for one, row in zip(found["predictions"], rows):
    assert list(one["probabilities"]) == ["no", "yes", "tea"]
    np.testing.assert_array_equal(  # every digit of a float32 is there
        np.float32(list(one["probabilities"].values())), row)
    assert one["label"] == classifier.labels[row.argmax()]


@needs_packages
def test_tensorflow_servings_form(port):
  status, found, _ = ask(port, "/v1/models/mine:predict", {
      "instances": TEXTS, "signature_name": "serving_default"})
  assert (status, found) == ask(port, "/predict", {"texts": TEXTS})[:2]
  status, found, _ = ask(port, "/v1/models/mine")
  assert status == 200
  state, = found["model_version_status"]
  assert (state["version"], state["state"]) == ("1", "AVAILABLE")
  assert error_of(port, "/v1/models/other:predict", {"instances": TEXTS}) == (
      404, "no model other; there is mine")
  status, text = error_of(port, "/v1/models/mine:predict", {"instances": [3]})
  assert status == 400 and text.startswith("instances[0]: found 3 (int)")


@pytest.mark.parametrize("body, found", [
    (b"", "the body is no JSON"), (b"{", "the body is no JSON"),
    (b"\xff", "the body is no UTF-8 (byte 1)"),
    (b"[" * 4900, "the body is "), (b"[]", "found [] (list)"),
    (b"null", "found None"), ({}, "found the fields []"),
    ({"text": ["a"]}, "found the fields ['text']"),
    ({"texts": ["a"], "top": 3}, "'top': there is no such field"),
    ({"texts": []}, "texts: is empty"), ({"texts": "a"}, "found 'a' (str)"),
    ({"texts": {"a": 1}}, "(dict)"), ({"texts": ["a", None]}, "texts[1]: "),
    ({"texts": [["a", "b", "c"]]}, "texts[0]: "), ({"texts": [[]]}, "texts[0]"),
    ({"texts": [["a", 1]]}, "texts[0]: "),
    (b'{"texts": ["\\ud800"]}', r"texts[0]: has half a character, \ud800"),
    (b'{"texts": [NaN]}', "texts[0]: found nan (float)"),
    (b'{"texts": ["../../etc/passwd"], "model_dir": "/"}', "'model_dir'")])
@needs_packages
def test_a_wrong_request_is_one_line_with_400(port, body, found):
  status, text = error_of(port, "/predict", body)
  assert status == 400 and found in text
  assert ask(port, "/health")[0] == 200


@needs_packages
def test_unknown_paths_wrong_methods_and_large_bodies(port):
  for path in ("/", "/predict/", "/v1/models/a/b", "/../predict", "/%2e%2e/x"):
    status, text = error_of(port, path)
    assert status == 404 and "POST /predict" in text
  for path, method, right in (("/predict", "GET", "POST"),
                              ("/health", "POST", "GET,HEAD")):
    status, found, headers = ask(port, path, method=method)
    assert status == 405 and right in found["error"]
    assert headers["Allow"] == right
  for headers in ({}, {"Transfer-Encoding": "chunked"}):
    body = b'{"texts": ["%s"]}' % (b"a " * 5000)
    if headers:
      body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    status, text = error_of(port, "/predict", body, headers=headers)
    assert status == 413 and "5000 bytes (--max_request_bytes)" in text


@needs_packages
def test_requests_that_come_together_are_computed_together(classifier):
  texts = TEXTS * 4
  with serving(classifier, batch_wait_ms=2000, batch_tokens=200) as (
      server, port):
    sizes, answers = [], {}
    compute = server.batcher._compute

    def record(inputs, **how):
      sizes.append(sum(len(one.tokens) for one in inputs))
      return compute(inputs, **how)

    server.batcher._compute = record

    def ask_one(i):
      answers[i] = ask(port, "/predict", {"texts": [texts[i]]})

    threads = [threading.Thread(target=ask_one, args=(i,))
               for i in range(len(texts))]
    for thread in threads:
      thread.start()
    for thread in threads:
      thread.join()
  assert len(sizes) <= 3 and max(sizes) <= 200  # 20 requests
  alone = [classifier.predict([text])[0] for text in texts]
  for i, row in enumerate(alone):
    status, found, _ = answers[i]
    assert status == 200
    np.testing.assert_allclose(list(
        found["predictions"][0]["probabilities"].values()), row, atol=1e-6)


@needs_packages
def test_a_long_request_is_several_batches_in_its_order(classifier):
  with serving(classifier, batch_tokens=20, batch_wait_ms=0) as (_, port):
    status, found, _ = ask(port, "/predict", {"texts": TEXTS * 9})
    metrics = ask(port, "/metrics")[1].split("\n")
  assert status == 200
  np.testing.assert_allclose(
      [list(one["probabilities"].values()) for one in found["predictions"]],
      classifier.predict(TEXTS * 9), atol=1e-6)
  batches, = [float(line.split()[1]) for line in metrics
              if line.startswith("bert_batches_total")]
  assert batches >= 9 * 39 / 20


class Slow:
  """Stands in for a model's `compute`, which goes on when it is told to."""

  def __init__(self, server):
    self._compute = server.batcher._compute
    server.batcher._compute = self
    self.begun, self.goes_on = threading.Semaphore(0), threading.Event()
    self.texts = []

  def __call__(self, inputs, **how):
    self.texts += [" ".join(one.tokens[1:-1]) for one in inputs]
    self.begun.release()
    assert self.goes_on.wait(20)
    return self._compute(inputs, **how)


def in_background(function, *arguments):
  """Starts a thread; returns a function that waits for its result."""
  results = []
  thread = threading.Thread(target=lambda: results.append(function(*arguments)))
  thread.start()

  def wait():
    thread.join(60)
    return results[0]

  return wait


def wait_until(is_true):
  end = time.time() + 60
  while not is_true():
    assert time.time() < end
    time.sleep(0.01)


@needs_packages
def test_a_full_queue_refuses_and_a_late_request_is_not_computed(classifier):
  with serving(classifier, batch_wait_ms=0, timeout_s=3.0,
               max_queue_tokens=10) as (server, port):
    slow = Slow(server)
    first = in_background(ask, port, "/predict", {"texts": ["cat"]})
    assert slow.begun.acquire(timeout=20)
    waiting = in_background(ask, port, "/predict", {"texts": ["tea near a"]})
    wait_until(lambda: server.batcher.num_queued == 5)
    status, found, headers = ask(port, "/predict", {"texts": ["a"] * 2})
    assert status == 429 and headers["Retry-After"] == "1"
    assert "5 word pieces wait already" in found["error"]
    status, text = error_of(port, "/predict", {"texts": ["a a a"] * 3})
    assert status == 413 and "15 word pieces or more; 10 may wait" in text
    for late in (first(), waiting()):
      assert late[0] == 408 and "within 3 seconds (--timeout_s)" in late[1][
          "error"]
    assert server.batcher.num_queued == 0
    slow.goes_on.set()
    assert ask(port, "/predict", {"texts": ["far"]})[0] == 200
    assert slow.texts == ["cat", "far"]


@needs_packages
def test_too_many_requests_at_once_and_a_client_that_goes(classifier):
  with serving(classifier, batch_wait_ms=0, max_requests=2) as (server, port):
    slow = Slow(server)
    first = in_background(ask, port, "/predict", {"texts": ["cat"]})
    assert slow.begun.acquire(timeout=20)
    with socket.create_connection(("127.0.0.1", port)) as client:
      body = b'{"texts": ["tea"]}'
      client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
      wait_until(lambda: server.batcher.num_queued)
      status, text = error_of(port, "/predict", {"texts": ["a"]})
      assert (status, text) == (429, "too many requests: 2 wait already; try "
                                "again")
    wait_until(lambda: not server.batcher.num_queued)  # it has gone
    slow.goes_on.set()
    assert first()[0] == 200
    assert ask(port, "/predict", {"texts": ["far"]})[0] == 200
    assert slow.texts == ["cat", "far"]


@needs_packages
def test_a_body_that_does_not_come_is_given_up(classifier):
  with serving(classifier, timeout_s=0.2) as (_, port):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
      client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 99\r\n\r\n{")
      assert client.recv(100).startswith(b"HTTP/1.1 408 ")
    assert ask(port, "/predict", {"texts": ["far"]})[0] == 200


@needs_packages
def test_a_model_that_fails_is_500_and_the_next_batch_is_computed(classifier):
  with serving(classifier, batch_wait_ms=0) as (server, port):
    compute = server.batcher._compute

    def fail(*_, **__):
      server.batcher._compute = compute
      raise ValueError("shapes\ndo not fit")

    server.batcher._compute = fail
    with helpers.captured_log():
      assert error_of(port, "/predict", {"texts": TEXTS}) == (
          500, "the model failed: shapes do not fit")
    assert ask(port, "/predict", {"texts": TEXTS})[0] == 200


@needs_packages
def test_health_and_metrics(classifier):
  with serving(classifier) as (server, port):
    for body in ({"texts": TEXTS}, {"texts": ["cat"]}, {"texts": 3}):
      ask(port, "/predict", body)
    assert ask(port, "/health")[:2] == (200, {"status": "ready"})
    ask(port, "/no/such/path")
    status, text, headers = ask(port, "/metrics")
    assert status == 200
    assert headers["Content-Type"].startswith("text/plain; version=0.0.4")
    lines = text.split("\n")
    for line in (
        'bert_requests_total{path="/predict",status="200"} 2.0',
        'bert_requests_total{path="/predict",status="400"} 1.0',
        'bert_requests_total{path="other",status="404"} 1.0',
        "bert_texts_total 6.0", "bert_word_pieces_total 42.0",
        "bert_batch_word_pieces_total 42.0", "bert_queued_word_pieces 0.0",
        'bert_request_seconds_count{path="/predict"} 3.0'):
      assert line in lines
    assert "/no/such/path" not in text
    server.is_ending = True
    assert error_of(port, "/health")[0] == 503
    assert error_of(port, "/predict", {"texts": ["cat"]})[0] == 503


@needs_packages
def test_embeddings(tmp_path):
  with load(tmp_path, "features", pooling="mean") as model, serving(
      model, "vectors") as (_, port):
    status, found, _ = ask(port, "/v1/embeddings", {
        "input": ["The kettle sings.", "cat"], "model": "any"})
    assert status == 200
    vectors = model.predict(["The kettle sings.", "cat"])
    assert [(one["object"], one["index"]) for one in found["data"]] == [
        ("embedding", 0), ("embedding", 1)]
    np.testing.assert_array_equal(
        np.float32([one["embedding"] for one in found["data"]]), vectors)
    assert (found["object"], found["model"]) == ("list", "vectors")
    assert found["usage"] == {"prompt_tokens": 10, "total_tokens": 10}
    _, found, _ = ask(port, "/v1/embeddings", {
        "input": "cat", "encoding_format": "base64"})
    encoded, = found["data"]
    np.testing.assert_allclose(np.frombuffer(base64.b64decode(
        encoded["embedding"]), "<f4"), vectors[1], atol=1e-6)
    for body, text in (({"input": [[1, 2]]}, "input: expected texts, found [1"),
                       ({"input": ""}, None), ({"input": []}, "is empty"),
                       ({"input": "a", "dimensions": 3}, "'dimensions'"),
                       ({"input": "a", "model": 3}, "model: expected a text"),
                       ({"input": "a", "encoding_format": "x"},
                        "expected float or base64")):
      if text:
        status, error = error_of(port, "/v1/embeddings", body)
        assert status == 400 and text in error
      else:
        assert ask(port, "/v1/embeddings", body)[0] == 200


@needs_packages
def test_a_model_without_vectors_says_so(port):
  status, text = error_of(port, "/v1/embeddings", {"input": "a"})
  assert status == 400 and "task classifier" in text


@needs_packages
def test_squad_and_a_question_alone_fails_its_own_request(tmp_path):
  pairs = [["the kettle", "It rains. Tea is near."], ["a cat", ""]]
  with load(tmp_path, "squad") as model, serving(model) as (_, port):
    wrong = in_background(
        error_of, port, "/predict", {"texts": [pairs[0], "the kettle"]})
    status, found, _ = ask(port, "/predict", {"texts": pairs})
    assert status == 200
    expected = model.predict(pairs)
    for one, right in zip(found["predictions"], expected):
      assert one["probability"] == pytest.approx(right.pop("probability"))
      assert {name: one[name] for name in right} == right
    status, text = wrong()
    assert status == 400 and text.startswith("texts[1]: found the question")


@needs_packages
def test_masked_words_and_one_that_is_cut_off(tmp_path):
  text = "the [MASK] is near"
  with load(tmp_path, "masked_lm") as model, serving(model) as (_, port):
    status, found, _ = ask(port, "/predict", {"texts": [text, "tea"]})
    assert status == 200
    (guesses,), nothing = found["predictions"]
    assert nothing == [] and len(guesses) == 10
    piece, probability = model.predict([text])[0][0][0]
    assert guesses[0]["word_piece"] == piece
    assert guesses[0]["probability"] == pytest.approx(probability, rel=1e-4)
    status, error = error_of(
        port, "/predict", {"texts": [text, "a " * 20 + "[MASK]"]})
    assert status == 400 and error.startswith("texts[1]: 'a a")
    assert "is cut to max_seq_length=16 word pieces" in error


@pytest.mark.parametrize("settings, answer, expected", [
    ({"task": "classifier", "labels": ["a", "b"],
      "problem_type": "multi_label_classification", "thresholds": [0.75, 0.25]},
     np.float32([0.5, 0.25]),
     {"labels": ["b"], "probabilities": {"a": 0.5, "b": 0.25}}),
    ({"task": "classifier", "labels": ["a", "b"],
      "problem_type": "multi_label_classification"},
     np.float32([0.5, 0.25]),
     {"labels": ["a"], "probabilities": {"a": 0.5, "b": 0.25}}),
    ({"task": "classifier", "problem_type": "regression"}, np.float32(0.1),
     {"score": 0.1}),
    ({"task": "features"}, np.float32([[[0.1, 2]], [[3, 4]]]),
     [[[0.1, 2.0]], [[3.0, 4.0]]]),
    ({"task": "ner"}, {"text": "Ann", "tokens": ["Ann"], "tags": ["B-x"],
                       "spans": [{"start": 0, "end": 3, "label": "x"}]}, None)])
def test_answers_as_json(settings, answer, expected):
  model = types.SimpleNamespace(settings=settings)
  found = json.loads(replies.to_json(replies.describe(model, [answer])))
  assert found == [answer if expected is None else expected]


def test_no_json_is_written_of_what_is_no_number():
  with pytest.raises(ArithmeticError, match="NaN or infinity"):
    replies.to_json({"score": float("nan")})
  for as_base64 in (False, True):
    with pytest.raises(ArithmeticError, match="NaN or infinity"):
      replies.to_json(replies.embeddings(
          "mine", np.float32([[np.nan]]), 3, as_base64))


@needs_packages
def test_a_client_that_breaks_off_is_no_fault(classifier):
  with serving(classifier) as (_, port), helpers.captured_log() as lines:
    with socket.create_connection(("127.0.0.1", port)) as client:
      client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                        struct.pack("ii", 1, 0))  # resets the connection
      client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 99\r\n\r\n{")
      wait_until(lambda: "bert_open_requests 2.0" in ask(port, "/metrics")[1])
    wait_until(lambda: 'path="/predict",status="499"} 1.0' in ask(
        port, "/metrics")[1])
    assert not [line for line in lines if "failed" in line]


@pytest.mark.parametrize("folder, expected", [
    ("/models/mrpc", ("mrpc", "1")), ("/models/mrpc/", ("mrpc", "1")),
    ("/models/mrpc/1700000000", ("mrpc", "1700000000")), ("/17", ("17", "1"))])
def test_the_name_of_a_model_is_that_of_its_folder(folder, expected):
  assert serve.name_model(folder) == expected


@needs_packages
def test_mistakes_at_the_start_are_one_line(tmp_path):
  with socket.socket() as taken:
    taken.bind(("127.0.0.1", 0))
    taken.listen(1)
    number = taken.getsockname()[1]
    for flags, text in (
        (["--port=%d" % number], "--port=%d: another program" % number),
        (["--host=no.such.host.invalid"], "--host=no.such.host.invalid: "),
        (["--host=192.0.2.1"], "--host=192.0.2.1: "),
        (["--model_name=a/b"], "--model_name=a/b: is part of a path"),
        (["--port=0"], "nowhere: ")):
      status, said = helpers.run_command(
          serve, ["--model_dir=%s" % (tmp_path / "nowhere")] + flags)
      assert status == 1 and said.count("\n") == 1
      assert text in said


def test_a_missing_package_is_one_line(tmp_path, monkeypatch):
  monkeypatch.setitem(sys.modules, "aiohttp", None)
  monkeypatch.delitem(sys.modules, "bert_suite.server.web_app", False)
  monkeypatch.delattr(server_package, "web_app", False)
  status, said = helpers.run_command(serve, ["--model_dir=%s" % tmp_path])
  assert status == 1 and said.count("\n") == 1
  assert "pip install aiohttp prometheus_client" in said


def test_threads_are_set_before_tensorflow_looks_for_devices(
    tmp_path, monkeypatch):
  names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
  found = []
  for name in names:
    monkeypatch.setenv(name, "9")  # which is undone

  def load_model(unused_settings):
    found.append([os.environ[name] for name in names])
    raise cli.UserError("enough")

  monkeypatch.setattr(serve, "load_model", load_model)
  monkeypatch.setattr(serve, "import_web_app", lambda: None)
  for count in (0, 3):
    with pytest.raises(cli.UserError, match="enough"):
      serve.run_with(serve.Settings(
          model_dir=str(tmp_path), port=0, num_threads=count))
  assert found == [["9", "9"], ["3", "3"]]


def start(model_dir, *more):
  """Starts serve.py as a process; returns it and its port."""
  process = subprocess.Popen(
      [sys.executable, os.path.join(helpers.TOP, "serve.py"),
       "--model_dir=" + model_dir, "--port=0"] + list(more),
      stderr=subprocess.PIPE, universal_newlines=True)
  for line in process.stderr:
    if "http://127.0.0.1:" in line:
      return process, int(line.split("http://127.0.0.1:")[1].split(";")[0])
  raise AssertionError("it did not start")


@contextlib.contextmanager
def started(folder, *more):
  """Gives a process that serves a classifier, and its port."""
  process, found = start(
      write_model(folder, "classifier", **MODELS["classifier"]), *more)
  with process:
    try:
      yield process, found
    finally:
      process.kill()  # unless it has ended


def test_a_batch_that_goes_on_after_the_end_fails_its_requests():
  begun, goes_on = threading.Event(), threading.Event()

  def compute(unused_inputs, **unused_how):
    begun.set()
    goes_on.wait(20)
    return [{}]

  batcher = batching.Batcher(compute, 10, 0.0, 10)
  errors = []

  def ask_for_one():
    with pytest.raises(batching.NotComputed) as error:
      batcher.compute(batching.Ticket(), [types.SimpleNamespace(tokens=["a"])])
    errors.append(error.value.status)

  thread = threading.Thread(target=ask_for_one)
  thread.start()
  assert begun.wait(20)
  batcher.close(batching.NotComputed(503, "over"), seconds=0.1)
  thread.join(20)
  assert errors == [503] and batcher.is_computing()
  goes_on.set()
  wait_until(lambda: not batcher.is_computing())


def test_the_texts_of_a_request_count_together():
  batcher = batching.Batcher(
      lambda inputs, **how: [{}] * len(inputs), 10, 0.0, 10)
  ticket, inputs = batching.Ticket(), [types.SimpleNamespace(tokens=["a"] * 6)]
  assert batcher.compute(ticket, inputs) == [{}]
  with pytest.raises(batching.NotComputed, match="12 word pieces or more"):
    batcher.compute(ticket, inputs)
  batcher.close(batching.NotComputed(503, "over"))


@pytest.mark.slow
@needs_packages
def test_it_answers_what_has_come_when_it_is_told_to_end(tmp_path):
  with started(tmp_path, "--batch_wait_ms=60000", "--timeout_s=60") as (
      process, number):
    answer = in_background(ask, number, "/predict", {"texts": TEXTS})
    wait_until(lambda: "bert_queued_word_pieces 39.0" in ask(
        number, "/metrics")[1])
    process.send_signal(signal.SIGTERM)
    status, found, _ = answer()  # long before the minute is over
    assert status == 200 and len(found["predictions"]) == len(TEXTS)
    assert process.wait(60) == 0
    assert "Ending: 1 requests are left" in process.stderr.read()
    with pytest.raises(ConnectionRefusedError):
      ask(number, "/health")


@pytest.mark.slow
@needs_packages
def test_it_ends_in_time_though_a_request_is_left(tmp_path):
  with started(tmp_path, "--drain_s=0.5", "--timeout_s=300") as (
      process, number):
    with socket.create_connection(("127.0.0.1", number)) as client:
      client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n"
                     b"Content-Length: 99\r\n\r\n{")
      wait_until(lambda: "bert_open_requests 2.0" in ask(
          number, "/metrics")[1])
      process.send_signal(signal.SIGINT)
      assert process.wait(60) == 0
    assert "1 requests had no answer within 0.5 seconds" in (
        process.stderr.read())
