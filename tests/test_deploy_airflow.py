"""What is in deploy/airflow/: in agreement with itself, with the DAGs, and with the Airflow they run on."""

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from mmprod.config import load

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "deploy" / "airflow"
PYTHON = ROOT / ".venv-airflow" / "bin" / "python"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
VALUES = yaml.safe_load((FOLDER / "values.yaml").read_text())
CLAIMS = list(yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text()))
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())["services"]
VARIABLE = json.loads((FOLDER / "settings" / "variables.json").read_text())["mmprod"]
POOLS = json.loads((ROOT / "dags" / "pools.json").read_text())
RULES = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"][0]["rules"]
AIRFLOW = re.findall(
    r"^apache-airflow==(\S+)$", (ROOT / "constraints-airflow.txt").read_text(), re.MULTILINE
)[0]
# Asked in Airflow's environment, with airflow_local_settings.py where Airflow finds it.
_ASKED = """
import importlib.resources as r, json, sys, yaml
from airflow.configuration import conf
from airflow.dag_processing.dagbag import DagBag
from airflow.models.taskinstance import TaskInstance
from airflow_local_settings import PLACES
from mmprod.airflow.assets import PROFILES
from mmprod.airflow.settings import Settings

variable, dags = json.loads(sys.argv[1]), DagBag(sys.argv[2]).dags.values()
tasks = [TaskInstance(task, run_id="run", dag_version_id=None) for dag in dags for task in dag.tasks]
template = r.files("airflow._shared.observability.metrics") / "metrics_template.yaml"
metrics = yaml.safe_load(template.read_text())["metrics"]
print(json.dumps({
    "settings": vars(Settings.of(variable)),
    "options": {name: list(section["options"]) for name, section in conf.configuration_description.items()},
    "places": {pool: [place.queue, place.gpus] for pool, place in PLACES.items()},
    "tasks": [[ti.dag_id, ti.task_id, ti.pool, ti.queue] for ti in tasks],
    "metrics": [name for m in metrics for name in (m["name"], m["legacy_name"])],
    "profiles": PROFILES,
}))
"""


