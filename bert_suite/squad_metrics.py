r"""Scores answers to SQuAD 1.1 and 2.0 as the official scorers do.

  export SQUAD_DIR=/path/to/squad
  python squad_metrics.py --data_file=$SQUAD_DIR/dev-v2.0.json \
    --predictions_file=/tmp/squad_output/predictions.json \
    --null_odds_file=/tmp/squad_output/null_odds.json

prints one JSON object. Programs call `score`.

SQuAD 1.1: Rajpurkar et al., "SQuAD: 100,000+ Questions for Machine
Comprehension of Text", section 6.1. SQuAD 2.0: Rajpurkar et al., "Know What You
Don't Know: Unanswerable Questions for SQuAD", section 5.
"""

import collections
import dataclasses
import json
import logging
import math
import numbers
import re
import string

from absl import flags

from . import cli, script_options
from .script_options import option
from .squad import reader as squad_files

# No imports of TensorFlow: they would take longer than the scoring.

FLAGS = flags.FLAGS
REQUIRED_FLAGS = ["data_file", "predictions_file"]

BEST = "best"  # as a threshold: the one with the highest F1
DEFAULT_THRESHOLD = 1.0  # the official scorer's

# The logger of tf.logging, so that log lines look alike in run_squad.py.
_LOGGER = logging.getLogger("tensorflow")

_ARTICLES = re.compile(r"\b(?:a|an|the)\b")
_DELETE_PUNCTUATION = {ord(character): None for character in string.punctuation}

# What the messages of `score` call its first three arguments.
ARGUMENTS = ("dataset", "predictions", "null_odds")


def normalize_answer(text):
  """Returns a text in the form that is used to compare answers.

  Lower case, without ASCII punctuation, without the words a, an and the, with
  single spaces. Other punctuation stays.

  Args:
    text: str.
  """
  text = text.lower().translate(_DELETE_PUNCTUATION)
  return " ".join(_ARTICLES.sub(" ", text).split())


def exact_match(prediction, answer):
  """Returns 1.0 if two texts are the same after normalisation, else 0.0."""
  return float(normalize_answer(prediction) == normalize_answer(answer))


def f1(prediction, answer, version_2=True):
  """Returns the F1 of the words of two texts after normalisation.

  Args:
    prediction: str.
    answer: str.
    version_2: bool. For two texts without words, SQuAD 2.0 returns 1.0, SQuAD
      1.1 returns 0.0.

  Returns:
    float from 0.0 to 1.0.
  """
  return _f1_of_words(normalize_answer(prediction).split(),
                      normalize_answer(answer).split(), version_2)


def _f1_of_words(predicted, expected, version_2):
  if version_2 and not (predicted and expected):
    return float(predicted == expected)
  common = collections.Counter(predicted) & collections.Counter(expected)
  num_common = sum(common.values())
  if not num_common:
    return 0.0
  precision = num_common / len(predicted)
  recall = num_common / len(expected)
  return 2 * precision * recall / (precision + recall)


def parse_threshold(value):
  """Returns a threshold as a float, or BEST; None stays None.

  Args:
    value: str, a number or "best"; or float; or None.

  Raises:
    ValueError: it is none of these.
  """
  if value is None or value == BEST:
    return value
  try:
    threshold = float(value)
  except (TypeError, ValueError):
    threshold = math.nan
  if math.isnan(threshold):
    raise ValueError("null_score_diff_threshold=%.60s: expected a number, or "
                     "\"best\" for the one with the highest F1" % value)
  return threshold


