"""Tests of convert_checkpoint: models of Hugging Face and the Model Garden."""

import json
import os
import shutil
import struct
import sys
import types

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import checkpoint_fit, checkpoints, thresholds
from bert_suite.conversion import safetensors_files
from conversion_fixtures import (
    EVERY_HEAD, RECORDS, SHAPE, convert, make_hugging_face, make_weights,
    write_reference)
import convert_checkpoint
from helpers import (
    WORDS, captured_log, read_probabilities, read_weights, run_command,
    write_config, write_lines, write_vocab)
import modeling
import predictor
import run_classifier


def find_mistake(folder, tmp_path, **flags):
  """Runs the command on what it refuses; returns the one line it prints."""
  output_dir = tmp_path / "refused"
  code, message = run_command(convert_checkpoint, [
      "--model_dir=%s" % folder, "--output_dir=%s" % output_dir] + [
          "--%s=%s" % pair for pair in flags.items()])
  assert code == 1
  assert message.count("\n") == 1 and "Traceback" not in message
  assert not [name for name in os.listdir(str(tmp_path)) if "refused" in name]
  return message


def change_json(path, **changes):
  """Changes keys of a JSON file; removes those given as None."""
  with open(str(path)) as reader:
    values = dict(json.load(reader), **changes)
  with open(str(path), "w") as writer:
    json.dump({key: value for key, value in values.items()
               if value is not None}, writer)


def read_json(*path):
  with open(os.path.join(*path)) as reader:
    return json.load(reader)


def rewrite(folder, change):
  """Writes a model's tensors again, as a function of a dict changes them."""
  path = os.path.join(folder, "model.safetensors")
  arrays = {name: tensor.read()
            for name, tensor in safetensors_files.read(path).items()}
  safetensors_files.write(folder, change(arrays) or arrays, 10 ** 9)


@pytest.fixture(scope="module")
def made_once(tmp_path_factory):
  return make_hugging_face(tmp_path_factory.mktemp("once"), "BertModel")


@pytest.fixture
def encoder(tmp_path, made_once):
  """Returns a copy of the folder of a Hugging Face encoder."""
  return shutil.copytree(made_once, str(tmp_path / "hf"))


@EVERY_HEAD
@pytest.mark.parametrize("flags", [{}, {"max_shard_mb": 1}])
def test_there_and_back_gives_the_same_bits(tmp_path, architecture, flags):
  # As large as several files of 1 MB each.
  changes = {"intermediate_size": 20000} if flags else {}
  folder, weights = write_reference(
      tmp_path / "reference", architecture, **changes)
  there = convert(folder, tmp_path / "hf", **flags)
  assert os.path.exists(os.path.join(
      there, "model.safetensors.index.json")) == bool(flags)
  back = convert(there, tmp_path / "back")
  found = read_weights(os.path.join(back, "bert_model.ckpt"))
  assert set(found) == set(weights)
  for name, value in weights.items():
    assert found[name].tobytes() == value.tobytes(), name
  config = read_json(back, "bert_config.json")
  assert config == dict(read_json(folder, "bert_config.json"),
                        do_lower_case=True)
  with open(os.path.join(back, "vocab.txt")) as reader:
    assert reader.read().split("\n") == WORDS + [""]
  assert read_json(there, "config.json")["architectures"] == [architecture]
  if architecture not in RECORDS:
    assert checkpoints.read_record(back) is None
    return
  record, before = checkpoints.read_record(back), checkpoints.read_record(
      folder)
  del before["training"]["vocab_file"]  # where the folder was before
  if architecture == "BertForSequenceClassification":
    del before["task"]  # it may classify the texts of any
  assert {name: record.get(name) for name in before} == dict(
      before, config=config)


