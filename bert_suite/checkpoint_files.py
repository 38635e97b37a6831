"""Which checkpoint a path means, or what it is instead.

TensorFlow names a checkpoint by the prefix of its files, and there is no file
of that name: `model.ckpt-100` means `model.ckpt-100.index` and
`model.ckpt-100.data-00000-of-00001`. People also pass one of the files, the
folder, or the weights of another library: a file of the checkpoint is accepted,
and for anything else the message says what it is.
"""

import difflib
import os
import re
import struct
import zipfile

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import files

_HEAD_SIZE = 512
_PARTS = re.compile(r"\.(index|meta|data-\d{5}-of-\d{5})$")
_DATA = re.compile(r"\.data-\d{5}-of-(\d{5})$")
_STATE_FILE = "checkpoint"

_EXPECTED = "expected a checkpoint of TensorFlow 1"
_PREFIX = "pass the path up to and including \".ckpt\" or \".ckpt-<step>\""
_CONVERT = "convert it, or download the model as bert_model.ckpt"
# FOLDER stands for the folder that was found.
_RUN_CONVERT = ("run `python convert_checkpoint.py --model_dir=FOLDER "
                "--output_dir=NEW_FOLDER` to convert it to bert_model.ckpt")
_UNPACK = ("unpack it and pass the path of the checkpoint in it, up to and "
           "including \".ckpt\"")
_SOURCE = "pass the one that it was made from"

# What files of other kinds begin with.
_MAGIC = [
    (b"\x89HDF\r\n\x1a\n", "a Keras (HDF5) file", _CONVERT),
    (b"version https://git-lfs", "a Git LFS pointer instead of the data",
     "fetch the data with `git lfs pull`"),
    (b"\x93NUMPY", "a NumPy array", _CONVERT),
    ((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf"), "a compressed file",
     _UNPACK)]
# And how their names end.
_ENDINGS = [
    ((".bin", ".pt", ".pth", ".safetensors"), "a PyTorch file", _RUN_CONVERT),
    ((".h5", ".hdf5", ".keras"), "a Keras file", _CONVERT),
    ((".msgpack",), "a Flax file", _CONVERT),
    ((".npz",), "an archive of NumPy arrays", _CONVERT),
    ((".pb", ".pbtxt"), "a graph of TensorFlow", _SOURCE),
    ((".tflite", ".onnx"), "a converted model", _SOURCE),
    ((".zip", ".tar", ".tgz", ".gz"), "an archive", _UNPACK)]
# Files in a zip archive that identify it; any other archive is to be unpacked.
_ZIPPED = [
    (re.compile(r"(^|/)data\.pkl$"), "a PyTorch file", _RUN_CONVERT),
    (re.compile(r"\.weights\.h5$"), "a Keras file", _CONVERT),
    (re.compile(r"\.npy$"), "an archive of NumPy arrays", _CONVERT)]


def resolve(path):
  """Returns the prefix of the checkpoint that a path means.

  Args:
    path: str or os.PathLike. A prefix, or one of its files.

  Returns:
    str. A prefix whose files all exist; `checkpoints.check_readable` checks
    whether they can be read.

  Raises:
    ValueError: it is not a checkpoint; the message says what it is and what to
      pass.
  """
  path = os.fspath(path)
  try:
    return _resolve(path)
  except tf.errors.OpError as error:
    raise ValueError("%s: cannot be read (%s); pass the path of a checkpoint "
                     "on this machine" % (path, error.message)) from None


def _resolve(path):
  for prefix in (path, _PARTS.sub("", path)):
    if tf.gfile.Exists(prefix + ".index"):
      if not is_complete(prefix):
        raise ValueError(_describe_incomplete(prefix))
      return prefix
  if tf.gfile.IsDirectory(path):
    raise ValueError(
        describe_folder(path) or
        "%s: found a folder, expected a checkpoint; %s%s" % (
            path, _PREFIX, _example(path)))
  folder = os.path.dirname(path)
  if names_of(_PARTS.sub("", path)):
    raise ValueError(_describe_incomplete(_PARTS.sub("", path)))
  if not tf.gfile.Exists(path):
    raise ValueError("%s: %s" % (path, _explain_missing(path)))
  if os.path.basename(path) == _STATE_FILE:
    raise ValueError(
        "%s: found the list of a folder's checkpoints, expected one of them; %s"
        "%s" % (path, _PREFIX, _example(folder)))
  kind = describe_file(path)
  if kind:
    raise ValueError("%s: found %s%s" % (path, kind, _example(folder)))
  return path  # a checkpoint of one file, as old versions wrote them


def is_complete(prefix):
  """Returns whether all files of a checkpoint are there."""
  return not find_missing(prefix)


def names_of(prefix):
  """Returns the names of the files of a checkpoint, sorted."""
  folder, base = os.path.split(prefix)
  return sorted(name for name in files.list_folder(folder)
                if name.startswith(base) and _PARTS.match(name[len(base):]))


def find_missing(prefix):
  """Returns the names of the files of a checkpoint that are not there."""
  names, base = names_of(prefix), os.path.basename(prefix)
  data = list(filter(None, map(_DATA.search, names)))
  total = int(data[0].group(1)) if data else 1
  needed = [base + ".index"] + [
      "%s.data-%05d-of-%05d" % (base, i, total) for i in range(total)]
  return [name for name in needed if name not in names]


def _describe_incomplete(prefix):
  missing = find_missing(prefix)
  return ("%s: the checkpoint is incomplete: found %s, but no %s; copy %s too" %
          (prefix, ", ".join(names_of(prefix)), ", ".join(missing),
           "it" if len(missing) == 1 else "them"))


def describe_file(path):
  """Returns what a file is and what to do about it, None if it may be data.

  Args:
    path: str. A file that is not a checkpoint, or is part of one.

  Returns:
    str, to follow "found", or None.
  """
  with tf.gfile.GFile(path, "rb") as reader:
    head = reader.read(_HEAD_SIZE)
  kind = _kind_of_content(path, head) or _first(_ENDINGS, path.lower().endswith)
  return "%s, %s; %s" % (kind[0], _EXPECTED, _name_folder(
      kind[1], os.path.dirname(path))) if kind else None


def _name_folder(cure, folder):
  return cure.replace("FOLDER", folder or ".", 1)


def _first(kinds, matches):
  """Returns (kind, cure) of the first entry whose key matches, or None."""
  return next((entry[1:] for entry in kinds if matches(entry[0])), None)


def _kind_of_content(path, head):
  """Returns (kind, cure) of a file that begins with these bytes, or None."""
  text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
  if head.startswith(b"PK\x03\x04"):
    return _kind_of_zip(path)
  if re.match(br"\x80[\x02-\x05]", head):
    return "a PyTorch file, or another pickle", _RUN_CONVERT
  if head[257:262] == b"ustar":
    return "an archive", _UNPACK
  if head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] < 10**8:
    return "a PyTorch file (safetensors)", _RUN_CONVERT
  if text.startswith((b"<!doctype", b"<html", b"<?xml")):
    return "a web page instead of the data", "download the file itself"
  if text.startswith((b"[pad]", b"[unk]")):
    return "a vocabulary", _PREFIX
  if text.startswith(b"{"):
    return "a JSON file", _PREFIX
  return _first(_MAGIC, head.startswith)