def score(dataset, predictions, null_odds=None, null_score_diff_threshold=None,
          version_2=None, sources=ARGUMENTS, warns=True):
  """Scores predictions as the official scorer of the data's version does.

  In SQuAD 1.1 a question without a prediction counts as wrong, in SQuAD 2.0 it
  is left out; both log a warning. If the data has an id twice, SQuAD 1.1 counts
  both questions and SQuAD 2.0 the last.

  The sweep behind `best_*` goes through the questions in the order of their
  null odds, one at a time. If odds are equal, `best_exact` and `best_f1` may
  therefore exceed what the threshold gives; and if answering no question is
  best, the threshold is 0.0. `best_threshold` has neither flaw.

  Args:
    dataset: list of dict. The articles, "data" in a SQuAD file; or the result
      of `squad.reader.read_questions` for them.
    predictions: dict from question id to str. For thresholds to make sense, the
      best answers that are not empty.
    null_odds: dict from question id to float, for SQuAD 2.0: by how much the
      score of no answer exceeds that of the prediction.
    null_score_diff_threshold: float. A question whose odds are greater is
      scored as answered with "". Or BEST, see `best_threshold`. None for
      DEFAULT_THRESHOLD.
    version_2: bool. Whether it is SQuAD 2.0. By default it is if any question
      has an "is_impossible".
    sources: (str, str, str). What messages call the first three arguments.
    warns: bool. Logs oddities; off for a caller that scores the same twice.

  Returns:
    dict from the official scorer's name to the figure, in its order. SQuAD 1.1:
    `exact_match` and `f1`, in percent. SQuAD 2.0: `exact` and `f1`, in percent,
    and `total`; the same as `HasAns_*` for the questions with an answer and
    `NoAns_*` for those without, if there are any; with null odds `best_exact`
    and `best_f1`, in percent, and their thresholds, `best_exact_thresh` and
    `best_f1_thresh`.

  Raises:
    ValueError: an argument is not as described, or they do not match.
  """
  threshold = parse_threshold(null_score_diff_threshold)
  questions, predictions = _check(dataset, predictions, sources, warns)
  if version_2 is None:
    version_2 = is_version_2(questions)
  if null_odds is None and threshold is not None:
    raise ValueError("null_score_diff_threshold=%s: a threshold has no effect "
                     "without null odds; give those too" % threshold)
  if not version_2:
    if null_odds is not None:
      raise ValueError("%s: null odds are for SQuAD 2.0, but no question of %s "
                       "has an is_impossible" % (sources[2], sources[0]))
    return _score_version_1(questions, predictions, sources, warns)

  answers, exact, f1s = _raw_scores(questions, predictions, sources, warns)
  if null_odds is None:
    return _summary(answers, exact, f1s)
  null_odds = check_null_odds(null_odds, answers, sources)
  if threshold is None:
    threshold = DEFAULT_THRESHOLD
  elif threshold == BEST:
    threshold = _best_threshold(answers, f1s, null_odds)
    _LOGGER.info("Best threshold: %s", threshold)
  results = _summary(answers, *[
      _apply_threshold(scores, answers, null_odds, threshold)
      for scores in (exact, f1s)])
  for name, scores in [("exact", exact), ("f1", f1s)]:
    results["best_" + name], results["best_%s_thresh" % name] = _official_sweep(
        answers, scores, predictions, null_odds)
  return results


def best_threshold(dataset, predictions, null_odds, sources=ARGUMENTS,
                   warns=True):
  """Finds the null_score_diff_threshold with the highest F1 on SQuAD 2.0.

  Returns the lowest of equals. It is the `best_f1_thresh` of `score`, unless
  the official sweep finds one that does not give the F1 it reports.

  Args:
    dataset: see `score`, also for those below.
    predictions: dict from question id to str.
    null_odds: dict from question id to float.
    sources: (str, str, str).
    warns: bool.

  Returns:
    float: the null odds of a question; or a number below all odds, with which
    no question is answered.

  Raises:
    ValueError: as in `score`.
  """
  questions, predictions = _check(dataset, predictions, sources, warns)
  answers, _, f1s = _raw_scores(questions, predictions, sources, warns)
  return _best_threshold(
      answers, f1s, check_null_odds(null_odds, answers, sources))


def is_version_2(questions):
  """Returns whether any question has "is_impossible"."""
  return any("is_impossible" in question.item for question in questions)


def figure_names(questions, has_null_odds):
  """Returns the names of the scores, in percent, that `score` returns."""
  if not (has_null_odds or is_version_2(questions)):
    return ["exact_match", "f1"]
  return [prefix + name for prefix in (
      ("", "HasAns_", "NoAns_") + ("best_",) * has_null_odds)
          for name in ("exact", "f1")]


def check_answers(questions, source):
  """Raises ValueError unless all questions have answers, as in SQuAD 1.1."""
  for question in questions:
    if not question.answers:
      raise ValueError(
          "%s: question %s has no answers, which SQuAD 1.1 must have; is it "
          "SQuAD 2.0, without is_impossible?" % (source, question.id))


def _score_version_1(questions, predictions, sources, warns):
  """Returns `score` for SQuAD 1.1."""
  check_answers(questions, sources[0])
  exact_sum = f1_sum = 0.0
  missing = []
  for question in questions:
    if question.id not in predictions:
      missing.append(question.id)
      continue
    exact, best_f1 = _best_of_answers(
        predictions[question.id], question.answers, version_2=False)
    exact_sum += exact
    f1_sum += best_f1
  if warns:
    _warn_of_missing(missing, questions, sources, "count as wrong")
  return {"exact_match": 100.0 * exact_sum / len(questions),
          "f1": 100.0 * f1_sum / len(questions)}


