"""The command that adapts a pretrained base to a catalogue."""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mmprod.cli.options import with_section
from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption
from mmprod.encoders.training.options import Options, Task


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(with_section(finetune, Options, "Training"))
    app.command()(training)


def finetune(
    task: Annotated[
        Task,
        typer.Option(
            "--task", help="retrieval: text → picture; same-item: listings of one item; caption: writing."
        ),
    ] = "retrieval",
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            help="Encoder to begin with: lake:…, local-dir:…, an open_clip name …; else the configured.",
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Product store to learn from; else the lake's own.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Published as lake:NAME; else the name of the task.")
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option("--category", help="Learn from this category and below; repeatable (pairs.categories)."),
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Adapt a base to your catalogue and publish the best model as an encoder of the lake.

    Run again after a crash it continues from the last checkpoint; when all is done it does nothing. On
    several GPUs: torchrun --nproc-per-node 8 --no-python mmprod finetune … With engine = "ray" it is a job
    on the Ray cluster, followed from here.

    Example: mmprod finetune --task retrieval --base lake:tiny --epochs 3 --lr 1e-4
    """
    overrides = {f"finetune.{key}": value for key, value in given.items()}
    overrides |= {"encoder.model": base, "pairs.categories": category or None}
    session = Session(config, lake, json, overrides)
    if session.config.engine == "ray":
        from mmprod.cli.remote import submit

        said = {"task": task, "base": base, "store": store and store.resolve(), "name": name}
        words = _words({**said, "category": category, "wait": wait, **given})
        submit(session, config, f"finetune-{name or task}", words, " ".join(words))
        return
    from mmprod.encoders.training.distributed import processes
    from mmprod.stages.training.finetune import finetune_encoder

    first = int(os.environ.get("RANK", "0")) == 0  # of the processes that torchrun started
    with contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(session.lake.fine_tuning(name or task, wait))
        watch = stack.enter_context(session.watching())
        stack.enter_context(processes(session.config.encoder.device))
        products = store or session.lake.store
        outcome = finetune_encoder(session.lake, session.config, products, task, name or task, watch)
    if first:
        session.outcomes([outcome])


def _words(options: dict[str, Any]) -> list[str]:
    """The command line of these options; what is None or False is left out."""
    words = ["finetune"]
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif isinstance(value, list):
            words += [f"{option}={item}" for item in value]
        elif value is not None and value is not False:
            words.append(f"{option}={value}")
    return words


def training(
    name: Annotated[str, typer.Argument(help="The encoder, as published: lake:NAME without lake:.")],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("training.html"),
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Show a fine-tuning on one page: curves, accuracy before and after, what it finds.

    Example: mmprod training shop --out shop.html
    """
    session = Session(config, lake, json)
    from mmprod.report.page import save
    from mmprod.report.training import training_page

    save(training_page(session.lake, session.config, name), out)
    session.show({"page": str(out)}, f"wrote {out}")
