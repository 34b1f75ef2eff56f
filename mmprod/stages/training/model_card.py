"""Model cards in Markdown: what a published model is, its training data and its accuracy."""

from collections import Counter
from datetime import UTC, datetime

from mmprod.datasets.pairs.pairs import HELD_OUT, TRAIN
from mmprod.encoders.clip import Encoder
from mmprod.encoders.training.options import Options, Task
from mmprod.encoders.training.trainer import Best
from mmprod.sections import Config
from mmprod.stages.training.pairs import Selected

_TASKS = {
    "retrieval": "finding pictures by text",
    "same-item": "recalling other listings of the same item",
    "caption": "writing captions of pictures",
}


def model_card(
    name: str,
    task: Task,
    config: Config,
    base: Encoder,
    selected: Selected,
    before: dict[str, float],
    best: Best,
) -> str:
    """The card of encoder `name`; `before` are the base's scores, `best` its own."""
    parts = [
        f"# {name}",
        f"Fine-tuned for {_TASKS[task]} on {datetime.now(UTC):%Y-%m-%d} from `{config.encoder.model}` "
        f"({base.fingerprint[:12]}…); the best of the run, after step {best.step}.",
        "## Data",
        _data(selected),
        "## Accuracy on held-out pairs",
        _table(("measure", "base", "this model"), [(k, before.get(k), v) for k, v in best.scalars.items()]),
        "Held-out pairs share no item, picture or title with those trained on.",
        "## Options",
        _table(("option", "value"), _changed(config.finetune)) + "\n\nAll others as by default.",
        "## Limits",
        "Judged on this catalogue only. Similarities of other encoders can't be compared with this one's; "
        "thresholds have to be set anew.",
    ]
    return "\n\n".join(parts) + "\n"


def _data(selected: Selected) -> str:
    rows: list[tuple[object, ...]] = [("products considered", selected.considered)]
    rows += [(f"left out: {reason}", count) for reason, count in selected.reasons.items()]
    rows += [("trained on", selected.splits[TRAIN]), ("held out", selected.splits[HELD_OUT])]
    tops = Counter(path.split(" > ")[0] or "(none)" for path in selected.pairs["category"].to_pylist())
    categories = ", ".join(f"{name} {count:,}" for name, count in tops.most_common(12))
    return _table(("pairs of picture and title", "number"), rows) + f"\n\nBy category: {categories}."


def _changed(options: Options) -> list[tuple[object, ...]]:
    fields = Options.model_fields
    return [(name, value) for name, value in options if value != fields[name].default]


def _table(headings: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [headings, ("---",) * len(headings), *rows]
    return "\n".join("| " + " | ".join(_cell(cell) for cell in line) + " |" for line in lines)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return (
        "–"
        if value is None
        else f"{value:,}"
        if isinstance(value, int) and not isinstance(value, bool)
        else str(value)
    )
