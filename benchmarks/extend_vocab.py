"""Shows what a domain's words are worth to a model: masked-LM loss of its text.

  python benchmarks/extend_vocab.py --text_file=domain.txt \
    --vocab_file=vocab.txt --bert_config_file=bert_config.json \
    --init_checkpoint=bert_model.ckpt --output_dir=/tmp/extend_vocab

Every --held_out-th document of the text (blank lines between them) is held out.
learn_vocab.py --extend=append adds words of the others, and run_pretraining.py
trains the model on them, extended and as it was, for --num_train_steps.

Pieces of different vocabularies cannot be compared: one of a split word is
easier to guess. So the same words are masked for all models, whole, 15% of the
held-out ones, and the loss is given by masked piece, word and character. It is
in nats; of a word, the sum of its pieces. Prints a line each:

  <model>: masked-LM loss <l> per piece, <l> per word, <l> per character
"""

import os
import random
import sys

from absl import app, flags

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from bert_suite import environment  # isort: skip  # noqa: F401
import create_pretraining_data
import learn_vocab
import run_pretraining

FLAGS = flags.FLAGS

LENGTH = 64
MOST_MASKED = 20  # pieces of a sequence
EVAL_BATCH = 32


def define_flags():
  """Defines the flags of this script."""
  for name in ("text_file", "vocab_file", "bert_config_file",
               "init_checkpoint", "output_dir"):
    flags.DEFINE_string(name, None, "See above.", required=True)
  flags.DEFINE_integer("held_out", 10, "Documents to one that is held out.")
  flags.DEFINE_integer("num_words", 1000, "Words to add.")
  flags.DEFINE_integer("num_train_steps", 300, "Steps to train.")
  flags.DEFINE_float("learning_rate", 1e-3, "For training.")


def split_text(path, every, train_path):
  """Writes a text without its held-out documents, which it returns."""
  with open(path, encoding="utf-8") as reader:
    documents = [one for one in reader.read().split("\n\n") if one.strip()]
  held_out = documents[::every]
  del documents[::every]
  with open(train_path, "w", encoding="utf-8") as writer:
    writer.write("\n\n".join(documents) + "\n")
  return held_out


