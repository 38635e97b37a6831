"""What a training resumes from, beside the weights."""

import errno
import json
import os

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import files, training_state
import helpers

STATE = training_state.State(
    step=10, position=400, batch_size=8, seed=5, is_ordered=True)


def save(folder, steps, max_to_keep=5):
  """Saves checkpoints at steps; returns the path of the last."""
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("w", initializer=[1.0] * 100)
    global_step = tf.train.get_or_create_global_step()
    saver = training_state.Saver(STATE, max_to_keep)
    saver.build()
    session.run(tf.global_variables_initializer())
    for step in steps:
      session.run(tf.assign(global_step, step))
      path = saver.save(session, str(folder / "model.ckpt"), global_step=step)
  return path


def test_a_new_training_draws_a_seed_unless_it_is_given():
  new = training_state.State(0, 0, 8, 5)
  assert training_state.find_state(None, new) == new
  seeds = {training_state.find_state(None, new._replace(seed=None)).seed
           for _ in range(5)}
  assert len(seeds) == 5


def test_a_checkpoint_knows_position_and_seed(tmp_path):
  checkpoint = save(tmp_path, [12])
  # 400 examples before step 10, and two steps of 8.
  new = training_state.State(12, 0, 32, 99)
  assert training_state.find_state(checkpoint, new) == new._replace(
      position=416, seed=5)


def test_the_order_stays_that_of_the_first_buffer(tmp_path):
  checkpoint = save(tmp_path, [12])
  with helpers.captured_log() as lines:
    state = training_state.find_state(
        checkpoint, training_state.State(12, 0, 8, 5, group_size=2 ** 17))
  assert state.group_size == 2 ** 14
  assert lines[0].startswith("--shuffle_buffer_size is not used: ")


def test_the_last_step_may_have_fewer_examples():
  state = STATE._replace(num_train_steps=13, last_batch_size=3)
  assert [state.at(step).position for step in (11, 12, 13, 14)] == [
      408, 416, 419, 432]
  assert state.at(13).at(13).position == 419


def test_a_change_of_the_batch_size_counts_from_where_it_was_made():
  state = STATE.at(20)
  assert state.position == 480
  assert state._replace(batch_size=2).at(21).position == 482


@pytest.mark.parametrize("is_ordered", [True, False])
def test_a_checkpoint_of_an_older_version_is_resumed_by_skipping(
    tmp_path, is_ordered):
  checkpoint = save(tmp_path, [12])
  os.remove(checkpoint + ".state.json")
  new = training_state.State(12, 0, 32, 99, is_ordered)
  with helpers.captured_log() as lines:
    state = training_state.find_state(checkpoint, new)
  assert state == new._replace(position=12 * 32, is_ordered=False)
  assert ("has no .state.json, like those of older" in lines[0]) == is_ordered
  assert "he 384 examples used so far are skipped by reading" in lines[0]


def test_a_change_of_how_data_are_read_is_said(tmp_path):
  checkpoint = save(tmp_path, [12])
  new = training_state.State(12, 0, 8, 5, is_ordered=False)
  with helpers.captured_log() as lines:
    assert not training_state.find_state(checkpoint, new).is_ordered
  assert "from here on the order is another" in lines[0]
  state = json.loads((tmp_path / "model.ckpt-12.state.json").read_text())
  (tmp_path / "model.ckpt-12.state.json").write_text(
      json.dumps(dict(state, is_ordered=False)))
  with helpers.captured_log() as lines:  # and stays so
    assert not training_state.find_state(
        checkpoint, new._replace(is_ordered=True)).is_ordered
  assert lines == ["The 416 examples used so far are skipped by reading them, "
                   "and the few that waited to be shuffled are left out"]


