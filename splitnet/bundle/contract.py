"""The contract: everything that edge and cloud must agree on before a tensor may cross.

Segment ``i`` leads from boundary ``i`` to boundary ``i + 1``; boundary 0 is the model's input and
the last boundary its output. A path says at which boundary the device stops, which encoder and
decoder stand at the cut, and at which boundary the cloud goes on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from splitnet.bundle.contract_checks import check_contract
from splitnet.bundle.json_form import Reader, digest, to_json
from splitnet.config import nearest
from splitnet.errors import UnknownNameError
from splitnet.values import TensorSpec

CONTRACT_VERSION = 1
"""Version of ``contract.json``; a reader refuses any other."""

PATH_HASH_FORM = 1
"""Version of what a path hash covers; only a change of meaning raises it."""

PathKind: TypeAlias = Literal["exact", "learned"]


@dataclass(frozen=True, slots=True)
class GraphRef:
    """A file at the root of the bundle, its hash, and the weight shards that it reads.

    ``shards`` holds the SHA-256 of each shard, 64 hexadecimal digits; its file is
    ``shards/<sha256>``.
    """

    file: str
    sha256: str
    shards: tuple[str, ...] = ()

    @property
    def files(self) -> dict[str, str]:
        """Every file that the graph needs, by its name in the bundle, and its SHA-256."""
        return {self.file: self.sha256} | {f"shards/{shard}": shard for shard in self.shards}


@dataclass(frozen=True, slots=True)
class Boundary:
    """A cut at which files part: its stable id and the tensors that cross it."""

    cut: str
    tensors: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Segment:
    """The graph between two neighbouring boundaries."""

    graph: GraphRef


@dataclass(frozen=True, slots=True)
class Level:
    """An operating point: a name for people and one codec configuration a crossing tensor.

    ``codecs[h][t]`` is the configuration for tensor ``t`` of hop ``h``.
    """

    name: str
    codecs: tuple[tuple[Mapping[str, Any], ...], ...]


@dataclass(frozen=True, slots=True)
class Hop:
    """One crossing of the network: from `boundary`, into the segments behind `entry`.

    `encoder` and `decoder` are ``None`` on an exact path. `tensors` is what crosses.
    """

    boundary: int
    entry: int
    tensors: tuple[TensorSpec, ...]
    encoder: GraphRef | None = None
    decoder: GraphRef | None = None


@dataclass(frozen=True, slots=True)
class Path:
    """A way through segments and hops; level 0 is the finest, float32 on an exact path."""

    id: str
    kind: PathKind
    hops: tuple[Hop, ...]
    levels: tuple[Level, ...]


@dataclass(frozen=True, slots=True)
class Postprocess:
    """The graph behind the last segment, which makes a small answer of the model's outputs.

    Attributes
    ----------
    step
        What it computes, one of the closed list (docs/bundle.md).
    tensors
        What it gives.
    """

    step: Mapping[str, Any]
    graph: GraphRef
    tensors: tuple[TensorSpec, ...]


@dataclass(frozen=True, slots=True)
class Contract:
    """Segments, boundaries, paths, pre- and postprocessing and the form of the reply.

    Attributes
    ----------
    preprocess
        Closed declarative list of steps that turn a sample into boundary 0 (docs/bundle.md).
    whole
        The uncut model over the same shards, for ``splitnet verify``.
    reply
        Codec configuration of the reply, one for each tensor of the answer.
    postprocess
        What follows the last segment on either side; ``None`` leaves the outputs as they are.
    """

    name: str
    preprocess: tuple[Mapping[str, Any], ...]
    boundaries: tuple[Boundary, ...]
    segments: tuple[Segment, ...]
    paths: tuple[Path, ...]
    whole: GraphRef
    reply: tuple[Mapping[str, Any], ...]
    postprocess: Postprocess | None = None

    def __post_init__(self) -> None:
        check_contract(self)

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Tensors of boundary 0: the preprocessed sample."""
        return self.boundaries[0].tensors

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Tensors of the last boundary: what the model gives."""
        return self.boundaries[-1].tensors

    @property
    def answers(self) -> tuple[TensorSpec, ...]:
        """Tensors of a reply: the outputs, or what the postprocess graph makes of them."""
        return self.outputs if self.postprocess is None else self.postprocess.tensors

    @property
    def sha256(self) -> str:
        """SHA-256 of the canonical JSON text of the whole contract, in hexadecimal digits."""
        return digest(self.to_json()).hex()

    def path(self, path_id: str) -> Path:
        """Return the path named `path_id` (raises `UnknownNameError`, which lists the known)."""
        known = {path.id: path for path in self.paths}
        if path_id not in known:
            raise UnknownNameError(
                f"unknown path {path_id!r}{nearest(path_id, known)}; "
                f"known: {', '.join(known) or 'none'}"
            )
        return known[path_id]

    def graphs(self, path_id: str) -> tuple[GraphRef, ...]:
        """Return every graph that `path_id` needs on any side, in the order in which they run."""
        graphs: list[GraphRef] = []
        for first, stop, hop in self._legs(self.path(path_id)):
            graphs += [segment.graph for segment in self.segments[first:stop]]
            if hop is not None:
                graphs += [graph for graph in (hop.encoder, hop.decoder) if graph is not None]
        if self.postprocess is not None:
            graphs.append(self.postprocess.graph)
        return tuple(dict.fromkeys(graphs))

    def path_hash(self, path_id: str) -> bytes:
        """Return the SHA-256 of all that both sides must share to serve `path_id` (32 bytes).

        Names for people (of path, level, cut and file), other paths and all advice stay outside,
        so changing them does not part an old edge from a new cloud (docs/bundle.md, "Hashes").
        """
        path, last = self.path(path_id), self.postprocess
        after = last and {"op": last.step["op"], "graph": _content(last.graph), "to": last.tensors}
        return digest(
            {
                "form": PATH_HASH_FORM,
                "preprocess": self.preprocess,
                "boundaries": [boundary.tensors for boundary in self.boundaries],
                "segments": [
                    [i, _content(self.segments[i].graph)]
                    for first, stop, _ in self._legs(path)
                    for i in range(first, stop)
                ],
                "hops": [
                    {
                        "boundary": hop.boundary,
                        "entry": hop.entry,
                        "tensors": hop.tensors,
                        "encoder": hop.encoder and _content(hop.encoder),
                        "decoder": hop.decoder and _content(hop.decoder),
                    }
                    for hop in path.hops
                ],
                "levels": [level.codecs for level in path.levels],
                "reply": self.reply,
                **({"postprocess": after} if after else {}),
            }
        )

    def to_json(self) -> dict[str, Any]:
        """Return the content of ``contract.json``; what there is not is left out."""
        content = {"version": CONTRACT_VERSION, **to_json(self)}
        if self.postprocess is None:
            del content["postprocess"]
        return content

    @classmethod
    def from_json(cls, data: Any) -> Contract:
        """Return the contract in `data`, the parsed content of ``contract.json``.

        Raises
        ------
        BundleError
            Another version, an unknown key, a wrong type or value; the message names its place.
        """
        return Reader("contract.json", CONTRACT_VERSION, refuse_unknown=True).read(cls, data)

    def _legs(self, path: Path) -> Iterator[tuple[int, int, Hop | None]]:
        """Yield ``(first, stop, hop)``: the segments that run before each hop and after all."""
        first = 0
        for hop in path.hops:
            yield first, hop.boundary, hop
            first = hop.entry
        yield first, len(self.segments), None


def _content(ref: GraphRef) -> list[Any]:
    return [ref.sha256, ref.shards]
