"""Long payloads are bit by bit those of the machine that wrote the golden hashes."""

from __future__ import annotations

import json

import numpy as np

from splitnet.codecs import header_of
from tests.codecs.write_large_golden import FILE, cases, entry


def test_payloads_have_the_golden_hashes() -> None:
    written = json.loads(FILE.read_text("utf-8"))
    names = []
    for name, codec, context, array in cases():
        names.append(name)
        assert entry(codec, context, array) == written[name], name
        found = codec.decode(codec.encode(array, context), header_of(array), context)
        assert np.array_equal(found, array), name
    assert names == list(written)
