"""What is in deploy/: of valid form, in agreement with itself and with the code that it runs."""

import importlib.util
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.sections import Serving
from mmprod.serving.gateway.settings import Settings

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
DOCKERFILE = (DEPLOY / "Dockerfile").read_text()
DOCKERFILES = ("deploy/Dockerfile", "deploy/airflow/Dockerfile")
SETTINGS = {name: DEPLOY / name / "settings.json" for name in ("kubernetes", "kubernetes-gpu")}
MANIFESTS = sorted(
    set((DEPLOY / "kubernetes").glob("*.yaml")) - {DEPLOY / "kubernetes" / "kustomization.yaml"}
)
NAME = {"app.kubernetes.io/name": "mmprod-serving"}


RESOURCES = [found for path in MANIFESTS for found in yaml.safe_load_all(path.read_text())]
KINDS = {found["kind"]: found for found in RESOURCES}
POD = KINDS["Deployment"]["spec"]["template"]["spec"]
CONTAINER = POD["containers"][0]


def test_every_file_is_known_to_somebody() -> None:
    """No manifest is forgotten by the kustomization, no file by the page."""
    assert set(yaml.safe_load((DEPLOY / "kubernetes/kustomization.yaml").read_text())["resources"]) == {
        path.name for path in MANIFESTS
    }
    page = (ROOT / "docs" / "serving.md").read_text("utf-8")
    for path in re.findall(r"deploy/[\w./-]*\w", page):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda found: found["kind"])
def test_resources_have_the_form_that_kubernetes_wants(resource: Any) -> None:
    kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


