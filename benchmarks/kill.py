"""Kills runs at random moments, resumes them, and compares with whole ones.

  python benchmarks/kill.py --kills=1000 --output_dir=/tmp/kill

Two jobs on the sample data, each in a process of its own that gets kill -9
after a random time, and again and again until it ends: `classifier` trains
(with a checkpoint every second step), evaluates, predicts and exports; `shards`
writes records for pre-training. Then the folder is removed and the job begins
anew, until so many were killed. After each kill everything that has its final
name must be whole, and the folder's checkpoint must be one that can be resumed
from. At the end of a job its losses, the examples of each step, its weights and
its files must be those of a job that was not killed.

Prints how many were killed, and where, states that could not be read, steps
with other examples, and the largest difference of a loss and of a weight.
"""

import ast
import collections
import glob
import json
import os
import random
import shutil
import sys
import time
import traceback

from absl import app, flags
import numpy as np
import tensorflow.compat.v1 as tf

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, TOP)

from bert_suite import (  # noqa: E402  # found through the path above
    checkpoints, create_pretraining_data, record_files, run_classifier,
    script_options)

FLAGS = flags.FLAGS
SAMPLE = os.path.join(TOP, "sample_data")
STEPS, BATCH_SIZE = 12, 50  # of 600 examples: an epoch


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_integer("kills", 1000, "Processes to kill.", lower_bound=1)
  flags.DEFINE_string("output_dir", None, "Folder for all jobs; must be new.",
                      required=True)
  flags.DEFINE_integer("seed", 1, "Seed of the moments.")
  flags.DEFINE_list("jobs", ["classifier", "shards"], "Jobs, by turns.")


def log_row(path, row):
  """Adds a row to a file, whole or not at all."""
  file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
  os.write(file, (repr(row) + "\n").encode())
  os.close(file)


def log_examples(path):
  """Has a classifier log the examples of each step, by their word pieces."""
  build = run_classifier.ClassificationTask.head

  def head(self, features, is_training):
    if not is_training:
      return build(self, features, is_training)
    step = tf.train.get_or_create_global_step()
    log = tf.numpy_function(
        lambda step, ids: log_row(path, ("ids", int(step) + 1, [
            hash(tuple(row)) for row in ids.tolist()])),
        [step, features["input_ids"]], [])
    with tf.control_dependencies([log]):
      features = dict(features, input_ids=tf.identity(features["input_ids"]))
    return build(self, features, is_training)

  run_classifier.ClassificationTask.head = head


def classify(folder, log):
  """The first job."""
  log_examples(log)
  settings = script_options.make(run_classifier.Settings, dict(
      task_name="MRPC", data_dir=SAMPLE, max_seq_length=32,
      vocab_file=os.path.join(SAMPLE, "sample_vocab.txt"),
      bert_config_file=os.path.join(SAMPLE, "sample_config.json"),
      do_train=True, do_eval=True, do_predict=True, num_train_epochs=1.0,
      train_batch_size=BATCH_SIZE, learning_rate=1e-3, tf_random_seed=1,
      save_checkpoints_steps=2, log_steps=1, output_dir=folder,
      export_dir=os.path.join(folder, "export")))
  run_classifier.run_with(settings, on_log=lambda values: log_row(
      log, ("loss", values["step"], float(values["loss"]))))


def make_shards(folder, unused_log):
  """The second job."""
  create_pretraining_data.run_with(script_options.make(
      create_pretraining_data.Settings, dict(
          input_file=os.path.join(SAMPLE, "sample_text.txt"),
          output_file=os.path.join(folder, "records@4"),
          vocab_file=os.path.join(SAMPLE, "sample_vocab.txt"),
          num_workers=2, dupe_factor=5)))


JOBS = {"classifier": classify, "shards": make_shards}


