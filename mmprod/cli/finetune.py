"""`mmprod finetune`: fine-tunes a pretrained encoder on a catalogue."""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from mmprod.cli.options import WaitOption, with_section, with_session
from mmprod.cli.remote import submit
from mmprod.cli.session import Session
from mmprod.encoders.training.options import Options, Task


@with_session()
@with_section(Options, "Training")
def finetune(
    session: Session,
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
            help="Encoder to start from: lake:…, local-dir:…, an open_clip name; default: encoder.model.",
        ),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Product store to train on; default: the lake's.")
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Published as lake:NAME; default: the name of the task.")
    ] = None,
    category: Annotated[
        list[str] | None,
        typer.Option(
            "--category", help="Train on this category and those below; repeatable (pairs.categories)."
        ),
    ] = None,
    wait: WaitOption = False,
    *,
    given: dict[str, Any],
) -> None:
    """Fine-tune an encoder on your catalogue and publish the best model as an encoder of the lake.

    The same command continues from the last checkpoint after a crash, and does nothing once it has finished.
    On several GPUs: torchrun --nproc-per-node 8 --no-python mmprod finetune … With engine = "ray" it submits
    a job to the Ray cluster and follows it.

    Example: mmprod finetune --task retrieval --base lake:tiny --epochs 3 --lr 1e-4
    """
    overrides = {f"finetune.{key}": value for key, value in given.items()}
    overrides |= {"encoder.model": base, "pairs.categories": category or None}
    session.override(overrides)
    if session.config.engine == "ray":
        said = {"task": task, "base": base, "store": store and store.resolve(), "name": name}
        words = _words({**said, "category": category, "wait": wait, **given})
        submit(session, f"finetune-{name or task}", words, " ".join(words))
        return
    from mmprod.encoders.training.distributed import processes
    from mmprod.stages.training.finetune import finetune_encoder

    first = int(os.environ.get("RANK", "0")) == 0  # the first of torchrun's processes
    with contextlib.ExitStack() as stack:
        if first:
            stack.enter_context(session.lake.fine_tuning(name or task, wait))
        progress = stack.enter_context(session.progress())
        stack.enter_context(processes(session.config.encoder.device))
        products = store or session.lake.store
        outcome = finetune_encoder(session.lake, session.config, products, task, name or task, progress)
    if first:
        session.outcomes([outcome])


def _words(options: dict[str, Any]) -> list[str]:
    """The command line with these options; those that are None or False are left out."""
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
