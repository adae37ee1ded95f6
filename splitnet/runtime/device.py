"""The device's side of a bundle: runs the stages of a request and keeps its tensors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from splitnet.runtime.answers import labels, load_confidence, max_softmax
from splitnet.runtime.emulation import Emulation, FactorStretcher, Stretcher
from splitnet.runtime.payloads import check_tensors, decode_tensors, dynamic_dims, encode_tensors
from splitnet.runtime.preprocess import prepare
from splitnet.runtime.sessions import GraphStore
from splitnet.values import PREPARE_STAGE, encode_stage, exit_stage, segment_stage
from splitnet.wire import Hollow, Payload

Array: TypeAlias = NDArray[Any]

LoadSample: TypeAlias = Callable[[], Array]
"""Reads one sample; called by the stage ``Prepare``, so that decoding an image counts as work."""


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
        self._exits: dict[str, ExitHead] = {head.id: head for head in bundle.advice.exits}
        self._end = len(self._contract.segments)
        self._store = GraphStore(directory, threads, budget_bytes, batch=1)
        self._stretcher = stretcher or FactorStretcher(Emulation(), {})
        self._samples: dict[int, LoadSample] = {}
        self._tensors: dict[int, dict[int, list[Array]]] = {}

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
            outcome = self._run_exit(self._exits[stage.exit], kept)
        else:
            outcome = self._encode(stage, kept)
        self._stretcher.settle()
        return outcome

    def decode_reply(self, payload: Payload, dims: Sequence[int]) -> tuple[list[int], float]:
        """Return labels and confidence of a reply's payload.

        Raises
        ------
        CorruptPayloadError
            The payload is damaged.
        """
        assert not isinstance(payload, Hollow), "a hollow payload left the simulator"
        contract = self._contract
        outputs = decode_tensors(contract.reply, contract.outputs, payload, dims)
        return _answer(outputs[0], max_softmax(outputs[0]))

    def _prepare(self, load: LoadSample, kept: dict[int, list[Array]]) -> None:
        with self._timed(PREPARE_STAGE):
            tensors = [prepare(load(), self._contract.preprocess)]
            check_tensors(self._contract.inputs, tensors, "the prepared sample")
        kept[0] = tensors

    def _run_segments(self, stage: RunSegments, kept: dict[int, list[Array]]) -> LocalResult | None:
        for index in range(stage.first, stage.stop):
            tensors = self._run_graph(
                segment_stage(index), self._contract.segments[index].graph, kept[index]
            )
            kept[index + 1] = tensors
        if stage.stop < self._end:
            return None
        output = kept[self._end][0]
        found, confidence = _answer(output, max_softmax(output))
        return LocalResult(confidence, found)

    def _run_exit(self, head: ExitHead, kept: dict[int, list[Array]]) -> LocalResult:
        output = self._run_graph(exit_stage(head.id), head.graph, kept[head.boundary])[0]
        sure = load_confidence(head.confidence)(output, head.temperature)
        found, confidence = _answer(output, sure)
        return LocalResult(confidence, found)

    def _encode(self, stage: Encode, kept: dict[int, list[Array]]) -> Encoded:
        path = self._contract.path(stage.path)
        (hop,) = path.hops
        tensors = kept[hop.boundary]
        if hop.encoder is not None:
            tensors = self._run_graph(encode_stage(path.id, stage.level), hop.encoder, tensors)
        with self._timed(encode_stage(path.id, stage.level), codec=True):
            payload = encode_tensors(path.levels[stage.level].codecs[0], tensors)
        return Encoded(payload, dynamic_dims(hop.tensors, tensors))

    def _run_graph(self, key: str, ref: GraphRef, tensors: Sequence[Array]) -> list[Array]:
        graph = self._store.get(ref)
        with self._timed(key):
            return graph.run(tensors)

    @contextmanager
    def _timed(self, key: str, *, codec: bool = False) -> Iterator[None]:
        started_s = time.monotonic()
        yield
        self._stretcher.add(key, time.monotonic() - started_s, codec=codec)


def _answer(output: Array, confidence: Array) -> tuple[list[int], float]:
    if not np.isfinite(confidence[0]):
        raise ModelError("the network's output is not finite; check the sample's preprocessing")
    return labels(output)[0].tolist(), float(confidence[0])
