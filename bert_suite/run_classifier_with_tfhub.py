r"""Fine-tunes a BERT module of TensorFlow Hub to classify sentences.

  export MODULE_DIR=/path/to/module
  export GLUE_DIR=/path/to/glue
  python run_classifier_with_tfhub.py --task_name=MRPC \
    --data_dir=$GLUE_DIR/MRPC --do_train=true --do_eval=true \
    --bert_hub_module_handle=$MODULE_DIR --output_dir=/tmp/module_output

Data, head and results are those of `run_classifier.py`; the module provides the
encoder, its weights and the vocabulary. Needs `hub.Module`, which works up to
TensorFlow 2.15 and tensorflow-hub 0.15.
"""

import dataclasses
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

from absl import flags
import tensorflow.compat.v1 as tf

from . import (
    accumulation, cli, files, hub_modules, model_inputs, modeling, optimization,
    run_classifier, runner, script_options, several_runs, task_names,
    tokenization, training)
from .script_options import option

FLAGS = flags.FLAGS
REQUIRED_FLAGS = ("task_name", "bert_hub_module_handle", "output_dir")
_MODULE = "_bert_suite_module"  # attribute of a graph
_BROUGHT_BY_MODULE = ("init_checkpoint", "vocab_file", "bert_config_file")


def _brought_by_module():
  return option("path", None, "Not for this script: the module brings its own.")


@dataclasses.dataclass
class Settings(run_classifier.Settings):
  """Settings of this script; each field is a flag."""

  bert_config_file: str = _brought_by_module()
  vocab_file: str = _brought_by_module()
  init_checkpoint: str = _brought_by_module()
  do_lower_case: bool = option(
      "bool", None, "No effect: the module knows it.", flag_default=True,
      alias="do_lower", default_text="that of the module")
  export_dir: str = option(
      "path", None, "Not for this script, see export_model.py.")
  bert_hub_module_handle: str = option("path", None, "Folder or address of a "
                                       "TF1 Hub module with a BERT encoder.")


def define_flags():
  """Defines the flags; may be called again, see `cli.define_flag`."""
  script_options.define_flags(Settings)


def import_hub():
  """Imports tensorflow-hub; raises UserError if it has no `hub.Module`."""
  with cli.user_errors():
    return hub_modules.import_hub("use run_classifier.py with a checkpoint")


def create_tokenizer_from_hub_module(bert_hub_module_handle,
                                     max_seq_length=None, strip_accents=None):
  """Makes the tokenizer that a module's vocabulary and casing call for.

  Args:
    bert_hub_module_handle: str. Folder or address of the module.
    max_seq_length: int. Length that the module must be able to read; None for
      any.
    strip_accents: bool. See FullTokenizer; None for the module's value.

  Returns:
    FullTokenizer.

  Raises:
    ValueError: the module's parts do not fit together, or not the length.
  """
  return read_module(bert_hub_module_handle, max_seq_length, strip_accents)[0]


def read_module(bert_hub_module_handle, max_seq_length=None,
                strip_accents=None):
  """Returns the tokenizer of a module and the number of segments it knows.

  Args:
    bert_hub_module_handle: str. See `create_tokenizer_from_hub_module`.
    max_seq_length: int.
    strip_accents: bool.

  Returns:
    FullTokenizer, and int, or None if the module does not say.
  """
  hub = import_hub()
  with tf.Graph().as_default():
    module = hub.Module(_as_given(bert_hub_module_handle))
    info = module(signature="tokenization_info", as_dict=True)
    vocab_size = _count_rows(module, "word_embeddings")
    num_positions = _count_rows(module, "position_embeddings")
    num_segments = _count_rows(module, "token_type_embeddings")
    with tf.Session() as session:
      info = session.run(info)
  vocab_file = info["vocab_file"].decode("utf-8")
  if strip_accents is None and "strip_accents" in info:
    strip_accents = bool(info["strip_accents"])
  tokenizer = tokenization.FullTokenizer(
      vocab_file=vocab_file, do_lower_case=bool(info["do_lower_case"]),
      strip_accents=strip_accents)
  if vocab_size is not None:
    model_inputs.check_vocab(tokenizer.vocab, vocab_file, vocab_size)
  if None not in (max_seq_length, num_positions):
    modeling.check_seq_length(max_seq_length, num_positions)
  return tokenizer, num_segments


def _as_given(handle):
  """Returns a handle; for a folder, a name that TensorFlow takes literally."""
  return files.literal_folder(handle) if os.path.isdir(handle) else handle


def _count_rows(module, name):
  """Returns the rows of a module's table, None if it has none of that name."""
  for full_name, variable in module.variable_map.items():
    if full_name.endswith("embeddings/" + name) and hasattr(variable, "shape"):
      return variable.shape.as_list()[0]
  return None


