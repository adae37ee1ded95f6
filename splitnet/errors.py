"""The errors of splitnet, each with the code that stands for it on the wire."""

from __future__ import annotations

from enum import IntEnum
from typing import ClassVar


def one_line(error: BaseException) -> str:
    """Return the message of an error in one line, or the name of the error if it says nothing."""
    return " ".join(str(error).split()) or type(error).__name__


class WireCode(IntEnum):
    """Reason in an ``error`` message (docs/wire.md, section "error")."""

    INTERNAL = 1
    MALFORMED = 2
    VERSION = 3
    NO_SESSION = 4
    UNKNOWN_PATH = 5
    BAD_TENSOR = 6
    TOO_LARGE = 7
    OVERLOAD = 8
    EXPIRED = 9
    MISSING_TABLE = 10
    CORRUPT = 11
    DRAINING = 12
    UNSUPPORTED = 13
    REPLY_TOO_LARGE = 14
    CANCELLED = 15
    INCOMPATIBLE = 16


class SplitnetError(Exception):
    """Root of every error that splitnet raises on purpose.

    Attributes
    ----------
    wire_code
        What an ``error`` message says when this error ends a remote request.
    retryable
        Whether the same request may succeed later without a change.
    """

    wire_code: ClassVar[WireCode] = WireCode.INTERNAL
    retryable: ClassVar[bool] = False


class ConfigError(SplitnetError, ValueError):
    """An option, a file or a name given by the user cannot be used as it is."""


class UnknownNameError(ConfigError):
    """A plug-in, a plan or a cut was asked for by a name that nobody registered."""


class ModelError(SplitnetError):
    """A model cannot be loaded, exported or run."""


class PartitionError(ModelError):
    """A model cannot be cut where it was asked to be."""


class TrainingError(SplitnetError):
    """A training cannot go on: its loss is not finite, or what it kept is damaged."""


class BundleError(SplitnetError):
    """A bundle is missing, damaged or not of a version that this program reads."""

    wire_code = WireCode.INCOMPATIBLE


class CodecError(SplitnetError):
    """An array cannot be encoded, or a payload not decoded."""

    wire_code = WireCode.CORRUPT


class UnknownCodecError(CodecError, ValueError):
    """A payload or a contract names a codec that is not registered here."""


class CorruptPayloadError(CodecError):
    """A payload is damaged: a wrong length, checksum or symbol."""


class DamagedSliceError(CorruptPayloadError):
    """Slices of a payload are damaged, and the caller did not ask to fill them.

    Attributes
    ----------
    slices
        Their numbers, from 0.
    """

    def __init__(self, message: str, slices: tuple[int, ...] = ()) -> None:
        super().__init__(message)
        self.slices = slices


class MissingTableError(CodecError):
    """A payload was coded with a table that the decoder was not given."""

    wire_code = WireCode.MISSING_TABLE


class MissingReferenceError(CodecError):
    """A payload was predicted from a frame of its stream that this side does not have.

    The stream goes on with a key frame.
    """

    retryable = True


class TensorMismatchError(SplitnetError, ValueError):
    """A tensor has not the dtype or the shape that its specification asks for."""

    wire_code = WireCode.BAD_TENSOR


class WireError(SplitnetError):
    """Bytes from the network are not a message of this protocol."""

    wire_code = WireCode.MALFORMED


class VersionMismatchError(WireError):
    """The other side speaks a protocol version that this side does not."""

    wire_code = WireCode.VERSION


class TransportError(SplitnetError, OSError):
    """A socket cannot be opened, bound or used."""

    retryable = True


class OverloadError(SplitnetError):
    """A bound on queued work, bytes or credit is reached."""

    wire_code = WireCode.OVERLOAD
    retryable = True
