"""Tests of run_classifier_with_tfhub on a tiny module that the test writes."""

import os

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, several_runs
import helpers
from hub_module import hub, with_module, without_module
import modeling
import run_classifier_with_tfhub
import tokenization


def make_module_fn(vocab_file, do_lower_case):
  """Makes the graph of a BERT module as the published ones have it."""
  config = modeling.BertConfig(**helpers.CONFIG)

  def module_fn(is_training):
    inputs = {name: tf.placeholder(tf.int32, [None, None], name)
              for name in ("input_ids", "input_mask", "segment_ids")}
    model = modeling.BertModel(
        config, is_training, inputs["input_ids"], inputs["input_mask"],
        inputs["segment_ids"])
    hub.add_signature("tokens", inputs=inputs, outputs={
        "pooled_output": model.get_pooled_output(),
        "sequence_output": model.get_sequence_output()})
    vocab = tf.constant(vocab_file, name="vocab_file")
    tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, vocab)
    hub.add_signature("tokenization_info", outputs={
        "vocab_file": vocab, "do_lower_case": tf.constant(do_lower_case)})

  return module_fn


def export_module(folder, do_lower_case=True):
  """Writes a module with random weights; returns its folder and its weights."""
  handle = str(folder / "module")
  spec = hub.create_module_spec(
      make_module_fn(helpers.write_vocab(folder), do_lower_case),
      tags_and_args=[(set(), {"is_training": False}),
                     ({"train"}, {"is_training": True})])
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    module = hub.Module(spec)
    session.run(tf.global_variables_initializer())
    weights = session.run(module.variable_map)
    module.export(handle, session)
  return handle, weights


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
  return export_module(tmp_path_factory.mktemp("hub"))


@with_module
@pytest.mark.parametrize("do_lower_case", [True, False])
def test_tokenizer_is_that_of_the_vocabulary(tmp_path, do_lower_case):
  handle, _ = export_module(tmp_path, do_lower_case)
  expected = tokenization.FullTokenizer(
      helpers.write_vocab(tmp_path / "again"), do_lower_case)
  os.remove(str(tmp_path / "vocab.txt"))  # the module has a copy of its own
  tokenizer = run_classifier_with_tfhub.create_tokenizer_from_hub_module(handle)
  assert tokenizer.vocab == expected.vocab
  assert tokenizer.basic_tokenizer.do_lower_case is do_lower_case
  text = "The Kettle sings, Unheard of: it RAINS."
  assert tokenizer.tokenize(text) == expected.tokenize(text)
  assert ("the" in tokenizer.tokenize(text)) is do_lower_case


def build(handle, is_training):
  """Builds the classifier on six tokens; returns what create_model returns."""
  return run_classifier_with_tfhub.create_model(
      is_training, tf.constant([[2, 6, 7, 3, 0, 0]]),
      tf.constant([[1, 1, 1, 1, 0, 0]]), tf.zeros([1, 6], tf.int32),
      tf.constant([1]), 3, handle)


@with_module
def test_create_model_has_the_modules_weights_and_trains_them(exported):
  handle, weights = exported
  with tf.Graph().as_default(), tf.Session() as session:
    loss, per_example_loss, logits, probabilities = build(handle, False)
    assert (loss.shape.as_list(), per_example_loss.shape.as_list(),
            logits.shape.as_list(), probabilities.shape.as_list()) == (
                [], [1], [1, 3], [1, 3])
    trained = {v.op.name: v for v in tf.trainable_variables()}
    gradients = tf.gradients(loss, list(trained.values()))
    session.run(tf.global_variables_initializer())
    assert sorted(trained) == sorted(
        ["module/" + name for name in weights] +
        ["output_weights", "output_bias"])
    for name, value in weights.items():
      np.testing.assert_array_equal(
          trained["module/" + name].eval(session), value)
    assert None not in gradients
    first, second = session.run(logits), session.run(logits)
  np.testing.assert_array_equal(first, second)

  with tf.Graph().as_default():  # without the module: the same encoder
    model = modeling.BertModel(
        modeling.BertConfig(**helpers.CONFIG), False,
        tf.constant([[2, 6, 7, 3]]))
    variables = {v.op.name: v for v in tf.trainable_variables()}
    assert sorted(variables) == sorted(weights)
    with tf.Session() as session:
      session.run([tf.assign(variables[name], value).op
                   for name, value in weights.items()])
      pooled = session.run(model.get_pooled_output())
  with tf.Graph().as_default(), tf.Session() as session:
    _, _, logits, _ = build(handle, False)
    session.run(tf.global_variables_initializer())
    output_weights, = [v for v in tf.trainable_variables()
                       if v.op.name == "output_weights"]
    expected = pooled.dot(output_weights.eval(session).T)
    np.testing.assert_allclose(session.run(logits), expected, atol=1e-5)


