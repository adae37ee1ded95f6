"""Bundle directories that are whole, and ones that are not."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from splitnet.bundle import Bundle
from splitnet.errors import BundleError
from splitnet.runtime.directory import bundle_file, check_files, open_bundle


@pytest.fixture
def copy(files: Path, tmp_path: Path) -> Path:
    return shutil.copytree(files, tmp_path / "copy")


def test_a_whole_bundle_opens_and_every_file_is_verified(files: Path, bundle: Bundle) -> None:
    assert open_bundle(files).contract == bundle.contract
    check_files(files, bundle)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"there is no bundle at .*nowhere; make one with"):
        open_bundle(tmp_path / "nowhere")


def test_a_missing_document(copy: Path) -> None:
    (copy / "advice.json").unlink()
    with pytest.raises(BundleError, match=r"advice\.json is missing"):
        open_bundle(copy)


@pytest.mark.parametrize("name", ["contract.json", "advice.json", "sample_table.npz"])
@pytest.mark.parametrize("content", [b"{}", None])
def test_a_bad_document_is_named_with_its_bundle_once(
    copy: Path, name: str, content: bytes | None
) -> None:
    (copy / name).unlink()
    if content is not None:
        (copy / name).write_bytes(content)
    with pytest.raises(BundleError, match=name) as caught:
        open_bundle(copy)
    assert str(caught.value).startswith(str(copy))
    assert str(caught.value).count(str(copy)) == 1


def test_a_missing_shard(copy: Path, bundle: Bundle) -> None:
    shard = bundle.contract.segments[1].graph.shards[0]
    (copy / "shards" / shard).unlink()
    with pytest.raises(BundleError, match=f"{shard} is missing"):
        check_files(copy, bundle)


@pytest.mark.parametrize("name", ["exit-e1.onnx", "golden.npz", "decoder-bottleneck.onnx"])
def test_a_damaged_file(copy: Path, bundle: Bundle, name: str) -> None:
    data = bytearray((copy / name).read_bytes())
    data[-1] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(BundleError, match=rf"{name} is damaged: its SHA-256 is \w{{12}}\.\.\., "):
        check_files(copy, bundle)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "shards/../../x", "", "..", "a\\b"])
def test_names_that_lead_out_are_refused(files: Path, name: str) -> None:
    with pytest.raises(BundleError, match="leads out of the bundle"):
        bundle_file(files, name)


@pytest.mark.parametrize("name", ["whole.onnx", "shards"])
def test_symbolic_links_are_refused(copy: Path, bundle: Bundle, name: str) -> None:
    (copy / name).rename(copy / "elsewhere")
    (copy / name).symlink_to(copy / "elsewhere")
    with pytest.raises(BundleError, match="symbolic link"):
        check_files(copy, bundle)


def test_a_directory_is_no_file(files: Path) -> None:
    with pytest.raises(BundleError, match="is missing"):
        bundle_file(files, "shards")


def test_a_table_of_another_bundle_is_refused(copy: Path, bundle: Bundle) -> None:
    other = replace(bundle.table, keys=bundle.table.keys + 1)
    (copy / "sample_table.npz").write_bytes(other.to_bytes())
    with pytest.raises(BundleError, match=r"sample_table\.npz"):
        open_bundle(copy)
