"""Configuration: one TOML file read into frozen models; unknown keys are refused.

Precedence: command line, environment (``MMPROD_ENCODER__MODEL=…``), file, default. `Loaded` also records
where each value came from, for ``mmprod config show``.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mmprod.sections import Config
from mmprod.storage import faults, fencing
from mmprod.storage.errors import InputError

FILE = "mmprod.toml"
PREFIX = "MMPROD_"
_OTHERS = (faults.VARIABLE, fencing.VARIABLE)  # share the prefix, but are not configuration keys
RENAMED = {"serving.patience": "serving.start_seconds", "review.settle": "review.stable_seconds"}
"""Keys of earlier versions and their replacements; an old key is refused and the error names the new one."""


@dataclass(frozen=True)
class Loaded:
    """The effective configuration and where each value came from."""

    config: Config
    origins: Mapping[str, str]  # dotted key -> "default", the file, "MMPROD_…" or "command line"

    def rows(self) -> Iterator[tuple[str, Any, str]]:
        """(dotted key, value, origin) of every value; secrets among a library's options are not shown."""
        for key, value in _flatten(self.config.model_dump(mode="json")):
            origin = next(
                (o for k, o in self.origins.items() if key == k or key.startswith(k + ".")), "default"
            )
            yield key, "(hidden)" if _SECRET.match(key) else value, origin


_SECRET = re.compile(r"table\.options\..*(secret|password|token|key)", re.IGNORECASE)


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Read the configuration; `path` defaults to ``mmprod.toml`` in the working folder, if it exists.

    `overrides` are the command line's values by dotted key. Relative paths in the file are relative to the
    file's folder. Raises: InputError for an unreadable file, an unknown key or a value out of range.
    """
    layers: list[tuple[str, dict[str, Any]]] = []
    if path is None and Path(FILE).is_file():
        path = Path(FILE)
    if path is not None:
        layers.append((str(path), _read(path)))
    layers += _environment()
    layers += [("command line", _nested(k, v)) for k, v in (overrides or {}).items() if v is not None]
    merged: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for origin, layer in layers:
        _merge(merged, layer)
        origins |= {key: origin for key, _ in _flatten(layer)}
    try:
        return Loaded(Config.model_validate(merged), origins)
    except ValidationError as error:
        raise InputError(_explain(error, origins)) from error


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"configuration {path} can't be read: {error}") from error
    for key, name in (("", "lake"), ("images", "root")):
        section = content.get(key, {}) if key else content
        if isinstance(section, dict) and isinstance(section.get(name), str):
            section[name] = str(path.parent / section[name])
    return content


def _environment() -> list[tuple[str, dict[str, Any]]]:
    names = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in _OTHERS)
    return [
        (name, _nested(name[len(PREFIX) :].lower().replace("__", "."), os.environ[name])) for name in names
    ]


def _nested(key: str, value: Any) -> dict[str, Any]:
    head, _, rest = key.partition(".")
    return {head: _nested(rest, value) if rest else value}


def _merge(into: dict[str, Any], layer: Mapping[str, Any]) -> None:
    for key, value in layer.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in content.items():
        if isinstance(value, dict) and value:
            yield from _flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _explain(error: ValidationError, origins: Mapping[str, str]) -> str:
    lines = []
    for problem in error.errors():
        key = ".".join(str(part) for part in problem["loc"])
        origin = next(
            (o for k, o in origins.items() if k == key or k.startswith(key + ".")), "the configuration"
        )
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = _explain_unknown(key)
        lines.append(f"{origin}: {key or 'configuration'}: {message}")
    return "\n".join(lines)


def _explain_unknown(key: str) -> str:
    if key in RENAMED:
        return f"is now {RENAMED[key]}"
    known = [name for name, _ in _flatten(Config().model_dump())]
    similar = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return "unknown key" + (f"; did you mean {similar[0]}?" if similar else "")
