"""Which services a stream is offered: all, but for those whose whole purpose it has switched off."""

from __future__ import annotations

from accounts.credentials import Tenant
from shared.errors import NotFound
from shared.privacy import Analysis
from workers.catalog import Catalog, ServiceType, offered


class Offers:
    """The catalogue as each stream sees it. There are few different ones, and each is made once."""

    def __init__(self, catalog: Catalog) -> None:
        self._by_off: dict[tuple[Analysis, ...], Catalog] = {(): catalog}

    def of(self, tenant: Tenant) -> Catalog:
        """The services that the stream is offered."""
        return self.without(tenant.off)

    def without(self, off: tuple[Analysis, ...]) -> Catalog:
        """The services of a stream that has switched these analyses off."""
        found = self._by_off.get(off)
        if found is None:
            found = self._by_off[off] = offered(self._by_off[()], off)
        return found

    def service(self, tenant: Tenant, name: str, version: int) -> ServiceType:
        """The service of this name and version. Raises `NotFound` when there is none, or none for this stream."""
        service = self.of(tenant).get((name, version))
        if service is None:
            known = self._by_off[()].get((name, version))
            why = f"the stream has switched off: {', '.join(sorted(known.purpose))}" if known is not None else "there is no such service"
            raise NotFound(f"{name} version {version}: {why}")
        return service