def test_resources_mean_each_other() -> None:
    assert KINDS["Deployment"]["spec"]["selector"]["matchLabels"] == NAME
    assert KINDS["Deployment"]["spec"]["template"]["metadata"]["labels"] == NAME
    assert KINDS["Service"]["spec"]["selector"] == NAME
    assert KINDS["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == NAME
    assert KINDS["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == NAME
    target = KINDS["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", KINDS["Deployment"]["metadata"]["name"])
    assert "replicas" not in KINDS["Deployment"]["spec"], "the autoscaler's count would be overruled"
    claims = [
        volume["persistentVolumeClaim"]["claimName"]
        for volume in POD["volumes"]
        if "persistentVolumeClaim" in volume
    ]
    assert claims == [KINDS["PersistentVolumeClaim"]["metadata"]["name"]]


def test_ports_and_folders_are_those_of_the_settings() -> None:
    settings = Settings.read(SETTINGS["kubernetes"])
    ports = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
    assert ports == {"http": settings.port, "metrics": settings.metrics_port}
    annotations = KINDS["Deployment"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations["prometheus.io/port"] == str(settings.metrics_port)
    asked = [rule["port"] for way in KINDS["NetworkPolicy"]["spec"]["ingress"] for rule in way["ports"]]
    assert asked == ["http", "metrics"]
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in CONTAINER["volumeMounts"]}
    assert {path for path, closed in mounts.items() if closed} == {
        "/etc/mmprod",
        str(settings.release.parent),
    }
    assert {path for path, closed in mounts.items() if not closed} == {
        str(settings.folder),
        "/tmp",
        "/dev/shm",
    }


def test_no_pod_is_killed_before_its_last_requests_are_answered() -> None:
    settings = Settings.read(SETTINGS["kubernetes"])
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > pause + settings.deadline + 10
    startup = CONTAINER["startupProbe"]
    for path in SETTINGS.values():
        assert startup["failureThreshold"] * startup["periodSeconds"] > Settings.read(path).start_seconds


@pytest.mark.parametrize("path", SETTINGS.values(), ids=SETTINGS)
def test_settings_are_accepted_and_are_the_defaults(path: Path) -> None:
    settings, defaults = Settings.read(path), Serving()
    same = set(vars(settings)) & set(Serving.model_fields) - {"host", "models", "start_seconds"}
    assert len(same) >= 9
    for name in same:
        assert getattr(settings, name) == getattr(defaults, name), name


def test_gpus_change_little() -> None:
    one, other = (json.loads(path.read_text()) for path in SETTINGS.values())
    assert {key for key in one if one[key] != other[key]} == {"libraries", "config_name", "start_seconds"}
    assert (ROOT / "triton_models" / "text_encoder" / "configs" / f"{other['config_name']}.pbtxt").is_file()


@pytest.mark.parametrize("folder", SETTINGS)
def test_kustomize_puts_them_together(folder: str, tool) -> None:
    done = tool("kubectl", "kustomize", DEPLOY / folder)
    assert done.returncode == 0, done.stderr
    found = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    for one in found.values():
        kubernetes_validate.validate(one, kubernetes_validate.latest_version(), strict=True)
    pod = found["Deployment"]["spec"]["template"]["spec"]
    assert {"configMap": {"name": found["ConfigMap"]["metadata"]["name"]}, "name": "settings"} in pod[
        "volumes"
    ]
    gpus = pod["containers"][0]["resources"]["limits"].get("nvidia.com/gpu", 0)
    assert (gpus, pod["containers"][0]["image"]) == (
        (1, "mmprod-serving:gpu") if folder.endswith("gpu") else (0, "mmprod-serving:cpu")
    )


def test_compose_files_have_their_form(tool) -> None:
    files = DEPLOY / "compose.yaml", DEPLOY / "compose.gpu.yaml"
    done = tool("check-jsonschema", "--builtin-schema", "vendor.compose-spec", *files)
    assert done.returncode == 0, done.stdout + done.stderr
    for path in files:
        service = yaml.safe_load(path.read_text())["services"]["serving"]
        assert f"AS {service['build']['target']}\n" in DOCKERFILE
        assert service["image"] == f"mmprod-serving:{service['build']['target']}"
        for volume in service["volumes"]:
            assert not volume.startswith("./") or (DEPLOY / volume.partition(":")[0]).exists(), volume


def test_compose_hardens_as_kubernetes_does() -> None:
    service = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["serving"]
    assert service["read_only"] and service["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    security = CONTAINER["securityContext"]
    assert security["readOnlyRootFilesystem"] and security["capabilities"] == {"drop": ["ALL"]}
    assert POD["securityContext"]["runAsNonRoot"] and not security["allowPrivilegeEscalation"]


def test_prometheus_finds_the_service_and_its_rules() -> None:
    content = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())
    assert all((DEPLOY / name).is_file() for name in content["rule_files"])
    port = Settings.read(SETTINGS["kubernetes"]).metrics_port
    (job,) = content["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"serving:{port}"]}]


def test_the_images_have_no_faults_that_a_linter_knows(tool) -> None:
    done = tool("hadolint", DEPLOY / "Dockerfile")
    assert done.returncode == 0, done.stdout


def test_the_images_run_what_there_is() -> None:
    modules = re.findall(r'"-m", "([\w.]+)"', DOCKERFILE)
    modules += re.findall(r"-m,? (mmprod[\w.]+)", (ROOT / "docs" / "serving.md").read_text("utf-8"))
    assert {"mmprod.serving.gateway", "mmprod.serving.probe"} <= set(modules)
    for module in modules:
        assert importlib.util.find_spec(module), module
    assert importlib.util.find_spec("mmprod.serving.gateway.__main__")
    for name in re.findall(r"^COPY (?!--)(\S+)", DOCKERFILE, re.MULTILINE):
        assert (ROOT / name).exists(), name


def test_both_images_have_the_same_runtime() -> None:
    wanted = re.search(r"^onnxruntime==(\S+)$", (ROOT / "constraints-triton.txt").read_text(), re.MULTILINE)
    found = re.search(r'ONNXRUNTIME="onnxruntime-gpu==(\S+)"', DOCKERFILE)
    assert wanted and found and found[1] == wanted[1]


def context(root: Path, dockerfile: str, target: Path) -> Path:
    """What of a folder is let through to the build of an image."""
    lines = (root / f"{dockerfile}.dockerignore").read_text().splitlines()
    assert lines[0] == "*"
    target.mkdir()
    for source in (path for line in lines if line.startswith("!") for path in root.glob(line[1:])):
        if source.is_dir():
            shutil.copytree(source, target / source.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return target


@pytest.mark.slow
@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_the_images_context_is_enough_for_the_wheel(dockerfile: str, tmp_path: Path) -> None:
    """Of what the dockerignore lets through, the wheel is made, and every package is in it."""
    context(ROOT, dockerfile, tmp_path / "source")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    built = [*command, "--wheel-dir", str(tmp_path), str(tmp_path / "source")]
    done = subprocess.run(built, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    inside = set(zipfile.ZipFile(next(tmp_path.glob("*.whl"))).namelist())
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    assert {f"{package.replace('.', '/')}/__init__.py" for package in packages} <= inside
    assert "mmprod/triton_models/text_encoder/config.pbtxt" in inside and "mmprod/dags/pools.json" in inside


@pytest.mark.parametrize("dockerfile", DOCKERFILES)
def test_a_folder_that_deploy_has_written_is_a_context_with_a_wheel(dockerfile: str, tmp_path: Path) -> None:
    """The wheel is taken where there is no project, and all that is copied is there."""
    written, wheels = tmp_path / "written", tmp_path / "wheels"
    assert CliRunner().invoke(app, ["deploy", str(written)]).exit_code == 0
    (written / "mmprod-0.1.0-py3-none-any.whl").write_text("a wheel")
    source = context(written, dockerfile, tmp_path / "source")
    text = (written / dockerfile).read_text()
    for name in re.findall(r"^COPY (?:--chown\S+ )?(\S+) ", text, re.MULTILINE):
        assert (source / name).exists(), name
    steps = re.search(r"^RUN (if .*?fi)$", text, re.MULTILINE | re.DOTALL)
    assert steps
    script = re.sub(r"(?:/tmp)?/wheels", str(wheels), steps[1].replace("/source", str(source)))
    subprocess.run(["sh", "-ec", script], cwd=source, check=True)
    assert [path.read_text() for path in wheels.iterdir()] == ["a wheel"]


def test_the_systemd_unit_is_accepted(tmp_path: Path, tool) -> None:
    text = (DEPLOY / "mmprod-serving.service").read_text()
    commands = re.findall(r"^Exec\w+=/srv/mmprod/.venv/bin/(.*)$", text, re.MULTILINE)
    assert commands == ["mmprod triton run", "mmprod triton reload"]
    unit = tmp_path / "mmprod-serving.service"
    unit.write_text(text.replace("/srv/mmprod/.venv/bin/mmprod", shutil.which("true") or ""))
    done = tool("systemd-analyze", "verify", unit)
    assert done.returncode == 0 and "mmprod-serving" not in done.stderr, done.stderr
