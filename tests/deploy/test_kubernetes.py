"""The manifests as ``kubectl kustomize`` builds them: valid by schema, complete by the catalogue, true to the settings and the routes."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from models.manifest import load_manifest
from shared.settings import PREFIX, Settings
from tools import kubernetes
from workers.catalog import load_catalog

DEPLOY = Path(__file__).parents[2] / "deploy"
SCHEMAS = DEPLOY / "k8s" / "schemas"
#: The oldest that is tried: PodDisruptionBudgets and autoscalers are what they are since long before.
KUBERNETES = ("1.29", kubernetes_validate.latest_version())
OVERLAYS = ("cpu", "gpu")
CATALOG = load_catalog(None)


def run_kustomize(folder: Path) -> str:
    """What ``kubectl kustomize`` makes of a folder."""
    if shutil.which("kubectl") is None:
        if os.environ.get("CI"):
            raise AssertionError("kubectl is needed: apt-get install kubernetes-client, or kubectl of your distribution")
        pytest.skip("there is no kubectl")
    done = subprocess.run(["kubectl", "kustomize", str(folder)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "deprecated" not in done.stderr, done.stderr
    return done.stdout


@functools.cache
def built(overlay: str) -> tuple[dict[str, Any], ...]:
    """Every object of an overlay."""
    return tuple(yaml.safe_load_all(run_kustomize(DEPLOY / "k8s" / "overlays" / overlay)))


def of_kind(overlay: str, kind: str) -> dict[str, dict[str, Any]]:
    """Objects of a kind by name."""
    return {found["metadata"]["name"]: found for found in built(overlay) if found["kind"] == kind}


def pods(overlay: str) -> dict[str, dict[str, Any]]:
    """What the pods of each Deployment and Job are made of, by the owner's name."""
    return {name: owner["spec"]["template"]["spec"] for kind in ("Deployment", "Job") for name, owner in of_kind(overlay, kind).items()}


@pytest.mark.parametrize("name", kubernetes.FILES)
def test_what_is_made_is_up_to_date(name: str) -> None:
    assert (kubernetes.BASE / name).read_text() == kubernetes.render(name), "run: make k8s"


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str) -> None:
    for found in built(overlay):
        own = SCHEMAS / f"{found['kind']}.json"
        if own.exists():
            jsonschema.Draft202012Validator(json.loads(own.read_text())).validate(found)
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(found, version, strict=True)  # raises for a kind that it does not know


@pytest.mark.parametrize("spoil", [{"triggers": []}, {"minReplicas": 1}, {"scaleTargetRef": {}}])
def test_our_schemas_refuse(spoil: dict[str, Any]) -> None:
    found = dict(next(iter(of_kind("cpu", "ScaledObject").values())))
    found["spec"] = {**found["spec"], **spoil}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json.loads((SCHEMAS / "ScaledObject.json").read_text())).validate(found)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_service_is_deployed_guarded_and_scaled(overlay: str) -> None:
    titles = {kubernetes.object_name(*key): key for key in CATALOG}
    deployments = of_kind(overlay, "Deployment")
    assert set(deployments) == {*titles, "gateway", "recorder"}
    assert set(of_kind(overlay, "PodDisruptionBudget")) == set(deployments)
    scaled = of_kind(overlay, "ScaledObject")
    assert set(scaled) == set(titles)
    for title, (service, _) in titles.items():
        (container,) = pods(overlay)[title]["containers"]
        assert container["args"] == [service]
        (trigger,) = scaled[title]["spec"]["triggers"]
        assert trigger["metadata"]["queueName"] == f"sensorium.{service}"
        assert (trigger["metadata"]["protocol"], trigger["metadata"]["excludeUnacknowledged"]) == ("http", "false")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_names_of_the_environment_are_settings(overlay: str) -> None:
    named = {entry["name"] for pod in pods(overlay).values() for container in pod["containers"] for entry in container.get("env", ())}
    for configuration in of_kind(overlay, "ConfigMap").values():
        named |= set(configuration["data"])
    assert named
    for name in named - {"RABBITMQ_USER", "RABBITMQ_PASSWORD"}:
        assert name.removeprefix(PREFIX).lower() in Settings.model_fields, name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_probes_and_monitors_ask_for_paths_that_are_served(overlay: str) -> None:
    from gateway.routes import health

    served = {route.path for route in health.ROUTES}
    probes = [
        container[probe]["httpGet"]
        for name, pod in pods(overlay).items()
        if name in of_kind(overlay, "Deployment")
        for container in pod["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe")
    ]
    assert {probe["path"] for probe in probes} == {"/healthz", "/readyz"} <= served
    assert {endpoint["path"] for found in of_kind(overlay, "ServiceMonitor").values() for endpoint in found["spec"]["endpoints"]} <= served


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pods_may_do_little(overlay: str) -> None:
    for name, pod in pods(overlay).items():
        assert pod["automountServiceAccountToken"] is False, name
        assert pod["securityContext"]["runAsNonRoot"] is True, name
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, name
            assert container["resources"]["limits"]["memory"], name


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_whoever_is_scaled_down_finishes_its_work(overlay: str) -> None:
    (configuration,) = of_kind(overlay, "ConfigMap").values()
    drain = float(configuration["data"]["SENSORIUM_DRAIN_SECONDS"])
    assert drain >= Settings.model_fields["process_seconds"].default
    for name, pod in pods(overlay).items():
        if name.startswith("worker-"):
            assert pod["terminationGracePeriodSeconds"] > drain


