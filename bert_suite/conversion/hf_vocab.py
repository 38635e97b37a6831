"""The vocabulary and casing of a Hugging Face model, read and written."""

import os

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from .. import files, json_files, model_files, tokenization, vocab_files

TOKENIZER, SETTINGS = "tokenizer.json", "tokenizer_config.json"
_ADDED = "added_tokens.json"
# What tokenizer_config.json has if text is split as BERT does. The last two
# classes leave it to tokenizer.json.
_AS_BERT = {
    "tokenizer_class": tuple(
        name + kind for name in ("BertTokenizer", "DistilBertTokenizer",
                                 "ElectraTokenizer") for kind in ("", "Fast")
    ) + ("PreTrainedTokenizerFast", "TokenizersBackend"),
    "word_tokenizer_type": ("basic",),
    "subword_tokenizer_type": ("wordpiece",)}


def read_object(path):
  """Returns the dict of a JSON file; a ValueError names the file."""
  try:
    value = json_files.read(path)
  except (ValueError, tf.errors.OpError) as error:
    raise ValueError("%s: is not JSON (%s); copy it again" % (
        path, getattr(error, "message", error))) from None
  if not isinstance(value, dict):
    raise ValueError("%s: found %s, expected an object of keys and values" % (
        path, type(value).__name__))
  return value


def read_optional(folder, name):
  """Returns the dict of a JSON file in a folder; empty without the file."""
  path = os.path.join(folder, name)
  return read_object(path) if tf.gfile.Exists(path) else {}


def read_tokens(folder):
  """Reads the vocabulary of vocab.txt, or else of tokenizer.json.

  Args:
    folder: str.

  Returns:
    list of str, including the words that were added to it.

  Raises:
    ValueError: there is none, or it is not BERT's.
  """
  _check_settings(folder)
  path = os.path.join(folder, TOKENIZER)
  content = read_object(path) if tf.gfile.Exists(path) else None
  pieces = None if content is None else _read_word_pieces(path, content)
  vocab_file = os.path.join(folder, model_files.VOCAB)
  if tf.gfile.Exists(vocab_file):
    path, tokens = vocab_file, vocab_files.read_tokens(vocab_file)
    added = read_optional(folder, _ADDED)
  elif content is None:
    raise ValueError("%s: found neither %s nor %s; pass --vocab_file" % (
        folder, model_files.VOCAB, TOKENIZER))
  else:
    tokens = _in_order(pieces, path)
    try:
      added = {entry["content"] + "": entry["id"]
               for entry in content.get("added_tokens") or ()}
    except (TypeError, KeyError):
      raise ValueError("%s: added_tokens: expected entries with content and id"
                       % path) from None
  known = set(tokens)
  added = {token: index for token, index in added.items() if token not in known}
  if added:
    _warn_of_added(folder, added, path)
  return tokens + _in_order(added, path, len(tokens))


def _warn_of_added(folder, added, path):
  """Warns of added words that BERT's tokenizer does not keep whole.

  Args:
    folder: str.
    added: iterable of str.
    path: str. The file that has them.
  """
  lower, _, _ = read_casing(folder)
  split = tokenization.BasicTokenizer(do_lower_case=bool(lower)).tokenize
  parted = [token for token in added if split(token) != [token]]
  if parted:
    tf.logging.warning(
        "%s: the added words %s are one piece to Hugging Face's tokenizer, but "
        "BERT's, here, takes them apart or lower-cases them: texts with them "
        "get other answers",
        path, ", ".join(parted[:5]) + ", ..." * (len(parted) > 5))


def _check_settings(folder):
  """Raises ValueError for a tokenizer that does not split text as BERT's."""
  settings = read_optional(folder, SETTINGS)
  for name, expected in _AS_BERT.items():
    found = settings.get(name)
    if found is not None and found not in expected:
      raise ValueError("%s: %s is %.60s, which splits text in another way than "
                       "BERT's; such a model cannot be used here" % (
                           os.path.join(folder, SETTINGS), name, found))


def _read_word_pieces(path, content):
  """Returns the dict from piece to id of a tokenizer.json.

  Args:
    path: str.
    content: dict, its content.

  Raises:
    ValueError: it is not of BERT's kind.
  """
  model = content.get("model")
  model = model if isinstance(model, dict) else {}
  for name, expected in (("type", "WordPiece"), ("unk_token", "[UNK]"),
                         ("continuing_subword_prefix", "##")):
    found = model.get(name, None if name == "type" else expected)
    if found != expected:
      raise ValueError("%s: the tokenizer's %s is %.40r, not BERT's %s" % (
          path, name, found, expected))
  vocab = model.get("vocab")
  if not isinstance(vocab, dict) or not vocab:
    raise ValueError("%s: the tokenizer has no vocab, an object from piece to "
                     "id" % path)
  return vocab


def _in_order(ids, path, start=0):
  """Returns tokens in the order of their ids.

  Args:
    ids: dict from token to int.
    path: str. Their file.
    start: int. The first id.

  Raises:
    ValueError: an id from `start` on is missing, or a token has a line break,
      which would end it in vocab.txt.
  """
  if any(type(index) is not int for index in ids.values()) or sorted(
      ids.values()) != list(range(start, start + len(ids))):
    raise ValueError("%s: the ids of %d tokens are not %d to %d" % (
        path, len(ids), start, start + len(ids) - 1))
  for token in ids:
    if token.strip() != token or "\n" in token:
      raise ValueError("%s: found the token %r, which vocab.txt cannot hold; "
                       "expected no white space around it" % (path, token))
  return sorted(ids, key=ids.get)


def read_casing(folder):
  """Reads how a model's tokenizer treats upper case and accents.

  Args:
    folder: str.

  Returns:
    do_lower_case: bool, or None if no file says.
    strip_accents: bool, or None to follow the case.
    source: str. The file that says it.
  """
  settings = read_optional(folder, SETTINGS)
  normalizer = read_optional(folder, TOKENIZER).get("normalizer")
  normalizer = normalizer if isinstance(normalizer, dict) else {}
  if settings.get("tokenize_chinese_chars") is False or (
      normalizer.get("handle_chinese_chars") is False):
    tf.logging.warning(
        "%s: its tokenizer does not split Chinese characters, as BERT's always "
        "does; results on Chinese text will differ", folder)
  if isinstance(settings.get("do_lower_case"), bool):
    source, lower = SETTINGS, settings["do_lower_case"]
    accents = settings.get("strip_accents")
  elif isinstance(normalizer.get("lowercase"), bool):
    source, lower = TOKENIZER, normalizer["lowercase"]
    accents = normalizer.get("strip_accents")
  else:
    return None, None, None
  return lower, accents if isinstance(accents, bool) else None, source


def write(folder, tokens, do_lower_case, strip_accents, max_length):
  """Writes vocab.txt and tokenizer_config.json.

  Args:
    folder: str.
    tokens: list of str.
    do_lower_case: bool.
    strip_accents: bool; None to follow the case.
    max_length: int. Of a sequence, in word pieces.
  """
  model_files.write_vocab(folder, tokens)
  files.write_json(os.path.join(folder, SETTINGS), {
      "tokenizer_class": "BertTokenizer", "do_lower_case": do_lower_case,
      "strip_accents": strip_accents, "tokenize_chinese_chars": True,
      "model_max_length": max_length, "unk_token": "[UNK]",
      "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]",
      "mask_token": "[MASK]"})
