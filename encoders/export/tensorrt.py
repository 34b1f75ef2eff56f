"""TensorRT plans, built from ONNX files. A plan runs only on the kind of GPU on which it was built."""

import hashlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mmprod.datasets.lazy import lazy
from mmprod.encoders.export.onnx import Runner
from mmprod.encoders.export.spec import Spec, Tower
from mmprod.storage.errors import InputError, StateError

if TYPE_CHECKING:
    import torch
else:
    torch = lazy("torch")  # running engines of other kinds does not need it

trt = lazy("tensorrt")  # optional
BATCHES = (1, 64, 256)  # smallest, optimised for, largest
HOW = (
    "`pip install tensorrt` on a machine with an NVIDIA GPU and its driver; meanwhile export onnx or openvino"
)


class Profile(NamedTuple):
    """Shapes of a tower's input: the smallest, the one to optimise for, the largest."""

    smallest: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


def profile_of(spec: Spec, tower: Tower) -> Profile:
    """Batches of 1 to 256, optimised for 64; titles for a quarter of the longest, since most are short."""
    if tower == "image":
        return Profile(*((n, 3, *spec.picture_size) for n in BATCHES))
    lengths = (spec.shortest, max(spec.shortest, spec.longest // 4), spec.longest)
    return Profile(*zip(BATCHES, lengths, strict=True))


def key_of(version: str, gpu: str, capability: tuple[int, int], onnx_sha256: str) -> str:
    """The key of a plan: 16 hex digits that change with the TensorRT version, the GPU or the model."""
    told = f"{version}|{gpu}|{capability[0]}.{capability[1]}|{onnx_sha256}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def missing() -> str | None:
    """Why TensorRT can't run here; None when it can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT is not installed"
    return None if torch.cuda.is_available() else "there is no NVIDIA GPU that torch can see"


def plan_path(folder: Path, tower: Tower, onnx_sha256: str) -> Path:
    """Path of the plan for this machine's TensorRT and GPU, whether it exists or not."""
    gpu, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    return folder / f"{tower}.{key_of(trt.__version__, gpu, capability, onnx_sha256)}.plan"


def write(onnx_path: Path, profile: Profile, input_name: str, path: Path) -> None:
    """Build a plan from an ONNX file, in the ONNX file's own types.

    Raises: InputError, with the cure, without TensorRT or a GPU; StateError if the plan can't be built.
    """
    if reason := missing():
        raise InputError(f"{reason}: {HOW}")
    logger = trt.Logger(trt.Logger.WARNING)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_path)):
        raise StateError(f"TensorRT can't read {onnx_path}: {parser.get_error(0)}")
    config, shapes = builder.create_builder_config(), builder.create_optimization_profile()
    shapes.set_shape(input_name, *profile)
    config.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise StateError(f"TensorRT {trt.__version__} built no plan from {onnx_path}; its messages say why")
    path.write_bytes(plan)


def open_runner(path: Path, input_name: str) -> Runner:
    """Load a plan whose path `plan_path` gave, so that it fits this machine."""
    plan = trt.Runtime(trt.Logger(trt.Logger.WARNING)).deserialize_cuda_engine(path.read_bytes())
    if plan is None:
        raise StateError(f"TensorRT {trt.__version__} can't load {path}; export the engine again")
    context = plan.create_execution_context()

    def run(batch: np.ndarray) -> np.ndarray:
        source = torch.from_numpy(batch).cuda()
        context.set_input_shape(input_name, tuple(source.shape))
        out = torch.empty(tuple(context.get_tensor_shape("vectors")), device="cuda")
        context.set_tensor_address(input_name, source.data_ptr())
        context.set_tensor_address("vectors", out.data_ptr())
        stream = torch.cuda.current_stream()
        if not context.execute_async_v3(stream.cuda_stream):
            raise StateError(f"TensorRT could not run {path} on a batch of shape {batch.shape}")
        stream.synchronize()
        return out.cpu().numpy()

    return run
