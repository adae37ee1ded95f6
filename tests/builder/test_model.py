"""Loading: a torch module or an ONNX file becomes a graph, or one clear line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from torch import Tensor, nn

from splitnet.builder.cuts import find_cuts
from splitnet.builder.model import SourceModel, load_model, source_from_torch
from splitnet.errors import ConfigError, ModelError

NETWORKS = Path(__file__).with_name("networks.py")

SAMPLE = np.random.default_rng(5).standard_normal((1, 2, 3, 4)).astype(np.float32)


def test_torch_module_becomes_a_graph(
    network: Callable[[str], SourceModel], images: NDArray[Any]
) -> None:
    model = network("residual")
    assert model.name == "residual"
    assert model.module is not None
    assert not model.module.training
    assert model.reference([images])[0].shape == (4, 10)
    assert model.graph.inputs[0].dims == ("N", 3, 16, 16)
    assert model.graph.outputs[0].dims == ("N", 10)
    operators = [node.op for node in model.graph.nodes]
    assert "BatchNormalization" not in operators
    assert operators.count("Conv") == 4


def test_the_exporter_is_not_heard(networks: Any, capfd: pytest.CaptureFixture[str]) -> None:
    source_from_torch("shared", networks.Shared(), [np.ones((1, 3, 16, 16), np.float32)])
    assert capfd.readouterr() == ("", "")


def test_an_output_without_a_batch_is_refused() -> None:
    class Total(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.sum()

    with pytest.raises(ModelError, match="a single number: the first dimension"):
        source_from_torch("total", Total(), [np.ones((1, 4), np.float32)])


def test_an_interrupt_is_not_the_models_failure(
    networks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exporter wraps whatever ends one of its attempts."""

    def interrupted(*arguments: Any, **options: Any) -> Any:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt as error:
            raise RuntimeError("failed to export") from error

    monkeypatch.setattr("torch.onnx.export", interrupted)
    with pytest.raises(KeyboardInterrupt):
        source_from_torch("shared", networks.Shared(), [np.ones((1, 3, 16, 16), np.float32)])


def test_module_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "layers_here.py").write_text("from torch.nn import Linear as Layer\n")
    (tmp_path / "net_here.py").write_text(
        "from layers_here import Layer\ndef build():\n    return Layer(4, 2)\n"
    )
    monkeypatch.chdir(tmp_path)
    model = load_model("net_here:build", [SAMPLE.reshape(1, 6, 4)])
    assert model.graph.outputs[0].dims == ("N", 6, 2)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("resnet", ConfigError, "neither module:callable, path/to/file.py:callable nor a .onnx"),
        ("nowhere.py:net", ConfigError, "no model file nowhere.py"),
        ("nowhere.onnx", ConfigError, "no model file nowhere.onnx"),
        ("no_such_module_x:net", ConfigError, "no module 'no_such_module_x'"),
        (f"{NETWORKS}:residul", ConfigError, "no callable 'residul' .did you mean 'residual'"),
        (f"{NETWORKS}:no_module", ModelError, "returned a str, but must return a torch.nn.Module"),
        (f"{NETWORKS}:broken", ModelError, "failed .FileNotFoundError: weights.pt.*without argu"),
    ],
)
def test_specs_that_name_no_model(spec: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        load_model(spec, [SAMPLE])


def test_file_that_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "bad.py").write_text("import no_such_module_x\n")
    with pytest.raises(ModelError, match=r"bad.py cannot be imported .ModuleNotFoundError"):
        load_model(f"{tmp_path / 'bad.py'}:net", [SAMPLE])


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Branching", r"at .*networks.py:\d+ .if x.sum.. > 0:.*; remove the branch on tensor val"),
        ("NoOnnxForm", r"the operator aten\S+ has no ONNX form: replace it"),
        ("MixesSamples", "answers change when samples are batched: it mixes samples"),
        ("FixedBatch", "answers change when samples are batched"),
        ("Noisy", "differs from the original by .* at random"),
        ("NestedAnswers", "answers with a tuple of dict: wrap it in a module"),
        ("AnyInputs", r"forward of AnyInputs takes \*args.*name them one by one"),
        ("IgnoresInput", "does not depend on its input"),
    ],
)
def test_torch_modules_that_cannot_be_cut(name: str, message: str, networks: Any) -> None:
    with pytest.raises(ModelError, match=message) as failure:
        source_from_torch(name, getattr(networks, name)(), [SAMPLE[:, :, :, :3]])
    assert "\n" not in str(failure.value)


