"""SQuAD: answers of a model that is in memory."""

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

from . import answers as squad_answers, data as squad_data
from .. import tokenization


def answer(model, pairs):
  """Answers questions.

  Args:
    model: predictor.Predictor.
    pairs: list of (str, str), questions with their contexts.

  Returns:
    list of dict with "text", "probability", "start_char" and "end_char".

  Raises:
    ValueError: a question has no context.
  """
  settings = model.settings
  examples, windows = _make_windows(model, pairs)
  logits = {
      window.unique_id: squad_answers.RawResult(
          window.unique_id, result["start_logits"], result["end_logits"])
      for window, result in zip(windows, model.compute(windows))}
  n_best_size, max_answer_length, threshold = model.search
  version_2 = settings["version_2_with_negative"]
  finder = squad_answers.AnswerFinder(
      n_best_size, max_answer_length, settings["do_lower_case"], version_2,
      False, settings.get("strip_accents"))
  # Without words a question asks nothing, and no window can answer it.
  windows_of = squad_answers.group_windows(
      window for window in windows if window.tokens[1] != "[SEP]")
  return [_choose(*finder.find(example, windows_of.get(index, []), logits),
                  threshold=threshold if version_2 else None)
          for index, example in enumerate(examples)]


def _make_windows(model, pairs):
  """Returns a list of SquadExample and one of their windows."""
  examples, windows, words_of = [], [], {}
  for index, (question, context) in enumerate(pairs):
    if context is None:
      raise ValueError(
          "texts[%d]: found the question %s alone, expected (question, "
          "context)" % (model.first + index, tokenization.shorten(question)))
    if context not in words_of:  # a book is tokenized once, not per question
      words_of[context] = squad_data.split_words(context)
    words, starts = words_of[context]
    examples.append(squad_data.SquadExample(
        str(index), question, words, context=context, word_starts=starts))
  lengths = [model.settings[name] for name in (
      "max_seq_length", "doc_stride", "max_query_length")]
  with model.tokenizer_lock:
    squad_data.convert_examples_to_features(
        examples, model.tokenizer, *lengths, False, windows.append, model.cuts)
  return examples, windows


_NOTHING = squad_answers.Answer("", 0.0, 0.0, None, None)


def _choose(answers, null_score, threshold):
  """Returns an answer of an n-best list as a dict.

  Args:
    answers: list of answers.Answer, the best first; for SQuAD 1.1 empty if
      nothing can be an answer.
    null_score: float. The score of no answer.
    threshold: float, for SQuAD 2.0; None for the first answer.
  """
  answers = answers or [_NOTHING]
  chosen = 0
  if threshold is not None:
    texts = [i for i, answer in enumerate(answers) if answer.text]
    nothing = [i for i, answer in enumerate(answers) if not answer.text]
    chosen, = texts[:1] or nothing[:1]
    best = answers[chosen]
    if null_score - best.start_logit - best.end_logit > threshold and nothing:
      chosen = nothing[0]
  return {"text": answers[chosen].text,
          "probability": squad_answers.probabilities(answers)[chosen],
          "start_char": answers[chosen].start_char,
          "end_char": answers[chosen].end_char}
