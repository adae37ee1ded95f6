"""What a drawn row of the sample table makes of each stage: confidences, scores and bytes."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from splitnet.bundle import Bundle
from splitnet.machines.agent_io import (
    CloudResult,
    Deliver,
    Encode,
    Encoded,
    LocalResult,
    RunExit,
    RunSegments,
    Stage,
)
from splitnet.wire import Hollow


class Found(NamedTuple):
    """Score of an answer and how sure it is, both in [0, 1]."""

    score: float
    confidence: float


class SampleRows:
    """The sample table as the simulator reads it: one row at a time.

    The end of the network on the device answers as the first exact path does at level 0.
    """

    def __init__(self, bundle: Bundle) -> None:
        table = bundle.table
        self._end = len(bundle.contract.segments)
        exact = next(path.id for path in bundle.contract.paths if path.kind == "exact")
        self._exits: dict[str | None, list[Found]] = {
            exit_id: _found(rows.score.tolist(), rows.confidence.tolist())
            for exit_id, rows in table.exits.items()
        }
        self._paths = {
            key: _found(rows.score.tolist(), rows.confidence.tolist())
            for key, rows in table.paths.items()
        }
        self._bytes = {key: [rows.bytes.tolist()] for key, rows in table.paths.items()}
        self._parts: dict[tuple[str, int], list[list[Found]]] = {}
        for key, parts in table.parts.items():
            self._parts[key] = [_found(p.score.tolist(), p.confidence.tolist()) for p in parts]
            self._bytes[key] = [*(p.bytes.tolist() for p in parts), *self._bytes[key]]
        self._exits[None] = self._paths[exact, 0]
        self._sent = {plan.key: (plan.path, plan.level) for plan in bundle.advice.plans}

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._exits[None])

    def outcome(self, stage: Stage, row: int) -> LocalResult | Encoded | None:
        """Return what `stage` makes of the sample `row`."""
        if isinstance(stage, RunExit):
            found = self._exits[stage.exit][row]
            return LocalResult(found.confidence, found)
        if isinstance(stage, Encode):
            return self._encoded(stage, row)
        if isinstance(stage, RunSegments) and stage.stop == self._end:
            found = self._exits[None][row]
            return LocalResult(found.confidence, found)
        return None

    def _encoded(self, stage: Encode, row: int) -> Encoded:
        sizes = [nbytes[row] for nbytes in self._bytes[stage.path, stage.level]]
        base, *rest = [Hollow(end - begin) for begin, end in pairwise([0, *sizes])]
        return Encoded(base, refinements=tuple(rest))

    def cloud(self, path: str, level: int, refinements: int, row: int) -> Found:
        """Return the cloud's answer to so many refinements of the payload of a level."""
        parts = self._parts.get((path, level), [])
        found = parts[refinements - 1] if refinements <= len(parts) else self._paths[path, level]
        return found[row]

    def answer(self, delivered: Deliver, row: int) -> Found | None:
        """Return how good an answer is, ``None`` for a request that ended in an error."""
        if isinstance(delivered.result, CloudResult):
            path, level = self._sent[delivered.provenance.plan]
            return self.cloud(path, level, delivered.result.refinements, row)
        if delivered.result is None:
            return None
        found = delivered.result.answer
        assert isinstance(found, Found)
        return found


def _found(scores: list[float], confidences: list[float]) -> list[Found]:
    return [Found(*pair) for pair in zip(scores, confidences, strict=True)]