def test_names_and_orientation_are_those_of_transformers(tmp_path):
  folder, weights = write_reference(
      tmp_path / "reference", "BertForSequenceClassification")
  tensors = safetensors_files.read(os.path.join(
      convert(folder, tmp_path / "hf"), "model.safetensors"))
  for theirs, ours in (
      ("bert.embeddings.LayerNorm.weight", "bert/embeddings/LayerNorm/gamma"),
      ("bert.embeddings.position_embeddings.weight",
       "bert/embeddings/position_embeddings"),
      ("bert.encoder.layer.1.attention.output.LayerNorm.bias",
       "bert/encoder/layer_1/attention/output/LayerNorm/beta"),
      ("classifier.weight", "output_weights")):
    np.testing.assert_array_equal(tensors[theirs].read(), weights[ours])
  np.testing.assert_array_equal(
      tensors["bert.encoder.layer.0.intermediate.dense.weight"].read(),
      weights["bert/encoder/layer_0/intermediate/dense/kernel"].T)
  assert len(tensors) == len(weights)


def test_a_classifier_from_elsewhere_predicts(tmp_path):
  there = make_hugging_face(tmp_path, "BertForSequenceClassification")
  config = read_json(there, "config.json")
  assert config["id2label"] == {"0": "maybe", "1": "no", "2": "yes"}
  assert config["label2id"] == {"maybe": 0, "no": 1, "yes": 2}
  assert config["hidden_act"] == "gelu_new"
  back = convert(there, tmp_path / "back")
  with predictor.Predictor(str(tmp_path / "reference")) as model:
    expected = model.predict(["the cat sings", "tea is near"])
  with predictor.Predictor(back) as model:
    assert model.labels == ["maybe", "no", "yes"]
    np.testing.assert_array_equal(
        model.predict(["the cat sings", "tea is near"]), expected)

  test = write_lines(tmp_path / "test.tsv", [
      ["text"], ["the cat sings"], ["tea is near"]])
  train = write_lines(tmp_path / "train.tsv", [["text", "label"]] + [
      ["tea", label] for label in ("no", "yes", "maybe")])
  code, message = run_command(run_classifier, [
      "--task_name=table", "--train_file=" + train, "--test_file=" + test,
      "--text_a=text", "--label=label", "--do_predict",
      "--max_seq_length=12", "--init_checkpoint=" +
      os.path.join(back, "bert_model.ckpt"), "--bert_config_file=" +
      os.path.join(back, "bert_config.json"), "--vocab_file=" +
      os.path.join(back, "vocab.txt"), "--output_dir=%s" % (
          tmp_path / "predicted")])
  assert code == 0, message
  np.testing.assert_allclose(
      read_probabilities(str(tmp_path / "predicted")), expected, atol=1e-6)


def test_labels_without_names_are_numbers(tmp_path):
  folder, _ = write_reference(
      tmp_path / "reference", "BertForSequenceClassification")
  os.remove(os.path.join(folder, "run.json"))
  there = convert(folder, tmp_path / "hf")
  assert read_json(there, "config.json")["id2label"]["2"] == "LABEL_2"
  assert "labels" not in checkpoints.read_record(
      convert(there, tmp_path / "back"))
  with predictor.Predictor(str(tmp_path / "back")) as model:
    assert model.labels == ["0", "1", "2"]
  named = convert(folder, tmp_path / "named", labels="a,b,c")
  assert read_json(named, "config.json")["label2id"] == {"a": 0, "b": 1, "c": 2}
  assert "expected 3 different labels" in find_mistake(
      folder, tmp_path, labels="a,b")
  assert "trained with a,b,c" in find_mistake(named, tmp_path, labels="a,b,d")


