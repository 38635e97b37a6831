# shellcheck shell=bash
# What cpu.sh and gpu.sh share. Sourced by both; not a command of its own.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source ./setup_env.sh

# read_argument ARGUMENT...: sets ARGUMENT, OUT and SEEDS, or stops.
read_argument() {
  case "${1:-}" in
    -h|--help)
      sed -n '2,/^[^#]/s/^# \{0,1\}//p' "runs/$(basename "$0")"
      exit ;;
  esac
  [ $# -eq 1 ] || die "expected one argument, found $#; see --help"
  ARGUMENT=$1
  OUT=${OUT:-runs/output}
  SEEDS=${SEEDS:-1,2,3}
}

# Makes the environments, sets ENV_PYTHON, and TORCH_PYTHON to the interpreter of
# the one with torch and transformers.
setup_both() {
  setup_env
  mkdir -p "$OUT"
  if [ -z "${TORCH_PYTHON:-}" ]; then
    TORCH_PYTHON=$OUT/torch_env/bin/python
    if [ ! -e "$OUT/torch_env/complete" ]; then
      echo "Installing torch and transformers into $OUT/torch_env ..."
      "$PYTHON" -m venv --clear "$OUT/torch_env"
      "$TORCH_PYTHON" -m pip install -qq torch transformers ||
        die "could not install torch and transformers; the reason is above"
      touch "$OUT/torch_env/complete"
    fi
  fi
}

# Prints the GPU's name, or that of the CPU and how many cores it has.
describe_hardware() {
  nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | head -n 1 |
    grep . || echo "$(nproc) cores, $(
      sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)"
}

# print_row WHAT OURS PEER: prints a row for the table in runs/README.md.
print_row() {
  echo "| $(date +%F) | $(git rev-parse --short HEAD 2>/dev/null || echo -) |" \
    "$(describe_hardware) | $SEEDS | $1 | $2 | $3 |"
}
