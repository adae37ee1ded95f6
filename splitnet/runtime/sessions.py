"""onnxruntime sessions over the graphs of a bundle, opened when needed and kept within a budget."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from splitnet.bundle import GraphRef
from splitnet.errors import ModelError, TensorMismatchError, one_line
from splitnet.runtime.directory import bundle_file, verify_graph

Array: TypeAlias = NDArray[Any]

BATCH_DIMENSION = "N"
_LOG_FATAL = 4
"""onnxruntime's highest severity: its errors are raised here, and need not be logged as well."""

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(uint8)": "uint8",
    "tensor(int8)": "int8",
    "tensor(int16)": "int16",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
    "tensor(bool)": "bool",
}


class Graph:
    """One onnxruntime session on the CPU, never spinning, one operator at a time.

    Parameters
    ----------
    path
        The ONNX file; its external data is looked for beside it.
    threads
        Number of threads that one operator may use.
    batch
        A fixed batch size (shapes are then planned once), or ``None`` for any.

    Raises
    ------
    ModelError
        onnxruntime refuses the file, or an input has a dtype that no bundle has.
    """

    def __init__(self, path: Path, threads: int = 1, batch: int | None = None) -> None:
        self.path = path
        try:
            self._session = onnxruntime.InferenceSession(
                str(path), _options(threads, batch), providers=["CPUExecutionProvider"]
            )
        except _refusals() as error:
            raise ModelError(f"onnxruntime refuses {path}: {one_line(error)}") from error
        self._inputs = [_port(path, node) for node in self._session.get_inputs()]
        self._outputs = [node.name for node in self._session.get_outputs()]

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Return the outputs of the graph for its inputs, in the order of the file.

        Raises
        ------
        TensorMismatchError
            Not as many arrays as inputs, or one of a wrong dtype or shape.
        ModelError
            onnxruntime failed on acceptable inputs.
        """
        if len(arrays) != len(self._inputs):
            raise TensorMismatchError(
                f"{self.path.name} takes {len(self._inputs)} tensors, {len(arrays)} were given"
            )
        feed = {}
        for port, array in zip(self._inputs, arrays, strict=True):
            if not port.takes(array):
                raise TensorMismatchError(f"{self.path.name}: {port.refusal(array)}")
            feed[port.name] = array
        try:
            return self._session.run(self._outputs, feed)  # type: ignore[no-any-return]
        except _refusals() as error:
            raise ModelError(f"{self.path.name} failed: {one_line(error)}") from error


@dataclass(frozen=True, slots=True)
class _Port:
    """An input of a session, read once: to ask onnxruntime takes longer than a small segment.

    Measured with 12 segments of MobileNetV2, where the caches are cold between two of them: asked
    at each run, their names, types and shapes cost 4 % of its time.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]

    def takes(self, array: Array) -> bool:
        """Return whether `array` fits."""
        known = array.shape == self.shape or self._fits(array.shape)
        return known and array.dtype == self.dtype

    def refusal(self, array: Array) -> str:
        """Return why `array` does not fit."""
        if array.dtype != self.dtype:
            return f"tensor {self.name!r} is {array.dtype}, {self.dtype} is needed"
        return f"tensor {self.name!r} has shape {array.shape}, {self.shape} is needed"

    def _fits(self, shape: tuple[int, ...]) -> bool:
        return len(shape) == len(self.shape) and all(
            not isinstance(want, int) or have == want
            for have, want in zip(shape, self.shape, strict=True)
        )


def _port(path: Path, node: Any) -> _Port:
    if node.type not in _DTYPES:
        raise ModelError(
            f"{path.name}: input {node.name!r} is {node.type}, which is not accepted; use one of "
            f"{', '.join(_DTYPES.values())}"
        )
    return _Port(node.name, np.dtype(_DTYPES[node.type]), tuple(node.shape))


class GraphStore:
    """The sessions of one bundle, opened on first use, least recently used ones closed.

    Parameters
    ----------
    budget_bytes
        Bound on the files of all open graphs together; a graph that alone exceeds it is
        opened all the same, as the only one.
    batch
        A fixed batch size for all graphs, or ``None``.
    """

    def __init__(
        self,
        directory: Path,
        threads: int = 1,
        budget_bytes: int | None = None,
        batch: int | None = None,
    ) -> None:
        self._directory = directory
        self._threads = threads
        self._budget_bytes = budget_bytes
        self._batch = batch
        self._open: OrderedDict[str, tuple[Graph, int]] = OrderedDict()
        self._open_bytes = 0
        self._verified: set[str] = set()

    def get(self, ref: GraphRef) -> Graph:
        """Return the session of `ref`; its files are verified before they are first opened.

        Raises
        ------
        BundleError
            A file is missing or damaged.
        ModelError
            onnxruntime refuses the graph.
        """
        if ref.file in self._open:
            self._open.move_to_end(ref.file)
            return self._open[ref.file][0]
        size = verify_graph(self._directory, ref, self._verified)
        self._make_room(size)
        graph = Graph(bundle_file(self._directory, ref.file), self._threads, self._batch)
        self._open[ref.file] = graph, size
        self._open_bytes += size
        return graph

    @property
    def open_files(self) -> tuple[str, ...]:
        """Names of the graphs that are open now, the least recently used first."""
        return tuple(self._open)

    def _make_room(self, size: int) -> None:
        while self._budget_bytes is not None and self._open:
            if self._open_bytes + size <= self._budget_bytes:
                return
            _, (_, freed) = self._open.popitem(last=False)
            self._open_bytes -= freed


def _options(threads: int, batch: int | None) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _LOG_FATAL
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # A block planned for all tensors of a session at once is another, cold one for every segment.
    # Measured with 11 boundaries of MobileNetV2: 12 % with such blocks, 9 % without.
    options.enable_mem_pattern = False
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    _share_arena()
    options.add_session_config_entry("session.use_env_allocators", "1")
    # Weights stay outside the arena, so that closing a session gives their memory back.
    options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
    if batch is not None:
        options.add_free_dimension_override_by_name(BATCH_DIMENSION, batch)
    return options


@cache
def _share_arena() -> None:
    """Let all sessions of this process take their buffers from one arena.

    Segments run one after the other: with an arena each, every one would find its buffers cold.
    Measured: 11 boundaries cost MobileNetV2 13 % with an arena each and 9 % with one.
    """
    place = onnxruntime.OrtMemoryInfo(
        "Cpu",
        onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR,
        0,
        onnxruntime.OrtMemType.DEFAULT,
    )
    grow_as_asked = onnxruntime.OrtArenaCfg({"arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(place, grow_as_asked)


@cache
def _refusals() -> tuple[type[Exception], ...]:
    """Return what onnxruntime raises: classes of its own that share no base."""
    state = onnxruntime.capi.onnxruntime_pybind11_state
    members = (getattr(state, name) for name in dir(state))
    own = [m for m in members if isinstance(m, type) and issubclass(m, Exception)]
    return (*own, RuntimeError, ValueError)
