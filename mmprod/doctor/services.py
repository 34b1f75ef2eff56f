"""Examines what services need: environments, programs, ports, a release."""

import shutil
import socket
from contextlib import closing
from pathlib import Path

from mmprod.doctor.finding import Finding, Level
from mmprod.lake import Lake
from mmprod.sections import Serving
from mmprod.shipped import MAKE_TRITON
from mmprod.stages.online.server import read_server
from mmprod.storage import artifacts

AIRFLOW = Path(".venv-airflow")
_INSTALLED = ".installed"  # written by `make` when an environment is complete


def triton(section: Serving, configured: bool) -> Finding:
    """Whether the online service's environment exists; `configured`: whether it is set explicitly."""
    folder = section.environment
    if (folder / _INSTALLED).is_file():
        return Finding("Triton", "ok", f"installed in {folder}")
    return Finding(
        "Triton",
        _level(configured),
        f"no environment in {folder}: no online service from here",
        MAKE_TRITON,
    )


def airflow(folder: Path = AIRFLOW) -> Finding:
    """Whether the environment of a local Airflow exists."""
    if (folder / _INSTALLED).is_file():
        return Finding("Airflow", "ok", f"installed in {folder}")
    return Finding("Airflow", "note", f"no environment in {folder}", "make airflow")


def ports(lake: Lake, section: Serving, configured: bool) -> Finding:
    """Whether the online service's ports are free or its own; `configured`: they are set explicitly."""
    if server := read_server(lake):
        return Finding("ports", "ok", f"{server.address}: the service of this lake, process {server.pid}")
    taken = [port for port in (section.port, section.port + 2) if not _free(section.host, port)]
    if not taken:
        return Finding("ports", "ok", f"{section.port} and {section.port + 2} of {section.host} are free")
    text = f"{' and '.join(map(str, taken))} of {section.host} can't be had: another process listens there?"
    return Finding("ports", _level(configured), text, "serving.port = another")


def release(lake: Lake) -> Finding:
    """The release that the online service would serve."""
    if name := artifacts.current(lake.releases):
        return Finding("release", "ok", f"{name}: what the online service serves")
    return Finding("release", "note", "nothing to serve online yet", "mmprod release build --export")


def program(subject: str, name: str, use: str, cure: str) -> Finding:
    """Whether a program is installed; only `use` needs it."""
    if shutil.which(name):
        return Finding(subject, "ok", f"installed, for {use}")
    return Finding(subject, "note", f"not installed: {use} need it", cure)


def _level(configured: bool) -> Level:
    return "problem" if configured else "note"


def _free(host: str, port: int) -> bool:
    with closing(socket.socket()) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True
