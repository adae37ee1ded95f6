"""Golden vectors: what is written is what is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.golden import Golden, GoldenPath, golden_bytes, hash_tensors, read_golden
from splitnet.errors import BundleError

Array: TypeAlias = NDArray[Any]


def assert_same(found: Sequence[Array], expected: Sequence[Array]) -> None:
    """Check that there are as many arrays, with the same content."""
    assert len(found) == len(expected)
    assert all(map(np.array_equal, found, expected))


def test_round_trip(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(2, 3)
    golden = Golden(
        inputs=(rows, rows + 4),
        reference=(rows + 1,),
        exits={"layer1.8:relu:1": rows + 2},
        paths={
            ("input", 0): GoldenPath((rows + 3, rows), (b"abc", b"d"), (bytes(32), b"\xff" * 32)),
            ("layer1.8:relu:1", 1): GoldenPath((rows,), (b"", b"xy"), (b"a" * 32, b"b" * 32)),
        },
    )
    file = tmp_path / "golden.npz"
    file.write_bytes(golden_bytes(golden))
    found = read_golden(file)
    assert_same(found.inputs, golden.inputs)
    assert_same(found.reference, golden.reference)
    assert np.array_equal(found.exits["layer1.8:relu:1"], rows + 2)
    assert found.paths.keys() == golden.paths.keys()
    for key, path in golden.paths.items():
        assert_same(found.paths[key].outputs, path.outputs)
        assert found.paths[key].payloads == path.payloads
        assert found.paths[key].decoded == path.decoded


def test_a_hash_sees_every_bit() -> None:
    tensor = np.zeros((2, 3), np.float32)
    other = tensor.copy()
    other[1, 2] = np.nextafter(np.float32(0), np.float32(1))
    assert hash_tensors([tensor]) == hash_tensors([tensor.copy()]) != hash_tensors([other])
    assert hash_tensors([tensor.T]) == hash_tensors([np.ascontiguousarray(tensor.T)])


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no npz"])
def test_damage_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(content)
    with pytest.raises(BundleError, match="golden"):
        read_golden(tmp_path / "golden.npz")
    np.savez(tmp_path / "golden.npz", other=np.zeros(1))
    with pytest.raises(BundleError, match="golden"):
        read_golden(tmp_path / "golden.npz")
