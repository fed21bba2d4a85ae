"""Answers read: documents, errors, and where requests go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Optional
from urllib.parse import urljoin, urlsplit

from angus.errors import AngusError, ApiError, NoSuchService
from angus.retries import retry_after_of

#: Statuses of a job that is not finished.
ACCEPTED = 202


def document_of(status: int, headers: Mapping[str, str], content: bytes, url: str) -> dict[str, Any]:
    """The JSON object that was answered. Raises `ApiError` for an error, `AngusError` for what is no answer of this API."""
    try:
        document = json.loads(content) if content else {}
    except ValueError:
        document = None
    if status >= 400:
        raise ApiError(status, document if isinstance(document, dict) else {}, retry_after_of(headers))
    if 300 <= status < 400:
        raise AngusError(f"{url} has moved to {headers.get('Location', 'another address')}: connect there")
    if not isinstance(document, dict):
        raise AngusError(f"{url} did not answer as Sensorium does: is this the right address?")
    return document


def child(parent: str, name: str) -> str:
    """The address of ``name`` (a path, or an address of its own) beneath ``parent``."""
    return urljoin(f"{parent.rstrip('/')}/", name)


def resolve(root: str, url: str) -> str:
    """An address of an answer: complete, or a path beneath the root, which may itself be beneath a path of its host."""
    return f"{root.rstrip('/')}{url}" if url.startswith("/") else child(root, url)


def same_or_safer(root: str, url: str) -> str:
    """The url, to which the credentials may go. Raises `AngusError` when a server reached by https names one that is not."""
    if urlsplit(root).scheme == "https" and urlsplit(url).scheme not in ("https", "wss"):
        raise AngusError(f"{url} is not encrypted, and the credentials are not sent there (is SENSORIUM_PUBLIC_URL right at the server?)")
    return url


def service_url(root: str, directory: Mapping[str, Any], name: str) -> str:
    """Where the directory says that a service is. Raises `NoSuchService`."""
    found = directory.get("services", {})
    if name not in found:
        known = f"; there are {_listed(found)}" if len(found) > 1 else ""
        raise NoSuchService(f"there is no service {name}{known}")
    return resolve(root, found[name]["url"])


def version_url(root: str, service: str, versions: Mapping[str, Any], version: Optional[object]) -> str:
    """Where a version is, the highest one for None. Raises `NoSuchService`."""
    found = versions.get("versions", {})
    chosen = str(version) if version is not None else max(found, key=_number, default="")
    if chosen not in found:
        raise NoSuchService(f"there is no version {version} of {service}" + (f"; there is {_listed(found)}" if found else ""))
    return resolve(root, found[chosen]["url"])


def available(directory: Mapping[str, Any]) -> list[str]:
    """The names of the services that can be asked now, of a directory that does not tell all of them."""
    return [name for name, about in directory.get("services", {}).items() if about.get("available", True)]


def _number(version: str) -> tuple[int, str]:
    """Versions are numbers, in the order of numbers: 10 is above 9."""
    return (int(version), version) if version.isdecimal() else (-1, version)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
