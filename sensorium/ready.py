"""The health check of a container: ``python -m sensorium.ready URL`` ends with 0 when the address answers 200, with 1 otherwise.

Of the standard library alone and nothing of the house: it runs every few seconds beside each process.
"""

from __future__ import annotations

import sys
import urllib.error
import urllib.request

_SECONDS = 4.0
_MOST_BYTES = 2000


def main(arguments: list[str]) -> int:
    """Ask once; what a refusal says goes to standard error, where ``docker inspect`` shows it. Returns the exit status."""
    if len(arguments) != 1 or not arguments[0].startswith("http://"):
        print(__doc__, file=sys.stderr)
        return 2
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(arguments[0], timeout=_SECONDS):
            return 0
    except urllib.error.HTTPError as error:
        print(f"{error.code}: {error.read(_MOST_BYTES).decode(errors='replace')}", file=sys.stderr)
    except OSError as error:
        print(error, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
