"""A bundle with a level whose payload has parts, and with a plan that sends them one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splitnet.bundle import Bundle, Level, PathRows
from splitnet.values import Plan, decode_stage, encode_stage

REFINED_LEVEL = 2
"""The level of path ``c1``."""

STOPS = (0.3, 0.5)
"""Confidences at which an answer to the first part, and to the first two of them, is taken."""


def with_refinements(bundle: Bundle) -> Bundle:
    """Return the bundle with a level of path ``c1`` whose payload has three parts."""
    level = Level("refined", (({"id": "refined", "bits": 2, "refinements": 2},),))
    contract, advice = bundle.contract, bundle.advice
    old = contract.path("c1")
    new = replace(old, levels=(*old.levels, level))
    paths = tuple(new if path is old else path for path in contract.paths)
    contract = replace(contract, paths=paths)
    rows = bundle.table.paths
    key, whole = ("c1", REFINED_LEVEL), rows["c1", 1]
    parts = tuple(_part(whole, share) for share in (0.4, 0.7))
    table = replace(bundle.table, paths={**rows, key: whole}, parts={key: parts})
    stages = dict(advice.profiles[0].stages)
    for stage in (encode_stage, decode_stage):
        stages[stage("c1", REFINED_LEVEL)] = stages[stage("c1", 1)]
    advice = replace(
        advice,
        contract_sha256=contract.sha256,
        plans=(*advice.plans, Plan(*key), Plan(*key, stops=STOPS)),
        profiles=(replace(advice.profiles[0], stages=stages),),
    )
    return Bundle(contract, advice, table)


def _part(whole: PathRows, share: float) -> PathRows:
    """Return rows of an answer to a part of the payload, less sure and less often right."""
    scale = np.float32(share)
    return PathRows(
        whole.score * (whole.confidence >= 1 - scale),
        whole.confidence * scale,
        (whole.bytes * share).astype(np.int32),
    )