def test_thresholds_of_labels_go_with_a_model(tmp_path):
  folder, _ = write_reference(
      tmp_path / "reference", "BertForSequenceClassification")
  record = checkpoints.read_record(folder)
  record["problem_type"] = "multi_label_classification"
  with open(os.path.join(folder, "run.json"), "w") as writer:
    json.dump(record, writer)
  thresholds.write(folder, os.path.join(folder, "bert_model.ckpt"),
                   record["labels"], [0.25, 0.5, 0.75])
  back = convert(convert(folder, tmp_path / "hf"), tmp_path / "back")
  assert thresholds.read([back], os.path.join(back, "bert_model.ckpt"),
                         record["labels"]).tolist() == [0.25, 0.5, 0.75]
  there = str(tmp_path / "hf")
  # Trained further.
  shutil.copytree(there, str(tmp_path / "further"))
  rewrite(str(tmp_path / "further"), lambda arrays: arrays.update(
      {"classifier.bias": arrays["classifier.bias"] + 0.1}))
  with captured_log() as lines:
    further = convert(tmp_path / "further", tmp_path / "further back")
  assert "thresholds.json" not in os.listdir(further)
  assert any("thresholds of labels were tuned for other weights" in line
             for line in lines)
  # Stored in 16 bits.
  shutil.copytree(there, str(tmp_path / "halved"))
  rewrite(str(tmp_path / "halved"), lambda arrays: arrays.update(
      {"classifier.weight": np.float32(np.float16(
          arrays["classifier.weight"]))}))
  assert "thresholds.json" in os.listdir(
      convert(tmp_path / "halved", tmp_path / "halved back"))
  # Others than those of the labels are left out, and labels may have no names.
  for name, change in (("fewer", {"bert_suite": dict(read_json(
      there, "config.json")["bert_suite"], thresholds=[0.1, 0.2])}),
                       ("unnamed", {"id2label": {
                           str(i): "LABEL_%d" % i for i in range(3)}})):
    change_json(os.path.join(there, "config.json"), **change)
    back = convert(there, tmp_path / name)
    assert "thresholds.json" not in os.listdir(back)
    convert(back, tmp_path / (name + " again"))


def test_old_names_buffers_and_the_tied_layer_are_known(tmp_path):
  there = make_hugging_face(tmp_path, "BertForPreTraining")

  def make_old(arrays):
    words = arrays["bert.embeddings.word_embeddings.weight"]
    bias = arrays.pop("cls.predictions.bias")
    arrays = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
        "LayerNorm.bias", "LayerNorm.beta"): value
              for name, value in arrays.items()}
    return dict(arrays, **{
        "cls.predictions.decoder.weight": words,
        "cls.predictions.decoder.bias": bias,
        "bert.embeddings.position_ids": np.zeros([1, 20], np.float32)})

  rewrite(there, make_old)
  change_json(os.path.join(there, "config.json"),
              architectures=["BertForMaskedLM"])
  back = convert(there, tmp_path / "back")
  found = read_weights(os.path.join(back, "bert_model.ckpt"))
  for name, value in make_weights("BertForPreTraining").items():
    np.testing.assert_array_equal(found[name], value)

  rewrite(there, lambda arrays: dict(arrays, **{
      "cls.predictions.decoder.weight": arrays[
          "bert.embeddings.word_embeddings.weight"] + 1}))
  message = find_mistake(there, tmp_path)
  assert "cls.predictions.decoder.weight is not bert.embeddings.word_" in (
      message)


def test_a_pooler_that_is_absent_is_new_and_the_same_each_time(tmp_path):
  there = make_hugging_face(tmp_path, "BertForQuestionAnswering")
  rewrite(there, lambda arrays: {name: value for name, value in arrays.items()
                                 if "pooler" not in name})
  found = [read_weights(os.path.join(
      convert(there, tmp_path / name), "bert_model.ckpt")) for name in "ab"]
  kernel = found[0]["bert/pooler/dense/kernel"]
  np.testing.assert_array_equal(kernel, found[1]["bert/pooler/dense/kernel"])
  assert 0.01 < kernel.std() < 0.03 and np.abs(kernel).max() <= 0.04
  with predictor.Predictor(str(tmp_path / "a")) as model:
    assert model.settings["version_2_with_negative"] is True
    answer, = model.predict([("is it near", "the cat is near")])
  assert set(answer) == {"text", "probability", "start_char", "end_char"}


