"""The sample bundle on disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.bundle import Bundle
from splitnet.runtime.directory import open_bundle


@pytest.fixture(scope="session")
def files(sample_directory: Path) -> Path:
    """The directory of the bundle; tests that damage it copy it first."""
    return sample_directory


@pytest.fixture(scope="session")
def bundle(files: Path) -> Bundle:
    """The bundle as its directory holds it."""
    return open_bundle(files)
