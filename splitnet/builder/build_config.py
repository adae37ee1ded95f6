"""What to build: the settings of ``splitnet build``, checked as far as they go by themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from splitnet import registry
from splitnet.builder.boundaries import MAX_BOUNDARIES
from splitnet.builder.exit_building import ExitWishes
from splitnet.builder.forms import RANDOM
from splitnet.builder.places import AUTO
from splitnet.builder.prefilter_building import PrefilterWishes, parse_interest
from splitnet.builder.thresholds import ThresholdWishes
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.runtime.answers import load_confidence
from splitnet.training.certify import Promise
from splitnet.training.recall import RecallPromise

DEFAULT_CODECS = "default"


def parse_codec(text: str) -> dict[str, Any]:
    """Return the configuration of a codec in JSON, or of the one with this id.

    Raises
    ------
    ConfigError
        It is neither; the message lists the known codecs if it names another one.
    """
    try:
        config = json.loads(text) if text.lstrip().startswith("{") else {"id": text}
        registry.load("codecs", str(config.get("id")))
    except (json.JSONDecodeError, UnknownNameError) as error:
        raise ConfigError(
            f"--codec is {text!r}, must be {DEFAULT_CODECS}, {AUTO} or a codec as JSON or by its "
            f"id ({error})"
        ) from error
    found: dict[str, Any] = config
    return found


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """What to build, from what, and where.

    Attributes
    ----------
    model, data, calib, test
        Specifications of the model and of the data (see `load_model`, `load_data`).
    input
        Forms of the inputs (see `parse_form`), for random data and for dynamic sizes.
    cuts
        Names of the interior boundaries; empty asks for an automatic choice.
    exit_at
        Cuts of early exits, joined by commas (``input`` for a network of its own), ``auto`` or
        ``none``.
    exit_heads
        Trained heads of these exits, in the order of the network: a callable that returns an
        `nn.ModuleList` (see `load_model`), or results of ``splitnet train`` with the recipe
        ``exits``, which know their cuts; ``None`` trains them.
    bottleneck_at
        Cut of the bottleneck, ``auto`` or ``none``.
    preprocess
        Text form of the steps; ``None`` takes those that fit the samples' dtype.
    postprocess
        Text form of the step behind the model (see `parse_postprocess`), ``None`` for none.
    epochs, train_seconds
        Bounds on each of the two trainings.
    exit_loss
        Part of the score on calibration data that the exits may lose.
    exit_risk, exit_confidence, exit_rule
        What the thresholds promise instead (see `Promise`); without `exit_risk` nothing.
    exit_measure
        Confidence function of the exits.
    stop_loss, stop_risk, stop_confidence, stop_rule
        The same for the stops of each level whose payload has several parts, against the answer to
        all of them.
    interest, interest_at
        Labels, or classes of boxes, of interest (see `parse_interest`): a prefilter at this cut (or
        ``input``, or ``auto``) ends requests without any of them. ``None``: there is no prefilter.
    interest_recall, interest_confidence
        What its threshold promises (see `RecallPromise`).
    threads
        Threads of torch and of linear algebra (see `math_threads`).
    learned
        Folders of ``splitnet train``, each of which becomes a learned path; there is then no
        automatic bottleneck.
    codec
        ``default`` (8 bits and lz4), ``auto``: levels of the exact paths are chosen on the
        calibration data, or a codec (see `parse_codec`): they get a level with it behind the
        default ones.
    int8_heads
        Whether every interior boundary also gets a learned path whose head runs in whole numbers.
    """

    model: str
    data: str
    out: Path
    calib: str | None = None
    test: str | None = None
    input: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    exit_at: str = AUTO
    exit_heads: str | None = None
    bottleneck_at: str = AUTO
    max_boundaries: int = MAX_BOUNDARIES
    preprocess: str | None = None
    postprocess: str | None = None
    seed: int = 0
    force: bool = False
    epochs: int = 6
    train_seconds: float = 120.0
    exit_loss: float = 0.005
    exit_risk: float | None = None
    exit_confidence: float = 0.95
    exit_rule: str = "learn-then-test"
    exit_measure: str = "max-softmax"
    stop_loss: float = 0.005
    stop_risk: float | None = None
    stop_confidence: float = 0.95
    stop_rule: str = "learn-then-test"
    interest: str | None = None
    interest_at: str = AUTO
    interest_recall: float = 0.99
    interest_confidence: float = 0.95
    threads: int = 1
    learned: tuple[str, ...] = ()
    codec: str = DEFAULT_CODECS
    int8_heads: bool = False

    def __post_init__(self) -> None:
        for name, least in (("max_boundaries", 1), ("epochs", 1), ("seed", 0), ("threads", 1)):
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} is {getattr(self, name)}, must be at least {least}")
        if not self.train_seconds > 0:
            raise ConfigError(f"--train-seconds is {self.train_seconds:g}, must be above 0")
        if self.codec not in (DEFAULT_CODECS, AUTO):
            parse_codec(self.codec)
        for name in ("exit_loss", "stop_loss"):
            if not 0 <= getattr(self, name) <= 1:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} is {getattr(self, name):g}, must be from 0 to 1")
        if self.int8_heads and self.data.partition(":")[0] == RANDOM:
            raise ConfigError(
                "--int8-heads needs calibration data, random samples tell no ranges: give --data"
            )
        if self.interest is not None and self.data.partition(":")[0] == RANDOM:
            raise ConfigError("--interest: nothing in random samples is of interest: give --data")
        if self.stop_risk is not None and self.data.partition(":")[0] == RANDOM:
            raise ConfigError("--stop-risk: random samples can show no loss: give --data")
        load_confidence(self.exit_measure)
        self.exit_wishes()
        self.stop_wishes()
        self.prefilter_wishes()

    def prefilter_wishes(self) -> PrefilterWishes | None:
        """Return what the prefilter is to let through, ``None`` if there is to be none."""
        promise = RecallPromise(self.interest_recall, self.interest_confidence)
        if self.interest is None:
            return None
        return PrefilterWishes(parse_interest(self.interest), promise)

    def exit_wishes(self) -> ExitWishes:
        """Return what the exits are to be like."""
        promise = None
        if self.exit_risk is not None:
            promise = Promise(self.exit_risk, self.exit_confidence, self.exit_rule)
        return ExitWishes(self.exit_loss, promise, self.exit_measure)

    def stop_wishes(self) -> ThresholdWishes:
        """Return what stops are chosen by."""
        if self.stop_risk is None:
            return ThresholdWishes(self.stop_loss)
        for name, share in (("risk", self.stop_risk), ("confidence", self.stop_confidence)):
            if not 0 < share < 1:
                raise ConfigError(f"--stop-{name} is {share:g}, must be between 0 and 1")
        promise = Promise(self.stop_risk, self.stop_confidence, self.stop_rule)
        return ThresholdWishes(self.stop_loss, promise)