@with_module
def test_training_has_dropout_in_the_encoder(exported):
  handle, _ = exported
  with tf.Graph().as_default(), tf.Session() as session:
    build(handle, True)
    session.run(tf.global_variables_initializer())
    pooled = tf.get_default_graph().get_tensor_by_name(
        "module_apply_tokens/bert/pooler/dense/Tanh:0")
    first, second = session.run(pooled), session.run(pooled)
  assert np.any(first != second)


@with_module
def test_the_script_trains_evaluates_and_predicts(exported, tmp_path):
  output_dir = str(tmp_path / "out")
  arguments = dict(
      task_name="MRPC", data_dir=helpers.write_mrpc(tmp_path / "data"),
      bert_hub_module_handle=exported[0], output_dir=output_dir,
      max_seq_length=16, train_batch_size=4, eval_batch_size=4,
      predict_batch_size=4, learning_rate=1e-3, num_train_epochs=2,
      log_steps=4, do_train=True, do_eval=True, do_predict=True)
  status, _, stderr = helpers.run_script(
      "run_classifier_with_tfhub.py",
      ["--%s=%s" % item for item in sorted(arguments.items())])
  assert status == 0, stderr[-3000:]
  assert stderr.count("Training: 6 of 6 steps, loss ") == 1
  assert "Weights start from the module %s\n" % exported[0] in stderr
  assert "random values" not in stderr
  assert "Saver not created" not in stderr
  helpers.check_mrpc_results(output_dir, global_step=6)

  kernel = "bert/encoder/layer_0/output/dense/kernel"
  trained = tf.train.load_checkpoint(output_dir)
  start, end = exported[1][kernel], trained.get_tensor("module/" + kernel)
  assert 0 < np.abs(end - start).max() < 0.1
  assert trained.has_tensor("module/%s/adam_m" % kernel)


@pytest.mark.slow
@with_module
def test_parts_of_a_batch_train_a_module_like_the_whole(tmp_path, monkeypatch):
  monkeypatch.setattr(modeling, "dropout", lambda x, rate: x)  # of the head
  for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
    monkeypatch.setitem(helpers.CONFIG, name, 0.0)
  handle, _ = export_module(tmp_path)

  def train(name, **values):
    run_classifier_with_tfhub.run_with(run_classifier_with_tfhub.Settings(
        task_name="MRPC", data_dir=helpers.write_mrpc(tmp_path / "data"),
        bert_hub_module_handle=handle, output_dir=str(tmp_path / name),
        max_seq_length=16, learning_rate=1e-3, num_train_epochs=1.0,
        tf_random_seed=3, do_train=True, do_eval=True, **values))
    return helpers.read_weights(str(tmp_path / name / "model.ckpt-3"))

  whole = train("whole", train_batch_size=4)
  for parts in (
      train("parts", train_batch_size=2, gradient_accumulation_steps=2),
      train("devices", train_batch_size=4, devices=["/cpu:0", "/cpu:1"])):
    assert sorted(parts) == sorted(whole)
    for name, value in whole.items():
      np.testing.assert_allclose(parts[name], value, 1e-4, 1e-5, name)


@with_module
def test_without_a_checkpoint_only_training_is_named(exported, tmp_path):
  with pytest.raises(
      cli.UserError, match="holds no checkpoint: pass --do_train$"):
    helpers.run_main(run_classifier_with_tfhub, [
        "--task_name=MRPC", "--do_eval", "--max_seq_length=16",
        "--data_dir=" + helpers.write_mrpc(tmp_path / "data"),
        "--bert_hub_module_handle=" + exported[0],
        "--output_dir=" + str(tmp_path / "out")])


@with_module
def test_a_handle_that_is_no_module_is_named(tmp_path):
  handle = str(tmp_path / "none")
  arguments = ["--task_name=MRPC", "--do_train", "--data_dir=" + str(tmp_path),
               "--bert_hub_module_handle=" + handle,
               "--output_dir=" + str(tmp_path / "out")]
  with pytest.raises(cli.UserError) as error:
    helpers.run_main(run_classifier_with_tfhub, arguments)
  assert handle in str(error.value)
  assert "\n" not in str(error.value)


