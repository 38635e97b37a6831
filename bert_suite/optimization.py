"""How weights are updated: AdamW with warm-up, decay and clipping.

Methods: Kingma and Ba, "Adam" (arXiv 1412.6980, algorithm 1), without its bias
correction; Loshchilov and Hutter, "Decoupled Weight Decay Regularization"
(arXiv 1711.05101, algorithm 2); Pascanu et al., "On the difficulty of training
recurrent neural networks" (arXiv 1211.5063, algorithm 1) for the clipping.
"""

import dataclasses
import re
import warnings

from . import environment  # isort: skip  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import optimizers, xla

# Variable size from which a compiled update pays off. Smaller variables fit in
# a CPU's cache, where each pass over them costs little.
_LARGE = 1 << 18

# Start of the error message that stops a diverging training.
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
    compute_dtype: See `modeling.Options`. "float16", whose range is 6e-8 to
      65,504, needs loss scaling, see LossScale.
    compiled: XLA compiles the norm of all gradients as one program, and the
      update of all variables as another. They must be resource variables.
    adam_bias_correction: See AdamWeightDecayOptimizer.
    layerwise_lr_decay: Factor of the learning rate from each layer to the one
      below it, see `layer_factors`.
    gradient_accumulation_steps: Parts that a batch is computed in, one after
      the other, see `accumulation`. `training.make_model_fn` makes them.
    last_accumulation_steps: The same for the last step, if it differs.
    optimizer: "adamw", or the name of one of `optimizers.OTHERS`.
    poly_power: See `learning_rate_schedule`.
  """
  learning_rate: float
  num_train_steps: int
  num_warmup_steps: int
  use_tpu: bool = False
  weight_decay_rate: float = 0.01
  clip_norm: float = 1.0
  compute_dtype: str = "float32"
  compiled: bool = False
  adam_bias_correction: bool = False
  layerwise_lr_decay: float = 1.0
  gradient_accumulation_steps: int = 1
  last_accumulation_steps: int = 0
  optimizer: str = "adamw"
  poly_power: float = 1.0


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


def make_train_op(loss, settings, parts=None):
  """Makes the op that takes one training step.

  Rows gathered from the word embedding table enter the norm one by one, even
  where a word occurs twice. That is how `tf.clip_by_global_norm` treats
  IndexedSlices, and how published models were trained.

  Args:
    loss: float32 scalar Tensor.
    settings: Settings.
    parts: accumulation.Parts, whose loss and gradients replace those of `loss`;
      None for the batch in one piece.

  Returns:
    The training op. In the graph, "learning_rate:0" and "global_norm:0" are the
    step's values. Running it raises `tf.errors.InvalidArgumentError`, with
    NOT_FINITE and the step in its message, if the norm is not finite. While
    a LossScale can still shrink, the op shrinks it instead, and changes neither
    variables nor the global step.
  """
  _warn_of_long_warmup(settings)
  global_step = tf.train.get_or_create_global_step()
  # Read once for everything below: the count before this step.
  step = tf.identity(global_step)

  # Gradients, each of its variable's shape or IndexedSlices of its rows.
  variables = tf.trainable_variables()
  if settings.compiled and any(v.dtype._is_ref_dtype for v in variables):
    raise ValueError("compiled=True needs resource variables; call "
                     "tf.enable_resource_variables() before building the model")
  loss_scale = LossScale() if settings.compute_dtype == "float16" else None
  with warnings.catch_warnings():
    # TensorFlow 1.15 warns of the memory that the embeddings' gradient takes.
    warnings.filterwarnings("ignore", "Converting sparse IndexedSlices")
    scale_up = loss_scale.up if loss_scale else lambda loss: loss
    if parts:
      gradients, norm_terms = parts.gradients(variables, scale_up)
      loss = parts.loss
    else:
      gradients = norm_terms = tf.gradients(scale_up(loss), variables)

  # Clipping. A norm that is not finite stops the training before any variable
  # changes (not on TPUs, which leave assertions out).
  norm = _global_norm(norm_terms, settings.compiled)
  if loss_scale:
    norm = loss_scale.down(norm)
  norm = tf.identity(norm, name="global_norm")
  is_finite = tf.is_finite(norm)
  is_fine = tf.Assert(
      tf.logical_or(is_finite, loss_scale.can_shrink()) if loss_scale else
      is_finite,
      [NOT_FINITE, step, "norm:", norm, "loss:", loss,
       "- this step changed no variable. Try a lower learning rate and check "
       "the input; the same command resumes from the last checkpoint"])
  with tf.control_dependencies([is_fine]):
    norm = tf.identity(norm)
  scale = settings.clip_norm / tf.maximum(norm, settings.clip_norm)

  # Update, at the learning rate of the global step before it.
  learning_rate = tf.identity(learning_rate_schedule(
      settings.learning_rate, settings.num_train_steps,
      settings.num_warmup_steps, step, settings.poly_power),
      name="learning_rate")
  optimizer = _make_optimizer(
      settings, step, learning_rate=learning_rate,
      weight_decay_rate=settings.weight_decay_rate,
      exclude_from_weight_decay=["LayerNorm", "layer_norm", "bias"],
      # On TPUs each core clips its own gradients, below.
      gradient_scale=(1.0 if settings.use_tpu else
                      loss_scale.down(scale) if loss_scale else scale),
      rate_factors=layer_factors(
          [variable.name for variable in variables],
          settings.layerwise_lr_decay))
  if settings.use_tpu:  # sums gradients over the TPU's cores
    gradients, _ = tf.clip_by_global_norm(
        gradients, settings.clip_norm, use_norm=norm)
    optimizer = tf.tpu.CrossShardOptimizer(optimizer)

  def update():
    if not settings.compiled:
      return optimizer.apply_gradients(zip(gradients, variables))
    pairs = [(_sum_rows(*pair), pair[1]) for pair in zip(gradients, variables)]
    return xla.compiled(lambda: _after(optimizer.apply_gradients(pairs)))()

  if loss_scale:
    done, steps = loss_scale.update(is_finite, update), tf.cast(
        is_finite, step.dtype)
  else:
    done, steps = update(), tf.ones_like(step)
  with tf.control_dependencies([done]):
    return tf.assign_add(global_step, steps, name="train_op").op


def _make_optimizer(settings, step, **arguments):
  """Makes the settings' optimizer; see `optimizers.DecayingOptimizer`."""
  optimizers.check(settings.optimizer)
  if settings.optimizer != optimizers.ADAMW:
    return optimizers.OTHERS[settings.optimizer](step=step + 1, **arguments)
  return AdamWeightDecayOptimizer(
      in_one_pass=not (settings.use_tpu or settings.compiled),
      bias_correction_step=(
          step + 1 if settings.adam_bias_correction else None), **arguments)


