"""Lossless compression of bytes, and storing where it does not pay."""

from __future__ import annotations

from dataclasses import dataclass

import lz4.block

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header
from splitnet.codecs.store import Store
from splitnet.errors import CodecError, CorruptPayloadError

_STORED, _COMPRESSED = b"\x00", b"\x01"
_STORE = Store()

_LARGEST_INPUT = 0x7E000000  # LZ4_MAX_INPUT_SIZE of lz4.h
_LARGEST_RATIO = 255  # a byte of a match length stands for at most 255 bytes (lz4_Block_format.md)


@dataclass(frozen=True, slots=True)
class Lz4Config:
    """Effort of the encoder; every decoder reads every result.

    Attributes
    ----------
    level
        0 is the fast encoder, 1 to 12 the slower ones that compress better.
    acceleration
        From 1 to 65537: how much faster and worse the fast encoder becomes.
    """

    level: int = 0
    acceleration: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 12:
            raise CodecError(f"lz4: level is {self.level}, must be from 0 to 12")
        if not 1 <= self.acceleration <= 65_537:
            raise CodecError(f"lz4: acceleration is {self.acceleration}, must be from 1 to 65537")


class Lz4(Codec):
    """One LZ4 block behind a flag byte: 0 stored, 1 compressed. Keeps every dtype exactly."""

    id = "lz4"
    Config = Lz4Config

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the smaller one of the stored and the compressed bytes."""
        raw = _STORE.encode(array)
        if len(raw) <= _LARGEST_INPUT:
            compressed = self._compress(raw)
            if len(compressed) < len(raw):
                return _COMPRESSED + compressed
        return _STORED + raw

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        flag, body = bytes(data[:1]), memoryview(data)[1:]
        if flag == _STORED:
            return _STORE.decode(body, header)
        if flag != _COMPRESSED:
            raise CorruptPayloadError(
                f"lz4: the flag byte is {flag.hex() or 'missing'}, not 00 or 01"
            )
        if len(body) * _LARGEST_RATIO < header.nbytes:
            raise CorruptPayloadError(
                f"lz4: {len(body)} bytes cannot hold the {header.nbytes} of "
                f"{header.dtype} {header.shape}"
            )
        try:
            raw = lz4.block.decompress(body, uncompressed_size=header.nbytes)
        except lz4.block.LZ4BlockError as error:
            raise CorruptPayloadError(f"lz4: the block is damaged ({error})") from error
        return _STORE.decode(raw, header)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""

    def _compress(self, raw: bytes) -> bytes:
        if self.config.level == 0:
            acceleration = self.config.acceleration
            mode = {"mode": "fast", "acceleration": acceleration}
        else:
            mode = {"mode": "high_compression", "compression": self.config.level}
        compressed: bytes = lz4.block.compress(raw, store_size=False, **mode)
        return compressed
