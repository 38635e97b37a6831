"""Trains and answers with Hugging Face transformers, for the benchmarks beside.

Runs in an environment with torch and transformers, and without TensorFlow, as a
process that transformers_peer.py starts. It reads JSON from its input, a line
each: first the settings, then requests. To each it answers with a line of JSON
on its output. It ends with its input.

Settings:
  task      "train", "answer", "fine_tune" or "encode"
  head      "classifier", "tagger", "squad" or "pretraining"
  config    what both libraries' BertConfig take; num_labels too, 1 for a
            regression
  seed      int
  pause     float, seconds in which its threads come to rest after an answer
  device    "cpu", which is the default, or "cuda"
  dtype     "float32", the default, whose products are TensorFloat-32 on a GPU,
            or "bfloat16", to train to autocast to; to answer also "int8", which
            is ONNX Runtime's dynamic quantization, needs onnx and onnxruntime
  compile   bool. Uses torch.compile
  weights, vocab_file, max_seq_length, do_lower_case    to answer
  weights, data, batch_size, learning_rate, num_epochs  to fine-tune
  model_dir, max_seq_length  to encode, with sentence-transformers; the task
            needs no others but pause

A request to train is a batch {name: list}, named as steps.py names it; the
answer holds the seconds of the step, and the most bytes of a GPU in use so far.
A request to answer is {"batches": list of (texts, pairs or null)}; the answer
holds the probabilities of all texts and the seconds of each batch. A request to
fine-tune is {"seed": int}: the model is trained, from the weights and a new
head, and the answer holds the logits of the dev set; of a tagger, those of the
positions whose label is not -100. A request to encode is {"texts": list}, and
the answer holds their vectors.

"idle_cpu" in each answer are the seconds of CPU that this process used while it
waited for the request, after the pause: near 0, or it slows down what runs
meanwhile.
"""

import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings

import numpy as np
import torch
import transformers

MODELS = {
    "classifier": transformers.BertForSequenceClassification,
    "tagger": transformers.BertForTokenClassification,
    "squad": transformers.BertForQuestionAnswering,
    "pretraining": transformers.BertForPreTraining,
}
INPUTS = ["input_ids", "attention_mask", "token_type_ids"]
IGNORED = -100  # the label of tokens that are not to be predicted


def make_model(settings):
  """Makes a model with random weights; dropout and attention as they come."""
  torch.manual_seed(settings["seed"])
  return MODELS[settings["head"]](transformers.BertConfig(
      **dict({"num_labels": 2}, **settings["config"])))


def make_optimizer(model, learning_rate=2e-5):
  """Makes torch's AdamW, fused if it can be; returns it and its name.

  As transformers' Trainer has it, biases and layer norms do not decay. Epsilon
  is BERT's, not torch's 1e-8.
  """
  def decays(name):
    return not name.endswith("bias") and "LayerNorm" not in name

  parameters = list(model.named_parameters())
  groups = [
      {"params": [p for name, p in parameters if decays(name)],
       "weight_decay": 0.01},
      {"params": [p for name, p in parameters if not decays(name)],
       "weight_decay": 0.0}]
  try:
    return (torch.optim.AdamW(groups, lr=learning_rate, eps=1e-6, fused=True),
            "fused AdamW")
  except RuntimeError:
    return torch.optim.AdamW(groups, lr=learning_rate, eps=1e-6), "AdamW"


def make_arguments(head, batch):
  """Names a batch as the models' `forward` does.

  Args:
    head: str.
    batch: dict from name to list.

  Returns:
    dict from name to Tensor.
  """
  batch = {name: torch.tensor(value) for name, value in batch.items()}
  arguments = {"input_ids": batch["input_ids"],
               "attention_mask": batch["input_mask"],
               "token_type_ids": batch["segment_ids"]}
  if head == "classifier":
    arguments["labels"] = batch["labels"]
  elif head == "squad":
    arguments["start_positions"] = batch["labels"].clone()
    arguments["end_positions"] = batch["labels"].clone()
  else:
    labels = torch.full_like(batch["input_ids"], IGNORED)
    rows, columns = torch.nonzero(
        batch["masked_lm_weights"], as_tuple=True)
    labels[rows, batch["masked_lm_positions"][rows, columns]] = (
        batch["masked_lm_ids"][rows, columns])
    arguments["labels"] = labels
    arguments["next_sentence_label"] = batch["labels"]
  return arguments


