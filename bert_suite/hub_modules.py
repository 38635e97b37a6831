"""TF1 Hub modules: BERT encoders that `run_classifier_with_tfhub.py` reads.

Needs `hub.Module`, which works up to TensorFlow 2.15 and exists up to
tensorflow-hub 0.15.
"""

import os
import tempfile

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import checkpoint_fit, checkpoints, cli, files, modeling, serving


def import_hub(alternative="export a SavedModel only, without --hub_dir"):
  """Imports tensorflow-hub; raises ValueError if it has no `hub.Module`.

  Args:
    alternative: str. What to do without it, for the message.
  """
  cure = ("pip install \"tensorflow==2.15.1\" \"tensorflow-hub==0.15.0\", with "
          "Python 3.9 to 3.11, or %s" % alternative)
  try:
    import tensorflow_hub as hub
  except ImportError as error:
    raise ValueError("tensorflow-hub cannot be imported (%s); %s" %
                     (error, cure)) from None
  if not hasattr(hub, "Module"):
    raise ValueError(
        "this needs hub.Module, which TensorFlow %s with tensorflow-hub %s "
        "does not have; %s" % (tf.__version__, hub.__version__, cure))
  return hub


def check_module(handle):
  """Raises ValueError if a folder is not a Hub module; says what to give.

  Args:
    handle: str. Folder or address of a module; only folders are looked at.
  """
  def has_module(folder):
    return any(tf.gfile.Exists(os.path.join(folder, name))
               for name in ("tfhub_module.pb", "saved_model.pb"))

  if "://" in handle or has_module(handle):
    return
  found = files.list_versions(handle) if tf.gfile.IsDirectory(handle) else ()
  versions = [version for version in found if has_module(version)]
  try:
    checkpoint = not versions and checkpoints.resolve(handle)
  except ValueError:
    checkpoint = None
  if versions:
    cure = "%s, the newest version in it" % versions[0]
  elif checkpoint:
    cure = "%s to run_classifier.py, as --init_checkpoint" % checkpoint
  else:
    cure = "the folder of a version that export_model.py --hub_dir wrote"
  raise ValueError("--bert_hub_module_handle=%s: found no Hub module; give %s" %
                   (handle, cure))


def export_module(bert_config, checkpoint, vocab_file, do_lower_case, hub_dir,
                  strip_accents=None):
  """Writes the encoder of a checkpoint as a module.

  It has the signatures `tokens`, from input_ids, input_mask and segment_ids,
  int32 [B, S], to pooled_output, float32 [B, W], and sequence_output, float32
  [B, S, W]; and `tokenization_info`, with vocab_file and do_lower_case, and
  with strip_accents if that is not None. The graph with the tag "train" has
  dropout, the one without tags does not.

  Args:
    bert_config: BertConfig.
    checkpoint: str. Prefix of a checkpoint that has the encoder.
    vocab_file: str.
    do_lower_case: bool.
    hub_dir: str. The module becomes a version in it.
    strip_accents: bool or None. See FullTokenizer.

  Returns:
    str. The folder of the module.

  Raises:
    ValueError: there is no `hub.Module`, or the checkpoint does not fit.
  """
  checkpoint, vocab_file, hub_dir = [
      cli.expand_home(path) for path in (checkpoint, vocab_file, hub_dir)]
  hub = import_hub()
  checkpoint = checkpoints.resolve(checkpoint)

  def make_spec(vocab_copy):
    def module_fn(is_training):
      inputs = {name: tf.placeholder(tf.int32, [None, None], name)
                for name in serving.SEQUENCE_INPUTS}
      # With padding: this uses TensorFlow's gradients, which any program that
      # trains the module has.
      model = modeling.BertModel(
          bert_config, is_training, inputs["input_ids"], inputs["input_mask"],
          inputs["segment_ids"])
      hub.add_signature("tokens", inputs=inputs, outputs={
          "pooled_output": model.get_pooled_output(),
          "sequence_output": model.get_sequence_output()})
      vocab = tf.constant(vocab_copy, name="vocab_file")
      tf.add_to_collection(tf.GraphKeys.ASSET_FILEPATHS, vocab)
      info = {"vocab_file": vocab, "do_lower_case": tf.constant(do_lower_case)}
      if strip_accents is not None:
        info["strip_accents"] = tf.constant(strip_accents)
      hub.add_signature("tokenization_info", outputs=info)

    return hub.create_module_spec(module_fn, [
        (set(), {"is_training": False}), ({"train"}, {"is_training": True})])

  with tempfile.TemporaryDirectory() as folder, tf.Graph().as_default():
    # Assets keep the names of their files, and those of vocabularies vary.
    vocab_copy = os.path.join(folder, serving.VOCAB_FILE)
    tf.gfile.Copy(vocab_file, vocab_copy)
    module = hub.Module(make_spec(vocab_copy), trainable=True)
    variables = module.variable_map
    with tf.Session() as session:
      checkpoint_fit.check_shapes_of(
          {name: variable.shape.as_list()
           for name, variable in variables.items()}, checkpoint,
          must_have_all=True, cure="is it the checkpoint of this model?")
      tf.train.Saver(variables).restore(session, files.literal(checkpoint))
      path = files.write_version(
          hub_dir, lambda temporary: module.export(temporary, session))
  tf.logging.info("Exported the encoder as a Hub module to %s", path)
  return path
