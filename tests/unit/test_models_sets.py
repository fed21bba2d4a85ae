"""The commands over the weights: which set is pulled, what is said of it, and how it is carried to another machine."""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from models import commands
from models.manifest import Manifest, load_manifest, parse_manifest
from models.needed import needs_of
from tests.unit.models_server import FileServer, serving
from tests.unit.test_models_pull import left_over

NAMES = ("best", "next", "spare", "helper", "instead", "extra", "other")
CONTENT = {name: random.Random(name).randbytes(2_000 + place) for place, name in enumerate(NAMES)}
SERVICES = {"faces": ("best",), "people": ("best", "extra"), "codes": ()}


def manifest(url: str) -> Manifest:
    """best has two stand-ins, of which the first needs helper, or instead, which needs it in turn; extra is optional."""
    rows = {
        "best": 'role = "primary"',
        "next": 'role = "stand-in"\nstands_in_for = ["best"]\ncompanions = ["helper"]',
        "spare": 'role = "stand-in"\nstands_in_for = ["best"]',
        "helper": 'role = "primary"',
        "instead": 'role = "stand-in"\nstands_in_for = ["helper"]\ncompanions = ["next"]',
        "extra": 'role = "primary"\noptional = true',
        "other": 'role = "alternative"',
    }
    text = "schema = 1\n"
    for name, row in rows.items():
        digest = hashlib.sha256(CONTENT[name]).hexdigest()
        text += f'[[model]]\nname = "{name}"\ntitle = "{name}"\ntask = "task of {name}"\nlicence = "MIT"\nlicence_note = "note of {name}"\n{row}\n'
        text += f'file = "t/{name}.onnx"\nsize = {len(CONTENT[name])}\nsha256 = "{digest}"\nurls = ["{url}/{name}"]\n'
    content = b"a voice"
    digest = hashlib.md5(content).hexdigest()
    text += '[[voice]]\nname = "anna"\nlanguage = "de-DE"\nlicence = "CC0-1.0"\ncard = "https://example.org/card"\n'
    for part in ("network", "config"):
        text += f'[voice.{part}]\nfile = "voices/anna.{part}"\nsize = {len(content)}\nmd5 = "{digest}"\nurls = ["{url}/anna"]\n'
    return parse_manifest(text)


