"""The fifteenth service is one file: the one in docs/adding-a-service.md, dropped into a folder, serves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sensorium.demo import astronaut_jpeg
from tests.integration.conftest import DEMO
from tests.integration.processes import ROOT, post_job, running_system
from workers.catalog import CatalogError, load_catalog
from workers.contract import Item


def code_of_the_guide() -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / "docs/adding-a-service.md").read_text(), re.DOTALL)


async def test_a_file_dropped_into_a_folder_is_a_service(tmp_path: Path) -> None:
    folder = tmp_path / "services"
    folder.mkdir()
    (folder / "brightness.py").write_text(code_of_the_guide()[0])
    with running_system(tmp_path, {"EXTRA_SERVICES": str(folder)}) as system:
        system.credentials = DEMO
        process = system.start("up", "brightness")
        await process.ready()
        async with system.client(process) as client:
            status, answer = await post_job(
                client, "brightness", {"image": "attachment://a", "async": False}, {"attachment://a": astronaut_jpeg()}
            )
            assert status == 201
            assert answer["input_size"] == [512, 512]
            assert 0.2 < answer["brightness"] < 0.8
            async with client.get("/services/brightness/1") as response:
                document = await response.json()
        assert document["description"] == "How bright is a picture?"
        assert set(document["input"]["properties"]) >= {"image"}


def test_the_test_of_the_guide_passes(tmp_path: Path) -> None:
    service, test = code_of_the_guide()
    (tmp_path / "brightness.py").write_text(service)
    names = {"Brightness": load_catalog(tmp_path)["brightness", 1], "Item": Item}
    exec(test, names)
    names["test_grey_is_half_bright"]()  # type: ignore[operator]


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        ("other.py", ("", ""), "called like the service"),
        ("brightness.py", ('name = "brightness"', 'name = "Bright ness"'), "lower-case"),
        ("brightness.py", ('name = "brightness"', 'name = "dummy"'), "called like"),
        ("nothing.py", (None, "X = 1"), "defines no service"),
    ],
)
def test_a_file_that_breaks_a_rule_stops_the_process(tmp_path: Path, name: str, change: tuple[str | None, str], complaint: str) -> None:
    text = code_of_the_guide()[0]
    (tmp_path / name).write_text(change[1] if change[0] is None else text.replace(change[0], change[1]) if change[0] else text)
    with pytest.raises(CatalogError, match=complaint):
        load_catalog(tmp_path)
