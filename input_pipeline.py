"""Files of examples: tables of text in, TFRecords out and back in, batches.

Every script stores its features as `tf.train.Example` records and reads them
back as batches of int32 and float32 tensors.
"""

import collections
import contextlib
import hashlib
import json
import numbers
import os
import queue
import re
import socket
import threading
import time
import uuid

import environment  # pylint: disable=unused-import  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

import files
import gzip_files
import tokenization
from tsv_files import TsvRow, read_tsv  # pylint: disable=unused-import


def create_int_feature(values):
  """Makes an int64 `tf.train.Feature` of a list of int."""
  return tf.train.Feature(
      int64_list=tf.train.Int64List(value=[int(v) for v in values]))


def create_float_feature(values):
  """Makes a float `tf.train.Feature` of a list of float."""
  return tf.train.Feature(
      float_list=tf.train.FloatList(value=[float(v) for v in values]))


def make_example(features):
  """Makes a `tf.train.Example` from a dict of name to list of int or of float.

  A list with a float in it becomes a float feature.
  """
  example = tf.train.Example()
  for name, values in features.items():
    is_float = any(isinstance(v, (float, np.floating)) for v in values)
    create = create_float_feature if is_float else create_int_feature
    example.features.feature[name].CopyFrom(create(values))
  return example


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
  target = files.find_target(path)
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
    OSError: what was written is not there any more.
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
  """Returns 8 letters for where process ids mean what they mean here.

  That is a host, or a container, which may have its host's name.
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
  """Removes temporary files of `path` whose process, of here, is no more."""
  folder, name = os.path.split(path)
  if "://" in path or not os.path.isdir(folder or "."):
    return
  for found in os.listdir(folder or "."):
    # Folders are shared, and processes elsewhere cannot be asked for.
    match = re.match(
        r"\.%s\.%s\.(\d+)\.\w+\.tmp$" % (re.escape(name), _place()), found)
    if match and not _is_running(int(match.group(1))):
      leftover = os.path.join(folder, found)
      if tf.gfile.IsDirectory(leftover):
        tf.gfile.DeleteRecursively(leftover)
      else:
        tf.gfile.Remove(leftover)


def _is_running(process_id):
  try:
    os.kill(process_id, 0)  # signal 0 only asks
  except ProcessLookupError:
    return False
  except OSError:
    pass  # it belongs to somebody else
  return True


def write_text(path, text):
  """Writes a whole text file, or nothing."""
  with atomic_path(path) as temporary:
    with tf.gfile.GFile(temporary, "w") as writer:
      writer.write(text)


def write_json(path, value):
  """Writes a value as a whole JSON file, its keys sorted, or nothing."""
  write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_examples(path, examples):
  """Writes dicts of features as a TFRecord file, or nothing.

  Args:
    path: str. The file to write.
    examples: iterable of dict, from feature name to list of int or of float.

  Returns:
    int. The number of records written.
  """
  count = 0
  with atomic_path(path) as temporary:
    with tf.python_io.TFRecordWriter(temporary) as writer:
      for features in examples:
        writer.write(make_example(features).SerializeToString())
        count += 1
  return count


def compression_of(path):
  """Returns how TensorFlow calls a TFRecord file's compression: GZIP or ""."""
  with tf.gfile.GFile(path, "rb") as reader:
    return "GZIP" if gzip_files.is_gzip(reader) else ""


def iterate_records(path):
  """Returns an iterator over the records, bytes, of a TFRecord file."""
  return tf.python_io.tf_record_iterator(
      path, tf.python_io.TFRecordOptions(compression_of(path)))


def count_records(path):
  """Returns the number of records of a TFRecord file."""
  return sum(1 for _ in iterate_records(path))


def decode_batch(serialized, name_to_features):
  """Parses a batch of records, or one record.

  Args:
    serialized: string Tensor [B], or a scalar for one.
    name_to_features: dict from name to `tf.FixedLenFeature`.

  Returns:
    dict from name to Tensor [B, ...]; int64 becomes int32, because TPUs have no
    int64.
  """
  parse = (tf.io.parse_single_example if serialized.shape.ndims == 0 else
           tf.io.parse_example)
  batch = parse(serialized, name_to_features)
  return {name: tf.cast(value, tf.int32) if value.dtype == tf.int64 else value
          for name, value in batch.items()}


# Orders of files to go through before they come again.
_NUM_ORDERS = 16

# Begins the message of a batch that does not fit the model.
BAD_RECORDS = "a record does not fit the model:"


