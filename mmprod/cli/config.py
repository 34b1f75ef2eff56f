"""`mmprod config`: the effective configuration, and the shipped recipes for fine-tuning."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.copies import OverwriteOption, hand_out
from mmprod.cli.options import with_session
from mmprod.cli.session import Session
from mmprod.shipped import tree

app = typer.Typer(name="config", no_args_is_help=True, help="The configuration.")


@app.command()
@with_session()
def show(session: Session) -> None:
    """Show the effective configuration and where each value came from.

    Example: mmprod config show
    """
    rows = list(session.loaded.rows())
    content = {key: {"value": value, "origin": origin} for key, value, origin in rows}
    session.table("configuration", ("key", "value", "from"), [(k, str(v), o) for k, v, o in rows], content)


@app.command()
@with_session(config=False, lake=False)
def recipes(
    session: Session,
    copy: Annotated[Path | None, typer.Option("--copy", help="Copy them to this folder.")] = None,
    overwrite: OverwriteOption = False,
) -> None:
    """List the configuration files for fine-tuning real bases, for use with --config; or copy them.

    Examples: mmprod config recipes

    mmprod config recipes --copy configs
    """
    if copy:
        hand_out(session, tree("configs"), copy, overwrite)
        return
    found = {str(path): _about(path) for path in tree("configs").values()}
    session.show({"recipes": found}, "\n".join(f"{path}\n    {about}" for path, about in found.items()))


def _about(path: Path) -> str:
    """The first line of a recipe: a comment that describes it."""
    return path.read_text("utf-8").partition("\n")[0].removeprefix("# ")
