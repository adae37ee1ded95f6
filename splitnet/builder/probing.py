"""Plain runs of ONNX graphs while they are read: the yardstick, not the product."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import onnx
from numpy.typing import NDArray

from splitnet.errors import ModelError
from splitnet.runtime.sessions import Graph

Runner: TypeAlias = Callable[[NDArray[Any]], list[Any]]


def open_runner(model: onnx.ModelProto) -> Runner:
    """Return a function from a batch to the values of all outputs of a model with one input.

    Raises
    ------
    ModelError
        onnxruntime cannot load the model, or later not run it on a batch.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        onnx.save(model, path)
        with _without_path(path):
            graph = Graph(path)

    def run(batch: NDArray[Any]) -> list[Any]:
        with _without_path(path):
            return graph.run([batch])

    return run


def compute_all(model: onnx.ModelProto, *batches: NDArray[Any]) -> list[dict[str, Any]]:
    """Return, for each batch, the values of the input and of all computed tensors by name."""
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    known = [model.graph.input[0].name, model.graph.output[0].name]
    names = [n for node in model.graph.node for n in node.output if n and n not in known]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    run = open_runner(probe)
    return [dict(zip([*known, *names], [b, *run(b)], strict=True)) for b in batches]


@contextmanager
def _without_path(path: Path) -> Iterator[None]:
    """Keep the temporary file out of messages."""
    try:
        yield
    except ModelError as error:
        text = str(error).replace(str(path), "the model").replace(path.name, "the model")
        raise ModelError(text) from error