def layer_factors(names, decay):
  """Returns a dict of factors of the learning rate, by name of variable.

  Lower layers have smaller factors (Clark et al., arXiv 2003.10555, appendix
  B): `decay` for the last Transformer layer, its square for the one below, and
  so on down to the embeddings. Those above the layers, all 1, are left out.

  Args:
    names: list of str. Names of variables.
    decay: float.
  """
  depths = {}
  for name in names:
    layer = re.search(r"\bencoder/layer_(\d+)/", name)
    if layer or re.search(r"\bbert/embeddings/", name):
      depths[name] = int(layer.group(1)) if layer else -1
  num_layers = max(depths.values(), default=-1) + 1
  return {} if decay == 1.0 else {
      name: decay ** (num_layers - depth) for name, depth in depths.items()}


def _global_norm(gradients, compiled):
  """Returns the norm of all gradients; one program computes the dense ones.

  The gradient of word embeddings has a row per token of the batch: with it, the
  program would be compiled again for each number of tokens.
  """
  if not compiled:
    return tf.global_norm(gradients, name="gradient_norm")
  rows = [gradient for gradient in gradients
          if isinstance(gradient, tf.IndexedSlices)]
  others = [gradient for gradient in gradients
            if not isinstance(gradient, tf.IndexedSlices)]
  return tf.global_norm(
      [xla.compiled(lambda: tf.global_norm(others))()] + rows,
      name="gradient_norm")


def _sum_rows(gradient, variable):
  """Makes a gradient of IndexedSlices dense; returns others as they are."""
  if not isinstance(gradient, tf.IndexedSlices):
    return gradient
  return tf.unsorted_segment_sum(
      gradient.values, gradient.indices, tf.shape(variable)[0])


def _after(op):
  """Returns a Tensor that runs an op, as programs have to return a Tensor."""
  with tf.control_dependencies([op]):
    return tf.zeros([])


