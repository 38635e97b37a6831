"""What the machine computes fast: data types, and whether XLA pays off."""

import contextlib
import os
import re
import socket
import time

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import cli, int8, xla

COMPUTE_DTYPES = ("float32", "bfloat16", "float16", "int8")

# First TensorFlow to compile functions, and to keep them in a folder: with
# 2.15.1 the folder made every training on a CPU fail, with 2.20 none.
_COMPILES, _KEEPS = (2, 5), (2, 20)
_HAS_INT8 = (2, 9)  # first release to compute with oneDNN

# Exists with NVIDIA's driver; asking TensorFlow would be too late.
_DRIVER = "/dev/nvidiactl"

# Compute capabilities from which a GPU has matrix units for a type.
_LEAST_CAPABILITY = {"bfloat16": (8, 0), "float16": (7, 0)}
_CPU_FLAGS = {"bfloat16": ("avx512_bf16", "amx_bf16"),
              "int8": ("avx512_vnni", "avx_vnni", "amx_int8")}


def _version():
  return tuple(int(part) for part in tf.__version__.split(".")[:2])


def check(settings):
  """Warns of settings with which this machine is slow.

  Args:
    settings: Settings of a script.

  Raises:
    UserError: it cannot compute as they ask, or float32 would be faster.
  """
  uses_xla(settings)
  if settings.use_xla is True:
    gpus = environment.find_gpus()
    fault = xla.find_fault(on_gpu=bool(gpus))
    if fault:
      raise cli.UserError("--use_xla: XLA does not compile here (%s); leave "
                          "the flag out" % fault)
    if not gpus:
      tf.logging.warning(
          "--use_xla: on CPUs, steps have been slower with XLA than without, "
          "and compiling takes seconds for each new shape")
  if settings.use_xla == "auto" and _may_compile(settings):
    fault = xla.find_fault(on_gpu=True)
    if fault:
      tf.logging.warning("XLA does not compile here, so steps take longer than "
                         "they could: %s", fault)
  check_compute_dtype(settings)


def wait_for_server(master):
  """Waits until something answers at the address that --master names.

  TensorFlow would wait too, but silently, and Ctrl-C would not end it.

  Args:
    master: str, or None. Names other than grpc://HOST:PORT are left to
      TensorFlow.
  """
  found = re.match(r"grpc://\[?([^,/]+?)\]?:(\d+)$", master or "")
  is_waiting = False
  while found:
    try:
      socket.create_connection(
          (found.group(1), int(found.group(2))), timeout=10).close()
      return
    except OSError as error:
      if not is_waiting:
        tf.logging.warning("--master=%s: nothing answers there yet (%s); "
                           "waiting for it; Ctrl-C stops waiting", master,
                           error)
    is_waiting = True
    time.sleep(1)


def uses_xla(settings):
  """Returns whether --use_xla asks for compiled programs on this machine.

  Args:
    settings: Settings of a script.

  Raises:
    UserError: it does, but they cannot be compiled.
  """
  if settings.use_xla == "auto":
    return _may_compile(settings) and not xla.find_fault(on_gpu=True)
  if settings.use_xla and settings.use_tpu:
    raise cli.UserError("--use_xla: TPUs always compile; use --use_tpu alone")
  if settings.use_xla and _version() < _COMPILES:
    raise cli.UserError("--use_xla needs TensorFlow 2.5 or later, this is %s" %
                        tf.__version__)
  return settings.use_xla


def _may_compile(settings):
  """Returns whether there is a GPU that XLA should compile for."""
  return bool(not settings.use_tpu and _version() >= _COMPILES and
              environment.find_gpus())


