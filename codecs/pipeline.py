"""Several codecs one after the other: a pipeline is a codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header, tables_of
from splitnet.codecs.making import make_codec
from splitnet.codecs.store import Store
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError, CorruptPayloadError

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
        sides = []
        for transform in self._transforms:
            side, array = transform.split(array, context)
            sides.append(side)
        if self._last.bytewise and self._transforms:
            run = b"".join([*sides, _STORE.encode(array)])
            return self._last.encode(np.frombuffer(run, np.uint8), context)
        return b"".join([*sides, self._last.encode(array, context)])

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
            views = [memoryview(data) for data in datas]
            for view, (length, _, _) in zip(views, layouts, strict=True):
                if len(view) < length:
                    raise CorruptPayloadError(
                        f"pipeline: {len(view)} bytes, the sides alone have {length}"
                    )
                sides.append(view[:length])
            rests = self._last.decode_batch(
                [view[length:] for view, (length, _, _) in zip(views, layouts, strict=True)],
                [left for _, _, left in layouts],
                context,
            )
        return [
            self._join(side, rest, seen, context)
            for side, rest, (_, seen, _) in zip(sides, rests, layouts, strict=True)
        ]

    def encoded_header(self, header: Header) -> Header | None:
        """Return the sides and what the last stage says of the array that is left."""
        length, _, left = self._layout(header)
        last = self._last.encoded_header(left)
        return None if last is None else Header("uint8", (length + last.size,))

    def _layout(self, header: Header) -> tuple[int, list[tuple[int, Header]], Header]:
        """Return the length of all sides, each with the header in front of it, and what is left."""
        seen = []
        for transform in self._transforms:
            length, inner = transform.layout(header)
            seen.append((length, header))
            header = inner
        return sum(length for length, _ in seen), seen, header

    def _join(
        self, side: memoryview, array: Array, seen: list[tuple[int, Header]], context: Context
    ) -> Array:
        for transform, (length, header) in zip(reversed(self._transforms), seen[::-1], strict=True):
            own = side[len(side) - length :]
            array = transform.join(own, array, header, context)
            side = side[: len(side) - length]
        return array
