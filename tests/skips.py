"""Runs a command, then tells in one table what its pytest processes skipped and why; `conftest.py` notes it.

Ends as the command did; in CI (CI=true) never with 0 where something was skipped that a command installs.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


def main(command: Sequence[str]) -> int:
    """Run a command, print the table, say how to end."""
    with tempfile.NamedTemporaryFile(prefix="skips-") as file:
        code = subprocess.run(command, env={**os.environ, "SKIPS": file.name}, check=False).returncode
        skips = [json.loads(line) for line in Path(file.name).read_text().splitlines()]
    print(table(skips))
    cures = sorted({skip["cure"] for skip in skips} - {None})
    if cures and os.environ.get("CI") == "true":
        print(
            f"In CI nothing is skipped that can be installed: run {', '.join(f'`{cure}`' for cure in cures)}"
        )
        return code or 1
    return code


def table(skips: Sequence[dict[str, str]]) -> str:
    """A line for each reason: how many tests, why, and where they stand."""
    if not skips:
        return "Nothing was skipped."
    reasons = defaultdict(list)
    for skip in skips:
        reasons[skip["why"]].append(skip["test"].partition("::")[0])
    width = max(map(len, reasons))
    lines = [
        f"{len(files):5}  {why:{width}}  {', '.join(sorted(set(files)))}"
        for why, files in sorted(reasons.items())
    ]
    return "\n".join([f"Skipped: {len(skips)}", f"tests  {'why':{width}}  where", *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
