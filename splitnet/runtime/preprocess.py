"""Preprocessing: a closed, declarative list of steps that turns a sample into a network's input.

Each step is a JSON object such as ``{"op": "resize", "size": 256}``; docs/bundle.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from splitnet.config import nearest
from splitnet.errors import ConfigError, TensorMismatchError
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
    check_steps(steps)
    return tuple(steps)


def check_steps(steps: Sequence[Step]) -> None:
    """Raise `ConfigError` unless every step is known and complete."""
    for step in steps:
        name = step.get("op")
        if name not in _OPERATIONS:
            raise ConfigError(
                f"unknown preprocessing step {name!r}{nearest(str(name), _OPERATIONS)}; "
                f"known: {', '.join(_OPERATIONS)}"
            )
        operation = _OPERATIONS[name]
        for key in step.keys() - {"op"} - operation.keys.keys():
            raise ConfigError(f"step {name!r}: unknown key {key!r}{nearest(key, operation.keys)}")
        for key in operation.required - step.keys():
            raise ConfigError(f"step {name!r}: the key {key!r} is missing")
        for key in operation.keys.keys() & step.keys():
            if not operation.keys[key](step[key]):
                raise ConfigError(f"step {name!r}: {step[key]!r} is no value for {key!r}")


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
        sample = _OPERATIONS[step["op"]].apply(sample, step)
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
    height, width = (size, size) if isinstance(size, int) else size
    ratio = min(height / image.shape[0], width / image.shape[1])
    inner = _to_size(
        image, max(1, int(image.shape[0] * ratio)), max(1, int(image.shape[1] * ratio))
    )
    fill = step.get("fill", LETTERBOX_FILL)
    framed = np.full((height, width, *image.shape[2:]), fill, dtype=image.dtype)
    framed[: inner.shape[0], : inner.shape[1]] = inner
    return framed


def _scale(image: Array, step: Step) -> Array:
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


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and np.isfinite(value)


def _is_divisor(value: Any) -> bool:
    return _is_number(value) and value > 0


def _is_length(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_size(value: Any) -> bool:
    pair = isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_length, value))
    return pair or _is_length(value)


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and bool(value) and all(map(_is_number, value))


def _are_divisors(value: Any) -> bool:
    return _are_numbers(value) and all(map(_is_divisor, value))


def _is_chw(value: Any) -> bool:
    return bool(value == "CHW")


@dataclass(frozen=True, slots=True)
class _Operation:
    apply: Callable[[Array, Step], Array]
    keys: Mapping[str, Callable[[Any], bool]]
    optional: frozenset[str] = frozenset()

    @property
    def required(self) -> frozenset[str]:
        return frozenset(self.keys) - self.optional


_OPERATIONS: Mapping[str, _Operation] = {
    "resize": _Operation(_resize, {"size": _is_size}),
    "crop": _Operation(_crop, {"size": _is_length}),
    "letterbox": _Operation(
        _letterbox, {"size": _is_size, "fill": _is_number}, frozenset({"fill"})
    ),
    "scale": _Operation(_scale, {"by": _is_divisor}),
    "mean": _Operation(_normalise, {"mean": _are_numbers, "std": _are_divisors}),
    "layout": _Operation(_layout, {"to": _is_chw}),
}


def _argument(item: str, name: str, value: str) -> Step:
    """Return the keys of a step from its text, ``size`` as ``S`` or ``HxW``."""
    if name in ("resize", "crop", "letterbox"):
        sizes = [_number(item, part, int) for part in value.split("x")]
        return {"size": sizes[0] if len(sizes) == 1 else sizes}
    if name == "scale":
        return {"by": _number(item, value, float)}
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
