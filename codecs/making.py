"""Codecs from their JSON configuration: ``{"id": "affine", "bits": 8}``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from splitnet import registry
from splitnet.codecs.base import Codec
from splitnet.config import nearest
from splitnet.errors import CodecError, UnknownCodecError, UnknownNameError


def make_codec(config: Mapping[str, Any]) -> Codec:
    """Return the codec that `config` describes: its ``id`` and the fields of its ``Config``.

    Equal configurations give the same object. ``make_codec(codec.to_json())`` equals ``codec``.

    Raises
    ------
    UnknownCodecError
        No codec is registered under this id; the message lists the known ones.
    CodecError
        An unknown key (with the nearest known one), or a value that the codec refuses.

    Examples
    --------
    >>> make_codec({"id": "affine", "bits": 4}).to_json()
    {'id': 'affine', 'bits': 4}
    """
    try:
        text = json.dumps(config, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise CodecError(f"a codec configuration is not JSON: {error}") from error
    return _make(text)


def count_parts(configs: Sequence[Mapping[str, Any]]) -> int:
    """Return how many parts the payload of tensors with these codecs has.

    Raises
    ------
    UnknownCodecError, CodecError
        As `make_codec`.
    """
    return max(make_codec(config).parts for config in configs)


@lru_cache(maxsize=256)
def _make(text: str) -> Codec:
    config = json.loads(text)
    if not isinstance(config, dict) or not isinstance(config.get("id"), str):
        raise CodecError(f'a codec configuration is an object with an "id", not {text[:80]}')
    codec_id = config.pop("id")
    try:
        codec = registry.load("codecs", codec_id)
    except UnknownNameError as error:
        raise UnknownCodecError(str(error)) from error
    if not (isinstance(codec, type) and issubclass(codec, Codec)):
        raise CodecError(f"the codec {codec_id!r} is registered as {codec!r}, which is no Codec")
    return codec(_read_config(codec.Config, config, codec_id))


def _read_config(cls: type[Any], values: Mapping[str, Any], codec_id: str) -> Any:
    hints = get_type_hints(cls)
    for key, value in values.items():
        if key not in hints:
            raise CodecError(f"{codec_id}: unknown key {key!r}{nearest(key, hints)}")
        if not _fits(value, hints[key]):
            expected = getattr(hints[key], "__name__", hints[key])
            raise CodecError(f"{codec_id}: {key} is {value!r}, must be {expected}")
    needed = [f.name for f in fields(cls) if f.default is f.default_factory is MISSING]
    missing = [name for name in needed if name not in values]
    if missing:
        raise CodecError(f"{codec_id}: missing {', '.join(missing)}")
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def _fits(value: Any, hint: Any) -> bool:
    """Whether a JSON value may stand for a field annotated with `hint`."""
    origin = get_origin(hint)
    if origin in (Union, UnionType):
        return any(_fits(value, choice) for choice in get_args(hint))
    if origin is tuple:
        return isinstance(value, list) and all(_fits(item, get_args(hint)[0]) for item in value)
    if isinstance(value, bool):
        return hint is bool
    if hint is float:
        return isinstance(value, (int, float))
    return isinstance(value, origin or hint)
