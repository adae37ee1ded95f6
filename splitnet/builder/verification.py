"""The proof, on this machine, that a bundle computes what it promises."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath

import numpy as np

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, batches, inputs_of
from splitnet.builder.golden import Golden, GoldenPath, hash_tensors, read_golden
from splitnet.bundle import Bundle
from splitnet.console import Progress
from splitnet.errors import BundleError
from splitnet.runtime.answers import labels
from splitnet.runtime.directory import bundle_file, check_files, open_bundle
from splitnet.values import plan_key

EXACT_LIMIT = 1e-4
"""Largest error of the same computation, as a share of the largest output: rounding only."""

QUANTISED_LIMIT = 0.05
"""The same behind a quantiser, where rounding in the last bit can move a symbol by one step."""


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
    changed
        Labels that differ where none may; ``None`` where they may.
    """

    what: str
    samples: int
    error: float
    limit: float
    changed: int | None = None

    @property
    def ok(self) -> bool:
        """Whether the comparison holds."""
        return self.error <= self.limit and not self.changed


@dataclass(frozen=True, slots=True)
class Report:
    """All comparisons of a bundle."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether every comparison holds."""
        return all(check.ok for check in self.checks)

    @property
    def worst(self) -> Check:
        """The comparison of exact computations with the largest error."""
        return max((c for c in self.checks if c.changed is not None), key=lambda c: c.error)

    def failure(self) -> str:
        """Return one line on what is wrong (only if something is)."""
        bad = [check for check in self.checks if not check.ok]
        worst = max(bad, key=lambda check: check.error - check.limit)
        changed = f" and {worst.changed} changed labels" if worst.changed else ""
        return (
            f"{len(bad)} of {len(self.checks)} checks failed, worst: {worst.what}, error "
            f"{worst.error:.2g} of the largest output{changed} (at most {worst.limit:g} and none "
            "are allowed); build the bundle again, on this machine if its arithmetic differs"
        )


def verify_bundle(
    directory: FilePath,
    data: Dataset | None,
    progress: Progress,
    threads: int = 1,
    limit: float = EXACT_LIMIT,
) -> Report:
    """Compare every path with the whole model and with the golden vectors.

    Parameters
    ----------
    data
        Samples on which the exact paths are compared too, besides the golden inputs.
    limit
        Largest error of the same computation that this class of device may show.

    Raises
    ------
    BundleError
        A file is missing, or not what its hash says.
    """
    bundle = open_bundle(directory)
    check_files(directory, bundle)
    golden = read_golden(bundle_file(directory, bundle.advice.golden.file))
    _check_complete(bundle, golden)
    execution = Execution(directory, bundle.contract, threads)
    checks = [*_exact_checks(execution, golden.inputs, golden.reference, "golden", limit)]
    progress.step("comparing with the golden vectors", len(golden.paths))
    checks += _golden_checks(execution, bundle, golden, limit, progress)
    if data is not None:
        checks += _data_checks(execution, data, limit, progress)
    return Report(tuple(checks))


def _check_complete(bundle: Bundle, golden: Golden) -> None:
    wanted = {(p.id, level) for p in bundle.contract.paths for level in range(len(p.levels))}
    missing = [plan_key(*key) for key in sorted(wanted - golden.paths.keys())]
    missing += [head.id for head in bundle.advice.exits if head.id not in golden.exits]
    if missing:
        raise BundleError(f"there are no golden vectors for {', '.join(missing)}; build it again")


def _exact_checks(
    execution: Execution,
    inputs: Sequence[Array],
    reference: Sequence[Array] | None,
    source: str,
    limit: float,
) -> Iterator[Check]:
    """Compare whole graph, chained segments and exact paths at level 0 with each other."""
    whole = execution.run(execution.contract.whole, inputs)
    if reference is not None:
        yield _compare(f"whole = original ({source})", whole, reference, limit, True)
    boundaries = execution.boundaries(inputs)
    yield _compare(f"segments = whole ({source})", boundaries[-1], whole, limit, True)
    for path in execution.contract.paths:
        if path.kind == "exact":
            _, outputs = execution.transmit(path.id, 0, execution.crossing(path.id, boundaries))
            what = f"{plan_key(path.id, 0)} = whole ({source})"
            yield _compare(what, outputs, whole, limit, True)