@pytest.fixture(scope="module")
def airflow(missing, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What Airflow itself says of the settings, of its options and metrics, and of where each task goes."""
    if not PYTHON.exists():
        missing(".venv-airflow", "make test-airflow")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(tmp_path_factory.mktemp("home")),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": str(FOLDER),
    }
    line = [str(PYTHON), "-P", "-c", _ASKED, json.dumps(VARIABLE), str(ROOT / "dags")]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_every_file_is_told_of() -> None:
    """Each is named by a page or by another file here."""
    texts = [path.read_text("utf-8") for path in [*FOLDER.rglob("*.*"), *(ROOT / "docs").glob("*.md")]]
    for path in FOLDER.rglob("*"):
        if path.is_file() and path.name != "Dockerfile.dockerignore":
            assert any(path.name in text for text in texts), path


def test_images_are_of_the_airflow_that_was_tried() -> None:
    assert f"ARG AIRFLOW={AIRFLOW}-" in DOCKERFILE
    assert VALUES["airflowVersion"] == AIRFLOW
    image = f"{VALUES['defaultAirflowRepository']}:{VALUES['defaultAirflowTag']}"
    ours = {service["image"] for service in COMPOSE.values() if "build" in service}
    assert ours == {image} == set(re.findall(r"-t (\S+) \.", DOCKERFILE))


def test_the_image_has_what_the_settings_name() -> None:
    assert f"python -m venv {Path(VARIABLE['command']).parents[1]} " in DOCKERFILE
    assert "mmprod airflow dags --copy /opt/airflow/dags\n" in DOCKERFILE
    let_in = [
        line[1:] for line in (FOLDER / "Dockerfile.dockerignore").read_text().splitlines() if line[0] == "!"
    ]
    assert all(list(ROOT.glob(name)) for name in let_in if name != "mmprod-*.whl")
    packages = re.findall(r'^"mmprod\.?\w*" = "(\w+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert {*packages, "configs", "dags", "deploy", "triton_models"} <= set(let_in)


def test_images_have_no_faults_that_a_linter_knows(tool) -> None:
    """A user's name rather than its number: it is the one of Airflow's image."""
    done = tool("hadolint", "--ignore", "DL3066", FOLDER / "Dockerfile")
    assert done.returncode == 0, done.stdout


def mounted(mounts: Iterator[str] | list[str], path: str) -> bool:
    return any(Path(path).is_relative_to(mount) for mount in mounts)


def test_every_path_of_the_settings_is_mounted_wherever_tasks_run() -> None:
    paths = [VARIABLE[key] for key in ("config", "lake", "tables", "backups", "selection", "texts")]
    chart = [mount["mountPath"] for mount in VALUES["volumeMounts"]]
    assert all(mounted(chart, path) for path in paths)
    for name in ("worker-lake", "worker-gpu", "triggerer", "scheduler"):
        here = [re.sub(r":ro$", "", volume).rpartition(":")[2] for volume in COMPOSE[name]["volumes"]]
        assert all(mounted(here, path) for path in paths), name
    assert not Path(VARIABLE["backups"]).is_relative_to(Path(VARIABLE["lake"]).parent), "one disk for both"


def test_the_chart_mounts_volumes_that_there_are() -> None:
    for claim in CLAIMS:
        kubernetes_validate.validate(claim, kubernetes_validate.latest_version(), strict=True)
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"], claim["metadata"]["name"]
    asked = [v["persistentVolumeClaim"]["claimName"] for v in VALUES["volumes"] if "configMap" not in v]
    assert {*asked, VALUES["logs"]["persistence"]["existingClaim"]} == {
        claim["metadata"]["name"] for claim in CLAIMS
    }
    assert {volume["name"] for volume in VALUES["volumes"]} == {m["name"] for m in VALUES["volumeMounts"]}


def test_the_compose_file_has_its_form_and_publishes_to_this_machine_only(tool) -> None:
    done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FOLDER / "compose.yaml")
    assert done.returncode == 0, done.stdout + done.stderr
    for name, service in COMPOSE.items():
        for port in service.get("ports", ()):
            assert port.startswith(("127.0.0.1:", "${BIND:-127.0.0.1}:")), f"{name} {port}"
        for volume in service.get("volumes", ()):
            assert not volume.startswith("./") or (FOLDER / volume.partition(":")[0]).exists(), volume


def test_no_secret_has_a_value() -> None:
    for path in (FOLDER / "compose.yaml", FOLDER / "values.yaml"):
        text = re.sub(r"\$\{\w+:\?\}", "$GIVEN", path.read_text())
        for key, value in re.findall(r"(\w*(?:PASSWORD|SECRET|_KEY|pass)): *(\S+)", text):
            assert value.strip('"},') == "$GIVEN", f"{path.name}: {key}"


@pytest.mark.parametrize("name", ["mmprod.toml", "selection.toml"])
def test_configurations_are_accepted(name: str) -> None:
    config = load(FOLDER / "settings" / name).config
    assert str(config.lake) == VARIABLE["lake"]
    assert config.store.shards == load(FOLDER / "settings" / "mmprod.toml").config.store.shards
    assert f"/etc/mmprod/{name}" in (VARIABLE["config"], VARIABLE["selection"])


@pytest.mark.slow
def test_airflow_accepts_the_variable_and_knows_every_option(airflow: Any) -> None:
    assert airflow["settings"] == VARIABLE
    named = {(section, key) for section, options in VALUES["config"].items() for key in options}
    for service in COMPOSE.values():
        for name in service.get("environment", {}):
            if name.startswith("AIRFLOW__"):
                _, section, key = name.lower().split("__")
                named.add((section, key))
    assert len(named) > 15
    for section, key in named:
        assert key in airflow["options"].get(section, ()), f"[{section}] {key}"


@pytest.mark.slow
def test_every_task_is_sent_where_its_pool_is_served(airflow: Any) -> None:
    assert set(airflow["places"]) == {"default_pool", *POOLS}
    served = {
        re.search(r"--queues (\S+)", COMPOSE[name]["command"])[1] for name in COMPOSE if "worker" in name
    }
    assert {queue for queue, _ in airflow["places"].values()} == served
    for dag, task, pool, queue in airflow["tasks"]:
        assert queue == airflow["places"][pool][0], f"{dag} {task}"
    assert ["catalog_daily", "encode", "mmprod_gpu", "gpu"] in airflow["tasks"]
    assert all(gpus == (queue == "gpu") for queue, gpus in airflow["places"].values())


@pytest.mark.slow
def test_the_daily_profiles_are_those_of_the_assets(airflow: Any) -> None:
    assert list(load(FOLDER / "settings" / "mmprod.toml").config.profiles) == airflow["profiles"]
    assert "selection" in load(FOLDER / "settings" / "selection.toml").config.profiles


def metrics(text: str) -> Iterator[str]:
    """Names of the metrics that an expression asks for."""
    promql_parser.parse(text)
    yield from set(re.findall(r"\b(airflow_\w+)", text))


@pytest.mark.slow
def test_alerts_ask_for_what_airflow_counts(airflow: Any) -> None:
    """By the exporter's mapping, or unmapped: then dots become underscores."""
    sent = {re.sub(r"\{\w+\}", "*", name) for name in airflow["metrics"]}
    mapped = {}
    for mapping in yaml.safe_load((FOLDER / "statsd.yml").read_text())["mappings"]:
        assert mapping["match"].removeprefix("airflow.") in sent
        mapped[mapping["name"]] = mapping
    plain = {f"airflow_{name.replace('.', '_')}" for name in sent if "*" not in name}
    for rule in RULES:
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket")
        for name in metrics(rule["expr"]):
            assert name.removesuffix("_count") in mapped or name in plain, f"{rule['alert']}: {name}"


@pytest.mark.slow
def test_alerts_name_dags_and_pools_that_there_are(airflow: Any) -> None:
    dags = {dag for dag, *_ in airflow["tasks"]}
    for rule in RULES:
        assert set(re.findall(r'dag_id="(\w+)"', rule["expr"])) <= dags
        for pattern in re.findall(r'pool=~"([^"]+)"', rule["expr"]):
            assert {pool for pool in POOLS if re.fullmatch(pattern, pool)} == set(POOLS)
