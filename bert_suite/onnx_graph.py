"""The encoder as an ONNX graph, built from the weights of a checkpoint.

Made for ONNX Runtime: GELU and 8-bit products are its own operations. It also
has fused operations for attention and for residual with layer norm, but on a
CPU the separate ones were faster, and it does not fuse them on loading.

Sizes are named as in `modeling.py`. As there, everything but attention is
computed for the R real tokens only, and attention for the T positions that the
batch needs, however far it was padded.
"""

import numpy as np

from . import config as config_module, int8, padding

_OPSET = 17
_MICROSOFT = "com.microsoft"
_MICROSOFTS = frozenset((
    "BiasGelu", "DynamicQuantizeMatMul", "FastGelu", "FusedMatMul", "Gelu",
    "MatMulIntegerToFloat"))
# Scales in 8 bits: one for each token everywhere; or, in the layers around
# attention, one for the batch, which is faster but lets the texts of a batch
# change each other's answers a little.
SCALES = ("token", "batch")
# The operations for `layers.ACTIVATIONS`.
_ACTIVATIONS = {"gelu": "FastGelu", "gelu_new": "FastGelu", "gelu_erf": "Gelu",
                "relu": "Relu", "tanh": "Tanh"}
# Those that add a bias in the same pass.
_WITH_BIAS = {"FastGelu": "FastGelu", "Gelu": "BiasGelu"}


class Graph:
  """The nodes and constants of a graph that is being built."""

  def __init__(self, compute_dtype, scales="token"):
    """Starts an empty graph.

    Args:
      compute_dtype: str. "float32" or "int8", for dense layers.
      scales: one of SCALES.
    """
    self._has_integers = compute_dtype == "int8"
    self.scales = scales
    self._nodes, self._constants = [], []

  def add(self, op, *inputs, outputs=None, **attributes):
    """Adds a node.

    Args:
      op: str. Its operation.
      *inputs: names of Tensors, or arrays or numbers that become constants, or
        "" for those left out.
      outputs: list of str. Names for its outputs; None to name a single one.
      **attributes: of the operation.

    Returns:
      str. The name of its first output.
    """
    from onnx import helper
    names = outputs or ["%s_%d" % (op, len(self._nodes))]
    self._nodes.append(helper.make_node(
        op, [one if isinstance(one, str) else self.keep(one)
             for one in inputs], names, name=names[0],
        domain=_MICROSOFT if op in _MICROSOFTS else "", **attributes))
    return names[0]

  def keep(self, value):
    """Adds an array, or int64 numbers, as a constant; returns its name."""
    from onnx import numpy_helper
    if not isinstance(value, (np.ndarray, np.generic)):
      value = np.array(value, np.int64)
    name = "constant_%d" % len(self._constants)
    self._constants.append(numpy_helper.from_array(
        np.asarray(value), name))
    return name

  def dense(self, x, kernel, bias, activation=None, has_scale_per_row=True,
            is_gelu=False, residual=None):
    """Adds a dense layer.

    In 8 bits each column of the kernel and each input row has its own scale,
    as in `int8`. ONNX Runtime's product supports one scale for all rows, so
    rows are divided by theirs before it and multiplied after it.

    Args:
      x: float32 [rows, in].
      kernel: float32 array [in, out].
      bias: float32 array [out].
      activation: str. An operation to apply, or None.
      has_scale_per_row: bool. False for one scale for all rows.
      is_gelu: bool. x is what a GELU returns.
      residual: float32 [rows, out], added to the result; None for none. Not
        with an activation.

    Returns:
      float32 [rows, out].
    """
    if not self._has_integers:
      return self._end(self.add("Gemm", x, kernel, bias), activation, residual)
    scales = np.maximum(np.abs(kernel).max(axis=0) / int8.LARGEST, int8.TINY)
    integers = np.round(kernel / scales).astype(np.int8)
    scales = scales.astype(np.float32)
    if not has_scale_per_row:
      return self._end(self.add(
          "DynamicQuantizeMatMul", x, integers, scales,
          np.zeros(scales.shape, np.int8), bias), activation, residual)
    # Which range of a row, divided by its scale, is rounded to 0..255.
    if is_gelu:  # never below -0.171: most of the range is for positive values
      low = -0.25
      largest = self.add("Max", self.add("ReduceMax", x, axes=[1]),
                         np.float32(4 * 0.171))  # [rows, 1]
    else:
      low = -128 / 127
      # Of zeros it is 0, and what they are rounded to is multiplied by that.
      largest = self.add("ReduceMax", self.add("Abs", x), axes=[1])
    step = np.float32((1 - low) / 255)
    zero = np.uint8(np.round(-low / step))
    rounded = self.add(
        "QuantizeLinear", self.add("Div", x, largest), step, zero)
    product = self.add("Mul", self.add(
        "MatMulIntegerToFloat", rounded, integers, step, scales, zero), largest)
    if activation in _WITH_BIAS:
      return self.add(_WITH_BIAS[activation], product, bias)
    if residual:
      return self.add("Sum", product, bias, residual)
    return self._end(self.add("Add", product, bias), activation, None)

  def _end(self, x, activation, residual):
    """Adds an activation or a residual, if there is one."""
    if residual:
      return self.add("Add", x, residual)
    return self.add(activation, x) if activation else x

  def make_model(self, inputs, outputs, producer):
    """Makes the ModelProto.

    Args:
      inputs: dict from name to the names of its dimensions; they are int64.
      outputs: dict from name to a pair: data type, such as np.float32, and
        dimensions, names or int.
      producer: str.
    """
    from onnx import helper
    graph = helper.make_graph(
        self._nodes, "bert",
        [helper.make_tensor_value_info(
            name, type_of(np.int64), shape)
         for name, shape in inputs.items()],
        [helper.make_tensor_value_info(
            name, type_of(dtype), shape)
         for name, (dtype, shape) in outputs.items()], self._constants)
    model = helper.make_model(
        graph, producer_name=producer, opset_imports=[
            helper.make_opsetid("", _OPSET),
            helper.make_opsetid(_MICROSOFT, 1)])
    model.ir_version = 8  # the version that this opset came with
    return model


