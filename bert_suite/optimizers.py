"""LAMB and Adafactor, and what they share with AdamW: --optimizer.

Methods: You et al., "Large Batch Optimization for Deep Learning: Training BERT
in 76 minutes" (arXiv 1904.00962, algorithm 2); Shazeer and Stern, "Adafactor:
Adaptive Learning Rates with Sublinear Memory Cost" (arXiv 1804.04235,
algorithms 4 and 5). Both have AdamW's weight decay, times the learning rate and
separate from the gradient's update (in LAMB, before the trust ratio).
"""

import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import model_inputs

ADAMW = "adamw"


class DecayingOptimizer(tf.train.Optimizer):
  """Base class: settings that vary between variables, and weight decay.

  A subclass defines `_update`, and `_create_slots` or `slot_names`. A gradient
  of IndexedSlices is summed into a dense one first: rows without a gradient
  decay too, and their averages shrink.

  Attributes:
    slot_names: names of slots of the variable's shape.
  """

  slot_names = ()

  def __init__(self, learning_rate, weight_decay_rate=0.0,
               exclude_from_weight_decay=None, name="DecayingOptimizer",
               gradient_scale=1.0, rate_factors=None, step=None):
    """Makes the optimizer.

    Args:
      learning_rate: float or float32 scalar Tensor.
      weight_decay_rate: float. Decay of the variables, times the learning rate.
      exclude_from_weight_decay: list of str. Variables whose name matches any
        of these regular expressions do not decay.
      name: str. Name scope of the update ops.
      gradient_scale: float or float32 scalar Tensor. Factor of the gradients.
      rate_factors: dict from the name of a variable to a factor of its learning
        rate, float; 1 for those that are left out.
      step: integer scalar Tensor. Number of the step, from 1 on; None if the
        subclass does not need it.
    """
    super().__init__(False, name)
    self.learning_rate = learning_rate
    self.weight_decay_rate = weight_decay_rate
    self.exclude_from_weight_decay = exclude_from_weight_decay
    self.gradient_scale = gradient_scale
    self.rate_factors = rate_factors or {}
    self.step = step

  def apply_gradients(self, grads_and_vars, global_step=None, name=None):
    """Updates the variables; the caller has to increment `global_step`.

    Args:
      grads_and_vars: list of (gradient, variable); a variable whose gradient
        is None is left unchanged.
      global_step: accepted because callers pass it; not changed.
      name: str. Name of the op.

    Returns:
      The op that updates every variable.
    """
    del global_step
    return super().apply_gradients(list(grads_and_vars), name=name)

  def _prepare(self):
    self._rate = tf.convert_to_tensor(
        self._call_if_callable(self.learning_rate), name="learning_rate")
    self._scale = tf.convert_to_tensor(self.gradient_scale)
    # Made once: separate constants for each variable would be hundreds.
    self._decays = {False: tf.constant(0.0),
                    True: tf.convert_to_tensor(self.weight_decay_rate)}

  def _create_slots(self, var_list):
    for variable in var_list:
      for name in self.slot_names:
        # The second name is the suffix of the slot variable's name.
        self._zeros_slot(variable, name, name)

  def _do_use_weight_decay(self, param_name):
    """Returns whether the variable of that name decays."""
    if not self.weight_decay_rate:
      return False
    return not any(re.search(pattern, param_name)
                   for pattern in self.exclude_from_weight_decay or [])

  def _get_variable_name(self, param_name):
    """Returns the name of a variable without the ":0" of its tensor."""
    return re.sub(r":\d+$", "", param_name)

  def _update(self, gradient, var, rate, decays):
    """Returns the op that updates a variable and its slots.

    Args:
      gradient: Tensor of the variable's shape, not yet times `self._scale`.
      var: variable.
      rate: float32 scalar Tensor. Its learning rate.
      decays: bool. Whether `self.weight_decay_rate` applies to it.
    """
    raise NotImplementedError()

  def _apply_dense(self, grad, var):
    decays = self._do_use_weight_decay(self._get_variable_name(var.name))
    rate = self._rate
    if var.name in self.rate_factors:
      rate *= self.rate_factors[var.name]
    return self._update(grad, var, rate, decays)

  _resource_apply_dense = _apply_dense

  def _apply_sparse(self, grad, var):
    return self._apply_dense(tf.unsorted_segment_sum(
        grad.values, grad.indices, tf.shape(var)[0]), var)

  def _resource_apply_sparse(self, grad, var, indices):
    return self._resource_apply_dense(
        tf.unsorted_segment_sum(grad, indices, tf.shape(var)[0]), var)

  # The base class would sum duplicate rows before it calls the methods above,
  # which sum all rows anyway.
  _apply_sparse_duplicate_indices = _apply_sparse
  _resource_apply_sparse_duplicate_indices = _resource_apply_sparse

  def _read(self, gradient, variables):
    """Returns the values of variables, read once the gradient is computed."""
    with tf.control_dependencies([gradient]):
      return [variable.value() for variable in variables]

  @staticmethod
  def _assign(variables, values):
    """Returns the op that assigns values to variables."""
    return tf.group(*[variable.assign(value, read_value=False)
                      for variable, value in zip(variables, values)])


