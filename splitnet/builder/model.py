"""Loading of the model to split: a module, an exported program or an ONNX file becomes a graph."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from splitnet.builder.graph import Graph
from splitnet.builder.graph_reader import read_graph
from splitnet.builder.onnx_file import normalised, read_onnx
from splitnet.builder.probing import open_runner
from splitnet.builder.shapes import Axes
from splitnet.builder.torch_export import export_program, export_torch, load_program, run_torch
from splitnet.builder.torch_source import build_module
from splitnet.errors import ModelError
from splitnet.runtime.sessions import Graph as Session
from splitnet.values import DTYPE_BYTES

Array: TypeAlias = NDArray[Any]
Reference: TypeAlias = Callable[[Sequence[Array]], list[Array]]
"""The original model: its inputs as a batch in, its outputs out."""

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
        Its operators in canonical order; ``graph.inputs`` and ``graph.outputs`` are specifications.
    reference
        The original: a batch in, each tensor ``(N, ...)``, answers out.
    module
        The torch module in eval mode; ``None`` for a file.
    """

    name: str
    graph: Graph
    reference: Reference
    module: torch.nn.Module | None


def load_model(spec: str, example: Sequence[Array], axes: Sequence[Axes] = ()) -> SourceModel:
    """Load the model that `spec` names, and prove on `example` that it was read right.

    Parameters
    ----------
    spec
        ``module:callable``, ``path/to/file.py:callable``, ``path/to/model.onnx``,
        ``path/to/program.pt2``, or results of exits that the network learned along with.
    example
        One prepared sample: each input with its batch dimension, ``(1, ...)``.
    axes
        Names of the dynamic dimensions of each input besides the batch; files name their own.

    Raises
    ------
    ConfigError
        The file, module or callable does not exist.
    ModelError
        The model cannot be built, read, exported or run on `example`, or it mixes samples.
    """
    path = Path(spec)
    if path.suffix == ".onnx":
        return _source(path.stem, read_onnx(path, example), _onnx_reference(path), None, example)
    if path.suffix == ".pt2":
        program = load_program(path)
        original = program.module()
        run_torch(original, example)
        proto = normalised(export_program(program), spec, example)
        return _source(
            path.stem, proto, _one_by_one(lambda batch: run_torch(original, batch)), None, example
        )
    module = build_module(spec)
    name = path.name if path.is_dir() else spec.rpartition(":")[2]
    return source_from_torch(name, module, example, axes)


def source_from_torch(
    name: str, module: torch.nn.Module, example: Sequence[Array], axes: Sequence[Axes] = ()
) -> SourceModel:
    """Return a torch module as a model to cut (see `load_model` for the rest)."""
    proto = export_torch(module, example, axes)
    return _source(name, proto, lambda batch: run_torch(module, batch), module, example)


def _source(
    name: str,
    proto: onnx.ModelProto,
    reference: Reference,
    module: torch.nn.Module | None,
    example: Sequence[Array],
) -> SourceModel:
    _prove(proto, reference, example)
    return SourceModel(name, read_graph(proto, example), reference, module)


def _prove(proto: onnx.ModelProto, reference: Reference, example: Sequence[Array]) -> None:
    """Check the graph against the original, one by one and as a batch."""
    # A mirrored sample is plausible for any data, and tells whether samples are mixed.
    pair = [np.concatenate([array, np.flip(array, axis=-1)]) for array in example]
    run = open_runner(proto)
    expected = _one_by_one(reference)(pair)
    _check_dtypes(expected)
    single = _one_by_one(run)(pair)
    limits = [TOLERANCE * float(np.abs(output).max(initial=0)) for output in expected]
    for found, output, limit in zip(single, expected, limits, strict=True):
        error = distance(found, output)
        if not error <= limit:
            raise ModelError(
                f"the ONNX form of the model differs from the original by {error:.2g} (largest "
                f"output {limit / TOLERANCE:.3g}): it computes something outside torch or at random"
            )
    try:
        together = run(pair)
    except ModelError as error:
        raise ModelError(f"the model cannot be batched ({error}): {_UNBATCHED}") from error
    for found, output, limit in zip(together, single, limits, strict=True):
        if not distance(found, output) <= limit:
            raise ModelError(f"the model's answers change when samples are batched: {_UNBATCHED}")


def _check_dtypes(outputs: Sequence[Array]) -> None:
    for output in outputs:
        if output.dtype.name not in DTYPE_BYTES:
            raise ModelError(
                f"the model answers with {output.dtype}, which no bundle carries; convert what it "
                f"returns, for instance by .float(), to one of {', '.join(DTYPE_BYTES)}"
            )


def distance(a: Array, b: Array) -> float:
    """Return the largest difference; infinite if the shapes differ."""
    if a.shape != b.shape:
        return float("inf")
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max(initial=0))


def _one_by_one(run: Reference) -> Reference:
    """Return a function that runs a batch sample by sample, as the original may demand."""

    def each(batch: Sequence[Array]) -> list[Array]:
        rows = [run([array[i : i + 1] for array in batch]) for i in range(len(batch[0]))]
        if any(output.ndim == 0 for output in rows[0]):
            raise ModelError(
                "the model answers with a single number: the first dimension of every output must "
                "be the batch"
            )
        return [np.concatenate(outputs) for outputs in zip(*rows, strict=True)]

    return each


def _onnx_reference(path: Path) -> Reference:
    return _one_by_one(Session(path).run)
