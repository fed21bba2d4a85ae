"""Where the server is and who asks: the configuration files of the 2018 client."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Optional

from angus.errors import ConfigurationError

log = logging.getLogger("angus")

HOME = Path("~/.angusdk")
NAME = "config.json"
#: Part of the certificate bundle that ``angusme`` wrote until 2018. Its certificates ended in 2017 and vouch for nobody's server.
_OLD_BUNDLE = "MIIFJTCCA42gAwIBAgIJAIUJ72W0oQSE"


@dataclass(frozen=True)
class Settings:
    """The keys of a configuration file. ``default_root``: address of the server; ``ca_path``: file of trusted certificates."""

    client_id: Optional[str] = None
    access_token: Optional[str] = None
    default_root: Optional[str] = None
    ca_path: Optional[str] = None


def home() -> Path:
    """The folder of the user's configuration."""
    return HOME.expanduser()


def find() -> Optional[Path]:
    """``./config.json`` if it is there, else ``~/.angusdk/config.json`` if that is, else None."""
    return next((path for path in (Path(NAME).resolve(), home() / NAME) if path.is_file()), None)


def load(path: Optional[Path]) -> Settings:
    """What the file says; nothing without one. Raises `ConfigurationError`."""
    if path is None:
        return Settings()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read ({error}); write it anew with angusme") from None
    if not isinstance(found, dict):
        raise ConfigurationError(f"{path} is not a JSON object; write it anew with angusme")
    known = {name: _text(path, found, name) for name in Settings.__dataclass_fields__}
    return Settings(**{**known, "ca_path": _usable(known["ca_path"])})


def save(settings: Settings) -> Path:
    """Write the user's configuration, readable by nobody else; where it is."""
    folder = home()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    path, draft = folder / NAME, folder / f"{NAME}.new"
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(json.dumps({name: value for name, value in asdict(settings).items() if value}, indent=1) + "\n")
    draft.replace(path)
    return path


def _text(path: Path, found: dict[str, Any], name: str) -> Optional[str]:
    value = found.get(name)
    if value is not None and not isinstance(value, str):
        raise ConfigurationError(f"{path}: {name} must be a text; write it anew with angusme")
    return value


def _usable(ca_path: Optional[str]) -> Optional[str]:
    if not ca_path:
        return None
    try:
        old = _OLD_BUNDLE in Path(ca_path).expanduser().read_text(encoding="utf-8")
    except (OSError, ValueError):
        raise ConfigurationError(f"ca_path: {ca_path} cannot be read; mend the configuration with angusme") from None
    if old:
        log.warning("%s is the certificate bundle of 2016 and is ignored; angusme writes a configuration without it", ca_path)
        return None
    return ca_path
