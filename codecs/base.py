"""What every codec offers: arrays to bytes and back, with the header known to both sides."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import prod
from typing import Any, ClassVar, TypeAlias

from numpy.typing import NDArray

from splitnet.codecs.references import References
from splitnet.errors import CodecError
from splitnet.values import DTYPE_BYTES

Array: TypeAlias = NDArray[Any]
Buffer: TypeAlias = bytes | bytearray | memoryview

MAX_NBYTES = 2**31 - 1
"""Largest array that is encoded or decoded: the longest payload of a 32-bit length."""


@dataclass(frozen=True, slots=True)
class Header:
    """Dtype and shape of an array, known to the decoder before it reads a payload.

    Raises
    ------
    CodecError
        The dtype may not cross a cut, a size is negative, or the array exceeds `MAX_NBYTES`.
    """

    dtype: str
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if self.dtype not in DTYPE_BYTES:
            allowed = ", ".join(DTYPE_BYTES)
            raise CodecError(f"dtype {self.dtype} may not cross a cut; allowed: {allowed}")
        if any(size < 0 for size in self.shape) or self.nbytes > MAX_NBYTES:
            raise CodecError(
                f"an array of {self.dtype} {self.shape} has a negative size or more than "
                f"{MAX_NBYTES} bytes"
            )

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size in bytes of the array itself."""
        return self.size * DTYPE_BYTES[self.dtype]


def header_of(array: Array) -> Header:
    """Return the header of `array` (raises `CodecError` if its dtype may not cross a cut)."""
    return Header(array.dtype.name, array.shape)


@dataclass(frozen=True, slots=True)
class Context:
    """What both sides of a codec share besides the header of an array.

    Attributes
    ----------
    tables
        Integer tables of entropy coders by their SHA-256, 64 hexadecimal digits.
    references
        Earlier frames of the tensor's stream; ``None`` for a tensor of no stream.
    damaged
        A list asks to fill damaged slices with the mean of their prior, and receives their
        numbers; ``None`` asks to refuse them.
    """

    tables: Mapping[str, bytes]
    references: References | None = None
    damaged: list[int] | None = None


NO_CONTEXT = Context(tables={})


class Codec(ABC):
    """A registered codec: a string id, a frozen config dataclass, `encode` and `decode`.

    Objects hold their config and nothing else that changes, so one object may serve many threads.
    `Config` raises `CodecError` for a value that the codec cannot work with.

    Attributes
    ----------
    bytewise
        Whether it works on the bytes of an array, whatever they stand for: a pipeline then hands
        it the sides of the transforms too.
    """

    id: ClassVar[str]
    Config: ClassVar[type[Any]]
    bytewise: ClassVar[bool] = False

    def __init__(self, config: Any = None) -> None:
        self.config = self.Config() if config is None else config

    @property
    def tables(self) -> tuple[str, ...]:
        """SHA-256 of each table that `Context.tables` must hold, those of inner codecs too."""
        return ()

    @abstractmethod
    def encode(self, array: Array, context: Context = NO_CONTEXT) -> bytes:
        """Return `array` as bytes.

        Raises
        ------
        CodecError
            This codec refuses the dtype or the values.
        """

    @abstractmethod
    def decode(self, data: Buffer, header: Header, context: Context = NO_CONTEXT) -> Array:
        """Return the array of `header`; it may be a read-only view of `data`.

        Raises
        ------
        CorruptPayloadError
            `data` is damaged or of another array; nothing larger than `header` was allocated.
        CodecError
            This codec refuses the dtype, or `context` lacks what it needs.
        MissingTableError, MissingReferenceError
            What `context` lacks is a table, or an earlier frame of the stream.
        """

    def decode_batch(
        self, datas: Sequence[Buffer], headers: Sequence[Header], context: Context = NO_CONTEXT
    ) -> list[Array]:
        """Return what `decode` makes of each payload; an entropy coder is faster on many at once.

        Raises
        ------
        CodecError
            As `decode`, for the first payload that cannot be decoded.
        """
        pairs = zip(datas, headers, strict=True)
        return [self.decode(data, header, context) for data, header in pairs]

    @property
    def parts(self) -> int:
        """Number of parts of `encode_parts`: a base and its refinements, or one that is all."""
        return 1

    def encode_parts(self, array: Array, context: Context = NO_CONTEXT) -> list[bytes]:
        """Return the base and each refinement: any first ones of them can be decoded.

        Raises
        ------
        CodecError
            As `encode`.
        """
        return [self.encode(array, context)]

    def decode_parts(
        self, parts: Sequence[Buffer], header: Header, context: Context = NO_CONTEXT
    ) -> Array:
        """Return the array of `header` from the first parts of it, those that arrived.

        Raises
        ------
        CodecError
            As `decode`; also without a base, or with more parts than there are.
        """
        return self.decode_parts_batch([parts], [header], context)[0]

    def decode_parts_batch(
        self,
        batch: Sequence[Sequence[Buffer]],
        headers: Sequence[Header],
        context: Context = NO_CONTEXT,
    ) -> list[Array]:
        """Return what `decode_parts` makes of the parts of each array.

        Raises
        ------
        CodecError
            As `decode_parts`, for the first array that cannot be decoded.
        """
        check_parts(self.id, batch, self.parts)
        return self.decode_batch([parts[0] for parts in batch], headers, context)

    @abstractmethod
    def encoded_header(self, header: Header) -> Header | None:
        """Return the header of the bytes that `encode` makes (uint8), ``None`` if it varies."""

    def to_json(self) -> dict[str, Any]:
        """Return the configuration from which `make_codec` makes an equal codec."""
        config: dict[str, Any] = json.loads(json.dumps(asdict(self.config)))
        return {"id": self.id, **config}


def check_parts(codec_id: str, batch: Sequence[Sequence[Buffer]], most: int) -> None:
    """Check that there is a base of each array, and at most `most` parts.

    Raises
    ------
    CodecError
        There are none, or more.
    """
    for parts in batch:
        if not 1 <= len(parts) <= most:
            raise CodecError(f"{codec_id}: {len(parts)} parts, must be from 1 to {most}")


def tables_of(codecs: Iterable[Codec]) -> tuple[str, ...]:
    """Return the SHA-256 of each table that `codecs` need, without repetitions."""
    return tuple(dict.fromkeys(name for codec in codecs for name in codec.tables))
