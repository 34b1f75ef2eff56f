"""The page about a fine-tuning run: its curves, its accuracy, and results on held-out pictures."""

from pathlib import Path

import numpy as np

from mmprod.datasets.images.images import thumbnail
from mmprod.datasets.lazy import lazy
from mmprod.encoders.clip import Encoder, load
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.report.page import Card, Page, Part, Plot, Strip, Table
from mmprod.report.plot import Curve, curves
from mmprod.sections import Config
from mmprod.stages.training.finetune import read_held_out, run_folder
from mmprod.stages.training.held_out import HeldOut, spread
from mmprod.stages.training.samples import answers
from mmprod.storage import artifacts

event_accumulator = lazy("tensorboard.backend.event_processing.event_accumulator")  # optional
_ASKED, _SIDE = 10, 128
_SMOOTH = 200  # points of a curve; more are averaged


def training_page(lake: Lake, config: Config, name: str) -> Page:
    """The page about the run that published the current generation of ``lake:name``.

    Raises: InputError if there is no such encoder; StateError if its run's folder was removed.
    """
    encoder = load(lake.encoder_name(LAKE_ENCODER + name), device=config.encoder.device)
    with artifacts.opened(lake.encoder(name)) as generation:
        manifest = generation.manifest
    run, counts = run_folder(lake, name, manifest.inputs, manifest.config), manifest.counts
    held_out = read_held_out(run, int(manifest.config.get("eval_pairs", 0)))
    before, after = counts["before"], counts["measures"]
    rows = [(measure, before.get(measure), value) for measure, value in after.items()]
    legend = "loss of each step; measures on held-out pairs, step 0 is the base"
    parts = [
        Part("Learning", plots=[Plot(_curves(run / "board", after), legend)]),
        Part("Held-out pairs", tables=[Table(("measure", "base", "this model"), rows)]),
    ]
    if encoder.width:
        parts.append(Part("Titles and what they find", _EXPLAINED, strips=_retrievals(held_out, encoder)))
    if manifest.inputs["task"] == "caption":
        parts.append(Part("Captions", strips=[Strip("", _captions(held_out, encoder))]))
    sizes = [(label, f"{counts[key]:,}") for label, key in (("pairs", "pairs"), ("held out", "held_out"))]
    return Page(f"Fine-tuning: {name}", parts, [("task", manifest.inputs["task"]), *sizes])


_EXPLAINED = "Marked as right: the title's own picture, and those of the same item, picture or title."


def _curves(board: Path, measures: dict[str, float]) -> str:
    events = event_accumulator.EventAccumulator(str(board), size_guidance={"scalars": 0}).Reload()
    scalars = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    rates = ("lr", "scale", "pairs_per_second", *measures)
    losses = {tag: _averaged(points) for tag, points in scalars.items() if tag not in rates}
    if len(losses) == 2:  # the only loss and their sum
        losses.pop("loss")
    judged = {tag: scalars[tag] for tag in measures if tag in scalars and not tag.startswith("mAP ")}
    return curves({"loss": losses, "held out": judged}, "step")


def _averaged(points: Curve) -> Curve:
    """At most `_SMOOTH` points, each the mean of its neighbours."""
    parts = np.array_split(np.array(points), min(_SMOOTH, len(points)))
    return [(float(x), float(y)) for x, y in (part.mean(axis=0) for part in parts)]


def _retrievals(held_out: HeldOut, encoder: Encoder) -> list[Strip]:
    return [
        Strip(
            held_out.titles[answer.asked],
            [
                _card(held_out, row, "right" if right else "")
                for row, right in zip(answer.found, answer.right, strict=True)
            ],
        )
        for answer in answers(held_out, encoder, _ASKED)
    ]


def _captions(held_out: HeldOut, encoder: Encoder) -> list[Card]:
    rows = spread(len(held_out), 2 * _ASKED)
    written = held_out.captions(encoder, rows)
    return [_card(held_out, row, note=text) for row, text in zip(rows, written, strict=True)]


def _card(held_out: HeldOut, row: int, mark: str = "", note: str = "") -> Card:
    return Card("", held_out.titles[row], thumbnail(held_out.pictures[row], _SIDE), note, mark)
