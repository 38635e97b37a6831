"""How much arithmetic a training step is, and how fast the machine could be.

Both are float32, in floating point operations: a multiplication and an addition
are two.
"""

import time

import numpy as np
import tensorflow.compat.v1 as tf

SQUARE = 2048  # a product large enough for any machine's best
REPEATS = 5
# Small products are taken several times in one run of the session, so that the
# time it takes to start one does not count.
LEAST_OPERATIONS = 2e9


def count_forward(config, head, seq_lengths, num_predictions=0):
  """Counts the operations of a forward pass over real tokens.

  With R the sum of the lengths n, B their number, W the hidden size and I the
  intermediate size, each layer counts

    2 R (4 W^2 + 2 W I)   query, key, value and output; feed-forward, two ways
    4 W sum(n^2)          scores of all pairs of tokens of a sequence, and the
                          mean of the values that they weigh

  and the heads count

    classifier            2 B (W^2 + 2 W)     the pooler, two labels
    squad                 2 R 2 W             start and end of every token
    pretraining           2 B (W^2 + 2 W) + 2 M (W^2 + W V)
                          M masked word pieces, V word pieces to choose from

  Matrix products alone are counted, without biases, softmax, GELU, dropout,
  layer norm, loss or the lookup of embeddings. The last layer counts in full,
  even where a step leaves out what no head reads.

  Args:
    config: BertConfig.
    head: str. See above.
    seq_lengths: list of int. Real tokens of each sequence.
    num_predictions: int. M.

  Returns:
    float.
  """
  real = np.asarray(seq_lengths, np.float64)
  tokens, sequences = real.sum(), float(len(real))
  width, inner = config.hidden_size, config.intermediate_size
  layer = (2 * tokens * (4 * width**2 + 2 * width * inner) +
           4 * width * (real**2).sum())
  pooled = 2 * sequences * (width**2 + 2 * width)
  heads = {
      "classifier": pooled,
      "squad": 2 * tokens * 2 * width,
      "pretraining": pooled + 2 * num_predictions * (
          width**2 + width * config.vocab_size),
  }
  return config.num_hidden_layers * layer + heads[head]


def count_step(config, head, batch):
  """Counts the operations of a training step.

  The backward pass is twice the forward pass: each matrix product has one for
  the gradient of either factor. Clipping and AdamW are not counted.

  Args:
    config: BertConfig.
    head: str. See `count_forward`.
    batch: dict of `steps.make_batch`.

  Returns:
    float.
  """
  return 3 * count_forward(
      config, head, batch["input_mask"].sum(axis=1),
      batch.get("masked_lm_weights", np.zeros([1])).sum())


def product_shapes(config, num_tokens):
  """Returns (rows, inner, columns) of products of a step, and a square one."""
  width, inner = config.hidden_size, config.intermediate_size
  return [(num_tokens, width, width), (num_tokens, width, inner),
          (num_tokens, inner, width), (SQUARE, SQUARE, SQUARE)]


def measure_products(shapes):
  """Measures how fast TensorFlow's tf.matmul is.

  Args:
    shapes: list of (rows, inner, columns).

  Returns:
    list of float, operations per second of each shape: the best of REPEATS.
  """
  # Or they would find that nobody reads the products, and take none.
  settings = tf.ConfigProto()
  settings.graph_options.rewrite_options.disable_meta_optimizer = True
  settings.graph_options.optimizer_options.opt_level = (
      tf.OptimizerOptions.L0)
  with tf.Graph().as_default():
    runs = [_make_product(*shape) for shape in shapes]
    with tf.Session(config=settings) as session:
      session.run(tf.global_variables_initializer())
      return [max(_time_product(session, run, number)
                  for _ in range(REPEATS)) for run, number in runs]


def _make_product(rows, inner, columns):
  """Returns an op that takes products, and how many operations they are."""
  operations = 2.0 * rows * inner * columns
  number = max(1, int(np.ceil(LEAST_OPERATIONS / operations)))
  left = tf.Variable(tf.random_normal([rows, inner]), use_resource=True)
  right = tf.Variable(tf.random_normal([inner, columns]), use_resource=True)
  product = tf.no_op()
  for _ in range(number):
    with tf.control_dependencies([product]):  # one after another
      product = tf.matmul(left, right).op
  return product, number * operations


def _time_product(session, run, operations):
  start = time.perf_counter()
  session.run(run)
  return operations / (time.perf_counter() - start)
