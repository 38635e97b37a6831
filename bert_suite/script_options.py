"""Settings of a script: dataclasses whose fields are flags too.

A field is made by `option`. `define_flags` defines the flags of a class,
`from_flags` fills one from them; a notebook constructs it with keywords. What
is out of bounds is refused alike.
"""

import dataclasses

from absl import flags

from . import cli

# Flags defined by functions of this module belong to the script that calls
# them, so that its --helpshort lists them.
flags.disclaim_key_flags()

_SAME = object()


def option(kind, default, help_text, flag_default=_SAME, alias=None, **more):
  """Returns a field of a dataclass of settings.

  Args:
    kind: str, as of `cli.define_flag`, like the next two.
    default: the field's default, or None.
    help_text: str, or a function that returns it when the flag is defined.
    flag_default: the flag's default where it is another. The field then is
      `default` unless the flag was given.
    alias: str. A second name of the flag.
    **more: what else `cli.define_flag` takes, such as bounds.
  """
  is_same = flag_default is _SAME
  return dataclasses.field(default=default, metadata=dict(
      says_if_given=not is_same, alias=alias, flag=dict(
          more, kind=kind, help_text=help_text,
          default=default if is_same else flag_default)))


def define_flags(settings_class):
  """Defines a flag for each field of a class; may be called again."""
  for field in dataclasses.fields(settings_class):
    flag = dict(field.metadata["flag"])
    if callable(flag["help_text"]):
      flag["help_text"] = flag["help_text"]()
    cli.define_flag(name=field.name, **flag)
    if field.metadata["alias"]:
      cli.define_flag_alias(field.metadata["alias"], field.name)


def from_flags(settings_class, flag_values):
  """Returns the settings that parsed flags say."""
  return settings_class(**{
      field.name: cli.given(flag_values, field.name)
      if field.metadata["says_if_given"] else flag_values[field.name].value
      for field in dataclasses.fields(settings_class)})


def make(settings_class, values, required=()):
  """Returns settings from values by name, such as a notebook's.

  Args:
    settings_class: subclass of Settings.
    values: dict from name, or a flag's second name, to value, of the flag's
      type or as text; None for the default.
    required: names of those that must be given.

  Raises:
    UserError: a name or value is wrong, or one is missing.
  """
  return from_flags(settings_class, cli.make_flag_values(
      lambda: define_flags(settings_class), values, required))


@dataclasses.dataclass
class Settings:
  """What the settings of all scripts have in common: they are checked."""

  def __post_init__(self):
    """Raises UserError for a value that the flag would refuse."""
    values = vars(self)
    checked = cli.make_flag_values(lambda: define_flags(type(self)), values)
    for name, value in values.items():
      if value is not None:
        values[name] = checked[name].value
