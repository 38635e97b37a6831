"""Tests of extract_features: lines, vectors, files, streaming, mistakes."""

import contextlib
import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

from bert_suite import checkpoints, cli, feature_files, input_pipeline, serving
import extract_features
import helpers
import modeling
import tokenization

LINES = ["The kettle sings.", "", "It rains. ||| Tea is near.", "cat",
         "a ||| b ||| c", "the the the the the the the the the the the the",
         "\u00e9t\u00e9 tea"] * 3
CONFIG = dict(helpers.CONFIG, num_hidden_layers=3)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
  """Gives flags of a model with random weights."""
  folder = tmp_path_factory.mktemp("model")
  config_file = helpers.write_config(folder, num_hidden_layers=3)
  with tf.Graph().as_default(), tf.Session() as session:
    tf.set_random_seed(1)
    modeling.BertModel(modeling.BertConfig(**CONFIG), False,
                       tf.zeros([1, 4], tf.int32))
    session.run([tf.assign(v, tf.random_normal(v.shape, stddev=0.3, seed=i))
                 for i, v in enumerate(tf.global_variables())])
    checkpoint = tf.train.Saver().save(session, str(folder / "model.ckpt"))
  return dict(vocab_file=helpers.write_vocab(folder),
              bert_config_file=config_file, init_checkpoint=checkpoint,
              max_seq_length=12, batch_size=2)


def write_input(folder):
  return helpers.write_lines(folder / "in.txt", [[line] for line in LINES])


def run(model, folder, output="out", **flags):
  """Runs the script; returns the output's path."""
  path = str(folder / output)
  arguments = dict(dict(model, input_file=write_input(folder),
                        output_file=path, layers="-1,0"), **flags)
  helpers.run_main(extract_features, [
      "--%s=%s" % item for item in sorted(arguments.items())])
  return path


def read_json(path):
  with open(path, encoding="utf-8") as reader:
    return [json.loads(line) for line in reader]


def arrays_of(lines):
  """Returns float [T, L, W] of each line of JSON."""
  return [np.array([[layer["values"] for layer in token["layers"]]
                    for token in line["features"]]) for line in lines]


@pytest.fixture(scope="module")
def expected(model):
  """Computes every line by itself, without padding."""
  tokenizer = tokenization.FullTokenizer(model["vocab_file"])
  examples = [extract_features.InputExample(
      i, *((line.rpartition(" ||| ")[0], line.rpartition(" ||| ")[2])
           if " ||| " in line else (line, None)))
              for i, line in enumerate(LINES)]
  features = extract_features.convert_examples_to_features(
      examples, 12, tokenizer)
  tokens, arrays = [], []
  with tf.Graph().as_default(), tf.Session() as session:
    ids = tf.placeholder(tf.int32, [1, None])
    segments = tf.placeholder(tf.int32, [1, None])
    bert = modeling.BertModel(
        modeling.BertConfig(**CONFIG), False, ids, None, segments)
    layers = bert.get_all_encoder_layers()
    output = tf.stack([layers[2], layers[0]], axis=2)
    tf.train.Saver().restore(session, model["init_checkpoint"])
    for one in features:
      count = len(one.tokens)
      tokens.append(one.tokens)
      arrays.append(session.run(output, {
          ids: [one.input_ids[:count]],
          segments: [one.input_type_ids[:count]]})[0])
  return tokens, arrays


def test_json_numbers_are_those_of_round_and_json():
  random = np.random.RandomState(0)
  special = np.array([[0.0, -0.0, 1e-6, -1e-6, 1e-4, 9.99995e-5, 5e-7, 1.5e-6,
                       2.5e-6, 999.99994, -1000.0, 0.5, 1.0, 123.456, -1e20,
                       np.nan, np.inf, -np.inf]], np.float32)
  ties = (np.arange(-4001, 4001, 2) / 2.0**7).astype(np.float32)[np.newaxis]
  decimals = (np.arange(10**6)[:999991:11].reshape([-1, 1]) / 1e6).astype(
      np.float32)
  matrices = [special, ties, decimals] + [
      (random.randn(300, 8) * scale).astype(np.float32)
      for scale in (1e-7, 1e-5, 1e-3, 1, 300)]
  numbers = feature_files.JsonNumbers()
  for matrix in matrices:
    assert numbers.print_rows(matrix) == [
        ", ".join(json.dumps(round(float(x), 6)) for x in row).encode("ascii")
        for row in matrix]
  assert numbers.print_rows(np.zeros([0, 8], np.float32)) == []


