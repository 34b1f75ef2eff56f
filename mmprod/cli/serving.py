"""`mmprod release` and `mmprod triton`: what the online service serves, and the local server."""

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption

triton = typer.Typer(no_args_is_help=True, help="The local Triton server.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(release)
    app.add_typer(triton, name="triton")


def release(
    wait: WaitOption = False, config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False
) -> None:
    """Put engine, indexes and score thresholds together for the online service, try them, switch to them.

    Example: mmprod release
    """
    session = Session(config, lake, json)
    from mmprod.stages.release import make_release

    with session.lake.writing(wait):
        outcome = make_release(session.lake, session.config)
    session.outcomes([outcome])


@triton.command()
def start(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Start the server on the current release, here and for this machine only; a value through each model
    has to come back as this process computes it.

    Example: mmprod triton start
    """
    session = Session(config, lake, json)
    from mmprod.client import Client
    from mmprod.serving.service import Service
    from mmprod.stages.canary import check_server
    from mmprod.stages.release import current_release
    from mmprod.stages.server import launch
    from mmprod.stages.server import stop as end

    release = current_release(session.lake)
    server = launch(session.lake, session.config, release)
    try:
        with Client(server.address) as client:
            checked = check_server(client, Service.open(release, threads=1))
    except BaseException:
        end(session.lake)
        raise
    content = {"address": server.address, "pid": server.pid, "release": server.release, "checked": checked}
    session.show(
        content,
        f"http://{server.address} serves {server.release} ({', '.join(checked)} answer as they should)",
    )


@triton.command()
def stop(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """End the server that was started on this lake.

    Example: mmprod triton stop
    """
    session = Session(config, lake, json)
    from mmprod.stages.server import stop as end

    server = end(session.lake)
    session.show(
        {"stopped": server and server.pid}, f"stopped process {server.pid}" if server else "none runs"
    )


@triton.command()
def status(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Whether the server runs, what it serves, and whether each model answers as this process does.

    Example: mmprod triton status
    """
    session = Session(config, lake, json)
    from mmprod.client import Client
    from mmprod.serving.release import Release
    from mmprod.serving.service import Service
    from mmprod.stages.canary import check_server
    from mmprod.stages.server import read_server

    server = read_server(session.lake)
    if server is None:
        session.show({"running": False}, "none runs")
        return
    release_ = Release.read(session.lake.releases / server.release)
    with Client(server.address) as client:
        checked = check_server(client, Service.open(release_, threads=1))
    content = {"running": True, "address": server.address, "pid": server.pid, "release": server.release}
    text = f"process {server.pid}, http://{server.address}, serves {server.release}"
    session.show({**content, "checked": checked}, f"{text}; as they should answer {', '.join(checked)}")


@triton.command()
def render(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Write each model's config.pbtxt, and its form for GPUs, from the configuration.

    Example: mmprod triton render
    """
    session = Session(config, lake, json)
    from mmprod.stages.model_repository import render_repository

    paths = [str(path) for path in render_repository(session.config)]
    session.show({"files": paths}, "\n".join(paths))
