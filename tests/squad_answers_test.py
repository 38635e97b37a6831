"""Tests of squad.answers: n-best lists, projection, offsets, thresholds."""

import json
import math

import numpy as np
import pytest

from bert_suite.squad import answers as squad_answers, data as squad_data
from helpers import captured_log, write_lines
import tokenization

TEXTS = [
    "The kettle (1895-1943) sings: \u201cna\xefve caf\xe9s\u201d, 3.5% of t"
    "ea\u2019s price;\nit isn't far.",
    "\u0928\u0908 \u0926\u093f\u0932\u094d\u0932\u0940 \u092d\u093e\u0930"
    "\u0924 \u0915\u0940 \u0930\u093e\u091c\u0927\u093e\u0928\u0940 \u0939"
    "\u0948\u0964 \u092f\u092e\u0941\u0928\u093e \u0928\u0926\u0940, \u0915"
    "\u093c\u093f\u0932\u093e",
    "\u5317\u4eac\u662f\u4e2d\u56fd\u7684\u9996\u90fd\uff0c\u4eba\u53e3"
    "\u4e8c\u5343\u4e07\u3002 2008\u5e74\u5965\u8fd0\u4f1a",
    "\u0627\u0644\u0642\u0627\u0647\u0631\u0629 \u0639\u0627\u0635\u0645"
    "\u064e\u0629\u064f \u0645\u0635\u0631\u060c \u0639\u0644\u0649 \u0646"
    "\u0647\u0631 \u0627\u0644\u0646\u064a\u0644.",
    "Tea \U0001f375 or \U0001f468\u200d\U0001f469\u200d\U0001f467? "
    "\U0001f1eb\U0001f1f7 says \u2615\ufe0f\U0001f44d\U0001f3fd!  Two\tspac"
    "es  here",
]


def make_tokenizer(folder, do_lower_case):
  """Makes a tokenizer whose pieces are characters."""
  chars = sorted(set("".join(TEXTS) + "".join(TEXTS).lower() + "aceinou"))
  pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] + [
      prefix + char for char in chars if char.strip() and char != "\u2615"
      for prefix in ("", "##")]
  path = write_lines(folder / "vocab.txt", [[piece] for piece in pieces])
  return tokenization.FullTokenizer(path, do_lower_case)


def make_data(folder, do_lower_case=True, contexts=TEXTS, max_seq_length=24,
              doc_stride=8):
  """Returns examples, a question per context, and their features."""
  path = folder / "squad.json"
  path.write_text(json.dumps({"data": [{"paragraphs": [
      {"context": context, "qas": [{"id": "q%d" % i, "question": "a"}]}
      for i, context in enumerate(contexts)]}]}))
  examples = squad_data.read_squad_examples(str(path), False)
  features = []
  squad_data.convert_examples_to_features(
      examples, make_tokenizer(folder, do_lower_case), max_seq_length,
      doc_stride, 4, False, features.append)
  return examples, features


def make_results(features, seed=1, max_seq_length=24, null_bonus=0.0):
  logits = np.random.RandomState(seed).normal(
      scale=3.0, size=[len(features), 2, max_seq_length]).round(1)  # with ties
  logits[:, :, 0] += null_bonus
  return [squad_answers.RawResult(feature.unique_id, start, end)
          for feature, (start, end) in zip(
              features, logits.astype(np.float32))]


def write(folder, examples, features, results, n_best_size=5,
          do_lower_case=True, **changes):
  """Returns what is in the three files; None for one that is not there."""
  paths = [folder / name for name in ("p.json", "n.json", "o.json")]
  squad_answers.write_predictions(
      examples, features, results, n_best_size, 10, do_lower_case,
      *map(str, paths), **changes)
  return [json.loads(path.read_text()) if path.exists() else None
          for path in paths]


# A second, slow way to the answers.


def slow_final_text(pred_text, orig_text, do_lower_case):
  tokenizer = tokenization.BasicTokenizer(do_lower_case)
  clean = " ".join(tokenizer.tokenize(orig_text))
  places = [i for i, char in enumerate(orig_text) if char != " "]
  clean_places = [i for i, char in enumerate(clean) if char != " "]
  start = clean.find(pred_text)
  if start < 0 or len(places) != len(clean_places):
    return orig_text
  first = clean_places.index(start)
  last = clean_places.index(start + len(pred_text) - 1)
  return orig_text[places[first]:places[last] + 1]


def slow_best(logits, count):
  return sorted(range(len(logits)), key=lambda i: (-logits[i], i))[:count]


