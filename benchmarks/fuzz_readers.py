"""What fuzz.py damages: valid files, and the functions that read them."""

import collections
import glob
import itertools
import json
import os
import shutil
import zlib

import numpy as np
import tensorflow.compat.v1 as tf

from bert_suite import (
    best_model, checkpoints, config, extract_features, folds, input_pipeline,
    problem_types, processors, record_files, record_order, run_classifier,
    serving, several_runs, squad_metrics, table_task, task_names, thresholds,
    tokenization, trained_models, training_state)
from bert_suite.pretraining import corpus, record_origins, workers
from bert_suite.squad import data, reader as squad_files, results

# A file to damage: its path, what it holds, bytes, and a function without
# arguments that reads it, as scripts do.
Case = collections.namedtuple("Case", "path content read")

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the a cat sing ##s is not .".split()
CONFIG = {"vocab_size": len(WORDS), "hidden_size": 4, "num_hidden_layers": 1,
          "num_attention_heads": 2, "intermediate_size": 8}
EXPECTED = record_files.Expected(
    {"input_ids": tf.FixedLenFeature([4], tf.int64),
     "label_ids": tf.FixedLenFeature([1], tf.float32)},
    {"input_ids": len(WORDS)}, "write them again")
TEXTS = ["the cat sings.", "a cat is not the cat", "Cat \u00e9 \u732b .", "is"]


def write(path, content):
  """Writes bytes, text or JSON, making the folder; returns the bytes."""
  if not isinstance(content, (bytes, str)):
    content = json.dumps(content)
  if isinstance(content, str):
    content = content.encode("utf-8")
  os.makedirs(os.path.dirname(path), exist_ok=True)
  with open(path, "wb") as writer:
    writer.write(content)
  return content


def tsv(header, row):
  """Returns a table as text, with the texts in two of its columns."""
  return "\n".join("\t".join(line) for line in [header] * bool(header) + [
      [TEXTS[(i + j) % 4] if cell is None else cell
       for j, cell in enumerate(row)] for i in range(6)]) + "\n"


def glue_cases(folder, tokenizer):
  """Returns a Case for a file of each task."""
  cases = []
  for name, processor in sorted(task_names.PROCESSORS.items()):
    if name == "table":
      continue
    made, split, file_name = processor(), "train", "train.tsv"
    if name in ("xnli", "ax"):
      split, file_name = ("eval", "xnli.dev.tsv") if name == "xnli" else (
          "predict", "diagnostic.tsv")
      table = tsv("language gold_label a b c d sentence1 sentence2".split(),
                  ["zh", "neutral", "", "", "", "", None, None])
    elif name == "cola":
      table = tsv([], ["x", "1", "", None])
    else:
      label = made.labels[1] if made.labels else "2.5"
      table = tsv(("id",) + made.texts + (made.label,),
                  ["7"] + [None] * len(made.texts) + [label])
    place = os.path.join(folder, name)

    def read(made=made, split=split, place=place):
      for example in processors.read_examples(made, split, place, 2):
        processors.tokenize_example(example, tokenizer)

    cases.append(Case(os.path.join(place, file_name), table, read))
  return cases


