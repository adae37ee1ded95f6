"""Payloads of the golden file are decoded, and made, bit by bit as on the machine that wrote it."""

from __future__ import annotations

import json

from splitnet.codecs import Header
from tests.codecs.cases import CASES, Case
from tests.codecs.write_golden import FILE, from_text, to_text

ENTRIES = json.loads(FILE.read_text("utf-8"))


def test_every_case_is_in_the_golden_file() -> None:
    written = [entry["codec"] for entry in ENTRIES]
    assert all(case.config in written for case in CASES if case.is_golden)


def test_golden_payloads(case: Case) -> None:
    for entry in ENTRIES:
        if entry["codec"] != case.config:
            continue
        header = Header(entry["dtype"], tuple(entry["shape"]))
        array = from_text(entry["array"], header)
        payload = bytes.fromhex(entry["payload"])
        found = case.codec.decode(payload, header, case.context)
        assert to_text(found) == entry["decoded"]
        if case.encodes_alike:
            assert case.codec.encode(array, case.context) == payload
