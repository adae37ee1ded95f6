"""What device and cloud compute for a path, step by step and in batches, on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path as FilePath
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.data import Dataset
from splitnet.bundle import Contract, GraphRef, Hop
from splitnet.errors import ConfigError, TensorMismatchError
from splitnet.runtime.directory import load_tables
from splitnet.runtime.inputs import arrange, prepare_inputs, with_batch
from splitnet.runtime.payloads import (
    decode_refinements,
    decode_samples,
    dynamic_dims,
    dynamic_names,
    encode_refinements,
    encode_tensors,
    naming,
)
from splitnet.runtime.sessions import GraphStore

Array: TypeAlias = NDArray[Any]

BATCH = 64
"""Samples that are computed together."""


class Execution:
    """The graphs of a bundle, or of one that is being built.

    Parameters
    ----------
    batch
        A fixed batch size, or ``None`` for any.
    """

    def __init__(
        self, directory: FilePath, contract: Contract, threads: int = 1, batch: int | None = None
    ) -> None:
        self.contract = contract
        self._context = load_tables(directory, contract)
        self._store = GraphStore(directory, threads, batch=batch)

    def run(self, graph: GraphRef, tensors: Sequence[Array]) -> list[Array]:
        """Run one graph."""
        return self._store.get(graph).run(tensors)

    def boundaries(self, inputs: Sequence[Array]) -> list[list[Array]]:
        """Return the tensors of every boundary, the inputs first, the output last."""
        found = [list(inputs)]
        for segment in self.contract.segments:
            found.append(self.run(segment.graph, found[-1]))
        return found

    def sizes(self, inputs: Sequence[Array]) -> dict[str, int]:
        """Return the sizes of all dynamic dimensions for some inputs, by name."""
        found = self.boundaries(inputs)
        pairs = list(zip((b.tensors for b in self.contract.boundaries), found, strict=True))
        pairs.append((self.contract.answers, self.answer(found[-1])))
        return {
            name: size
            for specs, arrays in pairs
            for name, size in zip(dynamic_names(specs), dynamic_dims(specs, arrays), strict=True)
        }

    def crossing(self, path: str, boundaries: Sequence[Sequence[Array]]) -> list[Array]:
        """Return the tensors that `path` sends."""
        hop = self._hop(path)
        tensors = list(boundaries[hop.boundary])
        return tensors if hop.encoder is None else self.run(hop.encoder, tensors)

    def encode(self, path: str, level: int, tensors: Sequence[Array]) -> list[bytes]:
        """Return the payload of each sample of a batch."""
        codecs = self.contract.path(path).levels[level].codecs[0]
        samples = ([tensor[i : i + 1] for tensor in tensors] for i in range(len(tensors[0])))
        with naming(path, level):
            return [encode_tensors(codecs, sample, self._context) for sample in samples]

    def encode_parts(self, path: str, level: int, tensors: Sequence[Array]) -> list[list[bytes]]:
        """Return the parts of each sample's payload as a device sends them: base, refinements."""
        codecs = self.contract.path(path).levels[level].codecs[0]
        samples = ([tensor[i : i + 1] for tensor in tensors] for i in range(len(tensors[0])))
        with naming(path, level):
            return [encode_refinements(codecs, sample, self._context) for sample in samples]

    def dims(self, path: str, tensors: Sequence[Array]) -> tuple[int, ...]:
        """Return the dynamic dimensions of tensors that `path` sends."""
        return dynamic_dims(self._hop(path).tensors, tensors)

    def decode(
        self, path: str, level: int, payloads: Sequence[bytes], dims: Sequence[int] = ()
    ) -> list[Array]:
        """Return the tensors that crossed, as a batch; `dims` as `dims` returned them."""
        codecs = self.contract.path(path).levels[level].codecs[0]
        specs = self._hop(path).tensors
        samples = decode_samples(codecs, specs, payloads, [dims] * len(payloads), self._context)
        return [np.concatenate(tensors) for tensors in zip(*samples, strict=True)]

    def restore(self, path: str, tensors: Sequence[Array]) -> list[Array]:
        """Return the tensors at the path's entry from those that crossed."""
        hop = self._hop(path)
        return list(tensors) if hop.decoder is None else self.run(hop.decoder, tensors)

    def finish(self, path: str, tensors: Sequence[Array]) -> list[Array]:
        """Return the network's outputs from the tensors that crossed: decoder and segments."""
        tensors = self.restore(path, tensors)
        for segment in self.contract.segments[self._hop(path).entry :]:
            tensors = self.run(segment.graph, tensors)
        return tensors

    def answer(self, outputs: Sequence[Array]) -> list[Array]:
        """Return the tensors of the answer from the network's outputs."""
        last = self.contract.postprocess
        return list(outputs) if last is None else self.run(last.graph, outputs)

    def transmit(
        self, path: str, level: int, tensors: Sequence[Array]
    ) -> tuple[list[bytes], list[Array]]:
        """Return the payloads of tensors that `path` sends, and the outputs made of them."""
        payloads = self.encode(path, level, tensors)
        received = self.decode(path, level, payloads, self.dims(path, tensors))
        return payloads, self.finish(path, received)

    def transmit_parts(
        self, path: str, level: int, tensors: Sequence[Array]
    ) -> Iterator[tuple[list[int], list[Array]]]:
        """Yield what is made of the first part of all payloads, of the first two, ..., of all.

        That is the bytes sent for each sample, and the outputs. Most levels have one part.
        """
        codecs, specs = self.contract.path(path).levels[level].codecs[0], self._hop(path).tensors
        payloads = self.encode_parts(path, level, tensors)
        dims = [self.dims(path, tensors)] * len(payloads)
        for count in range(1, len(payloads[0]) + 1):
            sent = [parts[:count] for parts in payloads]
            samples = decode_refinements(codecs, specs, sent, dims, self._context)
            received = [np.concatenate(columns) for columns in zip(*samples, strict=True)]
            yield [sum(map(len, parts)) for parts in sent], self.finish(path, received)

    def _hop(self, path: str) -> Hop:
        """Return the only hop of a path; the builder makes no others yet."""
        (hop,) = self.contract.path(path).hops
        return hop


