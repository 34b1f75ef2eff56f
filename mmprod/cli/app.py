"""The `mmprod` command line: which commands there are, and how errors end."""

import errno
import json
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from mmprod.cli import (
    answers,
    bases,
    caption,
    demonstration,
    doctor,
    encoders,
    evaluation,
    export,
    finetune,
    lakes,
    pairs,
    pipeline,
    products,
    reviews,
    serving,
    stores,
    tables,
)
from mmprod.storage.errors import GateError, InputError, StateError

DONE, FAILED, MISUSED = 0, 1, 2
_OF_THE_DISK = (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT)
_OF_THE_PROCESS = {  # what it may not have more of, and what to do
    errno.EMFILE: "let it open more files (`ulimit -n`)",
    errno.ENFILE: "let this machine open more files (fs.file-max)",
    errno.ENOMEM: "give it more memory, or smaller batches",
}


class Commands(TyperGroup):
    """Turns the errors a user can meet into a message and an exit code; others keep their traceback."""

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


def _number(error: OSError) -> int:
    """Its errno; some of Lance's errors have it in their text only."""
    told = (number for number in (*_OF_THE_DISK, *_OF_THE_PROCESS) if os.strerror(number) in str(error))
    return error.errno or next(told, 0)


def _short_of(number: int) -> str:
    return f"{os.strerror(number)}: {_OF_THE_PROCESS[number]} and run again; what was published is untouched"


def _end(message: str, code: int, retry: bool = True) -> NoReturn:
    """Say what was wrong, and to machines whether the same command could do better another time."""
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
_DAILY = (pipeline, products, answers, reviews, evaluation)
_SELDOM = (pairs, finetune, encoders, caption, lakes, demonstration, bases, export, serving, doctor)
for module in (*_DAILY, *_SELDOM):
    module.register(app)
app.add_typer(stores.app, name="store")
app.add_typer(tables.app, name="table")


def main() -> None:
    """Entry point of the `mmprod` command."""
    app()
