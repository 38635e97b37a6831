"""Files: their names, and writing them whole.

A name is taken as given first, then as a pattern, then as a list.

A name that exists as given means that file, whatever characters it has. Where
TensorFlow takes a name for a pattern nevertheless, as it does with those of
checkpoints and SavedModels, `literal` gives it another name of the same place.
"""

import atexit
import contextlib
import fnmatch
import hashlib
import json
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
import uuid

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

# Characters that TensorFlow reads as part of a pattern.
_WILDCARDS = re.compile(r"[*?\[\\]")


def has_wildcards(path):
  """Returns whether TensorFlow may take a name for a pattern."""
  return bool(_WILDCARDS.search(path))


# Finding files.


def find_files(patterns, flag):
  """Finds the files of a name, of a pattern, or of several with commas.

  Args:
    patterns: str.
    flag: str. The flag that they are from, for the message.

  Returns:
    list of str, those of a pattern sorted.

  Raises:
    ValueError: a pattern has no file.
  """
  found = match(patterns)
  if found:
    return found
  files = []
  parts = patterns.split(",")
  while parts:
    # A part that is no file may be the beginning of a name with commas.
    for count in range(1, len(parts) + 1):
      name = ",".join(parts[:count])
      found = match(name) or match(name.strip())
      if found:
        break
    else:
      raise ValueError(
          "%s=%s: found no file for %r; give paths or patterns such as "
          "/data/part-*, with commas between them" % (
              flag, patterns, parts[0]))
    files.extend(found)
    parts = parts[count:]
  return files


def match(pattern):
  """Returns the paths that a name or pattern stands for, sorted.

  A part of a path that exists as given is not taken for a pattern: of
  `run[1]/part-*`, where there is a folder `run[1]`, only `part-*` is one.

  Args:
    pattern: str.

  Returns:
    list of str, empty if there are none.
  """
  if not pattern.strip():
    return []
  if tf.gfile.Exists(pattern):
    return [pattern]
  if not has_wildcards(pattern):
    return []
  try:
    found = _match_parts(pattern)
    if not found and "\\" in pattern:
      # As TensorFlow has it, the next character is then an ordinary one.
      found = sorted(tf.gfile.Glob(pattern))
    return found
  except tf.errors.OpError:  # its folder is not there
    return []


def _match_parts(pattern):
  if tf.gfile.Exists(pattern):
    return [pattern]
  folder, name = os.path.split(pattern)
  if not name or not has_wildcards(pattern):
    return []
  name = name.replace("[^", "[!")  # which fnmatch takes for the same
  found = []
  for parent in _match_parts(folder) if folder else [""]:
    if tf.gfile.IsDirectory(parent or "."):
      # Hidden files are those that are being written.
      found += [os.path.join(parent, entry.rstrip("/"))
                for entry in tf.gfile.ListDirectory(parent or ".")
                if fnmatch.fnmatchcase(entry.rstrip("/"), name) and
                entry.startswith(".") <= name.startswith(".")]
  return sorted(found)


def split_names(names):
  """Splits names of files to write, with commas between them.

  A comma inside a name counts as part of it where the file, or else the folder
  that the name is in, exists as given.

  Args:
    names: str.

  Returns:
    list of str.
  """
  parts = names.split(",")
  if len(parts) == 1 or "://" in names:
    return parts
  if tf.gfile.Exists(names):
    return [names]
  found = []
  while parts:
    for count in range(len(parts), 1, -1):
      folder = os.path.dirname(",".join(parts[:count]))
      if "," not in parts[count - 1].split("/")[-1] and (
          folder.count(",") == count - 1 and os.path.isdir(folder)):
        break
    else:
      count = 1
    found.append(",".join(parts[:count]))
    parts = parts[count:]
  return found


# Names that TensorFlow takes for patterns.

_lock = threading.Lock()
_links = {}  # from the absolute path of a folder or prefix to (link, name)
_root = []  # the folder of the links, once there is one


def literal(prefix):
  """Returns a name of a checkpoint that TensorFlow takes as it stands.

  Args:
    prefix: str. Prefix of a checkpoint that exists.

  Returns:
    str: `prefix`, or the same checkpoint by way of a link that this process
    removes at its end.

  Raises:
    ValueError: it has wildcards and cannot have a link, being remote.
  """
  if not has_wildcards(prefix):
    return prefix
  folder, name = os.path.split(prefix)
  if not has_wildcards(name):
    return os.path.join(literal_folder(folder), name)

  def link(path):
    os.mkdir(os.path.dirname(path))
    for found in os.listdir(folder or "."):
      if found == name or found.startswith(name + "."):
        os.symlink(os.path.join(os.path.abspath(folder), found),
                   path + found[len(name):])

  return _find_link(prefix, link, "model.ckpt")


