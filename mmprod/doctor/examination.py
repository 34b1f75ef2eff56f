"""Runs all checks, by section and in a fixed order."""

import os

from mmprod.config import Loaded
from mmprod.datasets import threads
from mmprod.doctor import computing, disk, libraries, machine, services
from mmprod.doctor.clock import clock_of
from mmprod.doctor.finding import Finding, examined
from mmprod.doctor.need import Need, need_of
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.shipped import REPOSITORY
from mmprod.storage.errors import InputError, StateError


def examine(loaded: Loaded, lake: Lake) -> dict[str, list[Finding]]:
    """All findings by section. Changes nothing, except for temporary test files beside the lake."""
    config, need, wrong = loaded.config, Need(), []
    try:
        need = need_of(lake, config)
    except (InputError, StateError, ImportError) as error:
        wrong = [Finding("vectors", "problem", str(error))]
    return {
        "machine": machine.machine_findings(need.largest),
        "computing": _computing(lake, config),
        "lake": [*wrong, *_lake(lake, config, need.night)],
        "services": _services(loaded, lake),
        "libraries": [*libraries.versions(), *libraries.runtimes(libraries.MAPS.read_text())],
    }


def _computing(lake: Lake, config: Config) -> list[Finding]:
    device = examined("device", lambda: computing.device(config.encoder.device))
    measured_on = "cpu" if device.level == "problem" else config.encoder.device
    return [
        device,
        examined("precision", lambda: computing.precision(config.finetune.precision, measured_on)),
        examined("engines", lambda: computing.engines(measured_on)),
        computing.thread_count(config, threads.cores()),
        examined("encoder", lambda: computing.encoder(lake, config)),
        *(
            [examined("backend", lambda: computing.backend(lake, config))]
            if device.level != "problem"
            else []
        ),
        examined("searches", lambda: computing.queries(lake, config)),
        computing.shards(config),
    ]


def _lake(lake: Lake, config: Config, night: int) -> list[Finding]:
    return [
        examined("disk", lambda: disk.room(lake.root, night)),
        examined("file system", lambda: disk.file_system(disk.MOUNTS.read_text(), lake.root)),
        examined("locks", lambda: disk.locks(lake.root)),
        examined("writes", lambda: disk.writes(lake.root)),
        examined("temporary files", lambda: disk.temporary(os.environ)),
        examined("open files", disk.open_files),
        examined("clock", lambda: clock_of(lake, config)),
    ]


def _services(loaded: Loaded, lake: Lake) -> list[Finding]:
    section = loaded.config.serving
    named = {key.removeprefix("serving.") for key in loaded.origins}
    return [
        examined("release", lambda: services.release(lake)),
        services.triton(section, "environment" in named),
        services.ports(lake, section, bool(named & {"port", "host"})),
        *(_repository() if REPOSITORY else ()),
    ]


def _repository() -> list[Finding]:
    """What the repository's Makefile and tests need."""
    return [
        services.airflow(),
        services.program("Chromium", "chromium", "tests of pages", "make tools"),
        services.program("LibreOffice", "soffice", "tests of workbooks", "make test-office"),
    ]
