"""Which vocabulary pre-training records are made with.

The records themselves have google-research/bert's format, which does not say.
Beside each file of records is a hidden one, `.NAME.json`, from which run.json
gets the vocabulary of a pre-trained model.
"""

import os

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import checkpoints, files, json_files, model_inputs, tokenization


def write(paths, vocab_file, tokenizer):
  """Writes, beside each file of records, what they are made with.

  Args:
    paths: list of str. The complete files of records.
    vocab_file: str.
    tokenizer: FullTokenizer.
  """
  if "://" not in vocab_file:
    vocab_file = os.path.abspath(vocab_file)
  basic = tokenizer.basic_tokenizer
  origin = checkpoints.make_record(
      None, vocab=tokenizer.vocab, vocab_file=vocab_file,
      do_lower_case=basic.do_lower_case, strip_accents=basic.strip_accents)
  for path in paths:
    if files.is_device(path):
      continue
    if tf.gfile.Exists(_path(path)) and _read_beside(path) is None:
      tf.logging.warning("%s is a file of another kind, so it stays, and "
                         "training will not know the vocabulary of %s",
                         _path(path), path)
      continue
    try:
      size = tf.gfile.Stat(path).length
      files.write_json(_path(path), dict(origin, bytes=size))
    except (OSError, tf.errors.OpError) as error:  # the records are complete
      tf.logging.warning("%s: cannot be written (%s), so training will not "
                         "know the vocabulary of %s", _path(path), error, path)


def _path(record_file):
  folder, base = os.path.split(record_file)
  return os.path.join(folder, ".%s.json" % base)


def read(record_file):
  """Returns what `write` wrote about a file, a dict; None if that is unknown.

  It is unknown if the file was replaced since then, as its size shows.
  """
  origin = _read_beside(record_file)
  if origin and origin.pop("bytes") == tf.gfile.Stat(record_file).length:
    return origin
  return None


def _read_beside(record_file):
  """Returns the content of the file beside records; None if not `write`'s."""
  try:
    origin = json_files.read(_path(record_file))
    checkpoints.check_fields(dict(origin, task="pretraining"))
    is_ours = origin["vocabulary"] and origin["vocab_file"] and (
        "bytes" in origin)
  except (tf.errors.OpError, ValueError, KeyError, TypeError, AttributeError):
    return None
  return origin if is_ours else None


def find_vocabulary(record_files, vocab_file, folders, vocab_size):
  """Finds the vocabulary that records are made with.

  Args:
    record_files: list of str.
    vocab_file: str. The one that the user gave, or None.
    folders: list of str. Folders of trainings that this one resumes or starts
      from, in case neither the user nor the records say.
    vocab_size: int. The model's.

  Returns:
    vocab_file: str, or None.
    entries: dict. What run.json says about it; empty if it is not known.

  Raises:
    ValueError: the vocabulary does not fit the model, or is not that of all
      records.
  """
  origins = [read(path) for path in record_files]
  known = [(path, origin) for path, origin in zip(record_files, origins)
           if origin]
  first_path, first = known[0] if known else (None, {})
  for path, origin in known[1:]:
    if origin["vocabulary"] != first["vocabulary"]:
      raise ValueError(
          "%s is made with the vocabulary %s, but %s with %s; give files of "
          "one vocabulary" % (
              first_path, first["vocab_file"], path, origin["vocab_file"]))
  found, entries = None, {}
  if known and len(known) == len(record_files):
    entries = {name: value for name, value in first.items()
               if all(origin.get(name) == value for origin in origins)}
    found = entries.pop("vocab_file", first["vocab_file"])
  if vocab_file:
    vocab = tokenization.load_vocab(vocab_file)
    model_inputs.check_vocab(vocab, vocab_file, vocab_size)
    vocabulary = checkpoints.describe_vocab(vocab)
    if known and first["vocabulary"] != vocabulary:
      raise ValueError("%s: is not the vocabulary that %s is made with, which "
                       "was %s; give that one, or leave it out" % (
                           vocab_file, first_path, first["vocab_file"]))
    return vocab_file, dict(entries, vocabulary=vocabulary)
  if not entries:
    for folder in folders:
      record = checkpoints.read_record(folder) or {}
      if "vocabulary" in record:
        return checkpoints.read_training(folder).get("vocab_file"), {
            name: record[name]
            for name in ("vocabulary", "do_lower_case", "strip_accents")
            if name in record}
  return found, entries
