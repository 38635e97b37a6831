"""Files of examples: writing TFRecords, reading them back, and batches of them.

Every script stores its features as `tf.train.Example` records and reads them
back as batches of int32 and float32 tensors.
"""

import collections
import itertools
import queue
import threading

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import files, gzip_files, model_inputs, record_order


def create_int_feature(values):
  """Makes an int64 `tf.train.Feature` from a list of int."""
  return tf.train.Feature(
      int64_list=tf.train.Int64List(value=[int(v) for v in values]))


def create_float_feature(values):
  """Makes a float `tf.train.Feature` from a list of float."""
  return tf.train.Feature(
      float_list=tf.train.FloatList(value=[float(v) for v in values]))


def make_example(features):
  """Makes a `tf.train.Example` from a dict of name to list of int or of float.

  A list that contains a float becomes a float feature.
  """
  example = tf.train.Example()
  for name, values in features.items():
    is_float = any(isinstance(v, (float, np.floating)) for v in values)
    create = create_float_feature if is_float else create_int_feature
    example.features.feature[name].CopyFrom(create(values))
  return example


def write_examples(path, examples):
  """Writes dicts of features as a whole TFRecord file, or none.

  Args:
    path: str. The file to write.
    examples: iterable of dict, from feature name to list of int or of float.

  Returns:
    int. The number of records written.
  """
  count = 0
  with files.atomic_path(path) as temporary:
    with tf.python_io.TFRecordWriter(temporary) as writer:
      for features in examples:
        # Otherwise each process may write the names in a different order, and
        # files of the same examples would differ.
        writer.write(make_example(features).SerializeToString(
            deterministic=True))
        count += 1
  return count


def compression_of(path):
  """Returns TensorFlow's name for a TFRecord file's compression: GZIP or ""."""
  with tf.gfile.GFile(path, "rb") as reader:
    return "GZIP" if gzip_files.is_gzip(reader) else ""


def iterate_records(path):
  """Returns an iterator over the records, bytes, of a TFRecord file."""
  return tf.python_io.tf_record_iterator(
      path, tf.python_io.TFRecordOptions(compression_of(path)))


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


# Number of random orders of the files, after which they repeat.
_NUM_ORDERS = 16

# How the message begins about a batch that does not fit the model.
BAD_RECORDS = "a record does not fit the model:"


def make_input_fn(input_files, name_to_features, is_training,
                  drop_remainder=False, shuffle_buffer_size=100,
                  num_skipped=0, num_parallel_files=1, file_seed=None,
                  repeat=None, limits=None, order=None, by_length=False):
  """Makes an Estimator's `input_fn` that reads TFRecord files.

  Args:
    input_files: str or list of str. TFRecord files, plain or gzip.
    name_to_features: dict from name to `tf.FixedLenFeature`.
    is_training: bool. Repeats without end and shuffles.
    drop_remainder: bool. Drops a last batch that is not full (TPUs need one
      size).
    shuffle_buffer_size: int. Records that shuffling chooses from.
    num_skipped: int. Examples that training has already used, so that it also
      resumes in the data. Without `order`, those that were left in the shuffle
      buffer are skipped as well.
    num_parallel_files: int. With more than one, training reads N files at a
      time, in a random order that differs each time through.
    file_seed: int. The seed of those orders, which has to be the same when
      training resumes, for `num_skipped` to be right. None for 0.
    repeat: bool. Repeats without end; None for `is_training`.
    limits: dict from name to int. Values of a batch must be at least 0 and less
      than this, or the run stops with a message that begins with BAD_RECORDS.
    order: training_state.State, or another object with a `seed` and a
      `group_size`. Training reads in the order that they give, see
      `record_order`, in this process; see `can_be_ordered`. None for
      TensorFlow's shuffling.
    by_length: bool. Batches records of similar lengths, with about equal
      numbers of tokens (see `model_inputs.most_tokens`), and adds the feature
      PLACE, for `in_order`. For models that skip padding, in this process.

  Returns:
    A function of `params` that returns a `tf.data.Dataset` of the dicts of
    `decode_batch`. It uses "batch_size" and, with `order`, "share", a Share.
  """
  def decode(records):
    return check_limits(decode_batch(records, name_to_features), limits or {})

  def input_fn(params):
    batch_size = params["batch_size"]
    paths = [input_files] if isinstance(input_files, str) else input_files
    if order:
      return _ordered_batches(
          paths, order.seed, num_skipped, batch_size, order.group_size,
          params.get("share", WHOLE)).map(
              decode, num_parallel_calls=2).prefetch(2)
    if is_training and num_parallel_files > 1:
      dataset = _name_files(
          _orders_of_files(paths, file_seed or 0)).repeat().interleave(
              _read_file,
              cycle_length=min(num_parallel_files, len(paths)), block_length=16,
              num_parallel_calls=min(num_parallel_files, len(paths)))
    else:
      dataset = read_records(paths)
    if by_length:
      return _batches_by_length(dataset, batch_size, decode).prefetch(2)
    dataset = _batches(dataset, batch_size, is_training, drop_remainder,
                       shuffle_buffer_size, num_skipped, repeat)
    return dataset.map(decode, num_parallel_calls=2).prefetch(2)

  return input_fn


# Full batches whose records are sorted together.
_BATCHES_TO_SORT = 64

# Feature with the place of each record in the files, int64 [B].
PLACE = "_place_of_record"


