"""`mmprod doctor`: what it finds on real lakes, ports and folders, and how it ends."""

import json
import os
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner, Result

from mmprod.cli.app import app
from mmprod.config import load
from mmprod.doctor import computing, disk, services
from mmprod.doctor.clock import clock, clock_of
from mmprod.doctor.finding import examined
from mmprod.lake import Lake
from mmprod.sections import Config, Ray
from mmprod.stages import needs
from mmprod.stages.online import server
from mmprod.storage import artifacts, checked_json, locks

Doctor = Callable[..., Result]
SECTIONS = ["machine", "computing", "lake", "services", "libraries"]


@pytest.fixture
def doctor(grown, monkeypatch: pytest.MonkeyPatch) -> Doctor:
    """Runs it on the grown world, as from its folder, with environment variables."""
    monkeypatch.chdir(grown.folder)

    def run(*words: str, **variables: str) -> Result:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "argv", ["mmprod", "doctor", *words])
        return CliRunner().invoke(app, ["doctor", *words])

    return run


def of(result: Result, subject: str) -> dict[str, str]:
    """What the JSON says of a subject."""
    sections = json.loads(result.stdout)["sections"]
    (found,) = [f for findings in sections.values() for f in findings if f["subject"] == subject]
    return found


def config(**keys: Any) -> Config:
    return load(overrides={key.replace("__", "."): value for key, value in keys.items()}).config


