"""Latents as a coarse base and refinements of it, each coded with what came before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import (
    NO_CONTEXT,
    Array,
    Buffer,
    Context,
    Header,
    check_parts,
    header_of,
)
from splitnet.codecs.neighbourhood import Neighbourhood
from splitnet.codecs.neighbours import load_neighbourhood, read_symbols, write_symbols
from splitnet.codecs.parted import Parted
from splitnet.codecs.quantiser import CHANNEL_AXIS
from splitnet.codecs.tables import check_name
from splitnet.errors import CodecError, CorruptPayloadError

LARGEST_SYMBOL = 127
"""Symbols are from -127 to 127 steps; a value beyond that is clipped."""

_MOST_PARTS, _LARGEST_SCALE = 8, 1 << 15

Units = NDArray[np.int32]
"""Values in whole finest steps, ``(N, C, ...)``."""


@dataclass(frozen=True, slots=True)
class EmbeddedConfig:
    """What each part adds.

    Attributes
    ----------
    step
        The finest step.
    scales
        Step of each part in finest steps, the last one 1; each is an odd multiple of the next.
    channels
        How many first channels each part refines, never falling; the others are 0 until then.
    tables
        Of each part, weights and tables of a neighbourhood by their SHA-256: first the magnitudes
        of the channels of the part in front, then the part's own. Without them symbols cannot be
        coded, but `calibrate` can see them.
    """

    step: float = 1.0
    scales: tuple[int, ...] = (3, 1)
    channels: tuple[int, ...] = ()
    tables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not (isfinite(self.step) and self.step > 0):
            raise CodecError(f"embedded: step is {self.step:g}, must be above 0")
        odd = all(b > 0 and a % b == 0 and (a // b) % 2 for a, b in pairwise(self.scales))
        if not 2 <= len(self.scales) <= _MOST_PARTS or self.scales[-1] != 1 or not odd:
            raise CodecError(
                f"embedded: scales is {list(self.scales)}, must be 2 to {_MOST_PARTS} steps down "
                "to 1, each an odd multiple of the next: then a cell of one is whole cells of the "
                "next, with a zero in the middle"
            )
        if self.scales[0] > _LARGEST_SCALE:
            raise CodecError(f"embedded: a scale is at most {_LARGEST_SCALE}, not {self.scales[0]}")
        if len(self.channels) != len(self.scales) or not _rising(self.channels):
            raise CodecError(
                f"embedded: channels is {list(self.channels)}, must be {len(self.scales)} numbers "
                "from 1, none below the one in front"
            )
        if self.tables and len(self.tables) != len(self.scales):
            raise CodecError(
                f"embedded: {len(self.tables)} tables for {len(self.scales)} parts, needs one each"
            )
        for name in self.tables:
            check_name("embedded", name)


class Embedded(Parted):
    """Writes a float array ``(N, C, ...)`` as a base and refinements of an embedded quantiser.

    The base holds the first channels in coarse steps around zero. A refinement holds, in smaller
    steps, what is left of the values that the decoder has, and of channels that begin with it. With
    k parts a value is the nearest multiple of the k-th step. Left-overs are counted towards zero's
    side of the value and coded as magnitudes under tables that the parts in front, earlier channels
    and neighbours choose. The parts go as separate messages (`encode_parts`); `encode` packs them.

    Source: Equitz and Cover, Successive refinement of information, IEEE Trans. IT 1991; the
    embedded dead-zone quantisers of JPEG 2000 (Taubman and Marcellin, 2002, section 3.2.7).
    """

    id = "embedded"
    Config = EmbeddedConfig

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of the table of each part."""
        names: tuple[str, ...] = self.config.tables
        return tuple(dict.fromkeys(names))

    @property
    def parts(self) -> int:
        """The base and each refinement."""
        return len(self.config.scales)

    def symbols(self, array: Array) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
        """Return for each part what the decoder knows ``(N, G, ...)``, and its own symbols.

        Raises
        ------
        CodecError
            The array is not float32, has too few channels or values that are not finite.
        """
        self._check(header_of(array))
        if not np.isfinite(array).all():
            raise CodecError("embedded: NaN or infinity has no nearest step")
        exact = array.astype(np.float64) / self.config.step
        restored = np.zeros(array.shape, np.int32)
        found = []
        for number in range(self.parts):
            known, scale = self._known(restored, number), self.config.scales[number]
            kept = restored[:, : self.config.channels[number]]
            left = np.rint((exact[:, : kept.shape[CHANNEL_AXIS]] - kept) / scale)
            steps = left.clip(-LARGEST_SYMBOL, LARGEST_SYMBOL).astype(np.int32)
            found.append((known, _fold(steps * _side(kept))))
            kept += scale * steps
        return found

    def encode_parts(self, array: Array, context: Context = NO_CONTEXT) -> list[bytes]:
        """Return the base and each refinement."""
        symbols = self.symbols(array)
        tables = self._load(array.shape, context)
        return [
            write_symbols(own, table, known) if own.size else b""
            for (known, own), table in zip(symbols, tables, strict=True)
        ]

    def decode_parts_batch(
        self,
        batch: Sequence[Sequence[Buffer]],
        headers: Sequence[Header],
        context: Context = NO_CONTEXT,
    ) -> list[Array]:
        """Return the arrays of `headers` from the first parts of each."""
        check_parts(self.id, batch, self.parts)
        pairs = zip(batch, headers, strict=True)
        return [self._restored(parts, header, context) for parts, header in pairs]

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
        self._check(header)

    def _restored(self, parts: Sequence[Buffer], header: Header, context: Context) -> Array:
        self._check(header)
        tables = self._load(header.shape, context)
        everything = header.shape[CHANNEL_AXIS]
        for channels, stream, table in zip(self.config.channels, parts, tables, strict=False):
            count = header.size // everything * channels
            table.tables.check_size(len(stream), count)
            if len(stream) and not count:
                raise CorruptPayloadError(f"embedded: {len(stream)} bytes for no symbols")
        restored = np.zeros(header.shape, np.int32)
        for number, (stream, table) in enumerate(zip(parts, tables, strict=False)):
            kept = restored[:, : self.config.channels[number]]
            if kept.size:
                known = self._known(restored, number)
                steps = _unfold(read_symbols(stream, kept.shape, table, known))
                kept += self.config.scales[number] * steps * _side(kept)
        return (restored * np.float64(self.config.step)).astype(np.float32)

    def _known(self, restored: Units, number: int) -> NDArray[np.uint8]:
        """Return the magnitudes that the decoder has of a part's channels, in the part's steps."""
        channels = self.config.channels[number - 1] if number else 0
        magnitudes = np.abs(restored[:, :channels]) // self.config.scales[number]
        known: NDArray[np.uint8] = magnitudes.clip(0, 255).astype(np.uint8)
        return known

    def _load(self, shape: tuple[int, ...], context: Context) -> list[Neighbourhood]:
        """Return the neighbourhood of each part."""
        if not self.config.tables:
            raise CodecError("embedded: no tables; calibrate the codec with data first")
        found = [load_neighbourhood(name, context) for name in self.config.tables]
        for number, table in enumerate(found):
            own = self.config.channels[number]
            known = self.config.channels[number - 1] if number else 0
            table.check_shape((shape[0], known + own, *shape[CHANNEL_AXIS + 1 :]))
        return found

    def _check(self, header: Header) -> None:
        channels = header.shape[CHANNEL_AXIS] if len(header.shape) > CHANNEL_AXIS else 0
        if header.dtype != "float32" or channels < self.config.channels[-1]:
            raise CodecError(
                f"embedded: takes float32 (N, C, ...) with at least {self.config.channels[-1]} "
                f"channels, not {header.dtype} of shape {header.shape}"
            )


def _rising(channels: Sequence[int]) -> bool:
    return min(channels, default=0) >= 1 and all(a <= b for a, b in pairwise(channels))


def _side(values: Units) -> Units:
    """Return the sign of each value, 1 for 0."""
    return np.where(values < 0, -1, 1).astype(np.int32)


def _fold(steps: Units) -> NDArray[np.uint8]:
    """Return 0, 1, 2, 3, ... for 0, -1, 1, -2, ..."""
    return np.where(steps < 0, -2 * steps - 1, 2 * steps).astype(np.uint8)


def _unfold(symbols: NDArray[np.uint8]) -> Units:
    wide = symbols.astype(np.int32)
    return np.where(wide % 2, -(wide + 1) // 2, wide // 2).astype(np.int32)
