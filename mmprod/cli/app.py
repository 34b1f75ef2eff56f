"""The `mmprod` command line: the list of commands, and how errors become messages and exit codes."""

import errno
import json
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from mmprod.cli import (
    airflow,
    bench,
    caption,
    config,
    daily,
    demo,
    deploy,
    doctor,
    embeddings,
    encoder,
    evaluate,
    export,
    features,
    finetune,
    groups,
    index,
    lake,
    make_base,
    pairs,
    recall,
    release,
    report,
    review,
    review_figures,
    sample_catalog,
    search,
    searches,
    similarity,
    store,
    table,
    train,
    training,
    triton,
)
from mmprod.cli.moved import refuse
from mmprod.cli.options import Command
from mmprod.storage.errors import GateError, InputError, StateError

DONE, FAILED, MISUSED = 0, 1, 2
_OF_THE_DISK = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
_OF_THE_PROCESS = {  # limits of the process, each with its cure
    errno.EMFILE: "let it open more files (`ulimit -n`)",
    errno.ENFILE: "let this machine open more files (fs.file-max)",
    errno.ENOMEM: "give it more memory, or smaller batches",
}


class Commands(TyperGroup):
    """Turns expected errors into a message and an exit code; other errors keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            _end(str(error), MISUSED, retry=False)
        except StateError as error:
            _end(str(error), FAILED, retry=not isinstance(error, GateError))
        except MemoryError:
            _end(_short_of(errno.ENOMEM), FAILED)
        except OSError as error:
            if (number := _number(error)) in _OF_THE_PROCESS:
                _end(_short_of(number), FAILED)
            if number not in _OF_THE_DISK:
                raise
            hint = "; free some space and run again" if number == errno.ENOSPC else ""
            where = error.filename or "the lake"
            _end(f"{os.strerror(number)}: {where}{hint} (what was published is untouched)", FAILED)

    def list_commands(self, ctx: Any) -> list[str]:
        """The commands in the order of `_COMMANDS`; by default, groups of commands would come last."""
        panels, commands = list(_COMMANDS), dict[str, Any](self.commands)
        return sorted(commands, key=lambda name: panels.index(commands[name].rich_help_panel))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] not in self.commands:
            refuse(args)
        return super().resolve_command(ctx, args)


def _number(error: OSError) -> int:
    """The errno of an error; some of Lance's errors have it only in their text."""
    told = (number for number in (*_OF_THE_DISK, *_OF_THE_PROCESS) if os.strerror(number) in str(error))
    return error.errno or next(told, 0)


def _short_of(number: int) -> str:
    return f"{os.strerror(number)}: {_OF_THE_PROCESS[number]} and run again; what was published is untouched"


def _end(message: str, code: int, retry: bool = True) -> NoReturn:
    """Print the error and exit; with --json also whether a retry of the same command can succeed."""
    if "--json" in sys.argv:
        told = {"error": message, "exit_code": code, "retry": retry}
        print(json.dumps(told, ensure_ascii=False))  # noqa: T201
    else:
        typer.secho(f"error: {message}", fg="red", err=True)
    raise typer.Exit(code)


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_show_locals=False,
    help="From a product catalogue to multimodal embeddings, neighbours, search and measured accuracy.",
    epilog="Start with [bold]mmprod demo[/], or [bold]mmprod run --day 2024-05-01 --table products.csv[/].",
)
_COMMANDS: dict[str, tuple[typer.Typer | Command, ...]] = {
    "Daily runs, and the lake as a whole": (
        *(daily.run, daily.ingest, daily.embed),
        *(lake.status, lake.verify, lake.prune),
    ),
    "Artifacts, kept in generations": (
        *(index.app, recall.app, groups.app),
        *(features.app, release.app, encoder.app, embeddings.app),
    ),
    "Queries": (search.search, similarity.similarity, report.report, searches.app),
    "Accuracy": (review.app, evaluate.app),
    "Models": (
        *(pairs.pairs, train.train, finetune.finetune, training.training, caption.caption),
        *(export.export, make_base.make_base),
    ),
    "Tools": (
        *(demo.demo, sample_catalog.sample_catalog, doctor.doctor, bench.app, deploy.deploy),
        *(config.app, table.app, store.app, triton.app, airflow.app),
    ),
}
for command in (review_figures.compare, review_figures.weights):
    review.app.command()(command)
for panel, entries in _COMMANDS.items():
    for entry in entries:
        if isinstance(entry, typer.Typer):
            app.add_typer(entry, rich_help_panel=panel)
        else:
            app.command(rich_help_panel=panel)(entry)


def main() -> None:
    """Entry point of the `mmprod` command."""
    app()
