"""The `mmprod` command line: which commands there are, and how errors end."""

import errno
import json
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup

from mmprod.cli import (
    answers,
    bases,
    caption,
    demonstration,
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
)
from mmprod.datasets.errors import InputError, StateError

DONE, FAILED, MISUSED = 0, 1, 2


class Commands(TyperGroup):
    """Turns the errors a user can meet into a message and an exit code; others keep their traceback."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except InputError as error:
            _end(str(error), MISUSED)
        except StateError as error:
            _end(str(error), FAILED)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EIO, errno.EACCES, errno.EROFS, errno.EDQUOT):
                raise
            hint = "; free some space and run again" if error.errno == errno.ENOSPC else ""
            _end(
                f"{error.strerror}: {error.filename or 'the lake'}{hint} (what was published is untouched)",
                FAILED,
            )


def _end(message: str, code: int) -> NoReturn:
    if "--json" in sys.argv:
        print(json.dumps({"error": message, "exit_code": code}, ensure_ascii=False))  # noqa: T201
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
_SELDOM = (pairs, finetune, encoders, caption, lakes, demonstration, bases, export, serving)
for module in (*_DAILY, *_SELDOM):
    module.register(app)
app.add_typer(stores.app, name="store")


def main() -> None:
    """Entry point of the `mmprod` command."""
    app()
