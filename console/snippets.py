"""Ready-made lines with a stream's own credentials, to paste into a terminal or a program."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.model import StreamSecret


@dataclass(frozen=True, slots=True)
class Snippet:
    """Lines that do something when pasted. ``language``: ``sh`` or ``python``."""

    title: str
    language: str
    text: str


def snippets_for(url: str, secret: StreamSecret) -> list[Snippet]:
    """``url``: of the gate, without a slash at the end."""
    return [
        Snippet("Try the connection", "sh", _HELLO.format(url=url, login=f"{secret.client_id}:{secret.access_token}")),
        Snippet("Faces in a photograph, with curl", "sh", _FACES.format(url=url, login=f"{secret.client_id}:{secret.access_token}")),
        Snippet("The same in Python", "python", _PYTHON.format(url=url, id=secret.client_id, token=secret.access_token)),
    ]


_HELLO = """\
curl -u {login} \\
  -H 'Content-Type: application/json' \\
  -d '{{"echo": "Hello world!", "async": false}}' \\
  {url}/services/dummy/1/jobs"""

_FACES = """\
curl -u {login} \\
  -F 'attachment://photo=@photo.jpg;type=image/jpeg' \\
  -F 'meta={{"async": false, "image": "attachment://photo"}};type=application/json' \\
  {url}/services/face_detection/1/jobs"""

_PYTHON = """\
import json

import httpx  # pip install httpx

meta = {{"async": False, "image": "attachment://photo"}}
with open("photo.jpg", "rb") as photo:
    answer = httpx.post(
        "{url}/services/face_detection/1/jobs",
        auth=(
            "{id}",
            "{token}",
        ),
        files={{
            "attachment://photo": photo,
            "meta": (None, json.dumps(meta), "application/json"),
        }},
        timeout=60,
    )
print(answer.json())"""
