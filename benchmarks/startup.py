"""Start-up: how long --help takes, and a training up to its second step.

  python benchmarks/startup.py

Prints the environment; of every script the seconds of `--help`, beside those of
`import tensorflow` in the same interpreter; and of run_classifier.py, which
fine-tunes on made-up sentences from a checkpoint of random weights, the seconds
from the start of the process to the end of the second step, part by part, for
the shapes of BERT-Tiny and BERT-Base. Everything is a process of its own,
--runs times; the seconds are medians.
"""

import collections
import glob
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

FLAGS = flags.FLAGS

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
VOCAB_FILE = os.path.join(TOP, "sample_data", "sample_vocab.txt")

SHAPES = collections.OrderedDict(
    [("BERT-Tiny", (2, 128)), ("BERT-Base", (12, 768))])
VOCAB_SIZE = 30522  # of the uncased models; the sample's ids are less
LENGTH, EXAMPLES = 128, 3668  # examples of MRPC's training set
# For comparison with the first two: the median of those after them.
LATER_STEPS = 3

# In the order in which they come; each ends where the next begins.
PARTS = ("imports", "records", "graph", "variables", "checkpoint", "first step",
         "second step")


def define_flags():
  """Defines the flags of this script."""
  flags.DEFINE_integer("runs", 3, "Times to measure each.", lower_bound=1)
  flags.DEFINE_list("shapes", list(SHAPES), "Models to train; empty for none.")
  flags.DEFINE_bool("help_times", True, "Measure --help.")


def find_scripts():
  """Returns the paths of the scripts, sorted."""
  scripts = []
  for path in sorted(glob.glob(os.path.join(TOP, "*.py"))):
    with open(path) as reader:
      if "__main__" in reader.read():
        scripts.append(path)
  return scripts


