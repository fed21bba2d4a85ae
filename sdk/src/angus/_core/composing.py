"""Several services on the same parameters: which way, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Optional, Union

from angus._core.documents import ACCEPTED

#: A service by its name, or by (name, version).
Named = Union[str, tuple[str, object]]
#: The service that does several on one upload, where the server has it.
NATIVE = "composite"


def native_for(description: Mapping[str, Any], services: Sequence[tuple[str, Optional[object]]]) -> Optional[str]:
    """The address of the service ``composite``, if its description says that it does these services in these versions; else None."""
    named = description.get("input", {}).get("properties", {}).get("services", {}).get("items", {})
    does = named.get("enum") or ([named["const"]] if "const" in named else [])
    if services and all(name in does and str(version or 1) == "1" for name, version in services):
        url = description.get("url")
        return url if isinstance(url, str) else None
    return None


def documents_of(representation: Mapping[str, Any]) -> dict[str, Any]:
    """The documents of the services in that of the composite."""
    return {name: document for name, document in representation.items() if isinstance(document, dict)}


def unfinished(representation: Mapping[str, Any]) -> list[str]:
    """The services that have not answered yet."""
    return [name for name, document in documents_of(representation).items() if document.get("status") == ACCEPTED]


def combined(documents: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The document of the composite."""
    made: dict[str, Any] = dict(documents)
    return {**made, "status": ACCEPTED if unfinished(made) else 200}
