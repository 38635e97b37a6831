"""SQuAD: the files of answers in a folder, and their scores.

predictions.json, nbest_predictions.json and, for SQuAD 2.0, null_odds.json come
from one prediction; eval_results.json has its scores.
"""

import math
import os

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import answers as squad_answers, reader as squad_files
from .. import squad_metrics, training

_THRESHOLD = "null_score_diff_threshold"


def result_paths(output_dir):
  """Returns the paths of a folder's prediction, n-best and null odds files."""
  return [os.path.join(output_dir, name) for name in (
      "predictions.json", "nbest_predictions.json", "null_odds.json")]


def scores_path(output_dir):
  """Returns the path of a folder's eval_results.json."""
  return os.path.join(output_dir, "eval_results.json")


def write_predictions(output_dir, *arguments, **settings):
  """Writes a prediction and removes what an earlier one left.

  Args:
    output_dir: str.
    *arguments: those of `answers.write_predictions` before its paths.
    **settings: those after its paths.

  Returns:
    float or None, as `answers.write_predictions`.
  """
  paths = result_paths(output_dir)
  _remove(scores_path(output_dir))
  threshold = squad_answers.write_predictions(*arguments, *paths, **settings)
  if not settings.get("version_2_with_negative"):
    _remove(paths[2])
  return threshold


def _remove(path):
  if tf.gfile.Exists(path):
    tf.gfile.Remove(path)
    tf.logging.info("Removed %s, which belonged to an earlier prediction", path)


def evaluate(dataset, predict_file, output_dir, version_2, threshold=None,
             applied_threshold=None):
  """Scores predictions.json of a folder and writes eval_results.json.

  The n-best lists and the null odds beside it hold all that another threshold
  needs: nothing is predicted again.

  Args:
    dataset: list of dict. The articles, with answers; or what
      `reader.read_questions` made of them.
    predict_file: str. Where they are from, for messages.
    output_dir: str.
    version_2: bool. Predictions were made for SQuAD 2.0.
    threshold: float, a float as str, or "best". Rewrites predictions.json for
      this null_score_diff_threshold; None scores it as it is.
    applied_threshold: float. The one that it was written with, if known.

  Returns:
    dict, the contents of eval_results.json.

  Raises:
    ValueError: files are missing or do not match.
  """
  texts_path, nbest_path, odds_path = paths = result_paths(output_dir)
  if not tf.gfile.Exists(texts_path):
    raise ValueError("--do_eval: there is no %s; also pass --do_predict" %
                     texts_path)
  sources = (predict_file, texts_path, odds_path)
  texts = squad_files.read_json(texts_path)
  questions = squad_files.read_questions(dataset, predict_file)
  check_coverage(questions, texts, sources)
  is_rethresholded = version_2 and threshold is not None
  if is_rethresholded:
    missing = [path for path in paths if not tf.gfile.Exists(path)]
    if missing:
      raise ValueError("--null_score_diff_threshold: there is no %s; also pass "
                       "--do_predict" % ", ".join(missing))
  null_odds, best_texts = None, texts
  if version_2 and tf.gfile.Exists(odds_path):
    null_odds = squad_metrics.check_null_odds(
        squad_files.read_json(odds_path), {}, sources)
    if tf.gfile.Exists(nbest_path):
      best_texts = read_best_texts(nbest_path)
  if is_rethresholded:
    texts, applied_threshold = squad_answers.choose_texts(
        best_texts, null_odds, squad_metrics.parse_threshold(threshold),
        questions, sources)
  elif null_odds is not None and applied_threshold is None:
    applied_threshold = _find_threshold(
        output_dir, texts, best_texts, null_odds)
  results = _score(questions, texts, best_texts, null_odds, version_2, sources)
  if null_odds is not None and applied_threshold is not None:
    results[_THRESHOLD] = (
        applied_threshold if math.isfinite(applied_threshold)
        else str(applied_threshold))  # which JSON has no number for
  if is_rethresholded:  # now that nothing can fail any more
    squad_answers.write_json(texts_path, texts)
    tf.logging.info("Rewrote %s", texts_path)
  training.write_results(scores_path(output_dir), "Eval results", results)
  return results


def _score(questions, texts, best_texts, null_odds, version_2, sources):
  """Returns the figures of texts and, for the best texts, all `best_*`."""
  results = squad_metrics.score(
      questions, texts, version_2=version_2 or None, sources=sources)
  if null_odds is not None:
    swept = squad_metrics.score(questions, best_texts, null_odds,
                                version_2=True, sources=sources, warns=False)
    results.update((name, value) for name, value in swept.items()
                   if name.startswith("best_"))
  return results


def _find_threshold(output_dir, texts, best_texts, null_odds):
  """Returns the threshold that texts were made with; None if it is not known.

  Tries the one in eval_results.json, then the default.
  """
  candidates = [0.0]
  if tf.gfile.Exists(scores_path(output_dir)):
    scores = squad_files.read_json(scores_path(output_dir))
    if isinstance(scores, dict):
      candidates.insert(0, scores.get(_THRESHOLD))
  for candidate in candidates:
    try:
      threshold = float(candidate)
      if texts == squad_answers.apply_threshold(
          best_texts, null_odds, threshold):
        return threshold
    except (AttributeError, TypeError, ValueError):
      pass  # Scoring says what is wrong with a file.
  return None


def check_coverage(questions, texts, sources):
  """Raises ValueError if predictions are for other questions, or for few.

  `squad_metrics` scores those too; here they would replace other results.

  Args:
    questions: reader.Questions.
    texts: dict from id to str, as predictions.json holds it.
    sources: (str, str, ...). What messages call both.
  """
  asked = {question.id for question in questions}
  if not isinstance(texts, dict):
    return  # Scoring says what is expected.
  common = asked.intersection(texts)
  if 2 * len(common) < max(len(asked), len(texts)):
    raise ValueError("%s: has a prediction for %d of the %d questions of %s, "
                     "and %d for other questions; give the --predict_file that "
                     "was predicted, or also --do_predict; squad_metrics.py "
                     "scores parts" % (sources[1], len(common), len(asked),
                                       sources[0], len(texts) - len(common)))


def read_best_texts(nbest_path):
  """Returns the best answer that is not empty of every question, "" if none.

  Args:
    nbest_path: str. The nbest_predictions.json of `write_predictions`.

  Returns:
    dict from id to str.
  """
  nbest = squad_files.read_json(nbest_path)
  try:
    return {qas_id: next(("" + answer["text"] for answer in answers
                          if answer["text"]), "")
            for qas_id, answers in nbest.items()}
  except (AttributeError, KeyError, TypeError):
    raise ValueError("%s: is not what this script writes, {id: [{\"text\": "
                     "...}]}; also pass --do_predict" % nbest_path) from None
