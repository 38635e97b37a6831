"""Starts a model's weights from a checkpoint, and logs which."""

import os
import re

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import checkpoint_fit, checkpoints, cli, files, modeling


def initialize_from_checkpoint(init_checkpoint, use_tpu=False,
                               must_have_all=False, head=(), init_head="auto",
                               fresh=None):
  """Starts the trainable variables from a checkpoint and logs what it has.

  Args:
    init_checkpoint: str. Prefix of the checkpoint; None or empty for none.
    use_tpu: bool. Leaves the work to the returned function, which runs on the
      TPU's host.
    must_have_all: bool. Every variable must be in the checkpoint.
    head: names of variables. See `checkpoint_fit.find_new_head`, as for the
      next.
    init_head: str. Ignored if the checkpoint must have everything.
    fresh: str. Regular expression. Variables whose names begin with a match
      start from new values even if the checkpoint has them; None for none.
      Ignored if the checkpoint must have everything.

  Returns:
    None, or the `scaffold_fn` that TPUs need.

  Raises:
    UserError: there is no such checkpoint, it has none of the variables,
      shapes differ or variables are missing; every one that does not fit is
      named.
  """
  variables = tf.trainable_variables()
  found, scaffold_fn = {}, None
  if init_checkpoint:
    with cli.user_errors():
      init_checkpoint = checkpoints.resolve(init_checkpoint)
      new = set() if must_have_all else checkpoint_fit.find_new_head(
          variables, init_checkpoint, head, init_head)
      if fresh and not must_have_all:
        new |= {v.op.name for v in variables if re.match(fresh, v.op.name)}
      taken = [v for v in variables if v.op.name not in new]
      checkpoint_fit.check_shapes(
          taken, init_checkpoint, must_have_all,
          cure="train first, or give the checkpoint of a fine-tuned model"
          if must_have_all else
          "is it for another bert_config.json, vocabulary or set of labels?")
    assignment_map, found = modeling.get_assignment_map_from_checkpoint(
        taken, init_checkpoint)
    warn_of_random_weights(taken, found, init_checkpoint)

    path = files.literal(init_checkpoint)
    if must_have_all and checkpoints.has_step(init_checkpoint):
      # Results are labelled with the step of the checkpoint.
      assignment_map["global_step"] = tf.train.get_or_create_global_step()

    def assign():
      tf.train.init_from_checkpoint(path, assignment_map)
      return tf.train.Scaffold()

    if use_tpu:
      scaffold_fn = assign
    else:
      assign()

  _log_variables(variables, found, init_checkpoint)
  return scaffold_fn


def _log_variables(variables, found, init_checkpoint):
  """Logs how many variables there are, and each of them as DEBUG.

  Args:
    variables: list of variables.
    found: dict or set of names, with and without ":0". Those that start from
      the checkpoint.
    init_checkpoint: str. Prefix of the checkpoint, if any.
  """
  new = [v.op.name for v in variables if v.op.name not in found]
  parts = ["%d" % len(variables), _show_count(sum(
      v.shape.num_elements() for v in variables)) + " parameters"]
  if init_checkpoint:
    parts.append("%d from %s" % (
        len(variables) - len(new), os.path.basename(init_checkpoint)))
  if len(new) == len(variables):
    parts.append("all new")
  elif new:
    parts.append("%d new: %s%s" % (
        len(new), ", ".join(new[:4]), ", ..." if len(new) > 4 else ""))
  tf.logging.info("Variables: %s", ", ".join(parts))
  for variable in variables:
    tf.logging.debug("  name = %s, shape = %s%s", variable.name, variable.shape,
                     ", *INIT_FROM_CKPT*" if variable.name in found else "")


def _show_count(number):
  return "%.1f million" % (number / 1e6) if number >= 1e6 else str(number)


def warn_of_random_weights(variables, found, checkpoint):
  """Warns of variables that a checkpoint should have but lacks.

  A new head is expected; an encoder of which parts are missing is not, as when
  the config has more layers than the checkpoint.
  """
  scopes = {name.split("/")[0] for name in found}
  missing = [v.op.name for v in variables if v.op.name not in found and
             v.op.name.split("/")[0] in scopes]
  if missing:
    tf.logging.warning(
        "%s lacks %d variables of the model, which start from random weights; "
        "is it for another bert_config.json? %s%s", checkpoint, len(missing),
        ", ".join(missing[:5]), ", ..." if len(missing) > 5 else "")
