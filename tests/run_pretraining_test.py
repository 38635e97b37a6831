"""Tests of run_pretraining: heads against NumPy, whole runs, bad records."""

import os
import re

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import (
    best_model, checkpoints, cli, input_pipeline, model_inputs, tf_estimator)
import helpers
import hooks_test
import modeling
import numpy_bert
import optimization
import resume_test
import run_pretraining
import tokenization

# B sequences of S tokens, W wide; P predictions each of V words.
B, S, W, P, V = 3, 5, 8, 2, 11
CONFIG = modeling.BertConfig(
    vocab_size=V, hidden_size=W, num_attention_heads=2, hidden_act="gelu",
    initializer_range=0.02)
TABLE = "bert/embeddings/word_embeddings"
SHAPES = {
    "cls/predictions/transform/dense/kernel": [W, W],
    "cls/predictions/transform/dense/bias": [W],
    "cls/predictions/transform/LayerNorm/beta": [W],
    "cls/predictions/transform/LayerNorm/gamma": [W],
    "cls/predictions/output_bias": [V],
    "cls/seq_relationship/output_weights": [2, W],
    "cls/seq_relationship/output_bias": [2],
}
RNG = np.random.RandomState(5)
SEQUENCE = RNG.normal(size=[B, S, W]).astype(np.float32)
POOLED = RNG.normal(size=[B, W]).astype(np.float32)
POSITIONS = np.array([[0, 4], [2, 1], [3, 0]], np.int32)
LABELS = np.array([[3, 10], [0, 7], [1, 0]], np.int32)
WEIGHTS = np.array([[1, 1], [1, 1], [1, 0]], np.float32)


@pytest.fixture
def session():
  with tf.Graph().as_default(), tf.Session() as sess:
    yield sess


def build_heads(labels=LABELS, weights=WEIGHTS, is_random_next=(0, 1, 1)):
  """Builds both heads on constants; returns what each returns."""
  with tf.variable_scope("bert/embeddings"):
    table = tf.get_variable("word_embeddings", [V, W])
  return (
      run_pretraining.get_masked_lm_output(
          CONFIG, tf.constant(SEQUENCE), table, tf.constant(POSITIONS),
          tf.constant(labels), tf.constant(weights)),
      run_pretraining.get_next_sentence_output(
          CONFIG, tf.constant(POOLED), tf.constant(is_random_next)))


def randomize(session):
  """Gives all variables random values; returns them by name."""
  rng = np.random.RandomState(6)
  values = {v.op.name: rng.normal(size=v.shape.as_list()).astype(np.float32)
            for v in sorted(tf.global_variables(), key=lambda v: v.name)}
  session.run([tf.assign(v, values[v.op.name]).op
               for v in tf.global_variables()])
  return values


def assert_near(actual, expected):
  assert np.shape(actual) == np.shape(expected)
  np.testing.assert_allclose(actual, expected, rtol=2e-5, atol=2e-5)


def test_variables_have_the_names_and_shapes_of_published_checkpoints(session):
  build_heads()
  shapes = {v.name: v.shape.as_list() for v in tf.trainable_variables()}
  assert shapes.pop(TABLE + ":0") == [V, W]
  assert shapes == {name + ":0": shape for name, shape in SHAPES.items()}


def test_initial_values(session):
  build_heads()
  session.run(tf.global_variables_initializer())
  values = {v.op.name: v.eval(session) for v in tf.global_variables()}
  for name in SHAPES:
    if name.endswith(("kernel", "output_weights")):
      assert 0 < np.abs(values[name]).max() <= 2 * CONFIG.initializer_range
    else:
      assert np.all(values[name] == float(name.endswith("gamma")))


def test_masked_lm_is_that_of_numpy(session):
  masked_lm, _ = build_heads()
  values = randomize(session)
  actual = session.run(masked_lm)
  expected = numpy_bert.masked_lm(
      values, np.float64(SEQUENCE), POSITIONS, LABELS, WEIGHTS)
  assert expected[2].dtype == np.float64
  for ours, theirs in zip(actual, expected):
    assert_near(ours, theirs)
  loss, per_example_loss, log_probs = actual
  assert per_example_loss.shape == (B * P,)
  assert_near(np.exp(log_probs).sum(axis=-1), np.ones([B * P]))
  assert_near(loss, per_example_loss[:5].mean())  # the sixth weighs nothing


