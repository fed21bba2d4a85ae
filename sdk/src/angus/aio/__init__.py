"""The client for asyncio: the nouns of `angus.client`, awaited.

async with angus.aio.connect() as conn:
    service = await conn.services.get_service("face_detection")
    job = await service.process({"image": Path("photo.jpg")})
    print(job.parse(FaceDetection).nb_faces)
"""

from __future__ import annotations

from pathlib import Path
from typing import Optional, Union

from angus._core import config
from angus.aio.composite import CompositeJob, CompositeService
from angus.aio.connection import Connection, Services
from angus.aio.frames import Answer, FrameStream
from angus.aio.resources import Blob, Blobs, Job, Service, Session
from angus.errors import ConfigurationError
from angus.retries import Retries

__all__ = [
    "Answer",
    "Blob",
    "Blobs",
    "CompositeJob",
    "CompositeService",
    "Connection",
    "FrameStream",
    "Job",
    "Retries",
    "Service",
    "Services",
    "Session",
    "connect",
]


def connect(
    url: Optional[str] = None,
    client_id: Optional[str] = None,
    access_token: Optional[str] = None,
    *,
    configuration: Union[str, Path, None] = None,
    timeout: Optional[float] = None,
    retries: Optional[Retries] = None,
) -> Connection:
    """The server. What is not given is taken from the file ``configuration``, by default ``./config.json`` or ``~/.angusdk/config.json``.

    ``timeout``: seconds for an answer, by default 90. ``retries``: when requests are sent again. Certificates are always verified, against
    the authorities that the file names as ``ca_path`` if it names any. Nothing is sent yet. Raises `ConfigurationError`.
    """
    found = config.load(config.find() if configuration is None else Path(configuration))
    root = url or found.default_root
    if not root:
        raise ConfigurationError('where is the server? Run angusme, or give its address: connect("http://127.0.0.1:8000")')
    if client_id is None or access_token is None:
        client_id, access_token = found.client_id, found.access_token
    credentials = (client_id, access_token) if client_id and access_token else None
    return Connection(root, credentials, found.ca_path, timeout, retries or Retries())