@pytest.mark.parametrize("dtype", ["F16", "BF16"])
def test_half_precision_becomes_float32(tmp_path, encoder, dtype):
  path = os.path.join(encoder, "model.safetensors")
  arrays = {name: tensor.read()
            for name, tensor in safetensors_files.read(path).items()}
  header, data = {}, b""
  for name, array in arrays.items():
    half = array.astype("<f2") if dtype == "F16" else (
        array.view(np.uint32) >> 16).astype("<u2")
    arrays[name] = half.astype(np.float32) if dtype == "F16" else (
        half.astype(np.uint32) << 16).view(np.float32)
    header[name] = {"dtype": dtype, "shape": list(array.shape),
                    "data_offsets": [len(data), len(data) + half.nbytes]}
    data += half.tobytes()
  text = json.dumps(header).encode("utf-8")
  with open(path, "wb") as writer:
    writer.write(struct.pack("<Q", len(text)) + text + data)
  found = read_weights(os.path.join(
      convert(encoder, tmp_path / "back"), "bert_model.ckpt"))
  assert found["bert/embeddings/word_embeddings"].dtype == np.float32
  np.testing.assert_array_equal(
      found["bert/encoder/layer_0/attention/self/key/kernel"],
      arrays["encoder.layer.0.attention.self.key.weight"].T)


@pytest.mark.parametrize("changes, expected", [
    ({"model_type": "distilbert"}, "not BERT: it has no segments"),
    ({"model_type": "roberta"}, "its positions begin at 2"),
    ({"model_type": "no_such"}, "model_type is no_such, which is not BERT"),
    ({"position_embedding_type": "relative_key"}, "positions are not absolute"),
    ({"embedding_size": 8}, "its embeddings have a size of their own"),
    ({"is_decoder": True}, "it is a decoder"),
    ({"add_cross_attention": True}, "it has cross-attention"),
    ({"tie_word_embeddings": False, "architectures": ["BertForMaskedLM"]},
     "its output layer has a table"),
    ({"pruned_heads": {"0": [1]}}, "pruned_heads is not empty"),
    ({"hidden_act": "silu"}, "hidden_act is 'silu', expected one of gelu"),
    ({"architectures": ["BertForMultipleChoice"]}, "architectures is BertFor"),
    ({"hidden_size": "16"}, "hidden_size"),
    ({"num_hidden_layers": 3},
     "there is no encoder.layer.2.attention.self.query.weight".replace(
         "encoder", "bert.encoder")),
    ({"num_hidden_layers": 1},
     "is not part of this kind of model; and 13 more"),
    ({"intermediate_size": 25}, "is [24, 16], expected [25, 16]"),
    ({"vocab_size": 10}, "word_embeddings.weight is [22, 16], expected [10"),
    ({"architectures": ["BertForQuestionAnswering"]},
     "there is no qa_outputs.weight"),
    ({"architectures": ["BertForSequenceClassification"],
      "id2label": {"0": "a", "2": "b"}}, "id2label: expected an object"),
], ids=lambda value: next(iter(value)) if isinstance(value, dict) else "")
def test_what_is_no_bert_is_refused_with_the_reason(
    tmp_path, encoder, changes, expected):
  change_json(os.path.join(encoder, "config.json"), **changes)
  assert expected in find_mistake(encoder, tmp_path)


def test_extra_tensors_are_refused(tmp_path, encoder):
  rewrite(encoder, lambda arrays: dict(
      arrays, **{"bert.lora": np.ones([2], np.float32)}))
  assert "bert.lora is not part of this kind of model" in find_mistake(
      encoder, tmp_path)
  rewrite(encoder, lambda arrays: {
      "classifier.bias": np.ones([2], np.float32)})
  change_json(os.path.join(encoder, "config.json"), architectures=None)
  assert "does not say of what; add" in find_mistake(encoder, tmp_path)


def damage_header(change):
  """Returns a function that changes the header of a file, as a dict."""
  def damage(data):
    length, = struct.unpack("<Q", data[:8])
    header = json.loads(data[8:8 + length].decode("utf-8"))
    text = json.dumps(change(header) or header).encode("utf-8")
    return struct.pack("<Q", len(text)) + text + data[8 + length:]

  return damage


