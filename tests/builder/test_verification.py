"""The proof: it holds for what was built, and fails for what was changed."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.build import BuildConfig
from splitnet.builder.data import load_data
from splitnet.builder.golden import Golden, golden_bytes, read_golden
from splitnet.builder.tolerance import Tolerance
from splitnet.builder.verification import Kind, Report, verify_bundle
from splitnet.console import Silent
from splitnet.errors import BundleError


@pytest.fixture
def copy(built: BuildConfig, tmp_path: Path) -> Path:
    """A bundle that may be damaged."""
    return Path(shutil.copytree(built.out, tmp_path / "copy"))


def _verify(directory: Path) -> Report:
    return verify_bundle(directory, None, Silent())


def _change_golden(directory: Path, change: Callable[[Golden], Golden]) -> None:
    """Replace the golden vectors together with their hash."""
    content = golden_bytes(change(read_golden(directory / "golden.npz")))
    (directory / "golden.npz").write_bytes(content)
    advice = json.loads((directory / "advice.json").read_text())
    advice["golden"]["sha256"] = hashlib.sha256(content).hexdigest()
    (directory / "advice.json").write_text(json.dumps(advice))


def test_a_bundle_holds(built: BuildConfig) -> None:
    report = verify_bundle(built.out, load_data(built.data, "test"), Silent())
    assert report.ok
    found = {check.what: check for check in report.checks}
    assert found["whole = original (golden)"].error < 1e-5
    for path in ("input", "stage1", "stage2"):
        assert found[f"{path}@0 = whole (golden)"].changed == 0
        assert found[f"{path}@0 = whole (data)"].samples == 150
        assert found[f"{path}@1 payload decoded"].error == 0
    assert "bottleneck@0 = whole (golden)" not in found
    assert found["bottleneck@1 from golden input"].ok
    assert found["exit stage1 (golden)"].changed == 0


@pytest.mark.parametrize("name", ["segment-1.onnx", "golden.npz", "sample_table.npz"])
def test_a_changed_file_is_named(copy: Path, name: str) -> None:
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name):
        _verify(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    shard = next((copy / "shards").iterdir())
    shard.unlink()
    with pytest.raises(BundleError, match=shard.name):
        _verify(copy)


def test_another_original_is_found_out(copy: Path) -> None:
    _change_golden(copy, lambda golden: replace(golden, reference=(golden.reference[0] + 0.1,)))
    report = _verify(copy)
    assert not report.ok
    assert [check.what for check in report.checks if not check.ok] == ["whole = original (golden)"]
    assert report.failure().startswith("1 of ")
    assert "whole = original (golden)" in report.failure()


def test_other_outputs_are_found_out(copy: Path) -> None:
    def change(golden: Golden) -> Golden:
        path = golden.paths["bottleneck", 1]
        return replace(
            golden,
            paths={**golden.paths, ("bottleneck", 1): replace(path, outputs=(-path.outputs[0],))},
        )

    _change_golden(copy, change)
    bad = [check for check in _verify(copy).checks if not check.ok]
    assert [check.what for check in bad] == [
        "bottleneck@1 from golden payload",
        "bottleneck@1 from golden input",
    ]
    assert bad[0].changed


def test_a_codec_that_decodes_otherwise_is_found_out(copy: Path) -> None:
    def change(golden: Golden) -> Golden:
        path = golden.paths["stage1", 1]
        decoded = (bytes(32), *path.decoded[1:])
        return replace(
            golden, paths={**golden.paths, ("stage1", 1): replace(path, decoded=decoded)}
        )

    _change_golden(copy, change)
    bad = [check for check in _verify(copy).checks if not check.ok]
    assert [check.what for check in bad] == ["stage1@1 payload decoded"]
    assert bad[0].error == 1


def test_golden_vectors_are_complete(copy: Path) -> None:
    def change(golden: Golden) -> Golden:
        return replace(golden, exits={}, paths={("input", 0): golden.paths["input", 0]})

    _change_golden(copy, change)
    with pytest.raises(BundleError, match=r"no golden vectors for .*stage2@1.*stage1"):
        _verify(copy)


def test_a_few_labels_may_change_where_the_arithmetic_is_coarse(copy: Path) -> None:
    """One of the golden answers is another label by less than the rounding of float16."""

    def change(golden: Golden) -> Golden:
        logits = golden.reference[0].copy()
        first, second = np.argsort(logits[0])[::-1][:2]
        logits[0, second] = logits[0, first] + 1e-3 * np.abs(logits).max()
        return replace(golden, reference=(logits, *golden.reference[1:]))

    _change_golden(copy, change)
    report = verify_bundle(copy, None, Silent(), tolerance=Tolerance("coarse", 9.0, 9.0, 9.0, 0.01))
    (found,) = [check for check in report.checks if check.what == "whole = original (golden)"]
    assert (found.changed, found.allowed) == (1, 1) and report.ok
    strict = verify_bundle(copy, None, Silent(), tolerance=Tolerance("fine", 9.0, 9.0, 9.0))
    assert not strict.ok and "1 changed labels" in strict.failure() and "fine" in strict.failure()


def test_the_largest_error_of_every_path(built: BuildConfig) -> None:
    found = {(check.path, check.kind) for check in _verify(built.out).largest}
    assert {("input", Kind.EXACT), ("stage2", Kind.QUANTISED), ("bottleneck", Kind.EXACT)} <= found
    assert all(kind is not Kind.CODEC for _, kind in found)
