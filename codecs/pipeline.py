"""Several codecs one after the other: a pipeline is a codec."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Codec, Context, Header
from splitnet.codecs.making import make_codec
from splitnet.errors import CodecError


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """Configurations of the stages, the one that sees the array first."""

    codecs: tuple[Mapping[str, Any], ...] = ({"id": "store"},)

    def __post_init__(self) -> None:
        if not self.codecs:
            raise CodecError("pipeline: codecs is empty, must name at least one")


class Pipeline(Codec):
    """The first stage turns the array into bytes, each further one bytes into bytes.

    Every stage but the last must make bytes of a size that follows from the header alone.
    """

    id = "pipeline"
    Config = PipelineConfig

    def __init__(self, config: PipelineConfig | None = None) -> None:
        super().__init__(config)
        self._stages = [make_codec(stage) for stage in self.config.codecs]

    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return what the last stage makes of `array`."""
        first, *others = self._stages
        data = first.encode(array, context)
        for stage in others:
            data = stage.encode(np.frombuffer(data, np.uint8), context)
        return data

    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`, undoing the stages from the last to the first."""
        headers = self._headers(header)
        for stage, bytes_header in zip(self._stages[:0:-1], headers[:0:-1], strict=True):
            data = stage.decode(data, bytes_header, context).data
        return self._stages[0].decode(data, header, context)

    def encoded_header(self, header: Header) -> Header | None:
        """Return what the last stage says of the bytes in front of it."""
        return self._stages[-1].encoded_header(self._headers(header)[-1])

    def _headers(self, header: Header) -> list[Header]:
        """Return the header of what each stage sees."""
        headers = [header]
        for stage in self._stages[:-1]:
            encoded = stage.encoded_header(headers[-1])
            if encoded is None:
                raise CodecError(
                    f"pipeline: the size of what {stage.id!r} makes varies, it must come last"
                )
            headers.append(encoded)
        return headers
