# shellcheck shell=bash
# Makes the virtual environment that demo.sh and test.sh run in. Sourced by
# both from the top level of the repository; not a command of its own.
#
#   PYTHON  interpreter to build it with, Python 3.9 to 3.13 (default: python3)
#   VENV    folder of the environment (default: .venv-pyX.Y)

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# Sets PYTHON_VERSION to X.Y, or stops where it is not one we run on.
check_python() {
  PYTHON=${PYTHON:-python3}
  PYTHON_VERSION=$("$PYTHON" -c \
    'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) ||
    die "PYTHON=$PYTHON does not run; name a Python 3.9 to 3.13," \
      "for example PYTHON=python3.11 $0"
  case $PYTHON_VERSION in
    3.9|3.10|3.11|3.12|3.13) ;;
    *) die "PYTHON=$PYTHON is Python $PYTHON_VERSION, expected 3.9 to 3.13;" \
         "name another one, for example PYTHON=python3.11 $0" ;;
  esac
}

# setup_env [PACKAGE...]: installs requirements.txt and the packages into $VENV
# and sets ENV_PYTHON to its interpreter. The file .setup_env inside says what
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
