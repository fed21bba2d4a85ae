"""Alerts and dashboards: they say what they mean, and of metrics that the system exports with these labels."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from shared import errors, metrics  # noqa: F401 - the metrics are registered when they are imported

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus" / "alerts.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "sensorium.json"
#: What Prometheus itself, the processes' library and the exporter of GPUs tell.
OTHERS = re.compile(r"up|process_\w+|DCGM_\w+")
_SELECTOR = re.compile(r"\b([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{([^}]*)\})")
_METRIC = re.compile(r"\b(sensorium_[a-z_]+|process_[a-z_]+|DCGM_\w+)\b")
_MATCHER = re.compile(r'(\w+)(=~|!~|!=|=)"([^"]*)"')


def expressions() -> Iterator[str]:
    """Every question that an alert or a panel asks."""
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))


def exported() -> dict[str, tuple[str, ...]]:
    """The labels of every series by its name."""
    series: dict[str, tuple[str, ...]] = {}
    for collector in list(REGISTRY._collector_to_names):
        labels = tuple(getattr(collector, "_labelnames", ()))
        series |= dict.fromkeys(REGISTRY._collector_to_names[collector], labels)
    return series


def promtool(*words: str) -> None:
    if shutil.which("promtool") is None:
        if os.environ.get("CI"):
            raise AssertionError("promtool is needed: apt-get install prometheus")
        pytest.skip("there is no promtool")
    done = subprocess.run(["promtool", *words], cwd=ALERTS.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_rules() -> None:
    promtool("check", "rules", "alerts.yml")


def test_the_alerts_fire_when_they_should() -> None:
    promtool("test", "rules", "alerts.test.yml")


def test_what_is_asked_for_is_exported() -> None:
    known = exported()
    asked = {name for expression in expressions() for name in _METRIC.findall(expression)}
    assert len(asked) > 20
    assert {name for name in asked if name not in known and not OTHERS.fullmatch(name)} == set()


def test_the_labels_that_are_asked_for_are_there() -> None:
    known = exported()
    for expression in expressions():
        for name, matchers in _SELECTOR.findall(expression):
            for label, _, _ in _MATCHER.findall(matchers):
                assert OTHERS.fullmatch(name) or label in known[name], expression


def test_the_codes_of_errors_that_are_asked_for_exist() -> None:
    codes = {kind.code for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.PerceptionError)} | {"done"}
    asked = set()
    for expression in expressions():
        for label, _, value in _MATCHER.findall(expression):
            asked |= set(value.split("|")) if label in ("code", "outcome") else set()
    assert asked
    assert asked <= codes


def test_every_alert_says_where_its_mending_stands() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        for rule in group["rules"]:
            assert rule["annotations"]["description"].endswith(f"docs/operations.md, {rule['alert']}")
            assert f"### {rule['alert']}" in guide


def test_prometheus_looks_for_every_worker_of_the_compose_file() -> None:
    compose = yaml.safe_load((DEPLOY / "docker-compose.yml").read_text())
    scraped = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    names = {job["job_name"]: job["dns_sd_configs"][0]["names"] for job in scraped if "dns_sd_configs" in job}
    assert names["worker"] == sorted(name for name in compose["services"] if name.startswith("worker-"))
    assert set(names["gateway"]) | set(names["recorder"]) <= set(compose["services"])