class LossScale:
  """Dynamic loss scaling (Micikevicius et al., arXiv 1710.03740, section 3.2).

  The loss is multiplied so that small gradients stay above float16's smallest
  number. The factor is halved after a step whose gradients are not finite, and
  doubled after 2,000 finite steps in a row, up to a bound that keeps it finite
  if gradients are 0. It is not saved in checkpoints.
  """

  _INITIAL, _MAXIMUM, _STEPS_TO_GROW = 2.0 ** 15, 2.0 ** 24, 2000

  def __init__(self):
    def make(name, value):
      return tf.get_variable(
          "loss_scale/" + name, initializer=value, trainable=False,
          collections=[tf.GraphKeys.LOCAL_VARIABLES], use_resource=True)

    self._factor = make("factor", self._INITIAL)
    self._num_good = make("num_good_steps", 0)
    self._value = self._factor.read_value()  # for this step

  def up(self, loss):
    """Multiplies the loss; returns a scalar Tensor."""
    return loss * self._value

  def down(self, tensor):
    """Undoes the scaling of gradients, or of a value computed from them."""
    return tensor / self._value

  def can_shrink(self):
    """Returns whether a smaller factor may still help, a bool Tensor."""
    return self._value > 1.0

  def update(self, is_finite, apply_gradients):
    """Applies the gradients if they are finite, and updates the factor.

    Args:
      is_finite: bool scalar Tensor.
      apply_gradients: function that makes the op to run if they are.

    Returns:
      The op that does both.
    """
    def keep():
      with tf.control_dependencies([apply_gradients()]):
        return tf.identity(self._num_good + 1)

    num_good = tf.cond(is_finite, keep, lambda: tf.constant(0))
    grows = num_good >= self._STEPS_TO_GROW
    factor = tf.minimum(self._MAXIMUM, self._value * tf.where_v2(
        is_finite, tf.where_v2(grows, 2.0, 1.0), 0.5))
    with tf.control_dependencies([num_good]):
      return tf.group(
          self._factor.assign(factor),
          self._num_good.assign(tf.where_v2(grows, 0, num_good)))


def learning_rate_schedule(init_lr, num_train_steps, num_warmup_steps, step,
                           power=1.0):
  """The learning rate: linear from 0 over the warm-up, then back to 0.

  The decay counts from step 0, warm-up included: after w of n steps of warm-up
  the learning rate continues from `init_lr * (1 - w / n)`.

  Args:
    init_lr: float. Where the warm-up leads to and the decay starts from.
    num_train_steps: int. Step at which the learning rate reaches 0.
    num_warmup_steps: int. Steps of warm-up; 0 or None for none.
    step: int scalar Tensor. Steps taken so far.
    power: float. Exponent of the fraction of steps left; 1 decays linearly.

  Returns:
    float32 scalar Tensor.
  """
  rate = tf.train.polynomial_decay(
      tf.constant(init_lr, dtype=tf.float32), step, num_train_steps,
      end_learning_rate=0.0, power=power)
  if not num_warmup_steps:
    return rate
  warmup_rate = init_lr * (
      tf.cast(step, tf.float32) / tf.constant(num_warmup_steps, tf.float32))
  return tf.where(
      tf.less(tf.cast(step, tf.int64), num_warmup_steps), warmup_rate, rate)


def _warn_of_long_warmup(settings):
  """Warns if a training ends before its warm-up does."""
  num_train_steps = settings.num_train_steps
  num_warmup_steps = settings.num_warmup_steps
  if not num_warmup_steps or num_warmup_steps < num_train_steps:
    return
  # The last step uses the learning rate of the step count before it.
  highest = (num_train_steps - 1) / float(num_warmup_steps)
  percent = "%.1f" if highest >= 0.001 else "%.1g"
  tf.logging.warning(
      "--num_warmup_steps (%d) is not less than --num_train_steps (%d): the "
      "learning rate never exceeds " + percent + "%% of --learning_rate "
      "(%.3g); use a shorter warm-up (a smaller --num_warmup_steps, or in the "
      "fine-tuning scripts a smaller --warmup_proportion)",
      num_warmup_steps, num_train_steps, 100 * highest,
      highest * settings.learning_rate)