def test_predictions_of_weight_0_change_neither_loss_nor_gradient(session):
  changed = np.array(LABELS)
  changed[WEIGHTS == 0] = 9
  losses = []
  for labels in (LABELS, changed):
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
      losses.append(build_heads(labels)[0])
  variables = tf.trainable_variables("cls/predictions")
  assert len(variables) == 5
  randomize(session)
  first, second = session.run(losses)
  assert first[0] == second[0]
  assert first[1][-1] != second[1][-1]
  for ours, theirs in session.run(list(zip(
      *[tf.gradients(loss[0], variables) for loss in losses]))):
    np.testing.assert_array_equal(ours, theirs)


def test_without_any_prediction_the_loss_is_0(session):
  (loss, _, _), _ = build_heads(weights=np.zeros([B, P], np.float32))
  gradient, = tf.gradients(loss, tf.trainable_variables(TABLE))
  randomize(session)
  assert session.run(loss) == 0.0
  np.testing.assert_array_equal(session.run(gradient), np.zeros([V, W]))


def test_cross_entropy_is_that_of_tensorflow(session):
  logits = tf.constant(np.random.RandomState(1).normal(
      size=[7, 50], scale=30).astype(np.float32))  # some probabilities are 0
  labels = tf.constant([0, 49, 3, 3, 7, 20, 1])
  found = []
  for function in (
      run_pretraining.vocab_cross_entropy,
      lambda logits, labels: tf.nn.sparse_softmax_cross_entropy_with_logits(
          labels=labels, logits=logits)):
    losses = function(logits, labels)
    weighted = tf.reduce_sum(losses * np.arange(7, dtype=np.float32))
    found.append(session.run([losses, tf.gradients(weighted, logits)[0]]))
  for ours, theirs in zip(*found):
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


def test_weights_may_be_integers_and_shapes_unknown(session):
  with tf.variable_scope("bert/embeddings"):
    table = tf.get_variable("word_embeddings", [V, W])
  inputs = [tf.placeholder(tf.float32, [None, None, W])] + [
      tf.placeholder(tf.int32, [None, None]) for _ in range(3)]
  outputs = run_pretraining.get_masked_lm_output(
      CONFIG, inputs[0], table, *inputs[1:])
  values = randomize(session)
  actual = session.run(outputs, dict(zip(
      inputs, [SEQUENCE, POSITIONS, LABELS, WEIGHTS.astype(np.int32)])))
  expected = numpy_bert.masked_lm(
      values, np.float64(SEQUENCE), POSITIONS, LABELS, WEIGHTS)
  for ours, theirs in zip(actual, expected):
    assert_near(ours, theirs)


@pytest.mark.parametrize("labels", [[0, 1, 1], [[1], [0], [1]]])
def test_next_sentence_is_that_of_numpy(session, labels):
  _, next_sentence = build_heads(is_random_next=labels)
  values = randomize(session)
  expected = numpy_bert.next_sentence(values, np.float64(POOLED), labels)
  actual = session.run(next_sentence)
  for ours, theirs in zip(actual, expected):
    assert_near(ours, theirs)
  assert actual[1].shape == (B,)
  assert actual[2].shape == (B, 2)


def test_gradients_of_both_heads_reach_every_variable(session):
  masked_lm, next_sentence = build_heads()
  gradients = tf.gradients(masked_lm[0] + next_sentence[0],
                           tf.trainable_variables())
  assert None not in gradients
  randomize(session)
  for gradient in session.run(gradients):
    assert np.any(gradient != 0)


@pytest.mark.parametrize("shape", [[B, S, W], [None, None, None]])
def test_gather_indexes(session, shape):
  sequence = tf.placeholder(tf.float32, shape)
  positions = tf.placeholder(tf.int32, [shape[0], None])
  gathered = run_pretraining.gather_indexes(sequence, positions)
  actual = session.run(gathered, {sequence: SEQUENCE, positions: POSITIONS})
  expected = np.concatenate([SEQUENCE[i, POSITIONS[i]] for i in range(B)])
  assert actual.shape == (B * P, W)
  np.testing.assert_array_equal(actual, expected)


