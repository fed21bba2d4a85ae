"""The client of 2018: ``conn = angus.client.connect()``, ``conn.services.get_service("face_detection").process({"image": file})``."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Optional

from angus._core import config
from angus.client import cloud, rest
from angus.client.cloud import Root
from angus.client.rest import Configuration
from angus.errors import ConfigurationError
from angus.version import __version__

__all__ = ["Configuration", "Root", "__version__", "cloud", "connect", "get_default_configuration", "rest"]


def connect(
    url: Optional[str] = None,
    conf: Optional[Configuration] = None,
    client_id: Optional[str] = None,
    access_token: Optional[str] = None,
    verify: bool = True,
) -> Root:
    """The server's root, with ``blobs`` and ``services``. Nothing is sent yet.

    ``url``: address of the server, by default that of the configuration file. ``conf``: a `Configuration`, by default that of
    ``./config.json`` or ``~/.angusdk/config.json`` (written by ``angusme``), with ``client_id`` and ``access_token`` instead of the file's
    where both are given. ``verify=False`` trusts any certificate: for a test on your own machine only. Raises `ConfigurationError`.
    """
    if conf is None:
        conf = get_default_configuration()
        if client_id is not None and access_token is not None:
            conf.set_credential(client_id, access_token)
    if not verify:
        conf.do_not_verify()
    return Root(url, conf)


def get_default_configuration(argv: Sequence[str] = ()) -> Configuration:
    """The configuration of the command line ``argv`` (see ``--help``) and, for what that leaves open, of the configuration file.

    Raises `ConfigurationError`.
    """
    given = _parser().parse_args(list(argv))
    logging.getLogger("angus").setLevel(max(3 - given.verbose, 1) * 10)
    path = config.find() if given.configuration is None else Path(given.configuration)
    if path is not None and not path.is_file():
        raise ConfigurationError(f"there is no configuration file {path}; write one with angusme")
    found = config.load(path)
    conf = Configuration()
    conf.default_root = given.root or found.default_root
    client_id, access_token = given.clientid or found.client_id, given.access or found.access_token
    if client_id and access_token:
        conf.set_credential(client_id, access_token)
    ca_path = given.capath or found.ca_path
    if ca_path:
        conf.set_ca_path(ca_path)
    return conf


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Options of a program that uses angus.client")
    parser.add_argument("-c", "--configuration", metavar="FILE", help="configuration file")
    parser.add_argument("-id", "--clientid", metavar="CLIENT_ID", help="the stream's client_id")
    parser.add_argument("-a", "--access", metavar="ACCESS_TOKEN", help="the stream's access_token")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="say more; may be repeated")
    parser.add_argument("-ca", "--capath", metavar="FILE", help="certificates to trust")
    parser.add_argument("-r", "--root", metavar="URL", help="address of the server")
    parser.add_argument("--version", action="version", version=f"%(prog)s {__version__}")
    return parser