def test_answers_of_a_dtype_that_no_bundle_carries() -> None:
    class Wide(nn.Flatten):
        def forward(self, x: Tensor) -> Tensor:
            return (2 * super().forward(x)).double()

    with pytest.raises(ModelError, match=r"answers with float64, .* for instance by \.float\(\)"):
        source_from_torch("wide", Wide(), [SAMPLE])


def test_data_of_the_wrong_shape(networks: Any) -> None:
    message = r"fails on an input float32\[1, 2, 3, 4\] at .*networks.py:\d+ .*check the shape"
    with pytest.raises(ModelError, match=message) as failure:
        source_from_torch("shared", networks.Shared(), [SAMPLE])
    assert "\n" not in str(failure.value)


def save(text: str, path: Path) -> str:
    """Write the model that `text` describes."""
    onnx.save(onnx.parser.parse_model(text), path)
    return str(path)


FIXED = """
<ir_version: 6, opset_import: ["" : 11]>
fixed (float[1,2,3,4] x) => (float[1,8,3] y)
<int64[3] target = {1, 8, 3}>
{ relu = Relu (x)  y = Reshape (relu, target) }
"""


def test_onnx_file_with_a_fixed_batch(tmp_path: Path) -> None:
    model = load_model(save(FIXED, tmp_path / "fixed.onnx"), [SAMPLE])
    assert (model.name, model.module) == ("fixed", None)
    assert model.graph.outputs[0].dims == ("N", 8, 3)
    pair = np.concatenate([SAMPLE, -SAMPLE])
    np.testing.assert_array_equal(model.reference([pair])[0], np.maximum(pair, 0).reshape(2, 8, 3))
    assert [cut.id for cut in find_cuts(model.graph)] == ["relu:0"]


def test_onnx_file_of_a_newer_operator_set(tmp_path: Path) -> None:
    text = FIXED.replace('"" : 11', '"" : 21').replace("ir_version: 6", "ir_version: 10")
    model = load_model(save(text, tmp_path / "new.onnx"), [SAMPLE])
    assert model.graph.opsets == {"": 18}


def test_onnx_file_with_local_functions(tmp_path: Path) -> None:
    text = """
    <ir_version: 8, opset_import: ["" : 17, "own" : 1]>
    calls (float[N,4] x) => (float[N,4] y) { y = own.twice (x) }
    <domain: "own", opset_import: ["" : 17]>
    twice (a) => (b) { b = Add (a, a) }
    """
    model = load_model(save(text, tmp_path / "calls.onnx"), [SAMPLE[0, 0, :1]])
    assert [node.op for node in model.graph.nodes] == ["Add"]


def changed(*changes: tuple[str, str]) -> str:
    """Return FIXED after some replacements."""
    text = FIXED
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def test_onnx_file_with_a_target_that_needs_no_change(tmp_path: Path) -> None:
    text = changed(("{1, 8, 3}", "{-1, 4, 6}"), ("[1,8,3]", "[1,4,6]"))
    model = load_model(save(text, tmp_path / "model.onnx"), [SAMPLE])
    assert model.graph.outputs[0].dims == ("N", 4, 6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (changed(("[1,2,3,4]", "[1,2,3,5]")), r"takes float32\[1, 2, 3, 5\] but the prepared data"),
        (changed(("float[", "double[")), r"takes float64\[1, 2, 3, 4\] but the prepared data is"),
        (changed(("4] x", "4] x, float[1] z")), r"has 2 inputs \(x, z\), the data has 1 arrays"),
        (
            changed(("3] y", "3] y, float[1,2,3,4] x")),
            "output 'x' is an input or another output, as it is",
        ),
        (
            changed(("relu, target", "relu, all"), ("y =", "all = Identity (target) y =")),
            "cannot be batched .the model failed: .*Reshape.*a fixed batch size",
        ),
    ],
)
def test_onnx_files_that_cannot_be_used(
    tmp_path: Path, text: str, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ModelError, match=message) as failure:
        load_model(save(text, tmp_path / "model.onnx"), [SAMPLE])
    assert "\n" not in str(failure.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("content", [b"", b"no model at all", b"\x08"])
def test_files_that_are_no_models(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="truncated or not a valid ONNX model"):
        load_model(str(path), [SAMPLE])


def test_truncated_onnx_file(tmp_path: Path) -> None:
    path = Path(save(FIXED, tmp_path / "model.onnx"))
    whole = path.read_bytes()
    for length in range(1, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelError, match=r"model.onnx|onnxruntime cannot load"):
            load_model(str(path), [SAMPLE])
