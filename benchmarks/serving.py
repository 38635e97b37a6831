"""Asks serve.py from many clients at once; counts what is answered and lost.

  python benchmarks/serving.py --clients=1000 --seconds=300

A server, a process of its own, answers texts of mixed lengths from one word to
more than the model reads, one to 32 a request, over connections that stay open.
Every request must be answered or refused with a status. Then, while the clients
go on, the server gets kill -9 and is started again; only requests of the time
in between may fail. Last it gets requests that are wrong, huge or never end,
each of which must be refused with its status, and SIGTERM, after which it must
end by itself.

Prints requests by status, the 50th and 99th percentile of the time to an
answer, and the server's memory (RSS) after a tenth of the time, after half of
it and at the end: it grows until there is a thread for every client and every
shape of a batch has been seen.
Without --model_dir the model is a classifier with random weights. Exits with 1
if a request was lost or one had a status that it should not have.
"""

import asyncio
import collections
import contextlib
import json
import os
import random
import resource
import socket
import subprocess
import sys
import tempfile
import time

from absl import app, flags
import aiohttp
import numpy as np

import random_models
import suite_scripts

FLAGS = flags.FLAGS
VOCAB = os.path.join(suite_scripts.TOP, "sample_data", "sample_vocab.txt")
LENGTH = 128
WORDS = ["the", "report", "a", "children", "7", "ox!"]
SMALL = 1 << 16  # --max_request_bytes of the server


def define_flags():
  """Defines the flags of this script."""
  random_models.define_flags(layers=2, hidden=128)
  flags.DEFINE_string("model_dir", None, "Model to serve, of single texts.")
  flags.DEFINE_integer("clients", 1000, "Clients at once.", lower_bound=1)
  flags.DEFINE_float("seconds", 300, "How long to ask.", lower_bound=1)


