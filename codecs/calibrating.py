"""Configurations with what calibration data tells: ranges, levels and tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from splitnet.codecs.affine import Affine
from splitnet.codecs.base import Array, Context
from splitnet.codecs.block_fitting import fit_blocks
from splitnet.codecs.clipping import clip_range
from splitnet.codecs.codebook import Rows, fit_levels
from splitnet.codecs.embedded import Embedded
from splitnet.codecs.fitting import fit_tables
from splitnet.codecs.making import make_codec
from splitnet.codecs.neighbour_fitting import fit_neighbourhood
from splitnet.codecs.quantiser import CHANNEL_AXIS
from splitnet.codecs.refined import Refined
from splitnet.codecs.symmetric import Symmetric
from splitnet.codecs.tables import hash_of
from splitnet.codecs.transform import Transform
from splitnet.errors import CodecError

_MOST_VALUES = 1 << 22
"""Values of a row that are looked at; more do not move a range."""

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A configuration, and the tables that it names by their hash."""

    config: dict[str, Any]
    tables: dict[str, bytes] = field(default_factory=dict)

    @property
    def context(self) -> Context:
        """The context in which the codec works."""
        return Context(self.tables)


def calibrate(config: Config, arrays: Sequence[Array]) -> Calibrated:
    """Return `config` with ranges, levels and tables fitted to `arrays`.

    Parameters
    ----------
    config
        A codec or a pipeline. ``affine``, ``symmetric`` and ``refined`` get fixed ranges by
        their ``clip`` rule; ``{"id": "codebook", "bits": b}`` gets its levels (one list a channel
        with ``"per_channel": true``); ``{"id": "rans"}`` gets its table (``"per_channel"`` too),
        ``{"id": "rans-blocks"}`` its tables, ``{"id": "rans-neighbours"}`` its weights and
        tables, ``embedded`` those of each part; ``{"id": "previous"}`` those of frames that follow
        each other, and what its ``intra`` needs; ``sliced`` of rows what its codec needs, and the
        mean of each channel. Anything else, and what has all this already, stays as it is.
    arrays
        float ``(N, C, ...)``, what crosses a cut for calibration samples.

    Raises
    ------
    CodecError
        There is no array, or a codec refuses one.
    """
    if not arrays:
        raise CodecError("calibration needs at least one array")
    if config.get("id") == "pipeline":
        stages: list[dict[str, Any]] = []
        tables: dict[str, bytes] = {}
        for stage in config["codecs"]:
            found = calibrate(stage, arrays)
            stages.append(found.config)
            tables |= found.tables
            codec = make_codec(found.config)
            if isinstance(codec, Transform):
                arrays = [codec.split(array)[1] for array in arrays]
        return Calibrated({**config, "codecs": stages}, tables)
    if config.get("id") == "sliced" and config.get("axis", CHANNEL_AXIS) != CHANNEL_AXIS:
        found = calibrate(config.get("codec", {"id": "store"}), arrays)
        means = {"mean": _rows(arrays, True).mean(axis=1, dtype=np.float64).tolist()}
        return Calibrated({**means, **config, "codec": found.config}, found.tables)
    if config.get("id") == "embedded" and not config.get("tables"):
        return _with_parts(config, arrays)
    if config.get("id") == "previous" and "table" not in config:
        return _with_frames(config, arrays)
    if config.get("id") in ("rans", "rans-blocks", "rans-neighbours") and "table" not in config:
        return _with_table(config, arrays)
    if config.get("id") == "codebook" and "levels" not in config:
        rows = _rows(arrays, bool(config.get("per_channel")))
        bits = int(config.get("bits", 2))
        return Calibrated({"id": "codebook", "bits": bits, "levels": fit_levels(rows, bits)})
    return Calibrated(_with_range(config, arrays))


def _with_range(config: Config, arrays: Sequence[Array]) -> dict[str, Any]:
    codec = make_codec(config)
    if not isinstance(codec, (Affine, Symmetric, Refined)):
        return dict(config)
    settings = codec.config
    if settings.largest if isinstance(codec, Symmetric) else settings.low:
        return dict(config)
    rows = _rows(arrays, settings.per_channel)
    if isinstance(codec, Symmetric):
        mirrored = np.concatenate([rows, -rows], axis=1)
        low, high = clip_range(mirrored, settings.clip, (1 << settings.bits) - 1, settings.share)
        return {**config, "largest": np.maximum(-low, high).tolist()}
    bits = settings.bits + (settings.refinements if isinstance(codec, Refined) else 0)
    low, high = clip_range(rows, settings.clip, 1 << bits, settings.share)
    return {**config, "low": low.tolist(), "high": high.tolist()}


def _with_table(config: Config, arrays: Sequence[Array]) -> Calibrated:
    symbols = np.concatenate(arrays)
    if config["id"] == "rans":
        table = fit_tables(symbols, per_channel=bool(config.get("per_channel"))).to_bytes()
    elif config["id"] == "rans-blocks":
        table = fit_blocks(symbols).to_bytes()
    else:
        table = fit_neighbourhood(symbols).to_bytes()
    name = hash_of(table)
    return Calibrated({"id": config["id"], "table": name}, {name: table})


def _with_parts(config: Config, arrays: Sequence[Array]) -> Calibrated:
    """Fit each part behind what the decoder has of those in front."""
    codec = make_codec(config)
    assert isinstance(codec, Embedded)
    tables = []
    for known, own in codec.symbols(np.concatenate(arrays)):
        both = np.concatenate([known, own], axis=CHANNEL_AXIS)
        tables.append(fit_neighbourhood(both, given=known.shape[CHANNEL_AXIS]).to_bytes())
    names = [hash_of(table) for table in tables]
    return Calibrated({**config, "tables": names}, dict(zip(names, tables, strict=True)))


def _with_frames(config: Config, arrays: Sequence[Array]) -> Calibrated:
    """Fit to pairs of frames one behind the other."""
    symbols = np.concatenate(arrays)
    pairs = np.concatenate([symbols[:-1], symbols[1:]], axis=CHANNEL_AXIS)
    table = fit_neighbourhood(pairs, given=symbols.shape[CHANNEL_AXIS]).to_bytes()
    name = hash_of(table)
    intra = calibrate(config.get("intra", {"id": "rans-adaptive"}), arrays)
    found = {"id": "previous", "table": name, "intra": intra.config}
    return Calibrated(found, {name: table, **intra.tables})


def _rows(arrays: Sequence[Array], per_channel: bool) -> Rows:
    """Return the values of all arrays as one row, or as one row a channel."""
    if not per_channel:
        found = np.concatenate([array.reshape(-1) for array in arrays])[None]
    else:
        moved = [np.moveaxis(array, CHANNEL_AXIS, 0) for array in arrays]
        found = np.concatenate([array.reshape(len(array), -1) for array in moved], axis=1)
    stride = -(-found.shape[1] // _MOST_VALUES)
    return found[:, ::stride].astype(np.float32)
