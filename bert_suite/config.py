"""BertConfig says what a BertModel is, Options how it is computed."""

import copy
import dataclasses
import inspect
import json
import numbers
import os

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import json_files, kernels
from .layers import ACTIVATIONS

# Keys of config.json, of which Hugging Face writes at least one.
_HUGGING_FACE = {"architectures", "transformers_version", "model_type"}


class BertConfig:
  """The shape of a BertModel. Unknown keys are kept as attributes."""

  # An attribute of the class, so that `to_dict` has only the reference's keys
  # unless a config sets it.
  layer_norm_eps = kernels.LAYER_NORM_EPSILON

  def __init__(
      self, vocab_size, hidden_size=768, num_hidden_layers=12,
      num_attention_heads=12, intermediate_size=3072, hidden_act="gelu",
      hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1,
      max_position_embeddings=512, type_vocab_size=16, initializer_range=0.02,
      layer_norm_eps=None):
    """Makes a configuration; the defaults are BERT-Base.

    Args:
      vocab_size: int. Rows of the word embedding table; None if the caller sets
        it later.
      hidden_size: int. Width of the encoder layers and the pooler.
      num_hidden_layers: int. Number of Transformer layers.
      num_attention_heads: int. Heads per layer; must divide `hidden_size` by
        the time that a BertModel is built.
      intermediate_size: int. Width of the feed-forward layer.
      hidden_act: str (see `get_activation`) or function. Feed-forward
        activation.
      hidden_dropout_prob: float. Dropout of embeddings and layer outputs.
      attention_probs_dropout_prob: float. Dropout of attention probabilities.
      max_position_embeddings: int. Length of the longest sequence that the
        model can read.
      type_vocab_size: int. Number of segments (token types).
      initializer_range: float. Standard deviation of the initial weights.
      layer_norm_eps: float. Added to the variance in layer norm; None for
        1e-12.

    Raises:
      ValueError: a value has the wrong type.
    """
    self.vocab_size = vocab_size
    self.hidden_size = hidden_size
    self.num_hidden_layers = num_hidden_layers
    self.num_attention_heads = num_attention_heads
    self.intermediate_size = intermediate_size
    self.hidden_act = hidden_act
    self.hidden_dropout_prob = hidden_dropout_prob
    self.attention_probs_dropout_prob = attention_probs_dropout_prob
    self.max_position_embeddings = max_position_embeddings
    self.type_vocab_size = type_vocab_size
    self.initializer_range = initializer_range
    if layer_norm_eps is not None:
      self.layer_norm_eps = layer_norm_eps
    check_config(self, is_complete=False)

  @classmethod
  def from_dict(cls, json_object):
    """Makes a config from a dict; raises ValueError if it is not BERT's.

    The constructor of a subclass is called with `vocab_size` alone, or not at
    all if it needs more than that.
    """
    if not isinstance(json_object, dict):
      raise ValueError("BertConfig: found %s; expected an object of keys and "
                       "values" % type(json_object).__name__)
    if json_object.get("vocab_size") is None:
      raise ValueError("BertConfig: \"vocab_size\" is missing; add the number "
                       "of lines of the vocabulary file")
    vocab_size = json_object["vocab_size"]
    config = cls.__new__(cls)
    BertConfig.__init__(config, vocab_size)
    try:
      inspect.signature(cls).bind(vocab_size=vocab_size)
    except TypeError:
      pass
    else:
      config.__init__(vocab_size=vocab_size)
    config.__dict__.update(json_object)
    check_config(config, is_complete=False)
    return config

  @classmethod
  def from_json_file(cls, json_file):
    """Reads the config of a model to build; a ValueError names the file."""
    try:
      is_folder = tf.gfile.IsDirectory(json_file)
      values = None if is_folder else json_files.read(json_file)
    except tf.errors.OpError as error:
      raise ValueError("%s: cannot be read (%s); pass the bert_config.json of "
                       "the model" % (json_file, error.message)) from None
    except ValueError as error:  # also for bytes that are not UTF-8
      raise ValueError("%s: is not JSON (%s); pass the bert_config.json of the "
                       "model" % (json_file, error)) from None
    if is_folder:
      raise ValueError("%s: found a folder, expected a file; %s" % (
          json_file, _convert(json_file) if tf.gfile.Exists(
              os.path.join(json_file, "config.json")) else
          "pass the bert_config.json of the model"))
    try:
      config = cls.from_dict(values)
      check_config(config)
    except ValueError as error:
      raise ValueError("%s: %s" % (json_file, error)) from None
    if not _HUGGING_FACE.isdisjoint(values):
      # The same name may mean another activation there.
      raise ValueError("%s: found the config of a Hugging Face model; %s" % (
          json_file, _convert(os.path.dirname(json_file) or ".")))
    return config

  def to_dict(self):
    """Returns a copy of all keys and values, the unknown ones included."""
    return copy.deepcopy(self.__dict__)

  def to_json_string(self):
    """Returns the configuration as JSON text with sorted keys."""
    return json.dumps(self.to_dict(), indent=2, sort_keys=True) + "\n"


