"""Throw damaged payloads at every codec until a count is reached.

``python -m tests.fuzz.fuzz_codecs --count 1000000 --seed 1`` ends with exit code 1, the
configuration and the payload in hexadecimal if anything but `CorruptPayloadError` or
`MissingReferenceError` escapes, or if
what was decoded has another header.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from random import Random

from splitnet.codecs import Header, header_of
from splitnet.errors import CorruptPayloadError, MissingReferenceError
from tests.codecs.cases import CASES, Case

Seed = tuple[Case, Header, bytes]


def corpus() -> list[Seed]:
    """Return payloads of the samples of every case of the conformance kit."""
    return [
        (case, header_of(array), case.codec.encode(array, case.context))
        for case in CASES
        for array in case.samples()
    ]


def flip(part: bytearray, random: Random) -> None:
    """Invert a bit."""
    bit = random.randrange(8 * len(part))
    part[bit // 8] ^= 1 << bit % 8


def overwrite(part: bytearray, random: Random) -> None:
    """Put an extreme or a random byte somewhere."""
    part[random.randrange(len(part))] = random.choice(
        (0, 1, 0x7F, 0x80, 0xFF, random.randrange(256))
    )


def insert(part: bytearray, random: Random) -> None:
    """Insert random bytes."""
    at = random.randrange(len(part) + 1)
    part[at:at] = random.choice((random.randbytes(3), b"\xff" * 5, b"\x00"))


def cut(part: bytearray, random: Random) -> None:
    """Remove a piece."""
    at = random.randrange(len(part))
    del part[at : at + random.randrange(1, 9)]


def truncate(part: bytearray, random: Random) -> None:
    """Remove the end."""
    del part[random.randrange(len(part)) :]


DAMAGES: list[Callable[[bytearray, Random], None]] = [flip, flip, overwrite, insert, cut, truncate]


def damaged(payload: bytes, other: bytes, random: Random) -> bytes:
    """Return `payload` with up to four damages, sometimes spliced with `other`."""
    part = bytearray(payload)
    if random.random() < 0.05:
        return random.randbytes(random.randrange(80))
    if random.random() < 0.1 and other:
        part[random.randrange(len(part) + 1) :] = other[random.randrange(len(other)) :]
    for _ in range(random.choice((1, 1, 2, 4))):
        if part:
            random.choice(DAMAGES)(part, random)
    return bytes(part)


def outcome(case: Case, header: Header, payload: bytes) -> str:
    """Return ``decoded`` or the name of the error; anything else escapes."""
    try:
        found = case.codec.decode(payload, header, case.context)
    except (CorruptPayloadError, MissingReferenceError) as error:
        return type(error).__name__
    if header_of(found) != header:
        raise AssertionError(f"decoded as {header_of(found)}")
    return "decoded"


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random, seeds, outcomes = Random(options.seed), corpus(), Counter[str]()
    for _ in range(options.count):
        case, header, payload = random.choice(seeds)
        data = damaged(payload, random.choice(seeds)[2], random)
        try:
            outcomes[outcome(case, header, data)] += 1
        except Exception:
            print(json.dumps(case.config), header, data.hex(), file=sys.stderr)
            raise
    print(json.dumps({"seed": options.seed, "count": options.count, "outcomes": outcomes}))


if __name__ == "__main__":
    main()
