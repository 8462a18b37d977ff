#!/usr/bin/env bash
# Builds the sdist and the wheel of the last commit into dist/, twice, and compares the bytes; then checks the metadata.
#
# Needs git, GNU tar and a package index. What is not committed is left out, and the file modes and times of the checkout
# have no influence: every time is that of the commit, or SOURCE_DATE_EPOCH if it is set.
set -euo pipefail
umask 022
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git -C "$root" log -1 --format=%ct)}
export SOURCE_DATE_EPOCH PIP_DISABLE_PIP_VERSION_CHECK=1

"${PYTHON:-python3}" -m venv "$work/tools"
"$work/tools/bin/python" -m pip install -q -r "$root/scripts/build_tools.txt"

build() { # folder
  mkdir -p "$1/source"
  git -C "$root" archive HEAD | tar -x -C "$1/source"
  "$work/tools/bin/python" -m build --sdist --no-isolation --outdir "$1/sdist" "$1/source" > "$1/log" 2>&1 ||
    { cat "$1/log" >&2; exit 1; }
  # setuptools writes the time of the build into an sdist, so it is packed again, sorted and with one time.
  local sdist name
  sdist=("$1"/sdist/*.tar.gz)
  name=$(basename "${sdist[0]}" .tar.gz)
  mkdir "$1/unpacked" "$1/dist"
  tar -xzf "${sdist[0]}" -C "$1/unpacked"
  tar --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    -C "$1/unpacked" -cf - "$name" | gzip -n9 > "$1/dist/$name.tar.gz"
  # The wheel is made from what is in the sdist, so that it can be made from it again.
  "$work/tools/bin/python" -m build --wheel --no-isolation --outdir "$1/dist" "$1/unpacked/$name" > "$1/log" 2>&1 ||
    { cat "$1/log" >&2; exit 1; }
}

build "$work/first"
build "$work/second"
for file in "$work"/first/dist/*; do
  cmp "$file" "$work/second/dist/$(basename "$file")" || { echo "error: two builds differ" >&2; exit 1; }
done
"$work/tools/bin/python" -m twine check --strict "$work"/first/dist/*
mkdir -p "$root/dist"
cp "$work"/first/dist/* "$root/dist/"
(cd "$work/first/dist" && sha256sum ./*)
