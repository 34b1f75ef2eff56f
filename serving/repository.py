"""The config.pbtxt of each model in the Triton repository, rendered from what is to be configured."""

from dataclasses import dataclass
from typing import Literal

Device = Literal["cpu", "gpu"]
_SIDE = ("ID", "TITLE", "PICTURE", "CATEGORY")


@dataclass(frozen=True)
class Tuning:
    """Numbers of the configuration that Triton has to know; times in seconds."""

    batch: int  # of requests that are worked on at once
    delay: float  # that a batch waits for company
    threads: int  # of the runtime in each encoder instance
    instances: int  # of each encoder, on each device
    cache_bytes: int  # of vectors that each encoder instance keeps to answer them again


@dataclass(frozen=True)
class Model:
    """A model of the repository: tensors by name with their type; those of `needed` must be sent."""

    name: str
    inputs: tuple[str, ...]
    needed: tuple[str, ...]
    outputs: dict[str, str]
    batches: bool = True
    towers: bool = False  # runs a tower itself, so may run on a GPU


_ORIGIN = {"GENERATION": "TYPE_STRING", "ENCODER": "TYPE_STRING"}
_SCORES = dict.fromkeys(("SCORE", "IMAGE_SCORE", "TEXT_SCORE"), "TYPE_FP32")
_VECTOR = {"VECTOR": "TYPE_FP32", "ENCODER": "TYPE_STRING"}
MODELS = (
    Model("text_encoder", ("TITLE",), ("TITLE",), _VECTOR, towers=True),
    Model("image_encoder", ("PICTURE",), ("PICTURE",), _VECTOR, towers=True),
    Model(
        "product_encoder",
        ("TITLE", "PICTURE"),
        (),
        {"IMAGE": "TYPE_FP32", "TEXT": "TYPE_FP32", "ENCODER": "TYPE_STRING"},
    ),
    Model(
        "pair_similarity",
        (*(f"{side}_{name}" for side in "AB" for name in _SIDE), "PROFILE"),
        ("PROFILE",),
        {**_SCORES, "THRESHOLD": "TYPE_FP32", "VERDICT": "TYPE_STRING", **_ORIGIN},
    ),
    Model(
        "product_search",
        ("TEXT", "ID", "TITLE", "PICTURE", "PROFILE", "FILTER", "K"),
        ("PROFILE", "K"),
        {"PRODUCT_ID": "TYPE_STRING", **_SCORES, **_ORIGIN},
        batches=False,
    ),
)
_WIDE = ("VECTOR", "IMAGE", "TEXT")  # outputs as long as the encoder's vectors


def render(model: Model, tuning: Tuning, device: Device) -> str:
    """A model's config.pbtxt."""
    kind = "KIND_GPU" if device == "gpu" and model.towers else "KIND_CPU"
    parts = [
        f'name: "{model.name}"',
        'backend: "python"',
        f"max_batch_size: {tuning.batch if model.batches else 0}",
        *(_input(name, name in model.needed) for name in model.inputs),
        *(_output(model, name, kind_) for name, kind_ in model.outputs.items()),
        f"instance_group [{{ count: {tuning.instances if model.towers else 1} kind: {kind} }}]",
        _batching(tuning) if model.batches else "",
    ]
    if model.towers:
        parts += [_parameter("threads", tuning.threads), _parameter("cache_bytes", tuning.cache_bytes)]
    return "\n".join(part for part in parts if part) + "\n"


def _input(name: str, needed: bool) -> str:
    kind = "TYPE_INT32" if name == "K" else "TYPE_STRING"
    optional = "" if needed else " optional: true"
    return f'input {{ name: "{name}" data_type: {kind} dims: [1]{optional} }}'


def _output(model: Model, name: str, kind: str) -> str:
    many = name in _WIDE or (not model.batches and name not in _ORIGIN)
    return f'output {{ name: "{name}" data_type: {kind} dims: [{-1 if many else 1}] }}'


def _parameter(name: str, value: int) -> str:
    return f'parameters {{ key: "{name}" value {{ string_value: "{value}" }} }}'


def _batching(tuning: Tuning) -> str:
    """No queue policy: with one, be it a limit or a timeout, Triton 2.51 no longer fetches ahead, and then
    a request in some hundreds is overlooked for half a second. The gateway limits both.
    """
    return f"dynamic_batching {{ max_queue_delay_microseconds: {round(tuning.delay * 1e6)} }}"
