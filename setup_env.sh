# shellcheck shell=bash
# Makes the virtual environment that demo.sh and test.sh run in. Sourced by
# both from the top level of the repository; not a command of its own.
#
#   PYTHON  interpreter to build it with, Python 3.7 or 3.9 to 3.13 (default:
#           python3, or another of those versions if python3 is not)
#   VENV    folder of the environment (default: .venv-pyX.Y)

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# help_if_asked ARGUMENT...: where one is -h or --help, prints the comments at
# the top of the script and of this file, and ends the script.
help_if_asked() {
  local argument
  for argument in "$@"; do
    case $argument in
      -h|--help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$(basename "$0")"
        sed -n '/^#   PYTHON/,/^#   VENV/s/^# \{0,1\}//p' setup_env.sh
        exit ;;
    esac
  done
}

# Prints the X.Y of an interpreter if it runs and is one we run on.
supported_version() {
  local version
  version=$("$1" -c \
    'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || return 1
  case $version in
    3.7|3.9|3.10|3.11|3.12|3.13) echo "$version" ;;
    *) return 1 ;;
  esac
}

# Sets PYTHON, where it is not given, and PYTHON_VERSION to X.Y, or stops.
check_python() {
  local candidate
  if [ -z "${PYTHON:-}" ]; then
    for candidate in python3 python3.1{3,2,1,0} python3.{9,7}; do
      if supported_version "$candidate" > /dev/null; then
        PYTHON=$candidate
        break
      fi
    done
  fi
  PYTHON_VERSION=$(supported_version "${PYTHON:-python3}") ||
    die "${PYTHON:-python3} does not run or is not Python 3.7 or 3.9 to 3.13;" \
      "name one that is, for example PYTHON=python3.11 $0"
}

# setup_env [PACKAGE...]: installs requirements.txt and the packages into $VENV and
# sets ENV_PYTHON to its interpreter. The file .setup_env inside says what
# is installed completely. It reads "unfinished" while pip runs, and such an
# environment is built again from nothing.
setup_env() {
  check_python
  VENV=${VENV:-.venv-py$PYTHON_VERSION}
  ENV_PYTHON=$VENV/bin/python
  local state=$VENV/.setup_env package installed wanted
  wanted="python $PYTHON_VERSION requirements $(cksum < requirements.txt)"

  if [ -n "$(ls -A "$VENV" 2>/dev/null)" ] && [ ! -e "$state" ]; then
    die "$VENV: not made by $(basename "$0"), so it stays as it is;" \
      "move it away or name another folder with VENV="
  fi
  mkdir -p "$VENV"

  if [ ! -x "$ENV_PYTHON" ] || [ "$(head -n 1 "$state")" != "$wanted" ]; then
    echo "Installing requirements.txt for Python $PYTHON_VERSION into $VENV" \
      "(minutes, once) ..."
    echo unfinished > "$state"
    find "$VENV" -mindepth 1 -maxdepth 1 ! -name .setup_env \
      -exec rm -rf {} +
    "$PYTHON" -m venv "$VENV" ||
      die "$PYTHON cannot make a virtual environment; on Debian and Ubuntu" \
        "install python$PYTHON_VERSION-venv"
    "$ENV_PYTHON" -m pip install -qq -r requirements.txt ||
      die "could not install requirements.txt; the reason is above"
    echo "$wanted" > "$state"
  fi

  for package in "$@"; do
    if ! grep -qxF "$package" "$state"; then
      installed=$(cat "$state")
      echo unfinished > "$state"
      "$ENV_PYTHON" -m pip install -qq "$package" ||
        die "could not install $package; the reason is above"
      printf '%s\n' "$installed" "$package" > "$state"
    fi
  done
}

# Prints which interpreter and which TensorFlow $VENV has.
describe_env() {
  TF_CPP_MIN_LOG_LEVEL=3 "$ENV_PYTHON" -c 'import platform, tensorflow
print("Python %s, TensorFlow %s" % (
    platform.python_version(), tensorflow.__version__))' 2>/dev/null ||
    die "TensorFlow does not start; try $ENV_PYTHON -c 'import tensorflow'"
}
