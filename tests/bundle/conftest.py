"""The JSON documents and files of the sample bundle, ready to be damaged."""

from __future__ import annotations

import json
from typing import Any

import pytest

from splitnet.bundle import Bundle


@pytest.fixture
def contract_json(sample_bundle: Bundle) -> dict[str, Any]:
    """The parsed content of ``contract.json``."""
    document: dict[str, Any] = json.loads(json.dumps(sample_bundle.contract.to_json()))
    return document


@pytest.fixture
def advice_json(sample_bundle: Bundle) -> dict[str, Any]:
    """The parsed content of ``advice.json``."""
    document: dict[str, Any] = json.loads(json.dumps(sample_bundle.advice.to_json()))
    return document


@pytest.fixture
def files(
    sample_bundle: Bundle, contract_json: dict[str, Any], advice_json: dict[str, Any]
) -> dict[str, bytes]:
    """The files that `load_bundle` reads, by name."""
    return {
        "contract.json": json.dumps(contract_json).encode(),
        "advice.json": json.dumps(advice_json).encode(),
        "sample_table.npz": sample_bundle.table.to_bytes(),
    }
