"""What an engine folder is: engine.json beside the files it names."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mmprod.storage.errors import StateError
from mmprod.storage.files import sha256_file

SPEC, RAW = "engine.json", "raw.json"
FORM = 2
"""Version of what is in an engine folder: 2 has what raw titles and pictures need."""
Kind = Literal["onnx", "openvino", "tensorrt"]
Tower = Literal["image", "text"]
Precision = Literal["fp32", "fp16", "bf16"]
INPUTS: dict[Tower, str] = {"image": "pictures", "text": "tokens"}
"""What a tower's input is called in its file."""
PRECISIONS: dict[Kind, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16"),  # ONNX Runtime has no bf16 kernels for the CPU
    "openvino": ("fp32", "fp16", "bf16"),
    "tensorrt": ("fp32", "fp16"),
}


@dataclass(frozen=True)
class Spec:
    """An engine's inputs and outputs, what it was made from and by; its engine.json.

    `encoder` is the fingerprint of the encoder the engine was exported from. `shortest` = `longest` where the
    text tower takes one length only. `files` maps every other file of the folder to its sha256.
    """

    kind: Kind
    precision: Precision
    towers: tuple[Tower, ...]
    encoder: str
    width: int  # d of the vectors
    picture_size: tuple[int, int]  # height, width
    shortest: int  # tokens
    longest: int  # tokens
    pad: int  # token number
    opset: int  # of the ONNX files
    libraries: dict[str, str]  # versions
    files: dict[str, str]

    def write(self, folder: Path) -> None:
        """Write engine.json; syncing is the caller's."""
        (folder / SPEC).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Spec":
        """Read engine.json and compare every file it names; StateError for what is missing or damaged."""
        try:
            spec = cls(**_tuples(json.loads((folder / SPEC).read_bytes())))
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise StateError(f"{folder / SPEC} can't be read: {error}; export the engine again") from error
        for name, wanted in spec.files.items():
            if not (folder / name).is_file():
                raise StateError(f"{folder / name} is missing; export the engine again")
            if (found := sha256_file(folder / name)) != wanted:
                raise StateError(
                    f"{folder / name} has sha256 {found}, {SPEC} says {wanted}; export the engine again"
                )
        return spec


def files_of(folder: Path) -> dict[str, str]:
    """Every file of an engine folder but engine.json, with its sha256."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != SPEC}


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    lists = {key: tuple(content[key]) for key in ("towers", "picture_size")}
    return content | lists
