"""Kills runs at random moments, resumes them, and compares with whole ones.

  python benchmarks/kill.py --kills=1000 --output_dir=/tmp/kill

Three jobs, each in a process of its own that gets kill -9, and again and again
until it ends: `classifier` trains, with two batches accumulated in each step, a
checkpoint every second and an evaluation every third, keeps the best, then
evaluates, predicts and exports; `shards` writes records for pre-training;
`features` extracts vectors of texts. Then the folder is removed and the job
begins anew, until so many were killed. One kill is at any moment, the next
while a checkpoint is saved, while features are written, or results, shards or
an export, by turns of chance. After each kill everything that has its final
name must be whole, and the folder's checkpoint must be one that can be resumed
from. At the end of a job its losses, the records of each step (they carry ids),
its weights and its files must be those of a job that was not killed. A process
that is not where it is to be killed after --limit seconds has failed. (What is
checked is checked in a process of its own, since one with threads of TensorFlow
should not be forked.)

Prints how many were killed, and what they were doing, states that could not be
read, records lost or repeated, and the largest difference of a loss and of a
weight. With several cores, run it several times at once, each with another
--seed and --output_dir.
"""

import ast
import collections
import contextlib
import glob
import json
import mmap
import os
import pickle
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
    checkpoints, create_pretraining_data, extract_features, files, record_files,
    run_classifier, script_options, tokenization, training_state)

FLAGS = flags.FLAGS
SAMPLE = os.path.join(TOP, "sample_data")
VOCAB = os.path.join(SAMPLE, "sample_vocab.txt")
STEPS, BATCH_SIZE = 12, 20  # an epoch
NUM_DIGITS = 3  # of the id that each example begins with

# What a job is doing, as its process says in memory that it shares: the number
# of a stage, and how many times each has begun.
STAGES = ["computing", "saving", "writing features", "writing shards",
          "writing results", "exporting"]
SHARED = mmap.mmap(-1, 1 + len(STAGES))


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_integer("kills", 1000, "Processes to kill.", lower_bound=1)
  flags.DEFINE_string("output_dir", None, "Folder for all jobs; must be new.",
                      required=True)
  flags.DEFINE_integer("kills_per_job", 6, "At most; then the job may end.",
                       lower_bound=1)
  flags.DEFINE_integer("seed", 1, "Seed of the moments.")
  flags.DEFINE_integer("limit", 300, "Seconds for a process.", lower_bound=1)
  flags.DEFINE_list("jobs", ["classifier", "shards", "classifier", "features"],
                    "Jobs, by turns.")


def log_row(path, row):
  """Adds a row to a file, whole or not at all."""
  file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
  os.write(file, (repr(row) + "\n").encode())
  os.close(file)


@contextlib.contextmanager
def stage(name, log):
  """Says what is being done, the outermost stage, and logs how long it took."""
  number, begin = STAGES.index(name), time.time()
  if SHARED[0]:
    yield
    return
  SHARED[0] = number
  SHARED[number + 1] = (SHARED[number + 1] + 1) % 256
  try:
    yield
  finally:
    SHARED[0] = 0
    log_row(log, ("seconds", name, time.time() - begin))


def show_stages(log):
  """Has what the suite writes with say what is being done."""
  atomic_path = files.atomic_path

  @contextlib.contextmanager
  def watched_path(path):
    name = os.path.basename(path)
    with stage(
        "writing shards" if name.startswith("records-") else "writing features"
        if ".tf_record" in name or ".jsonl" in name else "writing results",
        log):
      with atomic_path(path) as temporary:
        yield temporary

  def watch(owner, name, doing):
    function = getattr(owner, name)

    def watched(*args, **kwargs):
      with stage(doing, log):
        return function(*args, **kwargs)

    setattr(owner, name, watched)

  files.atomic_path = watched_path
  watch(files, "write_version", "exporting")
  watch(training_state.Saver, "save", "saving")


def write_data(folder):
  """Writes config.json, and examples for training that begin with their ids.
  """
  shutil.copytree(SAMPLE, folder)
  with open(os.path.join(folder, "sample_config.json")) as reader:
    config = dict(json.load(reader), num_hidden_layers=1)
  files.write_json(os.path.join(folder, "config.json"), config)
  path = os.path.join(folder, "train.tsv")
  with open(path) as reader:
    header, *rows = [line.split("\t") for line in reader]
  with open(path, "w") as writer:
    writer.write("\t".join(header))
    for number, row in enumerate(rows[:STEPS * BATCH_SIZE]):
      row[3] = " ".join("%0*d" % (NUM_DIGITS, number)) + " " + row[3]
      writer.write("\t".join(row))


