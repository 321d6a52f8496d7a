"""Whether the service in this container is ready: the health check of images and pods, which hold no other client.

Exit status 0 means ready. It asks the service's own port on loopback, so the answer needs no token.
"""

from __future__ import annotations

import os
import sys
import urllib.error
import urllib.request

TIMEOUT_SECONDS = 4


def main(path: str = "/health/ready") -> int:
    """Asks once; says why not on standard error."""
    port = int(os.environ.get("HEATERS_HTTP_PORT", "8080"))
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=TIMEOUT_SECONDS):
            return 0
    except urllib.error.HTTPError as error:
        print(error.read(2000).decode(errors="replace"), file=sys.stderr)  # noqa: T201 - a check's only voice.
    except OSError as error:
        print(f"no answer on port {port}: {error}", file=sys.stderr)  # noqa: T201 - as above.
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
