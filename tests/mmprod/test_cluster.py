"""Commands as jobs on a real Ray cluster: a head, two worker nodes, and what happens when something dies.

The command is a small program that ends as mmprod does, with JSON. The last test runs mmprod itself.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from mmprod.config import load
from mmprod.demo.nodes import Nodes, nodes
from mmprod.encoders.train import Plan
from mmprod.sections import Ray
from mmprod.stages import cluster
from mmprod.stages.training.train import train_encoder
from mmprod.storage.errors import InputError, StateError

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray")]

# Notes each start and how it ends in a file, waits for another file, then says what it was told to say.
COMMAND = """
import json, os, pathlib, signal, sys, time
folder, code = pathlib.Path(sys.argv[1]), int(sys.argv[2])
def note(text):
    with (folder / "notes").open("a") as file:
        file.write(f"{text} {os.getpid()} {os.environ['MMPROD_RUN']} {os.environ['MMPROD_ENGINE']}\\n")
signal.signal(signal.SIGTERM, lambda *_: (note("terminated"), sys.exit(143)))
note("started")
print("counting", file=sys.stderr, flush=True)
while not (folder / "go").exists():
    time.sleep(0.05)
told = {"stages": [], "run": os.environ["MMPROD_RUN"], "threads": os.environ["OMP_NUM_THREADS"]}
print(json.dumps({"error": "no such day"} if code else told))
sys.exit(code)
"""
# What a process that submits does, so that it can be killed.
SUBMITTER = """
import json, sys
from pathlib import Path; from mmprod.sections import Ray
from mmprod.stages import cluster
print(json.dumps(cluster.run(Ray(**json.loads(sys.argv[1])), Path(sys.argv[3]), sys.argv[2], sys.argv[3:],
                             lambda line: print(line, file=sys.stderr, flush=True))))
"""


@pytest.fixture(scope="module")
def ray_nodes() -> Iterator[Nodes]:
    quick = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
    with nodes(2, quick) as running:
        yield running


class Work:
    """A job's folder, the settings that run the small program in it, and what was told so far."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.told = folder, []
        (folder / "command.py").write_text(COMMAND)
        self.settings = Ray(address=address, command=f"{sys.executable} {folder / 'command.py'}")
        self.name = cluster.job_name("test", [str(folder)])

    def run(self, code: int = 0) -> dict:
        words = [str(self.folder), str(code)]
        return cluster.run(self.settings, self.folder, self.name, words, self.told.append)

    def submitter(self) -> subprocess.Popen[str]:
        line = [sys.executable, "-c", SUBMITTER, self.settings.model_dump_json(), self.name]
        return subprocess.Popen([*line, str(self.folder), "0"], stdout=subprocess.PIPE, text=True)

    def go(self) -> None:
        (self.folder / "go").touch()

    def notes(self, what: str) -> list[list[str]]:
        with contextlib.suppress(FileNotFoundError):
            lines = (self.folder / "notes").read_text().splitlines()
            return [line.split()[1:] for line in lines if line.startswith(what)]
        return []

    def await_notes(self, what: str, count: int) -> list[list[str]]:
        until = time.monotonic() + 40
        while len(self.notes(what)) < count:
            assert time.monotonic() < until, (what, self.notes(""), self.told)
            time.sleep(0.05)
        return self.notes(what)


@pytest.fixture
def work(tmp_path: Path, ray_nodes: Nodes) -> Work:
    return Work(tmp_path, ray_nodes.address)


