"""The worker's side of a bundle: decodes payloads, runs segments and postprocess, makes replies."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Bundle
from splitnet.codecs.base import Buffer
from splitnet.errors import SplitnetError, TensorMismatchError, one_line
from splitnet.machines.worker_io import BatchItem, ItemResult, RunBatch
from splitnet.runtime.directory import load_tables
from splitnet.runtime.payloads import (
    decode_refinements,
    dynamic_dims,
    dynamic_names,
    encode_refinements,
    encode_tensors,
    naming,
)
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
        self._context = load_tables(directory, bundle.contract)
        self._store = GraphStore(directory, threads, budget_bytes)

    def run(self, batch: RunBatch) -> tuple[float, float, tuple[ItemResult, ...]]:
        """Return the time to decode, the time of the segments, and a result for each item."""
        started_s = time.monotonic()
        failed: Failures = {}
        entered = self._enter(batch.items, failed)
        decoded_s = time.monotonic()
        outputs = _apply(lambda t: self._segments(batch, t), entered, failed)
        answers = self._postprocess(batch, _finite(outputs, failed), failed)
        results = failed | {n: self._reply(tensors) for n, tensors in answers.items()}
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
                zeros = _zeros(hop.tensors)
                base, *rest = encode_refinements(level.codecs[0], zeros, self._context)
                item = BatchItem(path.id, number, base, dims, tuple(rest))
                for size in batch_sizes:
                    self.run(RunBatch(0, 0, hop.entry, end, (item,) * size))

    def _enter(self, items: Sequence[BatchItem], failed: Failures) -> Samples:
        """Return the tensors at the entry boundary; codecs and decoders see what is alike."""
        alike: defaultdict[tuple[str, int], dict[int, BatchItem]] = defaultdict(dict)
        for number, item in enumerate(items):
            alike[item.path, item.level][number] = item
        by_path: defaultdict[str, Samples] = defaultdict(dict)
        for (path, level), group in alike.items():
            by_path[path] |= self._decode(path, level, group, failed)
        entered: Samples = {}
        for path, samples in by_path.items():
            decoder = self._contract.path(path).hops[0].decoder
            if decoder is not None:
                samples = _apply(self._store.get(decoder).run, samples, failed)
            entered |= samples
        return entered

    def _decode(
        self, path_id: str, level: int, group: Mapping[int, BatchItem], failed: Failures
    ) -> Samples:
        """Decode payloads of one level at once; if that fails, each alone, to find the culprit."""
        path = self._contract.path(path_id)
        payloads = [_contents(item) for item in group.values()]
        dims = [item.dims for item in group.values()]
        try:
            codecs, specs = path.levels[level].codecs[0], path.hops[0].tensors
            with naming(path_id, level):
                decoded = decode_refinements(codecs, specs, payloads, dims, self._context)
        except SplitnetError as error:
            if len(group) == 1:
                failed.update((number, _failure(error)) for number in group)
                return {}
            alone = [self._decode(path_id, level, {n: i}, failed) for n, i in group.items()]
            return {number: tensors for samples in alone for number, tensors in samples.items()}
        return dict(zip(group, decoded, strict=True))

    def _segments(self, batch: RunBatch, tensors: Tensors) -> Tensors:
        for segment in self._contract.segments[batch.entry : batch.stop]:
            tensors = self._store.get(segment.graph).run(tensors)
        return tensors

    def _postprocess(self, batch: RunBatch, outputs: Samples, failed: Failures) -> Samples:
        last = self._contract.postprocess
        if last is None or batch.stop < len(self._contract.segments):
            return outputs
        return _apply(self._store.get(last.graph).run, outputs, failed)

    def _reply(self, answer: Tensors) -> ItemResult:
        contract = self._contract
        try:
            payload = encode_tensors(contract.reply, answer, self._context)
        except SplitnetError as error:
            return _failure(error)
        return ItemResult(payload, dynamic_dims(contract.answers, answer))


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


def _contents(item: BatchItem) -> list[Buffer]:
    """Return the refinements of an item."""
    parts = (item.payload, *item.refinements)
    buffers = [part for part in parts if not isinstance(part, Hollow)]
    assert len(buffers) == len(parts), "a hollow payload left the simulator"
    return buffers


def _finite(samples: Samples, failed: Failures) -> Samples:
    """Return the samples whose tensors are finite: postprocessing would hide what is not."""
    bad = {n for n, tensors in samples.items() if not all(np.isfinite(t).all() for t in tensors)}
    error = TensorMismatchError("the payload leads to an output that is not finite")
    failed.update((number, _failure(error)) for number in bad)
    return {number: tensors for number, tensors in samples.items() if number not in bad}


def _failure(error: SplitnetError) -> ItemResult:
    return ItemResult(None, code=error.wire_code, message=one_line(error))


def _zeros(specs: Sequence[TensorSpec]) -> Tensors:
    """Return one sample that fits `specs`, each dynamic dimension 1."""
    ones = dict.fromkeys(dynamic_names(specs), 1)
    return [np.zeros(spec.shape(1, ones), spec.dtype) for spec in specs]
