"""Dev figures of GLUE's tasks over several seeds, beside transformers.

  python benchmarks/glue_dev.py --data_dir=glue --vocab_file=vocab.txt \
    --bert_config_file=bert_config.json --init_checkpoint=bert_model.ckpt \
    --output_dir=glue_dev --torch_python=/tmp/torch_env/bin/python

Fine-tunes on each of --tasks, any that run_classifier.py has, with each of
--seeds: with run_classifier.py, and with Hugging Face transformers from the
same checkpoint, on the same word pieces, with dropout, clipping, a warm-up of
10%, linear decay as BERT has it and AdamW (weight decay 0.01, epsilon 1e-6,
with bias correction, which run_classifier.py only does when asked).
transformers runs in an environment of its own, see transformers_peer.py; its
batches are padded to their longest.

Results stay in --output_dir, a file per run; a run that is there is not
repeated. Prints a line per run as it ends and then, for each task and metric,
mean +- sample standard deviation (min to max) of both. --limit tries it out on
the first examples of each set.
"""

import collections
import json
import os
import sys
import tempfile

from absl import app, flags
import numpy as np

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import tensorflow.compat.v1 as tf

from bert_suite import problem_types, processors, serving, task_names
import fine_tuner
import mrpc_seeds
import suite_scripts
import tokenization
import transformers_peer

FLAGS = flags.FLAGS

SIDES = ("ours", "HF")

# Flags that go to run_classifier.py as they are.
PASSED_ON = suite_scripts.PASSED_ON + ("adam_bias_correction",)


def define_flags():
  """Defines the flags of this script."""
  transformers_peer.define_flags()
  flags.DEFINE_string("data_dir", None, "Folder with a folder per task.",
                      required=True)
  flags.DEFINE_list("tasks", ["MRPC", "CoLA", "STS-B", "SST-2"], "Names of "
                    "tasks, which are those of their folders too.")
  suite_scripts.define_training_flags(5e-5, 3)
  flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds.")
  flags.DEFINE_bool("adam_bias_correction", True, "As of run_classifier.py, "
                    "which torch's AdamW always does.")
  flags.DEFINE_integer("limit", None, "Lines of each file to read, at most.",
                       lower_bound=2)


def make_problem(task):
  """Returns a task's DataProcessor, and what kind its labels are."""
  processor = task_names.find_processor(task)
  return processor, problem_types.KINDS[processor.problem_type](
      len(processor.get_labels()), processor.metric_names)


def make_arrays(task, data_dir, tokenizer, max_seq_length):
  """Makes the features of a task, as run_classifier.py does.

  Returns:
    dict from "train/input_ids" and the like to array [N, ...].
  """
  processor, problem = make_problem(task)
  arrays = {}
  for name in ("train", "dev"):
    features = list(processors.feature_dicts(
        getattr(processor, "get_%s_examples" % name)(data_dir),
        processor.get_labels(), max_seq_length, tokenizer, True, name,
        problem=problem))
    for key in serving.SEQUENCE_INPUTS + ("label_ids",):
      arrays["%s/%s" % (name, key)] = np.array(
          [each[key] for each in features])
    labels = name + "/label_ids"
    arrays[labels] = arrays[labels].reshape([-1] + problem.label_shape).astype(
        problem.label_dtype.as_numpy_dtype)
  return arrays


def copy_data(source, folder, limit):
  """Copies the .tsv files of a task, at most `limit` lines of each."""
  for name in os.listdir(source):
    if name.endswith(".tsv"):
      with open(os.path.join(source, name), "rb") as reader, \
          open(os.path.join(folder, name), "wb") as writer:
        for index, line in enumerate(reader):
          if index == limit:
            break
          writer.write(line)


def train_ours(task, seed, data_dir):
  """Trains and evaluates with run_classifier.py; returns its metrics."""
  with tempfile.TemporaryDirectory() as folder:
    suite_scripts.run(
        "run_classifier.py", task_name=task, do_train=True, do_eval=True,
        data_dir=data_dir, output_dir=folder, tf_random_seed=seed,
        save_checkpoints_steps=1000000000,  # one, at the end
        **suite_scripts.values_of(PASSED_ON))
    return suite_scripts.read_results(os.path.join(folder, "eval_results.txt"))


def measure(task, results):
  """Runs a task with both and all seeds.

  Args:
    task: str.
    results: dict from (side, metric) to list of float, which it appends to.
  """
  data_dir = os.path.join(FLAGS.data_dir, task)
  names = [name for name in make_problem(task)[1].figures
           if name != "eval_loss"]
  with tempfile.TemporaryDirectory() as folder:
    if FLAGS.limit:
      copy_data(data_dir, folder, FLAGS.limit)
      data_dir = folder
    peer = fine_tuner.FineTuner("classifier", lambda: make_arrays(
        task, data_dir, tokenization.FullTokenizer(
            FLAGS.vocab_file, FLAGS.do_lower_case), FLAGS.max_seq_length),
        make_problem(task)[1].num_outputs, folder)
    for seed in map(int, FLAGS.seeds):
      for side in SIDES:
        path = os.path.join(
            FLAGS.output_dir, "%s_%s_seed%d.json" % (task, side, seed))
        if not os.path.exists(path):
          found = (train_ours(task, seed, data_dir) if side == "ours" else
                   make_problem(task)[1].evaluate(*peer.train(seed)))
          with open(path, "w") as writer:
            json.dump(found, writer)
        with open(path) as reader:
          found = json.load(reader)
        found = {name: found[name] for name in names}
        print("%s, %s, seed %d: %s" % (task, side, seed, ", ".join(
            "%s %.4f" % item for item in found.items())), flush=True)
        for name, value in found.items():
          results[side, name].append(value)
    peer.close()


def main(_):
  """Runs every task, then reports."""
  os.makedirs(FLAGS.output_dir, exist_ok=True)
  lines = []
  for task in FLAGS.tasks:
    results = collections.defaultdict(list)
    measure(task, results)
    for (side, name), values in sorted(
        results.items(), key=lambda item: (item[0][1], item[0][0] == "HF")):
      lines.append("%-6s %-20s %-5s %s" % (
          task, name, side, mrpc_seeds.spread(values, "%.4f")))
  print("\n%d seed(s), mean +- sample standard deviation (min to max)\n%s" % (
      len(FLAGS.seeds), "\n".join(lines)))


if __name__ == "__main__":
  tf.logging.set_verbosity(tf.logging.ERROR)
  define_flags()
  app.run(main)
