"""Windows over the word pieces of a long text, and which of them is best.

Where windows overlap, a piece is read in the window that shows the most of the
text around it.
"""

import collections

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np

Window = collections.namedtuple("Window", ["start", "stop", "is_max_context"])
Window.__doc__ = """A window.

Attributes:
  start: int. Its first piece.
  stop: int. The piece after its last.
  is_max_context: bool array [stop - start]. Which pieces are best here.
"""


def context_score(left, right, size):
  """Returns how much of its context a window shows around a piece, a float.

  Args:
    left: int, or array of int. Pieces of the window before the piece.
    right: int, or array of int. Pieces of the window after it.
    size: int. Pieces of the window.
  """
  return np.minimum(left, right) + 0.01 * size


def find_windows(num_pieces, size, stride):
  """Lays windows over pieces.

  The best window for a piece has the most pieces on the side of it that has
  fewer; of equals it is the longest, then the first.

  Args:
    num_pieces: int.
    size: int. Largest number of pieces in a window.
    stride: int. Pieces from the start of a window to that of the next, reduced
      to `size` if it is larger, so that no piece is left out.

  Returns:
    list of Window.
  """
  bounds, start = [], 0
  while start < num_pieces:
    stop = min(start + size, num_pieces)
    bounds.append((start, stop))
    if stop == num_pieces:
      break
    start += min(size, stride)
  # One value per piece, not per window and piece: books have many of both.
  best = np.full([num_pieces], -1.0)
  best_window = np.zeros([num_pieces], np.int32)
  for index, (start, stop) in enumerate(bounds):
    left = np.arange(stop - start)
    scores = context_score(left, left[::-1], stop - start)
    is_better = scores > best[start:stop]  # the first of equals stays
    best[start:stop][is_better] = scores[is_better]
    best_window[start:stop][is_better] = index
  return [Window(start, stop, best_window[start:stop] == index)
          for index, (start, stop) in enumerate(bounds)]