def test_what_a_training_resumes_from_is_not_written_again(tmp_path):
  """TensorFlow would, and a kill meanwhile would leave half of it."""
  checkpoint = save(tmp_path, [10])
  index = tmp_path / "model.ckpt-10.index"
  os.remove(checkpoint + ".state.json")  # as of an older version
  before = os.stat(str(index))
  with tf.Graph().as_default(), tf.Session() as session:
    tf.get_variable("w", initializer=[2.0] * 100)
    tf.train.get_or_create_global_step()
    saver = training_state.Saver(STATE, 5)
    saver.build()
    saver.recover_last_checkpoints([checkpoint])
    saver.restore(session, checkpoint)
    path = str(tmp_path / "model.ckpt")
    assert saver.save(session, path, global_step=10) == checkpoint
    after = os.stat(str(index))
    assert (after.st_ino, after.st_mtime_ns) == (
        before.st_ino, before.st_mtime_ns)
    state = json.loads((tmp_path / "model.ckpt-10.state.json").read_text())
    assert state["position"] == 400 and len(state["files"]) == 2
    os.truncate(str(index), 3)  # a damaged one is
    saver.save(session, path, global_step=10)
  assert training_state.find_damage(checkpoint) == ""


@pytest.mark.parametrize("max_to_keep", [0, 1])
def test_a_step_is_saved_once(tmp_path, max_to_keep):
  """Also where all checkpoints are kept, and where an index was written anew
  there would be a moment without it."""
  changed = []
  write = training_state.Saver._RecordLastCheckpoint

  def record(self, path):
    changed.append(path)
    write(self, path)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(training_state.Saver, "_RecordLastCheckpoint", record)
    save(tmp_path, [1, 1, 2, 2], max_to_keep)
  assert changed == [str(tmp_path / ("model.ckpt-%d" % i)) for i in (1, 2)]


def test_a_folder_that_cannot_be_flushed_is_saved_to(tmp_path, monkeypatch):
  def refuse(descriptor):
    raise OSError(errno.EINVAL, "not supported")

  monkeypatch.setattr(files.os, "open", lambda *args: refuse(args))
  files.sync_folder(str(tmp_path))


def test_old_checkpoints_go_with_their_state(tmp_path):
  save(tmp_path, [1, 2, 3, 4], max_to_keep=2)
  states = sorted(name for name in os.listdir(str(tmp_path))
                  if name.endswith(".state.json"))
  assert states == ["model.ckpt-3.state.json", "model.ckpt-4.state.json"]


def test_damage_is_found(tmp_path):
  checkpoint = save(tmp_path, [1])
  assert training_state.find_damage(checkpoint) == ""
  data = checkpoint + ".data-00000-of-00001"
  size = os.path.getsize(data)
  with open(data, "r+b") as writer:
    writer.seek(50)
    writer.write(b"damaged")
  os.utime(data, (1, 1))  # else it may be too soon to be seen
  assert training_state.find_damage(checkpoint) == (
      "%s is not as it was saved (its checksum differs)" % data)
  os.truncate(data, 20)
  assert training_state.find_damage(checkpoint) == (
      "%s has 20 bytes, expected %d" % (data, size))
  os.remove(data)
  assert training_state.find_damage(checkpoint) == "%s is missing" % data


@pytest.mark.parametrize("change", [
    None, dict(position="1"), dict(files={"a": ["1", 2]}), dict(position=-1),
    dict(position=2 ** 64), dict(step=2), dict(seed=2 ** 70),
    dict(group_size=0), dict(group_size=2 ** 64)])
def test_a_damaged_state_is_named(tmp_path, change):
  checkpoint = save(tmp_path, [1])
  path = tmp_path / "model.ckpt-1.state.json"
  state = json.loads(path.read_text())
  for content in ("", "[]", "{") if change is None else (
      json.dumps(dict(state, **change)),):
    path.write_text(content)
    with pytest.raises(ValueError, match="state.json: is damaged; restore it"):
      training_state.find_state(checkpoint, training_state.State(1, 0, 8, 5))


def test_a_state_that_lacks_a_file_is_damage(tmp_path):
  checkpoint = save(tmp_path, [1])
  path = tmp_path / "model.ckpt-1.state.json"
  state = json.loads(path.read_text())
  del state["files"]["model.ckpt-1.index"]
  path.write_text(json.dumps(state))
  assert training_state.find_damage(checkpoint) == (
      "%s.index is not one of the files that were saved" % checkpoint)
