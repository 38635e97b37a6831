"""Tests of run_squad: the head, flags, whole runs of the script."""

import json
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli
from helpers import (
    CONFIG, WORDS, captured_log, count_records, run_main, run_script,
    save_checkpoint, write_config, write_vocab)
import modeling
import numpy_bert
import run_squad
import squad_metrics

CONTEXTS = ["The kettle sings. A cat is not near, it rains.",
            "Tea is far. The cat sleeps near the kettle.",
            "It rains. A kettle is near, the tea is not."]
QUESTIONS = ["is it far", "the cat", "sleeps"]
ANSWERS = ["kettle", "cat", "tea"]  # of each context


def make_squad(version_2=False):
  """Returns a SQuAD: three questions per context, the last without answer."""
  paragraphs = []
  for i, (context, answer) in enumerate(zip(CONTEXTS, ANSWERS)):
    qas = []
    for j, text in enumerate(QUESTIONS):
      is_impossible = version_2 and j == 2
      qas.append({"id": "q%d%d" % (i, j), "question": text, "answers": [
      ] if is_impossible else [
              {"text": answer, "answer_start": context.index(answer)}]})
      if version_2:
        qas[-1]["is_impossible"] = is_impossible
    paragraphs.append({"context": context, "qas": qas})
  return {"version": "v2.0" if version_2 else "1.1",
          "data": [{"paragraphs": paragraphs}]}


def write_json(path, value):
  path.write_text(json.dumps(value))
  return str(path)


@pytest.fixture(scope="module")
def task(tmp_path_factory):
  """Files, and the arguments that name them."""
  folder = tmp_path_factory.mktemp("squad")
  return dict(
      vocab_file=write_vocab(folder), bert_config_file=write_config(folder),
      version_1=write_json(folder / "v1.json", make_squad()),
      version_2=write_json(folder / "v2.json", make_squad(True)))


def arguments_for(task, output_dir, version=1, **changes):
  path = task["version_%d" % version]
  values = dict(
      vocab_file=task["vocab_file"], bert_config_file=task["bert_config_file"],
      output_dir=str(output_dir), train_file=path, predict_file=path,
      max_seq_length=16, doc_stride=4, max_query_length=4, train_batch_size=4,
      learning_rate=1e-2, n_best_size=6)
  values.update(changes)
  return ["--%s=%s" % item for item in sorted(values.items())
          if item[1] is not None]


def read_results(output_dir):
  """Returns a dict from the name of a result file to what it holds."""
  return {name: json.loads((output_dir / (name + ".json")).read_text())
          for name in ("predictions", "nbest_predictions", "null_odds",
                       "eval_results")
          if (output_dir / (name + ".json")).exists()}


def check_offsets(nbest, contexts=CONTEXTS):
  for key, answers in nbest.items():
    for answer in answers:
      if answer["text"]:
        assert contexts[int(key[1])][
            answer["start_char"]:answer["end_char"]] == answer["text"]
      else:
        assert answer["start_char"] is answer["end_char"] is None


# The head.


def random_batch(rng):
  mask = np.array([[1] * n + [0] * (8 - n) for n in (7, 3, 1)], np.int32)
  ids = rng.randint(1, len(WORDS), [3, 8]).astype(np.int32) * mask
  return ids, mask, np.zeros_like(ids)


@pytest.mark.parametrize("remove_padding", [False, True])
def test_create_model_is_that_of_numpy(remove_padding):
  rng = np.random.RandomState(4)
  ids, mask, types = random_batch(rng)
  with tf.Graph().as_default(), tf.Session() as session:
    outputs = run_squad.create_model(
        modeling.BertConfig(**CONFIG), False, tf.constant(ids),
        tf.constant(mask), tf.constant(types), False,
        options=modeling.Options(remove_padding=remove_padding))
    variables = {v.op.name: rng.normal(0.0, 0.5, v.shape.as_list())
                 for v in tf.trainable_variables()}
    session.run([tf.assign(v, variables[v.op.name]).op
                 for v in tf.trainable_variables()])
    logits = np.stack(session.run(outputs), axis=-1)
  assert variables["cls/squad/output_weights"].shape == (2, 16)
  encoded = numpy_bert.encode(variables, 2, ids, mask, types)
  expected = (encoded.layers[-1].dot(
      variables["cls/squad/output_weights"].T) +
              variables["cls/squad/output_bias"])
  real = mask == 1
  np.testing.assert_allclose(logits[real], expected[real], atol=5e-5)
  if remove_padding:
    assert np.all(logits[~real] == np.float32(-1e30))