def literal_folder(folder):
  """Returns a name of a folder that TensorFlow takes as it stands.

  Args:
    folder: str. Where a link is needed, the folder is made if it is missing.

  Returns:
    str, see `literal`.
  """
  if not has_wildcards(folder):
    return folder

  def link(path):
    if not os.path.isdir(folder):
      os.makedirs(folder)
    os.symlink(os.path.abspath(folder), path)

  return _find_link(folder, link)


def _find_link(place, make, inside=""):
  """Returns the link of a place; makes it with `make(path)`, once.

  Args:
    place: str. Path of a folder, or prefix of a checkpoint.
    make: function of the link's path.
    inside: str. Name of the link where it is in a folder of its own.
  """
  if "://" in place:
    raise ValueError(
        "%s: TensorFlow takes *, ?, [ and \\ in remote names for patterns; "
        "give a name without them" % place)
  with _lock:
    key = os.path.abspath(place)
    if key not in _links:
      if not _root:
        has_plain_name = not has_wildcards(tempfile.gettempdir())
        _root.append(tempfile.mkdtemp(
            prefix="bert-", dir=None if has_plain_name else "/tmp"))
        atexit.register(_remove_links, os.getpid())
      link = os.path.join(_root[0], "%d-%s" % (
          len(_links), _WILDCARDS.sub("_", os.path.basename(key))), inside)
      link = link.rstrip("/")
      make(link)
      _links[key] = link, place
    return _links[key][0]


def given_names(text):
  """Returns a text, such as a message, with names as given, not the links."""
  for link, name in list(_links.values()):
    text = text.replace(link, name)
  return text


def _remove_links(process_id):
  if os.getpid() == process_id:  # not in a forked process
    shutil.rmtree(_root[0], ignore_errors=True)


# Inputs and outputs.


def is_device(path):
  """Returns whether a path is a device, pipe or socket: no file, no folder."""
  return os.path.exists(path) and not (
      os.path.isfile(path) or os.path.isdir(path))


def find_target(path):
  """Returns the file to replace in order to write a path: links are followed.

  Args:
    path: str.

  Returns:
    str; None for a device, which cannot be replaced and is to be written to.
  """
  if is_device(path):
    return None
  return os.path.realpath(path) if os.path.islink(path) else path


def check_outputs(inputs, outputs):
  """Raises ValueError if a file to write is one to read, or written twice.

  Names are followed to the files that they mean: by way of links, and of
  several names of one file. Remote files are compared by name.

  Args:
    inputs: list of (str, str): a flag and a path that it has read; `-` stands
      for the standard input. Those whose path is None or empty do not count.
    outputs: list of (str, str): a flag and a path that it writes; `-` stands
      for the standard output. Those whose path is None or empty do not count.
  """
  known = {}
  for flag, path in inputs:
    if path:
      for identity in _identities("/dev/stdin" if path == "-" else path):
        known[identity] = "%s (%s), which it would replace; name another " % (
            path, flag) + "file to write"
  for flag, path in outputs:
    if not path:
      continue
    identities = _identities("/dev/stdout" if path == "-" else path)
    for identity in identities:
      if identity in known:
        raise ValueError("%s (%s) is the file %s" % (
            path, flag, known[identity]))
    for identity in identities:
      known[identity] = "%s (%s) too; give names that differ" % (path, flag)


def files_of_checkpoint(prefix):
  """Returns the paths of a checkpoint's files, and `prefix` itself."""
  if not prefix:
    return []
  folder, name = os.path.split(prefix)
  try:
    found = tf.gfile.ListDirectory(folder or ".")
  except tf.errors.OpError:
    found = []
  return [prefix] + [os.path.join(folder, file) for file in found
                     if file.startswith(name + ".")]


def _identities(path):
  """Returns what is equal for two names of one file, in a list."""
  if path.startswith("file://"):
    path = path[len("file://"):]
  if "://" in path:
    return [path]
  identities = [os.path.realpath(path)]
  try:
    found = os.stat(path)
  except OSError:
    return identities
  if not stat.S_ISREG(found.st_mode):  # such as a terminal, or /dev/null
    return []
  return identities + [(found.st_dev, found.st_ino)]


# Writing whole files and folders.


@contextlib.contextmanager
def atomic_path(path):
  """Gives a temporary name beside `path`; renames it when all went well.

  So `path` is a whole file or what was there before, never a part, also after
  a power cut. After an error the temporary file is removed; one that a killed
  process left behind is removed by the next that writes `path`. Its name begins
  with a dot, so that patterns of names do not find it. A link stays one, and
  what it leads to is replaced. A device or a pipe, such as /dev/null, cannot be
  replaced and is written to.

  Args:
    path: str. The file to write.

  Yields:
    str. The name to write to meanwhile.
  """
  target = find_target(path)
  if target is None:
    yield path
    return
  path = target
  _remove_leftovers(path)
  temporary = _temporary_name(path)
  try:
    yield temporary
    _sync(temporary)
    tf.gfile.Rename(temporary, path, overwrite=True)
  except BaseException:
    if tf.gfile.Exists(temporary):
      tf.gfile.Remove(temporary)
    raise