# Whole runs.

LENGTH, PREDICTIONS, WORD_COUNT = 12, 3, len(helpers.WORDS)


def make_record(rng, length=LENGTH, predictions=PREDICTIONS):
  """Returns the features of one record, with padding at both kinds of end."""
  used = rng.randint(4, length + 1)
  masked = rng.randint(1, predictions + 1)
  pad = model_inputs.pad_to_length
  return {
      "input_ids": pad(rng.randint(5, WORD_COUNT, size=used), length),
      "input_mask": pad([1] * used, length),
      "segment_ids": pad([0, 0] + [1] * (used - 2), length),
      "masked_lm_positions": pad(
          sorted(rng.choice(used, masked, replace=False)), predictions),
      "masked_lm_ids": pad(rng.randint(5, WORD_COUNT, size=masked),
                           predictions),
      "masked_lm_weights": pad([1.0] * masked, predictions, 0.0),
      "next_sentence_labels": [rng.randint(2)],
  }


@pytest.fixture
def records(tmp_path):
  """Two files of 20 records each."""
  rng = np.random.RandomState(8)
  for name in "ab":
    input_pipeline.write_examples(
        str(tmp_path / ("%s.tfrecord" % name)),
        [make_record(rng) for _ in range(20)])
  return tmp_path


def arguments_for(folder, **changes):
  values = dict(
      input_file="%s/*.tfrecord" % folder, output_dir=str(folder / "out"),
      bert_config_file=helpers.write_config(folder), max_seq_length=LENGTH,
      max_predictions_per_seq=PREDICTIONS, train_batch_size=4,
      eval_batch_size=4, num_train_steps=6, num_warmup_steps=2,
      learning_rate=1e-2, max_eval_steps=5, log_steps=2)
  values.update(changes)
  return ["--%s=%s" % item for item in sorted(values.items())]


def run(folder, **changes):
  """Runs the script in this process; returns what it logged."""
  with helpers.captured_log() as lines:
    helpers.run_main(run_pretraining, arguments_for(folder, **changes))
  return lines


def losses_of(lines):
  return [line for line in lines if line.startswith("Training: ")]


def test_it_trains_evaluates_and_has_nothing_left_to_do(records):
  lines = run(records, do_train=True, do_eval=True)
  assert len(losses_of(lines)) == 3
  assert helpers.read_eval_results(str(records / "out"))[0] == [
      "global_step", "loss", "masked_lm_accuracy", "masked_lm_loss",
      "next_sentence_accuracy", "next_sentence_loss", "perplexity"]
  checkpoint = str(records / "out" / "model.ckpt-6")
  names = {name for name, _ in tf.train.list_variables(checkpoint)}
  assert set(SHAPES) | {"bert/pooler/dense/kernel", "global_step",
                        "cls/predictions/output_bias/adam_m"} <= names
  lines = run(records, do_train=True)
  assert any(line.startswith("There is nothing left to train: ")
             for line in lines)
  assert any("step 6" in line for line in lines)


@pytest.mark.slow
def test_the_vocabulary_is_recorded_and_kept(records, tmp_path):
  vocab_file = str(records / "vocab.txt")
  helpers.write_lines(
      vocab_file, [["[PAD]"], ["[UNK]"], ["[CLS]"], ["[SEP]"], ["[MASK]"]])
  recorded = {"size": 5, "sha256": checkpoints.hash_vocab(
      tokenization.load_vocab(vocab_file))}
  out = str(records / "out")
  run(records, do_train=True, vocab_file=vocab_file)
  # Neither the same command without the flag nor one that starts from the
  # model forgets it.
  for changes in (dict(num_train_steps=8, learning_rate=1e-3),
                  dict(init_checkpoint=out + "/model.ckpt-6",
                       output_dir=str(records / "next"))):
    folder = changes.get("output_dir", out)
    run(records, do_train=True, **changes)
    assert checkpoints.read_record(folder)["vocabulary"] == recorded
    assert checkpoints.read_training(folder)["vocab_file"] == vocab_file
  warning, = [line for line in run(
      records, do_train=True, learning_rate=1e-2, num_train_steps=8,
      input_file="%s/a.tfrecord" % records) if "are ignored" in line]
  assert ": --input_file=%s/a.tfrecord (trained with %s/*.tfrecord), " \
      "--learning_rate=0.01 (trained with 0.001). " % (
          records, records) in warning
  assert "or give a larger --num_train_steps to train" in warning
  helpers.write_lines(
      vocab_file, [["[UNK]"], ["[PAD]"], ["[CLS]"], ["[SEP]"], ["[MASK]"]])
  with pytest.raises(cli.UserError, match="vocabulary is 5 tokens, "):
    run(records, do_train=True, vocab_file=vocab_file)