class LambOptimizer(DecayingOptimizer):
  """LAMB, with the identity as its scaling function of the norm.

  ```
  m = beta_1 * m + (1 - beta_1) * gradient
  v = beta_2 * v + (1 - beta_2) * gradient ** 2
  change = (m / (1 - beta_1 ** step)) / (
      sqrt(v / (1 - beta_2 ** step)) + epsilon) + decay * variable
  variable -= learning_rate * norm(variable) / norm(change) * change
  ```

  The ratio of norms is 1 where either is 0, as in variables that start from
  zeros.
  """

  slot_names = ("lamb_m", "lamb_v")
  _BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-6

  def _prepare(self):
    super()._prepare()
    step = tf.cast(self.step, tf.float32)
    self._corrections = [1.0 / (1.0 - tf.pow(beta, step))
                         for beta in (self._BETA_1, self._BETA_2)]

  def _update(self, gradient, var, rate, decays):
    variables = [var] + [self.get_slot(var, name) for name in self.slot_names]
    value, m, v = self._read(gradient, variables)
    gradient *= self._scale
    m = self._BETA_1 * m + (1.0 - self._BETA_1) * gradient
    v = self._BETA_2 * v + (1.0 - self._BETA_2) * tf.square(gradient)
    change = m * self._corrections[0] / (
        tf.sqrt(v * self._corrections[1]) + self._EPSILON)
    if decays:
      change += self._decays[True] * value
    norm, of_change = tf.norm(value), tf.norm(change)
    ratio = tf.where_v2(
        tf.logical_and(norm > 0.0, of_change > 0.0),
        norm / tf.where_v2(of_change > 0.0, of_change, 1.0), 1.0)
    return self._assign(variables, [value - rate * ratio * change, m, v])


class AdafactorOptimizer(DecayingOptimizer):
  """Adafactor without momentum; the learning rate sets its step size.

  ```
  beta = 1 - step ** -0.8
  v = beta * v + (1 - beta) * (gradient ** 2 + 1e-30)
  change = gradient / sqrt(v)
  change /= max(1, rms(change))
  variable -= learning_rate * (
      max(1e-3, rms(variable)) * change + decay * variable)
  ```

  For a matrix, only the means of v over its last dimension and over the one
  before are kept, in the slots `adafactor_vr` and `adafactor_vc`; their outer
  product over the mean approximates v. Vectors keep all of v, `adafactor_v`.
  """

  _DECAY_POWER, _EPSILON_1, _EPSILON_2 = -0.8, 1e-30, 1e-3

  def _prepare(self):
    super()._prepare()
    self._beta = 1.0 - tf.pow(tf.cast(self.step, tf.float32), self._DECAY_POWER)

  @staticmethod
  def _slot_shapes(var):
    shape = var.shape.as_list()
    if len(shape) < 2:
      return {"adafactor_v": shape}
    return {"adafactor_vr": shape[:-1], "adafactor_vc": shape[:-2] + shape[-1:]}

  def _create_slots(self, var_list):
    for variable in var_list:
      for name, shape in self._slot_shapes(variable).items():
        self._get_or_make_slot_with_initializer(
            variable, tf.zeros_initializer(), tf.TensorShape(shape),
            variable.dtype.base_dtype, name, name)

  def _update(self, gradient, var, rate, decays):
    slots = [self.get_slot(var, name) for name in self._slot_shapes(var)]
    value, *averages = self._read(gradient, [var] + slots)
    gradient *= self._scale
    square = tf.square(gradient) + self._EPSILON_1
    means = [square] if len(slots) == 1 else [
        tf.reduce_mean(square, axis=-1), tf.reduce_mean(square, axis=-2)]
    averages = [self._beta * average + (1.0 - self._beta) * mean
                for average, mean in zip(averages, means)]
    if len(slots) == 1:
      change = gradient * tf.rsqrt(averages[0])
    else:
      rows, columns = averages
      rows /= tf.reduce_mean(rows, axis=-1, keepdims=True)
      change = gradient * tf.rsqrt(rows)[..., tf.newaxis] * tf.rsqrt(
          columns)[..., tf.newaxis, :]
    change *= tf.maximum(self._EPSILON_2, _rms(value)) / tf.maximum(
        1.0, _rms(change))
    if decays:
      change += self._decays[True] * value
    return self._assign([var] + slots, [value - rate * change] + averages)


def _rms(tensor):
  """Returns the root of the mean square, a scalar Tensor."""
  return tf.sqrt(tf.reduce_mean(tf.square(tensor)))


OTHERS = {"lamb": LambOptimizer, "adafactor": AdafactorOptimizer}


def check(name):
  """Raises ValueError unless an optimizer has that name."""
  model_inputs.check_choice("optimizer", name, [ADAMW] + sorted(OTHERS))


def check_settings(settings, recorded):
  """Raises ValueError if a training cannot use the optimizer it asks for.

  Args:
    settings: Settings of a script.
    recorded: str. The optimizer of the training in --output_dir; None if it is
      not resumed.
  """
  name = getattr(settings, "optimizer", ADAMW)
  check(name)
  if name != ADAMW and getattr(settings, "adam_bias_correction", False):
    raise ValueError("--adam_bias_correction: --optimizer=%s has no use for "
                     "it; leave it out" % name)
  if recorded and recorded != name:
    raise ValueError(
        "--optimizer=%s: the training in %s has the averages of %s; give "
        "--optimizer=%s, or another --output_dir with a checkpoint of this one "
        "as --init_checkpoint" % (
            name, settings.output_dir, recorded, recorded))
