"""Images as files: JPEG, PNG and WebP for paths that send the input itself."""

from __future__ import annotations

import io
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.errors import CodecError, CorruptPayloadError

MAX_SIDE = 16_383
"""Largest width or height in pixels, that of WebP (developers.google.com/speed/webp/faq)."""

_PNG_END = bytes.fromhex("0000000049454e44ae426082")  # the chunk IEND (RFC 2083, section 4.1.4)
_JPEG_END = bytes.fromhex("ffd9")  # the marker EOI (ITU-T T.81, table B.1)
_RIFF_PREFIX = 8  # "RIFF" and the length of the rest (RFC 9649, section 2.3)


class ImageFileCodec(Codec):
    """Turns uint8 ``(H, W)``, ``(H, W, 1)`` or ``(H, W, 3)`` into a file of one format and back."""

    format: ClassVar[str]
    reader: ClassVar[type[ImageFile.ImageFile]]

    @abstractmethod
    def options(self) -> Mapping[str, Any]:
        """Return what Pillow's writer of this format is told."""

    @abstractmethod
    def is_whole(self, data: bytes) -> bool:
        """Return whether `data` ends where the file does, as far as its frame tells."""

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the file."""
        header = header_of(array)
        self._check(header)
        pixels = array[:, :, 0] if header.shape[2:] == (1,) else array
        file = io.BytesIO()
        Image.fromarray(np.ascontiguousarray(pixels)).save(file, self.format, **self.options())
        return file.getvalue()

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the pixels; the size in the file is checked before they are read."""
        self._check(header)
        height, width = header.shape[:2]
        raw = bytes(data)
        if not self.is_whole(raw):
            raise CorruptPayloadError(f"{self.id}: {len(raw)} bytes are not one whole file")
        try:
            with self.reader(io.BytesIO(raw)) as image:
                if image.size != (width, height):
                    raise CorruptPayloadError(
                        f"{self.id}: the image has {image.size[1]} x {image.size[0]} pixels, "
                        f"{height} x {width} are needed"
                    )
                pixels = np.asarray(image.convert("RGB" if header.shape[2:] == (3,) else "L"))
        except CorruptPayloadError:
            raise
        except Exception as error:  # Pillow's readers raise whatever damaged bytes lead them to
            raise CorruptPayloadError(f"{self.id}: the file is damaged ({error!r})") from error
        return pixels.reshape(header.shape)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""

    def _check(self, header: Header) -> None:
        if header.dtype != "uint8":
            raise CodecError(f"{self.id}: {header.dtype} is refused, only uint8 pixels")
        shape = header.shape
        if shape[2:] not in ((), (1,), (3,)) or len(shape) < 2 or not header.size:
            raise CodecError(
                f"{self.id}: shape {shape} is no image, (H, W), (H, W, 1) or (H, W, 3) is"
            )
        if max(shape) > MAX_SIDE:
            raise CodecError(f"{self.id}: shape {shape} exceeds {MAX_SIDE} pixels on a side")


@dataclass(frozen=True, slots=True)
class JpegConfig:
    """Quality from 1 to 100, and the resolution of colours.

    Attributes
    ----------
    subsampling
        ``4:4:4`` keeps that of brightness, ``4:2:2`` halves it across, ``4:2:0`` both ways.
    """

    quality: int = 90
    subsampling: str = "4:2:0"

    def __post_init__(self) -> None:
        _check_quality("jpeg", self.quality)
        if self.subsampling not in ("4:4:4", "4:2:2", "4:2:0"):
            raise CodecError(
                f"jpeg: subsampling is {self.subsampling!r}, must be 4:4:4, 4:2:2 or 4:2:0"
            )


class Jpeg(ImageFileCodec):
    """A baseline JPEG with Huffman tables of its own."""

    id = "jpeg"
    Config = JpegConfig
    format = "JPEG"
    reader = JpegImagePlugin.JpegImageFile

    def options(self) -> Mapping[str, Any]:
        """Return quality, subsampling and optimised tables."""
        config = self.config
        return {"quality": config.quality, "subsampling": config.subsampling, "optimize": True}

    def is_whole(self, data: bytes) -> bool:
        """Return whether the file ends with its end marker."""
        return data.endswith(_JPEG_END)


@dataclass(frozen=True, slots=True)
class PngConfig:
    """Effort of the encoder, from 0 to 9."""

    level: int = 6

    def __post_init__(self) -> None:
        if not 0 <= self.level <= 9:
            raise CodecError(f"png: level is {self.level}, must be from 0 to 9")


class Png(ImageFileCodec):
    """A PNG file, which keeps every pixel."""

    id = "png"
    Config = PngConfig
    format = "PNG"
    reader = PngImagePlugin.PngImageFile

    def options(self) -> Mapping[str, Any]:
        """Return the level."""
        return {"compress_level": self.config.level}

    def is_whole(self, data: bytes) -> bool:
        """Return whether the file ends with its end chunk."""
        return data.endswith(_PNG_END)


@dataclass(frozen=True, slots=True)
class WebpConfig:
    """Quality from 1 to 100, or every pixel kept.

    Attributes
    ----------
    lossless
        Keeps every pixel; quality then is the effort.
    method
        Effort of the encoder, from 0 (fast) to 6.
    """

    quality: int = 90
    lossless: bool = False
    method: int = 4

    def __post_init__(self) -> None:
        _check_quality("webp", self.quality)
        if not 0 <= self.method <= 6:
            raise CodecError(f"webp: method is {self.method}, must be from 0 to 6")


class Webp(ImageFileCodec):
    """A WebP file (RFC 9649)."""

    id = "webp"
    Config = WebpConfig
    format = "WEBP"
    reader = WebPImagePlugin.WebPImageFile

    def options(self) -> Mapping[str, Any]:
        """Return quality, kind and effort."""
        config = self.config
        return {"quality": config.quality, "lossless": config.lossless, "method": config.method}

    def is_whole(self, data: bytes) -> bool:
        """Return whether the length in front is that of the file."""
        return int.from_bytes(data[4:_RIFF_PREFIX], "little") + _RIFF_PREFIX == len(data)


def _check_quality(codec_id: str, quality: int) -> None:
    if not 1 <= quality <= 100:
        raise CodecError(f"{codec_id}: quality is {quality}, must be from 1 to 100")
