"""Trained models as ONNX files, which ONNX Runtime runs without TensorFlow.

The graph is built from the weights of a checkpoint: `onnx_graph` builds the
encoder, this module the heads of the tasks. Each export is run and compared
with TensorFlow before anything is written.
"""

import collections
import importlib
import os
import statistics
import time

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np
import tensorflow.compat.v1 as tf

from . import (
    checkpoints, cli, devices, files, onnx_graph, problem_types, serving)
from .squad import head as squad_head

MODEL_FILE = "model.onnx"
COMPUTE_DTYPES = ("float32", "int8")
_CURE = "pip install \"onnx<1.19\" onnxruntime"
_POSITIONS = "masked_lm_positions"
_TOLERANCE = 1e-5
_MOST_BYTES = 2 ** 31 - 1  # of an ONNX file


def import_packages(needed=("onnx", "onnxruntime")):
  """Imports packages; raises ValueError if one is missing.

  Args:
    needed: names of the packages.

  Returns:
    The last of them.
  """
  try:
    return [importlib.import_module(name) for name in needed][-1]
  # Incompatible releases fail with errors of many types.
  except Exception as error:  # noqa: BLE001
    raise ValueError(
        "files of ONNX need what cannot be imported here (%s); %s" % (
            str(error).split("\n")[0], _CURE)) from None


def check_supported(compute_dtype, task):
  """Raises ValueError for what cannot be exported.

  Args:
    compute_dtype: str.
    task: str. Its name.
  """
  if compute_dtype not in COMPUTE_DTYPES:
    raise ValueError("--compute_dtype=%s: a file of ONNX computes in %s" % (
        compute_dtype, " or ".join(COMPUTE_DTYPES)))
  if task not in _HEADS:
    raise ValueError("--format=onnx: found the task %s, expected %s; leave it "
                     "out" % (task, ", ".join(sorted(_HEADS))))


def export(model, compute_dtype, export_dir, check=None, scales="token"):
  """Writes a model as a version in a folder: model.onnx, vocab.txt, model.json.

  Args:
    model: trained_models.TrainedModel that computes in float32.
    compute_dtype: str. One of COMPUTE_DTYPES.
    export_dir: str.
    check: see `serving.export_saved_model`.
    scales: one of onnx_graph.SCALES.

  Returns:
    str. The folder of the model.

  Raises:
    ValueError: the model cannot be read or does not fit, or ONNX Runtime's
      outputs differ from TensorFlow's.
  """
  served = serving.open_session(model.task, model.checkpoint)
  with served.session:
    inputs = make_sample(model)
    expected, seconds = _time(
        lambda: serving.run(served, serving.SIGNATURE, inputs))
  differences = {}
  for dtype in dict.fromkeys(["float32", compute_dtype]):
    content = make_content(model, dtype, list(expected), scales)
    session = Session(content)
    found, onnx_seconds = _time(
        lambda session=session: session.run(session.outputs, inputs))
    differences[dtype], bound = compare(expected, found)
    if dtype == "float32" and not differences[dtype] <= bound:
      raise ValueError(
          "--format=onnx: ONNX Runtime's outputs differ from TensorFlow's by "
          "%.2g, expected %.2g at most; nothing was written. Please report it, "
          "with the versions of both" % (differences[dtype], bound))

  def write(path):
    tf.gfile.MakeDirs(path)
    with tf.gfile.GFile(os.path.join(path, MODEL_FILE), "wb") as writer:
      writer.write(content)
    tf.gfile.Copy(cli.expand_home(model.vocab_file),
                  os.path.join(path, serving.VOCAB_FILE))
    files.write_json(os.path.join(path, serving.SETTINGS_FILE), dict(
        model.settings, **{"compute_dtype": compute_dtype} if (
            compute_dtype != "float32") else {}))
    if check:
      check(path)

  path = files.write_version(cli.expand_home(export_dir), write, (
      MODEL_FILE, serving.VOCAB_FILE, serving.SETTINGS_FILE))
  tf.logging.info("Exported the %s model to %s", model.task.name, path)
  tf.logging.info(
      "For %d random sequences, outputs differ from TensorFlow's in float32 by "
      "at most %s; TensorFlow took %.1f ms, ONNX Runtime in %s %.1f ms",
      len(inputs["input_ids"]), " and ".join(
          "%.2g in %s" % (difference, dtype)
          for dtype, difference in differences.items()),
      1000 * seconds, compute_dtype, 1000 * onnx_seconds)
  return path


