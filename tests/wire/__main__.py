"""`python -m tests.wire` writes what this version says into a folder of its own, `tests/wire/VERSION`; done once, when a version is released."""

from __future__ import annotations

import tomllib
from pathlib import Path

import orjson
from pydantic import BaseModel

from tests.services.helpers import all_models
from tests.wire.things import HERE, SAID
from workers.catalog import load_catalog
from workers.composing import ComposedService
from workers.contract import Item
from workers.runtime.batching import anew

_FRAMES = 6


def main() -> None:
    version = tomllib.loads((HERE.parent.parent / "pyproject.toml").read_text())["project"]["version"]
    folder = HERE / version
    folder.mkdir(exist_ok=True)
    for name, said in SAID.items():
        (folder / name).write_bytes(said.encoded)
    for kind in load_catalog(None).values():
        if kind.state_type is not None and not issubclass(kind, ComposedService):
            service = kind()
            service.load(all_models())
            state = kind.state_type()
            for _ in range(_FRAMES):
                state = kind.state_type.model_validate_json(state.model_dump_json())
                service.process([Item(anew(kind.example()), state)])
            _write(folder / f"state.{kind.name}.{kind.version}.json", state)
    print(f"written: {folder}")


def _write(path: Path, state: BaseModel) -> None:
    path.write_bytes(orjson.dumps(orjson.loads(state.model_dump_json())))


if __name__ == "__main__":
    main()
