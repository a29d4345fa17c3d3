#!/usr/bin/env bash
# Makes .venv and installs the project into it, every version as in constraints.txt.
set -euo pipefail

cd "$(dirname "$0")/.."
enough='import sys; sys.exit(sys.version_info < (3, 11))'

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.11 python3 python}; do
    if "$candidate" -c "$enough" 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: Python 3.11 or newer is needed; none found as ${PYTHON:-python3.11, python3 or python}." \
    "Install it, or say where it is: make PYTHON=/path/to/python3.11" >&2
  return 1
}

if ! .venv/bin/python -c "$enough; import pip" 2>/dev/null; then
  python="$(find_python)"
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    echo "error: $python cannot make virtual environments. On Debian and Ubuntu:" \
      "sudo apt-get install python3-venv" >&2
    exit 1
  fi
  echo "Making .venv with $("$python" --version)"
  rm -rf .venv
  "$python" -m venv .venv
fi

# -qq leaves only errors.
pip_install() {
  .venv/bin/python -m pip install -qq --no-input -c constraints.txt "$@"
}

torch="$(grep '^torch==' constraints.txt)"
if ! .venv/bin/python -m pip show --quiet torch 2>/dev/null; then
  echo "Installing $torch (the largest part: minutes on a slow line)"
fi
# On its own and first, so that a CPU build offered by pip's configuration is taken as it is.
pip_install "$torch"
echo "Installing napari-cryodrgn and what it needs"
# The pinned build backend serves the editable install, not whatever is newest today.
pip_install hatchling
pip_install --no-build-isolation -e ".[gui,dev]"
echo "Installed into .venv"
