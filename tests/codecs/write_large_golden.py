"""Write the golden hashes: ``python -m tests.codecs.write_large_golden``. No test ever does.

``golden/large.json`` holds size and SHA-256 of payloads that are too long for ``payloads.json``:
those of several lanes, of escapes, of whole activations. Symbols and tables are made of integers.
Look at the difference before you commit it: a changed hash is a changed format.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from splitnet.codecs import Codec, Context, make_codec
from tests.codecs.cases import (
    CHANNEL_TABLES,
    CHANNEL_TABLES_CONTEXT,
    NEIGHBOURS,
    NEIGHBOURS_CONTEXT,
    ONE_TABLE,
    ONE_TABLE_CONTEXT,
    bells,
)

FILE = Path(__file__).parent / "golden" / "large.json"

Symbols = NDArray[np.uint8]

NARROW, NARROW_CONTEXT = bells(30, top=60)


def symbols(shape: tuple[int, ...], spread: int) -> Symbols:
    """Return symbols around 128 by a linear congruential generator, the same on every machine."""
    count = int(np.prod(shape))
    multiplier, value, values = 1_664_525, 12_345, np.empty(count * 2, np.int64)
    for i in range(values.size):
        value = (value * multiplier + 1_013_904_223) % 2**32
        values[i] = value >> 16
    pairs = values.reshape(2, count) * spread >> 16
    found: Symbols = (128 - spread + pairs.sum(axis=0)).astype(np.uint8).reshape(shape)
    return found


def cases() -> Iterator[tuple[str, Codec, Context, Symbols]]:
    """Yield name, codec, context and array of each entry."""
    one, channels, neighbours = (
        make_codec({"id": codec_id, "table": table})
        for codec_id, table in (
            ("rans", ONE_TABLE),
            ("rans", CHANNEL_TABLES),
            ("rans-neighbours", NEIGHBOURS),
        )
    )
    yield "one lane", one, ONE_TABLE_CONTEXT, symbols((2523,), 40)
    yield "8 lanes", one, ONE_TABLE_CONTEXT, symbols((20_001,), 40)
    yield "128 lanes", one, ONE_TABLE_CONTEXT, symbols((130_000,), 60)
    yield "channels, 8 lanes", channels, CHANNEL_TABLES_CONTEXT, symbols((2, 3, 40, 41), 30)
    yield "neighbours", neighbours, NEIGHBOURS_CONTEXT, symbols((2, 3, 30, 17), 20)
    narrow = make_codec({"id": "rans", "table": NARROW})
    yield "escapes", narrow, NARROW_CONTEXT, symbols((12_000,), 34) - 98
    adaptive = make_codec({"id": "rans-adaptive"})
    for spread in (2, 20, 100):
        yield f"adaptive {spread}", adaptive, Context({}), symbols((9000,), spread)


def entry(codec: Codec, context: Context, array: Symbols) -> dict[str, str | int]:
    """Return what the file holds of one payload."""
    payload = codec.encode(array, context)
    return {"bytes": len(payload), "sha256": hashlib.sha256(payload).hexdigest()}


def main() -> None:
    """Write the file."""
    entries = {name: entry(codec, context, array) for name, codec, context, array in cases()}
    FILE.write_text(json.dumps(entries, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
