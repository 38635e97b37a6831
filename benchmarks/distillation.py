"""A small model that learns from a large one, beside one that learns labels.

  python benchmarks/distillation.py --data_dir=glue --vocab_file=vocab.txt \
    --teacher_config=minilm/bert_config.json \
    --teacher_checkpoint=minilm/bert_model.ckpt \
    --bert_config_file=tiny/bert_config.json \
    --init_checkpoint=tiny/bert_model.ckpt --output_dir=distilled

For each of --tasks, trains a teacher once, and for each of --seeds students
from --init_checkpoint with the same settings: on labels; on what the teacher
says of the same texts (distilled); and of --augment times as many besides, in
which a masked LM has replaced words (augmented). All take as many steps: what
has N texts for one goes through them 1/N as often. Runs that are there are not
repeated. Prints mean +- sample standard deviation (min to max) of each.
"""

import os
import sys

from absl import app, flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

import mrpc_seeds
import suite_scripts

FLAGS = flags.FLAGS

# Flags that a run in --output_dir depends on.
SETTINGS = ("data_dir", "vocab_file", "teacher_config", "teacher_checkpoint",
            "bert_config_file", "init_checkpoint", "augment", "temperature",
            "label_share", "max_seq_length", "teacher_learning_rate",
            "learning_rate", "teacher_epochs", "num_train_epochs")

FIGURES = {"MRPC": ("eval_accuracy", "eval_f1")}  # of others the accuracy alone


def define_flags():
  """Defines the flags of this script."""
  for name, what in (
      ("data_dir", "Folder with a folder per task."),
      ("vocab_file", "Vocabulary of both."),
      ("teacher_config", "Shape of the teacher."),
      ("teacher_checkpoint", "Pre-trained checkpoint of the teacher."),
      ("bert_config_file", "Shape of the student."),
      ("init_checkpoint", "Pre-trained checkpoint of the student, with its "
       "masked LM."),
      ("output_dir", "Folder for models and results.")):
    flags.DEFINE_string(name, None, what, required=True)
  flags.DEFINE_list("tasks", ["MRPC", "SST-2"], "Names of tasks, which are "
                    "those of their folders too.")
  flags.DEFINE_list("seeds", ["1", "2", "3", "4", "5"], "Seeds.")
  flags.DEFINE_integer("augment", 4, "See run_classifier.py; 0 leaves these "
                       "students out.", lower_bound=0)
  flags.DEFINE_float("temperature", 1.0, "See run_classifier.py.")
  flags.DEFINE_float("label_share", 0.0, "See run_classifier.py.")
  flags.DEFINE_integer("max_seq_length", 128, "Word pieces per example.")
  flags.DEFINE_float("teacher_learning_rate", 5e-5, "Of the teacher.")
  flags.DEFINE_float("learning_rate", 3e-4, "Of students.")
  flags.DEFINE_float("teacher_epochs", 3, "Of the teacher.")
  flags.DEFINE_float("num_train_epochs", 10, "Of students.")


def train(task, folder, **values):
  """Trains and evaluates, unless it is done; returns the figures.

  Args:
    task: str.
    folder: str. For the model.
    **values: flags of run_classifier.py.

  Returns:
    dict from name to float.
  """
  path = os.path.join(folder, "eval_results.txt")
  if not os.path.exists(path):
    suite_scripts.run(
        "run_classifier.py", task_name=task,
        data_dir=os.path.join(FLAGS.data_dir, task),
        vocab_file=FLAGS.vocab_file, max_seq_length=FLAGS.max_seq_length,
        do_train=True, do_eval=True, save_checkpoints_steps=1000000000,
        output_dir=folder, **values)
  return suite_scripts.read_results(path)


def students(teacher):
  """Returns a dict from the name of a kind of student to its own flags.

  Args:
    teacher: str. The folder of the teacher.
  """
  epochs = FLAGS.num_train_epochs
  distilled = dict(teacher_dir=teacher, temperature=FLAGS.temperature,
                   label_share=FLAGS.label_share)
  kinds = {"labels": dict(num_train_epochs=epochs),
           "distilled": dict(distilled, num_train_epochs=epochs)}
  if FLAGS.augment:
    kinds["augmented"] = dict(
        distilled, augment=FLAGS.augment,
        num_train_epochs=epochs / (1 + FLAGS.augment))
  return kinds


def measure(task):
  """Runs a task; returns the lines of its table."""
  top = os.path.join(FLAGS.output_dir, task)
  teacher = os.path.join(top, "teacher")
  names = FIGURES.get(task, ("eval_accuracy",))
  figures = train(
      task, teacher, bert_config_file=FLAGS.teacher_config,
      init_checkpoint=FLAGS.teacher_checkpoint, tf_random_seed=1,
      learning_rate=FLAGS.teacher_learning_rate,
      num_train_epochs=FLAGS.teacher_epochs)
  lines = ["%-6s %-14s %-10s %.4f" % (task, name, "teacher", figures[name])
           for name in names]
  found = {}
  for seed in FLAGS.seeds:
    for kind, values in students(teacher).items():
      figures = train(
          task, os.path.join(top, "%s-%s" % (kind, seed)),
          bert_config_file=FLAGS.bert_config_file,
          init_checkpoint=FLAGS.init_checkpoint, tf_random_seed=seed,
          learning_rate=FLAGS.learning_rate, **values)
      print("%s, %s, seed %s: %s" % (task, kind, seed, ", ".join(
          "%s %.4f" % (name, figures[name]) for name in names)), flush=True)
      for name in names:
        found.setdefault((name, kind), []).append(figures[name])
  return lines + [
      "%-6s %-14s %-10s %s" % (
          task, name, kind, mrpc_seeds.spread(values, "%.4f"))
      for (name, kind), values in sorted(
          found.items(), key=lambda item: item[0][0])]


def main(_):
  """Runs every task, then reports."""
  mrpc_seeds.check_settings(SETTINGS)
  lines = []
  for task in FLAGS.tasks:
    lines += measure(task)
  print("\n%d seed(s), mean +- sample standard deviation (min to max)\n%s" % (
      len(FLAGS.seeds), "\n".join(lines)))


if __name__ == "__main__":
  define_flags()
  app.run(main)
