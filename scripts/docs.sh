#!/usr/bin/env bash
# Builds the documentation site into build/site, strictly: a link that leads nowhere is an error.
#
#   bash scripts/docs.sh            # then open build/site/index.html, or
#   bash scripts/docs.sh serve      # show it at http://127.0.0.1:8000 and build again when a page changes
#
# The tools are the extra `docs` in the versions of constraints.txt, in an environment of their own (170 MB, without
# torch): docstrings are read, not imported. Further arguments go to mkdocs.
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
  "$tools/bin/python" -m pip install -q --disable-pip-version-check -c constraints.txt -r "$tools/requirements.txt"
  printf '%s' "$wanted" > "$tools/installed"
fi
command=${1:-build}
if [ $# -gt 0 ]; then shift; fi
# mkdocs-material prints a notice about its successor at every build.
NO_MKDOCS_2_WARNING=1 exec "$tools/bin/mkdocs" "$command" --strict "$@"
