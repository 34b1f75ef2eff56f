"""Command line options made from a section of the configuration, so that both always agree."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer
from pydantic import BaseModel


def with_section(command: Callable[..., None], section: type[BaseModel], panel: str) -> Callable[..., None]:
    """`command` with an option for each field of `section`; what was given reaches it as the dict `given`.

    Field ``batch_size`` becomes ``--batch-size``; its description and default become the help.
    """
    own = dict(inspect.signature(command).parameters)
    own.pop("given")
    keyword = inspect.Parameter.KEYWORD_ONLY
    added = [
        inspect.Parameter(name, keyword, default=None, annotation=_option(name, field, panel))
        for name, field in section.model_fields.items()
    ]

    def run(**values: Any) -> None:
        given = {name: values.pop(name) for name in section.model_fields}
        command(**values, given={name: value for name, value in given.items() if value is not None})

    parameters = [p.replace(kind=keyword) for p in own.values()] + added
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in parameters}
    run.__name__, run.__doc__ = command.__name__, command.__doc__
    return run


def _option(name: str, field: Any, panel: str) -> Any:
    default = f" [dim]{field.default}[/]" if field.default is not None else ""
    kind = field.annotation
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=f"{field.description}{default}",
        rich_help_panel=panel,
        show_default=False,
    )
    return Annotated[kind | None, option]
