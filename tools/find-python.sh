#!/bin/sh
# Prints the newest Python on PATH that is new enough to run Sensorium; $PYTHON goes before all.
# Each is run, since a name on PATH proves little: pyenv has one for every version it ever installed.
for candidate in "${PYTHON:-}" python3.14 python3.13 python3.12 python3.11 python3 python; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
    if [ "$candidate" = "${PYTHON:-}" ]; then
        echo "PYTHON=$candidate is not a Python of 3.11 or newer." >&2
        exit 1
    fi
done
echo "Sensorium needs Python 3.11 or newer, and none is on PATH." >&2
echo "Debian 12, Ubuntu 24.04 and newer: apt-get install python3 python3-venv     macOS: brew install python" >&2
exit 1
