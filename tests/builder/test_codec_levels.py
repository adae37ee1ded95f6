"""Levels of exact paths that the build chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.places import NONE
from splitnet.builder.verification import verify_bundle
from splitnet.console import Silent
from splitnet.errors import ConfigError, MissingTableError
from splitnet.runtime.directory import open_bundle, table_names


@pytest.fixture(scope="module")
def chosen(built: BuildConfig, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a build with ``--codec auto`` returned."""
    out = tmp_path_factory.mktemp("chosen") / "bundle"
    return build(replace(built, out=out, codec="auto", exit_at=NONE, bottleneck_at=NONE), Silent())


def test_every_exact_path_has_levels_of_its_own(chosen: dict[str, Any]) -> None:
    bundle = open_bundle(Path(chosen["out"]))
    for path in bundle.contract.paths:
        assert path.levels[0].codecs == (({"id": "store"},),)
        assert 2 <= len(path.levels) <= 3
        sizes = [bundle.table.mean_bytes(path.id, level) for level in range(len(path.levels))]
        assert sizes == sorted(sizes, reverse=True)
        assert sizes[1] < sizes[0] / 4
    assert table_names(bundle.contract)


def test_the_reason_is_a_note(chosen: dict[str, Any]) -> None:
    notes = [note for note in chosen["notes"] if note.startswith("path stage1, level 1: ")]
    assert any("bytes, error" in note for note in notes)
    assert any("asked for: at least accuracy 0.995" in note for note in notes)


def test_such_a_bundle_is_verified(chosen: dict[str, Any]) -> None:
    out = Path(chosen["out"])
    assert verify_bundle(out, None, Silent()).ok
    shard = out / "shards" / table_names(open_bundle(out).contract)[0]
    content = shard.read_bytes()
    try:
        shard.write_bytes(content[:-1])
        with pytest.raises(MissingTableError, match=shard.name):
            verify_bundle(out, None, Silent())
    finally:
        shard.write_bytes(content)


def test_another_word_is_refused(built: BuildConfig) -> None:
    with pytest.raises(ConfigError, match="--codec is 'best', must be default or auto"):
        replace(built, codec="best")
