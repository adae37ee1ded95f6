"""The cases of the conformance kit: every registered codec, in the forms worth trying.

A test with an argument ``case`` runs over all of them, and so do fuzz target and golden file. A new
codec adds its cases to ``CASES``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from splitnet.codecs import NO_CONTEXT, Array, Codec, Context, Header, header_of, make_codec
from splitnet.codecs.blocks import BlockTables
from splitnet.codecs.neighbourhood import WEIGHT_BITS, Neighbourhood
from splitnet.codecs.references import References
from splitnet.codecs.tables import ESCAPE, ChannelTables, Tables, hash_of, scale_frequencies
from splitnet.values import DTYPE_BYTES

FLOATS = ("float32", "float16")

LIBRARIES = ("lz4", "zlib", "zstd", "png", "webp", "jpeg")
"""Ids of codecs whose encoder is a library; the bytes may differ between its versions."""

Check = Callable[[Array, Array], bool]
"""Whether a decoded array is good enough for the original one."""


def _keep(array: Array) -> Array:
    return array


def _anywhere(header: Header) -> bool:
    return True


@dataclass(frozen=True)
class Case:
    """A configuration, what it accepts, and how near its result must be.

    Attributes
    ----------
    check
        ``None``: exactly equal, NaN and infinity too.
    fit
        Brings the values of an accepted array into the domain of the codec.
    keeps_nan
        Whether NaN and infinity are kept though the rest is not exact.
    accepts
        Whether a header of an allowed dtype is accepted.
    """

    config: dict[str, Any]
    dtypes: tuple[str, ...] = tuple(DTYPE_BYTES)
    check: Check | None = None
    fit: Callable[[Array], Array] = _keep
    accepts: Callable[[Header], bool] = _anywhere
    context: Context = NO_CONTEXT
    keeps_nan: bool = False

    @property
    def codec(self) -> Codec:
        return make_codec(self.config)

    def takes(self, header: Header) -> bool:
        return header.dtype in self.dtypes and self.accepts(header)

    @property
    def is_golden(self) -> bool:
        """Whether every machine decodes the same values; lossy images are their library's."""
        return "jpeg" not in self._words() and '"webp", "quality"' not in json.dumps(self.config)

    @property
    def encodes_alike(self) -> bool:
        """Whether every machine makes the same payload: no library, no search in floats."""
        return not {*LIBRARIES, "mse", "aciq"} & self._words()

    def _words(self) -> set[str]:
        return set(re.findall(r"[\w-]+", json.dumps(self.config)))

    def samples(self) -> list[Array]:
        """Return arrays that the codec takes, small enough to try every bit of their payloads."""
        return [self.fit(array) for array in _SAMPLES if self.takes(header_of(array))]


_SAMPLES: list[Array] = [
    (np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7) / 4,
    (np.arange(30) % 16).reshape(1, 3, 2, 5).astype(np.uint8),
    (np.arange(60) * 4).reshape(4, 5, 3).astype(np.uint8),
    (np.arange(30) % 7 / 8).reshape(1, 3, 2, 5).astype(np.float32),
]
"""Made of exact operations alone, so that they are the same everywhere."""


def rounding(array: Array) -> float:
    """Return the error that the dtype of `array` and the arithmetic on float32 may add."""
    largest = float(np.abs(array.astype(np.float64)).max())
    smallest = 256 * float(np.finfo(array.dtype).smallest_subnormal)
    return 4 * float(np.finfo(array.dtype).eps) * largest + smallest


def half_step(bits: int, per_channel: bool = False) -> Check:
    """Return the check of an affine quantiser between minimum and maximum."""

    def check(array: Array, found: Array) -> bool:
        values, decoded = array.astype(np.float64), found.astype(np.float64)
        axes = tuple(i for i in range(array.ndim) if i != 1) if per_channel else None
        width = values.max(axis=axes, keepdims=True) - values.min(axis=axes, keepdims=True)
        bound = width / (2**bits - 1) * 0.5001 + rounding(array)
        return bool((np.abs(values - decoded) <= bound).all())

    return check