@pytest.mark.parametrize("remove_padding", [True, False])
def test_json_has_the_layers_of_every_token_in_order(
    model, expected, tmp_path, remove_padding):
  path = run(model, tmp_path, remove_padding=remove_padding)
  lines = read_json(path)
  assert [line["linex_index"] for line in lines] == list(range(len(LINES)))
  tokens, arrays = expected
  assert [[token["token"] for token in line["features"]]
          for line in lines] == tokens
  assert [[layer["index"] for layer in line["features"][0]["layers"]]
          for line in lines] == [[-1, 0]] * len(LINES)
  for found, array in zip(arrays_of(lines), arrays):
    np.testing.assert_allclose(found, array, atol=2e-5)
  # To the letter what json.dumps makes of it.
  with open(path) as reader:
    assert reader.readline() == json.dumps(lines[0]) + "\n"


def test_how_many_lines_were_cut_is_logged_once(model, tmp_path):
  with helpers.captured_log() as lines:
    run(model, tmp_path)
    run(model, tmp_path, max_seq_length=14)
  cut = [line for line in lines if line.endswith("were cut")]
  assert cut == ["3 of 21 lines have more than the 12 word pieces of "
                 "--max_seq_length, [CLS] and [SEP] included, and were cut"]


def test_archive_and_records_hold_the_same(model, expected, tmp_path):
  tokens, arrays = expected
  archive = np.load(run(model, tmp_path, "out.npz", output_format="npz"))
  assert archive["values"].dtype == np.float32
  np.testing.assert_allclose(
      archive["values"], np.concatenate(arrays), atol=2e-5)
  assert archive["tokens"].tolist() == sum(tokens, [])
  assert archive["line_starts"].tolist() == [0] + np.cumsum(
      [len(t) for t in tokens]).tolist()
  assert archive["layers"].tolist() == [-1, 0]

  path = run(model, tmp_path, "out.tfrecord", output_format="tfrecord")
  records = list(tf.python_io.tf_record_iterator(path))
  assert len(records) == len(LINES)
  for index, record in enumerate(records):
    feature = tf.train.Example.FromString(record).features.feature
    assert feature["linex_index"].int64_list.value[:] == [index]
    assert [t.decode("utf-8") for t in feature["tokens"].bytes_list.value
            ] == tokens[index]
    assert feature["layers"].int64_list.value[:] == [-1, 0]
    values = np.reshape(feature["values"].float_list.value,
                        feature["shape"].int64_list.value)
    np.testing.assert_allclose(values, arrays[index], atol=2e-5)


@pytest.mark.parametrize("pooling,pool", [
    ("cls", lambda array: array[0]), ("mean", lambda array: array.mean(axis=0)),
    ("max", lambda array: array.max(axis=0))])
def test_pooling_gives_one_vector_per_line(
    model, expected, tmp_path, pooling, pool):
  vectors = [pool(array).reshape([-1]) for array in expected[1]]
  flags = dict(pooling=pooling, remove_padding=pooling != "max")
  lines = read_json(run(model, tmp_path, **flags))
  assert [sorted(line) for line in lines] == [
      ["linex_index", "values"]] * len(LINES)
  np.testing.assert_allclose(
      [line["values"] for line in lines], vectors, atol=2e-5)
  archive = np.load(run(model, tmp_path, output_format="npz", **flags))
  assert sorted(archive) == ["layers", "values"]
  np.testing.assert_allclose(archive["values"], vectors, atol=2e-5)