def _raw_scores(questions, predictions, sources, warns):
  """Scores questions of SQuAD 2.0 by the predictions alone.

  Returns:
    Three dicts from the ids of the questions that have a prediction: to the
    list of answers, the exact match, and the F1.
  """
  answers, exact, f1s, missing = {}, {}, {}, []
  for question in questions:
    if question.id not in predictions:
      missing.append(question.id)
      continue
    # A question has an answer if this list is not empty, even if normalisation
    # empties its texts; its is_impossible does not matter.
    answers[question.id] = question.answers
    expected = [text for text in question.answers if normalize_answer(text)]
    exact[question.id], f1s[question.id] = _best_of_answers(
        predictions[question.id], expected or [""], version_2=True)
  if not answers:
    raise ValueError("%s: no question of %s has a prediction" % (
        sources[1], sources[0]))
  if warns:
    _warn_of_missing(missing, questions, sources, "are left out of all figures")
  return answers, exact, f1s


def _best_of_answers(prediction, answers, version_2):
  """Returns the best exact match and the best F1 over the gold answers."""
  prediction = normalize_answer(prediction)
  words = prediction.split()
  answers = {normalize_answer(answer) for answer in answers}
  best_f1 = max(_f1_of_words(words, answer.split(), version_2)
                for answer in answers)
  return float(prediction in answers), best_f1


def _apply_threshold(scores, answers, null_odds, threshold):
  """Returns scores where questions with greater odds are answered with ""."""
  return {key: float(not answers[key]) if null_odds[key] > threshold else value
          for key, value in scores.items()}


def _summary(answers, exact, f1s):
  """Returns the figures of SQuAD 2.0 that do not need null odds."""
  results = {}
  for prefix, keys in [
      ("", list(answers)),
      ("HasAns_", [key for key in answers if answers[key]]),
      ("NoAns_", [key for key in answers if not answers[key]])]:
    if keys:
      for name, scores in [("exact", exact), ("f1", f1s)]:
        results[prefix + name] = (
            100.0 * sum(scores[key] for key in keys) / len(keys))
      results[prefix + "total"] = len(keys)
  return results


def _official_sweep(answers, scores, predictions, null_odds):
  """Returns the best score, in percent, and its threshold; see `score`."""
  gains = {}
  for key in answers:
    if answers[key]:
      gains[key] = scores[key]
    else:  # A prediction of only articles or punctuation is an answer here.
      gains[key] = -1 if predictions[key] else 0
  best, threshold = _sweep(answers, gains, null_odds, splits_ties=True)
  return 100.0 * best / len(answers), 0.0 if threshold is None else threshold


def _best_threshold(answers, f1s, null_odds):
  """Returns `best_threshold` for checked arguments."""
  gains = {key: f1s[key] - (not answers[key]) for key in answers}
  _, threshold = _sweep(answers, gains, null_odds, splits_ties=False)
  if threshold is None:
    lowest = min(null_odds[key] for key in answers)
    threshold = lowest - max(1.0, 1e-6 * abs(lowest))
  return threshold


def _sweep(answers, gains, null_odds, splits_ties):
  """Raises the threshold from question to question, to find the best.

  Args:
    answers: dict from id to the list of answers.
    gains: dict from id to how much better the prediction is than "".
    null_odds: dict from id to float. Its order breaks ties.
    splits_ties: bool. Also considers scores between questions of equal odds.

  Returns:
    The best sum of scores, and the threshold, or None for one below all odds.
  """
  current = best = sum(1 for key in answers if not answers[key])
  threshold = None
  order = sorted((key for key in null_odds if key in gains), key=null_odds.get)
  for key, following in zip(order, order[1:] + [None]):
    current += gains[key]
    if (not splits_ties and following is not None and
        null_odds[following] == null_odds[key]):
      continue
    if current > best:
      best, threshold = current, null_odds[key]
  return best, threshold