class Service:
  """serve.py as a process, on a port of its own."""

  def __init__(self, model_dir):
    with socket.socket() as free:
      free.bind(("127.0.0.1", 0))
      self.port = free.getsockname()[1]
    self.url = "http://127.0.0.1:%d" % self.port
    self._model_dir, self.process = model_dir, None

  def start(self):
    """Starts it; see `wait_until_ready`."""
    self.process = subprocess.Popen([
        sys.executable, os.path.join(suite_scripts.TOP, "serve.py"),
        "--model_dir=" + self._model_dir, "--port=%d" % self.port,
        "--max_request_bytes=%d" % SMALL, "--timeout_s=10"])

  async def wait_until_ready(self, session):
    """Waits until it answers; ends this program if the process has ended."""
    while True:
      if self.process.poll() is not None:
        sys.exit("serve.py ended with status %d" % self.process.returncode)
      with contextlib.suppress(aiohttp.ClientError):
        async with session.get(self.url + "/health") as response:
          if response.status == 200:
            return
      await asyncio.sleep(0.1)

  def read_memory(self):
    """Returns its memory (RSS) in MB."""
    with open("/proc/%d/statm" % self.process.pid) as reader:
      return int(reader.read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6

  def close(self):
    """Ends it at once, if it has not ended."""
    if self.process and self.process.poll() is None:
      self.process.kill()
      self.process.wait()


class Counts:
  """What has come of requests.

  Attributes:
    statuses: Counter of statuses.
    lost: list of str. Requests without one.
    cut_off: int. Those without one while there was no server.
    seconds: list of float, of requests that were answered.
    is_down: bool. There is no server.
  """

  def __init__(self):
    self.statuses, self.lost = collections.Counter(), []
    self.cut_off, self.seconds, self.is_down = 0, [], False


def make_texts(generator):
  """Returns the texts of a request."""
  count = generator.choice([1, 1, 1, 1, generator.randint(2, 32)])
  return [" ".join(generator.choices(WORDS, k=generator.choice(
      [generator.randint(1, 20), generator.randint(1, LENGTH + 10)])))
          for _ in range(count)]


async def ask(session, url, counts, generator):
  """Sends a request and counts what comes of it."""
  texts, begin = make_texts(generator), time.monotonic()
  was_down = counts.is_down
  try:
    async with session.post(url + "/predict", json={"texts": texts}) as answer:
      found = await answer.json()
  except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
    if was_down or counts.is_down:
      counts.cut_off += 1
      await asyncio.sleep(0.2)
    else:
      counts.lost.append("%s: %s" % (type(error).__name__, error))
    return
  counts.statuses[answer.status] += 1
  if answer.status == 200:
    counts.seconds.append(time.monotonic() - begin)
    if len(found["predictions"]) != len(texts):
      counts.lost.append("%d answers to %d texts" % (
          len(found["predictions"]), len(texts)))
  elif answer.status == 429:
    await asyncio.sleep(float(answer.headers["Retry-After"]))


async def keep_asking(session, url, counts, seconds):
  """Lets all clients ask for some time."""
  end = time.monotonic() + seconds

  async def be_a_client(seed):
    generator = random.Random(seed)
    await asyncio.sleep(generator.uniform(0, min(5.0, seconds / 10)))
    while time.monotonic() < end:
      await ask(session, url, counts, generator)

  await asyncio.gather(*map(be_a_client, range(FLAGS.clients)))


async def under_load(session, service):
  """Measures; returns Counts and the memory at three times, in MB."""
  counts, memory = Counts(), []
  load = asyncio.ensure_future(
      keep_asking(session, service.url, counts, FLAGS.seconds))
  for share in (0.1, 0.4):  # until a tenth, until half of the time
    await asyncio.sleep(FLAGS.seconds * share)
    memory.append(service.read_memory())
  await load
  return counts, memory + [service.read_memory()]


async def through_a_kill(session, service):
  """Kills the server under load and starts it again; returns Counts."""
  counts = Counts()
  seconds = min(60.0, max(30.0, FLAGS.seconds / 5))
  load = asyncio.ensure_future(
      keep_asking(session, service.url, counts, seconds))
  await asyncio.sleep(seconds / 4)
  counts.is_down, begin = True, time.monotonic()
  service.process.kill()
  service.process.wait()
  service.start()
  await service.wait_until_ready(session)
  print("killed and started again in %.1f s" % (time.monotonic() - begin))
  counts.is_down, before = False, counts.statuses[200]
  await load
  if counts.statuses[200] == before:
    counts.lost.append("nothing was answered after the kill")
  return counts


WRONG = [  # body, and the status that it must have
    (b"", 400), (b"{", 400), (b"\xff\xfe", 400), (b"[" * (SMALL - 1), 400),
    (b'{"texts": "a"}', 400), (b'{"texts": []}', 400), (b"null", 400),
    (b'{"texts": [' + b"1" * (SMALL // 2) + b"]}", 400),
    (b'{"texts": [' + b'["a",' * 5000 + b'"a"' + b"]" * 5000 + b"]}", 400),
    (b'{"texts": ["' + b"a" * (SMALL - 20) + b'"]}', 200),  # one long word
    (b'{"texts": ["' + b"a " * (SMALL // 2 - 20) + b'"]}', 200),
    (b'{"texts": ["' + b"\\u0000" * 9000 + b'"]}', 200),
    (b'{"texts": [' + b'"",' * 20000 + b'""]}', 200),
    (b'{"texts": ["' + b"a" * SMALL + b'"]}', 413)]


async def send_wrong(session, service):
  """Sends what is wrong or huge; returns a list of what went wrong."""
  wrong = []
  for body, expected in WRONG:
    async with session.post(service.url + "/predict", data=body) as answer:
      text = await answer.text()
    if answer.status != expected or expected != 200 and (
        set(json.loads(text)) != {"error"}):
      wrong.append("%.40r: %d %.200s, expected %d" % (
          body, answer.status, text, expected))
  for raw, expected in ((b"\x16\x03\x01\x02\x00\x01\r\n\r\n", b"400"),
                        (b"GET /" + b"a" * 100000 + b" HTTP/1.1\r\n\r\n",
                         b"400"),
                        (b"POST /predict HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Length: 999999999999\r\n\r\n{", b"413"),
                        (b"POST /predict HTTP/1.1\r\nHost: x\r\n"
                         b"Content-Length: 99\r\n\r\n{", b"408")):
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(raw)
    found = await asyncio.wait_for(reader.read(13), 60)
    writer.close()
    if found.split(b" ")[1:2] != [expected]:
      wrong.append("%.40r: found %r, expected %r" % (raw, found, expected))
  await service.wait_until_ready(session)
  return wrong


def report(name, counts):
  """Prints what came of requests; returns whether none was lost."""
  print("%s: %s; %d lost%s" % (
      name, ", ".join("%d with %d" % (count, status) for status, count in
                      sorted(counts.statuses.items())) or "none answered",
      len(counts.lost), "; %d while there was no server" % counts.cut_off *
      bool(counts.cut_off)))
  for line in sorted(set(counts.lost))[:5]:
    print("  " + line)
  if counts.seconds:
    print("  time to an answer: p50 %.0f ms, p99 %.0f ms" % tuple(
        1000 * np.percentile(counts.seconds, [50, 99])))
  unexpected = set(counts.statuses) - {200, 429, 408}
  return not counts.lost and not unexpected and counts.statuses[200] > 0


async def measure(service):
  """Runs all parts; returns whether all is well."""
  timeout = aiohttp.ClientTimeout(total=60)
  async with aiohttp.ClientSession(
      connector=aiohttp.TCPConnector(limit=0), timeout=timeout) as session:
    service.start()
    await service.wait_until_ready(session)
    counts, memory = await under_load(session, service)
    is_well = report("%d clients, %g s" % (
        FLAGS.clients, FLAGS.seconds), counts)
    print("  memory: %.0f MB after a tenth of the time, %.0f MB after half, "
          "%.0f MB at the end" % tuple(memory))
    is_well &= report("through a kill", await through_a_kill(session, service))
    wrong = await send_wrong(session, service)
    print("wrong and huge requests: %d not as expected" % len(wrong))
    for line in wrong:
      print("  " + line)
  service.process.terminate()
  status = service.process.wait(60)
  print("after SIGTERM it ended with status %d" % status)
  return is_well and not wrong and status == 0


def main(_):
  """Asks and prints."""
  _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
  resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
  with tempfile.TemporaryDirectory() as folder:
    if not FLAGS.model_dir:
      size = len(random_models.tokenization.load_vocab(VOCAB))
      random_models.write_classifier(
          folder, random_models.make_config(FLAGS.layers, FLAGS.hidden, size),
          ["0", "1"], VOCAB, LENGTH, seed=1)
    service = Service(FLAGS.model_dir or folder)
    try:
      if not asyncio.run(measure(service)):
        sys.exit(1)
    finally:
      service.close()


if __name__ == "__main__":
  define_flags()
  app.run(main)
