"""Files: finding them by name, and writing them whole or not at all.

A name is taken literally if there is such a file, then as a pattern, then as a
list. TensorFlow always takes the names of checkpoints and SavedModels for
patterns; where that matters, `literal` returns another name for the same place.
"""

import atexit
import contextlib
import errno
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


def list_folder(folder):
  """Returns the names in a folder; an empty list if there is no such folder."""
  try:
    return [name.rstrip("/") for name in tf.gfile.ListDirectory(folder or ".")]
  except tf.errors.OpError:
    return []


def find_files(patterns, flag):
  """Finds the files of names and patterns separated by commas.

  Args:
    patterns: str.
    flag: str. The flag that they are from, for the message.

  Returns:
    list of str, those of a pattern sorted.

  Raises:
    ValueError: a pattern matches no file.
  """
  found = match(patterns)
  if found:
    return found
  files = []
  parts = patterns.split(",")
  while parts:
    # A part that is not a file may be the beginning of a name with commas.
    for count in range(1, len(parts) + 1):
      name = ",".join(parts[:count])
      found = match(name) or match(name.strip())
      if found:
        break
    else:
      raise ValueError(
          "%s=%s: found no file for %r; pass paths or patterns such as "
          "/data/part-*, separated by commas" % (flag, patterns, parts[0]))
    files.extend(found)
    parts = parts[count:]
  return files


def match(pattern):
  """Returns the paths that a name or pattern matches, sorted.

  A part of a path that exists is not taken for a pattern: in `run[1]/part-*`,
  only `part-*` is one if there is a folder `run[1]`.

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
      # In TensorFlow it escapes the next character.
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
  name = name.replace("[^", "[!")  # fnmatch's syntax
  # Hidden files are those that are being written.
  return sorted(os.path.join(parent, entry)
                for parent in (_match_parts(folder) if folder else [""])
                for entry in list_folder(parent)
                if fnmatch.fnmatchcase(entry, name) and
                entry.startswith(".") <= name.startswith("."))


def split_names(names):
  """Splits names of files to write, separated by commas.

  A comma counts as part of a name if a file of that name, or else the folder
  that it would be in, exists.

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
  """Returns a name of a checkpoint that TensorFlow takes literally.

  Args:
    prefix: str. Prefix of a checkpoint that exists.

  Returns:
    str: `prefix`, or a link to the same checkpoint, which this process removes
    when it ends.

  Raises:
    ValueError: the name has wildcards and is remote, so that it cannot be
      linked.
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
  """Returns a name of a folder that TensorFlow takes literally.

  Args:
    folder: str. If it needs a link and does not exist, it is created.

  Returns:
    str, see `literal`.
  """
  if not has_wildcards(folder):
    return folder

  def link(path):
    os.makedirs(folder, exist_ok=True)
    os.symlink(os.path.abspath(folder), path)

  return _find_link(folder, link)


def _find_link(place, make, inside=""):
  """Returns the link to a place; makes it with `make(path)`, once.

  Args:
    place: str. Path of a folder, or prefix of a checkpoint.
    make: function of the link's path.
    inside: str. Name of the link if it needs a folder of its own.
  """
  if "://" in place:
    raise ValueError(
        "%s: TensorFlow takes *, ?, [ and \\ in remote names for patterns; "
        "use a name without them" % place)
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
  """Returns a text, such as a message, with the user's names, not the links."""
  for link, name in list(_links.values()):
    text = text.replace(link, name)
  return text


def _remove_links(process_id):
  if os.getpid() == process_id:  # not in a forked process
    shutil.rmtree(_root[0], ignore_errors=True)


# Inputs and outputs.


def is_device(path):
  """Returns whether a path is a device, pipe or socket."""
  return os.path.exists(path) and not (
      os.path.isfile(path) or os.path.isdir(path))


def find_target(path):
  """Returns the file to replace when a path is written: links are followed.

  Args:
    path: str.

  Returns:
    str; None for a device, which cannot be replaced but only written to.
  """
  if is_device(path):
    return None
  return os.path.realpath(path) if os.path.islink(path) else path


def check_outputs(inputs, outputs):
  """Raises ValueError if a file to write is one to read, or written twice.

  Local files are compared through symbolic and hard links, remote files by
  name.

  Args:
    inputs: list of (str, str): a flag and a path that is read; `-` stands
      for the standard input. Those whose path is None or empty are ignored.
    outputs: list of (str, str): a flag and a path that is written; `-` stands
      for the standard output. Those whose path is None or empty are ignored.
  """
  known = {}
  for flag, path in inputs:
    if path:
      for identity in _identities("/dev/stdin" if path == "-" else path):
        known[identity] = ("%s (%s), which it would replace; name another "
                           "file to write" % (path, flag))
  for flag, path in outputs:
    if not path:
      continue
    identities = _identities("/dev/stdout" if path == "-" else path)
    for identity in identities:
      if identity in known:
        raise ValueError("%s (%s) is the file %s" % (
            path, flag, known[identity]))
    for identity in identities:
      known[identity] = "%s (%s) too; use different names" % (path, flag)