def start(job, folder, log):
  """Starts a job in a process that has TensorFlow already; returns its id."""
  process = os.fork()
  if process:
    return process
  status = 1
  try:
    os.setpgid(0, 0)  # so that its workers are killed with it
    output = os.open(log + ".stderr", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.makedirs(folder, exist_ok=True)
    JOBS[job](folder, log)
    status = 0
  except BaseException:  # noqa: BLE001  # the process ends here
    traceback.print_exc()
  finally:
    sys.stderr.flush()
    os._exit(status)


def wait(process, seconds):
  """Waits for the end of a process; returns its status, None if it runs on."""
  end = time.time() + seconds
  while True:
    found, status = os.waitpid(process, os.WNOHANG)
    if found:
      return status
    if time.time() > end:
      return None
    time.sleep(0.005)


def find_broken(folder):
  """Returns what is there under its final name and not whole, a list of str."""
  broken = []
  for path in glob.glob(os.path.join(folder, "**"), recursive=True):
    name = os.path.basename(path)
    if os.path.isdir(path) or "_temp/" in path:
      continue
    try:
      if name.endswith(".json"):
        with open(path) as reader:
          json.load(reader)
      elif "tf_record" in name or name.startswith("records-"):
        for _ in record_files._read_records(path):
          pass
      elif name == "saved_model.pb":
        names = os.listdir(os.path.dirname(path))
        if not {"variables", "assets"} <= set(names):
          raise ValueError("%s lacks files: %s" % (path, names))
    except (ValueError, OSError, tf.errors.OpError) as error:
      broken.append("%s: %s" % (path, error))
  try:
    with tf.Graph().as_default():
      checkpoint = checkpoints.find_checkpoint(folder)
      if checkpoint:
        checkpoints.check_readable(checkpoint)
  except ValueError as error:
    broken.append(str(error))
  return broken


def read_rows(log):
  """Returns the rows of a job's log, sets of values by kind and step."""
  rows = collections.defaultdict(set)
  if os.path.exists(log):
    with open(log) as reader:
      for line in reader:
        kind, step, value = ast.literal_eval(line)
        rows[kind, step].add(tuple(value) if kind == "ids" else value)
  return rows


def read_files(folder):
  """Returns what a job has made: arrays by variable, and bytes by file."""
  made = {}
  checkpoint = checkpoints.find_checkpoint(folder)
  if checkpoint:
    reader = checkpoints.open_checkpoint(checkpoint)
    made.update((name, reader.get_tensor(name))
                for name in reader.get_variable_to_shape_map())
  for pattern in ("*.tsv", "*.txt", "records-*", "*.tf_record"):
    for path in glob.glob(os.path.join(folder, pattern)):
      with open(path, "rb") as reader:
        made[os.path.basename(path)] = reader.read()
  return made


def compare(found, whole):
  """Counts what differs from a job that was not killed.

  Args:
    found: pair of what `read_rows` and `read_files` return.
    whole: the same of the job that was not killed.

  Returns:
    other: list of str, names of what is not the same.
    loss: float, the largest difference of a loss.
    weight: float, the largest difference of a weight.
  """
  (rows, made), (all_rows, all_made) = found, whole
  other = ["%s of step %s" % key for key in sorted(set(rows) | set(all_rows))
           if key[0] == "ids" and rows[key] != all_rows[key]]
  other += ["no %s" % name for name in sorted(set(all_made) - set(made))]
  other += [name for name, value in sorted(made.items()) if isinstance(
      value, bytes) and value != all_made.get(name)]
  # A kill between saving a step and logging its loss leaves none of it.
  loss = max([abs(x - y) for key in all_rows if key[0] == "loss"
              for x in rows[key] for y in all_rows[key]] + [0.0])
  weight = max([np.max(np.abs(made[name] - value), initial=0.0)
                for name, value in all_made.items()
                if not isinstance(value, bytes) and name in made] + [0.0])
  return other, loss, float(weight)


def find_stage(folder):
  """Returns what a killed job was doing, by what it has left."""
  names = [os.path.relpath(path, folder) for path in glob.glob(
      os.path.join(folder, "**"), recursive=True)]
  hidden = [name for name in os.listdir(folder) if name.endswith(".tmp")
            ] if os.path.isdir(folder) else []
  for stage, sign in (
      ("while exporting", "export/"), ("while predicting", "eval_results.txt"),
      ("while saving", "_temp"), ("while training", "model.ckpt"),
      ("between shards", "records-"), ("between records", "tf_record")):
    if any(sign in name for name in names):
      return stage
  return "while writing records" if hidden else "before writing"


def run_whole(job, folder):
  """Runs a job to its end; returns its seconds, and what it logged and made."""
  log, begin = folder + ".log", time.time()
  if wait(start(job, folder, log), 600):
    with open(log + ".stderr") as reader:
      sys.exit("%s: failed:\n%s" % (job, reader.read()[-3000:]))
  return time.time() - begin, (read_rows(log), read_files(folder))


def main(_):
  """Kills, compares and prints."""
  os.makedirs(FLAGS.output_dir)
  moments, figures = random.Random(FLAGS.seed), collections.Counter()
  loss = weight = 0.0
  whole = {job: run_whole(job, os.path.join(FLAGS.output_dir, "whole-" + job))
           for job in FLAGS.jobs}
  while figures["killed"] < FLAGS.kills:
    job = FLAGS.jobs[figures["jobs"] % len(FLAGS.jobs)]
    seconds, expected = whole[job]
    folder = os.path.join(FLAGS.output_dir, "killed-" + job)
    log, status = folder + ".log", None
    while status is None:
      process = start(job, folder, log)
      status = wait(process, moments.uniform(0, seconds))
      if status is None:
        os.killpg(process, 9)
        os.waitpid(process, 0)
        figures["killed"] += 1
        figures[job + " " + find_stage(folder)] += 1
      elif status:
        with open(log + ".stderr") as reader:
          print("%s: ended with status %d:\n%s" % (
              job, status, reader.read()[-1000:]))
        figures["failed"] += 1
      for line in find_broken(folder):
        print(line)
        figures["states that could not be read"] += 1
    other, most, farthest = compare(
        (read_rows(log), read_files(folder)), expected)
    for name in other:
      print("%s: %s differs" % (job, name))
    figures["differing"] += len(other)
    loss, weight = max(loss, most), max(weight, farthest)
    figures["jobs"] += 1
    shutil.rmtree(folder)
    for ending in ("", ".stderr"):
      if os.path.exists(log + ending):
        os.remove(log + ending)
  for stage, count in sorted(figures.items()):
    if " " in stage and stage.split()[0] in JOBS:
      print("  %5d times %s" % (count, stage))
  print("%d processes killed, %d jobs brought to their end, %d failed" % (
      figures["killed"], figures["jobs"], figures["failed"]))
  print("%d states that could not be read" %
        figures["states that could not be read"])
  print("%d steps or files that differ from a job that was not killed" %
        figures["differing"])
  print("largest difference: loss %g, weight %g" % (loss, weight))
  if (figures["failed"] or figures["states that could not be read"] or
      figures["differing"] or loss or weight):
    sys.exit(1)


if __name__ == "__main__":
  define_flags()
  app.run(main)