class Encoder:
  """The encoder in a Graph; its inputs are those of `serving`, int64.

  Attributes:
    graph: Graph.
    weights: function of a variable's name that returns an array.
    is_real: bool [B, S]. True at tokens, False at padding.
    activation: str. The operation of the config's hidden_act, or None.
    table: float32 [V, W]. The word embeddings.
  """

  def __init__(self, graph, config, weights):
    """Adds what comes before the layers.

    Args:
      graph: Graph.
      config: BertConfig.
      weights: function of a variable's name that returns an array.
    """
    self.graph, self._config, self.weights = graph, config, weights
    self._num_heads = config.num_attention_heads
    self._size = config.hidden_size // self._num_heads
    add = graph.add
    self.is_real = add("Equal", "input_mask", 1)  # [B, S]
    counts = add("Cast", self.is_real, to=type_of(np.int64))
    # The first token always has a row: a batch of padding alone has one too.
    counts = add("ScatterND", counts, [[0, 0]], [1])
    cells = add("NonZero", counts)  # [2, R]
    sequence, position = [add("Gather", cells, row) for row in (0, 1)]  # [R]
    length = add("Add", add("ReduceMax", position), [1])  # [1], T
    before = add("CumSum", add("Reshape", counts, [-1]), 0)
    # The row of each token, [B, S]; padding has that of the token before.
    self._rows = add("Sub", add("Reshape", before, add("Shape", counts)), 1)
    self._bias = add("Unsqueeze", add(
        "Where", add("Slice", self.is_real, [0], length, [1]), np.float32(0),
        np.float32(padding.MASKED)), [1, 2])  # [B, 1, 1, T]
    # Tokens' rows, to gather all heads of the parts of a projection, and back.
    # [B, 1, T]
    self._attended = add("Unsqueeze", add(
        "Slice", self._rows, [0], length, [1]), [1])
    heads = np.arange(self._num_heads)
    place = add("Add", add("Mul", add("Mul", sequence, length), len(heads)),
                position)  # [R]
    self._places = add("Add", add("Unsqueeze", place, [1]), add(
        "Mul", length, heads))  # [R, N], in [B, N, T]
    self._cells, self._position = add("Transpose", cells), position
    self._heads = {}
    self.activation = _ACTIVATIONS.get((config.hidden_act or "").lower())
    self.table = graph.keep(weights("bert/embeddings/word_embeddings"))

  def _find_heads(self, num_parts):
    """Returns int64 [B, N, T] for each part of [R, parts, N]."""
    if num_parts not in self._heads:
      add, size = self.graph.add, self._num_heads
      first = add("Mul", self._attended, num_parts * size)
      self._heads[num_parts] = [
          add("Add", first, np.arange(i * size, (i + 1) * size)[:, np.newaxis])
          for i in range(num_parts)]
    return self._heads[num_parts]

  def embed(self):
    """Adds the embeddings; returns float32 [R, W]."""
    add, scope = self.graph.add, "bert/embeddings/"
    word = add("Gather", self.table, add(
        "GatherND", "input_ids", self._cells))
    segment = add("Gather", self.weights(scope + "token_type_embeddings"),
                  add("GatherND", "segment_ids", self._cells))
    position = add("Gather", self.weights(scope + "position_embeddings"),
                   self._position)
    return self.normalize(scope, add(
        "Add", add("Add", word, segment), position))

  def add_layer(self, index, hidden, rows=None):
    """Adds a layer.

    Args:
      index: int.
      hidden: float32 [R, W].
      rows: int64 [B, P], from `find_rows`, of the tokens to compute; None for
        all.

    Returns:
      float32 [R, W], or [B * P, W] with `rows`.
    """
    add, scope = self.graph.add, "bert/encoder/layer_%d/" % index
    kernels, biases = [
        [self.weights("%sattention/self/%s/%s" % (scope, one, kind))
         for one in ("query", "key", "value")] for kind in ("kernel", "bias")]
    # Scores are divided by sqrt(H).
    for weights in (kernels, biases):
      weights[0] = weights[0] * np.float32(self._size ** -0.5)
    first = 0 if rows is None else 1
    has_scale_per_row = self.graph.scales == "token"
    projected = self.graph.dense(
        hidden, np.concatenate(kernels[first:], axis=1),
        np.concatenate(biases[first:]), has_scale_per_row=has_scale_per_row)
    projected = add("Reshape", projected, [-1, self._size])
    heads = [add("Gather", projected, one)
             for one in self._find_heads(3 - first)]  # [B, N, T, H]
    if rows is not None:
      hidden = self.take(hidden, rows)  # [B * P, W]
      query = self.graph.dense(
          hidden, kernels[0], biases[0], has_scale_per_row=has_scale_per_row)
      query = add("Reshape", query, add(
          "Concat", add("Shape", rows), [self._num_heads, self._size], axis=0))
      heads.insert(0, add("Transpose", query, perm=[0, 2, 1, 3]))
    query, key, value = heads
    scores = add("Add", add("FusedMatMul", query, key, transB=1), self._bias)
    context = add("MatMul", add("Softmax", scores, axis=-1), value)
    if rows is None:
      context = add("Gather", add("Reshape", context, [-1, self._size]),
                    self._places)  # [R, N, H]
    else:
      context = add("Transpose", context, perm=[0, 2, 1, 3])
    context = add("Reshape", context, [-1, self._num_heads * self._size])
    hidden = self._finish(scope + "attention/output/", context, hidden,
                          has_scale_per_row=has_scale_per_row)
    middle = self.dense(scope + "intermediate/", hidden, self.activation)
    return self._finish(scope + "output/", middle, hidden,
                        is_gelu=self.activation in _WITH_BIAS)

  def find_rows(self, positions=None):
    """Returns rows, [B, P], of positions, int64 [B, P]; None for the first."""
    if positions is None:
      return self.graph.add("Slice", self._rows, [0], [1], [1])  # [B, 1]
    return self.graph.add("GatherElements", self._rows, positions, axis=1)

  def take(self, packed, rows):
    """Takes [B, P] rows of float32 [R, W]: [B * P, W]."""
    return self.graph.add(
        "Gather", packed, self.graph.add("Reshape", rows, [-1]))

  def pool(self, first):
    """Adds the pooler of first tokens, [B, W]; zeros where they are padding."""
    pooled = self.dense("bert/pooler/", first, "Tanh")
    return self.graph.add("Mul", pooled, self.graph.add("Cast", self.graph.add(
        "Slice", self.is_real, [0], [1], [1]), to=type_of(np.float32)))

  def unpack(self, packed, filler):
    """Lays out float32 [R, W] as [B, S, W]; `filler`, [W] or [], at padding."""
    return self.graph.add(
        "Where", self.graph.add("Unsqueeze", self.is_real, [2]),
        self.graph.add("Gather", packed, self._rows), filler)

  def dense(self, scope, x, activation=None, **options):
    """Adds the dense layer of a scope; options are those of `Graph.dense`."""
    return self.graph.dense(
        x, *[self.weights("%sdense/%s" % (scope, name))
             for name in ("kernel", "bias")], activation=activation, **options)

  def _finish(self, scope, x, hidden, **options):
    """Adds a dense layer, the residual and layer norm."""
    return self.normalize(
        scope, self.dense(scope, x, residual=hidden, **options))

  def normalize(self, scope, x):
    """Adds layer norm."""
    # SkipLayerNormalization also adds the residual, but took seven times as
    # long on a CPU.
    return self.graph.add(
        "LayerNormalization", x, *[self.weights(scope + "LayerNorm/" + name)
                                   for name in ("gamma", "beta")],
        epsilon=config_module.get_layer_norm_eps(self._config))


def type_of(dtype):
  """Returns ONNX's number for a NumPy data type."""
  from onnx import helper
  return helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