def keep_programs(settings):
  """Makes TensorFlow keep what XLA compiles in a folder, for the next process.

  Call it before TensorFlow looks for devices, when it reads its options. Does
  nothing if TensorFlow cannot do it, or was given a folder already.

  Args:
    settings: Settings of a script.
  """
  if settings.use_xla == "auto" and not os.path.exists(_DRIVER):
    return
  options = os.environ.get("TF_XLA_FLAGS", "")
  name = "--tf_xla_persistent_cache_directory"
  if _version() < _KEEPS or name in options or (
      options and not options.startswith("-")):  # the name of a file
    return
  # Programs of another version would never be used, nor removed.
  folder = os.path.join(settings.xla_cache_dir, tf.__version__)
  with contextlib.suppress(OSError):
    os.makedirs(folder, exist_ok=True)
    if os.access(folder, os.W_OK):
      os.environ["TF_XLA_FLAGS"] = ("%s %s=%s" % (
          options, name, folder)).strip()


def check_compute_dtype(settings):
  """Raises UserError if --compute_dtype would be slower than float32.

  Args:
    settings: Settings of a script.
  """
  name = settings.compute_dtype
  if name == "int8" and getattr(settings, "do_train", False):
    raise cli.UserError("--compute_dtype=int8: is for evaluation and "
                        "prediction only; train without it, then predict with "
                        "it")
  if name == "int8" and settings.use_xla is True:
    raise cli.UserError("--compute_dtype=int8: XLA cannot compile it; leave "
                        "--use_xla out")
  try:
    check_dtype(name, settings.use_tpu)
  except ValueError as error:
    raise cli.UserError("--%s" % error) from None


def check_dtype(name, use_tpu=False):
  """Raises ValueError for a data type that is unknown, or slow here.

  Args:
    name: str. See `modeling.Options`.
    use_tpu: bool.
  """
  if name not in COMPUTE_DTYPES:
    raise ValueError("compute_dtype=%s: expected %s or %s" % (
        name, ", ".join(COMPUTE_DTYPES[:-1]), COMPUTE_DTYPES[-1]))
  reason = _why_slow(name, use_tpu)
  if reason:
    raise ValueError("compute_dtype=%s: %s" % (name, reason))


def _why_slow(name, use_tpu):
  """Returns why a data type would be slower than float32 here, or "".

  Args:
    name: str. One of COMPUTE_DTYPES.
    use_tpu: bool.
  """
  if name == "float32":
    return ""
  if use_tpu:
    return "" if name == "bfloat16" else "TPUs compute in bfloat16; use that"
  least = _HAS_INT8 if name == "int8" else _COMPILES
  if _version() < least:
    return "needs TensorFlow %d.%d or later, this is %s" % (
        least + (tf.__version__,))
  if name == "int8":
    return ("is computed on CPUs only; use bfloat16"
            if environment.find_gpus() else
            _find_slow_cpu(name) or int8.find_fault())
  if environment.find_gpus():
    return _find_slow_gpu(name)
  if name == "float16":
    return ("CPUs compute it slower than float32" +
            "; use bfloat16" * (not _find_slow_cpu("bfloat16")))
  return _find_slow_cpu(name)


def _find_slow_gpu(name):
  """Returns why a data type is slow on one of the GPUs, or ""."""
  for gpu in environment.find_gpus():
    found = tf.config.experimental.get_device_details(gpu).get(
        "compute_capability")
    if found and found < _LEAST_CAPABILITY[name]:
      return ("%s has compute capability %d.%d, on which it is slower than "
              "float32; it needs %d.%d" % (
                  (gpu.name,) + found + _LEAST_CAPABILITY[name]))
  return ""


def _find_slow_cpu(name):
  """Returns why a data type is slow on this CPU, or ""."""
  if os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "0":
    return "on a CPU it needs oneDNN; leave TF_ENABLE_ONEDNN_OPTS=0 out"
  missing = describe_cpu_without(name)
  return missing and "%s, so %s is slower than float32 on it" % (missing, name)


def describe_cpu_without(name):
  """Returns what an x86 CPU lacks for a data type, or ""."""
  with contextlib.suppress(OSError), open("/proc/cpuinfo") as reader:
    flags = reader.read().split()
    if "flags" in flags and not any(flag in flags for flag in _CPU_FLAGS[name]):
      return "this CPU has none of " + ", ".join(_CPU_FLAGS[name])
  return ""