def change_entry(**changes):
  return damage_header(
      lambda header: header["pooler.dense.bias"].update(changes))


@pytest.mark.parametrize("damage, expected", [
    (lambda data: b"", "found 0 bytes"),
    (lambda data: data[:7], "found 7 bytes"),
    (lambda data: data[:300], "length"),
    (lambda data: data[:-4], "its header says"),
    (lambda data: data + b"more", "its header says"),
    (lambda data: struct.pack("<Q", 2 ** 63) + data[8:], "length"),
    (lambda data: data[:8] + b"\xff" + data[9:], "utf-8"),
    (lambda data: data[:8] + b"[" + data[9:], "cannot be read as safetensors"),
    (damage_header(lambda header: [1]), "not a JSON object"),
    (change_entry(dtype="F31"), "dtype 'F31' is not known"),
    (change_entry(shape=[-16]), "not whole numbers"),
    (change_entry(shape=[2 ** 40, 2 ** 40]), "has 64 bytes, not"),
    (change_entry(data_offsets=[0, 64]), "expected"),
    (change_entry(data_offsets=[2 ** 60, 2 ** 60 + 64]), "expected"),
    (change_entry(more=1), "expected dtype, shape and data_offsets"),
    (change_entry(dtype="I32"), "found weights of type I32"),
], ids=range(16))
def test_damaged_safetensors_give_one_line(tmp_path, encoder, damage, expected):
  path = os.path.join(encoder, "model.safetensors")
  with open(path, "rb") as reader:
    data = reader.read()
  with open(path, "wb") as writer:
    writer.write(damage(data))
  message = find_mistake(encoder, tmp_path)
  assert "model.safetensors: " in message and expected in message


def test_a_tensor_that_is_named_twice_is_refused(tmp_path):
  text = b'{"a": 1, "a": 2}'
  path = str(tmp_path / "model.safetensors")
  with open(path, "wb") as writer:
    writer.write(struct.pack("<Q", len(text)) + text)
  with pytest.raises(ValueError, match="a is there twice"):
    safetensors_files.read(path)


def test_an_index_names_only_files_beside_it(tmp_path):
  folder, _ = write_reference(
      tmp_path / "reference", "BertModel", intermediate_size=20000)
  there = convert(folder, tmp_path / "hf", max_shard_mb=1)
  index = os.path.join(there, "model.safetensors.index.json")
  places = read_json(index)["weight_map"]
  name = sorted(places)[0]
  for value, expected in (
      ({name: "../hf/" + places[name]}, "which is not beside it"),
      (dict(places, more=places[name]), "there is no more in"),
      ([], "cannot be read as an index")):
    change_json(index, weight_map=value)
    assert expected in find_mistake(there, tmp_path)


def test_a_vocabulary_may_be_in_tokenizer_json(tmp_path, encoder):
  os.remove(os.path.join(encoder, "vocab.txt"))
  os.remove(os.path.join(encoder, "tokenizer_config.json"))
  assert "neither vocab.txt nor tokenizer.json" in find_mistake(
      encoder, tmp_path)
  ids = {word: i for i, word in enumerate(WORDS[:-1])}
  tokenizer = {
      "model": {"type": "WordPiece", "unk_token": "[UNK]", "vocab": ids,
                "continuing_subword_prefix": "##"},
      "normalizer": {"type": "BertNormalizer", "lowercase": False,
                     "strip_accents": None, "handle_chinese_chars": True},
      "added_tokens": [{"id": 0, "content": "[PAD]"},
                       {"id": len(ids), "content": WORDS[-1]}]}
  path = os.path.join(encoder, "tokenizer.json")

  def write(**changes):
    with open(path, "w") as writer:
      json.dump(dict(tokenizer, **changes), writer)

  write()
  back = convert(encoder, tmp_path / "back")
  with open(os.path.join(back, "vocab.txt")) as reader:
    assert reader.read().split("\n") == WORDS + [""]
  assert read_json(back, "bert_config.json")["do_lower_case"] is False
  # One that BERT's tokenizer takes apart.
  write(added_tokens=tokenizer["added_tokens"][:1] + [
      {"id": len(ids), "content": "[E1]"}])
  with captured_log() as lines:
    convert(encoder, tmp_path / "parted")
  assert any("the added words [E1] are one piece to" in line for line in lines)
  for changes, expected in (
      ({"model": {"type": "BPE"}}, "type is 'BPE', not BERT's WordPiece"),
      ({"model": dict(tokenizer["model"], vocab=dict(ids, more=99))},
       "the ids of 22 tokens are not 0 to 21"),
      ({"added_tokens": [1]}, "added_tokens: expected entries"),
      ({"added_tokens": [{"id": 1, "content": 5}]}, "expected entries")):
    write(**changes)
    assert expected in find_mistake(encoder, tmp_path)