@pytest.mark.parametrize("pooling", ["none", "mean"])
def test_the_estimator_gives_the_same(model, tmp_path, pooling):
  """The way of --use_tpu, on what there is here."""
  config = modeling.BertConfig(**CONFIG)
  tokenizer = tokenization.FullTokenizer(model["vocab_file"])
  features = extract_features.convert_examples_to_features(
      extract_features.read_examples(write_input(tmp_path)), 12, tokenizer)[:7]
  with helpers.captured_log():
    ours = extract_features.make_session_runner(
        config, model["init_checkpoint"], [-1, 0], pooling, 2)(features)
    theirs = extract_features.make_estimator_runner(
        extract_features.model_fn_builder(
            config, model["init_checkpoint"], [-1, 0], False, True, pooling),
        12, 4)(features)
  assert len(ours) == len(theirs) == 7
  for one, other in zip(ours, theirs):
    np.testing.assert_allclose(one, other, atol=2e-5)


def test_batches_of_many_sizes_are_computed_in_few_shapes(model, monkeypatch):
  """For each shape oneDNN keeps memory, and a long text has all of them."""
  served = []
  open_session = serving.open_session
  monkeypatch.setattr(serving, "open_session", lambda *args: (
      served.append(open_session(*args)), served[0])[1])
  extract_features.make_session_runner(
      modeling.BertConfig(**CONFIG), model["init_checkpoint"], [-1], "none", 8)
  session, inputs, _ = served[0]
  with session.graph.as_default():
    shapes = [tf.shape(session.graph.get_tensor_by_name(
        "bert/encoder/layer_0/%s:0" % name)) for name in (
            "intermediate/dense/MatMul", "attention/self/Softmax")]
  found = []
  for length in range(1, 13):
    for shorter in range(1, length + 1):
      mask = (np.arange(length) < np.array([[length]] + [[shorter]] * 7))
      found.append([tuple(shape) for shape in session.run(
          shapes, {placeholder: mask.astype(np.int32)
                   for placeholder in inputs.values()})])
  dense, attention = zip(*found)
  assert {rows for rows, _ in dense} == set(range(8, 97, 8))
  assert {shape[-1] for shape in attention} == {4, 8, 12}


def test_a_stream_is_read_no_further_than_it_is_used(model):
  read = []

  def examples():
    for i in range(1000):
      read.append(i)
      yield extract_features.InputExample(i, "tea", None)

  tokenizer = tokenization.FullTokenizer(model["vocab_file"])
  lines = extract_features.extract(
      examples(), 12, tokenizer,
      lambda features: [np.zeros([len(f.tokens), 1, 4]) for f in features], 10)
  assert next(lines).index == 0
  assert len(read) < 100
  lines.close()
  assert len(read) < 100


def test_an_error_of_any_stage_arrives(model):
  def examples():
    yield extract_features.InputExample(0, "tea", None)
    raise ValueError("reading")

  def fail(features):
    raise ValueError("running %d" % len(features))

  tokenizer = tokenization.FullTokenizer(model["vocab_file"])
  for run_window, message in (
      (fail, "running 1"),
      (lambda features: [None] * len(features), "reading")):
    with pytest.raises(ValueError, match=message):
      list(extract_features.extract(examples(), 12, tokenizer, run_window, 1))
  stop = threading.Event()
  assert list(input_pipeline.in_background(iter(range(5)), 1, stop)) == [
      0, 1, 2, 3, 4]
  assert not stop.is_set()


def test_nothing_runs_on_when_writing_fails(model, tmp_path, monkeypatch):
  @contextlib.contextmanager
  def failing_writer(*unused_args):
    def write(unused_line):
      raise RuntimeError("no more")

    yield write

  monkeypatch.setitem(feature_files.WRITERS, "jsonl", failing_writer)

  def threads():
    """The threads of Python; those of TensorFlow that call it come and go."""
    return {thread for thread in threading.enumerate()
            if not thread.name.startswith("Dummy")}

  before = threads()
  with pytest.raises(RuntimeError, match="no more") as error:
    run(dict(model, batch_size=1), tmp_path)
  assert error.traceback
  left = threads() - before
  for thread in left:  # one that reads sees within a tenth of a second
    thread.join(10)
  assert not [thread for thread in left if thread.is_alive()]


