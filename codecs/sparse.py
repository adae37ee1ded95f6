"""Sparse tensors: the largest values alone, and maps of where values are not zero."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import numpy as np

from splitnet.codecs.base import (
    NO_CONTEXT,
    Array,
    Buffer,
    Codec,
    Context,
    Header,
    header_of,
    tables_of,
)
from splitnet.codecs.making import make_codec
from splitnet.codecs.packing import pack, unpack
from splitnet.codecs.quantiser import FLOATS
from splitnet.codecs.store import Store
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError, CorruptPayloadError
from splitnet.values import DTYPE_BYTES

_STORE = Store()


@dataclass(frozen=True, slots=True)
class TopKConfig:
    """Share of the values that is kept, above 0 and at most 1."""

    share: float = 0.1

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise CodecError(f"top-k: share is {self.share}, must be above 0 and at most 1")


class TopK(Transform):
    """Keeps the values of the largest magnitudes, makes the others zero.

    Values as large as the smallest one that is kept are kept too, so that the result does not
    depend on an order. A later stage gains from the zeros.
    """

    id = "top-k"
    Config = TopKConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the sparse array."""
        self.layout(header_of(array))
        magnitudes = np.abs(array)
        if not np.isfinite(magnitudes).all():
            raise CodecError("top-k: the array holds NaN or infinity, which have no rank")
        kept = ceil(self.config.share * array.size)
        if kept >= array.size:
            return b"", array
        least = np.partition(magnitudes, array.size - kept, axis=None)[array.size - kept]
        return b"", np.where(magnitudes >= least, array, array.dtype.type(0))

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return `inner`: nothing has to be undone."""
        return inner

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and the same header."""
        if header.dtype not in FLOATS:
            raise CodecError(f"top-k: {header.dtype} is refused, only {', '.join(FLOATS)}")
        return 0, header


@dataclass(frozen=True, slots=True)
class ZeroMapConfig:
    """Configurations of the codecs of the map (uint8) and of the values that are not zero."""

    map: Mapping[str, Any] = field(default_factory=lambda: {"id": "store"})
    values: Mapping[str, Any] = field(default_factory=lambda: {"id": "store"})


class ZeroMap(Codec):
    """One bit an element, whether it is not zero, and the elements that are not.

    Exact for every dtype if its two codecs are: a negative zero counts as a value. The payload is
    the map, preceded by its length, and the values in their order (see `pack`).
    """

    id = "zero-map"
    Config = ZeroMapConfig

    def __init__(self, config: ZeroMapConfig | None = None) -> None:
        super().__init__(config)
        self._map, self._values = make_codec(self.config.map), make_codec(self.config.values)

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of each table that the codecs of map and values need."""
        return tables_of([self._map, self._values])

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the map and the values that are not zero."""
        header = header_of(array)
        raw = np.frombuffer(_STORE.encode(array), np.uint8)
        present = raw.reshape(header.size, DTYPE_BYTES[header.dtype]).any(axis=1)
        values = array.reshape(-1)[present]
        bits = np.packbits(present)
        return pack([self._map.encode(bits, context), self._values.encode(values, context)])

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        first, second = unpack(data, 2)
        bits = self._map.decode(first, Header("uint8", ((header.size + 7) // 8,)), context)
        spare = -header.size % 8
        if spare and int(bits[-1]) & ((1 << spare) - 1):
            raise CorruptPayloadError("zero-map: the bits behind the last element are not 0")
        present = np.unpackbits(bits, count=header.size).view(np.bool_)
        count = int(present.sum())
        values = self._values.decode(second, Header(header.dtype, (count,)), context)
        array = np.zeros(header.size, header.dtype)
        array[present] = values
        return array.reshape(header.shape)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
