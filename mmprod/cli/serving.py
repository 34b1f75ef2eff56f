"""`mmprod release` and `mmprod triton`: what the online service serves, and the local server."""

from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption

triton = typer.Typer(no_args_is_help=True, help="The online service on this machine.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(release)
    app.add_typer(triton, name="triton")


def release(
    export: Annotated[
        bool, typer.Option("--export", help="First export the encoder, where its engine is missing.")
    ] = False,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Put engine, indexes and score thresholds together for the online service, try them, switch to them.

    Example: mmprod release --export
    """
    session = Session(config, lake, json)
    from mmprod.stages.online.release import export_served, make_release

    with session.lake.writing(wait):
        outcomes = [export_served(session.lake, session.config)] if export else []
        outcomes.append(make_release(session.lake, session.config))
    session.outcomes(outcomes)


@triton.command()
def start(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Start the service on the current release; it has to answer as this release should before it counts.

    Example: mmprod triton start
    """
    session = Session(config, lake, json)
    from mmprod.stages.online import server
    from mmprod.stages.online.release import current_release

    release = current_release(session.lake)
    started = server.start(session.lake, session.config, release)
    told = server.status(session.lake)
    models = ", ".join(told["checked"])
    text = f"http://{started.address} serves {told['release']}; {models} answer as they should"
    session.show({"address": started.address, "pid": started.pid, **told}, text)


@triton.command()
def run(config: ConfigOption = None, lake: LakeOption = None) -> None:
    """The same in the foreground, for systemd and containers; SIGTERM ends it after the requests in flight.

    Example: mmprod triton run
    """
    session = Session(config, lake, json=False)
    from mmprod.stages.online import server
    from mmprod.stages.online.release import current_release

    server.run(session.lake, session.config, current_release(session.lake))


@triton.command()
def reload(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Go over to the current release: loaded beside the old one, tried, then switched, without a gap.

    Example: mmprod triton reload
    """
    session = Session(config, lake, json)
    from mmprod.stages.online import server
    from mmprod.stages.online.release import current_release

    told = server.reload(session.lake, session.config, current_release(session.lake))
    text = f"serves {told['release']}; {', '.join(told['checked'])} answer as they should"
    session.show(told, text)


@triton.command()
def stop(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """End the service that was started on this lake, after the requests in flight.

    Example: mmprod triton stop
    """
    session = Session(config, lake, json)
    from mmprod.stages.online import server

    ended = server.stop(session.lake)
    session.show({"stopped": ended and ended.pid}, f"stopped process {ended.pid}" if ended else "none runs")


@triton.command()
def status(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Whether the service runs, what it serves, and whether each model answers as its release should.

    Example: mmprod triton status
    """
    session = Session(config, lake, json)
    from mmprod.serving.canaries import read_canaries
    from mmprod.serving.probe import probe
    from mmprod.stages.online import server

    running = server.read_server(session.lake)
    if running is None:
        session.show({"running": False}, "none runs")
        return
    told = server.status(session.lake)
    checked = probe(running.address, read_canaries(session.lake.releases / told["release"]))
    text = f"process {running.pid}, http://{running.address}, serves {told['release']}"
    content = {"running": True, "address": running.address, "pid": running.pid, **told, "checked": checked}
    session.show(content, f"{text}; as they should answer {', '.join(checked)}")


@triton.command()
def render(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Write each model's config.pbtxt, and its form for GPUs, from the configuration.

    Example: mmprod triton render
    """
    session = Session(config, lake, json)
    from mmprod.stages.online.model_repository import render_repository

    paths = [str(path) for path in render_repository(session.config)]
    session.show({"files": paths}, "\n".join(paths))
