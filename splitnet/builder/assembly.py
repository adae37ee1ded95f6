"""From exported graphs to the documents of a bundle: paths, levels, plans, costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from splitnet.builder.segments import Exported, GraphFile
from splitnet.bundle import Contract, ExitHead, Hop, Level, Path, Postprocess, Segment
from splitnet.training.certify import CLOSED
from splitnet.values import (
    PREPARE_STAGE,
    ExitStep,
    Plan,
    TensorSpec,
    decode_stage,
    encode_stage,
    exit_stage,
    segment_stage,
)

INPUT_PATH = "input"
"""The exact path that sends the preprocessed input: full offload."""

LEARNED_PATH = "bottleneck"

TENSOR_NAME = "bottleneck"
"""Name of the tensor that crosses the network on a learned path."""

STORE: Mapping[str, Any] = {"id": "store"}
LZ4: Mapping[str, Any] = {"id": "lz4"}
EIGHT_BIT: Mapping[str, Any] = {
    "id": "pipeline",
    "codecs": [{"id": "affine", "bits": 8}, {"id": "lz4"}],
}
FLOATS = ("float32", "float16")

_OTHER: Mapping[str, float] = {"other": 1.0}
"""Class of preprocessing, which is no operator of a network."""

_CODEC: Mapping[str, float] = {"codec": 1.0}
"""Class of codecs, beside those of operators."""


@dataclass(frozen=True, slots=True)
class LearnedFiles:
    """The files of a learned path.

    Attributes
    ----------
    boundary
        Where the encoder reads.
    encoder
        ``None``: the tensors of `boundary` are sent.
    decoder
        ``None``: the segments at `entry` take what the encoder gives.
    id
        Name of the path.
    entry
        Where the segments go on behind the decoder; ``None``: at `boundary`.
    levels
        Name and codec of each level; empty for those of exact paths.
    """

    boundary: int
    encoder: GraphFile | None
    decoder: GraphFile | None
    id: str = LEARNED_PATH
    entry: int | None = None
    levels: tuple[Level, ...] = ()


def make_contract(
    name: str,
    preprocess: Sequence[Mapping[str, Any]],
    exported: Exported,
    names: Sequence[str],
    learned: Sequence[LearnedFiles] = (),
    postprocess: Postprocess | None = None,
) -> Contract:
    """Return the contract of a cut model.

    Parameters
    ----------
    names
        Names of the exact paths, one an interior boundary.
    postprocess
        What follows the last segment, if anything does.
    """
    boundaries = exported.boundaries
    paths = [
        _exact(name, index, boundaries[index].tensors)
        for index, name in enumerate([INPUT_PATH, *names])
    ]
    paths += [_learned(files, boundaries[files.boundary].tensors) for files in learned]
    return Contract(
        name=name,
        preprocess=tuple(preprocess),
        boundaries=boundaries,
        segments=tuple(Segment(file.ref) for file in exported.segments),
        paths=tuple(paths),
        whole=exported.whole.ref,
        reply=_reply(boundaries[-1].tensors, postprocess),
        postprocess=postprocess,
    )


def make_plans(
    contract: Contract,
    heads: Sequence[ExitHead],
    stops: Mapping[tuple[str, int], tuple[float, ...]] = MappingProxyType({}),
) -> tuple[Plan, ...]:
    """Return every path at every level, alone and with the open heads on its way.

    Parameters
    ----------
    heads
        Prefilter and exits, in the order in which a request meets them.
    stops
        Those of the levels that have them (see `Plan`), by path and level: there are plans with
        them and without.
    """
    plans = []
    for path in contract.paths:
        rule = tuple(
            ExitStep(head.id, head.confidence, head.threshold)
            for head in heads
            if head.boundary <= path.hops[0].boundary and head.threshold < CLOSED
        )
        for level in range(len(path.levels)):
            for chosen in dict.fromkeys([(), stops.get((path.id, level), ())]):
                plans += [Plan(path.id, level, way, chosen) for way in dict.fromkeys([(), rule])]
    return tuple(plans)


def stage_costs(
    contract: Contract,
    exported: Exported,
    exits: Mapping[str, GraphFile],
    learned: Sequence[LearnedFiles],
) -> tuple[dict[str, Mapping[str, float]], dict[str, int]]:
    """Return work by stage: shares of the operator classes, and FLOPs of one sample."""
    files = {segment_stage(i): file for i, file in enumerate(exported.segments)}
    files |= {exit_stage(exit_id): file for exit_id, file in exits.items()}
    own = {found.id: found for found in learned}
    costs: dict[str, Mapping[str, float]] = {PREPARE_STAGE: _OTHER}
    flops = {PREPARE_STAGE: 0}
    for path in contract.paths:
        for level in range(len(path.levels)):
            for stage in (encode_stage(path.id, level), decode_stage(path.id, level)):
                costs[stage], flops[stage] = _CODEC, 0
            if path.id in own:
                ends = {
                    encode_stage(path.id, level): own[path.id].encoder,
                    decode_stage(path.id, level): own[path.id].decoder,
                }
                files |= {stage: file for stage, file in ends.items() if file is not None}
    for stage, file in files.items():
        costs[stage], flops[stage] = file.costs, file.flops
    return costs, flops


def _reply(
    outputs: Sequence[TensorSpec], postprocess: Postprocess | None
) -> tuple[Mapping[str, Any], ...]:
    """Return the codecs of a reply; rows without a box cost next to nothing in lz4."""
    if postprocess is None:
        return (STORE,) * len(outputs)
    codec = LZ4 if postprocess.step["op"] == "nms" else STORE
    return (codec,) * len(postprocess.tensors)


def _exact(name: str, boundary: int, tensors: tuple[TensorSpec, ...]) -> Path:
    return Path(name, "exact", (Hop(boundary, boundary, tensors),), _levels(tensors))


def _learned(files: LearnedFiles, crossing: tuple[TensorSpec, ...]) -> Path:
    encoder, decoder = files.encoder, None
    tensors = crossing if encoder is None else encoder.outputs
    if files.decoder is not None:
        (encoded,), decoder = tensors, files.decoder.ref
        tensors = (TensorSpec(TENSOR_NAME, encoded.dtype, encoded.dims),)
    entry = files.boundary if files.entry is None else files.entry
    front = None if encoder is None else encoder.ref
    hop = Hop(files.boundary, entry, tensors, front, decoder)
    return Path(files.id, "learned", (hop,), files.levels or _levels(tensors))


def _levels(tensors: Sequence[TensorSpec]) -> tuple[Level, ...]:
    """Return the levels of a crossing: as it is, and with its floats at 8 bits if it has any."""
    exact = Level("float32", ((STORE,) * len(tensors),))
    codecs = tuple(EIGHT_BIT if t.dtype in FLOATS else STORE for t in tensors)
    return (exact, Level("8 bit", (codecs,))) if EIGHT_BIT in codecs else (exact,)