@pytest.mark.parametrize("remove_padding", [False, True])
def test_a_step_with_padding_in_every_row_is_finite(remove_padding):
  rng = np.random.RandomState(5)
  ids, mask, types = random_batch(rng)
  features = {
      "unique_ids": tf.constant([1, 2, 3]), "input_ids": ids,
      "input_mask": mask, "segment_ids": types,
      "start_positions": np.array([1, 0, 0], np.int32),
      "end_positions": np.array([6, 2, 0], np.int32)}
  assert np.all(mask[:, -1] == 0)
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    model_fn = run_squad.model_fn_builder(
        modeling.BertConfig(**CONFIG), None, 0.1, 10, 0, False, False,
        options=modeling.Options(remove_padding=remove_padding))
    tf.train.get_or_create_global_step()
    spec = model_fn({name: tf.constant(value) for name, value in
                     dict(features, unique_ids=[1, 2, 3]).items()}, None,
                    "train", {"batch_size": 3})
    gradients = [tf.convert_to_tensor(gradient) for gradient in tf.gradients(
        spec.loss, tf.trainable_variables()) if gradient is not None]
    session.run(tf.global_variables_initializer())
    loss, found = session.run([spec.loss, gradients])
    assert 0.5 < loss < 5.0
    assert len(found) > 15
    assert all(np.all(np.isfinite(gradient)) for gradient in found)
    session.run(spec.train_op)
    assert np.isfinite(session.run(spec.loss))


def test_position_loss_gathers_the_log_probability():
  logits = np.array([[1.0, 2.0, -1e30], [0.5, -1e30, -1e30]], np.float32)
  with tf.Graph().as_default(), tf.Session() as session:
    loss = session.run(run_squad.position_loss(
        tf.constant(logits), tf.constant([0, 0])))
  assert loss == pytest.approx(np.log(1 + np.e) / 2)


# Whole runs.


@pytest.fixture(scope="module")
def trained_dir(task, tmp_path_factory):
  """The output folder of the whole script on version 1."""
  output_dir = tmp_path_factory.mktemp("trained") / "out"
  status, _, stderr = run_script("run_squad.py", arguments_for(
      task, output_dir, do_train=True, do_predict=True, do_eval=True,
      num_train_epochs=3, log_steps=3, tf_random_seed=1))
  assert status == 0, stderr[-3000:]
  for text in ("Training: 6 of 6 steps, loss ", "***** Eval results *****",
               "  exact_match = ", "  f1 = "):
    assert stderr.count(text) == 1
  return output_dir


def test_the_script_trains_predicts_and_scores(trained_dir):
  results = read_results(trained_dir)
  assert sorted(results) == [
      "eval_results", "nbest_predictions", "predictions"]
  assert sorted(results["predictions"]) == [
      "q%d%d" % (i, j) for i in range(3) for j in range(3)]
  check_offsets(results["nbest_predictions"])
  assert results["predictions"] == {
      key: answers[0]["text"]
      for key, answers in results["nbest_predictions"].items()}
  assert results["eval_results"] == squad_metrics.score(
      make_squad()["data"], results["predictions"])
  names = {name for name, _ in tf.train.list_variables(str(trained_dir))}
  assert {"cls/squad/output_weights", "cls/squad/output_bias", "global_step",
          "cls/squad/output_weights/adam_m"} <= names
  for name in ("train", "eval"):
    assert count_records(
        str(trained_dir / (name + ".tf_record"))) >= 9
  record = json.loads((trained_dir / "run.json").read_text())
  assert record["task"] == "squad"
  assert record["training"]["doc_stride"] == 4


def predict(task, trained_dir, output_dir, version=2, **changes):
  """Predicts with the trained model; returns results and log."""
  settings = dict(do_predict=True, init_checkpoint=str(
      trained_dir / "model.ckpt-6"))
  if version == 2:
    settings["version_2_with_negative"] = True
  settings.update(changes)
  with captured_log() as lines:
    run_main(run_squad, arguments_for(task, output_dir, version, **settings))
  return read_results(output_dir), "\n".join(lines)


