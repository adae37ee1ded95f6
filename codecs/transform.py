"""Transforms: an array to a few side bytes and another array, the front stages of a pipeline."""

from __future__ import annotations

from abc import abstractmethod

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header
from splitnet.codecs.store import Store
from splitnet.errors import CorruptPayloadError

_STORE = Store()


class Transform(Codec):
    """A codec whose payload is side bytes, of a size known from the header, and another array.

    In front of other stages of a pipeline it hands them the array. By itself it is a codec too:
    the side, then the array as `last_stage` writes it.
    """

    @abstractmethod
    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return the side of `array` and the array that is left to encode.

        Raises
        ------
        CodecError
            The dtype or the values are refused.
        """

    @abstractmethod
    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the array of `header` from its side and what was left.

        Raises
        ------
        CorruptPayloadError
            The side is damaged, or `inner` holds what `split` never makes.
        """

    @abstractmethod
    def layout(self, header: Header) -> tuple[int, Header]:
        """Return the length of the side and the header of the array that is left.

        Raises
        ------
        CodecError
            An array of `header` is refused.
        """

    def last_stage(self) -> Codec:
        """Return what writes the array that is left when no stage follows."""
        return _STORE

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the side and the array that is left."""
        side, inner = self.split(array, context)
        return side + self.last_stage().encode(inner, context)

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        length, inner = self.layout(header)
        if len(data) < length:
            raise CorruptPayloadError(
                f"{self.id}: {len(data)} bytes for {header.dtype} {header.shape}, the side alone "
                f"has {length}"
            )
        view = memoryview(data)
        rest = self.last_stage().decode(view[length:], inner, context)
        return self.join(view[:length], rest, header, context)

    def encoded_header(self, header: Header) -> Header | None:
        """Return the side and what `last_stage` says of the array that is left."""
        length, inner = self.layout(header)
        last = self.last_stage().encoded_header(inner)
        return None if last is None else Header("uint8", (length + last.size,))