def make_sample(model):
  """Makes inputs for the comparison: sequences of several lengths.

  Args:
    model: trained_models.TrainedModel.

  Returns:
    dict from name to int32 [B, S].
  """
  random = np.random.RandomState(0)
  longest = min(64, model.settings["max_seq_length"])
  # Padding even after the longest, if the model has room for it.
  shape = (8, min(longest + 2, model.config.max_position_embeddings))
  lengths = np.linspace(longest, 2, shape[0]).astype(np.int32)
  mask = (np.arange(shape[1]) < lengths[:, np.newaxis]).astype(np.int32)
  inputs = {
      "input_ids": random.randint(0, model.config.vocab_size, shape) * mask,
      "input_mask": mask,
      "segment_ids": random.randint(
          0, model.config.type_vocab_size, shape) * mask}
  if _POSITIONS in model.task.extra_inputs:
    inputs[_POSITIONS] = random.randint(0, lengths.min(), (shape[0], 3))
  return {name: array.astype(np.int32) for name, array in inputs.items()}


def compare(expected, found):
  """Returns the largest difference between outputs, and the largest allowed.

  Args:
    expected: dict from name to array; integer arrays are left out.
    found: dict of the same form.
  """
  differences, largest = [], 1.0
  for name, array in expected.items():
    if array.dtype == np.float32:
      # Squad's logits at padding say nothing about the usual magnitude.
      sizes = np.abs(array[array > squad_head.PADDING_LOGIT])
      largest = max(largest, sizes.max() if sizes.size else 0.0)
      differences.append(np.abs(array - found[name]).max())
  return float(np.max(differences)), _TOLERANCE * float(largest)


class Session:
  """An ONNX Runtime session that stands in for one of TensorFlow."""

  def __init__(self, content):
    """Loads the content of a file, bytes."""
    onnxruntime = import_packages(["onnxruntime"])
    options = onnxruntime.SessionOptions()
    # As TensorFlow does; 0 is one per core.
    options.intra_op_num_threads = int(
        os.environ.get("TF_NUM_INTRAOP_THREADS") or 0)
    self._session = onnxruntime.InferenceSession(
        content, options, providers=["CPUExecutionProvider"])
    self.outputs = {one.name: Output(tf.TensorShape([
        size if isinstance(size, int) else None for size in one.shape]))
                    for one in self._session.get_outputs()}
    self.inputs = {one.name: one.name for one in self._session.get_inputs()}

  def run(self, outputs, feed):
    """Computes outputs, a dict keyed by name; returns a dict of arrays."""
    return dict(zip(outputs, self._session.run(list(outputs), {
        name: np.asarray(array, np.int64) for name, array in feed.items()})))

  def close(self):
    """Frees the memory of the model."""
    self._session = None


# What Predictor needs to know about an output: its shape, a tf.TensorShape.
Output = collections.namedtuple("Output", "shape")


def load(path):
  """Loads a version that `export` wrote, like `serving.load_saved_model`."""
  with serving.loading(path):
    settings = serving.read_settings(path)
    with tf.gfile.GFile(os.path.join(path, MODEL_FILE), "rb") as reader:
      content = reader.read()
    try:
      session = Session(content)
    except Exception as error:  # noqa: BLE001  # they share no base class
      raise ValueError(str(error)) from None
    check_labels(session.outputs, settings.get("labels"))
  if settings.get("compute_dtype") == "int8":
    warn_of_cpu()
  return (serving.Served(session, session.inputs, {
      serving.SIGNATURE: session.outputs}), settings,
          os.path.join(path, serving.VOCAB_FILE))


