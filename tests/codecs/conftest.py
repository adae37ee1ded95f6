"""Runs every test with an argument ``case`` over the cases of the conformance kit."""

from __future__ import annotations

import json

import pytest

from tests.codecs.cases import CASES


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "case" in metafunc.fixturenames:
        metafunc.parametrize("case", CASES, ids=[json.dumps(case.config) for case in CASES])
