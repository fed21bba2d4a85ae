"""Writes deploy/k8s/base/workers.yaml and scaling.yaml: a Deployment, a PodDisruptionBudget and a ScaledObject for every service of the catalogue.

`python tools/kubernetes.py` (make k8s). The two templates beside the result are the only place to change what all workers have in common.
"""

from __future__ import annotations

import sys
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from shared.jobs import queue_of
from shared.settings import Settings
from workers.catalog import load_catalog

BASE = Path(__file__).resolve().parent.parent / "deploy" / "k8s" / "base"
FILES = ("workers.yaml", "scaling.yaml")


def render(name: str) -> str:
    """The text of one of `FILES`."""
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


def object_name(service: str, version: int) -> str:
    """Kubernetes' names know no underscore."""
    return f"worker-{service.replace('_', '-')}" + ("" if version == 1 else f"-{version}")


def main() -> int:
    for name in FILES:
        (BASE / name).write_text(render(name), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
