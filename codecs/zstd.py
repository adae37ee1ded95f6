"""Zstandard, through the optional module zstandard."""

from __future__ import annotations

from dataclasses import dataclass

import zstandard

from splitnet.codecs.lossless import Lossless
from splitnet.errors import CodecError, CorruptPayloadError


@dataclass(frozen=True, slots=True)
class ZstdConfig:
    """Effort of the encoder, from 1 to 22."""

    level: int = 3

    def __post_init__(self) -> None:
        if not 1 <= self.level <= 22:
            raise CodecError(f"zstd: level is {self.level}, must be from 1 to 22")


class Zstd(Lossless):
    """One Zstandard frame that names the size of its content (RFC 8878)."""

    id = "zstd"
    Config = ZstdConfig
    largest_ratio = 1 << 16  # a block of 4 bytes repeats one byte up to 128 KiB

    def compress(self, raw: bytes) -> bytes:
        """Return one frame."""
        return zstandard.ZstdCompressor(level=self.config.level).compress(raw)

    def decompress(self, body: memoryview, nbytes: int) -> bytes:
        """Return the content of the frame."""
        try:
            promised = zstandard.get_frame_parameters(body).content_size
            if promised != nbytes:
                raise CorruptPayloadError(
                    f"zstd: the frame holds {promised} bytes, {nbytes} are needed"
                )
            coder = zstandard.ZstdDecompressor()
            return coder.decompress(body, max_output_size=nbytes, allow_extra_data=False)
        except zstandard.ZstdError as error:
            raise CorruptPayloadError(f"zstd: the frame is damaged ({error})") from error
