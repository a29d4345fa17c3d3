#!/usr/bin/env bash
# Installs the program that the benchmarks compare with into an environment of its own.
set -euo pipefail

cd "$(dirname "$0")/.."
venv=.venv-cryodrgn
"$venv/bin/python" -c 'import cryodrgn' 2>/dev/null && exit 0
echo "Installing cryodrgn 4.3.1 into $venv"
[[ -x "$venv/bin/python" ]] || .venv/bin/python -m venv "$venv"
# On its own and first, so that a CPU build offered by pip's configuration is taken as it is.
"$venv/bin/python" -m pip install -qq --no-input "torch==2.13.0"
"$venv/bin/python" -m pip install -qq --no-input "torch==2.13.0" "cryodrgn==4.3.1"
