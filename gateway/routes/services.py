"""The directory: which services there are, in which versions, and what they take and answer."""

from __future__ import annotations

from typing import Any

import orjson
from aiohttp import web

from gateway.openapi.document import openapi_document, service_schemas
from gateway.state import GATE, base_url, service_of
from shared.errors import NotFound, PerceptionError
from shared.operations import models_of
from workers.catalog import ServiceType
from workers.composing import ComposedService


def json_response(body: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    """A JSON answer; orjson is several times faster than the standard library on results."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json", charset="utf-8")


async def directory(request: web.Request) -> web.Response:
    """``GET /services``, filtered by ``?name=``."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    wanted = request.query.get("name")
    services = {
        name: {"url": f"/services/{name}", **_availability(request, service)}
        for (name, _), service in gate.offers.of(tenant).items()
        if wanted in (None, name)
    }
    return json_response({"services": services})


async def versions(request: web.Request) -> web.Response:
    """``GET /services/{name}``, filtered by ``?version=``."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    name, wanted = request.match_info["name"], request.query.get("version")
    found = {str(version): {"url": f"/services/{name}/{version}"} for known, version in gate.offers.of(tenant) if known == name}
    if not found:
        raise NotFound(f"there is no service {name}")
    return json_response({"versions": {version: link for version, link in found.items() if wanted in (None, version)}})


async def service_document(request: web.Request) -> web.Response:
    """``GET /services/{name}/{version}``: where its jobs go, and the JSON Schemas of its input and output."""
    service = service_of(request, await request.app[GATE].authenticate(request))
    url = f"{base_url(request)}/services/{service.name}/{service.version}"
    takes, answers = service_schemas(service)
    return json_response(
        {
            "url": url,
            "version": service.version,
            "description": service.description(),
            "jobs": f"{url}/jobs",
            "streams": f"{url}/streams",
            "input": takes,
            "output": answers,
            **_availability(request, service),
            **_parts(request, service),
            **await _announced(request, service),
        }
    )


async def openapi(request: web.Request) -> web.Response:
    """``GET /openapi.json``: the whole gate, made from the types that validate."""
    gate = request.app[GATE]
    tenant = await gate.authenticate(request)
    return json_response(openapi_document(list(gate.offers.of(tenant).values()), base_url(request)))


def _availability(request: web.Request, service: ServiceType) -> dict[str, Any]:
    return _told(request.app[GATE].availability.fault(service))


def _parts(request: web.Request, service: ServiceType) -> dict[str, Any]:
    """What a composite can be asked for, and which of it can be had."""
    if not issubclass(service, ComposedService):
        return {}
    own, fault_of_part = request.app[GATE].availability.fault(service), request.app[GATE].availability.fault_of_part
    return {"services": {name: _told(own or fault_of_part(name)) for name in service.kinds}}


async def _announced(request: web.Request, service: ServiceType) -> dict[str, Any]:
    """Which networks answer now, as the workers of the service announce them (no key for a service without networks), and the details."""
    served = await request.app[GATE].announced.of(service.name, service.version)
    found = dict.fromkeys(entry for one in served for entry in models_of(one))
    models = [{"name": name, **({"stands_in_for": preferred} if preferred else {})} for name, preferred in found if name]
    missing = [preferred for name, preferred in found if not name]
    details = service.details([one.details for one in served])
    return {**({"models": models} if models else {}), **({"missing_models": missing} if missing else {}), **details}


def _told(fault: PerceptionError | None) -> dict[str, Any]:
    return {"available": True} if fault is None else {"available": False, "reason": fault.message}


ROUTES = [
    web.get("/services", directory),
    web.get("/services/{name}", versions),
    web.get("/services/{name}/{version}", service_document),
    web.get("/openapi.json", openapi),
]
