"""Write the golden payloads: ``python -m tests.codecs.write_golden``. No test ever does.

``golden/payloads.json`` holds, for the samples of every case of the conformance kit, array,
payload and decoded array. Look at the difference before you commit it: a changed payload is a
changed format.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.codecs import Array, Header, header_of
from tests.codecs.cases import CASES, Case

FILE = Path(__file__).parent / "golden" / "payloads.json"


def to_text(array: Array) -> str:
    """Return the elements, little endian, in hexadecimal digits."""
    return array.astype(array.dtype.newbyteorder("<")).tobytes().hex()


def from_text(text: str, header: Header) -> Array:
    """Return the array that `to_text` wrote."""
    flat = np.frombuffer(bytes.fromhex(text), np.dtype(header.dtype).newbyteorder("<"))
    return flat.astype(header.dtype).reshape(header.shape)


def entries(case: Case) -> list[dict[str, Any]]:
    """Return one entry for each sample of `case`."""
    found = []
    for array in case.samples():
        header = header_of(array)
        payload = case.codec.encode(array, case.context)
        decoded = case.codec.decode(payload, header, case.context)
        found.append(
            {
                "codec": case.config,
                "dtype": header.dtype,
                "shape": header.shape,
                "array": to_text(array),
                "payload": payload.hex(),
                "decoded": to_text(decoded),
            }
        )
    return found


def main() -> None:
    """Write the file."""
    FILE.parent.mkdir(exist_ok=True)
    rows = [json.dumps(entry) for case in CASES if case.is_golden for entry in entries(case)]
    FILE.write_text("[\n" + ",\n".join(rows) + "\n]\n", "utf-8")


if __name__ == "__main__":
    main()