def test_figures_of_an_evaluation_are_those_of_the_heads(records):
  run(records, do_train=True)
  results = []
  for remove_padding in (False, True):
    run(records, do_eval=True, remove_padding=remove_padding)
    results.append(dict(zip(*helpers.read_eval_results(str(records / "out")))))
  for name, value in results[0].items():
    assert value == pytest.approx(results[1][name], rel=1e-5)
  assert results[0]["perplexity"] == pytest.approx(
      np.exp(results[0]["masked_lm_loss"]), rel=1e-5)


def start_session(options, mode):
  """Starts a model without dropout on three sequences; returns its spec."""
  rng = np.random.RandomState(4)
  config = modeling.BertConfig(
      vocab_size=30, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
      intermediate_size=12, max_position_embeddings=16, hidden_dropout_prob=0.0,
      attention_probs_dropout_prob=0.0)
  arrays = {
      "input_ids": rng.randint(1, 30, [3, 7]),
      "input_mask": (np.arange(7) < [[7], [4], [2]]).astype(int),
      "segment_ids": np.zeros([3, 7], int),
      "masked_lm_positions": [[1, 3], [2, 0], [1, 0]],
      "masked_lm_ids": [[5, 6], [7, 0], [8, 0]],
      "next_sentence_labels": [0, 1, 1]}
  features = {name: tf.constant(array, tf.int32)
              for name, array in arrays.items()}
  features["masked_lm_weights"] = tf.constant(
      [[1, 1], [1, 0], [1, 0]], tf.float32)
  spec = run_pretraining.make_model_fn(
      config, None, optimization.Settings(
          1e-2, 10, 0, compiled=options.compiled), options)(
              features, None, mode, {"batch_size": 3})
  session = tf.Session()
  session.run(tf.global_variables_initializer())
  for i, variable in enumerate(tf.trainable_variables()):
    session.run(tf.assign(variable, np.random.RandomState(i).normal(
        size=variable.shape.as_list(), scale=0.5)))
  return session, spec


def test_few_shapes_change_no_loss():
  """Rows that fill up must not be counted as predictions."""
  losses = []
  for few_shapes in (False, True):
    with tf.Graph().as_default():
      session, spec = start_session(
          modeling.Options(remove_padding=True, few_shapes=few_shapes),
          tf_estimator.ModeKeys.EVAL)
      with session:
        losses.append(session.run(spec.loss))
  assert losses[0] > 1.0
  assert losses[1] == pytest.approx(losses[0], rel=1e-5)


@pytest.mark.slow
@pytest.mark.skipif(tf.__version__.startswith("1."),
                    reason="compiles no functions")
@pytest.mark.parametrize("remove_padding", [False, True])
def test_compiled_heads_train_alike(remove_padding):
  runs, kinds = [], []
  for compiled in (False, True):
    with tf.Graph().as_default() as graph:
      session, spec = start_session(
          modeling.Options(remove_padding=remove_padding, compiled=compiled),
          tf_estimator.ModeKeys.TRAIN)
      with session:
        losses = [session.run([spec.loss, spec.train_op])[0] for _ in range(4)]
        runs.append(losses + session.run(tf.trainable_variables()))
      kinds.append({op.type for op in graph.get_operations()
                    if op.name.startswith("cls/")})
  for ours, theirs in zip(*runs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)
  assert runs[0][0] > runs[0][3] > 1.0
  # Outside of the programs are the variables and their reading.
  assert "MatMul" in kinds[0]
  assert not [kind for kind in kinds[1] if "MatMul" in kind]


