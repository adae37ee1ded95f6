"""A network's input as the pixels that it was made of: floats to uint8 and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np

from splitnet.codecs.base import NO_CONTEXT, Array, Buffer, Context, Header, header_of
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError

_CHANNELS = (1, 3)
_TOP = 255


@dataclass(frozen=True, slots=True)
class PixelsConfig:
    """The preprocessing that is undone: a pixel p became ``(p / scale - mean) / std``.

    Attributes
    ----------
    mean, std
        One value, or one a channel.
    """

    scale: float = 255.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        numbers = (self.scale, *self.mean, *self.std)
        if not all(isfinite(number) for number in numbers) or min(self.scale, *self.std) <= 0:
            raise CodecError("pixels: scale and std must be above 0, and all numbers finite")
        if len(self.mean) != len(self.std) or len(self.mean) not in _CHANNELS:
            raise CodecError(
                f"pixels: {len(self.mean)} means and {len(self.std)} std, must be 1 or 3 of both"
            )


class Pixels(Transform):
    """Turns float32 ``(1, C, H, W)`` or ``(C, H, W)`` into uint8 ``(H, W, C)``, C being 1 or 3.

    Pixels are rounded to whole numbers; what preprocessing made of whole numbers is restored bit
    by bit, since the same operations on float32 are repeated. A value that is further than half a
    pixel from the range 0 to 255 was not made so and is refused.
    """

    id = "pixels"
    Config = PixelsConfig

    def split(self, array: Array, context: Context = NO_CONTEXT) -> tuple[bytes, Array]:
        """Return no side and the image."""
        header = header_of(array)
        _, inner = self.layout(header)
        image = array.reshape(header.shape[-3:]).transpose(1, 2, 0).astype(np.float64)
        mean, std = np.array(self.config.mean), np.array(self.config.std)
        pixels = np.rint((image * std + mean) * self.config.scale)
        low, high = float(pixels.min(initial=0)), float(pixels.max(initial=0))
        if not (isfinite(low) and isfinite(high)):
            raise CodecError("pixels: the array holds NaN or infinity, which are no pixels")
        if low < 0 or high > _TOP:
            raise CodecError(
                f"pixels: values from {low:g} to {high:g} were found, a pixel exceeds 0 to {_TOP}; "
                "scale, mean and std must be those of the preprocessing"
            )
        return b"", pixels.astype(np.uint8).reshape(inner.shape)

    def join(
        self, side: Buffer, inner: Array, header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the preprocessed image."""
        values = inner.astype(np.float32) / np.float32(self.config.scale)
        if any(self.config.mean) or any(std != 1 for std in self.config.std):
            mean, std = (np.array(v, np.float32) for v in (self.config.mean, self.config.std))
            values = (values - mean) / std
        return np.ascontiguousarray(values.transpose(2, 0, 1)).reshape(header.shape)

    def layout(self, header: Header) -> tuple[int, Header]:
        """Return no side and the header of the image."""
        if header.dtype != "float32":
            raise CodecError(f"pixels: {header.dtype} is refused, only float32")
        shape = header.shape
        channels = (3,) if len(self.config.mean) == 3 else _CHANNELS
        if len(shape) not in (3, 4) or shape[-3] not in channels or shape[:-3] not in ((), (1,)):
            raise CodecError(
                f"pixels: shape {shape} is no image, (1, C, H, W) or (C, H, W) is, with C "
                f"{' or '.join(map(str, channels))}"
            )
        return 0, Header("uint8", (*shape[-2:], shape[-3]))


def pixels_config(steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the configuration that undoes the preprocessing `steps` of a contract.

    Raises
    ------
    CodecError
        The steps do not lead from whole pixels through one scale, and a mean or none, to CHW.
    """
    found: dict[str, Any] = {"id": "pixels"}
    order = [step["op"] for step in steps]
    values = [op for op in order if op in ("scale", "mean", "layout")]
    shrinks_floats = "scale" in order and order[order.index("scale") :] != values
    if values not in (["scale", "layout"], ["scale", "mean", "layout"]) or shrinks_floats:
        raise CodecError(
            f"pixels: the steps {', '.join(order) or '(none)'} cannot be undone; whole pixels must "
            "go through scale, mean or no mean, and layout, in this order and last"
        )
    for step in steps:
        if step["op"] == "scale":
            found["scale"] = float(step["by"])
        if step["op"] == "mean":
            found |= {"mean": list(step["mean"]), "std": list(step["std"])}
    return found
