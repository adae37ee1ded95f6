"""Bytes of equal weight side by side, so that a lossless codec finds the regular ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Context, Header, header_of
from splitnet.codecs.store import Store
from splitnet.codecs.transform import Transform
from splitnet.values import DTYPE_BYTES

_STORE = Store()


@dataclass(frozen=True, slots=True)
class ShuffleConfig:
    """Nothing to choose."""


class Shuffle(Transform):
    """The first bytes of all elements, then the second ones, and so on; exact for every dtype.

    Source: Alted, Why modern CPUs are starving and what can be done about it, 2010 (Blosc).
    """

    id = "shuffle"
    Config = ShuffleConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the bytes."""
        header = header_of(array)
        raw = np.frombuffer(_STORE.encode(array), np.uint8)
        return b"", raw.reshape(-1, DTYPE_BYTES[header.dtype]).T.reshape(-1)

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the elements."""
        planes = inner.reshape(DTYPE_BYTES[header.dtype], header.size)
        return _STORE.decode(planes.T.tobytes(), header)

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and as many uint8 as the array has bytes."""
        return 0, Header("uint8", (header.nbytes,))
