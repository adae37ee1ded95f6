"""Frames of a stream, predicted from the frame in front where that is shorter."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.coder import check_dtype
from splitnet.codecs.making import make_codec
from splitnet.codecs.neighbourhood import Neighbourhood
from splitnet.codecs.neighbours import load_neighbourhood, read_symbols, write_symbols
from splitnet.codecs.quantiser import CHANNEL_AXIS
from splitnet.codecs.tables import check_name
from splitnet.errors import CodecError, CorruptPayloadError, MissingReferenceError

_INTRA = b"\x00"
_MOST_DISTANCE = 255


@dataclass(frozen=True, slots=True)
class PreviousConfig:
    """What writes key frames, and the table for all others.

    Attributes
    ----------
    table
        Weights and tables of a neighbourhood by their SHA-256. Its first half of the channels is
        the frame in front, its second half the frame itself.
    intra
        Configuration of the codec of frames that are not predicted.
    """

    table: str
    intra: Mapping[str, Any] = field(default_factory=lambda: {"id": "rans-adaptive"})

    def __post_init__(self) -> None:
        check_name("previous", self.table)


class Previous(Codec):
    """Symbols (uint8) under tables chosen by the frame in front and by what was decoded before.

    `Context.references` holds the earlier frames; the frame's own symbols are put there. Without
    references every frame is a key frame. A payload begins with a byte: 0 in front of what `intra`
    writes, else the distance to the frame that it is predicted from, in front of a stream of one
    lane. An encoder takes the shorter one, so a frame costs at most one byte more than without
    prediction. A frame predicted from one that is missing raises `MissingReferenceError`; the
    next key frame, of an encoder that was told to `References.forget`, ends the trouble.
    """

    id = "previous"
    Config = PreviousConfig

    def __init__(self, config: PreviousConfig) -> None:
        super().__init__(config)
        self._intra = make_codec(config.intra)

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of the table of predicted frames, and what `intra` needs."""
        return (self.config.table, *self._intra.tables)

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the frame, predicted from the newest one in front if that is shorter."""
        header = header_of(array)
        check_dtype(header, self.id)
        data = _INTRA + self._intra.encode(array, context)
        references = context.references
        if references is None:
            return data
        newest = references.newest()
        if newest is not None and array.size and references.number - newest <= _MOST_DISTANCE:
            before = references.get(newest)
            if before.shape == array.shape:
                stream = self._predicted(array, before, context)
                if 1 + len(stream) < len(data):
                    data = bytes([references.number - newest]) + stream
        references.put(np.ascontiguousarray(array))
        return data

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`.

        Raises
        ------
        MissingReferenceError
            The frame that this one is predicted from is not in `Context.references`.
        """
        check_dtype(header, self.id)
        view = memoryview(data)
        if not len(view):
            raise CorruptPayloadError("previous: the payload is empty, its first byte is missing")
        if view[0] == 0:
            array = self._intra.decode(view[1:], header, context)
        else:
            array = self._restored(view[1:], header, view[0], context)
        if context.references is not None:
            context.references.put(array)
        return array

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
        check_dtype(header, self.id)

    def _predicted(self, array: Array, before: Array, context: Context) -> bytes:
        found = self._neighbourhood(header_of(array), context)
        return write_symbols(array, found, before)

    def _restored(
        self, stream: memoryview, header: Header, distance: int, context: Context
    ) -> Array:
        references = context.references
        if references is None:
            raise MissingReferenceError(
                f"a frame is predicted from the one {distance} in front, but this side keeps no "
                "frames; ask for a key frame"
            )
        before = references.get(references.number - distance)
        if before.shape != header.shape or not header.size:
            raise CorruptPayloadError(
                f"previous: {header.shape} cannot be predicted from {before.shape}"
            )
        found = self._neighbourhood(header, context)
        found.tables.check_size(len(stream), header.size)
        return read_symbols(stream, header.shape, found, before)

    def _neighbourhood(self, header: Header, context: Context) -> Neighbourhood:
        found = load_neighbourhood(self.config.table, context)
        if len(header.shape) <= CHANNEL_AXIS or 2 * header.shape[CHANNEL_AXIS] != found.channels:
            raise CodecError(
                f"previous: weights of 2 x {found.channels // 2} channels do not fit shape "
                f"{header.shape}, whose axis {CHANNEL_AXIS} must have as many"
            )
        return found
