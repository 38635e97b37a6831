"""Settings of a script: dataclasses whose fields are also flags.

`option` makes a field. `define_flags` defines the flags of a class, and
`from_flags` makes an object from them; a notebook constructs it with keywords.
Both refuse values that are out of bounds, and so does assigning to a field.
"""

import dataclasses
import functools

from absl import flags

from . import cli

# Flags defined by functions of this module belong to the script that calls
# them, so that its --helpshort lists them.
flags.disclaim_key_flags()

_SAME = object()


def option(kind, default, help_text, flag_default=_SAME, alias=None, **more):
  """Returns a field of a dataclass of settings.

  Args:
    kind: str. See `cli.define_flag`, also for the next two.
    default: the field's default, or None.
    help_text: str, or a function that returns it when the flag is defined.
    flag_default: the flag's default, if it differs from the field's. The field
      is then `default` unless the flag was given.
    alias: str. A second name of the flag.
    **more: further arguments of `cli.define_flag`, such as bounds.
  """
  is_same = flag_default is _SAME
  return dataclasses.field(default=default, metadata=dict(
      says_if_given=not is_same, alias=alias, flag=dict(
          more, kind=kind, help_text=help_text,
          default=default if is_same else flag_default)))


def _options(settings_class):
  """Returns the fields of a class that are also flags."""
  return [one for one in dataclasses.fields(settings_class)
          if "flag" in one.metadata]


def names_of(settings_class):
  """Returns the names of the flags of a class or one of its objects."""
  return [one.name for one in _options(settings_class)]


def define_flags(settings_class, flag_values=flags.FLAGS):
  """Defines a flag for each option of a class; may be called again."""
  for field in _options(settings_class):
    _define_flag(field, flag_values)


def _define_flag(field, flag_values):
  flag = dict(field.metadata["flag"])
  if callable(flag["help_text"]):
    flag["help_text"] = flag["help_text"]()
  cli.define_flag(name=field.name, flag_values=flag_values, **flag)
  if field.metadata["alias"]:
    cli.define_flag_alias(field.metadata["alias"], field.name, flag_values)


def from_flags(settings_class, flag_values):
  """Returns settings with the values of parsed flags."""
  return settings_class(**{
      field.name: cli.given(flag_values, field.name)
      if field.metadata["says_if_given"] else flag_values[field.name].value
      for field in _options(settings_class)})


def make(settings_class, values):
  """Returns settings from values by name, such as a notebook's.

  Args:
    settings_class: subclass of Settings.
    values: dict from name, or a flag's second name, to value, in the flag's
      type or as text; None for the default.

  Raises:
    UserError: a name or value is wrong.
  """
  return from_flags(
      settings_class, _make_flags(_options(settings_class), values))


def _make_flags(fields, values):
  """Returns a separate FlagValues for some fields, with values by name."""
  flag_values = flags.FlagValues()
  for field in fields:
    _define_flag(field, flag_values)
  return cli.assign(flag_values, values)


@dataclasses.dataclass
class Settings:
  """Base class of all scripts' settings: it checks names and values.

  Names are those of the fields; `make` also takes a flag's second name. A field
  of a subclass that `option` did not make is not a flag and takes any value.
  """

  def __new__(cls, *_, **values):
    cli.check_names(values, [one.name for one in dataclasses.fields(cls)])
    return super().__new__(cls)

  def __setattr__(self, name, value):
    """Raises UserError for an unknown field, or a value its flag refuses."""
    fields = {field.name: field for field in dataclasses.fields(self)}
    cli.check_names([name], fields)
    if value is not None and "flag" in fields[name].metadata:
      value = _make_flags([fields[name]], {name: value})[name].value
    super().__setattr__(name, value)


def call_with(settings, function):
  """Calls a function; mistakes raise UserErrors that name these settings.

  Args:
    settings: Settings. The command line's may belong to another run.
    function: function without arguments.

  Returns:
    What the function returns.
  """
  options = _options(type(settings))
  return cli.call_here(_make_flags(options, {
      one.name: getattr(settings, one.name) for one in options}), function)


def runs(settings_class, required=()):
  """Decorates the `run_with` of a script: mistakes raise UserErrors.

  Args:
    settings_class: the class of its first argument.
    required: names of settings that must be given.

  Returns:
    A decorator.
  """
  def decorate(function):
    @functools.wraps(function)
    def run_with(settings, *args, **kwargs):
      if not isinstance(settings, settings_class):
        raise cli.UserError("settings: found %s, expected %s" % tuple(
            "%s.%s" % (one.__module__.split(".")[-1], one.__name__)
            for one in (type(settings), settings_class)))
      cli.check_given(settings, required)
      return call_with(settings, lambda: function(settings, *args, **kwargs))

    return run_with

  return decorate
