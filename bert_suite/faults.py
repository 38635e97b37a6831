"""Faults of disk, memory and data: what an exception means, in one line.

Nothing here imports TensorFlow first: code that handles its errors checks
whether it has been imported.
"""

import contextvars
import errno
import re
import sys

from . import usage

# The flags of the run, set by `cli.call_here`, for each thread separately.
run_flags = contextvars.ContextVar("run_flags", default=None)


_LONG_WORD = re.compile(r"\S{1000,}")
_LONGEST_LINE = 40000  # the names of all variables of BERT-Large


def one_line(text):
  """Returns a text as one line that a terminal can show.

  What it quotes from a file may be anything: line ends become spaces, other
  unprintable characters become escapes, and a text that is too long is cut.

  Args:
    text: str.
  """
  def shorten(text, length):
    return text if len(text) <= length else "%s [...] %s" % (
        text[:length // 2], text[-length // 2:])

  text = shorten(_LONG_WORD.sub(
      lambda found: shorten(found.group(), 800), text), _LONGEST_LINE)
  return "".join(
      one if one.isprintable() else one.encode("unicode_escape").decode("ascii")
      for one in text.replace("\n", " "))


def is_of_tensorflow(error):
  """Returns whether an exception is a `tf.errors.OpError`."""
  errors = getattr(sys.modules.get("tensorflow"), "errors", None)
  return errors is not None and isinstance(error, errors.OpError)


def message_of(error):
  """Returns the message of an exception of Python or TensorFlow.

  Some of its file systems raise errors without a message: then only their kind
  is known.
  """
  return getattr(error, "message", None) or str(error) or type(error).__name__


def describe_file(error):
  """Returns the message of an exception about a file, with the flag it is from.

  Args:
    error: Exception, of Python or of TensorFlow.
  """
  text = message_of(error)
  path, _, reason = text.rpartition("; ")  # as TensorFlow puts it
  if getattr(error, "filename", None):
    path, reason = error.filename, error.strerror
  known = run_flags.get() or {}
  for name in known:
    if path and known[name].value == path:
      return "--%s=%s: %s" % (name, path, reason)
  return text


def is_for_memory(error):
  """Returns whether an exception is TensorFlow running out of memory."""
  text = message_of(error)
  return is_of_tensorflow(error) and bool(
      _NO_MEMORY.search(text) and not _FULL.search(text))


def describe(error):
  """Returns one line for a fault of disk or data, None for a bug.

  Args:
    error: Exception, of Python or of TensorFlow.
  """
  text = message_of(error)
  # TensorFlow 2 puts a title, and where the op was created, before the message
  # itself.
  lines = re.split(r"(?m)^Node: .*\n", text)[-1].split("\n")
  first_line = next(
      (line for line in lines
       if line.strip() and not line.startswith("Graph execution error")), "")
  code = getattr(error, "errno", None)
  of_tensorflow = is_of_tensorflow(error)
  # The writer of TensorBoard's events raises these two.
  may_be_of_disk = of_tensorflow or type(error) in (RuntimeError, IndexError)
  full = may_be_of_disk and _FULL.search(text)
  if full or code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
    return ("no room to write to (%s); what was complete is still there: free "
            "some space, or name a folder on another disk, and run the same "
            "command again" % (full.group().strip() if full else first_line))
  if isinstance(error, RuntimeError) and "Cannot find any TPU cores" in text:
    return ("--use_tpu: TensorFlow finds no TPU; name one with --tpu_name "
            "(--tpu_name=local on its own machine), or leave --use_tpu out")
  kind = type(error).__name__
  if (kind == "PermissionDeniedError" or
      code in (errno.EACCES, errno.EPERM, errno.EROFS) or may_be_of_disk and
      re.search("; (Permission denied|Read-only file system)", text)):
    return "no permission to write or read: %s" % first_line
  if not of_tensorflow:
    return None
  known = _describe_records(text) or _describe_memory(text)
  if known:
    return known
  if kind == "DataLossError":
    return ("a file is damaged (%s); if it is a checkpoint, remove its files "
            "to resume from the one before, else write it again" % first_line)
  return None


_FULL = re.compile(".*(No space left|Disk quota|File too large).*")

# How TensorFlow says that memory ran out, and that a GPU library did not start,
# usually for the same reason.
_NO_MEMORY = re.compile(
    "OOM when allocating|out.of.memory|failed to alloc|"
    "CU(DNN|BLAS)_STATUS_ALLOC_FAILED|Dst tensor is not initialized", re.I)
_NO_LIBRARY = re.compile(
    "CU(DNN|BLAS)_STATUS_NOT_INITIALIZED|(create|creating) (cudnn|cublas)|"
    "without BLAS support|BLAS x?GEMM launch failed|(DNN|BLAS) library init",
    re.I)

# Flags with which training has the same results in less memory, each with a
# flag that it does not work with.
_SAVING = [("auto_micro_batch", "use_tpu"),
           ("recompute_grad", "bert_hub_module_handle")]

# Flags for how much is computed at once, each with the flag that asks for it.
_BATCH_SIZES = [
    ("train_batch_size", "do_train"), ("eval_batch_size", "do_eval"),
    ("predict_batch_size", "do_predict"), ("batch_size", "batch_size")]


def _describe_memory(text):
  """Returns one line if memory ran out, with the figures to lower, or None.

  Args:
    text: str. The message of TensorFlow's error.
  """
  line = next((line.strip() for line in text.split("\n")
               if _NO_MEMORY.search(line) or _NO_LIBRARY.search(line)), None)
  if line is None:
    return None
  known = run_flags.get() or {}

  def is_on(name):
    return name in known and bool(known[name].value)

  names = [name for name, wanted_by in _BATCH_SIZES
           if name in known and is_on(wanted_by) and not (
               name == "train_batch_size" and is_on("auto_micro_batch"))]
  saving = ["--" + name for name, refused_with in _SAVING
            if name in known and is_on("do_train") and not (
                is_on(name) or is_on(refused_with))]
  figures = ["--%s=%s" % (name, usage.figure_of(known[name]))
             for name in names + ["max_seq_length"] if name in known]
  what = "out of memory"
  if not _NO_MEMORY.search(line):
    what = "a library of the GPU did not start, usually for lack of memory"
    saving = []
  return ("%s (%s); %slower %s, or end other programs on the device "
          "(nvidia-smi lists those on a GPU)" % (
              what, line[:200], "give %s, for the same results in less memory, "
              "or " % " or ".join(saving) if saving else "",
              " or ".join(figures) or "the batch size"))


def _describe_records(text):
  """Returns one line about records that a step could not use, or None.

  Args:
    text: str. The message of TensorFlow's error.
  """
  from . import input_pipeline, optimization  # here: they import TensorFlow

  # tf.Assert puts each part of its message into brackets.
  found = re.search(r"\[((%s|%s).*)\]" % (
      re.escape(optimization.NOT_FINITE),
      re.escape(input_pipeline.BAD_RECORDS)), text)
  if found:
    return found.group(1).replace("] [", " ")
  found = re.search(r"Key: (\w+).*(?:Can't parse serialized Example|"
                    r"values != expected)", text)
  if found:
    return ("a record does not have as many %s as the flags say; give the "
            "lengths that the records were written with" % found.group(1))
  return None
