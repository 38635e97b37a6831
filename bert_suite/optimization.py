"""How weights are updated: AdamW with warm-up, linear decay and clipping.

Methods: Kingma and Ba, "Adam" (arXiv 1412.6980, algorithm 1), without its bias
correction; Loshchilov and Hutter, "Decoupled Weight Decay Regularization"
(arXiv 1711.05101, algorithm 2); Pascanu et al., "On the difficulty of training
recurrent neural networks" (arXiv 1211.5063, algorithm 1) for the clipping.
"""

import dataclasses
import re
import warnings

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

# How the message of the error begins that stops a diverging training.
NOT_FINITE = "The gradient norm is not finite at global step"


@dataclasses.dataclass(frozen=True)
class Settings:
  """How a training updates the weights.

  A new setting is a field here, the line that uses it and, for the scripts, a
  flag of the field's name, which `run_settings.optimizer_settings` finds.

  Attributes:
    learning_rate: Peak learning rate, see `learning_rate_schedule`.
    num_train_steps: Steps of the whole training.
    num_warmup_steps: Steps of warm-up; 0 or None for none.
    use_tpu: Sums gradients over TPU cores.
    weight_decay_rate: See AdamWeightDecayOptimizer.
    clip_norm: Global norm that the gradients are clipped to.
  """
  learning_rate: float
  num_train_steps: int
  num_warmup_steps: int
  use_tpu: bool = False
  weight_decay_rate: float = 0.01
  clip_norm: float = 1.0


def create_optimizer(loss, init_lr, num_train_steps, num_warmup_steps, use_tpu):
  """`make_train_op` with the reference's arguments.

  Args:
    loss: float32 scalar Tensor.
    init_lr: float. `learning_rate` of Settings, which describes the rest too.
    num_train_steps: int.
    num_warmup_steps: int.
    use_tpu: bool.

  Returns:
    The training op.
  """
  return make_train_op(
      loss, Settings(init_lr, num_train_steps, num_warmup_steps, use_tpu))


