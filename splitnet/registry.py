"""One table for every kind of plug-in: ``id -> "module:Class"``, loaded on first use.

Third parties register through the entry-point group ``splitnet.<kind>``, for instance
``splitnet.codecs``.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Literal, TypeAlias

from splitnet.config import nearest
from splitnet.errors import ConfigError, UnknownNameError

Kind: TypeAlias = Literal["codecs", "policies", "recipes", "sources", "confidences"]

_BUILT_IN: dict[Kind, dict[str, str]] = {
    "codecs": {
        "store": "splitnet.codecs.store:Store",
        "affine": "splitnet.codecs.affine:Affine",
        "symmetric": "splitnet.codecs.symmetric:Symmetric",
        "codebook": "splitnet.codecs.codebook:Codebook",
        "float16": "splitnet.codecs.half:Half",
        "top-k": "splitnet.codecs.sparse:TopK",
        "first-channels": "splitnet.codecs.first_channels:FirstChannels",
        "zero-map": "splitnet.codecs.sparse:ZeroMap",
        "shuffle": "splitnet.codecs.shuffle:Shuffle",
        "zigzag": "splitnet.codecs.zigzag:Zigzag",
        "pack": "splitnet.codecs.bits:Pack",
        "embedded": "splitnet.codecs.embedded:Embedded",
        "refined": "splitnet.codecs.refined:Refined",
        "sliced": "splitnet.codecs.sliced:Sliced",
        "pixels": "splitnet.codecs.pixels:Pixels",
        "jpeg": "splitnet.codecs.images:Jpeg",
        "png": "splitnet.codecs.images:Png",
        "webp": "splitnet.codecs.images:Webp",
        "zlib": "splitnet.codecs.lossless:Zlib",
        "zstd": "splitnet.codecs.zstd:Zstd",
        "lz4": "splitnet.codecs.lossless:Lz4",
        "rans": "splitnet.codecs.static:Rans",
        "rans-blocks": "splitnet.codecs.blocks:RansBlocks",
        "previous": "splitnet.codecs.previous:Previous",
        "rans-neighbours": "splitnet.codecs.neighbours:RansNeighbours",
        "rans-adaptive": "splitnet.codecs.adaptive:RansAdaptive",
        "pipeline": "splitnet.codecs.pipeline:Pipeline",
    },
    "policies": {
        "fixed": "splitnet.policies.fixed:Fixed",
        "greedy": "splitnet.policies.greedy:Greedy",
    },
    "recipes": {
        "entropic": "splitnet.training.entropic:Entropic",
        "bottlefit": "splitnet.training.bottlefit:BottleFit",
        "ghnd": "splitnet.training.ghnd:Ghnd",
        "autoencoder": "splitnet.training.autoencoder:Autoencoder",
        "exits": "splitnet.training.exit_recipe:Exits",
        "image-codec": "splitnet.training.image_codec:ImageCodec",
    },
    "sources": {
        "npz": "splitnet.edge.sources:NpzSource",
        "images": "splitnet.edge.sources:ImageSource",
    },
    "confidences": {
        "max-softmax": "splitnet.runtime.answers:max_softmax",
        "entropy": "splitnet.runtime.answers:entropy",
        "margin": "splitnet.runtime.answers:margin",
        "absence": "splitnet.runtime.answers:absence",
    },
}

_EXTRA_OF_MODULE = {
    "torch": "build",
    "onnx": "build",
    "sklearn": "build",
    "onnxruntime": "edge",
    "ray": "ray",
    "matplotlib": "sim",
    "zstandard": "zstd",
}
"""Which ``pip install 'splitnet[...]'`` brings a missing third-party module."""

_loaded: dict[tuple[Kind, str], object] = {}


def names(kind: Kind) -> list[str]:
    """Return the sorted ids that are registered for `kind`."""
    return sorted(_table(kind))


def load(kind: Kind, name: str) -> object:
    """Return the plug-in `name` of `kind`, importing it on first use.

    Raises
    ------
    UnknownNameError
        Nobody registered `name`; the message lists the known ids.
    ConfigError
        The plug-in needs a module that is not installed (the message names the extra), or two
        distributions registered the same id.
    """
    if (kind, name) in _loaded:
        return _loaded[kind, name]
    table = _table(kind)
    if name not in table:
        raise UnknownNameError(
            f"unknown {kind} id {name!r}{nearest(name, table)}; known: {', '.join(sorted(table))}"
        )
    module, _, attribute = table[name].partition(":")
    try:
        plugin = getattr(import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise ConfigError(missing_module(f"{kind} {name!r}", error)) from error
    _loaded[kind, name] = plugin
    return plugin


def missing_module(what: str, error: ModuleNotFoundError) -> str:
    """Return the message for a dependency that is not installed, with the extra that brings it."""
    module = (error.name or "").partition(".")[0]
    extra = _EXTRA_OF_MODULE.get(module)
    hint = f"pip install 'splitnet[{extra}]'" if extra else f"pip install {module}"
    return f"{what} needs the module {module!r}, which is not installed: {hint}"


@cache
def third_party(kind: Kind) -> tuple[EntryPoint, ...]:
    """Return what other distributions registered for `kind`; they are scanned once."""
    return tuple(entry_points(group=f"splitnet.{kind}"))


def _table(kind: Kind) -> dict[str, str]:
    table = dict(_BUILT_IN[kind])
    for point in third_party(kind):
        if table.get(point.name, point.value) != point.value:
            raise ConfigError(
                f"{kind} id {point.name!r} is registered twice: {table[point.name]} and "
                f"{point.value}; uninstall one of the two distributions"
            )
        table[point.name] = point.value
    return table