def _convert(folder):
  """Returns what to do about the folder of a Hugging Face model."""
  return ("run `python convert_checkpoint.py --model_dir=%s --output_dir="
          "NEW_FOLDER` and pass the bert_config.json there" % folder)


def check_config(config, is_complete=True):
  """Raises ValueError, naming the key, if no model can have these values.

  Args:
    config: BertConfig, or another object with its attributes.
    is_complete: bool. If False, the config may still change before a model is
      built: `vocab_size` may be None, and the heads need not fit.
  """
  if isinstance(config, dict):
    raise ValueError("config: found a dict, expected a BertConfig; use "
                     "BertConfig.from_dict")

  def is_number(value, kind):
    return isinstance(value, kind) and not isinstance(value, bool)

  def check(key, is_right, expected):
    value = getattr(config, key)
    if not is_right(value):
      raise ValueError("BertConfig: \"%s\" is %r; expected %s" %
                       (key, value, expected))

  for key in ("vocab_size", "hidden_size", "num_hidden_layers",
              "num_attention_heads", "intermediate_size",
              "max_position_embeddings", "type_vocab_size"):
    if key == "vocab_size" and config.vocab_size is None and not is_complete:
      continue
    check(key, lambda v: is_number(v, numbers.Integral) and v >= 1,
          "a whole number of at least 1")
  for key in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
    # Programs may switch dropout off with None.
    check(key, lambda v: v is None or (
        is_number(v, numbers.Real) and 0.0 <= v < 1.0),
          "a number of at least 0 and below 1")
  check("initializer_range", lambda v: is_number(v, numbers.Real) and v >= 0.0,
        "a number of at least 0")
  check("hidden_act", lambda v: (
      v is None or callable(v) or isinstance(v, str) and
      v.lower() in ACTIVATIONS),
        "one of " + ", ".join(sorted(filter(None, ACTIVATIONS))))
  if hasattr(config, "layer_norm_eps"):
    check("layer_norm_eps", lambda v: is_number(v, numbers.Real) and
          0.0 < v < 1.0, "a number above 0 and below 1")
  # Keys in the configs of other models, which are computed differently.
  for key, known in (("model_type", "bert"),
                     ("position_embedding_type", "absolute"),
                     ("embedding_size", config.hidden_size),
                     ("is_decoder", False), ("add_cross_attention", False)):
    value = getattr(config, key, None)
    if value is not None and value != known:
      raise ValueError(
          "BertConfig: \"%s\" is %s; only %s is supported, so pass the config "
          "and checkpoint of such a model" % (
              key, json.dumps(value, default=repr), json.dumps(known)))
  if is_complete and config.hidden_size % config.num_attention_heads:
    raise ValueError(
        "BertConfig: \"hidden_size\" %d is not a multiple of "
        "\"num_attention_heads\" %d" %
        (config.hidden_size, config.num_attention_heads))


def get_layer_norm_eps(config):
  """Returns a config's `layer_norm_eps`; 1e-12 if the object has none."""
  return getattr(config, "layer_norm_eps", kernels.LAYER_NORM_EPSILON)


@dataclasses.dataclass(frozen=True)
class Options:
  """How a BertModel is computed; only `compute_dtype` changes the outputs.

  A new option is a field here, the line that uses it and, for the scripts, a
  flag of the same name, which `run_settings.model_options` finds.

  Attributes:
    use_one_hot_embeddings: Looks up words with a one-hot matrix product instead
      of a gather, which suits TPUs.
    remove_padding: Computes real tokens only; outputs are zero at padding, and
      so is the pooled output where the first token is padding. At real tokens,
      and for gradients of losses that read only those, the result is the same.
      Shapes depend on the data, which TPUs do not allow.
    few_shapes: With `remove_padding`, computes a few percent more so that fewer
      shapes occur: oneDNN keeps memory for each, and XLA compiles for each. See
      `padding.Packing`.
    compute_dtype: "float32"; or "bfloat16" or "float16", in which the encoder's
      matrix products are computed, less exactly. Everything else stays float32:
      variables, sums, softmax, layer norm, outputs.
    compiled: XLA compiles each kind of layer as one program, see `xla.call`.
      With `remove_padding` it implies `few_shapes`, and fewer of them.
    recompute_grad: Training keeps only the input of each layer and computes the
      layer again for its gradient: less memory, a third more time.
  """
  use_one_hot_embeddings: bool = False
  remove_padding: bool = False
  few_shapes: bool = False
  compute_dtype: str = "float32"
  compiled: bool = False
  recompute_grad: bool = False


def make_options(options=None, use_one_hot_embeddings=False,
                 remove_padding=False):
  """Returns `options` with the ones that the arguments ask for switched on.

  Args:
    options: Options; None for the defaults.
    use_one_hot_embeddings: bool. True switches the option on.
    remove_padding: bool. True switches the option on.
  """
  options = options or Options()
  if isinstance(options, dict):
    raise ValueError("options: found a dict, expected modeling.Options")
  return dataclasses.replace(
      options,
      use_one_hot_embeddings=(
          use_one_hot_embeddings or options.use_one_hot_embeddings),
      remove_padding=remove_padding or options.remove_padding)
