"""The Estimator that trains and runs the models, on every TensorFlow.

Up to TensorFlow 2.15 the names below are TensorFlow's own. TensorFlow 2.16
dropped `tf.estimator`; since then the Estimator comes from the last release of
the package tensorflow-estimator (2.15.0). TPUEstimator is TensorFlow's on TPUs;
on CPU and GPU it is a subclass of Estimator, the same with every TensorFlow. It
is used in the same way everywhere:

  from . import tf_estimator
  estimator = tf_estimator.TPUEstimator(model_fn=..., config=..., use_tpu=False)
"""

import functools
import importlib
import importlib.util
import sys
import types

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

_PACKAGE = "tensorflow_estimator"
_MODULES = ("estimator", "model_fn", "tpu.tpu_config", "export.export")
_TRAINING = "tensorflow.python.distribute.estimator_training"


def _init_run_config(config, tf_config):
  """Sets up a RunConfig with a distribution strategy, for one machine."""
  if tf_config.get("cluster") or config._experimental_distribute:
    raise ValueError(
        "A distribution strategy over several machines needs TensorFlow 2.15 "
        "or older; this is TensorFlow %s." % tf.__version__)
  config._distribute_coordinator_mode = None
  config._init_distributed_setting_from_environment_var(tf_config)


def _leave_as_is(*unused_names, **unused_kwargs):
  """Stands in for a decorator with arguments; the decorator does nothing."""
  return lambda symbol: symbol


def _add_module(name, **contents):
  module = types.ModuleType(name, "Stands in for a module that is gone.")
  vars(module).update(contents)
  sys.modules[name] = module


def _import_estimator_package():
  """Imports what we need of tensorflow-estimator 2.15.0 on TensorFlow >= 2.16.

  Entries in `sys.modules` get around three obstacles:

  * The package's `__init__` imports all its ready-made models, which need a
    Keras that TensorFlow no longer has. An empty module with the package's path
    takes its place: the submodules are found and `__init__` is not run.
  * `tensorflow.python.distribute.estimator_training` was dropped. It served
    distribution strategies only; for those on one machine, one function does.
  * `estimator_export` lists public names with TensorFlow's API generator,
    which no longer takes names of estimators. Nothing reads that list at run
    time, so a decorator that does nothing will do.

  Returns:
    The package's modules estimator, model_fn, tpu_config and export.

  Raises:
    ImportError: the package is missing, or is not the release we know.
  """
  parent = _PACKAGE + ".python.estimator."
  before = set(sys.modules)
  try:
    if parent + "estimator" not in before:  # else it has been made to work
      if _PACKAGE not in before:
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None:
          raise ImportError("it is not installed")
        sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
      if _TRAINING not in before and not importlib.util.find_spec(_TRAINING):
        _add_module(_TRAINING, init_run_config=_init_run_config)
      _add_module(parent + "estimator_export", estimator_export=_leave_as_is)
    return [importlib.import_module(parent + name) for name in _MODULES]
  except (ImportError, AttributeError) as error:
    for name in set(sys.modules) - before:  # leave no partial package behind
      if name.split(".")[0] == _PACKAGE or name == _TRAINING:
        del sys.modules[name]
    raise ImportError(
        "TensorFlow %s needs tensorflow-estimator 2.15.0 (%s): "
        "pip install tensorflow-estimator==2.15.0" %
        (tf.__version__, error)) from error


_BUILT_IN = hasattr(tf, "estimator")
if _BUILT_IN:
  _estimator, _model_fn, _tpu_config, _export, _tpu_estimator = [
      importlib.import_module(_PACKAGE + ".python.estimator." + name)
      for name in _MODULES + ("tpu.tpu_estimator",)]
else:
  _estimator, _model_fn, _tpu_config, _export = _import_estimator_package()

Estimator = _estimator.Estimator
EstimatorSpec = _model_fn.EstimatorSpec
ModeKeys = _model_fn.ModeKeys
RunConfig = _estimator.run_config.RunConfig
ServingInputReceiver = _export.ServingInputReceiver

_argument_names = _estimator.function_utils.fn_args

if _BUILT_IN:
  TPUEstimatorSpec = _tpu_estimator.TPUEstimatorSpec
else:
  def _call(function_and_tensors):
    """Calls the first of the pair with the second, a list or a dict."""
    function, tensors = function_and_tensors
    if isinstance(tensors, dict):
      return function(**tensors)
    return function(*tensors)

  class _HostCallHook(tf.train.SessionRunHook):
    """Runs the tensors of a host call, mostly summaries, at every step."""

    def __init__(self, tensors):
      self._tensors = tensors

    def begin(self):
      # The collection in which TensorFlow keeps the openers of summary writers.
      self._open = tf.get_collection("_SUMMARY_WRITER_V2")
      self._flush = [tf.raw_ops.FlushSummaryWriter(writer=op.inputs[0])
                     for op in self._open]

    def after_create_session(self, session, coord):
      session.run(self._open)

    def before_run(self, run_context):
      return tf.train.SessionRunArgs(self._tensors)

    def end(self, session):
      session.run(self._flush)

  # The base class holds and checks the fields, as EstimatorSpec does.
  class TPUEstimatorSpec(_model_fn._TPUEstimatorSpec):
    """What a model_fn returns; eval_metrics and host_call are (fn, tensors)."""

    def as_estimator_spec(self):
      """Calls the functions of this spec; returns it as an EstimatorSpec."""
      hooks = ()
      if self.host_call is not None:
        hooks = (_HostCallHook(_call(self.host_call)),)
      metrics = None
      if self.eval_metrics is not None:
        metrics = _call(self.eval_metrics)
      return EstimatorSpec(
          self.mode, self.predictions, self.loss, self.train_op, metrics,
          self.export_outputs,
          scaffold=self.scaffold_fn() if self.scaffold_fn else None,
          training_hooks=self.training_hooks + hooks,
          evaluation_hooks=self.evaluation_hooks + hooks,
          prediction_hooks=self.prediction_hooks + hooks)


