"""The codecs of a path, chosen for a target on calibration data."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.builder.data import Dataset
from splitnet.builder.execution import Array, Execution, batches, inputs_of
from splitnet.bundle import Contract
from splitnet.codecs.base import header_of
from splitnet.codecs.candidates import Option
from splitnet.codecs.choosing import Choice, Target, choose
from splitnet.codecs.making import make_codec
from splitnet.codecs.pixels import pixels_config
from splitnet.config import check_positive
from splitnet.console import Progress
from splitnet.errors import CodecError, ConfigError
from splitnet.runtime.answers import score
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.reading import answer_form


@dataclass(frozen=True, slots=True)
class CodecsConfig:
    """For which path of which bundle codecs are chosen, on what data, and for what.

    Attributes
    ----------
    bytes
        Most bytes of a payload, on average.
    error
        Most squared error of a tensor, by the variance of its values.
    loss
        Most score that the network may lose on the data (0.01 is one point).
    encode_ms
        Most time for encoding and decoding one sample.
    samples
        How many samples of the data are used, half of them to fit.
    """

    bundle: Path
    data: str
    path: str
    bytes: float | None = None
    error: float | None = None
    loss: float | None = None
    encode_ms: float | None = None
    samples: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.bytes is self.error is self.loss is None:
            raise ConfigError("give what to keep within: --bytes, --error or --loss")
        check_positive(self, "bytes", "encode_ms")
        for name in ("error", "loss"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"--{name} is {share:g}, must be from 0 to 1")
        if self.samples < 2:
            raise ConfigError(f"--samples is {self.samples}, must be at least 2")


def choose_codecs(config: CodecsConfig, data: Dataset, progress: Progress) -> Choice:
    """Return the codecs of the tensors that a path of a bundle sends.

    Raises
    ------
    SplitnetError
        The bundle, the path or the data cannot be used, or nothing meets the target.
    """
    contract = open_bundle(config.bundle).contract
    execution = Execution(config.bundle, contract)
    contract.path(config.path)
    count = min(config.samples, len(data))
    ran = run_samples(execution, [config.path], data, count, progress)
    crossing = ran.crossing[config.path]
    truth = ran.answers if data.y is None else data.y[:count]
    judge = PathJudge(execution, config.path, crossing, truth)
    accuracy = None
    if config.loss is not None:
        accuracy = judge.whole(ran.answers) - config.loss
    pixels = image_config(contract, config.path, crossing)
    progress.step("trying codecs")
    time_s = None if config.encode_ms is None else config.encode_ms / 1e3
    return choose(
        crossing,
        Target(config.bytes, config.error, accuracy, time_s),
        pixels=pixels,
        judge=judge,
        clock=time.perf_counter,
    )


@dataclass(frozen=True, slots=True)
class Ran:
    """What some samples are at the cuts and at the end of a network.

    Attributes
    ----------
    crossing
        For each path and each of its tensors, what crosses for each sample.
    answers
        What the whole network answers: labels, or what stands for them (see `AnswerForm`).
    """

    crossing: dict[str, list[list[Array]]]
    answers: Array


def run_samples(
    execution: Execution, paths: Sequence[str], data: Dataset, count: int, progress: Progress
) -> Ran:
    """Run the network on the first `count` samples."""
    progress.step(f"running the network on {count} samples", count)
    crossing: dict[str, list[list[Array]]] = {path: [] for path in paths}
    answers = []
    form = answer_form(execution.contract)
    for rows in batches(count):
        boundaries = execution.boundaries(inputs_of(execution.contract, data, rows))
        answers.append(form.truth(execution.answer(boundaries[-1])))
        for path, samples in crossing.items():
            tensors = execution.crossing(path, boundaries)
            samples += [[tensor[i : i + 1] for tensor in tensors] for i in range(len(rows))]
        progress.advance(len(rows))
    columns = {
        path: [list(column) for column in zip(*samples, strict=True)]
        for path, samples in crossing.items()
    }
    return Ran(columns, np.concatenate(answers))


class PathJudge:
    """Scores codecs by what the cloud's part makes of the held-out half of the samples."""

    def __init__(
        self, execution: Execution, path: str, crossing: list[list[Array]], truth: Array
    ) -> None:
        self._execution, self._path = execution, path
        self._crossing, self._truth = crossing, truth
        self._form = answer_form(execution.contract)
        self.rows = slice(len(truth) // 2, None)

    def __call__(self, options: Sequence[Option]) -> float:
        """Return the score of the answers, from 0 to 1."""
        decoded = [
            np.concatenate([_again(option, array) for array in samples[self.rows]])
            for option, samples in zip(options, self._crossing, strict=True)
        ]
        outputs = self._execution.finish(self._path, decoded)
        answer = self._execution.answer(outputs)
        return float(self._form.score(answer, self._truth[self.rows]).mean())

    def whole(self, answers: Array) -> float:
        """Return the score of the whole network's `answers`, which are right without labels."""
        if answers is self._truth:
            return 1.0
        return float(score(answers[self.rows], self._truth[self.rows]).mean())


def image_config(
    contract: Contract, path: str, crossing: list[list[Array]]
) -> dict[str, Any] | None:
    """Return the configuration of `pixels` for a path that sends images, ``None`` for others."""
    if contract.path(path).hops[0].boundary != 0 or len(crossing) > 1:
        return None
    try:
        config = pixels_config(contract.preprocess)
        codec = make_codec(config)
        for array in crossing[0]:
            codec.encode(array)
    except CodecError:
        return None
    return config


def _again(option: Option, array: Array) -> Array:
    """Return what arrives of `array`."""
    codec, context = make_codec(option.codec.config), option.codec.context
    return codec.decode(codec.encode(array, context), header_of(array), context)
