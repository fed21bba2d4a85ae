"""Where the files of a request come from: its own attachments, and the tenant's blobs. Nothing is ever fetched."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from workers.contract import NO_ADDRESS, MediaLimits, Sample

_BLOB_PATH = re.compile(r"/blobs/([0-9a-f-]{36})")


def blob_id_of(reference: str, base_url: str) -> str | None:
    """The identifier in the address of one of our blobs, absolute or path; None for any other text."""
    path = reference[len(base_url) :] if reference.startswith(base_url + "/") else reference
    match = _BLOB_PATH.fullmatch(path)
    return match.group(1) if match else None


@dataclass(slots=True)
class RequestFiles:
    """A `FileSource` for the gateway: it knows which references are good, and remembers which were used."""

    attachments: Mapping[str, bytes]
    base_url: str
    limits: MediaLimits = field(default_factory=MediaLimits)
    used: dict[str, bytes] = field(default_factory=dict)
    blobs: dict[str, str] = field(default_factory=dict)
    samples: dict[str, str] = field(default_factory=dict)

    def resolve(self, reference: str) -> bytes | None:
        if reference in self.attachments:
            self.used[reference] = self.attachments[reference]
            return self.attachments[reference]
        blob_id = blob_id_of(reference, self.base_url)
        if blob_id is None:
            kind = "no attachment of that name came with the request" if reference.startswith("attachment://") else NO_ADDRESS
            raise ValueError(kind)
        self.blobs[reference] = blob_id
        return None

    def sample(self, reference: str) -> Sample:
        """Takes any reference: the answer names the samples that lead nowhere, and the others serve without them."""
        if reference in self.attachments:
            self.used[reference] = self.attachments[reference]
        else:
            blob_id = blob_id_of(reference, self.base_url)
            if blob_id is not None:
                self.samples[reference] = blob_id
        return Sample(reference=reference)

    def parameter_of(self, reference: str, parameters: Mapping[str, Any]) -> str:
        """The name of the parameter that holds the reference."""
        return next((name for name, value in parameters.items() if value == reference), "file")