def test_lines_are_texts_or_pairs(tmp_path):
  path = str(tmp_path / "in.txt")
  with open(path, "wb") as writer:
    writer.write(b"\xef\xbb\xbf one  \r\n\na ||| b ||| c\n ||| d\n\xc3\xa9")
  assert [(e.unique_id, e.text_a, e.text_b)
          for e in extract_features.read_examples(path)] == [
              (0, "one", None), (1, "", None), (2, "a ||| b", "c"),
              (3, "||| d", None), (4, "\u00e9", None)]


@pytest.mark.parametrize("is_gzip", [False, True])
def test_a_file_and_standard_input_mean_the_same(
    tmp_path, monkeypatch, is_gzip):
  path = tmp_path / "in.txt"
  path.write_bytes(b"one\rtwo\r\nthree\x0bfour\xe2\x80\xa8five\r\r\n\nsix\r")
  if is_gzip:
    helpers.gzip_file(path)
  examples = extract_features.read_examples(str(path))
  assert [example.text_a for example in examples] == [
      "one\rtwo", "three\x0bfour\u2028five", "", "six"]
  with open(str(path), "rb") as reader:
    monkeypatch.setattr(sys, "stdin", reader)
    assert [vars(e) for e in extract_features.read_examples("-")] == [
        vars(example) for example in examples]


def test_a_pipe_is_read_as_it_comes(tmp_path):
  path = str(tmp_path / "pipe")
  os.mkfifo(path)
  has_read = threading.Event()

  def feed():
    with open(path, "wb") as writer:
      writer.write(b"tea\n")
      writer.flush()
      assert has_read.wait(60)
      writer.write(b"cat ||| rain\n")

  thread = threading.Thread(target=feed, daemon=True)
  thread.start()
  examples = extract_features.stream_examples(path)
  assert next(examples).text_a == "tea"
  has_read.set()
  assert [(e.text_a, e.text_b) for e in examples] == [("cat", "rain")]
  thread.join()


def test_standard_input_and_output(model, tmp_path):
  path = run(model, tmp_path)
  arguments = dict(model, input_file="-", output_file="-", layers="-1,0")
  with open(write_input(tmp_path), "rb") as reader:
    process = subprocess.run(
        [sys.executable, os.path.join(helpers.TOP, "extract_features.py")] +
        ["--%s=%s" % item for item in arguments.items()],
        stdin=reader, capture_output=True)
  assert process.returncode == 0, process.stderr[-3000:]
  assert b"Wrote the features of 21 lines" in process.stderr
  with open(path, "rb") as reader:
    assert process.stdout == reader.read()


@pytest.mark.slow
@pytest.mark.parametrize("output_format", sorted(feature_files.WRITERS))
def test_a_reader_that_leaves_ends_it_quietly(model, tmp_path, output_format):
  path = helpers.write_lines(tmp_path / "in.txt", [["the kettle sings"]] * 3000)
  arguments = dict(model, input_file=path, output_file="-", layers="-1,0",
                   output_format=output_format)
  process = subprocess.Popen(
      [sys.executable, os.path.join(helpers.TOP, "extract_features.py")] +
      ["--%s=%s" % item for item in arguments.items()],
      stdout=subprocess.PIPE, stderr=subprocess.PIPE)
  timer = threading.Timer(120, process.kill)  # should its threads not end
  timer.start()
  assert process.stdout.read(1)
  process.stdout.close()
  stderr = process.stderr.read().decode("utf-8")
  process.stderr.close()
  assert process.wait() == 141, stderr[-3000:]
  timer.cancel()
  for text in "roken", "Traceback", "extract_features.py:":
    assert text not in stderr


def parse_records(path):
  """Returns the examples of a file; bytes of equal ones may be in any order."""
  return [tf.train.Example.FromString(record)
          for record in tf.python_io.tf_record_iterator(str(path))]


