"""Imports TensorFlow with this suite's settings, without its noise.

Every module here that needs TensorFlow imports this one first. Environment
variables that are already set keep their values.
"""

import contextlib
import functools
import logging
import os
import re
import subprocess
import sys

# TensorFlow starts with a dozen lines about drivers and instruction sets that
# say nothing about the user's run. Errors are still shown; 0 shows everything.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# TensorFlow does not use oneDNN's kernels on CPUs without AVX-512 VNNI, but
# without them packed training takes 1.2 to 1.3 times as long there too
# (benchmarks/onednn.py).
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

# What TensorFlow's C++ writes when it is imported, and when it first looks for
# devices, at any TF_CPP_MIN_LOG_LEVEL: infos and warnings of a logger that is
# not ready yet, and harmless errors.
_NOISE = (
    "^[IW][0-9]{4} |All log messages before absl::InitializeLog|"
    "Unable to register cu[A-Z]+ factory|computation.placer already registered|"
    "failed call to cuInit|^To enable the following instructions: |"
    "SetPriority unimplemented for this stream")

_DEPRECATION = re.compile(
    r"^From [^\n]*(\(from tensorflow[^\n]* is deprecated|"
    r"The name tf\.[^\n]* is deprecated)")


@contextlib.contextmanager
def quiet_start(more=None):
  """Keeps noise off stderr within a `with` block; the rest is not delayed.

  Another process filters the lines, so that those of a crash get through. It
  needs `grep`; without it, or if the user asked for more than errors, all lines
  are shown.

  Args:
    more: str. Regular expression of `grep -E` for further noise.
  """
  grep = None
  if os.environ["TF_CPP_MIN_LOG_LEVEL"] not in ("0", "1"):
    with contextlib.suppress(OSError):  # no grep, or no stderr
      _flush()
      stderr = os.dup(2)
      grep = subprocess.Popen(
          ["grep", "--line-buffered", "-avE",
           _NOISE + ("|" + more if more else "")], stdin=subprocess.PIPE,
          stdout=stderr, start_new_session=True)  # Ctrl-C must not stop it
      os.dup2(grep.stdin.fileno(), 2)
  try:
    yield
  finally:
    if grep:
      _flush()
      os.dup2(stderr, 2)
      os.close(stderr)
      grep.stdin.close()
      with contextlib.suppress(subprocess.TimeoutExpired):
        grep.wait(timeout=5)  # longer if a process started above writes to it


def _flush():
  if sys.stderr is not None:
    sys.stderr.flush()


def open_first_session():
  """Opens and closes a session; the first one in TensorFlow 2.20 is noisy.

  Call it within `quiet_start`. The session has no GPUs, as it would take their
  memory.
  """
  with tf.Graph().as_default(), tf.Session(
      config=tf.ConfigProto(device_count={"GPU": 0})) as session:
    session.run(tf.constant(0))


@functools.lru_cache(maxsize=None)  # or each call would open a session
def find_gpus():
  """Returns the GPUs that TensorFlow finds; quiet if it is called first."""
  with quiet_start():
    open_first_session()
    return tf.config.experimental.list_physical_devices("GPU")


# TensorFlow's logger, which may not exist yet. A program cannot change what
# these modules use, and they run on TensorFlow 1.15 as well as on 2.21.
logging.getLogger("tensorflow").addFilter(
    lambda record: not _DEPRECATION.match(record.getMessage()))

with quiet_start():
  import tensorflow.compat.v1 as tf