def slow_nbest(example, windows, results, count, do_lower_case, version_2):
  spans = []
  for feature in windows:
    _, starts, ends = [r for r in results
                       if r.unique_id == feature.unique_id][0]
    for start in slow_best(starts, count):
      for end in slow_best(ends, count):
        if (feature.token_is_max_context.get(start) and
            end in feature.token_to_orig_map and start <= end < start + 10):
          words = [feature.token_to_orig_map[p] for p in (start, end)]
          pred = " ".join(feature.tokens[start:end + 1])
          pred = pred.replace(" ##", "").replace("##", "")
          text = slow_final_text(
              pred, " ".join(example.doc_tokens[words[0]:words[1] + 1]),
              do_lower_case)
          spans.append((text, float(starts[start]), float(ends[end])))
  if version_2:
    spans.append(("",) + min(
        ((float(r.start_logits[0]), float(r.end_logits[0])) for r in results
         if r.unique_id in [f.unique_id for f in windows]), key=sum))
  spans.sort(key=lambda span: -(span[1] + span[2]))
  nbest = []
  for span in spans:
    if len(nbest) < count and span[0] not in [other[0] for other in nbest]:
      nbest.append(span)
  if version_2 and "" not in [span[0] for span in nbest]:
    nbest.append([span for span in spans if not span[0]][0])
  return nbest or [("empty", 0.0, 0.0)]


@pytest.mark.parametrize("version_2", [False, True])
@pytest.mark.parametrize("do_lower_case", [False, True])
@pytest.mark.parametrize("n_best_size", [1, 4, 40])
def test_n_best_lists_are_those_of_the_slow_way(
    tmp_path, version_2, do_lower_case, n_best_size):
  examples, features = make_data(tmp_path, do_lower_case)
  assert len(features) > 2 * len(examples)
  results = make_results(features, seed=n_best_size)
  predictions, nbest, odds = write(
      tmp_path, examples, features, results, n_best_size, do_lower_case,
      version_2_with_negative=version_2, null_score_diff_threshold=1.5)
  for index, example in enumerate(examples):
    expected = slow_nbest(
        example, [f for f in features if f.example_index == index], results,
        n_best_size, do_lower_case, version_2)
    found = nbest[example.qas_id]
    assert [(a["text"], a["start_logit"], a["end_logit"])
            for a in found] == expected
    exponentials = [math.exp(start + end - expected[0][1] - expected[0][2])
                    for _, start, end in expected]
    np.testing.assert_allclose([a["probability"] for a in found],
                               np.array(exponentials) / sum(exponentials))
    best = [span for span in expected if span[0]][:1]
    if version_2 and best:
      null = [span for span in expected if not span[0]][0]
      difference = sum(null[1:]) - sum(best[0][1:])
      assert odds[example.qas_id] == pytest.approx(difference)
      assert predictions[example.qas_id] == (
          "" if difference > 1.5 else best[0][0])
    elif not version_2:
      assert predictions[example.qas_id] == expected[0][0]
  assert (odds is None) == (not version_2)


@pytest.mark.parametrize("version_2", [False, True])
@pytest.mark.parametrize("n_best_size", [2, 30])
def test_forgetting_spans_on_the_way_changes_no_list(
    tmp_path, monkeypatch, version_2, n_best_size):
  examples, features = make_data(tmp_path)
  arguments = (tmp_path, examples, features, make_results(features),
               n_best_size)
  expected = write(*arguments, version_2_with_negative=version_2)
  monkeypatch.setattr(squad_answers, "_MANY_SPANS", 3)
  sizes, take_best = [], squad_answers.AnswerFinder._take_best

  def count(self, example, windows, spans):
    answers, used = take_best(self, example, windows, spans)
    sizes.append((spans.shape[1], len(used)))
    return answers, used

  monkeypatch.setattr(squad_answers.AnswerFinder, "_take_best", count)
  assert write(*arguments, version_2_with_negative=version_2) == expected
  assert len(sizes) > len(examples)
  assert any(num_used < size for size, num_used in sizes)


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "3", True, None])
def test_sizes_with_which_nothing_can_be_answered_are_refused(wrong):
  for sizes, name in (((wrong, 30), "n_best_size"),
                      ((20, wrong), "max_answer_length")):
    with pytest.raises(ValueError, match="^%s=%r: expected a whole number, at "
                       "least 1$" % (name, wrong)):
      squad_answers.AnswerFinder(*sizes, do_lower_case=True,
                                 version_2_with_negative=False,
                                 verbose_logging=False)


def test_the_files_are_laid_out_as_json_dumps_does(tmp_path):
  examples, features = make_data(tmp_path)
  contents = write(tmp_path, examples, features, make_results(features),
                   version_2_with_negative=True)
  for name, content in zip(("p.json", "n.json", "o.json"), contents):
    text = (tmp_path / name).read_text()
    assert text == json.dumps(content, indent=4) + "\n"
  assert list(contents[1]["q0"][0]) == [
      "text", "probability", "start_logit", "end_logit", "start_char",
      "end_char"]
  assert write(tmp_path, [], [], [])[:2] == [{}, {}]


