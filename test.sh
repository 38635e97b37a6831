#!/usr/bin/env bash
# Runs the tests in a virtual environment of their own.
#
#   ./test.sh
#   ./test.sh -m ""                       # with those that take long
#   ./test.sh -k modeling                 # arguments go to pytest
#   PYTHON=python3.13 ./test.sh           # with another interpreter
#
# Variables of the environment:
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
source ./setup_env.sh
help_if_asked "$@"

setup_env pytest "setuptools>=64" wheel scikit-learn scipy matplotlib \
  "tokenizers; python_version >= '3.9'" "aiohttp; python_version >= '3.9'" \
  "prometheus_client; python_version >= '3.9'" \
  "onnx<1.19; python_version >= '3.10'" \
  "onnxruntime; python_version >= '3.10'"
describe_env
"$ENV_PYTHON" -m pytest tests -q --disable-warnings "$@"