def create_model(is_training, input_ids, input_mask, segment_ids, labels,
                 num_labels, bert_hub_module_handle):
  """Builds the module's encoder and a softmax over the labels.

  Args:
    is_training: bool. Uses the module's graph with dropout.
    input_ids: int32 [B, S].
    input_mask: int32 [B, S].
    segment_ids: int32 [B, S].
    labels: int32 [B].
    num_labels: int. L.
    bert_hub_module_handle: str. Folder or address of the module.

  Returns:
    As for `run_classifier.create_model`.
  """
  encode = make_encoder(bert_hub_module_handle)
  return run_classifier.classification_head(
      encode(is_training, input_ids, input_mask, segment_ids), is_training,
      labels, num_labels)


def make_encoder(bert_hub_module_handle):
  """Makes the encoder of a module, as `run_classifier.make_encoder` does.

  Args:
    bert_hub_module_handle: str. Folder or address of the module.
  """
  def encode(is_training, input_ids, input_mask, segment_ids):
    graph = tf.get_default_graph()
    if not hasattr(graph, _MODULE):  # all parts of a batch share the weights
      setattr(graph, _MODULE, import_hub().Module(
          _as_given(bert_hub_module_handle),
          tags={"train"} if is_training else set(), trainable=True))
      tf.add_to_collection(accumulation.NOT_IN_FUNCTIONS, True)
    module = getattr(graph, _MODULE)
    inputs = dict(
        input_ids=input_ids, input_mask=input_mask, segment_ids=segment_ids)
    return module(inputs, signature="tokens", as_dict=True)["pooled_output"]

  return encode


def model_fn_builder(num_labels, learning_rate, num_train_steps,
                     num_warmup_steps, use_tpu, bert_hub_module_handle,
                     **others):
  """`make_model_fn` with the reference's arguments.

  Args:
    num_labels: int.
    learning_rate: float. See `optimization.Settings`, also for the next three.
    num_train_steps: int.
    num_warmup_steps: int.
    use_tpu: bool.
    bert_hub_module_handle: str. Folder or address of the module.
    **others: further arguments of `make_model_fn`.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  settings = optimization.Settings(
      learning_rate, num_train_steps, num_warmup_steps, use_tpu)
  return make_model_fn(num_labels, settings, bert_hub_module_handle, **others)


def make_model_fn(num_labels, settings, bert_hub_module_handle,
                  loss_batch_size=None):
  """Makes the `model_fn` of a classifier on a module.

  Args:
    num_labels: int.
    settings: optimization.Settings.
    bert_hub_module_handle: str. Folder or address of the module.
    loss_batch_size: int. See `run_classifier.make_head_fn`; off on TPUs.

  Returns:
    A `model_fn` for `training.make_estimator`.
  """
  return training.make_model_fn(run_classifier.make_head(
      make_encoder(bert_hub_module_handle), num_labels, settings.use_tpu,
      loss_batch_size), None, settings)


@script_options.runs(Settings)
def run_with(settings, on_log=None):
  """Fine-tunes, evaluates or predicts with a module.

  Args:
    settings: Settings.
    on_log: function, see `training.make_estimator`.

  Returns:
    dict from the name of a figure to its value; None without --do_eval.

  Raises:
    UserError: a mistake in the settings or in a file.
  """
  cli.check_given(settings, task_names.folder_flags(settings.task_name) +
                  REQUIRED_FLAGS)
  run_classifier.check_predicts(settings)
  runner.start(settings)
  for name in _BROUGHT_BY_MODULE:
    if getattr(settings, name):
      raise cli.UserError("--%s: the module brings its own; give it to "
                          "run_classifier.py" % name)
  if settings.init_head == "keep":
    raise cli.UserError(
        "--init_head=keep: a module has no head; leave the flag out")
  if settings.recompute_grad:
    raise cli.UserError("--recompute_grad: a module's graph is built already; "
                        "leave the flag out")
  if settings.compute_dtype != "float32":
    raise cli.UserError("--compute_dtype: a module computes in float32, as it "
                        "was exported; leave the flag out")
  if settings.export_dir:
    raise cli.UserError(
        "--export_dir: models on a module cannot be exported; train with "
        "run_classifier.py, from the module's checkpoint, to export")
  import_hub()  # without it no module can be used
  with cli.user_errors():
    hub_modules.check_module(settings.bert_hub_module_handle)
    tokenizer, num_segments = read_module(
        settings.bert_hub_module_handle, settings.max_seq_length,
        tokenization.parse_strip_accents(settings.strip_accents))
  return several_runs.run(lambda settings: run_classifier.ClassificationTask(
      settings, None, tokenizer, make_encoder(settings.bert_hub_module_handle),
      brought_by="the module %s" % settings.bert_hub_module_handle,
      type_vocab_size=num_segments), settings, on_log)


def main(_):
  """Fine-tunes, evaluates or predicts with a module."""
  run_with(script_options.from_flags(Settings, FLAGS))


def run(argv=None):
  """Runs the script; see `cli.run`."""
  cli.run(main, define_flags, REQUIRED_FLAGS, argv=argv)


if __name__ == "__main__":
  run()
