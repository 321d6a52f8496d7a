"""What compose, the images, the pods and the dashboards name must exist in the code."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from services.chassis import metrics
from services.chassis.settings import PREFIX, ChassisSettings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "deploy/Dockerfile"
KUBERNETES = sorted((ROOT / "deploy/kubernetes").glob("*.yaml"))
STAGES = ("embed", "export", "ingest", "preprocess", "review", "scenes")
HTTP_PORT = 8080


def compose() -> dict:
    return yaml.safe_load(COMPOSE.read_text())


def documents(path: Path) -> list[dict]:
    return list(yaml.safe_load_all(path.read_text()))


def settings_of(stage: str) -> set[str]:
    kind = importlib.import_module(f"services.{stage}.settings").Settings
    assert issubclass(kind, ChassisSettings)
    return {f"{PREFIX}{name.upper()}" for name in kind.model_fields}


def chassis_settings() -> set[str]:
    return {f"{PREFIX}{name.upper()}" for name in ChassisSettings.model_fields}


def named_settings(text: str) -> set[str]:
    return {name for name in re.findall(r"HEATERS_[A-Z0-9_]+", text) if not name.endswith("_")}


def has_compose_plugin() -> bool:
    if not shutil.which("docker"):
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def test_docker_compose_accepts_the_file():
    if shutil.which("docker-compose"):
        command = ["docker-compose"]
    else:
        assert has_compose_plugin(), "install docker-compose (Debian package docker-compose) and run this again"
        command = ["docker", "compose"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    done = subprocess.run(
        [*command, "--file", str(COMPOSE), "config", "-q"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_compose_runs_every_service_and_migrates_each_first():
    services = compose()["services"]
    for stage in STAGES:
        assert services[stage]["build"]["args"]["SERVICE"] == stage
        assert f"migrate-{stage}" in services[stage]["depends_on"]
        assert services[f"migrate-{stage}"]["command"] == ["python", "-m", f"services.{stage}", "migrate"]
        assert (ROOT / "services" / stage).is_dir()


@pytest.mark.parametrize("stage", STAGES)
def test_every_setting_in_compose_exists_in_the_service_that_gets_it(stage: str):
    for name in (stage, f"migrate-{stage}"):
        given = {variable for variable in compose()["services"][name]["environment"] if variable.startswith(PREFIX)}
        assert given
        assert given <= settings_of(stage)


@pytest.mark.parametrize(
    "path",
    [COMPOSE, DOCKERFILE, ROOT / "deploy/topics.py", ROOT / "deploy/ready.py", *KUBERNETES],
    ids=lambda path: path.name,
)
def test_every_setting_named_in_deployment_files_exists(path: Path):
    known = chassis_settings().union(*(settings_of(stage) for stage in STAGES))
    assert named_settings(path.read_text()) <= known


def test_every_service_is_confined():
    services = compose()["services"]
    for name in [*STAGES, *(f"migrate-{stage}" for stage in STAGES), "topics", "bucket"]:
        service = services[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert not service["user"].startswith("0")
        assert any(mount.startswith("/tmp") for mount in service["tmpfs"])
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}


def test_every_service_is_asked_whether_it_is_ready():
    for stage in STAGES:
        assert compose()["services"][stage]["healthcheck"]["test"] == ["CMD", "python", "-m", "deploy.ready"]


def test_ports_are_published_on_loopback_alone():
    for service in compose()["services"].values():
        for port in service.get("ports", []):
            assert str(port).startswith("127.0.0.1:")


def test_one_port_is_named_everywhere():
    assert f"EXPOSE {HTTP_PORT}\n" in DOCKERFILE.read_text()
    assert f"HEATERS_HTTP_PORT={HTTP_PORT}\n" in DOCKERFILE.read_text()
    collector = yaml.safe_load((ROOT / "deploy/collector.yaml").read_text())
    scrape = collector["receivers"]["prometheus"]["config"]["scrape_configs"][0]
    assert scrape["dns_sd_configs"][0]["port"] == HTTP_PORT
    assert sorted(scrape["dns_sd_configs"][0]["names"]) == list(STAGES)
    services = compose()["services"]
    for stage in STAGES:
        assert services[stage]["environment"]["HEATERS_HTTP_PORT"] == str(HTTP_PORT)
        for port in services[stage].get("ports", []):
            assert port.endswith(f":{HTTP_PORT}")


def test_addresses_in_compose_are_those_its_servers_listen_on():
    services = compose()["services"]
    settings = services["ingest"]["environment"]
    host, port = settings["HEATERS_KAFKA_BOOTSTRAP"].split(":")
    assert f"INSIDE://{host}:{port}" in services[host]["environment"]["KAFKA_ADVERTISED_LISTENERS"]
    assert settings["HEATERS_S3_ENDPOINT"] == "http://objects:8333"
    assert "-s3.port=8333" in services["objects"]["command"]
    assert "@postgres:5432/heaters" in settings["HEATERS_DATABASE_URL"]
    assert services["postgres"]["environment"]["POSTGRES_DB"] == "heaters"
    collector = yaml.safe_load((ROOT / "deploy/collector.yaml").read_text())
    assert settings["HEATERS_OTLP_ENDPOINT"] == "http://collector:4318"
    assert collector["receivers"]["otlp"]["protocols"]["http"]["endpoint"].endswith(":4318")
    assert collector["exporters"]["otlp/traces"]["endpoint"].split(":")[0] in services


def test_only_embed_carries_torch():
    import tomllib

    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    carrying = {stage for stage in STAGES if any(name.startswith("torch") for name in extras[stage])}
    assert carrying == {"embed"}


def test_every_kubernetes_document_is_whole_and_listed():
    listed = yaml.safe_load((ROOT / "deploy/kubernetes/kustomization.yaml").read_text())["resources"]
    present = {path.name for path in KUBERNETES} - {"kustomization.yaml", "secrets.example.yaml"}
    assert set(listed) == present
    for path in KUBERNETES:
        for document in documents(path):
            assert document["apiVersion"]
            assert document["kind"]
            assert path.name == "kustomization.yaml" or document["metadata"]["name"]


@pytest.mark.parametrize("stage", STAGES)
def test_pods_are_confined_and_probed_on_the_port_they_open(stage: str):
    deployment, service, *scalers = documents(ROOT / f"deploy/kubernetes/{stage}.yaml")
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"]
    assert deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"]
    for container in [*pod["initContainers"], *pod["containers"]]:
        assert container["image"] == f"heaters-{stage}"
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["resources"]["limits"]["memory"]
    (container,) = pod["containers"]
    assert container["ports"] == [{"name": "http", "containerPort": HTTP_PORT}]
    assert container["readinessProbe"]["httpGet"] == {"path": "/health/ready", "port": "http"}
    given = {entry["name"] for entry in container.get("env", [])}
    assert given <= settings_of(stage)
    for scaler in scalers:
        assert scaler["spec"]["scaleTargetRef"]["name"] == stage
        assert "replicas" not in deployment["spec"], "an autoscaler and a fixed number would fight"
        named = [metric["external"]["metric"]["name"] for metric in scaler["spec"]["metrics"]]
        assert named == ["heaters_work_depth", "heaters_consumer_lag"]


def test_every_metric_on_the_dashboard_is_declared():
    dashboard = json.loads((ROOT / "deploy/grafana/dashboards/heaters.json").read_text())
    declared = {sample for family in metrics.REGISTRY.collect() for sample in family_names(family)}
    shown = {
        name
        for panel in dashboard["panels"]
        for target in panel["targets"]
        for name in re.findall(r"heaters_[a-z_]+", target["expr"])
    }
    assert shown
    assert shown <= declared


def family_names(family) -> set[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_count", "_sum"], "gauge": [""]}[family.type]
    return {family.name + ending for ending in endings}
