"""``sensorium demo``: a photograph goes to a running Sensorium, the faces in it come back."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from pathlib import Path

import aiohttp

from accounts.model import DEMO_SECRET


def run(url: str, picture: Path | None) -> int:
    """Print the answer to a photograph; 0 when a face was found."""
    data = picture.read_bytes() if picture else astronaut_jpeg()
    try:
        answer = asyncio.run(_detect(url, data))
    except aiohttp.ClientConnectionError:
        print(f"sensorium: nothing answers at {url}; start it with: make run", file=sys.stderr)
        return 69
    print(json.dumps(answer, indent=2))
    return 0 if answer.get("nb_faces") else 1


async def _detect(url: str, data: bytes) -> dict[str, object]:
    form = aiohttp.FormData()
    form.add_field("meta", json.dumps({"async": False, "image": "attachment://photo"}), content_type="application/json")
    form.add_field("attachment://photo", data, content_type="image/jpeg", filename="photo.jpg")
    headers = {"Authorization": aiohttp.encode_basic_auth(DEMO_SECRET.client_id, DEMO_SECRET.access_token)}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{url}/services/face_detection/1/jobs", data=form) as response,
    ):
        answer: dict[str, object] = await response.json(content_type=None)
        return answer


def astronaut_jpeg() -> bytes:
    """NASA's portrait of Eileen Collins, in the public domain, as scikit-image brings it (a development dependency)."""
    import cv2
    from skimage.data import astronaut

    ok, encoded = cv2.imencode(".jpg", cv2.cvtColor(astronaut(), cv2.COLOR_RGB2BGR))
    if not ok:
        raise RuntimeError("the picture could not be encoded")
    return io.BytesIO(encoded.tobytes()).getvalue()