def make_trainer(settings):
  """Makes the function that takes a training step, and says how it does it."""
  device = settings.get("device", "cpu")
  dtype = getattr(torch, settings.get("dtype", "float32"))
  torch.set_float32_matmul_precision("high")
  model = make_model(settings).to(device).train()
  optimizer, name = make_optimizer(model)
  forward = torch.compile(model) if settings.get("compile") else model

  def train_step(batch):
    arguments = make_arguments(settings["head"], batch)
    start = time.perf_counter()
    arguments = {key: value.to(device) for key, value in arguments.items()}
    optimizer.zero_grad()
    with torch.autocast(device, dtype, enabled=dtype != torch.float32):
      loss = forward(**arguments).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    loss.item()  # waits for the device
    return {"seconds": time.perf_counter() - start,
            "bytes": torch.cuda.max_memory_allocated() if device == "cuda"
            else None}

  return train_step, "%s, %s, %s on %s" % (
      describe(model), name, settings.get("dtype", "float32"), device)


def make_answerer(settings):
  """Makes the function that answers texts, and says how it does it."""
  is_onnx = settings["dtype"] == "int8"
  model = make_model(dict(settings, config=dict(
      settings["config"],
      **{"attn_implementation": "eager"} if is_onnx else {}))).eval()
  load_weights(model, settings["weights"])
  with open(settings["vocab_file"], encoding="utf-8") as reader:
    vocab = {token.rstrip("\n"): i for i, token in enumerate(reader)}
  tokenizer = transformers.BertTokenizerFast(
      vocab, do_lower_case=settings["do_lower_case"])
  if is_onnx:
    compute, description = make_onnx_model(model)
  else:
    # Faster than autocast, which converts the weights each time.
    model = model.to(getattr(torch, settings["dtype"]))
    description = describe(model)

    def compute(inputs):
      return model(**inputs).logits

  def answer_batch(texts, pairs):
    start = time.perf_counter()
    inputs = tokenizer(
        texts, pairs, padding=True, truncation=True,
        max_length=settings["max_seq_length"], return_tensors="pt")
    with torch.inference_mode():
      probabilities = torch.softmax(compute(inputs).float(), dim=-1).tolist()
    return probabilities, time.perf_counter() - start

  def answer(request):
    probabilities, seconds = zip(*[
        answer_batch(*batch) for batch in request["batches"]])
    return {"probabilities": sum(probabilities, []), "seconds": seconds}

  return answer, "%s, %s, %s tokenizer" % (
      description, settings["dtype"],
      "fast" if tokenizer.is_fast else "slow")


def make_onnx_model(model):
  """Exports a model and quantizes it; returns what computes it, as torch does.

  ONNX Runtime fuses what it can when it loads a model. Its optimizer for
  transformers, run before, fuses attention too, and was slower in 8 bits.
  """
  import onnxruntime  # which the other tasks do not need
  from onnxruntime import quantization
  inputs = torch.ones([2, 8], dtype=torch.int64)
  logging.getLogger().setLevel(logging.ERROR)
  with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
    warnings.simplefilter("ignore")
    path, quantized = [os.path.join(folder, name) for name in ("a", "b")]
    torch.onnx.export(
        model, (dict.fromkeys(INPUTS, inputs),), path, input_names=INPUTS,
        output_names=["logits"], dynamo=False, opset_version=20, dynamic_axes={
            name: {0: "batch", 1: "length"} for name in INPUTS})
    quantization.quantize_dynamic(path, quantized)
    session = onnxruntime.InferenceSession(quantized)

  def compute(inputs):
    return torch.from_numpy(session.run(None, {
        name: inputs[name].numpy() for name in INPUTS})[0])

  return compute, "ONNX Runtime %s, exported by torch %s, transformers %s" % (
      onnxruntime.__version__, torch.__version__, transformers.__version__)


