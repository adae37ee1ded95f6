"""Plain runs of ONNX graphs while building: the yardstick, not the product."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import onnx
import onnxruntime
from numpy.typing import NDArray

from splitnet.errors import ModelError

Runner: TypeAlias = Callable[[NDArray[Any]], list[Any]]


def open_runner(model: onnx.ModelProto | Path) -> Runner:
    """Return a function from a batch to the values of all outputs of a model with one input.

    The graph is run as it is: fusions would remove tensors that are asked for.

    Raises
    ------
    ModelError
        onnxruntime cannot load the model, or later not run it on a batch.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    source = str(model) if isinstance(model, Path) else model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(source, options, ["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors have no other root
        raise ModelError(f"onnxruntime cannot load the model: {_line(error)}") from error
    name = session.get_inputs()[0].name

    def run(batch: NDArray[Any]) -> list[Any]:
        try:
            return list(session.run(None, {name: batch}))
        except Exception as error:
            raise ModelError(
                f"onnxruntime cannot run the model on {len(batch)} sample(s), "
                f"{batch.dtype}{list(batch.shape)}: {_line(error)}"
            ) from error

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


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
