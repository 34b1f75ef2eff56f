"""Loading and running an engine folder: pixels and tokens to unit vectors. Only TensorRT needs torch."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mmprod.datasets.threads import threads as threads_here
from mmprod.encoders.export import onnx, openvino, tensorrt
from mmprod.encoders.export.onnx import Runner
from mmprod.encoders.export.spec import INPUTS, Spec, Tower
from mmprod.storage.errors import InputError, StateError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Engine:
    """The opened towers of an engine folder. `runs_on`: the runtime in use, also after a fall-back."""

    spec: Spec
    runs_on: str
    runners: Mapping[Tower, Runner]

    def pictures(self, pictures: np.ndarray) -> np.ndarray:
        """Encode uint8 RGB [n, 3, height, width], resized but not normalised: float32 [n, d], unit length."""
        wanted = (3, *self.spec.picture_size)
        if pictures.dtype != np.uint8 or pictures.shape[1:] != wanted:
            raise InputError(
                f"pictures are {pictures.dtype} {list(pictures.shape)}, want uint8 {['n', *wanted]}"
            )
        return self._run("image", pictures)

    def titles(self, tokens: np.ndarray) -> np.ndarray:
        """Encode int64 tokens [n, L], padded with `spec.pad`: float32 [n, d] of unit length."""
        shortest, longest = self.spec.shortest, self.spec.longest
        if tokens.dtype != np.int64 or tokens.ndim != 2 or not shortest <= tokens.shape[1] <= longest:
            told = f"tokens are {tokens.dtype} {list(tokens.shape)}"
            raise InputError(f"{told}, want int64 ['n', {shortest} to {longest}]")
        return self._run("text", tokens)

    def trimmed_titles(self, tokens: np.ndarray) -> np.ndarray:
        """As `titles`, without trailing columns of padding only, as far as the tower allows."""
        used = np.flatnonzero((tokens != self.spec.pad).any(axis=0))
        return self.titles(tokens[:, : max(self.spec.shortest, used[-1] + 1 if len(used) else 0)])

    def _run(self, tower: Tower, batch: np.ndarray) -> np.ndarray:
        if tower not in self.runners:
            raise InputError(f"this engine has no {tower} tower, only {', '.join(self.runners)}")
        if not len(batch):
            return np.empty((0, self.spec.width), np.float32)
        vectors = self.runners[tower](np.ascontiguousarray(batch))
        if vectors.shape != (len(batch), self.spec.width):
            wanted = (len(batch), self.spec.width)
            raise StateError(f"the {tower} tower gave {vectors.shape}, want {wanted}; export it again")
        return vectors.astype(np.float32, copy=False)


def load_engine(
    folder: Path, device: str = "cpu", threads: int = 0, towers: Sequence[Tower] | None = None
) -> Engine:
    """Open an engine folder; every file's sha256 is verified first.

    A TensorRT folder also contains its ONNX files. They are run, and a warning logged, if its plans can't be
    used: another version of TensorRT, another GPU, or none. Newer versions of ONNX Runtime and OpenVINO read
    the files of older ones. `threads` 0: as many as this process may use; `towers`: only these are loaded.
    Raises: StateError for damaged files or a missing library.
    """
    spec, threads = Spec.read(folder), threads or threads_here()
    wanted = [tower for tower in spec.towers if towers is None or tower in towers]
    if spec.kind == "openvino":
        runners = {
            t: openvino.open_runner(folder / f"{t}.xml", INPUTS[t], spec.precision, threads) for t in wanted
        }
        return Engine(spec, "openvino", runners)
    if spec.kind == "tensorrt":
        reason, plans = _plans(folder, spec, wanted)
        if reason is None:
            return Engine(spec, "tensorrt", {t: tensorrt.open_runner(p, INPUTS[t]) for t, p in plans.items()})
        log.warning("%s: %s; running its ONNX files instead", folder, reason)
    runners = {
        t: onnx.open_runner(folder / f"{t}.onnx", INPUTS[t], spec.precision, device, threads) for t in wanted
    }
    return Engine(spec, "onnx", runners)


def _plans(folder: Path, spec: Spec, towers: Sequence[Tower]) -> tuple[str | None, dict[Tower, Path]]:
    """The reason why the folder's plans can't be used here, or None; and the plans' paths."""
    if reason := tensorrt.missing():
        return reason, {}
    plans = {t: tensorrt.plan_path(folder, t, spec.files[f"{t}.onnx"]) for t in towers}
    absent = [path.name for path in plans.values() if path.name not in spec.files]
    if absent:
        return f"no plan for this TensorRT and GPU ({', '.join(absent)})", {}
    return None, plans
