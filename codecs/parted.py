"""Codecs whose payload has parts: a base and refinements, together or as separate messages."""

from __future__ import annotations

from collections.abc import Sequence

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header
from splitnet.codecs.packing import pack, unpack


class Parted(Codec):
    """A codec of several `parts`, which has `encode_parts` and `decode_parts_batch`."""

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return all parts in one payload (see `pack`)."""
        return pack(self.encode_parts(array, context))

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header` from all parts."""
        return self.decode_batch([data], [header], context)[0]

    def decode_batch(
        self, datas: Sequence[Buffer], headers: Sequence[Header], context: Context = NO_CONTEXT
    ) -> list[Array]:
        """Return the array of each payload; the same parts of all are decoded at once."""
        for header in headers:
            self.encoded_header(header)  # refuses what this codec does not take
        batch = [unpack(data, self.parts) for data in datas]
        return self.decode_parts_batch(batch, headers, context)
