"""`python -m mmprod.serving.probe`: does a server answer as its release says? For containers' probes.

Exit status 0 when every canary comes back right, else 1 with the reason.
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


def probe(address: str, canaries: Sequence[Canary], patience: float = 10.0) -> list[str]:
    """Ask a server everything; the names of its models that answered. `patience`: seconds an answer may take.

    Raises: StateError for the first answer that differs or doesn't come.
    """
    connection = http.client.HTTPConnection(address, timeout=patience)
    try:
        for canary in canaries:
            body = json.dumps(canary.request).encode()
            connection.request("POST", f"/v2/models/{canary.model}/infer", body)
            answer = connection.getresponse()
            if wrong := difference(canary, answer.status, answer.read()):
                raise StateError(wrong)
    except (OSError, http.client.HTTPException) as error:
        raise StateError(f"{address} doesn't answer: {error!r}") from error
    finally:
        connection.close()
    return list(dict.fromkeys(canary.model for canary in canaries))


def main() -> int:
    """Run the probe on the command line's address and release."""
    parser = argparse.ArgumentParser(prog="python -m mmprod.serving.probe", description=__doc__)
    parser.add_argument("--address", default="127.0.0.1:8000", help="host:port of the server")
    parser.add_argument("--release", default=os.environ.get(VARIABLE), help=f"its release; else ${VARIABLE}")
    parser.add_argument("--patience", type=float, default=10.0, help="seconds an answer may take")
    given = parser.parse_args()
    if not given.release:
        parser.error(f"name the release, by --release or ${VARIABLE}")
    try:
        models = probe(given.address, read_canaries(Path(given.release)), given.patience)
    except StateError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{given.address}: {', '.join(models)} answer as they should\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
