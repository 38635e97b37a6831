"""The command line of every script: flags, and mistakes shown as one line.

Nothing here imports TensorFlow before it is needed, so that scripts without it
start at once.
"""

import builtins
import contextlib
import errno
import operator
import os
import re
import sys

from absl import app, flags

from . import faults, usage

# Flags defined by functions of this module belong to the script that calls
# them, so that its --helpshort lists them.
flags.disclaim_key_flags()


class UserError(Exception):
  """A mistake in a flag or a file: `run` prints its text, no stack trace."""

  exit_status = 1

  def __init__(self, text=""):
    super().__init__(faults.one_line(str(text)))

  def _render_traceback_(self):
    """Returns what IPython shows, a list of lines."""
    return ["%s: %s" % (type(self).__name__, self)]


class InvalidValue(UserError, ValueError):
  """A UserError that programs may also catch as the ValueError it was."""


class Interrupted(UserError):
  """Ctrl-C, or a request to end, stopped the training; the text says where."""

  exit_status = 130  # what shells report for Ctrl-C


@contextlib.contextmanager
def user_errors():
  """Turns a ValueError, an unusable file or a missing method into a UserError.

  For code that reads the user's input; a ValueError elsewhere is a bug and
  keeps its stack trace. A BrokenPipeError is passed on.
  """
  try:
    yield
  except (BrokenPipeError, UserError):
    raise
  except Exception as error:
    if isinstance(error, ValueError):
      raise InvalidValue(str(error)) from None
    if isinstance(error, NotImplementedError):
      raise UserError(str(error)) from None
    if not isinstance(error, OSError) and not faults.is_of_tensorflow(error):
      raise
    if str(error).endswith("Broken pipe"):  # as TensorFlow puts it
      raise BrokenPipeError(errno.EPIPE, "Broken pipe") from None
    text = faults.describe(error) or faults.describe_file(error)
    raise UserError(text) from None


def run(main, define_flags, required=(), argv=None):
  """Runs a script: defines and parses its flags, calls `main(argv)`, exits.

  In a notebook, or with `argv`, it returns or raises instead of exiting.

  Args:
    main: function of the list of remaining arguments.
    define_flags: function that defines the script's flags.
    required: names of the flags that must be given.
    argv: list of str. Flags; None for those of the command line, which a
      notebook does not have.

  Raises:
    UserError: a mistake in a flag or a file, if it does not exit.
  """
  define_flags()
  if argv is not None or hasattr(builtins, "__IPYTHON__"):
    _run_here(main, required, _own_argv() if argv is None else argv)
    return

  starting = contextlib.ExitStack()

  def main_with_one_line_errors(argv):
    starting.close()
    program = os.path.basename(argv[0])
    try:
      check_given(flags.FLAGS, required)
      call_here(flags.FLAGS, lambda: main(argv))
    except UserError as error:
      _exit(program, str(error), error.exit_status)
    except KeyboardInterrupt:
      _exit(program, "stopped; no file was left half-written, and the same "
            "command resumes from the last checkpoint, if any", 130)
    except BrokenPipeError:
      # Nothing reads the output any longer, as with `| head`: discard what is
      # buffered, and exit with the shell's status for SIGPIPE.
      os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
      sys.exit(141)

  def parse(argv):
    if usage.asks_for_help(argv):
      sys.stdout.write(usage.format_help(
          os.path.basename(argv[0]), _describe(main), required))
      sys.exit(0)
    if usage.asks_for_version(argv):
      sys.stdout.write(usage.format_version())
      sys.exit(0)
    rest = parse_flags(argv)
    _prepare_xla(flags.FLAGS)
    environment = _imported("environment")
    if environment:
      # absl calls into TensorFlow before `main`, which then looks for devices.
      starting.enter_context(environment.quiet_start())
    return rest

  app.run(main_with_one_line_errors, flags_parser=parse)


def _imported(name):
  """Returns a module of this package; None in a script without TensorFlow."""
  return sys.modules.get("%s.%s" % (__package__, name))


def _own_argv():
  """Returns the arguments after a script's name in a notebook's `%run`.

  A notebook's cells have none: sys.argv has the kernel's.
  """
  script = getattr(sys.modules["__main__"], "__file__", None)
  if script and os.path.basename(script) == os.path.basename(sys.argv[0]):
    return sys.argv[1:]
  return []


def _run_here(main, required, argv):
  """Runs a script within a program, from the defaults and `argv`.

  Args:
    main: function of the list of remaining arguments.
    required: names of the flags that must be given.
    argv: list of str. Flags.
  """
  argv = [main.__module__.split(".")[-1] + ".py"] + argv
  if usage.asks_for_help(argv):
    print(usage.format_help(
        argv[0], sys.modules[main.__module__].__doc__, required))
    return
  if usage.asks_for_version(argv):
    print(usage.format_version(), end="")
    return
  for name in flags.FLAGS:
    # Given in an earlier call; the program's own flags keep their values.
    if flags.FLAGS[name].present and hasattr(flags.FLAGS[name], "kind"):
      flags.FLAGS[name].unparse()
  with user_errors():
    rest = _parse(argv)
    check_given(flags.FLAGS, required)
  call_here(flags.FLAGS, lambda: main(rest))