def choose_words(documents, tokenizer, seed=1):
  """Cuts documents into sequences and chooses words to mask.

  Args:
    documents: list of str.
    tokenizer: FullTokenizer, whose pieces of a sequence fit; those of one with
      more words then do, too.
    seed: int.

  Returns:
    list of (list of str, the words of a sequence; set of int, which to mask).
  """
  generator, chosen = random.Random(seed), []
  for document in documents:
    words, room = [], 0
    for word in tokenizer.basic_tokenizer.tokenize(document):
      num_pieces = len(tokenizer.wordpiece_tokenizer.tokenize(word))
      if num_pieces > room:
        words, room = [], LENGTH - 2
        chosen.append((words, set()))
      words.append(word)
      room -= num_pieces
  for words, masked in chosen:
    left = MOST_MASKED
    for i in generator.sample(range(len(words)), -(-len(words) * 15 // 100)):
      left -= len(tokenizer.wordpiece_tokenizer.tokenize(words[i]))
      if left >= 0:
        masked.add(i)
  return chosen


def write_records(chosen, vocab_file, path):
  """Writes sequences as records for a vocabulary; returns masked pieces."""
  tokenizer = create_pretraining_data.make_tokenizer(vocab_file, None)
  instances, num_masked = [], 0
  for words, masked in chosen:
    tokens, places, labels = ["[CLS]"], [], []
    for i, word in enumerate(words):
      pieces = tokenizer.wordpiece_tokenizer.tokenize(word)
      if i in masked:
        places += range(len(tokens), len(tokens) + len(pieces))
        labels += pieces
        pieces = ["[MASK]"] * len(pieces)
      tokens += pieces
    tokens.append("[SEP]")
    num_masked += len(labels)
    instances.append(create_pretraining_data.TrainingInstance(
        tokens, [0] * len(tokens), places, labels, False))
  create_pretraining_data.write_instance_to_example_files(
      instances, tokenizer, LENGTH, MOST_MASKED, [path])
  return num_masked


def pre_train(vocab_file, config_file, records, output_dir, num_predictions,
              **settings):
  """Runs run_pretraining.py; returns its figures."""
  return run_pretraining.run_with(run_pretraining.Settings(
      vocab_file=vocab_file, bert_config_file=config_file, input_file=records,
      output_dir=output_dir, max_seq_length=LENGTH,
      max_predictions_per_seq=num_predictions, **settings))


def measure(title, chosen, vocab_file, config_file, checkpoint):
  """Prints the loss of a model on the chosen words."""
  folder = os.path.join(FLAGS.output_dir, "held_out", title)
  os.makedirs(folder)
  records = os.path.join(folder, "records")
  num_masked = write_records(chosen, vocab_file, records)
  figures = pre_train(
      vocab_file, config_file, records, folder, MOST_MASKED, do_eval=True,
      init_checkpoint=checkpoint, eval_batch_size=EVAL_BATCH,
      max_eval_steps=-(-len(chosen) // EVAL_BATCH))
  total = figures["masked_lm_loss"] * num_masked
  masked = [words[i] for words, places in chosen for i in places]
  print("%s: masked-LM loss %.4f per piece, %.4f per word, %.4f per character"
        "; %d pieces, %d words" % (
            title, total / num_masked, total / len(masked),
            total / sum(map(len, masked)), num_masked, len(masked)),
        flush=True)


def train(title, text, vocab_file, config_file, checkpoint):
  """Trains a model on a text; returns the path of its checkpoint."""
  folder = os.path.join(FLAGS.output_dir, title)
  records = folder + ".tfrecord"
  create_pretraining_data.run_with(create_pretraining_data.Settings(
      input_file=text, output_file=records, vocab_file=vocab_file,
      max_seq_length=LENGTH, max_predictions_per_seq=MOST_MASKED // 2,
      dupe_factor=5))
  pre_train(vocab_file, config_file, records, folder, MOST_MASKED // 2,
            do_train=True, init_checkpoint=checkpoint,
            num_train_steps=FLAGS.num_train_steps,
            num_warmup_steps=FLAGS.num_train_steps // 10,
            learning_rate=FLAGS.learning_rate)
  return os.path.join(folder, "model.ckpt-%d" % FLAGS.num_train_steps)


def main(_):
  """Measures, extends, measures, trains, measures."""
  os.makedirs(FLAGS.output_dir)
  text = os.path.join(FLAGS.output_dir, "train.txt")
  held_out = split_text(FLAGS.text_file, FLAGS.held_out, text)
  before = FLAGS.vocab_file, FLAGS.bert_config_file
  chosen = choose_words(held_out, create_pretraining_data.make_tokenizer(
      FLAGS.vocab_file, None))
  folder = os.path.join(FLAGS.output_dir, "extended")
  learn_vocab.run_with(learn_vocab.Settings(
      extend="append", input_file=text, num_words=FLAGS.num_words,
      vocab_file=FLAGS.vocab_file, bert_config_file=FLAGS.bert_config_file,
      init_checkpoint=FLAGS.init_checkpoint, output_dir=folder))
  extended = [os.path.join(folder, name)
              for name in ("vocab.txt", "bert_config.json")]
  start = os.path.join(folder, "bert_model.ckpt")
  measure("before", chosen, *before, FLAGS.init_checkpoint)
  measure("extended", chosen, *extended, start)
  steps = FLAGS.num_train_steps
  measure("before, %d steps" % steps, chosen, *before, train(
      "trained", text, *before, FLAGS.init_checkpoint))
  measure("extended, %d steps" % steps, chosen, *extended, train(
      "trained_extended", text, *extended, start))


if __name__ == "__main__":
  define_flags()
  app.run(main)