def test_without_a_masked_lm_no_table_has_to_be_tied(tmp_path, encoder):
  change_json(os.path.join(encoder, "config.json"), tie_word_embeddings=False)
  assert "bert_config.json" in os.listdir(convert(encoder, tmp_path / "back"))


@pytest.mark.parametrize("change", [
    {"tokenizer_class": "BertJapaneseTokenizer"},
    {"tokenizer_class": "BertTokenizer", "word_tokenizer_type": "mecab"},
    {"subword_tokenizer_type": "character"}])
def test_other_tokenizers_are_refused(tmp_path, encoder, change):
  change_json(os.path.join(encoder, "tokenizer_config.json"), **change)
  name, value = sorted(change.items())[-1]
  assert "tokenizer_config.json: %s is %s, which splits text" % (
      name, value) in find_mistake(encoder, tmp_path)


def test_nothing_is_written_over_and_nothing_half_written(
    tmp_path, encoder, monkeypatch):
  code, message = run_command(convert_checkpoint, [
      "--model_dir=" + encoder, "--output_dir=" + encoder])
  assert code == 1 and "exists already" in message

  def fail(path, value):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr(convert_checkpoint.files, "write_json", fail)
  code, message = run_command(convert_checkpoint, [
      "--model_dir=" + encoder, "--output_dir=%s" % (tmp_path / "new")])
  assert code == 1 and "No space left" in message
  assert sorted(os.listdir(str(tmp_path))) == ["hf"]


def test_other_scripts_name_the_command(tmp_path, encoder):
  command = "python convert_checkpoint.py --model_dir=%s --output_dir" % encoder
  for path in (encoder, os.path.join(encoder, "config.json")):
    with pytest.raises(ValueError) as error:
      modeling.BertConfig.from_json_file(path)
    assert command in str(error.value)
  for path in (encoder, os.path.join(encoder, "model.safetensors")):
    with pytest.raises(ValueError) as error:
      checkpoints.resolve(path)
    assert command in str(error.value)


def test_pytorch_files_are_read_without_running_what_is_in_them(
    tmp_path, encoder, monkeypatch):
  path = os.path.join(encoder, "model.safetensors")
  arrays = {name: tensor.read()
            for name, tensor in safetensors_files.read(path).items()}
  os.rename(path, os.path.join(encoder, "pytorch_model.bin"))
  monkeypatch.setitem(sys.modules, "torch", None)  # it is not installed
  assert "pip install torch" in find_mistake(encoder, tmp_path)

  class FakeTensor:
    dtype = "float32"

    def __init__(self, array):
      self.array, self.shape = array, array.shape

    def detach(self):
      return self

    float = detach

    def numpy(self):
      return self.array

  def load(path, map_location, weights_only):
    assert path.endswith("pytorch_model.bin") and map_location == "cpu"
    assert weights_only is True
    return {name: FakeTensor(array) for name, array in arrays.items()}

  monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(
      load=load, Tensor=FakeTensor, float32="float32", float16="float16",
      bfloat16="bfloat16"))
  found = read_weights(os.path.join(
      convert(encoder, tmp_path / "back"), "bert_model.ckpt"))
  for name, value in make_weights("BertModel").items():
    np.testing.assert_array_equal(found[name], value)


