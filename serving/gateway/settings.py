"""What the gateway is told, in one JSON file: where things lie, where it listens, what it lets through."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mmprod.storage.errors import InputError


@dataclass(frozen=True)
class Settings:
    """Every key has to be given; times in seconds, sizes in bytes."""

    folder: Path  # of what the gateway writes: logs, control.sock, gateway.json
    release: Path  # served first
    triton: Path  # the program tritonserver
    backends: Path
    models: Path  # the model repository
    site: Path  # site-packages that the models import from
    libraries: str  # LD_LIBRARY_PATH of Triton: where the Python library is
    host: str  # address to listen on
    port: int
    metrics_port: int
    threads: int  # of numeric libraries in each model's process
    config_name: str  # of the models' configurations: "" or "gpu"
    shared_memory: bool  # whether clients may register regions; only for clients of this machine
    body_bytes: int  # most in one request
    body_seconds: float  # until a request's headers, and then its body, are here
    deadline: float  # until a request is answered
    requests: int  # most in flight
    patience: float  # until a started Triton is ready
    probe_seconds: float  # between two questions whose answers are known
    log_share: float  # of the requests that succeed; the others are logged always

    def __post_init__(self) -> None:
        for name in ("port", "metrics_port"):
            _within(name, getattr(self, name), 1, 65_535)
        for name in ("body_bytes", "requests"):
            _within(name, getattr(self, name), 1, math.inf)
        _within("threads", self.threads, 0, math.inf)
        for name in ("body_seconds", "deadline", "patience", "probe_seconds"):
            _within(name, getattr(self, name), 0.001, 86_400)
        _within("log_share", self.log_share, 0, 1)
        if self.metrics_port == self.port:
            raise InputError(f"metrics_port is {self.metrics_port}, as port is: want another")
        if self.config_name not in ("", "gpu"):
            raise InputError(f"config_name is {self.config_name!r}, want '' or 'gpu'")

    @classmethod
    def read(cls, path: Path) -> "Settings":
        """Read the file. Raises: InputError, naming the key, for one unknown, missing or of a wrong kind."""
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise InputError(f"{path} can't be read: {error}") from error
        kinds = get_type_hints(cls)
        if not isinstance(content, dict) or set(content) != set(kinds):
            wrong = sorted(set(content) ^ set(kinds)) if isinstance(content, dict) else content
            raise InputError(f"{path}: keys missing or unknown: {wrong}")
        try:
            return cls(**{name: _value(name, content[name], kind) for name, kind in kinds.items()})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def to_json(self) -> str:
        """The content of such a file."""
        return json.dumps(asdict(self), indent=2, default=str) + "\n"


def _value(name: str, given: Any, kind: type) -> Any:
    if kind is float and type(given) in (int, float):
        return float(given)
    wanted = str if kind is Path else kind
    if type(given) is not wanted:
        raise InputError(f"{name} is {given!r}, want a {kind.__name__}")
    return kind(given)


def _within(name: str, given: float, least: float, most: float) -> None:
    if not least <= given <= most:
        raise InputError(f"{name} is {given}, want {least} to {most}")
