"""Room on a disk: what doesn't fit is refused before work, not after hours of writing."""

import shutil
from pathlib import Path

from mmprod.datasets.errors import StateError

SPARE = 1.05
"""What has to be free for each byte needed: needs are estimates, and a full disk stops other work too."""


def free(folder: Path) -> int:
    """Bytes free where `folder` lies, or is going to."""
    folder = folder.absolute()
    return shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free


def require(what: str, need: int, folder: Path) -> None:
    """Raises: StateError, with both figures, where `need` bytes and a twentieth more aren't free there."""
    if need * SPARE > (there := free(folder)):
        raise StateError(
            f"not enough disk: {what} takes about {amount(need)}, {amount(there)} are free at "
            f"{folder}. Nothing was changed; free some (`mmprod prune` removes old generations), "
            "or use a larger disk"
        )


def amount(count: float) -> str:
    """Bytes as people read them: three figures, in MB or GB."""
    unit, name = (1e9, "GB") if count >= 1e9 else (1e6, "MB")
    value = count / unit
    return f"{value:,.0f} {name}" if value >= 100 else f"{value:.3g} {name}"
