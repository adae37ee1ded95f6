"""The command codecs: the choice for a path of a real bundle."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from splitnet.builder.build import BuildConfig
from splitnet.builder.codec_cli import main
from splitnet.codecs import Context, header_of, make_codec


def _options(built: BuildConfig, *more: str) -> list[str]:
    return ["--bundle", str(built.out), "--data", built.data, "--samples", "24", *more]


def test_the_choice_for_a_score_is_usable(
    built: BuildConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_options(built, "--path", "stage1", "--loss", "0.2", "--json")) == 0
    found = json.loads(capsys.readouterr().out)
    (tensor,) = found["tensors"]
    context = Context({name: bytes.fromhex(table) for name, table in tensor["tables"].items()})
    codec = make_codec(tensor["codec"])
    shape = (1, 8, 32, 32)
    array = np.maximum(np.random.default_rng(0).normal(size=shape), 0).astype(np.float32)
    data = codec.encode(array, context)
    assert codec.decode(data, header_of(array), context).shape == shape
    assert "at least accuracy" in found["reasons"][-1]


def test_the_reason_is_printed(built: BuildConfig, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(_options(built, "--path", "input", "--error", "0.01")) == 0
    shown = capsys.readouterr().out
    assert "tensor 0: " in shown and "asked for: at most error 0.01" in shown


def test_images_are_tried_for_the_input(
    built: BuildConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(_options(built, "--path", "input", "--error", "0", "--json")) == 0
    (tensor,) = json.loads(capsys.readouterr().out)["tensors"]
    assert tensor["error"] == 0
    assert tensor["codec"]["codecs"][0]["id"] == "pixels"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--path", "stage1"], "--bytes, --error or --loss"),
        (["--path", "stage1", "--bytes", "nan"], "--bytes is nan, it must be above 0"),
        (["--path", "stage1", "--loss", "-1"], "--loss is -1, must be from 0 to 1"),
        (["--path", "stage9", "--bytes", "9"], "unknown path 'stage9'"),
        (["--path", "stage1", "--bytes", "9"], "the smallest takes"),
        (["--path", "stage1", "--bytes", "9", "--samples", "1"], "at least 2"),
    ],
)
def test_what_cannot_be_done_is_said(
    built: BuildConfig,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    assert main(_options(built, *options)) != 0
    assert message in capsys.readouterr().err
