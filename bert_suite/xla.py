"""Compiling parts of a graph with XLA: what --use_xla asks for.

Each part is a function that becomes one program for every shape that it meets.
Twelve layers call the same program, so that compiling takes the time of one,
and a step launches one program instead of a hundred operations.
"""

import collections
import contextlib
import functools
import inspect
import itertools
import re
import threading
import zlib

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf


def compiled(function):
  """Returns a function that XLA compiles, once for each set of shapes.

  It is compiled once however often a graph calls it, and so is its gradient.

  Args:
    function: function of Tensors that returns Tensors. Random numbers in it
      must be stateless; it may not create variables.
  """
  options = inspect.signature(tf.function).parameters
  name = next(name for name in ("jit_compile", "experimental_compile")
              if name in options)  # the latter on TensorFlow 1.15
  return tf.function(function, autograph=False, **{name: True})


@functools.lru_cache(maxsize=None)
def find_fault(on_gpu=False):
  """Compiles a small program; returns why that cannot be done, or "".

  TensorFlow may be built without XLA, and for a GPU XLA needs CUDA files that
  may be missing.

  Args:
    on_gpu: bool. Compiles for a GPU; else for the CPU.
  """
  config = tf.ConfigProto() if on_gpu else tf.ConfigProto(
      device_count={"GPU": 0})
  with environment.quiet_start(), tf.Graph().as_default(), tf.Session(
      config=config) as session:
    number = tf.placeholder(tf.float32, [])  # a constant would be folded
    try:
      session.run(compiled(tf.exp)(number), {number: 1.0})
    except tf.errors.OpError as error:
      # TensorFlow 2 tells first where the program comes from.
      return re.sub(r"(?s).*\nNode: [^\n]*\n", "", error.message).split("\n")[0]
  return ""


# Collection of int32 [2] or [N, 2], numbers that the shapes of programs depend
# on, which a step's log may show.
SIZES = "compiled_sizes"

_local = threading.local()
_PROGRAMS = "_bert_suite_programs"  # attribute of a graph
_PART = 0x5851F42D  # odd, so that sums with its multiples do not soon repeat


@contextlib.contextmanager
def compiling(compile_calls=True):
  """Makes `call` compile within a `with` block if `compile_calls`."""
  with _setting("compiling", compile_calls):
    yield


@contextlib.contextmanager
def _setting(name, value):
  before = getattr(_local, name, None)
  setattr(_local, name, value)
  try:
    yield
  finally:
    setattr(_local, name, before)


def is_compiling():
  """Returns whether `call` compiles.

  It does not in a loop within the graph, where programs have no gradients.
  """
  return (bool(getattr(_local, "compiling", False)) and
          not tf.get_default_graph()._get_control_flow_context())


def has_programs():
  """Returns whether `call` has compiled anything in this graph."""
  return hasattr(tf.get_default_graph(), _PROGRAMS)


def is_inside():
  """Returns whether what is built now is part of a compiled program."""
  return getattr(_local, "keys", None) is not None


@contextlib.contextmanager
def drawing_from(seed, step, part=None):
  """Derives keys from a seed and a step within a `with` block.

  Args:
    seed: int.
    step: integer scalar Tensor.
    part: int32 scalar Tensor. Number of the part of the step's batch; the first
      has the same keys as None.
  """
  step = tf.cast(step, tf.int32)

  def keys():
    for number in itertools.count():
      constant = zlib.crc32(b"%d %d" % (seed, number)) & 0x7FFFFFFF
      yield tf.stack([step, constant if part is None else
                      constant + part * _PART])

  with _setting("source", keys()):
    yield


def has_keys():
  """Returns whether random numbers have to be drawn from keys."""
  return is_inside() or bool(getattr(_local, "source", None))


def draw_key():
  """Draws a key for stateless random numbers, int32 [2]; see `drawing_from`."""
  return _draw_key_of(getattr(_local, "source", None))


def _draw_key_of(source):
  if source:
    return next(source)
  return tf.random_uniform([2], maxval=2 ** 31 - 1, dtype=tf.int32)


@contextlib.contextmanager
def recording_keys():
  """Keeps the keys that are drawn within a `with` block, in a list."""
  source, keys = getattr(_local, "source", None), []

  def record():
    while True:
      keys.append(_draw_key_of(source))
      yield keys[-1]

  with _setting("source", record()):
    yield keys


@contextlib.contextmanager
def repeating(keys):
  """Draws keys from a list within a `with` block."""
  with _setting("source", iter(keys)):
    yield


def next_key():
  """Returns a key that is part of a program, int32 [2]; None outside of one."""
  return next(_local.keys) if is_inside() else None


class _Program:
  """A function and its variables, which each call provides.

  Attributes:
    variables: dict from a name, relative to the scope of a call, to the
      arguments of `tf.get_variable`.
    draws: bool. It draws random numbers.
  """

  def __init__(self, function, tensors):
    self._function = function
    self.variables, self.draws = collections.OrderedDict(), False
    with tf.Graph().as_default():  # only to see what the function asks for
      inputs = [tf.placeholder(tensor.dtype, tensor.shape)
                for tensor in tensors]
      self._build(tf.zeros([2], tf.int32), None, *inputs)
    self._compiled = compiled(self._build)

  def _build(self, key, values, *inputs):
    """Builds the function with values in place of its variables."""
    prefix = tf.get_variable_scope().name

    def get_variable(getter, name, shape=None, dtype=None, initializer=None,
                     **others):
      del getter, others
      name = name[len(prefix):].lstrip("/")
      if values is not None:
        return values[name]
      self.variables.setdefault(name, dict(
          shape=shape, dtype=dtype, initializer=initializer))
      return tf.placeholder(dtype or tf.float32, shape)

    def keys():
      for number in itertools.count():
        self.draws = True
        yield key + [0, number]

    with _setting("compiling", False), _setting("keys", keys()), \
        tf.variable_scope(
            tf.get_variable_scope(), custom_getter=get_variable,
            auxiliary_name_scope=False):
      return self._function(*inputs)

  def __call__(self, *tensors):
    values = {name: tf.convert_to_tensor(tf.get_variable(name, **arguments))
              for name, arguments in self.variables.items()}
    key = draw_key() if self.draws else tf.zeros([2], tf.int32)
    return self._compiled(key, values, *tensors)


def call(function, *tensors):
  """Calls a function, within `compiling` as one compiled program.

  All calls of one function in a graph share a program. Their variables, those
  that it gets from `tf.get_variable`, are in the scope of the call and need not
  be the same.

  Args:
    function: function of Tensors that returns Tensors; it may not use others.
    *tensors: its arguments.

  Returns:
    What the function returns.
  """
  if not is_compiling():
    return function(*tensors)
  graph = tf.get_default_graph()
  if not hasattr(graph, _PROGRAMS):
    setattr(graph, _PROGRAMS, {})
  programs = getattr(graph, _PROGRAMS)
  if function not in programs:
    programs[function] = _Program(function, tensors)
  return programs[function](*tensors)
