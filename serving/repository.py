"""The models of the Triton model repository, and the config.pbtxt of each, rendered from its settings."""

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "gpu"]
_SIDE = ("ID", "TITLE", "PICTURE", "CATEGORY")


@dataclass(frozen=True)
class Tuning:
    """Settings of the configuration that go into config.pbtxt; times in seconds."""

    batch: int  # most items of a batch
    delay: float  # that a batch waits for more requests
    threads: int  # of the runtime in each encoder instance
    instances: int  # of each encoder, on each device
    cache_bytes: int  # of the vector cache of each encoder instance


@dataclass(frozen=True)
class ModelSpec:
    """A model of the repository: names of its inputs, outputs by name with their type."""

    name: str
    inputs: tuple[str, ...]
    required: tuple[str, ...]  # the inputs that are not optional
    outputs: dict[str, str]
    batches: bool = True
    is_encoder: bool = False  # runs a tower, so may run on a GPU


_ORIGIN = {"GENERATION": "TYPE_STRING", "ENCODER": "TYPE_STRING"}
_SCORES = dict.fromkeys(("SCORE", "IMAGE_SCORE", "TEXT_SCORE"), "TYPE_FP32")
_VECTOR = {"VECTOR": "TYPE_FP32", "ENCODER": "TYPE_STRING"}
MODELS = (
    ModelSpec("text_encoder", ("TITLE",), ("TITLE",), _VECTOR, is_encoder=True),
    ModelSpec("image_encoder", ("PICTURE",), ("PICTURE",), _VECTOR, is_encoder=True),
    ModelSpec(
        "product_encoder",
        ("TITLE", "PICTURE"),
        (),
        {"IMAGE": "TYPE_FP32", "TEXT": "TYPE_FP32", "ENCODER": "TYPE_STRING"},
    ),
    ModelSpec(
        "pair_similarity",
        (*(f"{side}_{name}" for side in "AB" for name in _SIDE), "PROFILE"),
        ("PROFILE",),
        {**_SCORES, "THRESHOLD": "TYPE_FP32", "VERDICT": "TYPE_STRING", **_ORIGIN},
    ),
    ModelSpec(
        "product_search",
        ("TEXT", "ID", "TITLE", "PICTURE", "PROFILE", "FILTER", "K"),
        ("PROFILE", "K"),
        {"PRODUCT_ID": "TYPE_STRING", **_SCORES, **_ORIGIN},
        batches=False,
    ),
)
_WIDE = ("VECTOR", "IMAGE", "TEXT")  # outputs as long as the encoder's vectors


def render(model: ModelSpec, tuning: Tuning, device: Device) -> str:
    """A model's config.pbtxt."""
    kind = "KIND_GPU" if device == "gpu" and model.is_encoder else "KIND_CPU"
    parts = [
        f'name: "{model.name}"',
        'backend: "python"',
        f"max_batch_size: {tuning.batch if model.batches else 0}",
        *(_input(name, name in model.required) for name in model.inputs),
        *(_output(model, name, kind_) for name, kind_ in model.outputs.items()),
        f"instance_group [{{ count: {tuning.instances if model.is_encoder else 1} kind: {kind} }}]",
        _batching(tuning) if model.batches else "",
    ]
    if model.is_encoder:
        parts += [_parameter("threads", tuning.threads), _parameter("cache_bytes", tuning.cache_bytes)]
    return "\n".join(part for part in parts if part) + "\n"


def _input(name: str, required: bool) -> str:
    kind = "TYPE_INT32" if name == "K" else "TYPE_STRING"
    optional = "" if required else " optional: true"
    return f'input {{ name: "{name}" data_type: {kind} dims: [1]{optional} }}'


def _output(model: ModelSpec, name: str, kind: str) -> str:
    variable = name in _WIDE or (not model.batches and name not in _ORIGIN)
    return f'output {{ name: "{name}" data_type: {kind} dims: [{-1 if variable else 1}] }}'


def _parameter(name: str, value: int) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def _batching(tuning: Tuning) -> str:
    """No queue policy: with one, be it a size limit or a timeout, Triton 2.51 no longer fetches requests
    ahead, and then one request in some hundreds waits for half a second. The gateway limits both instead.
    """
    return f"dynamic_batching {{ max_queue_delay_microseconds: {round(tuning.delay * 1e6)} }}"
