r"""Guesses words for [MASK], and says how likely a text is.

  export BERT_DIR=/path/to/uncased_L-12_H-768_A-12
  python fill_mask.py --text="The cat [MASK] on the mat." \
    --init_checkpoint=$BERT_DIR/bert_model.ckpt \
    --bert_config_file=$BERT_DIR/bert_config.json \
    --vocab_file=$BERT_DIR/vocab.txt

Writes a line of JSON for each text. A text with [MASK] gets the most likely
word pieces for each; one without gets its pseudo-log-likelihood: the sum of the
log-probabilities of its word pieces, each predicted from all others; one
without words gets null. Texts can also be lines of --input_file, pairs written
`text a ||| text b`.

Source: Salazar et al., arXiv 1910.14659.
"""

import dataclasses
import itertools
import json
import math

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags

from . import (
    checkpoints, cli, feature_files, files, predictor, progress, run_settings,
    script_options, text_lines, tokenization)
from .pretraining import served
from .script_options import option

FLAGS = flags.FLAGS

MASK = served.MASK


@dataclasses.dataclass
class Settings(run_settings.ModelSettings, run_settings.LoggingSettings):
  """Settings of this script; each field is a flag."""

  text: str = option("string", None, "Text, instead of --input_file.")
  input_file: str = option("path", None, "Texts, UTF-8, one per line; - for "
                           "standard input.")
  output_file: str = option(
      "path", "-", "File to write; - for standard output.")
  model_dir: str = option("path", None, "Output directory of a pre-training, "
                          "or an exported model, instead of the files of a "
                          "model.")
  num_guesses: int = option(
      "integer", 5, "Word pieces to name for each [MASK], at most 10.",
      lower_bound=1, upper_bound=10)
  max_seq_length: int = option(
      "integer", None, "Word pieces per text, at most the "
      "max_position_embeddings of the model; longer ones are cut.",
      lower_bound=3, default_text="that of the training, else 128")
  batch_size: int = option(
      "integer", 32, "Texts to compute at once.", lower_bound=1)


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def load_model(settings):
  """Loads the model that the settings name.

  Args:
    settings: Settings.

  Returns:
    predictor.Predictor of the task masked_lm.

  Raises:
    UserError: there is none, or it is of another task.
  """
  parts = {name: getattr(settings, name) for name in (
      "bert_config_file", "vocab_file", "init_checkpoint", "max_seq_length",
      "do_lower_case") if getattr(settings, name) is not None}
  accents = tokenization.parse_strip_accents(settings.strip_accents)
  if accents is not None:
    parts["strip_accents"] = accents
  if not settings.model_dir:
    cli.check_given(settings, (
        "init_checkpoint", "bert_config_file", "vocab_file"))
    parts["task"] = "masked_lm"
    with cli.user_errors():
      served.check_checkpoint(
          checkpoints.resolve(settings.init_checkpoint), "--init_checkpoint",
          "give a pre-trained model that has one, not just its encoder or a "
          "fine-tuned model")
  elif settings.init_checkpoint:
    raise cli.UserError("give one of --model_dir and --init_checkpoint")
  elif not (predictor.find_saved_model(settings.model_dir) or
            checkpoints.read_record(settings.model_dir)):
    raise cli.UserError(
        "--model_dir=%s: is neither the folder of a pre-training, with a "
        "run.json, nor an exported model; give the files of another model as "
        "--init_checkpoint, --bert_config_file and --vocab_file" %
        settings.model_dir)
  model = predictor.Predictor(
      settings.model_dir or parts.pop("init_checkpoint"),
      batch_size=settings.batch_size, **parts)
  if model.settings["task"] != "masked_lm":
    model.close()
    raise cli.UserError(
        "--model_dir=%s: is a model of the task %s, expected a pre-trained "
        "one, which can fill in [MASK]" % (
            settings.model_dir, model.settings["task"]))
  return model


@cli.user_errors()
def answer(model, texts, num_guesses=5, names=None):
  """Guesses or scores texts.

  Args:
    model: predictor.Predictor of the task masked_lm.
    texts: list of str, or of (str, str) for pairs.
    num_guesses: int, at most 10.
    names: list of str. What messages call the texts; None for texts[0] and so
      on.

  Returns:
    list of dict: "text", and "guesses", for each [MASK] a list of (word piece,
    probability); or "pseudo_log_likelihood", a sum over "pieces", a list of
    (word piece, log probability), and "pseudo_perplexity" of a piece; these two
    are None if there are no pieces.

  Raises:
    ValueError: see `predictor.Predictor.predict`.
  """
  inputs = model.make_inputs(
      model.as_pairs(texts, "answer"), kept=MASK, names=names)
  is_masked = [MASK in one.tokens for one in inputs]
  guesses = iter(served.guess(
      model, list(itertools.compress(inputs, is_masked))))
  scores = iter(served.score(
      model, [one for one in inputs if MASK not in one.tokens]))
  return [dict({"text": text}, **(
      {"guesses": [found[:num_guesses] for found in next(guesses)]}
      if masked else _add_up(next(scores))))
          for text, masked in zip(texts, is_masked)]


def _add_up(pieces):
  """Returns what `answer` says about a text from the scores of its pieces."""
  total = mean = None
  if pieces:
    total = math.fsum(value for _, value in pieces)
    mean = math.exp(-total / len(pieces))
  return {"pieces": pieces, "pseudo_log_likelihood": total,
          "pseudo_perplexity": mean}


@script_options.runs(Settings)
def run_with(settings):
  """Guesses and scores.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  progress.start_logging(settings.verbose)
  with cli.user_errors():
    if (settings.text is None) == (settings.input_file is None):
      raise ValueError("give one of --text and --input_file")
    if settings.text is not None and not settings.text.strip():
      raise ValueError("--text: is blank; give a text")
    feature_files.check_paths(settings.input_file, settings.output_file)
    files.check_outputs(run_settings.files_read(
        settings, ("input_file", "vocab_file", "bert_config_file")), [
            ("--output_file", settings.output_file)])
  with load_model(settings) as model, cli.user_errors():
    texts = _read_texts(settings)
    with feature_files.open_output(settings.output_file) as writer:
      while True:
        some = list(itertools.islice(texts, settings.batch_size))
        if not some:
          break
        for found in answer(model, [text for _, text in some],
                            settings.num_guesses, [name for name, _ in some]):
          writer.write((json.dumps(
              found, ensure_ascii=False) + "\n").encode("utf-8"))


def _read_texts(settings):
  """Yields (what messages call a text, the text or pair)."""
  if settings.text is not None:
    yield "--text", settings.text
    return
  source = "standard input" if settings.input_file == "-" else (
      settings.input_file)
  for one in text_lines.stream_examples(settings.input_file):
    yield "%s, line %d" % (source, one.unique_id + 1), (
        one.text_a if one.text_b is None else (one.text_a, one.text_b))


def main(_):
  """Guesses and scores."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, argv=argv)


if __name__ == "__main__":
  run()
