"""From a stream's credentials to a token for the data API."""

from __future__ import annotations

from aiohttp import web

from accounts.credentials import Proof
from accounts.errors import EmailInvalid
from accounts.model import email_key
from gateway.http.parsing import read_document
from gateway.routes.services import json_response
from gateway.state import DATA, GATE, DataFace
from shared.errors import MalformedRequest, TokenRefused


async def issue(request: web.Request) -> web.Response:
    """``POST /api-token-authstream``: ``username`` (the account's e-mail address), ``client_id`` and ``access_token``."""
    gate, data = request.app[GATE], request.app[DATA]
    given = (await read_document(request, gate.limits)).parameters
    username, client_id, access_token = (given.get(name) for name in ("username", "client_id", "access_token"))
    if not (isinstance(username, str) and isinstance(client_id, str) and isinstance(access_token, str)):
        raise MalformedRequest("username, client_id and access_token are needed, each a string")
    address = gate.proxies.client_of(request)
    data.failures.check(address)
    async with data.questions:
        data.failures.check(address)  # a volley of guesses gets no further than one after the other
        proof = await _proof(data, username, client_id, access_token)
        if proof is None:
            data.failures.charge(address)
            raise TokenRefused("There is no stream with this username, client_id and access_token")
    return json_response({"token": data.tokens.issue(client_id.lower(), proof)})


async def _proof(data: DataFace, username: str, client_id: str, access_token: str) -> Proof | None:
    """What the token is to be bound to; None, after the same work, if anything is wrong."""
    tenant = await data.accounts.credentials.verify(client_id, access_token)
    proof = await data.accounts.credentials.proof_of(client_id)
    try:
        key = email_key(username)
    except EmailInvalid:
        key = ""
    return proof if tenant is not None and proof is not None and proof.email_key == key else None


ROUTES = [web.post("/api-token-authstream", issue), web.post("/api-token-authstream/", issue)]
