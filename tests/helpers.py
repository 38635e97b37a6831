"""What several test files need: logs, batches, MRPC files, runs of scripts."""

import contextlib
import glob
import gzip
import io
import json
import logging
import os
import subprocess
import sys

from absl.testing import flagsaver
import numpy as np
import tensorflow.compat.v1 as tf

from bert_suite import cli, files, input_pipeline

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
WORDS = ("[PAD] [UNK] [CLS] [SEP] [MASK] the a kettle cat sing sleep ##s ##ing "
         "is not near far it . , rains tea").split()
CONFIG = dict(vocab_size=len(WORDS), hidden_size=16, num_hidden_layers=1,
              num_attention_heads=2, intermediate_size=24,
              max_position_embeddings=20, type_vocab_size=2)
PAIRS = [("The kettle sings.", "The kettle is singing."),
         ("It rains.", "The cat is far, far, not near."),
         ("A cat sleeps", "The cat is not sleeping"),
         ("tea", "Tea is near."),
         ("The tea is far.", "It rains, it rains, it rains, it rains, tea"),
         ("Unheard of", "It is not"),
         ("The cat sleeps.", "A cat is sleeping.")]
LABELS = [1, 0, 0, 1, 1, 0, 1]


class ManualClock:
  """Stands in for the module `time`; tests set `now`, in seconds."""

  def __init__(self):
    self.now = 100.0

  def time(self):
    return self.now


@contextlib.contextmanager
def captured_log():
  """Gives a list that fills up with the lines that TensorFlow logs.

  What a script does to the logger meanwhile is undone: a handler that it adds
  would write to a stderr that pytest closes.
  """
  lines = []
  handler = logging.Handler()
  handler.emit = lambda record: lines.append(record.getMessage())
  logger = tf.get_logger()
  verbosity = tf.logging.get_verbosity()
  handlers, propagate = list(logger.handlers), logger.propagate
  tf.logging.set_verbosity(tf.logging.INFO)
  logger.addHandler(handler)
  try:
    yield lines
  finally:
    logger.handlers[:], logger.propagate = handlers, propagate
    tf.logging.set_verbosity(verbosity)


def read_batches(input_fn, batch_size, num_batches=None, seed=1):
  """Returns the batches of an input_fn, all or the first ones."""
  batches = []
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(seed)
    dataset = input_fn({"batch_size": batch_size})
    batch = tf.data.make_one_shot_iterator(dataset).get_next()
    while len(batches) != num_batches:
      try:
        batches.append(session.run(batch))
      except tf.errors.OutOfRangeError:
        break
  return batches


def save_checkpoint(path, values):
  """Writes a checkpoint of arrays; returns its prefix."""
  with tf.Graph().as_default(), tf.Session() as session:
    for name, value in values.items():
      tf.get_variable(name, initializer=np.asarray(value, np.float32))
    session.run(tf.global_variables_initializer())
    return tf.train.Saver().save(session, str(path), write_meta_graph=False)


def read_weights(checkpoint):
  """Returns a dict from the name of a checkpoint's variable to its array."""
  reader = tf.train.load_checkpoint(checkpoint)
  return {name: reader.get_tensor(name)
          for name in reader.get_variable_to_shape_map()}


def count_records(path):
  """Returns the number of records of a TFRecord file."""
  return sum(1 for _ in input_pipeline.iterate_records(path))


def newest_version(folder):
  """Returns the newest version in a folder of SavedModels; None if empty."""
  return next(iter(files.list_versions(folder)), None)


def make_variables(shapes):
  """Makes variables of zeros from (name, shape) pairs."""
  return [tf.get_variable(name, shape, initializer=tf.zeros_initializer())
          for name, shape in shapes]


def gzip_file(path):
  """Replaces a file by what gzip makes of it, of the same name; returns it."""
  with open(str(path), "rb") as reader:
    content = reader.read()
  with gzip.open(str(path), "wb") as writer:
    writer.write(content)
  return str(path)


def write_lines(path, lines):
  """Writes lines of columns, making the folder; returns the path."""
  if not os.path.isdir(os.path.dirname(str(path))):
    os.makedirs(os.path.dirname(str(path)))
  with open(str(path), "w", encoding="utf-8", newline="") as writer:
    writer.write("".join("\t".join(line) + "\n" for line in lines))
  return str(path)


