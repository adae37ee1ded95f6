"""Half precision: float32 as float16."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Context, Header, header_of
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError

LARGEST_HALF = 65504.0


@dataclass(frozen=True, slots=True)
class HalfConfig:
    """Nothing to choose."""


class Half(Transform):
    """Rounds float32 to the nearest float16; NaN and infinities stay what they are."""

    id = "float16"
    Config = HalfConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the rounded array; finite values beyond 65504 are refused."""
        self.layout(header_of(array))
        with np.errstate(over="ignore"):
            half = array.astype(np.float16)
        if np.isinf(half).any() and (np.isinf(half) & np.isfinite(array)).any():
            raise CodecError(f"float16: a finite value exceeds {LARGEST_HALF:g}")
        return b"", half

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the values as float32."""
        return inner.astype(np.float32)

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and float16 of the same shape."""
        if header.dtype != "float32":
            raise CodecError(f"float16: {header.dtype} is refused, only float32")
        return 0, Header("float16", header.shape)