@contextlib.contextmanager
def meanwhile(act) -> Iterator[None]:
    """`act` in a thread while the block lasts; its errors are the test's."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:  # noqa: BLE001
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield
    thread.join()
    assert not raised, raised


def test_the_job_is_told_of_as_it_runs_and_its_json_comes_back(work: Work, monkeypatch) -> None:
    monkeypatch.setenv("MMPROD_ENCODER__BATCH", "7")
    monkeypatch.setenv("MMPROD_RUN", "catalog/2025-03-03:4")

    def look() -> None:
        work.await_notes("started", 1)
        until = time.monotonic() + 20
        while "counting" not in work.told:
            assert time.monotonic() < until, work.told
            time.sleep(0.05)
        work.go()

    with meanwhile(look):
        told = work.run()
    [[_, attempt, engine]] = work.notes("started")
    assert engine == "local", "the job works where it is"
    assert told == {"stages": [], "run": attempt, "threads": "1"}
    assert attempt == f"ray/{work.name}:1"
    assert any("MMPROD_ENCODER__BATCH=7" in line for line in work.told)
    assert not any(line.startswith("{") for line in work.told)


@pytest.mark.parametrize(("code", "kind"), [(2, InputError), (1, StateError)])
def test_a_job_fails_as_its_command_does(work: Work, code: int, kind: type[Exception]) -> None:
    work.go()
    with pytest.raises(kind, match=r"^no such day$"):
        work.run(code)
    assert len(work.notes("started")) == 1


def test_a_command_that_is_not_there_is_the_settings_fault(work: Work) -> None:
    work.settings = work.settings.model_copy(update={"command": "no-such-command"})
    with pytest.raises(InputError, match="exit code 127"):
        work.run()
    assert any("no-such-command" in line and "No such file" in line for line in work.told)


def test_whoever_submits_is_killed_and_the_next_attaches(work: Work) -> None:
    first = work.submitter()
    work.await_notes("started", 1)
    first.kill()
    first.communicate()

    def go_on() -> None:
        while not any("attached" in line for line in work.told):
            time.sleep(0.05)
        work.go()

    with meanwhile(go_on):
        work.run()
    assert len(work.notes("started")) == 1
    assert work.run() and len(work.notes("started")) == 2, "one that has ended is a job of the past"


def test_two_who_want_the_same_start_it_once(work: Work) -> None:
    both = [work.submitter(), work.submitter()]
    work.await_notes("started", 1)
    time.sleep(1)
    work.go()
    said = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert said[0] == said[1]
    assert len(work.notes("started")) == 1


def test_a_killed_process_is_submitted_again_with_a_later_attempt(work: Work, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "PAUSE", 0.1)

    def kill() -> None:
        [[pid, *_]] = work.await_notes("started", 1)
        os.kill(int(pid), signal.SIGKILL)
        work.go()

    with meanwhile(kill):
        told = work.run()
    first, second = (int(attempt.rpartition(":")[2]) for _, attempt, _ in work.notes("started"))
    assert second > first and told["run"].endswith(f":{second}")
    assert any("-1 was lost" in line and "exit code -9" in line for line in work.told)


def test_killed_too_often_it_is_given_up(work: Work, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "PAUSE", 0.1)
    work.settings = work.settings.model_copy(update={"attempts": 2})

    def kill() -> None:
        for count in (1, 2):
            os.kill(int(work.await_notes("started", count)[-1][0]), signal.SIGKILL)

    with meanwhile(kill), pytest.raises(StateError, match=r"-2 was lost, the last of 2 attempts"):
        work.run()


def test_ended_politely_it_ends_its_job(work: Work) -> None:
    process = work.submitter()
    work.await_notes("started", 1)
    process.terminate()
    work.await_notes("terminated", 1)
    process.communicate(timeout=30)
    assert process.returncode != 0
    work.go()
    assert work.run(), "the stopped job does not stand in the way"


def test_a_lost_node(work: Work, ray_nodes: Nodes, monkeypatch) -> None:
    """The job goes on elsewhere; what lived on of it, on the lost node, is not killed by Ray in time."""
    monkeypatch.setattr(cluster, "PAUSE", 0.1)
    killed: list[str] = []

    def kill() -> None:
        work.await_notes("started", 1)
        client = cluster._client(ray_nodes.address)
        agent = client.get_job_info(f"{work.name}-1").driver_agent_http_address
        killed.append(agent.split("/")[2].split(":")[0])
        ray_nodes.kill(killed[0])
        work.await_notes("started", 2)
        work.go()

    with meanwhile(kill):
        told = work.run()
    assert told["run"] == work.notes("started")[1][1]
    assert any("was lost" in line for line in work.told)
    ray_nodes.end(killed[0])
    ray_nodes.start_worker(int(killed[0].rpartition(".")[2]) - 3)


def test_a_dashboard_that_is_away_for_a_while_is_waited_for(work: Work, ray_nodes: Nodes) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    work.settings = work.settings.model_copy(update={"address": f"http://127.0.0.1:{port}"})
    work.go()
    relays: list[subprocess.Popen[bytes]] = []

    def come() -> None:
        while not any("waiting for Ray" in line for line in work.told):
            time.sleep(0.05)
        relays.append(_relay(port, int(ray_nodes.address.rpartition(":")[2])))

    with meanwhile(come):
        assert work.run()
    relays[0].kill()
    relays[0].wait()


def test_a_dashboard_that_stays_away(work: Work, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "PATIENCE", 2.0)
    work.settings = work.settings.model_copy(update={"address": "http://127.0.0.1:1"})
    with pytest.raises(
        StateError, match=r"127.0.0.1:1 \(ray.address\) has not answered for 2 s: .*run again"
    ):
        work.run()


def test_without_ray_it_is_said_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.job_submission", None)
    with pytest.raises(InputError, match=r"pip install .mmprod\[ray\]"):
        cluster.run(Ray(), Path(), "mmprod-test", [], print)


def test_the_command_line_encodes_a_shard_on_the_cluster(world, ray_nodes: Nodes) -> None:
    table, day = world.days[0]
    mmprod = str(Path(sys.executable).with_name("mmprod"))
    ray = {"MMPROD_RAY__ADDRESS": ray_nodes.address, "MMPROD_RAY__COMMAND": mmprod}
    settings = {**os.environ, **ray, "MMPROD_ENGINE": "ray", "MMPROD_ENCODER__PART_ROWS": "50"}

    def call(*words: str) -> dict:
        line = [mmprod, *words, "--config", str(world.folder / "mmprod.toml"), "--json"]
        done = subprocess.run(line, env=settings, capture_output=True, text=True, timeout=120)
        return {**json.loads(done.stdout.splitlines()[-1]), "code": done.returncode, "log": done.stderr}

    call("ingest", "--day", str(day), "--table", str(table))
    done = call("embed", "--shard", "0")
    assert done["code"] == 0, done
    assert "submitted" in done["log"]
    [stage] = done["stages"]
    assert (stage["stage"], stage["changed"] > 50) == ("embed shard 0", True)
    assert len(list(world.lake.root.glob("embeddings/*/parts/*.parquet"))) == -(-stage["rows"] // 50)
    assert call("embed", "--shard", "9")["code"] == 2

    config = load(world.folder / "mmprod.toml", {"encoder.model": "lake:shop"}).config
    train_encoder(world.lake, config, world.folder / "catalogue" / "train.parquet", Plan(steps=1, batch=64))
    beside = call("embed", "--shard", "0", "--candidate", "shop")
    assert (beside["code"], beside["stages"][0]["changed"]) == (0, stage["changed"])
    table = world.lake.embeddings("lake:tiny", world.lake.encoder_fingerprint("lake:shop"))
    assert list(table.glob("parts/*.parquet"))


def test_a_fine_tuning_is_submitted_with_all_that_was_said(tmp_path: Path, ray_nodes: Nodes) -> None:
    """The command that the job runs notes its words; it finds its settings as on the machine that submits."""
    (tmp_path / "note.py").write_text(
        "import json, pathlib, sys\n"
        "pathlib.Path(sys.argv[1]).write_text(json.dumps(sys.argv[2:]))\n"
        'print(json.dumps({"stages": [{"stage": "finetune", "rows": 9, "rate": 0.0}]}))\n'
    )
    (tmp_path / "mmprod.toml").write_text(
        f"""engine = "ray"
