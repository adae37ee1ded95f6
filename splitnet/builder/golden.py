"""Golden vectors: a few inputs and what a bundle made of them on the machine that built it.

``golden.npz`` holds, all with the sample as first dimension:

- ``input``: the prepared input; ``reference``: the answer of the original model; of several
  tensors each but the first has a name of its own, ``input/1``, ``reference/1`` and so on;
- ``answer``: what the postprocess graph makes of the reference, if there is one;
- ``exit/<id>/output``: the answer of an exit;
- ``path/<path>@<level>/output``: the answer of a path; ``.../payload`` its payloads behind each
  other (uint8) and ``.../size`` their lengths; ``.../decoded`` the SHA-256 of the tensors that the
  codec made of each payload (32 bytes), equal on every machine.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.builder.execution import Execution
from splitnet.bundle import Contract, ExitHead
from splitnet.bundle.npz import write_npz
from splitnet.errors import BundleError
from splitnet.values import plan_key

Array: TypeAlias = NDArray[Any]

GOLDEN_FILE = "golden.npz"

GOLDEN_SAMPLES = 8

GOLDEN_BYTES = 1 << 24
"""Of larger outputs fewer samples are kept, at least one."""


@dataclass(frozen=True, slots=True)
class GoldenPath:
    """What a path made of the golden inputs at one level."""

    outputs: tuple[Array, ...]
    payloads: tuple[bytes, ...]
    decoded: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Golden:
    """Golden inputs and everything that was made of them."""

    inputs: tuple[Array, ...]
    reference: tuple[Array, ...]
    exits: Mapping[str, Array]
    paths: Mapping[tuple[str, int], GoldenPath]
    answers: tuple[Array, ...] = ()


def golden_count(contract: Contract) -> int:
    """Return for how many samples golden vectors of `contract` are worth their room."""
    runs = 1 + sum(len(path.levels) for path in contract.paths)
    static = [spec for spec in contract.outputs if all(isinstance(d, int) for d in spec.dims[1:])]
    sample_bytes = runs * sum(spec.sample_bytes() for spec in static)
    return min(GOLDEN_SAMPLES, max(1, GOLDEN_BYTES // max(1, sample_bytes)))


def make_golden(
    execution: Execution,
    exits: Sequence[ExitHead],
    inputs: Sequence[Array],
    reference: Callable[[Sequence[Array]], list[Array]],
) -> Golden:
    """Run everything on `inputs`, one sample at a time as a device does."""
    samples = [
        execution.boundaries([array[i : i + 1] for array in inputs]) for i in range(len(inputs[0]))
    ]
    heads = {
        head.id: np.concatenate([execution.run(head.graph, s[head.boundary])[0] for s in samples])
        for head in exits
    }
    paths = {}
    for path in execution.contract.paths:
        crossing = [execution.crossing(path.id, sample) for sample in samples]
        for level in range(len(path.levels)):
            paths[path.id, level] = _run_path(execution, path.id, level, crossing)
    whole = tuple(reference(inputs))
    has_post = execution.contract.postprocess is not None
    return Golden(
        tuple(inputs), whole, heads, paths, tuple(execution.answer(whole)) if has_post else ()
    )


def hash_tensors(tensors: Sequence[Array]) -> bytes:
    """Return the SHA-256 of the content of some tensors."""
    digest = hashlib.sha256()
    for tensor in tensors:
        digest.update(np.ascontiguousarray(tensor).tobytes())
    return digest.digest()


def golden_bytes(golden: Golden) -> bytes:
    """Return the content of ``golden.npz``."""
    arrays = _named("input", golden.inputs) | _named("reference", golden.reference)
    arrays |= _named("answer", golden.answers)
    for exit_id, output in golden.exits.items():
        arrays[f"exit/{exit_id}/output"] = output
    for (path, level), found in golden.paths.items():
        name = f"path/{plan_key(path, level)}"
        arrays |= _named(f"{name}/output", found.outputs)
        arrays[f"{name}/payload"] = np.frombuffer(b"".join(found.payloads), np.uint8)
        arrays[f"{name}/size"] = np.array([len(p) for p in found.payloads], np.int64)
        arrays[f"{name}/decoded"] = np.frombuffer(b"".join(found.decoded), np.uint8)
    return write_npz(arrays)


def read_golden(file: Path) -> Golden:
    """Read ``golden.npz``, whose hash was checked before.

    Raises
    ------
    BundleError
        It is not such a file.
    """
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            content = {name: arrays[name] for name in arrays.files}
        exits, paths = {}, {}
        for name in content:
            kind, _, owner = name.removesuffix("/output").partition("/")
            if name.endswith("/output") and kind == "exit":
                exits[owner] = content[name]
            elif name.endswith("/output"):
                path, _, level = owner.rpartition("@")
                paths[path, int(level)] = _read_path(content, name.removesuffix("/output"))
        answers = _all(content, "answer") if "answer" in content else ()
        return Golden(_all(content, "input"), _all(content, "reference"), exits, paths, answers)
    except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile) as error:
        raise BundleError(f"{file} holds no golden vectors ({error}); build it again") from error


def _run_path(
    execution: Execution, path: str, level: int, crossing: Sequence[Sequence[Array]]
) -> GoldenPath:
    payloads = [execution.encode(path, level, tensors)[0] for tensors in crossing]
    decoded = [
        execution.decode(path, level, [payload], execution.dims(path, tensors))
        for payload, tensors in zip(payloads, crossing, strict=True)
    ]
    outputs = zip(*(execution.finish(path, tensors) for tensors in decoded), strict=True)
    return GoldenPath(
        tuple(map(np.concatenate, outputs)),
        tuple(payloads),
        tuple(hash_tensors(d) for d in decoded),
    )


def _named(name: str, arrays: Sequence[Array]) -> dict[str, Array]:
    """Name several arrays: the first one `name`, the others ``name/1``, ``name/2``, ..."""
    return {f"{name}/{i}" if i else name: array for i, array in enumerate(arrays)}


def _all(content: Mapping[str, Array], name: str) -> tuple[Array, ...]:
    """Return the arrays that `_named` named."""
    found = [content[name]]
    while (other := f"{name}/{len(found)}") in content:
        found.append(content[other])
    return tuple(found)


def _read_path(content: Mapping[str, Array], name: str) -> GoldenPath:
    ends = np.cumsum(content[f"{name}/size"]).tolist()
    stream, hashes = content[f"{name}/payload"].tobytes(), content[f"{name}/decoded"].tobytes()
    payloads = tuple(stream[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True))
    decoded = tuple(hashes[i : i + 32] for i in range(0, len(hashes), 32))
    return GoldenPath(_all(content, f"{name}/output"), payloads, decoded)