def log_examples(path):
  """Has a classifier log the ids of the examples of each step."""
  build = run_classifier.ClassificationTask.head
  pieces = list(tokenization.load_vocab(VOCAB))

  def head(self, features, is_training):
    if not is_training:
      return build(self, features, is_training)
    step = tf.train.get_or_create_global_step()
    log = tf.numpy_function(
        lambda step, ids: log_row(path, ("ids", int(step) + 1, [
            int("".join(pieces[one] for one in row))
            for row in ids[:, 1:1 + NUM_DIGITS].tolist()])),
        [step, features["input_ids"]], [])
    with tf.control_dependencies([log]):
      features = dict(features, input_ids=tf.identity(features["input_ids"]))
    return build(self, features, is_training)

  run_classifier.ClassificationTask.head = head


def classify(folder, log):
  """The first job."""
  log_examples(log)
  data_dir = os.path.join(FLAGS.output_dir, "data")
  settings = script_options.make(run_classifier.Settings, dict(
      task_name="MRPC", data_dir=data_dir, max_seq_length=32, vocab_file=VOCAB,
      bert_config_file=os.path.join(data_dir, "config.json"),
      do_train=True, do_eval=True, do_predict=True, num_train_epochs=1.0,
      train_batch_size=BATCH_SIZE // 2, gradient_accumulation_steps=2,
      learning_rate=1e-3, tf_random_seed=1, save_checkpoints_steps=2,
      eval_steps=3, use_best=True, log_steps=1, output_dir=folder,
      export_dir=os.path.join(folder, "export")))
  run_classifier.run_with(settings, on_log=lambda values: log_row(
      log, ("loss", values["step"], float(values["loss"]))))


def make_shards(folder, unused_log):
  """The second job."""
  create_pretraining_data.run_with(script_options.make(
      create_pretraining_data.Settings, dict(
          input_file=os.path.join(SAMPLE, "sample_text.txt"),
          output_file=os.path.join(folder, "records@4"),
          vocab_file=VOCAB, num_workers=2, dupe_factor=5)))


def extract(folder, unused_log):
  """The third job, with the model of the first one, whole."""
  extract_features.run_with(script_options.make(
      extract_features.Settings, dict(
          input_file=os.path.join(SAMPLE, "sample_text.txt"), layers="-1",
          output_file=os.path.join(folder, "features.jsonl"), vocab_file=VOCAB,
          bert_config_file=os.path.join(FLAGS.output_dir, "data/config.json"),
          max_seq_length=32, pooling="mean", init_checkpoint=os.path.join(
              FLAGS.output_dir, "classifier", "model.ckpt-%d" % STEPS))))


JOBS = {"classifier": classify, "shards": make_shards, "features": extract}


def start(job, folder, log):
  """Starts a job in a process that has TensorFlow already; returns its id."""
  SHARED[:] = bytes(len(SHARED))
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
    show_stages(log)
    JOBS[job](folder, log)
    status = 0
  except BaseException:  # noqa: BLE001  # the process ends here
    traceback.print_exc()
  finally:
    sys.stderr.flush()
    os._exit(status)


def apart(function, *args):
  """Returns what a function returns, called in a process of its own."""
  reader, writer = os.pipe()
  process = os.fork()
  if not process:
    try:
      with os.fdopen(writer, "wb") as pipe:
        pickle.dump(function(*args), pipe)
    except BaseException:  # noqa: BLE001  # the process ends here
      traceback.print_exc()
    finally:
      os._exit(0)
  os.close(writer)
  with os.fdopen(reader, "rb") as pipe:
    content = pipe.read()
  os.waitpid(process, 0)
  return pickle.loads(content)


def wait(process, seconds, number=0, count=0):
  """Waits for the end of a process; returns its status, None if it runs on.

  The seconds count from the beginning of the stage of that number, when it has
  begun that often, or from now, if it is 0.

  Raises:
    TimeoutError: it took longer than --limit.
  """
  end, last = None, time.time() + FLAGS.limit
  while True:
    found, status = os.waitpid(process, os.WNOHANG)
    if found:
      return status
    if time.time() > last:
      raise TimeoutError()
    if end is None and (not number or SHARED[number + 1] >= count):
      end = time.time() + seconds
    if end is not None and time.time() >= end:
      return None
    time.sleep(0.0005)


