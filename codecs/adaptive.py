"""Entropy coding of symbols that no table was fitted to: the histogram goes with them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.coder import check_dtype, check_payload, decode_symbols, encode_symbols
from splitnet.codecs.histogram import read_histogram, write_histogram
from splitnet.codecs.tables import ESCAPE
from splitnet.errors import CorruptPayloadError

_STORED, _CODED = b"\x00", b"\x01"


@dataclass(frozen=True, slots=True)
class RansAdaptiveConfig:
    """Nothing to choose."""


class RansAdaptive(Codec):
    """Symbols (uint8) at the entropy of their own histogram, which the payload holds.

    Keeps every uint8 array. A payload of no symbols is empty; any other begins with a byte: 0 in
    front of the symbols themselves, 1 in front of the histogram and the coded symbols.
    """

    id = "rans-adaptive"
    Config = RansAdaptiveConfig

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return histogram and coded symbols of a uint8 array, or the array if that is shorter."""
        check_dtype(header_of(array), self.id)
        symbols = array.ravel()
        if symbols.size == 0:
            return b""
        histogram, tables = write_histogram(np.bincount(symbols, minlength=ESCAPE))
        data = _CODED + histogram + encode_symbols(symbols, None, tables)
        return data if len(data) <= symbols.size else _STORED + symbols.tobytes()

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        check_dtype(header, self.id)
        view = memoryview(data)
        flag = bytes(view[:1])
        if flag == _CODED and header.size:
            tables, length = read_histogram(view[1:])
            coded = view[1 + length :]
            check_payload(coded, header.size, tables)
            return decode_symbols(coded, header.size, None, tables).reshape(header.shape)
        if len(data) != header.size + (header.size > 0) or flag not in (b"", _STORED):
            raise CorruptPayloadError(
                f"rans-adaptive: {len(data)} bytes stored for {header.size} symbols"
            )
        return np.frombuffer(view[1:], np.uint8).reshape(header.shape)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
        check_dtype(header, self.id)