@with_module
def test_what_does_not_fit_the_modules_tables_is_one_line(
    exported, tmp_path, monkeypatch):
  arguments = ["--task_name=MRPC", "--do_train", "--data_dir=" + str(tmp_path),
               "--bert_hub_module_handle=" + exported[0],
               "--output_dir=" + str(tmp_path / "out")]
  with pytest.raises(cli.UserError, match="at most 20 positions"):
    helpers.run_main(
        run_classifier_with_tfhub, arguments + ["--max_seq_length=21"])
  monkeypatch.setattr(helpers, "WORDS", helpers.WORDS + ["one", "more"])
  handle, _ = export_module(tmp_path)
  with pytest.raises(cli.UserError, match=(
      "has ids up to %d, but the model's vocab_size is %d" % (
          len(helpers.WORDS) - 1, len(helpers.WORDS) - 2))) as error:
    helpers.run_main(run_classifier_with_tfhub, arguments + [
        "--bert_hub_module_handle=" + handle, "--max_seq_length=16"])
  assert "\n" not in str(error.value)
  assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", ["init_checkpoint", "vocab_file", "bert_config_file"])
def test_what_the_module_brings_may_not_be_given(tmp_path, name):
  with pytest.raises(cli.UserError, match="^--%s: the module" % name):
    helpers.run_main(run_classifier_with_tfhub, [
        "--task_name=MRPC", "--do_eval", "--data_dir=" + str(tmp_path),
        "--bert_hub_module_handle=" + str(tmp_path), "--%s=x" % name,
        "--output_dir=" + str(tmp_path / "out")])


@without_module
def test_without_hub_module_one_line_names_what_to_install(tmp_path):
  output_dir = tmp_path / "out"
  status, stdout, stderr = helpers.run_script(
      "run_classifier_with_tfhub.py", [
          "--task_name=MRPC", "--do_train", "--data_dir=" + str(tmp_path),
          "--bert_hub_module_handle=" + str(tmp_path),
          "--output_dir=" + str(output_dir)])
  assert (status, stdout) == (1, "")
  assert "Traceback" not in stderr
  lines = [line for line in stderr.splitlines()
           if line.startswith("run_classifier_with_tfhub.py: ")]
  assert lines == stderr.splitlines()[-1:]
  for what in ("tensorflow==2.15.1", "tensorflow-hub==0.15.0", "Python 3.9"):
    assert what in lines[0]
  assert not output_dir.exists()


@pytest.mark.parametrize("changes, message", [
    (dict(compute_dtype="bfloat16"), "--compute_dtype"),
    (dict(init_head="keep"), "--init_head=keep: a module has no head")])
def test_settings_that_a_module_has_no_use_for_are_refused(
    tmp_path, changes, message):
  settings = run_classifier_with_tfhub.Settings(
      bert_hub_module_handle=str(tmp_path), task_name="MRPC",
      data_dir=str(tmp_path), output_dir=str(tmp_path / "out"), **changes)
  with pytest.raises(cli.UserError, match=message):
    run_classifier_with_tfhub.run_with(settings)


@pytest.mark.slow
@with_module
def test_two_seeds_are_trained_and_the_better_is_kept(exported, tmp_path):
  settings = run_classifier_with_tfhub.Settings(
      task_name="MRPC", data_dir=helpers.write_mrpc(tmp_path / "data"),
      bert_hub_module_handle=exported[0], output_dir=str(tmp_path / "out"),
      max_seq_length=16, train_batch_size=4, num_train_epochs=1.0, num_seeds=2,
      do_train=True, do_eval=True, do_predict=True)
  figures = run_classifier_with_tfhub.run_with(settings)
  runs, best = several_runs.read(settings.output_dir)
  assert [one.name for one in runs] == ["seed-1", "seed-2"]
  assert figures == best.figures and figures["global_step"] == 3
  assert helpers.read_probabilities(best.output_dir).shape == (7, 2)
  assert [bool(tf.gfile.Glob(one.output_dir + "/model.ckpt*"))
          for one in runs] == [one is best for one in runs]
  # The initial head differs, so the runs do.
  assert runs[0].figures["eval_loss"] != runs[1].figures["eval_loss"]
