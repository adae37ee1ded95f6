"""``splitnet cuts``: forms of inputs, the table, the best cuts, the picture."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from splitnet.builder.cuts import find_cuts
from splitnet.builder.cuts_cli import main
from splitnet.builder.forms import InputForm, declared_forms, parse_form, random_inputs
from splitnet.builder.model import SourceModel
from splitnet.builder.placement import Setting, place
from splitnet.errors import ConfigError

NETWORKS = Path(__file__).with_name("networks.py")
IMAGE = ["--input", "float32:1x3x16x16"]

DECLARED = """
<ir_version: 8, opset_import: ["" : 13]>
takes (float[N,3,8,W] image, int64[N,length] marks, bool[2] weight) => (float[N,3,8,W] y)
<bool[2] weight = {1, 0}>
{ y = Relu (image) }
"""


def test_forms_on_the_command_line() -> None:
    assert parse_form("float32:1x3x224x224") == InputForm("float32", (1, 3, 224, 224))
    assert parse_form("int64:1xT=16") == InputForm("int64", (1, 16), {1: "T"})


@pytest.mark.parametrize("text", ["1x3", "float32", "float32:", "complex64:1x2", "float32:1x-2"])
def test_forms_that_are_not_understood(text: str) -> None:
    with pytest.raises(ConfigError, match="is not understood: give dtype and sizes"):
        parse_form(text)


@pytest.mark.parametrize("text", ["float32:2x3", "float32:1x0"])
def test_forms_of_no_sample(text: str) -> None:
    with pytest.raises(ConfigError, match="is not one sample"):
        parse_form(text)


def test_forms_that_a_file_declares(tmp_path: Path) -> None:
    onnx.save(onnx.parser.parse_model(DECLARED), tmp_path / "takes.onnx")
    forms = declared_forms(str(tmp_path / "takes.onnx"))
    assert forms == (
        InputForm("float32", (1, 3, 8, 16), {3: "W"}),
        InputForm("int64", (1, 16), {1: "length"}),
    )
    image, marks = random_inputs(forms, 4, seed=1)
    assert image.shape == (4, 3, 8, 16) and image.dtype == np.float32
    assert marks.shape == (4, 16) and set(marks.ravel()) == {0, 1}
    assert declared_forms("module:callable") == ()


def test_a_table_for_people(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    assert main([f"{NETWORKS}:residual", *IMAGE]) == 0
    shown = capsys.readouterr().out
    for part in ("stem.2:relu:0", "8,192", "no: it lies", "8 cuts, a boundary may be at 5"):
        assert part in shown


def test_json_with_the_best_cuts(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    speeds = ["--device-gflops", "0.01", "--cloud-gflops", "10", "--mbps", "1", "--rtt-ms", "20"]
    picture = tmp_path / "cuts.png"
    command = [f"{NETWORKS}:residual", *IMAGE, *speeds, "--json", "--plot", str(picture)]
    assert main(command) == 0
    found = json.loads(capsys.readouterr().out)
    assert picture.stat().st_size > 1000
    assert found["inputs"] == ["float32 Nx3x16x16"] and found["flops"] > 0
    assert {cut["cut"] for cut in found["cuts"] if cut["chosen"]} >= {"relu:0"}
    least = found["best"]["least latency of the graph"]
    assert least["cut"] == "input"
    assert least["latency_s"] == pytest.approx(0.02 + 8 * 3072 / 1e6, rel=0.2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "nothing is known of the inputs of .*give --input"),
        ([*IMAGE, "--mbps", "5"], "are given together"),
        ([*IMAGE, "--rtt-ms", "nan"], "--rtt-ms with them"),
        ([*IMAGE, "--mbps", "0", "--device-gflops", "1", "--cloud-gflops", "1"], "above 0"),
        ([*IMAGE, "--plot", "/no/such/folder/cuts.png"], "cannot write the picture"),
    ],
)
def test_one_line_on_a_mistake(
    options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([f"{NETWORKS}:stages", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert re.search(message, line)


def test_the_graphs_best_is_never_worse_than_a_cuts(network: object) -> None:
    model: SourceModel = network("residual")  # type: ignore[operator]
    cuts = find_cuts(model.graph)
    for speed in (1e6, 1e7, 1e8, 1e9, 1e10):
        found = place(model.graph, cuts, Setting(speed, 1e10, 1e6, 0.001))
        assert found.fastest.latency_s <= found.usable.latency_s * (1 + 1e-6)
        assert found.period_bound_s <= found.steadiest.period_s
    assert found.fastest.where == found.usable.where == "output"