# Offsets.


@pytest.mark.parametrize("do_lower_case", [False, True])
@pytest.mark.parametrize("index", range(len(TEXTS)))
def test_offsets_round_trip_in_many_scripts(tmp_path, index, do_lower_case):
  examples, features = make_data(
      tmp_path, do_lower_case, contexts=TEXTS[index:index + 1])
  _, nbest, _ = write(tmp_path, examples, features, make_results(features),
                      200, do_lower_case)
  answers = nbest["q0"]
  assert len(answers) > 20
  context = examples[0].context
  for answer in answers:
    if answer["text"] in context:
      assert context[answer["start_char"]:answer["end_char"]] == answer["text"]
    else:  # its words have another space between them in the context
      assert answer["start_char"] is answer["end_char"] is None
      assert answer["text"] in " ".join(context.split())
  assert sum(answer["start_char"] is None for answer in answers) <= (
      len(answers) // 2 if index in (0, 4) else 0)


def test_offsets_are_those_of_the_place_that_was_chosen(tmp_path):
  examples, features = make_data(
      tmp_path, contexts=["tea or tea, tea."], max_seq_length=40)
  feature, = features
  where = [p for p in sorted(feature.token_to_orig_map)
           if feature.tokens[p] == "t"][2]
  starts, ends = np.zeros([2, 40], np.float32)
  starts[where] = ends[where + 2] = 9.0
  _, nbest, _ = write(tmp_path, examples, features, [
      squad_answers.RawResult(feature.unique_id, starts, ends)])
  best = nbest["q0"][0]
  assert (best["text"], best["start_char"], best["end_char"]) == ("tea", 12, 15)


def test_examples_without_context_have_no_offsets(tmp_path):
  examples, features = make_data(tmp_path)
  plain = [squad_data.SquadExample(e.qas_id, "a", e.doc_tokens)
           for e in examples]
  results = make_results(features)
  with_offsets = write(tmp_path, examples, features, results)[1]
  without = write(tmp_path, plain, features, results)[1]
  for key, answers in without.items():
    assert [a["text"] for a in answers] == [
        a["text"] for a in with_offsets[key]]
    assert all(a["start_char"] is a["end_char"] is None for a in answers)


# Projection.


@pytest.mark.parametrize("pred,orig,lower,expected", [
    ("steve smith", "Steve Smith's", True, "Steve Smith"),
    ("steve smith", "Steve Smith's", False, "Steve Smith's"),
    ("1895", "(1895-1943)", True, "1895"),
    ("1943 )", "(1895-1943)", True, "1943)"),
    ("cafe", "caf\u00e9s", True, "caf\u00e9"),
    ("cafe", "cafe\u0301s", True, "cafe\u0301s"),  # other lengths
    ("[UNK]", "tea", True, "tea"), ("", "tea", True, "tea"),
    ("tea", "", True, ""), ("b c", "a b  c d", True, "b  c"),
    ("a", " a ", True, "a"), (" a", "b a", True, "b a")])
def test_get_final_text(pred, orig, lower, expected):
  assert squad_answers.get_final_text(pred, orig, lower) == expected


def test_get_final_text_with_accents():
  text = "Caf\u00c9s"
  assert squad_answers.get_final_text(
      "caf\u00e9", text, True, strip_accents=False) == "Caf\u00c9"
  # The place of what the tokenizer cannot have made is not found.
  assert squad_answers.get_final_text("caf\u00e9", text, True) == text


def test_get_final_text_logs_why_it_took_all():
  with captured_log() as lines:
    squad_answers.get_final_text("x", "tea", True, verbose_logging=True)
    squad_answers.get_final_text("e", "e\u0301", True, verbose_logging=True)
  assert "Unable to find text: 'x' in 'tea'" in lines[0]
  assert "Length not equal" in lines[1]


def test_get_final_text_is_that_of_the_slow_way():
  rng = np.random.RandomState(3)
  alphabet = list("aAbB .,  '\u00e9\u0301\u4e2d\u0915\u093f"
                  "\u00a0\u200d\U0001f44d")
  for _ in range(2000):
    orig = "".join(rng.choice(alphabet, rng.randint(1, 15)))
    lower = bool(rng.randint(2))
    clean = " ".join(tokenization.BasicTokenizer(lower).tokenize(orig))
    start = rng.randint(len(clean) + 1)
    pred = clean[start:start + rng.randint(1, 9)].strip() or "b"
    assert squad_answers.get_final_text(
        pred, orig, lower) == slow_final_text(pred, orig, lower), (pred, orig)


# What has no good answer.


def no_span(features, max_seq_length=24):
  """Logits whose best positions are outside of the context."""
  logits = np.zeros([len(features), 2, max_seq_length], np.float32)
  logits[:, :, :3] = 5.0
  return [squad_answers.RawResult(f.unique_id, row[0], row[1])
          for f, row in zip(features, logits)]


def test_no_attribute_error_where_no_window_offers_an_answer(tmp_path):
  """Of the reference: 'NoneType' object has no attribute 'start_logit'."""
  examples, features = make_data(tmp_path)
  for threshold in (0.0, 100.0):
    predictions, nbest, odds = write(
        tmp_path, examples, features, no_span(features), 3,
        version_2_with_negative=True, null_score_diff_threshold=threshold)
    for example in examples:
      assert predictions[example.qas_id] == ""
      assert odds[example.qas_id] == 10.0
      answer, = nbest[example.qas_id]
      assert (answer["text"], answer["probability"]) == ("", 1.0)
      assert answer["start_char"] is answer["end_char"] is None


def test_version_1_without_a_span_is_what_the_reference_says(tmp_path):
  examples, features = make_data(tmp_path)
  predictions, nbest, _ = write(
      tmp_path, examples, features, no_span(features), 3)
  assert set(predictions.values()) == {"empty"}
  assert nbest["q0"] == [dict(text="empty", probability=1.0, start_logit=0.0,
                              end_logit=0.0, start_char=None, end_char=None)]


@pytest.mark.parametrize("version_2,expected", [(False, "empty"), (True, "")])
def test_an_empty_context_is_answered(tmp_path, version_2, expected):
  examples, features = make_data(tmp_path, contexts=["", " \n", "a cafe"])
  predictions, nbest, odds = write(
      tmp_path, examples, features, make_results(features),
      version_2_with_negative=version_2)
  assert predictions["q0"] == predictions["q1"] == expected
  assert len(nbest["q0"]) == 1
  if version_2:
    assert math.isfinite(odds["q0"])


def test_of_repeated_ids_the_last_counts(tmp_path):
  examples, features = make_data(tmp_path)
  results = make_results(features)
  expected = write(tmp_path, examples, features, results)[1]["q4"]
  examples[4].qas_id = "q0"
  predictions, nbest, _ = write(tmp_path, examples, features, results)
  assert list(predictions) == list(nbest) == ["q0", "q1", "q2", "q3"]
  assert nbest["q0"] == expected
  assert (tmp_path / "n.json").read_text().count('"q0"') == 1


def test_results_are_checked_and_nothing_is_written(tmp_path):
  examples, features = make_data(tmp_path)
  results = make_results(features)
  with pytest.raises(ValueError, match="question q4: its window .* no result"):
    write(tmp_path, examples, features, results[:-1])
  results[0].start_logits[3] = np.nan
  with pytest.raises(ValueError, match="question q0: .* not finite"):
    write(tmp_path, examples, features, results)
  assert not list(tmp_path.glob("?.json*"))


# Thresholds.


def test_logits_may_be_lists(tmp_path):
  examples, features = make_data(tmp_path)
  results = make_results(features)
  as_lists = [squad_answers.RawResult(
      r.unique_id, r.start_logits.tolist(), r.end_logits.tolist())
              for r in results]
  assert (write(tmp_path, examples, features, results) ==
          write(tmp_path, examples, features, as_lists))


def test_the_best_threshold_is_found_from_the_answers(tmp_path):
  examples, features = make_data(tmp_path)
  results = make_results(features, null_bonus=6.0)
  settings = dict(version_2_with_negative=True)
  never = write(tmp_path, examples, features, results,
                null_score_diff_threshold=1000, **settings)
  odds = never[2]
  order = sorted(odds, key=odds.get)
  # The two questions with the lowest odds have answers, the others do not.
  dataset = [{"paragraphs": [{"qas": [
      {"id": key, "is_impossible": key not in order[:2],
       "answers": [{"text": never[0][key]}] if key in order[:2] else []}
      for key in odds]}]}]
  with captured_log() as lines:
    best = write(tmp_path, examples, features, results, dataset=dataset,
                 null_score_diff_threshold="best", **settings)
  assert "Best null_score_diff_threshold: %s" % odds[order[1]] in lines
  assert best[1:] == never[1:]
  assert best[0] == {key: never[0][key] if key in order[:2] else ""
                     for key in odds}
  assert best == write(tmp_path, examples, features, results,
                       null_score_diff_threshold=str(odds[order[1]]),
                       **settings)


def test_the_best_threshold_needs_answers(tmp_path):
  with pytest.raises(ValueError, match="needs a data set with answers"):
    write(tmp_path, [], [], [], null_score_diff_threshold="best")


@pytest.mark.parametrize("count", [1, 3, 7, 8, 50])
def test_best_positions_take_the_first_of_equals(count):
  rng = np.random.RandomState(count)
  for _ in range(50):
    logits = rng.randint(0, 3, size=8).astype(np.float32)
    assert squad_answers.best_positions(logits, count) == slow_best(
        logits, count)
