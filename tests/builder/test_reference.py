"""The network that device classes are compared by."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

from splitnet.builder.build import BuildConfig
from splitnet.builder.operators import classify, count_flops
from splitnet.builder.reference import (
    CLASSES,
    INPUT,
    ReferenceTimer,
    open_reference,
    reference_model,
)
from splitnet.runtime.directory import open_bundle

PUBLISHED_PARAMETERS = 3.4e6
PUBLISHED_MULTIPLY_ADDS = 300e6
"""MobileNetV2 1.0 at 224 x 224: Sandler et al., arXiv 1801.04381, Table 4."""


def test_it_is_the_network_of_the_paper() -> None:
    model = onnx.shape_inference.infer_shapes(reference_model(), check_type=True, strict_mode=True)
    onnx.checker.check_model(model, full_check=True)
    graph = model.graph
    shapes = {
        value.name: tuple(dim.dim_value for dim in value.type.tensor_type.shape.dim)
        for value in (*graph.value_info, *graph.input, *graph.output)
    }
    shapes |= {weight.name: tuple(weight.dims) for weight in graph.initializer}
    flops = 0
    depthwise = 0
    for node in graph.node:
        attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        inputs, outputs = [shapes[name] for name in node.input], [shapes[node.output[0]]]
        if node.op_type in ("Conv", "Gemm"):
            flops += count_flops(node.op_type, inputs, outputs, attributes)
            kind = classify(node.op_type, inputs[1], attributes.get("group", 1))
            depthwise += kind == "depthwise"
    parameters = sum(prod(weight.dims) for weight in graph.initializer)
    assert abs(parameters / PUBLISHED_PARAMETERS - 1) < 0.05
    assert abs(flops / 2 / PUBLISHED_MULTIPLY_ADDS - 1) < 0.05
    assert depthwise == 17


def test_its_activations_are_of_a_usual_size() -> None:
    image = np.random.default_rng(0).standard_normal(INPUT, np.float32)
    (output,) = open_reference(threads=1).run([image])
    assert output.shape == (1, CLASSES)
    assert 0.1 < float(output.std()) < 100


def test_the_timer_says_the_lower_quartile_of_its_runs() -> None:
    times_s = iter([0.0, 1.0, 10.0, 19.0, 20.0, 22.0, 30.0, 33.0])  # 1, 9, 2 and 3 seconds
    timer = ReferenceTimer(1, lambda: next(times_s))
    timer.run()
    timer.run(3)
    assert timer.time_s == 2.0


def test_a_bundle_says_what_it_takes_on_the_build_machine(built: BuildConfig) -> None:
    (profile,) = open_bundle(built.out).advice.profiles
    assert profile.reference_s is not None and 0.001 < profile.reference_s < 10