class AdamWeightDecayOptimizer(optimizers.DecayingOptimizer):
  """Adam without bias correction, with decoupled weight decay.

  ```
  m = beta_1 * m + (1 - beta_1) * gradient
  v = beta_2 * v + (1 - beta_2) * gradient ** 2
  variable -= learning_rate * (m / (sqrt(v) + epsilon) + decay * variable)
  ```

  The averages are the slots `adam_m` and `adam_v`, so that a checkpoint holds
  them as "bert/pooler/dense/kernel/adam_m".
  """

  slot_names = ("adam_m", "adam_v")

  def __init__(self, learning_rate, weight_decay_rate=0.0, beta_1=0.9,
               beta_2=0.999, epsilon=1e-6, exclude_from_weight_decay=None,
               name="AdamWeightDecayOptimizer", gradient_scale=1.0,
               in_one_pass=True, bias_correction_step=None, rate_factors=None):
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
      gradient_scale: float or float32 scalar Tensor. Factor of the gradients.
      in_one_pass: bool. One operation updates each small variable that does not
        decay and, without a GPU, a compiled program each large variable. On a
        GPU, XLA may lack files; see `compiled` of Settings. TPUs compile
        everything.
      bias_correction_step: integer scalar Tensor. Number of the step, from 1
        on; corrects the averages for having started from 0 (Kingma and Ba,
        arXiv 1412.6980, section 3). None for no correction, as BERT was
        trained.
      rate_factors: dict from the name of a variable to a factor of its learning
        rate, float; 1 for those that are left out.
    """
    super().__init__(
        learning_rate, weight_decay_rate, exclude_from_weight_decay, name,
        gradient_scale, rate_factors)
    self.beta_1 = beta_1
    self.beta_2 = beta_2
    self.epsilon = epsilon
    self.bias_correction_step = bias_correction_step
    self._has_kernel, self._in_one_pass = in_one_pass, None
    if in_one_pass and not environment.find_gpus() and not xla.find_fault():
      self._in_one_pass = xla.compiled(self._new_values)

  def _prepare(self):
    super()._prepare()
    # With powers of 0 the kernel's bias correction, sqrt(1 - beta_2 ** t) /
    # (1 - beta_1 ** t), is 1.
    self._kernel_scalars = dict(
        beta1_power=self._decays[False], beta2_power=self._decays[False],
        beta1=tf.constant(self.beta_1), beta2=tf.constant(self.beta_2),
        epsilon=tf.constant(self.epsilon))
    self._corrections = []
    if self.bias_correction_step is not None:
      step = tf.cast(self.bias_correction_step, tf.float32)
      powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
      root = tf.sqrt(1.0 - powers[1])
      self._corrections = [root / (1.0 - powers[0]), self.epsilon * root]
      self._kernel_scalars.update(
          beta1_power=powers[0], beta2_power=powers[1],
          epsilon=self._corrections[1])

  def _new_values(self, gradient, value, m, v, rate, decay, scale,
                  correction=None, epsilon=None):
    """Returns a variable and its averages after a step.

    Args:
      gradient: Tensor of the variable's shape.
      value: the same. The variable before the step.
      m: the same. Average of gradients.
      v: the same. Average of squared gradients.
      rate: scalar Tensor, the learning rate.
      decay: scalar Tensor.
      scale: scalar Tensor. Factor of the gradient.
      correction: scalar Tensor. Factor of m / (sqrt(v) + epsilon) that corrects
        both averages, together with `epsilon`; None for none.
      epsilon: scalar Tensor.
    """
    gradient *= scale
    m = self.beta_1 * m + (1.0 - self.beta_1) * gradient
    v = self.beta_2 * v + (1.0 - self.beta_2) * tf.square(gradient)
    if correction is None:
      change = m / (tf.sqrt(v) + self.epsilon) + decay * value
    else:
      change = correction * m / (tf.sqrt(v) + epsilon) + decay * value
    return value - rate * change, m, v

  def _update(self, gradient, var, rate, decays):
    scalars = [tf.cast(scalar, var.dtype.base_dtype) for scalar in (
        rate, self._decays[decays], self._scale, *self._corrections)]
    variables = [var] + [self.get_slot(var, name) for name in self.slot_names]
    update = self._new_values
    if var.shape.num_elements() >= _LARGE:
      update = self._in_one_pass or update
    elif self._has_kernel and not decays:
      return self._run_kernel(gradient, *variables + scalars)
    return self._assign(variables, update(
        gradient, *self._read(gradient, variables) + scalars))

  def _run_kernel(self, gradient, var, m, v, rate, decay, scale, *corrections):
    """Updates a variable that does not decay, as `_new_values` does."""
    del decay, corrections  # the kernel corrects the averages itself
    scalars = {name: tf.cast(value, gradient.dtype)
               for name, value in self._kernel_scalars.items()}
    if hasattr(var, "handle"):
      return tf.raw_ops.ResourceApplyAdam(
          var=var.handle, m=m.handle, v=v.handle, lr=rate,
          grad=gradient * scale, **scalars)
    return tf.raw_ops.ApplyAdam(
        var=var, m=m, v=v, lr=rate, grad=gradient * scale, **scalars).op
