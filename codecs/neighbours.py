"""Entropy coding with the table that a symbol's neighbours choose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, header_of
from splitnet.codecs.coder import check_dtype, check_payload, stored_symbols
from splitnet.codecs.native import accelerator
from splitnet.codecs.neighbourhood import CELLS, Neighbourhood, planes_shape
from splitnet.codecs.rans import SymbolReader, Symbols, encode
from splitnet.codecs.tables import check_name, load_table
from splitnet.errors import CorruptPayloadError

_STORED, _ONE_LANE = b"\x00", b"\x01"


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
        symbols = np.ascontiguousarray(array)
        native = accelerator()
        if native is None:
            stream = encode(symbols.ravel(), found.which(symbols), found.tables, 1)
        else:
            which = native.which(symbols, found)
            stream = native.encode(symbols.ravel(), which, found.tables, 1)
        return _STORED + symbols.tobytes() if len(stream) >= array.size else _ONE_LANE + stream

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`."""
        found = self._neighbourhood(header, context)
        check_payload(data, header.size, found.tables)
        symbols = stored_symbols(data, header.size)
        if symbols is None:
            if data[0] != 1:
                raise CorruptPayloadError(f"rans-neighbours: {data[0]} lanes, must be 1")
            stream, native = memoryview(data)[1:], accelerator()
            read = decode_symbols if native is None else native.decode_neighbours
            symbols = read(stream, header.shape, found)
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


def decode_symbols(
    data: Buffer,
    shape: tuple[int, ...],
    neighbourhood: Neighbourhood,
    known: NDArray[np.uint8] | None = None,
) -> Symbols:
    """Return the symbols of a stream whose tables `neighbourhood` chooses, flat.

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