def write_mrpc(folder, num_train=12):
  """Writes MRPC's files; the test set is the dev set without its labels."""
  strings = ["#1 ID", "#2 ID", "#1 String", "#2 String"]
  rows = [[str(label), "7", "8", a, b] for label, (a, b) in zip(LABELS, PAIRS)]
  write_lines(folder / "train.tsv",
              [["Quality"] + strings] + (rows * 2)[:num_train])
  write_lines(folder / "dev.tsv", [["Quality"] + strings] + rows)
  write_lines(folder / "test.tsv", [["index"] + strings] + [
      [str(i)] + row[1:] for i, row in enumerate(rows)])
  return str(folder)


def write_vocab(folder):
  return write_lines(folder / "vocab.txt", [[word] for word in WORDS])


def write_config(folder, name="bert_config.json", **changes):
  text = json.dumps(dict(CONFIG, **changes))
  return write_lines(folder / name, [[text]])


def run_script(name, arguments, **environment):
  """Runs a script in its own process; returns exit status, stdout, stderr."""
  process = subprocess.run(
      [sys.executable, os.path.join(TOP, name)] + arguments,
      capture_output=True, env=dict(os.environ, **environment))
  return (process.returncode, process.stdout.decode("utf-8"),
          process.stderr.decode("utf-8"))


def run_command(script, arguments):
  """Runs a script in this process as its command would.

  Returns:
    Exit status, and what it wrote to stderr itself (the log left out).
  """
  stderr = io.StringIO()
  argv = sys.argv
  sys.argv = [os.path.join(
      TOP, script.__name__.split(".")[-1] + ".py")] + arguments
  try:
    with flagsaver.flagsaver(), captured_log(), contextlib.redirect_stderr(
        stderr):
      cli.run(script.main, script.define_flags,
              getattr(script, "REQUIRED_FLAGS", ()))
  except SystemExit as end:
    if isinstance(end.code, str):  # as Python does when nobody catches it
      return 1, stderr.getvalue() + end.code + "\n"
    return end.code or 0, stderr.getvalue()
  finally:
    sys.argv = argv
  return 0, stderr.getvalue()


def run_main(script, arguments):
  """Runs a script's `main` in this process, with flags of its own."""
  with flagsaver.flagsaver(), captured_log():
    script.define_flags()
    cli.parse_flags([script.__name__ + ".py"] + arguments)
    script.main([])


def read_eval_results(output_dir):
  """Returns the names and the values of eval_results.txt, in their order."""
  with open(os.path.join(output_dir, "eval_results.txt")) as reader:
    pairs = [line.rstrip("\n").split(" = ") for line in reader]
  return [name for name, _ in pairs], [float(value) for _, value in pairs]


def read_events(folder):
  """Returns a dict from the tag of each number to {step: number}."""
  values = {}
  for path in sorted(glob.glob(os.path.join(folder, "events.out.tfevents.*"))):
    for event in tf.train.summary_iterator(path):
      for value in event.summary.value:
        if value.HasField("simple_value"):
          values.setdefault(value.tag, {})[event.step] = value.simple_value
  return values


def read_probabilities(output_dir):
  return np.loadtxt(os.path.join(output_dir, "test_results.tsv"),
                    delimiter="\t", ndmin=2)


def check_mrpc_results(output_dir, global_step):
  """Holds eval_results.txt against test_results.tsv, of the same examples.

  Both must have been computed in batches of 4.
  """
  probabilities = read_probabilities(output_dir)
  assert probabilities.shape == (7, 2)
  np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-6)
  losses = -np.log(probabilities[np.arange(7), LABELS])
  predicted = probabilities.argmax(axis=1)
  hits = np.sum(predicted * LABELS)
  expected = [
      ("eval_accuracy", np.mean(predicted == LABELS)),
      ("eval_f1", 2.0 * hits / (np.sum(predicted) + np.sum(LABELS))),
      ("eval_loss", np.mean(losses)),
      ("global_step", global_step),
      # That of the training loop: a mean over batches, the last one shorter.
      ("loss", (np.mean(losses[:4]) + np.mean(losses[4:])) / 2)]
  names, values = read_eval_results(output_dir)
  assert names == [name for name, _ in expected]
  np.testing.assert_allclose(values, [v for _, v in expected], atol=1e-5)


def load_variables(session, values):
  """Gives variables values, in one run: `Variable.load` takes one for each.

  Args:
    session: tf.Session.
    values: dict from variable to array.
  """
  session.run([variable.initializer for variable in values],
              {variable.initializer.inputs[1]: value
               for variable, value in values.items()})
