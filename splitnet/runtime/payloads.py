"""Tensors of one sample to a payload and back, through the codecs of a hop or of the reply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from math import prod
from typing import Any, TypeAlias

from numpy.typing import NDArray

from splitnet.codecs.base import NO_CONTEXT, Buffer, Context, Header, check_parts
from splitnet.codecs.making import count_parts, make_codec
from splitnet.codecs.packing import pack, unpack
from splitnet.errors import CodecError, CorruptPayloadError, TensorMismatchError
from splitnet.values import DTYPE_BYTES, TensorSpec

Array: TypeAlias = NDArray[Any]
CodecConfigs: TypeAlias = Sequence[Mapping[str, Any]]
"""One codec configuration a tensor, as a contract holds them."""

MAX_TENSOR_BYTES = 1 << 28
"""Bound on one decoded tensor, so that dimensions from the network cannot exhaust the memory."""


@contextmanager
def naming(path_id: str, level: int) -> Iterator[None]:
    """Put path and level in front of what a codec says."""
    try:
        yield
    except CodecError as error:
        error.args = (f"path {path_id}, level {level}: {error}", *error.args[1:])
        raise


def encode_tensors(
    hop_codecs: CodecConfigs, arrays: Sequence[Array], context: Context = NO_CONTEXT
) -> bytes:
    """Return the payload of the tensors of one sample, ``(1, ...)`` each.

    Raises
    ------
    CodecError
        A codec refuses its tensor (for instance because of NaN).
    """
    if len(hop_codecs) != len(arrays):
        raise TensorMismatchError(f"{len(arrays)} tensors for {len(hop_codecs)} codecs")
    pairs = zip(hop_codecs, arrays, strict=True)
    return pack([make_codec(config).encode(array, context) for config, array in pairs])


def encode_refinements(
    hop_codecs: CodecConfigs, arrays: Sequence[Array], context: Context = NO_CONTEXT
) -> list[bytes]:
    """Return the refinements of the payload of one sample, the base first; often that is all.

    A refinement holds one part of every tensor; nothing of one whose codec makes no more parts.

    Raises
    ------
    CodecError
        As `encode_tensors`.
    """
    if len(hop_codecs) != len(arrays):
        raise TensorMismatchError(f"{len(arrays)} tensors for {len(hop_codecs)} codecs")
    pairs = zip(hop_codecs, arrays, strict=True)
    parts = [make_codec(config).encode_parts(array, context) for config, array in pairs]
    return [pack(refinement) for refinement in zip_longest(*parts, fillvalue=b"")]


def decode_refinements(
    hop_codecs: CodecConfigs,
    specs: Sequence[TensorSpec],
    payloads: Sequence[Sequence[Buffer]],
    dims: Sequence[Sequence[int]],
    context: Context = NO_CONTEXT,
) -> list[list[Array]]:
    """Return the tensors of each sample from the first refinements of it, those that arrived.

    Raises
    ------
    CodecError, TensorMismatchError
        As `decode_samples`; also with more refinements than the codecs make.
    """
    headers = [_headers(specs, sizes) for sizes in dims]
    codecs = [make_codec(config) for config in hop_codecs]
    check_parts("payload", payloads, count_parts(hop_codecs))
    parts = [[unpack(data, len(specs)) for data in refinements] for refinements in payloads]
    columns = [
        codec.decode_parts_batch(
            [[unpacked[number] for unpacked in sample[: codec.parts]] for sample in parts],
            [of_sample[number] for of_sample in headers],
            context,
        )
        for number, codec in enumerate(codecs)
    ]
    return [list(tensors) for tensors in zip(*columns, strict=True)]


def decode_tensors(
    hop_codecs: CodecConfigs,
    specs: Sequence[TensorSpec],
    data: Buffer,
    dims: Sequence[int],
    context: Context = NO_CONTEXT,
) -> list[Array]:
    """Return the tensors of one sample, ``(1, ...)`` each, from a payload.

    Parameters
    ----------
    dims
        Values of the dynamic dimensions, in the order of `dynamic_names`.

    Raises
    ------
    CodecError
        The payload is damaged.
    TensorMismatchError
        The dimensions do not fit the specification.
    """
    return decode_samples(hop_codecs, specs, [data], [dims], context)[0]


def decode_samples(
    hop_codecs: CodecConfigs,
    specs: Sequence[TensorSpec],
    datas: Sequence[Buffer],
    dims: Sequence[Sequence[int]],
    context: Context = NO_CONTEXT,
) -> list[list[Array]]:
    """Return what `decode_tensors` makes of each payload; codecs see all payloads at once.

    Raises
    ------
    CodecError, TensorMismatchError
        As `decode_tensors`, for any of them.
    """
    headers = [_headers(specs, sizes) for sizes in dims]
    parts = [unpack(data, len(specs)) for data in datas]
    columns = [
        make_codec(config).decode_batch(payloads, of_tensor, context)
        for config, payloads, of_tensor in zip(
            hop_codecs, zip(*parts, strict=True), zip(*headers, strict=True), strict=True
        )
    ]
    return [list(tensors) for tensors in zip(*columns, strict=True)]


def dynamic_names(specs: Sequence[TensorSpec]) -> tuple[str, ...]:
    """Return the names of dynamic dimensions other than the batch, in order of appearance."""
    found = (dim for spec in specs for dim in spec.dims if isinstance(dim, str) and dim != "N")
    return tuple(dict.fromkeys(found))


def dynamic_dims(specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> tuple[int, ...]:
    """Return the values that `arrays` give to the dynamic dimensions of `specs`."""
    values: dict[str, int] = {}
    for spec, array in zip(specs, arrays, strict=True):
        named = zip(spec.dims, array.shape, strict=True)
        values.update((dim, size) for dim, size in named if isinstance(dim, str))
    return tuple(values[name] for name in dynamic_names(specs))


def check_tensors(specs: Sequence[TensorSpec], arrays: Sequence[Array], where: str) -> None:
    """Check tensors of any batch size against `specs`.

    Raises
    ------
    TensorMismatchError
        A wrong number of tensors, a wrong dtype or a wrong shape.
    """
    if len(specs) != len(arrays):
        raise TensorMismatchError(f"{where}: {len(arrays)} tensors, {len(specs)} are needed")
    for spec, array in zip(specs, arrays, strict=True):
        if array.dtype.name != spec.dtype:
            raise TensorMismatchError(
                f"{where}: {spec.name!r} is {array.dtype.name}, {spec.dtype} is needed"
            )
        fits = len(array.shape) == len(spec.dims) and all(
            isinstance(want, str) or have == want
            for have, want in zip(array.shape, spec.dims, strict=True)
        )
        if not fits:
            raise TensorMismatchError(
                f"{where}: {spec.name!r} has shape {array.shape}, {spec.dims} is needed"
            )


def _headers(specs: Sequence[TensorSpec], dims: Sequence[int]) -> list[Header]:
    names = dynamic_names(specs)
    if len(dims) != len(names):
        raise TensorMismatchError(f"{len(dims)} dynamic dimensions were sent, {len(names)} exist")
    sizes = dict(zip(names, dims, strict=True))
    return [_header(spec, sizes) for spec in specs]


def _header(spec: TensorSpec, dynamic: Mapping[str, int]) -> Header:
    shape = spec.shape(1, dynamic)
    nbytes = prod(shape) * DTYPE_BYTES[spec.dtype]
    if nbytes > MAX_TENSOR_BYTES:
        raise CorruptPayloadError(
            f"tensor {spec.name!r} of shape {shape} would take {nbytes} bytes, "
            f"at most {MAX_TENSOR_BYTES} are allowed"
        )
    return Header(spec.dtype, shape)
