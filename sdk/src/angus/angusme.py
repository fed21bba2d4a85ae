"""``angusme``: asks for the address and the credentials, writes them down, and tries them."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from typing import Optional

from angus._core import config
from angus.errors import AngusError
from angus.retries import NO_RETRIES

#: Where Sensorium is after `make run`.
DEFAULT_ROOT = "http://127.0.0.1:8000"
SECONDS = 10.0


def main(arguments: Optional[list[str]] = None) -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(
        prog="angusme", description="Configure the client: without an option, asks and writes the configuration."
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("-s", "--show", action="store_true", help="show the configuration, the access token hidden")
    which.add_argument("-d", "--delete", action="store_true", help="delete the configuration")
    which.add_argument("-t", "--test", action="store_true", help="test it with a job of the service dummy")
    given = parser.parse_args(arguments)
    try:
        if given.show:
            return show()
        if given.delete:
            return delete()
        return test() if given.test else create()
    except AngusError as error:
        print(f"angusme: {error}", file=sys.stderr)
        return 1
    except (EOFError, KeyboardInterrupt):
        print("\nangusme: nothing was written", file=sys.stderr)
        return 1


def create() -> int:
    """Ask, and write what was said. An empty answer keeps what is there."""
    path = config.home() / config.NAME
    before = config.Settings()
    if path.exists():
        if input(f"Your angus configuration ({path}) already exists, do you want regenerate it (y/N) ? ").strip().lower() != "y":
            return show()
        try:
            before = config.load(path)
        except AngusError as error:
            print(f"{error}: it is written anew.")
    settings = replace(
        before,
        default_root=asked("Please choose your gateway", before.default_root or DEFAULT_ROOT),
        client_id=asked("Please copy/paste your client_id", before.client_id),
        access_token=asked("Please copy/paste your access_token", before.access_token, hidden=True),
    )
    print(f"Configuration successfully created in ({config.save(settings)}), credentials can be modified there directly")
    return 0


def asked(question: str, current: Optional[str], *, hidden: bool = False) -> Optional[str]:
    """What the user says, or what is there already."""
    shown = f" (current: {masked(current) if hidden else current})" if current else ""
    return input(f"{question}{shown}: ").strip() or current


def masked(token: Optional[str]) -> Optional[str]:
    """Enough of a token to know it again."""
    return token and f"{token[:4]}…"


def show() -> int:
    """Say which configuration is used and what is in it."""
    path = config.find()
    if path is None:
        print("No angus configuration")
        return 0
    settings = config.load(path)
    print(f"My configuration ({path}):")
    for name, value in asdict(replace(settings, access_token=masked(settings.access_token))).items():
        if value:
            print(f"  {name}: {value}")
    print(f"Python version: {sys.version.split()[0]}")
    return 0


def delete() -> int:
    """Delete the user's configuration, with the certificates that the client of 2018 put beside it."""
    for name in (config.NAME, "certificate.pem"):
        (config.home() / name).unlink(missing_ok=True)
    return 0


def test() -> int:
    """Send a job to the service dummy and say whether it came back."""
    import angus.client

    try:
        conf = angus.client.get_default_configuration()
        conf.timeout, conf.retries = SECONDS, NO_RETRIES
        with angus.client.connect(conf=conf) as root:
            result = root.services.get_service("dummy").process({"echo": "OK"}).result
        if result.get("echo") != "OK":
            raise AngusError(f"{root.endpoint} did not answer as Sensorium does: is this the right address?")
    except AngusError as error:
        print(f"Status: KO\n{error}")
        show()
        return 1
    print(f"Server: {root.endpoint}")
    print("Status: OK")
    return 0


if __name__ == "__main__":
    sys.exit(main())
