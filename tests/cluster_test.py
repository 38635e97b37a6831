"""Tests of several processes that train as one."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, cluster, input_pipeline, training_state, workers
import helpers
import replicas_test
import run_classifier

# Runs settings in JSON; the head has dropout whatever the config says.
RUN = """
import json, sys
sys.path.insert(0, %r)
import run_classifier
from bert_suite import cli, modeling
modeling.dropout = lambda x, rate: x
try:
  run_classifier.run_with(run_classifier.Settings(**json.loads(sys.argv[1])))
except cli.UserError as error:
  sys.exit("FAILED: %%s" %% error)
""" % helpers.TOP


def find_hosts(count):
  """Returns addresses on this machine whose ports are free."""
  with_ports = [socket.socket() for _ in range(count)]
  for one in with_ports:
    one.bind(("127.0.0.1", 0))
  hosts = ["127.0.0.1:%d" % one.getsockname()[1] for one in with_ports]
  for one in with_ports:
    one.close()
  return hosts


def start(settings, hosts, index, tf_config=False):
  """Starts a worker; returns its process."""
  values = dict(vars(settings), worker_hosts=",".join(hosts), task_index=index)
  environment = dict(os.environ)
  if tf_config:
    del values["worker_hosts"], values["task_index"]
    environment["TF_CONFIG"] = json.dumps({
        "cluster": {"chief": hosts[:1], "worker": hosts[1:]},
        "task": {"type": "worker", "index": index - 1} if index else
                {"type": "chief", "index": 0}})
  return subprocess.Popen(
      [sys.executable, "-c", RUN, json.dumps(values)], env=environment,
      stderr=subprocess.PIPE)


def end(process, timeout=300):
  """Returns exit status and stderr of a process, which it waits for."""
  try:
    _, stderr = process.communicate(timeout=timeout)
  finally:
    process.kill()
  return process.returncode, stderr.decode("utf-8")


@pytest.mark.slow
def test_two_processes_train_as_one_device_and_resume_after_a_kill(tmp_path):
  hosts = find_hosts(2)
  values = dict(save_checkpoints_steps=1, eval_steps=2)
  alone = replicas_test.make_settings(tmp_path, "one", **values)
  process = subprocess.Popen(
      [sys.executable, "-c", RUN, json.dumps(vars(alone))])
  if not tf.__version__.startswith("1."):  # where parts change random weights
    values.update(train_batch_size=4, gradient_accumulation_steps=3,
                  devices=["/cpu:0", "/cpu:1"], recompute_grad=True)
  together = replicas_test.make_settings(tmp_path, "two", **values)
  first = [start(together, hosts, i) for i in range(2)]
  assert process.wait(300) == 0
  checkpoint = tmp_path / "two" / "model.ckpt-2.index"
  while not checkpoint.exists() and first[0].poll() is None:
    time.sleep(0.02)
  first[1].send_signal(signal.SIGKILL)
  killed = time.time()
  status, stderr = end(first[0])
  assert time.time() - killed < 60
  if status:  # else it had taken its last step
    assert status == 1
    assert "worker 1, %s, has ended" % hosts[1] in stderr.splitlines()[-1]
  end(first[1])
  again = [start(together, hosts, i, tf_config=True) for i in range(2)]
  for one in again:
    status, stderr = end(one)
    assert status == 0, stderr
  names = [str(tmp_path / name) for name in ("one", "two")]
  figures = [dict(zip(*helpers.read_eval_results(name))) for name in names]
  replicas_test.check_runs(tmp_path, "one", figures[0], "two", figures[1])


@pytest.mark.slow
def test_workers_that_are_to_train_otherwise_say_in_what(tmp_path):
  hosts = find_hosts(2)
  make = replicas_test.make_settings
  both = [start(make(tmp_path, "out", learning_rate=rate), hosts, index)
          for index, rate in enumerate([1e-3, 5e-4])]
  for one in both:
    status, stderr = end(one)
    assert status == 1
    last = stderr.splitlines()[-1]
    assert last.startswith("FAILED: worker 1 would train different"), stderr
    assert "--learning_rate (0.0005, and 0.001 of worker 0)" in last
    assert last.endswith(" of worker 0); give all workers the same data and "
                         "flags")
  assert not list(tmp_path.glob("out/model.ckpt*"))


def test_workers_see_every_record_once(tmp_path):
  path = str(tmp_path / "numbers.tf_record")
  input_pipeline.write_examples(path, ({"x": [i]} for i in range(24)))
  found = []
  spec = {"x": tf.FixedLenFeature([], tf.int64)}
  for worker in (None, 0, 1):
    share = {} if worker is None else {
        "share": input_pipeline.Share(3, 2, worker)}
    input_fn = input_pipeline.make_input_fn(
        path, spec, True, order=training_state.State(0, seed=3))
    batches = helpers.read_batches(
        lambda params, fn=input_fn, share=share: fn(dict(params, **share)),
        12, 4)
    found.append([batch["x"].tolist() for batch in batches])
  for whole, *parts in zip(*found):
    assert [len(part) for part in parts] == [6, 6]
    # Of each of three parts of 4, the first worker has the first two.
    assert parts[0] == whole[:2] + whole[4:6] + whole[8:10]
    assert parts[1] == whole[2:4] + whole[6:8] + whole[10:]
  assert sorted(sum(found[1][:2] + found[2][:2], [])) == list(range(24))


def find(monkeypatch, tf_config="", **values):
  monkeypatch.setenv("TF_CONFIG", tf_config)
  return workers.find(run_classifier.Settings(do_train=True, **values))


def test_workers_are_those_of_flags_or_of_tf_config(monkeypatch):
  jobs = {"worker": ["a:1", "b:2"]}

  def config(kind, index, **more):
    return json.dumps({"cluster": dict(jobs, **more),
                       "task": {"type": kind, "index": index}})

  two = workers.Address(("a:1", "b:2"), 1)
  assert find(monkeypatch, worker_hosts="a:1,b:2", task_index=1) == two
  assert find(monkeypatch, config("worker", 1)) == two
  three = config("worker", 1, chief=["c:3"])
  assert find(monkeypatch, three) == workers.Address(("c:3", "a:1", "b:2"), 2)
  assert find(monkeypatch, config("chief", 0, chief=["c:3"])).index == 0
  assert find(monkeypatch) is None
  assert find(monkeypatch, '{"task": {"type": "worker"}}') is None
  assert find(monkeypatch, worker_hosts="a:1", task_index=0) is None


@pytest.mark.parametrize("tf_config, values, message", [
    ("", {"task_index": 1}, "--task_index=1: also pass --worker_hosts"),
    ("", {"worker_hosts": "a:1,b:2"}, "also pass --task_index, from 0 to 1"),
    ("", {"worker_hosts": "a:1,b:2", "task_index": 2},
     "--task_index=2: there are 2 workers, 0 to 1"),
    ("", {"worker_hosts": "a:1,b", "task_index": 0}, "found 'b', expected "),
    ("", {"worker_hosts": "a:1,b:99999", "task_index": 0}, "from 1 to 65535"),
    ("", {"worker_hosts": "a:1,b:0", "task_index": 0}, "from 1 to 65535"),
    ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": []}}', {},
     "found the task"),
    ("", {"worker_hosts": "a:1,a:1", "task_index": 0}, "found a host twice"),
    ("{", {}, "TF_CONFIG: found {, expected"),
    ('{"cluster": {"worker": ["a:1", "b:2"]}}', {}, "TF_CONFIG: found {"),
    ('{"cluster": {"worker": ["a:1"], "ps": ["b:2"]}, "task": {"type": "ps"}}',
     {}, "TF_CONFIG: found the jobs ps"),
    ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 4}}',
     {}, "TF_CONFIG: found index 4 of 1 hosts")])
def test_workers_that_make_no_sense(monkeypatch, tf_config, values, message):
  with pytest.raises(cli.UserError) as error:
    find(monkeypatch, tf_config, **values)
  assert message in str(error.value)


@pytest.mark.parametrize("values, message", [
    ({"use_tpu": True}, "cannot be combined with --use_tpu"),
    ({"num_seeds": 3}, "cannot be combined with --num_seeds"),
    ({"do_train": False}, "also pass --do_train")])
def test_what_several_processes_cannot_do(values, message):
  with pytest.raises(cli.UserError) as error:
    workers.check(run_classifier.Settings(**dict(dict(
        do_train=True, worker_hosts="a:1,b:2", task_index=0), **values)))
  assert str(error.value).startswith("--worker_hosts: ")
  assert message in str(error.value)


def test_a_port_that_is_taken_is_named():
  with socket.socket() as taken:
    taken.bind(("", 0))
    taken.listen(1)
    host = "127.0.0.1:%d" % taken.getsockname()[1]
    with pytest.raises(cli.UserError, match="worker 1: port .* cannot be used"):
      cluster.Cluster(run_classifier.Settings(
          worker_hosts="a:1," + host, task_index=1))
