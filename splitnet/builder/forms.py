"""Forms of a model's inputs, said by the user or declared by a file, and random samples."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray

from splitnet.builder.data import SPLIT, Dataset, Roles
from splitnet.builder.onnx_file import open_onnx
from splitnet.builder.torch_export import load_program
from splitnet.errors import ConfigError
from splitnet.runtime.inputs import positional_names
from splitnet.runtime.samples import Samples
from splitnet.values import DTYPE_BYTES

Array: TypeAlias = NDArray[Any]

UNSAID_SIZE = 16
"""Size of a dynamic dimension about which nothing is said."""

RANDOM = "random"
"""Data that needs no file: a bundle of it proves the cuts and measures times."""

RANDOM_SAMPLES = 8

_DIM = re.compile(r"(?:([A-Za-z_]\w*)=)?(\d+)")


@dataclass(frozen=True, slots=True)
class InputForm:
    """One input of a model, for one sample.

    Attributes
    ----------
    dtype
        Its dtype.
    sizes
        Its dimensions, the batch of 1 first.
    names
        Names of the dynamic ones among them besides the batch, by axis.
    """

    dtype: str
    sizes: tuple[int, ...]
    names: Mapping[int, str] = field(default_factory=dict)


def parse_form(text: str) -> InputForm:
    """Return the form that `text` describes.

    Examples
    --------
    >>> parse_form("int64:1xT=16")
    InputForm(dtype='int64', sizes=(1, 16), names={1: 'T'})

    Raises
    ------
    ConfigError
        It describes none.
    """
    dtype, _, dims = text.partition(":")
    found = [_DIM.fullmatch(dim) for dim in dims.split("x")]
    if dtype not in DTYPE_BYTES or not all(found):
        raise ConfigError(
            f"the input {text!r} is not understood: give dtype and sizes of one sample with its "
            f"batch, such as float32:1x3x224x224 or int64:1xT=16; dtypes: {', '.join(DTYPE_BYTES)}"
        )
    sizes = tuple(int(match[2]) for match in found if match)
    if sizes[0] != 1 or 0 in sizes:
        raise ConfigError(f"the input {text!r} is not one sample: its sizes begin with 1x")
    return InputForm(dtype, sizes, {i: m[1] for i, m in enumerate(found) if m and m[1]})


def declared_forms(spec: str) -> tuple[InputForm, ...]:
    """Return what a file says of its inputs; nothing for a model that is no file.

    A dynamic dimension has `UNSAID_SIZE` elements.

    Raises
    ------
    ConfigError
        There is no such file.
    ModelError
        It is damaged.
    """
    if spec.endswith(".onnx"):
        return tuple(map(_port_form, open_onnx(Path(spec)).graph.input))
    if spec.endswith(".pt2"):
        example = load_program(Path(spec)).example_inputs
        arrays = [] if example is None else [tensor.numpy() for tensor in example[0]]
        return tuple(InputForm(a.dtype.name, (1, *a.shape[1:])) for a in arrays)
    return ()


def input_names(spec: str) -> tuple[str, ...]:
    """Return the names of an ONNX file's inputs in their order; nothing for other models."""
    if not spec.endswith(".onnx"):
        return ()
    return tuple(port.name for port in open_onnx(Path(spec)).graph.input)


def random_inputs(forms: Sequence[InputForm], count: int, seed: int = 0) -> list[Array]:
    """Return `count` random samples, ``(count, ...)`` for each input.

    Floats are standard normal. Whole numbers are 0 or 1: any table has two rows.
    """
    chance = np.random.default_rng(seed)
    arrays: list[Array] = []
    for form in forms:
        shape, dtype = (count, *form.sizes[1:]), np.dtype(form.dtype)
        if dtype.kind == "f":
            arrays.append(chance.standard_normal(shape).astype(dtype))
        else:
            arrays.append(chance.integers(0, 2, shape).astype(dtype))
    return arrays


def known_forms(spec: str, given: Sequence[InputForm]) -> tuple[InputForm, ...]:
    """Return the inputs of a model: those `given`, else what its file declares.

    Raises
    ------
    ConfigError
        Nothing is known of them, or there is no such file.
    ModelError
        The file is damaged.
    """
    known = tuple(given) or declared_forms(spec)
    if not known:
        raise ConfigError(
            f"nothing is known of the inputs of {spec}: give --input for each, such as "
            "--input float32:1x3x224x224"
        )
    return known


def random_roles(data: str, forms: Sequence[InputForm], seed: int) -> Roles:
    """Return random samples for each role; `data` is ``random`` or ``random:COUNT``.

    Raises
    ------
    ConfigError
        The count is not understood.
    """
    _, _, text = data.partition(":")
    if not (text or str(RANDOM_SAMPLES)).isdecimal() or text == "0":
        raise ConfigError(f"{data}: give the number of samples, such as random:{RANDOM_SAMPLES}")
    count = int(text or RANDOM_SAMPLES)
    sets = []
    for number, role in enumerate(SPLIT):
        first, *more = random_inputs(forms, count, seed + number)
        further = dict(zip(positional_names(len(more) + 1)[1:], more, strict=True))
        sets.append(Dataset(Samples(list(first), more=further), f"{RANDOM} ({role})"))
    note = "samples are random: times and the proof mean something, accuracies do not"
    training, calibration, test = sets
    return Roles(training, calibration, test, notes=(note,))


def _port_form(port: onnx.ValueInfoProto) -> InputForm:
    kind = port.type.tensor_type
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type).name
    dims = list(kind.shape.dim)[1:]
    sizes = tuple(dim.dim_value or UNSAID_SIZE for dim in dims)
    names = {axis: dim.dim_param for axis, dim in enumerate(dims, 1) if dim.dim_param}
    return InputForm(dtype, (1, *sizes), names)