def call_here(flag_values, function):
  """Calls a function, such as a script's `main`, with mistakes as UserErrors.

  Args:
    flag_values: the parsed flags.
    function: function without arguments.

  Returns:
    What the function returns.

  Raises:
    UserError: a mistake, or a fault of disk or data.
  """
  progress = _imported("progress")
  before = faults.run_flags.set(flag_values)
  _prepare_xla(flag_values)
  if progress:
    progress.quiet_logging()
  try:
    with described_faults():
      return function()
  finally:
    faults.run_flags.reset(before)
    if progress:
      progress.close_all()  # or what follows would continue a bar's line


@contextlib.contextmanager
def described_faults():
  """Turns a fault of disk, memory or data into a UserError, nothing else."""
  try:
    yield
  except UserError:
    raise
  except Exception as error:
    text = faults.describe(error)
    if text is None:
      raise
    raise UserError(text) from None


def check_given(settings, required):
  """Raises UserError if a setting or flag, of those required, is missing."""
  missing = [name for name in required if getattr(settings, name) in (None, "")]
  if missing:
    raise UserError("also pass --" + ", --".join(missing))


def _prepare_xla(flag_values):
  if getattr(flag_values, "use_xla", False) and flag_values.xla_cache_dir:
    from . import devices  # here, since it imports TensorFlow
    devices.keep_programs(flag_values)  # before TensorFlow looks for devices


def _describe(main):
  """Returns the description of a script for --help.

  Args:
    main: the function that `run` is given. A program without a docstring that
      passes another script's `main` gets the first paragraph of that script's.
  """
  program = sys.modules["__main__"]
  script = sys.modules[main.__module__]
  if program.__doc__ or script is program:
    return program.__doc__
  return (script.__doc__ or "").split("\n\n")[0]


def _exit(program, text, status):
  files = _imported("files")
  if files:  # else no name was given to TensorFlow
    text = files.given_names(text)
  sys.stderr.write("%s: %s\n" % (program, text))
  sys.exit(status)


def parse_flags(argv):
  """Parses flags; stops with one line about one that is unknown or wrong.

  Args:
    argv: list of str, the program's name first.

  Returns:
    list of str, the program's name.
  """
  try:
    return _parse(argv)
  except UserError as error:
    sys.exit("%s: %s" % (os.path.basename(argv[0]), error))


def _parse(argv):
  """Parses flags; raises UserError for one that is unknown or wrong."""
  try:
    rest = flags.FLAGS(argv)
  except flags.UnrecognizedFlagError as error:
    advice = usage.advise(error.flagname)
    raise UserError("unknown flag --%s%s (--help lists all flags)" % (
        error.flagname, advice and "; " + advice)) from None
  except flags.Error as error:
    raise UserError(str(error).replace("\n", " ")) from None
  if len(rest) > 1:
    raise UserError("found the argument %r outside any flag; write "
                    "--flag=value, also for true and false" % rest[1])
  return rest


def assign(flag_values, values):
  """Sets flags other than the command line's.

  Args:
    flag_values: absl FlagValues.
    values: dict from name to value, of the flag's type or as text; None for
      the default.

  Returns:
    The FlagValues.

  Raises:
    UserError: a name or value is wrong.
  """
  check_names(values, flag_values)
  try:
    for name, value in values.items():
      if value is not None:
        flag_values[name].parse(_plain(value))
        flag_values[name].using_default_value = False
    flag_values.mark_as_parsed()
    flag_values.validate_all_flags()
  except flags.Error as error:
    raise UserError(str(error).replace("\n", " ")) from None
  return flag_values


def check_names(names, known):
  """Raises UserError if a name of a setting is not among those known."""
  for name in names:
    if name not in known:
      advice = usage.advise(name, known).replace("--", "")
      raise UserError("unknown setting %s%s" % (name, advice and "; " + advice))


def _plain(value):
  """Returns a path as str and a NumPy number as a Python number."""
  if isinstance(value, os.PathLike):
    return os.fspath(value)
  return value.item() if hasattr(value, "item") else value


def expand_home(path):
  """Returns a path with a leading `~` or `~user` replaced by the home folder.

  Args:
    path: str or os.PathLike. None, or a path without a leading `~`, is returned
      as it is.

  Raises:
    ValueError: there is neither such a user nor a file with that name.
  """
  if path is None or not os.fspath(path).startswith("~"):
    return path
  expanded = os.path.expanduser(path)
  if expanded.startswith("~") and not os.path.lexists(expanded):
    raise ValueError(
        "%s: there is no user named %r; for a name that starts with ~ write "
        "./%s" % (path, expanded.split(os.sep)[0][1:], path))
  return expanded


