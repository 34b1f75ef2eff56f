"""Commands about the lake as a whole: what is in it, is it whole, go back, tidy up; and the configuration."""

from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, FromOption, JsonOption, LakeOption, Session, WaitOption

config_app = typer.Typer(no_args_is_help=True, help="The configuration.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    for command in (status, verify, rollback, prune):
        app.command()(command)
    app.add_typer(config_app, name="config")


@config_app.command("show")
def show(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """The effective configuration and where each value came from.

    Example: mmprod config show
    """
    session = Session(config, lake, json)
    rows = list(session.loaded.rows())
    content = {key: {"value": value, "origin": origin} for key, value, origin in rows}
    session.table("configuration", ("key", "value", "from"), [(k, str(v), o) for k, v, o in rows], content)


def status(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """What is current: generations, counts, fingerprints, age.

    Example: mmprod status
    """
    session = Session(config, lake, json)
    from mmprod.stages.status import lake_status

    rows = lake_status(session.lake, session.config)
    headings = ("what", "current", "rows", "encoder", "made", "note")
    session.table(f"lake {session.lake.root}", headings, [tuple(r.values()) for r in rows], {"status": rows})


def verify(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Compare every published file with its checksum, and every stored value with its own.

    Example: mmprod verify
    """
    session = Session(config, lake, json)
    from mmprod.stages.status import verify_lake

    with session.watching() as watch:
        problems = verify_lake(session.lake, session.config, watch)
    session.show({"problems": problems}, "\n".join(problems) or "everything is as it was published")
    if problems:
        raise typer.Exit(1)


def rollback(
    profile: Annotated[str, typer.Argument(help='The profile whose index goes back, or "release".')],
    generation: Annotated[str | None, typer.Argument(help="Where to; the one before by default.")] = None,
    only_from: FromOption = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Let an earlier index generation serve again, or an earlier release; it is verified before the switch.

    A running online service goes over to it with `mmprod triton reload`. Of two who go back at once, the
    second is refused.

    Examples: mmprod rollback same_item

    mmprod rollback same_item --from g000003

    mmprod rollback release
    """
    session = Session(config, lake, json)
    root, text = (
        session.lake.releases,
        "the release is {}; `mmprod triton reload` lets a running service serve it",
    )
    if profile != "release":
        session.config.profile(profile)
        root, text = session.lake.index(profile), profile + " is served by {}"
    now = session.lake.go_back(root, generation, only_from, wait)
    session.show({"profile": profile, "generation": now}, text.format(now))


def prune(
    keep: Annotated[int | None, typer.Option("--keep", min=1, help="Generations to keep.")] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Remove old index and recall generations that nobody reads, and tidy the embedding table.

    Example: mmprod prune --keep 2
    """
    session = Session(config, lake, json)
    from mmprod.stages.status import prune_lake

    with session.lake.writing(wait):
        removed = prune_lake(session.lake, keep or session.config.keep_generations)
    session.show(
        {"removed": removed}, "\n".join(f"removed {name}" for name in removed) or "nothing to remove"
    )
