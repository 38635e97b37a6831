"""MRPC over several seeds: what a checkpoint is worth, and what padding is not.

  python benchmarks/mrpc_seeds.py --data_dir=glue/MRPC \
    --vocab_file=vocab.txt --bert_config_file=bert_config.json \
    --init_checkpoint=bert_model.ckpt --output_dir=mrpc_seeds

Fine-tunes with run_classifier.py (3 epochs, batch 32, learning rate 3e-4) from
the checkpoint and from random weights, padded and packed, with the seeds 1 to
--seeds each: 20 runs by default. Results stay in --output_dir, a folder per run
with eval_results.txt, seconds.txt and log.txt; a run that is there is not
repeated, so the command may be interrupted and given again.

Prints a line per run as it ends and then, for dev accuracy, F1 and seconds of
each start and padding, mean +- sample standard deviation (min to max); and
whether the means of padded and packed runs differ by no more than the larger of
their two standard deviations.
"""

import collections
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

from absl import app, flags

import suite_scripts

FLAGS = flags.FLAGS

RUN_CLASSIFIER = os.path.join(suite_scripts.TOP, "run_classifier.py")

STARTS = ("checkpoint", "random")
PADDINGS = collections.OrderedDict([("padded", "false"), ("packed", "true")])
METRICS = collections.OrderedDict([("accuracy", "eval_accuracy"),
                                   ("F1", "eval_f1")])

# Flags that go to run_classifier.py as they are. Results of runs that differ in
# any of them do not belong in one table.
PASSED_ON = ("data_dir",) + tuple(
    name for name in suite_scripts.PASSED_ON if name != "init_checkpoint")


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_string("data_dir", None, "Folder with MRPC's train.tsv and "
                      "dev.tsv.", required=True)
  suite_scripts.define_training_flags(3e-4, 3.0)
  flags.DEFINE_integer("seeds", 5, "Seeds to try, from 1 on.", lower_bound=1)


Result = collections.namedtuple("Result", ["accuracy", "F1", "seconds"])


def read_result(run_dir):
  """Reads a finished run; raises ValueError where a metric is missing."""
  path = os.path.join(run_dir, "eval_results.txt")
  values = suite_scripts.read_results(path)
  for key in METRICS.values():
    if key not in values:
      raise ValueError("%s: found no line \"%s = ...\"" % (path, key))
  with open(os.path.join(run_dir, "seconds.txt")) as reader:
    seconds = float(reader.read())
  return Result(*[values[key] for key in METRICS.values()] + [seconds])


def run_once(run_dir, start, padding, seed):
  """Trains and evaluates once, unless `run_dir` holds the result already.

  The run works beside `run_dir`, which appears once it is complete: without the
  checkpoints, which take much room, and the TFRecord files.

  Args:
    run_dir: str. Folder for the result.
    start: one of STARTS.
    padding: one of PADDINGS.
    seed: int.

  Returns:
    Result.
  """
  if os.path.exists(os.path.join(run_dir, "eval_results.txt")):
    return read_result(run_dir)
  work_dir = run_dir + ".unfinished"
  # Whatever an interrupted run left would be taken up at its last checkpoint.
  shutil.rmtree(work_dir, ignore_errors=True)
  os.makedirs(work_dir)
  command = [
      sys.executable, RUN_CLASSIFIER, "--task_name=MRPC", "--do_train=true",
      "--do_eval=true", "--output_dir=" + work_dir,
      "--remove_padding=" + PADDINGS[padding], "--tf_random_seed=%d" % seed,
      # One checkpoint, at the end.
      "--save_checkpoints_steps=1000000000", "--keep_checkpoint_max=1"]
  command += ["--%s=%s" % item
              for item in suite_scripts.values_of(PASSED_ON).items()]
  if start == "checkpoint":
    command.append("--init_checkpoint=" + FLAGS.init_checkpoint)

  log_path = os.path.join(work_dir, "log.txt")
  started = time.time()
  with open(log_path, "w") as log:
    status = subprocess.call(command, stdout=log, stderr=subprocess.STDOUT)
  seconds = time.time() - started
  if status:
    with open(log_path, errors="replace") as log:
      last = collections.deque((line for line in log if line.strip()), maxlen=1)
    sys.exit("run_classifier.py ended with status %d; see %s, which ends:\n%s" %
             (status, log_path, "".join(last).rstrip()))

  with open(os.path.join(work_dir, "seconds.txt"), "w") as writer:
    writer.write("%.1f\n" % seconds)
  result = read_result(work_dir)
  for name in os.listdir(work_dir):
    path = os.path.join(work_dir, name)
    if os.path.isdir(path):
      shutil.rmtree(path)
    elif name not in ("eval_results.txt", "seconds.txt", "log.txt"):
      os.remove(path)
  os.rename(work_dir, run_dir)
  return result


