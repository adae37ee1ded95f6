"""What the command line answers by itself."""

from __future__ import annotations

import json

import pytest

from splitnet.devices import DEVICE_CLASSES, NCNN
from splitnet.edge.cli import main


def test_the_device_classes_are_listed_with_their_source(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    assert main(["run", "--emulate-device", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in DEVICE_CLASSES)
    assert "93.5" in shown and f"source: {NCNN}" in shown


def test_the_device_classes_are_listed_for_machines(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", "--emulate-device", "list", "--json"]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [device["name"] for device in listed] == list(DEVICE_CLASSES)
    assert all(device["source"] for device in listed)
