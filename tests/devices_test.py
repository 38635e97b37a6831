"""Tests of devices: data types that are refused, and when XLA compiles."""

import builtins
import io
import os
import socket
import types

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, devices, environment, run_settings, xla
from helpers import captured_log

NEW = not tf.__version__.startswith("1.")  # compiles functions


def make_settings(use_xla="auto", use_tpu=False, compute_dtype="float32",
                  xla_cache_dir=""):
  return types.SimpleNamespace(
      use_xla=use_xla, use_tpu=use_tpu, compute_dtype=compute_dtype,
      xla_cache_dir=xla_cache_dir)


def find(monkeypatch, *capabilities):
  """Has TensorFlow find GPUs of compute capabilities."""
  gpus = [types.SimpleNamespace(name="GPU:%d" % i, capability=capability)
          for i, capability in enumerate(capabilities)]
  monkeypatch.setattr(environment, "find_gpus", lambda: gpus)
  monkeypatch.setattr(
      tf.config.experimental, "get_device_details",
      lambda gpu: {"compute_capability": gpu.capability}, raising=False)


def check_compute_dtype(name, message):
  """Checks that a data type is refused with a message, or, for None, is not."""
  settings = make_settings(compute_dtype=name)
  if not message:
    devices.check_compute_dtype(settings)
    return
  with pytest.raises(cli.UserError, match=message):
    devices.check_compute_dtype(settings)


def test_auto_compiles_on_a_gpu_only(monkeypatch):
  find(monkeypatch)
  assert not devices.uses_xla(make_settings())
  find(monkeypatch, (9, 0))
  monkeypatch.setattr(xla, "find_fault", lambda on_gpu: "")
  assert devices.uses_xla(make_settings()) == NEW
  assert not devices.uses_xla(make_settings(use_xla=False))
  assert not devices.uses_xla(make_settings(use_tpu=True))


@pytest.mark.skipif(not NEW, reason="compiles no functions")
def test_auto_says_why_it_does_not_compile(monkeypatch):
  find(monkeypatch, (9, 0))
  monkeypatch.setattr(xla, "find_fault", lambda on_gpu: "libdevice not found")
  with captured_log() as lines:
    assert not devices.uses_xla(make_settings())
    devices.check(make_settings())
  assert len(lines) == 1 and lines[0].endswith(": libdevice not found")


@pytest.mark.skipif(not NEW, reason="refused")
@pytest.mark.parametrize("gpus", [[], [(9, 0)]])
def test_compiling_that_cannot_be_is_refused(monkeypatch, gpus):
  find(monkeypatch, *gpus)
  monkeypatch.setattr(
      xla, "find_fault", lambda on_gpu: "no files" * (on_gpu == bool(gpus)))
  with pytest.raises(cli.UserError, match=r"not compile here \(no files\)"):
    devices.check(make_settings(use_xla=True))


def test_tpus_are_refused():
  with pytest.raises(cli.UserError, match="TPUs always compile"):
    devices.uses_xla(make_settings(use_xla=True, use_tpu=True))


@pytest.mark.skipif(not NEW, reason="compiles no functions")
def test_on_a_cpu_compiling_is_warned_of(monkeypatch):
  find(monkeypatch)
  with captured_log() as lines:
    devices.check(make_settings())
    devices.check(make_settings(use_xla=False))
  assert not lines
  with captured_log() as lines:
    devices.check(make_settings(use_xla=True))
  assert len(lines) == 1 and "--use_xla" in lines[0]


@pytest.mark.skipif(NEW, reason="compiles functions")
def test_old_versions_are_refused():
  with pytest.raises(cli.UserError, match="TensorFlow 2.5 or later"):
    devices.check(make_settings(use_xla=True))
  with pytest.raises(cli.UserError, match="TensorFlow 2.5 or later"):
    devices.check(make_settings(compute_dtype="bfloat16"))


@pytest.mark.skipif(not NEW, reason="refused")
@pytest.mark.parametrize("name, capability, message", [
    ("bfloat16", (8, 0), None),
    ("bfloat16", (7, 5), "GPU:0 has compute capability 7.5"),
    ("float16", (7, 5), None),
    ("float16", (6, 1), "needs 7.0"),
    ("half", (8, 0), "expected float32, bfloat16, float16 or int8")])