def test_next_sentences_can_be_left_out(records):
  run(records, do_train=True, do_eval=True, use_next_sentence=False)
  names, _ = helpers.read_eval_results(str(records / "out"))
  assert not [name for name in names if name.startswith("next_sentence")]
  variables = tf.train.list_variables(str(records / "out" / "model.ckpt-6"))
  assert not [n for n, _ in variables if n.startswith("cls/seq_relationship")]
  # A folder of the one is not taken for the other.
  with pytest.raises(cli.UserError, match="use_next_sentence is False "
                     "there and True here"):
    run(records, do_train=True)


def test_it_evaluates_while_training(records):
  input_pipeline.write_examples(str(records / "held_out"), [
      make_record(np.random.RandomState(3)) for _ in range(8)])
  lines = run(records, do_train=True, eval_steps=2,
              eval_input_file=str(records / "held_out"), max_eval_steps=2)
  assert lines.count("***** Eval results *****") == 3
  events = hooks_test.read_events(str(records / "out" / "eval"))
  for name in ("masked_lm_accuracy", "masked_lm_loss", "perplexity",
               "next_sentence_accuracy"):
    assert sorted(events[name]) == [2, 4, 6]
  assert events["perplexity"][4] == pytest.approx(
      np.exp(events["masked_lm_loss"][4]), rel=1e-4)
  best = best_model.best_row(str(records / "out"))
  assert checkpoints.find_checkpoint(str(records / "out" / "best")).endswith(
      "-%d" % best.step)
  rows, metric = best_model.read_history(str(records / "out"))
  assert metric == "loss" and [row.step for row in rows] == [2, 4, 6]


def test_eval_steps_need_records_to_evaluate_on(records):
  with pytest.raises(cli.UserError, match="^--eval_steps=2 needs "
                     "--eval_input_file, records to evaluate on$"):
    run(records, do_train=True, eval_steps=2)


@pytest.mark.slow
def test_a_seed_makes_runs_alike(records):
  logged = []
  for name, seed in (("a", 3), ("b", 3), ("c", 4)):
    lines = run(records, do_train=True, tf_random_seed=seed,
                output_dir=str(records / name))
    logged.append([line.split(", learning")[0] for line in losses_of(lines)])
  assert len(logged[0]) == 3
  assert logged[0] == logged[1]
  assert logged[0] != logged[2]


@pytest.mark.slow
def test_a_killed_training_resumes(records):
  arguments = arguments_for(
      records, do_train=True, do_eval=True, save_checkpoints_steps=2)
  resume_test.run_and_kill(
      "run_pretraining", arguments,
      "hooks.StopHook.after_run = at_call(5, hooks.StopHook.after_run)")
  with helpers.captured_log() as lines:
    helpers.run_main(run_pretraining, arguments)
  assert "  Resuming at step 4" in lines
  assert tf.train.latest_checkpoint(str(records / "out")) == str(
      records / "out" / "model.ckpt-6")
  names, values = helpers.read_eval_results(str(records / "out"))
  assert values[names.index("global_step")] == 6


def damage(folder, offset):
  """Changes one byte of the first file."""
  path = folder / "a.tfrecord"
  content = bytearray(path.read_bytes())
  content[offset] ^= 0x55
  path.write_bytes(bytes(content))


MISTAKES = {
    "length": (dict(max_seq_length=13), r"/a\.tfrecord, record 1: found 12 "
               "values of input_ids, expected 13; give --max_seq_length and "
               "--max_predictions_per_seq as for create_pretraining_data.py"),
    "predictions": (dict(max_predictions_per_seq=2), r"/a\.tfrecord, record 1: "
                    "found 3 values of masked_lm_ids, expected 2; give "),
    "positions": (dict(max_seq_length=21),
                  "at most 20 positions .* --max_seq_length, found 21$"),
    "no file": (dict(input_file="none-*"), "^--input_file=none-.: found no "
                "file for 'none-.'"),
    "nothing to do": (dict(do_train=False),
                      "^nothing to do; give --do_train or --do_eval$"),
}


