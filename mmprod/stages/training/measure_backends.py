"""Torch and engines → figures of this machine: what each backend is worth (`mmprod.encoders.backends`)."""

import logging
from dataclasses import asdict, replace
from pathlib import Path

from mmprod.datasets.store.store import Store
from mmprod.encoders.backends import TORCH, kind_of, machine, precision_of
from mmprod.encoders.clip import Encoder as TorchEncoder
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.gate import Truth
from mmprod.encoders.export.spec import Backend, Tower
from mmprod.encoders.measure_backends import candidates, measured
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages import needs
from mmprod.stages.encoder import open_engine
from mmprod.stages.outcome import Progress, no_progress
from mmprod.stages.training.export import export_loaded, of_store, truth_of
from mmprod.storage import artifacts
from mmprod.storage.errors import GateError, StateError
from mmprod.storage.room import require

log = logging.getLogger(__name__)
_TOWERS: tuple[Tower, ...] = ("image", "text")
_UNFIT = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)
"""What exporters and runtimes raise for a model that they can't take; other backends may take it."""


def measure_backends(
    lake: Lake,
    config: Config,
    store: Store,
    encoder: TorchEncoder,
    root: Path,
    progress: Progress = no_progress,
) -> None:
    """Measure the configured backend, or for "auto" every candidate, against torch in fp32; publish figures.

    Engines are exported and pass the gate of `mmprod export` first; those there already are used. The caller
    holds the lake's lock. Raises: InputError if the store has too few products to compare on; StateError if
    the disk is too small.
    """
    section = config.encoder
    names = (
        candidates(section.device)
        if section.backend == "auto"
        else list(dict.fromkeys((TORCH, section.backend)))
    )
    weights = sum(tensor.nbytes for tensor in encoder.model.state_dict().values())
    engines = ((kind, precision_of(name)) for name in names if (kind := kind_of(name)))
    require("engines to try", sum(needs.engine_bytes(*engine, weights) for engine in engines), root)
    advance = progress("backend", len(names) + 1)
    truth = truth_of(of_store(store, config), encoder)
    opened, refused = dict[Backend, Encoder](), dict[Backend, str]()
    for name in names:
        try:
            opened[name] = _opened(lake, config, encoder, name, truth)
        except StateError as error:
            refused[name] = str(error)
        except _UNFIT as error:
            refused[name] = f"{type(error).__name__}: {error}"
        advance(1, name)
    found = measured(opened, truth, section.device)
    figures = {name: asdict(found[name]) for name in names if name in found}
    for name, told in figures.items():
        log.info("%s: %s", name, ", ".join(f"{key} {value:.6g}" for key, value in told.items()))
    for name, reason in refused.items():
        log.info("%s can't encode here: %s", name, reason)
    inputs = {"encoder": encoder.fingerprint, "machine": machine(section.device)}
    with artifacts.publishing(root, "backend", inputs, {"backend": section.backend}) as draft:
        draft.counts |= {"figures": figures, "refused": refused, "tried": len(truth.inputs.titles)}
    artifacts.switch(root, draft.generation)
    advance(1)


def _opened(lake: Lake, config: Config, encoder: TorchEncoder, name: Backend, truth: Truth) -> Encoder:
    """A backend of the encoder; an engine is exported if there is none.

    Raises: GateError if the gate refuses the engine.
    """
    kind, precision = kind_of(name), precision_of(name)
    if kind is None:
        return replace(encoder, precision=precision)
    export_loaded(lake, config, encoder, kind, precision, _TOWERS, lambda: truth)
    root = lake.engines(config.encoder.model, encoder.fingerprint, name)
    engine = open_engine(root, encoder.fingerprint, _TOWERS, config.encoder.device)
    if engine is None or engine.backend != name:
        raise GateError(f"{root} runs as {engine and engine.backend} here")
    return engine
