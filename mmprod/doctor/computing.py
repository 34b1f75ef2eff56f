"""Examines device, precision, threads, encoder, engines and Ray."""

import importlib.util
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mmprod.datasets import threads
from mmprod.datasets.lazy import lazy
from mmprod.doctor.finding import Finding
from mmprod.encoders.export.spec import Kind
from mmprod.encoders.folders import kind_of
from mmprod.lake import IMPORTED, LAKE_ENCODER, OTHERS, SENTENCES, Lake
from mmprod.sections import Config, Ray
from mmprod.stages.backend import in_use, measured_before
from mmprod.stages.encoder import ENGINE
from mmprod.stages.open_index import encoder_of
from mmprod.storage import artifacts
from mmprod.storage.errors import GateError

if TYPE_CHECKING:
    from mmprod.encoders.hardware import Precision

torch = lazy("torch")  # a failing import becomes a finding
_PATIENCE = 2  # seconds for a response of Ray


def device(name: str) -> Finding:
    """Whether torch can compute on encoder.device."""
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].strip()
        text = f"encoder.device is {name!r}, which torch can't use here: {reason}"
        return Finding("device", "problem", text, 'encoder.device = "cpu"')
    return Finding("device", "ok", f"{name}: encoder.device")


def precision(wanted: 'Precision | Literal["auto"]', on: str) -> Finding:
    """The precision of training on a device: finetune.precision, or measured now."""
    from mmprod.encoders.hardware import speeds  # a torch that can't be loaded is what is found, then

    measured = speeds(on)
    if wanted == "auto":
        halves: tuple[Precision, ...] = ("amp_bf16", "amp")
        told = "; ".join(measured.told(half) for half in halves)
        return Finding("precision", "ok", f"{measured.best}: {told}")
    if measured.gain(wanted) < 1:
        text, cure = f"finetune.precision: {measured.told(wanted)}", 'finetune.precision = "auto"'
        return Finding("precision", "note", text, cure)
    return Finding("precision", "ok", f"{wanted}: finetune.precision")


def engines(on: str) -> Finding:
    """The precision that `mmprod export --precision auto` would choose for a device."""
    from mmprod.encoders.hardware import fitting_engine  # as above

    kinds: tuple[Kind, ...] = ("onnx", "openvino")
    told = ", ".join(f"{kind} in {fitting_engine(kind, 'auto', on)}" for kind in kinds)
    return Finding("engines", "ok", f"{told}: by `mmprod export --precision auto`")


def thread_count(config: Config, usable: int) -> Finding:
    """The number of threads of numeric libraries per process, and where it comes from."""
    count = config.thread_count
    if config.threads != "auto" and count > usable:
        text = f"{count} on {usable} cores: they take turns, and wait for each other"
        return Finding("threads", "note", text, 'threads = "auto"')
    if config.threads != "auto":
        why = "the setting `threads`"
    else:
        why = "all cores it may use" if count == usable else f"its share of them, by {threads.SHARE}"
    return Finding("threads", "ok", f"{count} a process: {why}")


def encoder(lake: Lake, config: Config) -> Finding:
    """Whether the configured encoder exists. Raises: InputError for a folder that holds no encoder."""
    model = config.encoder.model
    if model.startswith("local-dir:"):
        kind = kind_of(Path(model.removeprefix("local-dir:")))
        return Finding("encoder", "ok", f"{model}, of {kind}'s format")
    if model.startswith(IMPORTED):
        if lake.encoder_fingerprint(model):
            return Finding("encoder", "ok", f"{model}: vectors that were imported; nothing is encoded")
        cure = f"mmprod embeddings import FILE --encoder {model.removeprefix(IMPORTED)}"
        return Finding("encoder", "problem", f"{model}: nothing was imported yet", cure)
    if model.startswith(SENTENCES):
        if importlib.util.find_spec("sentence_transformers"):
            return Finding("encoder", "ok", f"{model}: run by sentence-transformers")
        text, cure = f"{model}, without sentence-transformers", 'pip install "mmprod[sentence-transformers]"'
        return Finding("encoder", "problem", text, cure)
    if not model.startswith(LAKE_ENCODER):
        if config.encoder.pretrained or model.startswith(("hf-hub:", "transformers:")):
            return Finding("encoder", "ok", f"{model}: fetched when it is first used")
        return Finding("encoder", "problem", f"{model} without weights", "encoder.pretrained = TAG")
    if fingerprint := lake.encoder_fingerprint(model):
        return Finding("encoder", "ok", f"{model}, fingerprint {fingerprint[:12]}")
    cure = "mmprod train --table TABLE, or another encoder.model"
    return Finding("encoder", "note", f"{model} is not in the lake yet", cure)


def backend(lake: Lake, config: Config) -> Finding:
    """What encodes products here, and why."""
    wanted = config.encoder.backend
    if config.encoder.model.startswith(OTHERS):
        return Finding(
            "backend", "ok", f"{config.encoder.model} has its own way; encoder.backend is not used"
        )
    if not (fingerprint := lake.encoder_fingerprint(config.encoder.model)):
        text = f"{wanted}: encoder.backend; `mmprod encoder backend` loads the encoder to tell more"
        return Finding("backend", "ok", text)
    try:
        chosen, why = in_use(config, measured_before(lake, config, fingerprint))
    except GateError as error:
        return Finding("backend", "problem", str(error), 'encoder.backend = "auto"')
    return Finding("backend", "ok", f"{chosen}: {why}")


def queries(lake: Lake, config: Config) -> Finding:
    """What encodes texts of `mmprod search`: the exported engine of the indexes' encoder, or torch."""
    indexed = (name for name in config.profiles if artifacts.current(lake.index(name)))
    profile = next(indexed, None)
    if profile is None:
        return Finding("searches", "note", "there is no index to search yet", "mmprod run")
    root = lake.engines(config.encoder.model, encoder_of(lake, profile), ENGINE)
    if importlib.util.find_spec("onnxruntime") is None:
        text = "answered by torch: there is no ONNX Runtime"
        return Finding("searches", "note", text, 'pip install "mmprod[export]"')
    if name := artifacts.current(root):
        return Finding("searches", "ok", f"answered by the engine {ENGINE} {name}, without torch")
    text = f"answered by torch, seconds to load: the encoder has no engine {ENGINE}"
    return Finding("searches", "note", text, "mmprod export onnx")


def shards(config: Config) -> Finding:
    """Where shards are encoded and encoders are trained: here, or on Ray."""
    if config.engine == "local":
        return Finding("encoding", "ok", 'on this machine: engine = "local"')
    return ray(config.ray)


def ray(settings: Ray) -> Finding:
    """Whether the Ray cluster's dashboard answers."""
    if importlib.util.find_spec("ray") is None:
        return Finding("encoding", "problem", 'engine = "ray", without Ray', 'pip install "mmprod[ray]"')
    url = f"{settings.address.rstrip('/')}/api/version"
    try:
        with urllib.request.urlopen(url, timeout=_PATIENCE):
            return Finding("encoding", "ok", f"on Ray at {settings.address}")
    except (OSError, ValueError) as error:
        text = f"Ray at {settings.address} (ray.address) doesn't answer: {error}"
        return Finding("encoding", "problem", text, "ray start --head, or ray.address of a running cluster")
