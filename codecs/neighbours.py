"""Entropy coding with the table that a symbol's neighbours choose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.coder import check_dtype, check_payload, stored_symbols
from splitnet.codecs.native import accelerator
from splitnet.codecs.neighbourhood import CELLS, Neighbourhood, planes_shape
from splitnet.codecs.quantiser import CHANNEL_AXIS
from splitnet.codecs.rans import SymbolReader, Symbols, encode
from splitnet.codecs.tables import check_name, load_table
from splitnet.errors import CorruptPayloadError

_STORED, _ONE_LANE = b"\x00", b"\x01"
_LANES = 1


@dataclass(frozen=True, slots=True)
class RansNeighboursConfig:
    """Weights and tables by their SHA-256, 64 hexadecimal digits; `Context.tables` holds them."""

    table: str

    def __post_init__(self) -> None:
        check_name("rans-neighbours", self.table)


class RansNeighbours(Codec):
    """Symbols (uint8) under static tables chosen by what was decoded before near each of them.

    Keeps every uint8 array ``(N, C, ...)`` with the channels that the weights were fitted to. A
    payload is that of `Rans` with one lane.
    """

    id = "rans-neighbours"
    Config = RansNeighboursConfig

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of the table."""
        return (self.config.table,)

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the coded symbols of a uint8 array."""
        found = self._neighbourhood(header_of(array), context)
        if array.size == 0:
            return b""
        stream = write_symbols(array, found)
        return _STORED + array.tobytes() if len(stream) >= array.size else _ONE_LANE + stream

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        found = self._neighbourhood(header, context)
        check_payload(data, header.size, found.tables)
        symbols = stored_symbols(data, header.size)
        if symbols is None:
            if data[0] != 1:
                raise CorruptPayloadError(f"rans-neighbours: {data[0]} lanes, must be 1")
            return read_symbols(memoryview(data)[1:], header.shape, found)
        return symbols.reshape(header.shape)

    def encoded_header(self, header: Header) -> None:
        """Return ``None``: the size depends on the content."""
        check_dtype(header, self.id)

    def _neighbourhood(self, header: Header, context: Context) -> Neighbourhood:
        check_dtype(header, self.id)
        found = load_neighbourhood(self.config.table, context)
        found.check_shape(header.shape)
        return found


def load_neighbourhood(name: str, context: Context) -> Neighbourhood:
    """Return the neighbourhood that `context` has under the hash `name`.

    Raises
    ------
    MissingTableError
        There is none.
    CorruptPayloadError
        It has another hash, or is no neighbourhood.
    """
    return load_table(name, context, Neighbourhood.from_bytes)


def write_symbols(
    array: NDArray[np.uint8],
    neighbourhood: Neighbourhood,
    known: NDArray[np.uint8] | None = None,
) -> bytes:
    """Return the stream of `array` behind `known` channels, which the decoder has already.

    Parameters
    ----------
    array, known
        uint8 ``(N, C, ...)`` and ``(N, G, ...)``; `neighbourhood` is one of G + C channels.
    """
    given = 0 if known is None else known.shape[CHANNEL_AXIS]
    planes = array if known is None else np.concatenate([known, array], axis=CHANNEL_AXIS)
    symbols, native = np.ascontiguousarray(array).ravel(), accelerator()
    if native is None:
        which = neighbourhood.which(planes, given)
        return encode(symbols, which, neighbourhood.tables, _LANES)
    which = native.which(np.ascontiguousarray(planes), neighbourhood, given)
    return native.encode(symbols, which, neighbourhood.tables, _LANES)


def read_symbols(
    stream: Buffer,
    shape: tuple[int, ...],
    neighbourhood: Neighbourhood,
    known: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the array of `shape` in a stream of `write_symbols`.

    Raises
    ------
    CorruptPayloadError
        The stream ends early or late, or not in the state in which an encoder starts.
    """
    given = 0 if known is None else known.shape[CHANNEL_AXIS]
    front, channels, rest = shape[:CHANNEL_AXIS], shape[CHANNEL_AXIS], shape[CHANNEL_AXIS + 1 :]
    whole = (*front, given + channels, *rest)
    native = accelerator()
    read = decode_symbols if native is None else native.decode_neighbours
    planes = read(stream, whole, neighbourhood, known).reshape(whole)
    return planes if known is None else np.ascontiguousarray(planes[:, given:])


def decode_symbols(
    data: Buffer,
    shape: tuple[int, ...],
    neighbourhood: Neighbourhood,
    known: NDArray[np.uint8] | None = None,
) -> Symbols:
    """Return the symbols of a stream, flat: what `read_symbols` does without the coder in C.

    Parameters
    ----------
    shape
        That of all channels.
    known
        uint8 ``(N, G, ...)``, the first channels, which are not in the stream.

    Raises
    ------
    CorruptPayloadError
        The stream ends early or late, or not in the state in which an encoder starts.
    """
    reader = SymbolReader(data, neighbourhood.tables)
    planes = np.zeros(planes_shape(shape), np.int64)
    size = planes[0, 0].size
    given = 0 if known is None else known.shape[1]
    if known is not None:
        planes[:, :given] = known.reshape(planes[:, :given].shape)
    for sample in planes:
        above = 0
        for c, mean in enumerate(neighbourhood.mean.tolist()):
            if c >= given:
                height = np.array([above // max(c * size, 1)])
                sums = neighbourhood.row_sums(sample[None], c, height)[0]
                sample[c] = _decode_plane(sums, neighbourhood, c, reader)
            above += (int(sample[c].sum()) << 8) - mean * size
    reader.close()
    return planes.astype(np.uint8).ravel()


def _decode_plane(
    sums: NDArray[np.int64], neighbourhood: Neighbourhood, c: int, reader: SymbolReader
) -> list[list[int]]:
    """Return the rows of a channel; `sums` are the predictions without its own symbols."""
    by_left, by_up, by_left_up, by_right_up, by_left_left, by_up_up, *_ = neighbourhood.own[
        c
    ].tolist()
    bins, limits = neighbourhood.bin_of_cell.tolist(), neighbourhood.rough.tolist()
    bits, last, read = neighbourhood.bits, CELLS - 1, reader.read
    rows = [[0] * (sums.shape[1] + 2)] * 2  # each with a 0 on both sides
    for row in sums.tolist():
        decoded = [0]
        left = left_left = 0
        up = rows[-1]
        for total, left_up, over, right_up, up_up in zip(
            row, up, up[1:], up[2:], rows[-2][1:], strict=False
        ):
            total += by_left * left + by_left_left * left_left + by_up * over
            total += by_left_up * left_up + by_right_up * right_up + by_up_up * up_up
            number = bins[min(max(total >> bits, 0), last)]
            rough = abs(left - left_up) + abs(over - left_up) + abs(over - right_up)
            left_left, left = left, read(2 * number + (rough > limits[number]))
            decoded.append(left)
        rows.append([*decoded, 0])
    return [row[1:-1] for row in rows[2:]]
