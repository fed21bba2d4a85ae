"""Blobs: bytes that a tenant uploads once and refers to from many jobs."""

from __future__ import annotations

from aiohttp import web

from gateway.http.parsing import read_document
from gateway.routes.services import json_response
from gateway.state import GATE, base_url
from shared.errors import InvalidParameter, NotFound

_SIGNATURES = ((b"\xff\xd8\xff", "image/jpeg"), (b"\x89PNG\r\n\x1a\n", "image/png"), (b"RIFF", "audio/wav"))


async def create(request: web.Request) -> web.Response:
    """``POST /blobs``: multipart, ``meta`` with ``content`` naming the attached part."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    document = await read_document(request, gate.limits)
    reference = document.parameters.get("content")
    data = document.attachments.get(reference) if isinstance(reference, str) else None
    if data is None:
        raise InvalidParameter("content: must name a part of the request, attachment://NAME", parameter="content")
    blob_id = await gate.stores.blobs.put(tenant.id, data)
    url = f"{base_url(request)}/blobs/{blob_id}"
    return json_response({"status": 201, "url": url}, 201, {"Location": url})


async def read(request: web.Request) -> web.Response:
    """``GET /blobs/{id}``: the bytes, as a download that no browser takes for a page."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    data = await gate.stores.blobs.get(tenant.id, request.match_info["id"])
    if data is None:
        raise NotFound("there is no such blob")
    kind = next((kind for signature, kind in _SIGNATURES if data.startswith(signature)), "application/octet-stream")
    return web.Response(body=data, content_type=kind, headers={"Content-Disposition": "attachment"})


async def delete(request: web.Request) -> web.Response:
    """``DELETE /blobs/{id}``: 204."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    if not await gate.stores.blobs.delete(tenant.id, request.match_info["id"]):
        raise NotFound("there is no such blob")
    return web.Response(status=204)


_ID = "{id:[0-9a-f-]{36}}"
ROUTES = [
    web.post("/blobs", create),
    web.get(f"/blobs/{_ID}", read),
    web.delete(f"/blobs/{_ID}", delete),
]
