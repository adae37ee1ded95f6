"""The sample bundle on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.bundle import Bundle
from tests.sample_files import write_sample_files


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory, sample_bundle: Bundle) -> Path:
    """A directory with the sample bundle; tests that damage it copy it first."""
    directory = tmp_path_factory.mktemp("bundle")
    write_sample_files(directory, sample_bundle)
    return directory


@pytest.fixture(scope="session")
def bundle(files: Path) -> Bundle:
    from splitnet.runtime.directory import open_bundle

    return open_bundle(files)
