"""Plain runs of ONNX graphs while they are read: the yardstick, not the product."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

import onnx
from numpy.typing import NDArray

from splitnet.builder.weights import save_model
from splitnet.errors import ModelError
from splitnet.runtime.sessions import Graph

Array: TypeAlias = NDArray[Any]

Runner: TypeAlias = Callable[[Sequence[Array]], list[Any]]
"""From the values of all inputs to those of all outputs."""


def open_runner(model: onnx.ModelProto) -> Runner:
    """Return a function that runs `model`.

    Raises
    ------
    ModelError
        onnxruntime cannot load the model, or later not run it on some inputs.
    """
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        save_model(model, path)
        with _without_path(path):
            graph = Graph(path)

    def run(inputs: Sequence[Array]) -> list[Any]:
        with _without_path(path):
            return graph.run(inputs)

    return run


def open_probe(model: onnx.ModelProto) -> Callable[[Sequence[Array]], dict[str, Any]]:
    """Return a function that gives the values of the inputs and of all computed tensors by name."""
    probe = onnx.ModelProto(ir_version=model.ir_version)
    probe.opset_import.extend(model.opset_import)
    for field in ("node", "input", "output", "initializer"):
        getattr(probe.graph, field).extend(getattr(model.graph, field))
    probe.graph.name = model.graph.name
    inputs = [port.name for port in model.graph.input]
    known = [port.name for port in model.graph.output]
    names = [n for node in model.graph.node for n in node.output if n and n not in known]
    probe.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    run = open_runner(probe)
    return lambda given: dict(zip([*inputs, *known, *names], [*given, *run(given)], strict=True))


@contextmanager
def _without_path(path: Path) -> Iterator[None]:
    """Keep the temporary file out of messages."""
    try:
        yield
    except ModelError as error:
        text = str(error).replace(str(path), "the model").replace(path.name, "the model")
        raise ModelError(text) from error
