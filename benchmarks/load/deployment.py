"""A server on a lake's releases, in a folder of its own: the lake and the project stay as they are."""

import json
import os
import shutil
import socket
from contextlib import closing
from pathlib import Path
from typing import Any, Self

from load.shop import ROOT, mmprod

from mmprod.lake import Lake
from mmprod.stages.online import control, server

HOST = "127.0.0.1"
RELOAD_TIMEOUT = 120.0  # seconds
_HERE = Path(__file__).parent


class Deployment:
    """A lake's releases (links), a model repository rendered anew, `mmprod triton` on ports of its own."""

    def __init__(self, folder: Path, lake: Path, **serving: Any) -> None:
        """`folder` is made; `lake` has the releases; `serving`: keys of that section, in place of defaults.

        Nothing is answered from a cache unless `cache_bytes` is given: what is measured is work.
        """
        self.folder = folder
        folder.mkdir(parents=True)
        shutil.copytree(lake / "releases", self.releases, copy_function=os.link, ignore=_pointers)
        shutil.copy2(lake / "releases" / "CURRENT", self.releases / "CURRENT")
        self.port = free_port()
        settings: dict[str, Any] = {"models": str(self.models), "port": self.port, "cache_bytes": 0}
        settings |= {"environment": str(ROOT / ".venv-triton")} | serving
        lines = [f"{key} = {json.dumps(value)}" for key, value in settings.items()]
        (folder / "mmprod.toml").write_text("\n".join(['lake = "lake"', "[serving]", *lines]) + "\n")
        self.mmprod("triton", "render", self.models)

    @property
    def lake(self) -> Lake:
        return Lake(self.folder / "lake")

    @property
    def releases(self) -> Path:
        return self.lake.releases

    @property
    def models(self) -> Path:
        """The model repository, to be changed before `start`."""
        return self.folder / "models"

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def triton_address(self) -> str:
        """Of the Triton server behind the gateway."""
        return str(self.status()["triton_address"])

    def status(self) -> dict[str, Any]:
        """What the gateway says of itself."""
        return server.status(self.lake)

    def reload(self, release: Path) -> None:
        """Have the folder of a release served. Raises: StateError where the gateway refuses it."""
        control.call(server.folder(self.lake), "POST", "/reload", {"release": str(release)}, RELOAD_TIMEOUT)

    def add_echo(self) -> None:
        """Have Triton serve the model echo too."""
        shutil.copytree(_HERE / "echo", self.models / "echo")

    def without_batching(self) -> None:
        """Have every model answer one request after the other."""
        for path in self.models.glob("*/config.pbtxt"):
            lines = path.read_text().splitlines(keepends=True)
            path.write_text("".join(line for line in lines if not line.startswith("dynamic_batching")))

    def mmprod(self, *words: object) -> Any:
        """What an `mmprod` command on this deployment tells."""
        return mmprod(self.folder, *words)

    def __enter__(self) -> Self:
        self.mmprod("triton", "start")
        return self

    def __exit__(self, *_: object) -> None:
        self.mmprod("triton", "stop")


def free_port() -> int:
    """A port that is free, and so is the one two above it."""
    while True:
        with closing(socket.socket()) as one, closing(socket.socket()) as other:
            one.bind((HOST, 0))
            port: int = one.getsockname()[1]
            try:
                other.bind((HOST, port + 2))
            except (OSError, OverflowError):
                continue
            return port


def _pointers(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "CURRENT" or name.startswith(".")]
