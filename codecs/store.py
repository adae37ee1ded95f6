"""Raw bytes, little endian, in C order."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.errors import CorruptPayloadError


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """Nothing to choose."""


class Store(Codec):
    """Keeps every allowed dtype exactly, NaN and infinities too."""

    id = "store"
    bytewise = True
    Config = StoreConfig

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the elements of `array` (any allowed dtype, any shape and strides)."""
        header_of(array)
        return array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return a view of `data`, or a copy where alignment or byte order ask for one."""
        if len(data) != header.nbytes:
            raise CorruptPayloadError(
                f"{len(data)} bytes stored for {header.dtype} {header.shape}, "
                f"which has {header.nbytes}"
            )
        dtype = np.dtype(header.dtype)
        if dtype == np.bool_ and header.size and np.frombuffer(data, np.uint8).max() > 1:
            raise CorruptPayloadError("a stored bool is neither 0 nor 1")
        array = np.frombuffer(data, dtype.newbyteorder("<")) if header.size else np.empty(0, dtype)
        return np.require(array.reshape(header.shape), dtype, "A")

    def encoded_header(self, header: Header) -> Header:
        """Return as many uint8 as the array has bytes."""
        return Header("uint8", (header.nbytes,))