def table_cases(folder, tokenizer):
  """Returns Cases for each format of tables, and for labels.txt."""
  rows = [[a, TEXTS[0], str(i % 2)] for i, a in enumerate(TEXTS * 2)]
  lists = [[a, b, json.dumps([label, "x y"])] for a, b, label in rows]
  names = ["one", "two", "label"]
  made = []
  for chosen, kind in ((rows, {}), (rows, {"regression": True}),
                       (lists, {"multi_label": True})):
    made += [
        ("t.tsv", kind, "\n".join(map("\t".join, [names] + chosen)) + "\n"),
        ("t.csv", kind, "".join('"%s","%s","%s"\r\n' % tuple(
            cell.replace('"', '""') for cell in row)
            for row in [names] + chosen)),
        ("t.jsonl", kind, "".join(json.dumps(dict(zip(names, [
            a, b, json.loads(label)]))) + "\n" for a, b, label in chosen))]
  cases = []
  for number, (name, kind, table) in enumerate(made):
    path = os.path.join(folder, str(number), name)
    settings = run_classifier.Settings(
        task_name="table", train_file=path, text_a="one", text_b="two",
        label="label", do_train=True, dev_share=0.4, **kind)

    def read(settings=settings, kind=kind):
      processor = table_task.TableProcessor(settings)
      for split in ("train", "eval"):
        for example in processors.read_examples(processor, split, None, 2):
          processors.tokenize_example(example, tokenizer)
      processors.checked_labels(processor) if not kind else None

    cases.append(Case(path, table, read))

  trained = run_classifier.Settings(
      task_name="table", text_a="one", label="label", do_eval=True,
      output_dir=folder)

  def read_labels():
    processors.checked_labels(table_task.TableProcessor(trained))

  return cases + [Case(os.path.join(folder, "labels.txt"), "no\nyes\n",
                       read_labels)]


def squad_cases(folder, tokenizer):
  """Returns Cases for SQuAD's data and for the files of a prediction."""
  def make_data(version_2):
    return {"version": "v2.0" if version_2 else "1.1", "data": [
        {"title": "t", "paragraphs": [{"context": text, "qas": [
            dict({"id": "q%d%d" % (i, j), "question": "is the cat?", "answers":
                  [{"text": text[:3].strip(), "answer_start": 0}]},
                 **{"is_impossible": False} if version_2 else {})
            for j in range(2)]} for i, text in enumerate(TEXTS[:2])]}]}

  cases = []
  for version_2, is_training in itertools.product((False, True), repeat=2):
    path = os.path.join(folder, "data-%d-%d.json" % (version_2, is_training))

    def read(path=path, version_2=version_2, is_training=is_training):
      examples = data.read_squad_examples(path, is_training, version_2)
      data.convert_examples_to_features(
          examples, tokenizer, 24, 4, 8, is_training, lambda feature: None)
      dataset, _ = squad_files.read_dataset(path)
      squad_files.read_questions(dataset, path)

    cases.append(Case(path, make_data(version_2), read))
  ids = ["q%d%d" % (i, j) for i in range(2) for j in range(2)]
  dataset = make_data(True)["data"]
  valid = {
      "predictions.json": {key: "the cat" for key in ids},
      "nbest_predictions.json": {key: [
          {"text": "the cat", "probability": 0.5, "start_logit": 1.0,
           "end_logit": 1.0}, {"text": "", "probability": 0.5}] for key in ids},
      "null_odds.json": {key: i - 1.5 for i, key in enumerate(ids)},
      "eval_results.json": {"exact": 50.0, "null_score_diff_threshold": 0.5}}
  for name in valid:
    for threshold in (None, "best", "0.5"):
      place = os.path.join(folder, "%s-%s" % (name, threshold))

      def read(place=place, name=name, threshold=threshold):
        for other, value in valid.items():
          if other != name:
            write(os.path.join(place, other), value)
        results.evaluate(dataset, "dev.json", place, True, threshold)

      cases.append(Case(os.path.join(place, name), valid[name], read))
  scored = os.path.join(folder, "scored.json")
  answers, odds = (os.path.join(folder, name)
                   for name in ("predictions.json", "null_odds.json"))
  write(answers, valid["predictions.json"])
  write(odds, valid["null_odds.json"])
  for threshold in (None, "best"):
    cases.append(Case(
        scored, make_data(True), lambda threshold=threshold:
        squad_metrics._score_files(squad_metrics.Settings(
            data_file=scored, predictions_file=answers, null_odds_file=odds,
            null_score_diff_threshold=threshold))))
  return cases