def _parser_of(base, expected):
  """Returns a subclass of an absl parser whose errors say what it expects."""
  class Parser(base):

    def parse(self, argument):
      try:
        return super().parse(argument)
      except (TypeError, ValueError):
        raise ValueError("expected " + expected) from None

  return Parser


class _PathParser(flags.ArgumentParser):
  """Parses one path."""

  syntactic_help = "a path"

  def parse(self, argument):
    return expand_home(argument)


class _PathsParser(flags.ArgumentParser):
  """Parses paths with commas between them, or one whose name has commas."""

  syntactic_help = "paths with commas between them"

  def parse(self, argument):
    argument = os.fspath(argument)
    if not argument.startswith("~") and os.path.lexists(argument):
      return argument
    # White space before a path is not part of its name.
    parts = [re.match(r"(\s*)(.*)", part, re.DOTALL).groups()
             for part in argument.split(",")]
    return ",".join(space + expand_home(path) for space, path in parts)


class _SwitchParser(_parser_of(flags.BooleanParser, "auto, true or false")):
  """Parses a bool, or "auto"."""

  def parse(self, argument):
    return argument if argument == "auto" else super().parse(argument)


# The parser class of each kind of flag, see `define_flag`.
_PARSERS = {
    "string": flags.ArgumentParser,
    "integer": _parser_of(flags.IntegerParser, "a whole number"),
    "float": _parser_of(flags.FloatParser, "a number"),
    "bool": _parser_of(flags.BooleanParser, "true or false"),
    "switch": _SwitchParser,
    "path": _PathParser, "paths": _PathsParser}


def define_flag(kind, name, default, help_text, lower_bound=None,
                upper_bound=None, above=None, default_text=None,
                group=usage.OWN, flag_values=flags.FLAGS):
  """Defines a flag, or redefines one that exists.

  Scripts share flag names with different defaults, and programs import several
  scripts: the script whose `define_flags` ran last decides what the flag is. A
  value that was given on the command line or assigned is kept.

  Args:
    kind: str. "string", "integer", "float", "bool", "switch" (a bool, or
      "auto"), "path" (a file or folder) or "paths" (several, with commas
      between them). Paths may start with `~`.
    name: str.
    default: the default, or None.
    help_text: str.
    lower_bound: number. The smallest value of an integer or float.
    upper_bound: number. The largest value.
    above: number. The value must be greater than this.
    default_text: str. The default as --help describes it, if `default` alone
      would not explain it.
    group: str. Its heading in --help, such as "Training", if `usage` does not
      list it.
    flag_values: absl FlagValues to define it in.
  """
  parser = _PARSERS[kind]()
  boolean = kind in ("bool", "switch")  # "--name" and "--noname" set it
  serializer = None if boolean else flags.ArgumentSerializer()
  if name not in flag_values:
    flags.DEFINE_flag(flags.Flag(parser, serializer, name, default, help_text,
                                 boolean=boolean), flag_values)
  else:
    flag = flag_values[name]  # changed in place: aliases and programs hold it
    flag.using_default_value = usage.is_default(flag)
    flag.parser, flag.serializer = parser, serializer
    flag.boolean, flag.help = boolean, help_text
    flag.validators[:] = [validator for validator in flag.validators
                          if not hasattr(validator.checker, "bound")]
    flag_values.set_default(name, default)
  vars(flag_values[name]).update(  # for --help
      kind=kind, group=group, default_text=default_text)
  bounds = [("%s or more", lower_bound, operator.ge),
            ("%s at most", upper_bound, operator.le),
            ("more than %s", above, operator.gt)]
  for text, bound, is_within in bounds:
    if bound is not None:
      flags.register_validator(
          name, _Bound(bound, is_within), "expected " + text % bound,
          flag_values)


class _Bound:
  """Checks the value of a flag against a bound that `define_flag` was given."""

  def __init__(self, bound, is_within):
    self.bound = bound
    self._is_within = is_within

  def __call__(self, value):
    return value is None or self._is_within(value, self.bound)  # NaN never is


def define_flag_alias(name, original, flag_values=flags.FLAGS):
  """Gives the flag `original` a second name."""
  if name not in flag_values:
    flags.DEFINE_alias(name, original, flag_values)
    flag_values[name].alias_of = original


def given(flag_values, name):
  """Returns the value of a flag, None if it was not given."""
  flag = flag_values[name]
  return None if usage.is_default(flag) else flag.value


def values_of(settings, names):
  """Returns a dict from the names of settings, or flags, to their values."""
  return {name: getattr(settings, name) for name in names}
