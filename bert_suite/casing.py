"""Whether a model reads lower-cased text."""

import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import vocab_files

_LOWER_CASED_MODELS = (
    "uncased_L-12_H-768_A-12", "uncased_L-24_H-1024_A-16",
    "multilingual_L-12_H-768_A-12", "chinese_L-12_H-768_A-12")
_CASED_MODELS = (
    "cased_L-12_H-768_A-12", "cased_L-24_H-1024_A-16",
    "multi_cased_L-12_H-768_A-12")


def validate_case_matches_checkpoint(do_lower_case, init_checkpoint):
  """Checks do_lower_case against the name of a published checkpoint.

  Args:
    do_lower_case: bool, whether the text will be lower-cased.
    init_checkpoint: str or None, ".../cased_L-12_H-768_A-12/bert_model.ckpt";
      a folder with any other name is not checked.

  Raises:
    ValueError: that model was trained on the other kind of text.
  """
  found = re.search(r"([\w-]+)/bert_model\.ckpt", init_checkpoint or "")
  if found and found.group(1) in (
      _CASED_MODELS if do_lower_case else _LOWER_CASED_MODELS):
    raise ValueError(
        "%s was trained on %s text, but do_lower_case is %s: set "
        "--do_lower_case=%s, or rename the folder if its name is misleading "
        "(init_checkpoint: %s)" %
        (found.group(1), "cased" if do_lower_case else "lower-cased",
         bool(do_lower_case), not do_lower_case, init_checkpoint))


def decide_casing(do_lower_case, vocab_file, init_checkpoint=None,
                  config_value=None):
  """Decides whether the text is lower-cased, as the model needs it.

  Args:
    do_lower_case: bool; None if the user did not say. Then the config decides,
      or without it the vocabulary.
    vocab_file: str.
    init_checkpoint: str or None, for `validate_case_matches_checkpoint`.
    config_value: bool or None. The value in the model's config.

  Returns:
    bool.

  Raises:
    ValueError: the user's choice contradicts the config, or the name of a
      published checkpoint.
  """
  is_cased_vocab = _has_upper_case(vocab_file)
  if do_lower_case is None:
    if config_value is not None:
      do_lower_case, source = bool(config_value), "the model's config"
    elif is_cased_vocab:
      do_lower_case, source = False, vocab_file + ", which has upper case"
    else:
      do_lower_case, source = True, None
    if source:
      tf.logging.info(
          "do_lower_case=%s is taken from %s", do_lower_case, source)
  elif config_value is not None and do_lower_case != bool(config_value):
    raise ValueError(
        "--do_lower_case=%s: the model's config says %s; leave the flag out, "
        "or correct the config" % (do_lower_case, bool(config_value)))
  elif do_lower_case and is_cased_vocab:
    tf.logging.warning(
        "--do_lower_case=True, but %s has upper case: the model seems to be a "
        "cased one, which needs --do_lower_case=False", vocab_file)
  validate_case_matches_checkpoint(do_lower_case, init_checkpoint)
  return do_lower_case


def _has_upper_case(vocab_file):
  """Returns whether a vocabulary is a cased model's.

  A lower-cased one can hold a few entries with upper case, from text that
  lower-casing does not reach; in published cased ones they are over 10%.
  """
  tokens = vocab_files.read_tokens(vocab_file)
  upper = sum(1 for token in tokens
              if token != token.lower() and not token.startswith("["))
  return upper > 0.01 * len(tokens)
