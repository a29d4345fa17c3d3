#!/usr/bin/env bash
# Runs a command on the display there is, or on a virtual one.
set -euo pipefail

if [[ "$(uname -s)" != Linux || -n "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]]; then
  exec "$@"
fi
if ! command -v xvfb-run >/dev/null; then
  echo "error: no display, and no xvfb-run to make one. Install Xvfb and xauth" \
    "(Debian: sudo apt-get install xvfb xauth), or run this on a desktop." >&2
  exit 1
fi
export NAPARI_CRYODRGN_HEADLESS=1
exec xvfb-run -a -s "-screen 0 1600x1000x24" "$@"