def check_labels(outputs, labels):
  """Raises ValueError if a model has not one output for each label.

  Args:
    outputs: dict from name to Output.
    labels: list of str, or None.
  """
  for name in ("probabilities", "logits"):  # of a classifier, of ner
    if labels and name in outputs:
      found = outputs[name].shape[-1]
      if found != len(labels):
        raise ValueError("%s has %d labels, and the model %s outputs; export "
                         "it again" % (
                             serving.SETTINGS_FILE, len(labels), found))
      return


def warn_of_cpu():
  """Warns of a CPU on which ONNX Runtime's 8-bit sums can overflow.

  Its documentation of quantization says so of AVX2 and AVX-512 without VNNI.
  """
  missing = devices.describe_cpu_without("int8")
  if missing:
    tf.logging.warning(
        "The model computes in int8, but %s: sums can overflow there, and "
        "answers be wrong; export the model with --compute_dtype=float32 for "
        "this CPU", missing)


def _time(run):
  """Returns a function's result and its median time in seconds."""
  results = [run() for _ in range(2)]
  seconds = []
  for _ in range(5):
    began = time.perf_counter()
    run()
    seconds.append(time.perf_counter() - began)
  return results[-1], statistics.median(seconds)


def make_content(model, compute_dtype, names, scales="token"):
  """Builds the graph of a model.

  Args:
    model: trained_models.TrainedModel.
    compute_dtype: str. One of COMPUTE_DTYPES.
    names: names of the outputs to include.
    scales: one of onnx_graph.SCALES.

  Returns:
    bytes. The content of the file.

  Raises:
    ValueError: it would be too large.
  """
  reader = tf.train.load_checkpoint(
      files.literal(checkpoints.resolve(model.checkpoint)))
  encoder = onnx_graph.Encoder(
      onnx_graph.Graph(compute_dtype, scales), model.config, reader.get_tensor)
  outputs = _HEADS[model.task.name](encoder, model, names)
  proto = encoder.graph.make_model(
      dict({name: ["batch", "length"] for name in serving.SEQUENCE_INPUTS},
           **{name: ["batch", "predictions"]
              for name in model.task.extra_inputs}), outputs, "bert-suite")
  if proto.ByteSize() > _MOST_BYTES:
    raise ValueError(
        "--format=onnx: %s makes a file of %.1f GB, and 2 is the most; try "
        "--compute_dtype=int8" % (model.checkpoint, proto.ByteSize() / 1e9))
  return proto.SerializeToString()


def _add_layers(encoder, config, rows=None):
  """Adds embeddings and layers, the last one only for `rows` if given.

  Returns:
    list of float32 [R, W], one per layer; with `rows` the last is [B * P, W].
  """
  hidden, layers = encoder.embed(), []
  for i in range(config.num_hidden_layers):
    is_last = i == config.num_hidden_layers - 1
    hidden = encoder.add_layer(i, hidden, rows if is_last else None)
    layers.append(hidden)
  return layers


def _classifier(encoder, model, names):
  """Adds the head of classifiers; returns outputs, see `Graph.make_model`."""
  kind = model.settings.get("problem_type", problem_types.SINGLE_LABEL)
  first = _add_layers(encoder, model.config, encoder.find_rows())[-1]
  logits = _score(encoder, encoder.pool(first), "output_", "logits")
  add = encoder.graph.add
  shape = ["batch", len(encoder.weights("output_bias"))]
  outputs = {"logits": (np.float32, shape)} if "logits" in names else {}
  if kind == problem_types.REGRESSION:
    add("Squeeze", logits, [1], outputs=["score"])
    return dict(outputs, score=(np.float32, ["batch"]))
  if kind == problem_types.MULTI_LABEL:
    add("Sigmoid", logits, outputs=["probabilities"])
  else:
    add("Softmax", logits, axis=-1, outputs=["probabilities"])
  return dict(outputs, probabilities=(np.float32, shape))


def _score(encoder, vectors, scope, name=None):
  """Adds the product with a head's weights, which are never in 8 bits."""
  return encoder.graph.add(
      "Gemm", vectors, encoder.weights(scope + "weights"),
      encoder.weights(scope + "bias"), transB=1, outputs=name and [name])


