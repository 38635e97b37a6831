"""The files of a model in a folder: vocabulary, config and checkpoint."""

import contextlib
import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import checkpoints, files

VOCAB, CONFIG, CHECKPOINT = "vocab.txt", "bert_config.json", "bert_model.ckpt"

# Variables of the training, not the model: the step and optimizer slots.
_NOT_WEIGHTS = re.compile(
    r"global_step$|.*/(adam_[mv]|lamb_[mv]|adafactor_v[rc]?)$")


def read_weights(checkpoint):
  """Returns a dict from the names of a checkpoint's weights to their arrays.

  Training state, such as Adam's averages, is left out.
  """
  reader = checkpoints.open_checkpoint(checkpoint)
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()
          if not _NOT_WEIGHTS.match(name)}


def write_model(folder, tokens, config=None, values=None):
  """Writes the files of a model into a new folder: all of them, or none.

  Args:
    folder: str. It must not exist, or be empty.
    tokens: list of str. The vocabulary.
    config: dict; None for no file.
    values: dict from the name of a variable to its array; None for no
      checkpoint.

  Raises:
    ValueError: the folder is not empty.
  """
  with new_folder(folder) as temporary:
    write_vocab(temporary, tokens)
    if config is not None:
      files.write_json(os.path.join(temporary, CONFIG), config)
    if values is not None:
      save(os.path.join(temporary, CHECKPOINT), values)


def write_vocab(folder, tokens):
  """Writes vocab.txt, one entry per line."""
  files.write_text(os.path.join(folder, VOCAB),
                   "".join(token + "\n" for token in tokens))


@contextlib.contextmanager
def new_folder(folder):
  """Yields a temporary folder to fill, which becomes `folder` at the end.

  Args:
    folder: str. It must not exist, or be empty.

  Yields:
    str. The folder to write to; removed on failure.

  Raises:
    ValueError: `folder` is not empty, or cannot be created.
  """
  check_new(folder)
  with files.atomic_path(folder.rstrip("/")) as temporary:
    tf.gfile.MakeDirs(temporary)
    try:
      yield temporary
      check_new(folder)
      if tf.gfile.IsDirectory(folder):  # a folder does not replace another one
        tf.gfile.DeleteRecursively(folder)
    except BaseException:
      if tf.gfile.IsDirectory(temporary):
        tf.gfile.DeleteRecursively(temporary)
      raise


def check_new(folder):
  """Raises ValueError if a folder is not empty or cannot be created."""
  if tf.gfile.Exists(folder) and (
      not tf.gfile.IsDirectory(folder) or files.list_folder(folder)):
    raise ValueError("--output_dir=%s: exists already; name a new folder" %
                     folder)
  files.check_writable(folder.rstrip("/"), "--output_dir", makes_folders=True)


def save(prefix, values):
  """Writes a checkpoint of arrays."""
  with tf.Graph().as_default(), tf.Session() as session:
    names = sorted(values)
    feeds = {tf.placeholder(values[name].dtype, values[name].shape):
             values[name] for name in names}
    session.run(tf.raw_ops.SaveV2(
        prefix=prefix, tensor_names=names, shape_and_slices=[""] * len(names),
        tensors=list(feeds)), feeds)