def half_symmetric_step(bits: int) -> Check:
    """Return the check of a symmetric quantiser over all magnitudes: zero stays zero."""

    def check(array: Array, found: Array) -> bool:
        values, decoded = array.astype(np.float64), found.astype(np.float64)
        bound = np.abs(values).max() / (2 ** (bits - 1) - 1) * 0.5001 + rounding(array)
        return bool((np.abs(values - decoded) <= bound).all()) and not found[array == 0].any()

    return check


def within_step(bits: int, refinements: int) -> Check:
    """Return the check of all refinements together: half of the finest step."""

    def check(array: Array, found: Array) -> bool:
        values, decoded = array.astype(np.float64), found.astype(np.float64)
        steps = (2**bits - 1) * 2**refinements
        bound = (values.max() - values.min()) / steps * 0.5001 + rounding(array)
        return bool(np.abs(values - decoded).max() <= bound)

    return check


def clipped(array: Array, found: Array) -> bool:
    """Order is kept, and nothing leaves the range of the original."""
    order = np.argsort(array, axis=None, kind="stable")
    decoded = found.reshape(-1)[order].astype(np.float64)
    slack = rounding(array)
    inside = float(array.min()) - slack <= decoded[0] and decoded[-1] <= float(array.max()) + slack
    return bool(inside and (np.diff(decoded) >= 0).all())


def as_half(array: Array, found: Array) -> bool:
    """Every value is the nearest float16."""
    return found.tobytes() == array.astype(np.float16).astype(np.float32).tobytes()


def small(array: Array) -> Array:
    """Stay in the range of float16."""
    return array % np.float32(60000) if np.abs(array).max(initial=0) > 60000 else array


def kept_or_zero(array: Array, found: Array) -> bool:
    """Values are as they were or zero, and none that is zero was larger than one that is kept."""
    kept = found != 0
    if not np.array_equal(found[kept], array[kept]):
        return False
    dropped = np.abs(array[~kept])
    return bool(not kept.any() or not dropped.size or dropped.max() <= np.abs(array[kept]).min())


def anything(array: Array, found: Array) -> bool:
    return True


def below(bits: int) -> Callable[[Array], Array]:
    """Return what brings integers below ``2**bits``."""
    return lambda array: array % array.dtype.type(1 << bits) if bits < 8 else array


def is_image(header: Header) -> bool:
    shape = header.shape
    return len(shape) in (2, 3) and header.size > 0 and shape[2:] in ((), (1,), (3,))


def is_input(header: Header) -> bool:
    shape = header.shape
    return len(shape) in (3, 4) and shape[-3] in (1, 3) and shape[:-3] in ((), (1,))


def in_unit(array: Array) -> Array:
    """Bring values into the range of pixels."""
    return np.abs(array) % np.float32(1)


def half_pixel(array: Array, found: Array) -> bool:
    return bool(np.abs(array - found).max() <= 0.51 / 127.5 / 1.25)


def half_quarter_of_three(array: Array, found: Array) -> bool:
    """The first three channels are in steps of a quarter, the others zero."""
    error = np.abs(array[:, :3].astype(np.float64) - found[:, :3])
    return bool(error.max(initial=0) <= 0.125 and not found[:, 3:].any())


def within_ninety(array: Array) -> Array:
    return array % np.float32(90)


def has_channels(header: Header) -> bool:
    return len(header.shape) >= 2


def two_channels(header: Header) -> bool:
    return len(header.shape) >= 2 and header.shape[1] >= 2


def first_three(array: Array, found: Array) -> bool:
    """The first three channels are as they were, the others zero."""
    return np.array_equal(found[:, :3], array[:, :3]) and not found[:, 3:].any()


def up_to_three(header: Header) -> bool:
    return len(header.shape) >= 2 and header.shape[1] <= 3


def three_channels(header: Header) -> bool:
    return len(header.shape) >= 2 and header.shape[1] == 3


