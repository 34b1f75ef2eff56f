"""`mmprod training`: an HTML page about a fine-tuning run."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session


@with_session()
def training(
    session: Session,
    name: Annotated[str, typer.Argument(help="The published encoder: lake:NAME without lake:.")],
    out: Annotated[Path, typer.Option("--out", help="The HTML file to write.")] = Path("training.html"),
) -> None:
    """Write an HTML page about a fine-tuning run: curves, accuracy before and after, example results.

    Example: mmprod training shop --out shop.html
    """
    from mmprod.report.page import save
    from mmprod.report.training import training_page

    save(training_page(session.lake, session.config, name), out)
    session.show({"page": str(out)}, f"wrote {out}")
