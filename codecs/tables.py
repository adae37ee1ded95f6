"""Integer frequency tables of the entropy coders, and the bytes by whose hash they are named.

A table gives each symbol from 0 to 255 a frequency; the frequencies of a table, with that of the
escape, add up to ``2**precision``. Nothing here depends on floating point, so every machine makes
the same tables from the same bytes.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from math import prod
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Buffer, Context
from splitnet.errors import CodecError, CorruptPayloadError, MissingTableError

ESCAPE = 256
"""Column of the escape, behind which a symbol without a frequency follows as a plain byte."""

MAX_PRECISION = 14
"""Frequencies fit 16 bits, and a table of 2**14 slots the first-level cache of a CPU."""

MAX_TABLES = 256
"""The number of a table is one byte for each symbol."""

MAX_PARSED = 768
"""Parsed files of tables that are kept: some for every level of every path of a few bundles."""

_MIN_PRECISION = 4
_MAGIC = b"ST1"
_CHANNELS = struct.Struct("<3sH")  # magic, channels
_HEAD = struct.Struct("<BBBH")  # precision, first symbol, last symbol, tables

T = TypeVar("T")
Frequencies = NDArray[np.uint16]
Which = NDArray[np.uint8]
"""The number of the table of each symbol, in the order of the symbols."""


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequency tables of one precision, as the coders use them.

    Attributes
    ----------
    frequencies
        uint16 ``(T, 257)``; column `ESCAPE` is never 0, a symbol of frequency 0 is escaped.
    precision
        Every row adds up to ``2**precision``.

    Raises
    ------
    CorruptPayloadError
        A row has another sum, no escape, or there are too many rows.
    """

    frequencies: Frequencies
    precision: int

    def __post_init__(self) -> None:
        rows, columns = self.frequencies.shape
        sums = self.frequencies.sum(axis=1, dtype=np.int64)
        if (
            not 1 <= rows <= MAX_TABLES
            or columns != ESCAPE + 1
            or not _MIN_PRECISION <= self.precision <= MAX_PRECISION
            or (sums != 1 << self.precision).any()
            or not self.frequencies[:, ESCAPE].all()
        ):
            raise CorruptPayloadError(
                f"frequency tables of precision {self.precision}: {rows} rows with sums "
                f"{sums[:4].tolist()}, must be 1 to {MAX_TABLES} rows of 2**precision each, "
                "with an escape"
            )

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """First slot of each symbol ``(T, 257)``; the escape has the last slots."""
        ends: NDArray[np.int64] = np.cumsum(self.frequencies, axis=1, dtype=np.int64)
        return ends - self.frequencies

    @cached_property
    def coded(self) -> bytes:
        """The symbols that the first table codes without an escape."""
        return np.flatnonzero(self.frequencies[0, :ESCAPE]).astype(np.uint8).tobytes()

    @cached_property
    def costs(self) -> NDArray[np.int64]:
        """What a symbol takes in 1/256 bit ``(T, 256)``, at most 1/256 bit below the truth."""
        coded = self.frequencies.astype(np.int64)
        own = (self.precision << 8) - _logarithms()[coded]
        escaped = own[:, ESCAPE:] + (8 << 8)
        return np.where(coded[:, :ESCAPE] > 0, own[:, :ESCAPE], escaped)

    @cached_property
    def rarest_other(self) -> int:
        """The fewest slots that any table leaves to all symbols but its most frequent one."""
        return (1 << self.precision) - int(self.frequencies.max())

    def check_size(self, size: int, count: int) -> None:
        """Raise `CorruptPayloadError` if `size` bytes cannot hold `count` symbols.

        A symbol of probability p takes at least 1 - p bits, since -log2(p) >= 1 - p.
        """
        if count * self.rarest_other > size * 8 << self.precision:
            raise CorruptPayloadError(f"{size} bytes cannot hold {count} symbols of these tables")

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: head, then the frequencies (docs/entropy-coding.md)."""
        used = np.flatnonzero(self.frequencies[:, :ESCAPE].any(axis=0))
        first, last = (int(used[0]), int(used[-1])) if used.size else (0, 0)
        head = _HEAD.pack(self.precision, first, last, len(self.frequencies))
        columns = [*range(first, last + 1), ESCAPE]
        return head + self.frequencies[:, columns].astype("<u2").tobytes()

    @classmethod
    def from_bytes(cls, data: Buffer) -> Tables:
        """Return the tables in `data`.

        Raises
        ------
        CorruptPayloadError
            `data` is not exactly what `to_bytes` returns for some tables.
        """
        if len(data) < _HEAD.size:
            raise CorruptPayloadError(f"{len(data)} bytes are too few for frequency tables")
        precision, first, last, rows = _HEAD.unpack_from(data)
        columns = last - first + 2
        expected = _HEAD.size + 2 * rows * columns
        if last < first or len(data) != expected:
            raise CorruptPayloadError(
                f"{len(data)} bytes for {rows} tables of symbols {first} to {last}, must be "
                f"{expected}"
            )
        body = np.frombuffer(data, "<u2", offset=_HEAD.size).reshape(rows, columns)
        frequencies = np.zeros((rows, ESCAPE + 1), np.uint16)
        frequencies[:, first : last + 1] = body[:, :-1]
        frequencies[:, ESCAPE] = body[:, -1]
        found = cls(frequencies, precision)
        if found.to_bytes() != bytes(data):
            raise CorruptPayloadError("frequency tables name symbols that no table has")
        return found


@dataclass(frozen=True, eq=False)
class ChannelTables:
    """Tables, and which of them each channel (axis 1 of an array) has.

    Attributes
    ----------
    tables
        The tables themselves.
    channels
        Number of the table of each channel, of which an array may have only the first ones; empty
        if the only table serves arrays of any shape.
    """

    tables: Tables
    channels: bytes = b""

    def check_shape(self, shape: tuple[int, ...]) -> None:
        """Raise `CodecError` if there are tables for fewer channels."""
        if self.channels and (len(shape) < 2 or shape[1] > len(self.channels)):
            raise CodecError(
                f"tables of {len(self.channels)} channels do not fit an array of shape {shape}, "
                "whose axis 1 must have no more"
            )

    def which(self, shape: tuple[int, ...]) -> Which | None:
        """Return the table of each symbol of an array of `shape`, ``None`` if there is only one."""
        if len(self.tables.frequencies) == 1:
            return None
        channels = np.frombuffer(self.channels[: shape[1]], np.uint8)
        sample = np.repeat(channels, prod(shape[2:]))
        return sample if shape[0] == 1 else np.tile(sample, shape[0])

    def to_bytes(self) -> bytes:
        """Return the canonical bytes: the table of each channel, then the tables."""
        head = _CHANNELS.pack(_MAGIC, len(self.channels))
        return head + self.channels + self.tables.to_bytes()

    @classmethod
    def from_bytes(cls, data: Buffer) -> ChannelTables:
        """Return the tables in `data`.

        Raises
        ------
        CorruptPayloadError
            `data` is not exactly what `to_bytes` returns for some tables.
        """
        if len(data) < _CHANNELS.size or bytes(data[:3]) != _MAGIC:
            raise CorruptPayloadError(
                f"{len(data)} bytes are no frequency tables, which begin with {_MAGIC!r}"
            )
        end = _CHANNELS.size + _CHANNELS.unpack_from(data)[1]
        channels = bytes(data[_CHANNELS.size : end])
        tables = Tables.from_bytes(memoryview(data)[end:])
        if max(channels, default=0) >= len(tables.frequencies) or (
            not channels and len(tables.frequencies) > 1
        ):
            raise CorruptPayloadError("the channels do not fit the tables")
        return cls(tables, channels)


def hash_of(data: bytes) -> str:
    """Return the SHA-256 of the bytes of tables, by which configurations name them."""
    return hashlib.sha256(data).hexdigest()


def check_name(codec_id: str, name: str) -> None:
    """Raise `CodecError` unless `name` is a SHA-256 in hexadecimal digits."""
    if len(name) != 64 or not set(name) <= set("0123456789abcdef"):
        raise CodecError(f"{codec_id}: table is {name!r}, must be 64 hexadecimal digits (SHA-256)")


def find_table(name: str, context: Context) -> bytes:
    """Return the bytes that `context` has under the hash `name`.

    Raises
    ------
    MissingTableError
        There are none.
    """
    if name not in context.tables:
        raise MissingTableError(
            f"the table {name} is not here ({len(context.tables)} others are); a decoder needs "
            "every table that the codec configurations name"
        )
    return context.tables[name]


def load_channel_tables(name: str, context: Context) -> ChannelTables:
    """Return the parsed tables that `context` has under the hash `name`.

    Raises
    ------
    MissingTableError
        There are none.
    CorruptPayloadError
        They have another hash, or are no tables.
    """
    return load_table(name, context, ChannelTables.from_bytes)


def load_table(name: str, context: Context, parse: Callable[[bytes], T]) -> T:
    """Return what `parse` makes of the bytes that `context` has under the hash `name`.

    Tables are parsed once and kept, the `MAX_PARSED` that were used last.

    Raises
    ------
    MissingTableError
        There are none.
    CorruptPayloadError
        They have another hash, or `parse` refuses them.
    """
    parsed: T = _parsed(name, find_table(name, context), parse)
    return parsed


@lru_cache(maxsize=MAX_PARSED)
def _parsed(name: str, data: bytes, parse: Callable[[bytes], Any]) -> Any:
    check_hash(name, data)
    return parse(data)


def check_hash(name: str, data: bytes) -> None:
    """Raise `CorruptPayloadError` unless `name` is the SHA-256 of `data`."""
    if hash_of(data) != name:
        raise CorruptPayloadError(f"the table {name} has the hash {hash_of(data)}: it is damaged")


def scale_frequencies(weights: NDArray[np.int64], total: int) -> NDArray[np.int64]:
    """Return frequencies in proportion to `weights`, at least 1 each, of sum `total`.

    Parameters
    ----------
    weights
        int64 ``(M,)``, none below 0, their sum from 1 to 2**48; M at most `total`, which is at
        most 2**14. What rounding leaves over goes to the greatest.
    """
    found = 1 + weights * (total - weights.size) // int(weights.sum())
    found[int(weights.argmax())] += total - int(found.sum())
    return found


def log2_256(value: int) -> int:
    """Return 256 times the binary logarithm of a positive integer, at most 2 too low."""
    shift = max(0, value.bit_length() - MAX_PRECISION)
    return int(_logarithms()[value >> shift]) + (shift << 8)


@cache
def _logarithms() -> NDArray[np.int64]:
    """Return ``floor(256 * log2(i))`` for i from 1 to 2**14, by squaring, so without floats."""
    values = np.arange(1, (1 << MAX_PRECISION) + 1)
    found = np.zeros_like(values)
    for bit in (8, 4, 2, 1):
        found += np.where(values >> found >= 1 << bit, bit, 0)
    mantissa = (values << 30) >> found  # from 2**30 to 2**31
    for _ in range(8):
        mantissa = (mantissa * mantissa) >> 30
        carry = mantissa >> 31
        mantissa >>= carry
        found = (found << 1) | carry
    return np.concatenate([[0], found])