def test_data_types_that_a_gpu_computes_slowly_are_refused(
    monkeypatch, name, capability, message):
  find(monkeypatch, capability)
  check_compute_dtype(name, message)


@pytest.mark.skipif(not NEW, reason="refused")
@pytest.mark.parametrize("name, flags, onednn, message", [
    ("bfloat16", "avx2 avx512_bf16", None, None),
    ("bfloat16", "avx2 amx_bf16", None, None),
    ("bfloat16", "avx2 avx512f", None, "none of avx512_bf16, amx_bf16"),
    ("bfloat16", "avx2 amx_bf16", "0", "leave TF_ENABLE_ONEDNN_OPTS=0 out"),
    ("float16", "avx2 amx_bf16", None, "use bfloat16")])
def test_data_types_that_a_cpu_computes_slowly_are_refused(
    monkeypatch, name, flags, onednn, message):
  find(monkeypatch)
  monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn or "1")
  monkeypatch.setattr(
      builtins, "open", lambda path: io.StringIO("flags : " + flags))
  check_compute_dtype(name, message)


def test_tpus_compute_in_bfloat16():
  devices.check_compute_dtype(
      make_settings(compute_dtype="bfloat16", use_tpu=True))
  with pytest.raises(cli.UserError, match="TPUs compute in bfloat16"):
    devices.check_compute_dtype(
        make_settings(compute_dtype="float16", use_tpu=True))


@pytest.mark.parametrize("given", [
    None, "--tf_xla_auto_jit=2", "options.txt",
    "--tf_xla_persistent_cache_directory=/other"])
def test_options_given_to_tensorflow_stay(monkeypatch, tmp_path, given):
  monkeypatch.setattr(tf, "__version__", "2.20.0")
  monkeypatch.setenv("TF_XLA_FLAGS", "")  # so that it is as before after all
  if given:
    monkeypatch.setenv("TF_XLA_FLAGS", given)
  devices.keep_programs(make_settings(True, xla_cache_dir=str(tmp_path)))
  ours = "--tf_xla_persistent_cache_directory=%s" % (tmp_path / "2.20.0")
  assert os.environ["TF_XLA_FLAGS"] == {
      None: ours,
      "--tf_xla_auto_jit=2": "--tf_xla_auto_jit=2 " + ours,
  }.get(given, given)


@pytest.mark.parametrize("version, use_xla", [
    ("2.15.1", True), ("2.20.0", "auto")])
def test_programs_are_kept_only_where_they_can_be(
    monkeypatch, tmp_path, version, use_xla):
  monkeypatch.setattr(tf, "__version__", version)
  monkeypatch.setattr(devices, "_DRIVER", str(tmp_path / "none"))
  monkeypatch.setenv("TF_XLA_FLAGS", "")  # so that it is as before after all
  devices.keep_programs(make_settings(use_xla, xla_cache_dir=str(tmp_path)))
  assert not os.environ["TF_XLA_FLAGS"] and not list(tmp_path.iterdir())


def test_the_log_says_how_a_run_computes(monkeypatch):
  monkeypatch.setattr(environment, "find_gpus", lambda: [])
  with captured_log() as lines:
    run_settings.log_device(make_settings(use_xla=NEW))
    run_settings.log_device(make_settings(
        use_xla="auto", use_tpu=True, compute_dtype="bfloat16"))
  assert (", compiled by XLA;" in lines[0]) == NEW
  assert lines[1] == "Running on TPU, in bfloat16"


def test_a_server_that_does_not_answer_yet_is_waited_for(monkeypatch):
  server = socket.socket()
  server.bind(("localhost", 0))
  master = "grpc://localhost:%d" % server.getsockname()[1]
  waits = []

  def sleep(seconds):
    waits.append(seconds)
    if len(waits) == 2:
      server.listen(1)

  monkeypatch.setattr(devices, "time", types.SimpleNamespace(sleep=sleep))
  with captured_log() as lines:
    devices.wait_for_server(master)
  server.close()
  assert len(waits) == 2
  line, = [line for line in lines if line.startswith("--master=")]
  assert line.startswith(master.join(["--master=", ": nothing answers there"]))


@pytest.mark.parametrize("master", [None, "", "local", "grpc://a:1,grpc://b:2"])
def test_other_masters_are_left_to_tensorflow(monkeypatch, master):
  monkeypatch.setattr(devices.socket, "create_connection", None)
  devices.wait_for_server(master)