def test_without_remove_padding_the_answers_are_the_same(
    task, trained_dir, tmp_path):
  results, _ = predict(
      task, trained_dir, tmp_path, version=1, remove_padding=False)
  expected = read_results(trained_dir)
  assert results["predictions"] == expected["predictions"]


@pytest.fixture(scope="module")
def best_dir(task, trained_dir, tmp_path_factory):
  """Version 2 with the best threshold: its folder, results and log."""
  folder = tmp_path_factory.mktemp("best") / "out"
  results, log = predict(task, trained_dir, folder, do_eval=True,
                         null_score_diff_threshold="best")
  return folder, results, log


def best_texts(nbest):
  return {key: next(a["text"] for a in answers if a["text"])
          for key, answers in nbest.items()}


def test_version_2_with_the_best_threshold(best_dir):
  _, results, log = best_dir
  dataset = make_squad(True)["data"]
  nbest, odds = results["nbest_predictions"], results["null_odds"]
  check_offsets(nbest)
  texts = best_texts(nbest)
  threshold = squad_metrics.best_threshold(dataset, texts, odds)
  assert "Best null_score_diff_threshold: %s" % threshold in log
  assert results["predictions"] == {
      key: "" if odds[key] > threshold else text
      for key, text in texts.items()}
  expected = squad_metrics.score(dataset, texts, odds, threshold)
  assert results["eval_results"] == pytest.approx(
      dict(expected, null_score_diff_threshold=threshold))
  assert re.search(r"null_score_diff_threshold %s answers \d of 9 questions "
                   "with nothing" % re.escape(str(threshold)), log)
  assert {"exact", "f1", "total", "HasAns_f1", "NoAns_f1", "best_f1",
          "best_f1_thresh"} <= set(results["eval_results"])
  assert results["eval_results"]["f1"] == pytest.approx(
      results["eval_results"]["best_f1"])


def test_another_threshold_needs_no_second_prediction(
    task, best_dir, tmp_path):
  folder, results, _ = best_dir
  for name in ("predictions", "nbest_predictions", "null_odds"):
    write_json(tmp_path / (name + ".json"), results[name])
  settings = dict(do_eval=True, version_2_with_negative=True)
  odds = results["null_odds"]
  threshold = sorted(odds.values())[4]
  run_main(run_squad, arguments_for(
      task, tmp_path, 2, null_score_diff_threshold=threshold, **settings))
  found = read_results(tmp_path)
  assert found["predictions"] == {
      key: "" if odds[key] > threshold else text
      for key, text in best_texts(results["nbest_predictions"]).items()}
  # Without the flag the file is scored as it is.
  run_main(run_squad, arguments_for(task, tmp_path, 2, **settings))
  assert read_results(tmp_path) == found
  assert found["eval_results"]["null_score_diff_threshold"] == threshold
  run_main(run_squad, arguments_for(
      task, tmp_path, 2, null_score_diff_threshold="best", **settings))
  assert read_results(tmp_path) == results


def test_do_eval_scores_what_is_there(task, tmp_path):
  texts = {"q00": "The kettle", "q01": "cat", "q02": "", "q10": "", "q11": "",
           "other": ""}
  write_json(tmp_path / "predictions.json", texts)
  with captured_log() as lines:
    results = run_squad.run_with(run_squad.Settings(
        do_eval=True, predict_file=task["version_1"], output_dir=tmp_path))
  assert read_results(tmp_path)["eval_results"] == results
  assert results == {"exact_match": pytest.approx(100 / 9.0),
                     "f1": pytest.approx(100 / 9.0)}
  for text in "no prediction for 4 of the 9", "1 ids that":
    assert len([line for line in lines if text in line]) == 1


@pytest.mark.parametrize("ids,message", [
    (["q00", "q01"], "a prediction for 2 of the 9 questions of .*v1.json, and 0"
     " for other questions; give the --predict_file that was predicted"),
    (["q%d%d" % (i, j) for i in range(9) for j in range(9)],
     "9 of the 9 questions of .*, and 72 for other questions"),
    ([], "0 of the 9 questions"), (["a"], "0 of the 9 questions of .*, and 1")])