def make_input_fn(input_files, name_to_features, is_training,
                  drop_remainder=False, shuffle_buffer_size=100,
                  num_skipped=0, num_parallel_files=1, file_seed=None,
                  repeat=None, limits=None):
  """Makes an Estimator's `input_fn` that reads TFRecord files.

  Args:
    input_files: str or list of str. TFRecord files, plain or gzip.
    name_to_features: dict from name to `tf.FixedLenFeature`.
    is_training: bool. Repeats without end and shuffles.
    drop_remainder: bool. Drops a last batch that is not full (TPUs need one
      size).
    shuffle_buffer_size: int. Records that shuffling chooses from.
    num_skipped: int. Examples that training has used before, to go on in the
      data too. What was in the shuffle buffer then is left out.
    num_parallel_files: int. With more than one, training reads the files in
      random order, another one each time, so many at a time.
    file_seed: int. The seed of that order; the same when training goes on, or
      it would not know what it has used. None for 0.
    repeat: bool. Repeats without end; None for `is_training`.
    limits: dict from name to int. Values of a batch must be at least 0 and less
      than this, or the run stops with a message that begins with BAD_RECORDS.

  Returns:
    A function of `params`, whose "batch_size" it uses, that returns a
    `tf.data.Dataset` of the dicts of `decode_batch`.
  """
  def decode(records):
    return check_limits(decode_batch(records, name_to_features), limits or {})

  def input_fn(params):
    batch_size = params["batch_size"]
    files = [input_files] if isinstance(input_files, str) else input_files
    if is_training and num_parallel_files > 1:
      dataset = _name_files(
          _orders_of_files(files, file_seed or 0)).repeat().interleave(
              _read_file,
              cycle_length=min(num_parallel_files, len(files)), block_length=16,
              num_parallel_calls=min(num_parallel_files, len(files)))
    else:
      dataset = read_records(files)
    dataset = _batches(dataset, batch_size, is_training, drop_remainder,
                       shuffle_buffer_size, num_skipped, repeat)
    return dataset.map(decode, num_parallel_calls=2).prefetch(2)

  return input_fn


def read_records(files):
  """Returns a `tf.data.Dataset` of the records of TFRecord files.

  Args:
    files: list of str. Each is plain or gzip.
  """
  return _name_files(files).flat_map(_read_file)


def _name_files(files):
  """Returns a dataset of the names of files and of their compressions."""
  compressions = {path: compression_of(path) for path in set(files)}
  return tf.data.Dataset.from_tensor_slices(
      (files, [compressions[path] for path in files]))


def _read_file(path, compression):
  return tf.data.TFRecordDataset(path, compression_type=compression)


def _orders_of_files(files, seed):
  """Returns the files in some random orders, one behind the other."""
  random = np.random.RandomState(seed)
  return [files[index] for _ in range(_NUM_ORDERS)
          for index in random.permutation(len(files))]


def check_limits(batch, limits):
  """Returns a batch that stops the run if values are beyond their limits.

  Args:
    batch: dict from name to Tensor.
    limits: dict from name to int, see `make_input_fn`.
  """
  checks = []
  for name, limit in sorted(limits.items()):
    lowest, highest = tf.reduce_min(batch[name]), tf.reduce_max(batch[name])
    checks.append(tf.Assert(
        tf.logical_and(lowest >= 0, highest < limit),
        ["%s %s must be from 0 to %d; give the config and lengths that the "
         "records were made for. Found from" % (BAD_RECORDS, name, limit - 1),
         lowest, "to", highest]))
  with tf.control_dependencies(checks):
    return {name: tf.identity(value) for name, value in batch.items()}


def make_array_input_fn(arrays, is_training, drop_remainder=False,
                        shuffle_buffer_size=100):
  """Makes an `input_fn` over arrays in memory, which end up in the graph.

  Args:
    arrays: dict from name to NumPy array [examples, ...].
    is_training: bool. As in `make_input_fn`.
    drop_remainder: bool. As in `make_input_fn`.
    shuffle_buffer_size: int. As in `make_input_fn`.

  Returns:
    A function of `params`, as `make_input_fn` returns it.
  """
  def input_fn(params):
    dataset = tf.data.Dataset.from_tensor_slices(arrays)
    return _batches(dataset, params["batch_size"], is_training, drop_remainder,
                    shuffle_buffer_size)

  return input_fn


def _batches(dataset, batch_size, is_training, drop_remainder,
             shuffle_buffer_size, num_skipped=0, repeat=None):
  if is_training if repeat is None else repeat:
    dataset = dataset.repeat()
  if is_training:
    dataset = dataset.skip(num_skipped).shuffle(shuffle_buffer_size)
  return dataset.batch(batch_size, drop_remainder=drop_remainder)