def _check(dataset, predictions, sources, warns):
  """Returns the questions of the dataset, and predictions with str ids."""
  questions = squad_files.read_questions(dataset, sources[0])
  keyed = _with_text_ids(predictions, "predictions.json", "answer", sources[1])
  for key, text in keyed.items():
    if not isinstance(text, str):
      raise ValueError(
          "%s: found %s for the id %s, expected a text; give a "
          "predictions.json" % (sources[1], squad_files.describe(text), key))
  known = {question.id for question in questions}
  unknown = [key for key in keyed if key not in known]
  if unknown and len(unknown) == len(keyed):
    raise ValueError(
        "%s: none of its %d ids is in %s (the first is %s, there it is %s); "
        "give the file that was predicted" % (
            sources[1], len(unknown), sources[0], unknown[0], questions[0].id))
  if unknown and warns:
    _LOGGER.warning("%s: %d ids that %s does not have are ignored: %s",
                    sources[1], len(unknown), sources[0],
                    squad_files.first_of(unknown))
  if len(known) < len(questions) and warns:
    counts = collections.Counter(question.id for question in questions)
    repeated = [key for key, count in counts.items() if count > 1]
    _LOGGER.warning(
        "%s: %d id(s) are there more than once, with one prediction each; "
        "SQuAD 1.1 scores it at each of their questions, SQuAD 2.0 at the "
        "last: %s", sources[0], len(repeated), squad_files.first_of(repeated))
  return questions, keyed


def check_null_odds(null_odds, answers, sources):
  """Returns null odds, float by str id; all keys of `answers` have them."""
  odds = _with_text_ids(null_odds, "null_odds.json", "number", sources[2])
  for key, value in odds.items():
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    try:
      odds[key] = float(value) if is_number else math.nan
    except OverflowError:  # for an int with hundreds of digits
      odds[key] = math.inf
    if not math.isfinite(odds[key]):
      raise ValueError(
          "%s: found %s for the id %s, expected a finite number; give a "
          "null_odds.json" % (sources[2], squad_files.describe(value), key))
  missing = [key for key in answers if key not in odds]
  if missing:
    raise ValueError("%s: has no null odds of %d of the %d questions that have "
                     "predictions (%s); give the file that was written with "
                     "%s" % (sources[2], len(missing), len(answers),
                             squad_files.first_of(missing), sources[1]))
  return odds


def _with_text_ids(values, file_name, kind, source):
  """Returns a dict with ids as str, as in JSON, or raises ValueError."""
  if not isinstance(values, dict):
    raise ValueError(
        "%s: found %s, expected an object {question id: %s}; give a %s" % (
            source, squad_files.describe(values), kind, file_name))
  return {squad_files.text_id(key): value for key, value in values.items()}


def _warn_of_missing(missing, questions, sources, what_happens):
  if missing:
    _LOGGER.warning("%s: has no prediction for %d of the %d questions of %s, "
                    "which %s: %s", sources[1], len(missing), len(questions),
                    sources[0], what_happens, squad_files.first_of(missing))


@dataclasses.dataclass
class Settings(script_options.Settings):
  """Settings of this script; each field is a flag."""

  data_file: str = option(
      "path", None, "SQuAD file with the answers, such as dev-v2.0.json.")
  predictions_file: str = option(
      "path", None, "The predictions.json of run_squad.py.")
  null_odds_file: str = option(
      "path", None, "The null_odds.json of run_squad.py, for SQuAD 2.0.")
  null_score_diff_threshold: str = option(
      "string", None,
      "Score a question as answered with nothing if its null odds are greater: "
      "a number, or \"best\" for the one with the highest F1. Needs "
      "--null_odds_file; with it, %s if not given." % DEFAULT_THRESHOLD)


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


@script_options.runs(Settings, REQUIRED_FLAGS)
def run_with(settings):
  """Prints the figures of the files that the flags name.

  Args:
    settings: Settings.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  with cli.user_errors():
    results = _score_files(settings)
  print(json.dumps(results, indent=2))


def main(_):
  """Prints the figures of the files that the flags name."""
  run_with(script_options.from_flags(Settings, FLAGS))


def _score_files(settings):
  """Returns the figures of the files that the flags name, see `score`."""
  threshold = parse_threshold(settings.null_score_diff_threshold)
  if threshold is not None and not settings.null_odds_file:
    raise ValueError("--null_score_diff_threshold has no effect without "
                     "null odds: also pass --null_odds_file")
  dataset, says_version_2 = squad_files.read_dataset(settings.data_file)
  predictions = squad_files.read_json(settings.predictions_file)
  null_odds = (squad_files.read_json(settings.null_odds_file)
               if settings.null_odds_file else None)
  _log_as_tensorflow_does()  # after reading, which may import it
  sources = (settings.data_file, settings.predictions_file,
             settings.null_odds_file)
  return score(dataset, predictions, null_odds, threshold,
               says_version_2 or None, sources)


def _log_as_tensorflow_does():
  """Makes log lines look like those of scripts that import TensorFlow."""
  _LOGGER.setLevel(logging.INFO)
  if not _LOGGER.handlers:
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(logging.BASIC_FORMAT))
    _LOGGER.addHandler(handler)
  _LOGGER.propagate = False


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
