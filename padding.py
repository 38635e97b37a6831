"""Computing without padding: the real tokens of a batch in one matrix.

Sizes are named as in `modeling.py`: B batch, S sequence length, W hidden size,
R real tokens in the batch, T the most real tokens in one of its sequences,
either of them rounded up if so asked.
"""

import tensorflow.compat.v1 as tf

# Of sizes that are rounded up: the least step and into how many steps at least
# a size is divided. More steps make less to compute for nothing, and more
# shapes. These cost 3% more rows with lines of prose (benchmarks/features.py).
_ROW_STEPS = (32, 16)
_LENGTH_STEPS = (4, 4)


def round_up(size, least_step, num_steps):
  """Rounds up to one of a few sizes that lie the further apart, the larger.

  Args:
    size: int32 scalar Tensor, below 2**30.
    least_step: int. A power of two.
    num_steps: int.

  Returns:
    int32 scalar Tensor: the next multiple of the largest power of two that is
    at most `least_step` or `size` / `num_steps`, whichever is larger.
  """
  powers = tf.constant([1 << i for i in range(30)])
  fits = powers <= tf.maximum(size // num_steps, least_step)
  step = tf.reduce_max(powers * tf.cast(fits, tf.int32))
  return (size + step - 1) // step * step


class Packing(object):
  """Where the real tokens of a padded batch are.

  A packed tensor holds one row per real token, `[R, W]`, in reading order. The
  parts of the encoder that look at one token at a time (embeddings, dense
  layers, GELU, dropout, residuals, layer norm) cost R rows instead of B * S.
  Attention mixes the tokens of a sequence, so for it the tokens are laid out
  again as `[B, T, W]`, T being the largest number of real tokens in a sequence.

  With `few_shapes` both R and T are rounded up. oneDNN keeps what it has
  prepared for each shape, so in a process that meets a new R and a new T with
  every batch, memory grows with the batches. The rows that fill R up are
  computed like the others and never read.
  """

  def __init__(self, input_mask, batch_size, seq_length, few_shapes=False):
    """Finds the real tokens.

    Args:
      input_mask: int [B, S]. 1 for real tokens, 0 for padding; the zeros may be
        anywhere.
      batch_size: int, or int32 scalar Tensor where it is not known yet. B.
      seq_length: likewise. S.
      few_shapes: bool. Rounds R and T up to few sizes.
    """
    self.batch_size = batch_size
    self.seq_length = seq_length
    is_real = tf.equal(tf.cast(input_mask, tf.int32), 1)  # [B, S]
    counts = tf.cast(is_real, tf.int64)
    lengths = tf.reduce_sum(counts, axis=1)  # [B]
    # A batch of padding alone still needs a "to" axis to take a softmax over.
    self.attention_length = tf.maximum(
        tf.cast(tf.reduce_max(lengths), tf.int32), 1)  # T
    if few_shapes:
      self.attention_length = round_up(self.attention_length, *_LENGTH_STEPS)
    # Row and position of every real token, then row and rank among the real
    # tokens of its row: the two layouts that a packed tensor can be put into.
    self._real_sequence_cells = tf.where(is_real)  # [real tokens, 2]
    rank = tf.gather_nd(
        tf.cumsum(counts, axis=1, exclusive=True),
        self._real_sequence_cells)  # [real tokens]
    self._real_attention_cells = tf.stack(
        [self._real_sequence_cells[:, 0], rank], axis=1)  # [real tokens, 2]
    # Where a packed tensor's rows come from.
    self._has_filling = few_shapes
    self.sequence_cells = self._fill_up(self._real_sequence_cells)  # [R, 2]
    self.attention_cells = self._fill_up(self._real_attention_cells)  # [R, 2]
    self.position_ids = self.sequence_cells[:, 1]  # [R]
    self.attention_mask = tf.sequence_mask(
        lengths, self.attention_length,
        dtype=tf.float32)[:, tf.newaxis]  # [B, 1, T]

  def _fill_up(self, cells):
    """Adds the first cell of all, as often as the number is short of R."""
    if not self._has_filling:
      return cells
    num_real = tf.shape(cells)[0]
    filling = tf.zeros(
        [round_up(num_real, *_ROW_STEPS) - num_real, 2], cells.dtype)
    return tf.concat([cells, filling], axis=0)

  # gather_nd and scatter_nd are each other's gradients, so neither direction
  # makes IndexedSlices that would have to be summed up again.

  def pack(self, tensor):
    """Takes the real tokens out of `[B, S]` or `[B, S, W]`: `[R]`, `[R, W]`."""
    return tf.gather_nd(tensor, self.sequence_cells)

  def unpack(self, packed):
    """Lays `[R, W]` out as `[B, S, W]`, zeros at padding."""
    return self._scatter(packed, self._real_sequence_cells, self.seq_length)

  def to_attention(self, packed):
    """Lays `[R, W]` out as `[B, T, W]`, zeros after each sequence's end."""
    return self._scatter(
        packed, self._real_attention_cells, self.attention_length)

  def from_attention(self, tensor):
    """The way back: `[B, T, W]` to `[R, W]`."""
    return tf.gather_nd(tensor, self.attention_cells)

  def _scatter(self, packed, cells, length):
    if self._has_filling:
      packed = packed[:tf.shape(cells)[0]]
    sizes = [self.batch_size, length, packed.shape.as_list()[1]]
    result = tf.scatter_nd(
        cells, packed, tf.cast(tf.stack(sizes), cells.dtype))
    # TensorFlow 1.15 loses the sizes it knows in the cast.
    result.set_shape([None if tf.is_tensor(size) else size for size in sizes])
    return result
