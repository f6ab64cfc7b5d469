#!/usr/bin/env bash
# Test against the oldest or the newest versions of every dependency that pyproject.toml allows.
#
#   tools/versions.sh oldest [PYTEST ARGUMENTS]
#   PYTHON=python3.13 tools/versions.sh newest
#
# Each takes several minutes and, where torch comes with CUDA, several GB in $VENV.
set -euo pipefail
cd "$(dirname "$0")/.."
which=${1:-}
case $which in
  oldest) options=(--resolution lowest-direct) ;;
  newest) options=(--upgrade) ;;
  *) echo "usage: tools/versions.sh oldest|newest [PYTEST ARGUMENTS]" >&2; exit 2 ;;
esac
shift
venv=${VENV:-.venv-$which}
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "${options[@]}" -e '.[test]'
"$venv/bin/uv" pip list --python "$venv/bin/python" --format freeze
"$venv/bin/python" -m pytest -n auto --dist worksteal "$@"
