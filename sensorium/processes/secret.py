"""The secret key of an installation that was not given one."""

from __future__ import annotations

from pydantic import SecretStr

from accounts.keys import load_or_create_secret
from shared.settings import Settings


def with_secret(settings: Settings) -> Settings:
    """The settings with a key: one made at the first start is kept, so that identifiers and tokens outlive a restart."""
    if settings.secret_key is not None:
        return settings
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    secret = load_or_create_secret(settings.data_dir / "secret_key")
    return settings.model_copy(update={"secret_key": SecretStr(secret.hex())})
