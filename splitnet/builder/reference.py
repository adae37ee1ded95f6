"""The reference network of device classes, to learn how fast this machine is."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod, sqrt
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from splitnet.builder.graph import IR_VERSION, OPSET
from splitnet.runtime.sessions import Graph

INPUT = (1, 3, 224, 224)
CLASSES = 1000

BLOCKS = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
"""Expansion, channels, repetitions and first stride of the bottlenecks of MobileNetV2 (Sandler et
al., arXiv 1801.04381, Table 2); normalisation is folded into the convolutions."""

STEM, LAST = 32, 1280
"""Channels of the first and of the last convolution."""


WARM_UP = 5


class ReferenceTimer:
    """Times the reference network on this machine, a few runs at a time.

    Runs are spread over the measurement of the stages, to see the load that those see. One takes
    longer than a stage and is interrupted more often, so what counts is the lower quartile.
    """

    def __init__(self, threads: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self._graph = open_reference(threads)
        self._image = np.zeros(INPUT, np.float32)
        self._clock = clock
        self._times_s: list[float] = []
        for _ in range(WARM_UP):
            self._graph.run([self._image])

    def run(self, times: int = 1) -> None:
        """Run the network and keep what it took."""
        for _ in range(times):
            began_s = self._clock()
            self._graph.run([self._image])
            self._times_s.append(self._clock() - began_s)

    @property
    def time_s(self) -> float:
        """The lower quartile of all runs so far; there must be one."""
        return sorted(self._times_s)[len(self._times_s) // 4]


def open_reference(threads: int) -> Graph:
    """Return the reference network, with random weights, ready to run on this machine."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "reference.onnx"
        file.write_bytes(reference_model().SerializeToString())
        return Graph(file, threads)


def reference_model() -> onnx.ModelProto:
    """Return the reference network; its times do not depend on its weights."""
    network = _Network()
    tensor = network.convolve("input", INPUT[1], STEM, size=3, stride=2)
    channels = STEM
    for expansion, width, repetitions, first_stride in BLOCKS:
        for repetition in range(repetitions):
            stride = first_stride if repetition == 0 else 1
            inner, wide = tensor, channels * expansion
            if expansion > 1:
                inner = network.convolve(inner, channels, wide)
            inner = network.convolve(inner, wide, wide, size=3, stride=stride, group=wide)
            inner = network.convolve(inner, wide, width, linear=True)
            skip = stride == 1 and channels == width
            tensor = network.add("Add", [tensor, inner]) if skip else inner
            channels = width
    tensor = network.convolve(tensor, channels, LAST)
    tensor = network.add("Flatten", [network.add("GlobalAveragePool", [tensor])])
    tensor = network.add("Gemm", [tensor, network.weight((LAST, CLASSES), LAST)])
    return network.model(tensor)


class _Network:
    """Collects operators, each with one output."""

    def __init__(self) -> None:
        self._random = np.random.default_rng(0)
        self._nodes: list[onnx.NodeProto] = []
        self._weights = [
            numpy_helper.from_array(np.array(0, np.float32), "zero"),
            numpy_helper.from_array(np.array(6, np.float32), "six"),
        ]

    def add(self, op: str, inputs: list[str], **attributes: Any) -> str:
        output = f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def weight(self, shape: tuple[int, ...], fan_in: int) -> str:
        """Values that keep activations near 1: neither overflow nor denormals."""
        name = f"w{len(self._weights)}"
        values = self._random.standard_normal(shape, np.float32) * np.float32(sqrt(2 / fan_in))
        self._weights.append(numpy_helper.from_array(values, name))
        return name

    def convolve(
        self,
        tensor: str,
        channels: int,
        width: int,
        *,
        size: int = 1,
        stride: int = 1,
        group: int = 1,
        linear: bool = False,
    ) -> str:
        shape = (width, channels // group, size, size)
        weights = [self.weight(shape, prod(shape[1:])), self.weight((width,), width)]
        found = self.add(
            "Conv",
            [tensor, *weights],
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=group,
        )
        return found if linear else self.add("Clip", [found, "zero", "six"])

    def model(self, output: str) -> onnx.ModelProto:
        graph = helper.make_graph(
            self._nodes,
            "reference",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, INPUT)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, (INPUT[0], CLASSES))],
            self._weights,
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION)
