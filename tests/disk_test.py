"""A disk that fills up, or a folder that becomes read-only, during a run."""

import contextlib
import os
import pathlib
import re
import resource
import tempfile

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import files, input_pipeline, training, training_state
import create_pretraining_data
import export_fixtures
import export_model
import extract_features
import helpers
import predictor
import run_classifier

NOBODY = 65534  # root may write where nobody else may


@pytest.fixture
def place():
  """A folder that every user may enter and write to."""
  with tempfile.TemporaryDirectory() as folder:
    os.chmod(folder, 0o777)
    yield pathlib.Path(folder)


@contextlib.contextmanager
def full_disk(unused_folder):
  """Files cannot grow beyond 50 bytes within a `with` block."""
  before = resource.getrlimit(resource.RLIMIT_FSIZE)
  resource.setrlimit(resource.RLIMIT_FSIZE, (50, before[1]))
  try:
    yield
  finally:
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def read_only(folder):
  """The folder takes no new files within a `with` block."""
  is_root = os.geteuid() == 0
  os.chmod(str(folder), 0o555)
  if is_root:
    os.seteuid(NOBODY)
  try:
    yield
  finally:
    if is_root:
      os.seteuid(0)
    os.chmod(str(folder), 0o777)


# What begins each, and what the command says. A file without a name, in which
# records wait, is in the folder as well.
FAULTS = {"full": (full_disk, r"no room to write to \((%s/.*; |\[Errno 27\] )"
                   r"File too large\); what was complete is still there: "),
          "read-only": (read_only, "no permission to write or read: %s/.*; "
                        "Permission denied")}


def fail(script, arguments, monkeypatch, kind, folder, moment):
  """Runs a command until a fault stops it, and checks what it says.

  Args:
    script: module.
    arguments: list of str.
    monkeypatch: the fixture.
    kind: str, of FAULTS.
    folder: pathlib.Path. Where it writes.
    moment: object, name of its function, and the call at which the fault
      begins.
  """
  (fault, message), (owner, name, number) = FAULTS[kind], moment
  function, calls = getattr(owner, name), []
  with contextlib.ExitStack() as stack, monkeypatch.context() as patch:
    def begin(*args, **kwargs):
      calls.append(1)
      if len(calls) == number:
        stack.enter_context(fault(folder))
      return function(*args, **kwargs)

    patch.setattr(owner, name, begin)
    status, stderr = helpers.run_command(script, arguments)
  assert status == 1
  assert re.search(": " + message % folder, stderr), stderr
  assert stderr.count("\n") == 1
  assert not [name for name in os.listdir(str(folder))
              if name.endswith(".tmp")]


@pytest.fixture(scope="module")
def task(tmp_path_factory):
  """Makes arguments of a training of 6 steps, and the weights it ends with."""
  def arguments(folder):
    return ["--%s=%s" % item for item in sorted(dict(
        task_name="MRPC", data_dir=helpers.write_mrpc(folder / "data"),
        vocab_file=helpers.write_vocab(folder), max_seq_length=16,
        bert_config_file=helpers.write_config(folder), train_batch_size=4,
        learning_rate=1e-2, num_train_epochs=2, save_checkpoints_steps=2,
        do_train=True, do_eval=True, tf_random_seed=3,
        output_dir=folder / "out").items())]

  folder = tmp_path_factory.mktemp("whole")
  helpers.run_main(run_classifier, arguments(folder))
  return arguments, helpers.read_weights(str(folder / "out" / "model.ckpt-6"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(FAULTS))
def test_a_training_resumes_once_it_can_write_again(
    task, place, monkeypatch, kind):
  arguments, out = task[0](place), place / "out"
  out.mkdir()
  os.chmod(str(out), 0o777)
  for moment, step in [
      ((input_pipeline, "write_examples", 1), None),
      ((training_state.Saver, "save", 3), 2),  # it has saved at 0 and 2
      ((training, "write_results", 1), 6)]:
    fail(run_classifier, arguments, monkeypatch, kind, out, moment)
    assert tf.train.latest_checkpoint(str(out)) == (
        step and str(out / ("model.ckpt-%d" % step)))
    assert not (out / "eval_results.txt").exists()
  helpers.run_main(run_classifier, arguments)
  assert helpers.read_eval_results(str(out))[0]
  found = helpers.read_weights(str(out / "model.ckpt-6"))
  for name, value in task[1].items():
    np.testing.assert_array_equal(found[name], value, name)


def arguments_of(name, place):
  """Returns a script, arguments with which it writes into place/out."""
  out = place / "out"
  if name == "export":
    model_dir = export_fixtures.write_model(place, "features")
    return export_model, dict(model_dir=model_dir, task="features",
                              export_dir=out)
  (place / "text.txt").write_text("the cat\nit rains\n\ntea is near\nit\n")
  values = dict(vocab_file=helpers.write_vocab(place), max_seq_length=16,
                input_file=place / "text.txt")
  if name == "features":
    return extract_features, dict(
        values, output_file=out / "made.jsonl",
        init_checkpoint=os.path.join(
            export_fixtures.write_model(place, "features"), "model.ckpt-3"),
        bert_config_file=helpers.write_config(place), layers=-1)
  return create_pretraining_data, dict(
      values, max_predictions_per_seq=2,
      output_file=out / {"records": "made.tf_record", "shards": "made@2"}[name])


@pytest.mark.parametrize("kind", sorted(FAULTS))
@pytest.mark.parametrize("name,made", [
    ("features", ["made.jsonl"]), ("records", ["made.tf_record"]),
    ("shards", ["made-00000-of-00002", "made-00001-of-00002"]),
    ("export", [])])
def test_what_other_commands_write_is_whole_or_not_there(
    place, monkeypatch, name, made, kind):
  script, values = arguments_of(name, place)
  arguments = ["--%s=%s" % item for item in values.items()]
  out = place / "out"
  out.mkdir()
  os.chmod(str(out), 0o777)
  before = made if len(made) == 1 else []
  for one in before:
    (out / one).write_bytes(b"of an earlier run")
  fail(script, arguments, monkeypatch, kind, out, {
      ("export", "full"): (tf.saved_model.Builder, "save", 1),
      ("export", "read-only"): (files, "write_version", 1)}.get(
          (name, kind), (files, "atomic_path", 1)))
  assert os.listdir(str(out)) == before
  for one in before:
    assert (out / one).read_bytes() == b"of an earlier run"
  helpers.run_main(script, arguments)
  if name == "export":
    assert len(predictor.Predictor(str(out)).predict(["tea"])) == 1
  for one in made:
    assert (out / one).stat().st_size > 100
