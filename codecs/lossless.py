"""Lossless compression of bytes, and storing where it does not pay."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import lz4.block

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header
from splitnet.codecs.store import Store
from splitnet.errors import CodecError, CorruptPayloadError

_STORED, _COMPRESSED = b"\x00", b"\x01"
_STORE = Store()

_LZ4_LARGEST_INPUT = 0x7E000000  # LZ4_MAX_INPUT_SIZE of lz4.h
_RAW_DEFLATE = -15  # window bits of zlib: the largest window, no header and no checksum


class Lossless(Codec):
    """A flag byte, 0 stored or 1 compressed, and the bytes; keeps every dtype exactly.

    Attributes
    ----------
    largest_ratio
        A compressed byte stands for at most so many.
    """

    bytewise = True
    largest_ratio: ClassVar[int]

    @abstractmethod
    def compress(self, raw: bytes) -> bytes:
        """Return `raw` compressed; what is not shorter is stored instead."""

    @abstractmethod
    def decompress(self, body: memoryview, nbytes: int) -> bytes:
        """Return the `nbytes` that `body` stands for, allocating no more than that.

        Raises
        ------
        CorruptPayloadError
            `body` is damaged; another length of the result is checked by the caller.
        """

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the smaller one of the stored and the compressed bytes."""
        raw = _STORE.encode(array)
        compressed = self.compress(raw)
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
                f"{self.id}: the flag byte is {flag.hex() or 'missing'}, not 00 or 01"
            )
        if len(body) * self.largest_ratio < header.nbytes:
            raise CorruptPayloadError(
                f"{self.id}: {len(body)} bytes cannot hold the {header.nbytes} of "
                f"{header.dtype} {header.shape}"
            )
        return _STORE.decode(self.decompress(body, header.nbytes), header)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""


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


class Lz4(Lossless):
    """One LZ4 block."""

    id = "lz4"
    Config = Lz4Config
    largest_ratio = 255  # of a byte of a match length (lz4_Block_format.md)

    def compress(self, raw: bytes) -> bytes:
        """Return one block, or `raw` where it is too long for one."""
        if len(raw) > _LZ4_LARGEST_INPUT:
            return raw
        if self.config.level == 0:
            acceleration = self.config.acceleration
            mode = {"mode": "fast", "acceleration": acceleration}
        else:
            mode = {"mode": "high_compression", "compression": self.config.level}
        compressed: bytes = lz4.block.compress(raw, store_size=False, **mode)
        return compressed

    def decompress(self, body: memoryview, nbytes: int) -> bytes:
        """Return the content of the block."""
        try:
            raw: bytes = lz4.block.decompress(body, uncompressed_size=nbytes)
        except lz4.block.LZ4BlockError as error:
            raise CorruptPayloadError(f"lz4: the block is damaged ({error})") from error
        return raw


@dataclass(frozen=True, slots=True)
class ZlibConfig:
    """Effort of the encoder, from 1 to 9."""

    level: int = 6

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 9:
            raise CodecError(f"zlib: level is {self.level}, must be from 1 to 9")


class Zlib(Lossless):
    """A raw deflate stream (RFC 1951): Huffman codes, so smaller and slower than lz4."""

    id = "zlib"
    Config = ZlibConfig
    largest_ratio = 1032  # 258 bytes for a match of two bits (zlib.net/zlib_tech.html)

    def compress(self, raw: bytes) -> bytes:
        """Return one deflate stream."""
        stream = zlib.compressobj(self.config.level, zlib.DEFLATED, _RAW_DEFLATE)
        return stream.compress(raw) + stream.flush()

    def decompress(self, body: memoryview, nbytes: int) -> bytes:
        """Return the content of the stream."""
        stream = zlib.decompressobj(_RAW_DEFLATE)
        try:
            raw = stream.decompress(body, nbytes + 1)  # one more, so that the stream can end
        except zlib.error as error:
            raise CorruptPayloadError(f"zlib: the stream is damaged ({error})") from error
        if not stream.eof or stream.unused_data or stream.unconsumed_tail:
            raise CorruptPayloadError("zlib: the stream does not end where the payload does")
        return raw
