"""What the notebooks share: where a published model comes from."""

import glob
import os
import shutil
import tempfile
import urllib.request
import zipfile

ADDRESS = "https://storage.googleapis.com/bert_models/"
_SAMPLE = os.path.join(
    os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "sample_data")
_SECONDS = 20  # without an answer


def find_model(name, folder):
  """Returns the files of a model, which it downloads once.

  Args:
    name: str. An archive of README.md's table, such as
      "2020_02_20/uncased_L-4_H-512_A-8", or a folder with the files of a model.
    folder: str. Where to keep what is downloaded.

  Returns:
    dict of "vocab_file", "bert_config_file" and "init_checkpoint", which the
    settings of the scripts take. Where there is no network, the small model
    of sample_data, whose init_checkpoint is None: it has no weights yet.

  Raises:
    ValueError: the folder is no model.
  """
  path = name
  if not os.path.isdir(name):
    path = os.path.join(folder, os.path.basename(name))
    if not os.path.isdir(path):
      try:
        _download(ADDRESS + name + ".zip", path)
      except (OSError, zipfile.BadZipFile) as error:
        print("%s%s.zip: %s\nNot downloaded: goes on with the small model of "
              "sample_data, from random weights." % (ADDRESS, name, error))
        return {"vocab_file": os.path.join(_SAMPLE, "sample_vocab.txt"),
                "bert_config_file": os.path.join(_SAMPLE, "sample_config.json"),
                "init_checkpoint": None}
  return {"vocab_file": _find(path, "vocab.txt"),
          "bert_config_file": _find(path, "bert_config.json"),
          "init_checkpoint": _find(path, "*.ckpt*.index")[:-len(".index")]}


def _download(address, path):
  """Unpacks an archive into a new folder, as a whole or not at all."""
  os.makedirs(os.path.dirname(path), exist_ok=True)
  print("Downloading %s ..." % address)
  with tempfile.TemporaryFile() as archive, tempfile.TemporaryDirectory(
      dir=os.path.dirname(path)) as unpacked:
    with urllib.request.urlopen(address, timeout=_SECONDS) as reader:
      shutil.copyfileobj(reader, archive)
    with zipfile.ZipFile(archive) as opened:
      opened.extractall(os.path.join(unpacked, "model"))
    os.rename(os.path.join(unpacked, "model"), path)


def _find(path, pattern):
  """Returns the file of a name in a folder or below; of several the first."""
  found = sorted(glob.glob(
      os.path.join(glob.escape(path), "**", pattern), recursive=True))
  if not found:
    raise ValueError("%s: found no %s; expected a folder with vocab.txt, "
                     "bert_config.json and a checkpoint" % (path, pattern))
  return found[0]
