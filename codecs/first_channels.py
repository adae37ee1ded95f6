"""The first channels of a tensor: fewer of them where the link allows less."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Context, Header, header_of
from splitnet.codecs.quantiser import CHANNEL_AXIS
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError


@dataclass(frozen=True, slots=True)
class FirstChannelsConfig:
    """How many channels (axis 1) are kept, at least 1."""

    channels: int

    def __post_init__(self) -> None:
        if self.channels < 1:
            raise CodecError(f"first-channels: channels is {self.channels}, must be at least 1")


class FirstChannels(Transform):
    """Keeps the first channels, makes the others zero.

    For latents whose channels were ordered in training: each prefix of them is of use.
    """

    id = "first-channels"
    Config = FirstChannelsConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the first channels."""
        self.layout(header_of(array))
        return b"", array[:, : self.config.channels]

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return `inner` with zeros for the other channels."""
        array = np.zeros(header.shape, header.dtype)
        array[:, : self.config.channels] = inner
        return array

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and the header of the first channels."""
        shape, kept = header.shape, self.config.channels
        if len(shape) <= CHANNEL_AXIS or shape[CHANNEL_AXIS] < kept:
            raise CodecError(
                f"first-channels: {kept} channels of {shape}, whose axis {CHANNEL_AXIS} must have "
                "as many"
            )
        first = (*shape[:CHANNEL_AXIS], kept, *shape[CHANNEL_AXIS + 1 :])
        return 0, Header(header.dtype, first)
