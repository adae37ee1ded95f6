"""Levels of exact paths that the build chooses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.places import NONE
from splitnet.builder.verification import verify_bundle
from splitnet.codecs import make_codec
from splitnet.console import Silent
from splitnet.errors import CodecError, ConfigError, MissingTableError
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
    for text in ("best", '{"id": "best"}', '{"id": '):
        with pytest.raises(ConfigError, match="must be default, auto or a codec"):
            replace(built, codec=text)


def test_a_codec_makes_a_further_level(built: BuildConfig, tmp_path: Path) -> None:
    text = '{"id": "refined", "bits": 3, "refinements": 2, "clip": "percentile"}'
    plain = replace(built, exit_at=NONE, bottleneck_at=NONE, out=tmp_path / "bundle")
    build(replace(plain, codec=text), Silent())
    bundle = open_bundle(plain.out)
    for path in bundle.contract.paths:
        assert [level.name for level in path.levels][2:] == ["refined bits=3 refinements=2"]
        ((codec,),) = path.levels[2].codecs
        assert codec["high"] and make_codec(codec).parts == 3
        assert bundle.table.mean_bytes(path.id, 2) < bundle.table.mean_bytes(path.id, 1)


def test_its_tables_are_fitted(built: BuildConfig, tmp_path: Path) -> None:
    text = '{"id": "pipeline", "codecs": [{"id": "affine", "bits": 4}, {"id": "rans"}]}'
    plain = replace(built, exit_at=NONE, bottleneck_at=NONE, out=tmp_path / "bundle")
    build(replace(plain, codec=text), Silent())
    bundle = open_bundle(plain.out)
    assert bundle.contract.paths[0].levels[2].name == "affine bits=4, rans"
    assert len(table_names(bundle.contract)) == len(bundle.contract.paths)


def test_a_codec_that_does_not_take_the_tensors_is_named(
    built: BuildConfig, tmp_path: Path
) -> None:
    other = replace(built, codec="webp", out=tmp_path / "bundle", exit_at=NONE)
    with pytest.raises(CodecError, match="--codec: path input: webp"):
        build(replace(other, bottleneck_at=NONE), Silent())
    assert not other.out.exists()