[ray]
address = "{ray_nodes.address}"
command = "{sys.executable} '{tmp_path / "note.py"}' '{tmp_path / "words.json"}'"
"""
    )
    said = ["--task", "same-item", "--name", "shop", "--category", "A > B", "--category", "C", "--wait"]
    said += ["--store", "store", "--warmup", "0", "--lr", "1e-4", "--grad-cache", "--lake", "lake", "--json"]
    line = [str(Path(sys.executable).with_name("mmprod")), "finetune", *said]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    [stage] = json.loads(done.stdout)["stages"]
    assert (done.returncode, stage["stage"], stage["rows"]) == (0, "finetune", 9), done.stderr
    wanted = ["finetune", "--task=same-item", f"--store={tmp_path / 'store'}", "--name=shop"]
    wanted += ["--category=A > B", "--category=C", "--wait", "--grad-cache", "--lr=0.0001", "--warmup=0"]
    wanted += ["--lake", str(tmp_path / "lake"), "--config", str(tmp_path / "mmprod.toml"), "--json"]
    assert json.loads((tmp_path / "words.json").read_text()) == wanted


def _relay(port: int, target: int) -> subprocess.Popen[bytes]:
    """A dashboard's address that begins to answer."""
    script = f"""
import socket, threading
def pump(a, b):
    while data := a.recv(65536): b.sendall(data)
    b.close()
server = socket.create_server(("127.0.0.1", {port}))
while True:
    here, _ = server.accept()
    there = socket.create_connection(("127.0.0.1", {target}))
    for pair in ((here, there), (there, here)): threading.Thread(target=pump, args=pair, daemon=True).start()
"""
    return subprocess.Popen([sys.executable, "-c", script], stderr=subprocess.DEVNULL)


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InputError, match=r"ray\.address is 'nonsense'"):
        cluster.run(Ray(address="nonsense"), Path(), "mmprod-nothing", ["status"], print)
