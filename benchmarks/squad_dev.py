"""SQuAD's figures from a part of a dev set: trains on it, tests on the rest.

  python benchmarks/squad_dev.py --data_file=dev-v2.0.json \
    --vocab_file=vocab.txt --bert_config_file=bert_config.json \
    --init_checkpoint=bert_model.ckpt --output_dir=squad_dev

Trains run_squad.py on the first --train_articles of --data_file, of SQuAD 1.1
or 2.0, with each of --seeds, and answers the questions of the others. Prints a
line per run: exact match and F1; of SQuAD 2.0 at the threshold with the highest
F1, beside what answering nothing gives. With several seeds, a last line per
figure has mean +- sample standard deviation (min to max).

Runs stay in --output_dir. One that is finished is not repeated, and one that
was interrupted goes on. --limit tries it out on the first paragraphs of each
article.
"""

import json
import os
import sys

from absl import app, flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite.squad import reader
import mrpc_seeds
import squad_metrics
import suite_scripts

FLAGS = flags.FLAGS

TEST_ARTICLES = 8  # unless --train_articles says otherwise


def define_flags():
  """Defines the flags of this script."""
  suite_scripts.define_training_flags(
      1e-4, 2.0, max_seq_length=384, train_batch_size=16)
  flags.DEFINE_string("data_file", None, "Dev set of SQuAD 1.1 or 2.0.",
                      required=True)
  flags.DEFINE_integer("train_articles", None, "Articles to train on; without "
                       "it all but the last %d." % TEST_ARTICLES, lower_bound=1)
  flags.DEFINE_list("seeds", ["1"], "Seeds.")
  flags.DEFINE_integer("limit", None, "Paragraphs of each article to take, at "
                       "most.", lower_bound=1)


def split(articles, train_articles=None, limit=None):
  """Splits articles.

  Args:
    articles: list of dict.
    train_articles: int, or None for all but the last TEST_ARTICLES.
    limit: int. Paragraphs of each article to keep, at most; None for all.

  Returns:
    Two lists of dict: those to train on, those to test on.

  Raises:
    ValueError: one of them is empty.
  """
  number = train_articles or len(articles) - TEST_ARTICLES
  if not 0 < number < len(articles):
    raise ValueError("--train_articles=%d: found %d articles, expected some to "
                     "train on and some to test on" % (number, len(articles)))
  articles = [dict(one, paragraphs=one["paragraphs"][:limit])
              for one in articles]
  return articles[:number], articles[number:]


def answer_nothing(articles):
  """Returns the figures of SQuAD 2.0 for no answer to any question, a dict."""
  questions = reader.read_questions(articles, "test.json")
  return squad_metrics.score(
      questions, {question.id: "" for question in questions}, version_2=True)


def train(seed, paths, is_version_2):
  """Trains, answers and scores, unless it is done.

  Args:
    seed: str.
    paths: list of str. The files to train and to test on.
    is_version_2: bool.

  Returns:
    dict, what eval_results.json has.
  """
  folder = os.path.join(FLAGS.output_dir, "seed" + seed)
  path = os.path.join(folder, "eval_results.json")
  if not os.path.exists(path):
    version_2 = dict(version_2_with_negative=True,
                     null_score_diff_threshold="best") if is_version_2 else {}
    suite_scripts.run(
        "run_squad.py", do_train=True, train_file=paths[0], do_predict=True,
        do_eval=True, predict_file=paths[1], output_dir=folder,
        tf_random_seed=seed, keep_checkpoint_max=1,
        **version_2, **suite_scripts.values_of(suite_scripts.PASSED_ON))
  return reader.read_json(path)


def main(_):
  """Runs every seed, then reports."""
  try:
    articles, is_version_2 = reader.read_dataset(FLAGS.data_file)
    parts = split(articles, FLAGS.train_articles, FLAGS.limit)
    counts = [len(reader.read_questions(part, FLAGS.data_file))
              for part in parts]
  except ValueError as error:
    sys.exit(str(error))
  mrpc_seeds.check_settings(
      suite_scripts.PASSED_ON + ("data_file", "train_articles", "limit"))
  paths = [os.path.join(FLAGS.output_dir, name)
           for name in ("train.json", "test.json")]
  for path, part in zip(paths, parts):
    with open(path, "w") as writer:
      json.dump({"version": "v2.0" if is_version_2 else "1.1", "data": part},
                writer)
  print("%d articles, %d questions to train on; %d, %d to test on" % (
      len(parts[0]), counts[0], len(parts[1]), counts[1]), flush=True)
  nothing = ""
  if is_version_2:
    scores = answer_nothing(parts[1])
    nothing = "; answering nothing: exact match %.2f, F1 %.2f" % (
        scores["exact"], scores["f1"])
  exact, runs = "exact" if is_version_2 else "exact_match", []
  for seed in FLAGS.seeds:
    runs.append(train(seed, paths, is_version_2))
    print("seed %s: exact match %.2f, F1 %.2f%s%s" % (
        seed, runs[-1][exact], runs[-1]["f1"], " at threshold %.2f" % (
            runs[-1]["null_score_diff_threshold"]) if is_version_2 else "",
        nothing), flush=True)
  if len(runs) > 1:
    print()
    for title, name in (("exact match", exact), ("F1", "f1")):
      print("%s: %s" % (title, mrpc_seeds.spread(
          [run[name] for run in runs], "%.2f")))


if __name__ == "__main__":
  define_flags()
  app.run(main)
