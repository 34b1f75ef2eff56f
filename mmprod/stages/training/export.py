"""Encoder → engine → gate → CURRENT: exported towers whose results were compared with torch's."""

import logging
import shutil
from collections.abc import Callable, Iterator, Sequence
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
from mmprod.stages.products import sample_of
from mmprod.stages.publish import reuse_or_publish
from mmprod.storage.errors import GateError, InputError
from mmprod.storage.files import make_folder, sync_file, sync_tree
from mmprod.storage.room import require

log = logging.getLogger(__name__)
TITLES = "titles.txt"
_LARGEST = 512  # longest side in pixels of the pictures for the gate


def export_engine(
    lake: Lake,
    config: Config,
    kind: Kind,
    precision: Precision | Literal["auto"],
    towers: Sequence[Tower],
    samples: Path | None = None,
) -> Outcome:
    """Export towers of the configured encoder, and publish them if they pass the gate.

    `precision` "auto": half precision if this machine is faster with it. `samples`: a folder of pictures and
    a titles.txt as inputs of the gate, instead of products of the lake's store. Nothing is done if the
    current engine was made from the same encoder with the same options. Raises: InputError for an encoder or
    option that can't be exported; GateError, listing the failed checks, if the gate refuses the engine: then
    nothing is published; StateError if there is not enough disk space.
    """
    precision = fitting_engine(kind, precision, config.encoder.device)
    check(kind, precision)
    encoder = load_encoder(lake, config)
    return export_loaded(
        lake,
        config,
        encoder,
        kind,
        precision,
        towers,
        lambda: truth_of(_inputs(lake, config, samples), encoder),
    )


def export_loaded(
    lake: Lake,
    config: Config,
    encoder: Encoder,
    kind: Kind,
    precision: Precision,
    towers: Sequence[Tower],
    truth: Callable[[], Truth],
) -> Outcome:
    """As `export_engine`, of a loaded encoder. `truth`: called for the gate, if an engine is made."""
    check(kind, precision)
    root = lake.engines(config.encoder.model, encoder.fingerprint, f"{kind}-{precision}")
    limits = limits_of(config.export, precision)
    inputs = {"encoder": encoder.fingerprint, "libraries": libraries(kind), "form": FORM}
    options = {"kind": kind, "precision": precision, "towers": list(towers), "limits": vars(limits)}
    with timed(f"export {kind}") as outcome:
        outcome.rows = len(towers)
        with reuse_or_publish(outcome, root, "engine", inputs, options) as draft:
            if not draft.reused:
                true = truth()
                weights = sum(tensor.nbytes for tensor in encoder.model.state_dict().values())
                require("the engine", needs.engine_bytes(kind, precision, weights), root)
                spec = build(encoder, kind, precision, towers, draft.path)
                report = _gated(draft.path, encoder, true, limits)
                tried = len(true.inputs.titles)
                draft.counts |= {"opset": spec.opset, "gate": report.to_dict(), "tried": tried}
        outcome.detail["folder"] = str(draft.path)
    return outcome


def truth_of(inputs: Inputs, encoder: Encoder) -> Truth:
    """What torch makes of these inputs and of hard cases. Raises: InputError if there are too few."""
    return Truth.of(encoder, with_hard_ones(inputs))


def export_served(lake: Lake, config: Config) -> Outcome:
    """Export the configured encoder in the format that `serving.engine` names."""
    precision: Precision = "fp16" if config.serving.engine == "onnx-fp16" else "fp32"
    return export_engine(lake, config, "onnx", precision, ("image", "text"))


def limits_of(section: Export, precision: Precision) -> Limits:
    """The gate's limits for engines of that precision."""
    if precision == "fp32":
        return Limits(section.min_cosine, section.min_recall)
    return Limits(section.min_cosine_half, section.min_recall_half)


def check_free(folder: Path) -> None:
    """Raise InputError if the folder exists."""
    if folder.exists():
        raise InputError(f"{folder} is there already; name another folder")


def copy_engine(source: Path, target: Path) -> None:
    """Copy a published engine to a new folder, which is created atomically.

    Raises: StateError if there is not enough disk space.
    """
    require("a copy of the engine", sum(path.stat().st_size for path in source.rglob("*")), target.parent)
    make_folder(target.parent)
    draft = target.with_name(f".{target.name}.draft")
    shutil.copytree(source, draft, dirs_exist_ok=True)
    sync_tree(draft)
    draft.rename(target)
    sync_file(target.parent)


def _gated(folder: Path, encoder: Encoder, truth: Truth, limits: Limits) -> Report:
    """Run the gate on the engine's files; returns its report. Raises: GateError if it refuses the engine."""
    report = gate(load_engine(folder, encoder.device), encoder, truth, limits)
    if report.refused:
        found = "\n".join(str(refused) for refused in report.refused)
        raise GateError(f"the engine is not let through by the gate, nothing is published:\n{found}")
    if (folder / RAW).exists() and (others := differences(encoder, folder, truth.inputs)):
        raise GateError(
            f"{RAW} produces other tokens or pixels than the encoder, nothing is published: {others}"
        )
    return report


def _inputs(lake: Lake, config: Config, samples: Path | None) -> Inputs:
    if samples:
        return _of_folder(samples, config.images.max_pixels)
    if not lake.store.exists():
        raise InputError(f"{lake.root} has no store with products for the gate; name a folder with --samples")
    with Store.open(lake.store, read_only=True) as store:
        return of_store(store, config)


def of_store(store: Store, config: Config) -> Inputs:
    """Products of the store with picture and title: `export.samples` of them, always the same."""
    records = [record for record in sample_of(store, config.export.samples) if record.title]
    sources = ((r.product_id, store.picture(r.image_hash)) for r in records)
    pictures = dict(_decoded(((name, data) for name, data in sources if data), config.images.max_pixels))
    return Inputs(tuple(pictures), tuple(pictures.values()), tuple(r.title for r in records))


def _of_folder(folder: Path, max_pixels: int) -> Inputs:
    """Every picture of a folder and every line of its titles.txt."""
    if not (folder / TITLES).is_file():
        raise InputError(f"{folder} has no {TITLES}: write one title a line, beside the pictures")
    lines = (normalise_title(line) for line in (folder / TITLES).read_text(encoding="utf-8").splitlines())
    files = (path for path in sorted(folder.iterdir()) if path.is_file() and path.name != TITLES)
    pictures = dict(_decoded(((path.name, path.read_bytes()) for path in files), max_pixels))
    return Inputs(tuple(pictures), tuple(pictures.values()), tuple(line for line in lines if line))


def _decoded(sources: Iterator[tuple[str, bytes]], max_pixels: int) -> Iterator[tuple[str, Image.Image]]:
    """Decoded pictures; large ones are reduced, as all are held in memory."""
    for name, data in sources:
        try:
            picture = decode(data, max_pixels, draft_size=_LARGEST)
        except BadImage as bad:
            log.info("%s is not used by the gate: %s", name, bad.reason)
            continue
        picture.thumbnail((_LARGEST, _LARGEST))
        yield name, picture