def choose_moment(moments, rows):
  """Returns arguments of `wait`: a random moment of a job of these rows."""
  durations = {name: values for (kind, name), values in rows.items()
               if kind == "seconds"}
  name = moments.choice(sorted(durations))
  # Early ones: what is left of a job that was killed has fewer.
  return (moments.uniform(0, moments.choice(sorted(durations[name]))),
          STAGES.index(name), moments.randint(1, min(3, len(durations[name]))))


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
  """Compares a job with one that was not killed.

  Args:
    found: pair of what `read_rows` and `read_files` return.
    whole: the same of the job that was not killed.

  Returns:
    list of names of what differs, largest difference of a loss and of a weight.
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


def count_records(rows):
  """Returns how many records a job lost, and how many it used twice."""
  used = collections.Counter(
      one for (kind, _), values in rows.items() if kind == "ids"
      for ids in values for one in ids)
  return (STEPS * BATCH_SIZE - len(used) if used else 0,
          sum(used.values()) - len(used))


def run_whole(job):
  """Runs a job to its end; returns what it logged and made."""
  folder = os.path.join(FLAGS.output_dir, job)
  log, begin = folder + ".log", time.time()
  if wait(start(job, folder, log), FLAGS.limit):
    with open(log + ".stderr") as reader:
      sys.exit("%s: failed:\n%s" % (job, reader.read()[-3000:]))
  rows = read_rows(log)
  rows["seconds", STAGES[0]].add(time.time() - begin)
  assert count_records(rows) == (0, 0), job
  return rows, apart(read_files, folder)


def kill_until_it_ends(job, whole, moments, figures):
  """Runs a job that is killed again and again; counts what comes of it."""
  folder = os.path.join(FLAGS.output_dir, "killed-" + job)
  log, status, rest = folder + ".log", None, FLAGS.kills_per_job
  while status is None:
    process = start(job, folder, log)
    try:
      status = wait(process, *(
          choose_moment(moments, whole[0]) if rest > 0 else (FLAGS.limit,)))
    except TimeoutError:
      print("%s: still not at its end after %d seconds" % (job, FLAGS.limit))
      figures["failed"] += 1
    rest -= 1
    if status is None:
      os.killpg(process, 9)
      os.waitpid(process, 0)
      figures["killed"] += 1
      figures[job, STAGES[SHARED[0]]] += 1
    elif status:
      with open(log + ".stderr") as reader:
        print("%s: ended with status %d:\n%s" % (
            job, status, reader.read()[-1000:]))
      figures["failed"] += 1
    for line in apart(find_broken, folder):
      print(line)
      figures["unreadable"] += 1
  rows = read_rows(log)
  other, loss, weight = compare((rows, apart(read_files, folder)), whole)
  for name in other:
    print("%s: %s differs" % (job, name))
  lost, repeated = count_records(rows)
  figures.update(jobs=1, differing=len(other), lost=lost, repeated=repeated)
  figures["loss"] = max(loss, figures["loss"])
  figures["weight"] = max(weight, figures["weight"])
  shutil.rmtree(folder)
  for path in glob.glob(folder + ".*"):
    os.remove(path)


def main(_):
  """Kills, compares and prints."""
  os.makedirs(FLAGS.output_dir)
  write_data(os.path.join(FLAGS.output_dir, "data"))
  whole = {job: run_whole(job) for job in JOBS}
  moments, figures = random.Random(FLAGS.seed), collections.Counter()
  begin = time.time()
  while figures["killed"] < FLAGS.kills:
    job = FLAGS.jobs[figures["jobs"] % len(FLAGS.jobs)]
    kill_until_it_ends(job, whole[job], moments, figures)
  for job in JOBS:
    for name in STAGES:
      if figures[job, name]:
        print("  %5d times %s, while %s" % (figures[job, name], job, name))
  print("%(killed)d processes killed, %(jobs)d jobs brought to their end, "
        "%(failed)d failed" % figures)
  print("%(unreadable)d states that could not be read" % figures)
  print("%(lost)d records lost, %(repeated)d repeated" % figures)
  print("%(differing)d steps or files that differ from a job that was not "
        "killed" % figures)
  print("largest difference: loss %(loss)g, weight %(weight)g" % figures)
  print("%.1f seconds per kill" % (
      (time.time() - begin) / figures["killed"]))
  if any(figures[name] for name in (
      "failed", "unreadable", "lost", "repeated", "differing", "loss",
      "weight")):
    sys.exit(1)


if __name__ == "__main__":
  define_flags()
  app.run(main)