def test_everybody_is_covered_by_a_policy_of_the_network() -> None:
    policies = of_kind("cpu", "NetworkPolicy")
    assert policies["nothing"]["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    known = {label for name in pods("cpu") for label in [name]}
    for policy in policies.values():
        name = policy["spec"]["podSelector"].get("matchLabels", {}).get("app.kubernetes.io/name")
        assert name in {None, "rabbitmq", *known}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_index_has_a_secret_that_only_the_models_read(overlay: str) -> None:
    readers = {name: [source.get("secretRef") for source in pod["containers"][0].get("envFrom", ())] for name, pod in pods(overlay).items()}
    secret = {"name": "models-index", "optional": True}
    assert [name for name, secrets in readers.items() if secret in secrets] == ["models"]
    pod = pods(overlay)["models"]
    (volume,) = [volume["name"] for volume in pod["volumes"] if volume.get("secret", {}).get("secretName") == "models-index"]
    (mount,) = [mount for mount in pod["containers"][0]["volumeMounts"] if mount["name"] == volume]
    assert (mount["mountPath"], mount["readOnly"]) == ("/index", True)


def test_the_port_of_an_index_is_added_as_documented(tmp_path: Path) -> None:
    page = (DEPLOY.parent / "docs" / "operations.md").read_text()
    (patch,) = re.findall(r"```yaml\n(patches:\n.*?)```", page, re.DOTALL)
    below = os.path.relpath(DEPLOY / "k8s" / "overlays" / "cpu", tmp_path.resolve())
    (tmp_path / "kustomization.yaml").write_text(f"resources: [{below}]\n{patch}")
    done = run_kustomize(tmp_path)
    found = {each["metadata"]["name"]: each for each in yaml.safe_load_all(done) if each["kind"] == "NetworkPolicy"}
    assert [port["port"] for port in found["models"]["spec"]["egress"][0]["ports"]] == [443, 8443]


def test_the_compose_file_lets_an_index_of_ones_own_through() -> None:
    models = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())["services"]["models"]
    assert {"PIP_INDEX_URL", "PIP_CERT", "PIP_CONFIG_FILE", "npm_config_registry", "npm_config_userconfig"} <= set(models["environment"])
    assert models["environment"]["NODE_EXTRA_CA_CERTS"] == "${NODE_EXTRA_CA_CERTS:-}"
    assert "${INDEX_FOLDER:-./index}:/index:ro" in models["volumes"]


def test_networks_run_on_gpus_where_there_are_some() -> None:
    with_gpu = {name for name, pod in pods("gpu").items() if "nvidia.com/gpu" in pod["containers"][0]["resources"]["limits"]}
    # A tiny network that runs a window at a time, networks of 8 bit integers, and names that only some requests ask for.
    stays = {"voice_detection", "text_to_speech", "sound_detection"}
    networks = {model.name for model in load_manifest().models}
    expected = {
        kubernetes.object_name(kind.name, kind.version)
        for kind in CATALOG.values()
        if networks & set(kind.models) and kind.name not in stays
    }
    assert with_gpu - {"worker-composite"} == expected - {"worker-composite"}
    for name in with_gpu:
        assert pods("gpu")[name]["containers"][0]["image"].startswith("sensorium/worker-gpu:")


def test_the_compose_file_has_a_worker_for_every_service() -> None:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    commands = {name: service["command"] for name, service in compose["services"].items() if name.startswith("worker-")}
    assert all(name == f"worker-{words[0]}" for name, words in commands.items())
    served = {"text_to_speech" if words == ["tts"] else words[0] for words in commands.values()}
    assert served == {name for name, _ in CATALOG}


def test_the_compose_file_has_no_password_that_works() -> None:
    text = (DEPLOY / "docker-compose.yml").read_text()
    secrets = re.findall(r"\$\{(\w*(?:PASSWORD|SECRET_KEY))([^}]*)\}", text)
    assert len(secrets) >= 5
    for name, default in secrets:
        assert default.startswith(":?") or (name == "GRAFANA_PASSWORD" and default == ":-"), name


def test_the_compose_file_sets_settings() -> None:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    named = {name for service in compose["services"].values() for name in service.get("environment", {}) if name.startswith(PREFIX)}
    named -= {"SENSORIUM_DOMAIN"}  # Caddy's
    assert {name for name in named if name.removeprefix(PREFIX).lower() not in Settings.model_fields} == set()


def test_the_images_are_built_of_every_package() -> None:
    packages = tomllib.loads((DEPLOY.parent / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["include"]
    let_in = {line[1:] for line in (DEPLOY.parent / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert {name.rstrip("*") for name in packages} <= let_in