def test_its_json_is_one_object_of_sections_and_findings(doctor: Doctor) -> None:
    result = doctor("--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert list(told) == ["problems", "notes", "sections"]
    assert list(told["sections"]) == SECTIONS
    findings = [finding for findings in told["sections"].values() for finding in findings]
    assert all(list(finding) == ["subject", "level", "text", "cure"] for finding in findings)
    levels = [finding["level"] for finding in findings]
    assert set(levels) <= {"ok", "note"}
    assert (told["problems"], told["notes"]) == (0, levels.count("note"))
    assert all(bool(finding["cure"]) == (finding["level"] != "ok") for finding in findings)
    assert len({finding["subject"] for finding in findings}) == len(findings)


def test_its_table_has_every_finding_and_each_cure(doctor: Doctor) -> None:
    shown = doctor().stdout
    told = json.loads(doctor("--json").stdout)
    for section, findings in told["sections"].items():
        assert f"\n{section}" in f"\n{shown}"
        assert all(finding["subject"] in shown and finding["cure"] in shown for finding in findings)
    assert f"problems: 0, notes: {told['notes']}" in shown


def test_it_leaves_nothing_behind_and_waits_for_nobody(doctor: Doctor, grown) -> None:
    def content() -> set[Path]:
        return set(grown.folder.rglob("*"))

    with grown.lake.writing():
        before = content()
        assert doctor("--json").exit_code == 0
        assert content() == before


def test_a_lake_that_is_not_there_yet_has_notes_only(doctor: Doctor, tmp_path: Path) -> None:
    result = doctor("--json", "--lake", str(tmp_path / "new" / "lake"))
    assert result.exit_code == 0, result.output
    assert of(result, "encoder")["cure"].startswith("mmprod train")
    assert "can't be told before there are vectors" in of(result, "disk")["text"]
    assert list(tmp_path.iterdir()) == []


def test_a_lake_that_is_a_file_is_a_problem(doctor: Doctor, tmp_path: Path) -> None:
    (tmp_path / "lake").write_text("")
    result = doctor("--json", "--lake", str(tmp_path / "lake"))
    assert result.exit_code == 1
    assert of(result, "locks")["level"] == of(result, "writes")["level"] == "problem"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_device_that_is_not_there_is_a_problem_with_its_cure(doctor: Doctor) -> None:
    result = doctor("--json", MMPROD_ENCODER__DEVICE="cuda")
    assert result.exit_code == 1
    device = of(result, "device")
    assert (device["level"], device["cure"]) == ("problem", 'encoder.device = "cpu"')
    assert of(result, "precision")["level"] == "ok"  # measured on the CPU then
    assert computing.device("toaster").level == "problem"


def test_what_does_not_fit_on_the_disk_is_a_problem(doctor: Doctor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(needs, "ITEM", 10**15)
    result = doctor("--json")
    assert result.exit_code == 1
    assert of(result, "disk")["cure"].startswith("mmprod prune")
    assert of(result, "memory")["level"] == "problem"  # an index is built in memory


def test_an_index_that_faiss_can_not_build_is_a_problem(doctor: Doctor) -> None:
    result = doctor("--json", MMPROD_INDEX__FACTORY="Flatt")
    assert result.exit_code == 1
    assert "'Flatt' can't be built" in of(result, "vectors")["text"]


def test_a_damaged_table_is_told_of(doctor: Doctor, grown, tmp_path: Path) -> None:
    (root,) = grown.lake.embedding_roots()
    other = tmp_path / "lake" / "embeddings" / root.name
    other.mkdir(parents=True)
    (other / "CURRENT.json").write_text((root / "CURRENT.json").read_text().replace("revision", "revisiom"))
    result = doctor("--json", "--lake", str(tmp_path / "lake"))
    assert result.exit_code == 1
    assert str(other) in of(result, "vectors")["text"]


def test_more_threads_than_cores_are_a_note() -> None:
    found = computing.thread_count(config(threads=64), usable=2)
    assert (found.level, found.cure) == ("note", 'threads = "auto"')
    assert "64 on 2 cores" in found.text
    assert computing.thread_count(config(threads=2), usable=2).level == "ok"


@pytest.mark.parametrize(
    ("model", "pretrained", "level"),
    [
        ("lake:nobody", None, "note"),
        ("ViT-B-32", "openai", "ok"),
        ("ViT-B-32", None, "problem"),
        ("hf-hub:shop/encoder", None, "ok"),
    ],
)
def test_whether_the_encoder_can_be_had(grown, model: str, pretrained: str | None, level: str) -> None:
    wanted = config(encoder__model=model, encoder__pretrained=pretrained)
    assert computing.encoder(grown.lake, wanted).level == level


def test_a_local_folder_without_a_model_is_a_problem(grown, tmp_path: Path) -> None:
    wanted = config(encoder__model=f"local-dir:{tmp_path}")
    found = examined("encoder", lambda: computing.encoder(grown.lake, wanted))
    assert found.level == "problem"
    assert str(tmp_path) in found.text


def test_searches_are_answered_by_the_engine_of_the_indexs_encoder(world) -> None:
    assert computing.queries(world.lake, world.config).cure == "mmprod run"
    world.run(1)
    assert computing.queries(world.lake, world.config).cure == "mmprod export onnx"
    fingerprint = world.lake.encoder_fingerprint(world.config.encoder.model)
    root = world.lake.engines(world.config.encoder.model, fingerprint, "onnx-fp32")
    with artifacts.publishing(root, "engine", {}, {}) as draft:
        pass
    artifacts.switch(root, draft.generation)
    found = computing.queries(world.lake, world.config)
    assert (found.level, "onnx-fp32 g000001" in found.text) == ("ok", True)


@pytest.fixture
def dashboard() -> Iterator[str]:
    """The address of one that answers as Ray's does."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/api/version" else 404)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join()


def test_a_cluster_that_answers_is_fine(ray, dashboard: str) -> None:
    assert computing.ray(Ray(address=dashboard + "/")).level == "ok"
    assert "404" in computing.ray(Ray(address=dashboard + "/elsewhere")).text


def test_a_cluster_that_does_not_is_a_problem(ray, doctor: Doctor, another_port: int) -> None:
    address = f"http://127.0.0.1:{another_port}"
    result = doctor("--json", MMPROD_ENGINE="ray", MMPROD_RAY__ADDRESS=address)
    assert result.exit_code == 1
    found = of(result, "encoding")
    assert (found["level"], address in found["text"]) == ("problem", True)


def test_ray_without_ray_is_a_problem_and_its_cure_is_shown_whole(doctor: Doctor, monkeypatch) -> None:
    found = computing.importlib.util.find_spec
    monkeypatch.setattr(
        computing.importlib.util, "find_spec", lambda name: found(name) if name != "ray" else None
    )
    result = doctor(MMPROD_ENGINE="ray")
    assert result.exit_code == 1
    assert 'pip install "mmprod[ray]"' in result.stdout  # which is no markup


def test_a_port_that_is_taken_is_a_note_or_a_problem_where_it_was_named(
    doctor: Doctor, grown, another_port: int
) -> None:
    for port in (another_port, another_port + 2):
        with closing(socket.socket()) as taken:
            taken.bind(("127.0.0.1", port))
            taken.listen()
            section = config(serving__port=another_port).serving
            found = services.ports(grown.lake, section, configured=False)
            assert (found.level, str(port) in found.text) == ("note", True)
            result = doctor("--json", MMPROD_SERVING__PORT=str(another_port))
            assert (result.exit_code, of(result, "ports")["level"]) == (1, "problem")
    assert doctor("--json", MMPROD_SERVING__PORT=str(another_port)).exit_code == 0


def test_a_port_that_our_own_service_holds_is_fine(tmp_path: Path, another_port: int) -> None:
    lake = Lake(tmp_path)
    born = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
    running = server.Server(os.getpid(), born, f"127.0.0.1:{another_port}")
    server.folder(lake).mkdir()
    (server.folder(lake) / "server.json").write_text(json.dumps(asdict(running)))
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", another_port))
        taken.listen()
        found = services.ports(lake, config(serving__port=another_port).serving, configured=True)
    assert (found.level, f"process {os.getpid()}" in found.text) == ("ok", True)


def test_an_environment_that_was_named_has_to_be_there(doctor: Doctor, tmp_path: Path) -> None:
    assert of(doctor("--json"), "Triton")["cure"] == "make triton"
    result = doctor("--json", MMPROD_SERVING__ENVIRONMENT=str(tmp_path))
    assert (result.exit_code, of(result, "Triton")["level"]) == (1, "problem")
    (tmp_path / ".installed").touch()
    assert of(doctor("--json"), "Triton")["level"] == "ok"


def test_locks_that_keep_nobody_out_are_a_problem(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.locks(tmp_path).level == "ok"
    monkeypatch.setattr(locks.fcntl, "flock", lambda *_: None)  # as some file systems have it
    assert disk.locks(tmp_path).level == "problem"


def test_a_folder_for_temporary_files_that_is_not_there_is_a_problem(tmp_path: Path) -> None:
    assert disk.temporary({}).level == "ok"
    assert disk.temporary({"TMPDIR": str(tmp_path)}).level == "ok"
    assert disk.temporary({"TMPDIR": str(tmp_path / "none")}).cure == "unset TMPDIR"


def test_few_open_files_are_a_note() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        assert disk.open_files().cure == "ulimit -n 1024"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


MOUNTS = """/dev/vda / ext4 rw 0 0
tmpfs /fast tmpfs rw 0 0
filer:/export /net/my\\040lake nfs4 rw,hard 0 0
overlay /box overlay rw 0 0
s3fs /bucket fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind", "level"),
    [
        ("/data/lake", "ext4", "ok"),
        ("/fast/lake", "tmpfs", "note"),
        ("/faster/lake", "ext4", "ok"),
        ("/net/my lake/a", "nfs4", "note"),
        ("/box/lake", "overlay", "note"),
        ("/bucket/lake", "fuse.s3fs", "note"),
    ],
)
def test_a_file_system_that_is_not_simply_a_disk_is_a_note(folder: str, kind: str, level: str) -> None:
    found = disk.file_system(MOUNTS, Path(folder))
    assert (found.text.partition(":")[0], found.level) == (kind, level)


def test_a_clock_behind_what_is_in_the_lake_is_a_note(world) -> None:
    assert clock_of(world.lake, world.config).level == "ok"
    root = world.lake.encoder("tiny")
    folder = root / str(artifacts.current(root))
    ahead = (datetime.now(UTC) + timedelta(days=1)).isoformat(timespec="seconds")
    manifest = replace(artifacts.Manifest.read(folder), created_at=ahead)
    (folder / artifacts.MANIFEST).write_text(checked_json.dump(asdict(manifest)))
    found = clock_of(world.lake, world.config)
    assert (found.level, ahead[:10] in found.text) == ("note", True)


def test_a_day_of_tomorrow_is_early_and_one_of_the_week_after_is_a_note() -> None:
    now = datetime(2025, 3, 5, 12, tzinfo=UTC)
    assert clock(now, None, date(2025, 3, 6)).level == "ok"
    assert clock(now, None, date(2025, 3, 12)).level == "note"
    assert clock(now, now + timedelta(minutes=1), None).level == "ok"  # two machines' clocks
    assert clock(datetime(1970, 1, 1, tzinfo=UTC), now, None).level == "note"