def _golden_checks(
    execution: Execution, bundle: Bundle, golden: Golden, limit: float, progress: Progress
) -> Iterator[Check]:
    boundaries = execution.boundaries(golden.inputs)
    for head in bundle.advice.exits:
        output = execution.run(head.graph, boundaries[head.boundary])[0]
        expected = golden.exits[head.id]
        yield _compare(f"exit {head.id} (golden)", [output], [expected], limit, True)
    for run in bundle.advice.fused:
        outputs = execution.run(run.graph, boundaries[run.first])
        what = f"segments {run.first} to {run.stop - 1} in one (golden)"
        yield _compare(what, outputs, boundaries[run.stop], limit, False)
    for (path, level), found in golden.paths.items():
        key = plan_key(path, level)
        crossing = execution.crossing(path, boundaries)
        dims = execution.dims(path, crossing)
        yield _payload_check(execution, path, level, found, dims)
        outputs = execution.finish(path, execution.decode(path, level, found.payloads, dims))
        yield _compare(f"{key} from golden payload", outputs, found.outputs, limit, True)
        _, outputs = execution.transmit(path, level, crossing)
        loose = max(limit, QUANTISED_LIMIT) if level else limit
        yield _compare(f"{key} from golden input", outputs, found.outputs, loose, not level)
        progress.advance(1, key)


def _payload_check(
    execution: Execution, path: str, level: int, expected: GoldenPath, dims: Sequence[int]
) -> Check:
    """Check that the codec makes the very same tensors of the golden payloads."""
    found = [hash_tensors(execution.decode(path, level, [p], dims)) for p in expected.payloads]
    wrong = sum(a != b for a, b in zip(found, expected.decoded, strict=True))
    what = f"{plan_key(path, level)} payload decoded"
    return Check(what, len(found), float(wrong), 0.0)


def _data_checks(
    execution: Execution, data: Dataset, limit: float, progress: Progress
) -> list[Check]:
    """Compare exact paths on `data`; each check keeps its largest error over all batches."""
    progress.step(f"comparing on {len(data)} samples of {data.source}", len(data))
    found: dict[str, Check] = {}
    for rows in batches(len(data)):
        inputs = inputs_of(execution.contract, data, rows)
        for check in _exact_checks(execution, inputs, None, "data", limit):
            found[check.what] = _joined(found.get(check.what), check)
        progress.advance(len(rows))
    return list(found.values())


def _joined(before: Check | None, check: Check) -> Check:
    if before is None:
        return check
    return Check(
        check.what,
        before.samples + check.samples,
        max(before.error, check.error),
        check.limit,
        (before.changed or 0) + (check.changed or 0),
    )


def _compare(
    what: str, found: Sequence[Array], expected: Sequence[Array], limit: float, same_labels: bool
) -> Check:
    """Compare all outputs; labels are those of the first one, if it has any."""
    errors = [_error(a, b) for a, b in zip(found, expected, strict=True)]
    changed = None
    if same_labels:
        known = errors[0] < float("inf") and expected[0].ndim in (2, 3)
        changed = int((labels(found[0]) != labels(expected[0])).sum()) if known else 0
    return Check(what, len(found[0]), max(errors), limit, changed)


def _error(found: Array, expected: Array) -> float:
    """Return the largest difference as a share of the largest value; infinite if it is none."""
    if found.shape != expected.shape or found.dtype != expected.dtype:
        return float("inf")
    scale = float(np.abs(expected).max(initial=0)) or 1.0
    difference = np.abs(found.astype(np.float64) - expected.astype(np.float64))
    error = float(difference.max(initial=0)) / scale
    return error if np.isfinite(error) else float("inf")
