"""The manifest with some kinds of sources left out, for machines that cannot reach them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from models.manifest import Artefact, Manifest, Model

#: The kinds of sources, in the order in which they are asked.
SOURCES = ("mirror", "packages", "addresses")


def restricted(manifest: Manifest, sources: Collection[str]) -> Manifest:
    """The same models, without packages or addresses unless these are among ``sources``. A model may be left with none."""

    def artefact(one: Artefact) -> Artefact:
        packages = one.packages if "packages" in sources else ()
        return replace(one, packages=packages, urls=one.urls if "addresses" in sources else ())

    def model(one: Model) -> Model:
        made = one.conversion
        if made is not None:
            made = replace(made, originals=tuple(artefact(original) for original in made.originals))
        return replace(one, artefact=artefact(one.artefact), conversion=made)

    voices = tuple(
        replace(voice, network=model(voice.network), config=model(voice.config), needs=tuple(map(model, voice.needs)))
        for voice in manifest.voices
    )
    return Manifest(tuple(model(one) for one in manifest.models), voices)