def make_fine_tuner(settings):
  """Makes the function that trains on a set and scores another one.

  The settings' data is an .npz file of arrays "train/input_ids" and so on.
  """
  is_tagger = settings["head"] == "tagger"
  arrays = np.load(settings["data"])
  data = {part: {name: torch.from_numpy(arrays["%s/%s" % (part, name)])
                 for name in ("input_ids", "input_mask", "segment_ids",
                              "label_ids")} for part in ("train", "dev")}

  def take(part, rows):
    """Returns inputs cut to their longest, and labels, of some rows."""
    mask, labels = data[part]["input_mask"][rows], data[part]["label_ids"][rows]
    longest = int(mask.sum(dim=1).max())
    if is_tagger:
      labels = labels[:, :longest].contiguous()
    return {"attention_mask": mask[:, :longest],
            "input_ids": data[part]["input_ids"][rows, :longest],
            "token_type_ids": data[part]["segment_ids"][rows, :longest]}, labels

  def score(model, rows):
    """Returns logits for some rows of the dev set."""
    inputs, labels = take("dev", rows)
    logits = model(**inputs).logits
    return logits[labels != IGNORED] if is_tagger else logits

  def in_batches(order):
    return torch.split(order, settings["batch_size"])

  def fine_tune(request):
    model = make_model(dict(settings, **request)).train()
    load_weights(model, settings["weights"], keep=("classifier.",))
    optimizer, _ = make_optimizer(model, settings["learning_rate"])
    sizes = {part: len(data[part]["label_ids"]) for part in data}
    num_steps = settings["num_epochs"] * len(in_batches(
        torch.arange(sizes["train"])))
    num_warmup_steps = int(0.1 * num_steps)
    # BERT's line to 0 begins at the first step; transformers' own begins where
    # the warm-up ends, so its rates are up to a ninth higher.
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: step / num_warmup_steps
        if step < num_warmup_steps else 1.0 - step / num_steps)
    for _ in range(settings["num_epochs"]):
      for rows in in_batches(torch.randperm(sizes["train"])):
        inputs, labels = take("train", rows)
        optimizer.zero_grad()
        model(labels=labels, **inputs).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    model.eval()
    with torch.inference_mode():
      logits = torch.cat([score(model, rows)
                          for rows in in_batches(torch.arange(sizes["dev"]))])
    return {"logits": logits.tolist()}

  return fine_tune, "torch %s, transformers %s" % (
      torch.__version__, transformers.__version__)


def make_encoder(settings):
  """Makes the function that gives texts vectors, and says how it does it."""
  import sentence_transformers  # which the other tasks do not need
  model = sentence_transformers.SentenceTransformer(
      settings["model_dir"], device="cpu")
  model.max_seq_length = settings["max_seq_length"]

  def encode(request):
    vectors = model.encode(request["texts"], show_progress_bar=False)
    return {"vectors": vectors.tolist()}

  return encode, "torch %s, sentence-transformers %s" % (
      torch.__version__, sentence_transformers.__version__)


def load_weights(model, path, keep=()):
  """Takes the weights of our model.

  Args:
    model: BertForSequenceClassification.
    path: str. An .npz file of arrays under the names of our variables.
    keep: tuple of str. What is not taken begins with these.
  """
  weights = np.load(path)
  with torch.no_grad():
    for name, parameter in model.named_parameters():
      if name.startswith(tuple(keep)):
        continue
      value = weights[variable_name(name)]
      if variable_name(name).endswith("/kernel"):
        value = value.T
      parameter.copy_(torch.from_numpy(value))


def variable_name(name):
  """Returns the name of our variable for that of a parameter."""
  if name.startswith("classifier."):
    return name.replace("classifier.", "output_").replace("weight", "weights")
  name = re.sub(r"layer\.(\d+)", r"layer_\1", name).replace(".", "/")
  name = name.replace("LayerNorm/weight", "LayerNorm/gamma")
  name = name.replace("LayerNorm/bias", "LayerNorm/beta")
  name = name.replace("embeddings/weight", "embeddings")
  return re.sub("/weight$", "/kernel", name)


def describe(model):
  """Returns what the seconds depend on, str."""
  return "torch %s, transformers %s, Python %s, %d threads, attention: %s" % (
      torch.__version__, transformers.__version__, sys.version.split()[0],
      torch.get_num_threads(), model.config._attn_implementation)


def main():
  """Reads settings and requests, and answers."""
  transformers.logging.set_verbosity_error()
  replies = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)  # what libraries print goes where messages go

  def reply(**values):
    replies.write(json.dumps(values) + "\n")
    replies.flush()

  settings = json.loads(sys.stdin.readline())
  make = {"train": make_trainer, "answer": make_answerer, "fine_tune":
          make_fine_tuner, "encode": make_encoder}[settings["task"]]
  try:
    act, description = make(settings)
  except ImportError as error:
    reply(missing=str(error))
    return
  reply(description=description)
  while True:
    time.sleep(settings["pause"])
    since = time.process_time()
    line = sys.stdin.readline()
    if not line:
      break
    idle_cpu = time.process_time() - since
    reply(idle_cpu=idle_cpu, **act(json.loads(line)))


if __name__ == "__main__":
  main()
