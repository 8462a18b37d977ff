#!/usr/bin/env bash
# Builds the documentation site into build/site, strictly: a link that leads nowhere is an error.
#
#   bash scripts/docs.sh            # then open build/site/index.html, or
#   bash scripts/docs.sh serve      # show it at http://127.0.0.1:8000 and build again when a page changes
#
# The tools are the extra `docs` in the versions of constraints.txt, in an environment of their own (200 MB, without
# torch): docstrings are read, not imported, and rendering a report needs no torch. Further arguments go to mkdocs.
# Exit status 3: the tools are not there, and no package index can be reached.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
tools=build/docs-tools
wanted=$(cat pyproject.toml constraints.txt | cksum)
if [ ! -f "$tools/installed" ] || [ "$(cat "$tools/installed")" != "$wanted" ]; then
  echo "installing mkdocs" >&2
  "${PYTHON:-python3}" -m venv --clear "$tools"
  "$tools/bin/python" - > "$tools/requirements.txt" <<'PYTHON'
try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["project"]["optional-dependencies"]["docs"], sep="\n")
PYTHON
  pip() { "$tools/bin/python" -m pip --disable-pip-version-check --quiet "$@"; }
  if ! pip install -c constraints.txt -r "$tools/requirements.txt"; then
    # If the index has anything at all, what was asked of it is wrong.
    if pip --retries 0 --timeout 15 download --no-deps --no-cache-dir -d "$tools/found" mkdocs; then exit 1; fi
    echo "error: mkdocs could not be installed: no package index can be reached" >&2
    exit 3
  fi
  printf '%s' "$wanted" > "$tools/installed"
fi
command=${1:-build}
if [ $# -gt 0 ]; then shift; fi
# mkdocs-material prints a notice about its successor at every build.
PYTHONPATH=src NO_MKDOCS_2_WARNING=1 exec "$tools/bin/mkdocs" "$command" --strict "$@"
