"""Preprocessing: a closed, declarative list of steps that turns a sample into a network's input.

Each step is a JSON object such as ``{"op": "resize", "size": 256}``; docs/bundle.md lists them, and
`splitnet.bundle.preprocessing` checks them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.bundle.preprocessing import check_step
from splitnet.errors import BundleError, ConfigError, TensorMismatchError
from splitnet.values import DTYPE_BYTES

Array: TypeAlias = NDArray[Any]
Step: TypeAlias = Mapping[str, Any]

BYTE_RANGE = 255.0
LETTERBOX_FILL = 114
"""The grey that YOLOX and its relatives pad with."""


def parse_steps(text: str) -> tuple[Step, ...]:
    """Parse the command line's form of the steps.

    Examples
    --------
    >>> parse_steps("resize=256,crop=224,scale=255,layout=chw")[1]
    {'op': 'crop', 'size': 224}

    Raises
    ------
    ConfigError
        An unknown step or a value that it does not take.
    """
    steps: list[Step] = []
    for item in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = item.partition("=")
        if name == "std" and steps and steps[-1]["op"] == "mean" and "std" not in steps[-1]:
            steps[-1] = {**steps[-1], "std": _numbers(item, value)}
        elif name == "mean":
            steps.append({"op": "mean", "mean": _numbers(item, value)})
        else:
            steps.append({"op": name, **_argument(item, name, value)})
    for number, step in enumerate(steps):
        try:
            check_step(step, f"preprocessing step {number}")
        except BundleError as error:
            raise ConfigError(str(error)) from None
    return tuple(steps)


def default_steps(sample_dtype: str) -> tuple[Step, ...]:
    """Return the steps for samples of a dtype: bytes are scaled to [0, 1], floats are kept."""
    if sample_dtype == "uint8":
        return ({"op": "scale", "by": BYTE_RANGE}, {"op": "layout", "to": "CHW"})
    return ()


def prepare(sample: Array, steps: Sequence[Step]) -> Array:
    """Return `sample` after all `steps`, with a batch dimension of 1 in front.

    Parameters
    ----------
    sample
        ``(H, W)`` or ``(H, W, C)``, uint8 or float32, where a step looks at pixels; any array
        without steps.

    Raises
    ------
    TensorMismatchError
        The sample has a rank, a dtype or a size that a step cannot work on.
    """
    if sample.dtype.name not in DTYPE_BYTES:
        raise TensorMismatchError(
            f"a sample of dtype {sample.dtype} is not accepted; use one of {', '.join(DTYPE_BYTES)}"
        )
    for step in steps:
        if sample.ndim not in (2, 3):
            raise TensorMismatchError(
                f"a sample of shape {sample.shape} is not an image; (H, W) or (H, W, C) is needed"
            )
        sample = _OPERATIONS[step["op"]](sample, step)
    return np.ascontiguousarray(sample)[np.newaxis]


def _resize(image: Array, step: Step) -> Array:
    size = step["size"]
    if not isinstance(size, int):
        return _to_size(image, size[0], size[1])
    height, width = image.shape[:2]
    if height <= width:
        return _to_size(image, size, max(1, int(size * width / height)))
    return _to_size(image, max(1, int(size * height / width)), size)


def _crop(image: Array, step: Step) -> Array:
    size = step["size"]
    height, width = image.shape[:2]
    if height < size or width < size:
        raise TensorMismatchError(
            f"an image of {height}x{width} pixels is too small for a crop of {size}; resize first"
        )
    top, left = (height - size) // 2, (width - size) // 2
    return image[top : top + size, left : left + size]


def _letterbox(image: Array, step: Step) -> Array:
    """Shrink or grow to fit, keep the aspect, put it in the top left corner (as YOLOX does)."""
    size = step["size"]
    frame = (size, size) if isinstance(size, int) else tuple(size)
    ratio = min(side / own for side, own in zip(frame, image.shape[:2], strict=True))
    height, width = (max(1, int(side * ratio)) for side in image.shape[:2])
    inner = _to_size(image, height, width)
    fill = step.get("fill", LETTERBOX_FILL)
    framed = np.full((*frame, *image.shape[2:]), fill, dtype=image.dtype)
    framed[:height, :width] = inner
    return framed


def _channels(image: Array, step: Step) -> Array:
    """Turn red, green, blue into blue, green, red, as networks want that were trained by OpenCV."""
    del step
    if image.ndim != 3 or image.shape[2] != 3:
        raise TensorMismatchError(
            f"step 'channels' needs an image of 3 channels, (H, W, 3), found {image.shape}; put it "
            "before layout, or give colour images"
        )
    return image[:, :, ::-1]


def _scale(image: Array, step: Step) -> Array:
    if image.dtype.kind not in "ui":
        raise TensorMismatchError(
            f"step 'scale' needs whole numbers, the sample is {image.dtype}; give uint8 samples, "
            "or build the bundle without scale"
        )
    return image.astype(np.float32) / np.float32(step["by"])


def _normalise(image: Array, step: Step) -> Array:
    channels = image.shape[2] if image.ndim == 3 else 1
    mean, std = (np.asarray(step[key], np.float32) for key in ("mean", "std"))
    if len(mean) != channels or len(std) != channels:
        raise TensorMismatchError(
            f"mean and std have {len(mean)} and {len(std)} values, the sample has "
            f"{channels} channels"
        )
    if image.dtype != np.float32:
        raise TensorMismatchError(
            f"step 'mean' needs float32, the sample is {image.dtype}; put scale first"
        )
    return (image - mean) / std


def _layout(image: Array, step: Step) -> Array:
    del step
    return image[np.newaxis] if image.ndim == 2 else image.transpose(2, 0, 1)


def _to_size(image: Array, height: int, width: int) -> Array:
    """Resize bilinearly, with Pillow's antialiasing when shrinking."""
    if image.shape[:2] == (height, width):
        return image
    if image.dtype.name not in ("uint8", "float32"):
        raise TensorMismatchError(f"only uint8 and float32 images are resized, not {image.dtype}")
    from PIL import Image

    if image.ndim == 3 and not (image.dtype == np.uint8 and image.shape[2] == 3):
        planes = [_to_size(image[:, :, c], height, width) for c in range(image.shape[2])]
        return np.stack(planes, axis=2)
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


_OPERATIONS: Mapping[str, Callable[[Array, Step], Array]] = {
    "resize": _resize,
    "crop": _crop,
    "letterbox": _letterbox,
    "channels": _channels,
    "scale": _scale,
    "mean": _normalise,
    "layout": _layout,
}


def _argument(item: str, name: str, value: str) -> Step:
    """Return the keys of a step from its text, ``size`` as ``S`` or ``HxW``."""
    if name in ("resize", "crop", "letterbox"):
        sizes = [_number(item, part, int) for part in value.split("x")]
        fill = {"fill": LETTERBOX_FILL} if name == "letterbox" else {}
        return {"size": sizes[0] if len(sizes) == 1 else sizes, **fill}
    if name == "scale":
        return {"by": _number(item, value, float)}
    if name == "channels":
        return {"order": value.upper()}
    if name == "layout":
        return {"to": value.upper()}
    if name == "std":
        raise ConfigError(f"preprocessing {item!r} must follow mean=...")
    return {}


def _numbers(item: str, value: str) -> list[float]:
    return [_number(item, part, float) for part in value.split(":")]


def _number(item: str, text: str, kind: type[int] | type[float]) -> Any:
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"preprocessing {item!r}: {text!r} is not a number") from None