def test_scores_of_few_questions_do_not_replace_others(
    task, tmp_path, ids, message):
  write_json(tmp_path / "predictions.json", dict.fromkeys(ids, "tea"))
  write_json(tmp_path / "eval_results.json", {"f1": 1})
  before = read_results(tmp_path)
  with pytest.raises(cli.UserError, match=message):
    run_main(run_squad, arguments_for(task, tmp_path, do_eval=True))
  assert read_results(tmp_path) == before


def test_odd_ids_are_warned_of_once(task, best_dir, tmp_path):
  for name in ("predictions", "nbest_predictions", "null_odds"):
    write_json(tmp_path / (name + ".json"), best_dir[1][name])
  squad = make_squad(True)
  squad["data"][0]["paragraphs"][0]["qas"][0]["id"] = "new"
  squad["data"] *= 2
  path = write_json(tmp_path / "other.json", squad)
  with captured_log() as lines:
    run_main(run_squad, arguments_for(
        task, tmp_path, 2, do_eval=True, version_2_with_negative=True,
        null_score_diff_threshold="best", predict_file=path))
  for text in ("1 ids that", "9 id(s) are there more than once",
               "has no prediction for"):
    assert len([line for line in lines if text in line]) == 1


def test_a_prediction_removes_what_it_outdates(
    task, trained_dir, best_dir, tmp_path):
  for name in ("eval_results", "null_odds"):
    write_json(tmp_path / (name + ".json"), best_dir[1][name])
  results, log = predict(task, trained_dir, tmp_path, version=1)
  assert sorted(results) == ["nbest_predictions", "predictions"]
  for name in ("eval_results", "null_odds"):
    assert "%s.json, which belonged to an earlier prediction" % name in log
  results, _ = predict(task, trained_dir, tmp_path)
  assert sorted(results) == ["nbest_predictions", "null_odds", "predictions"]


def test_the_training_resumes_and_predicts(task, trained_dir):
  before = read_results(trained_dir)
  status, _, stderr = run_script("run_squad.py", arguments_for(
      task, trained_dir, do_train=True, do_predict=True, do_eval=True,
      num_train_epochs=3))
  assert status == 0, stderr[-3000:]
  assert "There is nothing left to train" in stderr
  assert read_results(trained_dir) == before


def test_answers_that_are_all_elsewhere_are_one_line(tmp_path):
  dataset = [{"paragraphs": [{"context": "The kettle sings.", "qas": [
      {"id": "q", "question": "a cat", "answers": [
          {"text": "kettle", "answer_start": -1}]}]}]}]
  path = write_json(tmp_path / "train.json", {"data": dataset})
  settings = run_squad.Settings(train_file=path)
  with captured_log(), pytest.raises(ValueError, match=(
      "/train.json: found no question to train on: no context has the answer "
      "at answer_start, which counts .* from 0$")):
    run_squad.read_train_examples(settings)


def test_odd_questions_are_answered(task, trained_dir, tmp_path):
  squad = make_squad()
  first, second = squad["data"][0]["paragraphs"][:2]
  first["context"] = ""
  for question in first["qas"]:
    question["id"] = 7
  second["qas"][0]["question"] = "   "
  second["qas"][1]["question"] = "is it far " * 9
  path = write_json(tmp_path / "odd.json", squad)
  for version_2, expected in ((False, "empty"), (True, "")):
    results, log = predict(
        task, trained_dir, tmp_path / str(version_2), predict_file=path,
        version_2_with_negative=version_2)
    assert results["predictions"]["7"] == expected
    assert len(results["predictions"]) == 7
    assert "3 question(s) have a context without words" in log
    assert "1 id(s) are there more than once" in log


def test_only_empty_contexts_are_answered(task, trained_dir, tmp_path):
  squad = make_squad(True)
  for paragraph in squad["data"][0]["paragraphs"]:
    paragraph["context"] = "\n"
  path = write_json(tmp_path / "odd.json", squad)
  results, _ = predict(
      task, trained_dir, tmp_path / "out", predict_file=path, do_eval=True,
      null_score_diff_threshold="best")
  assert set(results["predictions"].values()) == {""}
  assert results["eval_results"]["NoAns_f1"] == 100.0


def test_version_2_without_its_flag_warns_in_prediction(
    task, trained_dir, tmp_path):
  results, log = predict(
      task, trained_dir, tmp_path / "out", version_2_with_negative=False)
  assert "without --version_2_with_negative every question is answered" in log
  assert all(results["predictions"].values())