def write_version(folder, write):
  """Writes a folder whose name is a number greater than those there.

  TensorFlow Serving takes the greatest as the newest version. What is there
  stays as it is, and a folder with a number is a whole one.

  Args:
    folder: str. Where the versions are; is made if it is not there.
    write: function of a path that writes a SavedModel, or a Hub module, which
      has its files, into a folder of that name.

  Returns:
    str. The path of the version: seconds since 1970, or one more than the
    newest.

  Raises:
    OSError: what was written no longer exists.
  """
  tf.gfile.MakeDirs(folder)
  base = os.path.join(folder, "version")
  _remove_leftovers(base)
  temporary = _temporary_name(base)
  try:
    write(temporary)
    _check_model(temporary, folder)
    _sync(temporary)
    number = max([int(time.time())] + [
        int(os.path.basename(version)) + 1
        for version in list_versions(folder)])
    while True:
      path = os.path.join(folder, str(number))
      try:
        tf.gfile.Rename(temporary, path)
        return path
      except tf.errors.OpError:
        if not tf.gfile.Exists(path):
          raise
        number += 1  # another process took it
  except BaseException:
    if tf.gfile.Exists(temporary):
      tf.gfile.DeleteRecursively(temporary)
    raise


def newest_version(folder):
  """Returns the path of the newest version in a folder; None if it has none."""
  return next(iter(list_versions(folder)), None)


def list_versions(folder):
  """Returns the paths of the versions in a folder, the newest first."""
  names = [name.rstrip("/") for name in tf.gfile.ListDirectory(folder)]
  return [os.path.join(folder, name) for name in sorted(
      (name for name in names if name.isdigit()), key=int, reverse=True)]


# Files without which no version can be loaded.
_MODEL_FILES = ("saved_model.pb", os.path.join("variables", "variables.index"))


def _check_model(temporary, folder):
  """Raises OSError if a model in a temporary folder lacks a file."""
  missing = [name for name in _MODEL_FILES
             if not tf.gfile.Exists(os.path.join(temporary, name))]
  if missing:
    raise OSError(
        "%s: the model lost its %s while it was written; let nothing else "
        "remove files there, and export again" % (folder, ", ".join(missing)))


def _sync(path):
  """Brings a local file, or all that a local folder holds, to the disk."""
  if os.path.isfile(path):
    with open(path, "rb+") as file:
      os.fsync(file.fileno())
  for folder, _, names in os.walk(path):
    for name in names:
      _sync(os.path.join(folder, name))


def _place():
  """Returns 8 letters that identify the host, or container, of this process.

  Process ids are unique within it. A container may have its host's name.
  """
  name = socket.gethostname()
  try:
    name += os.readlink("/proc/self/ns/pid")
  except OSError:  # not Linux
    pass
  return hashlib.sha1(name.encode("utf-8")).hexdigest()[:8]


def _temporary_name(path):
  """Returns a name beside `path` that no other thread, process or host has."""
  folder, name = os.path.split(path)
  return os.path.join(folder, ".%s.%s.%d.%s.tmp" % (
      name, _place(), os.getpid(), uuid.uuid4().hex[:8]))


def _remove_leftovers(path):
  """Removes temporary files of `path` that an ended process of ours left."""
  folder, name = os.path.split(path)
  if "://" in path or not os.path.isdir(folder or "."):
    return
  for found in os.listdir(folder or "."):
    # Folders are shared, and processes on other hosts cannot be looked up.
    named = re.match(
        r"\.%s\.%s\.(\d+)\.\w+\.tmp$" % (re.escape(name), _place()), found)
    if named and not _is_running(int(named.group(1))):
      leftover = os.path.join(folder, found)
      if tf.gfile.IsDirectory(leftover):
        tf.gfile.DeleteRecursively(leftover)
      else:
        tf.gfile.Remove(leftover)


def _is_running(process_id):
  try:
    os.kill(process_id, 0)  # signal 0 only checks
  except ProcessLookupError:
    return False
  except OSError:
    pass  # it is another user's
  return True


def write_text(path, text):
  """Writes a whole text file, or nothing."""
  with atomic_path(path) as temporary:
    with tf.gfile.GFile(temporary, "w") as writer:
      writer.write(text)


def write_json(path, value):
  """Writes a value as a whole JSON file, its keys sorted, or nothing."""
  write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