def pad_to_length(values, length, padding=0):
  """Returns `values` with `padding` appended up to `length` items."""
  return list(values) + [padding] * (length - len(values))


def truncate_pair(tokens_a, tokens_b, max_length):
  """Shortens two lists in place until they fit, one token at a time.

  The longer list loses its last token, `tokens_b` where both are equally long:
  a token of a short sequence says more than one of a long sequence.

  Args:
    tokens_a: list.
    tokens_b: list.
    max_length: int. What both together may have.
  """
  while len(tokens_a) + len(tokens_b) > max_length:
    (tokens_a if len(tokens_a) > len(tokens_b) else tokens_b).pop()


ModelInput = collections.namedtuple(
    "ModelInput", ["tokens", "input_ids", "input_mask", "segment_ids"])


class CutCount(object):
  """Counts inputs, and warns once of those that were cut."""

  def __init__(self, inputs,
               limit="--max_seq_length, [CLS] and [SEP] included,"):
    """Starts at 0.

    Args:
      inputs: str. What they are called, "lines" for example.
      limit: str. What says how long they may be.
    """
    self._inputs, self._limit = inputs, limit
    self._num_inputs = self._num_cut = 0
    self._is_reported = False

  def add(self, num_pieces, max_pieces):
    """Counts an input of so many word pieces, cut to `max_pieces`."""
    self._num_inputs += 1
    self._num_cut += num_pieces > max_pieces
    self._max_pieces = max_pieces

  def report(self):
    """Warns if inputs were cut; what is cut after a warning is not reported."""
    if self._num_cut and not self._is_reported:
      self._is_reported = True
      tf.logging.warning(
          "%d of %d %s have more than the %d word pieces of %s and were cut",
          self._num_cut, self._num_inputs, self._inputs, self._max_pieces,
          self._limit)


def check_count(name, value, least=1):
  """Raises ValueError for what is no whole number, or less than `least`."""
  # bool is an int to Python.
  if (isinstance(value, bool) or not isinstance(value, numbers.Integral) or
      value < least):
    raise ValueError("%s=%s: expected a whole number, at least %d" % (
        name, tokenization.shorten(value), least))


def check_pair(name, type_vocab_size):
  """Raises ValueError if a model knows no second segment.

  Args:
    name: str. The pair, for the message.
    type_vocab_size: int. Segments that the model knows; None if unknown.
  """
  if type_vocab_size is not None and type_vocab_size < 2:
    raise ValueError(
        "%s: is a pair of texts, but the model's type_vocab_size is %d: it "
        "reads single texts only; give a model with 2 or more" % (
            name, type_vocab_size))


def make_model_input(tokens_a, tokens_b, max_seq_length, tokenizer, cuts=None):
  """Wraps, cuts and pads one text or a pair for the encoder.

  ```
  tokens:      [CLS] the kettle sing ##s . [SEP] tea is near ##ly ready [SEP]
  segment_ids: 0     0   0      0    0   0 0     1   1  1    1    1     1
  ```

  Args:
    tokens_a: list of str. Word pieces of the first text.
    tokens_b: list of str, or None or empty if there is one text only.
    max_seq_length: int. S, at least 3.
    tokenizer: FullTokenizer.
    cuts: CutCount, or None. Counts the input.

  Returns:
    ModelInput: `tokens` without padding; `input_ids`, `input_mask` and
    `segment_ids` as lists of S int.
  """
  tokens_a, tokens_b = list(tokens_a), list(tokens_b or [])
  if cuts is not None:
    cuts.add(len(tokens_a) + len(tokens_b) + (3 if tokens_b else 2),
             max_seq_length)
  if tokens_b:
    truncate_pair(tokens_a, tokens_b, max_seq_length - 3)
  else:
    del tokens_a[max_seq_length - 2:]
  tokens = ["[CLS]"] + tokens_a + ["[SEP]"]
  segment_ids = [0] * len(tokens)
  if tokens_b:
    tokens += tokens_b + ["[SEP]"]
    segment_ids += [1] * (len(tokens_b) + 1)
  return ModelInput(
      tokens=tokens,
      input_ids=pad_to_length(
          tokenizer.convert_tokens_to_ids(tokens), max_seq_length),
      input_mask=pad_to_length([1] * len(tokens), max_seq_length),
      segment_ids=pad_to_length(segment_ids, max_seq_length))


def check_tokens(vocab, vocab_file, tokens, who_needs_them):
  """Raises ValueError if a vocabulary lacks tokens.

  Args:
    vocab: dict from token to id.
    vocab_file: str. Where it is from, for the message.
    tokens: list of str.
    who_needs_them: str, for the message: "records need".
  """
  missing = [token for token in tokens if token not in vocab]
  if missing:
    raise ValueError("%s: has no %s, which %s; is it the vocabulary of the "
                     "model?" % (vocab_file, ", ".join(missing),
                                 who_needs_them))


