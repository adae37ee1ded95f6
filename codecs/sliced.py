"""Independent slices, so that damage stays where it happened."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import isfinite
from typing import Any

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.making import make_codec
from splitnet.codecs.quantiser import CHANNEL_AXIS
from splitnet.errors import CodecError, CorruptPayloadError, DamagedSliceError

_ENTRY = struct.Struct("<II")  # length of a slice, its CRC-32
_CHECK = struct.Struct("<I")  # CRC-32 of all entries
MAX_SLICES = 256


@dataclass(frozen=True, slots=True)
class SlicedConfig:
    """How an array is parted, and what writes each part.

    Attributes
    ----------
    slices
        At most so many, from 1 to 256; no more than the axis is long.
    axis
        Along which the array is parted, from 0 to 7: 1 for channels, 2 for rows.
    mean
        What stands for the values of a damaged slice: one number, or one a channel (axis 1);
        the mean of calibration data.
    codec
        Configuration of the codec of each slice.
    """

    slices: int = 8
    axis: int = 1
    mean: tuple[float, ...] = (0.0,)
    codec: Mapping[str, Any] = field(default_factory=lambda: {"id": "store"})

    def __post_init__(self) -> None:
        if not 1 <= self.slices <= MAX_SLICES:
            raise CodecError(f"sliced: slices is {self.slices}, must be from 1 to {MAX_SLICES}")
        if not 0 <= self.axis <= 7:
            raise CodecError(f"sliced: axis is {self.axis}, must be from 0 to 7")
        if not self.mean or not all(map(isfinite, self.mean)):
            raise CodecError("sliced: mean must hold one or more finite numbers")


class Sliced(Codec):
    """Writes runs of channels, or of rows, one by one, each with a checksum.

    The payload is length and CRC-32 of each slice (unsigned 32 bit, little endian), the CRC-32 of
    these entries, and the slices. A slice that is damaged or cut off is refused by its number
    (`DamagedSliceError`) or, where `Context.damaged` is a list, filled with `mean`.
    """

    id = "sliced"
    Config = SlicedConfig

    def __init__(self, config: SlicedConfig | None = None) -> None:
        super().__init__(config)
        self._codec = make_codec(self.config.codec)

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of each table that the codec of the slices needs."""
        return self._codec.tables

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return entries and slices."""
        bounds = self._bounds(header_of(array))
        pieces = [
            self._codec.encode(array[self._place(first, stop)], context) for first, stop in bounds
        ]
        entries = b"".join(_ENTRY.pack(len(piece), zlib.crc32(piece)) for piece in pieces)
        return b"".join([entries, _CHECK.pack(zlib.crc32(entries)), *pieces])

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`.

        Raises
        ------
        DamagedSliceError
            Slices are damaged and `context` does not ask to fill them.
        """
        if context.damaged is None:
            return self.decode_batch([data], [header], context)[0]
        bounds, parts = self._parts(header)
        pieces = _pieces(memoryview(data), len(bounds))
        decoded = [
            None if piece is None else self._codec.decode(piece, part, context)
            for piece, part in zip(pieces, parts, strict=True)
        ]
        array = np.empty(header.shape, header.dtype)
        for number, (values, ends) in enumerate(zip(decoded, bounds, strict=True)):
            place = self._place(*ends)
            if values is not None:
                array[place] = values
            else:
                array[place] = self._filling(header)[place]
                context.damaged.append(number)
        return array

    def decode_batch(
        self, datas: Sequence[Buffer], headers: Sequence[Header], context: Context = NO_CONTEXT
    ) -> list[Array]:
        """Return the array of each payload; the same slices of all are decoded at once."""
        if context.damaged is not None or len(set(headers)) != 1:
            return super().decode_batch(datas, headers, context)
        bounds, parts = self._parts(headers[0])
        pieces = [_whole(_pieces(memoryview(data), len(bounds))) for data in datas]
        columns = [
            self._codec.decode_batch(column, [part] * len(datas), context)
            for column, part in zip(zip(*pieces, strict=True), parts, strict=True)
        ]
        axis = self.config.axis
        return [np.concatenate(values, axis=axis) for values in zip(*columns, strict=True)]

    def encoded_header(self, header: Header) -> Header | None:
        """Return entries and slices, where their codec tells its sizes."""
        total = _CHECK.size
        for ends in self._bounds(header):
            piece = self._codec.encoded_header(self._part(header, *ends))
            if piece is None:
                return None
            total += _ENTRY.size + piece.size
        return Header("uint8", (total,))

    def _bounds(self, header: Header) -> list[tuple[int, int]]:
        """Return where each slice begins and stops on the axis."""
        if len(header.shape) <= self.config.axis:
            raise CodecError(f"sliced: {header.shape} has no axis {self.config.axis}")
        length = header.shape[self.config.axis]
        count = max(1, min(self.config.slices, length))
        ends = [length * number // count for number in range(count + 1)]
        return list(pairwise(ends))

    def _parts(self, header: Header) -> tuple[list[tuple[int, int]], list[Header]]:
        """Return where each slice lies, and its header; refuses what the codec refuses."""
        bounds = self._bounds(header)
        parts = [self._part(header, *ends) for ends in bounds]
        self._codec.encoded_header(parts[0])
        return bounds, parts

    def _place(self, first: int, stop: int) -> tuple[slice, ...]:
        axis: int = self.config.axis
        return (slice(None),) * axis + (slice(first, stop),)

    def _part(self, header: Header, first: int, stop: int) -> Header:
        axis, shape = self.config.axis, header.shape
        return Header(header.dtype, (*shape[:axis], stop - first, *shape[axis + 1 :]))

    def _filling(self, header: Header) -> Array:
        """Return the mean broadcast to `header`, a view of few values."""
        mean = np.array(self.config.mean)
        if mean.size > 1:
            if len(header.shape) <= CHANNEL_AXIS or header.shape[CHANNEL_AXIS] != mean.size:
                raise CodecError(f"sliced: {mean.size} means for an array of {header.shape}")
            mean = mean.reshape((-1,) + (1,) * (len(header.shape) - CHANNEL_AXIS - 1))
        return np.broadcast_to(mean, header.shape)


def _pieces(data: memoryview, count: int) -> list[memoryview | None]:
    """Return each slice, ``None`` for a damaged one."""
    head = count * _ENTRY.size
    if len(data) < head + _CHECK.size:
        raise CorruptPayloadError(f"sliced: {len(data)} bytes, the entries of {count} slices miss")
    if zlib.crc32(data[:head]) != _CHECK.unpack_from(data, head)[0]:
        raise CorruptPayloadError("sliced: the lengths and checksums of the slices are damaged")
    entries = list(_ENTRY.iter_unpack(data[:head]))
    ends = list(accumulate((length for length, _ in entries), initial=head + _CHECK.size))
    if len(data) > ends[-1]:
        raise CorruptPayloadError(f"sliced: {len(data)} bytes, the slices end at {ends[-1]}")
    pieces: list[memoryview | None] = []
    for first, (length, checksum) in zip(ends, entries, strict=False):
        piece = data[first : first + length]
        pieces.append(piece if zlib.crc32(piece) == checksum and len(piece) == length else None)
    return pieces


def _whole(pieces: list[memoryview | None]) -> list[memoryview]:
    """Return `pieces` (raises `DamagedSliceError` if any of them is damaged)."""
    numbers = tuple(number for number, piece in enumerate(pieces) if piece is None)
    if numbers:
        raise DamagedSliceError(
            f"sliced: of {len(pieces)} slices these are damaged: {', '.join(map(str, numbers))}",
            numbers,
        )
    return [piece for piece in pieces if piece is not None]
