"""Hugging Face transformers in a process of its own, to measure beside.

Its torch does not share an environment with TensorFlow: --torch_python names
the interpreter of one that has both torch and transformers,

  python -m venv /tmp/torch_env
  /tmp/torch_env/bin/pip install torch transformers \
    --extra-index-url https://download.pytorch.org/whl/cpu

and transformers_worker.py runs there. One of the two computes while the other
waits, each with as many threads as it takes by itself. Threads that have
computed look for more to do for some milliseconds before they sleep, in both
libraries; where the turn passes, both pause until that is over.
"""

import json
import os
import subprocess
import sys
import time

from absl import flags

FLAGS = flags.FLAGS

# What transformers calls the forms of GELU; of the tanh form, the name under
# which torch computes it fastest.
ACTIVATIONS = {"gelu": "gelu_pytorch_tanh", "gelu_new": "gelu_pytorch_tanh",
               "gelu_erf": "gelu"}

PAUSE = 0.05  # seconds
WORKER = os.path.join(
    os.path.dirname(os.path.abspath(__file__)), "transformers_worker.py")


def define_flags():
  """Defines the flag that says where torch is."""
  flags.DEFINE_string("torch_python", None, "Python interpreter of an "
                      "environment with torch and transformers.",
                      required=True)


def convert_config(config):
  """Returns a BertConfig as transformers takes it, a dict."""
  return dict(config.to_dict(), hidden_act=ACTIVATIONS.get(
      config.hidden_act, config.hidden_act))


class Peer:
  """The process; see transformers_worker.py for settings and requests."""

  def __init__(self, **settings):
    """Starts the process and waits until it is ready.

    Args:
      **settings: values for JSON.

    Raises:
      ImportError: its environment lacks a package that the task needs.
    """
    # Weights are random and the vocabulary a file: nothing is downloaded.
    offline = dict(os.environ, HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    try:
      self._process = subprocess.Popen(
          [FLAGS.torch_python, WORKER], env=offline, stdin=subprocess.PIPE,
          stdout=subprocess.PIPE, universal_newlines=True)
    except OSError as error:
      sys.exit("--torch_python=%s: cannot be run (%s)" % (
          FLAGS.torch_python, error))
    self.idle_cpu = 0.0  # seconds of CPU that it used while it had to wait
    self.waiting_cpu = 0.0  # that this process used while it waited for it
    answer = self._ask(dict(settings, pause=PAUSE))
    if "missing" in answer:
      self.close()
      raise ImportError("--torch_python=%s: %s" % (
          FLAGS.torch_python, answer["missing"]))
    self.description = answer["description"]

  def ask(self, **request):
    """Returns the answer to a request, a dict."""
    time.sleep(PAUSE)
    start = time.process_time()
    answer = self._ask(request)
    self.waiting_cpu += time.process_time() - start
    self.idle_cpu += answer["idle_cpu"]
    time.sleep(PAUSE)
    return answer

  def close(self):
    """Ends the process."""
    self._process.stdin.close()
    self._process.wait()

  def print_waiting(self, own_seconds, peer_seconds):
    """Prints how much the one that waited took from the one that computed.

    Args:
      own_seconds: float. What this process computed, in all.
      peer_seconds: float. What the peer computed, in all.
    """
    print("CPU time that waiting took: of PyTorch %.2f s in %.1f s of "
          "TensorFlow, of TensorFlow %.2f s in %.1f s of PyTorch" % (
              self.idle_cpu, own_seconds, self.waiting_cpu, peer_seconds))

  def _ask(self, request):
    try:
      self._process.stdin.write(json.dumps(request) + "\n")
      self._process.stdin.flush()
    except BrokenPipeError:
      pass  # its output has ended, too
    line = self._process.stdout.readline()
    if not line:
      sys.exit("--torch_python=%s: the process ended; its messages are above. "
               "Has that environment torch and transformers?" %
               FLAGS.torch_python)
    return json.loads(line)
