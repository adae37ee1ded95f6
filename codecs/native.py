"""The coder in C, where it was built; it makes and reads the same bytes as the one in Python."""

from __future__ import annotations

import os
from functools import cache, lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs.base import Buffer
from splitnet.codecs.neighbourhood import Neighbourhood, planes_shape
from splitnet.codecs.rans import Symbols
from splitnet.codecs.tables import Tables, Which
from splitnet.errors import CorruptPayloadError

NO_ACCELERATOR = "SPLITNET_NO_ACCEL"
"""Environment variable that asks for the coder in Python, if it is neither empty nor 0."""


class Accelerator:
    """What `splitnet.codecs.rans` offers, in C: the same streams and the same errors."""

    def __init__(self, module: ModuleType) -> None:
        self._module = module
        self._prepare = lru_cache(maxsize=64)(self._compile)
        self._prepare_neighbours = lru_cache(maxsize=64)(self._compile_neighbours)

    def measure(self, symbols: Symbols, which: Which | None, tables: Tables) -> int:
        """Return what `symbols` take in 1/256 bit."""
        found: int = self._module.measure(symbols.tobytes(), _bytes(which), self._prepare(tables))
        return found

    def encode(self, symbols: Symbols, which: Which | None, tables: Tables, lanes: int) -> bytes:
        """Return the stream of `symbols` (uint8, flat)."""
        stream: bytes = self._module.encode(
            symbols.tobytes(), _bytes(which), self._prepare(tables), lanes
        )
        return stream

    def decode(
        self, data: Buffer, count: int, which: Which | None, tables: Tables, lanes: int
    ) -> Symbols:
        """Return the `count` symbols of a stream.

        Raises
        ------
        CorruptPayloadError
            The stream ends early or late, or not in the state in which an encoder starts.
        """
        symbols = self._module.decode(
            bytes(data), count, _bytes(which), self._prepare(tables), lanes
        )
        return _decoded(symbols, data)

    def which(
        self, symbols: NDArray[np.uint8], neighbourhood: Neighbourhood, given: int = 0
    ) -> Which:
        """Return the table of each symbol behind the first `given` channels, flat."""
        samples, _, height, width = planes_shape(symbols.shape)
        model = self._prepare_neighbours(neighbourhood)
        found = self._module.which_neighbours(
            symbols.tobytes(), samples, height, width, model, given
        )
        return np.frombuffer(found, np.uint8)

    def decode_neighbours(
        self,
        data: Buffer,
        shape: tuple[int, ...],
        neighbourhood: Neighbourhood,
        known: NDArray[np.uint8] | None = None,
    ) -> Symbols:
        """Return the symbols of a stream whose tables `neighbourhood` chooses.

        Parameters
        ----------
        shape
            That of all channels.
        known
            uint8 ``(N, G, ...)``, the first channels, which are not in the stream.

        Raises
        ------
        CorruptPayloadError
            As `decode`.
        """
        samples, _, height, width = planes_shape(shape)
        symbols = self._module.decode_neighbours(
            bytes(data),
            samples,
            height,
            width,
            self._prepare_neighbours(neighbourhood),
            self._prepare(neighbourhood.tables),
            b"" if known is None else known.tobytes(),
        )
        return _decoded(symbols, data)

    def _compile_neighbours(self, neighbourhood: Neighbourhood) -> Any:
        return self._module.prepare_neighbours(
            neighbourhood.records,
            neighbourhood.bin_of_cell.tobytes(),
            neighbourhood.rough.astype("<u2").tobytes(),
            neighbourhood.bits,
            neighbourhood.earlier.shape[1],
        )

    def _compile(self, tables: Tables) -> Any:
        frequencies = tables.frequencies.astype("<u2").tobytes()
        costs = tables.costs.astype("<u2").tobytes()
        return self._module.prepare(frequencies, costs, tables.precision)


@cache
def accelerator() -> Accelerator | None:
    """Return the coder in C, ``None`` where it was not built or `NO_ACCELERATOR` is set."""
    if os.environ.get(NO_ACCELERATOR, "0") not in ("", "0"):
        return None
    return load_accelerator()


def load_accelerator() -> Accelerator | None:
    """Return the coder in C, ``None`` where it was not built."""
    try:
        return Accelerator(import_module("splitnet.codecs._native"))
    except ImportError:
        return None


def _decoded(symbols: bytes | None, data: Buffer) -> Symbols:
    if symbols is None:
        raise CorruptPayloadError(
            f"a stream of {len(data)} bytes ends early, late or not in the state in which encoders "
            "start"
        )
    return np.frombuffer(symbols, np.uint8)


def _bytes(which: Which | None) -> bytes | None:
    return None if which is None else which.tobytes()
