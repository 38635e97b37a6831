"""What the tests of converted models need: models, and the command."""

import numpy as np
import pytest

from bert_suite import config as configs, run_record
from bert_suite.conversion import hf_config, models
import convert_checkpoint
from helpers import (
    CONFIG, WORDS, run_command, save_checkpoint, write_config, write_vocab)

SHAPE = dict(CONFIG, num_hidden_layers=2, hidden_dropout_prob=0.1,
             attention_probs_dropout_prob=0.1, initializer_range=0.02,
             hidden_act="gelu")
HEADS = {name: heads for name, heads in hf_config.ARCHITECTURES.items()}
RECORDS = {
    "BertForSequenceClassification": dict(
        task="mrpc", labels=["maybe", "no", "yes"],
        problem_type="single_label_classification",
        training={"max_seq_length": 12}),
    "BertForTokenClassification": dict(
        task="ner", labels=["O", "B-PER", "I-PER"], tag_scheme="IOB2",
        training={"valid_tags_only": True, "max_seq_length": 12}),
    "BertForQuestionAnswering": dict(task="squad", training={
        "max_seq_length": 18, "doc_stride": 4, "max_query_length": 6,
        "version_2_with_negative": True})}
EVERY_HEAD = pytest.mark.parametrize("architecture", sorted(HEADS))


def make_weights(architecture, shape=None):
  random = np.random.RandomState(3)
  return {name: np.float32(0.3 * random.standard_normal(size))
          for name, size in models.expected_shapes(
              shape or SHAPE, HEADS[architecture], 3).items()}


def write_reference(folder, architecture, **changes):
  """Writes a folder as a training leaves it, with more than weights."""
  folder.mkdir()
  weights = make_weights(architecture, dict(SHAPE, **changes))
  values = dict(weights, **{"bert/pooler/dense/bias/adam_m": np.ones([16])})
  if architecture in RECORDS:
    values["global_step"] = 7
  save_checkpoint(folder / "bert_model.ckpt", values)
  write_config(folder, **dict(SHAPE, **changes))
  vocab_file = write_vocab(folder)
  if architecture in RECORDS:
    record = dict(RECORDS[architecture])
    training = record.pop("training")
    run_record.write_record(str(folder), run_record.make_record(
        config=configs.BertConfig.from_dict(dict(SHAPE, **changes)), vocab={
            word: i for i, word in enumerate(WORDS)}, do_lower_case=True,
        **record), 0, vocab_file=vocab_file, **training)
  return str(folder), weights


def convert(folder, output_dir, **flags):
  """Runs the command; returns the output folder."""
  arguments = ["--output_dir=%s" % output_dir] + (
      ["--model_dir=%s" % folder] if folder else []) + [
          "--%s=%s" % pair for pair in flags.items()]
  code, message = run_command(convert_checkpoint, arguments)
  assert code == 0, message
  return str(output_dir)


def make_hugging_face(tmp_path, architecture):
  folder, _ = write_reference(tmp_path / "reference", architecture)
  return convert(folder, tmp_path / "hf")
