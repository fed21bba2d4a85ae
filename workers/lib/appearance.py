"""What somebody looks like, as a code that means nothing outside its session.

An embedding is projected onto 512 random directions, of which only the signs are kept (Charikar, 2002: the share of
bits in which two codes differ is the angle between the embeddings, divided by pi). Directions at right angles to each
other ask nothing twice, so that angles are known better (Ji et al., 2012: super-bits). They are drawn from the session's
salt: codes of two sessions cannot be compared, and no embedding can be had back from one.
"""

from __future__ import annotations

import base64
from functools import lru_cache
from hashlib import sha256
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

BITS = 512


def codes(embeddings: Array, salt: str) -> list[str]:
    """The codes, as base64 text of 88 characters, of ``embeddings`` float [n, d], whatever their lengths."""
    embeddings = np.asarray(embeddings, np.float32)
    if not len(embeddings):
        return []
    signs = embeddings @ _directions(salt, embeddings.shape[1]) > 0
    return [base64.b64encode(row.tobytes()).decode() for row in np.packbits(signs, axis=1)]


def similarity(first: str, second: str) -> float:
    """The cosine of the angle between the two embeddings, -1..1; from 512 bits of people's embeddings [256] it is known to about 0.05."""
    bits = (_bits(first) ^ _bits(second)).bit_count()
    return float(np.cos(np.pi * bits / BITS))


def _bits(code: str) -> int:
    return int.from_bytes(base64.b64decode(code), "big")


@lru_cache(maxsize=256)
def _directions(salt: str, dimensions: int) -> Array:
    """float32 [dimensions, 512], the same for the same salt on every machine but for rounding; as many at a time as there are dimensions
    are at right angles to each other."""
    seed = int.from_bytes(sha256(salt.encode()).digest()[:16], "big")
    drawn = np.random.Generator(np.random.PCG64(seed)).standard_normal((dimensions, BITS), np.float32)
    return np.hstack([np.linalg.qr(drawn[:, first : first + dimensions])[0] for first in range(0, BITS, dimensions)])
