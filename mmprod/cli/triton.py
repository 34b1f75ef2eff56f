"""`mmprod triton`: the online service on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session

app = typer.Typer(name="triton", no_args_is_help=True, help="The online service on this machine.")


@app.command()
@with_session()
def start(session: Session) -> None:
    """Start the service with the current release; returns once its answers to the canaries are correct.

    Example: mmprod triton start
    """
    from mmprod.stages.online import server
    from mmprod.stages.online.release import current_release

    release = current_release(session.lake)
    started = server.start(session.lake, session.config, release)
    told = server.status(session.lake)
    models = ", ".join(told["checked"])
    text = f"http://{started.address} serves {told['release']}; {models} answer as they should"
    session.show({"address": started.address, "pid": started.pid, **told}, text)


@app.command()
@with_session(json=False)
def run(session: Session) -> None:
    """Run the service in the foreground, for systemd and containers; SIGTERM lets requests in flight finish.

    Example: mmprod triton run
    """
    from mmprod.stages.online import server
    from mmprod.stages.online.release import current_release

    server.run(session.lake, session.config, current_release(session.lake))


@app.command()
@with_session()
def reload(session: Session) -> None:
    """Switch to the current release without interruption: it is loaded beside the old one and tested first.

    Example: mmprod triton reload
    """
    from mmprod.stages.online import server
    from mmprod.stages.online.release import current_release

    told = server.reload(session.lake, session.config, current_release(session.lake))
    text = f"serves {told['release']}; {', '.join(told['checked'])} answer as they should"
    session.show(told, text)


@app.command()
@with_session()
def stop(session: Session) -> None:
    """Stop the service that was started on this lake; requests in flight finish first.

    Example: mmprod triton stop
    """
    from mmprod.stages.online import server

    ended = server.stop(session.lake)
    session.show({"stopped": ended and ended.pid}, f"stopped process {ended.pid}" if ended else "none runs")


@app.command()
@with_session()
def status(session: Session) -> None:
    """Show whether the service runs, which release it serves, and whether each model answers its canaries.

    Example: mmprod triton status
    """
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


@app.command()
@with_session(lake=False)
def render(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="The folder to write; its config.pbtxt files are replaced.")],
) -> None:
    """Write a model repository, with each config.pbtxt from the configuration, for a Triton of your own.

    `start` renders its own, unless serving.models names one.

    Example: mmprod triton render triton_models
    """
    from mmprod.stages.online.model_repository import write_repository

    paths = [str(path) for path in write_repository(session.config.serving, folder)]
    session.show({"files": paths}, "\n".join(paths))
