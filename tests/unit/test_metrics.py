"""What is exported is what is documented, and keeps to Prometheus' conventions."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from shared import metrics

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| `(sensorium_\w+)` \| (\w+) \| ([\w, ]*)\|", re.MULTILINE)
#: Every value of a label must be known beforehand, or come from a list that an operator keeps small.
LABELS = {
    "route",
    "method",
    "status",
    "service",
    "code",
    "outcome",
    "reason",
    "queue",
    "device",
    "part",
    "form",
    "plan",
    "model",
    "stands_in_for",
}


def exported() -> dict[str, tuple[str, tuple[str, ...]]]:
    """(type, labels) of every metric of the product, by the name under which it is scraped."""
    found = {}
    for metric in vars(metrics).values():
        if isinstance(metric, MetricWrapperBase):
            (family,) = metric.describe()
            name = f"{family.name}_total" if family.type == "counter" else family.name
            found[name] = (family.type, tuple(metric._labelnames))
    return found


def test_the_document_lists_what_is_exported() -> None:
    text = (ROOT / "docs" / "observability.md").read_text()
    documented = {name: (kind, tuple(filter(None, labels.strip().split(", ")))) for name, kind, labels in ROW.findall(text)}
    assert len(documented) > 20, "the table was not found"
    assert documented == exported()


def test_nothing_of_the_product_is_counted_outside_of_its_list() -> None:
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in REGISTRY.collect()}
    assert {name for name in names if name.startswith("sensorium_")} == set(exported())


def test_names_say_their_unit_and_labels_are_few() -> None:
    for name, (kind, labels) in exported().items():
        assert set(labels) <= LABELS, name
        assert name.endswith("_total") == (kind == "counter"), name
        assert not re.search(r"_(ms|milliseconds|minutes|kb|mb)\b", name), name
        if kind == "histogram":
            assert name.endswith(("_seconds", "_items", "_bytes")), name
