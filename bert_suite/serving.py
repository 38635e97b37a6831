"""Trained models without an Estimator: build once, load once, run many times.

A ServingTask defines how the outputs of a task are computed. From it this
module makes a session to run here (`open_session`), or a SavedModel to run
elsewhere (`export_saved_model`), without an optimizer and its variables.
"""

import collections
import contextlib
import os
import tempfile

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import (
    checkpoint_fit, checkpoints, cli, devices, faults, files, int8, json_files,
    modeling, padding)

# What every task reads, int32 [B, S] each.
SEQUENCE_INPUTS = ("input_ids", "input_mask", "segment_ids")
SIGNATURE = tf.saved_model.signature_constants.DEFAULT_SERVING_SIGNATURE_DEF_KEY
# Requests come in all sizes, and the process that answers them may run for
# months; see `padding.Packing` for what a shape costs.
OPTIONS = modeling.Options(remove_padding=True, few_shapes=True)
# Assets of a SavedModel.
VOCAB_FILE = "vocab.txt"
SETTINGS_FILE = "model.json"

# Steps of `padding.round_up` for the numbers of sequences and of masked
# positions in a request. A request of one sequence is not rounded up.
_COUNT_STEPS = (1, 2)


class ServingTask(collections.namedtuple(
    "ServingTask", "name build extra_inputs settings")):
  """How a trained model computes the outputs of a task.

  Attributes:
    name: str. "classifier", for example.
    build: function of a dict from input name to Tensor that builds the model,
      without dropout, and returns a dict from the name of a signature to its
      outputs, a dict from name to Tensor [B, ...].
    extra_inputs: names of inputs in addition to SEQUENCE_INPUTS, int32
      [B, anything].
    settings: dict for JSON. What a program must know to use the outputs, such
      as the labels.
  """

  def __new__(cls, name, build, extra_inputs=(), settings=None):
    return super().__new__(
        cls, name, build, tuple(extra_inputs), settings or {})


class Served(collections.namedtuple("Served", "session inputs signatures")):
  """A model that is ready to run.

  Attributes:
    session: tf.Session.
    inputs: dict from input name to its placeholder.
    signatures: dict, as `ServingTask.build` returns it.
  """


def round_up_request(inputs, max_length):
  """Pads the inputs of a served model to one of a few shapes.

  For use with the `few_shapes` of OPTIONS.

  Args:
    inputs: dict from name to int32 [B, S], SEQUENCE_INPUTS among them; further
      ones may be [B, anything].
    max_length: int. S is not rounded up beyond this.

  Returns:
    inputs: dict like the one given, with zeros to the right and below.
    cut: function of a Tensor [B, ...], rounded up, and the name of an input
      that its second axis is as long as, or None. Returns the request's part.
  """
  batch_size, length = tf.unstack(tf.shape(inputs[SEQUENCE_INPUTS[0]]))
  more_rows = padding.round_up(batch_size, *_COUNT_STEPS) - batch_size
  # A request that is too long keeps its length, for the error message.
  more_columns = tf.maximum(tf.minimum(
      padding.round_up(length, *padding.LENGTH_STEPS), max_length) - length, 0)
  padded = {}
  for name, tensor in inputs.items():
    more = more_columns
    if name not in SEQUENCE_INPUTS:
      width = tf.shape(tensor)[1]
      more = padding.round_up(width, *_COUNT_STEPS) - width
    padded[name] = tf.pad(tensor, [[0, more_rows], [0, more]])
    padded[name].set_shape([None, None])

  def cut(tensor, like=None):
    rows = tensor[:batch_size]
    return rows if like is None else rows[:, :tf.shape(inputs[like])[1]]

  return padded, cut


def session_config():
  """Returns a ConfigProto that leaves GPU memory to other processes."""
  config = tf.ConfigProto(allow_soft_placement=True)
  config.gpu_options.allow_growth = True
  return config


def _new_session():
  with environment.quiet_start():  # the first session looks for devices
    environment.open_first_session()
    return tf.Session(config=session_config())


def open_session(task, checkpoint):
  """Builds a task's model in its own graph and loads its weights.

  Args:
    task: ServingTask.
    checkpoint: str. Prefix of a checkpoint that has every variable.

  Returns:
    Served.

  Raises:
    ValueError: the checkpoint cannot be read or does not fit.
  """
  checkpoint = checkpoints.resolve(checkpoint)
  with tf.Graph().as_default():
    inputs = collections.OrderedDict(
        (name, tf.placeholder(tf.int32, [None, None], name))
        for name in SEQUENCE_INPUTS + task.extra_inputs)
    signatures = task.build(inputs)
    variables = tf.global_variables()
    checkpoint_fit.check_shapes(
        variables, checkpoint, must_have_all=True,
        cure="is it the checkpoint of this task, model and set of labels?")
    saver = tf.train.Saver(variables)
    session = _new_session()
    with _closed_if_it_fails(session):
      try:
        saver.restore(session, files.literal(checkpoint))
        session.run(tf.local_variables_initializer())
      except tf.errors.OpError as error:
        raise ValueError("%s: cannot be loaded (%s); is it complete, and is "
                         "there enough memory?" % (
                             checkpoint, _first_line(error))) from None
  return Served(session, inputs, signatures)


@contextlib.contextmanager
def _closed_if_it_fails(session):
  """Closes a session on an error; it stays open otherwise."""
  try:
    yield
  except BaseException:
    session.close()
    raise