def _batches_by_length(dataset, batch_size, decode):
  """Returns a dataset of batches of records; see `make_input_fn`.

  Args:
    dataset: of records.
    batch_size: int.
    decode: function of a batch of records that returns its dict.
  """
  size = _BATCHES_TO_SORT * batch_size

  def plan(mask):
    """Returns the order of a window's records, and the batch of each."""
    batches = model_inputs.batches_of_tokens(
        mask.sum(axis=1), model_inputs.most_tokens(batch_size, mask.shape[1]))
    return np.concatenate(batches).astype(np.int64), np.repeat(
        np.arange(len(batches)), [len(batch) for batch in batches])

  def sort(index, records):
    window = decode(records)
    order, batches = tf.numpy_function(
        plan, [window["input_mask"]], [tf.int64, tf.int64])
    order.set_shape([None])
    batches.set_shape([None])
    window = {name: tf.gather(value, order) for name, value in window.items()}
    return dict(window, **{PLACE: index * size + order}), batches

  def cut(window, batches):
    return tf.data.Dataset.range(batches[-1] + 1).map(lambda index: {
        name: tf.boolean_mask(value, tf.equal(batches, index))
        for name, value in window.items()})

  return dataset.batch(size).apply(
      tf.data.experimental.enumerate_dataset()).map(sort).flat_map(cut)


def in_order(results):
  """Restores the order of results of `make_input_fn`'s batches by length.

  Args:
    results: iterable of dict with PLACE, which is removed; without it they are
      in order already.

  Yields:
    The results, in the order of the files.
  """
  waiting, place = {}, 0  # at most one window waits
  for result in results:
    waiting[int(result.pop(PLACE, place))] = result
    while place in waiting:
      yield waiting.pop(place)
      place += 1


def can_be_ordered(paths):
  """Returns whether `record_order` can read files, a str or list: not gzip."""
  paths = [paths] if isinstance(paths, str) else paths
  return not any(compression_of(path) for path in paths)


class Share(collections.namedtuple("Share", "num_parts num_workers worker")):
  """The share that a process has of each part of each batch.

  Attributes:
    num_parts: int. Parts of a batch, see `accumulation`.
    num_workers: int. Processes that share each part evenly.
    worker: int. Number of this process.
  """


WHOLE = Share(1, 1, 0)


def _ordered_batches(paths, seed, position, batch_size, group_size, share):
  """Returns a dataset of a Share of batches of records; see `record_order`."""
  def batches():
    records = record_order.iterate_records(paths, seed, position, group_size)
    while True:
      try:
        batch = np.array(list(itertools.islice(records, batch_size)), object)
        yield batch.reshape([share.num_parts, share.num_workers, -1])[
            :, share.worker].reshape([-1])
      except tf.errors.DataLossError as error:  # TensorFlow would hide it
        raise ValueError("%s %s" % (BAD_RECORDS, error.message)) from None

  return tf.data.Dataset.from_generator(
      batches, tf.string, [batch_size // share.num_workers])


def read_records(paths):
  """Returns a `tf.data.Dataset` of the records of TFRecord files.

  Args:
    paths: list of str. Each is plain or gzip.
  """
  return _name_files(paths).flat_map(_read_file)


def _name_files(paths):
  """Returns a dataset of the names of files and their compressions."""
  compressions = {path: compression_of(path) for path in set(paths)}
  return tf.data.Dataset.from_tensor_slices(
      (paths, [compressions[path] for path in paths]))


def _read_file(path, compression):
  return tf.data.TFRecordDataset(path, compression_type=compression)


def _orders_of_files(paths, seed):
  """Returns the files in several random orders, one after the other."""
  random = np.random.RandomState(seed)
  return [paths[index] for _ in range(_NUM_ORDERS)
          for index in random.permutation(len(paths))]


def check_limits(batch, limits):
  """Returns a batch that stops the run if values exceed their limits.

  Args:
    batch: dict from name to Tensor.
    limits: dict from name to int, see `make_input_fn`.
  """
  checks = []
  for name, limit in sorted(limits.items()):
    lowest, highest = tf.reduce_min(batch[name]), tf.reduce_max(batch[name])
    checks.append(tf.Assert(
        tf.logical_and(lowest >= 0, highest < limit),
        ["%s %s must be from 0 to %d; pass the config and lengths that the "
         "records were made for. Found from" % (BAD_RECORDS, name, limit - 1),
         lowest, "to", highest]))
  with tf.control_dependencies(checks):
    return {name: tf.identity(value) for name, value in batch.items()}


def end_after(input_fn, num_batches, num_together):
  """Ends the input of an `input_fn` whose batches several devices share.

  Args:
    input_fn: function of `params`, as `make_input_fn` returns it.
    num_batches: int. Batches, each for one device, to end after.
    num_together: int. How many of those make a batch of `params`.

  Returns:
    A function of `params` that returns a `tf.data.Dataset`.
  """
  def limited(params):
    size = params["batch_size"] // num_together
    last, rest = divmod(num_batches - 1, num_together)

    def cut(index, batch):
      count = tf.where(index < last, size * num_together, size * (rest + 1))
      return {name: value[:count] for name, value in batch.items()}

    return input_fn(params).take(last + 1).apply(
        tf.data.experimental.enumerate_dataset()).map(cut)

  return limited


def make_array_input_fn(arrays, is_training, drop_remainder=False,
                        shuffle_buffer_size=100):
  """Makes an `input_fn` over arrays in memory, which become part of the graph.

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


def in_background(items, size, stop, waits_for_end=False):
  """Iterates in a thread of its own, some items ahead.

  Args:
    items: iterable.
    size: int. Number of items that may wait to be taken.
    stop: threading.Event. Set after an error, or when the caller stops taking
      items; all threads that share it then end.
    waits_for_end: bool. Ends only after the thread has ended, since it runs
      TensorFlow, which it must not do when Python exits.

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
    except BaseException as error:  # noqa: BLE001  # raised by the reader
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
  if failures:  # `stop` was set before it could be taken above
    raise failures[0]
