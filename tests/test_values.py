"""The shared nouns, and what importing the package may not import."""

from __future__ import annotations

import subprocess
import sys

import pytest

from splitnet.values import (
    ExitStep,
    Option,
    OptionKind,
    Plan,
    RequestClass,
    TensorSpec,
    decode_stage,
    encode_stage,
)


def test_plans_and_options_have_one_name_each() -> None:
    rule = (ExitStep("e1", "max-softmax", 0.9),)
    assert Plan("layer2", 1).key == "layer2@1"
    assert Plan("layer2", 1, rule).key == "layer2@1+exits"
    device = Plan("device", 0)
    assert Option(OptionKind.LOCAL, device, None, 0.9, 0.1).key == "device:end"
    assert Option(OptionKind.LOCAL, device, "e1", 0.9, 0.1).key == "device:e1"
    assert encode_stage("p", 1) == "encode:p@1" and decode_stage("p", 0) == "decode:p@0"


def test_tensor_specs_resolve_named_dimensions() -> None:
    spec = TensorSpec("a", "float32", ("N", 16, "T"))
    assert spec.shape(3, {"T": 5}) == (3, 16, 5)
    assert TensorSpec("a", "uint8", ("N", 3, 4)).sample_bytes() == 12
    assert spec.sample_bytes({"T": 5, "unused": 9}) == 320
    assert spec.sample_bytes() == 64  # a bound: an unknown size counts as 1
    assert [int(kind) for kind in RequestClass] == [0, 1]


@pytest.mark.parametrize("module", ["splitnet", "splitnet.cli", "splitnet.machines.agent"])
def test_importing_stays_light(module: str) -> None:
    heavy = {"torch", "onnx", "ray", "zmq", "onnxruntime", "rich"}
    code = f"import {module}, sys; loaded = {heavy} & set(sys.modules); assert not loaded, loaded"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
