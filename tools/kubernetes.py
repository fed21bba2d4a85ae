"""Writes what deploy/k8s/base says of each service of the catalogue, and its rules of alerts: `python -m tools.kubernetes` (make k8s).

A Deployment, a PodDisruptionBudget and a ScaledObject for every service: what all of them have in common stands in deploy/k8s/templates.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.jobs import queue_of
from shared.settings import Settings
from workers.catalog import load_catalog

BASE = Path(__file__).resolve().parent.parent / "deploy" / "k8s" / "base"
FILES = ("workers.yaml", "scaling.yaml", "rules.yaml")
ALERTS = BASE.parents[1] / "prometheus" / "alerts.yml"


def render(name: str) -> str:
    """The text of one of `FILES`."""
    if name == "rules.yaml":
        return _rules()
    environment = Environment(loader=FileSystemLoader(BASE.parent / "templates"), undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - YAML
    namespace = Settings.model_fields["namespace"].default
    services = [
        {
            "name": kind.name,
            "title": object_name(kind.name, kind.version),
            "argument": kind.name if kind.version == 1 else f"{kind.name}.{kind.version}",
            "queue": f"{namespace}.{queue_of(kind.name, kind.version)}",
        }
        for kind in load_catalog(None).values()
    ]
    return environment.get_template(f"{name}.jinja").render(services=services)


def _rules() -> str:
    """The alerts as the Prometheus operator takes them."""
    head = """# Made by `make k8s` from deploy/prometheus/alerts.yml: do not change it here.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: sensorium
spec:
"""
    text = ALERTS.read_text(encoding="utf-8")
    return head + "".join(f"  {line}\n" for line in text[text.index("groups:") :].splitlines())


def object_name(service: str, version: int) -> str:
    """Kubernetes' names know no underscore."""
    return f"worker-{service.replace('_', '-')}" + ("" if version == 1 else f"-{version}")


def main() -> int:
    for name in FILES:
        (BASE / name).write_text(render(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
