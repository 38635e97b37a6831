"""BERT's forward pass in NumPy, float64: what the model is tested against.

Written from the papers (Devlin et al., arXiv 1810.04805; Vaswani et al., arXiv
1706.03762) one sequence and one head at a time, to be right rather than fast.

Variables are a dict from name, without ":0", to array. Sizes: B sequences of S
tokens, W the hidden size, V words, P predictions per sequence.
"""

import collections
import math

import numpy as np

Outputs = collections.namedtuple(
    "Outputs", ["embedding_output", "layers", "pooled_output"])

ACTIVATIONS = {
    "gelu": lambda x: x * 0.5 * (
        1.0 + np.tanh(np.sqrt(2.0 / np.pi) * (x + 0.044715 * x ** 3))),
    "gelu_erf": lambda x: x * 0.5 * (
        1.0 + np.vectorize(math.erf)(x * np.sqrt(0.5))),
    "relu": lambda x: np.where(x > 0.0, x, 0.0),
    "tanh": np.tanh,
    "linear": lambda x: x,
}
ACTIVATIONS["gelu_new"] = ACTIVATIONS["gelu"]


def encode(variables, num_attention_heads, input_ids, input_mask=None,
           token_type_ids=None, hidden_act="gelu", scope="bert",
           epsilon=1e-12):
  """Runs the encoder.

  Args:
    variables: dict from name to array.
    num_attention_heads: int.
    input_ids: int [B, S].
    input_mask: int [B, S]; 0 where no token may look. All ones if None.
    token_type_ids: int [B, S]. All zeros if None.
    hidden_act: str, a key of ACTIVATIONS.
    scope: str, what the names of the encoder's variables start with.
    epsilon: float, what layer norm adds to the variance.

  Returns:
    Outputs of float64 [B, S, W], list of [B, S, W], and [B, W].
  """
  input_ids = np.asarray(input_ids)
  if input_mask is None:
    input_mask = np.ones_like(input_ids)
  if token_type_ids is None:
    token_type_ids = np.zeros_like(input_ids)
  get = _getter(variables, scope)

  embedded, layers, pooled = [], [], []
  for ids, mask, types in zip(input_ids, input_mask, token_type_ids):
    hidden = (get("embeddings/word_embeddings")[ids] +
              get("embeddings/token_type_embeddings")[types] +
              get("embeddings/position_embeddings")[:len(ids)])  # [S, W]
    states = [layer_norm(
        hidden, variables, scope + "/embeddings/LayerNorm", epsilon)]
    while "%s/encoder/layer_%d/output/dense/kernel" % (
        scope, len(states) - 1) in variables:
      states.append(encoder_layer(
          states[-1], np.asarray(mask), variables,
          "%s/encoder/layer_%d" % (scope, len(states) - 1),
          num_attention_heads, ACTIVATIONS[hidden_act], epsilon))
    embedded.append(states[0])
    layers.append(states[1:])
    pooled.append(np.tanh(
        dense(states[-1][0], variables, scope + "/pooler/dense")))
  return Outputs(np.array(embedded),
                 [np.array(same_depth) for same_depth in zip(*layers)],
                 np.array(pooled))


def encoder_layer(hidden, mask, variables, scope, num_heads, activation,
                  epsilon):
  """Self-attention and feed-forward of one sequence, float64 [S, W]."""
  attended = dense(
      attention(hidden, hidden, mask[np.newaxis] * np.ones([len(hidden), 1]),
                variables, scope + "/attention/self", num_heads),
      variables, scope + "/attention/output/dense")
  hidden = layer_norm(
      hidden + attended, variables, scope + "/attention/output/LayerNorm",
      epsilon)
  fed = activation(dense(hidden, variables, scope + "/intermediate/dense"))
  return layer_norm(
      hidden + dense(fed, variables, scope + "/output/dense"),
      variables, scope + "/output/LayerNorm", epsilon)


def attention(from_rows, to_rows, mask, variables, scope, num_heads,
              activations=("linear", "linear", "linear")):
  """Multi-head attention of one sequence.

  Args:
    from_rows: float [F, width].
    to_rows: float [T, width].
    mask: [F, T], 0 where attention is not allowed. A row without any allowed
      position has the result zero.
    variables: dict from name to array.
    scope: str, what comes before "/query/kernel".
    num_heads: int.
    activations: keys of ACTIVATIONS for query, key and value.

  Returns:
    float64 [F, heads * size of a head].
  """
  heads = []
  for rows, name, activation in zip(
      (from_rows, to_rows, to_rows), ("query", "key", "value"), activations):
    rows = ACTIVATIONS[activation](dense(rows, variables, scope + "/" + name))
    heads.append(np.split(rows, num_heads, axis=-1))
  contexts = []
  for q, k, v in zip(*heads):
    scores = q.dot(k.T) / np.sqrt(q.shape[-1])  # [F, T]
    weights = np.exp(scores - scores.max(-1, keepdims=True)) * (mask != 0)
    total = weights.sum(-1, keepdims=True)
    contexts.append((weights / np.where(total > 0, total, 1.0)).dot(v))
  return np.concatenate(contexts, axis=-1)


def masked_lm(variables, sequence_output, positions, label_ids, label_weights,
              hidden_act="gelu", epsilon=1e-12):
  """The masked-LM head: loss, [B * P] losses, [B * P, V] log probabilities."""
  rows = np.concatenate(
      [sequence[where] for sequence, where in zip(sequence_output, positions)])
  rows = ACTIVATIONS[hidden_act](
      dense(rows, variables, "cls/predictions/transform/dense"))
  rows = layer_norm(
      rows, variables, "cls/predictions/transform/LayerNorm", epsilon)
  log_probs = log_softmax(
      rows.dot(np.float64(variables["bert/embeddings/word_embeddings"]).T) +
      variables["cls/predictions/output_bias"])
  losses = -_pick(log_probs, np.ravel(label_ids))
  weights = np.ravel(label_weights)
  return np.sum(weights * losses) / (np.sum(weights) + 1e-5), losses, log_probs


def next_sentence(variables, pooled_output, labels):
  """The next-sentence head: loss, [B] losses, [B, 2] log probabilities."""
  log_probs = log_softmax(
      pooled_output.dot(variables["cls/seq_relationship/output_weights"].T) +
      variables["cls/seq_relationship/output_bias"])
  losses = -_pick(log_probs, np.ravel(labels))
  return losses.mean(), losses, log_probs


def dense(rows, variables, scope):
  """rows x kernel + bias, in float64."""
  get = _getter(variables, scope)
  return np.dot(rows, get("kernel")) + get("bias")


def layer_norm(rows, variables, scope, epsilon=1e-12):
  """Each row with mean 0 and variance 1, times gamma plus beta."""
  get = _getter(variables, scope)
  centred = rows - rows.mean(-1, keepdims=True)
  deviation = np.sqrt((centred ** 2).mean(-1, keepdims=True) + epsilon)
  return centred / deviation * get("gamma") + get("beta")


def log_softmax(logits):
  """Logarithms of the softmax of each row."""
  shifted = logits - logits.max(-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _getter(variables, scope):
  return lambda name: np.asarray(variables[scope + "/" + name], np.float64)


def _pick(rows, columns):
  return np.array([row[column] for row, column in zip(rows, columns)])