def _kind_of_zip(path):
  try:
    with tf.gfile.GFile(path, "rb") as reader:
      names = zipfile.ZipFile(reader).namelist()
  except (zipfile.BadZipfile, OSError, tf.errors.OpError):
    names = []  # cut off: go by the name
  return (_first(_ZIPPED, lambda pattern: any(map(pattern.search, names))) or
          _first(_ENDINGS, path.lower().endswith) or ("an archive", _UNPACK))


def describe_folder(folder):
  """Returns a message about a folder of another kind, None if it is unknown."""
  names = files.list_folder(folder)
  if "saved_model.pb" in names:
    kind, cure = "a SavedModel", _SOURCE
  elif "config.json" in names and not _example(folder):
    kind, cure = "the folder of a Hugging Face model", _RUN_CONVERT
  else:
    return None
  return "%s: found %s, %s; %s" % (
      folder, kind, _EXPECTED, _name_folder(cure, folder))


def _explain_missing(path):
  """Returns why there is no checkpoint at a path that does not exist."""
  folder, base = os.path.split(path)
  if folder and not tf.gfile.IsDirectory(folder):
    packed = [os.path.basename(folder) + ending
              for ending in (".zip", ".tar.gz", ".tgz", ".tar")]
    parent = os.path.dirname(folder)
    found = sorted(set(packed) & set(files.list_folder(parent)))
    if found:
      return "%s is not unpacked; %s" % (
          os.path.join(parent, found[0]), _UNPACK)
    return "there is no folder %s; %s" % (folder, _PREFIX)
  for name in sorted(files.list_folder(folder)):
    beside = os.path.join(folder, name)
    if name.startswith(base + ".") and not tf.gfile.IsDirectory(beside):
      kind = describe_file(beside)
      if kind:
        return "there is no such checkpoint; %s is %s" % (beside, kind)
  return "there is no such checkpoint; %s%s" % (_PREFIX, _example(folder, base))


def _example(folder, base=None):
  """Returns the end of a message: checkpoints in a folder, or an empty string.

  Args:
    folder: str.
    base: str. Prefers names like this one; None for the latest.
  """
  prefixes = prefixes_in(folder)
  near = difflib.get_close_matches(base, prefixes, 3) if base else []
  near = near or prefixes[-1:]
  return ", for example %s" % " or ".join(
      os.path.join(folder, name) for name in near) if near else ""


def prefixes_in(folder):
  """Returns the names of the checkpoints in a folder, the latest step last."""
  return sorted((name[:-len(".index")] for name in files.list_folder(folder)
                 if name.endswith(".index")),
                key=lambda prefix: (_step(prefix), prefix))


def _step(prefix):
  """Returns the step in a checkpoint's name, -1 if it has none."""
  found = re.search(r"-(\d+)$", prefix)
  return int(found.group(1)) if found else -1


def explain_damage(prefix):
  """Returns why a checkpoint's files cannot be read, None if unknown."""
  for name in names_of(prefix) or [os.path.basename(prefix)]:
    path = os.path.join(os.path.dirname(prefix), name)
    try:
      kind = describe_file(path)
    except tf.errors.OpError as error:
      return "%s: cannot be read (%s)" % (path, error.message)
    if kind:
      return "%s: found %s" % (path, kind)
  return None
