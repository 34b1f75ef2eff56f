"""Options shared by several commands, and decorators that add them."""

import datetime
import inspect
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from mmprod.cli.session import Session

Command = Callable[..., None]

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="Configuration file; default: mmprod.toml, if it exists."),
]
LakeOption = Annotated[Path | None, typer.Option("--lake", help="The folder that holds all state.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for machines: one object on stdout.")]
WaitOption = Annotated[bool, typer.Option("--wait", help="Wait while another run writes to the lake.")]
DayOption = Annotated[
    datetime.datetime, typer.Option("--day", formats=["%Y-%m-%d"], help="The day of the table.")
]
TableOption = Annotated[
    Path, typer.Option("--table", help="Product table: a file, a folder, or an address (see docs/feeds.md).")
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Only this profile; default: all.")]
EarlierArgument = Annotated[
    str | None, typer.Argument(help="The generation to switch to; default: the one before.")
]
FromOption = Annotated[
    str | None, typer.Option("--from", help="Do nothing unless this generation is in use.")
]


def with_session(
    *, config: bool = True, lake: bool = True, json: bool = True
) -> Callable[[Command], Command]:
    """Adds ``--config``, ``--lake`` and ``--json`` to a command and passes it the resulting `session`."""
    offered = (
        ("config", ConfigOption, None, config),
        ("lake", LakeOption, None, lake),
        ("json", JsonOption, False, json),
    )
    added = [_parameter(name, kind, default) for name, kind, default, wanted in offered if wanted]

    def wrap(command: Command) -> Command:
        def run(**values: Any) -> None:
            given = (values.pop(name, default) for name, _, default, _ in offered)
            command(session=Session(*given), **values)

        return _offering(run, command, {"session"}, added)

    return wrap


def with_section(section: type[BaseModel], panel: str) -> Callable[[Command], Command]:
    """Adds an option to a command for each field of `section`.

    The command receives the options that were given as a dict, `given`. Field ``batch_size`` becomes
    ``--batch-size``; its description and default become the help, so options and section always agree.
    """
    added = [_parameter(name, _option(name, field, panel)) for name, field in section.model_fields.items()]

    def wrap(command: Command) -> Command:
        def run(**values: Any) -> None:
            given = {name: values.pop(name) for name in section.model_fields}
            command(**values, given={name: value for name, value in given.items() if value is not None})

        return _offering(run, command, {"given"}, added)

    return wrap


def bound(command: Command, values: Mapping[str, Any]) -> Command:
    """`command` with these parameters fixed; they are no longer options."""

    def run(**others: Any) -> None:
        command(**values, **others)

    return _offering(run, command, values, ())


def _offering(
    run: Command, command: Command, hidden: Iterable[str], added: Iterable[inspect.Parameter]
) -> Command:
    """`run` with the name, help and options of `command`, without `hidden` and with `added`."""
    own = (p for name, p in inspect.signature(command).parameters.items() if name not in set(hidden))
    parameters = [*(p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own), *added]
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _parameter(name: str, kind: Any, default: Any = None) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)


def _option(name: str, field: Any, panel: str) -> Any:
    default = f" [dim]{field.default}[/]" if field.default is not None else ""
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description}{default}",
        rich_help_panel=panel,
        show_default=False,
    )
    return Annotated[field.annotation | None, option]
