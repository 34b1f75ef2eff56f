"""The specification of an engine folder: engine.json and the files it names."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from mmprod.storage.errors import StateError
from mmprod.storage.files import sha256_file

SPEC, RAW = "engine.json", "raw.json"
FORM = 2
"""Version of the engine folder's content: 2 added the files for raw titles and pictures."""
Kind = Literal["onnx", "openvino", "tensorrt"]
Tower = Literal["image", "text"]
Precision = Literal["fp32", "fp16", "bf16"]
Backend = Literal[
    "torch-fp32", "torch-bf16", "torch-fp16",
    "onnx-fp32", "onnx-fp16",
    "openvino-fp32", "openvino-fp16", "openvino-bf16",
    "tensorrt-fp32", "tensorrt-fp16",
]  # fmt: skip
"""What runs an encoder: torch, in fp32 or autocast, or an engine by its kind and precision."""
INPUTS: dict[Tower, str] = {"image": "pictures", "text": "tokens"}
"""Name of each tower's input in its file."""
PRECISIONS: dict[Kind, tuple[Precision, ...]] = {
    "onnx": ("fp32", "fp16"),  # ONNX Runtime has no bf16 kernels for the CPU
    "openvino": ("fp32", "fp16", "bf16"),
    "tensorrt": ("fp32", "fp16"),
}


@dataclass(frozen=True)
class Spec:
    """The content of engine.json: an engine's inputs and outputs, its encoder, and the library versions.

    `encoder` is the fingerprint of the encoder the engine was exported from. `shortest` = `longest` if the
    text tower accepts one length only. `files` maps every other file of the folder to its sha256.
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
        """Write engine.json; the caller syncs it."""
        (folder / SPEC).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "Spec":
        """Read engine.json and verify every file it names; StateError if one is missing or damaged."""
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
    """The sha256 of every file of an engine folder except engine.json."""
    return {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.name != SPEC}


def _tuples(content: dict[str, Any]) -> dict[str, Any]:
    lists = {key: tuple(content[key]) for key in ("towers", "picture_size")}
    return content | lists
