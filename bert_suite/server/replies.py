"""From the body of a request to texts, and from answers to JSON."""

import base64
import json

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np

from .. import faults, problem_types, serving, tokenization

# From a path to the field with the texts and the fields that may stand beside.
FIELDS = {
    "/predict": ("texts", ()),
    "/v1/models": ("instances", ("signature_name",)),
    "/v1/embeddings": ("input", ("model", "encoding_format", "user"))}
_NOT_FINITE = "the model computed NaN or infinity"


def read(body, path):
  """Reads a request.

  Args:
    body: bytes.
    path: str. One of FIELDS.

  Returns:
    dict, whose texts are a list with at least one.

  Raises:
    ValueError: it is not what the path accepts.
  """
  try:
    return _read(body, *FIELDS[path])
  except RecursionError:
    raise ValueError("the body is JSON that is nested too deeply") from None


def _read(body, name, others):
  """Does the same as `read`, given the field with texts and the others."""
  try:
    found = json.loads(body.decode("utf-8"))
  except UnicodeDecodeError as error:
    raise ValueError(
        "the body is no UTF-8 (byte %d)" % (error.start + 1)) from None
  except ValueError as error:
    raise ValueError("the body is no JSON: %s" % error) from None
  if not isinstance(found, dict):
    raise ValueError('expected {"%s": [...]}, found %s' % (
        name, tokenization.describe(found)))
  if name not in found:
    raise ValueError('expected {"%s": [...]}, found the fields %s' % (
        name, tokenization.shorten(sorted(found))))
  for key in found:
    if key != name and key not in others:
      raise ValueError("%s: there is no such field; expected %s" % (
          tokenization.shorten(key), " or ".join((name,) + others)))
  texts = found[name]
  if name == "input":
    _check_embedding_options(found)
    texts = [texts] if isinstance(texts, str) else texts
    if isinstance(texts, list) and not all(isinstance(x, str) for x in texts):
      raise ValueError("input: expected texts, found %s" % next(
          tokenization.describe(x) for x in texts if not isinstance(x, str)))
  if found.get("signature_name", serving.SIGNATURE) != serving.SIGNATURE:
    raise ValueError("signature_name: expected %s, found %s" % (
        serving.SIGNATURE, tokenization.describe(found["signature_name"])))
  if not isinstance(texts, list):
    raise ValueError("%s: expected a list of texts, found %s" % (
        name, tokenization.describe(texts)))
  if not texts:
    raise ValueError("%s: is empty; expected at least one text" % name)
  for i, text in enumerate(texts):
    _check_characters("%s[%d]" % (name, i), text)
  return dict(found, **{name: texts})


def _check_embedding_options(found):
  """Raises ValueError for invalid options of a request for embeddings."""
  if found.get("encoding_format", "float") not in ("float", "base64"):
    raise ValueError("encoding_format: expected float or base64, found %s" %
                     tokenization.describe(found["encoding_format"]))
  for name in ("model", "user"):
    if not isinstance(found.get(name, ""), str):
      raise ValueError("%s: expected a text, found %s" % (
          name, tokenization.describe(found[name])))


def _check_characters(where, text):
  """Raises ValueError for a lone surrogate, which JSON can write as \\ud800."""
  for part in text if isinstance(text, list) else [text]:
    try:
      if isinstance(part, str):
        part.encode("utf-8")
    except UnicodeEncodeError as error:
      raise ValueError("%s: has half a character, %s" % (
          where, ascii(part[error.start])[1:-1])) from None


def to_json(value):
  """Returns a value as JSON in UTF-8; raises ArithmeticError for NaN."""
  try:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
  except ValueError:
    raise ArithmeticError(_NOT_FINITE) from None
  return text.encode("utf-8")


def refusal(status, text, path):
  """Returns the body of a response that says in one line what is wrong.

  Args:
    status: int. HTTP status.
    text: str.
    path: str. OpenAI's path gets the error in OpenAI's format.
  """
  error = faults.one_line(text)
  if path == "/v1/embeddings":
    error = {"message": error, "type": (
        "invalid_request_error" if status < 500 else "server_error")}
  return to_json({"error": error})


def describe(model, answers):
  """Turns answers into values that JSON can hold.

  Args:
    model: predictor.Predictor.
    answers: what its `predict` returned.

  Returns:
    list with one value for each text.
  """
  settings = model.settings
  make = {"classifier": _describe_labels, "masked_lm": _describe_guesses}.get(
      settings["task"], lambda one, _: one)
  return [_plain(make(one, settings)) for one in answers]


def _describe_labels(row, settings):
  """Returns a classifier's answer for a text."""
  kind = settings.get("problem_type", problem_types.SINGLE_LABEL)
  if kind == problem_types.REGRESSION:
    return {"score": row}
  labels = settings["labels"]
  probabilities = dict(zip(labels, row))
  if kind == problem_types.MULTI_LABEL:
    limits = settings.get("thresholds") or [
        problem_types.THRESHOLD] * len(labels)
    return {"labels": [label for label, value, limit in zip(labels, row, limits)
                       if value >= limit], "probabilities": probabilities}
  return {"label": labels[int(np.argmax(row))], "probabilities": probabilities}


def _describe_guesses(masks, unused_settings):
  """Returns the guesses for each [MASK] of a text."""
  return [[{"word_piece": piece, "probability": value}
           for piece, value in guesses] for guesses in masks]


def _plain(value):
  """Returns a value with NumPy's arrays and numbers as lists and float."""
  if isinstance(value, dict):
    return {key: _plain(one) for key, one in value.items()}
  if isinstance(value, (list, tuple)) or (
      isinstance(value, np.ndarray) and value.ndim > 1):
    return [_plain(one) for one in value]
  if isinstance(value, np.ndarray):
    return [_short(one) for one in value.tolist()]
  if isinstance(value, np.generic):
    value = value.item()
  return _short(value) if isinstance(value, float) else value


def _short(number):
  """Returns the float with the fewest digits that is the same float32."""
  return float(str(np.float32(number)))


def embeddings(model_name, vectors, num_tokens, as_base64=False):
  """Returns vectors as the embeddings endpoint of OpenAI does.

  Args:
    model_name: str.
    vectors: float32 [texts, W].
    num_tokens: int. Word pieces of all texts.
    as_base64: bool. Vectors as bytes, little-endian, not as lists.
  """
  def encode(vector):
    if as_base64:
      if not np.isfinite(vector).all():
        raise ArithmeticError(_NOT_FINITE)
      return base64.b64encode(vector.astype("<f4").tobytes()).decode("ascii")
    return _plain(vector)

  return {
      "object": "list", "model": model_name,
      "data": [{"object": "embedding", "index": i, "embedding": encode(vector)}
               for i, vector in enumerate(vectors)],
      "usage": {"prompt_tokens": num_tokens, "total_tokens": num_tokens}}
