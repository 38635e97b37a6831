"""Computing without padding: the real tokens of a batch in one matrix.

Sizes are named as in `modeling.py`: B batch, S sequence length, W hidden size,
R real tokens in the batch, T the most real tokens in one of its sequences
(R and T are rounded up on request), N heads of H numbers.
"""

import functools
import math

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import kernels, xla
from .layers import dense, get_shape_list

# How sizes are rounded up: the smallest step, and the smallest number of steps
# that a size is divided into. More steps waste less computation but make more
# shapes. These add 3% of rows to lines of prose (benchmarks/features.py), and
# few even to a request of one short text.
_ROW_STEPS = (8, 16)
LENGTH_STEPS = (4, 4)
# Compiled programs have at most this many sizes of R and of T, each this many
# times the next smaller one, and multiples of 8 and 16.
_MAX_SIZES, _RATIO = 12, 1.25


def make_sizes(largest, multiple):
  """Returns the few sizes that sizes up to `largest` are rounded up to.

  Args:
    largest: int, or int32 scalar Tensor if it is not known yet.
    multiple: int. What all but the largest are multiples of.

  Returns:
    list of int, ascending; or int32 Tensor, ascending, some of them repeated.
  """
  if tf.is_tensor(largest):
    steps = tf.constant(
        [multiple * _RATIO ** i for i in reversed(range(_MAX_SIZES))],
        tf.float64)
    sizes = tf.cast(tf.ceil(tf.cast(largest, tf.float64) / steps), tf.int32)
    return tf.minimum(sizes * multiple, largest)
  sizes = {-(-largest // (multiple * _RATIO ** i)) * multiple
           for i in range(_MAX_SIZES)}
  return sorted({min(int(size), largest) for size in sizes})


def choose_size(size, sizes):
  """Returns the smallest of ascending `sizes` that holds an int32 scalar."""
  sizes = tf.convert_to_tensor(sizes, tf.int32)
  too_small = sizes[:-1] < size
  return sizes[tf.reduce_sum(tf.cast(too_small, tf.int32))]


def round_up(size, least_step, num_steps):
  """Rounds up to one of a few sizes, which lie further apart as they grow.

  Args:
    size: int32 scalar Tensor, below 2**30.
    least_step: int. A power of two.
    num_steps: int.

  Returns:
    int32 scalar Tensor: the next multiple of the largest power of two that is
    at most `least_step` or `size` / `num_steps`, whichever is larger.
  """
  # If the rounding were compiled too, XLA would compile what follows for every
  # size before rounding, not only for the rounded ones.
  with tf.xla.experimental.jit_scope(compile_ops=False):
    powers = tf.constant([1 << i for i in range(30)])
    fits = powers <= tf.maximum(size // num_steps, least_step)
    step = tf.reduce_max(powers * tf.cast(fits, tf.int32))
    return (size + step - 1) // step * step


def find_cells(is_real, sizes=None):
  """Finds the true cells of a matrix; their number is rounded up to R.

  Args:
    is_real: bool [B, S].
    sizes: those that R may have, from `make_sizes`.

  Returns:
    int32 [R, 2], the true cells in reading order, then (0, 0) repeated;
    and float32 [R], 1 for the true ones, 0 for the rest.
  """
  flat = tf.reshape(is_real, [-1])  # [B * S]
  size = tf.size(flat)
  rank = tf.cumsum(tf.cast(flat, tf.int32), exclusive=True)
  # No shape may contain the exact number, as that of tf.where(is_real) does.
  # All false cells go to one place after the last, which is left out.
  place = tf.where(flat, rank, tf.fill([size], size))[:, tf.newaxis]
  number = num_real = tf.reduce_sum(tf.cast(flat, tf.int32))
  number = tf.maximum(number, 1)
  num_rows = (choose_size(number, sizes) if sizes is not None else
              round_up(number, *_ROW_STEPS))
  # There may be more rows than cells, hence the maximum.
  found = tf.scatter_nd(place, tf.range(size), [tf.maximum(size, num_rows) + 1])
  found = found[:num_rows] * tf.sequence_mask(num_real, num_rows, tf.int32)
  seq_length = tf.shape(is_real)[1]
  return (tf.stack([found // seq_length, found % seq_length], axis=1),
          tf.sequence_mask(num_real, num_rows, tf.float32))


def count_groups(batch_size, is_training, few_shapes):
  """Returns the number of groups of similar length for attention.

  With two, half of the sequences need not be as long as the longest; four were
  no faster in training steps of BERT-Base's shape. Each group has its own
  shapes, so there is one group where shapes must be few, as in inference.
  """
  if few_shapes or not is_training or not isinstance(batch_size, int):
    return 1
  return 2 if batch_size >= 4 else 1


# Added to scores. Far enough below any that the softmax is exactly 0 there, yet
# finite, so that a sequence without any token gives no NaN.
MASKED = -10000.0


class _Group:
  """Sequences of a batch that attend in one tensor, `[B, N, T, H]`.

  Attributes:
    sequences: int32 [B of the group]. Their indices in the batch.
    length: int32 scalar Tensor. T, the most real tokens in one of them.
    is_token: bool [B of the group, T].
    attention_bias: float32 [B of the group, 1, 1, T], to add to scores.
  """

  def __init__(self, sequences, lengths, few_shapes, sizes):
    self.sequences = sequences
    self.length = tf.maximum(tf.reduce_max(lengths), 1)
    if sizes:
      self.length = choose_size(self.length, sizes)
    elif few_shapes:
      self.length = round_up(self.length, *LENGTH_STEPS)
    self.is_token = tf.sequence_mask(lengths, self.length)
    self.attention_bias = tf.cast(
        tf.logical_not(self.is_token), tf.float32)[
            :, tf.newaxis, tf.newaxis] * MASKED


class Packing:
  """Where the real tokens of a padded batch are.

  A packed tensor holds one row per real token, `[R, W]`, in reading order. The
  parts of the encoder that look at one token at a time (embeddings, dense
  layers, GELU, dropout, residuals, layer norm) cost R rows instead of B * S.
  Attention mixes the tokens of a sequence, so for it the tokens are laid out
  again by sequence and head, `[B, N, T, H]`; the sequences may be in `groups`,
  each with its own T.

  With `few_shapes` both R and T are rounded up, and shapes depend on the data
  only through R and T. Without it, each batch brings a new R and a new T:
  oneDNN keeps what it has prepared for each shape, so memory grows with every
  batch, and XLA compiles again for each. The rows added to R are computed like
  the others, never read, and have no gradient. A batch that is all padding has
  one such row, because nothing can be gathered from zero rows.
  """

  def __init__(self, input_mask, batch_size, seq_length, few_shapes=False,
               num_groups=1, compiled=False):
    """Finds the real tokens.

    Args:
      input_mask: int [B, S]. 1 for real tokens, 0 for padding, which may be
        anywhere.
      batch_size: int, or int32 scalar Tensor if it is not known yet. B.
      seq_length: int, or int32 scalar Tensor if it is not known yet. S.
      few_shapes: bool. Rounds R and T up to few sizes.
      num_groups: int. Number of groups of similar length that the sequences
        are sorted into, so that not all attention is as long as the longest.
      compiled: bool. With `few_shapes`: rounds them up to even fewer, where S
        is known.
    """
    row_sizes = length_sizes = None
    if compiled and isinstance(seq_length, int):
      row_sizes = make_sizes(batch_size * seq_length, 8)
      length_sizes = make_sizes(seq_length, 16)
    self.batch_size = batch_size
    self.seq_length = seq_length
    is_real = tf.equal(tf.cast(input_mask, tf.int32), 1)  # [B, S]
    counts = tf.cast(is_real, tf.int32)
    lengths = tf.reduce_sum(counts, axis=1)  # [B]
    self._num_real = tf.reduce_sum(lengths)
    self.is_row = None
    if few_shapes:
      self._cells, is_row = find_cells(is_real, row_sizes)  # [R, 2], [R]
      self.is_row = is_row[:, tf.newaxis]  # [R, 1]
    else:
      num_rows = tf.maximum(self._num_real, 1)
      self._cells = tf.concat(
          [tf.cast(tf.where(is_real), tf.int32),
           tf.zeros([num_rows - self._num_real, 2], tf.int32)],
          axis=0)  # [R, 2]
    self.position_ids = self._cells[:, 1]  # [R]

    # A token is found by its row in packed tensors, or by its sequence and its
    # rank among the real tokens there.
    self._ranks = tf.cumsum(counts, axis=1, exclusive=True)  # [B, S]
    self._starts = tf.cumsum(lengths, exclusive=True)[:, tf.newaxis]  # [B, 1]

    order = self._places = tf.range(batch_size)
    if num_groups > 1:
      order = tf.argsort(lengths, stable=True)  # [B]
      self._places = tf.argsort(order)  # [B], of each sequence in that order
    bounds = [batch_size * i // num_groups for i in range(num_groups + 1)]
    self.groups = []
    for begin, end in zip(bounds, bounds[1:]):
      sequences = order[begin:end]
      self.groups.append(_Group(
          sequences, tf.gather(lengths, sequences), few_shapes, length_sizes))
    if row_sizes is not None:
      tf.add_to_collection(xla.SIZES, tf.stack(
          [tf.shape(self._cells)[0], self.groups[0].length]))
    self._indices = {}

  def pack(self, tensor):
    """Takes the real tokens out of `[B, S]` or `[B, S, W]`: `[R]`, `[R, W]`."""
    return tf.gather_nd(tensor, self._cells)

  def unpack(self, packed):
    """Lays `[R, W]` out as `[B, S, W]`, zeros at padding."""
    sizes = [self.batch_size, self.seq_length, packed.shape.as_list()[1]]
    if self.is_row is None:
      # gather_nd and scatter_nd are each other's gradients: there are no
      # IndexedSlices, which would have to be summed again.
      result = tf.scatter_nd(self._cells[:self._num_real],
                             packed[:self._num_real], tf.stack(sizes))
    else:
      result = tf.scatter_nd(
          self._cells, packed * self.is_row, tf.stack(sizes))
    result.set_shape([None if tf.is_tensor(size) else size for size in sizes])
    return result

  def take(self, packed, positions):
    """Takes the rows of `[B, P]` positions of real tokens: `[B * P, W]`."""
    rows = self._starts + tf.gather(self._ranks, positions, batch_dims=1)
    # A position of padding gets an arbitrary row.
    rows = tf.minimum(rows, tf.shape(self._cells)[0] - 1)
    return tf.gather_nd(packed, tf.reshape(rows, [-1, 1]))

  def split_heads(self, packed, num_heads):
    """Lays `[R, N * H]` out by sequence and head.

    Returns:
      A `[B of the group, N, T, H]` for each of `groups`. After each sequence's
      end come arbitrary rows, whose gradients are left out.
    """
    forward, backward = self._find_indices(num_heads)
    size = packed.shape.as_list()[1] // num_heads

    @kernels.with_gradient
    def split(packed):
      def gradient(*upstream):
        taken = tf.gather(_join(upstream, size), backward)
        taken = tf.reshape(taken, [-1, num_heads * size])
        # An added row would get the gradient of another row's token.
        return taken if self.is_row is None else taken * self.is_row

      rows = tf.reshape(packed, [-1, size])
      return [tf.gather(rows, indices) for indices in forward], gradient

    return split(packed)

  def merge_heads(self, contexts):
    """Undoes `split_heads`: a `[B, N, T, H]` for each group to `[R, N * H]`."""
    num_heads, _, size = contexts[0].shape.as_list()[1:]
    forward, backward = self._find_indices(num_heads)
    num_rows = tf.shape(self._cells)[0] * num_heads

    @kernels.with_gradient
    def merge(*contexts):
      def gradient(upstream):
        # Where there is no token, the gradient is a row of zeros.
        rows = tf.concat([tf.reshape(upstream, [-1, size]),
                          tf.zeros([1, size], upstream.dtype)], axis=0)
        return [tf.gather(rows, tf.where_v2(
            group.is_token[:, tf.newaxis], indices, num_rows))
                for group, indices in zip(self.groups, forward)]

      taken = tf.gather(_join(contexts, size), backward)
      return tf.reshape(taken, [-1, num_heads * size]), gradient

    return merge(*contexts)

  def split_rows(self, packed):
    """Lays `[R, W]` out by sequence: `[B, T, W]`, if there is one group.

    After each sequence's end come arbitrary rows. The gradient of the rows
    added to R is arbitrary too.
    """
    return self._move_rows(packed, *self._find_rows())

  def merge_rows(self, tensor):
    """Undoes `split_rows`; the gradient after each end is arbitrary."""
    rows, places = self._find_rows()
    return self._move_rows(
        tf.reshape(tensor, [-1, tensor.shape[-1]]), places, rows)

  @staticmethod
  def _move_rows(packed, there, back):
    """Gathers rows; the gradient gathers them `back` instead of summing."""
    @kernels.with_gradient
    def move(packed):
      width = packed.shape[-1]
      return tf.gather(packed, there), lambda upstream: tf.gather(
          tf.reshape(upstream, [-1, width]), tf.reshape(back, [-1]))

    return move(packed)

  def _find_rows(self):
    """Returns int32 [B, T], the row of each token, and [R], the reverse."""
    forward, backward = self._find_indices(1)
    return forward[0][:, 0], backward[:, 0]

  def split_sequences(self, tensor):
    """Takes the sequences of each group out of `[B, ...]`."""
    if len(self.groups) == 1:
      return [tensor]
    return [tf.gather(tensor, group.sequences) for group in self.groups]

  def merge_sequences(self, tensors):
    """Undoes `split_sequences`."""
    if len(tensors) == 1:
      return tensors[0]
    return tf.gather(tf.concat(tensors, axis=0), self._places)

  def _find_indices(self, num_heads):
    """Returns the rows that `split_heads` and `merge_heads` take.

    Returns:
      For each group int32 [B, N, T], rows of [R * N, H]; and int32 [R, N], rows
      of all groups' [B * N * T, H], stacked.
    """
    if num_heads not in self._indices:
      head = tf.range(num_heads)
      forward, bases, lengths, num_before = [], [], [], 0
      for group in self.groups:
        row = tf.gather(self._starts, group.sequences) + tf.range(
            group.length)  # [B, T]
        # Any row will do where there is no token: nothing attends to it.
        row = tf.where(group.is_token, row, tf.zeros_like(row))
        forward.append(row[:, tf.newaxis] * num_heads + head[:, tf.newaxis])
        size = tf.shape(group.sequences)[0]
        bases.append(num_before + tf.range(size) * num_heads * group.length)
        lengths.append(tf.fill([size], group.length))
        num_before += size * num_heads * group.length
      sequence = tf.gather(self._places, self._cells[:, 0])  # [R]
      base = tf.gather(tf.concat(bases, 0), sequence)[:, tf.newaxis]
      length = tf.gather(tf.concat(lengths, 0), sequence)[:, tf.newaxis]
      rank = tf.gather_nd(self._ranks, self._cells)[:, tf.newaxis]  # [R, 1]
      self._indices[num_heads] = forward, base + head * length + rank
    return self._indices[num_heads]


def _join(tensors, size):
  """Stacks tensors `[..., H]` as `[rows, H]`."""
  rows = [tf.reshape(tensor, [-1, size]) for tensor in tensors]
  return rows[0] if len(rows) == 1 else tf.concat(rows, axis=0)


def make_attention(packing, num_heads, dropout_prob, initializer):
  """Makes `modeling.attention_layer` for packed tokens.

  Args:
    packing: Packing.
    num_heads: int. N.
    dropout_prob: float. Dropout of the probabilities.
    initializer: initializer of the kernels.

  Returns:
    A function of float32 [R, W], and of int32 [B, P], the positions that
    attend, or None for all real tokens. Returns float32 [R, W], or [B * P, W].
    Where XLA compiles, it ignores positions.
  """
  if xla.is_compiling():
    return _make_compiled_attention(
        packing, num_heads, dropout_prob, initializer)
  return functools.partial(
      _attention, packing=packing, num_heads=num_heads,
      dropout_prob=dropout_prob, initializer=initializer)


def _make_compiled_attention(packing, num_heads, dropout_prob, initializer):
  """Makes an attention of two programs, whose shapes depend on R and on T.

  No shape depends on both, so that the numbers of shapes to compile add up
  rather than multiply.
  """
  def project(hidden, is_row):  # [R, W], [R, 1]
    width = get_shape_list(hidden)[-1]
    query, key, value = [dense(hidden, width, None, initializer, name)
                         for name in ("query", "key", "value")]
    query *= 1.0 / math.sqrt(width // num_heads)
    # Nor may a gradient reach the rows added to R.
    return tf.concat([query, key, value], axis=1) * is_row  # [R, 3 * W]

  def attend(rows, is_token):  # [B, T, 3 * W], [B, T]
    sizes = get_shape_list(rows)
    heads = tf.reshape(
        rows, sizes[:2] + [3, num_heads, sizes[2] // (3 * num_heads)])
    heads = tf.transpose(heads, [2, 0, 3, 1, 4])  # [3, B, N, T, H]
    # No gradient may come from the arbitrary rows after a sequence's end.
    is_token = tf.cast(is_token, tf.float32)
    heads *= is_token[:, tf.newaxis, :, tf.newaxis]
    bias = (1.0 - is_token)[:, tf.newaxis, tf.newaxis] * MASKED
    context = kernels.attend(heads[0], heads[1], heads[2], bias, dropout_prob)
    context *= is_token[:, tf.newaxis, :, tf.newaxis]
    return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), sizes[:2] + [
        sizes[2] // 3])  # [B, T, W]

  def attention(hidden, positions=None):
    del positions
    rows = packing.split_rows(xla.call(project, hidden, packing.is_row))
    context = xla.call(attend, rows, packing.groups[0].is_token)
    return packing.merge_rows(context)

  return attention


def _attention(hidden, positions, packing, num_heads, dropout_prob,
               initializer):
  """`modeling.attention_layer` from packed tokens to those of their sequence.

  Args:
    hidden: float32 [R, W].
    packing: Packing.
    num_heads: int. N.
    dropout_prob: float. Dropout of the probabilities.
    initializer: initializer of the kernels.
    positions: int32 [B, P], those that attend; None for all real tokens.

  Returns:
    float32 [R, W], or [B * P, W] with `positions`.
  """
  width = get_shape_list(hidden)[-1]
  size = width // num_heads

  def project(tensor, name):
    return dense(tensor, width, None, initializer, name)

  query = project(
      hidden if positions is None else packing.take(hidden, positions),
      "query") * (1.0 / math.sqrt(float(size)))
  if positions is None:
    queries = packing.split_heads(query, num_heads)
  else:
    batch_size, number = get_shape_list(positions)
    query = tf.transpose(tf.reshape(
        query, [batch_size, number, num_heads, size]), [0, 2, 1, 3])
    queries = packing.split_sequences(query)
  keys, values = [packing.split_heads(project(hidden, name), num_heads)
                  for name in ("key", "value")]  # [B, N, T, H]
  contexts = [
      kernels.attend(query, key, value, group.attention_bias, dropout_prob)
      for query, key, value, group in zip(
          queries, keys, values, packing.groups)]
  if positions is None:
    return packing.merge_heads(contexts)
  context = packing.merge_sequences(contexts)
  return tf.reshape(tf.transpose(context, [0, 2, 1, 3]), [-1, width])
