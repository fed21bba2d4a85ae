from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from models.convert import PROGRAMS
from models.manifest import ManifestError, State, UnknownModel, load_manifest, parse_manifest
from tools import models_table

ENTRY = """
schema = 1
[[model]]
name = "a"
title = "A"
task = "t"
role = "primary"
file = "f/a.onnx"
size = 3
sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
licence = "MIT"
urls = ["https://example.org/a.onnx"]
"""

PACKAGE = f"""
[[model.package]]
package = "pypi:a==1.0"
path = "a/a.onnx"
sha256 = "{"ab" * 32}"
licence = "MIT"
"""


def test_a_package_is_a_source() -> None:
    npm = PACKAGE.replace("pypi:a==1.0", "npm:@of/a@1.0.2-beta").replace("a/a.onnx", "model/a.onnx")
    (model,) = parse_manifest(ENTRY.replace('urls = ["https://example.org/a.onnx"]', PACKAGE + npm)).models
    first, second = model.artefact.packages
    assert (first.ecosystem, first.name, first.version, first.path, first.spec) == ("pypi", "a", "1.0", "a/a.onnx", "a==1.0")
    assert (second.ecosystem, second.name, second.version, str(second)) == ("npm", "@of/a", "1.0.2-beta", "npm:@of/a@1.0.2-beta")
    assert model.artefact.inside(first) is model.artefact


def test_every_model_can_be_had_and_is_licensed() -> None:
    models = load_manifest().models
    assert len(models) >= 16
    for model in models:
        assert model.licence in ("MIT", "Apache-2.0"), model.name
        assert model.role in ("primary", "alternative", "stand-in"), model.name
        artefacts = model.conversion.originals if model.conversion else (model.artefact,)
        assert all(url.startswith("https://") for artefact in artefacts for url in artefact.urls), model.name
        assert all(artefact.source or not artefact.urls for artefact in artefacts), model.name
        assert all(len(artefact.source.commit) == 40 for artefact in artefacts if artefact.source), model.name
        assert model.conversion is None or model.conversion.program in PROGRAMS, model.name


def test_addresses_name_the_pinned_commit() -> None:
    for model in load_manifest().models:
        for artefact in model.conversion.originals if model.conversion else (model.artefact,):
            if artefact.source is None:
                continue  # only packages have it
            assert f"/{artefact.source.repository}/{artefact.source.commit}/{artefact.source.path}" in artefact.urls[0]


def test_state(tmp_path: Path) -> None:
    (model,) = parse_manifest(ENTRY).models
    assert model.state(tmp_path) is State.MISSING
    path = model.path(tmp_path)
    path.parent.mkdir()
    path.write_bytes(b"abd")
    assert (model.state(tmp_path), model.state(tmp_path, read=False)) == (State.CORRUPT, State.INSTALLED)
    path.write_bytes(b"abc")
    assert model.state(tmp_path) is State.INSTALLED
    path.write_bytes(b"abcd")
    assert model.state(tmp_path, read=False) is State.CORRUPT


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(UnknownModel, match="did you mean yunet"):
        load_manifest().get("yunett")


def test_select() -> None:
    manifest = load_manifest()
    assert manifest.select(())[: len(manifest.models)] == manifest.models
    assert {model.role for model in manifest.select(())[len(manifest.models) :]} == {"voice"}, "the default voices"
    assert [model.name for model in manifest.select(["yamnet", "yunet", "yamnet"])] == ["yamnet", "yunet"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('file = "f/a.onnx"', 'file = "../a.onnx"', "leaves the models directory"),
        ('file = "f/a.onnx"', 'file = "/a.onnx"', "leaves the models directory"),
        ('sha256 = "ba', 'sha256 = "zz', "64 hex digits"),
        ('urls = ["https://example.org/a.onnx"]', "", "neither an address"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace("pypi:a==1.0", "pypi:a>=1.0"), "neither pypi:name==version"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace("pypi:a==1.0", "npm:a==1.0"), "neither pypi:name==version"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace("pypi:a==1.0", "pypi:-r==1.0"), "neither pypi:name==version"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace("a/a.onnx", "a/../../a.onnx"), "no path inside"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace("a/a.onnx", "/a.onnx"), "no path inside"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace("ab" * 32, "ab" * 31), "must be 64 hex digits"),
        ('urls = ["https://example.org/a.onnx"]', PACKAGE.replace('licence = "MIT"', ""), "needs licence"),
        ('urls = ["https://example.org/a.onnx"]', f"{PACKAGE}url = 'x'", "has no url"),
        ('urls = ["https://example.org/a.onnx"]', f"{PACKAGE}file_size = 3", "goes with file_size"),
        ('urls = ["https://example.org/a.onnx"]', f"{PACKAGE}file_size = 3\nfile_sha256 = '{'ab' * 32}'", "for originals"),
        ('urls = ["https://example.org/a.onnx"]', 'convert = { program = "openvino" }', "needs originals"),
        ("size = 3", "", "size"),
        ("schema = 1", "schema = 2", "schema 1"),
        ("schema = 1", "schema", "line"),
    ],
)
def test_contradictions_name_the_entry(old: str, new: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        parse_manifest(ENTRY.replace(old, new))


def test_what_has_one_source_only_is_told() -> None:
    manifest = load_manifest()
    owned, _, packed = models_table.scarcity(manifest).partition(";")
    assert "`yunet`" in owned  # one address
    assert "`yamnet`" in owned  # made of one file with one address
    assert "`centerface`" not in owned  # in a package, and elsewhere
    assert "`fsanet-var`" not in owned  # two owners
    assert "`pypi:hibari-tts==0.2.1`" in packed
    assert "face-api" not in packed


def test_two_models_of_one_name() -> None:
    with pytest.raises(ManifestError, match="same name"):
        parse_manifest(ENTRY + ENTRY.replace("schema = 1", ""))


def test_importing_it_costs_little() -> None:
    """The gateway reads the manifest: no arrays, no runtime, no network code."""
    heavy = "{'numpy', 'onnx', 'onnxruntime', 'tflite', 'urllib.request', 'socket', 'pydantic'}"
    code = f"import sys, models.manifest as m; m.load_manifest(); sys.exit(str(sorted({heavy} & set(sys.modules))))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == "[]"


def test_the_page_and_the_notice_name_every_weight() -> None:
    """A model or a licence that changes is written down: python -m tools.models_table, and by hand in NOTICE."""
    manifest = load_manifest()
    assert models_table.page(models_table.PAGE.read_text(encoding="utf-8"), manifest) == models_table.PAGE.read_text(encoding="utf-8")
    assert [program for program in PROGRAMS if f"`{program}`" not in models_table.PAGE.read_text(encoding="utf-8")] == []
    notice = (models_table.PAGE.parents[1] / "NOTICE").read_text(encoding="utf-8")
    assert [model.name for model in (*manifest.models, *(voice.network for voice in manifest.voices)) if model.name not in notice] == []


def test_what_services_need_may_be_used_in_a_shop() -> None:
    """Primary models and stand-ins: the README promises it. Voices are chosen by their licence, one by one."""
    used = [model for model in load_manifest().models if model.role != "alternative"]
    assert len(used) > 10
    assert {model.licence for model in used} <= {"MIT", "Apache-2.0"}
    packages = [package for model in used for package in model.artefact.packages]
    assert all(package.licence_note for package in packages if package.licence not in ("MIT", "Apache-2.0"))