@pytest.mark.parametrize("name", sorted(MISTAKES))
def test_a_mistake_is_one_line(records, name):
  changes, message = MISTAKES[name]
  status, stderr = helpers.run_command(run_pretraining, arguments_for(
      records, **dict(dict(do_train=True), **changes)))
  assert status == 1
  assert re.search(message, stderr.split(": ", 1)[1].rstrip("\n")), stderr
  assert stderr.count("\n") == 1
  assert tf.train.latest_checkpoint(str(records / "out")) is None


@pytest.mark.parametrize("checked", [1000, 1])
def test_ids_beyond_the_vocabulary_are_found_before_and_while_training(
    records, monkeypatch, checked):
  monkeypatch.setattr(run_pretraining, "_RECORDS_TO_CHECK", checked)
  rng = np.random.RandomState(4)
  good, bad = [make_record(rng) for _ in range(2)]
  bad["input_ids"][2] = WORD_COUNT
  input_pipeline.write_examples(
      str(records / "a.tfrecord"), [good] * 5 + [bad])
  status, stderr = helpers.run_command(
      run_pretraining, arguments_for(
          records, do_train=True, num_train_steps=50))
  assert status == 1
  assert stderr.count("\n") == 1
  assert "/a.tfrecord, record 6: found input_ids from " in stderr


@pytest.mark.slow
@pytest.mark.parametrize("step", ["do_train", "do_eval"])
def test_records_of_another_length_further_on_are_named_or_skipped(
    records, monkeypatch, step):
  run(records, do_train=True, num_train_steps=2)  # something to evaluate
  monkeypatch.setattr(run_pretraining, "_RECORDS_TO_CHECK", 2)
  rng = np.random.RandomState(4)
  input_pipeline.write_examples(
      str(records / "a.tfrecord"),
      [make_record(rng)] * 8 + [make_record(rng, predictions=4)] * 20)
  helpers.gzip_file(records / "a.tfrecord")
  changes = {step: True, "input_file": str(records / "a.tfrecord")}
  status, stderr = helpers.run_command(
      run_pretraining, arguments_for(records, **changes))
  assert status == 1
  assert re.match(
      r"run_pretraining\.py: .*/a\.tfrecord, record 9: found 4 values of "
      r"masked_lm_ids, expected 3; give .*, or leave such records out with "
      r"--skip_bad_records\n$", stderr), stderr
  lines = run(records, skip_bad_records=True, **changes)
  assert [line for line in lines if "skipped 20 bad record(s) (record 9: found "
          "4 values of masked_lm_ids, expected 3; record 10: " in line]


def test_files_of_one_name_do_not_replace_each_other(records, monkeypatch):
  monkeypatch.setattr(run_pretraining, "_RECORDS_TO_CHECK", 1)
  (records / "dev").mkdir()
  input_pipeline.write_examples(str(records / "dev" / "a.tfrecord"), [
      make_record(np.random.RandomState(3)) for _ in range(8)])
  damage(records, 1)
  damage(records / "dev", 1)
  run(records, do_train=True, do_eval=True, skip_bad_records=True,
      input_file=str(records / "a.tfrecord"),
      eval_input_file=str(records / "dev" / "a.tfrecord"))
  counts = [helpers.count_records(str(
      records / "out" / "good_records" / purpose / "0-a.tfrecord"))
            for purpose in ("train", "eval")]
  assert counts == [19, 7]


@pytest.mark.slow
@pytest.mark.parametrize("step", ["do_train", "do_eval"])
def test_a_damaged_record_is_named_or_skipped(records, step, monkeypatch):
  run(records, do_train=True, num_train_steps=2)  # something to evaluate
  monkeypatch.setattr(run_pretraining, "_RECORDS_TO_CHECK", 1)
  offset = 3 * (os.path.getsize(str(records / "a.tfrecord")) // 20)
  damage(records, offset)
  arguments = arguments_for(records, **{step: True})
  status, stderr = helpers.run_command(run_pretraining, arguments)
  assert status == 1
  assert re.match(r"run_pretraining\.py: .*/a\.tfrecord: the record at byte "
                  r"\d+ is damaged or cut off; write the file again, or leave "
                  r"such records out with --skip_bad_records\n$", stderr)
  lines = run(records, **{step: True, "skip_bad_records": True})
  assert len([line for line in lines if "skipped 1 bad record(s)" in line]) == 1
