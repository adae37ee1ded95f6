"""What makes a contract sound beyond the types of its fields."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from splitnet.bundle.postprocessing import check_answer, check_postprocess_step
from splitnet.bundle.preprocessing import check_step
from splitnet.config import nearest
from splitnet.errors import BundleError
from splitnet.values import DTYPE_BYTES, TensorSpec

if TYPE_CHECKING:
    from splitnet.bundle.contract import Contract, GraphRef, Hop, Path, Postprocess

MAX_RANK = 8
"""Most dimensions that a tensor of a contract may have."""
MAX_SAMPLE_BYTES = 2**31 - 1
"""Largest tensor of one sample: the longest payload that a 32-bit length can announce."""

RESERVED_PATH = "device"
"""Options that stay on the device carry this name in place of a path (values.Option)."""

_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,199}")
_ID = re.compile(r"[A-Za-z0-9_.:-]{1,180}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_contract(contract: Contract) -> None:
    """Raise `BundleError`, naming the place, unless `contract` is sound."""
    for i, step in enumerate(contract.preprocess):
        check_step(step, f"contract.json: preprocess[{i}]")
    _check_chain(contract)
    _check_ids("paths", [path.id for path in contract.paths])
    for i, path in enumerate(contract.paths):
        _check_path(contract, path, f"paths[{i}]")
    check_graph(contract.whole, "contract.json: whole")
    if contract.postprocess is not None:
        _check_postprocess(contract.postprocess)
    _check_codecs(contract.reply, len(contract.answers), "reply")
    _check_one_hash_per_file(contract)


def check_graph(ref: GraphRef, where: str) -> None:
    """Raise `BundleError` unless the file name and the hashes of `ref` may be used."""
    if not _FILE_NAME.fullmatch(ref.file) or ".." in ref.file:
        raise BundleError(
            f"{where}.file: {ref.file!r} is not a file name; a bundle names files at its root, "
            "by letters, digits and _ . : -"
        )
    check_sha256(ref.sha256, f"{where}.sha256")
    for i, shard in enumerate(ref.shards):
        check_sha256(shard, f"{where}.shards[{i}]")


def check_sha256(text: str, where: str) -> None:
    """Raise `BundleError` unless `text` is a SHA-256 in lower-case hexadecimal digits."""
    if not _SHA256.fullmatch(text):
        raise BundleError(f"{where}: must be 64 lower-case hexadecimal digits, is {text[:80]!r}")


def check_id(text: str, where: str) -> None:
    """Raise `BundleError` unless `text` may name a path or an exit."""
    if not _ID.fullmatch(text):
        raise BundleError(
            f"{where}: {text[:200]!r} is not a name; a name has 1 to 180 letters, digits, _ . : -"
        )


def _check_chain(contract: Contract) -> None:
    boundaries, segments = contract.boundaries, contract.segments
    if not segments or len(boundaries) != len(segments) + 1:
        raise _error(
            "boundaries",
            f"{len(boundaries)} boundaries but {len(segments)} segments; n segments lie between "
            "n + 1 boundaries, and there is at least one",
        )
    _check_unique("boundaries", "cut", [boundary.cut for boundary in boundaries])
    for i, boundary in enumerate(boundaries):
        if (i == 0) != (boundary.cut == "input") or (i == len(segments)) != (
            boundary.cut == "output"
        ):
            raise _error(
                f"boundaries[{i}].cut",
                f"is {boundary.cut!r}; the first boundary is 'input', the last one 'output'",
            )
        _check_tensors(boundary.tensors, f"boundaries[{i}].tensors")
    for i, segment in enumerate(segments):
        check_graph(segment.graph, f"contract.json: segments[{i}].graph")


def _check_path(contract: Contract, path: Path, where: str) -> None:
    if path.id == RESERVED_PATH:
        raise _error(f"{where}.id", f"{path.id!r} is reserved for what stays on the device")
    if not path.hops or not path.levels:
        raise _error(where, f"{path.id!r} has no {'level' if path.hops else 'hop'}")
    reached = 0
    for i, hop in enumerate(path.hops):
        place = f"{where}.hops[{i}]"
        _check_hop(contract, hop, place)
        if hop.boundary < reached:
            raise _error(f"{place}.boundary", f"is {hop.boundary}, already past at {reached}")
        if path.kind == "exact":
            _check_exact(contract, hop, place)
        elif hop.encoder is None and hop.decoder is None:
            raise _error(place, "a learned path needs an encoder or a decoder")
        reached = hop.entry
    for i, level in enumerate(path.levels):
        place = f"{where}.levels[{i}].codecs"
        if len(level.codecs) != len(path.hops):
            raise _error(place, f"{len(level.codecs)} entries for {len(path.hops)} hops")
        for h, configs in enumerate(level.codecs):
            _check_codecs(configs, len(path.hops[h].tensors), f"{place}[{h}]")


def _check_hop(contract: Contract, hop: Hop, where: str) -> None:
    end = len(contract.segments)
    # A decoder may hold the rest of the network: then nothing is left behind it.
    last_entry = end - 1 if hop.decoder is None else end
    limits = (("boundary", hop.boundary, end - 1), ("entry", hop.entry, last_entry))
    for name, boundary, last in limits:
        if not 0 <= boundary <= last:
            raise _error(f"{where}.{name}", f"is {boundary}, must be from 0 to {last}")
    _check_tensors(hop.tensors, f"{where}.tensors")
    for name, graph in (("encoder", hop.encoder), ("decoder", hop.decoder)):
        if graph is not None:
            check_graph(graph, f"contract.json: {where}.{name}")


def _check_exact(contract: Contract, hop: Hop, where: str) -> None:
    if hop.encoder is not None or hop.decoder is not None:
        raise _error(where, "an exact path has neither encoder nor decoder")
    if hop.entry != hop.boundary:
        raise _error(f"{where}.entry", f"is {hop.entry}, on an exact path it is {hop.boundary}")
    if hop.tensors != contract.boundaries[hop.boundary].tensors:
        raise _error(f"{where}.tensors", f"are not those of boundary {hop.boundary}")


def _check_postprocess(last: Postprocess) -> None:
    check_postprocess_step(last.step, "contract.json: postprocess.step")
    check_graph(last.graph, "contract.json: postprocess.graph")
    _check_tensors(last.tensors, "postprocess.tensors")
    check_answer(last.step, last.tensors, "contract.json: postprocess.tensors")


def _check_tensors(tensors: Sequence[TensorSpec], where: str) -> None:
    if not tensors:
        raise _error(where, "is empty; at least one tensor crosses")
    _check_unique(where, "name", [tensor.name for tensor in tensors])
    for i, tensor in enumerate(tensors):
        _check_tensor(tensor, f"{where}[{i}]")


def _check_tensor(tensor: TensorSpec, where: str) -> None:
    if not tensor.name:
        raise _error(f"{where}.name", "is empty")
    if tensor.dtype not in DTYPE_BYTES:
        raise _error(
            f"{where}.dtype",
            f"{tensor.dtype!r} may not cross a cut{nearest(tensor.dtype, DTYPE_BYTES)}; "
            f"allowed: {', '.join(DTYPE_BYTES)}",
        )
    dims = tensor.dims
    if not 1 <= len(dims) <= MAX_RANK or dims[0] != "N" or "N" in dims[1:]:
        raise _error(f"{where}.dims", f"is {list(dims)!r}; 1 to {MAX_RANK} dimensions, 'N' first")
    sizes = [dim for dim in dims if isinstance(dim, int)]
    if any(size < 1 for size in sizes) or "" in dims:
        raise _error(f"{where}.dims", f"is {list(dims)!r}; sizes are at least 1, names not empty")
    if prod(sizes) * DTYPE_BYTES[tensor.dtype] > MAX_SAMPLE_BYTES:
        raise _error(f"{where}.dims", f"a sample has more than {MAX_SAMPLE_BYTES} bytes")


def _check_codecs(configs: Sequence[Mapping[str, Any]], count: int, where: str) -> None:
    if len(configs) != count:
        raise _error(where, f"{len(configs)} codec configurations for {count} tensors")
    for i, config in enumerate(configs):
        if not isinstance(config.get("id"), str):
            raise _error(f"{where}[{i}].id", "a codec configuration names its codec as text")


def _check_ids(where: str, ids: Sequence[str]) -> None:
    for i, name in enumerate(ids):
        check_id(name, f"contract.json: {where}[{i}].id")
    _check_unique(where, "id", ids)


def _check_unique(where: str, key: str, names: Sequence[str]) -> None:
    for i, name in enumerate(names):
        if name in names[:i]:
            raise _error(f"{where}[{i}].{key}", f"{name!r} stands there twice")


def _check_one_hash_per_file(contract: Contract) -> None:
    known: dict[str, GraphRef] = {}
    for ref in _all_graphs(contract):
        if known.setdefault(ref.file, ref) != ref:
            raise BundleError(f"contract.json: {ref.file} is named with two different hashes")


def _all_graphs(contract: Contract) -> Iterable[GraphRef]:
    yield contract.whole
    if contract.postprocess is not None:
        yield contract.postprocess.graph
    yield from (segment.graph for segment in contract.segments)
    for path in contract.paths:
        yield from contract.graphs(path.id)


def _error(where: str, message: str) -> BundleError:
    return BundleError(f"contract.json: {where}: {message}")
