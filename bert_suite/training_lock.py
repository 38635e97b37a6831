"""Keeps a second training out of a folder while one is running.

The lock is the operating system's, on a file in the folder. It ends with the
process that holds it, even one that is killed, so none is left behind. Remote
file systems (`gs://`) have no such locks, so a second training can start there.
"""

import contextlib
import errno
import os
import socket
import threading
import time

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

try:
  import fcntl
except ImportError:  # on Windows
  fcntl = None

FILE_NAME = ".training_lock"

_holders = {}  # from the real path of a folder to the thread that holds it


class Held(ValueError):
  """Another training holds the folder; the text says which."""


class TrainingLock:
  """Holds a folder within a `with` block.

  A folder that does not exist is made, and removed if it is still empty at the
  end. A thread may take a lock that it already has. There is no lock if the
  file system has none or the folder cannot be written to; writing results then
  fails later.
  """

  def __init__(self, folder):
    """Sets the folder, str; None or empty for no lock."""
    self._folder = folder if fcntl and "://" not in (folder or "://") else None
    self._path = os.path.join(folder or "", FILE_NAME)
    self._key = os.path.realpath(folder or "")
    self._file = None
    self._made = []  # folders, the innermost first

  def __enter__(self):
    """Takes the lock.

    Raises:
      Held: another training has it.
    """
    if self._folder and _holders.get(self._key) != threading.get_ident():
      try:
        for _ in range(100):
          # Another training may just have made the folder, or ended and
          # removed the one that it had made.
          with contextlib.suppress(FileNotFoundError):
            self._make_folder()
            if self._try():
              break
      except OSError as error:
        self.__exit__()
        if error.errno in (errno.ENOLCK, errno.ENOTSUP):
          tf.logging.warning("%s: has no locks (%s), so two trainings at once "
                             "go unnoticed", self._folder, error)
    return self

  def _make_folder(self):
    folder = os.path.abspath(self._folder)
    missing = []
    while not os.path.exists(folder):
      missing.append(folder)
      folder = os.path.dirname(folder)
    for folder in reversed(missing):
      with contextlib.suppress(FileExistsError):
        os.mkdir(folder)
        self._made.insert(0, folder)

  def _try(self):
    """Takes the lock; returns False if its file has just been removed."""
    self._file = open(self._path, "a+")
    try:
      fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
      if error.errno not in (errno.EAGAIN, errno.EACCES):
        raise
      self._file.seek(0)
      holder = self._file.read()
      self._file.close()
      self._file = None
      raise Held(
          "%s: another training is writing there%s; wait until it ends, stop "
          "it, or pass another --output_dir" % (
              self._folder, holder and ", " + holder)) from None
    is_there = False
    with contextlib.suppress(OSError):
      is_there = os.path.samestat(
          os.stat(self._path), os.fstat(self._file.fileno()))
    if not is_there:
      self._file.close()
      self._file = None
      return False
    self._file.truncate(0)
    self._file.write("process %d on %s since %s" % (
        os.getpid(), socket.gethostname(), time.strftime("%Y-%m-%d %H:%M:%S")))
    self._file.flush()
    _holders[self._key] = threading.get_ident()
    return True

  def __exit__(self, *unused_exception):
    if self._file is not None:
      _holders.pop(self._key, None)
      # Removed while it is locked: a process that has it open will notice.
      with contextlib.suppress(OSError):
        os.remove(self._path)
      self._file.close()
      self._file = None
    for folder in self._made:
      with contextlib.suppress(OSError):  # it is not empty
        os.rmdir(folder)
    self._made = []
