"""The proof, on this machine, that a bundle computes what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from math import ceil
from pathlib import Path as FilePath

import numpy as np

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, batches, inputs_of
from splitnet.builder.golden import Golden, GoldenPath, hash_tensors, read_golden
from splitnet.builder.tolerance import Tolerance, tolerance_of
from splitnet.bundle import Bundle, Path
from splitnet.console import Progress
from splitnet.errors import BundleError
from splitnet.runtime.answers import labels
from splitnet.runtime.directory import bundle_file, check_files, open_bundle
from splitnet.runtime.reading import answer_form
from splitnet.values import plan_key

_LOSSLESS = ("store", "lz4")

_INT8 = "encoder-int8-"
"""How the files of heads in whole numbers begin."""


class Kind(Enum):
    """What is compared, which says how much may differ."""

    EXACT = "the same computation"
    QUANTISED = "behind a quantiser"
    INT8 = "behind an int8 head"
    CODEC = "decoded payloads"


@dataclass(frozen=True, slots=True)
class Check:
    """One comparison.

    Attributes
    ----------
    what
        What was compared with what.
    samples
        On how many samples.
    error, limit
        Largest error found and allowed, as shares of the largest output.
    changed, allowed
        Labels that differ, and how many may; ``None`` where all may.
    kind, path
        What kind of comparison it is, and of which path, if of one.
    """

    what: str
    samples: int
    error: float
    limit: float
    changed: int | None = None
    allowed: int = 0
    kind: Kind = Kind.EXACT
    path: str | None = None

    @property
    def ok(self) -> bool:
        """Whether the comparison holds."""
        return self.error <= self.limit and (self.changed or 0) <= self.allowed


@dataclass(frozen=True, slots=True)
class Report:
    """All comparisons of a bundle, and what was allowed."""

    checks: tuple[Check, ...]
    tolerance: Tolerance

    @property
    def ok(self) -> bool:
        """Whether every comparison holds."""
        return all(check.ok for check in self.checks)

    @property
    def worst(self) -> Check:
        """The comparison of exact computations with the largest error."""
        return max((c for c in self.checks if c.kind is Kind.EXACT), key=lambda c: c.error)

    @property
    def largest(self) -> tuple[Check, ...]:
        """For each path and kind of comparison the one with the largest error."""
        found: dict[tuple[str, Kind], Check] = {}
        for check in self.checks:
            if check.path is not None and check.kind is not Kind.CODEC:
                key = check.path, check.kind
                found[key] = max(found.get(key, check), check, key=lambda c: c.error)
        return tuple(found.values())

    def failure(self) -> str:
        """Return one line on what is wrong (only if something is)."""
        bad = [check for check in self.checks if not check.ok]
        worst = max(bad, key=lambda check: check.error - check.limit)
        changed = f" and {worst.changed} changed labels" if worst.changed else ""
        return (
            f"{len(bad)} of {len(self.checks)} checks failed, worst: {worst.what}, error "
            f"{worst.error:.2g} of the largest output{changed} (at most {worst.limit:g} and "
            f"{worst.allowed or 'none'} are allowed on {self.tolerance.name}); build the bundle "
            "again, on this machine if its arithmetic differs"
        )


def verify_bundle(
    directory: FilePath,
    data: Dataset | None,
    progress: Progress,
    threads: int = 1,
    tolerance: Tolerance | None = None,
) -> Report:
    """Compare every path with the whole model and with the golden vectors.

    Parameters
    ----------
    data
        Samples on which the exact paths are compared too, besides the golden inputs.
    tolerance
        What this device may be off; ``None`` stands for the tolerance of this machine.

    Raises
    ------
    BundleError
        A file is missing, or not what its hash says.
    """
    tolerance = tolerance or tolerance_of(None)
    bundle = open_bundle(directory)
    check_files(directory, bundle)
    golden = read_golden(bundle_file(directory, bundle.advice.golden.file))
    _check_complete(bundle, golden)
    execution = Execution(directory, bundle.contract, threads)
    checks = [*_exact_checks(execution, golden.inputs, golden.reference, "golden", tolerance)]
    progress.step("comparing with the golden vectors", len(golden.paths))
    checks += _golden_checks(execution, bundle, golden, tolerance, progress)
    if data is not None:
        checks += _data_checks(execution, data, tolerance, progress)
    return Report(tuple(checks), tolerance)


def _check_complete(bundle: Bundle, golden: Golden) -> None:
    wanted = {(p.id, level) for p in bundle.contract.paths for level in range(len(p.levels))}
    missing = [plan_key(*key) for key in sorted(wanted - golden.paths.keys())]
    if bundle.contract.postprocess is not None and not golden.answers:
        missing.append("the postprocess graph")
    missing += [head.id for head in bundle.advice.heads if head.id not in golden.exits]
    if missing:
        raise BundleError(f"there are no golden vectors for {', '.join(missing)}; build it again")


def _exact_checks(
    execution: Execution,
    inputs: Sequence[Array],
    reference: Sequence[Array] | None,
    source: str,
    tolerance: Tolerance,
) -> Iterator[Check]:
    """Compare whole graph, chained segments and exact paths at level 0 with each other."""
    compare = _Comparer(tolerance, answer_form(execution.contract).labelled)
    whole = execution.run(execution.contract.whole, inputs)
    if reference is not None:
        yield compare(f"whole = original ({source})", whole, reference)
    boundaries = execution.boundaries(inputs)
    yield compare(f"segments = whole ({source})", boundaries[-1], whole)
    for path in execution.contract.paths:
        if path.kind == "exact":
            _, outputs = execution.transmit(path.id, 0, execution.crossing(path.id, boundaries))
            what = f"{plan_key(path.id, 0)} = whole ({source})"
            yield compare(what, outputs, whole, path=path.id)


def _golden_checks(
    execution: Execution, bundle: Bundle, golden: Golden, tolerance: Tolerance, progress: Progress
) -> Iterator[Check]:
    boundaries = execution.boundaries(golden.inputs)
    compare = _Comparer(tolerance, answer_form(bundle.contract).labelled)
    unlabelled = _Comparer(tolerance, labelled=False)
    if bundle.contract.postprocess is not None:
        answers = execution.answer(golden.reference)
        yield unlabelled("postprocess (golden)", answers, golden.answers)
    for head in bundle.advice.heads:
        output = execution.run(head.graph, boundaries[head.boundary])[0]
        yield compare(f"exit {head.id} (golden)", [output], [golden.exits[head.id]])
    for run in bundle.advice.fused:
        outputs = execution.run(run.graph, boundaries[run.first])
        what = f"segments {run.first} to {run.stop - 1} in one (golden)"
        yield unlabelled(what, outputs, boundaries[run.stop])
    for (path, level), found in golden.paths.items():
        key = plan_key(path, level)
        crossing = execution.crossing(path, boundaries)
        dims = execution.dims(path, crossing)
        yield _payload_check(execution, path, level, found, dims)
        outputs = execution.finish(path, execution.decode(path, level, found.payloads, dims))
        yield compare(f"{key} from golden payload", outputs, found.outputs, path=path)
        _, outputs = execution.transmit(path, level, crossing)
        kind = _kind(execution.contract.path(path), level)
        yield compare(f"{key} from golden input", outputs, found.outputs, kind, path)
        progress.advance(1, key)


def _kind(path: Path, level: int) -> Kind:
    """Return what happens to the tensors of a path before they reach the cloud."""
    encoders = [hop.encoder for hop in path.hops if hop.encoder is not None]
    if any(encoder.file.startswith(_INT8) for encoder in encoders):
        return Kind.INT8
    exact = all(c["id"] in _LOSSLESS for hop in path.levels[level].codecs for c in hop)
    return Kind.EXACT if exact else Kind.QUANTISED


def _payload_check(
    execution: Execution, path: str, level: int, expected: GoldenPath, dims: Sequence[int]
) -> Check:
    """Check that the codec makes the very same tensors of the golden payloads."""
    found = [hash_tensors(execution.decode(path, level, [p], dims)) for p in expected.payloads]
    wrong = sum(a != b for a, b in zip(found, expected.decoded, strict=True))
    what = f"{plan_key(path, level)} payload decoded"
    return Check(what, len(found), float(wrong), 0.0, kind=Kind.CODEC, path=path)


def _data_checks(
    execution: Execution, data: Dataset, tolerance: Tolerance, progress: Progress
) -> list[Check]:
    """Compare exact paths on `data`; each check keeps its largest error over all batches."""
    progress.step(f"comparing on {len(data)} samples of {data.source}", len(data))
    found: dict[str, Check] = {}
    for rows in batches(len(data)):
        inputs = inputs_of(execution.contract, data, rows)
        for check in _exact_checks(execution, inputs, None, "data", tolerance):
            found[check.what] = _joined(found.get(check.what), check)
        progress.advance(len(rows))
    return list(found.values())


def _joined(before: Check | None, check: Check) -> Check:
    if before is None:
        return check
    changed = None
    if before.changed is not None and check.changed is not None:
        changed = before.changed + check.changed
    return replace(
        check,
        samples=before.samples + check.samples,
        error=max(before.error, check.error),
        changed=changed,
        allowed=before.allowed + check.allowed,
    )


@dataclass(frozen=True, slots=True)
class _Comparer:
    """Compares all outputs; labels are those of the first one, if it has any."""

    tolerance: Tolerance
    labelled: bool

    def __call__(
        self,
        what: str,
        found: Sequence[Array],
        expected: Sequence[Array],
        kind: Kind = Kind.EXACT,
        path: str | None = None,
    ) -> Check:
        tolerance = self.tolerance
        limits = {Kind.QUANTISED: tolerance.quantised, Kind.INT8: tolerance.int8}
        errors = [_error(a, b) for a, b in zip(found, expected, strict=True)]
        changed, allowed = None, 0
        if self.labelled and kind is Kind.EXACT:
            known = errors[0] < float("inf") and expected[0].ndim in (2, 3)
            differ = labels(found[0]) != labels(expected[0]) if known else np.zeros(0, np.bool_)
            changed, allowed = int(differ.sum()), ceil(tolerance.changed * differ.size)
        limit = limits.get(kind, tolerance.exact)
        return Check(what, len(found[0]), max(errors), limit, changed, allowed, kind, path)


def _error(found: Array, expected: Array) -> float:
    """Return the largest difference as a share of the largest value; infinite if it is none."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    error = float(difference.max(initial=0)) / scale
    return error if np.isfinite(error) else float("inf")