def _first_line(error):
  """Returns the first line of an error message of Python or TensorFlow."""
  return faults.message_of(error).strip().split("\n")[0]


def run(served, signature, arrays):
  """Runs a model; several threads may do so at once.

  Args:
    served: Served.
    signature: str.
    arrays: dict from input name to int32 [B, S].

  Returns:
    dict from output name to array [B, ...].
  """
  return served.session.run(served.signatures[signature], {
      served.inputs[name]: array for name, array in arrays.items()})


def make_settings(task, max_seq_length, do_lower_case, strip_accents=None,
                  type_vocab_size=None, compute_dtype="float32"):
  """Returns the content of a model's model.json, a dict.

  Args:
    task: ServingTask.
    max_seq_length: int.
    do_lower_case: bool.
    strip_accents: bool. Left out if None, which means `do_lower_case`.
    type_vocab_size: int. Segments that the model knows; None if unknown. Left
      out unless it is 1, in which case pairs are refused.
  """
  settings = dict(task.settings, task=task.name, max_seq_length=max_seq_length,
                  do_lower_case=bool(do_lower_case))
  if strip_accents is not None:
    settings["strip_accents"] = bool(strip_accents)
  if type_vocab_size == 1:
    settings["type_vocab_size"] = type_vocab_size
  if compute_dtype != "float32":
    settings["compute_dtype"] = compute_dtype
  return settings


def export_saved_model(task, checkpoint, vocab_file, settings, export_dir,
                       check=None):
  """Writes a SavedModel that TensorFlow Serving and TensorFlow 2 load.

  Its signatures take token ids, int32 [B, S] of any B and of any S that the
  model can read. The vocabulary and model.json are its assets.

  Args:
    task: ServingTask.
    checkpoint: str. Prefix of a checkpoint that has every variable.
    vocab_file: str.
    settings: dict, from `make_settings`.
    export_dir: str. The model becomes a version in it.
    check: function of the model's folder, called before it becomes one; it
      does not if that raises an error.

  Returns:
    str. The folder of the model.

  Raises:
    ValueError: the checkpoint cannot be read or does not fit.
  """
  checkpoint, vocab_file, export_dir = [
      cli.expand_home(path) for path in (checkpoint, vocab_file, export_dir)]
  served = open_session(task, checkpoint)
  with served.session, served.session.graph.as_default():
    signatures = {}
    for name, outputs in served.signatures.items():
      named = {key: tf.identity(output, "%s_%s" % (name, key))
               for key, output in outputs.items()}
      signatures[name] = tf.saved_model.predict_signature_def(
          served.inputs, named)

    def write(path):
      # Assets keep their file names, which vary for vocabularies.
      with tempfile.TemporaryDirectory() as folder:
        assets = [os.path.join(folder, name)
                  for name in (VOCAB_FILE, SETTINGS_FILE)]
        tf.gfile.Copy(vocab_file, assets[0])
        files.write_json(assets[1], settings)
        builder = tf.saved_model.Builder(path)
        builder.add_meta_graph_and_variables(
            served.session, [tf.saved_model.tag_constants.SERVING],
            signature_def_map=signatures,
            assets_collection=[tf.constant(asset) for asset in assets],
            saver=tf.train.Saver(int8.variables_to_save()),
            strip_default_attrs=True)
        builder.save()
      if check:
        check(path)

    path = files.write_version(export_dir, write)
  tf.logging.info("Exported the %s model to %s", task.name, path)
  return path


def load_saved_model(path):
  """Loads a SavedModel from `export_saved_model`.

  Args:
    path: str. Its folder.

  Returns:
    Served, its settings, and the path of its vocabulary.

  Raises:
    ValueError: it is not such a model.
  """
  folder = os.path.join(path, "assets")
  with loading(path):
    settings = read_settings(folder)
    devices.check_dtype(settings.get("compute_dtype", "float32"))
    with tf.Graph().as_default() as graph:
      session = _new_session()
      with _closed_if_it_fails(session):
        loaded = tf.saved_model.loader.load(
            session, [tf.saved_model.tag_constants.SERVING],
            files.literal_folder(path))
        inputs, signatures = _find_tensors(graph, loaded)
  return (Served(session, inputs, signatures), settings,
          os.path.join(folder, VOCAB_FILE))


@contextlib.contextmanager
def loading(path):
  """Turns errors of loading an exported model into ValueErrors."""
  try:
    yield
  except (tf.errors.OpError, OSError, ValueError, KeyError, TypeError,
          RuntimeError) as error:
    raise ValueError(
        "%s: cannot be loaded (%s); give a folder that export_model.py or "
        "--export_dir wrote" % (path, _first_line(error))) from None


def read_settings(folder):
  """Reads and checks the model.json in a folder; see `make_settings`."""
  settings = json_files.read(os.path.join(folder, SETTINGS_FILE))
  # Values have the names and types of those in run.json.
  checkpoints.check_fields(dict(settings, training=settings))
  for name in ("task", "do_lower_case", "max_seq_length"):
    settings[name]
  return settings


def _find_tensors(graph, loaded):
  """Returns the inputs and the signatures of a MetaGraphDef, for Served."""
  inputs, signatures = {}, {}
  for name, signature in loaded.signature_def.items():
    if name.startswith("__"):  # TensorFlow's own
      continue
    inputs.update((key, graph.get_tensor_by_name(info.name))
                  for key, info in signature.inputs.items())
    signatures[name] = {key: graph.get_tensor_by_name(info.name)
                        for key, info in signature.outputs.items()}
  return inputs, signatures
