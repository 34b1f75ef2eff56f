"""`python -m mmprod.serving.probe`: sends a release's canaries to a server, for the probes of containers.

Exit status 0 if every answer is correct, else 1 with the reason.
"""

import argparse
import http.client
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from mmprod.serving.canaries import Canary, difference, read_canaries
from mmprod.serving.release import VARIABLE
from mmprod.storage.errors import StateError


def probe(address: str, canaries: Sequence[Canary], timeout: float = 10.0) -> list[str]:
    """Send all canaries to a server; the names of the models that answered. `timeout`: seconds per answer.

    Raises: StateError for the first answer that is wrong or missing.
    """
    connection = http.client.HTTPConnection(address, timeout=timeout)
    try:
        for canary in canaries:
            body = json.dumps(canary.request).encode()
            connection.request("POST", f"/v2/models/{canary.model}/infer", body)
            response = connection.getresponse()
            if wrong := difference(canary, response.status, response.read()):
                raise StateError(wrong)
    except (OSError, http.client.HTTPException) as error:
        raise StateError(f"{address} doesn't answer: {error!r}") from error
    finally:
        connection.close()
    return list(dict.fromkeys(canary.model for canary in canaries))


def main() -> int:
    """Run the probe with the command line's address and release."""
    parser = argparse.ArgumentParser(prog="python -m mmprod.serving.probe", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8000", help="host:port of the server")
    parser.add_argument(
        "--release", default=os.environ.get(VARIABLE), help=f"folder of its release; default ${VARIABLE}"
    )
    parser.add_argument("--timeout", type=float, default=10.0, help="seconds per answer")
    arguments = parser.parse_args()
    if not arguments.release:
        parser.error(f"name the release, by --release or ${VARIABLE}")
    try:
        models = probe(arguments.address, read_canaries(Path(arguments.release)), arguments.timeout)
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{arguments.address}: {', '.join(models)} answer as they should\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