def prepare_row(
    data: Dataset, row: int, steps: Sequence[Mapping[str, Any]], names: Sequence[str] = ()
) -> list[Array]:
    """Return the inputs of sample `row` with a batch dimension, the first one preprocessed.

    Parameters
    ----------
    names
        Names of the inputs in their order; without any, the order of the data counts.

    Raises
    ------
    ConfigError
        The sample does not suit the steps or the names; the message names it.
    """
    sample = data.sample(row)
    order = names or (list(sample) if isinstance(sample, Mapping) else ["x"])
    with _naming(data, row):
        return _numbers(with_batch(arrange(sample, order), steps))


def inputs_of(contract: Contract, data: Dataset, rows: Sequence[int]) -> list[Array]:
    """Return the prepared tensors of some samples, as a batch.

    Raises
    ------
    ConfigError
        A sample does not become what the network takes; the message names it.
    """
    prepared: list[list[Array]] = []
    for row in rows:
        sample = data.sample(row)
        with _naming(data, row):
            arrays = _numbers(prepare_inputs(sample, contract.preprocess, contract.inputs))
        if prepared and [a.shape for a in arrays] != [a.shape for a in prepared[0]]:
            raise ConfigError(
                f"{data.name(row)}: its size differs from that of {data.name(rows[0])}; a build "
                "takes samples of one size, so resize or pad them"
            )
        prepared.append(arrays)
    return [np.concatenate(parts) for parts in zip(*prepared, strict=True)]


def _numbers(arrays: list[Array]) -> list[Array]:
    """Return `arrays` (raises `TensorMismatchError` if a value is NaN)."""
    if any(np.isnan(array).any() for array in arrays):
        raise TensorMismatchError("the prepared sample holds NaN")
    return arrays


@contextmanager
def _naming(data: Dataset, row: int) -> Iterator[None]:
    try:
        yield
    except TensorMismatchError as error:
        raise ConfigError(f"{data.name(row)}: {error}; change --preprocess or the data") from error


def batches(count: int, size: int = BATCH) -> Iterator[range]:
    """Yield the row numbers from 0 to `count` in batches."""
    for start in range(0, count, size):
        yield range(start, min(start + size, count))
