"""What a training resumes from, beside the weights."""

import json
import os

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import training_state
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
  state = training_state.find_state(None, 0, 8, 5)
  assert state == (0, 0, 8, 5, True)
  seeds = {training_state.find_state(None, 0, 8, None).seed for _ in range(5)}
  assert len(seeds) == 5


def test_a_checkpoint_knows_position_and_seed(tmp_path):
  checkpoint = save(tmp_path, [12])
  # 400 examples before step 10, and two steps of 8.
  assert training_state.find_state(checkpoint, 12, 32, 99) == (
      12, 416, 32, 5, True)


def test_a_change_of_the_batch_size_counts_from_where_it_was_made():
  state = STATE.at(20)
  assert state.position == 480
  assert state._replace(batch_size=2).at(21).position == 482


def test_a_checkpoint_of_an_older_version_is_resumed_by_skipping(tmp_path):
  checkpoint = save(tmp_path, [12])
  os.remove(checkpoint + ".state.json")
  with helpers.captured_log() as lines:
    state = training_state.find_state(checkpoint, 12, 32, 99)
  assert state == (12, 12 * 32, 32, 99, False)
  assert "was saved by an older version" in lines[0]


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


@pytest.mark.parametrize("content", [
    "", "[]", "{", json.dumps(dict(step=1, position="1", seed=1, files={})),
    json.dumps(dict(step=1, position=1, seed=1, is_ordered=True,
                    files={"a": ["1", 2]}))])
def test_a_damaged_state_is_named(tmp_path, content):
  checkpoint = save(tmp_path, [1])
  with open(checkpoint + ".state.json", "w") as writer:
    writer.write(content)
  with pytest.raises(ValueError, match="state.json: is damaged; restore it"):
    training_state.find_state(checkpoint, 1, 8, None)
