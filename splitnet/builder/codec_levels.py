"""The levels of exact paths: codecs chosen on the calibration data of a build."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

from splitnet.builder.codec_choice import PathJudge, image_config, run_samples
from splitnet.builder.data import Dataset
from splitnet.builder.execution import Execution
from splitnet.bundle import Contract, Level
from splitnet.codecs import make_codec
from splitnet.codecs.calibrating import calibrate
from splitnet.codecs.choosing import Choice, Target, choose_each
from splitnet.console import Progress
from splitnet.errors import CodecError

CHANGES = (0.005, 0.05)
"""Shares of the answers that the codecs of each level may change, the first one a half percent."""

MAX_CODEC_S = 0.02
"""Time on this machine for encoding and decoding a sample; a slower codec is not taken."""

_TELLING = ("bits", "refinements", "quality")
"""Keys of a codec that stand in the name of its level."""

_SAMPLES = (16, 128)
"""Fewest and most samples that are looked at, half of them to fit."""

_VALUES = 1 << 22
"""Values of a tensor in all samples, if that leaves enough of them."""


@dataclass(frozen=True, slots=True)
class ChosenLevels:
    """Levels behind float32 for each path, the tables that they need, and why they are so."""

    levels: Mapping[str, tuple[Level, ...]]
    tables: Mapping[str, bytes]
    reasons: tuple[str, ...]


def choose_levels(execution: Execution, data: Dataset, progress: Progress) -> ChosenLevels:
    """Return levels for the exact paths of a contract, chosen on `data`.

    The first one changes almost no answer of the network, each further one more of them for
    fewer bytes; levels that would be alike are one.
    """
    contract = execution.contract
    paths = [path.id for path in contract.paths if path.kind == "exact"]
    ran = run_samples(execution, paths, data, _sample_count(contract, len(data)), progress)
    progress.step(f"trying codecs for {len(paths)} paths", len(paths))
    levels: dict[str, tuple[Level, ...]] = {}
    tables: dict[str, bytes] = {}
    reasons: list[str] = []
    for path in paths:
        crossing = ran.crossing[path]
        try:
            choices = choose_each(
                crossing,
                [Target(accuracy=1 - share, time_s=MAX_CODEC_S) for share in CHANGES],
                pixels=image_config(contract, path, crossing),
                judge=PathJudge(execution, path, crossing, ran.answers),
                clock=time.perf_counter,
            )
        except CodecError as error:
            reasons.append(f"path {path} keeps its levels: {error}")
            continue
        found = _distinct(choices)
        levels[path] = tuple(map(_level, found))
        for number, choice in enumerate(found, start=1):
            reasons.append(f"path {path}, level {number}: {'; '.join(choice.reasons)}")
            for option in choice.options:
                tables |= option.codec.tables
        progress.advance(1)
    return ChosenLevels(levels, tables, tuple(reasons))


def add_level(
    execution: Execution, data: Dataset, codec: Mapping[str, Any], progress: Progress
) -> ChosenLevels:
    """Return the levels of exact paths and a further one of `codec`, fitted to `data`.

    Raises
    ------
    CodecError
        It does not take the tensors of a path.
    """
    contract = execution.contract
    exact = [path for path in contract.paths if path.kind == "exact"]
    count = _sample_count(contract, len(data))
    ran = run_samples(execution, [path.id for path in exact], data, count, progress)
    levels: dict[str, tuple[Level, ...]] = {}
    tables: dict[str, bytes] = {}
    for path in exact:
        try:
            fitted = [calibrate(codec, samples) for samples in ran.crossing[path.id]]
            for found, samples in zip(fitted, ran.crossing[path.id], strict=True):
                make_codec(found.config).encode(samples[0], found.context)
        except CodecError as error:
            raise CodecError(f"--codec: path {path.id}: {error}") from error
        for found in fitted:
            tables |= found.tables
        configs = tuple(found.config for found in fitted)
        levels[path.id] = (*path.levels[1:], Level(_name(codec), (configs,)))
    return ChosenLevels(levels, tables, ())


def with_levels(contract: Contract, levels: Mapping[str, tuple[Level, ...]]) -> Contract:
    """Return `contract` with `levels` behind level 0 of the paths that they name."""
    paths = tuple(
        replace(path, levels=(path.levels[0], *levels[path.id])) if path.id in levels else path
        for path in contract.paths
    )
    return replace(contract, paths=paths)


def _sample_count(contract: Contract, available: int) -> int:
    """Return how many samples are looked at: fewer of a network with large tensors."""
    fewest, most = _SAMPLES
    sizes = [
        prod(dim for dim in tensor.dims if isinstance(dim, int))
        for boundary in contract.boundaries[:-1]
        for tensor in boundary.tensors
    ]
    return min(available, most, max(fewest, _VALUES // max(sizes)))


def _distinct(choices: Sequence[Choice]) -> list[Choice]:
    """Return `choices` without those whose codecs are those of the one in front."""
    return [
        choice
        for number, choice in enumerate(choices)
        if number == 0 or _configs(choice) != _configs(choices[number - 1])
    ]


def _configs(choice: Choice) -> tuple[dict[str, Any], ...]:
    return tuple(option.codec.config for option in choice.options)


def _name(codec: Mapping[str, Any]) -> str:
    """Return what to call a level with this codec."""
    stages = codec.get("codecs") or [codec]
    return ", ".join(
        " ".join([str(stage["id"]), *(f"{k}={v}" for k, v in stage.items() if k in _TELLING)])
        for stage in stages
    )


def _level(choice: Choice) -> Level:
    return Level(", ".join(option.name for option in choice.options), (_configs(choice),))
