"""Export of torch modules to ONNX, quietly, with errors that a person can act on."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from splitnet.builder.graph import OPSET
from splitnet.builder.reasons import first_line
from splitnet.errors import ModelError


def run_torch(module: torch.nn.Module, batch: NDArray[Any]) -> NDArray[Any]:
    """Return what `module` answers to a batch.

    Raises
    ------
    ModelError
        The module refuses the batch, or answers with anything but one tensor.
    """
    shape = f"{batch.dtype}{list(batch.shape)}"
    try:
        with torch.inference_mode():
            answer = module(torch.tensor(np.ascontiguousarray(batch)))
    except Exception as error:
        raise ModelError(
            f"the model fails on an input {shape}{_where(error)}: {first_line(error)}; "
            "check the shape and the preprocessing of the data"
        ) from error
    if not isinstance(answer, torch.Tensor):
        raise ModelError(
            f"the model answers with a {type(answer).__name__}: wrap it in a module whose forward "
            "takes one tensor and returns one tensor"
        )
    return answer.detach().numpy()


def export_torch(module: torch.nn.Module, example: NDArray[Any]) -> onnx.ModelProto:
    """Export `module` (which is put into eval mode) with a dynamic batch dimension ``N``.

    Batch normalisation is folded into convolutions by the exporter's optimiser.

    Parameters
    ----------
    example
        One sample with its batch dimension, ``(1, ...)``.

    Raises
    ------
    ModelError
        The module fails on the example or cannot be exported; the message names the operator or
        the source line.
    """
    module.eval()
    run_torch(module, example)
    # The exporter would take a size of 1 for a constant, so it sees two samples.
    pair = torch.from_numpy(np.concatenate([example, example]))
    try:
        with _quiet():
            program = torch.onnx.export(
                module,
                (pair,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["output"],
                dynamic_shapes=({0: torch.export.Dim("N")},),
            )
    except Exception as error:
        raise ModelError(_explain(error)) from error
    if program is None:
        raise ModelError("this version of torch returned no ONNX program; use torch 2.6 or newer")
    return program.model_proto


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's progress, warnings and graph dumps away from the terminal."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _explain(error: BaseException) -> str:
    """Return one line that names the operator or the source line, and what to do."""
    chain = _chain(error)
    operators = [re.search(r"No ONNX function found for .*?op='([^']+)'", str(e)) for e in chain]
    for found in filter(None, operators):
        return (
            f"the operator {found[1]} has no ONNX form: replace it in the model, or export the "
            "model to an .onnx file yourself"
        )
    cause = chain[-1]
    hint = "make the model traceable by torch.export"
    if "data-dependent" in str(cause):
        hint = "remove the branch on tensor values (the same operators must run for every input)"
    elif "Constraints violated" in str(cause) or "specialized" in str(cause):
        hint = "remove the fixed batch size (use x.shape[0], -1 or flatten(1))"
    place = next(filter(None, map(_where, chain)), "")
    return f"the model cannot be exported{place}: {first_line(cause)}; {hint}"


def _chain(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in found:
        found.append(current)
        current = current.__cause__ or current.__context__
    return found


def _where(error: BaseException) -> str:
    """Return ``" at file:line (code)"`` of the innermost line of the user's own source."""
    named = re.findall(r'File "([^"<]+)", line (\d+), in \w+\n\s*(.+)', str(error))
    frames = [(f.filename, f.lineno, f.line) for f in traceback.extract_tb(error.__traceback__)]
    for file, line, code in reversed([*frames, *named]):
        if Path(file).is_file() and not _is_library(file):
            return f" at {file}:{line} ({str(code).strip()})"
    return ""


def _is_library(file: str) -> bool:
    own = Path(__file__).parent
    return own in Path(file).parents or not {"site-packages", "dist-packages"}.isdisjoint(
        Path(file).parts
    )
