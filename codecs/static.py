"""Entropy coding with tables that both sides know beforehand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.coder import check_dtype, check_payload, decode_payloads, encode_symbols
from splitnet.codecs.tables import ChannelTables, check_name, load_channel_tables


@dataclass(frozen=True, slots=True)
class RansConfig:
    """The table by its SHA-256, 64 hexadecimal digits; `Context.tables` holds its bytes."""

    table: str

    def __post_init__(self) -> None:
        check_name("rans", self.table)


class Rans(Codec):
    """Symbols (uint8) at their cross-entropy under static tables, one for all or for channels.

    Keeps every uint8 array; a symbol that the table does not know is escaped.
    """

    id = "rans"
    Config = RansConfig

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of the table."""
        return (self.config.table,)

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the coded symbols of a uint8 array."""
        found = self._tables(header_of(array), context)
        return encode_symbols(array.ravel(), found.which(array.shape), found.tables)

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        return self.decode_batch([data], [header], context)[0]

    def decode_batch(
        self, datas: Sequence[Buffer], headers: Sequence[Header], context: Context = NO_CONTEXT
    ) -> list[Array]:
        """Return the array of each payload; payloads of one shape are decoded in step."""
        if len(set(headers)) != 1:
            return super().decode_batch(datas, headers, context)
        header = headers[0]
        found = self._tables(header, context)
        for data in datas:
            check_payload(data, header.size, found.tables)
        which = found.which(header.shape)
        decoded = decode_payloads(datas, header.size, which, found.tables)
        return [symbols.reshape(header.shape) for symbols in decoded]

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
        check_dtype(header, self.id)

    def _tables(self, header: Header, context: Context) -> ChannelTables:
        check_dtype(header, self.id)
        found = load_channel_tables(self.config.table, context)
        found.check_shape(header.shape)
        return found