def test_an_untrained_model_is_refused_before_all_else(task, tmp_path):
  given = save_checkpoint(tmp_path / "bert_model.ckpt", {"bert/w": 1.0})
  with pytest.raises(cli.UserError, match=(
      "has no cls/squad/output_weights, cls/squad/output_bias, so it was not")):
    run_main(run_squad, arguments_for(
        task, tmp_path / "out", do_predict=True, init_checkpoint=given))
  assert not (tmp_path / "out").exists()


def test_what_the_training_did_otherwise_is_warned_of(
    task, trained_dir, tmp_path):
  _, log = predict(task, trained_dir, tmp_path / "out", max_seq_length=18)
  assert "--max_seq_length is 18 here, but the model was trained with 16" in log
  assert ("--version_2_with_negative is True here, but the model was trained "
          "with False") in log
  with captured_log() as lines:
    run_main(run_squad, arguments_for(
        task, trained_dir, do_train=True, num_train_epochs=3,
        train_file=task["version_2"], version_2_with_negative=True))
  warning, = [line for line in lines if "settings are ignored" in line]
  assert ("--train_file=%s (trained with %s), --version_2_with_negative=True ("
          % (task["version_2"], task["version_1"])) in warning


def without_answers(folder):
  squad = make_squad()
  for paragraph in squad["data"][0]["paragraphs"]:
    for question in paragraph["qas"]:
      del question["answers"]
  return write_json(folder / "none.json", squad)


def with_an_empty_list(folder):
  squad = make_squad()
  squad["data"][0]["paragraphs"][1]["qas"][0]["answers"] = []
  return write_json(folder / "none.json", squad)


@pytest.mark.parametrize("flags,message", [
    (dict(null_score_diff_threshold=1),
     "--null_score_diff_threshold has no effect without"),
    (dict(doc_stride=10), "--doc_stride=10 is more than the 9 word pieces of")])
def test_what_has_no_effect_is_warned_of(
    task, trained_dir, tmp_path, flags, message):
  _, log = predict(task, trained_dir, tmp_path, version=1, **flags)
  assert message in log
  assert read_results(tmp_path)["predictions"]


@pytest.mark.parametrize("make_changes,message", [
    (lambda _: {}, "^nothing to do; give --do_train, --do_predict or"),
    (lambda _: dict(do_train=True, train_file=None),
     "^--do_train needs --train_file$"),
    (lambda _: dict(do_predict=True, predict_file=None),
     "^--do_predict needs --predict_file$"),
    (lambda _: dict(do_eval=True, predict_file=None),
     "^--do_eval needs --predict_file$"),
    (lambda _: dict(do_train=True, max_seq_length=7),
     r"^max_seq_length=7 leaves no room .* max_query_length \(4\) \+ 3$"),
    (lambda _: dict(do_train=True, max_seq_length=21), "at most 20 positions"),
    (lambda folder: dict(do_train=True, bert_config_file=write_config(
        folder, type_vocab_size=1)),
     "^a question with its context: is a pair of texts, but the model's "
     "type_vocab_size is 1"),
    (lambda _: dict(do_predict=True),
     "holds no checkpoint: pass --do_train, or --init_checkpoint"),
    (lambda _: dict(do_train=True, version=2),
     "question 1 .*: is SQuAD 2.0, .* give --version_2_with_negative$"),
    (lambda folder: dict(do_train=True, train_file=write_json(
        folder / "a.json", [1])), "a.json: is not SQuAD: found a list of 1"),
    (lambda folder: dict(do_train=True, train_file=str(folder / "none.json")),
     "none.json: cannot be read"),
    (lambda folder: dict(do_train=True, train_file=without_answers(folder)),
     "question 1 .*expected an object with a list \"answers\""),
    (lambda folder: dict(do_predict=True, do_eval=True, predict_file=(
        without_answers(folder))), "none.json: has no answers"),
    (lambda folder: dict(do_predict=True, do_eval=True, predict_file=(
        with_an_empty_list(folder))), "none.json: question q10 has no answers"),
    (lambda _: dict(do_train=True, vocab_file=None, bert_config_file=None),
     "^also pass --vocab_file, --bert_config_file$"),
    (lambda folder: dict(do_eval=True, export_dir=folder / "out"),
     "^--export_dir: also pass --do_train or --do_predict; export_model.py"),
    (lambda folder: dict(
        do_predict=True, version_2_with_negative=True,
        null_score_diff_threshold="best",
        predict_file=without_answers(folder)), "none.json: has no answers"),
    (lambda _: dict(do_predict=True, null_score_diff_threshold="best"),
     "^--null_score_diff_threshold=best needs --version_2_with_negative$"),
    (lambda _: dict(do_predict=True, null_score_diff_threshold="high"),
     "^null_score_diff_threshold=high: expected a number, or \"best\""),
    (lambda _: dict(do_train=True, num_train_epochs=0.1),
     "^--train_batch_size=.* make 0.225 steps of the 9 training examples"),
    (lambda _: dict(do_eval=True),
     "^--do_eval: there is no .*predictions.json; also pass --do_predict$"),
])
def test_a_mistake_is_one_line_and_nothing_is_written(
    task, tmp_path, make_changes, message):
  output_dir = tmp_path / "out"
  with pytest.raises(cli.UserError, match=message) as error:
    run_main(run_squad, arguments_for(
        task, output_dir, **make_changes(tmp_path)))
  assert "\n" not in str(error.value)
  assert not output_dir.exists()


