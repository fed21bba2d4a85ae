"""Style sheets, scripts and pictures: read once at start, and served under an address that changes with their content.

A request can only name what is in the dictionary, so no path of a visitor's making reaches the disk.
"""

from __future__ import annotations

import gzip
import mimetypes
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from aiohttp import hdrs, web

from shared.errors import NotFound

FOLDER = Path(__file__).parent / "static"
_FOR_EVER = "public, max-age=31536000, immutable"
_TEXTS = ("text/", "application/javascript", "application/json", "image/svg+xml")
_TYPES = {".js": "text/javascript", ".mjs": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml", ".json": "application/json"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file: its bytes, the same compressed if that pays, and its media type."""

    content: bytes
    compressed: bytes | None
    media_type: str


class Assets:
    """Every file below a folder. One digest stands for all of them, so that scripts can import one another by relative names."""

    def __init__(self, folder: Path = FOLDER) -> None:
        paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self._assets = {path.relative_to(folder).as_posix(): _read(path) for path in paths}
        whole = sha256()
        for name, asset in self._assets.items():
            whole.update(f"{name}\0{len(asset.content)}\0".encode() + asset.content)
        self._digest = whole.hexdigest()[:16]

    def address(self, name: str) -> str:
        """The path of a file for a page. Raises `KeyError` for one that there is not."""
        self._assets[name]
        return f"/static/{self._digest}/{name}"

    def answer(self, request: web.Request) -> web.Response:
        """``GET /static/{digest}/{name}``. Raises `NotFound`, also for the digest of another release."""
        asset = self._assets.get(request.match_info["name"])
        if asset is None or request.match_info["digest"] != self._digest:
            raise NotFound("there is no such file; reload the page")
        headers = {hdrs.CACHE_CONTROL: _FOR_EVER, hdrs.CONTENT_TYPE: asset.media_type, hdrs.VARY: hdrs.ACCEPT_ENCODING}
        if asset.compressed is not None and "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, ""):
            return web.Response(body=asset.compressed, headers={**headers, hdrs.CONTENT_ENCODING: "gzip"})
        return web.Response(body=asset.content, headers=headers)


def _read(path: Path) -> Asset:
    content = path.read_bytes()
    media_type = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    if not media_type.startswith(_TEXTS):
        return Asset(content, None, media_type)
    compressed = gzip.compress(content, mtime=0)
    return Asset(content, compressed if len(compressed) < len(content) else None, f"{media_type}; charset=utf-8")
