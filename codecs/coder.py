"""Payloads of entropy-coded symbols: how many lanes, by which coder, or stored.

A payload of no symbols is empty. Any other begins with a byte: 0 in front of the symbols
themselves, where coding does not pay, else the number of lanes in front of a stream.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from splitnet.codecs import rans
from splitnet.codecs.base import Buffer, Header
from splitnet.codecs.native import accelerator
from splitnet.codecs.rans import Symbols
from splitnet.codecs.tables import Tables, Which
from splitnet.errors import CodecError, CorruptPayloadError

_STORED = 0
_LANES = (128, 8)
"""A lane costs up to 4 bytes. 8 keep a CPU busy; 128 a step of numpy."""

_SHARE = 200
"""The states of more lanes than one are at most a 200th of the payload."""

_FEWEST_FOR_LANES = 4096
"""So few symbols are coded in one lane without a look at what they take."""

_FEWEST_IN_STEP = 64
"""So many payloads in step are decoded by numpy faster than one after the other by Python."""


def check_dtype(header: Header, codec_id: str) -> None:
    """Raise `CodecError` unless `header` is one of uint8."""
    if header.dtype != "uint8":
        raise CodecError(
            f"{codec_id}: {header.dtype} has no table, only uint8; put a quantiser in front"
        )


def encode_symbols(symbols: Symbols, which: Which | None, tables: Tables) -> bytes:
    """Return the payload of `symbols` (flat); ``which[i]`` is the table of the i-th."""
    if symbols.size == 0:
        return b""
    lanes = _choose_lanes(symbols, which, tables)
    native = accelerator()
    encode = rans.encode if native is None else native.encode
    stream = encode(symbols, which, tables, lanes)
    if len(stream) >= symbols.size:
        return bytes([_STORED]) + symbols.tobytes()
    return bytes([lanes]) + stream


def check_payload(data: Buffer, count: int, tables: Tables) -> None:
    """Check the first byte and the size of a payload, before anything of `count` is allocated.

    Raises
    ------
    CorruptPayloadError
        The first byte is no number of lanes, or the size cannot be that of `count` symbols.
    """
    if count == 0 or len(data) == 0 or data[0] == _STORED:
        if len(data) != count + (count > 0):
            raise CorruptPayloadError(f"{len(data)} bytes stored for {count} symbols")
    elif data[0] != 1 and data[0] not in _LANES:
        raise CorruptPayloadError(f"the first byte is {data[0]}, which is no number of lanes")
    else:
        tables.check_size(len(data) - 1, count)


def stored_symbols(data: Buffer, count: int) -> Symbols | None:
    """Return the symbols of a checked payload that are stored, ``None`` if they are coded."""
    if count == 0:
        return np.empty(0, np.uint8)
    return np.frombuffer(data, np.uint8, offset=1) if data[0] == _STORED else None


def decode_symbols(data: Buffer, count: int, which: Which | None, tables: Tables) -> Symbols:
    """Return the `count` symbols of a payload.

    Raises
    ------
    CorruptPayloadError
        `data` is damaged, or of other symbols or tables.
    """
    check_payload(data, count, tables)
    stored = stored_symbols(data, count)
    if stored is not None:
        return stored
    stream = memoryview(data)[1:]
    native = accelerator()
    if native is not None:
        return native.decode(stream, count, which, tables, data[0])
    return rans.decode(stream, count, which, tables, data[0])


def decode_payloads(
    datas: Sequence[Buffer], count: int, which: Which | None, tables: Tables
) -> list[Symbols]:
    """Return the symbols of several payloads of `count` symbols each, all with the same tables.

    Raises
    ------
    CorruptPayloadError
        As `decode_symbols`, for any of them.
    """
    one_lane = [i for i, data in enumerate(datas) if len(data) > 1 and data[0] == 1]
    if accelerator() is not None or count == 0 or len(one_lane) < _FEWEST_IN_STEP:
        return [decode_symbols(data, count, which, tables) for data in datas]
    for i in one_lane:
        check_payload(datas[i], count, tables)
    streams = [memoryview(datas[i])[1:] for i in one_lane]
    found = dict(zip(one_lane, rans.decode_in_step(streams, count, which, tables), strict=True))
    return [
        found[i] if i in found else decode_symbols(data, count, which, tables)
        for i, data in enumerate(datas)
    ]


def _choose_lanes(symbols: Symbols, which: Which | None, tables: Tables) -> int:
    if symbols.size < _FEWEST_FOR_LANES:
        return 1
    native = accelerator()
    measure = rans.measure if native is None else native.measure
    size = measure(symbols, which, tables) >> (8 + 3)
    most = size // (_SHARE * rans.STATE_BYTES)
    return next((lanes for lanes in _LANES if lanes <= most), 1)
