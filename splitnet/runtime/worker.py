"""The worker's side of a bundle: decodes a batch of payloads, runs the segments, makes replies."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.errors import SplitnetError, TensorMismatchError, one_line
from splitnet.machines.worker_io import BatchItem, ItemResult, RunBatch
from splitnet.runtime.payloads import decode_tensors, dynamic_dims, dynamic_names, encode_tensors
from splitnet.runtime.sessions import GraphStore
from splitnet.values import TensorSpec
from splitnet.wire import Hollow

Tensors: TypeAlias = list[NDArray[Any]]
Samples: TypeAlias = dict[int, Tensors]
"""Tensors ``(1, ...)`` of the items of a batch that are still alive, by their number in it."""

Failures: TypeAlias = dict[int, ItemResult]


class WorkerRuntime:
    """Runs batches of one contract; what is wrong with one item never hurts another."""

    def __init__(
        self,
        directory: Path,
        bundle: Bundle,
        threads: int = 1,
        budget_bytes: int | None = None,
    ) -> None:
        self._contract = bundle.contract
        self._store = GraphStore(directory, threads, budget_bytes)

    def run(self, batch: RunBatch) -> tuple[float, float, tuple[ItemResult, ...]]:
        """Return the time to decode, the time of the segments, and a result for each item."""
        started_s = time.monotonic()
        failed: Failures = {}
        entered = self._enter(batch.items, failed)
        decoded_s = time.monotonic()
        outputs = _apply(lambda t: self._segments(batch, t), entered, failed)
        results = failed | {n: self._reply(tensors) for n, tensors in outputs.items()}
        done_s = time.monotonic()
        ordered = tuple(results[number] for number in range(len(batch.items)))
        return decoded_s - started_s, done_s - decoded_s, ordered

    def warm_up(self, batch_sizes: Sequence[int]) -> None:
        """Open what any path needs and run every level, so that no request pays for it.

        Raises
        ------
        SplitnetError
            A file is missing or damaged, or onnxruntime refuses it.
        """
        contract = self._contract
        end = len(contract.segments)
        for path in contract.paths:
            hop = path.hops[0]
            for segment in contract.segments[hop.entry :]:
                self._store.get(segment.graph)
            if hop.decoder is not None:
                self._store.get(hop.decoder)
            dims = (1,) * len(dynamic_names(hop.tensors))
            for number, level in enumerate(path.levels):
                payload = encode_tensors(level.codecs[0], _zeros(hop.tensors))
                item = BatchItem(path.id, number, payload, dims)
                for size in batch_sizes:
                    self.run(RunBatch(0, 0, hop.entry, end, (item,) * size))

    def _enter(self, items: Sequence[BatchItem], failed: Failures) -> Samples:
        """Return the tensors at the entry boundary: codecs item by item, decoders in batches."""
        by_path: defaultdict[str, Samples] = defaultdict(dict)
        for number, item in enumerate(items):
            try:
                by_path[item.path][number] = self._decode(item)
            except SplitnetError as error:
                failed[number] = _failure(error)
        entered: Samples = {}
        for path, samples in by_path.items():
            decoder = self._contract.path(path).hops[0].decoder
            if decoder is not None:
                samples = _apply(self._store.get(decoder).run, samples, failed)
            entered |= samples
        return entered

    def _decode(self, item: BatchItem) -> Tensors:
        assert not isinstance(item.payload, Hollow), "a hollow payload left the simulator"
        path = self._contract.path(item.path)
        codecs = path.levels[item.level].codecs[0]
        return decode_tensors(codecs, path.hops[0].tensors, item.payload, item.dims)

    def _segments(self, batch: RunBatch, tensors: Tensors) -> Tensors:
        for segment in self._contract.segments[batch.entry : batch.stop]:
            tensors = self._store.get(segment.graph).run(tensors)
        return tensors

    def _reply(self, outputs: Tensors) -> ItemResult:
        contract = self._contract
        try:
            if not all(np.isfinite(tensor).all() for tensor in outputs):
                raise TensorMismatchError("the payload leads to an output that is not finite")
            payload = encode_tensors(contract.reply, outputs)
        except SplitnetError as error:
            return _failure(error)
        return ItemResult(payload, dynamic_dims(contract.outputs, outputs))


def _apply(function: Callable[[Tensors], Tensors], samples: Samples, failed: Failures) -> Samples:
    """Run `function` on all samples, stacked as far as their shapes allow."""
    groups: defaultdict[tuple[tuple[int, ...], ...], Samples] = defaultdict(dict)
    for number, tensors in samples.items():
        groups[tuple(tensor.shape for tensor in tensors)][number] = tensors
    outputs: Samples = {}
    for group in groups.values():
        outputs |= _apply_stacked(function, group, failed)
    return outputs


def _apply_stacked(
    function: Callable[[Tensors], Tensors], group: Samples, failed: Failures
) -> Samples:
    """Run `function` on one stack; if it fails, on each sample alone, to find the culprit."""
    columns = zip(*group.values(), strict=True)
    try:
        stacked = function([np.concatenate(column) for column in columns])
    except SplitnetError as error:
        if len(group) == 1:
            failed.update((number, _failure(error)) for number in group)
            return {}
        alone = (_apply_stacked(function, {n: tensors}, failed) for n, tensors in group.items())
        return {number: tensors for outputs in alone for number, tensors in outputs.items()}
    return {n: [tensor[i : i + 1] for tensor in stacked] for i, n in enumerate(group)}


def _failure(error: SplitnetError) -> ItemResult:
    return ItemResult(None, code=error.wire_code, message=one_line(error))


def _zeros(specs: Sequence[TensorSpec]) -> Tensors:
    """Return one sample that fits `specs`, each dynamic dimension 1."""
    ones = dict.fromkeys(dynamic_names(specs), 1)
    return [np.zeros(spec.shape(1, ones), spec.dtype) for spec in specs]
