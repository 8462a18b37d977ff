#!/usr/bin/env bash
# Sets up the environment with the test extra, then runs linter, formatter check, spell checker, type checker and tests.
# Arguments go to pytest: bash scripts/test.sh -k pca
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
THINWIRE_EXTRAS=test
. scripts/setup.sh

ruff check .
ruff format --check .
codespell
mypy
thinwire fetch
python -m pytest "$@"
