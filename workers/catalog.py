"""Which services there are: one file in ``workers/services`` (and in the folder of further services) each.

A file that does not import, or that breaks the naming rule, stops the process: a service is there or it is not.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from shared.privacy import Analysis
from shared.settings import SettingsError
from workers import services
from workers.composing import compose
from workers.contract import Service

_NAME = re.compile(r"[a-z][a-z0-9_]*")
#: Short names by which workers may be called on the command line and in deployments.
SHORT_NAMES = {"tts": "text_to_speech"}

ServiceType = type[Service[Any, Any]]
Catalog = Mapping[tuple[str, int], ServiceType]


class CatalogError(SettingsError):
    """A service file breaks a rule, or no service has the name; the message says which."""


def load_catalog(extra: Path | None = None) -> Catalog:
    """Every service by (name, version), sorted. Raises `CatalogError`, or whatever a broken file raises."""
    found: dict[tuple[str, int], ServiceType] = {}
    for module in _modules(extra):
        for service in _services_of(module):
            key = (service.name, service.version)
            if key in found:
                raise CatalogError(f"{module.__file__}: {service.name} version {service.version} exists already")
            found[key] = service
    return compose(dict(sorted(found.items())))


def offered(catalog: Catalog, off: Collection[Analysis]) -> Catalog:
    """The services that a stream is offered that has switched these analyses off, composites made over them."""
    if not off:
        return catalog
    return compose({key: kind for key, kind in catalog.items() if not kind.is_off(off)})


def _modules(extra: Path | None) -> Iterator[ModuleType]:
    for path in sorted(Path(next(iter(services.__path__))).glob("[a-z]*.py")):
        yield importlib.import_module(f"{services.__name__}.{path.stem}")
    if extra is not None:
        if not extra.is_dir():
            raise CatalogError(f"the folder of further services does not exist: {extra}")
        for path in sorted(extra.glob("[a-z]*.py")):
            yield _import_file(path)


def _import_file(path: Path) -> ModuleType:
    name = f"workers.services.extra.{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise CatalogError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # pydantic resolves annotations through it
    spec.loader.exec_module(module)
    return module


def _services_of(module: ModuleType) -> Iterator[ServiceType]:
    stem = Path(str(module.__file__)).stem
    found = [
        kind
        for kind in vars(module).values()
        if inspect.isclass(kind) and issubclass(kind, Service) and kind.__module__ == module.__name__ and not inspect.isabstract(kind)
    ]
    if not found:
        raise CatalogError(f"{module.__file__} defines no service")
    for kind in found:
        _check(kind, stem, str(module.__file__))
        yield kind


def _check(service: ServiceType, stem: str, file: str) -> None:
    for attribute in ("name", "input_type", "output_type"):
        if not hasattr(service, attribute):
            raise CatalogError(f"{file}: {service.__name__} has no {attribute}")
    if not _NAME.fullmatch(service.name):
        raise CatalogError(f"{file}: {service.name!r} is not a name of lower-case letters, digits and underscores")
    if stem not in (service.name, f"{service.name}_{service.version}"):
        raise CatalogError(f"{file}: the file of a service is called like the service, {service.name}.py")
    if service.version < 1 or service.max_batch < 1:
        raise CatalogError(f"{file}: version and max_batch are at least 1")
