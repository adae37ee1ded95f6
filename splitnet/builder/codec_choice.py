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
from splitnet.codecs.base import header_of
from splitnet.codecs.choosing import Choice, Option, Target, choose
from splitnet.codecs.making import make_codec
from splitnet.codecs.pixels import pixels_config
from splitnet.console import Progress
from splitnet.errors import CodecError, ConfigError
from splitnet.runtime.answers import labels, score
from splitnet.runtime.directory import open_bundle


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
    crossing, whole, truth = _run(execution, config, data, progress)
    tensors = [[array[i : i + 1] for i in range(len(array))] for array in crossing]
    judge = _Judge(execution, config.path, tensors, truth)
    accuracy = None
    if config.loss is not None:
        accuracy = float(score(labels(whole[judge.rows]), truth[judge.rows]).mean()) - config.loss
    pixels = None
    if contract.path(config.path).hops[0].boundary == 0:
        pixels = _pixels(contract.preprocess)
    progress.step("trying codecs")
    time_s = None if config.encode_ms is None else config.encode_ms / 1e3
    return choose(
        tensors,
        Target(config.bytes, config.error, accuracy, time_s),
        pixels=pixels,
        judge=judge,
        clock=time.perf_counter,
    )


class _Judge:
    """Scores codecs by what the cloud's part makes of the held-out half of the samples."""

    def __init__(
        self, execution: Execution, path: str, tensors: list[list[Array]], truth: Array
    ) -> None:
        self._execution, self._path = execution, path
        self._tensors, self._truth = tensors, truth
        self.rows = slice(len(truth) // 2, None)

    def __call__(self, options: Sequence[Option]) -> float:
        decoded = [
            np.concatenate([_again(option, array) for array in samples[self.rows]])
            for option, samples in zip(options, self._tensors, strict=True)
        ]
        output, *_ = self._execution.finish(self._path, decoded)
        return float(score(labels(output), self._truth[self.rows]).mean())


def _again(option: Option, array: Array) -> Array:
    """Return what arrives of `array`."""
    codec, context = make_codec(option.codec.config), option.codec.context
    return codec.decode(codec.encode(array, context), header_of(array), context)


def _run(
    execution: Execution, config: CodecsConfig, data: Dataset, progress: Progress
) -> tuple[list[Array], Array, Array]:
    """Return what crosses, the whole network's output, and the truth, for all samples."""
    count = min(config.samples, len(data))
    progress.step(f"running the network on {count} samples", count)
    crossing, outputs = [], []
    for rows in batches(count):
        boundaries = execution.boundaries(inputs_of(execution.contract, data, rows))
        crossing.append(execution.crossing(config.path, boundaries))
        outputs.append(boundaries[-1][0])
        progress.advance(len(rows))
    whole = np.concatenate(outputs)
    truth = labels(whole) if data.y is None else data.y[:count]
    return [np.concatenate(parts) for parts in zip(*crossing, strict=True)], whole, truth


def _pixels(steps: Sequence[Any]) -> dict[str, Any] | None:
    try:
        return pixels_config(steps)
    except CodecError:
        return None  # the input is no image
