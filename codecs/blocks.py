"""Entropy coding with static tables, of which the encoder chooses one for each block."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.coder import check_dtype, check_payload, decode_symbols, encode_symbols
from splitnet.codecs.neighbourhood import planes_shape
from splitnet.codecs.packing import pack, unpack
from splitnet.codecs.tables import (
    ChannelTables,
    Tables,
    Which,
    check_name,
    load_table,
)
from splitnet.errors import CorruptPayloadError

_MAGIC = b"SB1"
_HEAD = struct.Struct("<3sBI")  # magic, side, bytes of the tables of choices

_PADDING = 256
"""Stands behind all symbols and costs nothing."""

Choices = NDArray[np.uint8]
"""Number of the table of each block ``(N, C, rows, columns)``."""


@dataclass(frozen=True, eq=False)
class BlockTables:
    """Tables of symbols, and what codes the choice among them.

    Attributes
    ----------
    side
        Blocks are so many rows and columns of a channel; 0 for whole channels.
    choices
        Tables of the choices, for each channel.
    tables
        The tables that are chosen among.
    """

    side: int
    choices: ChannelTables
    tables: Tables

    def choose(self, symbols: NDArray[np.uint8]) -> Choices:
        """Return the table of each block under which block and choice cost least."""
        shape = blocks_shape(symbols.shape, self.side)
        which = self.choices.which(shape)
        rows = np.zeros(1, np.intp) if which is None else which.reshape(shape).astype(np.intp)
        of_choices = self.choices.tables.costs[rows]
        arranged = _arranged(symbols, self.side)
        best = np.full(shape, np.iinfo(np.int64).max)
        found = np.zeros(shape, np.uint8)
        for number, costs in enumerate(self.tables.costs):
            with_padding = np.append(costs, 0).astype(np.int32)
            cost = with_padding[arranged].sum(axis=0).reshape(shape) + of_choices[..., number]
            less = cost < best
            found[less] = number
            best[less] = cost[less]
        return found

    def which(self, choices: Choices, shape: tuple[int, ...]) -> Which:
        """Return the table of each symbol of an array of `shape`, flat."""
        return spread(choices, shape, self.side)

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: head, tables of choices, tables (docs/entropy-coding.md)."""
        choices = self.choices.to_bytes()
        return _HEAD.pack(_MAGIC, self.side, len(choices)) + choices + self.tables.to_bytes()

    @classmethod
    def from_bytes(cls, data: Buffer) -> BlockTables:
        """Return the tables in `data`.

        Raises
        ------
        CorruptPayloadError
            `data` is not exactly what `to_bytes` returns for some tables.
        """
        if len(data) < _HEAD.size or bytes(data[:3]) != _MAGIC:
            raise CorruptPayloadError(
                f"{len(data)} bytes are no tables of blocks, which begin with {_MAGIC!r}"
            )
        _, side, length = _HEAD.unpack_from(data)
        rest = memoryview(data)[_HEAD.size :]
        choices = ChannelTables.from_bytes(rest[:length])
        return cls(side, choices, Tables.from_bytes(rest[length:]))


@dataclass(frozen=True, slots=True)
class RansBlocksConfig:
    """The tables by their SHA-256, 64 hexadecimal digits; `Context.tables` holds their bytes."""

    table: str

    def __post_init__(self) -> None:
        check_name("rans-blocks", self.table)


class RansBlocks(Codec):
    """Symbols (uint8) under static tables, of which each block of a channel has the best one.

    Keeps every uint8 array ``(N, C, ...)`` of at most the channels that the tables were fitted
    to. The payload is the choices and the symbols, each as `Rans` writes them (see `pack`).
    """

    id = "rans-blocks"
    Config = RansBlocksConfig

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of the tables."""
        return (self.config.table,)

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return choices and symbols of a uint8 array."""
        found = self._tables(header_of(array), context)
        if array.size == 0:
            return b""
        symbols = np.ascontiguousarray(array)
        choices = found.choose(symbols)
        which = found.which(choices, symbols.shape)
        of_choices = found.choices.which(choices.shape)
        return pack(
            [
                encode_symbols(choices.reshape(-1), of_choices, found.choices.tables),
                encode_symbols(symbols.reshape(-1), which, found.tables),
            ]
        )

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        found = self._tables(header, context)
        if header.size == 0:
            if len(data):
                raise CorruptPayloadError(f"rans-blocks: {len(data)} bytes for no symbols")
            return np.empty(header.shape, np.uint8)
        first, second = unpack(data, 2)
        check_payload(second, header.size, found.tables)
        shape = blocks_shape(header.shape, found.side)
        count = prod(shape)
        of_choices = found.choices.which(shape)
        choices = decode_symbols(first, count, of_choices, found.choices.tables).reshape(shape)
        if choices.max() >= len(found.tables.frequencies):
            raise CorruptPayloadError(
                f"rans-blocks: table {choices.max()} is chosen, there are "
                f"{len(found.tables.frequencies)}"
            )
        which = found.which(choices, header.shape)
        return decode_symbols(second, header.size, which, found.tables).reshape(header.shape)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
        check_dtype(header, self.id)

    def _tables(self, header: Header, context: Context) -> BlockTables:
        check_dtype(header, self.id)
        found = load_table(self.config.table, context, BlockTables.from_bytes)
        found.choices.check_shape(header.shape)
        return found


def blocks_shape(shape: tuple[int, ...], side: int) -> tuple[int, int, int, int]:
    """Return how many samples, channels, rows and columns of blocks an array of `shape` has."""
    samples, channels, height, width = planes_shape(shape)
    if side == 0:
        return samples, channels, min(height, 1), min(width, 1)
    return samples, channels, -(-height // side), -(-width // side)


def _arranged(symbols: NDArray[np.uint8], side: int) -> NDArray[np.uint16]:
    """Return the symbols of each block as a column, at the edge filled with `_PADDING`."""
    planes = symbols.reshape(planes_shape(symbols.shape))
    samples, channels, rows, columns = blocks_shape(symbols.shape, side)
    high, wide = (side, side) if side else planes.shape[2:]
    padded = np.full((samples, channels, rows * high, columns * wide), _PADDING, np.uint16)
    padded[:, :, : planes.shape[2], : planes.shape[3]] = planes
    parts = padded.reshape(samples, channels, rows, high, columns, wide)
    return parts.transpose(3, 5, 0, 1, 2, 4).reshape(high * wide, -1)


def spread(choices: NDArray[Any], shape: tuple[int, ...], side: int) -> NDArray[Any]:
    """Return what `choices` says of its block for each symbol of an array of `shape`, flat."""
    _, _, height, width = planes_shape(shape)
    if side == 0:
        return np.repeat(choices.reshape(-1), height * width)
    rows, columns = np.arange(height) // side, np.arange(width) // side
    return choices.take(rows, axis=2).take(columns, axis=3).reshape(-1)
