"""Tests of fill_mask, and of Predictor.score below it."""

import json
import math

import pytest

from bert_suite import cli
from export_fixtures import LENGTH, write_model
import fill_mask
from helpers import captured_log, run_main, write_config, write_vocab
import predictor

TEXTS = ["the [MASK] is near.", "the kettle sings", "a cat ||| is [MASK]", ""]


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
  return write_model(tmp_path_factory.mktemp("masked"), "masked_lm",
                     record_task="pretraining")


def test_a_piece_scores_as_it_is_guessed_where_it_is_masked(model_dir):
  with captured_log(), predictor.Predictor(model_dir, batch_size=2) as model:
    scored, nothing, pair = model.score(
        ["the kettle sings", "", ("tea", "a cat")])
    masked = model.predict(["[MASK] kettle sings", "the [MASK] sings",
                            "the kettle [MASK]s", "the kettle sing [MASK]"])
    with pytest.raises(ValueError, match=r"texts\[1\]: found a \[MASK\], "):
      model.score(["tea", "a [MASK]"])
    with pytest.raises(ValueError, match="^score takes a list of texts"):
      model.score("tea")
  assert [piece for piece, _ in scored] == ["the", "kettle", "sing", "##s"]
  assert nothing == [] and [piece for piece, _ in pair] == ["tea", "a", "cat"]
  compared = 0
  for i in (0, 1):  # the others have other pieces around a mask
    guesses = dict(masked[i][0])
    if scored[i][0] in guesses:
      assert math.exp(scored[i][1]) == pytest.approx(
          guesses[scored[i][0]], rel=1e-4)
      compared += 1
  assert compared
  assert all(value < 0 for _, value in scored + pair)


def test_the_command_writes_a_line_for_each_text(model_dir, tmp_path):
  (tmp_path / "texts").write_text("\n".join(TEXTS) + "\n")
  run_main(fill_mask, [
      "--model_dir=" + model_dir, "--num_guesses=3", "--batch_size=2",
      "--input_file=%s" % (tmp_path / "texts"),
      "--output_file=%s" % (tmp_path / "found")])
  found = [json.loads(line)
           for line in (tmp_path / "found").read_text().split("\n")[:-1]]
  assert [one["text"] for one in found] == TEXTS[:2] + [
      ["a cat", "is [MASK]"], ""]
  assert [len(one.get("guesses", ())) for one in found] == [1, 0, 1, 0]
  assert len(found[0]["guesses"][0]) == 3
  values = [value for _, value in found[1]["pieces"]]
  assert found[1]["pseudo_log_likelihood"] == pytest.approx(sum(values))
  assert found[1]["pseudo_perplexity"] == pytest.approx(
      math.exp(-sum(values) / 4))
  # What is neither likely nor unlikely is no better than other texts.
  assert found[3] == {"text": "", "pieces": [], "pseudo_log_likelihood": None,
                      "pseudo_perplexity": None}


def test_a_text_that_is_too_long_is_named_by_its_line(model_dir, tmp_path):
  path = tmp_path / "texts"
  path.write_text("tea\n\nthe [MASK]\na cat\n" + "tea " * LENGTH + "[MASK]\n")
  with captured_log(), pytest.raises(cli.UserError) as error:
    fill_mask.run_with(fill_mask.Settings(
        model_dir=model_dir, input_file=str(path), batch_size=2,
        output_file=str(tmp_path / "found")))
  assert str(error.value).startswith("%s, line 5: 'tea tea" % path)
  assert not (tmp_path / "found").exists()


def test_a_program_hears_which_text_is_wrong(model_dir):
  with captured_log(), fill_mask.load_model(
      fill_mask.Settings(model_dir=model_dir)) as model:
    for texts, message in (
        (["tea", "a [MASK]", 7], r"texts\[2\]: found 7"),
        (["tea", "tea " * LENGTH + "[MASK]"], r"texts\[1\]: 'tea tea"),
        ("tea", "answer takes a list of texts")):
      with pytest.raises(cli.UserError, match="^" + message):
        fill_mask.answer(model, texts)


@pytest.mark.parametrize("changes, message", [
    (dict(), "^give one of --text and --input_file$"),
    (dict(text="a", input_file="x"), "^give one of --text and --input_file$"),
    (dict(text="a", model_dir=None),
     "^also pass --init_checkpoint, --bert_config_file, --vocab_file$"),
    (dict(input_file="none"), "^none: there is no such file"),
    (dict(text="a", output_file="none/x"), "^--output_file=none/x: cannot be"),
    (dict(text="a", model_dir="."), "^--model_dir=.: is neither the folder of"),
    (dict(text="a", init_checkpoint="x"),
     "^give one of --model_dir and --init_checkpoint$"),
    (dict(text=" "), "^--text: is blank; give a text$"),
    (dict(text="tea " * LENGTH + "[MASK]"),
     "^--text: 'tea .* is cut to max_seq_length=%d" % LENGTH)])
def test_mistakes_get_one_line(model_dir, changes, message):
  with captured_log(), pytest.raises(cli.UserError, match=message):
    fill_mask.run_with(fill_mask.Settings(
        **dict(dict(model_dir=model_dir), **changes)))


def test_a_model_of_another_task_guesses_nothing(tmp_path):
  folder = write_model(tmp_path, "classifier", labels=["no", "yes"])
  with pytest.raises(cli.UserError, match="^--init_checkpoint: .*model.ckpt-3 "
                     "has no masked LM .cls/predictions.; give a pre-trained"):
    fill_mask.run_with(fill_mask.Settings(
        text="a", init_checkpoint=folder + "/model.ckpt-3",
        bert_config_file=write_config(tmp_path),
        vocab_file=write_vocab(tmp_path)))
  with captured_log():
    with pytest.raises(cli.UserError, match="is a model of the task classif"):
      fill_mask.run_with(fill_mask.Settings(model_dir=folder, text="a"))
    with predictor.Predictor(folder) as model, pytest.raises(
        cli.UserError, match="task classifier does not say how likely texts"):
      model.score(["a"])