def check_writable(path, flag, makes_folders=False):
  """Raises ValueError if a path cannot be written, before the work is done.

  Args:
    path: str. A file, or a folder that is new or empty.
    flag: str. The flag that names it, for the message.
    makes_folders: bool. The folder that it is in may be missing.
  """
  target = find_target(path)
  if target is None:  # a device
    return
  if tf.gfile.IsDirectory(target) and not makes_folders:
    raise ValueError("%s=%s: is a folder; name a file" % (flag, path))
  while makes_folders and "://" not in target and not tf.gfile.Exists(
      os.path.dirname(target) or "."):
    target = os.path.dirname(target)
  temporary = _temporary_name(target)
  try:
    with tf.gfile.GFile(temporary, "w") as writer:
      writer.write("")
    tf.gfile.Remove(temporary)
  except tf.errors.OpError as error:
    raise ValueError(
        "%s=%s: cannot be written (%s); name another place, in a folder that "
        "exists and is writable" % (
            flag, path, error.message.split("; ")[-1])) from None


def files_of_checkpoint(prefix):
  """Returns the paths of a checkpoint's files, and `prefix` itself."""
  if not prefix:
    return []
  folder, name = os.path.split(prefix)
  return [prefix] + [os.path.join(folder, file) for file in list_folder(folder)
                     if file.startswith(name + ".")]


def _identities(path):
  """Returns a list of values that all names of one file have in common."""
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
  """Yields a temporary name to write to; renames it to `path` at the end.

  So `path` is a whole file or what was there before, never a part of one, even
  after a power cut. After an error the temporary file is removed; one that a
  killed process left behind is removed by the next that writes `path`. Its name
  begins with a dot, so that patterns do not match it. A link stays a link: the
  file that it points to is replaced. A device or a pipe, such as /dev/null, is
  written to directly.

  Args:
    path: str. The file to write.

  Yields:
    str. The name to write to.
  """
  target = find_target(path)
  if target is None:
    yield path
    return
  _remove_leftovers(target)
  temporary = _temporary_name(target)
  try:
    yield temporary
    sync(temporary)
    tf.gfile.Rename(temporary, target, overwrite=True)
  except BaseException:
    if tf.gfile.Exists(temporary):
      tf.gfile.Remove(temporary)
    raise


# Files without which a version cannot be loaded.
_MODEL_FILES = ("saved_model.pb", os.path.join("variables", "variables.index"))


def write_version(folder, write, names=_MODEL_FILES):
  """Writes a folder whose name is a greater number than those there.

  TensorFlow Serving takes the greatest as the newest version. Existing versions
  are left unchanged, and a folder with a number for a name is complete.

  Args:
    folder: str. Where the versions are; created if it does not exist.
    write: function of a path that writes a SavedModel, or a Hub module, which
      has the same files, into a folder of that name.
    names: names of files without which it cannot be loaded.

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
    _check_model(temporary, folder, names)
    sync(temporary)
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


def list_versions(folder):
  """Returns the paths of the versions in a folder, the newest first."""
  return [os.path.join(folder, name) for name in sorted(
      filter(str.isdigit, list_folder(folder)), key=int, reverse=True)]


def _check_model(temporary, folder, names):
  """Raises OSError if a model in a temporary folder lacks a file."""
  missing = [name for name in names
             if not tf.gfile.Exists(os.path.join(temporary, name))]
  if missing:
    raise OSError(
        "%s: the model lost its %s while it was being written; make sure that "
        "nothing else removes files there, and export again" % (
            folder, ", ".join(missing)))


def find_change(path):
  """Returns when a file was last changed, in nanoseconds, and its size."""
  if "://" not in path:  # TensorFlow would round to seconds
    found = os.stat(path)
    return found.st_mtime_ns, found.st_size
  found = tf.gfile.Stat(path)
  return found.mtime_nsec, found.length


def sync(path):
  """Flushes a local file, or all files in a local folder, to the disk."""
  if os.path.isfile(path):
    with open(path, "rb+") as file:
      os.fsync(file.fileno())
  for folder, _, names in os.walk(path):
    for name in names:
      sync(os.path.join(folder, name))


def sync_folder(path):
  """Flushes the names of the files in a local folder to the disk."""
  if os.name == "posix" and os.path.isdir(path):
    try:
      folder = os.open(path, os.O_RDONLY)
      try:
        os.fsync(folder)
      finally:
        os.close(folder)
    except OSError as error:
      if error.errno in (errno.EIO, errno.ENOSPC):
        raise
      # Other errors mean that the file system or permissions do not allow it.


def _place():
  """Returns 8 characters that identify this process's host, or container.

  Process ids are unique within it. A container may have the name of its host.
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
  """Removes temporary files of `path` that processes now ended left behind."""
  folder, name = os.path.split(path)
  if "://" in path:
    return
  for found in list_folder(folder):
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
    pass  # the process is another user's
  return True


def write_text(path, text):
  """Writes a whole text file, or none."""
  with atomic_path(path) as temporary:
    with tf.gfile.GFile(temporary, "w") as writer:
      writer.write(text)


def write_json(path, value):
  """Writes a value as a whole JSON file, its keys sorted, or no file."""
  write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")