def arguments(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    commands.add_arguments(parser)
    return parser.parse_args(words)


class Machine:
    """A models directory and a server that has some of the files."""

    def __init__(
        self, folder: Path, server: FileServer, has: Iterable[str], mirror: Path | None = None, prefer: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.server = server
        self.has(has)
        self.place = commands.Place(folder, str(mirror) if mirror else None, manifest(server.url), lambda: SERVICES, prefer)

    def has(self, names: Iterable[str]) -> None:
        self.server.files = {f"/{name}": CONTENT.get(name, b"a voice") for name in names}

    def run(self, *words: str) -> int:
        self.server.requests.clear()
        return commands.run(arguments(*words), self.place)

    def asked(self) -> list[str]:
        return [path.removeprefix("/") for path, _ in self.server.requests]

    def installed(self) -> list[str]:
        return [Path(name).stem for name in left_over(self.folder) if name.startswith("t/")]


@pytest.fixture
def server() -> Iterable[FileServer]:
    with serving(FileServer({})) as served:
        yield served


def test_the_preferred_ones_are_enough(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, server, NAMES)
    assert machine.run("pull", "--needed") == 0
    assert machine.installed() == ["best", "extra"]
    said = capsys.readouterr().out
    assert "best: installed, 0.0 MB for faces and 1 more, from 127.0.0.1:" in said
    assert "all 2 preferred models are installed" in said


def test_the_first_stand_in_that_can_be_had_comes_with_what_it_needs(
    server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = Machine(tmp_path, server, ["next", "helper", "spare"])
    assert machine.run("pull", "--needed") == 0
    assert machine.installed() == ["helper", "next"]
    (line,) = capsys.readouterr().out.splitlines()[2:]
    assert line.startswith("0 of 2 preferred models are installed; 1 stand-ins (next for best); services do without extra; ")
    assert "sensorium models pull --upgrade" in line


def test_a_stand_in_without_its_companion_is_none(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path, server, ["next", "spare"])
    assert machine.run("pull", "--needed") == 0
    assert "spare" in machine.installed()
    (need,) = needs_of(machine.place.manifest, {"faces": ["best"]})
    assert need.answer(tmp_path) == "spare, which stands in for best"


def test_what_stands_in_for_a_companion_will_do(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path, server, ["next", "instead", "spare"])
    assert machine.run("pull", "--needed") == 0
    assert machine.installed() == ["instead", "next"]
    assert machine.run("pull", "--needed") == 0
    assert machine.asked() == []
    (need,) = needs_of(machine.place.manifest, {"faces": ["best"]})
    assert need.answer(tmp_path) == "next, which stands in for best"


def test_what_is_satisfied_asks_nothing(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At every start: neither the preferred model nor the optional one that could not be had."""
    machine = Machine(tmp_path, server, ["spare"])
    assert machine.run("pull", "--needed") == 0
    assert machine.asked() == ["best", "helper", "instead", "spare", "extra"]
    assert machine.run("pull", "--needed") == 0
    assert machine.asked() == []
    machine.has(NAMES)
    assert machine.run("pull", "--needed") == 0
    assert machine.asked() == []
    capsys.readouterr()
    assert machine.run("pull", "--needed", "--quiet") == 0
    assert "spare for best" in capsys.readouterr().out  # which set it is, is always said when it is not the preferred one


def test_an_optional_one_is_asked_for_where_another_source_is_named(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "models", server, ["best"])
    assert machine.run("pull", "--needed") == 0
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "x").write_bytes(CONTENT["extra"])
    other = Machine(tmp_path / "models", server, [], tmp_path / "mirror")
    assert other.run("pull", "--needed") == 0
    assert other.installed() == ["best", "extra"]


def test_an_upgrade_brings_the_preferred_one(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, server, ["spare"])
    assert machine.run("pull", "--needed") == 0
    assert machine.run("pull", "--upgrade") == 1
    assert "sensorium models pull best" in capsys.readouterr().err
    machine.has(["best", "extra"])
    assert machine.run("pull", "--upgrade") == 0
    assert machine.installed() == ["best", "extra", "spare"]
    said = capsys.readouterr().out
    assert "all 2 preferred models are installed" in said
    assert "restart it for the new ones" in said


def test_an_upgrade_of_nothing_promises_nothing(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, server, ["best", "extra"])
    assert machine.run("pull", "--upgrade") == 0
    assert "restart" not in capsys.readouterr().out


def test_without_either_it_fails_and_names_all(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, server, ["extra"])
    assert machine.run("pull", "--needed") == 1
    said = capsys.readouterr()
    assert "missing: best" in said.out
    for name in ("best", "helper", "spare"):
        assert f"sensorium models pull {name}" in said.err


def test_both_sets(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path, server, NAMES)
    assert machine.run("pull", "--both") == 0
    assert machine.installed() == sorted(NAMES)


def test_of_both_sets_one_is_enough(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path / "a", server, ["spare"])
    assert machine.run("pull", "--both") == 0
    assert Machine(tmp_path / "b", server, ["best", "other"]).run("pull", "--both") == 0
    assert Machine(tmp_path / "c", server, ["extra", "other"]).run("pull", "--both") == 1


def test_a_service_alone(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path, server, ["spare", "extra"])
    assert machine.run("pull", "--service", "faces") == 0
    assert machine.installed() == ["spare"]
    assert machine.run("pull", "--service", "codes") == 0


def test_a_stand_in_that_the_operator_prefers(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Machine(tmp_path, server, NAMES).run("pull", "--service", "faces")
    machine = Machine(tmp_path, server, NAMES, prefer=("spare",))
    assert machine.run("pull", "--needed") == 0
    assert machine.installed() == ["best", "extra", "spare"]
    capsys.readouterr()
    assert machine.run("list") == 0
    assert "spare, which stands in for best" in capsys.readouterr().out


def test_a_damaged_file_is_replaced(server: FileServer, tmp_path: Path) -> None:
    machine = Machine(tmp_path, server, NAMES)
    machine.run("pull", "--needed")
    (tmp_path / "t" / "best.onnx").write_bytes(bytes(len(CONTENT["best"])))
    assert machine.run("pull", "--needed") == 0
    assert (tmp_path / "t" / "best.onnx").read_bytes() == CONTENT["best"]


def test_what_is_listed(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path, server, ["spare"])
    machine.run("pull", "--needed", "--quiet")
    capsys.readouterr()
    assert machine.run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if line.startswith("spare")).split()[1:6] == ["installed", "0.0", "stand-in", "addresses", "MIT"]
    assert "  task of best   spare, which stands in for best" in lines
    assert "  task of extra  nothing: extra is not installed (the service does without)" in lines
    assert machine.run("list", "best") == 0
    assert "answer with" not in capsys.readouterr().out


def test_an_export_is_a_mirror_of_everything(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    machine = Machine(tmp_path / "models", server, [*NAMES, "anna"])
    machine.run("pull", "best", "anna")
    carried = tmp_path / "carried"
    assert machine.run("export", str(carried)) == 0
    assert not {"best", "anna"} & set(machine.asked()), "what is installed is copied"
    assert f"SENSORIUM_MODELS_MIRROR={carried}" in capsys.readouterr().out
    licences = (carried / "LICENCES.md").read_text()
    assert "| t/best.onnx | best | MIT | http://" in licences
    assert "note of best" in licences
    assert "| voices/anna.network | anna | CC0-1.0 |" in licences
    assert "https://example.org/card" in licences
    for text, content in (("NOTICE", "WEIGHTS"), ("LICENSE", "Apache License"), ("manifest.toml", "schema = 1")):
        assert content in (carried / text).read_text()
    assert not (carried / ".pull").exists()
    other = Machine(tmp_path / "other", server, [], carried)
    assert other.run("pull") == 0
    assert other.run("pull", "--needed", "--voices", "de-DE") == 0
    assert other.asked() == []
    assert other.installed() == sorted(NAMES)
    assert "voices/anna.network" in left_over(tmp_path / "other")


def test_an_export_says_what_it_lacks(server: FileServer, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert Machine(tmp_path / "a", server, ["spare", "helper"]).run("export", str(tmp_path / "enough")) == 0
    assert "sensorium models pull best" in capsys.readouterr().err
    assert "best" not in (tmp_path / "enough" / "LICENCES.md").read_text()
    assert Machine(tmp_path / "b", server, ["extra"]).run("export", str(tmp_path / "not")) == 1
    assert Machine(tmp_path / "c", server, NAMES).run("export", str(tmp_path / "c")) == 2


def test_list_and_verify_say_what_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = commands.Place(tmp_path, None, load_manifest(), dict)
    assert commands.run(arguments("list"), place) == 0
    assert commands.run(arguments("verify", "yunet"), place) == 1
    said = capsys.readouterr()
    assert "yunet: missing" in said.out
    assert "sensorium models pull yunet" in said.err


def test_unknown_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = commands.Place(tmp_path, None, load_manifest(), dict)
    assert commands.run(arguments("pull", "nonsense"), place) == 2
    assert commands.run(arguments("pull", "--service", "nonsense"), place) == 2
    assert "no service is called 'nonsense'" in capsys.readouterr().err


def test_a_service_without_models_needs_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = commands.Place(tmp_path, None, load_manifest(), lambda: {"none": ()})
    assert commands.run(arguments("pull", "--quiet", "--service", "none"), place) == 0
    assert left_over(tmp_path) == []
    assert capsys.readouterr().out == ""


def test_a_pull_that_fails_says_what_helps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = commands.Place(tmp_path / "models", str(tmp_path / "nowhere"), load_manifest(), lambda: {"sounds": ("silero-vad",)})
    assert commands.run(arguments("pull", "--service", "sounds"), place) == 1
    assert "the mirror" in capsys.readouterr().err


def test_a_terminal_gets_a_bar_that_says_what_and_why(server: FileServer, tmp_path: Path) -> None:
    """A terminal that does not know its width, like that of a container."""
    server.files = {"/best": CONTENT["best"]}
    code = (
        "import sys; from pathlib import Path; from models import commands; from tests.unit.test_models_sets import *;"
        "place = commands.Place(Path(sys.argv[1]), None, manifest(sys.argv[2]), lambda: SERVICES);"
        "raise SystemExit(commands.run(arguments('pull', 'best'), place))"
    )
    ours, theirs = os.openpty()
    words = [sys.executable, "-c", code, str(tmp_path), server.url]
    with subprocess.Popen(words, cwd=Path(__file__).parents[2], stdout=subprocess.PIPE, stderr=theirs) as pulling:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the other side has ended
            while piece := os.read(ours, 4096):
                shown += piece
        os.close(ours)
        assert pulling.stdout is not None
        said = pulling.stdout.read()
    assert pulling.returncode == 0, said
    assert b"best for faces and 1 more: best.onnx" in shown
