"""Loading of the model to split: a torch module or an ONNX file becomes one graph."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from splitnet.builder.graph import Graph
from splitnet.builder.graph_reader import read_graph
from splitnet.builder.onnx_file import read_onnx
from splitnet.builder.execution import open_runner
from splitnet.builder.torch_export import export_torch, run_torch
from splitnet.config import nearest
from splitnet.errors import ConfigError, ModelError

Reference: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]

TOLERANCE = 1e-4
"""Largest error of an exported model, as a share of its largest output."""


@dataclass(frozen=True)
class SourceModel:
    """A model as it came, and as the graph that will be cut.

    Attributes
    ----------
    name
        Short name for people and for the contract.
    graph
        Its operators in canonical order; ``graph.input`` and ``graph.output`` are specifications.
    reference
        The original: batch in ``(N, ...)``, answer out ``(N, C)`` or ``(N, P, C)``.
    module
        The torch module in eval mode; ``None`` for an ONNX file.
    """

    name: str
    graph: Graph
    reference: Reference
    module: torch.nn.Module | None


def load_model(spec: str, example: NDArray[Any]) -> SourceModel:
    """Load the model that `spec` names, and prove on variations of `example` that it was read right.

    Parameters
    ----------
    spec
        ``module:callable``, ``path/to/file.py:callable`` or ``path/to/model.onnx``.
    example
        One prepared sample with its batch dimension, ``(1, ...)``.

    Raises
    ------
    ConfigError
        The file, module or callable does not exist.
    ModelError
        The model cannot be built, read, exported or run on `example`, or it mixes samples.
    """
    if spec.endswith(".onnx"):
        path = Path(spec)
        proto = read_onnx(path, example)
        return _source(path.stem, proto, _onnx_reference(path), None, example)
    module = _build_module(spec)
    name = spec.rpartition(":")[2]
    return source_from_torch(name, module, example)


def source_from_torch(name: str, module: torch.nn.Module, example: NDArray[Any]) -> SourceModel:
    """Return a torch module as a model to cut (see `load_model` for `example` and the errors)."""
    proto = export_torch(module, example)
    return _source(name, proto, lambda batch: run_torch(module, batch), module, example)


def _source(
    name: str,
    proto: onnx.ModelProto,
    reference: Reference,
    module: torch.nn.Module | None,
    example: NDArray[Any],
) -> SourceModel:
    pair = np.concatenate([example, _vary(example)])
    _prove(proto, reference, pair)
    return SourceModel(name, read_graph(proto, example, pair), reference, module)


def _vary(example: NDArray[Any]) -> NDArray[Any]:
    """Return another plausible sample: noise on numbers, another order of tokens."""
    if not np.issubdtype(example.dtype, np.floating):
        return np.flip(example, axis=-1)
    noise = np.random.default_rng(0).standard_normal(example.shape)
    return (example + noise * (example.std() or 1.0)).astype(example.dtype)


def _prove(proto: onnx.ModelProto, reference: Reference, pair: NDArray[Any]) -> None:
    """Check the graph against the original, one by one and as a batch."""
    run = open_runner(proto)
    expected = np.concatenate([reference(row[None]) for row in pair])
    single = np.concatenate([run(row[None])[0] for row in pair])
    limit = TOLERANCE * max(float(np.abs(expected).max()), np.finfo(np.float32).tiny)
    error = _distance(single, expected)
    if not error <= limit:
        raise ModelError(
            f"the ONNX form of the model differs from the original by {error:.2g} (largest output "
            f"{limit / TOLERANCE:.3g}): it computes something outside torch or at random"
        )
    error = _distance(run(pair)[0], single)
    if not error <= limit:
        raise ModelError(
            f"the model's answers change by {error:.2g} when samples are batched: it has a fixed "
            "batch size (use x.shape[0], -1 or flatten(1), or a dynamic axis in the export) or "
            "mixes samples"
        )


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest difference; infinite if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())


def _onnx_reference(path: Path) -> Reference:
    """Return a function that runs the original file, sample by sample as it may demand."""
    run = open_runner(path)
    return lambda batch: np.concatenate([run(row[None])[0] for row in batch])


def _build_module(spec: str) -> torch.nn.Module:
    place, separator, name = spec.rpartition(":")
    if not separator or not place or not name:
        raise ConfigError(
            f"model {spec!r} is neither module:callable, path/to/file.py:callable nor a .onnx file"
        )
    is_file = place.endswith(".py")
    with _importable(Path(place).resolve().parent if is_file else Path.cwd()):
        module = _import_file(Path(place)) if is_file else _import_module(place)
        build = getattr(module, name, None)
        if not callable(build):
            names = [n for n, v in vars(module).items() if callable(v)]
            raise ConfigError(f"{place} has no callable {name!r}{nearest(name, names)}")
        try:
            network = build()
        except Exception as error:
            raise ModelError(
                f"{spec} failed ({type(error).__name__}: {error}): it is called without arguments "
                "and must return a torch.nn.Module"
            ) from error
    if not isinstance(network, torch.nn.Module):
        raise ModelError(
            f"{spec} returned a {type(network).__name__}, but must return a torch.nn.Module"
        )
    return network.eval()


@contextmanager
def _importable(folder: Path) -> Iterator[None]:
    """Let the user's file import its neighbours."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _import_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise ConfigError(f"no model file {path}")
    found = importlib.util.spec_from_file_location(f"splitnet_model_{path.stem}", path)
    assert found is not None and found.loader is not None  # the name ends in .py
    module = importlib.util.module_from_spec(found)
    sys.modules[found.name] = module  # dataclasses in the file look their module up
    try:
        found.loader.exec_module(module)
    except Exception as error:
        raise ModelError(f"{path} cannot be imported ({type(error).__name__}: {error})") from error
    return module


def _import_module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{name}.".startswith(f"{error.name}."):
            raise ConfigError(
                f"no module {name!r}: install it, run in its directory, or give the file (a/b.py:f)"
            ) from error
        raise ModelError(f"{name} cannot be imported: it needs the module {error.name!r}") from error
    except Exception as error:
        raise ModelError(f"{name} cannot be imported ({type(error).__name__}: {error})") from error
