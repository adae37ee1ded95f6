"""Codecs: activations to few bytes and back.

Each codec is a class with an id and a JSON configuration; `make_codec` makes it. The codecs
themselves are imported on first use.
"""

from splitnet.codecs.base import (
    NO_CONTEXT,
    Array,
    Buffer,
    Codec,
    Context,
    Header,
    header_of,
)
from splitnet.codecs.making import make_codec
from splitnet.codecs.packing import pack, unpack

__all__ = [
    "NO_CONTEXT",
    "Array",
    "Buffer",
    "Codec",
    "Context",
    "Header",
    "header_of",
    "make_codec",
    "pack",
    "unpack",
]
