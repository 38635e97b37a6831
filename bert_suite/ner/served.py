"""Tags: a model that is in memory, and its answers."""

from .. import environment  # isort: skip  # noqa: F401  # before TensorFlow

import numpy as np

from . import data as ner_data, head, reader, results, tags as ner_tags
from .. import checkpoints, serving


def serving_task(name, bert_config, options, trained_with, checkpoint,
                 model_options=serving.OPTIONS):
  """Makes the ServingTask of a model that tags words.

  Args:
    name: str. The task's name.
    bert_config: BertConfig.
    options: dict with "labels", list of str, "tag_scheme" and
      "valid_tags_only".
    trained_with: dict from the name of a setting to its value in training.
    checkpoint: str. Prefix of the checkpoint.
    model_options: modeling.Options.

  Returns:
    ServingTask with the output "logits", float32 [B, S, L].

  Raises:
    ValueError: labels are missing or are not tags.
  """
  labels = options.get("labels")
  if not labels or not all(map(ner_tags.is_tag, labels)) or (
      ner_tags.OUTSIDE not in labels):
    raise ValueError(
        "labels=%s: expected the tags in the order of training, such as "
        "O,B-PER,I-PER; there is no run.json with them for %s" % (
            ",".join(labels or ()), checkpoint))
  scheme = options.get("tag_scheme") or "IOB2"
  if scheme not in ner_tags.SCHEMES:
    raise ValueError("tag_scheme=%s: expected one of %s" % (
        scheme, ", ".join(ner_tags.SCHEMES)))
  legal_only = options.get("valid_tags_only")
  if legal_only is None:
    legal_only = trained_with.get("valid_tags_only", False)
  checkpoints.check_readable(checkpoint)

  def build(inputs):
    inputs, cut = serving.round_up_request(
        inputs, bert_config.max_position_embeddings)
    logits = head.create_model(
        bert_config, False, num_labels=len(labels), options=model_options,
        **inputs)
    return {serving.SIGNATURE: {"logits": cut(logits, "input_ids")}}

  served_settings = {
      "labels": list(labels), "tag_scheme": scheme,
      "valid_tags_only": bool(legal_only)}
  stride = trained_with.get("window_stride")
  if stride:  # a converted model's run.json has none
    served_settings["window_stride"] = stride
  return serving.ServingTask(name, build, settings=served_settings)


def answer(model, pairs):
  """Tags the words of texts.

  Args:
    model: predictor.Predictor.
    pairs: list of (str or list of str, None): texts, which are split at white
      space and punctuation, or their words.

  Returns:
    list of dict with "text", "tokens", "tags" and "spans", see
    `results.describe`.

  Raises:
    ValueError: an input is a pair of texts.
  """
  settings, sentences = model.settings, []
  for index, (text, second) in enumerate(pairs):
    if second is not None:
      raise ValueError("texts[%d]: found a pair of texts, expected one text, "
                       "or the list of its words" % (model.first + index))
    if isinstance(text, str):
      words, starts = reader.split_words(text)
      sentences.append(reader.Sentence(words, text=text, starts=starts))
    else:
      sentences.append(reader.Sentence(text))
  length = settings["max_seq_length"]
  windows = ner_data.Windows(
      model.tokenizer, length, settings.get("window_stride") or length // 2)
  with model.tokenizer_lock:
    made = list(windows.make(sentences))
  outputs = model.compute([model_input for model_input, _ in made])
  rows = iter([output["logits"][place] for output, (_, places) in zip(
      outputs, made) for place in places])
  decoder = ner_tags.Decoder(
      settings["labels"], settings["tag_scheme"], settings["valid_tags_only"])
  return [results.describe(one, decoder.decode(np.reshape(
      [next(rows) for _ in one.words], [-1, len(settings["labels"])])))
          for one in sentences]