def check_settings(names):
  """Notes flags in --output_dir; stops if other values are noted there."""
  settings = {name: FLAGS[name].value for name in names}
  path = os.path.join(FLAGS.output_dir, "settings.json")
  if os.path.exists(path):
    with open(path) as reader:
      noted = json.load(reader)
    for name in sorted(settings):
      if noted.get(name) != settings[name]:
        sys.exit("%s: the runs in there have --%s=%s, this command has %s; "
                 "give another --output_dir" % (path, name, noted.get(name),
                                                settings[name]))
    return
  os.makedirs(FLAGS.output_dir, exist_ok=True)
  with open(path, "w") as writer:
    json.dump(settings, writer, indent=2, sort_keys=True)


def spread(values, form):
  """Returns "mean +- sample standard deviation (min to max)"."""
  deviation = form % statistics.stdev(values) if len(values) > 1 else "?"
  return "%s +- %s (%s to %s)" % (form % statistics.mean(values), deviation,
                                  form % min(values), form % max(values))


def compare(start, metric, padded, packed):
  """Returns a line on whether two lists agree within their spread."""
  difference = abs(statistics.mean(padded) - statistics.mean(packed))
  line = "%s, %s: the means of padded and packed differ by %.4f" % (
      start, metric, difference)
  if len(padded) < 2:
    return line + "; a spread needs two seeds"
  larger = max(statistics.stdev(padded), statistics.stdev(packed))
  return "%s, %s the spread of %.4f" % (
      line, "within" if difference <= larger else "MORE than", larger)


def report(results):
  """Prints the table and the comparison.

  Args:
    results: dict from (start, padding) to list of Result.
  """
  row = "%-10s  %-7s  %-36s  %-36s  %s"
  print("\n%d seed(s), mean +- sample standard deviation (min to max)" %
        FLAGS.seeds)
  print(row % ("start", "padding", "dev accuracy", "dev F1", "seconds per run"))
  for (start, padding), runs in results.items():
    print(row % (start, padding, spread([r.accuracy for r in runs], "%.4f"),
                 spread([r.F1 for r in runs], "%.4f"),
                 spread([r.seconds for r in runs], "%.0f")))
  print()
  for start in STARTS:
    for metric in METRICS:
      print(compare(start, metric, *[
          [getattr(r, metric) for r in results[start, padding]]
          for padding in PADDINGS]))


def main(_):
  """Runs every start and padding with every seed, then reports."""
  check_settings(PASSED_ON + ("init_checkpoint",))
  results = collections.OrderedDict(
      ((start, padding), []) for start in STARTS for padding in PADDINGS)
  # By seed first: padded and packed runs take turns, so that a machine whose
  # speed drifts does not favour one of them.
  for seed in range(1, FLAGS.seeds + 1):
    for (start, padding), runs in results.items():
      name = "%s_%s_seed%d" % (start, padding, seed)
      runs.append(run_once(
          os.path.join(FLAGS.output_dir, name), start, padding, seed))
      print("%s: accuracy %.4f, F1 %.4f, %.0f s" % ((name,) + runs[-1]),
            flush=True)
  report(results)


if __name__ == "__main__":
  define_flags()
  app.run(main)
