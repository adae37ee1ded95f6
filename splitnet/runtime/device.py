"""The device's side of a bundle: runs the stages of a request and keeps its tensors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle import Bundle, ExitHead, GraphRef
from splitnet.errors import ModelError
from splitnet.machines.agent_io import (
    Encode,
    Encoded,
    LocalResult,
    Prepare,
    RunExit,
    RunSegments,
    Stage,
)
from splitnet.runtime.answers import load_confidence, nothing_of_interest, score
from splitnet.runtime.directory import load_tables
from splitnet.runtime.emulation import Emulation, FactorStretcher, Stretcher
from splitnet.runtime.inputs import Sample, prepare_inputs
from splitnet.runtime.payloads import decode_tensors, dynamic_dims, encode_refinements, naming
from splitnet.runtime.reading import Reading, answer_form
from splitnet.runtime.sessions import GraphStore
from splitnet.values import PREPARE_STAGE, SKIP, encode_stage, exit_stage, segment_stage
from splitnet.wire import Hollow, Payload

Array: TypeAlias = NDArray[Any]

_POSTPROCESS = "postprocess"
"""What a stretcher calls the part of a stage that runs the postprocess graph."""

_NOT_FINITE = "the network's output is not finite; check the sample's preprocessing"

LoadSample: TypeAlias = Callable[[], Sample]
"""Reads one sample, see `Sample`; called by the stage ``Prepare``: decoding an image is work."""


class DeviceRuntime:
    """Runs the stages that the agent machine names, on tensors that it never sees.

    Every boundary's tensors stay until `release`, since a local answer may go on from any of
    them. `start` and `release` may be called while `run` works on another thread.

    Parameters
    ----------
    stretcher
        What makes this machine as slow as another device; ``None`` leaves it as it is.
    budget_bytes
        Bound on the open graphs, see `GraphStore`.
    """

    def __init__(
        self,
        directory: Path,
        bundle: Bundle,
        threads: int = 1,
        stretcher: Stretcher | None = None,
        budget_bytes: int | None = None,
    ) -> None:
        self._contract = bundle.contract
        self._context = load_tables(directory, bundle.contract)
        self._fused = {(run.first, run.stop): run.graph for run in bundle.advice.fused}
        self._heads: dict[str, ExitHead] = {head.id: head for head in bundle.advice.heads}
        prefilter = bundle.advice.prefilter
        self._interest = () if prefilter is None else prefilter.interest
        self._end = len(self._contract.segments)
        self._form = answer_form(self._contract)
        self._store = GraphStore(directory, threads, budget_bytes, batch=1)
        self._stretcher = stretcher or FactorStretcher(Emulation(), {})
        self._samples: dict[int, LoadSample] = {}
        self._tensors: dict[int, dict[int, list[Array]]] = {}

    @property
    def open_files(self) -> tuple[str, ...]:
        """Names of the graphs that are open now."""
        return self._store.open_files

    def start(self, request: int, load: LoadSample) -> None:
        """Make `request` known; its sample is read when it is prepared."""
        self._samples[request] = load
        self._tensors[request] = {}

    def release(self, request: int) -> None:
        """Forget the sample and the tensors of `request`."""
        self._samples.pop(request, None)
        self._tensors.pop(request, None)

    def run(self, request: int, stage: Stage) -> LocalResult | Encoded | None:
        """Run one stage of a started request.

        Raises
        ------
        SplitnetError
            The stage failed; the message says what to do.
        """
        kept = self._tensors[request]
        outcome: LocalResult | Encoded | None = None
        if isinstance(stage, Prepare):
            self._prepare(self._samples[request], kept)
        elif isinstance(stage, RunSegments):
            outcome = self._run_segments(stage, kept)
        elif isinstance(stage, RunExit):
            outcome = self._run_exit(self._heads[stage.exit], kept)
        else:
            outcome = self._encode(stage, kept)
        self._stretcher.settle()
        return outcome

    def decode_reply(self, payload: Payload, dims: Sequence[int]) -> Reading:
        """Return what a reply's payload says.

        Raises
        ------
        CorruptPayloadError
            The payload is damaged.
        """
        assert not isinstance(payload, Hollow), "a hollow payload left the simulator"
        contract = self._contract
        answer = decode_tensors(contract.reply, contract.answers, payload, dims, self._context)
        _check_finite(answer, "the worker's reply is not finite; its tensors are damaged")
        return self._form.read(answer)

    def score(self, found: Reading, truth: Array) -> float:
        """Return how right an answer is; of a skip, whether there was nothing of interest.

        Parameters
        ----------
        truth
            The labels of the sample, ``(P,)``.

        Raises
        ------
        TensorMismatchError
            There is another number of labels.
        """
        if found.skipped:
            return float(nothing_of_interest(truth[np.newaxis], self._interest)[0])
        return float(score(np.array([found.labels]), truth[np.newaxis])[0])

    def _prepare(self, load: LoadSample, kept: dict[int, list[Array]]) -> None:
        with self._timed(PREPARE_STAGE):
            contract = self._contract
            kept[0] = prepare_inputs(load(), contract.preprocess, contract.inputs)

    def _run_segments(self, stage: RunSegments, kept: dict[int, list[Array]]) -> LocalResult | None:
        if stage.fused:
            (key,), graph = stage.keys, self._fused[stage.first, stage.stop]
            kept[stage.stop] = self._run_graph(key, graph, kept[stage.first])
        else:
            for index in range(stage.first, stage.stop):
                graph = self._contract.segments[index].graph
                kept[index + 1] = self._run_graph(segment_stage(index), graph, kept[index])
        if stage.stop < self._end:
            return None
        found = self._read(kept[self._end])
        return LocalResult(found.confidence, found)

    def _run_exit(self, head: ExitHead, kept: dict[int, list[Array]]) -> LocalResult:
        outputs = self._run_graph(exit_stage(head.id), head.graph, kept[head.boundary])
        sure = float(load_confidence(head.confidence)(outputs[0], head.temperature)[0])
        if head.id == SKIP:
            _check_finite(outputs, _NOT_FINITE)
            return LocalResult(sure, Reading([], sure, skipped=True))
        found = replace(self._read(outputs), confidence=sure)
        return LocalResult(sure, found)

    def _encode(self, stage: Encode, kept: dict[int, list[Array]]) -> Encoded:
        path = self._contract.path(stage.path)
        (hop,) = path.hops
        tensors = kept[hop.boundary]
        if hop.encoder is not None:
            tensors = self._run_graph(encode_stage(path.id, stage.level), hop.encoder, tensors)
        with self._timed(encode_stage(path.id, stage.level), codec=True):
            codecs = path.levels[stage.level].codecs[0]
            with naming(path.id, stage.level):
                base, *refinements = encode_refinements(codecs, tensors, self._context)
        return Encoded(base, dynamic_dims(hop.tensors, tensors), tuple(refinements))

    def _read(self, outputs: list[Array]) -> Reading:
        """Return the answer in `outputs`; its postprocessing is part of the stage that ran."""
        _check_finite(outputs, _NOT_FINITE)
        last = self._contract.postprocess
        answer = outputs if last is None else self._run_graph(_POSTPROCESS, last.graph, outputs)
        return self._form.read(answer)

    def _run_graph(self, key: str, ref: GraphRef, tensors: Sequence[Array]) -> list[Array]:
        graph = self._store.get(ref)
        with self._timed(key):
            return graph.run(tensors)

    @contextmanager
    def _timed(self, key: str, *, codec: bool = False) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        self._stretcher.add(key, time.monotonic() - started_s, codec=codec)


def _check_finite(tensors: Sequence[Array], message: str) -> None:
    if not all(np.isfinite(tensor).all() for tensor in tensors):
        raise ModelError(message)