def record_cases(folder):
  """Returns Cases for records, their index, and the file beside them."""
  path = os.path.join(folder, "r.tf_record")
  os.makedirs(folder)
  input_pipeline.write_examples(path, [
      {"input_ids": [i, 1, 2, 3], "label_ids": [float(i)]} for i in range(9)])
  with open(path, "rb") as reader:
    records = reader.read()
  index, beside = [os.path.join(folder, name) for name in (
      ".r.tf_record.offsets", ".r.tf_record.json")]
  record_order.find_offsets(path)
  with open(index, "rb") as reader:
    offsets = reader.read()
  vocab = {word: i for i, word in enumerate(WORDS)}
  origin = dict(checkpoints.make_record(
      None, vocab=vocab, vocab_file="/v", do_lower_case=True),
      bytes=len(records))

  def read():
    with record_files.naming_bad_records([path], EXPECTED):
      for _ in itertools.islice(
          record_order.iterate_records([path], 1, 0, 4), 20):
        pass

  def check():
    record_files.check_records([path], EXPECTED, 20)

  def examine():  # as the others do with what is damaged, but in no session
    for _ in record_files._examine(path, EXPECTED):
      pass

  def copy():
    record_files.copy_good_records(
        [path], os.path.join(folder, "good"), EXPECTED)

  def index_again():
    if os.path.exists(index):
      os.remove(index)
    read()

  def read_index():
    os.utime(path, ns=(1, 1))  # as the index says
    read()

  head = np.array([1, len(records)], np.int64).tobytes()
  return [Case(path, records, one)
          for one in [examine] * 20 + [check, index_again, copy]] + 10 * [
      Case(index, head + offsets[16:], read_index),
      Case(beside, origin, lambda: record_origins.find_vocabulary(
          [path], None, [], len(WORDS)))]


def save_model(folder):
  """Writes an output_dir of a classifier."""
  os.makedirs(folder)
  with tf.Graph().as_default(), tf.Session() as session:
    tf.train.create_global_step()
    for name, shape in (("bert/embeddings/word_embeddings", [len(WORDS), 4]),
                        ("output_weights", [2, 4]), ("output_bias", [2])):
      tf.get_variable(name, shape)
    session.run(tf.global_variables_initializer())
    tf.train.Saver(save_relative_paths=True).save(
        session, os.path.join(folder, "model.ckpt"), 3, write_meta_graph=False)
  checkpoints.write_record(folder, checkpoints.make_record(
      "mrpc", config.BertConfig.from_dict(CONFIG), ["0", "1"],
      {word: i for i, word in enumerate(WORDS)}, do_lower_case=True),
      0, max_seq_length=8, vocab_file=os.path.join(
          os.path.dirname(folder), "vocab.txt"))


