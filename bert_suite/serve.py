r"""Serves a trained model over HTTP: JSON in, JSON out.

  python serve.py --model_dir=/tmp/mrpc_model --port=8500

takes an exported model, or the output directory of a training, and answers
POST /predict with {"texts": ["one text", ["a", "pair"]]}; the APIs of
TensorFlow Serving, POST /v1/models/<name>:predict with {"instances": [...]},
and of OpenAI, POST /v1/embeddings with {"input": [...]}; and GET /health,
/metrics and /v1/models/<name>.

Requests that arrive together are computed together. There is no password: the
server only accepts connections from this machine unless --host says otherwise.
It needs `pip install aiohttp prometheus_client`.
"""

import dataclasses
import errno
import os
import re
import socket
import sys

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import cli, predictor, progress, run_settings, script_options
from .script_options import option

FLAGS = flags.FLAGS

REQUIRED_FLAGS = ("model_dir",)

_GROUP = "Server"

# What the model computes before the first request, which would wait otherwise.
_FIRST = {"squad": ("a", "a")}


@dataclasses.dataclass
class Settings(run_settings.LoggingSettings):
  """Settings of this script; each field is a flag."""

  model_dir: str = option(
      "path", None, "Exported model, a folder with versions of one, output "
      "directory of a training, or checkpoint with a run.json beside it.")
  model_name: str = option(
      "string", None, "Name of the model in paths and answers.", group=_GROUP,
      default_text="that of the folder")
  host: str = option(
      "string", "127.0.0.1", "Address to listen on; 0.0.0.0 for all of this "
      "machine. Whoever reaches it may ask.", group=_GROUP)
  port: int = option(
      "integer", 8500, "Port to listen on; 0 for one that is free.",
      lower_bound=0, upper_bound=65535, group=_GROUP)
  batch_wait_ms: float = option(
      "float", 5.0, "Milliseconds that a request waits for others to be "
      "computed with.", lower_bound=0.0, group=_GROUP)
  batch_tokens: int = option(
      "integer", 4096, "Word pieces of the requests that are put together.",
      lower_bound=1, group=_GROUP)
  max_queue_tokens: int = option(
      "integer", 65536, "Word pieces that may wait; a request beyond them is "
      "refused with status 429.", lower_bound=1, group=_GROUP)
  max_requests: int = option(
      "integer", 1024, "Requests that may wait, likewise. Each has a thread.",
      lower_bound=1, upper_bound=10000, group=_GROUP)
  max_request_bytes: int = option(
      "integer", 1 << 20, "Size of a request; a larger one is refused with "
      "status 413.", lower_bound=1, group=_GROUP)
  timeout_s: float = option(
      "float", 30.0, "Seconds until a request is given up with status 408.",
      above=0.0, group=_GROUP)
  drain_s: float = option(
      "float", 30.0, "Seconds to answer what has come when the server is to "
      "end (SIGTERM, Ctrl-C).", lower_bound=0.0, group=_GROUP)
  batch_size: int = option(
      "integer", 32, "Texts of full length to compute at once, at most.",
      lower_bound=1)
  compute_dtype: str = option(
      "string", None, "Data type of the encoder's matrix products, of a "
      "checkpoint: float32, bfloat16 or int8. An exported model has its own.",
      default_text="float32")
  num_threads: int = option(
      "integer", 0, "Threads that compute; 0 for one per core.", lower_bound=0,
      group="Device")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def import_web_app():
  """Returns the module `server.web_app`; raises UserError without aiohttp."""
  try:
    from .server import web_app  # here, since aiohttp is optional
  except ImportError as error:
    raise cli.UserError(
        "serving: aiohttp or prometheus_client cannot be imported (%s); pip "
        "install aiohttp prometheus_client" % error) from None
  return web_app


def bind(host, port):
  """Returns a socket that is bound, but does not listen yet.

  Args:
    host: str.
    port: int.

  Raises:
    UserError: the port is taken, or this machine has no such address.
  """
  try:
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    listener = socket.socket(family, socket.SOCK_STREAM)
  except OSError as error:
    raise cli.UserError("--host=%s: %s; expected an address of this machine, "
                        "such as 127.0.0.1" % (host, error.strerror)) from None
  try:
    # An earlier server's connections may still be there.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(address)
  except OSError as error:
    listener.close()
    raise _explain(error, host, port) from None
  return listener


def _explain(error, host, port):
  """Returns a UserError for an address that cannot be listened on."""
  if error.errno == errno.EADDRINUSE:
    return cli.UserError("--port=%d: another program listens on it; end that "
                         "one, or give another port" % port)
  if error.errno == errno.EACCES:
    return cli.UserError("--port=%d: only the superuser may listen on it; give "
                         "one from 1024 on" % port)
  return cli.UserError("--host=%s: %s; expected an address of this machine, "
                       "such as 127.0.0.1" % (host, error.strerror))


def name_model(model_dir):
  """Returns the name of a model and its version, from its folder.

  Args:
    model_dir: str. `mrpc_model`, or a version in it such as `mrpc_model/17`.
  """
  folder, name = os.path.split(os.path.abspath(model_dir))
  if name.isdigit() and os.path.basename(folder):
    return os.path.basename(folder), name
  versions = predictor.find_saved_model(model_dir)
  version = os.path.basename(versions or "")
  return name, version if version.isdigit() else "1"


def allow_connections():
  """Raises the limit of open files, one per connection, to its maximum."""
  try:
    import resource  # not on every system
  except ImportError:
    return
  _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
  resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def load_model(settings):
  """Loads the model and computes a text with it.

  Args:
    settings: Settings.

  Returns:
    predictor.Predictor.

  Raises:
    UserError: there is no model, or it does not run.
  """
  parts = {}
  if settings.compute_dtype is not None:
    parts["compute_dtype"] = settings.compute_dtype
  model = predictor.Predictor(
      settings.model_dir, batch_size=settings.batch_size, **parts)
  try:
    model.predict([_FIRST.get(model.settings["task"], "a")])
  except BaseException:
    model.close()
    raise
  return model


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings):
  """Serves until SIGTERM or Ctrl-C.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings, or the port is taken.
  """
  progress.start_logging(settings.verbose)
  if re.search("[/:]", settings.model_name or ""):
    raise cli.UserError("--model_name=%s: is part of a path, so it cannot have "
                        "/ or :" % settings.model_name)
  web_app = import_web_app()
  if settings.num_threads:
    # Read by the process's first session, which only looks for devices.
    for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"):
      os.environ[name] = str(settings.num_threads)
  allow_connections()
  # A port that is taken is found before the model is loaded.
  with bind(settings.host, settings.port) as listener:
    with load_model(settings) as model:
      name, version = name_model(settings.model_dir)
      server = web_app.Server(
          model, settings.model_name or name, version, settings)
      try:
        server.run(listener)
      except OSError as error:  # two servers bound it at the same time
        raise _explain(error, settings.host, settings.port) from None
      if server.batcher.is_computing():
        # Freeing a model while it computes would crash this process.
        tf.logging.warning("Ended in the middle of a batch")
        sys.stderr.flush()
        os._exit(0)
  tf.logging.info("Ended")


def main(_):
  """Serves until SIGTERM or Ctrl-C."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