def test_records_to_standard_output_follow_what_is_there(tmp_path):
  path = str(tmp_path / "out")
  line = feature_files.LineFeatures(
      3, ["tea"], np.arange(300, dtype=np.float32).reshape([1, 1, 300]))
  with feature_files.record_writer(path, [-1]) as write:
    write(line)
  example, = parse_records(path)
  script = ("import numpy as np; from bert_suite import feature_files\n"
            "with feature_files.record_writer('-', [-1]) as write:\n"
            "  write(feature_files.LineFeatures(3, ['tea'], np.arange(\n"
            "      300, dtype=np.float32).reshape([1, 1, 300])))")
  with open(path, "ab") as appended:
    subprocess.check_call([sys.executable, "-c", script], stdout=appended,
                          cwd=helpers.TOP)
  assert parse_records(path) == [example] * 2


@pytest.mark.parametrize("output_format", sorted(feature_files.WRITERS))
def test_links_are_followed_and_pipes_written_to(tmp_path, output_format):
  lines = [feature_files.LineFeatures(i, ["tea"], np.ones([1, 1, 300]))
           for i in range(3)]

  def write(path):
    extract_features.write_features(lines, str(path), output_format, [-1])

  (tmp_path / "elsewhere").mkdir()
  link, target = tmp_path / "link", tmp_path / "elsewhere" / "target"
  link.symlink_to(target)
  for _ in range(2):  # a target that is not there, then one that is
    write(link)
    assert link.is_symlink() and not target.is_symlink()
  assert os.listdir(str(tmp_path / "elsewhere")) == ["target"]

  pipe, received = str(tmp_path / "pipe"), []
  os.mkfifo(pipe)

  def receive():
    with open(pipe, "rb") as reader:
      received.append(reader.read())

  thread = threading.Thread(target=receive, daemon=True)
  thread.start()
  write(pipe)
  thread.join()
  assert len(received[0]) > 300
  if output_format == "jsonl":
    assert received == [target.read_bytes()]
  elif output_format == "tfrecord":
    (tmp_path / "received").write_bytes(received[0])
    assert parse_records(tmp_path / "received") == parse_records(target)
  with open(str(tmp_path / "opened"), "wb") as opened:
    opened.write(b"before")
    opened.flush()
    write("/dev/fd/%d" % opened.fileno())
  assert (tmp_path / "opened").read_bytes()[:6] == b"before"
  assert (tmp_path / "opened").stat().st_size == 6 + len(received[0])
  write("/dev/null")
  assert not os.path.isfile("/dev/null")


def test_pairs_for_a_model_of_single_texts():
  examples = [extract_features.InputExample(0, "tea", None),
              extract_features.InputExample(1, "tea", "rains")]
  assert list(extract_features.check_pairs(examples, 2)) == examples
  checked = extract_features.check_pairs(examples, 1)
  assert next(checked) is examples[0]
  with pytest.raises(ValueError, match="^line 2: is a pair of texts, but the "
                     "model's type_vocab_size is 1"):
    next(checked)


@pytest.mark.parametrize("flags,message", [
    (dict(layers="-4"), r"--layers=-4: there is no layer -4; expected numbers "
     "from -3 to 2"),
    (dict(layers="3"), "there is no layer 3"),
    (dict(layers="last"), "--layers=last: expected numbers"),
    (dict(pooling="sum"), "--pooling=sum: expected one of none, cls, mean, "
     "max"),
    (dict(output_format="csv"),
     "--output_format=csv: expected one of jsonl, npz, tfrecord"),
    (dict(input_file="none.txt"), "none.txt: there is no such file"),
    (dict(output_file="none/out"), "none/out: cannot be written"),
    (dict(max_seq_length=21), "at most 20 positions"),
    (dict(init_checkpoint="none.ckpt"), "none.ckpt: there is no such"),
])
def test_a_mistake_is_one_line(model, tmp_path, flags, message):
  arguments = dict(model, input_file=write_input(tmp_path),
                   output_file=str(tmp_path / "out"), layers="-1")
  arguments.update(flags)
  with pytest.raises(cli.UserError, match=message) as error:
    helpers.run_main(extract_features, [
        "--%s=%s" % item for item in sorted(arguments.items())])
  assert "\n" not in str(error.value)
  assert os.listdir(str(tmp_path)) == ["in.txt"]


