# Sourced by the other scripts: makes sure that a virtual environment with Thinwire in it is active.
#
# Uses the active virtual environment (VIRTUAL_ENV or conda), else makes and activates .venv. Installs with the pinned
# versions of constraints.txt, once: a stamp in the environment says for which files that was done.
# THINWIRE_EXTRAS names extras to install, as in THINWIRE_EXTRAS=test. THINWIRE_NO_INSTALL=1 trusts the active
# environment as it is, for machines whose own torch build must stay.

thinwire_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

if [ -z "${VIRTUAL_ENV:-}" ] && [ -z "${CONDA_PREFIX:-}" ]; then
  if [ ! -x "$thinwire_root/.venv/bin/python" ]; then
    python=$(command -v python3 || command -v python) || { echo "error: no python3 found; install Python 3.10 or newer" >&2; exit 1; }
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
      { echo "error: $("$python" --version) is too old; Thinwire needs Python 3.10 or newer" >&2; exit 1; }
    echo "making the virtual environment .venv" >&2
    "$python" -m venv "$thinwire_root/.venv" ||
      { echo "error: python3 -m venv failed; on Debian and Ubuntu, install python3-venv" >&2; exit 1; }
  fi
  # shellcheck disable=SC1091
  . "$thinwire_root/.venv/bin/activate"
fi

thinwire_stamp="$(python -c 'import sys; print(sys.prefix)')/.thinwire-${THINWIRE_EXTRAS:-base}"
thinwire_wanted=$(cat "$thinwire_root/pyproject.toml" "$thinwire_root/constraints.txt" | cksum)"$thinwire_root"
if [ -z "${THINWIRE_NO_INSTALL:-}" ] && { [ ! -f "$thinwire_stamp" ] || [ "$(cat "$thinwire_stamp")" != "$thinwire_wanted" ]; }; then
  echo "installing Thinwire and the pinned versions of what it needs" >&2
  # On a terminal pip shows its progress, as torch is large; elsewhere only its errors.
  thinwire_quiet=; [ -t 2 ] || thinwire_quiet=-qq
  python -m pip install $thinwire_quiet --disable-pip-version-check --constraint "$thinwire_root/constraints.txt" \
    --editable "$thinwire_root${THINWIRE_EXTRAS:+[$THINWIRE_EXTRAS]}" || exit 1
  printf '%s' "$thinwire_wanted" > "$thinwire_stamp"
fi
