"""Advice is replaced whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path
from typing import Any, NoReturn

import pytest

from splitnet.builder.advice_file import update_advice, with_profile
from splitnet.bundle import Bundle
from splitnet.errors import BundleError
from splitnet.runtime.directory import open_bundle
from splitnet.values import Profile, StageTime

SLOW = Profile("slow", {"prepare": StageTime(1.0, 2.0)})


@pytest.fixture
def directory(sample_directory: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sample_directory, tmp_path / "bundle"))


def test_the_advice_changes_and_the_contract_does_not(directory: Path) -> None:
    before = (directory / "contract.json").read_bytes()
    found = update_advice(directory, lambda advice: with_profile(advice, SLOW))
    assert open_bundle(directory).advice == found
    assert found.profiles[-1] == SLOW
    assert (directory / "contract.json").read_bytes() == before


def test_a_profile_of_the_same_device_takes_its_place(sample_bundle: Bundle) -> None:
    first = sample_bundle.advice.profiles[0]
    advice = with_profile(with_profile(sample_bundle.advice, SLOW), Profile(first.device, {}))
    assert [profile.device for profile in advice.profiles] == [first.device, "slow"]
    assert advice.profiles[0].stages == {}


def test_no_disk_space_leaves_the_old_advice(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {file.name: file.read_bytes() for file in directory.iterdir() if file.is_file()}

    def full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BundleError, match=r"cannot write .*advice\.json: No space left on device"):
        update_advice(directory, lambda advice: with_profile(advice, SLOW))
    assert {f.name: f.read_bytes() for f in directory.iterdir() if f.is_file()} == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"version": 99}'])
def test_damaged_advice_is_named_and_left_alone(directory: Path, content: bytes) -> None:
    (directory / "advice.json").write_bytes(content)
    with pytest.raises(BundleError, match=r"advice\.json"):
        update_advice(directory, lambda advice: advice)
    assert (directory / "advice.json").read_bytes() == content