def _squad(encoder, model, unused_names):
  """Adds the head of run_squad."""
  add = encoder.graph.add
  logits = encoder.unpack(
      _score(encoder, _add_layers(encoder, model.config)[-1],
             "cls/squad/output_"), np.float32(squad_head.PADDING_LOGIT))
  names = ["start_logits", "end_logits"]
  for i, name in enumerate(names):
    add("Gather", logits, i, axis=2, outputs=[name])
  return {name: (np.float32, ["batch", "length"]) for name in names}


def _ner(encoder, model, unused_names):
  """Adds the head of run_ner; at padding its scores are those of zeros."""
  logits = _score(encoder, _add_layers(encoder, model.config)[-1],
                  "cls/ner/output_")
  bias = encoder.weights("cls/ner/output_bias")
  encoder.graph.add(
      "Identity", encoder.unpack(logits, bias), outputs=["logits"])
  return {"logits": (np.float32, ["batch", "length", len(bias)])}


def _features(encoder, model, unused_names):
  """Adds what `features.serving_task` returns."""
  add, settings, config = encoder.graph.add, model.settings, model.config
  number, width = config.num_hidden_layers, config.hidden_size
  chosen = [layer % number for layer in settings["layers"]]
  rows = encoder.find_rows()
  has_last = number - 1 in chosen
  layers = _add_layers(encoder, config, None if has_last else rows)
  first = encoder.take(layers[-1], rows) if has_last else layers[-1]
  add("Identity", encoder.pool(first), outputs=["pooled_output"])
  outputs = {"pooled_output": (np.float32, ["batch", width])}
  if settings["pooling"] == "none":
    for i, layer in enumerate(chosen):
      name = "layer_output_%d" % i
      add("Identity", encoder.unpack(layers[layer], np.float32(0)),
          outputs=[name])
      outputs[name] = np.float32, ["batch", "length", width]
    return outputs
  add("Concat", *[_pool(encoder, layers[layer], settings["pooling"])
                  for layer in chosen], axis=1, outputs=["vector"])
  return dict(outputs, vector=(np.float32, ["batch", len(chosen) * width]))


def _pool(encoder, packed, pooling):
  """Adds `features.pool` of one layer; returns float32 [B, W]."""
  add = encoder.graph.add
  if pooling == "max":
    return add("ReduceMax", encoder.unpack(
        packed, np.finfo(np.float32).min), axes=[1], keepdims=0)
  vectors = encoder.unpack(packed, np.float32(0))
  if pooling == "cls":
    return add("Gather", vectors, 0, axis=1)
  is_real = add("Cast", encoder.is_real, to=onnx_graph.type_of(np.float32))
  number = add("ReduceSum", is_real, [1])  # [B, 1]
  return add("Div", add("ReduceSum", vectors, [1], keepdims=0),
             add("Max", number, np.float32(1)))


def _masked_lm(encoder, model, unused_names):
  """Adds the masked LM head, for the signature with the ten likeliest."""
  add, scope = encoder.graph.add, "cls/predictions/"
  rows = encoder.find_rows(_POSITIONS)
  hidden = _add_layers(encoder, model.config, rows)[-1]
  hidden = encoder.normalize(scope + "transform/", encoder.dense(
      scope + "transform/", hidden, encoder.activation))
  scores = add("Gemm", hidden, encoder.table,
               encoder.weights(scope + "output_bias"), transB=1)
  number = min(10, model.config.vocab_size)
  add("TopK", add("LogSoftmax", scores, axis=-1), [number],
      outputs=["flat_log_probs", "flat_ids"])
  shape = add("Concat", add("Shape", rows), [number], axis=0)
  add("Reshape", "flat_log_probs", shape, outputs=["top_log_probs"])
  add("Cast", add("Reshape", "flat_ids", shape),
      to=onnx_graph.type_of(np.int32), outputs=["top_ids"])
  shape = ["batch", "predictions", number]
  return {"top_ids": (np.int32, shape), "top_log_probs": (np.float32, shape)}


_HEADS = {"classifier": _classifier, "features": _features,
          "masked_lm": _masked_lm, "ner": _ner, "squad": _squad}