@pytest.mark.parametrize("name,flag", [
    ("in.txt", "input_file"), ("link", "input_file"), ("vocab", "vocab_file"),
    ("config", "bert_config_file"), ("weights", "init_checkpoint")])
def test_an_input_is_not_replaced(model, tmp_path, name, flag):
  path = write_input(tmp_path)
  (tmp_path / "link").symlink_to(path)
  (tmp_path / "vocab").symlink_to(model["vocab_file"])
  (tmp_path / "config").symlink_to(model["bert_config_file"])
  (tmp_path / "weights").symlink_to(model["init_checkpoint"] + ".index")
  with open(path, "rb") as reader:
    before = reader.read()
  with pytest.raises(cli.UserError, match=(
      r"/%s \(--output_file\) is the file .* \(--%s\), which it would "
      "replace; name another file" % (name, flag))):
    helpers.run_main(extract_features, [
        "--%s=%s" % item for item in sorted(dict(
            model, input_file=path, layers="-1",
            output_file=str(tmp_path / name)).items())])
  with open(path, "rb") as reader:
    assert reader.read() == before


def test_bytes_that_are_not_utf8_are_named_and_nothing_is_left(model, tmp_path):
  path = str(tmp_path / "in.txt")
  with open(path, "wb") as writer:
    writer.write(b"tea\n" * 30 + b"te\xff\n")
  for output_format in sorted(feature_files.WRITERS):
    with pytest.raises(cli.UserError, match=(
        r"in\.txt, line 31: byte 3 is not UTF-8; save the file as UTF-8")):
      helpers.run_main(extract_features, [
          "--%s=%s" % item for item in sorted(dict(
              model, input_file=path, output_file=str(tmp_path / "out"),
              layers="-1", output_format=output_format).items())])
    assert os.listdir(str(tmp_path)) == ["in.txt"]


@pytest.mark.parametrize("output_format,pooling", [
    ("jsonl", "none"), ("tfrecord", "none"), ("npz", "none"), ("npz", "mean")])
def test_an_empty_file_has_no_features(model, tmp_path, output_format, pooling):
  (tmp_path / "in.txt").write_text("")
  helpers.run_main(extract_features, [
      "--%s=%s" % item for item in sorted(dict(
          model, input_file=str(tmp_path / "in.txt"), layers="-1,0",
          output_file=str(tmp_path / "out"), pooling=pooling,
          output_format=output_format).items())])
  if output_format != "npz":
    assert (tmp_path / "out").read_bytes() == b""
    return
  archive = np.load(str(tmp_path / "out"))
  assert archive["layers"].tolist() == [-1, 0]
  assert archive["values"].dtype == np.float32
  width = helpers.CONFIG["hidden_size"]
  if pooling == "mean":
    assert sorted(archive) == ["layers", "values"]
    assert archive["values"].shape == (0, 2 * width)
  else:
    assert sorted(archive) == ["layers", "line_starts", "tokens", "values"]
    assert archive["line_starts"].tolist() == [0]
    assert archive["tokens"].shape == (0,)
    assert archive["values"].shape == (0, 2, width)


def test_the_vocabulary_of_the_training_is_needed(model, tmp_path):
  folder = os.path.dirname(model["init_checkpoint"])
  checkpoints.write_record(
      folder, checkpoints.make_record("pretraining", vocab={"other": 0}), 0)
  try:
    with pytest.raises(cli.UserError, match=(
        "model.ckpt of another run: vocabulary is 1 tokens, hash .* there and "
        ".* here. Give the flags of that run, or another --init_checkpoint$")):
      helpers.run_main(extract_features, [
          "--%s=%s" % item for item in sorted(dict(
              model, input_file=write_input(tmp_path),
              output_file=str(tmp_path / "out"), layers="-1").items())])
  finally:
    os.remove(os.path.join(folder, "run.json"))