def write_model_garden(folder, weights, scope, is_old):
  """Writes an object-based checkpoint as the Model Garden names its own."""
  with tf.Graph().as_default(), tf.Session() as session:
    model = make_model_garden(weights, is_old)
    checkpoint = tf.train.Checkpoint(**{scope: model})
    session.run(tf.global_variables_initializer())
    checkpoint.save_counter  # noqa: B018  # which makes it
    session.run(checkpoint.save_counter.initializer)
    return checkpoint.save(
        os.path.join(str(folder), "bert_model.ckpt"), session)


def make_model_garden(weights, is_old):
  """Makes what stands in for an encoder of the Model Garden."""
  heads, width = SHAPE["num_attention_heads"], SHAPE["hidden_size"]

  def as_layer(**variables):
    node = tf.Module()
    for name, value in variables.items():
      setattr(node, name, tf.Variable(value))
    return node

  def dense(name, shape=None, bias=None):
    return as_layer(
        kernel=weights[name + "/kernel"].reshape(shape or [width, -1]),
        bias=weights[name + "/bias"].reshape(bias or [-1]))

  def norm(name):
    return as_layer(
        gamma=weights[name + "/gamma"], beta=weights[name + "/beta"])

  layers = [as_layer(embeddings=weights["bert/embeddings/%s_embeddings" % name])
            for name in ("word", "position", "token_type")]
  layers.append(norm("bert/embeddings/LayerNorm"))
  for i in range(SHAPE["num_hidden_layers"]):
    name, layer = "bert/encoder/layer_%d/" % i, tf.Module()
    by_head = [heads, width // heads]
    attention = tf.Module()
    for part in ("query", "key", "value"):
      setattr(attention, "_%s_dense" % part, dense(
          name + "attention/self/" + part, [width] + by_head, by_head))
    setattr(layer if is_old else attention, "_attention_output_dense" if is_old
            else "_output_dense", dense(
                name + "attention/output/dense", by_head + [width]))
    layer._attention_layer = attention
    layer._attention_layer_norm = norm(name + "attention/output/LayerNorm")
    layer._intermediate_dense = dense(name + "intermediate/dense")
    layer._output_dense = dense(name + "output/dense", [-1, width])
    layer._output_layer_norm = norm(name + "output/LayerNorm")
    layers.append(layer)
  layers.append(dense("bert/pooler/dense"))
  model = tf.Module()
  for i, layer in enumerate(layers):
    setattr(model, "layer_with_weights-%d" % i, layer)
  return model


@pytest.mark.parametrize("scope, is_old", [("encoder", False), ("model", True)])
def test_the_model_garden_s_layout_is_read(tmp_path, scope, is_old):
  weights = make_weights("BertModel")
  write_config(tmp_path, **SHAPE)
  write_vocab(tmp_path)
  checkpoint = write_model_garden(tmp_path, weights, scope, is_old)
  back = convert(None, tmp_path / "back", init_checkpoint=checkpoint)
  found = read_weights(os.path.join(back, "bert_model.ckpt"))
  assert set(found) == set(weights)
  for name, value in weights.items():
    np.testing.assert_array_equal(found[name], value, err_msg=name)

  with pytest.raises(ValueError, match="python convert_checkpoint.py --init_"):
    checkpoint_fit.check_shapes_of({"bert/x": [1]}, checkpoint, True, "")
  change_json(tmp_path / "bert_config.json", num_hidden_layers=1)
  assert "no part of an encoder of the Model Garden with 1 layers" in (
      find_mistake(tmp_path, tmp_path, init_checkpoint=checkpoint))
  change_json(tmp_path / "bert_config.json", num_hidden_layers=2,
              num_attention_heads=4)
  assert "expected [16, 16]" in find_mistake(
      tmp_path, tmp_path, init_checkpoint=checkpoint)
