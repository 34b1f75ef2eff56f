"""Which backend encodes products (`encoder.backend`), and opening it. This module imports no torch."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

from mmprod.datasets.embeddings import scope
from mmprod.datasets.embeddings.table import POINTER, EmbeddingTable, read_pointer
from mmprod.datasets.identity import EMPTY
from mmprod.datasets.store.store import Changed, Store
from mmprod.encoders.backends import TORCH, Figures, fastest, key_of, kind_of, machine, precision_of
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.spec import Backend
from mmprod.lake import LAKE_ENCODER, OTHERS, Lake
from mmprod.sections import Config
from mmprod.stages import known_encoders
from mmprod.stages.encoder import load_encoder, open_encoder, open_engine
from mmprod.stages.outcome import Progress, no_progress
from mmprod.storage import artifacts
from mmprod.storage.errors import GateError, InputError, StateError

if TYPE_CHECKING:
    from mmprod.encoders import clip

log = logging.getLogger(__name__)
PICTURES, TITLES = 3_000, 20_000
"""Pictures or titles to encode from which measuring backends pays: it encodes about 1,500 of each."""
_READ = 1_000  # changes looked at together


@dataclass(frozen=True)
class Measured:
    """Figures of backends on this kind of machine, and why others have none."""

    generation: str
    figures: dict[Backend, Figures]
    refused: dict[Backend, str]

    def choice(self, config: Config) -> Backend:
        """The configured backend or, for "auto", the fastest; both have to reach `encoder.min_cosine`.

        Raises: GateError if the configured one does not.
        """
        wanted, limit = config.encoder.backend, config.encoder.min_cosine
        if wanted == "auto":
            return fastest(self.figures, limit)
        if wanted not in self.figures:
            raise GateError(f"encoder.backend {wanted!r}: {self.refused.get(wanted)}")
        if (found := self.figures[wanted].cosine) < limit:
            raise GateError(
                f"encoder.backend {wanted!r}: its worst cosine with {TORCH} is {found:.6g}, "
                f'encoder.min_cosine {limit}; set another backend, or "auto"'
            )
        return wanted

    def rows(self, config: Config) -> list[tuple[object, ...]]:
        """For people: one per backend, the fastest first; then those without figures, and why."""
        limit = config.encoder.min_cosine
        order = sorted(self.figures.items(), key=lambda found: -found[1].products)
        return [
            (
                *(name, round(f.pictures, 1), round(f.titles, 1)),
                *(f"{c:.6f}" for c in (f.image_cosine, f.image_centred, f.text_cosine, f.text_centred)),
                "" if f.cosine >= limit else f"refused: below {limit}",
            )
            for name, f in order
        ] + [
            (name, *[None] * 6, f"refused: {reason.splitlines()[-1]}")
            for name, reason in self.refused.items()
        ]

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        figures = {name: asdict(found) for name, found in self.figures.items()}
        return {"generation": self.generation, "backends": figures, "refused": self.refused}


def fingerprint_of(lake: Lake, config: Config) -> str:
    """The configured encoder's fingerprint; it is loaded only if it is not known."""
    known = known_encoders.fingerprint_of(lake, config.encoder.model)
    return known or open_encoder(lake, config).fingerprint


def figures_folder(lake: Lake, config: Config, fingerprint: str) -> Path:
    """Where figures of the configured backend, for "auto" of all, are published for this kind of machine."""
    section = config.encoder
    name = f"{section.backend}-{key_of(machine(section.device))}"
    return lake.backends(section.model, fingerprint, name)


def measured_before(lake: Lake, config: Config, fingerprint: str) -> Measured | None:
    """The figures in use for this encoder and kind of machine; None if there are none, or damaged ones."""
    root = figures_folder(lake, config, fingerprint)
    if (name := artifacts.in_use(root)) is None:
        return None
    counts = artifacts.Manifest.read(root / name).counts
    figures = {backend: Figures(**found) for backend, found in counts["figures"].items()}
    return Measured(name, figures, counts["refused"])


def in_use(config: Config, measured: Measured | None) -> tuple[Backend, str]:
    """The backend that encodes products, and why. Raises: GateError as `Measured.choice`."""
    wanted = config.encoder.backend
    if wanted == TORCH:
        return TORCH, "encoder.backend"
    if measured is None:
        first = (
            f"the first run that encodes {PICTURES:,} pictures or {TITLES:,} titles measures what is faster"
        )
        return (TORCH, first) if wanted == "auto" else (wanted, "encoder.backend; measured at its first use")
    chosen, figures = measured.choice(config), measured.figures
    if chosen == TORCH:
        failed = f"; not to be run: {', '.join(measured.refused)}" if measured.refused else ""
        return TORCH, f"nothing else is faster here and close enough to it{failed}"
    gain, cosine = figures[chosen].products / figures[TORCH].products, figures[chosen].cosine
    return chosen, f"{gain:.2g} times as fast as {TORCH}, worst cosine with it {cosine:.6f}"


