"""Shows the progress of a job: a bar on a terminal, else lines in the log."""

import os
import re
import sys
import time

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf
import tqdm

from . import files

_SECONDS_BETWEEN_LINES = 10

# For callers that set `log_every`, whose details include a speed.
_FORMAT_WITH_DETAILS = (
    "{l_bar}{bar:10}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]")

# Lines that TensorFlow and the Estimator always log and that mislead a user:
# "Saving dict" shows figures that `write_results` logs and writes; "Could not
# find trained model" also comes with --init_checkpoint; "Saver not created" is
# about the graph that a Hub module's vocabulary is read from.
_MISLEADING = re.compile(
    "^Saving dict for global step|^Could not find trained model in model_dir|"
    "^Saver not created because there are no variables")

# Lines of the Estimator that are of no interest, or that repeat another line.
_CHATTER = re.compile(
    "^Using config: |^Calling checkpoint listeners|"
    "^(Done )?[Cc]alling model_fn|local_init_op|^Graph was finalized|"
    "^Create CheckpointSaverHook|^Inference Time|'checkpoint_path' summary|"
    "^Evaluation \\[|^(Starting|Finished) evaluation at|^Loss for final step|"
    "^Saving checkpoints for 0 into|^Assets |^No assets to |"
    "^SavedModel written to|^Signatures (IN|EX)CLUDED")


def quiet_logging():
  """Logs each message once, and only those lines that a user needs.

  Misleading lines are never logged, and uninteresting ones only with DEBUG
  messages. Names in them are the ones that the user passed.
  """
  logger = tf.get_logger()
  if logger.handlers:
    logger.propagate = False  # or the root logger would print it again
  logger.addFilter(_is_news)  # once, however often this is called
  logger.addFilter(_use_given_names)


def _is_news(record):
  message = record.getMessage()
  return not _MISLEADING.search(message) and (
      tf.logging.get_verbosity() <= tf.logging.DEBUG or
      not _CHATTER.search(message))


def _use_given_names(record):
  """Replaces links that were passed to TensorFlow by the user's names."""
  record.msg, record.args = files.given_names(record.getMessage()), ()
  return True


def start_logging(verbose=False):
  """Sets TensorFlow's log to what a user needs; with `verbose`, to everything.

  Args:
    verbose: bool. Logs DEBUG messages too: five examples per file, shapes, each
      variable, the Estimator's lines.
  """
  tf.logging.set_verbosity(tf.logging.DEBUG if verbose else tf.logging.INFO)


_open = []  # Progress objects that show a bar

_aside = 0.0  # seconds that are left out of all speeds
_stopped_at = None


def clock():
  """Returns the time in seconds that speeds are measured with."""
  return time.time() - _aside


def stop_clock():
  """Starts leaving time out of all speeds, for example for a checkpoint."""
  global _stopped_at
  _stopped_at = time.time()


def start_clock():
  """Starts counting time again after `stop_clock`."""
  global _aside
  _aside += time.time() - _stopped_at
  for shown in _open:
    shown.leave_out_pause()


def close_all():
  """Closes all bars that an error has left open."""
  for shown in _open[:]:
    shown.close()


def _is_terminal(stream):
  """Returns whether a bar would be visible; a terminal may have no size."""
  try:
    return stream.isatty() and os.get_terminal_size(stream.fileno()).columns > 0
  except (OSError, ValueError):
    return False


class Progress:
  """Counts what a job has done and shows it, with speed and time left.

  On a terminal it shows a bar (tqdm), elsewhere a line in TensorFlow's log from
  time to time, and nothing if INFO messages are not logged. Use it in a `with`
  statement:

    with Progress("Writing features", total=len(examples)) as progress:
      for example in examples:
        ...
        progress.advance()
  """

  def __init__(self, title, total=None, unit="examples", initial=0,
               log_every=None):
    """Starts the clock.

    Args:
      title: str. What is being done.
      total: int. Units of the whole job; None if unknown.
      unit: str. What is counted, in the plural.
      initial: int. Units that are already done.
      log_every: int. Units from one log line to the next; None for a line every
        10 seconds, and 0 for none.
    """
    self._title = title
    self._total = total
    self._unit = unit
    self._log_every = log_every
    self._done = self._logged_done = initial
    self._logged_time = clock()
    self._bar = None
    wanted = tf.logging.get_verbosity() <= tf.logging.INFO
    if wanted and log_every != 0 and _is_terminal(sys.stderr):
      self._bar = tqdm.tqdm(
          desc=title, total=total, unit=" " + unit, initial=initial,
          file=sys.stderr, dynamic_ncols=True, mininterval=0.2,
          bar_format=None if log_every is None else _FORMAT_WITH_DETAILS)
      tf.get_logger().addFilter(self._clear_for)
      _open.append(self)

  def __enter__(self):
    return self

  def __exit__(self, *unused_exception):
    self.close()

  def advance(self, count=1, details=""):
    """Counts units as done.

    Args:
      count: int.
      details: str. Figures to show beside the count.
    """
    self._done += count
    if self._bar is not None:
      self._bar.set_postfix_str(details, refresh=False)
      self._bar.update(count)
    elif self._line_is_due(count):
      self._log(details)

  def close(self):
    """Closes the bar; without one, logs the count if no line has shown it."""
    if self._bar is not None:
      tf.get_logger().removeFilter(self._clear_for)
      self._bar.close()
      self._bar = None
      _open.remove(self)
    elif self._log_every is None and self._done != self._logged_done:
      self._log("")

  def _clear_for(self, unused_record):
    """Clears the bar's line for a log line; the bar is drawn again below it."""
    self._bar.clear()
    return True

  def leave_out_pause(self):
    """Leaves the time since the bar was last drawn out of its speed."""
    self._bar.unpause()

  def _line_is_due(self, count):
    if self._log_every is None:
      return clock() - self._logged_time >= _SECONDS_BETWEEN_LINES
    if not self._log_every:
      return False
    before = self._done - count
    return (self._done // self._log_every > before // self._log_every or
            self._done == self._total)

  def _log(self, details):
    now = clock()
    seconds = max(now - self._logged_time, 1e-9)
    speed = (self._done - self._logged_done) / seconds
    parts = ["%s: %d%s %s" % (
        self._title, self._done,
        "" if self._total is None else " of %d" % self._total, self._unit)]
    if details:
      parts.append(details)
    parts.append("%.1f %s/sec" % (speed, self._unit))
    if self._total is not None and speed and self._done < self._total:
      parts.append("%s left" % tqdm.tqdm.format_interval(
          (self._total - self._done) / speed))
    tf.logging.info("%s", ", ".join(parts))
    self._logged_done, self._logged_time = self._done, now


def log_table(title, lines):
  """Logs a table under a title.

  Args:
    title: str.
    lines: list of lists of str, all of one length.
  """
  widths = [max(map(len, column)) for column in zip(*lines)]
  tf.logging.info("***** %s *****", title)
  for line in lines:
    tf.logging.info("  %s", "  ".join(
        text.rjust(width) for text, width in zip(line, widths)).rstrip())
