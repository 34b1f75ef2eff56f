"""TensorRT plans: built from the ONNX file on the GPU they are to run on, and useless anywhere else."""

import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmprod.encoders.export.onnx import Runner
from mmprod.encoders.export.spec import Spec, Tower
from mmprod.storage.errors import InputError, StateError

BATCHES = (1, 64, 256)  # smallest, the one to be fastest at, largest
HOW = (
    "`pip install tensorrt` on a machine with an NVIDIA GPU and its driver; meanwhile export onnx or openvino"
)


class Profile(NamedTuple):
    """Shapes of a tower's input: the smallest, the one to be fastest at, the largest."""

    smallest: tuple[int, ...]
    best: tuple[int, ...]
    largest: tuple[int, ...]


def profile_of(spec: Spec, tower: Tower) -> Profile:
    """Batches of 1 to 256, best at 64; titles best at a quarter of the longest, as real ones are short."""
    if tower == "image":
        return Profile(*((n, 3, *spec.picture_size) for n in BATCHES))
    lengths = (spec.shortest, max(spec.shortest, spec.longest // 4), spec.longest)
    return Profile(*zip(BATCHES, lengths, strict=True))


def key_of(version: str, gpu: str, capability: tuple[int, int], onnx_sha256: str) -> str:
    """16 hex digits that change with TensorRT, the GPU or the model: what a plan is bound to."""
    told = f"{version}|{gpu}|{capability[0]}.{capability[1]}|{onnx_sha256}"
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def missing() -> str | None:
    """Why TensorRT can't run here; None when it can."""
    if importlib.util.find_spec("tensorrt") is None:
        return "TensorRT is not installed"
    import torch

    return None if torch.cuda.is_available() else "there is no NVIDIA GPU that torch can see"


def plan_path(folder: Path, tower: Tower, onnx_sha256: str) -> Path:
    """Where the plan for this machine's TensorRT and GPU lies, or would."""
    import tensorrt
    import torch

    gpu, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    return folder / f"{tower}.{key_of(tensorrt.__version__, gpu, capability, onnx_sha256)}.plan"


def write(onnx_path: Path, profile: Profile, input_name: str, path: Path) -> None:
    """Build a plan from an ONNX file, in the ONNX file's own types.

    Raises: InputError without TensorRT or a GPU, saying how to get them; StateError when it can't be built.
    """
    if reason := missing():
        raise InputError(f"{reason}: {HOW}")
    import tensorrt as trt

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
    """Load a plan that `plan_path` named, so one that was built here."""
    import tensorrt as trt
    import torch

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
