"""Whether the weights of a checkpoint fit a model, and its head a task.

A head is what a task adds to the encoder. Training may start from a model of
another task, and then needs a new head.
"""

from . import environment  # isort: skip  # noqa: F401  # before TensorFlow

import tensorflow.compat.v1 as tf

from . import checkpoints, model_inputs

# Values of --init_head.
INIT_HEADS = ("auto", "keep", "new")
# The variables of all tasks' heads.
CLASSIFIER_HEAD = ("output_weights", "output_bias")
SQUAD_HEAD = ("cls/squad/output_weights", "cls/squad/output_bias")
NER_HEAD = ("cls/ner/output_weights", "cls/ner/output_bias")
HEADS = CLASSIFIER_HEAD + SQUAD_HEAD + NER_HEAD

# How names end in the checkpoints of TensorFlow 2's Keras models.
OBJECT_BASED = "/.ATTRIBUTES/VARIABLE_VALUE"


def check_init_head(init_head):
  """Raises ValueError unless the value of --init_head is known."""
  model_inputs.check_choice("init_head", init_head, INIT_HEADS)


def find_new_head(variables, checkpoint, head, init_head):
  """Decides whether a task's head comes from a checkpoint, and logs it.

  Args:
    variables: list of variables of the model.
    checkpoint: str. Prefix of the checkpoint.
    head: names of variables that only training on the task creates.
    init_head: str. "auto" takes the head if its names and shapes fit, "keep"
      requires that they do, "new" never takes it.

  Returns:
    Set of the names that start from random weights: all of the head's, or none.

  Raises:
    ValueError: the head must be kept but does not fit.
  """
  check_init_head(init_head)
  ours = {v.op.name: v.shape.as_list() for v in variables if v.op.name in head}
  if not ours:
    return set()
  shapes = checkpoints.check_readable(checkpoint)
  shown = "The head (%s)" % ", ".join(ours)
  missing = [name for name in ours if name not in shapes]
  misfits = ["%s is %s there and %s here" % (name, list(shapes[name]), shape)
             for name, shape in ours.items()
             if name in shapes and list(shapes[name]) != shape]
  misfits += ["there is no " + name for name in missing]
  if init_head == "keep" and misfits:
    raise ValueError(
        "--init_head=keep: %s has another head: %s; pass --init_head=auto to "
        "start with a new one" % (checkpoint, ", ".join(misfits)))
  if init_head != "new" and not misfits:
    tf.logging.info("%s is kept: its weights start from %s; --init_head=new "
                    "starts with a new one", shown, checkpoint)
    return set()
  others = sorted(name for name in shapes if name in HEADS and name not in ours)
  if init_head == "new" or len(missing) == len(ours) and not others:
    tf.logging.info("%s starts from random weights", shown)
  else:
    tf.logging.warning(
        "%s starts from random weights: in %s %s%s", shown, checkpoint,
        ", ".join(misfits), ", but the head of another task: " +
        ", ".join(others) if others else "")
  return set(ours)


def check_shapes(variables, checkpoint, must_have_all=False,
                 cure="pass another checkpoint"):
  """Raises ValueError unless a checkpoint exists and its shapes fit.

  Args:
    variables: list of variables.
    checkpoint: str. Prefix of the checkpoint.
    must_have_all: bool. Every variable must be in it.
    cure: str. What to do or check if it does not fit.
  """
  check_shapes_of({v.name.split(":")[0]: v.shape.as_list() for v in variables},
                  checkpoint, must_have_all, cure)


def check_shapes_of(expected, checkpoint, must_have_all, cure):
  """Like `check_shapes`, of a dict from name in the checkpoint to shape."""
  shapes = checkpoints.check_readable(checkpoint)
  # A head alone is not a model, and other models' heads have the same names.
  encoder = [name for name in expected if name.startswith("bert/")]
  if expected and not set(encoder or expected) & set(shapes):
    raise ValueError(_describe_stranger(
        expected, checkpoint, shapes, cure if must_have_all else
        "leave --init_checkpoint out to start from random weights"))
  problems = []
  for name, ours in expected.items():
    if name not in shapes:
      if must_have_all:
        problems.append("%s: not in the checkpoint" % name)
    elif list(shapes[name]) != ours:
      problems.append("%s: %s in the checkpoint, %s in the model%s" % (
          name, list(shapes[name]), ours,
          " (learn_vocab.py --extend=append gives a model rows for more words)"
          if name == "bert/embeddings/word_embeddings" and
          list(shapes[name])[1:] == ours[1:] else ""))
  if problems:
    raise ValueError(
        "%s does not fit the model (%s): %s" %
        (checkpoint, cure, "; ".join(problems)))


def _describe_stranger(expected, checkpoint, shapes, cure):
  """Returns a message on a checkpoint with none of the model's variables."""
  names = sorted(name for name in shapes if not name.startswith("_"))
  # The scope, if that is all by which names differ from the model's.
  scope = next((name[:-len(ours)] for ours in expected for name in names
                if "/" in ours and name.endswith("/" + ours)), None)
  if any(name.endswith(OBJECT_BASED) for name in names):
    what = ("not a BERT checkpoint of TensorFlow 1, but an object-based one of "
            "TensorFlow 2; `python convert_checkpoint.py --init_checkpoint=%s "
            "--output_dir=NEW_FOLDER` converts those of the Model Garden" %
            checkpoint)
  elif scope == "module/":
    what = ("one that run_classifier_with_tfhub.py trained on a Hub module; "
            "pass the checkpoint that the module was made from")
  elif scope:
    what = ("one with all names under the scope %s; save it again without that "
            "scope" % scope)
  else:
    what = "not a BERT checkpoint of TensorFlow 1"
  return ("%s holds none of the model's variables (the first names found: %s%s)"
          ", so it is %s; %s" % (
              checkpoint, ", ".join(names[:5]) or "none at all",
              ", ..." if len(names) > 5 else "", what, cure))
