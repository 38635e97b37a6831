"""Computing without padding: the real tokens of a batch in one matrix.

Sizes are named as in `modeling.py`: B batch, S sequence length, W hidden size,
R real tokens in the batch, T the most real tokens in one of its sequences.
"""

import tensorflow.compat.v1 as tf


class Packing(object):
  """Where the real tokens of a padded batch are.

  A packed tensor holds one row per real token, `[R, W]`, in reading order. The
  parts of the encoder that look at one token at a time (embeddings, dense
  layers, GELU, dropout, residuals, layer norm) cost R rows instead of B * S.
  Attention mixes the tokens of a sequence, so for it the tokens are laid out
  again as `[B, T, W]`, T being the largest number of real tokens in a sequence.
  """

  def __init__(self, input_mask, batch_size, seq_length):
    """Finds the real tokens.

    Args:
      input_mask: int [B, S]. 1 for real tokens, 0 for padding; the zeros may be
        anywhere.
      batch_size: int, or int32 scalar Tensor where it is not known yet. B.
      seq_length: likewise. S.
    """
    self.batch_size = batch_size
    self.seq_length = seq_length
    is_real = tf.equal(tf.cast(input_mask, tf.int32), 1)  # [B, S]
    counts = tf.cast(is_real, tf.int64)
    lengths = tf.reduce_sum(counts, axis=1)  # [B]
    # A batch of padding alone still needs a "to" axis to take a softmax over.
    self.attention_length = tf.maximum(
        tf.cast(tf.reduce_max(lengths), tf.int32), 1)  # T
    # Row and position of every real token, then row and rank among the real
    # tokens of its row: the two layouts that a packed tensor can be put into.
    self.sequence_cells = tf.where(is_real)  # [R, 2]
    rank = tf.gather_nd(
        tf.cumsum(counts, axis=1, exclusive=True), self.sequence_cells)  # [R]
    self.attention_cells = tf.stack(
        [self.sequence_cells[:, 0], rank], axis=1)  # [R, 2]
    self.position_ids = self.sequence_cells[:, 1]  # [R]
    self.attention_mask = tf.sequence_mask(
        lengths, self.attention_length,
        dtype=tf.float32)[:, tf.newaxis]  # [B, 1, T]

  # gather_nd and scatter_nd are each other's gradients, so neither direction
  # makes IndexedSlices that would have to be summed up again.

  def pack(self, tensor):
    """Takes the real tokens out of `[B, S]` or `[B, S, W]`: `[R]`, `[R, W]`."""
    return tf.gather_nd(tensor, self.sequence_cells)

  def unpack(self, packed):
    """Lays `[R, W]` out as `[B, S, W]`, zeros at padding."""
    return self._scatter(packed, self.sequence_cells, self.seq_length)

  def to_attention(self, packed):
    """Lays `[R, W]` out as `[B, T, W]`, zeros after each sequence's end."""
    return self._scatter(packed, self.attention_cells, self.attention_length)

  def from_attention(self, tensor):
    """The way back: `[B, T, W]` to `[R, W]`."""
    return tf.gather_nd(tensor, self.attention_cells)

  def _scatter(self, packed, cells, length):
    sizes = [self.batch_size, length, packed.shape.as_list()[1]]
    result = tf.scatter_nd(
        cells, packed, tf.cast(tf.stack(sizes), cells.dtype))
    # TensorFlow 1.15 loses the sizes it knows in the cast.
    result.set_shape([None if tf.is_tensor(size) else size for size in sizes])
    return result
