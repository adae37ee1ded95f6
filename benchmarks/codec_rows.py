"""Coders of symbols for the benchmark of the codecs: ours and those that people use otherwise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import blosc2
import lz4.block
import numpy as np
import zstandard
from numpy.typing import NDArray
from pcodec import ChunkConfig, standalone

from splitnet.codecs import Header, header_of, make_codec
from splitnet.codecs.calibrating import calibrate

Symbols: TypeAlias = NDArray[np.uint8]
Coder: TypeAlias = tuple[Callable[[Symbols], bytes], Callable[[bytes, Header], Any]]
"""Encodes and decodes the symbols of one sample."""


def ours(config: Mapping[str, Any], calibration: Sequence[Symbols]) -> Coder:
    """Return a codec of splitnet, fitted to calibration symbols."""
    found = calibrate(config, calibration)
    codec, context = make_codec(found.config), found.context
    return (
        lambda symbols: codec.encode(symbols, context),
        lambda data, header: codec.decode(data, header, context),
    )


def baselines() -> dict[str, Coder]:
    """Return the other coders by name."""
    blosc = {
        "codec": blosc2.Codec.ZSTD,
        "clevel": 5,
        "filters": [blosc2.Filter.BITSHUFFLE],
        "typesize": 1,
        "nthreads": 1,
    }
    eight_bit = ChunkConfig(enable_8_bit=True)
    return {
        "lz4": (
            lambda symbols: lz4.block.compress(symbols.tobytes(), store_size=False),
            lambda data, header: lz4.block.decompress(data, uncompressed_size=header.nbytes),
        ),
        **{
            f"zstd {level}": (
                zstandard.ZstdCompressor(level=level).compress,
                lambda data, header: zstandard.ZstdDecompressor().decompress(data),
            )
            for level in (1, 3)
        },
        "blosc2 bitshuffle + zstd": (
            lambda symbols: blosc2.compress2(symbols.tobytes(), **blosc),
            lambda data, header: blosc2.decompress2(data),
        ),
        "pcodec": (
            lambda symbols: standalone.simple_compress(symbols.reshape(-1), eight_bit),
            lambda data, header: standalone.simple_decompress(data),
        ),
    }


def entropy_bytes(symbols: Symbols) -> float:
    """Return the order-0 entropy of one payload's own histogram, in bytes."""
    counts = np.bincount(symbols.reshape(-1), minlength=256).astype(np.float64)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log2(shares)).sum() * symbols.size / 8)


def mean_bytes(coder: Coder, samples: Sequence[Symbols]) -> float:
    """Return the mean payload; each is decoded and compared."""
    total = 0
    for symbols in samples:
        data = coder[0](symbols)
        decoded = np.frombuffer(bytes(np.asarray(coder[1](data, header_of(symbols)))), np.uint8)
        if not np.array_equal(decoded, symbols.reshape(-1)):
            raise SystemExit("a coder lost symbols")
        total += len(data)
    return total / len(samples)