def make_train_op(loss, settings):
  """Makes the op that takes one training step.

  Rows gathered from the word embedding table enter the norm one by one, even
  where a word occurs twice. That is how `tf.clip_by_global_norm` treats
  IndexedSlices, and how published models were trained.

  Args:
    loss: float32 scalar Tensor.
    settings: Settings.

  Returns:
    The training op. In the graph, "learning_rate:0" and "global_norm:0" are the
    step's values. Running it raises `tf.errors.InvalidArgumentError`, with
    NOT_FINITE and the step in its message, if the norm is not finite.
  """
  _warn_of_long_warmup(settings)
  global_step = tf.train.get_or_create_global_step()
  # Read once for everything below: the count before this step.
  step = tf.identity(global_step)

  # Gradients, each of its variable's shape or IndexedSlices of its rows.
  variables = tf.trainable_variables()
  with warnings.catch_warnings():
    # TensorFlow 1.15 warns of the memory that the embeddings' gradient takes.
    warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
    gradients = tf.gradients(loss, variables)

  # Clipping. A norm that is not finite stops the training before any variable
  # changes (not on TPUs, which leave assertions out).
  norm = tf.identity(tf.global_norm(gradients, name="gradient_norm"),
                     name="global_norm")
  is_finite = tf.Assert(
      tf.is_finite(norm),
      [NOT_FINITE, step, "norm:", norm, "loss:", loss,
       "- this step changed no variable. Try a lower learning rate and check "
       "the input; the same command resumes from the last checkpoint"])
  with tf.control_dependencies([is_finite]):
    norm = tf.identity(norm)
  gradients, _ = tf.clip_by_global_norm(
      gradients, settings.clip_norm, use_norm=norm)

  # Update, at the learning rate of the global step before it.
  learning_rate = tf.identity(learning_rate_schedule(
      settings.learning_rate, settings.num_train_steps,
      settings.num_warmup_steps, step), name="learning_rate")
  optimizer = AdamWeightDecayOptimizer(
      learning_rate=learning_rate,
      weight_decay_rate=settings.weight_decay_rate,
      exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"])
  if settings.use_tpu:  # sums gradients over the TPU's cores
    optimizer = tf.tpu.CrossShardOptimizer(optimizer)
  update = optimizer.apply_gradients(zip(gradients, variables))

  with tf.control_dependencies([update]):
    return tf.assign_add(global_step, tf.ones_like(step), name="train_op").op


def learning_rate_schedule(init_lr, num_train_steps, num_warmup_steps, step):
  """The learning rate: linear from 0 over the warm-up, then linear to 0.

  The decay counts from step 0, warm-up included: after w of n steps of warm-up
  the learning rate continues from `init_lr * (1 - w / n)`.

  Args:
    init_lr: float. Where the warm-up leads to and the decay starts from.
    num_train_steps: int. Step at which the learning rate reaches 0.
    num_warmup_steps: int. Steps of warm-up; 0 or None for none.
    step: int scalar Tensor. Steps taken so far.

  Returns:
    float32 scalar Tensor.
  """
  rate = tf.train.polynomial_decay(
      tf.constant(init_lr, dtype=tf.float32), step, num_train_steps,
      end_learning_rate=0.0, power=1.0)
  if not num_warmup_steps:
    return rate
  warmup_rate = init_lr * (
      tf.cast(step, tf.float32) / tf.constant(num_warmup_steps, tf.float32))
  return tf.where(
      tf.less(tf.cast(step, tf.int64), num_warmup_steps), warmup_rate, rate)


def _warn_of_long_warmup(settings):
  """Warns of a training that ends before its warm-up does."""
  num_train_steps = settings.num_train_steps
  num_warmup_steps = settings.num_warmup_steps
  if not num_warmup_steps or num_warmup_steps < num_train_steps:
    return
  # The last step's learning rate is that of the count before it.
  highest = (num_train_steps - 1) / float(num_warmup_steps)
  percent = "%.1f" if highest >= 0.001 else "%.1g"
  tf.logging.warning(
      "--num_warmup_steps (%d) is not less than --num_train_steps (%d): the "
      "learning rate never exceeds " + percent + "%% of --learning_rate "
      "(%.3g); use a shorter warm-up (a smaller --num_warmup_steps, or in the "
      "fine-tuning scripts a smaller --warmup_proportion)",
      num_warmup_steps, num_train_steps, 100 * highest,
      highest * settings.learning_rate)


class AdamWeightDecayOptimizer(tf.train.Optimizer):
  """Adam without bias correction, with decoupled weight decay.

  ```
  m = beta_1 * m + (1 - beta_1) * gradient
  v = beta_2 * v + (1 - beta_2) * gradient ** 2
  variable -= learning_rate * (m / (sqrt(v) + epsilon) + decay * variable)
  ```

  The averages are the slots `adam_m` and `adam_v`, so that a checkpoint holds
  them as "bert/pooler/dense/kernel/adam_m". A gradient of IndexedSlices is
  summed into a dense one first: rows without a gradient decay too, and their
  averages shrink.
  """

  def __init__(self, learning_rate, weight_decay_rate=0.0, beta_1=0.9,
               beta_2=0.999, epsilon=1e-6, exclude_from_weight_decay=None,
               name="AdamWeightDecayOptimizer"):
    """Makes the optimizer.

    Args:
      learning_rate: float or float32 scalar Tensor.
      weight_decay_rate: float. Decay of the variables, times the learning rate.
      beta_1: float. Decay of the average of gradients.
      beta_2: float. Decay of the average of squared gradients.
      epsilon: float. Added to the root, against division by zero.
      exclude_from_weight_decay: list of str. Variables whose name matches any
        of these regular expressions do not decay.
      name: str. Name scope of the update ops.
    """
    super().__init__(False, name)
    self.learning_rate = learning_rate
    self.weight_decay_rate = weight_decay_rate
    self.beta_1 = beta_1
    self.beta_2 = beta_2
    self.epsilon = epsilon
    self.exclude_from_weight_decay = exclude_from_weight_decay

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
    grads_and_vars = list(grads_and_vars)
    # Made here, where they wait for no gradient, and shared: constants of each
    # variable's own would add a thousand ops to BERT-Base's graph.
    self._constants = {
        dtype: self._make_constants(dtype) for dtype in sorted(
            {variable.dtype.base_dtype for _, variable in grads_and_vars},
            key=lambda dtype: dtype.name)}
    return super().apply_gradients(grads_and_vars, name=name)

  def _make_constants(self, dtype):
    """Returns the constant arguments that both fused kernels share.

    With beta powers of 0 the kernels' bias correction, sqrt(1 - beta_2 ** t) /
    (1 - beta_1 ** t), is 1.
    """
    zero = tf.zeros([], dtype)
    return dict(
        beta1_power=zero, beta2_power=zero,
        beta1=tf.constant(self.beta_1, dtype),
        beta2=tf.constant(self.beta_2, dtype),
        epsilon=tf.constant(self.epsilon, dtype))

  def _prepare(self):
    self._rate = tf.convert_to_tensor(
        self._call_if_callable(self.learning_rate), name="learning_rate")

  def _create_slots(self, var_list):
    for variable in var_list:
      # The second name is how the name of the slot's variable ends.
      self._zeros_slot(variable, "adam_m", "adam_m")
      self._zeros_slot(variable, "adam_v", "adam_v")

  def _do_use_weight_decay(self, param_name):
    """Returns whether the variable of that name decays."""
    if not self.weight_decay_rate:
      return False
    return not any(re.search(pattern, param_name)
                   for pattern in self.exclude_from_weight_decay or [])

  def _get_variable_name(self, param_name):
    """Returns the name of a variable without the ":0" of its tensor."""
    return re.sub(r":\d+$", "", param_name)

  def _decay(self, variable, gradient):
    """Subtracts learning_rate * decay * variable; returns the ops to wait for.

    The whole update uses the variable's value before the step. So the decay
    comes after the gradient, which is computed from that value, and before the
    Adam kernel, whose step does not depend on it.
    """
    if not self._do_use_weight_decay(self._get_variable_name(variable.name)):
      return []
    with tf.control_dependencies([gradient]):
      factor = tf.cast(self._rate, variable.dtype.base_dtype)
      return [variable.assign_sub(
          factor * self.weight_decay_rate * variable.value()).op]

  def _update(self, kernel, gradient, variable, refer):
    """Decays a variable, then runs one of the fused kernels on it.

    Args:
      kernel: function of `tf.raw_ops`.
      gradient: Tensor of the variable's shape.
      variable: the variable.
      refer: function from a variable to what the kernel takes for it.

    Returns:
      What the kernel returns.
    """
    dtype = variable.dtype.base_dtype
    with tf.control_dependencies(self._decay(variable, gradient)):
      return kernel(
          var=refer(variable), m=refer(self.get_slot(variable, "adam_m")),
          v=refer(self.get_slot(variable, "adam_v")), grad=gradient,
          lr=tf.cast(self._rate, dtype), **self._constants[dtype])

  def _apply_dense(self, grad, var):
    return self._update(tf.raw_ops.ApplyAdam, grad, var, lambda v: v).op

  def _resource_apply_dense(self, grad, var):
    return self._update(
        tf.raw_ops.ResourceApplyAdam, grad, var, lambda v: v.handle)

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