def test_a_threshold_needs_what_a_prediction_wrote(task, tmp_path):
  write_json(tmp_path / "predictions.json", dict.fromkeys(
      ["q%d%d" % (i, j) for i in range(3) for j in range(3)], "tea"))
  with pytest.raises(cli.UserError, match=(
      "there is no .*nbest_predictions.json, .*null_odds.json; also pass "
      "--do_predict$")):
    run_main(run_squad, arguments_for(
        task, tmp_path, 2, do_eval=True, version_2_with_negative=True,
        null_score_diff_threshold=1))


def test_a_mistake_ends_the_script_with_one_line(task, tmp_path):
  status, stdout, stderr = run_script("run_squad.py", arguments_for(
      task, tmp_path / "out", 2, do_train=True))
  assert (status, stdout) == (1, "")
  assert "Traceback" not in stderr
  assert stderr.splitlines()[-1].startswith("run_squad.py: ")
  assert "--version_2_with_negative" in stderr.splitlines()[-1]


def test_read_best_texts_names_a_file_of_another_kind(tmp_path):
  path = write_json(tmp_path / "nbest.json", {"a": "tea"})
  with pytest.raises(ValueError, match="nbest.json: is not what"):
    run_squad.read_best_texts(path)


def test_every_public_name_is_here():
  for name in ("FeatureWriter InputFeatures RawResult SquadExample "
               "convert_examples_to_features create_model get_final_text "
               "input_fn_builder main model_fn_builder read_squad_examples "
               "validate_flags_or_throw write_predictions").split():
    assert callable(getattr(run_squad, name))


@pytest.mark.slow
@pytest.mark.parametrize("version", [1, 2])
def test_the_best_checkpoint_answers(task, tmp_path, version):
  arguments = arguments_for(
      task, tmp_path, version, do_train=True, do_predict=True,
      do_eval=version == 1, eval_steps=3, num_train_epochs=3, use_best=True,
      tf_random_seed=1,
      version_2_with_negative=version == 2)
  with captured_log() as lines:
    run_main(run_squad, arguments)
  header, *rows = [line.split("\t") for line in (
      tmp_path / "history.tsv").read_text().rstrip("\n").split("\n")]
  assert header[-1] == "best f1"
  scores = [float(row[header.index("f1")]) for row in rows]
  best = rows[scores.index(max(scores))]
  assert best[-1] == "*"
  assert tf.train.latest_checkpoint(str(tmp_path / "best")).endswith(
      "model.ckpt-" + best[0])
  assert json.loads((tmp_path / "eval_results.json").read_text())[
      "f1"] == max(scores)
  last = rows[-1] is best
  assert lines.count("***** Running predictions *****") == len(rows) + (
      not last)


def test_a_metric_that_is_not_scored_names_those_that_are(task, tmp_path):
  with pytest.raises(cli.UserError, match="--best_metric=eval_f1: expected one "
                     "of exact_match, f1$"):
    run_main(run_squad, arguments_for(
        task, tmp_path, do_train=True, eval_steps=3, best_metric="eval_f1"))
