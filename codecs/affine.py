"""Uniform quantisation of a whole tensor between its minimum and maximum."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from math import isfinite

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.errors import CodecError, CorruptPayloadError

_PREFIX = struct.Struct("<ff")  # minimum, scale
_LARGEST = float(np.finfo(np.float32).max)
_SMALLEST = float(np.finfo(np.float32).tiny)  # below it, 1 / scale would overflow
_DTYPES = ("float32", "float16")
_SLACK = 1 + 1e-6  # the rounding of `scale` may lift the largest value by this factor


@dataclass(frozen=True, slots=True)
class AffineConfig:
    """How many bits a symbol has, from 1 to 8."""

    bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= 8:
            raise CodecError(f"affine: bits is {self.bits}, must be from 1 to 8")


class Affine(Codec):
    """Maps floats to ``2**bits`` evenly spaced values.

    The error is at most half a step, and the rounding of float32.

    The payload is minimum and step (float32, little endian) and the symbols, packed from the
    highest bit of each byte. A step is ``(maximum - minimum) / (2**bits - 1)``.

    Source: Jacob et al., Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference, CVPR 2018, equation 1.
    """

    id = "affine"
    Config = AffineConfig

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return minimum, step and symbols of a finite float32 or float16 array."""
        _check_dtype(header_of(array))
        flat = array.ravel().astype(np.float32, copy=False)
        if flat.size == 0:
            return _PREFIX.pack(0.0, 0.0)
        low, high = float(flat.min()), float(flat.max())
        if not (isfinite(low) and isfinite(high)):
            raise CodecError("affine: the array holds NaN or infinity, which have no symbol")
        top = self._top
        scale = float(np.float32(min((high - low) / top, _LARGEST)))
        return _PREFIX.pack(low, scale) + _pack(_quantise(flat, low, scale, top), self.config.bits)

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return ``minimum + symbol * step`` in the dtype of `header`."""
        expected = self.encoded_header(header).size
        if len(data) != expected:
            raise CorruptPayloadError(
                f"affine: {len(data)} bytes for {header.dtype} {header.shape}, must be {expected}"
            )
        low, scale = _PREFIX.unpack_from(data)
        largest = float(np.finfo(header.dtype).max)
        high = low + scale * self._top
        if not (scale >= 0 and -largest <= low and high <= largest * _SLACK):
            raise CorruptPayloadError(
                f"affine: minimum {low} and step {scale} leave the range of {header.dtype}"
            )
        packed = np.frombuffer(data, np.uint8, offset=_PREFIX.size) if header.size else _NO_SYMBOLS
        symbols = _unpack(packed, self.config.bits, header.size)
        values = _dequantise(symbols, low, scale, self._top)
        return values.astype(header.dtype, copy=False).reshape(header.shape)

    def encoded_header(self, header: Header) -> Header:
        """Return 8 bytes of prefix and the packed symbols."""
        _check_dtype(header)
        return Header("uint8", (_PREFIX.size + (header.size * self.config.bits + 7) // 8,))

    @property
    def _top(self) -> int:
        top: int = (1 << self.config.bits) - 1
        return top


_NO_SYMBOLS = np.empty(0, np.uint8)


def _check_dtype(header: Header) -> None:
    if header.dtype not in _DTYPES:
        raise CodecError(f"affine: {header.dtype} is not quantised, only {', '.join(_DTYPES)}")


def _quantise(flat: NDArray[np.float32], low: float, scale: float, top: int) -> NDArray[np.uint8]:
    if scale == 0.0:
        return np.zeros(flat.size, np.uint8)
    if scale < _SMALLEST or scale * top > _LARGEST / 2:
        exact = (flat.astype(np.float64) - low) / scale
        return np.minimum(exact + 0.5, top).astype(np.uint8)
    steps = flat - np.float32(low)
    steps *= np.float32(1.0 / scale)
    steps += np.float32(0.5)  # and rounded down by the cast: to the nearest symbol
    return steps.astype(np.uint8)


def _dequantise(symbols: NDArray[np.uint8], low: float, scale: float, top: int) -> Array:
    if abs(low) + scale * top > _LARGEST / 2:
        exact = symbols.astype(np.float64) * scale + low
        return np.clip(exact, -_LARGEST, _LARGEST)
    values = symbols.astype(np.float32)
    values *= np.float32(scale)
    values += np.float32(low)
    return values


def _pack(symbols: NDArray[np.uint8], bits: int) -> bytes:
    if bits == 8:
        return symbols.tobytes()
    return np.packbits(np.unpackbits(symbols[:, None], axis=1)[:, 8 - bits :]).tobytes()


def _unpack(packed: NDArray[np.uint8], bits: int, count: int) -> NDArray[np.uint8]:
    if bits == 8:
        return packed
    unpacked = np.unpackbits(packed)
    if unpacked[count * bits :].any():
        raise CorruptPayloadError("affine: the bits behind the last symbol are not 0")
    rows = np.zeros((count, 8), np.uint8)
    rows[:, 8 - bits :] = unpacked[: count * bits].reshape(count, bits)
    return np.packbits(rows)
