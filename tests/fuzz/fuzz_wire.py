"""Throw damaged messages at the wire parser until a count is reached.

``python tests/fuzz/fuzz_wire.py --count 1000000 --seed 1`` ends with exit code 1 and the frames in
hexadecimal if anything but `WireError` escapes, or if a message that was read cannot be sent.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

from splitnet.errors import WireError
from splitnet.wire import PREFIX_BYTES, decode, encode

GOLDEN = Path(__file__).parents[1] / "wire" / "golden"
MARKERS = bytes([0x80, 0x8F, 0x90, 0x9F, 0xA0, *range(0xC0, 0xE0), 0xFF])
"""First bytes of every msgpack type and of the largest and smallest of the short ones."""

Frames = list[bytes]


def corpus() -> list[Frames]:
    """Return the frames of every golden message."""
    files = (GOLDEN / f"{name}.json" for name in ("messages", "lenient", "invalid"))
    entries = [entry for file in files for entry in json.loads(file.read_text("utf-8"))]
    return [[bytes.fromhex(frame) for frame in entry["frames"]] for entry in entries]


def flip(part: bytearray, random: Random) -> None:
    """Invert a bit."""
    bit = random.randrange(8 * len(part))
    part[bit // 8] ^= 1 << bit % 8


def mark(part: bytearray, random: Random) -> None:
    """Overwrite a byte with the first one of some msgpack type."""
    part[random.randrange(len(part))] = random.choice(MARKERS)


def insert(part: bytearray, random: Random) -> None:
    """Insert random bytes."""
    at = random.randrange(len(part) + 1)
    part[at:at] = random.choice((random.randbytes(3), bytes([random.choice(MARKERS)]), b"\xff" * 5))


def cut(part: bytearray, random: Random) -> None:
    """Remove a piece."""
    at = random.randrange(len(part))
    del part[at : at + random.randrange(1, 9)]


def repeat(part: bytearray, random: Random) -> None:
    """Repeat a piece, so that arrays nest."""
    at = random.randrange(len(part))
    part[at:at] = part[at : at + random.randrange(1, 40)] * random.randrange(1, 30)


DAMAGES: list[Callable[[bytearray, Random], None]] = [flip, mark, insert, cut, repeat]


def damaged(frames: Frames, other: Frames, random: Random) -> Frames:
    """Return `frames` with up to four damages, sometimes spliced with `other`.

    The prefix is mostly left alone: without it, nothing behind it is read.
    """
    head = bytearray(frames[0] if frames else b"")
    if random.random() < 0.2 and other:
        head[random.randrange(len(head) + 1) :] = other[0][random.randrange(len(other[0]) + 1) :]
    start = 0 if random.random() < 0.1 else PREFIX_BYTES
    part = head[start:]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        if part:
            random.choice(DAMAGES)(part, random)
    return [bytes(head[:start] + part), *(other if random.random() < 0.1 else frames)[1:]]


def outcome(frames: Frames) -> str:
    """Return ``read`` or the name of the error; anything else escapes."""
    try:
        message = decode(frames)
    except WireError as error:
        return type(error).__name__
    if decode(encode(message)) != message:
        raise AssertionError("read, but not the same when it is sent again")
    return "read"


def main() -> None:
    """Run and report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    random, seeds, outcomes = Random(options.seed), corpus(), Counter[str]()
    for _ in range(options.count):
        frames = damaged(random.choice(seeds), random.choice(seeds), random)
        try:
            outcomes[outcome(frames)] += 1
        except Exception:
            print("frames:", [frame.hex() for frame in frames], file=sys.stderr)
            raise
    print(json.dumps({"seed": options.seed, "count": options.count, "outcomes": outcomes}))


if __name__ == "__main__":
    main()