def check_vocab(vocab, vocab_file, vocab_size):
  """Raises ValueError if a vocabulary cannot go with a model.

  Args:
    vocab: dict from token to id.
    vocab_file: str. Where it is from, for the message.
    vocab_size: int. Rows of the model's word embedding table.
  """
  check_tokens(vocab, vocab_file, ["[UNK]", "[CLS]", "[SEP]"],
               "every example needs")
  largest = max(vocab.values())
  if largest >= vocab_size:
    raise ValueError("%s: has ids up to %d, but the model's vocab_size is %d; "
                     "is it the vocabulary of the model?" %
                     (vocab_file, largest, vocab_size))


def log_example(name, model_input, label=None, index=0):
  """Logs how an example was tokenized, so that a wrong vocabulary shows.

  Args:
    name: str. The example's name.
    model_input: ModelInput.
    label: str. What to show as its label; None where it has none.
    index: int. Its index in the file. Only of the first one does a user see
      more than where DEBUG messages are logged; numbers always are for those.
  """
  level = level_of_example(index)
  tf.logging.log(level, "*** Example ***")
  tf.logging.log(level, "guid: %s", name)
  tf.logging.log(level, "tokens: %s", " ".join(model_input.tokens))
  for field in ("input_ids", "input_mask", "segment_ids"):
    values = getattr(model_input, field)
    tf.logging.debug("%s: %s", field, " ".join(str(v) for v in values))
  if label is not None:
    tf.logging.log(level, "label: %s", label)


def level_of_example(index):
  """Returns the level at which an example of a file is logged."""
  return tf.logging.DEBUG if index else tf.logging.INFO


def batches_by_length(lengths, batch_size, max_tokens=None):
  """Puts sequences of similar lengths together.

  Args:
    lengths: list of int.
    batch_size: int.
    max_tokens: int. Batches with more are halved until none has, or is one
      sequence. Halves are of few sizes, for those who keep something for each.

  Returns:
    list of int64 [up to batch_size]: the sequences of each batch, by index.
  """
  order = np.argsort(lengths, kind="stable")
  batches = []
  waiting = [order[start:start + batch_size]
             for start in range(0, len(order), batch_size)][::-1]
  while waiting:
    batch = waiting.pop()
    if (max_tokens is None or len(batch) == 1 or
        sum(lengths[i] for i in batch) <= max_tokens):
      batches.append(batch)
    else:
      middle = (len(batch) + 1) // 2
      waiting += [batch[middle:], batch[:middle]]
  return batches


def stack_inputs(model_inputs):
  """Makes arrays of model inputs, as long as the longest of them.

  Args:
    model_inputs: list of ModelInput, or of anything with its fields.

  Returns:
    dict of int32 [B, T]: "input_ids", "input_mask" and "segment_ids".
  """
  longest = max(len(one.tokens) for one in model_inputs)
  return {name: np.array([getattr(one, name)[:longest] for one in model_inputs],
                         np.int32)
          for name in ("input_ids", "input_mask", "segment_ids")}


def in_background(items, size, stop, waits_for_end=False):
  """Goes through an iterable in a thread of its own, some items ahead.

  Args:
    items: iterable.
    size: int. Items that may wait to be taken.
    stop: threading.Event. Set when an error, or nobody taking the items any
      more, ends all that have the same one.
    waits_for_end: bool. The thread is in TensorFlow, which Python must not
      leave alone at exit: does not end before it.

  Yields:
    The items, in order. An exception of the iterable is raised here.
  """
  waiting = queue.Queue(size)
  failures = []

  def put(kind, value):
    while not stop.is_set():
      try:
        return waiting.put((kind, value), timeout=0.1)
      except queue.Full:
        pass

  def work():
    try:
      for item in items:
        put("item", item)
        if stop.is_set():
          return
      put("end", None)
    except BaseException as error:  # pylint: disable=broad-except
      failures.append(error)
      put("error", error)

  # A daemon, so that waiting for input does not keep a stopped process alive.
  thread = threading.Thread(target=work, daemon=True)
  thread.start()
  try:
    while not stop.is_set():
      try:
        kind, value = waiting.get(timeout=0.1)
      except queue.Empty:
        continue
      if kind == "error":
        raise value
      if kind == "end":
        return
      yield value
  except BaseException:
    stop.set()
    raise
  finally:
    if waits_for_end:
      thread.join()
  if failures:  # one that stopped the others, and so found nobody to take it
    raise failures[0]
