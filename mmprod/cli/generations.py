"""Commands shared by everything that is published in generations: list, show, verify and prune."""

import inspect
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmprod.cli.options import ProfileOption, WaitOption, bound, with_session
from mmprod.cli.session import Session

if TYPE_CHECKING:
    from mmprod.stages.generations import Listed


def add(app: typer.Typer, noun: str, profiled: bool = False) -> None:
    """Add the commands to `app` for one kind of generations (`mmprod.stages.generations.KINDS`).

    With `profiled` there are generations of each profile, and the commands take ``--profile``.
    """
    given = {"noun": noun} if profiled else {"noun": noun, "profile": None}
    for name, command in (("list", list_), ("show", show), ("verify", verify), ("prune", prune)):
        text = inspect.cleandoc(command.__doc__ or "").format(noun=noun)
        app.command(name, help=text)(with_session()(bound(command, given)))


def list_(session: Session, noun: str, profile: ProfileOption = None) -> None:
    """List the generations: when made, how large, of which encoder, in use or refused by the gate.

    Example: mmprod {noun} list
    """
    from mmprod.stages.generations import KINDS, listed

    show_listed(session, noun, listed(session.lake, KINDS[noun], profile))


def show_listed(session: Session, title: str, found: Sequence["Listed"]) -> None:
    """Print one row per generation, with the profile or name it belongs to where there are several."""
    rows = [
        (*one.of.values(), one.generation, _moment(one.made), one.rows, one.encoder[:12], one.standing)
        for one in found
    ]
    headings = (*(found[0].of if found else ()), "generation", "made", "rows", "encoder", "")
    session.table(title, headings, rows, {"generations": [one.to_dict() for one in found]})


def _moment(made: datetime | None) -> str | None:
    return f"{made:%Y-%m-%d %H:%M}" if made else None


def show(
    session: Session,
    noun: str,
    generation: Annotated[
        str | None, typer.Argument(help="Default: the one in use, else the latest.")
    ] = None,
    profile: ProfileOption = None,
) -> None:
    """Show a generation: its inputs, options, counts and the results of its gate.

    Examples: mmprod {noun} show

    mmprod {noun} show g000001
    """
    from mmprod.stages.generations import KINDS, described

    found = described(session.lake, KINDS[noun], generation, profile)
    session.show({"generations": found})
    for one in () if session.json else found:
        _show(session, one)


def _show(session: Session, told: dict[str, Any]) -> None:
    facts = [(key, str(value)) for key, value in told.items() if not isinstance(value, dict)]
    for section in ("inputs", "config", "counts"):
        facts += [(f"{section}.{key}", str(value)) for key, value in told[section].items() if key != "gate"]
    session.table("", ("", ""), facts, None)
    if gate := told["counts"].get("gate"):
        rows = [
            (check["name"], check["value"], check["limit"], "" if check["ok"] else "refused")
            for check in gate["checks"]
        ]
        session.table("gate", ("check", "value", "limit", ""), rows, None)


def verify(session: Session, noun: str, profile: ProfileOption = None) -> None:
    """Compare every file of every generation with its checksum; exit code 1 if one differs.

    Example: mmprod {noun} verify
    """
    from mmprod.stages.generations import KINDS, damage

    with session.progress() as progress:
        problems = damage(session.lake, KINDS[noun], profile, progress)
    session.problems(problems, "everything is as it was published")


def prune(
    session: Session,
    noun: str,
    keep: Annotated[
        int | None, typer.Option("--keep", min=1, help="Generations to keep; default: keep_generations.")
    ] = None,
    profile: ProfileOption = None,
    wait: WaitOption = False,
) -> None:
    """Remove old generations, but never the one in use or one that is being read.

    Example: mmprod {noun} prune --keep 2
    """
    from mmprod.stages.generations import KINDS, prune_generations

    with session.lake.writing(wait):
        removed = prune_generations(
            session.lake, KINDS[noun], keep or session.config.keep_generations, profile
        )
    session.removed(removed)
