"""Encoder → engine → gate → CURRENT: exported towers that are proved to say what torch says."""

import heapq
import logging
import shutil
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Literal

from PIL import Image

from mmprod.datasets.images.images import BadImage, decode
from mmprod.datasets.store.store import Store
from mmprod.datasets.text import normalise_title
from mmprod.encoders.clip import Encoder
from mmprod.encoders.export.build import build, check, libraries
from mmprod.encoders.export.engine import load_engine
from mmprod.encoders.export.gate import Limits, Report, Truth, gate
from mmprod.encoders.export.inputs import Inputs, with_hard_ones
from mmprod.encoders.export.raw import differences
from mmprod.encoders.export.spec import FORM, RAW, Kind, Precision, Tower
from mmprod.encoders.hardware import fitting_engine
from mmprod.lake import Lake
from mmprod.sections import Config, Export
from mmprod.stages import needs
from mmprod.stages.encoder import load_encoder
from mmprod.stages.outcome import Outcome, timed
from mmprod.storage import artifacts
from mmprod.storage.errors import GateError, InputError
from mmprod.storage.files import make_folder, sync_file, sync_tree
from mmprod.storage.room import require

log = logging.getLogger(__name__)
TITLES = "titles.txt"
_LARGEST = 512  # pixels of a side of a picture that engines are tried on


def export_engine(
    lake: Lake,
    config: Config,
    kind: Kind,
    precision: Precision | Literal["auto"],
    towers: Sequence[Tower],
    samples: Path | None = None,
) -> Outcome:
    """Export towers of the configured encoder and publish them once the gate has let them through.

    `precision` "auto": half where this machine computes faster in it.
    `samples`: a folder of pictures and a titles.txt to try the engine on, in place of the lake's store.
    Nothing is done where the current engine was made from the same encoder in the same way.
    Raises: InputError for what can't be exported; GateError, with the checks that failed, when the gate
    refuses: then nothing is published and what was current stays so; StateError when the disk has no room.
    """
    precision = fitting_engine(kind, precision, config.encoder.device)
    check(kind, precision)
    encoder = load_encoder(lake, config)
    root = lake.engines(config.encoder.model, encoder.fingerprint, f"{kind}-{precision}")
    limits = limits_of(config.export, precision)
    inputs = {"encoder": encoder.fingerprint, "libraries": libraries(kind), "form": FORM}
    options = {"kind": kind, "precision": precision, "towers": list(towers), "limits": vars(limits)}
    with timed(f"export {kind}") as outcome:
        if name := artifacts.reusable(root, inputs, options):
            outcome.detail = {**artifacts.Manifest.read(root / name).counts, "folder": str(root / name)}
            outcome.rows = outcome.reused = len(towers)
            outcome.made[str(root)] = name
            return outcome
        tried = with_hard_ones(_inputs(lake, config, samples))
        with artifacts.publishing(root, "engine", inputs, options) as draft:
            weights = sum(tensor.nbytes for tensor in encoder.model.state_dict().values())
            require("the engine", needs.engine_bytes(kind, precision, weights), root)
            spec = build(encoder, kind, precision, towers, draft.path)
            report = _gated(draft.path, encoder, tried, limits)
            draft.counts |= {"opset": spec.opset, "gate": report.to_dict(), "tried": len(tried.titles)}
        artifacts.switch(root, draft.generation)
        outcome.made[str(root)] = draft.generation
        outcome.detail = {**draft.counts, "folder": str(root / draft.generation)}
        outcome.rows = outcome.changed = len(towers)
    return outcome


def limits_of(section: Export, precision: Precision) -> Limits:
    """What the configuration asks of an engine of that precision."""
    if precision == "fp32":
        return Limits(section.min_cosine, section.min_recall)
    return Limits(section.min_cosine_half, section.min_recall_half)


def check_free(folder: Path) -> None:
    """InputError where a folder to be written is there already."""
    if folder.exists():
        raise InputError(f"{folder} is there already; name another folder")


def copy_engine(source: Path, target: Path) -> None:
    """Copy a published engine to a folder that is not there yet; it appears whole.

    Raises: StateError when the disk has no room.
    """
    require("a copy of the engine", sum(path.stat().st_size for path in source.rglob("*")), target.parent)
    make_folder(target.parent)
    draft = target.with_name(f".{target.name}.draft")
    shutil.copytree(source, draft, dirs_exist_ok=True)
    sync_tree(draft)
    draft.rename(target)
    sync_file(target.parent)


def _gated(folder: Path, encoder: Encoder, tried: Inputs, limits: Limits) -> Report:
    """What the gate says of the engine as it lies on disk; GateError when it refuses."""
    report = gate(load_engine(folder, encoder.device), encoder, Truth.of(encoder, tried), limits)
    if report.refused:
        found = "\n".join(str(refused) for refused in report.refused)
        raise GateError(f"the engine is not let through by the gate, nothing is published:\n{found}")
    if (folder / RAW).exists() and (others := differences(encoder, folder, tried)):
        raise GateError(
            f"{RAW} makes other tokens or pixels than the encoder, nothing is published: {others}"
        )
    return report


def _inputs(lake: Lake, config: Config, samples: Path | None) -> Inputs:
    if samples:
        return _of_folder(samples, config.images.max_pixels)
    if not lake.store.exists():
        raise InputError(f"{lake.root} has no store to try the engine on; name a folder with --samples")
    with Store.open(lake.store, read_only=True) as store:
        return _of_store(store, config)


def _of_store(store: Store, config: Config) -> Inputs:
    """Products of the store that have both, the same ones every time: those of the smallest hashes."""
    ids = heapq.nsmallest(config.export.samples, store.live_ids(), key=_hash)
    records = [record for record in store.get_many(ids) if record and record.title]
    sources = ((r.product_id, store.picture(r.image_hash)) for r in records)
    pictures = dict(_decoded(((name, data) for name, data in sources if data), config.images.max_pixels))
    return Inputs(tuple(pictures), tuple(pictures.values()), tuple(r.title for r in records))


def _of_folder(folder: Path, max_pixels: int) -> Inputs:
    """Every picture of a folder and every line of its titles.txt."""
    if not (folder / TITLES).is_file():
        raise InputError(f"{folder} holds no {TITLES}: a title a line, beside the pictures")
    lines = (normalise_title(line) for line in (folder / TITLES).read_text(encoding="utf-8").splitlines())
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name != TITLES)
    pictures = dict(_decoded(((path.name, path.read_bytes()) for path in files), max_pixels))
    return Inputs(tuple(pictures), tuple(pictures.values()), tuple(line for line in lines if line))


def _decoded(sources: Iterator[tuple[str, bytes]], max_pixels: int) -> Iterator[tuple[str, Image.Image]]:
    """Pictures that are all held at once, so large ones smaller: engine and encoder are given the same."""
    for name, data in sources:
        try:
            picture = decode(data, max_pixels, draft_size=_LARGEST)
        except BadImage as bad:
            log.info("%s is not tried: %s", name, bad.reason)
            continue
        picture.thumbnail((_LARGEST, _LARGEST))
        yield name, picture


def _hash(product_id: str) -> bytes:
    return blake2b(product_id.encode(), digest_size=8).digest()