def embedding_encoder(
    lake: Lake,
    config: Config,
    store: Store | None,
    candidate: str | None = None,
    *,
    loaded: Encoder | None = None,
    locked: AbstractContextManager[None] | None = None,
    progress: Progress = no_progress,
) -> Encoder:
    """The configured encoder, or `candidate`, in the backend that is to encode products.

    For "auto": the fastest by the figures of this kind of machine. Without figures, backends are measured if
    there is much to encode; for little, torch is used and nothing recorded. So a run that is repeated, or
    done by several workers, gets the same backend. Torch is not loaded for an engine of an encoder of the
    lake. If an engine can't be used, a warning is logged and torch is used.

    `store`: None where there is none: then nothing is measured, and torch is used without figures.
    `loaded`: the result of `open_encoder`, if there is one already; `locked`: takes the lake's lock for
    measuring, if the caller does not hold it. Raises: GateError if a configured backend fails its gate.
    """
    if candidate is None and config.encoder.model.startswith(OTHERS):
        return loaded or open_encoder(lake, config)  # these have no backends to choose from

    model = LAKE_ENCODER + candidate if candidate else config.encoder.model

    @cache
    def load() -> "clip.Encoder":
        if loaded:
            return cast("clip.Encoder", loaded)
        key = known_encoders.content_key(model)
        encoder = load_encoder(lake, config, candidate=candidate)
        known_encoders.note(lake, model, key, encoder.fingerprint)
        return encoder

    fingerprint = known_encoders.fingerprint_of(lake, model) or load().fingerprint
    measured = None if config.encoder.backend == TORCH else measured_before(lake, config, fingerprint)
    if measured is None and store is not None and _pays(lake, config, store, fingerprint):
        with locked or nullcontext():  # another worker may have measured meanwhile
            measured = measured_before(lake, config, fingerprint) or _measured(
                lake, config, store, load(), progress
            )
    backend = measured.choice(config) if measured else TORCH
    if backend != config.encoder.backend != "auto":
        log.warning(
            "%s encodes, as %s was not measured on this kind of machine", backend, config.encoder.backend
        )
    if kind_of(backend) and (engine := _engine(lake, config, fingerprint, backend)):
        return engine
    return replace(load(), precision="fp32" if kind_of(backend) else precision_of(backend))


def _engine(lake: Lake, config: Config, fingerprint: str, backend: Backend) -> Encoder | None:
    root, section = lake.engines(config.encoder.model, fingerprint, backend), config.encoder
    try:
        if engine := open_engine(root, fingerprint, ("image", "text"), section.device):
            return engine
        problem = f"there is none in {root}"
    except StateError as error:
        problem = str(error)
    log.warning(
        "torch encodes instead of the engine %s; `mmprod encoder backend --measure` makes it again: %s",
        *(backend, problem),
    )
    return None


def measure_again(lake: Lake, config: Config, store: Store, progress: Progress = no_progress) -> None:
    """New figures for this kind of machine, in place of those in use. Raises: as `measure_backends`."""
    from mmprod.stages.training.measure_backends import measure_backends  # brings torch, seconds

    encoder = load_encoder(lake, config)
    root = figures_folder(lake, config, encoder.fingerprint)
    measure_backends(lake, config, store, encoder, root, progress)


def _measured(
    lake: Lake, config: Config, store: Store, encoder: "clip.Encoder", progress: Progress
) -> Measured | None:
    """New figures. None if there can't be any and the backend is free to choose: a night must not fail."""
    from mmprod.stages.training.measure_backends import measure_backends  # brings torch, seconds

    root = figures_folder(lake, config, encoder.fingerprint)
    try:
        measure_backends(lake, config, store, encoder, root, progress)
    except (InputError, StateError, MemoryError) as error:
        if config.encoder.backend != "auto":
            raise
        log.warning("%s encodes, as backends could not be measured: %s", TORCH, error)
    return measured_before(lake, config, encoder.fingerprint)


def _pays(lake: Lake, config: Config, store: Store, fingerprint: str) -> bool:
    """Whether there is so much to encode that measuring takes less time than it saves.

    A backend that was configured is measured in any case: its vectors must not be used unseen.
    """
    if config.encoder.backend != "auto":
        return config.encoder.backend != TORCH
    root = lake.embeddings(config.encoder.model, fingerprint)
    start, table = (0,) * len(store.head()), None
    if (root / POINTER).exists():
        pointer = read_pointer(root)
        table = EmbeddingTable(root, fingerprint, pointer.width, len(pointer.position))
        same = pointer.categories == scope.in_order(config.encoder.categories)
        if same and pointer.numbering == store.numbering.number:
            start = pointer.position
    pictures, titles = set[bytes](), set[bytes]()
    changes = store.changes_since(start)
    while changed := list(islice(changes, _READ)):
        inside = scope.fitting(changed, store, config.encoder.categories)
        wanted = [change for change in changed if change.product_id in inside]
        pictures |= _new(table, "image", wanted) - pictures
        titles |= _new(table, "text", wanted) - titles
        if len(pictures) >= PICTURES or len(titles) >= TITLES:
            return True
    return False


def _new(table: EmbeddingTable | None, modality: str, changed: Sequence[Changed]) -> set[bytes]:
    """The hashes of pictures or titles that have no vector yet."""
    hashes = {c.image_hash if modality == "image" else c.text_hash for c in changed} - {EMPTY}
    return hashes - table.known(modality, hashes) if table else hashes
