"""Masked words: the guesses and scores of a model in memory."""

import math

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np

from .. import checkpoints, model_inputs

MASK = "[MASK]"

# The likeliest pieces are one signature and those of the whole vocabulary
# another, because answers over HTTP contain all outputs of a signature.
LOG_PROBS_SIGNATURE = "log_probs"


def check_checkpoint(checkpoint, flag, advice):
  """Raises ValueError if a checkpoint has no masked LM head.

  Args:
    checkpoint: str, its prefix.
    flag: str. What it is for, for the message.
    advice: str. What to do.
  """
  if "cls/predictions/output_bias" not in checkpoints.check_readable(
      checkpoint):
    raise ValueError("%s: %s has no masked LM (cls/predictions); %s" % (
        flag, checkpoint, advice))


def guess(model, inputs):
  """Guesses the word pieces that are masked.

  Args:
    model: predictor.Predictor.
    inputs: list of ModelInput.

  Returns:
    For each of them, for each [MASK] in it, a list of (word piece,
    probability), the likeliest first.
  """
  def name_candidates(ids, log_probs):
    return list(zip(model.tokenizer.convert_ids_to_tokens(ids.tolist()),
                    [math.exp(x) for x in log_probs]))

  results = model.compute(inputs, _make_positions)
  return [[name_candidates(result["top_ids"][i], result["top_log_probs"][i])
           for i in range(len(_find_masks(one)))]
          for one, result in zip(inputs, results)]


def score(model, inputs):
  """Predicts each word piece from all others.

  Args:
    model: predictor.Predictor.
    inputs: list of ModelInput, without [MASK].

  Returns:
    For each of them a list of (word piece, logarithm of its probability).

  Raises:
    ValueError: the model does not give all probabilities.
  """
  if LOG_PROBS_SIGNATURE not in model.served.signatures:
    raise ValueError("score: a file of ONNX knows the likeliest word pieces "
                     "only; load a SavedModel or the checkpoint")
  mask_id, = model.tokenizer.convert_tokens_to_ids([MASK])
  scores = []
  for one in inputs:
    places = [i for i, token in enumerate(one.tokens)
              if token not in ("[CLS]", "[SEP]")]
    # One text at a time: each piece has a row of the whole vocabulary.
    results = model.compute([one._replace(
        tokens=one.tokens[:i] + [MASK] + one.tokens[i + 1:],
        input_ids=one.input_ids[:i] + [mask_id] + one.input_ids[i + 1:])
                             for i in places],
        _make_positions, LOG_PROBS_SIGNATURE)
    scores.append([
        (one.tokens[i], float(
            result["masked_lm_log_probs"][0, one.input_ids[i]]))
        for i, result in zip(places, results)])
  return scores


def _find_masks(model_input):
  """Returns the positions, list of int, of [MASK] in a ModelInput."""
  return [i for i, token in enumerate(model_input.tokens) if token == MASK]


def _make_positions(batch):
  """Returns the model's input for where a batch of ModelInputs has [MASK]."""
  positions = [_find_masks(one) for one in batch]
  most = max([1] + [len(found) for found in positions])
  padded = [model_inputs.pad_to_length(found, most) for found in positions]
  return {"masked_lm_positions": np.array(padded, np.int32)}
