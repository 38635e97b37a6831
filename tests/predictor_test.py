"""Tests of predictor: models of every task, loaded once, asked many times."""

import json
import os
import shutil
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import serving, trained_models
from bert_suite.squad import data as squad_data
from export_fixtures import LENGTH, MODELS, write_model
import helpers
import predictor

TEXTS = ["The kettle sings.", ("It rains.", "Tea is near."), "cat", ("a", ""),
         "the the the the the the the the the the the the the the the the"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
  """Gives, for each task, its training directory and its exports."""
  found = {}
  for task, arguments in MODELS.items():
    folder = tmp_path_factory.mktemp(task)
    model_dir = write_model(folder, task, **arguments)
    model = trained_models.find(
        model_dir, layers="-1,0" if task == "features" else None)
    found[task] = model_dir, str(folder / "exported")
    with helpers.captured_log():
      serving.export_saved_model(
          model.task, model.checkpoint, model.vocab_file, model.settings,
          found[task][1])
  return found


def both(folders, task, **parts):
  """Gives a Predictor of the checkpoint and one of the SavedModel."""
  model_dir, export_dir = folders[task]
  with helpers.captured_log():
    return (predictor.Predictor(model_dir, batch_size=2, **parts),
            predictor.Predictor(export_dir, batch_size=3))


def test_classifier(folders):
  ours, exported = both(folders, "classifier")
  assert ours.labels == exported.labels == ["no", "yes", "tea"]
  assert ours.settings == exported.settings
  found = ours.predict(TEXTS)
  assert found.shape == (5, 3) and found.dtype == np.float32
  np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
  assert np.abs(found[0] - found[2]).max() > 1e-3
  np.testing.assert_allclose(exported.predict(TEXTS), found, atol=1e-5)
  for text, row in zip(TEXTS, found):  # alone and in company
    np.testing.assert_allclose(exported.predict([text])[0], row, atol=1e-5)
  assert exported.predict([]).shape == (0, 3)
  exported.close()


@pytest.mark.parametrize("text,found", [
    ("", "Expecting value"), ("[1]", ""), ("{}", "task: found nothing"),
    ("{\"task\": \"classifier\"}", "do_lower_case"),
    ("{\"task\": \"classifier\", \"labels\": \"ab\"}", "labels: found \"ab\""),
    ("{\"task\": \"classifier\", \"max_seq_length\": \"x\"}",
     "max_seq_length: found \"x\", expected a whole number")])
def test_a_damaged_model_json_is_one_line(folders, tmp_path, text, found):
  copy = str(tmp_path / "copy")
  version, = os.listdir(folders["classifier"][1])
  shutil.copytree(os.path.join(folders["classifier"][1], version), copy)
  with open(os.path.join(copy, "assets", "model.json"), "w") as writer:
    writer.write(text)
  with pytest.raises(ValueError) as error:
    predictor.Predictor(copy)
  assert str(error.value).startswith("%s: cannot be loaded (" % copy)
  assert found in str(error.value)
  assert "\n" not in str(error.value)


def test_a_checkpoint_brings_the_run_json_beside_it(folders):
  model_dir = folders["classifier"][0]
  ours = predictor.Predictor(model_dir)
  for path in (model_dir + "/model.ckpt-3", model_dir + "/model.ckpt-3.index"):
    with predictor.Predictor(path) as model:
      assert model.labels == ["no", "yes", "tea"]
      assert model.settings == ours.settings
      np.testing.assert_array_equal(model.predict(TEXTS), ours.predict(TEXTS))
  with pytest.raises(ValueError, match=(
      "^labels: found a,b,c, but .*/model.ckpt-3 was trained with no,yes,tea")):
    predictor.Predictor(model_dir + "/model.ckpt-3", labels=["a", "b", "c"])


def test_texts_that_are_cut_are_reported_once(folders):
  ours, exported = both(folders, "classifier")
  for model in (ours, exported):
    with helpers.captured_log() as lines:
      for _ in range(2):
        model.predict(TEXTS)
    assert lines == [
        "1 of 5 texts have more than the %d word pieces of max_seq_length, "
        "[CLS] and [SEP] included, and were cut" % LENGTH]


def test_accents_and_single_texts_are_those_of_the_training(tmp_path):
  model_dir = write_model(
      tmp_path, "classifier", record_task="mrpc", labels=["0", "1"],
      strip_accents=False, type_vocab_size=1)
  model = trained_models.find(model_dir)
  with helpers.captured_log():
    exported = serving.export_saved_model(
        model.task, model.checkpoint, model.vocab_file, model.settings,
        str(tmp_path / "exported"))
  for path in (model_dir, exported):
    with predictor.Predictor(path) as asked:
      assert asked.settings["strip_accents"] is False
      assert asked.tokenizer.basic_tokenizer.tokenize("\u00c9") == ["\u00e9"]
      assert asked.predict(["tea", ("tea", "")]).shape == (2, 2)
      with pytest.raises(ValueError, match=r"^texts\[1\]: is a pair of texts, "
                         "but the model's type_vocab_size is 1"):
        asked.predict(["tea", ("tea", "rains")])
  with pytest.raises(ValueError, match="^strip_accents: found true, but .* was "
                     "trained with false; leave it out$"):
    trained_models.find(model_dir, strip_accents=True)
  with pytest.raises(ValueError, match="^a question with its context: is a "
                     "pair of texts"):
    trained_models.find(model_dir, task="squad")


def test_features(folders):
  ours, exported = both(folders, "features", layers="-1,0")
  found = ours.predict(TEXTS)
  assert [array.shape for array in found] == [
      (count, 2, helpers.CONFIG["hidden_size"])
      for count in (7, 10, 3, 3, LENGTH)]
  for one, other in zip(found, exported.predict(TEXTS)):
    np.testing.assert_allclose(one, other, atol=1e-5)
  pooled = predictor.Predictor(
      folders["features"][0], pooling="mean", layers="-1")
  np.testing.assert_allclose(
      pooled.predict(TEXTS), [a[:, 0].mean(axis=0) for a in found], atol=1e-5)
  nothing = pooled.predict([])
  assert nothing.shape == (0, helpers.CONFIG["hidden_size"])
  assert nothing.dtype == np.float32
  assert ours.predict([]) == []


def test_masked_lm(folders):
  for model in both(folders, "masked_lm"):
    found = model.predict(["the [MASK] is [MASK].", "tea", "[MASK]"])
    assert [len(one) for one in found] == [2, 0, 1]
    pieces, probabilities = zip(*found[0][0])
    assert len(pieces) == 10 and set(pieces) < set(helpers.WORDS)
    assert list(probabilities) == sorted(probabilities, reverse=True)
    assert 0 < sum(probabilities) <= 1
    text = "tea " * (LENGTH - 3) + "[MASK]"
    assert len(model.predict([text])[0]) == 1
    for too_long in ("a " + text, (text, "tea")):
      with pytest.raises(
          ValueError, match=r"^texts\[1\]: '(a )?tea tea .* is cut to "
          "max_seq_length=%d word pieces, and a .MASK. " % LENGTH) as error:
        model.predict(["tea", too_long])
      assert len(str(error.value)) < 200
    assert model.predict([]) == []


def test_squad(folders):
  ours, exported = both(folders, "squad")
  context = "The kettle sings. It rains, it rains, and the cat is not far. " * 2
  questions = [("a cat", context), ("tea", "Tea is near."), ("it", "cat")]
  found = ours.predict(questions)
  for (_, text), answer in zip(questions, found):
    assert text[answer["start_char"]:answer["end_char"]] == answer["text"]
    assert answer["text"] and 0 < answer["probability"] <= 1
  again = exported.predict(questions)
  assert [a["text"] for a in again] == [a["text"] for a in found]
  with pytest.raises(ValueError, match="alone, expected"):
    ours.predict(["a cat"])
  assert ours.predict([]) == []


@pytest.mark.parametrize("version_2", [False, True])
def test_without_words_squad_answers_with_nothing(tmp_path, version_2):
  model_dir = write_model(tmp_path, "squad", version_2_with_negative=version_2)
  with helpers.captured_log():
    model = predictor.Predictor(model_dir)
  blank = ["", " \n\t", "\u200b\u200b"]
  nothing = {"text": "", "probability": 1.0, "start_char": None,
             "end_char": None}
  found = model.predict([("a cat", text) for text in blank] +
                        [(text, "Tea is near.") for text in blank] +
                        [("", ""), ("a cat", "tea")])
  assert found[:-1] == [nothing] * 7
  # The word itself may be an answer; none of the above was.
  assert found[-1]["text"] == "tea" or version_2


def test_questions_of_one_context_share_its_words(folders, monkeypatch):
  calls, split_words = [], squad_data.split_words
  monkeypatch.setattr(squad_data, "split_words", lambda context: (
      calls.append(context), split_words(context))[1])
  with helpers.captured_log():
    model = predictor.Predictor(folders["squad"][0])
  context = "The kettle sings. " * 20
  model.predict([("a cat", context), ("tea", context), ("tea", "Tea is near.")])
  assert calls == [context, "Tea is near."]


@pytest.mark.parametrize("threshold", [-1e9, 0.0, 1e9])
def test_squad_2_answers_with_nothing_beyond_the_threshold(
    tmp_path, threshold):
  model_dir = write_model(tmp_path, "squad", version_2_with_negative=True)
  arguments = dict(batch_size=2, null_score_diff_threshold=threshold)
  with helpers.captured_log():
    model = predictor.Predictor(model_dir, max_answer_length=2, **arguments)
  context = "The kettle sings. It rains, it rains, and the cat is not far."
  answers = model.predict([(text, context) for text in ("a cat", "tea", "it")])
  if threshold:
    assert [bool(answer["text"]) for answer in answers] == [threshold > 0] * 3
  assert max(len(answer["text"].split()) for answer in answers) <= 2
  for answer in answers:
    assert 0 < answer["probability"] <= 1
    assert (answer["start_char"] is None) == (not answer["text"])
  assert model.predict([("a cat", "")])[0]["text"] == ""


def test_taggers_whose_run_json_has_no_stride_are_exported(tmp_path):
  model_dir = write_model(tmp_path, "ner", labels=["O", "B-PER", "I-PER"])
  path = os.path.join(model_dir, "run.json")
  with open(path) as reader:
    record = json.load(reader)
  del record["training"]["window_stride"]
  with open(path, "w") as writer:
    json.dump(record, writer)
  with helpers.captured_log():
    model = trained_models.find(model_dir)
    serving.export_saved_model(model.task, model.checkpoint, model.vocab_file,
                               model.settings, str(tmp_path / "exported"))
    ours = predictor.Predictor(model_dir)
    exported = predictor.Predictor(str(tmp_path / "exported"))
  texts = ["tea " * 20, "the cat"]
  assert exported.predict(texts) == ours.predict(texts)
  assert len(ours.predict(texts)[0]["tags"]) == 20


class Counted:
  """A task that notes how many texts it answers at once."""

  def __init__(self, task, sizes):
    self._task, self._sizes = task, sizes

  def __getattr__(self, name):
    return getattr(self._task, name)

  def answer(self, model, pairs):
    self._sizes.append(len(pairs))
    return self._task.answer(model, pairs)


def test_many_texts_are_answered_some_at_a_time(folders, monkeypatch):
  texts = [" ".join(["tea", "the", "rains"][:n % 3 + 1] * (n % 2 + 1))
           for n in range(11)]
  pairs = [(text, "Tea is near, " + text) for text in texts]
  for task in ("classifier", "features", "squad"):
    exported = both(folders, task)[1]
    asked = pairs if task == "squad" else texts
    expected, sizes = exported.predict(asked), []
    with monkeypatch.context() as patch:
      patch.setattr(predictor, "_BATCHES_AT_ONCE", 1)
      patch.setattr(exported, "_task", Counted(exported._task, sizes))
      found = exported.predict(asked)
    assert sizes == [3, 3, 3, 2]  # of a batch_size of 3
    assert len(found) == 11 and type(found) is type(expected)
    if task == "squad":
      assert [a["text"] for a in found] == [a["text"] for a in expected]
    else:
      for one, other in zip(found, expected):
        np.testing.assert_allclose(one, other, atol=1e-5)
  model = both(folders, "masked_lm")[0]
  monkeypatch.setattr(predictor, "_BATCHES_AT_ONCE", 1)
  with pytest.raises(ValueError, match=r"^texts\[3\]: 'tea tea .* is cut to "):
    model.predict(["tea"] * 3 + ["tea " * LENGTH + "[MASK]"])


def test_threads_get_their_own_answers(folders):
  _, model = both(folders, "classifier")
  texts = ["the " * i + "cat sing" for i in range(12)]
  expected = model.predict(texts)
  wrong = []

  def ask(i):
    for _ in range(10):
      if np.abs(model.predict([texts[i]])[0] - expected[i]).max() > 1e-5:
        wrong.append(i)

  threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join()
  assert not wrong


def test_versions_of_something_else_are_passed_over(folders, tmp_path):
  model = predictor.find_saved_model(folders["classifier"][1])
  shutil.copytree(model, str(tmp_path / "1"))
  for version, name in ((2, "saved_model.pb"), (3, "tfhub_module.pb")):
    shutil.copytree(model, str(tmp_path / str(version)))
    (tmp_path / str(version) / name).write_text("")
  (tmp_path / "2" / "assets" / "model.json").unlink()
  assert predictor.find_saved_model(str(tmp_path)) == str(tmp_path / "1")
  shutil.rmtree(str(tmp_path / "1"))
  assert predictor.find_saved_model(str(tmp_path)) is None


@pytest.mark.parametrize("is_saved_model", [True, False])
def test_a_damaged_model_is_one_line_and_holds_nothing(
    folders, tmp_path, monkeypatch, is_saved_model):
  path, export_dir = folders["classifier"]
  if is_saved_model:
    path = str(tmp_path / "model")
    shutil.copytree(predictor.find_saved_model(export_dir), path)
    with open(path + "/variables/variables.data-00000-of-00001",
              "rb+") as file:
      file.truncate(10)
  else:
    def fail(*unused_args):
      raise tf.errors.DataLossError(None, None, "a checksum is wrong\nsome op")

    monkeypatch.setattr(tf.train.Saver, "restore", fail)
  sessions, make_session = [], tf.Session
  monkeypatch.setattr(tf, "Session", lambda **arguments: (
      sessions.append(make_session(**arguments)), sessions[-1])[1])
  with pytest.raises(ValueError, match="cannot be loaded") as error:
    predictor.Predictor(path)
  assert "\n" not in str(error.value)
  assert sessions
  for session in sessions:
    with pytest.raises(RuntimeError, match="closed"):
      session.run([])


def test_a_predictor_closes_at_the_end_of_a_block(folders):
  with predictor.Predictor(folders["classifier"][1]) as model:
    assert model.predict(TEXTS).shape == (5, 3)
  with pytest.raises(RuntimeError, match="closed"):
    model.predict(TEXTS)


def test_mistakes(folders, tmp_path):
  _, model = both(folders, "classifier")
  for texts, message in (("one text", "takes a list"),
                         (None, "a list of texts, found NoneType"),
                         ({"a": 1}, "a list of texts, found dict"),
                         ([3], r"found 3 \(int\), expected a text or a pair"),
                         ([("a", "b", "c")], "expected a text or a pair"),
                         (["a", None], r"^texts\[1\]: found None \(NoneType\)"),
                         ([["a", float("nan")]], "expected a text or a pair"),
                         (np.array("a"), "takes a list of texts, found ndarra"),
                         ([b"caf\xe9 ol"], r"texts\[0\]: found b'caf\\xe9 ol',"
                          " in which byte 4 is not UTF-8$"),
                         ([("a", b"\xff" * 500)], r"byte 1 is not UTF-8$"),
                         ([("word " * 500, None)], r"found \('word .*\.\.\. ")):
    with pytest.raises(ValueError, match=message) as error:
      model.predict(texts)
    assert len(str(error.value)) < 200 and "\n" not in str(error.value)
  expected = model.predict(["a", ("tea", "cat")])
  for texts in ((text for text in ("a", ("tea", "cat"))),
                [b"a", np.array(["tea", "cat"])]):
    np.testing.assert_allclose(model.predict(texts), expected, atol=1e-6)
  with pytest.raises(ValueError, match="brings its own vocab_file"):
    predictor.Predictor(folders["classifier"][1], vocab_file="vocab.txt")
  with pytest.raises(ValueError, match="holds neither a checkpoint nor"):
    predictor.Predictor(str(tmp_path))
  with pytest.raises(ValueError, match=(
      r"none: there is no such checkpoint; .* \(or a SavedModel of ")):
    predictor.Predictor(str(tmp_path / "none"))
  for path in (None, 3, b"x", ""):
    with pytest.raises(ValueError, match="^path=%r: expected the path" % path):
      predictor.Predictor(path)
  given = helpers.save_checkpoint(tmp_path / "bert_model.ckpt", {"w": 1.0})
  with pytest.raises(ValueError, match="has no run.json that says it$"):
    predictor.Predictor(str(tmp_path))
  (tmp_path / "checkpoint").unlink()  # published models have none
  with pytest.raises(ValueError, match=(
      "is not the output_dir of a training.*give .*/bert_model.ckpt as init")):
    predictor.Predictor(str(tmp_path))
  with pytest.raises(ValueError, match="^also pass task, one of classifier, "):
    predictor.Predictor(given)
  for wrong in ("best", "high", None):
    with pytest.raises(ValueError, match="null_score_diff_threshold=%s: " %
                       wrong):
      predictor.Predictor(given, null_score_diff_threshold=wrong)
  (tmp_path / "saved_model.pb").write_text("no model")
  with pytest.raises(ValueError, match="cannot be loaded"):
    predictor.Predictor(str(tmp_path))


def test_paths_may_start_with_a_tilde(folders, tmp_path, monkeypatch):
  model_dir, export_dir = folders["classifier"]
  monkeypatch.setenv("HOME", str(tmp_path))
  shutil.copytree(model_dir, str(tmp_path / "model"))
  shutil.copytree(export_dir, str(tmp_path / "exported"))
  helpers.write_vocab(tmp_path)
  with helpers.captured_log():
    expected = predictor.Predictor(model_dir).predict(TEXTS)
    for path, parts in (("~/model", {"vocab_file": "~/vocab.txt"}),
                        ("~/exported", {})):
      np.testing.assert_allclose(
          predictor.Predictor(path, **parts).predict(TEXTS), expected,
          atol=1e-5)
    model = trained_models.find("~/model")
    assert serving.export_saved_model(
        model.task, model.checkpoint, "~/vocab.txt", model.settings,
        "~/new").startswith(str(tmp_path / "new"))


@pytest.mark.parametrize("arguments,message", [
    (dict(lable="no"), "^lable: there is no such argument; did you mean label"),
    (dict(n_best=3), "^n_best: there is .*; did you mean n_best_size?"),
    (dict(color="red"), "^color: there is no such argument; the arguments"),
    (dict(model_dir="out"), "^model_dir: there is no such .*; give it as path"),
    (dict(batch_size=0), "^batch_size=0: expected a whole number, at least 1$"),
    (dict(batch_size="8"), "^batch_size='8': expected a whole number, at leas"),
    (dict(n_best_size=0), "^n_best_size=0: expected a whole number, at least "),
    (dict(max_answer_length=0), "^max_answer_length=0: expected a whole numbe"),
    (dict(max_seq_length=0), "^max_seq_length=0: expected a whole number, at "),
    (dict(do_lower_case="true"), "^do_lower_case='true': expected True or Fal"),
    (dict(vocab_file=3), "^vocab_file=3: expected the path of a file"),
    (dict(n_best_size=3),
     "are for squad, but the task of this model is classifier"),
    (dict(pooling="mean"), "^pooling: the task classifier has none"),
    (dict(labels=[0, 1]), r"^labels=\[0, 1\]: expected the labels in the orde"),
    (dict(labels="no,,tea"), r"^labels=\['no', '', 'tea'\]: expected the labe"),
    (dict(labels="yes,no,tea"), "^labels: found yes,no,tea, but .* was trained "
     "with no,yes,tea; leave it out$")])
def test_arguments_that_make_no_sense_are_one_line(folders, arguments, message):
  with pytest.raises(ValueError, match=message) as error:
    predictor.Predictor(folders["classifier"][0], **arguments)
  assert "\n" not in str(error.value)


def test_labels_and_layers_may_be_given_as_a_program_has_them(folders):
  with helpers.captured_log():
    for labels in ("no,yes,tea", "no, yes, tea", ("no", "yes", "tea")):
      model = predictor.Predictor(folders["classifier"][0], labels=labels)
      assert model.labels == ["no", "yes", "tea"]
    for layers, expected in ((0, [0]), ([-1, 0], [-1, 0]), ("-1,0", [-1, 0])):
      model = predictor.Predictor(folders["features"][0], layers=layers)
      assert model.settings["layers"] == expected
