"""The version under the address that the 2018 client had it at."""

from angus.version import __version__

__all__ = ["__version__"]
