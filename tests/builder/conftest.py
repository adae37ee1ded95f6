"""Networks to cut: the small ones of networks.py, loaded once, and the real ones."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray

from splitnet.builder.build import BuildConfig, build
from splitnet.builder.model import SourceModel, load_model
from splitnet.console import Silent
from splitnet.training.threads import math_threads

NETWORKS = Path(__file__).with_name("networks.py")

LoadNetwork: TypeAlias = Callable[[str], SourceModel]


def import_file(path: Path) -> Any:
    """Return the module in the file `path`."""
    spec = importlib.util.spec_from_file_location(f"builder_tests_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def easy_images(file: Path, count: int, seed: int) -> str:
    """Write images of three classes, a class is a colour, and return the name of the file."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, count)
    x = rng.integers(0, 80, (count, 16, 16, 3), np.uint8)
    x[np.arange(count), :, :, y] += 120
    np.savez(file, x=x, y=y)
    return str(file)


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> Iterator[None]:
    """Train in one thread; several wait for each other when the machine is busy."""
    with math_threads(1):
        yield


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> BuildConfig:
    """A build that has run: of `networks.py:stages`, for easy images of three classes."""
    folder = tmp_path_factory.mktemp("built")
    easy_images(folder / "data.npz", 150, seed=0)
    config = BuildConfig(
        f"{NETWORKS}:stages",
        str(folder / "data.npz"),
        folder / "bundle",
        cuts=("stage1", "stage2"),
        epochs=2,
        train_seconds=20,
    )
    build(config, Silent())
    return config


@pytest.fixture(scope="session")
def images() -> NDArray[Any]:
    """Four random images (N, 3, 16, 16)."""
    return np.random.default_rng(7).standard_normal((4, 3, 16, 16)).astype(np.float32)


@pytest.fixture(scope="session")
def networks() -> Any:
    """The module networks.py, for its classes."""
    return import_file(NETWORKS)


@pytest.fixture(scope="session")
def network(images: NDArray[Any]) -> LoadNetwork:
    """Return a function that loads a network of networks.py by name, once."""

    @cache
    def load(name: str) -> SourceModel:
        return load_model(f"{NETWORKS}:{name}", [images[:1]])

    return load


@pytest.fixture(scope="session")
def data_models() -> Any:
    """The module that builds the pretrained networks and loads their images."""
    folder = os.environ.get("SPLITNET_DATA")
    if not folder:
        pytest.skip("SPLITNET_DATA does not name the folder with the pretrained weights")
    return import_file(Path(folder) / "models.py")
