"""Export of torch modules to ONNX, quietly, with errors that a person can act on."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import re
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from splitnet.builder.graph import OPSET
from splitnet.builder.reasons import first_line
from splitnet.builder.shapes import BATCH_NAME, Axes
from splitnet.errors import ConfigError, ModelError


def run_torch(module: Callable[..., Any], inputs: Sequence[NDArray[Any]]) -> list[NDArray[Any]]:
    """Return what `module` answers to a batch.

    Raises
    ------
    ModelError
        The module refuses the batch, or answers with anything but tensors.
    """
    shapes = ", ".join(f"{array.dtype}{list(array.shape)}" for array in inputs)
    try:
        with torch.inference_mode():
            answer = module(*(torch.tensor(np.ascontiguousarray(array)) for array in inputs))
    except Exception as error:
        raise ModelError(
            f"the model fails on an input {shapes}{_where(error)}: {first_line(error)}; "
            "check the shape and the preprocessing of the data"
        ) from error
    return [tensor.detach().numpy() for tensor in _tensors(answer)]


def _tensors(answer: Any) -> list[Tensor]:
    """Return the tensors of an answer: one, a sequence, or the values of a mapping."""
    parts = [answer]
    if isinstance(answer, Mapping):
        parts = list(answer.values())
    elif isinstance(answer, (tuple, list)):
        parts = list(answer)
    wrong = {type(part).__name__ for part in parts if not isinstance(part, Tensor)}
    if wrong or not parts:
        inside = f" of {', '.join(sorted(wrong))}" if parts and parts[0] is not answer else ""
        raise ModelError(
            f"the model answers with a {type(answer).__name__}{inside}: wrap it in a module whose "
            "forward takes tensors and returns tensors"
        )
    return parts


def export_torch(
    module: torch.nn.Module, example: Sequence[NDArray[Any]], axes: Sequence[Axes] = ()
) -> onnx.ModelProto:
    """Export `module` (which is put into eval mode) with a dynamic batch dimension ``N``.

    Batch normalisation is folded into convolutions by the exporter's optimiser.

    Parameters
    ----------
    example
        One sample: each input with its batch dimension, ``(1, ...)``.
    axes
        Names of further dynamic dimensions of each input.

    Raises
    ------
    ModelError
        The module fails on the example or cannot be exported; the message names the operator or
        the source line.
    """
    module.eval()
    parameters = list(inspect.signature(module.forward).parameters.values())
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        raise ModelError(
            f"forward of {type(module).__name__} takes *args, so its inputs have no places: name "
            "them one by one"
        )
    run_torch(module, example)
    names = [BATCH_NAME, *(name for named in axes for name in named.values())]
    dims = {name: torch.export.Dim(name) for name in names}
    dynamic = [{0: dims[BATCH_NAME]} for _ in example]
    for found, named in zip(dynamic, axes, strict=False):
        found.update({axis: dims[name] for axis, name in named.items()})
    # The exporter would take a size of 1 for a constant, so it sees two samples.
    pair = tuple(torch.from_numpy(np.concatenate([array, array])) for array in example)
    single = len(example) == 1
    return _export(
        module,
        pair,
        input_names=["input"] if single else [p.name for p in parameters][: len(example)],
        dynamic_shapes=tuple(dynamic),
    )


def export_program(program: torch.export.ExportedProgram) -> onnx.ModelProto:
    """Export what ``torch.export`` made, with the dynamic dimensions that it has.

    Raises
    ------
    ModelError
        It cannot be exported; the message names the operator or the source line.
    """
    return _export(program, None)


def load_program(path: Path) -> torch.export.ExportedProgram:
    """Read a file that ``torch.export.save`` wrote.

    Raises
    ------
    ConfigError
        There is no such file.
    ModelError
        The file is damaged, or of a version of torch that this one does not read.
    """
    if not path.is_file():
        raise ConfigError(f"no model file {path}")
    try:
        with _quiet():
            return torch.export.load(path)
    except Exception as error:  # whatever the archive, its JSON and its tensors raise
        raise ModelError(
            f"{path} is truncated or not a program that torch {torch.__version__} reads "
            f"({first_line(error)}): save it again with torch.export.save"
        ) from error


def _export(model: Any, inputs: Any, **options: Any) -> onnx.ModelProto:
    try:
        with _quiet():
            program = torch.onnx.export(
                model, inputs, dynamo=True, verbose=False, opset_version=OPSET, **options
            )
    except Exception as error:
        if any(isinstance(cause, KeyboardInterrupt) for cause in _chain(error)):
            raise KeyboardInterrupt from error  # which torch takes for the model's failure
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
