"""Loading of the model to split: a torch module or an ONNX file becomes one graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from splitnet.builder.graph import Graph
from splitnet.builder.graph_reader import read_graph
from splitnet.builder.onnx_file import read_onnx
from splitnet.builder.probing import open_runner
from splitnet.builder.torch_export import export_torch, run_torch
from splitnet.builder.torch_source import build_module
from splitnet.errors import ModelError
from splitnet.runtime.sessions import Graph as Session

Reference: TypeAlias = Callable[[NDArray[Any]], NDArray[Any]]

TOLERANCE = 1e-4
"""Largest error of an exported model, as a share of its largest output."""

_UNBATCHED = (
    "it mixes samples or has a fixed batch size; use x.shape[0], -1 or flatten(1), and export "
    "ONNX files with a dynamic first axis"
)


@dataclass(frozen=True, slots=True)
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
    """Load the model that `spec` names, and prove on `example` that it was read right.

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
    module = build_module(spec)
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
    # A mirrored sample is plausible for any data, and tells whether samples are mixed.
    pair = np.concatenate([example, np.flip(example, axis=-1)])
    _prove(proto, reference, pair)
    return SourceModel(name, read_graph(proto, example, pair), reference, module)


def _prove(proto: onnx.ModelProto, reference: Reference, pair: NDArray[Any]) -> None:
    """Check the graph against the original, one by one and as a batch."""
    run = open_runner(proto)
    expected = np.concatenate([reference(row[None]) for row in pair])
    single = np.concatenate([run(row[None])[0] for row in pair])
    limit = TOLERANCE * float(np.abs(expected).max())
    error = _distance(single, expected)
    if not error <= limit:
        raise ModelError(
            f"the ONNX form of the model differs from the original by {error:.2g} (largest output "
            f"{limit / TOLERANCE:.3g}): it computes something outside torch or at random"
        )
    try:
        together = run(pair)[0]
    except ModelError as error:
        raise ModelError(f"the model cannot be batched ({error}): {_UNBATCHED}") from error
    if not _distance(together, single) <= limit:
        raise ModelError(f"the model's answers change when samples are batched: {_UNBATCHED}")


def _distance(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest difference; infinite if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max())


def _onnx_reference(path: Path) -> Reference:
    """Return a function that runs the original file, sample by sample as it may demand."""
    graph = Session(path)
    return lambda batch: np.concatenate([graph.run([row[None]])[0] for row in batch])
