#!/usr/bin/env bash
# The libraries that Qt's X11 plugin and software OpenGL load, and a virtual screen. Installs what
# is missing where apt-get may be used; elsewhere says what to install, and goes on.
set -euo pipefail

[[ "$(uname -s)" == Linux ]] || exit 0

packages=(
  # the shared objects that ldd lists for PyQt6's libqxcb.so, its GLX plugin and QtGui
  libdbus-1-3 libegl1 libfontconfig1 libgl1 libx11-xcb1 libxkbcommon-x11-0
  libxcb-cursor0 libxcb-icccm4 libxcb-image0 libxcb-keysyms1 libxcb-randr0 libxcb-render-util0
  libxcb-shape0 libxcb-shm0 libxcb-sync1 libxcb-xfixes0 libxcb-xkb1
  # OpenGL in software, where there is no GPU
  libgl1-mesa-dri
  # a screen for tests and for the demo without a display; xvfb-run calls xauth
  xauth xvfb
)

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  if ! command -v xvfb-run >/dev/null && [[ -z "${DISPLAY:-}${WAYLAND_DISPLAY:-}" ]]; then
    echo "note: no display and no xvfb-run. Install Xvfb, xauth, Mesa's OpenGL and the xcb-util" \
      "libraries with your package manager to see the demo and run the tests of the docks." >&2
  fi
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status="$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)"
  [[ "$status" == installed ]] || missing+=("$package")
done
[[ ${#missing[@]} -gt 0 ]] || exit 0

advice="note: Qt needs system libraries that are missing here. Install them with:
  sudo apt-get install --no-install-recommends ${missing[*]}"
as_root=()
if [[ "$(id -u)" != 0 ]]; then
  # -n: never wait for a password
  if command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root=(sudo -n)
  else
    echo "$advice" >&2
    exit 0
  fi
fi

echo "Installing system libraries: ${missing[*]}"
log="$(mktemp)"
trap 'rm -f "$log"' EXIT
install_missing() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >>"$log" 2>&1
}
if ! install_missing; then
  # Most often the package lists are absent or old.
  if ! { "${as_root[@]}" apt-get update -qq >>"$log" 2>&1 && install_missing; }; then
    tail -n 5 "$log" >&2
    echo "$advice" >&2
  fi
fi