def seconds_of(command):
  """Runs a command without its output; returns the seconds it took."""
  start = time.perf_counter()
  status = subprocess.call(
      command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
  seconds = time.perf_counter() - start
  if status:
    sys.exit("%s ended with status %d" % (" ".join(command), status))
  return seconds


def measure_help():
  """Prints a line per script, after that of `import tensorflow`."""
  commands = collections.OrderedDict(
      [("import tensorflow", [sys.executable, "-c", "import tensorflow"])])
  for path in find_scripts():
    commands[os.path.basename(path) + " --help"] = [
        sys.executable, path, "--help"]
  times = collections.defaultdict(list)
  for _ in range(FLAGS.runs):
    for name, command in commands.items():
      times[name].append(seconds_of(command))
  yardstick = statistics.median(times["import tensorflow"])
  for name, found in times.items():
    median = statistics.median(found)
    print("%s: %.2f s, %+.2f s" % (name, median, median - yardstick))


def write_sentences(folder):
  """Writes MRPC's train.tsv with sentences of random words."""
  chosen = random.Random(1)
  with open(VOCAB_FILE, encoding="utf-8") as reader:
    words = [line.strip() for line in reader if line.strip().isalpha()]
  with open(os.path.join(folder, "train.tsv"), "w", encoding="utf-8") as writer:
    writer.write("Quality\t#1 ID\t#2 ID\t#1 String\t#2 String\n")
    for row in range(EXAMPLES):
      texts = [" ".join(chosen.choices(words, k=chosen.randint(8, 34)))
               for _ in range(2)]
      writer.write("\t".join(["%d" % (row % 2), "1", "2"] + texts) + "\n")


def write_model(folder, shape):
  """Writes a config and a checkpoint of random weights."""
  subprocess.check_call([
      sys.executable, "-c", "import random_models\n"
      "config = random_models.make_config(%d, %d, %d)\n"
      "with open(%r, 'w') as writer:\n"
      "  writer.write(config.to_json_string())\n"
      "random_models.write_classifier(%r, config, ['0', '1'], %r, %d, seed=1)"
      % (SHAPES[shape] + (
          VOCAB_SIZE, os.path.join(folder, "bert_config.json"), folder,
          VOCAB_FILE, LENGTH))],
                        cwd=HERE, stderr=subprocess.DEVNULL)


def train_once(folder):
  """Trains in a process of its own.

  Args:
    folder: str. Has train.tsv, bert_config.json and the checkpoint.

  Returns:
    dict from part to seconds; "later step" is the median of those steps.
  """
  with tempfile.TemporaryDirectory() as output_dir:
    command = [
        sys.executable, "-c", "import startup; startup.train_here()",
        "--task_name=MRPC", "--do_train=true", "--data_dir=" + folder,
        "--vocab_file=" + VOCAB_FILE, "--output_dir=" + output_dir,
        "--bert_config_file=" + os.path.join(folder, "bert_config.json"),
        "--init_checkpoint=" + os.path.join(folder, "model.ckpt-1"),
        "--max_seq_length=%d" % LENGTH, "--tf_random_seed=1"]
    start = time.time()
    done = subprocess.run(command, cwd=HERE, capture_output=True,
                          check=False)
    if done.returncode:
      sys.exit("run_classifier.py failed:\n" + done.stderr.decode()[-2000:])
    times = json.loads(done.stdout.decode().splitlines()[-1])
  ends = [start] + [times[part] for part in PARTS]
  parts = {part: ends[i + 1] - ends[i] for i, part in enumerate(PARTS)}
  later = times["later steps"]
  parts["later step"] = statistics.median(
      end - begin for begin, end in zip([ends[-1]] + later, later))
  return parts


def train_here():
  """Runs run_classifier.py; prints when each part ended, as JSON; exits."""
  sys.path.insert(0, TOP)
  import run_classifier  # isort: skip  # before TensorFlow
  import tensorflow.compat.v1 as tf

  from bert_suite import training
  times = {"imports": time.time(), "later steps": []}

  def mark_after(owner, name, part):
    """Notes when a function returns."""
    function = getattr(owner, name)

    def marked(*args, **kwargs):
      result = function(*args, **kwargs)
      times[part] = time.time()
      return result

    setattr(owner, name, marked)

  class Marks(tf.train.SessionRunHook):
    """Notes the rest; the Estimator calls its own hooks before this one."""

    def begin(self):
      times["graph"] = time.time()

    def after_create_session(self, session, coord):
      times["checkpoint"] = time.time()

    def after_run(self, run_context, run_values):
      for part in ("first step", "second step"):
        if part not in times:
          times[part] = time.time()
          return
      times["later steps"].append(time.time())
      if len(times["later steps"]) == LATER_STEPS:
        print(json.dumps(times), flush=True)
        os._exit(0)  # the rest of the training is not measured

  mark_after(run_classifier.ClassificationTask, "write", "records")
  mark_after(tf.train.SessionManager, "prepare_session", "variables")
  train = training.train
  training.train = lambda *args, **kwargs: train(
      *args, more_hooks=[Marks()], **kwargs)
  run_classifier.run()


def measure_training(folder):
  """Prints a table of the parts, in seconds."""
  write_sentences(folder)
  columns = PARTS + ("in all", "later step")
  print("%-10s" % "" + "".join("%12s" % name for name in columns))
  for shape in FLAGS.shapes:
    write_model(folder, shape)
    runs = [train_once(folder) for _ in range(FLAGS.runs)]
    for run in runs:
      run["in all"] = sum(run[part] for part in PARTS)
    print("%-10s" % shape + "".join(
        "%12.2f" % statistics.median(run[name] for run in runs)
        for name in columns), flush=True)


def main(_):
  """Measures and prints."""
  unknown = set(FLAGS.shapes) - set(SHAPES)
  if unknown:
    sys.exit("--shapes: expected any of %s" % ", ".join(SHAPES))
  print("TensorFlow %s, Python %s, %d cores" % (
      subprocess.check_output(
          [sys.executable, "-c", "import tensorflow\n"
           "print(tensorflow.__version__)"],
          stderr=subprocess.DEVNULL).decode().strip(),
      platform.python_version(), os.cpu_count()))
  if FLAGS.help_times:
    measure_help()
  if FLAGS.shapes:
    with tempfile.TemporaryDirectory() as folder:
      measure_training(folder)


if __name__ == "__main__":
  define_flags()
  app.run(main)
