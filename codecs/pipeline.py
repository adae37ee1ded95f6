"""Several codecs one after the other: a pipeline is a codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from splitnet.codecs.base import (
    NO_CONTEXT,
    Array,
    Buffer,
    Codec,
    Context,
    Header,
    check_parts,
    tables_of,
)
from splitnet.codecs.making import make_codec
from splitnet.codecs.store import Store
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError, CorruptPayloadError

Layout: TypeAlias = tuple[int, list[tuple[int, Header]], Header]
"""Length of all sides, that of each with the header in front of it, and the header of the rest."""

_STORE = Store()


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """Configurations of the stages, the one that sees the array first."""

    codecs: tuple[Mapping[str, Any], ...] = ({"id": "store"},)

    def __post_init__(self) -> None:
        if not self.codecs:
            raise CodecError("pipeline: codecs is empty, must name at least one")


class Pipeline(Codec):
    """Transforms, then one last stage of any kind.

    The payload is the sides of the transforms one behind the other, then what the last stage
    makes of the array that is left. A bytewise last stage gets the sides and the bytes of that
    array as one run of bytes.
    """

    id = "pipeline"
    Config = PipelineConfig

    def __init__(self, config: PipelineConfig | None = None) -> None:
        super().__init__(config)
        *front, self._last = (make_codec(stage) for stage in self.config.codecs)
        self._transforms: list[Transform] = []
        for stage in front:
            if not isinstance(stage, Transform):
                raise CodecError(f"pipeline: {stage.id!r} is no transform, it must come last")
            self._transforms.append(stage)

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of each table that a stage needs."""
        return tables_of([*self._transforms, self._last])

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return the sides and what the last stage makes of the rest of `array`."""
        sides, array = self._split(array, context)
        if self._last.bytewise and self._transforms:
            run = b"".join([*sides, _STORE.encode(array)])
            return self._last.encode(np.frombuffer(run, np.uint8), context)
        return b"".join([*sides, self._last.encode(array, context)])

    @property
    def parts(self) -> int:
        """Those of the last stage; the sides go with its first."""
        return self._last.parts

    def encode_parts(self, array: Array, context: Context = NO_CONTEXT) -> list[bytes]:
        """Return the parts of the last stage, the sides in front of the first."""
        if self.parts == 1:
            return [self.encode(array, context)]
        sides, array = self._split(array, context)
        base, *refinements = self._last.encode_parts(array, context)
        return [b"".join([*sides, base]), *refinements]

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`, undoing the stages from the last to the first."""
        return self.decode_batch([data], [header], context)[0]

    def decode_batch(
        self, datas: Sequence[Buffer], headers: Sequence[Header], context: Context = NO_CONTEXT
    ) -> list[Array]:
        """Return the arrays of `headers`; the last stage sees all payloads at once."""
        layouts = [self._layout(header) for header in headers]
        sides: list[memoryview] = []
        rests: list[Array]
        if self._last.bytewise and self._transforms:
            runs = [Header("uint8", (length + left.nbytes,)) for length, _, left in layouts]
            whole = [run.data for run in self._last.decode_batch(datas, runs, context)]
            sides = [run[:length] for run, (length, _, _) in zip(whole, layouts, strict=True)]
            rests = [
                _STORE.decode(run[length:], left)
                for run, (length, _, left) in zip(whole, layouts, strict=True)
            ]
        else:
            sides, views = _cut(datas, layouts)
            rests = self._last.decode_batch(views, [left for _, _, left in layouts], context)
        return self._join_all(sides, rests, layouts, context)

    def decode_parts_batch(
        self,
        batch: Sequence[Sequence[Buffer]],
        headers: Sequence[Header],
        context: Context = NO_CONTEXT,
    ) -> list[Array]:
        """Return the arrays of `headers`; the last stage sees the parts of all at once."""
        if self.parts == 1:
            return super().decode_parts_batch(batch, headers, context)
        check_parts(self.id, batch, self.parts)
        layouts = [self._layout(header) for header in headers]
        sides, bases = _cut([parts[0] for parts in batch], layouts)
        rests = self._last.decode_parts_batch(
            [[base, *parts[1:]] for base, parts in zip(bases, batch, strict=True)],
            [left for _, _, left in layouts],
            context,
        )
        return self._join_all(sides, rests, layouts, context)

    def encoded_header(self, header: Header) -> Header | None:
        """Return the sides and what the last stage says of the array that is left."""
        length, _, left = self._layout(header)
        last = self._last.encoded_header(left)
        return None if last is None else Header("uint8", (length + last.size,))

    def _split(self, array: Array, context: Context) -> tuple[list[bytes], Array]:
        """Return the sides of all transforms, and the array that is left."""
        sides = []
        for transform in self._transforms:
            side, array = transform.split(array, context)
            sides.append(side)
        return sides, array

    def _layout(self, header: Header) -> Layout:
        """Return the length of all sides, each with the header in front of it, and what is left."""
        seen = []
        for transform in self._transforms:
            length, inner = transform.layout(header)
            seen.append((length, header))
            header = inner
        return sum(length for length, _ in seen), seen, header

    def _join_all(
        self,
        sides: Sequence[memoryview],
        rests: Sequence[Array],
        layouts: Sequence[Layout],
        context: Context,
    ) -> list[Array]:
        return [
            self._join(side, rest, seen, context)
            for side, rest, (_, seen, _) in zip(sides, rests, layouts, strict=True)
        ]

    def _join(
        self, side: memoryview, array: Array, seen: list[tuple[int, Header]], context: Context
    ) -> Array:
        for transform, (length, header) in zip(reversed(self._transforms), seen[::-1], strict=True):
            own = side[len(side) - length :]
            array = transform.join(own, array, header, context)
            side = side[: len(side) - length]
        return array


def _cut(
    datas: Sequence[Buffer], layouts: Sequence[Layout]
) -> tuple[list[memoryview], list[memoryview]]:
    """Return the sides of each payload, and what the last stage made."""
    views = [memoryview(data) for data in datas]
    for view, (length, _, _) in zip(views, layouts, strict=True):
        if len(view) < length:
            raise CorruptPayloadError(f"pipeline: {len(view)} bytes, the sides alone have {length}")
    pairs = list(zip(views, layouts, strict=True))
    return [view[: layout[0]] for view, layout in pairs], [
        view[layout[0] :] for view, layout in pairs
    ]
