"""A histogram of symbols in a few bytes, as an adaptive coder puts it in front of its stream.

The counts are rounded to powers of a fraction of an octave, neighbouring symbols may share one,
and the differences of the levels follow as Rice codes. Integers only, so that both sides make the
same table.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Buffer
from splitnet.codecs.tables import ESCAPE, MAX_PRECISION, Tables, log2_256, scale_frequencies
from splitnet.errors import CorruptPayloadError

_HEAD = struct.Struct("<BBBB")  # form, first symbol, last symbol, level of the first symbol
_TOTAL = (1 << MAX_PRECISION) - 1  # one slot is the escape's, which stays unused here
_FRACTION = 4  # bits of a count below 1: a symbol that is missing weighs a 16th of one that is not
_OCTAVES = 36  # counts of up to 2**31 symbols

Ints = NDArray[np.int64]

_QUARTERS = (16384, 19484, 23170, 27554)
"""2**(i / 4) * 2**14, rounded."""


def _weights(steps: int) -> Ints:
    """Return the weight of each level, `steps` of them an octave (1, 2 or 4)."""
    quarters = range(0, 4, 4 // steps)
    return np.array([_QUARTERS[q] << octave >> 10 for octave in range(_OCTAVES) for q in quarters])


# Weights have 4 bits more than counts, so that the lowest quarters of an octave differ.
_LEVELS = {steps: _weights(steps) for steps in (1, 2, 4)}
_BOUNDS = {steps: (levels[1:] + levels[:-1]) >> 1 for steps, levels in _LEVELS.items()}

_WIDTHS = (1, 2, 4, 8)
_STEPS = (1, 2, 4)


@dataclass(frozen=True, slots=True)
class _Form:
    """How a histogram is described.

    Attributes
    ----------
    steps
        Levels an octave.
    width
        How many neighbouring symbols share a level.
    listed
        Whether the symbols are listed; else they are all from the first to the last one.
    """

    steps: int
    width: int
    listed: bool

    def to_byte(self, rice: int) -> int:
        return (
            self.listed << 6 | _STEPS.index(self.steps) << 4 | _WIDTHS.index(self.width) << 2 | rice
        )


def _form_of_byte(byte: int) -> tuple[_Form, int]:
    if byte >> 7 or byte >> 4 & 3 >= len(_STEPS):
        raise CorruptPayloadError(f"a histogram has no form {byte}")
    return _Form(_STEPS[byte >> 4 & 3], _WIDTHS[byte >> 2 & 3], bool(byte >> 6)), byte & 3


_TRIED = [
    _Form(steps, width, listed)
    for listed in (False, True)
    for steps, width in ((1, 8), (2, 4), (2, 1), (4, 1))
]
"""The forms among which an encoder chooses: few levels for few symbols."""

_MAX_RICE = 3


def write_histogram(counts: Ints) -> tuple[bytes, Tables]:
    """Return a short description of `counts`, and the table that a decoder makes of it.

    Parameters
    ----------
    counts
        int64 ``(256,)``, not all 0.
    """
    present = np.flatnonzero(counts)
    every = np.arange(present[0], present[-1] + 1)
    best = min(
        (
            _Description.of(counts, present if form.listed else every, form)
            for form in _TRIED[: len(_TRIED) if present.size < every.size else len(_TRIED) // 2]
        ),
        key=lambda description: description.bits_256,
    )
    return best.to_bytes(), _make_tables(best.levels, best.symbols, best.form)


def read_histogram(data: Buffer) -> tuple[Tables, int]:
    """Return the table that `data` begins with, and how many bytes describe it.

    Raises
    ------
    CorruptPayloadError
        `data` is too short, or describes no table.
    """
    if len(data) < _HEAD.size:
        raise CorruptPayloadError(f"{len(data)} bytes are too few for a histogram")
    byte, first, last, level = _HEAD.unpack_from(data)
    form, rice = _form_of_byte(byte)
    if last < first:
        raise CorruptPayloadError(f"a histogram goes from symbol {first} to {last}")
    reader = _BitReader(memoryview(data)[_HEAD.size :])
    symbols = np.arange(first, last + 1)
    if form.listed:
        listed = np.flatnonzero(reader.bits(max(0, last - first - 1))) + first + 1
        symbols = np.unique(np.concatenate([[first], listed, [last]]))
    codes = reader.rice(int(_groups(symbols.size, form)[-1]), rice)
    levels = np.cumsum(np.concatenate([[level], codes >> 1 ^ -(codes & 1)]))
    top = len(_LEVELS[form.steps])
    if levels.min() < 0 or levels.max() >= top:
        raise CorruptPayloadError(f"a level of a histogram is not from 0 to {top - 1}")
    return _make_tables(levels, symbols, form), _HEAD.size + reader.close()


@dataclass(frozen=True, slots=True)
class _Description:
    """Levels of the symbols in a form, and about what they and the symbols coded with them take."""

    form: _Form
    symbols: Ints
    levels: Ints
    codes: Ints
    rice: int
    bits_256: int

    @classmethod
    def of(cls, counts: Ints, symbols: Ints, form: _Form) -> _Description:
        groups = _groups(symbols.size, form)
        own = counts[symbols]
        starts = np.flatnonzero(np.diff(groups, prepend=-1))
        sums = np.add.reduceat(own, starts)
        sizes = np.diff(starts, append=symbols.size)
        levels = np.searchsorted(_BOUNDS[form.steps], (sums << 2 * _FRACTION) // sizes)
        differences = np.diff(levels)
        codes = differences << 1 ^ differences >> 63
        mean = int(codes.sum()) // max(codes.size, 1)
        rice = min(_MAX_RICE, mean.bit_length() >> 1 if mean < 2 else mean.bit_length() - 1)
        described = int((codes >> rice).sum()) + codes.size * (1 + rice)
        if form.listed:
            described += int(symbols[-1] - symbols[0])
        total = int(_LEVELS[form.steps][levels] @ sizes)
        count = int(own.sum())
        coded = count * log2_256(total) - int(sums @ levels) * (256 // form.steps)
        coded -= count * log2_256(int(_LEVELS[form.steps][0]))
        lowered = count * symbols.size * 369 >> MAX_PRECISION  # by 1 of 2**14 for each: 256 / ln 2
        return cls(form, symbols, levels, codes, rice, coded + lowered + (described << 8))

    def to_bytes(self) -> bytes:
        first, last = int(self.symbols[0]), int(self.symbols[-1])
        head = _HEAD.pack(self.form.to_byte(self.rice), first, last, int(self.levels[0]))
        listed = np.zeros(0, np.uint8)
        if self.form.listed and last > first:
            listed = np.isin(np.arange(first + 1, last), self.symbols).astype(np.uint8)
        return (
            head
            + np.packbits(np.concatenate([listed, _rice_bits(self.codes, self.rice)])).tobytes()
        )


def _make_tables(levels: Ints, symbols: Ints, form: _Form) -> Tables:
    weights = _LEVELS[form.steps][levels[_groups(symbols.size, form)]]
    frequencies = np.zeros((1, ESCAPE + 1), np.uint16)
    frequencies[0, symbols] = scale_frequencies(weights, _TOTAL)
    frequencies[0, ESCAPE] = 1
    return Tables(frequencies, MAX_PRECISION)


def _groups(count: int, form: _Form) -> Ints:
    """Return the number of the level of each of `count` symbols; first and last have their own.

    Quantisers clip to the lowest and the highest symbol, which are therefore unlike the others.
    """
    groups = (np.arange(count) + form.width - 1) // form.width
    if count > 1:
        groups[-1] = groups[-2] + 1
    return groups


def _rice_bits(codes: Ints, rice: int) -> NDArray[np.uint8]:
    """Return the quotients in unary, each ended by a 0 bit, then the remainders."""
    ends = np.cumsum((codes >> rice) + 1)
    unary = np.ones(int(ends[-1]) if ends.size else 0, np.uint8)
    unary[ends - 1] = 0
    remainders = codes[:, None] >> np.arange(rice)[::-1] & 1
    return np.concatenate([unary, remainders.astype(np.uint8).ravel()])


class _BitReader:
    """The bits of a histogram, from the highest of each byte, of at most the longest one."""

    _MOST_BYTES = 256 * (2 * len(_LEVELS[4]) + _MAX_RICE + 2) // 8

    def __init__(self, data: memoryview) -> None:
        self._bits = np.unpackbits(np.frombuffer(data[: self._MOST_BYTES], np.uint8))
        self._position = 0

    def bits(self, count: int) -> NDArray[np.uint8]:
        """Return the next `count` bits."""
        found = self._bits[self._position : self._position + count]
        self._position += count
        if found.size < count:
            raise CorruptPayloadError("a histogram ends early")
        return found

    def rice(self, count: int, rice: int) -> Ints:
        """Return the next `count` Rice codes."""
        ends = np.flatnonzero(self._bits[self._position :] == 0)[:count]
        if ends.size < count:
            raise CorruptPayloadError("a histogram ends early")
        if count == 0:
            return ends
        self._position += int(ends[-1]) + 1
        low = self.bits(count * rice).reshape(count, rice) @ (1 << np.arange(rice)[::-1])
        codes: Ints = ((np.diff(ends, prepend=-1) - 1) << rice) + low
        return codes

    def close(self) -> int:
        """Return how many bytes were read; the bits behind the last one must be 0."""
        used = (self._position + 7) // 8
        if self._bits[self._position : 8 * used].any():
            raise CorruptPayloadError("the bits behind a histogram are not 0")
        return used