def bells(*centres: int, top: int = 255) -> tuple[str, Context]:
    """Return the hash of tables with a peak at each of `centres`, one a channel, and a context.

    Made of integers alone, since golden payloads depend on them.
    """
    symbols = np.arange(top + 1)
    rows = np.zeros((len(centres), ESCAPE + 1), np.uint16)
    for row, centre in zip(rows, centres, strict=True):
        weights = np.maximum(top // 2 - np.abs(symbols - centre), 0) ** 2
        row[: top + 1] = scale_frequencies(weights, (1 << 12) - 1)
        row[ESCAPE] = 1
    channels = bytes(range(len(centres))) if len(centres) > 1 else b""
    data = ChannelTables(Tables(rows, 12), channels).to_bytes()
    return hash_of(data), Context({hash_of(data): data})


def neighbours(frames: int = 1) -> tuple[str, Context]:
    """Return the hash of weights for 3 channels, made of integers too, and a context with them.

    With 2 `frames` they are for 3 channels of the frame in front and 3 of the frame itself.
    """
    rows = np.zeros((8, ESCAPE + 1), np.uint16)
    for number, row in enumerate(rows):
        weights = np.maximum(240 - 2 * np.abs(np.arange(250) - 30 * number), 0) ** 2
        row[:250] = scale_frequencies(weights, (1 << 14) - 2)
        row[ESCAPE] = 2
    one = 1 << WEIGHT_BITS
    found = Neighbourhood(
        bits=8,
        bias=np.array([one, 0, -one] * frames, np.int32),
        mean=np.array([100, 120, 80] * frames, np.int32) << 8,
        own=(np.array([[1, 1, -1, 1, 0, 0, 9, 7, 1]] * 3 * frames) * one // 4).astype(np.int16),
        earlier=np.array(
            [[0xFFFF, 0xFFFF], [0, 0xFFFF], [1, 0], [0, 2], [1, 3], [2, 4]][: 3 * frames], np.uint16
        ),
        other=(np.array([[[4, 1, 0, -1, 1], [2, 0, 1, 0, -1]]] * 3 * frames) * one // 8).astype(
            np.int16
        ),
        bounds=np.array([300, 900, 2000], np.uint16),
        rough=np.array([10, 20, 40, 80], np.uint16),
        tables=Tables(rows, 14),
    )
    data = found.to_bytes()
    return hash_of(data), Context({hash_of(data): data})


def blocks(side: int) -> tuple[str, Context]:
    """Return the hash of tables for blocks of 3 channels, made of integers too, and a context."""
    symbols = np.arange(256)
    rows = np.zeros((4, ESCAPE + 1), np.uint16)
    for number, row in enumerate(rows):
        weights = np.maximum(150 - np.abs(symbols - 80 * number), 0) ** 2
        row[:256] = scale_frequencies(weights, (1 << 12) - 1)
        row[ESCAPE] = 1
    choices = np.zeros((2, ESCAPE + 1), np.uint16)
    choices[:, [0, 1, 2, 3, ESCAPE]] = [[10, 3, 1, 1, 1], [1, 1, 3, 10, 1]]
    of_choices = ChannelTables(Tables(choices, 4), bytes([0, 1, 0]))
    data = BlockTables(side, of_choices, Tables(rows, 12)).to_bytes()
    return hash_of(data), Context({hash_of(data): data})


NEIGHBOURS, NEIGHBOURS_CONTEXT = neighbours()
CHANNEL_BLOCKS, CHANNEL_BLOCKS_CONTEXT = blocks(0)
SMALL_BLOCKS, SMALL_BLOCKS_CONTEXT = blocks(2)
PREVIOUS, PREVIOUS_CONTEXT = neighbours(frames=2)


def behind_a_frame() -> Context:
    """Return a context in which a frame of the shape of a sample was coded before."""
    references = References()
    references.put((np.arange(30) % 16 + 2).reshape(1, 3, 2, 5).astype(np.uint8))
    references.number = 1
    return replace(PREVIOUS_CONTEXT, references=references)


ONE_TABLE, ONE_TABLE_CONTEXT = bells(128)
FEW_SYMBOLS, FEW_SYMBOLS_CONTEXT = bells(5, top=15)
CHANNEL_TABLES, CHANNEL_TABLES_CONTEXT = bells(60, 128, 200)


def pipeline(*codecs: dict[str, Any]) -> dict[str, Any]:
    return {"id": "pipeline", "codecs": list(codecs)}


CASES = [
    Case({"id": "store"}),
    Case({"id": "lz4", "level": 0, "acceleration": 1}),
    Case({"id": "lz4", "level": 9, "acceleration": 1}),
    Case({"id": "zlib", "level": 6}),
    Case({"id": "zstd", "level": 1}),
    Case({"id": "shuffle"}),
    Case(pipeline({"id": "shuffle"}, {"id": "lz4"})),
    Case({"id": "zigzag"}, ("uint8",)),
    Case({"id": "zigzag", "centre": 7}, ("uint8",)),
    Case({"id": "codebook", "bits": 1, "levels": [[0.0, 1.5]]}, FLOATS, anything),
    Case(
        {"id": "codebook", "bits": 2, "levels": [[0, 0.5, 1, 2], [-1, 0, 1, 4], [0, 1, 2, 3]]},
        FLOATS,
        anything,
        accepts=lambda header: header.shape[1:2] == (3,),
    ),
    Case({"id": "float16"}, ("float32",), as_half, small, keeps_nan=True),
    Case(
        pipeline({"id": "float16"}, {"id": "shuffle"}, {"id": "zlib"}),
        ("float32",),
        as_half,
        small,
        keeps_nan=True,
    ),
    Case({"id": "top-k", "share": 0.25}, FLOATS, kept_or_zero),
    Case(
        pipeline({"id": "top-k", "share": 0.5}, {"id": "affine", "bits": 4}, {"id": "zlib"}),
        FLOATS,
        anything,
    ),
    Case(
        {"id": "first-channels", "channels": 3},
        check=first_three,
        accepts=lambda header: len(header.shape) >= 2 and header.shape[1] >= 3,
        keeps_nan=True,
    ),
    Case(
        pipeline(
            {"id": "first-channels", "channels": 2},
            {"id": "symmetric", "bits": 8, "largest": [127.0]},
            {"id": "rans", "table": CHANNEL_TABLES},
        ),
        FLOATS,
        anything,
        accepts=two_channels,
        context=CHANNEL_TABLES_CONTEXT,
    ),
    Case(
        {
            "id": "sliced",
            "slices": 3,
            "axis": 2,
            "codec": pipeline({"id": "affine", "bits": 8}, {"id": "rans", "table": ONE_TABLE}),
        },
        FLOATS,
        half_step(8),
        accepts=lambda header: len(header.shape) > 2,
        context=ONE_TABLE_CONTEXT,
    ),
    Case({"id": "zero-map"}),
    Case({"id": "zero-map", "map": {"id": "lz4"}, "values": {"id": "zlib"}}),
    Case(
        pipeline(
            {"id": "affine", "bits": 4}, {"id": "zero-map", "values": {"id": "pack", "bits": 4}}
        ),
        FLOATS,
        half_step(4),
    ),
    Case({"id": "refined", "bits": 3, "refinements": 2}, FLOATS, within_step(3, 2)),
    Case(
        {
            "id": "refined",
            "bits": 1,
            "refinements": 7,
            "base": {"id": "lz4"},
            "layer": {"id": "zlib"},
        },
        FLOATS,
        within_step(1, 7),
    ),
    Case(
        {
            "id": "embedded",
            "step": 0.25,
            "scales": [15, 3, 1],
            "channels": [3, 3, 3],
            "tables": [NEIGHBOURS, PREVIOUS, PREVIOUS],
        },
        ("float32",),
        half_quarter_of_three,
        within_ninety,
        lambda header: len(header.shape) >= 2 and header.shape[1] >= 3,
        Context({**NEIGHBOURS_CONTEXT.tables, **PREVIOUS_CONTEXT.tables}),
    ),
    Case({"id": "sliced", "slices": 2}, accepts=has_channels),
    Case(
        {"id": "sliced", "slices": 3, "axis": 0, "codec": {"id": "affine", "bits": 8}},
        FLOATS,
        half_step(8),
        accepts=lambda header: len(header.shape) > 0,
    ),
    Case({"id": "jpeg", "quality": 95}, ("uint8",), anything, accepts=is_image),
    Case({"id": "webp", "quality": 80}, ("uint8",), anything, accepts=is_image),
    Case({"id": "webp", "lossless": True}, ("uint8",), accepts=is_image),
    Case({"id": "png"}, ("uint8",), accepts=is_image),
    Case({"id": "pixels"}, ("float32",), half_pixel, in_unit, is_input),
    Case(
        pipeline({"id": "pixels", "scale": 127.5, "mean": [0.5], "std": [1.25]}, {"id": "png"}),
        ("float32",),
        half_pixel,
        in_unit,
        lambda header: is_input(header) and header.size > 0,
    ),
    Case({"id": "pack", "bits": 8}, ("uint8",)),
    Case({"id": "pack", "bits": 4}, ("uint8",), fit=below(4)),
    Case({"id": "pack", "bits": 3}, ("uint8",), fit=below(3)),
    *(Case({"id": "affine", "bits": bits}, FLOATS, half_step(bits)) for bits in (8, 4, 3, 2, 1)),
    Case(
        {"id": "affine", "bits": 5, "per_channel": True},
        FLOATS,
        half_step(5, True),
        accepts=has_channels,
    ),
    *(
        Case({"id": "affine", "bits": bits, "clip": clip}, FLOATS, clipped)
        for bits, clip in ((4, "percentile"), (3, "mse"), (2, "aciq"), (1, "mse"))
    ),
    Case({"id": "affine", "bits": 4, "low": [-1.5], "high": [2.5]}, FLOATS, anything),
    *(
        Case({"id": "symmetric", "bits": bits}, FLOATS, half_symmetric_step(bits))
        for bits in (8, 3, 2)
    ),
    Case(
        {"id": "symmetric", "bits": 4, "per_channel": True},
        FLOATS,
        half_symmetric_step(4),
        accepts=has_channels,
    ),
    Case({"id": "symmetric", "bits": 3, "clip": "aciq"}, FLOATS, anything),
    Case({"id": "symmetric", "bits": 4, "largest": [2.0]}, FLOATS, anything),
    Case({"id": "rans-adaptive"}, ("uint8",)),
    Case(
        {"id": "rans-neighbours", "table": NEIGHBOURS},
        ("uint8",),
        accepts=three_channels,
        context=NEIGHBOURS_CONTEXT,
    ),
    Case(
        {"id": "rans-blocks", "table": CHANNEL_BLOCKS},
        ("uint8",),
        accepts=up_to_three,
        context=CHANNEL_BLOCKS_CONTEXT,
    ),
    Case(
        {"id": "rans-blocks", "table": SMALL_BLOCKS},
        ("uint8",),
        accepts=up_to_three,
        context=SMALL_BLOCKS_CONTEXT,
    ),
    Case({"id": "rans", "table": ONE_TABLE}, ("uint8",), context=ONE_TABLE_CONTEXT),
    Case({"id": "rans", "table": FEW_SYMBOLS}, ("uint8",), context=FEW_SYMBOLS_CONTEXT),
    Case(
        {"id": "rans", "table": CHANNEL_TABLES},
        ("uint8",),
        accepts=up_to_three,
        context=CHANNEL_TABLES_CONTEXT,
    ),
    Case(
        pipeline({"id": "affine", "bits": 4}, {"id": "rans", "table": FEW_SYMBOLS}),
        FLOATS,
        half_step(4),
        context=FEW_SYMBOLS_CONTEXT,
    ),
    Case(
        {"id": "previous", "table": PREVIOUS, "intra": {"id": "store"}},
        ("uint8",),
        context=behind_a_frame(),
    ),
    Case(pipeline({"id": "store"})),
    Case(pipeline({"id": "affine", "bits": 8}, {"id": "lz4"}), FLOATS, half_step(8)),
    Case(
        pipeline({"id": "affine", "bits": 5}, {"id": "pack", "bits": 5}, {"id": "lz4"}),
        FLOATS,
        half_step(5),
    ),
    Case(
        pipeline({"id": "symmetric", "bits": 4}, {"id": "pack", "bits": 4}),
        FLOATS,
        half_symmetric_step(4),
    ),
]