def model_cases(folder):
  """Returns Cases for the files of an output_dir that `save_model` wrote."""
  prefix = os.path.join(folder, "model.ckpt-3")
  with open(os.path.join(folder, "run.json")) as reader:
    record = json.load(reader)
  sums = {}
  for path in sorted(glob.glob(prefix + ".*")):
    with open(path, "rb") as reader:
      content = reader.read()
    sums[os.path.basename(path)] = [len(content), zlib.crc32(content)]
  cases = []

  def add(name, content, read):
    place = os.path.join(folder, "of-%d" % len(cases))
    shutil.copytree(folder, place, ignore=lambda *_: [
        one for one in os.listdir(folder) if one.startswith("of-")])
    if content is None:
      with open(os.path.join(place, name), "rb") as reader:
        content = reader.read()
    cases.append(Case(os.path.join(place, name), content,
                      lambda: read(place)))

  def start(place):
    found = checkpoints.find_start(place, None, record, False)
    checkpoints.repair_list(place)
    reader = checkpoints.open_checkpoint(found.checkpoint)
    for name in reader.get_variable_to_shape_map():
      reader.get_tensor(name)

  add("model.ckpt-3.index", None, start)
  add("model.ckpt-3.data-00000-of-00001", None, start)
  add("checkpoint", None, start)
  add("run.json", None, start)
  add("run.json", None, lambda place: trained_models.find(model_dir=place))
  add("model.ckpt-3.state.json", {
      "step": 3, "position": 9, "seed": 1, "is_ordered": True, "files": sums},
      lambda place: (start(place), training_state.find_state(
          os.path.join(place, "model.ckpt-3"),
          training_state.State(3, 0, 2, 1))))
  rows = [best_model.Row(i, i / 2, {"eval_loss": 1.0 / i, "x": 1.0})
          for i in (1, 2, 3)]
  add("history.tsv", "".join("\t".join(line) + "\n" for line in (
      best_model.format_table(rows, "eval_loss"))),
      lambda place: (best_model.best_row(place), best_model.Evaluations(
          place, "eval_loss", 3).log()))
  add("thresholds.json", {
      "step": 3, "checksum": 1, "thresholds": {"0": 0.25, "1": 0.5}},
      lambda place: thresholds.read(
          [place], os.path.join(place, "model.ckpt-3"), ["0", "1"]))
  folds.keep(folder, {
      "logits": np.ones([2, 2]), "label_ids": np.array([0, 1]),
      "per_example_loss": np.ones([2]), "is_real_example": np.ones([2])})
  add("fold.npz", None, lambda place: folds.compute_figures(
      [place], problem_types.SingleLabel(2)))
  add("runs.json", {"of": {"task": "mrpc"}, "best": "a", "runs": [
      ["a", {"--seed": 1}, {"eval_loss": 0.5}, None],
      ["b", {"--seed": 2}, {"eval_loss": 0.7}, None]]},
      several_runs.read)
  add(".r-of-00002.json", {"settings": {"a": 1}, "shards": {"0": {}, "1": {}}},
      lambda place: workers._read_state(
          os.path.join(place, ".r-of-00002.json"), {"a": 1}, [prefix] * 2))
  add("assets/" + serving.SETTINGS_FILE, {
      "task": "mrpc", "labels": ["0", "1"], "do_lower_case": True,
      "max_seq_length": 8}, serving.load_saved_model)
  return cases


def make(folder):
  """Returns a dict from the name of a reader to its Cases, written there.

  Args:
    folder: str. Has what `save_model` wrote in "model": TensorFlow's threads
      do not survive a fork, so another process has to save that.
  """
  vocab_file = os.path.join(folder, "vocab.txt")
  vocab = write(vocab_file, "\n".join(WORDS) + "\n")
  tokenizer = tokenization.FullTokenizer(vocab_file)
  other_vocab, config_file, text_file, line_file = [
      os.path.join(folder, name, name) for name in (
          "other_vocab.txt", "bert_config.json", "text.txt", "lines.txt")]
  text = "\n".join(TEXTS[:2] + [""] + TEXTS) + "\n"

  def read_text():
    corpus.read_text(corpus.list_spans([text_file]), tokenizer, longest=4)

  def read_lines():
    for example in extract_features.read_examples(line_file):
      tokenizer.tokenize(example.text_a)

  cases = {
      "glue": glue_cases(os.path.join(folder, "glue"), tokenizer),
      "table": table_cases(os.path.join(folder, "table"), tokenizer),
      "squad": squad_cases(os.path.join(folder, "squad"), tokenizer),
      "records": record_cases(os.path.join(folder, "records")),
      "model": model_cases(os.path.join(folder, "model")),
      "vocab": [Case(other_vocab, vocab, lambda: tokenization.FullTokenizer(
          other_vocab).tokenize(TEXTS[2]))],
      "config": [Case(config_file, CONFIG, lambda: (
          config.BertConfig.from_json_file(config_file).to_json_string()))],
      "text": [Case(text_file, text, read_text)],
      "lines": [Case(line_file, "".join(
          "%s ||| %s\n" % pair for pair in zip(TEXTS, TEXTS[1:])), read_lines)]}
  # On disk as in a run, so that a Case alone has all that it reads.
  return {name: [case._replace(content=write(case.path, case.content))
                 for case in group] for name, group in cases.items()}
