"""The gateway's settings, one JSON file: paths, addresses, limits."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mmprod.storage.errors import InputError


@dataclass(frozen=True)
class Settings:
    """All keys are required; times in seconds, sizes in bytes."""

    folder: Path  # for the files that the gateway writes: logs, control.sock
    release: Path  # folder of the release to serve at the start
    triton: Path  # the program tritonserver
    backends: Path  # folder of Triton's backends
    models: Path  # the model repository
    site: Path  # site-packages from which the models import
    libraries: str  # LD_LIBRARY_PATH of Triton: the folder of the Python library
    host: str  # address to listen on
    port: int
    metrics_port: int
    threads: int  # of numeric libraries in each model's process
    config_name: str  # which configuration of each model: "" or "gpu"
    shared_memory: bool  # whether clients, on this machine, may register shared memory
    body_bytes: int  # largest request
    body_seconds: float  # for a request's headers to arrive, and for its body
    deadline: float  # for the answer to a request
    requests: int  # in flight at most
    start_seconds: float  # for a started Triton to become ready, and for each answer to its first probe
    probe_seconds: float  # between two probes
    log_share: float  # of the successful requests; failed ones are always logged

    def __post_init__(self) -> None:
        for name in ("port", "metrics_port"):
            _within(name, getattr(self, name), 1, 65_535)
        for name in ("body_bytes", "requests"):
            _within(name, getattr(self, name), 1, math.inf)
        _within("threads", self.threads, 0, math.inf)
        for name in ("body_seconds", "deadline", "start_seconds", "probe_seconds"):
            _within(name, getattr(self, name), 0.001, 86_400)
        _within("log_share", self.log_share, 0, 1)
        if self.metrics_port == self.port:
            raise InputError(f"metrics_port is {self.metrics_port}, the same as port: choose another")
        if self.config_name not in ("", "gpu"):
            raise InputError(f"config_name is {self.config_name!r}, want '' or 'gpu'")

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read the file. Raises: InputError with the name of a key that is unknown, missing or invalid."""
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} can't be read: {error}") from error
        kinds = get_type_hints(cls)
        if not isinstance(content, dict):
            raise InputError(f"{path} holds {content!r}, want a JSON object")
        unknown, missing = set(content) - set(kinds), set(kinds) - set(content)
        if unknown or missing:
            raise InputError(f"{path}: unknown keys: {_listed(unknown)}; missing keys: {_listed(missing)}")
        try:
            return cls(**{name: _value(name, content[name], kind) for name, kind in kinds.items()})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The content of a settings file."""
        return json.dumps(asdict(self), indent=2, default=str) + "\n"


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "none"


def _value(name: str, given: Any, kind: type) -> Any:
    if kind is float and type(given) in (int, float):
        return float(given)
    expected = str if kind is Path else kind
    if type(given) is not expected:
        raise InputError(f"{name} is {given!r}, want a {kind.__name__}")
    return kind(given)


def _within(name: str, given: float, least: float, most: float) -> None:
    if not least <= given <= most:
        raise InputError(f"{name} is {given}, want {least} to {most}")