# Estimator forbids its subclasses to override methods, except in a class of
# exactly this name.
class TPUEstimator(Estimator):
  """TensorFlow's TPUEstimator as it behaves on CPU and GPU.

  There, TensorFlow's own logs lines that are true only for TPUs, and says that
  it computes on a CPU when it uses a GPU.
  """

  def __new__(cls, model_fn=None, model_dir=None, config=None, params=None,
              use_tpu=False, *args, **kwargs):
    if _BUILT_IN and use_tpu:
      return _tpu_estimator.TPUEstimator(
          model_fn, model_dir, config, params, use_tpu, *args, **kwargs)
    return object.__new__(cls)

  def __init__(self, model_fn=None, model_dir=None, config=None, params=None,
               use_tpu=False, train_batch_size=None, eval_batch_size=None,
               predict_batch_size=None, batch_axis=None, eval_on_tpu=True,
               export_to_tpu=True, export_to_cpu=True, warm_start_from=None,
               embedding_config_spec=None, export_saved_model_api_version=1):
    """Takes TensorFlow's arguments; those not listed are ignored without TPU.

    Args:
      model_fn: function of features and any of labels, mode, params, config;
        returns a TPUEstimatorSpec or an EstimatorSpec.
      model_dir: str, folder of the checkpoints; may be in `config` instead.
      config: TPURunConfig or RunConfig.
      params: dict, passed to input_fn and model_fn, with the batch size of the
        mode as "batch_size".
      use_tpu: bool. True returns TensorFlow's TPUEstimator.
      train_batch_size: int, examples per step in training.
      eval_batch_size: int, examples per step in evaluation.
      predict_batch_size: int, examples per step in prediction.
      warm_start_from: str or WarmStartSettings, as for Estimator.

    Raises:
      ValueError: params holds "batch_size", or use_tpu is True and TensorFlow
        has no TPUEstimator.
    """
    if use_tpu:
      raise ValueError("TPU training needs TensorFlow 2.15 or older; this is "
                       "TensorFlow %s." % tf.__version__)
    if params is None and "params" in _argument_names(model_fn):
      params = {}
    if "batch_size" in (params or {}):
      raise ValueError("params may not hold 'batch_size': pass "
                       "train_, eval_ and predict_batch_size instead.")
    _model_fn.verify_model_fn_args(model_fn, params)
    self._given_model_fn = model_fn
    self._batch_sizes = {ModeKeys.TRAIN: train_batch_size,
                         ModeKeys.EVAL: eval_batch_size,
                         ModeKeys.PREDICT: predict_batch_size}
    super().__init__(self._model_fn_with_batch_size, model_dir, config,
                     params or {}, warm_start_from)

  def _add_batch_size(self, params, mode):
    if self._batch_sizes.get(mode) is not None:
      params["batch_size"] = self._batch_sizes[mode]

  def _call_input_fn(self, input_fn, mode, input_context=None):
    if "params" in _argument_names(input_fn):
      params = self.params  # a deep copy
      self._add_batch_size(params, mode)
      input_fn = functools.partial(input_fn, params=params)
    return super()._call_input_fn(input_fn, mode, input_context)

  def _model_fn_with_batch_size(self, features, labels, mode, params, config):
    """Calls the given model_fn; returns an EstimatorSpec."""
    self._add_batch_size(params, mode)  # params is a deep copy
    params["use_tpu"] = False
    names = _argument_names(self._given_model_fn)
    if labels is not None and "labels" not in names:
      raise ValueError("input_fn returns labels, but model_fn takes none.")
    kwargs = dict(labels=labels, mode=mode, params=params, config=config)
    spec = self._given_model_fn(
        features=features, **{k: kwargs[k] for k in kwargs if k in names})
    return (spec.as_estimator_spec() if hasattr(spec, "as_estimator_spec")
            else spec)

  def _add_meta_graph_for_mode(self, *args, **kwargs):
    """Exports a graph; without a batch size, so that it takes any."""
    sizes, self._batch_sizes = self._batch_sizes, {}
    try:
      super()._add_meta_graph_for_mode(*args, **kwargs)
    finally:
      self._batch_sizes = sizes


# These only hold settings, so they work with every TensorFlow.
InputPipelineConfig = _tpu_config.InputPipelineConfig
TPUConfig = _tpu_config.TPUConfig
TPURunConfig = _tpu_config.RunConfig
