"""Tests of progress: a bar on a terminal, lines elsewhere."""

import io
import os
import sys
import types

import pytest
import tensorflow.compat.v1 as tf

from bert_suite import cli, progress
from helpers import ManualClock, captured_log


def make_terminal(monkeypatch):
  """Has a terminal stand in for stderr; returns what is written to it."""
  stream = io.StringIO()
  monkeypatch.setattr(sys, "stderr", stream)
  monkeypatch.setattr(progress, "_is_terminal", lambda unused_stream: True)
  return stream


def shown_on_terminal(monkeypatch, **kwargs):
  """Returns what a terminal got of a job of four steps, and the log."""
  terminal = make_terminal(monkeypatch)
  with captured_log() as lines:
    with progress.Progress("Training", 4, "steps", **kwargs) as shown:
      for step in range(4):
        shown.advance(details="loss %d" % (4 - step))
  return terminal.getvalue(), lines


def test_a_terminal_has_one_line_that_is_updated(monkeypatch):
  text, lines = shown_on_terminal(monkeypatch, log_every=1)
  assert lines == []
  states = text.split("\r")
  assert "Training:   0%" in states[1]
  assert "Training: 100%" in states[-1]
  assert "4/4 [" in states[-1]
  assert "loss 1" in states[-1]
  assert text.count("\n") == 1  # at the end, so that the shell goes on below


def test_a_terminal_shows_nothing_with_log_steps_0(monkeypatch):
  assert shown_on_terminal(monkeypatch, log_every=0) == ("", [])


def test_nothing_is_shown_where_info_is_not_logged(monkeypatch):
  terminal = make_terminal(monkeypatch)
  with captured_log() as lines:
    tf.logging.set_verbosity(tf.logging.WARN)
    with progress.Progress("Predicting", 2) as shown:
      shown.advance(2)
  assert (terminal.getvalue(), lines) == ("", [])


def test_an_error_ends_the_bar_before_its_text(monkeypatch):
  terminal = make_terminal(monkeypatch)

  def fail():
    progress.Progress("Training", 4, "steps", log_every=1).advance()
    raise cli.UserError("no room")

  with captured_log(), pytest.raises(cli.UserError):
    cli.call_here(types.SimpleNamespace(), fail)
  with pytest.raises(SystemExit):
    cli._exit("script.py", "no room", 1)
  bar, text, end = terminal.getvalue().split("\n")
  assert "Training:  25%" in bar
  assert (text, end) == ("script.py: no room", "")


def test_a_terminal_without_a_size_has_no_bar():
  class Stream:

    def isatty(self):
      return True

    def fileno(self):
      return writer

  reader, writer = os.pipe()  # which has no size
  try:
    assert not progress._is_terminal(Stream())
  finally:
    os.close(reader)
    os.close(writer)


def test_a_log_line_wipes_the_bar_first(monkeypatch):
  make_terminal(monkeypatch)
  cleared = []
  with captured_log() as lines:
    with progress.Progress("Predicting", 2) as shown:
      monkeypatch.setattr(shown._bar, "clear", lambda: cleared.append(1))
      tf.logging.info("a message")
      assert cleared == [1]
    tf.logging.info("after the bar")
    assert cleared == [1]
  assert lines == ["a message", "after the bar"]


def test_elsewhere_lines_come_every_ten_seconds_and_at_the_end(monkeypatch):
  clock = ManualClock()
  monkeypatch.setattr(progress, "time", clock)
  with captured_log() as lines:
    with progress.Progress("Writing features", 100) as shown:
      for _ in range(5):
        clock.now += 4
        shown.advance(10)
  assert lines == [
      "Writing features: 30 of 100 examples, 2.5 examples/sec, 00:28 left",
      "Writing features: 50 of 100 examples, 2.5 examples/sec, 00:20 left"]


@pytest.mark.parametrize("is_terminal", [True, False])
def test_what_happens_while_the_clock_stands_still_is_no_work(
    monkeypatch, is_terminal):
  clock = ManualClock()
  monkeypatch.setattr(progress, "time", clock)
  terminal = make_terminal(monkeypatch) if is_terminal else None
  with captured_log() as lines:
    with progress.Progress("Training", 40, "steps", log_every=10) as shown:
      if is_terminal:
        monkeypatch.setattr(shown._bar, "_time", clock.time)
        shown._bar.start_t = shown._bar.last_print_t = clock.now
      for _ in range(2):
        clock.now += 5
        shown.advance(10)
        progress.stop_clock()
        clock.now += 1000
        progress.start_clock()
      clock.now += 5
      shown.advance(10)
  if is_terminal:
    assert "30/40 [00:15<00:05" in terminal.getvalue()
  else:
    assert [line.split(", ")[1] for line in lines] == ["2.0 steps/sec"] * 3


def test_an_unknown_total_is_left_out(monkeypatch):
  clock = ManualClock()
  monkeypatch.setattr(progress, "time", clock)
  with captured_log() as lines:
    with progress.Progress("Reading", unit="lines") as shown:
      clock.now += 2
      shown.advance(7)
  assert lines == ["Reading: 7 lines, 3.5 lines/sec"]


def test_a_line_every_n_units(monkeypatch):
  clock = ManualClock()
  monkeypatch.setattr(progress, "time", clock)
  with captured_log() as lines:
    with progress.Progress("Training", 10, "steps", initial=4,
                           log_every=3) as shown:
      for _ in range(6):
        clock.now += 1
        shown.advance(details="loss 1")
  assert lines == [
      "Training: 6 of 10 steps, loss 1, 1.0 steps/sec, 00:04 left",
      "Training: 9 of 10 steps, loss 1, 1.0 steps/sec, 00:01 left",
      "Training: 10 of 10 steps, loss 1, 1.0 steps/sec"]
